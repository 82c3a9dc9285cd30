/* key_der: PKCS#1, PKCS#8, SEC1 and OpenSSL's DSA, in DER. */

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "secret/der.h"
#include "secret/key_parse.h"

#define SEED_448_SIZE 57U   /* Ed448, RFC 8032; X448 has 56 */
#define SCALAR_SIZE_MIN 14U /* bytes: secp112r1, the smallest curve that libcrypto names */
#define SCALAR_SIZE_MAX 72U /* sect571 */

static const struct {
        const char *oid;
        size_t size;
        enum key_kind kind;
} algorithms[] = {
        { "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01", 9, KEY_RSA }, /* rsaEncryption, RFC 8017 */
        { "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a", 9, KEY_RSA }, /* id-RSASSA-PSS */
        { "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x07", 9, KEY_RSA }, /* id-RSAES-OAEP */
        { "\x2a\x86\x48\xce\x3d\x02\x01", 7, KEY_EC },          /* id-ecPublicKey, RFC 5480 */
        { "\x2b\x65\x6e", 3, KEY_X25519 },                      /* RFC 8410 */
        { "\x2b\x65\x6f", 3, KEY_X448 },
        { "\x2b\x65\x70", 3, KEY_ED25519 },
        { "\x2b\x65\x71", 3, KEY_ED448 },
        { "\x2a\x86\x48\xce\x38\x04\x01", 7, KEY_DISCRETE },         /* id-dsa */
        { "\x2a\x86\x48\x86\xf7\x0d\x01\x03\x01", 9, KEY_DISCRETE }, /* dhKeyAgreement */
        { "\x2a\x86\x48\xce\x3e\x02\x01", 7, KEY_DISCRETE },         /* dhpublicnumber, X9.42 */
};

static enum key_kind kind_of(struct key_bytes oid) {
        for (size_t i = 0; i < ARRAY_SIZE(algorithms); i++)
                if (oid.size == algorithms[i].size &&
                    memcmp(oid.bytes, algorithms[i].oid, oid.size) == 0)
                        return algorithms[i].kind;
        return KEY_OTHER;
}

static void add_number(struct key *key, enum key_part part, struct key_bytes value) {
        if (value.size > 0)
                key->numbers[key->n_numbers++] = (struct key_number){ part, value };
}

static struct key_bytes rest_of(const struct cursor *c) {
        return (struct key_bytes){ c->data + c->pos, cursor_left(c) };
}

/* OtherPrimeInfos: each a prime, its exponent and its coefficient. */
static int parse_more_primes(struct cursor *c, struct key *key) {
        struct key_bytes list;
        struct cursor more;

        if (!der_take(c, DER_SEQUENCE, &list))
                return -EBADMSG;
        more = der_cursor(list);
        for (size_t i = 2; cursor_left(&more) > 0; i++) {
                struct key_bytes item, prime, exponent, coefficient;
                struct cursor at;

                if (i >= KEY_FACTORS_MAX)
                        return -E2BIG;
                if (!der_take(&more, DER_SEQUENCE, &item))
                        return -EBADMSG;
                at = der_cursor(item);
                if (!der_take_integer(&at, &prime) || !der_take_integer(&at, &exponent) ||
                    !der_take_integer(&at, &coefficient) || cursor_left(&at) > 0)
                        return -EBADMSG;
                add_number(key, KEY_PRIME, prime);
                add_number(key, KEY_EXPONENT, exponent);
                add_number(key, KEY_COEFFICIENT, coefficient);
        }
        return 0;
}

/* The rest of an RSAPrivateKey, behind its version. */
static int parse_pkcs1(struct cursor *c, unsigned version, struct key *ret) {
        static const enum key_part parts[] = {
                KEY_D, KEY_PRIME, KEY_PRIME, KEY_EXPONENT, KEY_EXPONENT, KEY_COEFFICIENT,
        };
        struct key key = { .kind = KEY_RSA };
        int r;

        if (version > 1 || !der_take_integer(c, &key.modulus) ||
            !der_take_integer(c, &key.exponent))
                return -EBADMSG;
        if (key.modulus.size > KEY_BITS_MAX / 8 || key.exponent.size > key.modulus.size)
                return -E2BIG;
        key.secret = rest_of(c);
        for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
                struct key_bytes value;

                if (!der_take_integer(c, &value) || value.size > key.modulus.size)
                        return -EBADMSG;
                add_number(&key, parts[i], value);
        }
        if (version == 1) {
                r = parse_more_primes(c, &key);
                if (r < 0)
                        return r;
        }
        if (cursor_left(c) > 0 || key.n_numbers == 0)
                return -EBADMSG;
        *ret = key;
        return 0;
}

