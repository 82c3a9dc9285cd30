/* encode: the texts in which bytes are written down (RFC 4648, RFC 8259, RFC 3986, UTF-16).
 *
 * Each appends to a buffer and returns 0 or -ENOMEM.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "secret/buf.h"

int encode_hex(struct secret_buf *ret, const uint8_t *bytes, size_t n, bool upper, bool colons);

/* The base64 characters that depend on these bytes alone when `phase` (0, 1, 2) other bytes
 * modulo 3 stand before them: characters shared with a neighbour are left out. */
int encode_base64(struct secret_buf *ret, const uint8_t *bytes, size_t n, unsigned phase, bool url);

/* UTF-8 as UTF-16 without a mark; a byte that is no UTF-8 is taken as Latin-1. */
int encode_utf16(struct secret_buf *ret, const uint8_t *text, size_t n, bool big_endian);

/* The inside of a JSON string; what need not be escaped is not, but for '/' when `slash`. */
int encode_json(struct secret_buf *ret, const uint8_t *text, size_t n, bool slash);

/* Percent-encoding of all but the unreserved characters. */
int encode_url(struct secret_buf *ret, const uint8_t *text, size_t n);

/* The bytes that a JSON string, a URL part stand for. What is no valid escape stays as it is. */
int decode_json(struct secret_buf *ret, const uint8_t *text, size_t n);
int decode_url(struct secret_buf *ret, const uint8_t *text, size_t n);

/* The value of a base64 or base64url character, or -1. */
int base64_value(uint8_t c);

/* The value of a hex digit, or -1. */
int hex_value(uint8_t c);
