#include "host/policy_value.h"

#include <errno.h>
#include <pwd.h>
#include <string.h>

#include "base/cleanup.h"
#include "host/policy.h"

#define DIGITS "0123456789"
#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

#define UNIT_NAME_MAX 255U /* bytes, as systemd has it */
#define PATH_PASSWD "/etc/passwd"
#define PASSWD_LINES_MAX 100000U /* accounts looked at for one name */

const char *value_content(const char *text, enum content least, enum content *ret) {
        enum content content;

        if (content_from_string(text, &content) < 0)
                return "unknown level; one of detect, redact, stacks, refuse";
        if (content < least)
                return "a known secret is redacted at least; one of redact, stacks, refuse";
        *ret = content;
        return NULL;
}

/* Decimal digits up to `*ret_rest`; false without a digit or past 64 bits. strtoull() would take
 * signs, spaces and a bare prefix. */
static bool value_number(const char *text, uint64_t *ret, const char **ret_rest) {
        uint64_t n = 0;

        if (!strchr(DIGITS, *text) || *text == '\0')
                return false;
        for (; *text >= '0' && *text <= '9'; text++)
                if (__builtin_mul_overflow(n, 10U, &n) ||
                    __builtin_add_overflow(n, (uint64_t)(*text - '0'), &n))
                        return false;
        *ret = n;
        *ret_rest = text;
        return true;
}

const char *value_bytes(const char *text, uint64_t *ret) {
        static const char suffixes[] = "KMGT";
        const char *rest, *suffix;
        uint64_t n;

        if (!value_number(text, &n, &rest))
                return "not a size; digits and K, M, G or T, such as 512M";
        if (*rest != '\0') {
                suffix = strchr(suffixes, *rest);
                if (!suffix || rest[1] != '\0')
                        return "not a size; digits and K, M, G or T, such as 512M";
                if (__builtin_mul_overflow(n, 1ULL << (10 * (suffix - suffixes + 1)), &n))
                        return "larger than any disk; digits and K, M, G or T, such as 512M";
        }
        *ret = n;
        return NULL;
}

const char *value_seconds(const char *text, uint64_t *ret) {
        const char *rest;
        uint64_t n;

        if (!value_number(text, &n, &rest) || (strcmp(rest, "") != 0 && strcmp(rest, "s") != 0))
                return "not a number of seconds, such as 30";
        if (n < 1 || n > POLICY_DEADLINE_MAX)
                return "out of range; between 1 and 3600 seconds";
        *ret = n;
        return NULL;
}
_Static_assert(POLICY_DEADLINE_MAX == 3600, "said in a message above");

/* Is `part` one of the components that a path as the kernel says it never has? */
static bool part_is_odd(const char *part, size_t size) {
        return size == 0 || (size == 1 && part[0] == '.') ||
               (size == 2 && part[0] == '.' && part[1] == '.');
}

/* Whatever could be meant as a wildcard or an escape elsewhere is refused, not taken literally:
 * a rule that silently matches nothing protects nothing. */
const char *value_pattern(const char *text, bool walked) {
        if (*text != '/')
                return "not an absolute path; begin with / and use no quotes";
        if (strlen(text) > POLICY_PATTERN_MAX)
                return "longer than any path (4095 bytes); name a directory above it with **";
        if (text[strcspn(text, "?[]{}\\")] != '\0')
                return "only * and ** are wildcards; put * where ?, [], {} or \\ stands";

        for (const char *part = text + 1;; part += strcspn(part, "/") + 1) {
                size_t size = strcspn(part, "/");

                if (part_is_odd(part, size))
                        return "has an empty, . or .. component; write the path as the kernel "
                               "says it (for all files below a directory: /directory/**)";
                if (memmem(part, size, "**", 2) && size != 2)
                        return "** stands alone between slashes; use * within a name";
                if (walked && part == text + 1 && part[0] == '*')
                        return "would walk the whole host; begin with a directory";
                if (part[size] == '\0')
                        return NULL;
        }
}
_Static_assert(POLICY_PATTERN_MAX == 4095, "said in a message above");

const char *value_unit(const char *text) {
        static const char *const suffixes[] = { ".service", ".scope", ".slice", ".socket",
                                                ".mount",   ".swap",  "*" };
        size_t size = strlen(text);

        if (size > UNIT_NAME_MAX)
                return "longer than any unit name (255 bytes)";
        if (strspn(text, LETTERS DIGITS ":_.@\\-*") != size)
                return "not a unit name; letters, digits, :_.@\\- and * for a wildcard";
        for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++) {
                size_t n = strlen(suffixes[i]);

                if (size >= n && strcmp(text + size - n, suffixes[i]) == 0)
                        return NULL;
        }
        return "not a unit's full name; it ends in .service, .scope, .slice, .socket, .mount or "
               ".swap";
}

/* /etc/passwd and nothing else: the helper must not load name-service modules of the host. */
static const char *value_user_name(const char *text, uid_t *ret) {
        _cleanup_fclose_ FILE *f = fopen(PATH_PASSWD, "re");

        if (!f)
                return "/etc/passwd cannot be read; give the number of the user";
        for (unsigned i = 0; i < PASSWD_LINES_MAX; i++) {
                struct passwd *pw = fgetpwent(f);

                if (!pw)
                        return "no such user in /etc/passwd; if another service knows it, give "
                               "its number";
                if (strcmp(pw->pw_name, text) == 0) {
                        *ret = pw->pw_uid;
                        return NULL;
                }
        }
        return "not among the first 100000 users of /etc/passwd; give its number";
}
_Static_assert(PASSWD_LINES_MAX == 100000, "said in a message above");

const char *value_user(const char *text, uid_t *ret) {
        const char *rest;
        uint64_t n;

        if (strspn(text, DIGITS) != strlen(text))
                return value_user_name(text, ret);
        /* (uid_t)-1 is no user: the kernel takes it for "unchanged". */
        if (!value_number(text, &n, &rest) || n >= (uid_t)-1)
                return "not a user number; below 4294967295";
        *ret = (uid_t)n;
        return NULL;
}

const char *value_label(const char *text) {
        size_t size = strlen(text);

        if (size == 0)
                return "has no name; write it as [Secret NAME] or [Process NAME]";
        if (size > POLICY_LABEL_MAX)
                return "name longer than 64 bytes";
        if (strspn(text, LETTERS DIGITS "._-") != size || strchr("._-", text[0]))
                return "not a name; letters, digits, and ._- behind the first";
        return NULL;
}
_Static_assert(POLICY_LABEL_MAX == 64, "said in a message above");

const char *value_variable(const char *text) {
        size_t size = strlen(text);

        if (strspn(text, LETTERS DIGITS "_") != size || strchr(DIGITS, text[0]))
                return "not a variable's name; letters, digits and _, several with spaces "
                       "between them, no wildcards";
        return NULL;
}
