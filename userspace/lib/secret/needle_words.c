/* needle_words: what of a text is nobody's secret. */

#include "secret/needle_words.h"

#include <string.h>
#include <strings.h>

#include "base/cleanup.h"

#define TOKEN_MIN 16U /* characters of a path component that may be a token */

/* Words that stand in everyone's memory. Never hunted, never flagged as too short. */
static const char *const common_words[] = {
        "0",
        "1",
        "true",
        "false",
        "yes",
        "no",
        "on",
        "off",
        "none",
        "null",
        "nil",
        "auto",
        "default",
        "enabled",
        "disabled",
        "enable",
        "disable",
        "localhost",
        "127.0.0.1",
        "::1",
        "0.0.0.0",
        "root",
        "admin",
        "user",
        "username",
        "password",
        "passwd",
        "secret",
        "token",
        "login",
        "machine",
        "database",
        "production",
        "development",
        "undefined",
        "anonymous",
        "administrator",
        "postgres",
        "postgresql",
        "mariadb",
        "utf-8",
        "utf8",
        "info",
        "warn",
        "warning",
        "error",
        "debug",
        "application",
        "environment",
        "certificate",
        "private",
        "require",
        "required",
        "optional",
        "prefer",
        "internal",
        "external",
        "connection",
        "configuration",
};

bool text_is_blank(uint8_t c) {
        return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_quote(uint8_t c) {
        return c == '"' || c == '\'' || c == '`';
}

static bool is_lower(uint8_t c) {
        return c >= 'a' && c <= 'z';
}

static bool is_upper(uint8_t c) {
        return c >= 'A' && c <= 'Z';
}

static bool is_digit(uint8_t c) {
        return c >= '0' && c <= '9';
}

struct text text_trim(struct text t) {
        while (t.size > 0 && text_is_blank(t.at[0])) {
                t.at++;
                t.size--;
        }
        while (t.size > 0 && text_is_blank(t.at[t.size - 1]))
                t.size--;
        return t;
}

struct text text_from(struct text t, size_t start) {
        return (struct text){ t.at + start, t.size - start };
}

struct text text_unquote(struct text t) {
        t = text_trim(t);
        if (t.size >= 2 && is_quote(t.at[0]) && t.at[t.size - 1] == t.at[0])
                return (struct text){ t.at + 1, t.size - 2 };
        return t;
}

bool text_is_common(struct text t) {
        for (size_t i = 0; i < ARRAY_SIZE(common_words); i++)
                if (strlen(common_words[i]) == t.size &&
                    strncasecmp(common_words[i], (const char *)t.at, t.size) == 0)
                        return true;
        return false;
}

/* Rules, brackets, what JSON puts on a line of its own. */
bool text_is_decoration(struct text t) {
        for (size_t i = 0; i < t.size; i++)
                if (t.at[i] >= 0x80 || is_lower(t.at[i]) || is_upper(t.at[i]) || is_digit(t.at[i]))
                        return false;
        return true;
}

/* Capitals, small letters and digits together, and long: a token, not a name. */
static bool is_token(const uint8_t *at, size_t n) {
        bool lower = false, upper = false, digit = false;

        for (size_t i = 0; i < n; i++) {
                lower |= is_lower(at[i]);
                upper |= is_upper(at[i]);
                digit |= is_digit(at[i]);
        }
        return n >= TOKEN_MIN && lower && upper && digit;
}

bool text_is_path(struct text t) {
        size_t start = 0;

        if (t.size < 2 || !(t.at[0] == '/' || memcmp(t.at, "./", 2) == 0 ||
                            memcmp(t.at, "~/", 2) == 0 || memcmp(t.at, "..", 2) == 0))
                return false;
        for (size_t i = 0; i <= t.size; i++) {
                bool ends = i == t.size || t.at[i] == '/' || t.at[i] == ':';

                if (!ends && (t.at[i] <= ' ' || t.at[i] == '='))
                        return false;
                if (!ends)
                        continue;
                if (is_token(t.at + start, i - start))
                        return false;
                if (i < t.size && t.at[i] == ':' && i + 1 < t.size && t.at[i + 1] != '/')
                        return false;
                start = i + 1;
        }
        return true;
}
