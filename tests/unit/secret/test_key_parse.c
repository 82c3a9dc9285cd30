/* Containers give their numbers; what is cut, torn or foreign gives an error, at every byte. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "secret/init.h"
#include "secret/key_parse.h"
#include "tests/unit/secret/form_maker.h"
#include "tests/unit/secret/hunter.h"

static void assert_number(const struct key *key, enum key_part part, size_t nth,
                          const BIGNUM *expected) {
        for (size_t i = 0; i < key->n_numbers; i++) {
                _cleanup_test_bn_ BIGNUM *n = NULL;

                if (key->numbers[i].part != part || nth-- > 0)
                        continue;
                n = BN_bin2bn(key->numbers[i].value.bytes, (int)key->numbers[i].value.size, NULL);
                assert_int_equal(BN_cmp(n, expected), 0);
                return;
        }
        fail_msg("part %d is missing", (int)part);
}

static void assert_param(const struct key *key, enum key_part part, size_t nth,
                         const EVP_PKEY *made, const char *name) {
        _cleanup_test_bn_ BIGNUM *n = number_of(made, name);

        assert_number(key, part, nth, n);
}

static void an_rsa_key_gives_its_numbers_by_name(void **state) {
        _cleanup_pkey_ EVP_PKEY *made = make_rsa(1024, 2);
        struct bytes files[] = {
                encode(made, "DER", "PrivateKeyInfo", NULL),
                encode(made, "DER", "type-specific", NULL),
                encode_openssh(made, "none"),
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
                struct key key;

                assert_int_equal(key_parse(files[i].data, files[i].size, &key), 0);
                assert_int_equal(key.kind, KEY_RSA);
                assert_int_equal(key.container, files[i].size);
                assert_param(&key, KEY_D, 0, made, OSSL_PKEY_PARAM_RSA_D);
                assert_param(&key, KEY_PRIME, 0, made, OSSL_PKEY_PARAM_RSA_FACTOR1);
                assert_param(&key, KEY_PRIME, 1, made, OSSL_PKEY_PARAM_RSA_FACTOR2);
                assert_param(&key, KEY_COEFFICIENT, 0, made, OSSL_PKEY_PARAM_RSA_COEFFICIENT1);
                assert_true(key.secret.bytes >= files[i].data);
                assert_true(key.secret.bytes + key.secret.size <= files[i].data + files[i].size);
                assert_int_equal(key_check(&key), 0);
                bytes_done(&files[i]);
        }
}

static void an_ec_key_gives_its_scalar_point_and_curve(void **state) {
        static const char *const curves[] = { "P-256", "P-384", "P-521", "secp256k1", "sect283k1" };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(curves); i++)
                for (size_t k = 0; k < 2; k++) {
                        _cleanup_pkey_ EVP_PKEY *made = make_ec(curves[i]);
                        _cleanup_bytes_ struct bytes file =
                                encode(made, "DER", k ? "PrivateKeyInfo" : "type-specific", NULL);
                        struct key key;

                        assert_int_equal(key_parse(file.data, file.size, &key), 0);
                        assert_int_equal(key.kind, KEY_EC);
                        assert_param(&key, KEY_SCALAR, 0, made, OSSL_PKEY_PARAM_PRIV_KEY);
                        assert_true(key.point.size > 0 && key.curve.size > 0);
                        assert_int_equal(key_check(&key), 0);
                }
}

static void seeds_come_as_bytes(void **state) {
        static const struct {
                const char *name;
                enum key_kind kind;
        } kinds[] = { { "ED25519", KEY_ED25519 },
                      { "X25519", KEY_X25519 },
                      { "ED448", KEY_ED448 },
                      { "X448", KEY_X448 } };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
                _cleanup_pkey_ EVP_PKEY *made = make_edwards(kinds[i].name);
                _cleanup_bytes_ struct bytes file = encode(made, "DER", "PrivateKeyInfo", NULL);
                _cleanup_bytes_ struct bytes seed = seed_of(made);
                struct key key;

                assert_int_equal(key_parse(file.data, file.size, &key), 0);
                assert_int_equal(key.kind, kinds[i].kind);
                assert_int_equal(key.n_numbers, 1);
                assert_int_equal(key.numbers[0].value.size, seed.size);
                assert_memory_equal(key.numbers[0].value.bytes, seed.data, seed.size);
        }
}

static void primes_up_to_the_limit_are_read(void **state) {
        static const char *const factors[] = { "rsa-factor1", "rsa-factor2", "rsa-factor3",
                                               "rsa-factor4" };
        _cleanup_pkey_ EVP_PKEY *made = make_rsa(4096, 4);
        _cleanup_bytes_ struct bytes file = encode(made, "DER", "type-specific", NULL);
        struct key key;

        (void)state;
        assert_int_equal(key_parse(file.data, file.size, &key), 0);
        for (size_t i = 0; i < ARRAY_SIZE(factors); i++)
                assert_param(&key, KEY_PRIME, i, made, factors[i]);
        assert_int_equal(key_check(&key), 0);
}

static void put_tlv(struct bytes *b, uint8_t tag, const void *data, size_t n) {
        const uint8_t head[] = { tag, 0x82, (uint8_t)(n >> 8), (uint8_t)n };

        if (n < 0x80)
                put_bytes(b, (uint8_t[]){ tag, (uint8_t)n }, 2);
        else if (n < 0x100)
                put_bytes(b, (uint8_t[]){ tag, 0x81, (uint8_t)n }, 3);
        else
                put_bytes(b, head, sizeof(head));
        put_bytes(b, data, n);
}

/* An RSAPrivateKey whose modulus has `bits` bits, and with as many primes as asked for; the
 * numbers mean nothing. */
