/* Unwinding raw against redacted memory (P4), on children of this test that stand still.
 * with: tests/unit/core/victim.c
 */
#include "core/unwind.h"

#include <elf.h>
#include <errno.h>
#include <pthread.h>
#include <seccomp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "victim.h"

/* --- the children --- */

#define DEPTH_SMALL 7U
#define DEPTH_HUGE 700U

__attribute__((noinline, optimize("no-optimize-sibling-calls"))) static unsigned
descend(unsigned depth, struct victim_word *word) {
        unsigned r;

        if (depth == 0) {
                victim_stop(word);
                return 0;
        }
        r = descend(depth - 1, word);
        __asm__ volatile("" : "+r"(r));
        return r + 1;
}

static void *thread_main(void *word) {
        (void)descend(DEPTH_SMALL, word);
        return NULL;
}

static void run_plain(struct victim_word *words) {
        (void)descend(DEPTH_SMALL, &words[0]);
}

static void run_threads(struct victim_word *words) {
        pthread_t threads[2];

        for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
                (void)pthread_create(&threads[i], NULL, thread_main, &words[i + 1]);
        (void)descend(DEPTH_SMALL, &words[0]);
}

static void run_deep(struct victim_word *words) {
        (void)descend(DEPTH_HUGE, &words[0]);
}

static struct victim_word *handler_word;

static void handler(int number) {
        (void)number;
        (void)descend(DEPTH_SMALL, handler_word);
}

static void run_handler(struct victim_word *words) {
        stack_t stack = { .ss_sp = malloc(1U << 17), .ss_size = 1U << 17 };
        struct sigaction action = { .sa_handler = handler, .sa_flags = SA_ONSTACK };

        handler_word = &words[0];
        if (!stack.ss_sp || sigaltstack(&stack, NULL) < 0 || sigaction(SIGUSR1, &action, NULL) < 0)
                _exit(1);
        (void)raise(SIGUSR1);
}

/* Publishes how deep it stands, then stays in the vdso most of the time. */
static void run_clock(struct victim_word *words) {
        struct timespec t;

        words[0].tid = (uint64_t)getpid();
        __atomic_store_n(&words[0].frames, 1, __ATOMIC_RELEASE);
        for (;;)
                (void)clock_gettime(CLOCK_MONOTONIC, &t);
}

/* --- views --- */

/* The victim's memory with one word of it changed. */
struct overlay {
        struct victim *victim;
        uint64_t address, word;
};

static int overlay_read(void *userdata, uint64_t address, void *buf, size_t n) {
        const struct overlay *overlay = userdata;

        if (address == overlay->address && n == sizeof(overlay->word)) {
                memcpy(buf, &overlay->word, n);
                return 0;
        }
        return victim_read(overlay->victim, address, buf, n);
}

static int no_read(void *userdata, uint64_t address, void *buf, size_t n) {
        (void)userdata;
        (void)address;
        (void)buf;
        (void)n;
        return -EFAULT;
}

static struct unwind_view plain_view(struct victim *victim) {
        return (struct unwind_view){ .notes = &victim->notes,
                                     .read = victim_read,
                                     .userdata = victim };
}

static struct unwind_view overlay_view(struct overlay *overlay) {
        return (struct unwind_view){ .notes = &overlay->victim->notes,
                                     .read = overlay_read,
                                     .userdata = overlay };
}

static struct unwind_result compare(struct victim *victim, const struct unwind_view *raw,
                                    const struct unwind_view *redacted) {
        struct unwind_result result;

        assert_int_equal(unwind_compare(&victim->head, raw, redacted, victim_read, victim, &result),
                         0);
        return result;
}

static struct victim *setup(void **state, victim_main run, size_t n) {
        static struct victim victim;

        victim_start(&victim, run, n);
        *state = &victim;
        return &victim;
}

static int teardown(void **state) {
        victim_end(*state);
        return 0;
}

/* --- what is the same --- */

static void test_all_threads(void **state) {
        struct victim *victim = setup(state, run_threads, 3);
        struct unwind_view view = plain_view(victim);
        struct unwind_result result = compare(victim, &view, &view);

        assert_int_equal(result.outcome, UNWIND_SAME);
        assert_int_equal(result.threads, 3);
        assert_true(victim->words[1].frames > DEPTH_SMALL + 3);
        assert_int_equal(result.frames, victim->words[0].frames + victim->words[1].frames +
                                                victim->words[2].frames);
}

