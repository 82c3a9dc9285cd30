/* key_parse: the private integers and seeds of a key, by name.
 *
 * Own bounds-checked readers of DER (PKCS#1 RFC 8017, PKCS#8 RFC 5958, SEC1 RFC 5915, DSA as
 * OpenSSL writes it) and of OpenSSH's PROTOCOL.key: the same bytes may be a secret file or
 * whatever stood in a hostile process's memory. Nothing is allocated and nothing is copied:
 * a key points into the bytes that were parsed.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KEY_SIZE_MAX (64U << 10) /* bytes of one container */
#define KEY_BITS_MAX 16384U      /* of a modulus: arithmetic on more would take seconds */
#define KEY_FACTORS_MAX 5U       /* primes of an RSA key, OpenSSL's own limit */
#define KEY_NUMBERS_MAX (6U + 3U * (KEY_FACTORS_MAX - 2U))

enum key_kind {
        KEY_RSA,
        KEY_EC,
        KEY_ED25519,
        KEY_X25519,
        KEY_ED448,
        KEY_X448,
        KEY_DISCRETE, /* DSA, DH: one private exponent */
        KEY_OTHER,    /* a PKCS#8 key of an algorithm not known here: its bytes only */
};

enum key_part {
        KEY_D,
        KEY_PRIME,       /* p, q and what a multi-prime key has more */
        KEY_EXPONENT,    /* dp, dq, … */
        KEY_COEFFICIENT, /* qinv, … */
        KEY_SCALAR,      /* of a curve or of DSA */
        KEY_SEED,        /* bytes: Ed25519 and its kin */
        KEY_OPAQUE,
};

struct key_bytes {
        const uint8_t *bytes;
        size_t size; /* integers: big-endian without leading zeros */
};

struct key_number {
        enum key_part part;
        struct key_bytes value;
};

struct key {
        enum key_kind kind;
        struct key_bytes modulus, exponent; /* public, RSA */
        struct key_bytes point;             /* public, if it stands in the container */
        struct key_bytes curve;             /* EC: content of the curve's OID, if it is named */
        struct key_bytes secret;            /* first to last private byte of the container */
        struct key_number numbers[KEY_NUMBERS_MAX];
        size_t n_numbers;
        size_t container; /* bytes of the whole container */
};

/* Parses one key that begins at `bytes`; what stands behind it is not looked at. Returns 0,
 * -EBADMSG (no private key), -EKEYREJECTED (an encrypted one; only ret->container is set), or
 * -E2BIG (over a limit). */
int key_parse_der(const uint8_t *bytes, size_t size, struct key *ret);
int key_parse_openssh(const uint8_t *bytes, size_t size, struct key *ret);

/* Either, by its first bytes. */
int key_parse(const uint8_t *bytes, size_t size, struct key *ret);

/* Does the arithmetic agree: n is the product of the primes, d under the order of its curve?
 * 0, -EBADMSG, -ENOMEM. */
int key_check(const struct key *key);

/* Certificate, request, revocation list or public key in DER: the whole of `bytes`. */
bool key_is_public_der(const uint8_t *bytes, size_t size);

#define KEY_OPENSSH_MAGIC "openssh-key-v1" /* with its NUL */
