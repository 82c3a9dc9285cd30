/* Appends: one chain whatever dies, whoever appends at the same time, and however full the disk. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <cmocka.h>
#include <jansson.h>

#include "audit/log.h"
#include "base/paths.h"
#include "tests/unit/audit/log_support.h"

#define WRITERS 8
#define EACH 50

static void the_first_append_makes_what_is_missing_for_root_alone(void **state) {
        static const char *const made[] = { PATH_LOG_DIR, PATH_LOG, PATH_TIP, PATH_RUN };
        struct scratch *s = *state;
        struct log_check check;
        struct stat st;

        assert_int_equal(append(s, "0-1-a"), LOG_WRITTEN);
        for (size_t i = 0; i < ARRAY_SIZE(made); i++) {
                assert_int_equal(lstat(scratch_path(s, made[i]), &st), 0);
                assert_int_equal(st.st_mode & 07777, S_ISDIR(st.st_mode) ? 0700 : 0600);
        }
        assert_int_equal(verify(s, &check), 0);
        assert_int_equal(check.records, 1);
        assert_int_equal(check.newest.seq, 1);
        assert_int_equal(check.ahead + check.torn + check.bad_line, 0);
}

static void lines_are_chained_and_the_tip_names_the_newest(void **state) {
        static const char first[] = "{\"v\":1,\"seq\":\"1\",\"prev\":\"" RECORD_HASH_ZERO
                                    "\",\"id\":\"0-1-a\",\"event\":\"crash\",";
        struct scratch *s = *state;
        _cleanup_free_ char *tip = NULL, *log = NULL;
        char hash[RECORD_HASH_SIZE], expected[128];
        char *second;

        append(s, "0-1-a");
        append(s, "0-2-b");
        log = scratch_load(s, PATH_LOG, NULL);
        second = strchr(log, '\n') + 1;
        record_hash(log, (size_t)(second - 1 - log), hash);
        snprintf(expected, sizeof(expected), "{\"v\":1,\"seq\":\"2\",\"prev\":\"%s\",", hash);
        assert_memory_equal(second, expected, strlen(expected));
        assert_memory_equal(log, first, sizeof(first) - 1);
        record_hash(second, strlen(second) - 1, hash);
        snprintf(expected, sizeof(expected), "%020u %s\n", 2U, hash);
        tip = scratch_load(s, PATH_TIP, NULL);
        assert_string_equal(tip, expected);
}

static void many_writers_at_once_make_one_chain(void **state) {
        struct scratch *s = *state;
        struct log_check check;
        pid_t pids[WRITERS];

        for (int w = 0; w < WRITERS; w++) {
                pids[w] = fork();
                if (pids[w] == 0) {
                        for (int i = 0; i < EACH; i++) {
                                char id[RECORD_ID_SIZE];

                                snprintf(id, sizeof(id), "0-%d-%d", w, i);
                                if (append(s, id) != LOG_WRITTEN)
                                        _exit(1);
                        }
                        _exit(0);
                }
        }
        for (int w = 0; w < WRITERS; w++) {
                int status;

                assert_int_equal(waitpid(pids[w], &status, 0), pids[w]);
                assert_int_equal(status, 0);
        }
        assert_int_equal(verify(s, &check), 0);
        assert_int_equal(check.records, WRITERS * EACH);
        for (int w = 0; w < WRITERS; w++)
                for (int i = 0; i < EACH; i++) {
                        char id[RECORD_ID_SIZE + 16];

                        snprintf(id, sizeof(id), "\"id\":\"0-%d-%d\"", w, i);
                        assert_int_equal(count_text(s, PATH_LOG, id), 1);
                }
}

static void a_line_torn_at_any_byte_is_cut_and_named(void **state) {
        struct scratch *s = *state;
        _cleanup_free_ char *log = NULL, *tip = NULL;
        size_t size, begin;

        append(s, "0-1-a");
        tip = scratch_load(s, PATH_TIP, NULL);
        append(s, "0-2-b");
        log = scratch_load(s, PATH_LOG, &size);
        begin = (size_t)(strchr(log, '\n') + 1 - log);
        for (size_t cut = begin + 1; cut < size; cut++) {
                _cleanup_free_ char *now = NULL;
                struct log_check check;
                char named[64];

                scratch_save(s, PATH_LOG, log, cut);
                scratch_save(s, PATH_TIP, tip, strlen(tip));
                assert_int_equal(verify(s, &check), 0); /* unfinished, not broken */
                assert_int_equal(check.torn, cut - begin);
                assert_int_equal(append(s, "0-3-c"), LOG_WRITTEN);
                assert_int_equal(verify(s, &check), 0);
                assert_int_equal(check.records, 3); /* a, recovered, c */
                now = scratch_load(s, PATH_LOG, NULL);
                assert_non_null(strstr(now, "\"event\":\"recovered\""));
                snprintf(named, sizeof(named), "\"bytes\":\"%zu\"", cut - begin);
                assert_non_null(strstr(now, named));
                assert_null(strstr(now, "\"event\":\"break\""));
        }
}