static void test_signal_frame(void **state) {
        struct victim *victim = setup(state, run_handler, 1);
        struct unwind_view view = plain_view(victim);
        struct unwind_result result = compare(victim, &view, &view);

        assert_int_equal(result.outcome, UNWIND_SAME);
        assert_true(result.frames > DEPTH_SMALL + 6);
        assert_int_equal(result.frames, victim->words[0].frames);
}

static void test_vdso(void **state) {
        struct victim *victim = setup(state, run_clock, 1);
        struct unwind_view view = plain_view(victim);
        uint64_t vdso = getauxval(AT_SYSINFO_EHDR); /* the child is a fork of this process */
        uint64_t size = core_segment_at(&victim->head, vdso)->memory_size;
        struct user_regs_struct regs = { 0 };
        int status;

        /* Some instructions into the function, its frame is not that of its entry any more. */
        for (unsigned inside = 0, steps = 0; inside < 10; steps++) {
                assert_in_range(steps, 0, 100000);
                assert_int_equal(ptrace(PTRACE_SINGLESTEP, victim->pid, NULL, NULL), 0);
                assert_int_equal(waitpid(victim->pid, &status, 0), victim->pid);
                assert_int_equal(ptrace(PTRACE_GETREGS, victim->pid, NULL, &regs), 0);
                inside += regs.rip - vdso < size;
        }
        victim_picture(victim);
        assert_true(victim->notes.threads[0].regs.rip - vdso < size);

        struct unwind_result result = compare(victim, &view, &view);

        /* vdso, run_clock, victim_start, setup, test, cmocka (3 or more), main, libc (2), _start */
        assert_int_equal(result.outcome, UNWIND_SAME);
        assert_true(result.frames >= 11);
}

static void test_static_program(void **state) {
        static const char *const argv[] = { "/sbin/ldconfig", "-p", NULL };
        static struct victim victim;
        struct unwind_view view = plain_view(&victim);

        *state = &victim;
        victim_exec(&victim, argv, SYS_openat);

        struct unwind_result result = compare(&victim, &view, &view);

        assert_int_equal(result.outcome, UNWIND_SAME);
        assert_true(result.frames >= 5); /* open, print_cache, main, libc, _start */
}

static void test_unused_word(void **state) {
        struct victim *victim = setup(state, run_plain, 1);
        struct overlay overlay = { .victim = victim,
                                   .address = (victim->notes.threads[0].regs.rsp - 512) & ~7ULL,
                                   .word = 0x4445544341444552 };
        struct unwind_view raw = plain_view(victim), redacted = overlay_view(&overlay);

        assert_int_equal(compare(victim, &raw, &redacted).outcome, UNWIND_SAME);
}

static void test_smashed(void **state) {
        struct victim *victim = setup(state, run_plain, 1);
        uint64_t at = victim->words[0].return_address;
        struct overlay smashed = { .victim = victim, .address = at, .word = 0x4141414141414141 };
        struct overlay erased = { .victim = victim, .address = at, .word = 0x4445544341444552 };
        struct unwind_view raw = overlay_view(&smashed), redacted = overlay_view(&erased);
        struct unwind_result result = compare(victim, &raw, &redacted);

        assert_int_equal(result.outcome, UNWIND_SAME);
        assert_int_equal(result.frames, 1);
}

static void test_no_images(void **state) {
        struct victim *victim = setup(state, run_threads, 3);
        struct unwind_view view = plain_view(victim);
        struct unwind_result result;

        assert_int_equal(unwind_compare(&victim->head, &view, &view, no_read, NULL, &result), 0);
        assert_int_equal(result.outcome, UNWIND_SAME);
        assert_true(result.frames >= 3);
}

static void test_no_memory(void **state) {
        struct victim *victim = setup(state, run_threads, 3);
        struct unwind_view view = { .notes = &victim->notes, .read = no_read };
        struct unwind_result result = compare(victim, &view, &view);

        assert_int_equal(result.outcome, UNWIND_SAME);
        assert_int_equal(result.frames, 3);
}

/* --- what is degraded --- */

static void test_lost_return_address(void **state) {
        struct victim *victim = setup(state, run_threads, 3);
        struct overlay overlay = { .victim = victim,
                                   .address = victim->words[2].return_address,
                                   .word = 0x4445544341444552 };
        struct unwind_view raw = plain_view(victim), redacted = overlay_view(&overlay);
        struct unwind_result result = compare(victim, &raw, &redacted);

        assert_int_equal(result.outcome, UNWIND_DEGRADED);
        assert_int_equal(result.threads, 3);
        /* What counts is what the raw core shows, and the other way round is no better. */
        assert_int_equal(compare(victim, &redacted, &raw).outcome, UNWIND_DEGRADED);
}

