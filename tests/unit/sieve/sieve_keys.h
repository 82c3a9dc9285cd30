/* sieve_keys: fresh private keys, as the containers and as the numbers in which they lie in
 * memory. Made by libcrypto alone: nothing here comes from what is tested. */
#pragma once

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct test_key {
        uint8_t pem[4096];
        size_t pem_size;
        uint8_t limbs[512]; /* RSA: the prime p, EC: the scalar, little-endian */
        size_t limbs_size;
};

/* `cipher_password` NULL: in the clear. */
static inline void test_key_make(struct test_key *ret, EVP_PKEY *key, const char *number,
                                 const char *cipher_password) {
        BIO *bio = BIO_new(BIO_s_mem());
        BIGNUM *bn = NULL;
        char *text;
        long size;

        if (!key || !bio ||
            PEM_write_bio_PKCS8PrivateKey(
                    bio, key, cipher_password ? EVP_aes_256_cbc() : NULL, cipher_password,
                    cipher_password ? (int)strlen(cipher_password) : 0, NULL, NULL) != 1 ||
            EVP_PKEY_get_bn_param(key, number, &bn) != 1)
                abort();
        size = BIO_get_mem_data(bio, &text);
        if (size <= 0 || (size_t)size > sizeof(ret->pem))
                abort();
        memcpy(ret->pem, text, (size_t)size);
        ret->pem_size = (size_t)size;
        ret->limbs_size = (size_t)BN_num_bytes(bn);
        if (BN_bn2lebinpad(bn, ret->limbs, (int)ret->limbs_size) < 0)
                abort();
        BN_clear_free(bn);
        BIO_free(bio);
        EVP_PKEY_free(key);
}

static inline void test_key_rsa(struct test_key *ret) {
        test_key_make(ret, EVP_RSA_gen(1024), OSSL_PKEY_PARAM_RSA_FACTOR1, NULL);
}

static inline void test_key_ec(struct test_key *ret) {
        test_key_make(ret, EVP_EC_gen("P-256"), OSSL_PKEY_PARAM_PRIV_KEY, NULL);
}

static inline void test_key_encrypted(struct test_key *ret) {
        test_key_make(ret, EVP_EC_gen("P-256"), OSSL_PKEY_PARAM_PRIV_KEY, "password");
}
