/* plan: what becomes of every byte of one core.
 *
 * A plan starts from the head and from what the source says is there (extents), grows while
 * learning, and is frozen before emitting: emit walks it in file order and decides nothing. A
 * byte of memory in no extent is a hole and reads as zero: pages never touched are not read.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/head.h"
#include "sieve/reason.h"

#define PLAN_EXTENTS_MAX (1U << 22)
#define PLAN_ERASURES_MAX (1U << 22) /* before merging; over it -E2BIG */

struct extent { /* file offsets, inside PT_LOADs, rising, not touching */
        uint64_t offset, size;
};

struct erasure { /* file offsets; after freezing rising and disjoint */
        uint64_t offset, size;
        enum reason reason;
};

struct plan; /* opaque */

/* `head` must outlive the plan. */
int plan_new(const struct core_head *head, struct plan **ret);
void plan_free(struct plan *plan);

/* Adds memory that is there and must be read. In rising order. */
int plan_add_extent(struct plan *plan, uint64_t offset, uint64_t size);
const struct extent *plan_extents(const struct plan *plan, size_t *ret_n);

/* Before freezing. Erasures may overlap and come in any order. 0, -E2BIG, -ENOMEM; -EROFS once
 * frozen; -ERANGE outside of head and extents (a hole needs no erasing: it holds nothing, so a
 * range over holes is cut to the extents, but one past the file's end is a bug). */
int plan_erase(struct plan *plan, uint64_t offset, uint64_t size, enum reason reason);

/* A range that needles must not touch: NT_FILE's path strings, without which no debugger finds
 * a module. Erasures of REASON_NEEDLE and REASON_DETECTED are cut around it when freezing. */
int plan_spare(struct plan *plan, uint64_t offset, uint64_t size);
bool plan_is_spared(const struct plan *plan, uint64_t offset, uint64_t size);

int plan_freeze(struct plan *plan); /* sorts, merges, cuts around spared ranges */
const struct erasure *plan_erasures(const struct plan *plan, size_t *ret_n); /* frozen only */
void plan_erased_bytes(const struct plan *plan, uint64_t ret[_REASON_MAX]);  /* frozen only */

/* Overlays the fill on `n` bytes that stand at `offset`. Frozen only. */
void plan_apply(const struct plan *plan, uint64_t offset, uint8_t *buf, size_t n);
