/* needle: byte strings that must not survive, in every form in which a secret lies in memory.
 *
 * A set starts empty and grows from key files, text files and single values. Public parts
 * (moduli, points, certificates) never become needles. The set owns a copy of its bytes, in
 * memory that is wiped when freed. Fragments: any FRAGMENT_SIZE bytes of a needle must not
 * survive either; a needle shorter than that must not survive whole.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAGMENT_SIZE 16U /* half a prime factors a modulus, free() eats 16 bytes */
/* Non-zero bytes of a fragment that is hunted: text in UTF-32 has that many. Fewer say nothing of a
 * secret, and small numbers between zeros are everywhere: return addresses lost their zeros. */
#define FRAGMENT_NONZERO_MIN 4U
#define NEEDLE_SIZE_MIN 8U          /* shorter values cannot be hunted without erasing at random */
#define NEEDLE_VALUE_MIN 12U        /* of an argument or environment value */
#define NEEDLE_FILE_MAX (64U << 10) /* bytes of a secret file that is hunted */
#define NEEDLES_MAX 65536U
#define NEEDLE_BYTES_MAX (16U << 20) /* of all needles of a set together */

/* How a secret lies in memory. The table in needle_forms.c is the one place that knows the forms;
 * the radix of digit forms is a parameter there. */
enum form {
        FORM_PLAIN, /* the file's or value's own bytes */
        FORM_BIG_ENDIAN,
        FORM_LITTLE_ENDIAN,      /* limbs of any power-of-two width on a little-endian machine */
        FORM_WORDS32_BIG_ENDIAN, /* Java's int[] */
        FORM_DIGITS30,
        FORM_DIGITS52,
        FORM_DIGITS60,
        FORM_DECIMAL,
        FORM_HEX,
        FORM_BASE64,
        FORM_UTF16,
        FORM_UTF32,
        FORM_ESCAPED,    /* JSON, URL, XML or backslashes */
        FORM_MONTGOMERY, /* R, R^2 mod p and their like, in limbs */
        FORM_MONTGOMERY52,
        FORM_DERIVED, /* Ed25519: the halves of SHA-512(seed) */
        _FORM_MAX,
};

struct needle {
        const uint8_t *bytes;
        uint32_t size;
        uint16_t form;   /* enum form */
        uint16_t origin; /* the caller's: which file or value it came from */
};

struct needle_set; /* opaque */

int needle_set_new(struct needle_set **ret);
void needle_set_free(struct needle_set *set); /* wipes; NULL is fine */

/* What a file gave. Bits may be set together with needles added. */
#define NEEDLE_TOO_SHORT 0x1U /* some value is under NEEDLE_SIZE_MIN and is not hunted */
#define NEEDLE_LARGE 0x2U     /* the file, or the set with it, is over its limit */
#define NEEDLE_ENCRYPTED                                                                           \
        0x4U            /* a private key that cannot be read (encrypted, or of a kind not          \
                         * known): the bytes of the file are hunted, the key cannot be */
#define NEEDLE_KEY 0x8U /* a private key was parsed and its forms added */

/* Adds all forms of a secret file's content: private keys (PEM, DER, PKCS#1, PKCS#8, SEC1,
 * OpenSSH; RSA, EC, Ed25519, X25519), other text by lines and values, other bytes whole. A
 * file holding only public parts (a certificate) adds nothing. Returns 0 with *ret_flags, or
 * -ENOMEM. */
int needle_set_add_file(struct needle_set *set, const uint8_t *bytes, size_t size, uint16_t origin,
                        unsigned *ret_flags);

/* Adds one text value (an argument, an environment value) in its text forms, if it has at least
 * NEEDLE_VALUE_MIN bytes and is no common word or path component. */
int needle_set_add_value(struct needle_set *set, const uint8_t *bytes, size_t size,
                         uint16_t origin);

size_t needle_set_count(const struct needle_set *set);
const struct needle *needle_set_at(const struct needle_set *set, size_t i);

const char *form_to_string(enum form form);
