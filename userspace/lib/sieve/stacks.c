#include "sieve/stacks.h"

#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "sieve/walk.h"

#define WORD 8U

/* x86-64 signal frames (struct sigcontext): …, rsp, rip, eflags, {cs, gs, fs, ss}. In user mode
 * cs is 0x33 and ss 0x2b; gs and fs differ from 0 in no program of today, but are not looked at. */
#define FRAME_SELECTORS_MASK 0xffff00000000ffffULL
#define FRAME_SELECTORS 0x002b000000000033ULL
#define FRAME_WORDS 4U /* from rsp to the selectors */

struct task { /* a part of a stack that must be searched for signal frames */
        uint64_t start, end;
};

struct finder {
        const struct core_head *head;
        struct stacks *found;
        struct task *tasks;
        size_t n_tasks, tasks_room;
        size_t n_frames;
        uint64_t words[FRAME_WORDS]; /* the last ones seen, oldest first */
        uint64_t next;               /* file offset at which they end */
};

static uint32_t segment_index(const struct core_head *head, const struct segment *s) {
        return (uint32_t)(s - head->segments);
}

static const struct segment *stack_segment_at(const struct core_head *head, uint64_t address) {
        const struct segment *s = core_segment_at(head, address);

        return s && s->file_size > 0 && (s->flags & PF_W) ? s : NULL;
}

/* The stack that a segment holds, made when it is new. */
static int take_stack(struct finder *f, const struct segment *s, struct stack **ret) {
        uint32_t index = segment_index(f->head, s);
        struct stacks *found = f->found;
        int r;

        if (found->of_segment[index] == 0) {
                r = array_grow(&found->stacks, &found->room, found->n, f->head->n_segments,
                               sizeof(*found->stacks));
                if (r < 0)
                        return r;
                found->stacks[found->n] = (struct stack){ .segment = index };
                found->of_segment[index] = (uint32_t)++found->n;
        }
        *ret = &found->stacks[found->of_segment[index] - 1];
        return 0;
}

/* Notes a live stack pointer, and what of its stack nobody has searched yet. */
static int add_pointer(struct finder *f, const struct segment *s, uint64_t pointer) {
        uint64_t start = pointer - s->address > RED_ZONE ? pointer - RED_ZONE : s->address;
        uint64_t size = STACK_WINDOW + RED_ZONE;
        struct stack *stack;
        uint64_t end;
        int r;

        r = range_set_add(&f->found->windows, start, size);
        if (r < 0)
                return r;
        r = take_stack(f, s, &stack);
        if (r < 0)
                return r;
        if (stack->has_pointer && stack->pointer <= pointer)
                return 0;

        /* The last search began a red zone below its pointer: a frame across that border is seen
         * whole by this one. */
        end = stack->has_pointer ? stack->pointer : s->address + s->file_size;
        stack->has_pointer = true;
        stack->pointer = pointer;
        r = array_grow(&f->tasks, &f->tasks_room, f->n_tasks, SIZE_MAX, sizeof(*f->tasks));
        if (r < 0)
                return r;
        f->tasks[f->n_tasks++] = (struct task){ .start = start / WORD * WORD, .end = end };
        return 0;
}

static int look_at_word(struct finder *f) {
        const uint64_t *w = f->words;
        const struct segment *s;

        if ((w[3] & FRAME_SELECTORS_MASK) != FRAME_SELECTORS)
                return 0;
        if (w[0] == 0 || !core_segment_at(f->head, w[1]))
                return 0;
        s = stack_segment_at(f->head, w[0]);
        if (!s)
                return 0;
        if (++f->n_frames > SIGNAL_FRAMES_MAX)
                return -E2BIG;
        return add_pointer(f, s, w[0]);
}

static int look_at_tile(void *userdata, uint64_t offset, const uint8_t *buf, size_t n) {
        struct finder *f = userdata;
        size_t skip = (WORD - offset % WORD) % WORD;
        int r;

        if (offset != f->next || skip > 0)
                memset(f->words, 0, sizeof(f->words));
        for (size_t at = skip; at < n && n - at >= WORD; at += WORD) {
                memmove(f->words, f->words + 1, sizeof(f->words) - WORD);
                memcpy(&f->words[FRAME_WORDS - 1], buf + at, WORD);
                r = look_at_word(f);
                if (r < 0)
                        return r;
        }
        f->next = offset + n;
        return 0;
}

