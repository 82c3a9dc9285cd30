/* needle_text: lines and values of text, and what of it is nobody's secret. */

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "secret/buf.h"
#include "secret/encode.h"
#include "secret/needle_add.h"
#include "secret/needle_words.h"

#define LARGE_SIZE 4096U /* bytes of text: an .env file, not a list of a thousand entries */
#define DECODED_MIN 16U  /* bytes that a hex or base64 value stands for, to be hunted themselves */

struct adder {
        struct needle_set *set;
        uint16_t origin;
        bool lenient;
        bool large; /* the text is over LARGE_SIZE */
        bool plain; /* without escapes */
        unsigned *flags;
};

/* What hex or base64 stands for: the value is the text of a key, memory has its bytes. */
static int add_decoded(const struct adder *adder, struct text t) {
        _cleanup_secret_buf_ struct secret_buf bytes = { 0 };
        unsigned bits = 0, n_bits = 0;
        bool hex = t.size % 2 == 0;
        int r = secret_buf_reserve(&bytes, t.size);

        if (r < 0)
                return r;
        while (t.size > 0 && t.at[t.size - 1] == '=')
                t.size--;
        for (size_t i = 0; i < t.size; i++)
                hex = hex && hex_value(t.at[i]) >= 0;
        for (size_t i = 0; i < t.size; i++) {
                int value = hex ? hex_value(t.at[i]) : base64_value(t.at[i]);

                if (value < 0)
                        return 0;
                bits = bits << (hex ? 4 : 6) | (unsigned)value;
                n_bits += hex ? 4 : 6;
                if (n_bits >= 8) {
                        n_bits -= 8;
                        bytes.data[bytes.size++] = (uint8_t)(bits >> n_bits);
                }
        }
        if (bytes.size < DECODED_MIN)
                return 0;
        return needle_add_number(adder->set, bytes.data, bytes.size, adder->origin);
}

/* Hunts a value, or flags one that is too short to be hunted. */
static int add_value(const struct adder *adder, struct text t) {
        int r;

        t = text_unquote(t);
        if (t.size == 0 || text_is_common(t) || text_is_path(t) || text_is_decoration(t))
                return 0;
        if (t.size < NEEDLE_SIZE_MIN) {
                if (!adder->lenient)
                        *adder->flags |= NEEDLE_TOO_SHORT;
                return 0;
        }
        r = needle_add_text(adder->set, t.at, t.size, !adder->plain, adder->origin);
        return r < 0 ? r : add_decoded(adder, t);
}

/* The same, and what it is without its escapes. */
static int add_escaped(const struct adder *adder, struct text t,
                       int (*decode)(struct secret_buf *, const uint8_t *, size_t)) {
        _cleanup_secret_buf_ struct secret_buf plain = { 0 };
        int r = add_value(adder, t);

        if (r < 0 || !memchr(t.at, decode == decode_json ? '\\' : '%', t.size))
                return r;
        r = decode(&plain, t.at, t.size);
        return r < 0 ? r : add_value(adder, (struct text){ plain.data, plain.size });
}

static size_t find(struct text t, const char *what) {
        const uint8_t *at = memmem(t.at, t.size, what, strlen(what));

        return at ? (size_t)(at - t.at) : t.size;
}

/* "scheme://user:password@host": the password, as it is and decoded. */
static int add_userinfo(const struct adder *adder, struct text t, bool *ret_found) {
        size_t scheme = find(t, "://"), at, colon;
        struct text rest;

        *ret_found = false;
        if (scheme == t.size)
                return 0;
        rest = text_from(t, scheme + 3);
        at = find(rest, "@");
        colon = find(rest, ":");
        if (at == rest.size || colon > at)
                return 0;
        *ret_found = true;
        return add_escaped(adder, (struct text){ rest.at + colon + 1, at - colon - 1 }, decode_url);
}

/* The quoted string that begins at `i`: where it ends, at its second quote, or the text does. */
static size_t quote_end(struct text t, size_t i) {
        size_t end = i + 1;

        while (end < t.size && t.at[end] != '"')
                end += t.at[end] == '\\' ? 2 : 1;
        return end < t.size ? end : t.size;
}

static bool colon_follows(struct text t, size_t at) {
        while (at < t.size && text_is_blank(t.at[at]))
                at++;
        return at < t.size && t.at[at] == ':';
}

