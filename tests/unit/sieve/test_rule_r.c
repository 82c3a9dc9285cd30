/* Stack words: what a backtrace needs stays, everything else goes; and what must go stays gone. */
#include <stddef.h>
#include <stdint.h>

#include "sieve/stacks.h"
#include "tests/unit/sieve/rule_scene.h"

#define TOP (THREAD + THREAD_SIZE)

/* One thread on the initial stack, one on a stack of its own. */
static struct scene two_threads(void) {
        struct scene s = scene_new();

        scene_thread_at(&s, TID, STACK + 8ULL * PAGE);
        scene_thread_at(&s, TID + 1, THREAD + 8ULL * PAGE);
        scene_auxv(&s, AT_RANDOM, STACK_END - 64);
        scene_auxv(&s, AT_SYSINFO_EHDR, VDSO);
        return s;
}

static void each_stack_word_gets_its_fate(void **state) {
        static const struct {
                const char *name;
                uint64_t word, after;
        } cases[] = {
                { "zero stays", 0, 0 },
                { "a pointer into text stays", TEXT + 5, TEXT + 5 },
                { "a pointer to the last byte of the heap stays", HEAP + HEAP_SIZE - 1,
                  HEAP + HEAP_SIZE - 1 },
                { "a pointer just behind the heap goes", HEAP + HEAP_SIZE, FILLED },
                { "a pointer into code that is not dumped stays", CODE + 8, CODE + 8 },
                { "a number that a sanitizer's reserve would hold goes", RESERVED + 12345, FILLED },
                { "a pointer to the guard goes", GUARD + 8, FILLED },
                { "a small number goes", 17, FILLED },
                { "a secret goes", SECRET, FILLED },
                { "text goes", 0x796574207365636fULL, FILLED },
                { "a thread id in the low half stays alone", (SECRET & ~0xffffffffULL) | TID,
                  (FILLED & ~0xffffffffULL) | TID },
                { "a thread id in the high half stays alone",
                  (SECRET & 0xffffffffULL) | (TID + 1ULL) << 32,
                  (FILLED & 0xffffffffULL) | (TID + 1ULL) << 32 },
                { "two thread ids stay both", TID | (TID + 1ULL) << 32, TID | (TID + 1ULL) << 32 },
                { "fill is filled", FILLED, FILLED },
        };
        const uint64_t stacks[] = { STACK + 8ULL * PAGE, THREAD + 8ULL * PAGE };

        (void)state;
        for (size_t k = 0; k < ARRAY_SIZE(stacks); k++) {
                _cleanup_scene_ struct scene s = two_threads();

                scene_make(&s);
                for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
                        scene_word(&s, stacks[k] + 8 * i, cases[i].word);
                scene_run(&s, CONTENT_REDACT);
                for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
                        if (scene_after(&s, stacks[k] + 8 * i) != cases[i].after)
                                fail_msg("%s: %lx", cases[i].name,
                                         (unsigned long)scene_after(&s, stacks[k] + 8 * i));
                assert_int_equal(scene_check(&s, stacks[k], PAGE), 0);
        }
}

/* Below the red zone only zeros stay, or 8 MiB of stack would become dense. */
static void what_is_dead_below_a_dedicated_stack_goes(void **state) {
        const uint64_t pointers[] = { STACK + 8ULL * PAGE, THREAD + 8ULL * PAGE };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(pointers); i++) {
                _cleanup_scene_ struct scene s = two_threads();
                uint64_t sp = pointers[i];

                scene_make(&s);
                scene_word(&s, sp - RED_ZONE, TEXT);
                scene_word(&s, sp - RED_ZONE - 8, TEXT);
                scene_word(&s, sp - RED_ZONE - 24, TID);
                scene_run(&s, CONTENT_REDACT);
                assert_int_equal(scene_after(&s, sp - RED_ZONE), TEXT);
                assert_int_equal(scene_after(&s, sp - RED_ZONE - 8), FILLED);
                assert_int_equal(scene_after(&s, sp - RED_ZONE - 16), 0);
                assert_int_equal(scene_after(&s, sp - RED_ZONE - 24), FILLED);
        }
}

static void in_a_heap_nothing_below_a_stack_pointer_is_dead(void **state) {
        _cleanup_scene_ struct scene s = scene_new();

        (void)state;
        scene_thread_at(&s, TID, HEAP + 32ULL * PAGE);
        scene_make(&s);
        scene_word(&s, HEAP + PAGE, HEAP);
        scene_word(&s, HEAP + PAGE + 8, SECRET);
        scene_run(&s, CONTENT_REDACT);
        assert_int_equal(scene_after(&s, HEAP + PAGE), HEAP);
        assert_int_equal(scene_after(&s, HEAP + PAGE + 8), FILLED);
}

