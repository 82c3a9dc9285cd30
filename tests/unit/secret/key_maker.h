/* key_maker: fresh keys, their numbers and containers, by libcrypto: the other side of every
 * comparison. Nothing of secret/ is used here. */
#pragma once

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/encoder.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

DEFINE_CLEANUP(pkey, EVP_PKEY, EVP_PKEY_free)
DEFINE_CLEANUP(test_bn, BIGNUM, BN_clear_free)
#define _cleanup_pkey_ _cleanup_(cleanup_pkey)
#define _cleanup_test_bn_ _cleanup_(cleanup_test_bn)

struct bytes {
        uint8_t *data;
        size_t size;
};

static inline void bytes_done(struct bytes *b) {
        free(b->data);
}
#define _cleanup_bytes_ _cleanup_(bytes_done)

static inline struct bytes bytes_new(const void *data, size_t size) {
        struct bytes b = { malloc(size + 1), size };

        assert_non_null(b.data);
        memcpy(b.data, data, size);
        b.data[size] = 0;
        return b;
}

static inline EVP_PKEY *make_rsa(unsigned bits, int primes) {
        EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
        EVP_PKEY *key = NULL;

        assert_non_null(ctx);
        assert_int_equal(EVP_PKEY_keygen_init(ctx), 1);
        assert_int_equal(EVP_PKEY_CTX_set_rsa_keygen_bits(ctx, (int)bits), 1);
        assert_int_equal(EVP_PKEY_CTX_set_rsa_keygen_primes(ctx, primes), 1);
        assert_int_equal(EVP_PKEY_keygen(ctx, &key), 1);
        EVP_PKEY_CTX_free(ctx);
        return key;
}

static inline EVP_PKEY *make_ec(const char *curve) {
        EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", curve);

        assert_non_null(key);
        return key;
}

/* ED25519, X25519, ED448, X448 */
static inline EVP_PKEY *make_edwards(const char *name) {
        EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, name);

        assert_non_null(key);
        return key;
}

static inline BIGNUM *number_of(const EVP_PKEY *key, const char *name) {
        BIGNUM *n = NULL;

        assert_int_equal(EVP_PKEY_get_bn_param(key, name, &n), 1);
        return n;
}

static inline struct bytes seed_of(const EVP_PKEY *key) {
        uint8_t seed[128];
        size_t size = sizeof(seed);

        assert_int_equal(EVP_PKEY_get_raw_private_key(key, seed, &size), 1);
        return bytes_new(seed, size);
}

/* structure: "type-specific" (PKCS#1, SEC1), "PrivateKeyInfo", "SubjectPublicKeyInfo", …;
 * password: NULL, or one. */
static inline struct bytes encode(const EVP_PKEY *key, const char *format, const char *structure,
                                  const char *password) {
        int selection = strcmp(structure, "SubjectPublicKeyInfo") == 0 ? EVP_PKEY_PUBLIC_KEY
                                                                       : EVP_PKEY_KEYPAIR;
        OSSL_ENCODER_CTX *ctx =
                OSSL_ENCODER_CTX_new_for_pkey(key, selection, format, structure, NULL);
        struct bytes b = { 0 };

        assert_non_null(ctx);
        if (password) {
                assert_int_equal(OSSL_ENCODER_CTX_set_cipher(ctx, "AES-256-CBC", NULL), 1);
                assert_int_equal(OSSL_ENCODER_CTX_set_passphrase(ctx, (const uint8_t *)password,
                                                                 strlen(password)),
                                 1);
        }
        assert_int_equal(OSSL_ENCODER_to_data(ctx, &b.data, &b.size), 1);
        OSSL_ENCODER_CTX_free(ctx);
        return b;
}

/* A self-signed certificate, DER or PEM. */
static inline struct bytes make_certificate(EVP_PKEY *key, bool pem) {
        X509 *x = X509_new();
        BIO *out = BIO_new(BIO_s_mem());
        char *data;
        long size;
        struct bytes b;

        assert_non_null(x);
        assert_int_equal(ASN1_INTEGER_set(X509_get_serialNumber(x), 4242), 1);
        X509_gmtime_adj(X509_getm_notBefore(x), 0);
        X509_gmtime_adj(X509_getm_notAfter(x), 86400);
        assert_int_equal(X509_set_pubkey(x, key), 1);
        X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
                                   (const uint8_t *)"server.example.org", -1, -1, 0);
        assert_int_equal(X509_set_issuer_name(x, X509_get_subject_name(x)), 1);
        assert_true(X509_sign(x, key, EVP_sha256()) > 0);
        assert_int_equal(pem ? PEM_write_bio_X509(out, x) : i2d_X509_bio(out, x), 1);
        size = BIO_get_mem_data(out, &data);
        b = bytes_new(data, (size_t)size);
        BIO_free(out);
        X509_free(x);
        return b;
}

