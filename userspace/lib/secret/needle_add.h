/* needle_add: how the sources of needle_* put bytes into a set. Inside of secret/ only. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "secret/key_parse.h"
#include "secret/needle.h"

/* Adds one byte string as it stands, once however often it comes. Shorter than NEEDLE_SIZE_MIN
 * is no needle. 0, -E2BIG when the set is full, -ENOMEM. */
int needle_set_add(struct needle_set *set, const uint8_t *bytes, size_t size, enum form form,
                   uint16_t origin);

/* A private number, big-endian, in every form of the table. */
int needle_add_number(struct needle_set *set, const uint8_t *bytes, size_t size, uint16_t origin);

/* A number that was computed and might come out trivial (a power of two): only its limbs or
 * 52-bit digits, and only if enough of its bytes differ. */
int needle_add_computed(struct needle_set *set, const uint8_t *bytes, size_t size, enum form form,
                        uint16_t origin);

/* Bytes in hex and base64; text in UTF-16,
 * UTF-32, base64, hex, and with `escapes` as libraries escape it, where that differs. Both add
 * the bytes as they are, too. */
int needle_add_bytes(struct needle_set *set, const uint8_t *bytes, size_t size, uint16_t origin);
int needle_add_text(struct needle_set *set, const uint8_t *text, size_t size, bool escapes,
                    uint16_t origin);

/* A parsed private key: its numbers, what follows from them, its private run of the container.
 * Sets bits of *flags. */
int needle_add_key(struct needle_set *set, const struct key *key, uint16_t origin, unsigned *flags);

/* Text that is no key: by lines and values. `lenient` is for what stands around the blocks of a
 * PEM file: short values set no flag, and lines that explain a block are left out. */
int needle_add_lines(struct needle_set *set, const uint8_t *text, size_t size, bool lenient,
                     uint16_t origin, unsigned *flags);
