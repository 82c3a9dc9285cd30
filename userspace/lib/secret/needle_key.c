/* needle_key: from a parsed private key to every number that is equal to it.
 *
 * A process may hold numbers that stand in no file: d modulo the other of lcm and phi, the
 * inverse of the other prime, residues that Montgomery arithmetic precomputes per prime.
 * gcd(2^k - residue, n) gives the prime back, so each of them is the key.
 */

#include <errno.h>
#include <openssl/bnerr.h>
#include <openssl/err.h>
#include <string.h>

#include "secret/buf.h"
#include "secret/digest.h"
#include "secret/needle_add.h"
#include "secret/numbers.h"

#define LIMB_BITS 64
#define DIGIT52_BITS 52
#define SEED_25519_SIZE 32U

/* 2^252 + 27742317777372353535851937790883648493, the order of edwards25519 (RFC 8032 5.1). */
#define ORDER_25519 "1000000000000000000000000000000014def9dea2f79cd65812631a5cf5d3ed"

struct adder {
        struct needle_set *set;
        uint16_t origin;
        BN_CTX *ctx;
};

static int to_bytes(const BIGNUM *number, struct secret_buf *ret) {
        size_t n = (size_t)BN_num_bytes(number);
        int r;

        secret_buf_clear(ret);
        r = secret_buf_reserve(ret, n);
        if (r < 0)
                return r;
        ret->size = (size_t)BN_bn2bin(number, ret->data);
        return 0;
}

static int add_number(const struct adder *adder, const BIGNUM *number) {
        _cleanup_secret_buf_ struct secret_buf bytes = { 0 };
        int r = to_bytes(number, &bytes);

        return r < 0 ? r : needle_add_number(adder->set, bytes.data, bytes.size, adder->origin);
}

static int add_computed(const struct adder *adder, const BIGNUM *number, enum form form) {
        _cleanup_secret_buf_ struct secret_buf bytes = { 0 };
        int r = to_bytes(number, &bytes);

        if (r < 0)
                return r;
        return needle_add_computed(adder->set, bytes.data, bytes.size, form, adder->origin);
}

/* 2^exponent mod m in limbs; in 52-bit digits also with m added once: OpenSSL's "almost"
 * Montgomery multiplication does not reduce fully. */
static int add_power(const struct adder *adder, const BIGNUM *m, int exponent, enum form form) {
        _cleanup_bn_ BIGNUM *power = BN_new();
        int r;

        if (!power || !BN_set_bit(power, exponent) || !BN_nnmod(power, power, m, adder->ctx))
                return -ENOMEM;
        r = add_computed(adder, power, form);
        if (r < 0 || form != FORM_MONTGOMERY52)
                return r;
        return BN_add(power, power, m) ? add_computed(adder, power, form) : -ENOMEM;
}

/* What Montgomery arithmetic modulo a prime keeps: R and R^2 for limbs; for OpenSSL's 52-bit
 * digits (crypto/bn/rsaz_exp_x2.c) R' = 2^(52k), R'^2, R^2 and the step R^4/R' between. */
static int add_residues(const struct adder *adder, const BIGNUM *prime) {
        int bits = BN_num_bits(prime);
        int r64 = (bits + LIMB_BITS - 1) / LIMB_BITS * LIMB_BITS;
        /* Two bits more than the prime: its number_of_digits(factor_size + 2). */
        int r52 = (bits + 2 + DIGIT52_BITS - 1) / DIGIT52_BITS * DIGIT52_BITS;
        const struct {
                int exponent;
                enum form form;
        } powers[] = {
                { r64, FORM_MONTGOMERY },       { 2 * r64, FORM_MONTGOMERY },
                { r52, FORM_MONTGOMERY52 },     { 2 * r52, FORM_MONTGOMERY52 },
                { 2 * r64, FORM_MONTGOMERY52 }, { 4 * r64 - r52, FORM_MONTGOMERY52 },
        };

        for (size_t i = 0; i < ARRAY_SIZE(powers); i++) {
                int r = add_power(adder, prime, powers[i].exponent, powers[i].form);

                if (r < 0)
                        return r;
        }
        return 0;
}

/* The inverse of `number` modulo `modulus`, if there is one: a bogus key has none. */
static int add_inverse(const struct adder *adder, const BIGNUM *number, const BIGNUM *modulus) {
        _cleanup_bn_ BIGNUM *inverse = BN_new();

        if (!inverse)
                return -ENOMEM;
        if (!BN_mod_inverse(inverse, number, modulus, adder->ctx)) {
                bool none = ERR_GET_REASON(ERR_peek_last_error()) == BN_R_NO_INVERSE;

                ERR_clear_error();
                return none ? 0 : -ENOMEM;
        }
        return add_number(adder, inverse);
}

