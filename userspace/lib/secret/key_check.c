/* key_check: does the arithmetic of a parsed key agree? No random numbers are drawn here: the
 * worker's sandbox has no source of them. */

#include <errno.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/objects.h>

#include "secret/key_parse.h"
#include "secret/numbers.h"

#define OID_SIZE_MAX 32U /* bytes; no curve that libcrypto names comes near */

DEFINE_CLEANUP(group, EC_GROUP, EC_GROUP_free)
DEFINE_CLEANUP(object, ASN1_OBJECT, ASN1_OBJECT_free)

int number_order_of(struct key_bytes curve, BIGNUM **ret) {
        _cleanup_(cleanup_object) ASN1_OBJECT *object = NULL;
        _cleanup_(cleanup_group) EC_GROUP *group = NULL;
        uint8_t der[2 + OID_SIZE_MAX] = { 0x06, (uint8_t)curve.size };
        const uint8_t *at = der;
        const BIGNUM *order;

        if (curve.size == 0 || curve.size > OID_SIZE_MAX)
                return -ENOENT;
        memcpy(der + 2, curve.bytes, curve.size);
        object = d2i_ASN1_OBJECT(NULL, &at, (long)curve.size + 2);
        group = object ? EC_GROUP_new_by_curve_name(OBJ_obj2nid(object)) : NULL;
        order = group ? EC_GROUP_get0_order(group) : NULL;
        ERR_clear_error();
        if (!order)
                return -ENOENT;
        *ret = BN_dup(order);
        return *ret ? 0 : -ENOMEM;
}

/* n is the product of all primes, and there are at least two. */
static int check_rsa(const struct key *key) {
        _cleanup_bn_ctx_ BN_CTX *ctx = BN_CTX_new();
        _cleanup_bn_ BIGNUM *n = number_from(key->modulus), *product = BN_new();
        size_t primes = 0;

        if (!ctx || !n || !product || !BN_one(product))
                return -ENOMEM;
        for (size_t i = 0; i < key->n_numbers; i++) {
                _cleanup_bn_ BIGNUM *prime = NULL;

                if (key->numbers[i].part != KEY_PRIME)
                        continue;
                prime = number_from(key->numbers[i].value);
                if (!prime || !BN_mul(product, product, prime, ctx))
                        return -ENOMEM;
                if (BN_is_one(prime))
                        return -EBADMSG;
                primes++;
        }
        return primes >= 2 && BN_is_odd(n) && BN_cmp(n, product) == 0 ? 0 : -EBADMSG;
}

/* 0 < d < order. A curve given by parameters instead of a name cannot be checked. */
static int check_ec(const struct key *key) {
        _cleanup_bn_ BIGNUM *order = NULL, *d = NULL;
        int r;

        r = number_order_of(key->curve, &order);
        if (r < 0)
                return r == -ENOENT ? -EBADMSG : r;
        d = number_from(key->numbers[0].value);
        if (!d)
                return -ENOMEM;
        return !BN_is_zero(d) && BN_cmp(d, order) < 0 ? 0 : -EBADMSG;
}

int key_check(const struct key *key) {
        switch (key->kind) {
        case KEY_RSA:
                return check_rsa(key);
        case KEY_EC:
                return check_ec(key);
        default:
                return key->n_numbers > 0 ? 0 : -EBADMSG;
        }
}
