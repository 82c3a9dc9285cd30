/* unwind: does the redacted core show the same backtraces as the raw one? (P4)
 *
 * libdw walks every thread twice, over raw and over redacted memory and registers. Module images
 * are read from the process's memory, never from a path: the process chose the paths. Frames are
 * compared in the valid part: frame 0 (rip, wherever it points) and its callers up to the first
 * whose PC lies in no executable PT_LOAD, which is no longer compared. There, and behind it,
 * debuggers guess: a smashed return address is data, and may be erased.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/head.h"
#include "core/note.h"

#define UNWIND_FRAMES_MAX 512U        /* per thread */
#define UNWIND_THREADS_MAX 1024U      /* compared; more: capped */
#define UNWIND_SEGMENTS_MAX 20000U    /* a core with more is not compared: capped */
#define UNWIND_IMAGE_MAX (256U << 20) /* bytes of module images read in all: capped */
#define UNWIND_READS_MAX (1U << 20)   /* words of memory read in all: capped */
#define UNWIND_TIME_MAX_MS 3000U      /* of CPU, in all: CFI is a program, and hostile: capped */

/* Reads memory by address. 0, or a negative errno when any of the bytes cannot be read. */
typedef int (*unwind_read)(void *userdata, uint64_t address, void *buf, size_t n);

struct unwind_view {
        const struct core_notes *notes; /* registers of each thread */
        unwind_read read;
        void *userdata;
};

enum unwind_outcome {
        UNWIND_NONE, /* not compared: no memory kept, or no thread */
        UNWIND_SAME,
        UNWIND_DEGRADED, /* some thread's valid part differs */
        UNWIND_CAPPED,   /* over a limit: what was compared was the same */
        _UNWIND_OUTCOME_MAX,
};

struct unwind_result {
        enum unwind_outcome outcome;
        uint32_t threads; /* compared */
        uint32_t frames;  /* of all of them in the raw core, valid part */
};

const char *unwind_outcome_to_string(enum unwind_outcome outcome);

/* `images` reads raw process memory, also of mappings that are not in the core. Both views have
 * the same threads in the same order. Opens nothing; of system calls it needs only those of
 * malloc, and clock_gettime where the vdso cannot answer it. 0; -EINVAL when the views differ in
 * their number of threads; -ENOMEM; -ENOTSUP when libelf is unusable. */
int unwind_compare(const struct core_head *head, const struct unwind_view *raw,
                   const struct unwind_view *redacted, unwind_read images, void *userdata,
                   struct unwind_result *ret);
