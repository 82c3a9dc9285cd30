#include "sieve/range_set.h"

#include <stdlib.h>

#include "base/array.h"

int range_set_add(struct range_set *set, uint64_t start, uint64_t size) {
        int r;

        if (size == 0)
                return 0;
        r = array_grow(&set->ranges, &set->room, set->n, RANGES_MAX, sizeof(*set->ranges));
        if (r < 0)
                return r;
        set->ranges[set->n++] = (struct range){
                .start = start,
                .end = size > UINT64_MAX - start ? UINT64_MAX : start + size,
        };
        return 0;
}

static int compare_start(const void *a, const void *b) {
        const struct range *x = a, *y = b;

        return x->start < y->start ? -1 : x->start > y->start;
}

void range_set_seal(struct range_set *set) {
        size_t n = 0;

        if (set->n == 0)
                return;
        qsort(set->ranges, set->n, sizeof(*set->ranges), compare_start);
        for (size_t i = 1; i < set->n; i++) {
                struct range *last = &set->ranges[n];

                if (set->ranges[i].start > last->end)
                        set->ranges[++n] = set->ranges[i];
                else if (set->ranges[i].end > last->end)
                        last->end = set->ranges[i].end;
        }
        set->n = n + 1;
}

void range_set_done(struct range_set *set) {
        free(set->ranges);
        *set = (struct range_set){ 0 };
}

const struct range *range_set_next(const struct range_set *set, uint64_t number) {
        size_t low = 0, high = set->n;

        while (low < high) {
                size_t middle = low + (high - low) / 2;

                if (set->ranges[middle].end > number)
                        high = middle;
                else
                        low = middle + 1;
        }
        return low < set->n ? &set->ranges[low] : NULL;
}

bool range_set_has(const struct range_set *set, uint64_t number) {
        const struct range *next;

        /* Nearly every word of a stack that is no pointer is outside of all. */
        if (set->n == 0 || number < set->ranges[0].start || number >= set->ranges[set->n - 1].end)
                return false;
        next = range_set_next(set, number);
        return next && number >= next->start;
}
