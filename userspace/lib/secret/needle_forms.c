/* needle_forms: the table of forms. How a secret lies in memory is said here and nowhere else. */

#include <errno.h>
#include <openssl/err.h>
#include <string.h>

#include "secret/buf.h"
#include "secret/encode.h"
#include "secret/needle_add.h"
#include "secret/numbers.h"

#define BASE64_PHASES 3U
/* A trivial residue (a power of two) has few distinct bytes, a random one nearly all different:
 * a third of its bytes, or this many. Anything in between does not occur. */
#define DISTINCT_ENOUGH 48U

/* One form of a string of bytes. A writer appends the form to the buffer. */
struct byte_form {
        int (*write)(struct secret_buf *ret, const uint8_t *bytes, size_t n,
                     const struct byte_form *form);
        enum form form;
        unsigned bits, word;            /* digits of so many bits in words of so many bytes */
        unsigned phase;                 /* base64 */
        bool upper, colons;             /* hex */
        bool url;                       /* base64url */
        bool big_endian;                /* UTF-16 */
        unsigned style;                 /* JSON_*, URL_* */
        const char *keep;               /* URL: these stay; backslash: these go */
        const char *quote, *apostrophe; /* XML */
};

static int write_same(struct secret_buf *ret, const uint8_t *bytes, size_t n,
                      const struct byte_form *form) {
        (void)form;
        return secret_buf_add(ret, bytes, n);
}

/* Limbs of any width, least significant first, on a little-endian machine: the bytes reversed. */
static int write_little_endian(struct secret_buf *ret, const uint8_t *bytes, size_t n,
                               const struct byte_form *form) {
        int r = secret_buf_reserve(ret, n);

        (void)form;
        if (r < 0)
                return r;
        for (size_t i = n; i > 0; i--)
                ret->data[ret->size++] = bytes[i - 1];
        return 0;
}

/* Words most significant first, each of them little-endian: Java's BigInteger. */
static int write_words(struct secret_buf *ret, const uint8_t *bytes, size_t n,
                       const struct byte_form *form) {
        size_t size = (n + form->word - 1) / form->word * form->word;
        int r = secret_buf_reserve(ret, size);

        if (r < 0)
                return r;
        for (size_t i = 0; i < size; i++) {
                size_t from = i - i % form->word + (form->word - 1 - i % form->word);

                ret->data[ret->size++] = from < size - n ? 0 : bytes[from - (size - n)];
        }
        return 0;
}

/* Digits of fewer bits than their words hold, least significant first. Zeros at the end are
 * left out: they say nothing, and memory is full of them. */
static int write_digits(struct secret_buf *ret, const uint8_t *bytes, size_t n,
                        const struct byte_form *form) {
        size_t n_digits = (n * 8 + form->bits - 1) / form->bits, start = ret->size;
        int r = secret_buf_reserve(ret, n_digits * form->word);

        if (r < 0)
                return r;
        memset(ret->data + start, 0, n_digits * form->word);
        ret->size += n_digits * form->word;
        for (size_t bit = 0; bit < n * 8; bit++) {
                size_t to = bit / form->bits * form->word * 8 + bit % form->bits;

                if (bytes[n - 1 - bit / 8] >> bit % 8 & 1)
                        ret->data[start + to / 8] |= (uint8_t)(1U << to % 8);
        }
        while (ret->size > start && ret->data[ret->size - 1] == 0)
                ret->size--;
        return 0;
}

static int write_decimal(struct secret_buf *ret, const uint8_t *bytes, size_t n,
                         const struct byte_form *form) {
        _cleanup_bn_ BIGNUM *number = number_from((struct key_bytes){ bytes, n });
        char *text = number ? BN_bn2dec(number) : NULL;
        int r;

        (void)form;
        if (!text)
                return -ENOMEM;
        r = secret_buf_add(ret, text, strlen(text));
        OPENSSL_clear_free(text, strlen(text));
        return r;
}

static int write_hex(struct secret_buf *ret, const uint8_t *bytes, size_t n,
                     const struct byte_form *form) {
        return encode_hex(ret, bytes, n, form->upper, form->colons);
}

static int write_base64(struct secret_buf *ret, const uint8_t *bytes, size_t n,
                        const struct byte_form *form) {
        return encode_base64(ret, bytes, n, form->phase, form->url);
}

static int write_utf16(struct secret_buf *ret, const uint8_t *text, size_t n,
                       const struct byte_form *form) {
        return encode_utf16(ret, text, n, form->big_endian);
}

static int write_utf32(struct secret_buf *ret, const uint8_t *text, size_t n,
                       const struct byte_form *form) {
        (void)form;
        return encode_utf32(ret, text, n);
}

static int write_json(struct secret_buf *ret, const uint8_t *text, size_t n,
                      const struct byte_form *form) {
        return encode_json(ret, text, n, form->style);
}

static int write_url(struct secret_buf *ret, const uint8_t *text, size_t n,
                     const struct byte_form *form) {
        return encode_url(ret, text, n, form->keep, form->style);
}

