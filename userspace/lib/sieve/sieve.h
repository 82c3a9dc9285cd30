/* sieve: one core from its source to a clean, compressed file.
 *
 *     plan     extents, rule R                      (content redact, stacks)
 *     learn    pull everything, detect, hunt        → the plan is frozen
 *     unwind   raw against redacted
 *     emit     pull again, erase, recheck, compress
 *
 * Whatever finds no room among the needles cannot be hunted: such a dump keeps stacks only,
 * whichever content was asked for.
 *
 * Content `detect` tries learn and emit in one pass: only when a detector fires is the output
 * dropped and the dump done again in two.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/head.h"
#include "core/note.h"
#include "core/unwind.h"
#include "host/verdict.h"
#include "secret/detect.h"
#include "secret/needle.h"
#include "sieve/plan.h"
#include "sieve/source.h"

#define SIEVE_TILE (1U << 20) /* bytes pulled, searched and compressed at a time */
#define SIEVE_ORIGINS_MAX 64U /* needle origins counted apart; larger ones count as the last */
#define SIEVE_ORIGIN_VALUES (SIEVE_ORIGINS_MAX - 1U) /* arguments and environment values */
#define SIEVE_ORIGIN_DETECTED (SIEVE_ORIGINS_MAX - 2U)

enum stage { /* in the order of a crash; also where a worker gave up */
             STAGE_INTAKE,
             STAGE_HEAD,
             STAGE_NEEDLES,
             STAGE_PLAN,
             STAGE_LEARN,
             STAGE_UNWIND,
             STAGE_EMIT,
             STAGE_KEEP,
             _STAGE_MAX,
};

const char *stage_to_string(enum stage stage);

struct sieve_job {
        const struct core_head *head;
        const struct core_notes *notes;
        struct source *source;
        struct needle_set *needles; /* grows: values of rule R, keys that detectors find */
        char *const *environment;   /* names whose values stay, NULL-terminated */
        enum content content;       /* detect, redact or stacks */
        int out_fd;                 /* empty regular file, written from 0 */
        bool compress;              /* zstd, else a plain (sparse) core */
        void (*enter)(void *userdata, enum stage stage); /* told at the start of each stage */
        void *userdata;
};

struct sieve_report {
        uint64_t erased[_REASON_MAX];     /* bytes, by reason */
        uint64_t hits[SIEVE_ORIGINS_MAX]; /* fragments found, by needle origin */
        uint64_t found[_DETECT_MAX];      /* containers that detectors proved */
        uint64_t found_encrypted;
        uint64_t core_size;   /* bytes of the ELF core, uncompressed */
        uint64_t memory_read; /* bytes pulled in the last pass */
        bool needles_cut;     /* more needles than a set holds: content became `stacks` */
        struct unwind_result unwind;
};

/* Returns 0 and the report; or -EBADMSG when learn and emit disagree, -ENODATA when the process
 * died, -EIO when memory cannot be read, -E2BIG over a limit, -EFBIG/-ENOSPC/… from writing. */
int sieve_run(const struct sieve_job *job, struct sieve_report *ret);