/* --- OpenSSH's container, written after PROTOCOL.key --- */

static inline void put_u32(struct bytes *b, uint32_t v) {
        b->data = realloc(b->data, b->size + 5);
        assert_non_null(b->data);
        for (int i = 0; i < 4; i++)
                b->data[b->size++] = (uint8_t)(v >> (24 - 8 * i));
}

static inline void put_bytes(struct bytes *b, const void *data, size_t n) {
        b->data = realloc(b->data, b->size + n + 1);
        assert_non_null(b->data);
        memcpy(b->data + b->size, data, n);
        b->size += n;
}

static inline void put_string(struct bytes *b, const void *data, size_t n) {
        put_u32(b, (uint32_t)n);
        put_bytes(b, data, n);
}

static inline void put_mpint(struct bytes *b, const BIGNUM *n) {
        uint8_t buf[1024] = { 0 };
        int size = BN_bn2bin(n, buf + 1);

        if (buf[1] & 0x80)
                put_string(b, buf, (size_t)size + 1);
        else
                put_string(b, buf + 1, (size_t)size);
}

static inline void put_named(struct bytes *b, const EVP_PKEY *key, const char *name) {
        _cleanup_test_bn_ BIGNUM *n = number_of(key, name);

        put_mpint(b, n);
}

static inline void put_private(struct bytes *b, const EVP_PKEY *key) {
        if (EVP_PKEY_is_a(key, "RSA")) {
                put_string(b, "ssh-rsa", 7);
                put_named(b, key, OSSL_PKEY_PARAM_RSA_N);
                put_named(b, key, OSSL_PKEY_PARAM_RSA_E);
                put_named(b, key, OSSL_PKEY_PARAM_RSA_D);
                put_named(b, key, OSSL_PKEY_PARAM_RSA_COEFFICIENT1);
                put_named(b, key, OSSL_PKEY_PARAM_RSA_FACTOR1);
                put_named(b, key, OSSL_PKEY_PARAM_RSA_FACTOR2);
        } else if (EVP_PKEY_is_a(key, "EC")) {
                uint8_t point[256];
                size_t size;

                assert_int_equal(EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY,
                                                                 point, sizeof(point), &size),
                                 1);
                put_string(b, "ecdsa-sha2-nistp256", 19);
                put_string(b, "nistp256", 8);
                put_string(b, point, size);
                put_named(b, key, OSSL_PKEY_PARAM_PRIV_KEY);
        } else {
                _cleanup_bytes_ struct bytes seed = seed_of(key);
                uint8_t both[64];
                size_t size = 32;

                memcpy(both, seed.data, 32);
                assert_int_equal(EVP_PKEY_get_raw_public_key(key, both + 32, &size), 1);
                put_string(b, "ssh-ed25519", 11);
                put_string(b, both + 32, 32);
                put_string(b, both, 64);
        }
}

static inline struct bytes encode_openssh(const EVP_PKEY *key, const char *cipher) {
        _cleanup_bytes_ struct bytes section = { 0 };
        struct bytes b = { 0 };
        uint8_t pad = 0;

        put_u32(&section, 0x12345678);
        put_u32(&section, 0x12345678);
        put_private(&section, key);
        put_string(&section, "user@host", 9);
        while (section.size % 8 != 0) {
                pad++;
                put_bytes(&section, &pad, 1);
        }
        put_bytes(&b, "openssh-key-v1", 15);
        put_string(&b, cipher, strlen(cipher));
        put_string(&b, strcmp(cipher, "none") == 0 ? "none" : "bcrypt",
                   strcmp(cipher, "none") == 0 ? 4 : 6);
        put_string(&b, "", 0);
        put_u32(&b, 1);
        put_string(&b, "public", 6);
        put_string(&b, section.data, section.size);
        return b;
}

static inline struct bytes armor(const struct bytes *der, const char *label, const char *newline) {
        struct bytes b = { 0 };
        char *text = malloc(der->size * 4 / 3 + 8), line[128];

        assert_non_null(text);
        EVP_EncodeBlock((uint8_t *)text, der->data, (int)der->size);
        put_bytes(&b, line,
                  (size_t)snprintf(line, sizeof(line), "-----BEGIN %s-----%s", label, newline));
        for (size_t i = 0, n = strlen(text); i < n; i += 64) {
                put_bytes(&b, text + i, n - i < 64 ? n - i : 64);
                put_bytes(&b, newline, strlen(newline));
        }
        put_bytes(&b, line,
                  (size_t)snprintf(line, sizeof(line), "-----END %s-----%s", label, newline));
        free(text);
        b.data[b.size] = 0;
        return b;
}