/* Every quoted string that no colon follows; a colon makes it the name of a value. */
static int add_quoted(const struct adder *adder, struct text t, bool *ret_found) {
        *ret_found = false;
        for (size_t i = 0; i < t.size; i++) {
                size_t end;
                int r;

                if (t.at[i] != '"')
                        continue;
                end = quote_end(t, i);
                if (end == t.size)
                        return 0;
                if (!colon_follows(t, end + 1)) {
                        *ret_found = true;
                        r = add_escaped(adder, (struct text){ t.at + i + 1, end - i - 1 },
                                        decode_json);
                        if (r < 0)
                                return r;
                }
                i = end;
        }
        return 0;
}

/* The values of JSON that stand without quotes: numbers. */
static int add_unquoted(const struct adder *adder, struct text t) {
        static const char ends[] = { '"', ',', '{', '}', '[', ']' };

        for (size_t i = 0; i < t.size; i++) {
                size_t end = i + 1;
                int r;

                if (t.at[i] == '"') {
                        i = quote_end(t, i);
                        continue;
                }
                if (t.at[i] != ':')
                        continue;
                while (end < t.size && !memchr(ends, t.at[end], sizeof(ends)))
                        end++;
                r = add_value(adder, (struct text){ t.at + i + 1, end - i - 1 });
                if (r < 0)
                        return r;
                i = end - 1;
        }
        return 0;
}

/* What stands between tags. */
static int add_elements(const struct adder *adder, struct text t) {
        for (size_t i = 0; i < t.size; i++) {
                size_t end = i + 1;
                int r;

                if (t.at[i] != '>')
                        continue;
                while (end < t.size && t.at[end] != '<')
                        end++;
                if (end == t.size)
                        return 0;
                r = add_value(adder, (struct text){ t.at + i + 1, end - i - 1 });
                if (r < 0)
                        return r;
                i = end;
        }
        return 0;
}

/* The pieces that `separator` makes. Only the last one may be too short: in "user:password" and
 * "host:port:database:user:password" it is the secret. */
static int add_pieces(const struct adder *adder, struct text t, uint8_t separator) {
        struct adder lenient = *adder;

        lenient.lenient = true;
        for (;;) {
                const uint8_t *at = memchr(t.at, separator, t.size);
                int r;

                if (!at)
                        return add_value(adder, t);
                r = add_value(&lenient, (struct text){ t.at, (size_t)(at - t.at) });
                if (r < 0)
                        return r;
                t = text_from(t, (size_t)(at - t.at) + 1);
        }
}

/* Without what a language puts behind a value: `;`, `,`, a comment after blanks. */
static struct text without_end(struct text t) {
        size_t comment = find(t, " #");

        t.size = comment;
        t = text_trim(t);
        while (t.size > 0 && (t.at[t.size - 1] == ';' || t.at[t.size - 1] == ','))
                t.size--;
        return text_trim(t);
}

/* What a line says behind its separator. */
static int add_assigned(const struct adder *adder, struct text value) {
        struct text bare = without_end(text_trim(value));
        bool found;
        int r = add_userinfo(adder, bare, &found);

        if (r < 0)
                return r;
        r = add_value(adder, bare);
        if (r < 0 || found || find(bare, "://") < bare.size)
                return r;
        if (bare.size != text_trim(value).size) {
                r = add_value(adder, value);
                if (r < 0)
                        return r;
        }
        return memchr(bare.at, ':', bare.size) ? add_pieces(adder, text_unquote(bare), ':') : 0;
}

static bool is_comment(struct text t) {
        return t.at[0] == '#' || t.at[0] == ';' || (t.size > 1 && memcmp(t.at, "//", 2) == 0) ||
               (t.size > 3 && memcmp(t.at, "<!--", 4) == 0);
}

static size_t find_separator(struct text t) {
        for (size_t i = 0; i < t.size; i++)
                if (t.at[i] == '=' || t.at[i] == ':')
                        return i;
        return t.size;
}

/* The first or last line of a block of an unknown kind. */
static bool is_boundary(struct text t) {
        return t.size > 5 && memcmp(t.at, "-----", 5) == 0;
}

/* A line that only names something: "[section]", "password:", "PASSWORD=". */
static bool is_heading(struct text t) {
        return (t.at[0] == '[' && t.at[t.size - 1] == ']' && !memchr(t.at, '"', t.size)) ||
               find_separator(t) == t.size - 1;
}

/* What openssl and gnutls-certtool write around the blocks of a PEM file about what is in them
 * (public parts, and private ones that are hunted as numbers): indented, or one of these. */
