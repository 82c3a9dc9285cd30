/* range_set: a set of 64-bit numbers as sorted, disjoint ranges: addresses that count as
 * pointers, bytes that stay, thread ids.
 *
 * Grow it with range_set_add() in any order, then range_set_seal() before asking.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RANGES_MAX (1U << 22) /* before sealing; over it -E2BIG */

struct range {
        uint64_t start, end; /* end not included */
};

struct range_set {
        struct range *ranges;
        size_t n, room;
};

/* Adds [start, start + size), cut at the end of numbers. 0, -E2BIG or -ENOMEM. */
int range_set_add(struct range_set *set, uint64_t start, uint64_t size);
void range_set_seal(struct range_set *set); /* sorts and merges; may be called again */
void range_set_done(struct range_set *set);

bool range_set_has(const struct range_set *set, uint64_t number);

/* The first range that ends behind `number`: it holds the number or begins later. NULL: none. */
const struct range *range_set_next(const struct range_set *set, uint64_t number);
