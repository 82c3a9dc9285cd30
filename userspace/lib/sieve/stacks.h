/* stacks: which segments of a core hold a stack, and how deep each is in use.
 *
 * The writable segment of every thread's stack pointer and that of the initial stack; then those
 * that signal frames on them interrupted, which are found by looking, and again from there. A
 * thread whose stack pointer points nowhere gives the segments of its frame pointer and of its
 * thread block instead: somewhere there its stack must be.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/head.h"
#include "core/note.h"
#include "sieve/plan.h"
#include "sieve/range_set.h"
#include "sieve/source.h"

#define SIGNAL_FRAMES_MAX (1U << 20) /* followed; a core with more is -E2BIG */

/* Below its stack pointer a function may use this many bytes (System V ABI, red zone). */
#define RED_ZONE 128U

/* How much of a stack in shared memory (a Go arena, a heap) is treated word by word in any case:
 * deeper backtraces than this hit every debugger's own limit. */
#define STACK_WINDOW (1U << 20)

struct stack {
        uint32_t segment; /* index into head->segments */
        bool has_pointer; /* false: nobody is known to run on it */
        bool dedicated;   /* holds nothing but a stack: below its pointer all is dead */
        uint64_t pointer; /* lowest live one, an address */
};

struct stacks {
        struct stack *stacks; /* by segment index once found, which is by file offset */
        size_t n, room;
        uint32_t *of_segment;     /* 1 + index into `stacks`, 0: no stack */
        struct range_set windows; /* around every live pointer */
};

/* `buf` has room for SIEVE_TILE bytes. 0, -E2BIG, -ENOMEM, or an error of reading. */
int stacks_find(const struct core_head *head, const struct core_notes *notes, struct source *source,
                const struct plan *plan, uint8_t *buf, struct stacks *ret);
void stacks_done(struct stacks *stacks);

/* The stack of a segment, or NULL. */
const struct stack *stacks_of(const struct stacks *stacks, size_t segment);

/* The address below which everything but zeros goes; 0 when nothing is known to be dead. */
uint64_t stack_floor(const struct stack *stack);
