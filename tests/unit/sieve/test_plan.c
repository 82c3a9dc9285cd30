/* Every byte of a core gets the fate that the strictest reason gives it, and no byte of a hole or
 * of a spared range is touched. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sieve/fill.h"
#include "sieve/plan.h"
#include "tests/unit/sieve/core_builder.h"

DEFINE_CLEANUP(plan, struct plan, plan_free)
#define _cleanup_plan_ _cleanup_(cleanup_plan)

#define HEAP 0x600000ULL

/* One heap of `size` bytes, and its plan. */
static void make(struct builder *b, uint64_t size, struct plan **ret) {
        const struct builder_segment heap = { .address = HEAP, .file_size = size };

        builder_make(b, &heap, 1);
        assert_int_equal(plan_new(b->head, ret), 0);
}

static void assert_erasure(const struct plan *plan, size_t i, uint64_t offset, uint64_t size,
                           enum reason reason) {
        size_t n;
        const struct erasure *e = plan_erasures(plan, &n);

        assert_true(i < n);
        assert_int_equal(e[i].offset, offset);
        assert_int_equal(e[i].size, size);
        assert_int_equal(e[i].reason, reason);
}

static void the_smaller_reason_wins_where_ranges_overlap(void **state) {
        _cleanup_builder_ struct builder b = { .fd = -1 };
        _cleanup_plan_ struct plan *plan = NULL;
        uint64_t at, bytes[_REASON_MAX];
        size_t n;

        (void)state;
        make(&b, 8192, &plan);
        at = b.head->size;
        assert_int_equal(plan_add_extent(plan, at, 8192), 0);
        assert_int_equal(plan_erase(plan, at, 4096, REASON_LEVEL), 0);
        assert_int_equal(plan_erase(plan, at + 100, 50, REASON_NEEDLE), 0);
        assert_int_equal(plan_erase(plan, at + 90, 20, REASON_STACK), 0);
        assert_int_equal(plan_freeze(plan), 0);
        (void)plan_erasures(plan, &n);
        assert_int_equal(n, 4);
        assert_erasure(plan, 0, at, 90, REASON_LEVEL);
        assert_erasure(plan, 1, at + 90, 10, REASON_STACK);
        assert_erasure(plan, 2, at + 100, 50, REASON_NEEDLE);
        assert_erasure(plan, 3, at + 150, 3946, REASON_LEVEL);
        plan_erased_bytes(plan, bytes);
        assert_int_equal(bytes[REASON_LEVEL], 4096 - 60);
        assert_int_equal(bytes[REASON_STACK], 10);
        assert_int_equal(bytes[REASON_NEEDLE], 50);
        assert_int_equal(bytes[REASON_DETECTED], 0);
}

static void an_erasure_over_a_hole_is_cut_to_the_extents(void **state) {
        _cleanup_builder_ struct builder b = { .fd = -1 };
        _cleanup_plan_ struct plan *plan = NULL;
        uint64_t at;
        size_t n;

        (void)state;
        make(&b, 65536, &plan);
        at = b.head->size;
        assert_int_equal(plan_add_extent(plan, at + 4096, 4096), 0);
        assert_int_equal(plan_add_extent(plan, at + 16384, 4096), 0);
        assert_int_equal(plan_erase(plan, at, 65536, REASON_LEVEL), 0);
        assert_int_equal(plan_freeze(plan), 0);
        (void)plan_erasures(plan, &n);
        assert_int_equal(n, 2);
        assert_erasure(plan, 0, at + 4096, 4096, REASON_LEVEL);
        assert_erasure(plan, 1, at + 16384, 4096, REASON_LEVEL);
        assert_true(plan_is_erased(plan, at, 65536));
        assert_true(plan_is_kept(plan, at + 8192, 8192));
}

static void extents_that_touch_become_one(void **state) {
        _cleanup_builder_ struct builder b = { .fd = -1 };
        _cleanup_plan_ struct plan *plan = NULL;
        const struct extent *e;
        uint64_t at;
        size_t n;

        (void)state;
        make(&b, 65536, &plan);
        at = b.head->size;
        assert_int_equal(plan_add_extent(plan, at, 4096), 0);
        assert_int_equal(plan_add_extent(plan, at + 4096, 4096), 0);
        assert_int_equal(plan_add_extent(plan, at + 9000, 0), 0);
        assert_int_equal(plan_add_extent(plan, at + 12288, 4096), 0);
        e = plan_extents(plan, &n);
        assert_int_equal(n, 2);
        assert_int_equal(e[0].size, 8192);
        assert_int_equal(e[1].offset, at + 12288);
}

