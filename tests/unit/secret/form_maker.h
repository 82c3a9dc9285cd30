/* form_maker: the forms of a number, made anew with libcrypto's own conversions and plain loops:
 * nothing of secret/ is used. */
#pragma once

#include "tests/unit/secret/key_maker.h"

struct made_form {
        const char *name;
        struct bytes bytes;
};

#define MADE_FORMS_MAX 24U

struct made_forms {
        struct made_form forms[MADE_FORMS_MAX];
        size_t n;
};

static inline void made_forms_done(struct made_forms *m) {
        for (size_t i = 0; i < m->n; i++)
                bytes_done(&m->forms[i].bytes);
}
#define _cleanup_forms_ _cleanup_(made_forms_done)

static inline struct bytes made_big_endian(const BIGNUM *n) {
        struct bytes b = { malloc((size_t)BN_num_bytes(n) + 1), (size_t)BN_num_bytes(n) };

        BN_bn2bin(n, b.data);
        return b;
}

static inline struct bytes made_limbs(const BIGNUM *n) {
        struct bytes b = made_big_endian(n);

        BN_bn2lebinpad(n, b.data, (int)b.size);
        return b;
}

/* Digits of `bits` bits in little-endian words, least significant first, as far as they matter. */
static inline struct bytes made_digits(const BIGNUM *n, int bits, size_t word) {
        _cleanup_test_bn_ BIGNUM *left = BN_dup(n);
        struct bytes b = { 0 };

        while (!BN_is_zero(left)) {
                _cleanup_test_bn_ BIGNUM *digit = BN_dup(left);
                uint8_t buf[8];

                BN_mask_bits(digit, bits); /* fails, harmlessly, on shorter ones */
                BN_bn2lebinpad(digit, buf, (int)word);
                put_bytes(&b, buf, word);
                BN_rshift(left, left, bits);
        }
        while (b.size > 0 && b.data[b.size - 1] == 0)
                b.size--;
        return b;
}

/* Java: the int[] of BigInteger, most significant first. */
static inline struct bytes made_java(const BIGNUM *n) {
        _cleanup_bytes_ struct bytes digits = made_digits(n, 32, 4);
        struct bytes b = { 0 };
        uint8_t words[2048] = { 0 };
        size_t n_words = (digits.size + 3) / 4;

        memcpy(words, digits.data, digits.size);
        for (size_t i = n_words; i > 0; i--)
                put_bytes(&b, words + (i - 1) * 4, 4);
        return b;
}

static inline struct bytes made_decimal(const BIGNUM *n) {
        char *text = BN_bn2dec(n);
        struct bytes b = bytes_new(text, strlen(text));

        OPENSSL_free(text);
        return b;
}

static inline struct bytes made_hex(const uint8_t *bytes, size_t n, const char *format,
                                    size_t drop_last) {
        struct bytes b = { 0 };
        char one[8];

        for (size_t i = 0; i < n; i++)
                put_bytes(&b, one, (size_t)snprintf(one, sizeof(one), format, bytes[i]));
        b.size -= drop_last;
        return b;
}

/* base64 of `phase` other bytes and these: the characters in which no other byte takes part. */
static inline struct bytes made_base64(const uint8_t *bytes, size_t n, size_t phase, bool url) {
        _cleanup_free_ uint8_t *in = calloc(1, n + phase + 1);
        _cleanup_free_ char *text = malloc((n + phase) * 4 / 3 + 8);
        size_t from = phase == 0 ? 0 : phase == 1 ? 2 : 3, to;

        memset(in, 0xa5, phase);
        memcpy(in + phase, bytes, n);
        EVP_EncodeBlock((uint8_t *)text, in, (int)(n + phase));
        to = (n + phase) * 8 / 6;
        for (char *c = text; url && *c; c++)
                *c = *c == '+' ? '-' : *c == '/' ? '_' : *c;
        return bytes_new(text + from, to - from);
}

static inline void made_add(struct made_forms *m, const char *name, struct bytes b) {
        assert_true(m->n < MADE_FORMS_MAX);
        m->forms[m->n++] = (struct made_form){ name, b };
}

static inline void make_forms(const BIGNUM *n, struct made_forms *ret) {
        _cleanup_bytes_ struct bytes be = made_big_endian(n);

        made_add(ret, "big-endian", made_big_endian(n));
        made_add(ret, "limbs", made_limbs(n));
        made_add(ret, "int[] of Java", made_java(n));
        made_add(ret, "30-bit digits", made_digits(n, 30, 4));
        made_add(ret, "52-bit digits", made_digits(n, 52, 8));
        made_add(ret, "60-bit digits", made_digits(n, 60, 8));
        made_add(ret, "decimal", made_decimal(n));
        made_add(ret, "hex", made_hex(be.data, be.size, "%02x", 0));
        made_add(ret, "HEX", made_hex(be.data, be.size, "%02X", 0));
        made_add(ret, "hex, colons", made_hex(be.data, be.size, "%02x:", 1));
        made_add(ret, "HEX, colons", made_hex(be.data, be.size, "%02X:", 1));
        for (size_t phase = 0; phase < 3; phase++) {
                made_add(ret, "base64", made_base64(be.data, be.size, phase, false));
                made_add(ret, "base64url", made_base64(be.data, be.size, phase, true));
        }
}
