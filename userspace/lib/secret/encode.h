/* encode: the texts in which bytes are written down (RFC 4648, RFC 8259, RFC 3986, UTF-16, …).
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

/* UTF-8 as little-endian UTF-32: wchar_t, strings of CPython, Go's []rune. */
int encode_utf32(struct secret_buf *ret, const uint8_t *text, size_t n);

/* The inside of a JSON string; what need not be escaped is not, but what the style says. */
#define JSON_SLASH 0x1U /* '/' as "\/" */
#define JSON_ASCII 0x2U /* all that is not ASCII as "\u00e9" */
#define JSON_UPPER 0x4U /* that, and control characters, with capital digits */
#define JSON_HTML 0x8U  /* '<', '>' and '&' as well: encoding/json of Go */
int encode_json(struct secret_buf *ret, const uint8_t *text, size_t n, unsigned style);

/* Percent-encoding of all but letters, digits, '_' and what `keep` names. */
#define URL_LOWER 0x1U /* "%2f" */
#define URL_PLUS 0x2U  /* a space as '+' */
int encode_url(struct secret_buf *ret, const uint8_t *text, size_t n, const char *keep,
               unsigned style);

/* `&`, `<`, `>` as entities, the two quotes as given. */
int encode_xml(struct secret_buf *ret, const uint8_t *text, size_t n, const char *quote,
               const char *apostrophe);

/* A backslash before each of these characters; before all ASCII but letters, digits and '_' when
 * NULL (a shell's quoting, Perl's quotemeta). */
int encode_backslash(struct secret_buf *ret, const uint8_t *text, size_t n, const char *escaped);

/* The bytes that a JSON string, a URL part stand for. What is no valid escape stays as it is. */
int decode_json(struct secret_buf *ret, const uint8_t *text, size_t n);
int decode_url(struct secret_buf *ret, const uint8_t *text, size_t n);

/* The value of a base64 or base64url character, or -1. */
int base64_value(uint8_t c);

/* The value of a hex digit, or -1. */
int hex_value(uint8_t c);
