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
#define PLAN_ERASURES_MAX (1U << 22) /* before freezing, neighbours joined; over it -E2BIG */
#define PLAN_RANGES_MAX (1U << 23)   /* after freezing: an erasure over many extents is many */
#define PLAN_SPARES_MAX 512U         /* spared ranges, the plan's own included */

struct extent { /* file offsets, inside PT_LOADs, rising, not touching */
        uint64_t offset, size;
};

struct erasure { /* file offsets; after freezing rising and disjoint */
        uint64_t offset, size;
        enum reason reason;
};

struct plan; /* opaque */

/* `head` must outlive the plan. The ELF header and the program headers are spared from the
 * start: they hold the kernel's numbers, and a file of many zeros makes needles like them. */
int plan_new(const struct core_head *head, struct plan **ret);
void plan_free(struct plan *plan);

/* Adds memory that is there and must be read. In rising order; extents that touch become one. 0,
 * -E2BIG, -ENOMEM; -EROFS once frozen; -ERANGE outside of the memory or not rising. */
int plan_add_extent(struct plan *plan, uint64_t offset, uint64_t size);
const struct extent *plan_extents(const struct plan *plan, size_t *ret_n);

/* Before freezing. Erasures may overlap and come in any order. 0, -E2BIG, -ENOMEM; -EROFS once
 * frozen; -ERANGE past the file's end. A hole needs no erasing, since it holds nothing: freezing
 * cuts every range to head and extents. */
int plan_erase(struct plan *plan, uint64_t offset, uint64_t size, enum reason reason);

/* A range that needles must not touch: NT_FILE's names of modules, without which no debugger finds
 * a module. Erasures of REASON_NEEDLE and REASON_DETECTED are cut around it when freezing. 0,
 * -E2BIG, -EROFS, -ERANGE as above. */
int plan_spare(struct plan *plan, uint64_t offset, uint64_t size);
bool plan_is_spared(const struct plan *plan, uint64_t offset, uint64_t size); /* all of it */

int plan_freeze(struct plan *plan); /* sorts, merges, cuts around spared ranges */
const struct erasure *plan_erasures(const struct plan *plan, size_t *ret_n); /* frozen only */
void plan_erased_bytes(const struct plan *plan, uint64_t ret[_REASON_MAX]);  /* frozen only */

/* Is every byte of a range erased, or nothing to erase (spared, or in a hole)? Frozen only. */
bool plan_is_erased(const struct plan *plan, uint64_t offset, uint64_t size);

/* Is no byte of a range erased? Frozen only. */
bool plan_is_kept(const struct plan *plan, uint64_t offset, uint64_t size);

/* Overlays the fill on `n` bytes that stand at `offset`. Frozen only. */
void plan_apply(const struct plan *plan, uint64_t offset, uint8_t *buf, size_t n);
