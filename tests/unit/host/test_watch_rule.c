/* What the kernel compares of a rule: it may name too many files, and never one too few. */
#include "host/watch_rule.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "host/pattern.h"

#define NAMES_MAX 80U
#define ROUNDS 200000U

/* Splits "a/b/c" in place. */
static size_t split(char *text, const char *names[NAMES_MAX]) {
        size_t n = 0;

        for (char *name; n < NAMES_MAX && (name = strsep(&text, "/"));)
                names[n++] = name;
        return n;
}

static bool matches(const char *pattern, size_t first, const char *below) {
        char text[4096];
        const char *names[NAMES_MAX];
        struct watch_pattern p;
        struct dir_rule rule;

        assert_int_equal(watch_pattern_split(pattern, &p), 0);
        watch_rule_make(1, &p, first, NULL, 0, &rule);
        watch_pattern_done(&p);
        (void)snprintf(text, sizeof(text), "%s", below);
        return watch_rule_matches(&rule, names, split(text, names));
}

#define N64 "0123456789012345678901234567890123456789012345678901234567890123"

struct rule_case {
        const char *name;
        const char *pattern;
        size_t first; /* components that the watched directory stands for */
        const char *below;
        bool match;
};

static const struct rule_case cases[] = {
        { "a literal name matches itself", "/k/a.key", 1, "a.key", true },
        { "a literal name matches no longer one", "/k/a.key", 1, "a.keys", false },
        { "a literal name matches no other depth", "/k/a.key", 1, "s/a.key", false },
        { "* asks for what stands before and behind it", "/k/ssh_*_key", 1, "ssh_rsa_key", true },
        { "* does not let beginning and end overlap", "/k/abc*cba", 1, "abcba", false },
        { "a name without the end is not meant", "/k/ssh_*_key", 1, "ssh_rsa_key.pub", false },
        { "** at the end matches any depth", "/k/**", 1, "a/b/c", true },
        { "** at the end matches the next level", "/k/**", 1, "a", true },
        { "** in the middle matches nothing", "/k/**/x.pem", 1, "x.pem", true },
        { "** in the middle matches levels", "/k/**/x.pem", 1, "a/b/x.pem", true },
        { "a literal between must be there", "/etc/pki/**/private/**", 2, "tls/certs/ca.crt",
          false },
        { "a literal between is there", "/etc/pki/**/private/**", 2, "tls/private/k", true },
        { "a file of that name is no directory", "/etc/pki/**/private/**", 2, "tls/private",
          false },
        { "a literal between in another place is too much, and meant", "/e/a/*/b/*", 1, "x/a/b/y",
          true },
        { "a missing directory is looked for by name", "/etc/nginx/tls/*.key", 1, "nginx/tls/a.key",
          true },
        { "a missing directory keeps others out", "/etc/nginx/tls/*.key", 1, "apache/x/a.key",
          false },
        { "a name over the length compared matches", "/k/" N64, 1, N64, true },
        { "a name over the length compared needs its length", "/k/" N64, 1, N64 "4", false },
        { "a name over the length compared needs its end", "/k/" N64 "a", 1, N64 "b", false },
        { "a long component between matches", "/k/" N64 "/x", 1, N64 "/x", true },
        { "a long component between needs its length", "/k/" N64 "/x", 1, N64 "4/x", false },
};

static void rules_name_what_they_should(void **state) {
        (void)state;
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                const struct rule_case *c = &cases[i];

                if (matches(c->pattern, c->first, c->below) != c->match)
                        fail_msg("%s: %s below %zu, %s", c->name, c->pattern, c->first, c->below);
        }
}

static unsigned random_next(unsigned *seed) {
        *seed = *seed * 1103515245U + 12345U;
        return *seed >> 16;
}

static void random_text(unsigned *seed, const char *alphabet, size_t parts, char *out) {
        size_t n = 0;

        for (size_t i = 0; i < parts; i++) {
                size_t length = 1 + random_next(seed) % 4;

                out[n++] = '/';
                for (size_t k = 0; k < length; k++)
                        out[n++] = alphabet[random_next(seed) % strlen(alphabet)];
                if (strchr(alphabet, '*') && random_next(seed) % 3 == 0) {
                        n -= length;
                        out[n++] = '*';
                        out[n++] = '*';
                }
        }
        out[n] = '\0';
}

