/* The trailer lies where the header says, in pieces of bounded size, whatever the number of
 * ranges. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sieve/erased_note.h"
#include "tests/unit/sieve/core_builder.h"

DEFINE_CLEANUP(plan, struct plan, plan_free)
#define _cleanup_plan_ _cleanup_(cleanup_plan)

#define HEAP 0x600000ULL

struct taken {
        uint8_t *bytes;
        size_t size;
        unsigned calls, fail_at; /* call that fails, from 1; 0 none */
};

static int take(void *userdata, const uint8_t *buf, size_t n) {
        struct taken *t = userdata;

        assert_true(n <= ERASED_PIECE_MAX);
        if (++t->calls == t->fail_at)
                return -ENOSPC;
        t->bytes = realloc(t->bytes, t->size + n);
        assert_non_null(t->bytes);
        memcpy(t->bytes + t->size, buf, n);
        t->size += n;
        return 0;
}

/* A plan with `n` ranges. */
static void make(struct builder *b, uint64_t n, struct plan **ret) {
        const struct builder_segment heap = { .address = HEAP, .file_size = n * 16 + 13 };

        builder_make(b, &heap, 1);
        assert_int_equal(plan_new(b->head, ret), 0);
        assert_int_equal(plan_add_extent(*ret, b->head->size, n * 16 + 13), 0);
        for (uint64_t i = 0; i < n; i++)
                assert_int_equal(plan_erase(*ret, b->head->size + i * 16, 8, REASON_NEEDLE + i % 2),
                                 0);
        assert_int_equal(plan_freeze(*ret), 0);
}

static void check_trailer(const struct builder *b, const struct plan *plan, uint64_t n) {
        struct erased_trailer t;
        struct taken taken = { 0 };
        const struct erasure *erasures;
        const uint8_t *ranges;
        Elf64_Shdr sections[4];
        Elf64_Ehdr ehdr = { 0 };
        size_t n_erasures;

        erased_trailer_place(b->head, n, &t);
        assert_int_equal(t.start, b->head->end);
        assert_int_equal(t.note % 8, 0);
        assert_int_equal(t.table % 8, 0);
        assert_int_equal(erased_trailer_write(b->head, plan, CONTENT_STACKS, &t, take, &taken), 0);
        assert_int_equal(taken.size, t.end - t.start);

        erased_trailer_patch(&t, &ehdr);
        assert_int_equal(ehdr.e_shoff, t.table);
        memcpy(sections, taken.bytes + (t.table - t.start), sizeof(sections));
        assert_int_equal(sections[0].sh_type, SHT_NULL);
        assert_int_equal(sections[0].sh_info, 0);
        assert_int_equal(sections[1].sh_offset, t.note);
        assert_int_equal(sections[1].sh_offset + sections[1].sh_size, t.names);
        assert_int_equal(sections[2].sh_offset, b->head->notes_offset);
        assert_int_equal(sections[2].sh_size, b->head->notes_size);
        assert_int_equal(sections[ehdr.e_shstrndx].sh_type, SHT_STRTAB);
        assert_string_equal((char *)taken.bytes + (t.names - t.start) + sections[1].sh_name,
                            ERASED_NOTE_SECTION);
        assert_string_equal((char *)taken.bytes + (t.names - t.start) + sections[2].sh_name,
                            ".note");
        assert_string_equal((char *)taken.bytes + (t.names - t.start) + sections[3].sh_name,
                            ".shstrtab");

        erasures = plan_erasures(plan, &n_erasures);
        ranges = taken.bytes + (t.names - t.start) - n * sizeof(struct erased_range);
        for (uint64_t i = 0; i < n; i++) {
                struct erased_range range;

                memcpy(&range, ranges + i * sizeof(range), sizeof(range));
                assert_int_equal(range.offset, erasures[i].offset);
                assert_int_equal(range.size, erasures[i].size);
                assert_int_equal(range.reason, erasures[i].reason);
                assert_int_equal(range.reserved, 0);
        }
        free(taken.bytes);
}

static void any_number_of_ranges_is_read_back(void **state) {
        /* around what one piece holds */
        const uint64_t piece = ERASED_PIECE_MAX / sizeof(struct erased_range);
        const uint64_t counts[] = {
                0, 1, 2, piece - 1, piece, piece + 1, 2 * piece, 3 * piece + 7
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
                _cleanup_builder_ struct builder b = { .fd = -1 };
                _cleanup_plan_ struct plan *plan = NULL;

                make(&b, counts[i], &plan);
                check_trailer(&b, plan, counts[i]);
        }
}

static void an_error_of_writing_is_handed_on_from_every_piece(void **state) {
        const uint64_t n = 2 * (ERASED_PIECE_MAX / sizeof(struct erased_range));
        _cleanup_builder_ struct builder b = { .fd = -1 };
        _cleanup_plan_ struct plan *plan = NULL;
        struct erased_trailer t;

        (void)state;
        make(&b, n, &plan);
        erased_trailer_place(b.head, n, &t);
        for (unsigned fail_at = 1; fail_at <= 4; fail_at++) {
                struct taken taken = { .fail_at = fail_at };

                assert_int_equal(
                        erased_trailer_write(b.head, plan, CONTENT_REDACT, &t, take, &taken),
                        -ENOSPC);
                assert_int_equal(taken.calls, fail_at);
                free(taken.bytes);
        }
}

static void a_trailer_of_another_plan_is_refused(void **state) {
        _cleanup_builder_ struct builder b = { .fd = -1 };
        _cleanup_plan_ struct plan *plan = NULL;
        struct taken taken = { 0 };
        struct erased_trailer t;

        (void)state;
        make(&b, 3, &plan);
        erased_trailer_place(b.head, 4, &t);
        assert_int_equal(erased_trailer_write(b.head, plan, CONTENT_REDACT, &t, take, &taken),
                         -EINVAL);
        assert_int_equal(taken.calls, 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(any_number_of_ranges_is_read_back),
                cmocka_unit_test(an_error_of_writing_is_handed_on_from_every_piece),
                cmocka_unit_test(a_trailer_of_another_plan_is_refused),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