static void test_changed_register(void **state) {
        struct victim *victim = setup(state, run_plain, 1);
        struct core_thread thread = victim->notes.threads[0];
        struct core_notes notes = victim->notes;
        struct unwind_view raw = plain_view(victim), redacted = raw;

        notes.threads = &thread;
        redacted.notes = &notes;
        thread.regs.rsp += sizeof(uint64_t);
        thread.regs.rbp += sizeof(uint64_t);
        assert_int_equal(compare(victim, &raw, &redacted).outcome, UNWIND_DEGRADED);

        thread = victim->notes.threads[0];
        thread.regs.rip++;
        assert_int_equal(compare(victim, &raw, &redacted).outcome, UNWIND_DEGRADED);

        thread = victim->notes.threads[0];
        thread.tid++;
        assert_int_equal(compare(victim, &raw, &redacted).outcome, UNWIND_DEGRADED);
}

/* --- limits --- */

static void test_too_deep(void **state) {
        struct victim *victim = setup(state, run_deep, 1);
        struct unwind_view raw = plain_view(victim);
        struct unwind_result result = compare(victim, &raw, &raw);
        struct overlay overlay = { .victim = victim, .address = victim->words[0].return_address };
        struct unwind_view redacted = overlay_view(&overlay);

        assert_int_equal(result.outcome, UNWIND_CAPPED);
        assert_int_equal(result.frames, UNWIND_FRAMES_MAX);
        assert_int_equal(compare(victim, &raw, &redacted).outcome, UNWIND_DEGRADED);
}

/* The same thread `n` times over. */
static void repeat_thread(struct core_notes *notes, size_t n) {
        struct core_thread *threads = calloc(n, sizeof(*threads));

        assert_non_null(threads);
        for (size_t i = 0; i < n; i++)
                threads[i] = notes->threads[0];
        notes->threads = threads;
        notes->n_threads = n;
}

static void test_threads_limit(void **state) {
        struct victim *victim = setup(state, run_plain, 1);
        struct core_notes notes = victim->notes;
        struct unwind_view view = plain_view(victim);
        struct unwind_result result;

        view.notes = &notes;
        repeat_thread(&notes, UNWIND_THREADS_MAX + 1);
        result = compare(victim, &view, &view);
        assert_int_equal(result.outcome, UNWIND_CAPPED);
        assert_int_equal(result.threads, UNWIND_THREADS_MAX);

        notes.n_threads = UNWIND_THREADS_MAX;
        assert_int_equal(compare(victim, &view, &view).outcome, UNWIND_SAME);
        free(notes.threads);
}

static void test_segments_limit(void **state) {
        struct victim *victim = setup(state, run_plain, 1);
        struct unwind_view view = plain_view(victim);
        struct core_head head = victim->head;
        struct unwind_result result;

        head.n_segments = UNWIND_SEGMENTS_MAX;
        assert_int_equal(unwind_compare(&head, &view, &view, victim_read, victim, &result), 0);
        assert_int_equal(result.outcome, UNWIND_SAME);
        head.n_segments++;
        assert_int_equal(unwind_compare(&head, &view, &view, victim_read, victim, &result), 0);
        assert_int_equal(result.outcome, UNWIND_CAPPED);
        assert_int_equal(result.threads, 0);
}

struct slow {
        struct victim *victim;
        uint64_t us; /* of CPU, for each read */
        uint64_t reads;
};

static int slow_read(void *userdata, uint64_t address, void *buf, size_t n) {
        struct slow *slow = userdata;

        slow->reads++;
        for (uint64_t until = clock_cpu_ns() + slow->us * 1000ULL; clock_cpu_ns() < until;)
                continue;
        return victim_read(slow->victim, address, buf, n);
}

static void check_exhausted(struct victim *victim, struct slow *slow) {
        struct core_notes notes = victim->notes;
        struct unwind_view view = { .notes = &notes, .read = slow_read, .userdata = slow };
        struct unwind_result result;

        repeat_thread(&notes, UNWIND_THREADS_MAX);
        result = compare(victim, &view, &view);
        assert_int_equal(result.outcome, UNWIND_CAPPED);
        assert_true(result.threads < UNWIND_THREADS_MAX);
        free(notes.threads);
}

