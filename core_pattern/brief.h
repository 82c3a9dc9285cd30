/* brief: what the helper tells the worker, and what the worker answers.
 *
 * The brief goes through a sealed memfd, the answer through a pipe; both are one fixed struct.
 * The brief says what to look for, never where in the stream. The helper believes nothing of
 * the answer but its own bounds: every enum and count is checked (result_valid), and no text
 * passes in either direction that the helper would have to interpret.
 *
 * Descriptors of the worker, all opened by the helper, none ever by the worker:
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "host/procinfo.h"
#include "host/verdict.h"
#include "sieve/sieve.h"

enum worker_fd {
        WORKER_FD_STREAM = 0, /* the kernel's pipe; offline the core file */
        WORKER_FD_OUT = 1,    /* the dump: an unnamed file, empty */
        WORKER_FD_LOG = 2,    /* /dev/null, or the terminal of an offline command */
        WORKER_FD_BRIEF = 3,
        WORKER_FD_RESULT = 4,
        WORKER_FD_MEM = 5,     /* live only */
        WORKER_FD_PAGEMAP = 6, /* live only */
        WORKER_FD_NEEDLES = 7, /* the first of brief.n_files secret files, O_RDONLY */
};

#define BRIEF_VERSION 1U
#define BRIEF_FILES_MAX 32U         /* secret files of one crash; more: stacks */
#define BRIEF_ENVIRONMENT_MAX 4096U /* bytes of names */

enum brief_mode { BRIEF_LIVE = 1, BRIEF_OFFLINE = 2 };

struct brief {
        uint32_t version;
        uint32_t size;     /* sizeof(struct brief) */
        uint32_t mode;     /* enum brief_mode */
        uint32_t content;  /* enum content: detect, redact or stacks */
        int32_t pid;       /* thread-group id as the process sees it */
        uint32_t compress; /* bool */
        uint32_t own_user; /* bool: the worker has a user of its own; false: an offline command that
                            * an ordinary user runs, whose worker can only be the same user */
        uint32_t n_files;  /* descriptors from WORKER_FD_NEEDLES on; origin = index */
        uint32_t auxv_size;
        uint8_t auxv[PROC_AUXV_MAX];
        uint32_t environment_size;
        char environment[BRIEF_ENVIRONMENT_MAX]; /* names, each NUL-terminated */
};

/* Puts names (NULL-terminated list, may be NULL) into a brief. Those beyond BRIEF_ENVIRONMENT_MAX
 * are left out: their values are erased, then. */
void brief_set_environment(struct brief *brief, char *const *names);

#define RESULT_VERSION 2U

struct worker_result {
        uint32_t version;
        uint32_t size;
        uint32_t stage;    /* enum stage reached; STAGE_KEEP when all was emitted */
        int32_t error;     /* 0, or the negative errno that ended it */
        uint64_t causes;   /* CAUSE_BIT()s that made it stricter, or that say why it gave up */
        uint32_t content;  /* enum content that was carried out */
        uint32_t signal;   /* of NT_SIGINFO */
        uint32_t landlock; /* ABI that confined it, 0: this kernel has none */
        uint32_t pad;
        uint64_t fault_offset; /* of a malformed core, bytes */
        uint64_t duration_ns[_STAGE_MAX];
        uint32_t file_flags[BRIEF_FILES_MAX]; /* NEEDLE_* of each secret file */
        struct sieve_report report;
};

/* Exit statuses of the worker's process. Whatever else it has to say stands in its answer. */
enum worker_exit {
        WORKER_EXIT_ANSWERED = 0,
        WORKER_EXIT_NO_BRIEF = 3, /* no brief, or one of another version: nobody to answer */
        WORKER_EXIT_SETUP = 4,    /* the child could not be confined before exec */
        WORKER_EXIT_EXEC = 5,     /* the program could not be executed */
};

/* Are all enums and counts of an answer in range, and is it an answer to this brief (a worker may
 * be stricter than asked, never laxer)? */
bool result_valid(const struct worker_result *result, const struct brief *brief);

/* Why a valid answer means no dump: 0 when it means one. */
uint64_t result_causes(const struct worker_result *result);
