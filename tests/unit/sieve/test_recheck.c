/* The recheck sees a fragment wherever blocks and holes cut it, and lets spared ranges pass. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "secret/needle_add.h"
#include "sieve/fill.h"
#include "sieve/recheck.h"
#include "tests/unit/sieve/core_builder.h"

DEFINE_CLEANUP(recheck_ptr, struct recheck, recheck_free)
DEFINE_CLEANUP(set, struct needle_set, needle_set_free)
#define _cleanup_recheck_ _cleanup_(cleanup_recheck_ptr)
#define _cleanup_set_ _cleanup_(cleanup_set)

static const uint8_t secret[] = "correct horse battery staple";
#define SECRET_SIZE (sizeof(secret) - 1)
static const uint8_t word[] = "swordfish!";
#define WORD_SIZE (sizeof(word) - 1)

static struct needle_set *new_set(void) {
        struct needle_set *set = NULL;

        assert_int_equal(needle_set_new(&set), 0);
        assert_int_equal(needle_set_add(set, secret, SECRET_SIZE, FORM_PLAIN, 0), 0);
        assert_int_equal(needle_set_add(set, word, WORD_SIZE, FORM_PLAIN, 0), 0);
        return set;
}

static struct recheck *new_recheck(const struct needle_set *set) {
        struct recheck *recheck = NULL;

        assert_int_equal(recheck_new(set, NULL, &recheck), 0);
        return recheck;
}

/* All blocks of `size` bytes, one behind the other; the first answer that is not 0. */
static int check_in_blocks(const struct needle_set *set, const uint8_t *buf, size_t n,
                           size_t size) {
        _cleanup_recheck_ struct recheck *recheck = new_recheck(set);

        for (size_t at = 0; at < n; at += size) {
                int r = recheck_block(recheck, at, buf + at, size < n - at ? size : n - at);

                if (r != 0)
                        return r;
        }
        return 0;
}

static void a_secret_is_seen_however_blocks_cut_it(void **state) {
        _cleanup_set_ struct needle_set *set = new_set();
        uint8_t buf[256];

        (void)state;
        for (size_t at = 0; at + SECRET_SIZE <= sizeof(buf); at += 3)
                for (size_t size = 1; size < 70; size++) {
                        memset(buf, '.', sizeof(buf));
                        memcpy(buf + at, secret, SECRET_SIZE);
                        assert_int_equal(check_in_blocks(set, buf, sizeof(buf), size), -EBADMSG);
                        memset(buf, '.', sizeof(buf));
                        memcpy(buf + at, word, WORD_SIZE);
                        assert_int_equal(check_in_blocks(set, buf, sizeof(buf), size), -EBADMSG);
                        memset(buf + at + WORD_SIZE - 1, '.', 1);
                        assert_int_equal(check_in_blocks(set, buf, sizeof(buf), size), 0);
                }
}

static void every_fragment_is_seen_and_fifteen_bytes_are_none(void **state) {
        _cleanup_set_ struct needle_set *set = new_set();
        uint8_t buf[64];

        (void)state;
        for (size_t from = 0; from + 15 <= SECRET_SIZE; from++)
                for (size_t at = 0; at < 40; at++) {
                        memset(buf, '.', sizeof(buf));
                        memcpy(buf + at, secret + from, 15);
                        assert_int_equal(check_in_blocks(set, buf, sizeof(buf), 64), 0);
                        if (from + 16 > SECRET_SIZE)
                                continue;
                        memcpy(buf + at, secret + from, 16);
                        assert_int_equal(check_in_blocks(set, buf, sizeof(buf), 64), -EBADMSG);
                }
}

/* A hole between two blocks is zeros: a secret with zeros inside may lie across it. */
static void a_hole_is_zeros(void **state) {
        static const uint8_t holed[20] = "abcdef\0\0\0\0\0\0\0\0\0\0uvwx";
        _cleanup_set_ struct needle_set *set = NULL;
        uint8_t block[32];

        (void)state;
        assert_int_equal(needle_set_new(&set), 0);
        assert_int_equal(needle_set_add(set, holed, sizeof(holed), FORM_PLAIN, 0), 0);
        for (size_t hole = 0; hole < 30; hole++) {
                _cleanup_recheck_ struct recheck *recheck = new_recheck(set);
                int r;

                memset(block, '.', sizeof(block));
                memcpy(block + 26, "abcdef", 6);
                assert_int_equal(recheck_block(recheck, 0, block, sizeof(block)), 0);
                memset(block, '.', sizeof(block));
                memcpy(block, "uvwx", 4);
                r = recheck_block(recheck, 32 + hole, block, sizeof(block));
                /* ten zeros: all of it; more: its first sixteen bytes; fewer: nothing */
                assert_int_equal(r, hole >= 10 ? -EBADMSG : 0);
        }
}