static void memory_that_is_no_stack_stays_at_redact(void **state) {
        _cleanup_scene_ struct scene s = two_threads();

        (void)state;
        scene_make(&s);
        scene_word(&s, HEAP + 8, SECRET);
        scene_word(&s, DATA + 8, SECRET);
        scene_run(&s, CONTENT_REDACT);
        assert_int_equal(scene_after(&s, HEAP + 8), SECRET);
        assert_int_equal(scene_after(&s, DATA + 8), SECRET);
}

static void without_its_main_thread_the_initial_stack_is_filtered(void **state) {
        _cleanup_scene_ struct scene s = scene_new();

        (void)state;
        scene_thread_at(&s, TID + 1, THREAD + 8ULL * PAGE);
        scene_auxv(&s, AT_RANDOM, STACK_END - 64);
        scene_make(&s);
        scene_word(&s, STACK + 8, SECRET);
        scene_word(&s, STACK + 16, TEXT);
        scene_run(&s, CONTENT_REDACT);
        assert_int_equal(scene_after(&s, STACK + 8), FILLED);
        assert_int_equal(scene_after(&s, STACK + 16), TEXT);
}

static void a_stack_pointer_just_behind_its_segment_is_of_it(void **state) {
        _cleanup_scene_ struct scene s = scene_new();

        (void)state;
        scene_thread_at(&s, TID, TOP);
        scene_make(&s);
        scene_word(&s, TOP - 8, SECRET);
        scene_word(&s, THREAD + 64, TEXT);
        scene_run(&s, CONTENT_REDACT);
        assert_int_equal(scene_after(&s, TOP - 8), FILLED);
        assert_int_equal(scene_after(&s, THREAD + 64), FILLED);
}

/* A smashed stack pointer must not save a stack full of secrets. */
static void a_stack_pointer_that_points_nowhere_gives_other_hints(void **state) {
        const struct user_regs_struct regs = {
                .rip = TEXT, .rsp = 0x4141414141414141ULL, .rbp = HEAP + 64, .fs_base = TOP - PAGE
        };
        _cleanup_scene_ struct scene s = scene_new();

        (void)state;
        scene_thread(&s, TID, &regs);
        scene_make(&s);
        scene_word(&s, HEAP + 8, SECRET);
        scene_word(&s, THREAD + 8, SECRET);
        scene_word(&s, THREAD + 16, TEXT);
        scene_run(&s, CONTENT_REDACT);
        assert_int_equal(scene_after(&s, HEAP + 8), FILLED);
        assert_int_equal(scene_after(&s, THREAD + 8), FILLED);
        assert_int_equal(scene_after(&s, THREAD + 16), TEXT);
}

static void stacks_that_signals_interrupted_are_stacks(void **state) {
        static const struct {
                const char *name;
                uint64_t frame, rsp, rip, after;
        } cases[] = {
                { "an interrupted stack", STACK + 9ULL * PAGE, HEAP + 16ULL * PAGE, TEXT, FILLED },
                { "a frame at the stack's very end", STACK_END - 32, HEAP + 16ULL * PAGE, TEXT,
                  FILLED },
                { "a frame that interrupted no code", STACK + 9ULL * PAGE, HEAP + 16ULL * PAGE,
                  GUARD - 8, SECRET },
                { "a frame that interrupted no stack", STACK + 9ULL * PAGE, TEXT + 8, TEXT,
                  SECRET },
                { "a frame in dead memory", STACK + 2ULL * PAGE, HEAP + 16ULL * PAGE, TEXT,
                  SECRET },
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                _cleanup_scene_ struct scene s = two_threads();

                scene_make(&s);
                scene_frame(&s, cases[i].frame, cases[i].rsp, cases[i].rip);
                scene_word(&s, HEAP + 8, SECRET);
                scene_run(&s, CONTENT_REDACT);
                if (scene_after(&s, HEAP + 8) != cases[i].after)
                        fail_msg("%s", cases[i].name);
        }
}

