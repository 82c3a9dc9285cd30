#include "secret/init.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <string.h>

#include "secret/digest.h"
#include "secret/numbers.h"

/* Each use once, with the answer known: a library that computes wrongly would leave forms out. */
static int warm_digests(void) {
        /* FIPS 180-4, SHA-256 and SHA-512 of nothing: the first bytes. */
        static const uint8_t empty256[] = { 0xe3, 0xb0, 0xc4, 0x42 };
        static const uint8_t empty512[] = { 0xcf, 0x83, 0xe1, 0x35 };
        static const uint8_t empty_shake[] = { 0x46, 0xb9, 0xdd, 0x2b }; /* FIPS 202, SHAKE256 */
        uint8_t digest[DIGEST_448_SIZE];

        if (digest_sha256(NULL, 0, digest) < 0 || memcmp(digest, empty256, sizeof(empty256)) != 0)
                return -EIO;
        if (digest_sha512(NULL, 0, digest) < 0 || memcmp(digest, empty512, sizeof(empty512)) != 0)
                return -EIO;
        if (digest_shake256(NULL, 0, digest) < 0 ||
            memcmp(digest, empty_shake, sizeof(empty_shake)) != 0)
                return -EIO;
        return 0;
}

static int warm_numbers(void) {
        static const uint8_t prime256v1[] = { 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07 };
        _cleanup_bn_ctx_ BN_CTX *ctx = BN_CTX_new();
        _cleanup_bn_ BIGNUM *order = NULL, *three = BN_new(), *inverse = BN_new();

        if (!ctx || !three || !inverse || !BN_set_word(three, 3))
                return -EIO;
        if (number_order_of((struct key_bytes){ prime256v1, sizeof(prime256v1) }, &order) < 0)
                return -EIO;
        if (!BN_mod_inverse(inverse, three, order, ctx) ||
            !BN_mod_mul(inverse, inverse, three, order, ctx) || !BN_is_one(inverse))
                return -EIO;
        return 0;
}

int secret_init(void) {
        int r;

        if (!OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, NULL))
                return -EIO;
        r = warm_digests();
        if (r < 0)
                return r;
        r = warm_numbers();
        ERR_clear_error();
        return r;
}