static void ranges_outside_of_the_file_are_refused(void **state) {
        _cleanup_builder_ struct builder b = { .fd = -1 };
        _cleanup_plan_ struct plan *plan = NULL;
        uint64_t at, end;

        (void)state;
        make(&b, 65536, &plan);
        at = b.head->size;
        end = b.head->end;
        assert_int_equal(plan_erase(plan, end - 1, 2, REASON_NEEDLE), -ERANGE);
        assert_int_equal(plan_erase(plan, end + 1, 0, REASON_NEEDLE), -ERANGE);
        assert_int_equal(plan_erase(plan, 8, UINT64_MAX, REASON_NEEDLE), -ERANGE);
        assert_int_equal(plan_erase(plan, at, 8, _REASON_MAX), -ERANGE);
        assert_int_equal(plan_erase(plan, at, 8, 0), -ERANGE);
        assert_int_equal(plan_spare(plan, 8, UINT64_MAX), -ERANGE);
        assert_int_equal(plan_add_extent(plan, at - 8, 16), -ERANGE);
        assert_int_equal(plan_add_extent(plan, at, 65537), -ERANGE);
        assert_int_equal(plan_add_extent(plan, at + 4096, 4096), 0);
        assert_int_equal(plan_add_extent(plan, at, 4096), -ERANGE);
        assert_int_equal(plan_erase(plan, end - 1, 1, REASON_NEEDLE), 0);
}

static void a_frozen_plan_takes_nothing_more(void **state) {
        _cleanup_builder_ struct builder b = { .fd = -1 };
        _cleanup_plan_ struct plan *plan = NULL;

        (void)state;
        make(&b, 4096, &plan);
        assert_int_equal(plan_freeze(plan), 0);
        assert_int_equal(plan_erase(plan, 0, 8, REASON_NEEDLE), -EROFS);
        assert_int_equal(plan_spare(plan, 0, 8), -EROFS);
        assert_int_equal(plan_add_extent(plan, b.head->size, 8), -EROFS);
        assert_int_equal(plan_freeze(plan), -EROFS);
}

static void needles_leave_the_headers_alone_and_other_reasons_do_not(void **state) {
        _cleanup_builder_ struct builder b = { .fd = -1 };
        _cleanup_plan_ struct plan *plan = NULL;
        uint64_t table_end = sizeof(Elf64_Ehdr) + 2 * sizeof(Elf64_Phdr);

        (void)state;
        make(&b, 4096, &plan);
        assert_true(plan_is_spared(plan, 0, table_end));
        assert_false(plan_is_spared(plan, 0, table_end + 1));
        assert_int_equal(plan_erase(plan, 0, table_end + 8, REASON_NEEDLE), 0);
        assert_int_equal(plan_erase(plan, table_end - 8, 4, REASON_DETECTED), 0);
        assert_int_equal(plan_erase(plan, table_end + 16, 4, REASON_NOTE), 0);
        assert_int_equal(plan_spare(plan, table_end + 16, 4), 0);
        assert_int_equal(plan_freeze(plan), 0);
        assert_erasure(plan, 0, table_end, 8, REASON_NEEDLE);
        assert_erasure(plan, 1, table_end + 16, 4, REASON_NOTE);
}

static void spared_ranges_are_joined_and_counted(void **state) {
        _cleanup_builder_ struct builder b = { .fd = -1 };
        _cleanup_plan_ struct plan *plan = NULL;
        uint64_t at, past = PLAN_SPARES_MAX * 100;

        (void)state;
        make(&b, 2 * (size_t)past, &plan);
        at = b.head->size;
        /* the headers are one already */
        for (unsigned i = 1; i < PLAN_SPARES_MAX; i++)
                assert_int_equal(plan_spare(plan, at + (uint64_t)i * 100, 50), 0);
        assert_int_equal(plan_spare(plan, at + past, 50), -E2BIG);
        assert_int_equal(plan_spare(plan, at + 150, 50), 0);
        assert_true(plan_is_spared(plan, at + 100, 150));
        assert_int_equal(plan_spare(plan, at + past, 50), 0);
        assert_true(plan_is_spared(plan, at + past, 50));
        assert_false(plan_is_spared(plan, at + past, 51));
        assert_int_equal(plan_spare(plan, at, 4096), 0);
        assert_true(plan_is_spared(plan, at + 1, 4000));
}

static void the_fill_is_in_phase_with_the_offset(void **state) {
        uint8_t buf[40];

        (void)state;
        for (size_t offset = 0; offset < 16; offset++) {
                for (size_t n = 0; n <= 32; n++) {
                        memset(buf, 0xee, sizeof(buf));
                        fill(buf + 4, n, offset);
                        for (size_t i = 0; i < n; i++)
                                assert_int_equal(buf[4 + i], FILL_WORD[(offset + i) % FILL_SIZE]);
                        assert_int_equal(buf[3], 0xee);
                        assert_int_equal(buf[4 + n], 0xee);
                }
        }
}

