/* Whatever was edited, moved, removed, added or cut is found, and the first such line is named. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/file.h>

#include <cmocka.h>

#include "audit/log.h"
#include "tests/unit/audit/log_support.h"

#define LINES 5

static void five(const struct scratch *s) {
        three(s);
        append(s, "0-4-d");
        append(s, "0-5-e");
}

/* Saves `lines` of `log`, in that order (0 ends), and says where the break is. */
static uint64_t bad_line_of(const struct scratch *s, char *log, const unsigned *lines) {
        _cleanup_free_ char *out = calloc(1, strlen(log) * 2);
        struct log_check check = { 0 };

        for (; *lines; lines++) {
                const char *line = line_at(log, *lines);

                strncat(out, line, (size_t)(strchr(line, '\n') + 1 - line));
        }
        scratch_save(s, PATH_LOG, out, strlen(out));
        if (verify(s, &check) == 0)
                return 0;
        assert_non_null(check.what);
        return check.bad_line;
}

static void a_whole_log_is_intact(void **state) {
        struct scratch *s = *state;
        struct log_check check;
        _cleanup_free_ char *log = NULL;

        five(s);
        assert_int_equal(verify(s, &check), 0);
        assert_int_equal(check.records, LINES);
        assert_int_equal(check.bad_line, 0);
        assert_null(check.what);
        log = scratch_load(s, PATH_LOG, NULL);
        assert_int_equal(bad_line_of(s, log, (const unsigned[]){ 1, 2, 3, 4, 5, 0 }), 0);
}

static void removed_moved_repeated_and_cut_lines_are_found(void **state) {
        static const struct {
                unsigned lines[8];
                uint64_t bad;
        } cases[] = {
                { { 2, 3, 4, 5 }, 1 },          /* the first is gone */
                { { 1, 3, 4, 5 }, 2 },          /* one from the middle */
                { { 1, 2, 3, 5 }, 4 },          /* the last but one */
                { { 1, 2, 3, 4 }, 5 },          /* the tail */
                { { 1, 2 }, 3 },                /* more of it */
                { { 1, 3, 2, 4, 5 }, 2 },       /* swapped */
                { { 1, 2, 3, 5, 4 }, 4 },       /* swapped at the end */
                { { 1, 2, 2, 3, 4, 5 }, 3 },    /* one twice */
                { { 1, 2, 3, 4, 5, 5 }, 6 },    /* the last replayed */
                { { 1, 2, 3, 4, 5, 1, 2 }, 6 }, /* the beginning replayed */
        };
        struct scratch *s = *state;
        _cleanup_free_ char *log = NULL;

        five(s);
        log = scratch_load(s, PATH_LOG, NULL);
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
                assert_int_equal(bad_line_of(s, log, cases[i].lines), cases[i].bad);
}

static void an_edit_of_any_byte_is_found(void **state) {
        struct scratch *s = *state;
        _cleanup_free_ char *log = NULL;
        size_t size;

        three(s);
        log = scratch_load(s, PATH_LOG, &size);
        for (size_t i = 0; i < size; i++) {
                struct log_check check;

                log[i] ^= 1;
                scratch_save(s, PATH_LOG, log, size);
                log[i] ^= 1;
                if (verify(s, &check) != -EBADMSG)
                        fail_msg("the edit of byte %zu went unseen", i);
        }
}

static void a_cut_anywhere_is_found(void **state) {
        struct scratch *s = *state;
        _cleanup_free_ char *log = NULL;
        size_t size;

        three(s);
        log = scratch_load(s, PATH_LOG, &size);
        for (size_t cut = 0; cut < size; cut++) {
                struct log_check check;

                scratch_save(s, PATH_LOG, log, cut);
                if (verify(s, &check) != -EBADMSG)
                        fail_msg("a cut to %zu bytes went unseen", cut);
        }
}

static void a_chain_forged_anew_does_not_fit_the_tip(void **state) {
        struct scratch *s = *state;
        _cleanup_free_ char *tip = NULL;
        struct log_check check;

        three(s);
        tip = scratch_load(s, PATH_TIP, NULL);
        unlink(scratch_path(s, PATH_LOG));
        unlink(scratch_path(s, PATH_TIP));
        append(s, "0-1-f"); /* another first record, and all the others as they were */
        append(s, "0-2-b");
        append(s, "0-3-c");
        append(s, "0-4-d");
        assert_int_equal(verify(s, &check), 0);
        scratch_save(s, PATH_TIP, tip, strlen(tip));
        assert_int_equal(verify(s, &check), -EBADMSG);
}

