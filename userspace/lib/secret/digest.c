#include "secret/digest.h"

#include <errno.h>
#include <openssl/evp.h>

#include "base/cleanup.h"

DEFINE_CLEANUP(md, EVP_MD, EVP_MD_free)
DEFINE_CLEANUP(md_ctx, EVP_MD_CTX, EVP_MD_CTX_free)

int digest_sha256(const uint8_t *bytes, size_t n, uint8_t ret[DIGEST_256_SIZE]) {
        return EVP_Q_digest(NULL, "SHA256", NULL, bytes, n, ret, NULL) ? 0 : -ENOMEM;
}

int digest_sha512(const uint8_t *bytes, size_t n, uint8_t ret[DIGEST_512_SIZE]) {
        return EVP_Q_digest(NULL, "SHA512", NULL, bytes, n, ret, NULL) ? 0 : -ENOMEM;
}

int digest_shake256(const uint8_t *bytes, size_t n, uint8_t ret[DIGEST_448_SIZE]) {
        _cleanup_(cleanup_md_ctx) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
        _cleanup_(cleanup_md) EVP_MD *md = EVP_MD_fetch(NULL, "SHAKE256", NULL);

        if (!ctx || !md || !EVP_DigestInit_ex(ctx, md, NULL) || !EVP_DigestUpdate(ctx, bytes, n) ||
            !EVP_DigestFinalXOF(ctx, ret, DIGEST_448_SIZE))
                return -ENOMEM;
        return 0;
}
