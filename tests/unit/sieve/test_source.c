/* A core file is read where it has bytes; what is cut is an error. */
#include <errno.h>

#include "tests/unit/sieve/source_support.h"

#define HEAP 0x600000ULL

static void holes_of_a_core_file_are_no_extents(void **state) {
        _cleanup_builder_ struct builder b = { .fd = -1 };
        _cleanup_plan_ struct plan *plan = NULL;
        const struct builder_segment segments[] = {
                { .address = HEAP, .file_size = 64 * PAGE },
                { .address = HEAP + 256 * PAGE, .file_size = 64 * PAGE },
                { .address = HEAP + 512 * PAGE, .file_size = 64 * PAGE },
        };
        uint64_t at;

        (void)state;
        builder_make(&b, segments, ARRAY_SIZE(segments));
        builder_write(&b, HEAP + 8 * PAGE, "x", 1);
        builder_write(&b, HEAP + 63 * PAGE, "x", 1);
        builder_write(&b, HEAP + 256 * PAGE, "x", 1);
        assert_int_equal(source_new_file(b.head, b.notes, b.fd, &b.source), 0);
        assert_int_equal(plan_new(b.head, &plan), 0);
        assert_int_equal(source_add_extents(b.source, plan), 0);
        at = b.head->size;
        assert_int_equal(count_extents(plan), 2);
        assert_extent(plan, 0, at + 8 * PAGE, PAGE);
        assert_extent(plan, 1, at + 63 * PAGE, 2 * PAGE);
}

static void a_core_file_that_is_cut_is_refused(void **state) {
        _cleanup_builder_ struct builder b = { .fd = -1 };
        _cleanup_plan_ struct plan *plan = NULL;
        const struct builder_segment heap = { .address = HEAP, .file_size = 4 * PAGE };
        uint8_t buf[PAGE];

        (void)state;
        builder_make(&b, &heap, 1);
        assert_int_equal(ftruncate(b.fd, (off_t)b.head->end - 1), 0);
        assert_int_equal(source_new_file(b.head, b.notes, b.fd, &b.source), -ENODATA);

        /* and one that is cut later */
        assert_int_equal(ftruncate(b.fd, (off_t)b.head->end), 0);
        assert_int_equal(source_new_file(b.head, b.notes, b.fd, &b.source), 0);
        assert_int_equal(ftruncate(b.fd, (off_t)b.head->end - 1), 0);
        assert_int_equal(plan_new(b.head, &plan), 0);
        assert_int_equal(source_add_extents(b.source, plan), -ENODATA);
        assert_int_equal(source_read(b.source, b.head->end - PAGE, buf, PAGE), -ENODATA);
        assert_int_equal(source_read(b.source, b.head->end - PAGE, buf, PAGE - 1), 0);
}

static void one_read_crosses_segments_that_adjoin_in_the_file(void **state) {
        _cleanup_builder_ struct builder b = { .fd = -1 };
        const struct builder_segment segments[] = {
                { .address = HEAP, .file_size = PAGE },
                { .address = HEAP + 16 * PAGE, .file_size = 0, .memory_size = PAGE },
                { .address = HEAP + 32 * PAGE, .file_size = PAGE },
        };
        char buf[8];

        (void)state;
        builder_make(&b, segments, ARRAY_SIZE(segments));
        builder_write(&b, HEAP + PAGE - 4, "abcd", 4);
        builder_write(&b, HEAP + 32 * PAGE, "efgh", 4);
        assert_int_equal(source_new_file(b.head, b.notes, b.fd, &b.source), 0);
        assert_int_equal(source_read(b.source, b.head->size + PAGE - 4, buf, 8), 0);
        assert_memory_equal(buf, "abcdefgh", 8);
        assert_int_equal(source_read(b.source, b.head->size - 1, buf, 8), -EINVAL);
        assert_int_equal(source_read(b.source, b.head->end - 4, buf, 8), -EINVAL);
}

static void a_core_file_is_read_by_address_where_it_has_bytes(void **state) {
        _cleanup_builder_ struct builder b = { .fd = -1 };
        const struct builder_segment segments[] = {
                { .address = HEAP, .file_size = PAGE },
                { .address = HEAP + PAGE, .file_size = PAGE, .memory_size = 2 * PAGE },
        };
        char buf[8];

        (void)state;
        builder_make(&b, segments, ARRAY_SIZE(segments));
        builder_write(&b, HEAP + PAGE - 4, "abcdefgh", 8);
        assert_int_equal(source_new_file(b.head, b.notes, b.fd, &b.source), 0);
        assert_int_equal(source_read_address(b.source, HEAP + PAGE - 4, buf, 8), 0);
        assert_memory_equal(buf, "abcdefgh", 8);
        assert_int_equal(source_read_address(b.source, HEAP + 2 * PAGE - 4, buf, 8), -EFAULT);
        assert_int_equal(source_read_address(b.source, HEAP - 4, buf, 8), -EFAULT);
        assert_int_equal(source_read_address(b.source, UINT64_MAX - 3, buf, 8), -EFAULT);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(holes_of_a_core_file_are_no_extents),
                cmocka_unit_test(a_core_file_that_is_cut_is_refused),
                cmocka_unit_test(one_read_crosses_segments_that_adjoin_in_the_file),
                cmocka_unit_test(a_core_file_is_read_by_address_where_it_has_bytes),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
