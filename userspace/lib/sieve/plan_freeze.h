/* plan_freeze: from erasures in any order to ranges that rise and never overlap.
 *
 * Private to plan.c. One list per reason, strictest first: each is merged, cut to what is in the
 * core, cut around the spared ranges if it came from a search, and laid under what stands.
 */
#pragma once

#include <stddef.h>

#include "sieve/plan.h"

struct freeze {
        uint64_t head_size;           /* bytes of head, all of them there */
        const struct extent *extents; /* memory that is there */
        size_t n_extents;
        const struct extent *spares;
        size_t n_spares;
};

/* Reorders `erasures`. *ret is the caller's to free; NULL when nothing is left. 0, -E2BIG over
 * PLAN_RANGES_MAX, -ENOMEM. */
int freeze_erasures(const struct freeze *freeze, struct erasure *erasures, size_t n,
                    struct erasure **ret, size_t *ret_n);