/* DSAPrivateKey of OpenSSL: version, p, q, g, y, x. */
static int parse_dsa(struct cursor *c, struct key *ret) {
        struct key key = { .kind = KEY_DISCRETE };
        struct key_bytes value;

        for (size_t i = 0; i < 4; i++)
                if (!der_take_integer(c, &value) || value.size > KEY_BITS_MAX / 8)
                        return -EBADMSG;
        key.secret = rest_of(c);
        if (!der_take_integer(c, &value) || cursor_left(c) > 0 || value.size < SCALAR_SIZE_MIN)
                return -EBADMSG;
        add_number(&key, KEY_SCALAR, value);
        *ret = key;
        return 0;
}

static struct key_bytes without_zeros(struct key_bytes value) {
        while (value.size > 0 && value.bytes[0] == 0) {
                value.bytes++;
                value.size--;
        }
        return value;
}

/* The rest of an ECPrivateKey. `curve` is what PKCS#8 said of it outside, if it did. */
static int parse_sec1(struct cursor *c, struct key_bytes curve, struct key *ret) {
        struct key key = { .kind = KEY_EC, .curve = curve };
        struct key_bytes scalar, parameters, public;

        if (!der_take(c, DER_OCTET_STRING, &scalar) || scalar.size < SCALAR_SIZE_MIN ||
            scalar.size > SCALAR_SIZE_MAX)
                return -EBADMSG;
        key.secret = scalar;
        if (der_take(c, DER_CONTEXT_0, &parameters)) {
                struct cursor at = der_cursor(parameters);
                struct key_bytes explicit;

                if (!der_take(&at, DER_OID, &key.curve) && !der_take(&at, DER_SEQUENCE, &explicit))
                        return -EBADMSG;
                if (cursor_left(&at) > 0)
                        return -EBADMSG;
        }
        if (der_take(c, DER_CONTEXT_1, &public)) {
                struct cursor at = der_cursor(public);
                struct key_bytes bits;

                if (!der_take(&at, DER_BIT_STRING, &bits) || bits.size < 2 || bits.bytes[0] != 0 ||
                    cursor_left(&at) > 0)
                        return -EBADMSG;
                key.point = (struct key_bytes){ bits.bytes + 1, bits.size - 1 };
        }
        if (cursor_left(c) > 0)
                return -EBADMSG;
        add_number(&key, KEY_SCALAR, without_zeros(scalar));
        if (key.n_numbers == 0)
                return -EBADMSG;
        *ret = key;
        return 0;
}

/* CurvePrivateKey of RFC 8410: an OCTET STRING in the OCTET STRING. */
static int parse_seed(struct cursor *c, enum key_kind kind, struct key *ret) {
        struct key key = { .kind = kind };

        if (!der_take(c, DER_OCTET_STRING, &key.secret) || cursor_left(c) > 0 ||
            key.secret.size < 32 || key.secret.size > SEED_448_SIZE)
                return -EBADMSG;
        add_number(&key, KEY_SEED, key.secret);
        *ret = key;
        return 0;
}

/* What the OCTET STRING of a PKCS#8 key holds. */
static int parse_inner(struct key_bytes inner, enum key_kind kind, struct cursor *algorithm,
                       struct key *ret) {
        struct cursor c = der_cursor(inner);
        struct key key = { .kind = kind };
        struct key_bytes value, curve = { 0 };
        unsigned version;

        switch (kind) {
        case KEY_RSA:
                if (!der_take(&c, DER_SEQUENCE, &value))
                        return -EBADMSG;
                c = der_cursor(value);
                return der_take_small(&c, &version) ? parse_pkcs1(&c, version, ret) : -EBADMSG;
        case KEY_EC:
                (void)der_take(algorithm, DER_OID, &curve); /* else explicit parameters */
                if (!der_take(&c, DER_SEQUENCE, &value))
                        return -EBADMSG;
                c = der_cursor(value);
                if (!der_take_small(&c, &version) || version != 1)
                        return -EBADMSG;
                return parse_sec1(&c, curve, ret);
        case KEY_ED25519:
        case KEY_X25519:
        case KEY_ED448:
        case KEY_X448:
                return parse_seed(&c, kind, ret);
        case KEY_DISCRETE:
                key.secret = inner;
                if (!der_take_integer(&c, &value) || cursor_left(&c) > 0)
                        return -EBADMSG;
                add_number(&key, KEY_SCALAR, value);
                break;
        case KEY_OTHER:
                key.secret = inner;
                add_number(&key, KEY_OPAQUE, inner);
                break;
        }
        if (key.n_numbers == 0)
                return -EBADMSG;
        *ret = key;
        return 0;
}

