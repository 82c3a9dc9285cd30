#include "sieve/rule_r.h"

#include <elf.h>
#include <endian.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "sieve/fill.h"
#include "sieve/initial_strings.h"
#include "sieve/link_map.h"
#include "sieve/range_set.h"
#include "sieve/registers.h"
#include "sieve/sieve.h"
#include "sieve/stacks.h"
#include "sieve/walk.h"

#define WORD 8U
#define WHOLE_WORD 0xffU /* all bytes of a word, one bit each */
#define LOW_HALF 0x0fU
#define HIGH_HALF 0xf0U

/* eu-stack takes build-id and tables of a module from its first page. */
#define MODULE_HEAD 4096U

struct rule_r {
        const struct core_head *head;
        const struct core_notes *notes;
        struct source *source;
        const struct plan *plan;    /* the one that was filled */
        struct range_set addresses; /* what counts as a pointer */
        struct range_set tids;
        struct range_set keep; /* addresses whose bytes stay whatever they hold */
        struct initial_strings strings;
        struct stacks stacks;
        uint8_t *tile; /* SIEVE_TILE bytes */
};

DEFINE_CLEANUP(rule_r, struct rule_r, rule_r_free)

/* An address sanitizer maps terabytes of which nothing is dumped: if they counted, one number in
 * two hundred of 52 bits would pass for a pointer. */
static int find_addresses(struct rule_r *rule) {
        for (size_t i = 0; i < rule->head->n_segments; i++) {
                const struct segment *s = &rule->head->segments[i];
                int r;

                if (s->type != PT_LOAD || (s->file_size == 0 && !(s->flags & PF_X)))
                        continue;
                r = range_set_add(&rule->addresses, s->address, s->memory_size);
                if (r < 0)
                        return r;
        }
        range_set_seal(&rule->addresses);
        return 0;
}

/* gdb finds threads by the id in struct pthread, on top of each stack: with fill in its place it
 * shows one thread too many. */
static int find_tids(struct rule_r *rule) {
        int r;

        for (size_t i = 0; i < rule->notes->n_threads; i++) {
                uint32_t tid = (uint32_t)rule->notes->threads[i].tid;

                r = range_set_add(&rule->tids, tid, tid ? 1 : 0);
                if (r < 0)
                        return r;
        }
        r = range_set_add(&rule->tids, (uint32_t)rule->notes->pid, rule->notes->pid ? 1 : 0);
        if (r < 0)
                return r;
        range_set_seal(&rule->tids);
        return 0;
}

static int make_tile(struct rule_r *rule) {
        rule->tile = malloc(SIEVE_TILE);
        return rule->tile ? 0 : -ENOMEM;
}

int rule_r_new(const struct core_head *head, const struct core_notes *notes, struct source *source,
               char *const *environment, struct needle_set *needles, uint16_t origin,
               struct rule_r **ret) {
        _cleanup_(cleanup_rule_r) struct rule_r *rule = calloc(1, sizeof(*rule));
        int r;

        if (!rule)
                return -ENOMEM;
        rule->head = head;
        rule->notes = notes;
        rule->source = source;
        r = make_tile(rule);
        if (r < 0)
                return r;
        r = find_addresses(rule);
        if (r < 0)
                return r;
        r = find_tids(rule);
        if (r < 0)
                return r;
        r = link_map_keep(notes, source, &rule->keep);
        if (r < 0)
                return r;
        r = initial_strings_find(head, notes, source, environment, needles, origin, &rule->keep,
                                 &rule->strings);
        if (r < 0)
                return r;
        range_set_seal(&rule->keep);
        *ret = TAKE_PTR(rule);
        return 0;
}

void rule_r_free(struct rule_r *rule) {
        if (!rule)
                return;
        range_set_done(&rule->addresses);
        range_set_done(&rule->tids);
        range_set_done(&rule->keep);
        initial_strings_done(&rule->strings);
        stacks_done(&rule->stacks);
        free(rule->tile);
        free(rule);
}

bool rule_r_unhunted(const struct rule_r *rule) {
        return rule->strings.unhunted;
}