static struct bytes fake_rsa(size_t bits, size_t primes) {
        _cleanup_bytes_ struct bytes body = { 0 }, more = { 0 };
        struct bytes der = { 0 };
        uint8_t number[4096];

        memset(number, 0x55, sizeof(number));
        put_tlv(&body, 0x02, primes > 2 ? "\1" : "\0", 1);
        put_tlv(&body, 0x02, number, bits / 8);
        for (size_t i = 0; i < 7; i++)
                put_tlv(&body, 0x02, number, 20);
        for (size_t i = 2; i < primes; i++) {
                _cleanup_bytes_ struct bytes item = { 0 };

                for (size_t k = 0; k < 3; k++)
                        put_tlv(&item, 0x02, number, 20);
                put_tlv(&more, 0x30, item.data, item.size);
        }
        if (primes > 2)
                put_tlv(&body, 0x30, more.data, more.size);
        put_tlv(&der, 0x30, body.data, body.size);
        return der;
}

static void limits_hold(void **state) {
        static const struct {
                const char *name;
                size_t bits, primes;
                int r;
        } cases[] = {
                { "a modulus of the largest size", KEY_BITS_MAX, 2, 0 },
                { "a modulus over it", KEY_BITS_MAX + 8, 2, -E2BIG },
                { "the most primes", 2048, KEY_FACTORS_MAX, 0 },
                { "one prime more", 2048, KEY_FACTORS_MAX + 1, -E2BIG },
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                _cleanup_bytes_ struct bytes der = fake_rsa(cases[i].bits, cases[i].primes);
                struct key key;

                print_message("  %s\n", cases[i].name);
                assert_int_equal(key_parse(der.data, der.size, &key), cases[i].r);
                if (cases[i].r == 0)
                        assert_int_equal(key_check(&key), -EBADMSG);
        }
}

