#include "sieve/plan_freeze.h"

#include <errno.h>
#include <stdlib.h>

#include "base/array.h"
#include "base/cleanup.h"

struct list { /* rising, disjoint */
        struct erasure *items;
        size_t n, room;
};

static inline void cleanup_list(struct list *list) {
        free(list->items);
}
#define _cleanup_list_ _cleanup_(cleanup_list)

static uint64_t end_of(const struct erasure *e) {
        return e->offset + e->size;
}

/* Adds [offset, end) behind all others. Touching ranges of one reason become one. */
static int list_add(struct list *list, uint64_t offset, uint64_t end, enum reason reason) {
        struct erasure *last = list->n > 0 ? &list->items[list->n - 1] : NULL;
        int r;

        if (offset >= end)
                return 0;
        if (last && last->reason == reason && end_of(last) == offset) {
                last->size = end - last->offset;
                return 0;
        }
        r = array_grow(&list->items, &list->room, list->n, PLAN_RANGES_MAX, sizeof(*list->items));
        if (r < 0)
                return r;
        list->items[list->n++] =
                (struct erasure){ .offset = offset, .size = end - offset, .reason = reason };
        return 0;
}

static int compare_erasures(const void *a, const void *b) {
        const struct erasure *x = a, *y = b;

        if (x->reason != y->reason)
                return x->reason < y->reason ? -1 : 1;
        return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* Merges the sorted erasures of one reason in place and returns how many are left. */
static size_t merge(struct erasure *items, size_t n) {
        size_t kept = 0;

        for (size_t i = 1; i < n; i++) {
                struct erasure *last = &items[kept];

                if (items[i].offset > end_of(last))
                        items[++kept] = items[i];
                else if (end_of(&items[i]) > end_of(last))
                        last->size = end_of(&items[i]) - last->offset;
        }
        return n > 0 ? kept + 1 : 0;
}

/* What of `from` lies in head and extents. */
static int cut_to_present(const struct freeze *freeze, const struct erasure *from, size_t n,
                          struct list *ret) {
        size_t j = 0;
        int r;

        for (size_t i = 0; i < n; i++) {
                uint64_t offset = from[i].offset, end = end_of(&from[i]);

                if (offset < freeze->head_size) {
                        r = list_add(ret, offset, end < freeze->head_size ? end : freeze->head_size,
                                     from[i].reason);
                        if (r < 0)
                                return r;
                }
                while (j < freeze->n_extents &&
                       freeze->extents[j].offset + freeze->extents[j].size <= offset)
                        j++;
                /* The last extent looked at may reach into the next erasure too: `j` stays. */
                for (size_t k = j; k < freeze->n_extents && freeze->extents[k].offset < end; k++) {
                        uint64_t from_here = freeze->extents[k].offset;
                        uint64_t to_here = from_here + freeze->extents[k].size;

                        r = list_add(ret, from_here > offset ? from_here : offset,
                                     to_here < end ? to_here : end, from[i].reason);
                        if (r < 0)
                                return r;
                        j = k;
                }
        }
        return 0;
}

static int cut_around(const struct extent *spares, size_t n, const struct list *from,
                      struct list *ret) {
        for (size_t i = 0; i < from->n; i++) {
                uint64_t offset = from->items[i].offset, end = end_of(&from->items[i]);
                int r;

                for (size_t j = 0; j < n && offset < end; j++) {
                        uint64_t spare_end = spares[j].offset + spares[j].size;

                        if (spare_end <= offset || spares[j].offset >= end)
                                continue;
                        r = list_add(ret, offset, spares[j].offset, from->items[i].reason);
                        if (r < 0)
                                return r;
                        offset = spare_end;
                }
                r = list_add(ret, offset, end, from->items[i].reason);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* All of `upper`, and of `lower` what no range of `upper` covers. */
static int overlay(const struct list *upper, const struct list *lower, struct list *ret) {
        uint64_t covered = 0; /* end of the last range of `upper` that was added */
        size_t i = 0;
        int r;

        for (size_t j = 0; j < lower->n; j++) {
                uint64_t offset = lower->items[j].offset, end = end_of(&lower->items[j]);

                while (offset < end) {
                        const struct erasure *u = i < upper->n ? &upper->items[i] : NULL;
                        uint64_t stop = u && u->offset < end ? u->offset : end;

                        if (offset < covered)
                                offset = covered;
                        if (u && u->offset <= offset) {
                                r = list_add(ret, u->offset, end_of(u), u->reason);
                                covered = end_of(u);
                                i++;
                        } else {
                                r = list_add(ret, offset, stop, lower->items[j].reason);
                                offset = stop > offset ? stop : offset;
                        }
                        if (r < 0)
                                return r;
                }
        }
        for (; i < upper->n; i++) {
                r = list_add(ret, upper->items[i].offset, end_of(&upper->items[i]),
                             upper->items[i].reason);
                if (r < 0)
                        return r;
        }
        return 0;
}

static void list_move(struct list *to, struct list *from) {
        free(to->items);
        *to = *from;
        *from = (struct list){ 0 };
}

/* Lays the erasures of one reason under what stands already. */
static int add_reason(const struct freeze *freeze, const struct erasure *items, size_t n,
                      struct list *standing) {
        _cleanup_list_ struct list present = { 0 }, cut = { 0 }, both = { 0 };
        int r;

        r = cut_to_present(freeze, items, n, &present);
        if (r < 0)
                return r;
        if (items[0].reason == REASON_NEEDLE || items[0].reason == REASON_DETECTED) {
                r = cut_around(freeze->spares, freeze->n_spares, &present, &cut);
                if (r < 0)
                        return r;
                list_move(&present, &cut);
        }
        r = overlay(standing, &present, &both);
        if (r < 0)
                return r;
        list_move(standing, &both);
        return 0;
}

int freeze_erasures(const struct freeze *freeze, struct erasure *erasures, size_t n,
                    struct erasure **ret, size_t *ret_n) {
        _cleanup_list_ struct list standing = { 0 };
        int r;

        if (n > 0)
                qsort(erasures, n, sizeof(*erasures), compare_erasures);
        for (size_t i = 0, end; i < n; i = end) {
                for (end = i + 1; end < n && erasures[end].reason == erasures[i].reason; end++)
                        ;
                r = add_reason(freeze, erasures + i, merge(erasures + i, end - i), &standing);
                if (r < 0)
                        return r;
        }
        *ret = TAKE_PTR(standing.items);
        *ret_n = standing.n;
        return 0;
}
