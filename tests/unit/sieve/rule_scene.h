/* rule_scene: a process on which rule R is tried, laid out like a real one.
 *
 * Text, data, heap, a guard below a thread's stack, the vdso, the initial stack. A test writes
 * words, says which threads there were, runs the rule and looks at what would be written.
 */
#pragma once

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "secret/needle.h"
#include "sieve/fill.h"
#include "sieve/plan.h"
#include "sieve/rule_r.h"
#include "tests/unit/sieve/core_builder.h"

#define PAGE BUILDER_PAGE
#define TEXT 0x400000ULL
#define TEXT_SIZE (4ULL * PAGE)
#define DATA 0x600000ULL
#define DATA_SIZE (16ULL * PAGE)
#define HEAP 0x10000000ULL
#define HEAP_SIZE (64ULL * PAGE)
#define RESERVED 0x20000000000ULL /* mapped, not dumped: of a sanitizer */
#define RESERVED_SIZE (1ULL << 40)
#define CODE 0x7e0000000000ULL /* of a library: executable, not dumped */
#define GUARD 0x7f0000000000ULL
#define THREAD (GUARD + PAGE)
#define THREAD_SIZE (16ULL * PAGE)
#define VDSO 0x7fffe0000000ULL
#define STACK 0x7ffffff00000ULL
#define STACK_SIZE (64ULL * PAGE)
#define STACK_END (STACK + STACK_SIZE)

#define TID 4242
#define SECRET 0x5ec2e75ec2e75ec2ULL
#define FILLED 0x4445544341444552ULL /* "REDACTED", little-endian */

#define SCENE_AUXV_MAX 32U

struct scene {
        struct builder b;
        struct builder_bytes notes;
        uint64_t heap_size; /* 0: HEAP_SIZE */
        uint64_t auxv[SCENE_AUXV_MAX];
        size_t n_auxv;
        char *const *environment;
        struct plan *plan;
        struct needle_set *needles;
        struct rule_r *rule;
};

static inline void scene_done(struct scene *s) {
        rule_r_free(s->rule);
        plan_free(s->plan);
        needle_set_free(s->needles);
        free(s->notes.bytes);
        builder_done(&s->b);
}
#define _cleanup_scene_ _cleanup_(scene_done)

static inline struct scene scene_new(void) {
        return (struct scene){ .b = { .fd = -1 } };
}

static inline void scene_thread(struct scene *s, int tid, const struct user_regs_struct *regs) {
        struct elf_prstatus status = { .pr_pid = tid };

        memcpy(&status.pr_reg, regs, sizeof(*regs));
        builder_note(&s->notes, NT_PRSTATUS, &status, sizeof(status));
}

static inline void scene_thread_at(struct scene *s, int tid, uint64_t rsp) {
        const struct user_regs_struct regs = { .rip = TEXT + 16, .rsp = rsp };

        scene_thread(s, tid, &regs);
}

static inline void scene_auxv(struct scene *s, uint64_t type, uint64_t value) {
        s->auxv[s->n_auxv++] = type;
        s->auxv[s->n_auxv++] = value;
}

/* The vector goes into its note; threads and other notes were added before. */
static inline void scene_make(struct scene *s) {
        const struct builder_segment segments[] = {
                { .address = TEXT, .file_size = TEXT_SIZE, .flags = PF_R | PF_X, .file = "/bin/x" },
                { .address = DATA, .file_size = DATA_SIZE, .file = "/bin/x" },
                { .address = HEAP, .file_size = s->heap_size ? s->heap_size : HEAP_SIZE },
                { .address = RESERVED, .memory_size = RESERVED_SIZE },
                { .address = CODE, .memory_size = PAGE, .flags = PF_R | PF_X },
                { .address = GUARD, .memory_size = PAGE, .no_access = true },
                { .address = THREAD, .file_size = THREAD_SIZE },
                { .address = VDSO, .file_size = 2ULL * PAGE, .flags = PF_R | PF_X },
                { .address = STACK, .file_size = STACK_SIZE },
        };
        struct builder_bytes files = { 0 };

        scene_auxv(s, AT_NULL, 0);
        builder_note(&s->notes, NT_AUXV, s->auxv, s->n_auxv * sizeof(s->auxv[0]));
        builder_file_note(&files, segments, ARRAY_SIZE(segments));
        builder_put(&s->notes, files.bytes, files.size);
        free(files.bytes);
        s->b.own_notes = &s->notes;
        builder_make(&s->b, segments, ARRAY_SIZE(segments));
}

static inline void scene_word(struct scene *s, uint64_t address, uint64_t word) {
        builder_write(&s->b, address, &word, sizeof(word));
}

/* Plans, without freezing: a test may add needles' erasures. */
static inline int scene_plan(struct scene *s, enum content content) {
        int r;

        assert_int_equal(source_new_file(s->b.head, s->b.notes, s->b.fd, &s->b.source), 0);
        assert_int_equal(plan_new(s->b.head, &s->plan), 0);
        assert_int_equal(source_add_extents(s->b.source, s->plan), 0);
        if (!s->needles) /* a test may have filled one */
                assert_int_equal(needle_set_new(&s->needles), 0);
        r = rule_r_new(s->b.head, s->b.notes, s->b.source, s->environment, s->needles, 1, &s->rule);
        if (r < 0)
                return r;
        return rule_r_plan(s->rule, content, s->plan);
}

static inline void scene_run(struct scene *s, enum content content) {
        assert_int_equal(scene_plan(s, content), 0);
        assert_int_equal(plan_freeze(s->plan), 0);
}

static inline uint64_t scene_offset(const struct scene *s, uint64_t address) {
        uint64_t offset;

        assert_true(core_offset_of(s->b.head, address, &offset));
        return offset;
}

/* What would be written of `n` bytes of memory. */
static inline void scene_read(const struct scene *s, uint64_t address, void *buf, size_t n) {
        uint64_t offset = scene_offset(s, address);

        assert_int_equal(pread(s->b.fd, buf, n, (off_t)offset), n);
        plan_apply(s->plan, offset, buf, n);
}

static inline uint64_t scene_after(const struct scene *s, uint64_t address) {
        uint64_t word;

        scene_read(s, address, &word, sizeof(word));
        return word;
}

/* As emit does it, for the whole page of an address. */
static inline int scene_check(const struct scene *s, uint64_t address, uint64_t size) {
        _cleanup_free_ uint8_t *buf = malloc(size);

        assert_non_null(buf);
        scene_read(s, address, buf, size);
        return rule_r_check(s->rule, scene_offset(s, address), buf, size);
}

/* A signal frame whose sigcontext says that `rsp` was interrupted. */
static inline void scene_frame(struct scene *s, uint64_t address, uint64_t rsp, uint64_t rip) {
        scene_word(s, address, rsp);
        scene_word(s, address + 8, rip);
        scene_word(s, address + 16, 0x246);
        scene_word(s, address + 24, 0x002b000000000033ULL);
}
