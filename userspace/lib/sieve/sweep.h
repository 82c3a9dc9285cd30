/* sweep: walks a core in file order, one window at a time.
 *
 * Learning and emitting see the same windows: the core as one sequence of bytes, head first,
 * tiles of SIEVE_TILE that begin and end where the last sweep's did. Holes shorter than
 * SWEEP_HOLE_MIN are read as the zeros they are; longer ones are handed on as holes.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/head.h"
#include "secret/detect.h"
#include "secret/fragment.h"
#include "sieve/plan.h"
#include "sieve/source.h"

#define SWEEP_BEFORE FRAGMENT_OVERLAP
#define SWEEP_AHEAD DETECT_SIZE_MAX
#define SWEEP_HOLE_MIN (16U << 10) /* bytes: a frame of its own costs more than shorter zeros */

struct sweep_window {
        uint64_t offset; /* in the core; a multiple of 8 */
        uint8_t *bytes;  /* NULL: a hole */
        uint64_t n;      /* bytes; at most SIEVE_TILE unless a hole */
        /* Around bytes[0 .. n), all readable: SWEEP_BEFORE bytes before, as the last call left
         * them, and `ahead` behind, still as the source gave them (at least SWEEP_BEFORE; zeros
         * where a hole or the end follows). */
        size_t ahead;
        bool fresh; /* the core begins here, or a hole came before: zeros stand before */
};

struct sweep {
        const struct core_head *head;
        const struct plan *plan;
        struct source *source;
        /* Leave out what the frozen plan erases anyway: zeros are handed on in its place. */
        bool skip_erased;
        uint64_t memory_read; /* bytes pulled: added to */
};

/* May change bytes[0 .. n). Non-zero stops the sweep and is returned. */
typedef int (*sweep_each)(void *userdata, const struct sweep_window *window);

/* 0, -ENOMEM, an error of the source, or what `each` returned. */
int sweep_run(struct sweep *sweep, sweep_each each, void *userdata);

bool bytes_are_zero(const uint8_t *buf, size_t n);