static int write_xml(struct secret_buf *ret, const uint8_t *text, size_t n,
                     const struct byte_form *form) {
        return encode_xml(ret, text, n, form->quote, form->apostrophe);
}

static int write_backslash(struct secret_buf *ret, const uint8_t *text, size_t n,
                           const struct byte_form *form) {
        return encode_backslash(ret, text, n, form->keep);
}

/* base64 of UTF-16 text. */
static int write_utf16_base64(struct secret_buf *ret, const uint8_t *bytes, size_t n,
                              const struct byte_form *form) {
        _cleanup_secret_buf_ struct secret_buf text = { 0 };
        int r = encode_utf16(&text, bytes, n, form->big_endian);

        return r < 0 ? r : encode_base64(ret, text.data, text.size, form->phase, form->url);
}

#define FORM(form_, write_, ...)                                                                   \
        { .form = FORM_##form_, .write = write_, __VA_ARGS__ }
#define BASE64_FORMS                                                                               \
        FORM(BASE64, write_base64, .phase = 0), FORM(BASE64, write_base64, .phase = 1),            \
                FORM(BASE64, write_base64, .phase = 2),                                            \
                FORM(BASE64, write_base64, .phase = 0, .url = true),                               \
                FORM(BASE64, write_base64, .phase = 1, .url = true),                               \
                FORM(BASE64, write_base64, .phase = 2, .url = true)

/* A private integer (its big-endian bytes go in). The radix is a column: a library with digits
 * of another size is one line more. */
static const struct byte_form number_forms[] = {
        FORM(BIG_ENDIAN, write_same),
        FORM(LITTLE_ENDIAN, write_little_endian),
        FORM(WORDS32_BIG_ENDIAN, write_words, .word = 4),    /* Java int[] mag */
        FORM(DIGITS30, write_digits, .bits = 30, .word = 4), /* CPython */
        FORM(DIGITS52, write_digits, .bits = 52, .word = 8), /* OpenSSL, AVX-512 IFMA */
        FORM(DIGITS60, write_digits, .bits = 60, .word = 8), /* libtommath */
        FORM(DECIMAL, write_decimal),
        FORM(HEX, write_hex),
        FORM(HEX, write_hex, .upper = true),  /* gpg-agent */
        FORM(HEX, write_hex, .colons = true), /* openssl -text: fragments fit into its lines */
        FORM(HEX, write_hex, .upper = true, .colons = true),
        BASE64_FORMS,
};

static const struct byte_form binary_forms[] = {
        FORM(PLAIN, write_same),
        FORM(LITTLE_ENDIAN, write_little_endian), /* a program may take it for a number */
        FORM(WORDS32_BIG_ENDIAN, write_words, .word = 4),
        FORM(DIGITS30, write_digits, .bits = 30, .word = 4),
        FORM(DECIMAL, write_decimal),
        FORM(HEX, write_hex),
        FORM(HEX, write_hex, .upper = true),
        FORM(HEX, write_hex, .colons = true),
        FORM(HEX, write_hex, .upper = true, .colons = true),
        BASE64_FORMS,
};

static const struct byte_form text_forms[] = {
        FORM(PLAIN, write_same),
        FORM(UTF16, write_utf16),
        FORM(UTF16, write_utf16, .big_endian = true),
        FORM(UTF32, write_utf32),
        FORM(HEX, write_hex),
        FORM(HEX, write_hex, .upper = true),
        BASE64_FORMS,
        FORM(UTF16, write_utf16_base64, .phase = 0),
        FORM(UTF16, write_utf16_base64, .phase = 1),
        FORM(UTF16, write_utf16_base64, .phase = 2),
};

/* What escapes make of a text that has such characters: each library leaves others as they are
 * (Python's quote and quote_plus, encodeURIComponent, encodeURI, java.net.URLEncoder, Go's
 * PathEscape and html/template, PHP's htmlspecialchars, …). */
#define URL_FORMS(keep_)                                                                           \
        FORM(ESCAPED, write_url, .keep = (keep_)),                                                 \
                FORM(ESCAPED, write_url, .keep = (keep_), .style = URL_LOWER),                     \
                FORM(ESCAPED, write_url, .keep = (keep_), .style = URL_PLUS),                      \
                FORM(ESCAPED, write_url, .keep = (keep_), .style = URL_PLUS | URL_LOWER)
#define JSON_FORMS(style_)                                                                         \
        FORM(ESCAPED, write_json, .style = (style_)),                                              \
                FORM(ESCAPED, write_json, .style = (style_) | JSON_SLASH),                         \
                FORM(ESCAPED, write_json, .style = (style_) | JSON_HTML)
static const struct byte_form escaped_forms[] = {
        JSON_FORMS(0),
        JSON_FORMS(JSON_ASCII),
        JSON_FORMS(JSON_ASCII | JSON_UPPER),
        URL_FORMS("-.~"),
        URL_FORMS("-.~/"),
        URL_FORMS("-.*"),
        URL_FORMS("-.~!'()*"),
        URL_FORMS("-.~!'()*;/?:@&=+$,#"),
        URL_FORMS("-.~$&+=:@"),
        FORM(ESCAPED, write_xml, .quote = "\"", .apostrophe = "'"),
        FORM(ESCAPED, write_xml, .quote = "&quot;", .apostrophe = "'"),
        FORM(ESCAPED, write_xml, .quote = "&quot;", .apostrophe = "&apos;"),
        FORM(ESCAPED, write_xml, .quote = "&quot;", .apostrophe = "&#39;"),
        FORM(ESCAPED, write_xml, .quote = "&quot;", .apostrophe = "&#039;"),
        FORM(ESCAPED, write_xml, .quote = "&quot;", .apostrophe = "&#x27;"),
        FORM(ESCAPED, write_xml, .quote = "&#34;", .apostrophe = "&#39;"),
        FORM(ESCAPED, write_backslash),
        FORM(ESCAPED, write_backslash, .keep = "\"\\"),
        FORM(ESCAPED, write_backslash, .keep = "'\\"),
        FORM(ESCAPED, write_backslash, .keep = "'\"\\"),
        FORM(ESCAPED, write_backslash, .keep = "\"\\$`"),
};

/* Computed residues: in the limbs and digits of the code that computes them. */
static const struct byte_form computed_forms[] = {
        FORM(MONTGOMERY, write_little_endian),
        FORM(MONTGOMERY52, write_digits, .bits = 52, .word = 8),
};

static int add_wide(struct needle_set *set, const uint8_t *text, size_t size, bool big_endian,
                    uint16_t origin) {
        _cleanup_secret_buf_ struct secret_buf wide = { 0 };
        int r = encode_utf16(&wide, text, size, big_endian);

        return r < 0 ? r : needle_set_add(set, wide.data, wide.size, FORM_UTF16, origin);
}

/* Texts of hex digits, base64 and escapes take part in strings of two-byte characters, too. */
static bool is_written_text(enum form form) {
        return form == FORM_HEX || form == FORM_BASE64 || form == FORM_ESCAPED ||
               form == FORM_DECIMAL;
}

static int add_forms(struct needle_set *set, const uint8_t *bytes, size_t size,
                     const struct byte_form *forms, size_t n_forms, uint16_t origin) {
        _cleanup_secret_buf_ struct secret_buf buf = { 0 };

        for (size_t i = 0; i < n_forms; i++) {
                int r;

                secret_buf_clear(&buf);
                r = forms[i].write(&buf, bytes, size, &forms[i]);
                if (r < 0)
                        return r;
                /* Nothing needed an escape: the text itself is hunted already. */
                if (forms[i].form == FORM_ESCAPED && buf.size == size &&
                    memcmp(buf.data, bytes, size) == 0)
                        continue;
                r = needle_set_add(set, buf.data, buf.size, forms[i].form, origin);
                if (r == 0 && is_written_text(forms[i].form))
                        r = add_wide(set, buf.data, buf.size, false, origin);
                /* Escapes are many, and nobody was seen to write them big-endian. */
                if (r == 0 && is_written_text(forms[i].form) && forms[i].form != FORM_ESCAPED)
                        r = add_wide(set, buf.data, buf.size, true, origin);
                if (r < 0)
                        return r;
        }
        return 0;
}

int needle_add_number(struct needle_set *set, const uint8_t *bytes, size_t size, uint16_t origin) {
        while (size > 0 && *bytes == 0) {
                bytes++;
                size--;
        }
        if (size < NEEDLE_SIZE_MIN)
                return 0;
        return add_forms(set, bytes, size, number_forms, ARRAY_SIZE(number_forms), origin);
}

static size_t distinct_bytes(const uint8_t *bytes, size_t n) {
        bool seen[256] = { 0 };
        size_t count = 0;

        for (size_t i = 0; i < n; i++) {
                count += !seen[bytes[i]];
                seen[bytes[i]] = true;
        }
        return count;
}

int needle_add_computed(struct needle_set *set, const uint8_t *bytes, size_t size, enum form form,
                        uint16_t origin) {
        size_t enough = size / 3 < DISTINCT_ENOUGH ? size / 3 : DISTINCT_ENOUGH;

        if (size < FRAGMENT_SIZE || distinct_bytes(bytes, size) < enough)
                return 0;
        for (size_t i = 0; i < ARRAY_SIZE(computed_forms); i++)
                if (computed_forms[i].form == form)
                        return add_forms(set, bytes, size, &computed_forms[i], 1, origin);
        return -EINVAL;
}

int needle_add_bytes(struct needle_set *set, const uint8_t *bytes, size_t size, uint16_t origin) {
        if (size < NEEDLE_SIZE_MIN)
                return 0;
        return add_forms(set, bytes, size, binary_forms, ARRAY_SIZE(binary_forms), origin);
}

int needle_add_text(struct needle_set *set, const uint8_t *text, size_t size, bool escapes,
                    uint16_t origin) {
        int r;

        if (size < NEEDLE_SIZE_MIN)
                return 0;
        r = add_forms(set, text, size, text_forms, ARRAY_SIZE(text_forms), origin);
        if (r < 0 || !escapes)
                return r;
        return add_forms(set, text, size, escaped_forms, ARRAY_SIZE(escaped_forms), origin);
}
