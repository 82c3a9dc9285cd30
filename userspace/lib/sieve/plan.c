#include "sieve/plan.h"

#include <assert.h>
#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "sieve/fill.h"
#include "sieve/plan_freeze.h"

/* Room for the first few extents and erasures; doubled as needed. */

struct plan {
        const struct core_head *head;
        bool frozen;
        struct extent *extents;
        size_t n_extents, extents_room;
        struct erasure *erasures; /* raw until frozen */
        size_t n_erasures, erasures_room;
        struct extent spares[PLAN_SPARES_MAX]; /* rising, disjoint */
        size_t n_spares;
};

DEFINE_CLEANUP(plan, struct plan, plan_free)

static bool in_file(const struct plan *plan, uint64_t offset, uint64_t size) {
        return offset <= plan->head->end && size <= plan->head->end - offset;
}

static int spare_headers(struct plan *plan) {
        Elf64_Ehdr ehdr;
        int r;

        if (plan->head->size < sizeof(ehdr))
                return -EINVAL;
        memcpy(&ehdr, plan->head->bytes, sizeof(ehdr));
        r = plan_spare(plan, 0, sizeof(ehdr));
        if (r < 0)
                return r;
        return plan_spare(plan, ehdr.e_phoff, plan->head->n_segments * sizeof(Elf64_Phdr));
}

int plan_new(const struct core_head *head, struct plan **ret) {
        _cleanup_(cleanup_plan) struct plan *plan = calloc(1, sizeof(*plan));
        int r;

        if (!plan)
                return -ENOMEM;
        plan->head = head;
        r = spare_headers(plan);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(plan);
        return 0;
}

void plan_free(struct plan *plan) {
        if (!plan)
                return;
        free(plan->extents);
        free(plan->erasures);
        free(plan);
}

int plan_add_extent(struct plan *plan, uint64_t offset, uint64_t size) {
        struct extent *last = plan->n_extents > 0 ? &plan->extents[plan->n_extents - 1] : NULL;
        int r;

        if (plan->frozen)
                return -EROFS;
        if (size == 0)
                return 0;
        if (offset < plan->head->size || !in_file(plan, offset, size))
                return -ERANGE;
        if (last && offset < last->offset + last->size)
                return -ERANGE;
        if (last && offset == last->offset + last->size) {
                last->size += size;
                return 0;
        }
        r = array_grow(&plan->extents, &plan->extents_room, plan->n_extents, PLAN_EXTENTS_MAX,
                       sizeof(*plan->extents));
        if (r < 0)
                return r;
        assert(plan->extents);
        plan->extents[plan->n_extents++] = (struct extent){ .offset = offset, .size = size };
        return 0;
}

const struct extent *plan_extents(const struct plan *plan, size_t *ret_n) {
        *ret_n = plan->n_extents;
        return plan->extents;
}

/* Hits and stack words come rising and side by side: joined at once, they cost one entry. */
static bool join_last(struct plan *plan, uint64_t offset, uint64_t size, enum reason reason) {
        struct erasure *last;
        uint64_t end;

        if (plan->n_erasures == 0)
                return false;
        last = &plan->erasures[plan->n_erasures - 1];
        end = last->offset + last->size;
        if (last->reason != reason || offset < last->offset || offset > end)
                return false;
        if (offset + size > end)
                last->size = offset + size - last->offset;
        return true;
}

int plan_erase(struct plan *plan, uint64_t offset, uint64_t size, enum reason reason) {
        int r;

        if (plan->frozen)
                return -EROFS;
        if (!in_file(plan, offset, size) || reason < REASON_NEEDLE || reason >= _REASON_MAX)
                return -ERANGE;
        if (size == 0 || join_last(plan, offset, size, reason))
                return 0;
        r = array_grow(&plan->erasures, &plan->erasures_room, plan->n_erasures, PLAN_ERASURES_MAX,
                       sizeof(*plan->erasures));
        if (r < 0)
                return r;
        plan->erasures[plan->n_erasures++] =
                (struct erasure){ .offset = offset, .size = size, .reason = reason };
        return 0;
}