static void a_hole_parts_what_is_not_zeros(void **state) {
        _cleanup_set_ struct needle_set *set = new_set();

        (void)state;
        for (uint64_t hole = 0; hole < 20; hole++) {
                _cleanup_recheck_ struct recheck *recheck = new_recheck(set);

                assert_int_equal(recheck_block(recheck, 4096, secret, 14), 0);
                assert_int_equal(recheck_block(recheck, 4096 + 14 + hole, secret + 14, 14),
                                 hole == 0 ? -EBADMSG : 0);
        }
}

static void blocks_come_in_order(void **state) {
        _cleanup_set_ struct needle_set *set = new_set();
        _cleanup_recheck_ struct recheck *recheck = new_recheck(set);

        (void)state;
        assert_int_equal(recheck_block(recheck, 100, word, 4), 0);
        assert_int_equal(recheck_block(recheck, 103, word, 4), -EINVAL);
        assert_int_equal(recheck_block(recheck, UINT64_MAX - 3, word, 4), -EINVAL);
        assert_int_equal(recheck_block(recheck, 104, word, 0), 0);
        assert_int_equal(recheck_block(recheck, 104, word + 4, 6), -EBADMSG);
}

static void before_the_first_byte_there_are_no_zeros(void **state) {
        static const uint8_t zeros_first[16] = "\0\0\0\0\0\0\0\0\0\0\0\0wxyz";
        _cleanup_set_ struct needle_set *set = NULL;
        _cleanup_recheck_ struct recheck *recheck = NULL, *other = NULL;

        (void)state;
        assert_int_equal(needle_set_new(&set), 0);
        assert_int_equal(needle_set_add(set, zeros_first, 16, FORM_PLAIN, 0), 0);
        recheck = new_recheck(set);
        assert_int_equal(recheck_block(recheck, 0, (const uint8_t *)"wxyz", 4), 0);
        other = new_recheck(set);
        assert_int_equal(recheck_block(other, 12, (const uint8_t *)"wxyz", 4), -EBADMSG);
}

static void zeros_and_fill_are_no_secrets(void **state) {
        _cleanup_set_ struct needle_set *set = NULL;
        uint8_t bytes[64] = { 0 }, buf[512] = { 0 };

        (void)state;
        assert_int_equal(needle_set_new(&set), 0);
        assert_int_equal(needle_set_add(set, bytes, 64, FORM_PLAIN, 0), 0);
        assert_int_equal(needle_set_add(set, bytes, 10, FORM_PLAIN, 0), 0);
        fill(bytes, sizeof(bytes), 5);
        assert_int_equal(needle_set_add(set, bytes, 64, FORM_PLAIN, 0), 0);
        assert_int_equal(needle_set_add(set, bytes, 11, FORM_PLAIN, 0), 0);
        fill(buf + 100, 300, 100);
        assert_int_equal(check_in_blocks(set, buf, sizeof(buf), 100), 0);
        memcpy(bytes, "x", 1);
        assert_int_equal(needle_set_add(set, bytes, 64, FORM_PLAIN, 0), 0);
        memcpy(buf + 200, bytes, 16);
        assert_int_equal(check_in_blocks(set, buf, sizeof(buf), 100), -EBADMSG);
}

/* What lies wholly in a spared range passes; one byte of it outside, and it does not. */
static void a_spared_range_may_hold_a_secret(void **state) {
        static const struct builder_segment segment = { .address = 0x10000,
                                                        .file_size = 4 * BUILDER_PAGE };
        _cleanup_set_ struct needle_set *set = new_set();
        _cleanup_builder_ struct builder b = { .fd = -1 };
        struct plan *plan = NULL;
        uint8_t page[BUILDER_PAGE];
        uint64_t start;

        (void)state;
        builder_make(&b, &segment, 1);
        start = b.head->end - segment.file_size;
        assert_int_equal(plan_new(b.head, &plan), 0);
        assert_int_equal(plan_add_extent(plan, start, segment.file_size), 0);
        assert_int_equal(plan_spare(plan, start + 100, SECRET_SIZE), 0);
        for (size_t at = 60; at < 150; at++) {
                _cleanup_recheck_ struct recheck *recheck = NULL;

                assert_int_equal(recheck_new(set, plan, &recheck), 0);
                memset(page, '.', sizeof(page));
                memcpy(page + at, secret, SECRET_SIZE);
                assert_int_equal(recheck_block(recheck, start, page, sizeof(page)),
                                 at == 100 ? 0 : -EBADMSG);
        }
        plan_free(plan);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_secret_is_seen_however_blocks_cut_it),
                cmocka_unit_test(every_fragment_is_seen_and_fifteen_bytes_are_none),
                cmocka_unit_test(a_hole_is_zeros),
                cmocka_unit_test(a_hole_parts_what_is_not_zeros),
                cmocka_unit_test(blocks_come_in_order),
                cmocka_unit_test(before_the_first_byte_there_are_no_zeros),
                cmocka_unit_test(zeros_and_fill_are_no_secrets),
                cmocka_unit_test(a_spared_range_may_hold_a_secret),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
