/* Every private number of a fresh key is hunted in every form, and no public one in any. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "secret/init.h"
#include "tests/unit/secret/form_maker.h"
#include "tests/unit/secret/hunter.h"

#define KEYS_TRIED_MAX 40U /* 2^-40: not by chance */

static unsigned add_file(struct hunter *h, const struct bytes *file) {
        unsigned flags = 0;

        assert_int_equal(needle_set_add_file(h->set, file->data, file->size, 3, &flags), 0);
        hunter_ready(h);
        return flags;
}

static void assert_number_hunted(struct hunter *h, const BIGNUM *n) {
        _cleanup_forms_ struct made_forms forms = { 0 };

        make_forms(n, &forms);
        for (size_t i = 0; i < forms.n; i++)
                assert_hunted(h, forms.forms[i].bytes.data, forms.forms[i].bytes.size);
}

static void assert_number_spared(struct hunter *h, const BIGNUM *n) {
        _cleanup_forms_ struct made_forms forms = { 0 };

        make_forms(n, &forms);
        for (size_t i = 0; i < forms.n; i++)
                assert_not_hunted(h, forms.forms[i].bytes.data, forms.forms[i].bytes.size);
}

static void assert_param_hunted(struct hunter *h, const EVP_PKEY *key, const char *name) {
        _cleanup_test_bn_ BIGNUM *n = number_of(key, name);

        assert_number_hunted(h, n);
}

/* 2^exponent mod p by repeated squaring, and with p added once. */
static void assert_power_hunted(struct hunter *h, const BIGNUM *p, unsigned long exponent,
                                bool digits52) {
        _cleanup_test_bn_ BIGNUM *two = BN_new(), *e = BN_new(), *x = BN_new();
        BN_CTX *ctx = BN_CTX_new();

        assert_true(BN_set_word(two, 2) && BN_set_word(e, exponent));
        assert_int_equal(BN_mod_exp(x, two, e, p, ctx), 1);
        for (int more = 0; more < (digits52 ? 2 : 1); more++) {
                _cleanup_bytes_ struct bytes b = digits52 ? made_digits(x, 52, 8) : made_limbs(x);

                assert_hunted(h, b.data, b.size);
                assert_int_equal(BN_add(x, x, p), 1);
        }
        BN_CTX_free(ctx);
}

static void assert_prime_hunted(struct hunter *h, const BIGNUM *p) {
        BN_CTX *ctx = BN_CTX_new();
        BN_MONT_CTX *mont = BN_MONT_CTX_new();
        _cleanup_test_bn_ BIGNUM *r = BN_new();
        unsigned bits = (unsigned)BN_num_bits(p);
        unsigned long k52 = bits <= 512 ? 10 : bits <= 1024 ? 20 : bits <= 1536 ? 30 : 40;

        /* libcrypto's own Montgomery form of one is R, that of R is R squared. */
        assert_int_equal(BN_MONT_CTX_set(mont, p, ctx), 1);
        assert_int_equal(BN_to_montgomery(r, BN_value_one(), mont, ctx), 1);
        for (int i = 0; i < 2; i++) {
                _cleanup_bytes_ struct bytes b = made_limbs(r);

                assert_hunted(h, b.data, b.size);
                assert_int_equal(BN_to_montgomery(r, r, mont, ctx), 1);
        }
        assert_power_hunted(h, p, 52 * k52, true);
        assert_power_hunted(h, p, 104 * k52, true);
        assert_power_hunted(h, p, 2UL * bits, true);
        BN_MONT_CTX_free(mont);
        BN_CTX_free(ctx);
}