static bool is_explanatory(struct text line) {
        static const char *const starts[] = {
                "Bag Attributes",   "Key Attributes", "subject=",     "issuer=",
                "subject:",         "issuer:",        "Private-Key:", "RSA Private-Key:",
                "Public Key Info:", "-----",
        };

        if (line.size == 0 || text_is_blank(line.at[0]))
                return true;
        for (size_t i = 0; i < ARRAY_SIZE(starts); i++)
                if (line.size >= strlen(starts[i]) &&
                    memcmp(line.at, starts[i], strlen(starts[i])) == 0)
                        return true;
        return false;
}

/* "TYPE BASE64 [COMMENT]" of OpenSSH, as .pub files and authorized_keys have it. The base64 begins
 * with the length of the type's name. */
static bool is_public_key(struct text line) {
        static const char *const types[] = { "ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-sha2-" };
        static const char blob[] = " AAAA";
        const uint8_t *space = memchr(line.at, ' ', line.size);
        size_t left = space ? line.size - (size_t)(space - line.at) : 0;

        if (left < strlen(blob) || memcmp(space, blob, strlen(blob)) != 0)
                return false;
        for (size_t i = 0; i < ARRAY_SIZE(types); i++)
                if (line.size >= strlen(types[i]) &&
                    memcmp(line.at, types[i], strlen(types[i])) == 0)
                        return true;
        return false;
}

/* The values of a line that is neither comment nor heading. */
static int add_values(const struct adder *adder, struct text line) {
        size_t separator = find_separator(line);
        bool quoted, found;
        int r = add_quoted(adder, line, &quoted);

        if (r < 0)
                return r;
        if (line.at[0] == '<')
                return add_elements(adder, line);
        if (line.at[0] == '{' || line.at[0] == '[' || line.at[0] == '"')
                return add_unquoted(adder, line);
        if (quoted && separator == line.size)
                return 0;
        r = add_userinfo(adder, line, &found);
        if (r < 0 || (separator < line.size && found && line.at[separator] == ':'))
                return r;
        if (separator < line.size)
                return add_assigned(adder, text_from(line, separator + 1));
        /* "password hunter2hunter2" of .netrc, or one word alone. */
        return add_pieces(adder, without_end(line), ' ');
}

static int add_line(const struct adder *adder, struct text line) {
        struct adder lenient = *adder;
        size_t separator;
        int r;

        if (adder->lenient && is_explanatory(line))
                return 0;
        line = text_trim(line);
        if (line.size == 0 || text_is_decoration(line) || is_boundary(line) || is_public_key(line))
                return 0;
        lenient.lenient = true;
        if (is_comment(line) || is_heading(line))
                return add_value(&lenient, line);
        /* A path as the value makes the line no secret. */
        separator = find_separator(line);
        if (separator == line.size ||
            !text_is_path(text_unquote(without_end(text_from(line, separator + 1))))) {
                /* The value is hunted by itself in all its escapes: of a long file, the line about
                 * it need not be, or the set is full too soon. */
                lenient.plain = adder->large && separator < line.size;
                r = add_value(&lenient, line);
                if (r < 0)
                        return r;
        }
        return add_values(adder, line);
}

int needle_add_lines(struct needle_set *set, const uint8_t *text, size_t size, bool lenient,
                     uint16_t origin, unsigned *flags) {
        struct adder adder = {
                .set = set, .origin = origin, .lenient = lenient, .large = size > LARGE_SIZE
        };
        struct text left = { text, size };

        adder.flags = flags;
        while (left.size > 0) {
                const uint8_t *end = memchr(left.at, '\n', left.size);
                size_t n = end ? (size_t)(end - left.at) : left.size;
                int r = add_line(&adder, (struct text){ left.at, n });

                if (r < 0)
                        return r;
                left = text_from(left, end ? n + 1 : n);
        }
        return 0;
}

int needle_set_add_value(struct needle_set *set, const uint8_t *bytes, size_t size,
                         uint16_t origin) {
        struct text value = text_trim((struct text){ bytes, size });
        unsigned flags = 0;
        struct adder adder = { .set = set, .origin = origin, .lenient = true, .flags = &flags };
        size_t separator = find(value, "=");
        bool found;
        int r;

        /* "--name=value": the name is the program's. */
        if (value.size > 1 && value.at[0] == '-' && separator < value.size)
                value = text_from(value, separator + 1);
        value = text_unquote(value);
        if (value.size < NEEDLE_VALUE_MIN || text_is_common(value) || text_is_path(value))
                return 0;
        r = add_userinfo(&adder, value, &found);
        return r < 0 ? r : add_value(&adder, value);
}