static void a_container_over_the_limit_is_refused(void **state) {
        _cleanup_free_ uint8_t *big = calloc(1, KEY_SIZE_MAX + 16);
        const size_t n = KEY_SIZE_MAX - 3; /* behind a head of five bytes */
        struct key key;

        (void)state;
        memcpy(big, (uint8_t[]){ 0x30, 0x83, 0, 0, 0 }, 5);
        big[2] = (uint8_t)(n >> 16);
        big[3] = (uint8_t)(n >> 8);
        big[4] = (uint8_t)n;
        assert_int_equal(key_parse(big, KEY_SIZE_MAX + 16, &key), -EBADMSG); /* not minimal */
        memcpy(big, (uint8_t[]){ 0x30, 0x83, 0x01, 0x00, 0x00 }, 5);
        assert_int_equal(key_parse(big, KEY_SIZE_MAX + 16, &key), -E2BIG);
}

/* A copy of exactly `n` bytes, so that a read behind them is caught. */
static int parse_exactly(const uint8_t *bytes, size_t n, struct key *ret) {
        _cleanup_free_ uint8_t *copy = malloc(n ? n : 1);

        assert_non_null(copy);
        memcpy(copy, bytes, n);
        return key_parse(copy, n, ret);
}

static void a_container_cut_anywhere_is_none(void **state) {
        _cleanup_pkey_ EVP_PKEY *rsa = make_rsa(1024, 2), *ec = make_ec("P-256");
        _cleanup_pkey_ EVP_PKEY *ed = make_edwards("ED25519");
        struct bytes files[] = {
                encode(rsa, "DER", "PrivateKeyInfo", NULL),
                encode(rsa, "DER", "type-specific", NULL),
                encode(ec, "DER", "PrivateKeyInfo", NULL),
                encode(ec, "DER", "type-specific", NULL),
                encode(ed, "DER", "PrivateKeyInfo", NULL),
                encode_openssh(rsa, "none"),
                encode_openssh(ec, "none"),
                encode_openssh(ed, "none"),
        };
        struct key key;

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
                for (size_t n = 0; n < files[i].size; n++)
                        assert_int_equal(parse_exactly(files[i].data, n, &key), -EBADMSG);
                assert_int_equal(parse_exactly(files[i].data, files[i].size, &key), 0);
                bytes_done(&files[i]);
        }
}

/* Each byte of the containers changed to some others: no read out of bounds, and whatever parses
 * points into the input. */
static void a_torn_container_is_read_within_its_bounds(void **state) {
        static const uint8_t others[] = { 0x00, 0x01, 0x7f, 0x80, 0x81, 0x82, 0x84, 0xff };
        _cleanup_pkey_ EVP_PKEY *rsa = make_rsa(512, 2), *ec = make_ec("P-256");
        struct bytes files[] = {
                encode(rsa, "DER", "PrivateKeyInfo", NULL),
                encode(ec, "DER", "PrivateKeyInfo", NULL),
                encode(ec, "DER", "type-specific", NULL),
                encode_openssh(rsa, "none"),
                encode_openssh(ec, "none"),
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
                for (size_t at = 0; at < files[i].size; at++)
                        for (size_t k = 0; k < ARRAY_SIZE(others); k++) {
                                uint8_t old = files[i].data[at];
                                struct key key;

                                files[i].data[at] = others[k];
                                if (key_parse(files[i].data, files[i].size, &key) == 0) {
                                        assert_true(key.container <= files[i].size);
                                        assert_true(key.n_numbers > 0);
                                        (void)key_check(&key);
                                }
                                files[i].data[at] = old;
                        }
                bytes_done(&files[i]);
        }
}

static void encrypted_keys_say_so(void **state) {
        _cleanup_pkey_ EVP_PKEY *rsa = make_rsa(1024, 2);
        _cleanup_bytes_ struct bytes pkcs8 = encode(rsa, "DER", "PrivateKeyInfo", "pass");
        _cleanup_bytes_ struct bytes ssh = encode_openssh(rsa, "aes256-ctr");
        struct key key;

        (void)state;
        assert_int_equal(key_parse(pkcs8.data, pkcs8.size, &key), -EKEYREJECTED);
        assert_int_equal(key.container, pkcs8.size);
        assert_int_equal(key_parse(ssh.data, ssh.size, &key), -EKEYREJECTED);
        assert_int_equal(key.container, ssh.size);
}