static void frames_are_followed_from_stack_to_stack(void **state) {
        _cleanup_scene_ struct scene s = scene_new();

        (void)state;
        scene_thread_at(&s, TID, STACK + 8ULL * PAGE);
        scene_make(&s);
        scene_frame(&s, STACK + 9ULL * PAGE, THREAD + 8ULL * PAGE, TEXT);
        /* Found only once the pointer of its stack was lowered by the frame behind it. */
        scene_frame(&s, THREAD + 10ULL * PAGE, THREAD + 4ULL * PAGE, TEXT);
        scene_frame(&s, THREAD + 5ULL * PAGE, HEAP + 16ULL * PAGE, TEXT);
        scene_word(&s, HEAP + 8, SECRET);
        scene_word(&s, THREAD + 4ULL * PAGE + 8, TEXT);
        scene_run(&s, CONTENT_REDACT);
        assert_int_equal(scene_after(&s, HEAP + 8), FILLED);
        assert_int_equal(scene_after(&s, THREAD + 4ULL * PAGE + 8), TEXT);
}

static void a_frame_across_two_searches_is_found(void **state) {
        for (uint64_t shift = 0; shift <= 32; shift += 8) {
                _cleanup_scene_ struct scene s = scene_new();

                (void)state;
                scene_thread_at(&s, TID, STACK + 8ULL * PAGE);
                scene_make(&s);
                scene_frame(&s, STACK + 9ULL * PAGE, THREAD + 8ULL * PAGE, TEXT);
                scene_frame(&s, THREAD + 9ULL * PAGE, THREAD + 4ULL * PAGE, TEXT);
                scene_frame(&s, THREAD + 8ULL * PAGE - RED_ZONE - shift, HEAP + 16ULL * PAGE, TEXT);
                scene_word(&s, HEAP + 8, SECRET);
                scene_run(&s, CONTENT_REDACT);
                assert_int_equal(scene_after(&s, HEAP + 8), FILLED);
        }
}

static void a_frame_across_two_tiles_is_found(void **state) {
        _cleanup_scene_ struct scene s = scene_new();
        uint64_t sp = HEAP + RED_ZONE;

        (void)state;
        s.heap_size = 4ULL << 20;
        scene_thread_at(&s, TID, sp);
        scene_make(&s);
        for (uint64_t at = HEAP; at < HEAP + s.heap_size; at += PAGE)
                scene_word(&s, at, 1);
        scene_frame(&s, HEAP + (1ULL << 20) - 16, THREAD + 8ULL * PAGE, TEXT);
        scene_word(&s, THREAD + 9ULL * PAGE, SECRET);
        scene_run(&s, CONTENT_REDACT);
        assert_int_equal(scene_after(&s, THREAD + 9ULL * PAGE), FILLED);
}

static void more_frames_than_the_limit_are_too_many(void **state) {
        static const struct {
                size_t n;
                int expected;
        } cases[] = { { SIGNAL_FRAMES_MAX, 0 }, { SIGNAL_FRAMES_MAX + 1, -E2BIG } };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                _cleanup_scene_ struct scene s = scene_new();
                _cleanup_free_ uint64_t *frames = calloc(cases[i].n, 32);

                assert_non_null(frames);
                for (size_t k = 0; k < cases[i].n; k++) {
                        frames[4 * k] = THREAD + 8ULL * PAGE;
                        frames[4 * k + 1] = TEXT;
                        frames[4 * k + 3] = 0x002b000000000033ULL;
                }
                s.heap_size = (cases[i].n * 32 + PAGE) / PAGE * PAGE + PAGE;
                scene_thread_at(&s, TID, HEAP);
                scene_make(&s);
                builder_write(&s.b, HEAP, frames, cases[i].n * 32);
                assert_int_equal(scene_plan(&s, CONTENT_REDACT), cases[i].expected);
        }
}