static void a_missing_or_damaged_tip_is_no_proof(void **state) {
        struct scratch *s = *state;
        struct log_check check;

        three(s);
        scratch_save(s, PATH_TIP, "garbage", 7);
        assert_int_equal(verify(s, &check), -EBADMSG);
        assert_int_equal(check.bad_line, 4);
        scratch_save(s, PATH_TIP, "", 0);
        assert_int_equal(verify(s, &check), -EBADMSG);
        unlink(scratch_path(s, PATH_TIP));
        assert_int_equal(verify(s, &check), -EBADMSG);
        /* Asked for the chain alone, the chain alone is judged. */
        assert_int_equal(log_verify(scratch_path(s, PATH_LOG), NULL, &check), 0);
}

static void a_removed_log_is_found_by_its_tip(void **state) {
        struct scratch *s = *state;
        struct log_check check;

        assert_int_equal(verify(s, &check), -ENOENT); /* there never was one */
        three(s);
        unlink(scratch_path(s, PATH_LOG));
        assert_int_equal(verify(s, &check), -EBADMSG);
        assert_int_equal(check.bad_line, 1);
}

static void a_line_over_the_limit_is_no_record_and_no_memory(void **state) {
        struct scratch *s = *state;
        _cleanup_free_ char *log = NULL, *longer = calloc(1, 16U * RECORD_LINE_MAX);
        struct log_check check;
        size_t size;

        three(s);
        log = scratch_load(s, PATH_LOG, &size);
        memcpy(longer, log, size);
        memset(longer + size, 'x', 15U * RECORD_LINE_MAX);
        scratch_save(s, PATH_LOG, longer, size + 15U * RECORD_LINE_MAX);
        assert_int_equal(verify(s, &check), -EBADMSG);
        assert_int_equal(check.bad_line, 4);
}

static void what_is_no_file_is_refused_without_waiting(void **state) {
        struct scratch *s = *state;
        struct log_check check;

        assert_int_equal(mkfifo(scratch_path(s, "/fifo"), 0600), 0);
        assert_int_equal(log_verify(scratch_path(s, "/fifo"), NULL, &check), -EINVAL);
        assert_int_equal(log_verify(s->root, NULL, &check), -EINVAL);
}

struct seen {
        unsigned n;
        size_t longest;
        char last[64];
};

static int note(void *userdata, const char *line, size_t size) {
        struct seen *seen = userdata;

        seen->n++;
        if (size > seen->longest)
                seen->longest = size;
        snprintf(seen->last, sizeof(seen->last), "%.*s", (int)size, line);
        return seen->n == 100 ? 7 : 0;
}

static void reading_hands_on_every_line_as_it_is_and_waiting_ones_last(void **state) {
        struct scratch *s = *state;
        _cleanup_free_ char *log = NULL, *longer = calloc(1, 8U * RECORD_LINE_MAX);
        struct seen seen = { 0 };
        size_t size;

        assert_int_equal(log_read(s->root, note, &seen), 0);
        assert_int_equal(seen.n, 0); /* no log is no error */
        three(s);
        log = scratch_load(s, PATH_LOG, &size);
        memcpy(longer, log, size);
        memset(longer + size, 'x', 5U * RECORD_LINE_MAX);
        memcpy(longer + size + 5U * RECORD_LINE_MAX, "\nnot JSON\n{\"torn", 16);
        scratch_save(s, PATH_LOG, longer, size + 5U * RECORD_LINE_MAX + 16);
        scratch_save(s, PATH_RUN "/pending.jsonl", "{\"id\":\"0-9-9\"}\n", 15);
        assert_int_equal(log_read(s->root, note, &seen), 0);
        assert_int_equal(seen.n, 3 + 1 + 1 + 1 + 1);
        assert_int_equal(seen.longest, RECORD_LINE_MAX);
        assert_string_equal(seen.last, "{\"id\":\"0-9-9\"}");
}

static void a_reader_that_has_enough_stops(void **state) {
        struct scratch *s = *state;
        struct seen seen = { .n = 98 };

        five(s);
        assert_int_equal(log_read(s->root, note, &seen), 7);
        assert_int_equal(seen.n, 100);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                LOG_TEST(a_whole_log_is_intact),
                LOG_TEST(removed_moved_repeated_and_cut_lines_are_found),
                LOG_TEST(an_edit_of_any_byte_is_found),
                LOG_TEST(a_cut_anywhere_is_found),
                LOG_TEST(a_chain_forged_anew_does_not_fit_the_tip),
                LOG_TEST(a_missing_or_damaged_tip_is_no_proof),
                LOG_TEST(a_removed_log_is_found_by_its_tip),
                LOG_TEST(a_line_over_the_limit_is_no_record_and_no_memory),
                LOG_TEST(what_is_no_file_is_refused_without_waiting),
                LOG_TEST(reading_hands_on_every_line_as_it_is_and_waiting_ones_last),
                LOG_TEST(a_reader_that_has_enough_stops),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
