/* Ranges merge, end before their end, and never wrap. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "sieve/range_set.h"

#define _cleanup_set_ _cleanup_(range_set_done)

static void ranges_that_touch_or_overlap_are_one(void **state) {
        _cleanup_set_ struct range_set set = { 0 };

        (void)state;
        assert_int_equal(range_set_add(&set, 30, 10), 0);
        assert_int_equal(range_set_add(&set, 10, 10), 0);
        assert_int_equal(range_set_add(&set, 20, 5), 0);
        assert_int_equal(range_set_add(&set, 12, 2), 0);
        range_set_seal(&set);
        assert_int_equal(set.n, 2);
        assert_int_equal(set.ranges[0].start, 10);
        assert_int_equal(set.ranges[0].end, 25);
        assert_int_equal(set.ranges[1].start, 30);
        assert_int_equal(set.ranges[1].end, 40);
}

static void a_range_holds_its_start_and_not_its_end(void **state) {
        _cleanup_set_ struct range_set set = { 0 };

        (void)state;
        assert_false(range_set_has(&set, 0));
        assert_int_equal(range_set_add(&set, 10, 10), 0);
        assert_int_equal(range_set_add(&set, 40, 1), 0);
        range_set_seal(&set);
        assert_false(range_set_has(&set, 9));
        assert_true(range_set_has(&set, 10));
        assert_true(range_set_has(&set, 19));
        assert_false(range_set_has(&set, 20));
        assert_true(range_set_has(&set, 40));
        assert_false(range_set_has(&set, 41));
}

static void the_next_range_holds_the_number_or_begins_behind_it(void **state) {
        _cleanup_set_ struct range_set set = { 0 };

        (void)state;
        assert_null(range_set_next(&set, 0));
        assert_int_equal(range_set_add(&set, 10, 10), 0);
        assert_int_equal(range_set_add(&set, 40, 1), 0);
        range_set_seal(&set);
        assert_int_equal(range_set_next(&set, 0)->start, 10);
        assert_int_equal(range_set_next(&set, 19)->start, 10);
        assert_int_equal(range_set_next(&set, 20)->start, 40);
        assert_null(range_set_next(&set, 41));
}

static void a_range_is_cut_at_the_end_of_numbers(void **state) {
        _cleanup_set_ struct range_set set = { 0 };

        (void)state;
        assert_int_equal(range_set_add(&set, UINT64_MAX - 4, 100), 0);
        assert_int_equal(range_set_add(&set, 5, 0), 0);
        range_set_seal(&set);
        assert_int_equal(set.n, 1);
        assert_true(range_set_has(&set, UINT64_MAX - 1));
        assert_false(range_set_has(&set, 3));
        assert_false(range_set_has(&set, 5));
}

static void sealing_again_takes_in_what_came_later(void **state) {
        _cleanup_set_ struct range_set set = { 0 };

        (void)state;
        range_set_seal(&set);
        assert_int_equal(range_set_add(&set, 10, 10), 0);
        range_set_seal(&set);
        assert_int_equal(range_set_add(&set, 5, 6), 0);
        range_set_seal(&set);
        assert_int_equal(set.n, 1);
        assert_true(range_set_has(&set, 5));
}

static void one_range_over_the_limit_is_too_many(void **state) {
        _cleanup_set_ struct range_set set = { 0 };

        (void)state;
        for (uint64_t i = 0; i < RANGES_MAX; i++)
                assert_int_equal(range_set_add(&set, 2 * i, 1), 0);
        assert_int_equal(range_set_add(&set, 2ULL * RANGES_MAX, 1), -E2BIG);
        range_set_seal(&set);
        assert_int_equal(set.n, RANGES_MAX);
        assert_true(range_set_has(&set, 2ULL * RANGES_MAX - 2));
        assert_false(range_set_has(&set, 2ULL * RANGES_MAX - 1));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(ranges_that_touch_or_overlap_are_one),
                cmocka_unit_test(a_range_holds_its_start_and_not_its_end),
                cmocka_unit_test(the_next_range_holds_the_number_or_begins_behind_it),
                cmocka_unit_test(a_range_is_cut_at_the_end_of_numbers),
                cmocka_unit_test(sealing_again_takes_in_what_came_later),
                cmocka_unit_test(one_range_over_the_limit_is_too_many),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