static void what_is_public_is_no_private_key(void **state) {
        _cleanup_pkey_ EVP_PKEY *rsa = make_rsa(1024, 2), *ec = make_ec("P-256");
        struct bytes files[] = {
                encode(rsa, "DER", "SubjectPublicKeyInfo", NULL),
                encode(ec, "DER", "SubjectPublicKeyInfo", NULL),
                make_certificate(rsa, false),
                make_certificate(ec, false),
        };
        _cleanup_bytes_ struct bytes private = encode(rsa, "DER", "PrivateKeyInfo", NULL);
        struct key key;

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
                assert_int_equal(key_parse(files[i].data, files[i].size, &key), -EBADMSG);
                assert_true(key_is_public_der(files[i].data, files[i].size));
                assert_false(key_is_public_der(files[i].data, files[i].size - 1));
                bytes_done(&files[i]);
        }
        assert_false(key_is_public_der(private.data, private.size));
}

static void a_key_whose_numbers_disagree_does_not_check(void **state) {
        _cleanup_pkey_ EVP_PKEY *rsa = make_rsa(1024, 2), *ec = make_ec("P-256");
        _cleanup_bytes_ struct bytes a = encode(rsa, "DER", "type-specific", NULL);
        _cleanup_bytes_ struct bytes b = encode(ec, "DER", "type-specific", NULL);
        struct key key;

        (void)state;
        assert_int_equal(key_parse(a.data, a.size, &key), 0);
        a.data[key.modulus.bytes - a.data + 40] ^= 1;
        assert_int_equal(key_check(&key), -EBADMSG);
        assert_int_equal(key_parse(b.data, b.size, &key), 0);
        memset(b.data + (key.secret.bytes - b.data), 0xff, key.secret.size);
        assert_int_equal(key_parse(b.data, b.size, &key), 0);
        assert_int_equal(key_check(&key), -EBADMSG);
}

/* PKCS#8 of an algorithm that nobody here knows: its octets are private as they stand. */
static void an_unknown_algorithm_gives_its_bytes(void **state) {
        static const uint8_t der[] = { 0x30, 0x21, 0x02, 0x01, 0x00, 0x30, 0x06, 0x06, 0x04,
                                       0x2a, 0x03, 0x04, 0x05, 0x04, 0x14, 1,    2,    3,
                                       4,    5,    6,    7,    8,    9,    10,   11,   12,
                                       13,   14,   15,   16,   17,   18,   19,   20 };
        struct key key;

        (void)state;
        assert_int_equal(key_parse(der, sizeof(der), &key), 0);
        assert_int_equal(key.kind, KEY_OTHER);
        assert_int_equal(key.numbers[0].value.size, 20);
        assert_ptr_equal(key.numbers[0].value.bytes, der + 15);
}

static int warm(void **state) {
        (void)state;
        return secret_init();
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(an_rsa_key_gives_its_numbers_by_name),
                cmocka_unit_test(an_ec_key_gives_its_scalar_point_and_curve),
                cmocka_unit_test(seeds_come_as_bytes),
                cmocka_unit_test(primes_up_to_the_limit_are_read),
                cmocka_unit_test(limits_hold),
                cmocka_unit_test(a_container_over_the_limit_is_refused),
                cmocka_unit_test(a_container_cut_anywhere_is_none),
                cmocka_unit_test(a_torn_container_is_read_within_its_bounds),
                cmocka_unit_test(encrypted_keys_say_so),
                cmocka_unit_test(what_is_public_is_no_private_key),
                cmocka_unit_test(a_key_whose_numbers_disagree_does_not_check),
                cmocka_unit_test(an_unknown_algorithm_gives_its_bytes),
        };

        return cmocka_run_group_tests(tests, warm, NULL);
}
