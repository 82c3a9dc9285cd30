/* What cannot reach the log waits, is told of, and comes in exactly once. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "audit/log.h"
#include "audit/log_chain.h"
#include "audit/log_pending.h"
#include "tests/unit/audit/log_support.h"

#define PENDING PATH_RUN "/pending.jsonl"
#define TAKING PATH_RUN "/taking.jsonl"
#define DISK_SIZE (64 << 10)

static uint64_t waiting(const struct scratch *s) {
        uint64_t n = UINT64_MAX;

        assert_int_equal(log_pending_count(s->root, &n), 0);
        return n;
}

static void in_log(const struct scratch *s, const char *id, unsigned times) {
        char text[RECORD_ID_SIZE + 16];

        snprintf(text, sizeof(text), "\"id\":\"%s\"", id);
        assert_int_equal(count_text(s, PATH_LOG, text), times);
}

/* The log is made unwritable, and writable again. */
static void break_log(const struct scratch *s) {
        chmod(scratch_path(s, PATH_LOG_DIR), 0755);
}

static void mend_log(const struct scratch *s) {
        chmod(scratch_path(s, PATH_LOG_DIR), 0700);
}

static void a_record_waits_and_comes_in_before_the_next(void **state) {
        struct scratch *s = *state;
        struct log_check check;
        _cleanup_free_ char *log = NULL;

        append(s, "0-1-a");
        break_log(s);
        assert_int_equal(append(s, "0-2-b"), LOG_PENDING);
        assert_int_equal(append(s, "0-3-c"), LOG_PENDING);
        assert_int_equal(waiting(s), 2);
        mend_log(s);
        assert_int_equal(append(s, "0-4-d"), LOG_WRITTEN);
        assert_int_equal(waiting(s), 0);
        assert_int_equal(verify(s, &check), 0);
        assert_int_equal(check.records, 4);
        log = scratch_load(s, PATH_LOG, NULL);
        assert_non_null(strstr(line_at(log, 2), "\"seq\":\"2\""));
        assert_true(strstr(log, "0-2-b") < strstr(log, "0-3-c"));
        assert_true(strstr(log, "0-3-c") < strstr(log, "0-4-d"));
}

static void the_caller_learns_why_the_log_refused(void **state) {
        struct scratch *s = *state;
        _cleanup_free_ struct record *record = calloc(1, sizeof(*record));
        enum log_place place;

        strcpy(record->id, "0-1-a");
        append(s, "0-0-0");
        break_log(s);
        assert_int_equal(log_append(s->root, record, &place), -EPERM);
        assert_int_equal(place, LOG_PENDING);
}

static void a_kept_dump_whose_record_waits_is_recorded_as_withdrawn(void **state) {
        struct scratch *s = *state;
        _cleanup_free_ struct record *record = calloc(1, sizeof(*record));
        enum log_place place;

        append(s, "0-0-0");
        strcpy(record->id, "0-1-a");
        record->kept = true;
        record->path = (struct record_text){ "/dump", 5 };
        break_log(s);
        assert_int_equal(log_append(s->root, record, &place), -EPERM);
        mend_log(s);
        append(s, "0-2-b");
        in_log(s, "0-1-a", 1);
        assert_int_equal(count_text(s, PATH_LOG, "\"outcome\":\"kept\""), 0);
        assert_int_equal(count_text(s, PATH_LOG, "/dump"), 0);
        assert_int_equal(count_text(s, PATH_LOG, "\"causes\":[\"log-failed\"]"), 1);
}

/* Somebody died between chaining the lines and unlinking them: any number of them is in. */
static void an_interrupted_take_is_finished_without_a_second_copy(void **state) {
        struct scratch *s = *state;

        for (unsigned in = 0; in <= 3; in++) {
                _cleanup_free_ char *bodies = NULL, *log = NULL;
                struct log_check check;
                size_t size;

                unlink(scratch_path(s, PATH_LOG));
                unlink(scratch_path(s, PATH_TIP));
                append(s, "0-0-0");
                break_log(s);
                three(s);
                mend_log(s);
                bodies = scratch_load(s, PENDING, &size);
                append(s, "0-4-d"); /* takes the three in … */
                log = scratch_load(s, PATH_LOG, NULL);
                /* … of which only so many got there before the death. */
                scratch_save(s, PATH_LOG, log, (size_t)(line_at(log, 2 + in) - log));
                log[line_at(log, 2) - log] = '\0';
                scratch_save(s, TAKING, bodies, size);
                {
                        char hash[RECORD_HASH_SIZE], tip[128];

                        record_hash(log, strlen(log) - 1, hash);
                        snprintf(tip, sizeof(tip), "%020u %s\n", 1U, hash);
                        scratch_save(s, PATH_TIP, tip, strlen(tip));
                }
                append(s, "0-5-e");
                assert_int_equal(verify(s, &check), 0);
                assert_int_equal(check.records, 5);
                in_log(s, "0-1-a", 1);
                in_log(s, "0-2-b", 1);
                in_log(s, "0-3-c", 1);
                assert_int_equal(access(scratch_path(s, TAKING), F_OK), -1);
        }
}