/* --- a model: one reason per byte ---------------------------------------------------------- */

#define MODEL_SIZE 8192U /* bytes of memory */
#define MODEL_ROUNDS 400U

static uint64_t draw(uint64_t *state, uint64_t below) {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        return *state % below;
}

struct model {
        size_t size;               /* of the whole core */
        uint8_t *present, *spared; /* per byte */
        uint8_t *reason;           /* 0 kept */
};

static void model_check(const struct plan *plan, const struct model *m, uint64_t *rng) {
        uint64_t sums[_REASON_MAX] = { 0 }, bytes[_REASON_MAX];
        uint8_t *buf = malloc(m->size);
        uint64_t before = 0;
        const struct erasure *e;
        size_t n;

        assert_non_null(buf);
        for (size_t i = 0; i < m->size; i++)
                sums[m->reason[i]] += 1;
        sums[0] = 0;
        plan_erased_bytes(plan, bytes);
        assert_memory_equal(bytes, sums, sizeof(sums));

        e = plan_erasures(plan, &n);
        for (size_t i = 0; i < n; i++) {
                assert_true(e[i].offset >= before);
                assert_true(e[i].size > 0);
                before = e[i].offset + e[i].size;
                for (uint64_t j = e[i].offset; j < before; j++)
                        assert_int_equal(m->reason[j], e[i].reason);
        }
        for (unsigned k = 0; k < 50; k++) {
                size_t from = draw(rng, m->size), size = draw(rng, m->size - from) + 1;
                bool erased = true, kept = true;

                memset(buf, 0, m->size);
                plan_apply(plan, from, buf + from, size);
                for (size_t i = 0; i < m->size; i++) {
                        bool in = i >= from && i < from + size;
                        char want = in && m->reason[i] ? FILL_WORD[i % FILL_SIZE] : '\0';

                        assert_int_equal(buf[i], want);
                        if (!in)
                                continue;
                        kept = kept && !m->reason[i];
                        erased = erased && (m->reason[i] || m->spared[i] || !m->present[i]);
                }
                assert_int_equal(plan_is_kept(plan, from, size), kept);
                /* a gap that is partly spared and partly a hole is answered "no": the safe way */
                if (plan_is_erased(plan, from, size))
                        assert_true(erased);
        }
        free(buf);
}

static void model_round(uint64_t *rng) {
        _cleanup_builder_ struct builder b = { .fd = -1 };
        _cleanup_plan_ struct plan *plan = NULL;
        struct model m = { 0 };
        uint64_t at;
        unsigned n = (unsigned)draw(rng, 40);

        make(&b, MODEL_SIZE, &plan);
        m.size = b.head->end;
        m.present = calloc(3, m.size);
        assert_non_null(m.present);
        m.spared = m.present + m.size;
        m.reason = m.spared + m.size;
        memset(m.present, 1, b.head->size);
        memset(m.spared, 1, sizeof(Elf64_Ehdr) + 2 * sizeof(Elf64_Phdr));

        for (at = b.head->size; at < m.size;) {
                uint64_t size = draw(rng, 600) + 1;

                size = size < m.size - at ? size : m.size - at;
                if (draw(rng, 3) > 0) {
                        assert_int_equal(plan_add_extent(plan, at, size), 0);
                        memset(m.present + at, 1, size);
                }
                at += size;
        }
        for (unsigned i = 0; i < 4; i++) {
                uint64_t from = draw(rng, m.size), size = draw(rng, 100);

                size = size < m.size - from ? size : m.size - from;
                assert_int_equal(plan_spare(plan, from, size), 0);
                memset(m.spared + from, 1, size);
        }
        for (unsigned i = 0; i < n; i++) {
                uint64_t from = draw(rng, m.size), size = draw(rng, 800);
                uint8_t reason = (uint8_t)(draw(rng, _REASON_MAX - 1) + 1);
                bool searched = reason == REASON_NEEDLE || reason == REASON_DETECTED;

                size = size < m.size - from ? size : m.size - from;
                assert_int_equal(plan_erase(plan, from, size, reason), 0);
                for (uint64_t j = from; j < from + size; j++)
                        if (m.present[j] && !(searched && m.spared[j]) &&
                            (!m.reason[j] || reason < m.reason[j]))
                                m.reason[j] = reason;
        }
        assert_int_equal(plan_freeze(plan), 0);
        model_check(plan, &m, rng);
        free(m.present);
}

