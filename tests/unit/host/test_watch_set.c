/* The set of what is to be watched: sorted, each thing once, and full at its limits. */
#include "host/watch_set.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void a_file_named_twice_is_there_once(void **state) {
        struct watch_set set = { 0 };
        struct file_key a = { .ino = 5, .dev = 2, .gen = 9 }, b = { .ino = 4, .dev = 2 };

        (void)state;
        assert_int_equal(watch_set_file(&set, &a, 1, "/a"), 0);
        assert_int_equal(watch_set_file(&set, &b, 1, "/b"), 0);
        assert_int_equal(watch_set_file(&set, &a, 1, "/link"), 0);
        assert_int_equal(watch_set_file(&set, &a, 2, "/a"), 0);
        assert_int_equal(set.n_files, 2);
        assert_int_equal(set.files[0].key.ino, 4);
        assert_int_equal(set.files[1].value.n_rules, 2);
        assert_string_equal(watch_set_path(&set, &a), "/a");
        a.gen = 10; /* an inode number used again */
        assert_null(watch_set_path(&set, &a));
        watch_set_done(&set);
}

static void a_file_has_so_many_rules(void **state) {
        struct watch_set set = { 0 };
        struct file_key a = { .ino = 5 };

        (void)state;
        for (uint32_t i = 1; i <= WATCH_RULES_MAX; i++)
                assert_int_equal(watch_set_file(&set, &a, i, "/a"), 0);
        assert_int_equal(watch_set_file(&set, &a, WATCH_RULES_MAX + 1, "/a"), -E2BIG);
        watch_set_done(&set);
}

static void files_are_so_many(void **state) {
        struct watch_set set = { 0 };
        struct file_key key = { 0 };

        (void)state;
        for (uint64_t i = 0; i < WATCH_FILES_MAX; i++) {
                key.ino = i * 2654435761U % WATCH_FILES_MAX;
                assert_int_equal(watch_set_file(&set, &key, 1, NULL), 0);
        }
        assert_int_equal(set.n_files, WATCH_FILES_MAX);
        for (size_t i = 1; i < set.n_files; i++)
                assert_true(set.files[i - 1].key.ino < set.files[i].key.ino);
        key.ino = WATCH_FILES_MAX;
        assert_int_equal(watch_set_file(&set, &key, 1, NULL), -E2BIG);
        watch_set_done(&set);
}

static void a_directory_has_so_many_rules(void **state) {
        struct watch_set set = { 0 };
        struct inode_key key = { .ino = 3 };
        struct dir_rule rule = { 0 };

        (void)state;
        for (uint32_t i = 0; i < WATCH_RULES_MAX * WATCH_PAGES_MAX; i++) {
                rule.rule = i + 1;
                assert_int_equal(watch_set_dir(&set, &key, &rule), 0);
                assert_int_equal(watch_set_dir(&set, &key, &rule), 0);
        }
        assert_int_equal(set.n_dirs, 1);
        rule.rule++;
        assert_int_equal(watch_set_dir(&set, &key, &rule), -E2BIG);
        watch_set_done(&set);
}

static void directories_are_so_many(void **state) {
        struct watch_set set = { 0 };
        struct inode_key key = { 0 };
        struct dir_rule rule = { .rule = 1 };

        (void)state;
        for (key.ino = 0; key.ino < WATCH_DIRS_MAX; key.ino++)
                assert_int_equal(watch_set_dir(&set, &key, &rule), 0);
        assert_int_equal(watch_set_dir(&set, &key, &rule), -E2BIG);
        watch_set_done(&set);
}

static void findings_are_told_once_and_counted_beyond_their_limit(void **state) {
        struct watch_set set = { 0 };

        (void)state;
        for (uint32_t i = 0; i < WATCH_FINDINGS_MAX; i++) {
                assert_int_equal(watch_set_finding(&set, WATCH_BLIND_TMPFS, i, "/t", 0), 0);
                assert_int_equal(watch_set_finding(&set, WATCH_BLIND_TMPFS, i, "/t", 0), 0);
        }
        assert_int_equal(set.n_findings_lost, 0);
        assert_int_equal(watch_set_finding(&set, WATCH_BLIND_OTHER, 1, "/t", 0), 0);
        assert_int_equal(set.n_findings, WATCH_FINDINGS_MAX);
        assert_int_equal(set.n_findings_lost, 1);
        watch_set_done(&set);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_file_named_twice_is_there_once),
                cmocka_unit_test(a_file_has_so_many_rules),
                cmocka_unit_test(files_are_so_many),
                cmocka_unit_test(a_directory_has_so_many_rules),
                cmocka_unit_test(directories_are_so_many),
                cmocka_unit_test(findings_are_told_once_and_counted_beyond_their_limit),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