/* Wherever the watched directory stands: of the components before it, whatever they match. */
static void no_path_that_a_pattern_matches_is_missed(void **state) {
        unsigned seed = 1, matched = 0;

        (void)state;
        for (unsigned i = 0; i < ROUNDS; i++) {
                char pattern[128], path[128], below[128];
                const char *names[NAMES_MAX];
                struct watch_pattern p;
                struct dir_rule rule;
                size_t n;

                random_text(&seed, "ab*", 1 + random_next(&seed) % 4, pattern);
                random_text(&seed, "ab", 1 + random_next(&seed) % 5, path);
                if (!pattern_match(pattern, path))
                        continue;
                matched++;
                assert_int_equal(watch_pattern_split(pattern, &p), 0);
                /* As many literal components as there are: the directory may be any of these. */
                for (size_t first = 0; first < p.n; first++) {
                        memcpy(below, path + 1, strlen(path));
                        n = split(below, names);
                        watch_rule_make(1, &p, first, NULL, 0, &rule);
                        if (first < n && !watch_rule_matches(&rule, names + first, n - first))
                                fail_msg("%s from %zu misses %s", pattern, first, path);
                        if (p.parts[first].wild)
                                break;
                }
                watch_pattern_done(&p);
        }
        assert_true(matched > ROUNDS / 100);
}

static void an_upper_layer_is_watched_from_its_top(void **state) {
        const char *names[] = { "etc", "tls", "a.key" }, *other[] = { "etc", "tls", "a.crt" };
        struct watch_pattern pattern, above;
        struct dir_rule rule;

        (void)state;
        assert_int_equal(watch_pattern_split("/m/etc/tls/*.key", &pattern), 0);
        assert_int_equal(watch_pattern_split("/etc/tls", &above), 0);
        watch_rule_make(7, &pattern, 3, above.parts, above.n, &rule);
        assert_int_equal(rule.rule, 7);
        assert_true(watch_rule_matches(&rule, names, 3));
        assert_false(watch_rule_matches(&rule, other, 3));
        assert_false(watch_rule_matches(&rule, names + 1, 2));
        watch_pattern_done(&pattern);
        watch_pattern_done(&above);
}

static void patterns_that_cannot_be_walked_are_refused(void **state) {
        char text[2 * WATCH_PARTS_MAX + WATCH_PART_MAX + 8] = "";
        struct watch_pattern p;

        (void)state;
        assert_int_equal(watch_pattern_split("relative", &p), -EINVAL);
        assert_int_equal(watch_pattern_split("/a//b", &p), -EINVAL);
        assert_int_equal(watch_pattern_split("/a/", &p), -EINVAL);
        assert_int_equal(watch_pattern_split("/a/../b", &p), -EINVAL);
        assert_int_equal(watch_pattern_split("/a/./b", &p), -EINVAL);

        for (unsigned i = 0; i < WATCH_PARTS_MAX; i++)
                (void)strcat(text, "/a");
        assert_int_equal(watch_pattern_split(text, &p), 0);
        assert_int_equal(p.n, WATCH_PARTS_MAX);
        watch_pattern_done(&p);
        (void)strcat(text, "/a");
        assert_int_equal(watch_pattern_split(text, &p), -E2BIG);

        memset(text, 'a', sizeof(text));
        text[0] = '/';
        text[WATCH_PART_MAX + 1] = '\0';
        assert_int_equal(watch_pattern_split(text, &p), 0);
        watch_pattern_done(&p);
        text[WATCH_PART_MAX + 1] = 'a';
        text[WATCH_PART_MAX + 2] = '\0';
        assert_int_equal(watch_pattern_split(text, &p), -E2BIG);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(rules_name_what_they_should),
                cmocka_unit_test(no_path_that_a_pattern_matches_is_missed),
                cmocka_unit_test(an_upper_layer_is_watched_from_its_top),
                cmocka_unit_test(patterns_that_cannot_be_walked_are_refused),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