/* phi and lcm of all p - 1. */
static int totients(const struct adder *adder, BIGNUM *const *primes, size_t n, BIGNUM *ret_phi,
                    BIGNUM *ret_lcm) {
        _cleanup_bn_ BIGNUM *less = BN_new(), *gcd = BN_new();

        if (!less || !gcd || !BN_one(ret_phi) || !BN_one(ret_lcm))
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                if (!BN_sub(less, primes[i], BN_value_one()) ||
                    !BN_mul(ret_phi, ret_phi, less, adder->ctx) ||
                    !BN_gcd(gcd, ret_lcm, less, adder->ctx) ||
                    !BN_mul(ret_lcm, ret_lcm, less, adder->ctx) ||
                    !BN_div(ret_lcm, NULL, ret_lcm, gcd, adder->ctx))
                        return -ENOMEM;
        }
        return 0;
}

static int add_rsa_primes(const struct adder *adder, const BIGNUM *e, BIGNUM *const *primes,
                          size_t n) {
        _cleanup_bn_ BIGNUM *phi = BN_new(), *lcm = BN_new(), *less = BN_new();
        int r;

        if (!phi || !lcm || !less)
                return -ENOMEM;
        r = totients(adder, primes, n, phi, lcm);
        if (r < 0)
                return r;
        r = add_inverse(adder, e, phi);
        if (r < 0)
                return r;
        r = add_inverse(adder, e, lcm);
        if (r < 0)
                return r;
        for (size_t i = 0; i < n; i++) {
                if (!BN_sub(less, primes[i], BN_value_one()))
                        return -ENOMEM;
                r = add_inverse(adder, e, less);
                if (r < 0)
                        return r;
                r = add_residues(adder, primes[i]);
                if (r < 0)
                        return r;
                for (size_t j = 0; j < n; j++) {
                        r = j == i ? 0 : add_inverse(adder, primes[j], primes[i]);
                        if (r < 0)
                                return r;
                }
        }
        return 0;
}

static int add_rsa(const struct adder *adder, const struct key *key) {
        _cleanup_bn_ BIGNUM *e = number_from(key->exponent);
        BIGNUM *primes[KEY_FACTORS_MAX] = { 0 };
        size_t n = 0;
        int r = e ? 0 : -ENOMEM;

        for (size_t i = 0; i < key->n_numbers && n < KEY_FACTORS_MAX && r == 0; i++) {
                if (key->numbers[i].part != KEY_PRIME)
                        continue;
                primes[n] = number_from(key->numbers[i].value);
                /* One is no prime, and divides by zero below. */
                if (primes[n] && BN_is_one(primes[n])) {
                        BN_clear_free(primes[n]);
                        continue;
                }
                r = primes[n++] ? 0 : -ENOMEM;
        }
        if (r == 0 && n >= 2)
                r = add_rsa_primes(adder, e, primes, n);
        for (size_t i = 0; i < n; i++)
                BN_clear_free(primes[i]);
        return r;
}

/* d in Montgomery form modulo the order of its curve. */
static int add_ec(const struct adder *adder, const struct key *key) {
        _cleanup_bn_ BIGNUM *order = NULL, *d = NULL;
        int r;

        r = number_order_of(key->curve, &order);
        if (r < 0)
                return r == -ENOENT ? 0 : r;
        d = number_from(key->numbers[0].value);
        if (!d || !BN_lshift(d, d, (BN_num_bits(order) + LIMB_BITS - 1) / LIMB_BITS * LIMB_BITS) ||
            !BN_nnmod(d, d, order, adder->ctx))
                return -ENOMEM;
        return add_computed(adder, d, FORM_MONTGOMERY);
}

static int add_derived(const struct adder *adder, const uint8_t *bytes, size_t size) {
        return needle_set_add(adder->set, bytes, size, FORM_DERIVED, adder->origin);
}

/* The scalar of RFC 7748 and 8032: bits that the curve fixes are fixed. */
static int add_clamped(const struct adder *adder, const uint8_t *bytes, size_t size,
                       uint8_t low_mask, uint8_t high_mask, uint8_t high_bit) {
        _cleanup_secret_buf_ struct secret_buf scalar = { 0 };
        int r = secret_buf_add(&scalar, bytes, size);

        if (r < 0)
                return r;
        scalar.data[0] &= low_mask;
        scalar.data[size - 1] = (uint8_t)((scalar.data[size - 1] & high_mask) | high_bit);
        return add_derived(adder, scalar.data, size);
}

