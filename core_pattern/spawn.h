/* spawn: one confined worker, from fork to its checked answer.
 *
 * The worker gets a fresh process, exactly the descriptors of brief.h, no environment and no
 * argument; it is killed at the deadline, and with its parent. Used by the helper for a crash
 * and by `coresieve redact` for a core file: equally confined.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "core_pattern/brief.h"
#include "core_pattern/sandbox.h"

struct worker_job {
        const struct brief *brief;
        int stream_fd;         /* core to read: the kernel's pipe, or a file at its start */
        int out_fd;            /* empty regular file, O_WRONLY */
        int log_fd;            /* for the worker's stderr */
        int mem_fd;            /* -1 offline */
        int pagemap_fd;        /* -1 offline */
        const int *needle_fds; /* brief->n_files of them */
        uid_t uid;             /* ignored unless brief->own_user */
        gid_t gid;
        struct sandbox_limits limits;
        uint64_t deadline_ns; /* of base/clock.h: killed when it is reached */
};

struct worker_outcome {
        uint64_t causes;             /* 0: the dump is good. Else why there is none */
        bool answered;               /* `result` holds a valid answer */
        struct worker_result result; /* also of a worker that failed */
        int signal;                  /* that ended it, 0 none */
};

/* Opens the worker's program: PROGRAM_WORKER beside the program that runs (paths.h). O_PATH.
 * -ENOENT or another negative errno. */
int worker_open(int *ret_fd);

/* Runs it and waits. The caller's descriptors stay open and its own; the worker is gone when
 * this returns, so that nobody else holds the stream or the output. Never fails apart from
 * what *ret says: a system call that failed here is CAUSE_INTERNAL. */
void worker_run(int program_fd, const struct worker_job *job, struct worker_outcome *ret);

/* The worker's user: CORESIEVE_USER of `root`/etc/passwd, read with fgetpwent() (no NSS module
 * runs in the helper). -ENOENT when there is none, -EPERM when its uid or gid is 0. */
int worker_user(const char *root, uid_t *ret_uid, gid_t *ret_gid);
