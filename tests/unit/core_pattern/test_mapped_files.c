/* mapped_files: paths of /proc/PID/maps under a rule, whatever the process named its memory.
 *
 * with: core_pattern/mapped_files.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "core_pattern/mapped_files.h"

static const char policy_text[] = "[Secret tls]\n"
                                  "File=/etc/keys/**\n"
                                  "File=/srv/one key\n";

#define LINE(path) "7f00-8f00 r--p 00000000 08:01 4711                       " path "\n"

static const struct parse_case {
        const char *name;
        const char *maps;
        const char *want; /* paths, each with a semicolon behind */
} parse_cases[] = {
        { "nothing mapped is nothing", "", "" },
        { "a path under a rule counts", LINE("/etc/keys/a"), "/etc/keys/a;" },
        { "a path under no rule does not", LINE("/usr/lib/x.so"), "" },
        { "a path with a blank is whole", LINE("/srv/one key"), "/srv/one key;" },
        { "a file that was unlinked counts", LINE("/etc/keys/a (deleted)"), "/etc/keys/a;" },
        { "a file mapped twice counts once",
          LINE("/etc/keys/a") LINE("/etc/keys/b") LINE("/etc/keys/a"), "/etc/keys/a;/etc/keys/b;" },
        { "memory named like a file is no file", LINE("[anon:/etc/keys/a]"), "" },
        { "memory without a name is no file", "7f00-8f00 rw-p 00000000 00:00 0 \n", "" },
        { "the last line may lack its newline", "7f00-8f00 r--p 0 08:01 1 /etc/keys/a",
          "/etc/keys/a;" },
        { "a broken line is passed over", "x\n7f00 \n-\n" LINE("/etc/keys/a"), "/etc/keys/a;" },
};

static struct policy *policy;

static int policy_make(void **state) {
        (void)state;
        return policy_parse("test", policy_text, strlen(policy_text), stderr, &policy);
}

static int policy_drop(void **state) {
        (void)state;
        policy_free(policy);
        return 0;
}

static void lines_are_read(void **state) {
        const struct parse_case *c = *state;
        _cleanup_free_ char *maps = strdup(c->maps);
        struct mapped_files mapped;
        char got[1024] = "";

        assert_non_null(maps);
        assert_int_equal(mapped_files_parse(policy, maps, &mapped), 0);
        for (size_t i = 0; i < mapped.n; i++) {
                (void)snprintf(got + strlen(got), sizeof(got) - strlen(got), "%s;",
                               mapped.files[i].path);
                assert_non_null(policy_rule_by_id(policy, mapped.files[i].rule));
                assert_true(mapped.files[i].start == 0x7f00 && mapped.files[i].end == 0x8f00);
        }
        assert_string_equal(got, c->want);
        assert_false(mapped.cut);
        mapped_files_done(&mapped);
}

/* `n` lines with a path of their own each. */
static char *many(const char *format, unsigned n) {
        char *text = NULL;
        size_t size;
        FILE *out = open_memstream(&text, &size);

        assert_non_null(out);
        for (unsigned i = 0; i < n; i++)
                assert_true(fprintf(out, format, i) > 0);
        assert_int_equal(fclose(out), 0);
        return text;
}

static void the_limits_are_told(void **state) {
        static const struct {
                const char *format;
                unsigned n;
                size_t want;
                bool cut;
        } limits[] = {
                { LINE("/etc/keys/%u"), MAPPED_FILES_MAX, MAPPED_FILES_MAX, false },
                { LINE("/etc/keys/%u"), MAPPED_FILES_MAX + 1, MAPPED_FILES_MAX, true },
                { LINE("/usr/%u"), MAPPED_PATHS_MAX, 0, false },
                { LINE("/usr/%u"), MAPPED_PATHS_MAX + 1, 0, true },
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(limits); i++) {
                _cleanup_free_ char *maps = many(limits[i].format, limits[i].n);
                struct mapped_files mapped;

                assert_int_equal(mapped_files_parse(policy, maps, &mapped), 0);
                assert_int_equal(mapped.n, limits[i].want);
                assert_int_equal(mapped.cut, limits[i].cut);
                mapped_files_done(&mapped);
        }
}

int main(void) {
        struct CMUnitTest tests[ARRAY_SIZE(parse_cases) + 1];
        size_t n = 0;

        for (size_t i = 0; i < ARRAY_SIZE(parse_cases); i++)
                tests[n++] = (struct CMUnitTest){
                        .name = parse_cases[i].name,
                        .test_func = lines_are_read,
                        .initial_state = (void *)(uintptr_t)&parse_cases[i],
                };
        tests[n++] = (struct CMUnitTest)cmocka_unit_test(the_limits_are_told);
        return _cmocka_run_group_tests("core_pattern/mapped_files", tests, n, policy_make,
                                       policy_drop);
}