/* The scalar reduced modulo the order, as libraries with a generic scalar type keep it. */
static int add_reduced(const struct adder *adder, const uint8_t *half) {
        _cleanup_bn_ BIGNUM *order = NULL, *scalar = NULL;
        _cleanup_secret_buf_ struct secret_buf bytes = { 0 }, clamped = { 0 };
        int r = secret_buf_add(&clamped, half, SEED_25519_SIZE);

        if (r < 0)
                return r;
        clamped.data[0] &= 0xf8;
        clamped.data[SEED_25519_SIZE - 1] = (clamped.data[SEED_25519_SIZE - 1] & 0x3f) | 0x40;
        scalar = BN_lebin2bn(clamped.data, (int)SEED_25519_SIZE, NULL);
        if (!scalar || !BN_hex2bn(&order, ORDER_25519) ||
            !BN_nnmod(scalar, scalar, order, adder->ctx))
                return -ENOMEM;
        r = secret_buf_reserve(&bytes, SEED_25519_SIZE);
        if (r < 0)
                return r;
        if (BN_bn2lebinpad(scalar, bytes.data, (int)SEED_25519_SIZE) < 0)
                return -ENOMEM;
        bytes.size = SEED_25519_SIZE;
        return add_derived(adder, bytes.data, bytes.size);
}

static int add_ed25519(const struct adder *adder, struct key_bytes seed) {
        uint8_t halves[DIGEST_512_SIZE];
        int r = digest_sha512(seed.bytes, seed.size, halves);

        if (r == 0)
                r = add_derived(adder, halves, sizeof(halves));
        if (r == 0)
                r = add_clamped(adder, halves, sizeof(halves) / 2, 0xf8, 0x7f, 0x40);
        if (r == 0)
                r = add_reduced(adder, halves);
        explicit_bzero(halves, sizeof(halves));
        return r;
}

static int add_ed448(const struct adder *adder, struct key_bytes seed) {
        uint8_t halves[DIGEST_448_SIZE];
        int r = digest_shake256(seed.bytes, seed.size, halves);

        if (r == 0)
                r = add_derived(adder, halves, sizeof(halves));
        if (r == 0) { /* the highest of 57 bytes is zero, the next has its top bit set */
                halves[sizeof(halves) / 2 - 1] = 0;
                r = add_clamped(adder, halves, sizeof(halves) / 2 - 1, 0xfc, 0xff, 0x80);
        }
        explicit_bzero(halves, sizeof(halves));
        return r;
}

static int add_implied(const struct adder *adder, const struct key *key) {
        struct key_bytes first = key->numbers[0].value;

        switch (key->kind) {
        case KEY_RSA:
                return add_rsa(adder, key);
        case KEY_EC:
                return add_ec(adder, key);
        case KEY_ED25519:
                return add_ed25519(adder, first);
        case KEY_ED448:
                return add_ed448(adder, first);
        case KEY_X25519:
                return add_clamped(adder, first.bytes, first.size, 0xf8, 0x7f, 0x40);
        case KEY_X448:
                return add_clamped(adder, first.bytes, first.size, 0xfc, 0xff, 0x80);
        default:
                return 0;
        }
}

int needle_add_key(struct needle_set *set, const struct key *key, uint16_t origin,
                   unsigned *flags) {
        _cleanup_bn_ctx_ BN_CTX *ctx = BN_CTX_new();
        struct adder adder = { .set = set, .origin = origin, .ctx = ctx };
        int r;

        if (!ctx)
                return -ENOMEM;
        *flags |= NEEDLE_KEY;
        if (key->kind == KEY_OTHER)
                *flags |= NEEDLE_ENCRYPTED;
        r = needle_add_bytes(set, key->secret.bytes, key->secret.size, origin);
        if (r < 0)
                return r;
        for (size_t i = 0; i < key->n_numbers; i++) {
                struct key_bytes value = key->numbers[i].value;

                if (value.size < NEEDLE_SIZE_MIN)
                        *flags |= NEEDLE_TOO_SHORT;
                r = needle_add_number(set, value.bytes, value.size, origin);
                if (r < 0)
                        return r;
        }
        return add_implied(&adder, key);
}
