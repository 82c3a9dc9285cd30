/* sandbox: a worker that can read what it was handed, compute, and write its answer. Nothing else.
 *
 * In this order: own uid and gid, no groups, no capabilities, no_new_privs, not dumpable,
 * Landlock without any right, then a seccomp allow-list whose default kills the process (P7).
 * Every step must succeed, or the worker ends before it has read a byte of the core; only
 * Landlock may be absent (kernels without it), and then the result says so.
 *
 * The worker has one thread for its whole life: clone is not on the list.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct sandbox_limits {
        uint64_t file_size; /* RLIMIT_FSIZE: bytes of output */
        uint64_t memory;    /* RLIMIT_AS */
        unsigned cpu_sec;   /* RLIMIT_CPU */
};

/* Before exec, in the child of the helper, still root: limits, ids, groups, capabilities,
 * no_new_privs. `own_user` false: keeps the caller's ids (an offline command without root).
 * 0 or a negative errno. */
int sandbox_drop(bool own_user, uid_t uid, gid_t gid, const struct sandbox_limits *limits);

/* First thing in the worker's main(): checks what sandbox_drop() did and does the rest. Returns 0
 * and the Landlock ABI in force (0: none in this kernel), or a negative errno: -EPERM when the
 * process still has a privilege. */
int sandbox_enter(bool own_user, unsigned *ret_landlock);

/* A part of sandbox_enter(), apart only so that a test can show Landlock by behaviour before
 * seccomp would kill the attempt. */
int sandbox_landlock(unsigned *ret_abi);