/* The rest of a PrivateKeyInfo (OneAsymmetricKey), behind its version. */
static int parse_pkcs8(struct cursor *c, unsigned version, struct key *ret) {
        struct key_bytes algorithm, oid, inner, more;
        struct cursor at;
        int r;

        if (version > 1 || !der_take(c, DER_SEQUENCE, &algorithm) ||
            !der_take(c, DER_OCTET_STRING, &inner))
                return -EBADMSG;
        at = der_cursor(algorithm);
        if (!der_take(&at, DER_OID, &oid))
                return -EBADMSG;
        r = parse_inner(inner, kind_of(oid), &at, ret);
        if (r < 0)
                return r;
        (void)der_take(c, DER_CONTEXT_0, &more); /* attributes */
        if (der_take(c, DER_IMPLICIT_1, &more) && more.size > 1)
                ret->point = (struct key_bytes){ more.bytes + 1, more.size - 1 };
        return cursor_left(c) > 0 ? -EBADMSG : 0;
}

/* EncryptedPrivateKeyInfo: an algorithm of PKCS#5 or #12 and an OCTET STRING, nothing else. */
static bool is_encrypted(struct cursor c) {
        static const char pkcs5[] = "\x2a\x86\x48\x86\xf7\x0d\x01\x05";
        static const char pkcs12[] = "\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x01";
        const size_t n5 = sizeof(pkcs5) - 1, n12 = sizeof(pkcs12) - 1;
        struct key_bytes algorithm, oid, data;
        struct cursor at;

        if (!der_take(&c, DER_SEQUENCE, &algorithm) || !der_take(&c, DER_OCTET_STRING, &data) ||
            cursor_left(&c) > 0)
                return false;
        at = der_cursor(algorithm);
        if (!der_take(&at, DER_OID, &oid))
                return false;
        /* One more number names the scheme below these. */
        return (oid.size == n5 + 1 && memcmp(oid.bytes, pkcs5, n5) == 0) ||
               (oid.size == n12 + 1 && memcmp(oid.bytes, pkcs12, n12) == 0);
}

/* RSA has eight integers behind its version (or nine values), DSA five. */
static int parse_integers(struct cursor *c, unsigned version, struct key *ret) {
        struct cursor dsa = *c;
        int r = parse_pkcs1(c, version, ret);

        return r == -EBADMSG && version == 0 ? parse_dsa(&dsa, ret) : r;
}

int key_parse_der(const uint8_t *bytes, size_t size, struct key *ret) {
        struct cursor outer = cursor_new(bytes, size), c;
        struct key_bytes whole;
        unsigned version;
        int r;

        if (!der_take(&outer, DER_SEQUENCE, &whole))
                return -EBADMSG;
        if (cursor_pos(&outer) > KEY_SIZE_MAX)
                return -E2BIG;
        c = der_cursor(whole);
        if (is_encrypted(c)) {
                *ret = (struct key){ .container = cursor_pos(&outer) };
                return -EKEYREJECTED;
        }
        if (!der_take_small(&c, &version) || cursor_left(&c) == 0)
                return -EBADMSG;
        switch (c.data[c.pos]) {
        case DER_INTEGER:
                r = parse_integers(&c, version, ret);
                break;
        case DER_SEQUENCE:
                r = parse_pkcs8(&c, version, ret);
                break;
        case DER_OCTET_STRING:
                r = version == 1 ? parse_sec1(&c, (struct key_bytes){ 0 }, ret) : -EBADMSG;
                break;
        default:
                return -EBADMSG;
        }
        if (r < 0)
                return r;
        ret->container = cursor_pos(&outer);
        return 0;
}

bool key_is_public_der(const uint8_t *bytes, size_t size) {
        struct cursor outer = cursor_new(bytes, size), c;
        struct key_bytes whole, first, second, third;

        if (!der_take(&outer, DER_SEQUENCE, &whole) || cursor_left(&outer) > 0)
                return false;
        c = der_cursor(whole);
        if (der_take(&c, DER_INTEGER, &first)) /* RSAPublicKey: n, e */
                return der_take(&c, DER_INTEGER, &second) && cursor_left(&c) == 0;
        if (!der_take(&c, DER_SEQUENCE, &first))
                return false;
        if (der_take(&c, DER_BIT_STRING, &second)) /* SubjectPublicKeyInfo */
                return cursor_left(&c) == 0;
        /* Certificate, request, revocation list: a body, an algorithm, a signature. */
        return der_take(&c, DER_SEQUENCE, &second) && der_take(&c, DER_BIT_STRING, &third) &&
               cursor_left(&c) == 0;
}