/* Bytes of the word at `address` that stay because of where they are, one bit each. */
static uint8_t kept_bytes(const struct rule_r *rule, uint64_t address) {
        const struct range *next = range_set_next(&rule->keep, address);
        uint8_t kept = 0;

        if (!next || next->start >= address + WORD)
                return 0;
        for (unsigned i = 0; i < WORD; i++)
                if (range_set_has(&rule->keep, address + i))
                        kept |= (uint8_t)(1U << i);
        return kept;
}

/* The heart of the rule: bytes of a stack word that go, one bit each. Zeros always stay: filled,
 * gdb went from 43 to 3446 frames. */
static uint8_t erased_bytes(const struct rule_r *rule, uint64_t floor, uint64_t address,
                            uint64_t word) {
        uint8_t erased = WHOLE_WORD;

        if (word == 0)
                return 0;
        if (address >= floor) {
                if (range_set_has(&rule->addresses, word))
                        return 0;
                if (range_set_has(&rule->tids, (uint32_t)word))
                        erased &= (uint8_t)~LOW_HALF;
                if (range_set_has(&rule->tids, word >> 32))
                        erased &= (uint8_t)~HIGH_HALF;
        }
        return erased & (uint8_t)~kept_bytes(rule, address);
}

/* One stack on its way into the plan. */
struct planner {
        const struct rule_r *rule;
        struct plan *plan;
        const struct segment *segment;
        const struct stack *stack;
        uint64_t floor;
        uint64_t run_start, run_end; /* file offsets, not yet in the plan */
        size_t n_runs;
};

static int flush_run(struct planner *p) {
        uint64_t start = p->run_start, size = p->run_end - p->run_start;

        p->run_start = p->run_end = 0;
        if (size == 0)
                return 0;
        p->n_runs++;
        return plan_erase(p->plan, start, size, REASON_STACK);
}

static int extend_run(struct planner *p, uint64_t offset, uint64_t n) {
        if (p->run_end != offset) {
                int r = flush_run(p);

                if (r < 0)
                        return r;
                p->run_start = offset;
        }
        p->run_end = offset + n;
        return 0;
}

static int extend_bytes(struct planner *p, uint64_t offset, uint8_t erased, size_t first,
                        size_t last) {
        if (erased == WHOLE_WORD && first == 0 && last == WORD)
                return extend_run(p, offset, WORD);
        for (size_t i = first; i < last; i++)
                if (erased & (1U << i)) {
                        int r = extend_run(p, offset + i, 1);

                        if (r < 0)
                                return r;
                }
        return 0;
}

/* Word by word. A word cut by the edge of what is there (a hole reads as zeros) counts as what
 * is left of it. */
static int plan_words(struct planner *p, uint64_t offset, const uint8_t *buf, size_t n) {
        uint64_t at = offset / WORD * WORD, end = offset + n;

        for (; at < end; at += WORD) {
                size_t first = at < offset ? (size_t)(offset - at) : 0;
                size_t last = end - at < WORD ? (size_t)(end - at) : WORD;
                uint64_t word = 0, address = p->segment->address + (at - p->segment->offset);
                uint8_t erased;
                int r;

                memcpy((uint8_t *)&word + first, buf + (at + first - offset), last - first);
                erased = erased_bytes(p->rule, p->floor, address, le64toh(word));
                r = erased ? extend_bytes(p, at, erased, first, last) : 0;
                if (r < 0)
                        return r;
        }
        return 0;
}

/* Erases a part of a segment but for what stays because of where it is. */
static int plan_all(const struct rule_r *rule, struct plan *plan, const struct segment *segment,
                    uint64_t offset, uint64_t size, enum reason reason) {
        uint64_t at = segment->address + (offset - segment->offset), end = at + size;

        while (at < end) {
                const struct range *next = range_set_next(&rule->keep, at);
                uint64_t stop = next && next->start < end ? next->start : end;
                int r;

                if (stop > at) {
                        r = plan_erase(plan, segment->offset + (at - segment->address), stop - at,
                                       reason);
                        if (r < 0)
                                return r;
                }
                at = next && next->start < end ? next->end : end;
        }
        return 0;
}

/* A Go arena of gigabytes would be more runs than a plan can hold: once half of it is used,
 * what is far from every live stack pointer goes whole, zeros and pointers too. */