static void any_mix_of_ranges_gives_each_byte_its_strictest_reason(void **state) {
        uint64_t rng = 0x5eed;

        (void)state;
        for (unsigned i = 0; i < MODEL_ROUNDS; i++)
                model_round(&rng);
}

/* --- limits -------------------------------------------------------------------------------- */

#define STEP 32U

static void one_extent_over_the_limit_is_refused(void **state) {
        _cleanup_builder_ struct builder b = { .fd = -1 };
        _cleanup_plan_ struct plan *plan = NULL;
        uint64_t at;

        (void)state;
        make(&b, ((uint64_t)PLAN_EXTENTS_MAX + 1) * STEP, &plan);
        at = b.head->size;
        for (uint64_t i = 0; i < PLAN_EXTENTS_MAX; i++)
                assert_int_equal(plan_add_extent(plan, at + i * STEP, 24), 0);
        assert_int_equal(plan_add_extent(plan, at + (uint64_t)PLAN_EXTENTS_MAX * STEP, 24), -E2BIG);
}

static void one_erasure_over_the_limit_is_refused(void **state) {
        _cleanup_builder_ struct builder b = { .fd = -1 };
        _cleanup_plan_ struct plan *plan = NULL;
        uint64_t at, sums[_REASON_MAX];

        (void)state;
        make(&b, ((uint64_t)PLAN_ERASURES_MAX + 1) * STEP, &plan);
        at = b.head->size;
        assert_int_equal(plan_add_extent(plan, at, ((uint64_t)PLAN_ERASURES_MAX + 1) * STEP), 0);
        for (uint64_t i = 0; i < PLAN_ERASURES_MAX; i++)
                assert_int_equal(plan_erase(plan, at + i * STEP, 8, REASON_NEEDLE), 0);
        assert_int_equal(
                plan_erase(plan, at + (uint64_t)PLAN_ERASURES_MAX * STEP, 8, REASON_NEEDLE),
                -E2BIG);
        assert_int_equal(plan_freeze(plan), 0);
        plan_erased_bytes(plan, sums);
        assert_int_equal(sums[REASON_NEEDLE], (uint64_t)PLAN_ERASURES_MAX * 8);
}

static void more_ranges_than_a_note_may_hold_are_refused(void **state) {
        _cleanup_builder_ struct builder b = { .fd = -1 };
        _cleanup_plan_ struct plan *plan = NULL;
        uint64_t at;

        (void)state;
        make(&b, (uint64_t)PLAN_EXTENTS_MAX * STEP, &plan);
        at = b.head->size;
        /* each extent becomes three ranges */
        for (uint64_t i = 0; i < PLAN_EXTENTS_MAX; i++) {
                assert_int_equal(plan_add_extent(plan, at + i * STEP, 24), 0);
                if (i % 4 != 3)
                        assert_int_equal(plan_erase(plan, at + i * STEP + 8, 8, REASON_NEEDLE), 0);
        }
        assert_int_equal(plan_erase(plan, at, (uint64_t)PLAN_EXTENTS_MAX * STEP, REASON_LEVEL), 0);
        assert_int_equal(plan_freeze(plan), -E2BIG);
}

static void every_reason_has_a_name_and_no_other_number_has(void **state) {
        (void)state;
        for (enum reason i = REASON_NEEDLE; i < _REASON_MAX; i++)
                assert_string_not_equal(reason_to_string(i), "unknown");
        assert_string_equal(reason_to_string(0), "unknown");
        assert_string_equal(reason_to_string(_REASON_MAX), "unknown");
        assert_string_equal(reason_to_string((enum reason) - 1), "unknown");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_smaller_reason_wins_where_ranges_overlap),
                cmocka_unit_test(an_erasure_over_a_hole_is_cut_to_the_extents),
                cmocka_unit_test(extents_that_touch_become_one),
                cmocka_unit_test(ranges_outside_of_the_file_are_refused),
                cmocka_unit_test(a_frozen_plan_takes_nothing_more),
                cmocka_unit_test(needles_leave_the_headers_alone_and_other_reasons_do_not),
                cmocka_unit_test(spared_ranges_are_joined_and_counted),
                cmocka_unit_test(the_fill_is_in_phase_with_the_offset),
                cmocka_unit_test(any_mix_of_ranges_gives_each_byte_its_strictest_reason),
                cmocka_unit_test(one_extent_over_the_limit_is_refused),
                cmocka_unit_test(one_erasure_over_the_limit_is_refused),
                cmocka_unit_test(more_ranges_than_a_note_may_hold_are_refused),
                cmocka_unit_test(every_reason_has_a_name_and_no_other_number_has),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