static void level_stacks_keeps_what_unwinding_needs_and_no_more(void **state) {
        static const uint8_t elf[] = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3 };
        _cleanup_scene_ struct scene s = two_threads();
        uint64_t filled[] = { TEXT + PAGE, DATA + 8, DATA + 16, HEAP, HEAP + 8, HEAP + 16 };
        uint64_t kept[] = { TEXT + PAGE - 8, VDSO + 8, VDSO + PAGE + 8 };

        (void)state;
        scene_make(&s);
        builder_write(&s.b, TEXT, elf, sizeof(elf));
        for (size_t i = 0; i < ARRAY_SIZE(kept); i++)
                scene_word(&s, kept[i], SECRET);
        scene_word(&s, TEXT + PAGE, SECRET);
        scene_word(&s, DATA + 8, SECRET);
        scene_word(&s, DATA + 16, TEXT);
        /* A program that has read an ELF file is no module. */
        builder_write(&s.b, HEAP, elf, sizeof(elf));
        scene_word(&s, HEAP + 8, SECRET);
        scene_word(&s, STACK + 9ULL * PAGE, SECRET);
        scene_word(&s, STACK + 9ULL * PAGE + 8, TEXT);
        scene_run(&s, CONTENT_STACKS);
        for (size_t i = 0; i < ARRAY_SIZE(filled); i++)
                assert_int_equal(scene_after(&s, filled[i]), FILLED);
        for (size_t i = 0; i < ARRAY_SIZE(kept); i++)
                assert_int_equal(scene_after(&s, kept[i]), SECRET);
        assert_int_equal(scene_after(&s, STACK + 9ULL * PAGE), FILLED);
        assert_int_equal(scene_after(&s, STACK + 9ULL * PAGE + 8), TEXT);
        assert_int_equal(scene_after(&s, HEAP + 8ULL * PAGE), 0); /* a hole stays one */
        assert_int_equal(scene_check(&s, HEAP, HEAP_SIZE), 0);
}

static void other_levels_are_refused(void **state) {
        _cleanup_scene_ struct scene s = two_threads();

        (void)state;
        scene_make(&s);
        assert_int_equal(scene_plan(&s, CONTENT_DETECT), -EINVAL);
        rule_r_free(NULL);
}

/* Memory shared with a process that runs on: what emit reads is not what was learned from. */
static void a_word_that_changed_is_found(void **state) {
        static const struct {
                const char *name;
                uint64_t address, word;
                int expected;
        } cases[] = {
                { "a secret where zero was", STACK + 9ULL * PAGE, SECRET, -EBADMSG },
                { "a pointer where zero was", STACK + 9ULL * PAGE, TEXT, 0 },
                { "a pointer in dead memory", STACK + 7ULL * PAGE, TEXT, -EBADMSG },
                { "a secret in the last word", STACK + 10ULL * PAGE - 8, SECRET, -EBADMSG },
                { "a secret over a secret", STACK + 9ULL * PAGE + 8, ~SECRET, 0 },
                { "fill", STACK + 9ULL * PAGE, FILLED, 0 },
                { "half fill, half thread id", STACK + 9ULL * PAGE, (FILLED & ~0xffffffffULL) | TID,
                  0 },
                { "half fill, half secret", STACK + 9ULL * PAGE,
                  (FILLED & ~0xffffffffULL) | 0x12345678, -EBADMSG },
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                _cleanup_scene_ struct scene s = two_threads();

                scene_make(&s);
                scene_word(&s, STACK + 9ULL * PAGE + 8, SECRET);
                scene_word(&s, STACK + 7ULL * PAGE + 8, 0);
                scene_run(&s, CONTENT_REDACT);
                assert_int_equal(scene_check(&s, STACK, STACK_SIZE), 0);
                scene_word(&s, cases[i].address, cases[i].word);
                if (scene_check(&s, STACK + 7ULL * PAGE, 3ULL * PAGE) != cases[i].expected)
                        fail_msg("%s", cases[i].name);
        }
}

static void a_needle_that_ends_inside_a_pointer_is_no_change(void **state) {
        _cleanup_scene_ struct scene s = two_threads();
        uint64_t at = STACK + 9ULL * PAGE;

        (void)state;
        scene_make(&s);
        scene_word(&s, at, STACK + 8);
        scene_word(&s, at + 8, STACK + 16);
        assert_int_equal(scene_plan(&s, CONTENT_REDACT), 0);
        assert_int_equal(plan_erase(s.plan, scene_offset(&s, at) + 2, 9, REASON_NEEDLE), 0);
        assert_int_equal(plan_freeze(s.plan), 0);
        assert_int_equal(scene_check(&s, STACK, STACK_SIZE), 0);
        scene_word(&s, at + 16, SECRET);
        assert_int_equal(scene_check(&s, STACK, STACK_SIZE), -EBADMSG);
}

