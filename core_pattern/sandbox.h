/* sandbox: a worker that can read what it was handed, compute, and write its answer. Nothing else.
 *
 * In this order: own uid and gid, no groups, no capabilities, no_new_privs, not dumpable,
 * Landlock without any right, then a seccomp allow-list whose default kills the process (P7).
 * Every step must succeed, or the worker ends before it has read a byte of the core; only
 * Landlock may be absent (kernels without it), and then the result says so.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

struct sandbox_limits {
        uint64_t file_size; /* RLIMIT_FSIZE: bytes of output */
        uint64_t memory;    /* RLIMIT_AS */
        unsigned cpu_sec;   /* RLIMIT_CPU */
};

/* Before exec, in the child of the helper, still root: ids, groups, capabilities, limits. */
int sandbox_drop(uid_t uid, gid_t gid, const struct sandbox_limits *limits);

/* First thing in the worker's main(): the rest. 0 or a negative errno. */
int sandbox_enter(void);