static int plan_tile(void *userdata, uint64_t offset, const uint8_t *buf, size_t n) {
        struct planner *p = userdata;
        uint64_t start = p->segment->address + (offset - p->segment->offset), end = start + n;
        uint64_t at = start;
        int r;

        if (p->stack->dedicated || p->n_runs < RULE_R_RUNS_MAX)
                return plan_words(p, offset, buf, n);
        r = flush_run(p);
        while (r == 0 && at < end) {
                const struct range *window = range_set_next(&p->rule->stacks.windows, at);
                bool inside = window && window->start <= at;
                uint64_t from = at - start, stop = end;

                if (inside && window->end < end)
                        stop = window->end;
                if (window && !inside && window->start < end)
                        stop = window->start;
                if (inside) {
                        r = plan_words(p, offset + from, buf + from, stop - at);
                        if (r == 0)
                                r = flush_run(p);
                } else {
                        r = plan_all(p->rule, p->plan, p->segment, offset + from, stop - at,
                                     REASON_STACK);
                }
                at = stop;
        }
        return r;
}

static int plan_stacks(struct rule_r *rule, struct plan *plan) {
        size_t n_runs = 0;

        for (size_t i = 0; i < rule->stacks.n; i++) {
                const struct stack *stack = &rule->stacks.stacks[i];
                const struct segment *s = &rule->head->segments[stack->segment];
                struct planner p = {
                        .rule = rule,
                        .plan = plan,
                        .segment = s,
                        .stack = stack,
                        .floor = stack_floor(stack),
                        .n_runs = n_runs,
                };
                int r;

                r = walk_memory(rule->source, plan, s->offset, s->offset + s->file_size, rule->tile,
                                plan_tile, &p);
                if (r == 0)
                        r = flush_run(&p);
                if (r < 0)
                        return r;
                n_runs = p.n_runs;
        }
        return 0;
}

static int plan_string(const struct rule_r *rule, struct plan *plan,
                       const struct initial_string *string) {
        uint64_t at = string->address, left = string->size;

        while (left > 0) {
                const struct segment *s = core_segment_at(rule->head, at);
                uint64_t n, offset;
                int r;

                if (!s || !core_offset_of(rule->head, at, &offset))
                        return 0; /* not in the core */
                n = s->file_size - (at - s->address);
                if (n > left)
                        n = left;
                r = plan_erase(plan, offset, n, string->reason);
                if (r < 0)
                        return r;
                at += n;
                left -= n;
        }
        return 0;
}

static int plan_strings(const struct rule_r *rule, struct plan *plan) {
        for (size_t i = 0; i < rule->strings.n; i++) {
                int r = plan_string(rule, plan, &rule->strings.erased[i]);

                if (r < 0)
                        return r;
        }
        return 0;
}

static int is_module(void *userdata, uint64_t offset, const uint8_t *buf, size_t n) {
        (void)userdata;
        (void)offset;
        return n >= SELFMAG && memcmp(buf, ELFMAG, SELFMAG) == 0;
}

/* The first page of every module, and the vdso. Memory that is writable and of no file may begin
 * like a module too, but is none: a program may have read one. */
static int keep_modules(struct rule_r *rule, const struct plan *plan) {
        const struct segment *vdso =
                core_segment_at(rule->head, core_auxv(rule->notes, AT_SYSINFO_EHDR));
        int r;

        for (size_t i = 0; i < rule->head->n_segments; i++) {
                const struct segment *s = &rule->head->segments[i];

                if (s->type != PT_LOAD || s->file_size < SELFMAG || stacks_of(&rule->stacks, i))
                        continue;
                if ((s->flags & PF_W) && !core_file_at(rule->notes, s->address))
                        continue;
                r = walk_memory(rule->source, plan, s->offset, s->offset + SELFMAG, rule->tile,
                                is_module, NULL);
                if (r > 0)
                        r = range_set_add(&rule->keep, s->address, MODULE_HEAD);
                if (r < 0)
                        return r;
        }
        if (vdso && !(vdso->flags & PF_W)) {
                r = range_set_add(&rule->keep, vdso->address, vdso->file_size);
                if (r < 0)
                        return r;
        }
        range_set_seal(&rule->keep);
        return 0;
}