static void a_block_may_hold_several_segments_and_none(void **state) {
        _cleanup_scene_ struct scene s = two_threads();
        _cleanup_free_ uint8_t *buf = NULL;
        uint64_t start, size;

        (void)state;
        scene_make(&s);
        scene_run(&s, CONTENT_REDACT);
        start = scene_offset(&s, HEAP);
        size = s.b.head->end - start;
        buf = calloc(1, size);
        assert_non_null(buf);
        assert_int_equal(rule_r_check(s.rule, start, buf, size), 0);
        memset(buf, 'x', HEAP_SIZE);
        assert_int_equal(rule_r_check(s.rule, start, buf, size), 0);
        memset(buf + scene_offset(&s, STACK_END - 8) - start, 'x', 8);
        assert_int_equal(rule_r_check(s.rule, start, buf, size), -EBADMSG);
        assert_int_equal(rule_r_check(s.rule, 0, s.b.head->bytes, s.b.head->size), 0);
}

/* A Go arena: more runs than a plan should hold. Far from every stack it goes whole. */
static void a_huge_arena_is_erased_coarsely_but_not_around_live_stacks(void **state) {
        size_t words = 2 * (RULE_R_RUNS_MAX + (4U << 20) / 16);
        _cleanup_free_ uint64_t *memory = calloc(words, 8);
        _cleanup_scene_ struct scene s = scene_new();
        uint64_t last;
        size_t n;

        (void)state;
        assert_non_null(memory);
        for (size_t i = 0; i < words; i += 2)
                memory[i] = SECRET;
        s.heap_size = (words * 8 + PAGE - 1) / PAGE * PAGE;
        last = HEAP + s.heap_size - (1ULL << 20);
        scene_thread_at(&s, TID, HEAP + PAGE);
        scene_thread_at(&s, TID + 1, last);
        scene_make(&s);
        builder_write(&s.b, HEAP, memory, words * 8);
        scene_run(&s, CONTENT_REDACT);
        (void)plan_erasures(s.plan, &n);
        assert_true(n < PLAN_ERASURES_MAX);
        assert_int_equal(scene_after(&s, HEAP + 8), 0);
        assert_int_equal(scene_after(&s, last - (1ULL << 20)), FILLED);
        assert_int_equal(scene_after(&s, last - (1ULL << 20) + 8), FILLED); /* a zero */
        assert_int_equal(scene_after(&s, last + 16), FILLED);
        assert_int_equal(scene_after(&s, last + 8), 0);
        assert_int_equal(scene_after(&s, last + (1ULL << 20) - 8), 0);
        assert_int_equal(scene_check(&s, last - (1ULL << 20), 2ULL << 20), 0);
}

static void a_sparse_segment_of_64_gib_costs_what_is_touched(void **state) {
        _cleanup_scene_ struct scene s = scene_new();

        (void)state;
        s.heap_size = 64ULL << 30;
        scene_thread_at(&s, TID, HEAP + (32ULL << 30));
        scene_make(&s);
        scene_word(&s, HEAP + (50ULL << 30), SECRET);
        scene_word(&s, HEAP + (50ULL << 30) + 8, HEAP);
        scene_run(&s, CONTENT_REDACT);
        assert_int_equal(scene_after(&s, HEAP + (50ULL << 30)), FILLED);
        assert_int_equal(scene_after(&s, HEAP + (50ULL << 30) + 8), HEAP);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(each_stack_word_gets_its_fate),
                cmocka_unit_test(what_is_dead_below_a_dedicated_stack_goes),
                cmocka_unit_test(in_a_heap_nothing_below_a_stack_pointer_is_dead),
                cmocka_unit_test(memory_that_is_no_stack_stays_at_redact),
                cmocka_unit_test(without_its_main_thread_the_initial_stack_is_filtered),
                cmocka_unit_test(a_stack_pointer_just_behind_its_segment_is_of_it),
                cmocka_unit_test(a_stack_pointer_that_points_nowhere_gives_other_hints),
                cmocka_unit_test(stacks_that_signals_interrupted_are_stacks),
                cmocka_unit_test(frames_are_followed_from_stack_to_stack),
                cmocka_unit_test(a_frame_across_two_searches_is_found),
                cmocka_unit_test(a_frame_across_two_tiles_is_found),
                cmocka_unit_test(more_frames_than_the_limit_are_too_many),
                cmocka_unit_test(level_stacks_keeps_what_unwinding_needs_and_no_more),
                cmocka_unit_test(other_levels_are_refused),
                cmocka_unit_test(a_word_that_changed_is_found),
                cmocka_unit_test(a_needle_that_ends_inside_a_pointer_is_no_change),
                cmocka_unit_test(a_block_may_hold_several_segments_and_none),
                cmocka_unit_test(a_huge_arena_is_erased_coarsely_but_not_around_live_stacks),
                cmocka_unit_test(a_sparse_segment_of_64_gib_costs_what_is_touched),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