static void what_came_since_an_interrupted_take_comes_in_behind_it(void **state) {
        struct scratch *s = *state;
        _cleanup_free_ char *bodies = NULL;
        struct log_check check;
        size_t size;

        append(s, "0-0-0");
        break_log(s);
        append(s, "0-1-a");
        bodies = scratch_load(s, PENDING, &size);
        scratch_save(s, TAKING, bodies, size);
        unlink(scratch_path(s, PENDING));
        append(s, "0-2-b");
        mend_log(s);
        assert_int_equal(waiting(s), 2);
        append(s, "0-3-c");
        assert_int_equal(verify(s, &check), 0);
        assert_int_equal(check.records, 4);
        assert_int_equal(waiting(s), 0);
}

static void a_waiting_line_torn_at_any_byte_is_named_and_costs_no_other(void **state) {
        struct scratch *s = *state;
        _cleanup_free_ char *bodies = NULL;
        size_t size, begin;

        append(s, "0-0-0");
        break_log(s);
        append(s, "0-1-a");
        append(s, "0-2-b");
        mend_log(s);
        bodies = scratch_load(s, PENDING, &size);
        begin = (size_t)(line_at(bodies, 2) - bodies);
        unlink(scratch_path(s, PENDING));
        for (size_t cut = begin + 1; cut < size; cut++) {
                struct log_check check;

                unlink(scratch_path(s, PATH_LOG));
                unlink(scratch_path(s, PATH_TIP));
                append(s, "0-0-0");
                scratch_save(s, PENDING, bodies, cut);
                /* The next one to wait starts a line of its own. */
                break_log(s);
                assert_int_equal(append(s, "0-3-c"), LOG_PENDING);
                mend_log(s);
                append(s, "0-4-d");
                assert_int_equal(verify(s, &check), 0);
                assert_int_equal(check.records, 5);
                in_log(s, "0-1-a", 1);
                in_log(s, "0-3-c", 1);
                assert_int_equal(count_text(s, PATH_LOG, "\"event\":\"recovered\""),
                                 cut == size - 1 ? 0 : 1);
        }
}