static void a_first_line_that_was_torn_is_cut_too(void **state) {
        struct scratch *s = *state;
        struct log_check check;

        append(s, "0-1-a");
        scratch_save(s, PATH_LOG, "{\"v\":1", 6);
        scratch_save(s, PATH_TIP, "00000000000000000000 " RECORD_HASH_ZERO "\n", 86);
        append(s, "0-2-b");
        assert_int_equal(verify(s, &check), 0);
        assert_int_equal(check.records, 2);
        assert_int_equal(count_text(s, PATH_LOG, "\"text\":\"{\\\"v\\\":1\""), 1);
}

static void bytes_of_a_torn_tail_that_were_never_ours_are_not_kept(void **state) {
        struct scratch *s = *state;
        struct log_check check;
        _cleanup_free_ char *log = NULL, *longer = NULL;
        size_t size;

        append(s, "0-1-a");
        log = scratch_load(s, PATH_LOG, &size);
        longer = calloc(1, size + 64);
        memcpy(longer, log, size);
        memcpy(longer + size, "{\"v\"\0SECRET", 11);
        scratch_save(s, PATH_LOG, longer, size + 40);
        append(s, "0-2-b");
        assert_int_equal(verify(s, &check), 0);
        assert_int_equal(count_text(s, PATH_LOG, "SECRET"), 0);
        assert_int_equal(count_text(s, PATH_LOG, "\"text\":\"{\\\"v\\\"\""), 1);
        assert_int_equal(count_text(s, PATH_LOG, "\"bytes\":\"40\""), 1);
}

static void a_log_ahead_of_its_tip_is_whole_and_goes_on(void **state) {
        struct scratch *s = *state;
        char *tips[4];
        static const char zero[] = "00000000000000000000 " RECORD_HASH_ZERO "\n";

        tips[0] = strdup(zero);
        for (int i = 1; i < 4; i++) {
                append(s, "0-1-a");
                tips[i] = scratch_load(s, PATH_TIP, NULL);
        }
        for (unsigned i = 0; i < 3; i++) {
                struct log_check check;

                scratch_save(s, PATH_TIP, tips[i], strlen(tips[i]));
                assert_int_equal(verify(s, &check), 0);
                assert_int_equal(check.ahead, check.records - i);
                append(s, "0-2-b");
                assert_int_equal(verify(s, &check), 0);
                assert_int_equal(check.ahead, 0);
                assert_int_equal(check.records, 4 + i);
        }
        assert_int_equal(count_text(s, PATH_LOG, "\"event\":\"break\""), 0);
        for (unsigned i = 0; i < 4; i++)
                free(tips[i]);
}

/* Each of these is evidence: the append goes on, and the log stays reported. */
static void log_goes_on_behind_a_break(struct scratch *s, const char *reason) {
        char named[64];
        struct log_check check;

        assert_int_equal(verify(s, &check), -EBADMSG);
        assert_int_equal(append(s, "0-4-d"), LOG_WRITTEN);
        assert_int_equal(count_text(s, PATH_LOG, "\"event\":\"break\""), 1);
        snprintf(named, sizeof(named), "\"reason\":\"%s\"", reason);
        assert_int_equal(count_text(s, PATH_LOG, named), 1);
        assert_int_equal(verify(s, &check), -EBADMSG);
        /* ... and it is told once, not with every append. */
        assert_int_equal(append(s, "0-5-e"), LOG_WRITTEN);
        assert_int_equal(count_text(s, PATH_LOG, "\"event\":\"break\""), 1);
        assert_int_equal(verify(s, &check), -EBADMSG);
        assert_int_equal(count_text(s, PATH_LOG, "\"id\":\"0-5-e\""), 1);
}

