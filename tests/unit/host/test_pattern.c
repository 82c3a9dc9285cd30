/* The wildcards of a policy: a path that a rule should name and does not is a leaked key. */
#include "host/pattern.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/cleanup.h"

struct path_case {
        const char *name;
        const char *pattern;
        const char *path;
        bool match;
};

static const struct path_case path_cases[] = {
        { "a plain path matches itself", "/etc/key", "/etc/key", true },
        { "a plain path matches no longer path", "/etc/key", "/etc/key/x", false },
        { "a plain path matches no shorter path", "/etc/key/x", "/etc/key", false },
        { "a plain path matches no prefix of a name", "/etc/key", "/etc/keys", false },
        { "* matches within a name", "/etc/*.key", "/etc/tls.key", true },
        { "* matches nothing too", "/etc/a*.key", "/etc/a.key", true },
        { "* does not cross a slash", "/etc/*.key", "/etc/a/tls.key", false },
        { "* matches names with a leading dot", "/etc/*", "/etc/.hidden", true },
        { "* matches the kernel's names of Kubernetes' links", "/run/s/*/token",
          "/run/s/..2024_01_01/token", true },
        { "* is no component at all where there is none", "/etc/*", "/etc/", false },
        { "two * in one name", "/k/ssh_host_*_key*", "/k/ssh_host_ed25519_key", true },
        { "the last * gives back what the first took", "/k/a*b*c", "/k/aXbYbZc", true },
        { "the end of a name is compared", "/k/ssh_host_*_key", "/k/ssh_host_rsa_key.pub", false },
        { "** matches one component", "/etc/ssl/**", "/etc/ssl/a", true },
        { "** matches many components", "/etc/ssl/**", "/etc/ssl/a/b/.c/d", true },
        { "** at the end is not the directory itself", "/etc/ssl/**", "/etc/ssl", false },
        { "** at the end is not the directory with a slash", "/etc/ssl/**", "/etc/ssl/", false },
        { "** in the middle matches no component", "/le/**/privkey*.pem", "/le/privkey1.pem",
          true },
        { "** in the middle matches many", "/le/**/privkey*.pem", "/le/live/x/privkey.pem", true },
        { "** does not end within a name", "/le/**/key", "/le/a/xkey", false },
        { "** starts again when its first try fails", "/a/**/b/c", "/a/b/x/b/b/c", true },
        { "two ** with a name between", "/a/**/b/**/c", "/a/x/b/y/z/c", true },
        { "two ** miss when the name between is missing", "/a/**/b/**/c", "/a/x/y/z/c", false },
        { "** then ** is one", "/a/**/**", "/a/b", true },
        { "** alone matches any file", "/**", "/x/y", true },
        { "/proc/self is no wildcard", "/proc/self", "/proc/1", false },
        { "? is itself", "/etc/?", "/etc/a", false },
        { "[ is itself", "/etc/[a]", "/etc/a", false },
        { "a backslash is itself", "/etc/\\*", "/etc/\\x", true },
        { "bytes that are not UTF-8 are bytes", "/k/*\xff", "/k/\xfe\xff", true },
        { "a newline is a byte", "/k/*", "/k/a\nb", true },
        { "a relative path never matches", "/**", "etc/key", false },
        { "a relative pattern never matches", "xetc/key", "/etc/key", false },
        { "an empty path never matches", "/**", "", false },
        { "the root directory is no file", "/**", "/", false },
        { "an empty component of a path is none", "/a/*/b", "/a//b", false },
};

static void path_matches(void **state) {
        const struct path_case *c = *state;

        assert_int_equal(pattern_match(c->pattern, c->path), c->match);
}

struct name_case {
        const char *name;
        const char *pattern;
        const char *text;
        bool match;
};

static const struct name_case name_cases[] = {
        { "a unit matches itself", "nginx.service", "nginx.service", true },
        { "a unit with * matches an instance", "app@*.service", "app@blue.service", true },
        { "a unit matches no other suffix", "nginx.service", "nginx.scope", false },
        { "* alone matches any name", "*", "x", true },
};

static void name_matches(void **state) {
        const struct name_case *c = *state;
        /* In a block of its own size, so that the sanitiser sees a read past it. */
        _cleanup_free_ char *text = malloc(strlen(c->text));

        assert_non_null(text);
        memcpy(text, c->text, strlen(c->text));
        assert_int_equal(pattern_match_name(c->pattern, text, strlen(c->text)), c->match);
}

/* Repeats `unit` until `size` bytes are full; `head` first, `tail` last. */
static char *long_text(const char *head, const char *unit, const char *tail, size_t size) {
        char *text = malloc(size + strlen(head) + strlen(unit) + strlen(tail) + 1);
        size_t n = strlen(head);

        assert_non_null(text);
        memcpy(text, head, n);
        while (n < size) {
                memcpy(text + n, unit, strlen(unit));
                n += strlen(unit);
        }
        memcpy(text + n, tail, strlen(tail) + 1);
        return text;
}

/* Backtracking into every wildcard would take 2^1000 steps here; strlen * strlen is 16 million.
 * The limit is generous: it separates milliseconds from never. */
static void hostile_patterns_stay_quadratic(void **state) {
        static const struct {
                const char *unit, *path_unit;
        } hostile[] = {
                { "a*", "a" },
                { "**/a/", "a/" },
                { "*a/", "a/" },
                { "**/*a*/", "aa/" },
        };
        struct timespec before, after;

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(hostile); i++) {
                _cleanup_free_ char *pattern = long_text("/", hostile[i].unit, "x", 4000);
                _cleanup_free_ char *path = long_text("/", hostile[i].path_unit, "y", 4000);

                assert_int_equal(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before), 0);
                assert_false(pattern_match(pattern, path));
                assert_int_equal(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after), 0);
                assert_true(after.tv_sec - before.tv_sec <= 5);
        }
}

int main(void) {
        struct CMUnitTest tests[ARRAY_SIZE(path_cases) + ARRAY_SIZE(name_cases) + 1];
        size_t n = 0;

        for (size_t i = 0; i < ARRAY_SIZE(path_cases); i++)
                tests[n++] = (struct CMUnitTest){ path_cases[i].name, path_matches, NULL, NULL,
                                                  (void *)&path_cases[i] };
        for (size_t i = 0; i < ARRAY_SIZE(name_cases); i++)
                tests[n++] = (struct CMUnitTest){ name_cases[i].name, name_matches, NULL, NULL,
                                                  (void *)&name_cases[i] };
        tests[n++] = (struct CMUnitTest)cmocka_unit_test(hostile_patterns_stay_quadratic);
        return cmocka_run_group_tests_name("pattern", tests, NULL, NULL);
}