static void assert_rsa_hunted(struct hunter *h, const EVP_PKEY *key) {
        static const char *const private[] = {
                OSSL_PKEY_PARAM_RSA_D,         OSSL_PKEY_PARAM_RSA_FACTOR1,
                OSSL_PKEY_PARAM_RSA_FACTOR2,   OSSL_PKEY_PARAM_RSA_EXPONENT1,
                OSSL_PKEY_PARAM_RSA_EXPONENT2, OSSL_PKEY_PARAM_RSA_COEFFICIENT1,
        };
        BN_CTX *ctx = BN_CTX_new();
        _cleanup_test_bn_ BIGNUM *n = number_of(key, "n"), *e = number_of(key, "e");
        _cleanup_test_bn_ BIGNUM *p = number_of(key, OSSL_PKEY_PARAM_RSA_FACTOR1);
        _cleanup_test_bn_ BIGNUM *q = number_of(key, OSSL_PKEY_PARAM_RSA_FACTOR2);
        _cleanup_test_bn_ BIGNUM *phi = BN_new(), *x = BN_new();

        for (size_t i = 0; i < ARRAY_SIZE(private); i++)
                assert_param_hunted(h, key, private[i]);
        assert_prime_hunted(h, p);
        assert_prime_hunted(h, q);

        /* phi = n - p - q + 1 */
        assert_true(BN_sub(phi, n, p) && BN_sub(phi, phi, q) && BN_add_word(phi, 1));
        assert_non_null(BN_mod_inverse(x, e, phi, ctx));
        assert_number_hunted(h, x);
        assert_non_null(BN_mod_inverse(x, p, q, ctx));
        assert_number_hunted(h, x);
        assert_number_spared(h, n);
        BN_CTX_free(ctx);
}

static void check_rsa(unsigned bits) {
        _cleanup_pkey_ EVP_PKEY *key = make_rsa(bits, 2);
        _cleanup_bytes_ struct bytes pem = encode(key, "PEM", "PrivateKeyInfo", NULL);
        _cleanup_hunter_ struct hunter *h = hunter_new();

        assert_int_equal(add_file(h, &pem), NEEDLE_KEY);
        assert_rsa_hunted(h, key);
}

static void every_number_of_an_rsa_1024_key_is_hunted(void **state) {
        (void)state;
        check_rsa(1024);
}

static void every_number_of_an_rsa_2048_key_is_hunted(void **state) {
        (void)state;
        check_rsa(2048);
}

static void every_number_of_an_rsa_3072_key_is_hunted(void **state) {
        (void)state;
        check_rsa(3072);
}

static void every_number_of_an_rsa_4096_key_is_hunted(void **state) {
        (void)state;
        check_rsa(4096);
}

static void the_third_prime_of_a_key_is_hunted_like_the_others(void **state) {
        _cleanup_pkey_ EVP_PKEY *key = make_rsa(2048, 3);
        _cleanup_bytes_ struct bytes pem = encode(key, "PEM", "type-specific", NULL);
        _cleanup_hunter_ struct hunter *h = hunter_new();
        _cleanup_test_bn_ BIGNUM *n = number_of(key, "n");

        (void)state;
        assert_int_equal(add_file(h, &pem), NEEDLE_KEY);
        assert_param_hunted(h, key, "rsa-factor1");
        assert_param_hunted(h, key, "rsa-factor3");
        assert_param_hunted(h, key, "rsa-exponent3");
        assert_param_hunted(h, key, "rsa-coefficient2");
        assert_number_spared(h, n);
}