static void a_log_locked_by_another_makes_the_record_wait(void **state) {
        struct scratch *s = *state;
        _cleanup_close_ int fd = -1;
        _cleanup_free_ struct record *record = calloc(1, sizeof(*record));
        struct timespec a, b;
        enum log_place place;

        append(s, "0-1-a");
        fd = open(scratch_path(s, PATH_LOG), O_RDWR | O_CLOEXEC);
        assert_int_equal(flock(fd, LOCK_EX), 0);
        strcpy(record->id, "0-2-b");
        clock_gettime(CLOCK_MONOTONIC, &a);
        assert_int_equal(log_append(s->root, record, &place), -ETIMEDOUT);
        clock_gettime(CLOCK_MONOTONIC, &b);
        assert_int_equal(place, LOG_PENDING);
        assert_in_range((b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1000000,
                        LOG_LOCK_MS, LOG_LOCK_MS + 1000);
        flock(fd, LOCK_UN);
        append(s, "0-3-c");
        in_log(s, "0-2-b", 1);
}

/* A log on a file system of a few pages. */
static int disk_setup(void **state) {
        struct scratch *s;

        if (scratch_setup(state) < 0)
                return -1;
        s = *state;
        scratch_mkdir(s, PATH_LOG_DIR, 0700);
        if (mount("none", scratch_path(s, PATH_LOG_DIR), "tmpfs", 0, "size=65536,mode=0700") < 0)
                s->root[0] = '\0'; /* not allowed here: the tests skip */
        return 0;
}

static int disk_teardown(void **state) {
        struct scratch *s = *state;

        if (s->root[0])
                umount2(scratch_path(s, PATH_LOG_DIR), MNT_DETACH);
        return scratch_teardown(state);
}

static void a_full_disk_makes_the_record_wait_and_leaves_no_half_line(void **state) {
        struct scratch *s = *state;
        struct log_check check;
        char id[RECORD_ID_SIZE];
        unsigned written = 0, n;

        if (!s->root[0])
                skip();
        for (n = 0; n < 400; n++) {
                snprintf(id, sizeof(id), "0-%u-a", n);
                if (append(s, id) != LOG_WRITTEN)
                        break;
                written++;
        }
        assert_in_range(written, 20, 399);
        assert_int_equal(append(s, "0-1000-b"), LOG_PENDING);
        assert_int_equal(verify(s, &check), 0);
        assert_int_equal(check.torn, 0);
        assert_int_equal(check.records, written);
        assert_int_equal(waiting(s), 2);
        /* Room again: both come in, in their order. */
        assert_int_equal(mount("none", scratch_path(s, PATH_LOG_DIR), NULL, MS_REMOUNT,
                               "size=131072,mode=0700"),
                         0);
        assert_int_equal(append(s, "0-1001-c"), LOG_WRITTEN);
        assert_int_equal(verify(s, &check), 0);
        assert_int_equal(check.records, written + 3);
        assert_int_equal(waiting(s), 0);
        in_log(s, id, 1);
        in_log(s, "0-1000-b", 1);
}

static void a_disk_that_fills_while_taking_in_loses_and_doubles_nothing(void **state) {
        struct scratch *s = *state;
        struct log_check check;
        char id[RECORD_ID_SIZE];
        unsigned n;

        if (!s->root[0])
                skip();
        append(s, "0-0-0");
        break_log(s);
        for (n = 0; n < 200; n++) { /* more than there is room for */
                snprintf(id, sizeof(id), "0-1-%x", n);
                assert_int_equal(append(s, id), LOG_PENDING);
        }
        mend_log(s);
        for (unsigned i = 0; i < 3; i++) {
                snprintf(id, sizeof(id), "0-2-%x", i);
                assert_int_equal(append(s, id), LOG_PENDING);
        }
        assert_int_equal(verify(s, &check), 0);
        assert_in_range(check.records, 2, 200);
        assert_int_equal(mount("none", scratch_path(s, PATH_LOG_DIR), NULL, MS_REMOUNT,
                               "size=1048576,mode=0700"),
                         0);
        assert_int_equal(append(s, "0-3-0"), LOG_WRITTEN);
        assert_int_equal(verify(s, &check), 0);
        assert_int_equal(check.records, 1 + 200 + 3 + 1);
        for (n = 0; n < 200; n++) {
                snprintf(id, sizeof(id), "0-1-%x", n);
                in_log(s, id, 1);
        }
}

static void a_write_cut_short_by_a_limit_leaves_no_half_line(void **state) {
        struct scratch *s = *state;
        struct rlimit old, small;
        struct log_check check;
        struct stat st;

        append(s, "0-1-a");
        stat(scratch_path(s, PATH_LOG), &st);
        signal(SIGXFSZ, SIG_IGN);
        getrlimit(RLIMIT_FSIZE, &old);
        small = old;
        small.rlim_cur = (rlim_t)st.st_size + 100; /* in the middle of the next line */
        setrlimit(RLIMIT_FSIZE, &small);
        assert_int_not_equal(append(s, "0-2-b"), LOG_WRITTEN);
        setrlimit(RLIMIT_FSIZE, &old);
        assert_int_equal(verify(s, &check), 0);
        assert_int_equal(check.torn, 0);
        assert_int_equal(check.records, 1);
}

static void nothing_that_is_not_a_plain_file_of_roots_is_written(void **state) {
        static const char *const names[] = { PATH_LOG, PATH_TIP };
        struct scratch *s = *state;
        const char *victim;

        scratch_mkdir(s, PATH_LOG_DIR, 0700);
        scratch_save(s, "/victim", "untouched", 9);
        for (size_t n = 0; n < ARRAY_SIZE(names); n++) {
                for (unsigned kind = 0; kind < 6; kind++) {
                        _cleanup_free_ char *text = NULL;
                        const char *name = scratch_path(s, names[n]);

                        victim = scratch_path(s, "/victim");
                        unlink(scratch_path(s, PENDING));
                        unlink(name);
                        rmdir(name);
                        switch (kind) {
                        case 0:
                                assert_int_equal(symlink(victim, name), 0);
                                break;
                        case 1: /* dangling: O_CREAT must not make what it points to */
                                assert_int_equal(symlink(scratch_path(s, "/made"), name), 0);
                                break;
                        case 2:
                                assert_int_equal(link(victim, name), 0);
                                break;
                        case 3:
                                assert_int_equal(mkfifo(name, 0600), 0);
                                break;
                        case 4:
                                assert_int_equal(mkdir(name, 0700), 0);
                                break;
                        default:
                                assert_int_equal(scratch_save(s, names[n], "", 0), 0);
                                assert_int_equal(chown(name, 1, 1), 0);
                                break;
                        }
                        assert_int_equal(append(s, "0-1-a"), LOG_PENDING);
                        text = scratch_load(s, "/victim", NULL);
                        assert_string_equal(text, "untouched");
                        assert_int_equal(access(scratch_path(s, "/made"), F_OK), -1);
                }
                unlink(scratch_path(s, names[n]));
        }
}

static void a_symlinked_or_foreign_directory_is_not_written_to(void **state) {
        struct scratch *s = *state;

        scratch_mkdir(s, "/elsewhere", 0700);
        scratch_mkdir(s, "/var/log", 0755);
        assert_int_equal(symlink(scratch_path(s, "/elsewhere"), scratch_path(s, PATH_LOG_DIR)), 0);
        assert_int_equal(append(s, "0-1-a"), LOG_PENDING);
        assert_int_equal(rmdir(scratch_path(s, "/elsewhere")), 0); /* still empty */
        unlink(scratch_path(s, PATH_LOG_DIR));
        scratch_mkdir(s, PATH_LOG_DIR, 0700);
        assert_int_equal(chown(scratch_path(s, PATH_LOG_DIR), 1, 1), 0);
        assert_int_equal(append(s, "0-2-b"), LOG_PENDING);
        assert_int_equal(chown(scratch_path(s, PATH_LOG_DIR), 0, 0), 0);
        assert_int_equal(append(s, "0-3-c"), LOG_WRITTEN);
}

static void waiting_records_have_a_limit_and_then_go_to_the_kernels_log(void **state) {
        struct scratch *s = *state;
        _cleanup_free_ char *lines = malloc(LOG_PENDING_MAX);
        _cleanup_close_ int dirfd = -1;
        enum log_place place;

        memset(lines, 'x', LOG_PENDING_MAX);
        scratch_mkdir(s, PATH_RUN, 0700);
        scratch_save(s, PENDING, lines, LOG_PENDING_MAX - 7);
        dirfd = open(scratch_path(s, PATH_RUN), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_int_equal(pending_put(dirfd, "{\"a\":1", 6), -ENOSPC);
        assert_int_equal(pending_put(dirfd, "{\"a\"}", 5), 0);
        append(s, "0-0-0");
        break_log(s);
        scratch_save(s, PENDING, lines, LOG_PENDING_MAX);
        place = append(s, "0-1-a");
        assert_true(place == LOG_KERNEL || (place == LOG_LOST && access("/dev/kmsg", W_OK) < 0));
}

static void a_pending_file_that_is_not_roots_own_is_not_believed(void **state) {
        struct scratch *s = *state;
        struct log_check check;
        uint64_t n;

        append(s, "0-0-0");
        break_log(s);
        append(s, "0-1-a");
        mend_log(s);
        assert_int_equal(chown(scratch_path(s, PENDING), 1, 1), 0);
        assert_int_equal(append(s, "0-2-b"), LOG_WRITTEN); /* it does not keep others out */
        in_log(s, "0-1-a", 0);
        assert_int_equal(log_pending_count(s->root, &n), -EPERM); /* and is told of */
        assert_int_equal(verify(s, &check), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                LOG_TEST(a_record_waits_and_comes_in_before_the_next),
                LOG_TEST(the_caller_learns_why_the_log_refused),
                LOG_TEST(a_kept_dump_whose_record_waits_is_recorded_as_withdrawn),
                LOG_TEST(an_interrupted_take_is_finished_without_a_second_copy),
                LOG_TEST(what_came_since_an_interrupted_take_comes_in_behind_it),
                LOG_TEST(a_waiting_line_torn_at_any_byte_is_named_and_costs_no_other),
                LOG_TEST(a_log_locked_by_another_makes_the_record_wait),
                cmocka_unit_test_setup_teardown(
                        a_full_disk_makes_the_record_wait_and_leaves_no_half_line, disk_setup,
                        disk_teardown),
                cmocka_unit_test_setup_teardown(
                        a_disk_that_fills_while_taking_in_loses_and_doubles_nothing, disk_setup,
                        disk_teardown),
                LOG_TEST(a_write_cut_short_by_a_limit_leaves_no_half_line),
                LOG_TEST(nothing_that_is_not_a_plain_file_of_roots_is_written),
                LOG_TEST(a_symlinked_or_foreign_directory_is_not_written_to),
                LOG_TEST(waiting_records_have_a_limit_and_then_go_to_the_kernels_log),
                LOG_TEST(a_pending_file_that_is_not_roots_own_is_not_believed),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