static void test_reads_limit(void **state) {
        struct slow slow = { .victim = setup(state, run_deep, 1) };

        check_exhausted(slow.victim, &slow);
        assert_true(slow.reads <= UNWIND_READS_MAX);
}

static void test_time_limit(void **state) {
        struct slow slow = { .victim = setup(state, run_deep, 1), .us = 10000 };
        uint64_t start = clock_cpu_ns();

        check_exhausted(slow.victim, &slow);
        assert_in_range((clock_cpu_ns() - start) / NS_PER_MS, UNWIND_TIME_MAX_MS,
                        UNWIND_TIME_MAX_MS + 1000);
}

static void test_thread_counts(void **state) {
        struct victim *victim = setup(state, run_plain, 1);
        struct unwind_view raw = plain_view(victim), redacted = raw;
        struct core_notes none = victim->notes;
        struct unwind_result result;

        none.n_threads = 0;
        redacted.notes = &none;
        assert_int_equal(
                unwind_compare(&victim->head, &raw, &redacted, victim_read, victim, &result),
                -EINVAL);
        assert_int_equal(compare(victim, &redacted, &redacted).outcome, UNWIND_NONE);
}

/* --- confinement --- */

static void test_opens_nothing(void **state) {
        static const int forbidden[] = {
                SCMP_SYS(open),      SCMP_SYS(openat),     SCMP_SYS(openat2),    SCMP_SYS(stat),
                SCMP_SYS(lstat),     SCMP_SYS(newfstatat), SCMP_SYS(statx),      SCMP_SYS(access),
                SCMP_SYS(faccessat), SCMP_SYS(readlink),   SCMP_SYS(readlinkat), SCMP_SYS(socket),
                SCMP_SYS(connect),   SCMP_SYS(execve),     SCMP_SYS(fstat),      SCMP_SYS(getcwd),
                SCMP_SYS(getdents64)
        };
        struct victim *victim = setup(state, run_handler, 1);
        struct unwind_view view = plain_view(victim);
        struct unwind_result result;
        int status;
        pid_t pid = fork();

        assert_true(pid >= 0);
        if (pid == 0) {
                scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);

                for (size_t i = 0; i < ARRAY_SIZE(forbidden); i++) {
                        if (seccomp_rule_add(filter, SCMP_ACT_KILL_PROCESS, forbidden[i], 0) < 0)
                                _exit(100);
                }
                if (seccomp_load(filter) < 0)
                        _exit(100);
                if (unwind_compare(&victim->head, &view, &view, victim_read, victim, &result) < 0)
                        _exit(101);
                _exit(result.outcome == UNWIND_SAME && result.frames == victim->words[0].frames
                              ? 0
                              : 102);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
}

static void test_names(void **state) {
        (void)state;
        for (int i = 0; i < _UNWIND_OUTCOME_MAX; i++)
                assert_non_null(unwind_outcome_to_string((enum unwind_outcome)i));
        assert_string_equal(unwind_outcome_to_string(UNWIND_DEGRADED), "degraded");
        assert_null(unwind_outcome_to_string(_UNWIND_OUTCOME_MAX));
}

#define CASE(name, f)                                                                              \
        { (name), (f), NULL, teardown, NULL }

int main(void) {
        const struct CMUnitTest tests[] = {
                CASE("every thread is followed to its first function", test_all_threads),
                CASE("a handler's frames and those it interrupted are followed across stacks",
                     test_signal_frame),
                CASE("a thread that stands in the vdso is followed", test_vdso),
                CASE("a static program is followed", test_static_program),
                CASE("a word that no frame needs may go", test_unused_word),
                CASE("behind a return address that never was code nothing counts", test_smashed),
                CASE("without images both views are guessed alike", test_no_images),
                CASE("without memory every thread has its frame 0", test_no_memory),
                CASE("a lost return address is degraded", test_lost_return_address),
                CASE("changed registers or thread ids are degraded", test_changed_register),
                CASE("frames over the limit are capped, a difference below it is degraded",
                     test_too_deep),
                CASE("threads over the limit are capped, at the limit the same",
                     test_threads_limit),
                CASE("segments over the limit are capped, at the limit the same",
                     test_segments_limit),
                CASE("reads are limited", test_reads_limit),
                CASE("time is limited", test_time_limit),
                CASE("views must have the same number of threads, and none is none",
                     test_thread_counts),
                CASE("no path is looked at", test_opens_nothing),
                cmocka_unit_test(test_names),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