struct level {
        const struct rule_r *rule;
        struct plan *plan;
        const struct segment *segment;
};

static int plan_level_part(void *userdata, uint64_t offset, uint64_t size) {
        const struct level *level = userdata;

        return plan_all(level->rule, level->plan, level->segment, offset, size, REASON_LEVEL);
}

static int plan_level(struct rule_r *rule, struct plan *plan) {
        int r;

        r = keep_modules(rule, plan);
        if (r < 0)
                return r;
        for (size_t i = 0; i < rule->head->n_segments; i++) {
                const struct segment *s = &rule->head->segments[i];
                struct level level = { .rule = rule, .plan = plan, .segment = s };

                if (s->type != PT_LOAD || s->file_size == 0 || stacks_of(&rule->stacks, i))
                        continue;
                r = walk_extents(plan, s->offset, s->offset + s->file_size, plan_level_part,
                                 &level);
                if (r < 0)
                        return r;
        }
        return 0;
}

int rule_r_plan(struct rule_r *rule, enum content content, struct plan *plan) {
        int r;

        if (content != CONTENT_REDACT && content != CONTENT_STACKS)
                return -EINVAL;
        rule->plan = plan;

        r = registers_plan(rule->head, rule->notes, &rule->addresses, plan);
        if (r < 0)
                return r;
        r = stacks_find(rule->head, rule->notes, rule->source, plan, rule->tile, &rule->stacks);
        if (r < 0)
                return r;
        if (content == CONTENT_STACKS) {
                r = plan_level(rule, plan);
                if (r < 0)
                        return r;
        }
        r = plan_stacks(rule, plan);
        if (r < 0)
                return r;
        return plan_strings(rule, plan);
}

/* Is a byte that should be gone anything but fill? */
static bool survives(uint64_t offset, const uint8_t *bytes, uint8_t erased) {
        for (size_t i = 0; i < WORD; i++)
                if ((erased & (1U << i)) &&
                    bytes[i] != (uint8_t)FILL_WORD[(offset + i) % FILL_SIZE])
                        return true;
        return false;
}

static int check_stack(const struct rule_r *rule, const struct stack *stack, uint64_t offset,
                       const uint8_t *buf, size_t n) {
        const struct segment *s = &rule->head->segments[stack->segment];
        uint64_t floor = stack_floor(stack), filled;

        memcpy(&filled, FILL_WORD, WORD);
        for (size_t at = (WORD - offset % WORD) % WORD; at < n && n - at >= WORD; at += WORD) {
                uint64_t word;
                uint8_t erased;

                memcpy(&word, buf + at, WORD);
                if (word == 0 || word == filled)
                        continue;
                erased = erased_bytes(rule, floor, s->address + (offset + at - s->offset),
                                      le64toh(word));
                /* A needle that ends inside a pointer leaves a word that is no pointer any more. */
                if (erased && survives(offset + at, buf + at, erased) &&
                    plan_is_kept(rule->plan, offset + at, WORD))
                        return -EBADMSG;
        }
        return 0;
}

int rule_r_check(const struct rule_r *rule, uint64_t offset, const uint8_t *buf, size_t n) {
        size_t low = 0, high = rule->stacks.n;

        /* By segment is by file offset: head.h checked it. */
        while (low < high) {
                size_t middle = low + (high - low) / 2;
                const struct segment *s =
                        &rule->head->segments[rule->stacks.stacks[middle].segment];

                if (s->offset + s->file_size > offset)
                        high = middle;
                else
                        low = middle + 1;
        }
        for (; low < rule->stacks.n; low++) {
                const struct stack *stack = &rule->stacks.stacks[low];
                const struct segment *s = &rule->head->segments[stack->segment];
                uint64_t from = offset > s->offset ? offset : s->offset;
                uint64_t to = s->offset + s->file_size;
                int r;

                if (s->offset >= offset + n)
                        break;
                if (to > offset + n)
                        to = offset + n;
                r = check_stack(rule, stack, from, buf + (from - offset), to - from);
                if (r < 0)
                        return r;
        }
        return 0;
}