/* Keeps the few spared ranges rising and disjoint. */
int plan_spare(struct plan *plan, uint64_t offset, uint64_t size) {
        uint64_t end = offset + size;
        size_t i = 0, j;

        if (plan->frozen)
                return -EROFS;
        if (!in_file(plan, offset, size))
                return -ERANGE;
        if (size == 0)
                return 0;
        while (i < plan->n_spares && plan->spares[i].offset + plan->spares[i].size < offset)
                i++;
        for (j = i; j < plan->n_spares && plan->spares[j].offset <= end; j++) {
                uint64_t other_end = plan->spares[j].offset + plan->spares[j].size;

                if (plan->spares[j].offset < offset)
                        offset = plan->spares[j].offset;
                if (other_end > end)
                        end = other_end;
        }
        if (i == j && plan->n_spares == PLAN_SPARES_MAX)
                return -E2BIG;
        memmove(&plan->spares[i + 1], &plan->spares[j],
                (plan->n_spares - j) * sizeof(plan->spares[0]));
        plan->spares[i] = (struct extent){ .offset = offset, .size = end - offset };
        plan->n_spares = plan->n_spares - j + i + 1;
        return 0;
}

bool plan_is_spared(const struct plan *plan, uint64_t offset, uint64_t size) {
        for (size_t i = 0; i < plan->n_spares; i++) {
                const struct extent *s = &plan->spares[i];

                if (offset >= s->offset && offset - s->offset < s->size &&
                    size <= s->size - (offset - s->offset))
                        return true;
        }
        return false;
}

int plan_freeze(struct plan *plan) {
        struct freeze freeze = {
                .head_size = plan->head->size,
                .extents = plan->extents,
                .n_extents = plan->n_extents,
                .spares = plan->spares,
                .n_spares = plan->n_spares,
        };
        struct erasure *ranges;
        size_t n;
        int r;

        if (plan->frozen)
                return -EROFS;
        r = freeze_erasures(&freeze, plan->erasures, plan->n_erasures, &ranges, &n);
        if (r < 0)
                return r;
        free(plan->erasures);
        plan->erasures = ranges;
        plan->n_erasures = n;
        plan->frozen = true;
        return 0;
}

const struct erasure *plan_erasures(const struct plan *plan, size_t *ret_n) {
        *ret_n = plan->n_erasures;
        return plan->erasures;
}

void plan_erased_bytes(const struct plan *plan, uint64_t ret[_REASON_MAX]) {
        memset(ret, 0, _REASON_MAX * sizeof(ret[0]));
        for (size_t i = 0; i < plan->n_erasures; i++)
                ret[plan->erasures[i].reason] += plan->erasures[i].size;
}

/* Index of the first erasure that ends behind `offset`. */
static size_t find_erasure(const struct plan *plan, uint64_t offset) {
        size_t low = 0, high = plan->n_erasures;

        while (low < high) {
                size_t middle = low + (high - low) / 2;
                const struct erasure *e = &plan->erasures[middle];

                if (e->offset + e->size <= offset)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

static bool in_hole(const struct plan *plan, uint64_t offset, uint64_t end) {
        size_t low = 0, high = plan->n_extents;

        if (offset < plan->head->size)
                return false;
        while (low < high) {
                size_t middle = low + (high - low) / 2;
                const struct extent *e = &plan->extents[middle];

                if (e->offset + e->size <= offset)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low == plan->n_extents || plan->extents[low].offset >= end;
}

bool plan_is_erased(const struct plan *plan, uint64_t offset, uint64_t size) {
        uint64_t end = offset + size;

        for (size_t i = find_erasure(plan, offset); offset < end; i++) {
                uint64_t next = end;

                if (i < plan->n_erasures && plan->erasures[i].offset < end)
                        next = plan->erasures[i].offset;
                if (next > offset && !plan_is_spared(plan, offset, next - offset) &&
                    !in_hole(plan, offset, next))
                        return false;
                if (next == end)
                        return true;
                offset = next > offset ? next : offset;
                if (plan->erasures[i].offset + plan->erasures[i].size > offset)
                        offset = plan->erasures[i].offset + plan->erasures[i].size;
        }
        return true;
}

bool plan_is_kept(const struct plan *plan, uint64_t offset, uint64_t size) {
        size_t i = find_erasure(plan, offset);

        return i == plan->n_erasures || plan->erasures[i].offset >= offset + size;
}

void plan_apply(const struct plan *plan, uint64_t offset, uint8_t *buf, size_t n) {
        uint64_t end = offset + n;

        for (size_t i = find_erasure(plan, offset); i < plan->n_erasures; i++) {
                const struct erasure *e = &plan->erasures[i];
                uint64_t from = e->offset > offset ? e->offset : offset;
                uint64_t to = e->offset + e->size < end ? e->offset + e->size : end;

                if (from >= end)
                        return;
                fill(buf + (from - offset), to - from, from);
        }
}
