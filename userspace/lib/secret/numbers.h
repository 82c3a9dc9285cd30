/* numbers: libcrypto's integers, held so that every way out frees and wipes them. */
#pragma once

#include <openssl/bn.h>

#include "base/cleanup.h"
#include "secret/key_parse.h"

DEFINE_CLEANUP(bn, BIGNUM, BN_clear_free)
DEFINE_CLEANUP(bn_ctx, BN_CTX, BN_CTX_free)

#define _cleanup_bn_ _cleanup_(cleanup_bn)
#define _cleanup_bn_ctx_ _cleanup_(cleanup_bn_ctx)

/* A big-endian integer; NULL when memory is short. */
static inline BIGNUM *number_from(struct key_bytes value) {
        return BN_bin2bn(value.bytes, (int)value.size, NULL);
}

/* The order of a named curve by the content of its OID. 0, -ENOENT (not known to libcrypto),
 * -ENOMEM. */
int number_order_of(struct key_bytes curve, BIGNUM **ret);