static void check_ec(const char *curve) {
        _cleanup_pkey_ EVP_PKEY *key = make_ec(curve);
        _cleanup_bytes_ struct bytes pem = encode(key, "PEM", "type-specific", NULL);
        _cleanup_hunter_ struct hunter *h = hunter_new();
        _cleanup_test_bn_ BIGNUM *d = number_of(key, OSSL_PKEY_PARAM_PRIV_KEY);
        _cleanup_test_bn_ BIGNUM *x = number_of(key, OSSL_PKEY_PARAM_EC_PUB_X);
        _cleanup_test_bn_ BIGNUM *y = number_of(key, OSSL_PKEY_PARAM_EC_PUB_Y);
        _cleanup_test_bn_ BIGNUM *order = number_of(key, OSSL_PKEY_PARAM_EC_ORDER);
        _cleanup_bytes_ struct bytes limbs = { 0 };
        BN_CTX *ctx = BN_CTX_new();
        BN_MONT_CTX *mont = BN_MONT_CTX_new();

        assert_int_equal(add_file(h, &pem), NEEDLE_KEY);
        assert_number_hunted(h, d);
        assert_number_spared(h, x);
        assert_number_spared(h, y);
        assert_number_spared(h, order);
        assert_int_equal(BN_MONT_CTX_set(mont, order, ctx), 1);
        assert_int_equal(BN_to_montgomery(d, d, mont, ctx), 1);
        limbs = made_limbs(d);
        assert_hunted(h, limbs.data, limbs.size);
        BN_MONT_CTX_free(mont);
        BN_CTX_free(ctx);
}

static void the_scalar_of_an_ec_key_is_hunted_on_each_curve(void **state) {
        static const char *const curves[] = { "P-256",     "P-384",           "P-521",
                                              "secp256k1", "brainpoolP256r1", "P-224" };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(curves); i++)
                check_ec(curves[i]);
}

static void assert_text_forms_hunted(struct hunter *h, const uint8_t *bytes, size_t n) {
        _cleanup_bytes_ struct bytes hex = made_hex(bytes, n, "%02x", 0);

        assert_hunted(h, bytes, n);
        assert_hunted(h, hex.data, hex.size);
        for (size_t phase = 0; phase < 3; phase++) {
                _cleanup_bytes_ struct bytes b = made_base64(bytes, n, phase, false);

                assert_hunted(h, b.data, b.size);
        }
}

static void an_ed25519_seed_is_hunted_with_what_it_expands_to(void **state) {
        _cleanup_pkey_ EVP_PKEY *key = make_edwards("ED25519");
        _cleanup_bytes_ struct bytes pem = encode(key, "PEM", "PrivateKeyInfo", NULL);
        _cleanup_bytes_ struct bytes seed = seed_of(key);
        _cleanup_hunter_ struct hunter *h = hunter_new();
        uint8_t digest[64], public[32];
        size_t size = sizeof(public);

        (void)state;
        assert_int_equal(add_file(h, &pem), NEEDLE_KEY);
        assert_text_forms_hunted(h, seed.data, seed.size);
        assert_int_equal(EVP_Digest(seed.data, seed.size, digest, NULL, EVP_sha512(), NULL), 1);
        assert_hunted(h, digest, 32);
        assert_hunted(h, digest + 32, 32);
        digest[0] &= 248;
        digest[31] &= 127;
        digest[31] |= 64;
        assert_hunted(h, digest, 32);
        assert_int_equal(EVP_PKEY_get_raw_public_key(key, public, &size), 1);
        assert_not_hunted(h, public, size);
}

static void the_other_edwards_and_montgomery_keys_are_hunted(void **state) {
        static const char *const names[] = { "X25519", "ED448", "X448" };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
                _cleanup_pkey_ EVP_PKEY *key = make_edwards(names[i]);
                _cleanup_bytes_ struct bytes der = encode(key, "DER", "PrivateKeyInfo", NULL);
                _cleanup_bytes_ struct bytes seed = seed_of(key);
                _cleanup_hunter_ struct hunter *h = hunter_new();
                uint8_t public[64];
                size_t size = sizeof(public);

                assert_int_equal(add_file(h, &der), NEEDLE_KEY);
                assert_text_forms_hunted(h, seed.data, seed.size);
                assert_int_equal(EVP_PKEY_get_raw_public_key(key, public, &size), 1);
                assert_not_hunted(h, public, size);
        }
}