static void a_cut_tail_leaves_a_break_record(void **state) {
        struct scratch *s = *state;
        _cleanup_free_ char *log = NULL;

        three(s);
        log = scratch_load(s, PATH_LOG, NULL);
        scratch_save(s, PATH_LOG, log, (size_t)(line_at(log, 3) - log));
        log_goes_on_behind_a_break(s, "tail-cut");
        /* What was lost is named by number: 3 was the newest, the line after says 4. */
        assert_int_equal(count_text(s, PATH_LOG, "\"expected\":{\"seq\":\"3\""), 1);
        assert_int_equal(count_text(s, PATH_LOG, "\"found\":{\"seq\":\"2\""), 1);
        assert_int_equal(count_text(s, PATH_LOG, "\"seq\":\"4\",\"prev\""), 1);
}

static void a_tail_cut_in_the_middle_of_a_line_leaves_a_break_record(void **state) {
        struct scratch *s = *state;
        _cleanup_free_ char *log = NULL;

        three(s);
        log = scratch_load(s, PATH_LOG, NULL);
        scratch_save(s, PATH_LOG, log, (size_t)(line_at(log, 3) + 20 - log));
        log_goes_on_behind_a_break(s, "tail-cut");
        assert_int_equal(count_text(s, PATH_LOG, "\"event\":\"recovered\""), 1);
}

static void a_log_that_was_removed_leaves_a_break_record(void **state) {
        struct scratch *s = *state;

        three(s);
        unlink(scratch_path(s, PATH_LOG));
        log_goes_on_behind_a_break(s, "log-missing");
        assert_int_equal(count_text(s, PATH_LOG, "\"seq\":\"4\",\"prev\""), 1);
}

static void a_tip_that_was_removed_leaves_a_break_record(void **state) {
        struct scratch *s = *state;

        three(s);
        unlink(scratch_path(s, PATH_TIP));
        log_goes_on_behind_a_break(s, "tip-missing");
}

/* The tip is written before the first line: half a line without one is no honest beginning. */
static void a_torn_first_line_without_a_tip_leaves_a_break_record(void **state) {
        struct scratch *s = *state;

        append(s, "0-1-a");
        scratch_save(s, PATH_LOG, "{", 1);
        unlink(scratch_path(s, PATH_TIP));
        log_goes_on_behind_a_break(s, "tip-missing");
}

static void a_tip_that_is_unreadable_leaves_a_break_record(void **state) {
        static const char *const bad[] = {
                "x",
                "00000000000000000003 " RECORD_HASH_ZERO "\nx",
                "0000000000000000000x " RECORD_HASH_ZERO "\n",
                "10000000000000000000 " RECORD_HASH_ZERO "\n",
                "00000000000000000003-" RECORD_HASH_ZERO "\n",
                "00000000000000000003 Z000000000000000000000000000000000000000000000000000000000"
                "000000\n",
        };
        struct scratch *s = *state;

        for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
                unlink(scratch_path(s, PATH_LOG));
                unlink(scratch_path(s, PATH_TIP));
                three(s);
                scratch_save(s, PATH_TIP, bad[i], strlen(bad[i]));
                log_goes_on_behind_a_break(s, "tip-unreadable");
        }
}

static void a_changed_last_line_leaves_a_break_record(void **state) {
        struct scratch *s = *state;
        _cleanup_free_ char *log = NULL;

        three(s);
        log = scratch_load(s, PATH_LOG, NULL);
        strstr(line_at(log, 3), "\"pid\":1")[6] = '2';
        scratch_save(s, PATH_LOG, log, strlen(log));
        log_goes_on_behind_a_break(s, "tail-changed");
}

static void lines_that_do_not_chain_to_the_tip_are_no_honest_advance(void **state) {
        struct scratch *s = *state;
        _cleanup_free_ char *log = NULL, *tip = NULL;

        append(s, "0-1-a");
        tip = scratch_load(s, PATH_TIP, NULL);
        append(s, "0-2-b");
        append(s, "0-3-c");
        log = scratch_load(s, PATH_LOG, NULL);
        strstr(line_at(log, 2), "\"pid\":1")[6] = '2';
        scratch_save(s, PATH_LOG, log, strlen(log));
        scratch_save(s, PATH_TIP, tip, strlen(tip));
        log_goes_on_behind_a_break(s, "tail-changed");
}

