/* walk: the memory of a part of a core, a tile at a time.
 *
 * Only what the plan's extents name is read: a segment of 64 GiB with ten touched pages costs
 * ten pages, and no segment is ever held whole.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "sieve/plan.h"
#include "sieve/source.h"

/* Called with bytes that stand at file offset `offset`, in rising order; never across a hole
 * and at most SIEVE_TILE at once. Non-zero stops the walk and is returned. */
typedef int (*walk_tile)(void *userdata, uint64_t offset, const uint8_t *buf, size_t n);

/* Walks [start, end) of the file; `buf` has room for SIEVE_TILE bytes. */
int walk_memory(struct source *source, const struct plan *plan, uint64_t start, uint64_t end,
                uint8_t *buf, walk_tile tile, void *userdata);

/* Calls with each part of [start, end) that is in an extent; reads nothing. */
typedef int (*walk_part)(void *userdata, uint64_t offset, uint64_t size);
int walk_extents(const struct plan *plan, uint64_t start, uint64_t end, walk_part part,
                 void *userdata);