/* Each container of one key gives its numbers, and none gives its modulus. */
static void every_container_gives_the_same_numbers(void **state) {
        _cleanup_pkey_ EVP_PKEY *key = make_rsa(1024, 2);
        struct bytes files[6] = {
                encode(key, "PEM", "PrivateKeyInfo", NULL),
                encode(key, "PEM", "type-specific", NULL),
                encode(key, "DER", "PrivateKeyInfo", NULL),
                encode(key, "DER", "type-specific", NULL),
                encode_openssh(key, "none"),
        };

        (void)state;
        files[5] = armor(&files[4], "OPENSSH PRIVATE KEY", "\r\n");
        for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
                _cleanup_hunter_ struct hunter *h = hunter_new();

                assert_int_equal(add_file(h, &files[i]), NEEDLE_KEY);
                assert_rsa_hunted(h, key);
                bytes_done(&files[i]);
        }
}

static void an_openssh_file_gives_ecdsa_and_ed25519_keys(void **state) {
        _cleanup_pkey_ EVP_PKEY *ec = make_ec("P-256"), *ed = make_edwards("ED25519");
        _cleanup_bytes_ struct bytes ec_file = encode_openssh(ec, "none");
        _cleanup_bytes_ struct bytes ed_file = encode_openssh(ed, "none");
        _cleanup_bytes_ struct bytes seed = seed_of(ed);
        _cleanup_hunter_ struct hunter *h = hunter_new();

        (void)state;
        assert_int_equal(add_file(h, &ec_file), NEEDLE_KEY);
        assert_int_equal(add_file(h, &ed_file), NEEDLE_KEY);
        assert_param_hunted(h, ec, OSSL_PKEY_PARAM_PRIV_KEY);
        assert_hunted(h, seed.data, seed.size);
}

/* The text that stands in the file is hunted as far as it is private, in any wrapping. */
static void the_private_part_of_a_pem_text_is_hunted_and_the_public_is_not(void **state) {
        _cleanup_pkey_ EVP_PKEY *key = make_rsa(2048, 2);
        _cleanup_bytes_ struct bytes der = encode(key, "DER", "type-specific", NULL);
        _cleanup_bytes_ struct bytes pem = armor(&der, "RSA PRIVATE KEY", "\n");
        _cleanup_bytes_ struct bytes d = { 0 }, one_line = made_base64(der.data, der.size, 0, 0);
        _cleanup_test_bn_ BIGNUM *n = number_of(key, OSSL_PKEY_PARAM_RSA_D);
        _cleanup_hunter_ struct hunter *h = hunter_new();
        const uint8_t *at;
        size_t from, line, end;

        (void)state;
        d = made_big_endian(n);
        at = memmem(der.data, der.size, d.data, d.size);
        assert_non_null(at);
        from = (size_t)(at - der.data) * 4 / 3 + 2; /* the first character of d alone */
        assert_int_equal(add_file(h, &pem), NEEDLE_KEY);
        assert_hunted(h, one_line.data + from, one_line.size - from);
        assert_not_hunted(h, one_line.data, from - 12);
        /* In the file's own lines of 64, behind a head line of 32: whole, with line ends. */
        line = 32 + from + from / 64;
        end = pem.size - 31;
        while (pem.data[end - 1] == '=')
                end--;
        assert_hunted(h, pem.data + line, end - line);
}

/* A 16-byte piece of any form, from any place of it. */
static void a_fragment_from_any_place_is_hunted(void **state) {
        _cleanup_pkey_ EVP_PKEY *key = make_ec("P-256");
        _cleanup_bytes_ struct bytes pem = encode(key, "PEM", "PrivateKeyInfo", NULL);
        _cleanup_hunter_ struct hunter *h = hunter_new();
        _cleanup_test_bn_ BIGNUM *d = number_of(key, OSSL_PKEY_PARAM_PRIV_KEY);
        _cleanup_forms_ struct made_forms forms = { 0 };

        (void)state;
        assert_int_equal(add_file(h, &pem), NEEDLE_KEY);
        make_forms(d, &forms);
        for (size_t i = 0; i < forms.n; i++)
                for (size_t at = 0; at + FRAGMENT_SIZE <= forms.forms[i].bytes.size; at++)
                        assert_hunted(h, forms.forms[i].bytes.data + at, FRAGMENT_SIZE);
}