static void foreign_text_behind_the_last_line_leaves_a_break_record(void **state) {
        static const char *const bad[] = { "hello\n", "\n", "{\"v\":2}\n" };
        struct scratch *s = *state;

        for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
                _cleanup_free_ char *log = NULL, *longer = NULL;

                unlink(scratch_path(s, PATH_LOG));
                unlink(scratch_path(s, PATH_TIP));
                three(s);
                log = scratch_load(s, PATH_LOG, NULL);
                assert_true(asprintf(&longer, "%s%s", log, bad[i]) > 0);
                scratch_save(s, PATH_LOG, longer, strlen(longer));
                log_goes_on_behind_a_break(s, "tail-unreadable");
        }
}

static void a_tail_longer_than_any_record_is_kept_and_passed_over(void **state) {
        struct scratch *s = *state;

        /* One byte more than a line may have, with its newline and torn; and exactly as long. */
        for (unsigned torn = 0; torn < 2; torn++) {
                _cleanup_free_ char *log = NULL, *longer = malloc(RECORD_LINE_MAX * 3);
                struct log_check check;
                size_t size;

                unlink(scratch_path(s, PATH_LOG));
                unlink(scratch_path(s, PATH_TIP));
                three(s);
                log = scratch_load(s, PATH_LOG, &size);
                memcpy(longer, log, size);
                memset(longer + size, 'x', RECORD_LINE_MAX + 1);
                longer[size + RECORD_LINE_MAX + 1] = '\n';
                scratch_save(s, PATH_LOG, longer, size + RECORD_LINE_MAX + 2 - torn);
                log_goes_on_behind_a_break(s, "tail-unreadable");
                assert_int_equal(verify(s, &check), -EBADMSG);
                assert_int_equal(check.bad_line, 4);
        }
}

static void a_torn_tail_as_long_as_the_longest_record_is_recovered(void **state) {
        struct scratch *s = *state;
        _cleanup_free_ char *log = NULL, *longer = malloc(RECORD_LINE_MAX * 2);
        struct log_check check;
        size_t size;

        three(s);
        log = scratch_load(s, PATH_LOG, &size);
        memcpy(longer, log, size);
        memset(longer + size, 'x', RECORD_LINE_MAX);
        scratch_save(s, PATH_LOG, longer, size + RECORD_LINE_MAX);
        append(s, "0-4-d");
        assert_int_equal(verify(s, &check), 0);
        assert_int_equal(check.records, 5);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                LOG_TEST(the_first_append_makes_what_is_missing_for_root_alone),
                LOG_TEST(lines_are_chained_and_the_tip_names_the_newest),
                LOG_TEST(many_writers_at_once_make_one_chain),
                LOG_TEST(a_line_torn_at_any_byte_is_cut_and_named),
                LOG_TEST(a_first_line_that_was_torn_is_cut_too),
                LOG_TEST(bytes_of_a_torn_tail_that_were_never_ours_are_not_kept),
                LOG_TEST(a_log_ahead_of_its_tip_is_whole_and_goes_on),
                LOG_TEST(a_cut_tail_leaves_a_break_record),
                LOG_TEST(a_tail_cut_in_the_middle_of_a_line_leaves_a_break_record),
                LOG_TEST(a_log_that_was_removed_leaves_a_break_record),
                LOG_TEST(a_tip_that_was_removed_leaves_a_break_record),
                LOG_TEST(a_torn_first_line_without_a_tip_leaves_a_break_record),
                LOG_TEST(a_tip_that_is_unreadable_leaves_a_break_record),
                LOG_TEST(a_changed_last_line_leaves_a_break_record),
                LOG_TEST(lines_that_do_not_chain_to_the_tip_are_no_honest_advance),
                LOG_TEST(foreign_text_behind_the_last_line_leaves_a_break_record),
                LOG_TEST(a_tail_longer_than_any_record_is_kept_and_passed_over),
                LOG_TEST(a_torn_tail_as_long_as_the_longest_record_is_recovered),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
