#include "secret/encode.h"

#include <string.h>

static const char base64_std[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char base64_url[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
static const char hex_lower[] = "0123456789abcdef";
static const char hex_upper[] = "0123456789ABCDEF";

int encode_hex(struct secret_buf *ret, const uint8_t *bytes, size_t n, bool upper, bool colons) {
        const char *digits = upper ? hex_upper : hex_lower;
        int r = secret_buf_reserve(ret, n * 3);

        if (r < 0)
                return r;
        for (size_t i = 0; i < n; i++) {
                if (colons && i > 0)
                        ret->data[ret->size++] = ':';
                ret->data[ret->size++] = (uint8_t)digits[bytes[i] >> 4];
                ret->data[ret->size++] = (uint8_t)digits[bytes[i] & 0xf];
        }
        return 0;
}

int encode_base64(struct secret_buf *ret, const uint8_t *bytes, size_t n, unsigned phase,
                  bool url) {
        const char *alphabet = url ? base64_url : base64_std;
        size_t first = (phase * 8 + 5) / 6, end = (phase + n) * 8 / 6;
        int r = secret_buf_reserve(ret, n * 2);

        if (r < 0)
                return r;
        for (size_t i = first; i < end; i++) {
                /* Character i stands for bits 6i to 6i+5, counted from before the `phase`. */
                size_t bit = i * 6 - (size_t)phase * 8, at = bit / 8;
                unsigned two = (unsigned)bytes[at] << 8;

                if (at + 1 < n)
                        two |= bytes[at + 1];
                ret->data[ret->size++] = (uint8_t)alphabet[two >> (10 - bit % 8) & 0x3f];
        }
        return 0;
}

/* One code point of UTF-8; a byte that begins none is Latin-1. Returns the bytes used. */
static size_t utf8_decode(const uint8_t *text, size_t n, uint32_t *ret) {
        static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
        uint8_t c = text[0];
        size_t size = c >= 0xf0 && c < 0xf8 ? 4 : c >= 0xe0 && c < 0xf0 ? 3 : c >= 0xc0 ? 2 : 1;
        uint32_t point;

        *ret = c;
        if (size == 1 || size > n || c >= 0xf8)
                return 1;
        point = c & (0xffU >> (size + 1));
        for (size_t i = 1; i < size; i++) {
                if ((text[i] & 0xc0) != 0x80)
                        return 1;
                point = point << 6 | (text[i] & 0x3fU);
        }
        if (point < least[size] || point > 0x10ffff)
                return 1;
        *ret = point;
        return size;
}

static void put_unit(struct secret_buf *ret, uint32_t unit, bool big_endian) {
        ret->data[ret->size++] = (uint8_t)(big_endian ? unit >> 8 : unit);
        ret->data[ret->size++] = (uint8_t)(big_endian ? unit : unit >> 8);
}

int encode_utf16(struct secret_buf *ret, const uint8_t *text, size_t n, bool big_endian) {
        int r = secret_buf_reserve(ret, n * 2);

        if (r < 0)
                return r;
        for (size_t i = 0; i < n;) {
                uint32_t point;

                i += utf8_decode(text + i, n - i, &point);
                if (point >= 0x10000) {
                        put_unit(ret, 0xd800 + ((point - 0x10000) >> 10), big_endian);
                        put_unit(ret, 0xdc00 + ((point - 0x10000) & 0x3ff), big_endian);
                } else
                        put_unit(ret, point, big_endian);
        }
        return 0;
}

int encode_utf32(struct secret_buf *ret, const uint8_t *text, size_t n) {
        int r = secret_buf_reserve(ret, n * 4);

        if (r < 0)
                return r;
        for (size_t i = 0; i < n;) {
                uint32_t point;

                i += utf8_decode(text + i, n - i, &point);
                put_unit(ret, point & 0xffff, false);
                put_unit(ret, point >> 16, false);
        }
        return 0;
}

static void put_escape16(struct secret_buf *ret, uint32_t unit, bool upper) {
        const char *digits = upper ? hex_upper : hex_lower;

        memcpy(ret->data + ret->size, "\\u", 2);
        ret->size += 2;
        for (int shift = 12; shift >= 0; shift -= 4)
                ret->data[ret->size++] = (uint8_t)digits[unit >> shift & 0xf];
}

/* As \uXXXX, as a pair of surrogates if it must be. */
static void put_escaped_point(struct secret_buf *ret, uint32_t point, bool upper) {
        if (point >= 0x10000) {
                put_escape16(ret, 0xd800 + ((point - 0x10000) >> 10), upper);
                put_escape16(ret, 0xdc00 + ((point - 0x10000) & 0x3ff), upper);
        } else
                put_escape16(ret, point, upper);
}

int encode_json(struct secret_buf *ret, const uint8_t *text, size_t n, unsigned style) {
        static const char escaped[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
        int r = secret_buf_reserve(ret, n * 6);

        if (r < 0)
                return r;
        for (size_t i = 0; i < n;) {
                uint8_t c = text[i];
                const char *at = c ? strchr(escaped, c) : NULL;
                uint32_t point;
                size_t size = utf8_decode(text + i, n - i, &point);

                if (at || ((style & JSON_SLASH) && c == '/')) {
                        ret->data[ret->size++] = '\\';
                        ret->data[ret->size++] = at ? (uint8_t)letters[at - escaped] : c;
                } else if (c < 0x20 || ((style & JSON_ASCII) && point >= 0x80) ||
                           ((style & JSON_HTML) && (c == '<' || c == '>' || c == '&')))
                        put_escaped_point(ret, point, style & JSON_UPPER);
                else {
                        memcpy(ret->data + ret->size, text + i, size);
                        ret->size += size;
                }
                i += size;
        }
        return 0;
}

static bool is_word(uint8_t c) {
        return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
               c == '_';
}

int encode_url(struct secret_buf *ret, const uint8_t *text, size_t n, const char *keep,
               unsigned style) {
        const char *digits = style & URL_LOWER ? hex_lower : hex_upper;
        int r = secret_buf_reserve(ret, n * 3);

        if (r < 0)
                return r;
        for (size_t i = 0; i < n; i++) {
                if (is_word(text[i]) || (text[i] && strchr(keep, text[i]))) {
                        ret->data[ret->size++] = text[i];
                        continue;
                }
                if (text[i] == ' ' && (style & URL_PLUS)) {
                        ret->data[ret->size++] = '+';
                        continue;
                }
                ret->data[ret->size++] = '%';
                ret->data[ret->size++] = (uint8_t)digits[text[i] >> 4];
                ret->data[ret->size++] = (uint8_t)digits[text[i] & 0xf];
        }
        return 0;
}

int encode_xml(struct secret_buf *ret, const uint8_t *text, size_t n, const char *quote,
               const char *apostrophe) {
        int r = secret_buf_reserve(ret, n * 6);

        if (r < 0)
                return r;
        for (size_t i = 0; i < n; i++) {
                const char one[] = { (char)text[i], '\0' };
                const char *as = one;

                if (text[i] == '&')
                        as = "&amp;";
                else if (text[i] == '<')
                        as = "&lt;";
                else if (text[i] == '>')
                        as = "&gt;";
                else if (text[i] == '"')
                        as = quote;
                else if (text[i] == '\'')
                        as = apostrophe;
                r = secret_buf_add(ret, as, as == one ? 1 : strlen(as));
                if (r < 0)
                        return r;
        }
        return 0;
}

int encode_backslash(struct secret_buf *ret, const uint8_t *text, size_t n, const char *escaped) {
        int r = secret_buf_reserve(ret, n * 2);

        if (r < 0)
                return r;
        for (size_t i = 0; i < n; i++) {
                bool plain = is_word(text[i]) || text[i] >= 0x80;

                if (escaped ? text[i] && strchr(escaped, text[i]) : !plain)
                        ret->data[ret->size++] = '\\';
                ret->data[ret->size++] = text[i];
        }
        return 0;
}

/* \uXXXX at `text`: its UTF-8, without surrogate pairs put together (they stay as written). */
static size_t json_unicode(const uint8_t *text, size_t n, struct secret_buf *ret) {
        uint32_t point = 0;

        if (n < 6)
                return 0;
        for (size_t i = 2; i < 6; i++) {
                int v = hex_value(text[i]);

                if (v < 0)
                        return 0;
                point = point << 4 | (uint32_t)v;
        }
        if (point >= 0xd800 && point < 0xe000)
                return 0;
        if (point >= 0x800) {
                ret->data[ret->size++] = (uint8_t)(0xe0 | point >> 12);
                ret->data[ret->size++] = (uint8_t)(0x80 | (point >> 6 & 0x3f));
                ret->data[ret->size++] = (uint8_t)(0x80 | (point & 0x3f));
        } else if (point >= 0x80) {
                ret->data[ret->size++] = (uint8_t)(0xc0 | point >> 6);
                ret->data[ret->size++] = (uint8_t)(0x80 | (point & 0x3f));
        } else
                ret->data[ret->size++] = (uint8_t)point;
        return 6;
}

int decode_json(struct secret_buf *ret, const uint8_t *text, size_t n) {
        static const char letters[] = "\"\\/bfnrt", plain[] = "\"\\/\b\f\n\r\t";
        int r = secret_buf_reserve(ret, n);

        if (r < 0)
                return r;
        for (size_t i = 0; i < n;) {
                const char *at = NULL;
                size_t used = 0;

                if (text[i] == '\\' && i + 1 < n && text[i + 1] != 0) {
                        at = strchr(letters, text[i + 1]);
                        if (text[i + 1] == 'u')
                                used = json_unicode(text + i, n - i, ret);
                }
                if (used > 0) {
                        i += used;
                        continue;
                }
                ret->data[ret->size++] = at ? (uint8_t)plain[at - letters] : text[i];
                i += at ? 2 : 1;
        }
        return 0;
}

int decode_url(struct secret_buf *ret, const uint8_t *text, size_t n) {
        int r = secret_buf_reserve(ret, n);

        if (r < 0)
                return r;
        for (size_t i = 0; i < n;) {
                int high = i + 2 < n && text[i] == '%' ? hex_value(text[i + 1]) : -1;
                int low = high >= 0 ? hex_value(text[i + 2]) : -1;

                ret->data[ret->size++] = low >= 0 ? (uint8_t)(high << 4 | low) : text[i];
                i += low >= 0 ? 3 : 1;
        }
        return 0;
}

int base64_value(uint8_t c) {
        if (c >= 'A' && c <= 'Z')
                return c - 'A';
        if (c >= 'a' && c <= 'z')
                return c - 'a' + 26;
        if (c >= '0' && c <= '9')
                return c - '0' + 52;
        if (c == '+' || c == '-')
                return 62;
        return c == '/' || c == '_' ? 63 : -1;
}

int hex_value(uint8_t c) {
        if (c >= '0' && c <= '9')
                return c - '0';
        if (c >= 'a' && c <= 'f')
                return c - 'a' + 10;
        return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}