static void noise_holds_no_fragment_of_many_keys(void **state) {
        _cleanup_hunter_ struct hunter *h = hunter_new();

        (void)state;
        for (size_t i = 0; i < 6; i++) {
                _cleanup_pkey_ EVP_PKEY *key = make_rsa(1024, 2);
                _cleanup_bytes_ struct bytes pem = encode(key, "PEM", "PrivateKeyInfo", NULL);

                assert_int_equal(add_file(h, &pem), NEEDLE_KEY);
        }
        for (size_t i = 0; i < 512; i++) {
                noise_fill(&h->seed, h->field, FIELD_SIZE);
                assert_int_equal(hunter_hunt(h, 0, FIELD_SIZE), 0);
                if (i % 8 == 0)
                        assert_int_equal(hunter_recheck(h, FIELD_SIZE), 0);
        }
}

static void put_integer(struct bytes *b, const BIGNUM *n) {
        uint8_t buf[512] = { 0x02, 0x82 };
        int size = BN_bn2bin(n, buf + 5) + 1; /* with a leading zero where it needs one */
        bool zero = (buf[5] & 0x80) || BN_is_zero(n);

        size -= !zero;
        if (size < 0x80) {
                put_bytes(b, buf, 1);
                put_bytes(b, &(uint8_t){ (uint8_t)size }, 1);
        } else {
                buf[2] = (uint8_t)(size >> 8);
                buf[3] = (uint8_t)size;
                put_bytes(b, buf, size < 0x100 ? 1 : 4);
                if (size < 0x100)
                        put_bytes(b, &(uint8_t[]){ 0x81, (uint8_t)size }, 2);
        }
        put_bytes(b, buf + (zero ? 4 : 5), (size_t)size);
}

/* An RSAPrivateKey of any eight numbers: n, e, d, p, q, dp, dq, qinv. */
static struct bytes make_pkcs1(const BIGNUM *const numbers[8]) {
        _cleanup_bytes_ struct bytes body = { 0 };
        struct bytes der = { 0 };
        uint8_t head[] = { 0x30, 0x82, 0, 0 };

        put_bytes(&body, "\x02\x01", 3);
        for (size_t i = 0; i < 8; i++)
                put_integer(&body, numbers[i]);
        head[2] = (uint8_t)(body.size >> 8);
        head[3] = (uint8_t)body.size;
        put_bytes(&der, head, sizeof(head));
        put_bytes(&der, body.data, body.size);
        return der;
}

/* p = 2^512 + 75 makes R mod p and its square trivial: zeros or ones nearly throughout, and
 * memory is full of those. No residue that is mostly one byte may be hunted. */
static void trivial_residues_become_no_needles(void **state) {
        _cleanup_test_bn_ BIGNUM *p = BN_new(), *q = BN_new(), *n = BN_new(), *e = BN_new();
        _cleanup_hunter_ struct hunter *h = hunter_new();
        _cleanup_bytes_ struct bytes der = { 0 };
        BN_CTX *ctx = BN_CTX_new();

        (void)state;
        assert_true(BN_set_bit(p, 512) && BN_add_word(p, 75) && BN_set_bit(q, 512) &&
                    BN_add_word(q, 0x4b5) && BN_mul(n, p, q, ctx) && BN_set_word(e, 65537));
        der = make_pkcs1((const BIGNUM *const[]){ n, e, p, p, q, p, q, p });
        assert_int_equal(add_file(h, &der), NEEDLE_KEY);
        for (size_t i = 0; i < needle_set_count(h->set); i++) {
                const struct needle *needle = needle_set_at(h->set, i);
                size_t plain = 0;

                if (needle->form != FORM_MONTGOMERY && needle->form != FORM_MONTGOMERY52)
                        continue;
                for (size_t k = 0; k < needle->size; k++)
                        plain += needle->bytes[k] == 0 || needle->bytes[k] == 0xff;
                assert_true(plain < needle->size / 2);
        }
        BN_CTX_free(ctx);
}