static int search_frames(struct finder *f, struct source *source, const struct plan *plan,
                         uint8_t *buf) {
        while (f->n_tasks > 0) {
                struct task task = f->tasks[--f->n_tasks];
                const struct segment *s = core_segment_at(f->head, task.start);
                uint64_t limit = s->address + s->file_size;
                int r;

                if (task.end > limit)
                        task.end = limit;
                if (task.start >= task.end)
                        continue;
                f->next = UINT64_MAX;
                r = walk_memory(source, plan, s->offset + (task.start - s->address),
                                s->offset + (task.end - s->address), buf, look_at_tile, f);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int add_threads(struct finder *f, const struct core_notes *notes) {
        for (size_t i = 0; i < notes->n_threads; i++) {
                const struct user_regs_struct *regs = &notes->threads[i].regs;
                const struct segment *s = stack_segment_at(f->head, regs->rsp);
                const uint64_t others[] = { regs->rbp, regs->fs_base };
                uint64_t pointer = regs->rsp;
                struct stack *stack;
                int r;

                if (!s) {
                        /* An empty stack's pointer stands just behind its segment. */
                        s = stack_segment_at(f->head, --pointer);
                }
                if (s) {
                        r = add_pointer(f, s, pointer);
                        if (r < 0)
                                return r;
                        continue;
                }
                for (size_t k = 0; k < sizeof(others) / sizeof(others[0]); k++) {
                        s = stack_segment_at(f->head, others[k]);
                        r = s ? take_stack(f, s, &stack) : 0;
                        if (r < 0)
                                return r;
                }
        }
        return 0;
}

static const struct segment *initial_segment(const struct core_head *head,
                                             const struct core_notes *notes) {
        uint64_t at = core_auxv(notes, AT_RANDOM);

        if (at == 0)
                at = core_auxv(notes, AT_EXECFN);
        return at ? stack_segment_at(head, at) : NULL;
}

static int compare_segment(const void *a, const void *b) {
        const struct stack *x = a, *y = b;

        return x->segment < y->segment ? -1 : x->segment > y->segment;
}

/* A malloc'ed link_map below a stack pointer broke lldb: only where nothing else can live is
 * dead memory known to be dead. */
static void settle(struct stacks *found, const struct core_head *head,
                   const struct segment *initial) {
        if (found->n > 0)
                qsort(found->stacks, found->n, sizeof(*found->stacks), compare_segment);
        for (size_t i = 0; i < found->n; i++) {
                struct stack *stack = &found->stacks[i];
                const struct segment *s = &head->segments[stack->segment];
                const struct segment *below = core_segment_at(head, s->address - 1);

                found->of_segment[stack->segment] = (uint32_t)i + 1;
                stack->dedicated =
                        s == initial || (below && (below->flags & (PF_R | PF_W | PF_X)) == 0);
        }
        range_set_seal(&found->windows);
}

int stacks_find(const struct core_head *head, const struct core_notes *notes, struct source *source,
                const struct plan *plan, uint8_t *buf, struct stacks *ret) {
        struct stacks found = { 0 };
        struct finder f = { .head = head, .found = &found };
        const struct segment *initial = initial_segment(head, notes);
        struct stack *stack;
        int r;

        found.of_segment = calloc(head->n_segments, sizeof(*found.of_segment));
        if (!found.of_segment)
                return -ENOMEM;

        r = add_threads(&f, notes);
        if (r == 0)
                r = search_frames(&f, source, plan, buf);
        if (r == 0 && initial)
                r = take_stack(&f, initial, &stack);
        free(f.tasks);
        if (r < 0) {
                stacks_done(&found);
                return r;
        }
        settle(&found, head, initial);
        *ret = found;
        return 0;
}

void stacks_done(struct stacks *stacks) {
        free(stacks->stacks);
        free(stacks->of_segment);
        range_set_done(&stacks->windows);
        *stacks = (struct stacks){ 0 };
}

const struct stack *stacks_of(const struct stacks *stacks, size_t segment) {
        uint32_t index = stacks->of_segment ? stacks->of_segment[segment] : 0;

        return index ? &stacks->stacks[index - 1] : NULL;
}

uint64_t stack_floor(const struct stack *stack) {
        if (!stack->dedicated || !stack->has_pointer || stack->pointer < RED_ZONE)
                return 0;
        return (stack->pointer - RED_ZONE) / WORD * WORD;
}
