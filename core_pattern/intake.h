/* intake: what the kernel and /proc say of a crash, before anybody decides anything.
 *
 * The arguments come from core_pattern: `1 P=%P I=%I F=%F d=%d s=%s u=%u g=%g t=%t c=%c h=%h
 * [R=<root>] -- %e`. The first is the version of this list; every other has a key, so that a
 * letter unknown to an older kernel leaves an empty value and nothing moves. %e is last because
 * the process chose its bytes.
 *
 * Identity: one descriptor of /proc/PID, tied to the pidfd by the kernel's own word on it before
 * and after reading; no PID is looked up twice by number.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "audit/record.h"
#include "host/decide.h"
#include "host/procinfo.h"

#define ARGUMENTS_VERSION "1"

/* Beside those of decide.h. */
#define DUMP_MODE_UNKNOWN (-1)
#define DUMP_MODE_NONE 0

#define COMM_MAX 64U /* bytes kept of a name; the kernel's TASK_COMM_LEN is 16 */

/* Texts point into argv. Whatever could not be read is 0, -1 or empty. */
struct arguments {
        pid_t pid, tid; /* init namespace */
        int pid_fd;     /* of %F, inherited; -1 where the kernel has none */
        int dump_mode;
        int signal;
        uid_t uid;
        gid_t gid;
        time_t time;
        uint64_t core_limit; /* RLIMIT_CORE, bytes */
        struct record_text core_limit_text;
        const char *root; /* "" or an absolute path, for paths.h */
        struct record_text comm;
};

/* Reads argv. Always sets all of *ret, as far as it can be read (a record needs it); returns 0,
 * or -EINVAL when any key is unknown, missing, double or has no usable value. */
int arguments_parse(int argc, char *const argv[], struct arguments *ret);

struct identity {
        int pid_fd;    /* owned unless it is the kernel's */
        int proc_fd;   /* /proc/PID */
        int memory_fd; /* the same directory, or /proc/PID/task/TID when the main thread is gone */
        int dump_mode; /* the kernel's word on it, else %d */
        bool has_comm;
        char comm[COMM_MAX]; /* of the crashing thread, its true bytes: %e has '!' for each '/' */
        size_t comm_size;
        struct procinfo info;
};

/* Opens and reads the process. 0; -ESRCH when it is gone or another has its number, -ENXIO when
 * it is not the one that is dumping core, or another negative errno. What could be read is in
 * *ret in any case. Release with identity_done(). */
int identity_read(const struct arguments *arguments, struct identity *ret);
void identity_done(struct identity *identity);

/* Is it still the same process? To be asked after the last read. 0 or -ESRCH. */
int identity_check(const struct identity *identity);

/* /proc/PID/mem and pagemap, O_RDONLY, for the worker. */
int identity_open_memory(const struct identity *identity, int *ret_mem_fd, int *ret_pagemap_fd);
