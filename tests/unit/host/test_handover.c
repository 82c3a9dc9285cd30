/* core_pattern: what is written, what is recognised, and what is remembered. */
#include "host/handover.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define OURS "|/usr/libexec/coresieve/coresieve-helper 1 P=%P"

static void the_pattern_is_the_one_that_intake_reads(void **state) {
        char pattern[CORE_PATTERN_MAX + 1];

        (void)state;
        assert_int_equal(pattern_make("/l/coresieve-helper", "", pattern), 0);
        assert_string_equal(pattern, "|/l/coresieve-helper 1 P=%P I=%I F=%F d=%d s=%s u=%u g=%g "
                                     "t=%t c=%c h=%h -- %e");
        assert_int_equal(pattern_make("/l/coresieve-helper", "/r", pattern), 0);
        assert_string_equal(pattern, "|/l/coresieve-helper 1 P=%P I=%I F=%F d=%d s=%s u=%u g=%g "
                                     "t=%t c=%c h=%h R=/r -- %e");
}

static void a_pattern_that_the_kernel_would_cut_or_take_apart_is_refused(void **state) {
        char pattern[CORE_PATTERN_MAX + 1], longest[CORE_PATTERN_MAX + 2] = "/";
        size_t room;

        (void)state;
        assert_int_equal(pattern_make("/l/h", "", pattern), 0);
        room = CORE_PATTERN_MAX - (strlen(pattern) - strlen("/l/h"));
        memset(longest + 1, 'a', room - 1);
        assert_int_equal(pattern_make(longest, "", pattern), 0);
        assert_int_equal(strlen(pattern), CORE_PATTERN_MAX);
        longest[room] = 'a';
        assert_int_equal(pattern_make(longest, "", pattern), -E2BIG);
        assert_int_equal(pattern_make("/a b/h", "", pattern), -EINVAL);
        assert_int_equal(pattern_make("/h", "/a b", pattern), -EINVAL);
        assert_int_equal(pattern_make("/h%p", "", pattern), -EINVAL);
        assert_int_equal(pattern_make("h", "", pattern), -EINVAL);
}

static void patterns_are_told_apart(void **state) {
        static const struct {
                const char *pattern;
                enum pattern_kind kind;
        } cases[] = {
                { OURS, PATTERN_OURS },
                { "|/opt/coresieve-helper 1 P=%P", PATTERN_OURS_OTHER },
                { "|/opt/coresieve-helper", PATTERN_OURS_OTHER },
                { "|/opt/my-coresieve-helper", PATTERN_PIPE },
                { "|/bin/x /coresieve-helper", PATTERN_PIPE },
                { "|/lib/systemd/systemd-coredump %P", PATTERN_PIPE },
                { "@@/run/systemd/coredump", PATTERN_SOCKET },
                { "@/run/x", PATTERN_SOCKET },
                { "core", PATTERN_FILE },
                { "/var/crash/core.%p", PATTERN_FILE },
                { "", PATTERN_FILE },
        };

        (void)state;
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
                if (pattern_kind(cases[i].pattern, OURS) != cases[i].kind)
                        fail_msg("%s", cases[i].pattern);
        assert_int_equal(pattern_kind("", ""), PATTERN_FILE);
}

static void what_was_there_before_comes_back_byte_for_byte(void **state) {
        static const char *const patterns[] = { "core", "", "|/x a=b %P", "\xff\xfe core" };
        char root[] = "/tmp/test_handover.XXXXXX", path[128];
        struct stat st;

        (void)state;
        assert_non_null(mkdtemp(root));
        (void)snprintf(path, sizeof(path), "%s/var", root);
        assert_int_equal(mkdir(path, 0755), 0);
        (void)snprintf(path, sizeof(path), "%s/var/lib", root);
        assert_int_equal(mkdir(path, 0755), 0);
        (void)snprintf(path, sizeof(path), "%s/var/lib/coresieve", root);
        assert_int_equal(mkdir(path, 0755), 0);
        for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++) {
                struct before before = { .core_pipe_limit = 4294967295U,
                                         .bpffs_mounted = i & 1,
                                         .ours = OURS,
                                         .our_limit = 16 };
                struct before found;

                (void)strcpy(before.core_pattern, patterns[i]);
                assert_int_equal(before_save(root, &before), 0);
                if (geteuid() != 0)
                        continue;
                assert_int_equal(before_load(root, &found), 0);
                assert_string_equal(found.core_pattern, patterns[i]);
                assert_string_equal(found.ours, OURS);
                assert_int_equal(found.core_pipe_limit, 4294967295U);
                assert_int_equal(found.our_limit, 16);
                assert_int_equal(found.bpffs_mounted, before.bpffs_mounted);
        }
        (void)snprintf(path, sizeof(path), "%s/var/lib/coresieve/before-enable", root);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0600);
        if (geteuid() == 0) {
                struct before found;

                assert_int_equal(chmod(path, 0666), 0);
                assert_int_equal(before_load(root, &found), -EPERM);
        }
        assert_int_equal(before_remove(root), 0);
        assert_int_equal(before_remove(root), 0);
        for (const char *const *d =
                     (const char *const[]){ "/var/lib/coresieve", "/var/lib", "/var", "", NULL };
             *d; d++) {
                (void)snprintf(path, sizeof(path), "%s%s", root, *d);
                assert_int_equal(rmdir(path), 0);
        }
}

static void a_note_that_is_not_ours_is_not_believed(void **state) {
        static const char *const bad[] = {
                "",
                "core_pattern",
                "pattern=core\n",
                "core_pipe_limit=-1\n",
                "core_pipe_limit=4294967296\n",
                "core_pipe_limit=1x\n",
                "core_pipe_limit=\n",
                "core_pattern="
                "0123456789012345678901234567890123456789012345678901234567890123"
                "0123456789012345678901234567890123456789012345678901234567890123\n",
        };
        struct before before;

        (void)state;
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
                if (before_parse(bad[i], &before) != -EBADMSG)
                        fail_msg("%s", bad[i]);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_pattern_is_the_one_that_intake_reads),
                cmocka_unit_test(a_pattern_that_the_kernel_would_cut_or_take_apart_is_refused),
                cmocka_unit_test(patterns_are_told_apart),
                cmocka_unit_test(what_was_there_before_comes_back_byte_for_byte),
                cmocka_unit_test(a_note_that_is_not_ours_is_not_believed),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