/* Is d modulo lcm, which libcrypto makes, another number than d modulo phi? For every second key.
 */
static bool has_two_exponents(const EVP_PKEY *key) {
        BN_CTX *ctx = BN_CTX_new();
        _cleanup_test_bn_ BIGNUM *phi = number_of(key, "n"), *e = number_of(key, "e");
        _cleanup_test_bn_ BIGNUM *p = number_of(key, OSSL_PKEY_PARAM_RSA_FACTOR1);
        _cleanup_test_bn_ BIGNUM *q = number_of(key, OSSL_PKEY_PARAM_RSA_FACTOR2);
        _cleanup_test_bn_ BIGNUM *d = number_of(key, OSSL_PKEY_PARAM_RSA_D), *other = BN_new();

        assert_true(BN_sub(phi, phi, p) && BN_sub(phi, phi, q) && BN_add_word(phi, 1));
        assert_non_null(BN_mod_inverse(other, e, phi, ctx));
        BN_CTX_free(ctx);
        return BN_cmp(d, other) != 0;
}

static EVP_PKEY *make_rsa_with_two_exponents(void) {
        for (size_t i = 0; i < KEYS_TRIED_MAX; i++) {
                EVP_PKEY *key = make_rsa(2048, 2);

                if (has_two_exponents(key))
                        return key;
                EVP_PKEY_free(key);
        }
        fail_msg("libcrypto makes d modulo phi");
        return NULL;
}

/* Of a file only n, e and the primes are right: all else is computed, d in both variants. */
static void what_a_file_lacks_is_computed(void **state) {
        _cleanup_pkey_ EVP_PKEY *key = make_rsa_with_two_exponents();
        _cleanup_test_bn_ BIGNUM *n = number_of(key, "n"), *e = number_of(key, "e");
        _cleanup_test_bn_ BIGNUM *p = number_of(key, OSSL_PKEY_PARAM_RSA_FACTOR1);
        _cleanup_test_bn_ BIGNUM *q = number_of(key, OSSL_PKEY_PARAM_RSA_FACTOR2);
        _cleanup_bytes_ struct bytes der =
                make_pkcs1((const BIGNUM *const[]){ n, e, e, p, q, e, e, e });
        _cleanup_hunter_ struct hunter *h = hunter_new();

        (void)state;
        assert_int_equal(add_file(h, &der), NEEDLE_KEY | NEEDLE_TOO_SHORT);
        assert_rsa_hunted(h, key);
}

static int warm(void **state) {
        (void)state;
        return secret_init();
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(every_number_of_an_rsa_1024_key_is_hunted),
                cmocka_unit_test(every_number_of_an_rsa_2048_key_is_hunted),
                cmocka_unit_test(every_number_of_an_rsa_3072_key_is_hunted),
                cmocka_unit_test(every_number_of_an_rsa_4096_key_is_hunted),
                cmocka_unit_test(the_third_prime_of_a_key_is_hunted_like_the_others),
                cmocka_unit_test(the_scalar_of_an_ec_key_is_hunted_on_each_curve),
                cmocka_unit_test(an_ed25519_seed_is_hunted_with_what_it_expands_to),
                cmocka_unit_test(the_other_edwards_and_montgomery_keys_are_hunted),
                cmocka_unit_test(every_container_gives_the_same_numbers),
                cmocka_unit_test(an_openssh_file_gives_ecdsa_and_ed25519_keys),
                cmocka_unit_test(the_private_part_of_a_pem_text_is_hunted_and_the_public_is_not),
                cmocka_unit_test(a_fragment_from_any_place_is_hunted),
                cmocka_unit_test(noise_holds_no_fragment_of_many_keys),
                cmocka_unit_test(trivial_residues_become_no_needles),
                cmocka_unit_test(what_a_file_lacks_is_computed),
        };

        return cmocka_run_group_tests(tests, warm, NULL);
}
