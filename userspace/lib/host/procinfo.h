/* procinfo: what /proc says of one process, read through one directory descriptor.
 *
 * The descriptor is opened once and tied to the pidfd, so no PID is ever looked up twice by
 * number. Everything read is the process's to choose (comm, paths, cgroup of a container):
 * lengths are bounded, nothing is parsed by splitting on spaces it could contain.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define PROC_TEXT_MAX 4096U /* bytes kept of any path or name */
#define PROC_AUXV_MAX 1024U
#define PROC_MAPS_MAX (64U << 20)

struct procinfo {
        pid_t pid;       /* thread-group id, init namespace */
        pid_t inner_pid; /* the same as the process sees it: last field of NSpid */
        pid_t ppid;
        uid_t uid, euid;
        gid_t gid;
        uint64_t start_ticks; /* field 22 of stat: clock ticks after boot */
        char comm[64];        /* bytes, NUL-terminated; may hold anything else */
        size_t comm_size;
        char *exe;    /* what /proc/PID/exe points to; NULL when it cannot be read */
        char *cgroup; /* the unified hierarchy's path, or name=systemd's on a hybrid; NULL if none
                       */
        char *unit; /* last component of `cgroup` that ends in .service/.scope/…; NULL if none */
        uint8_t auxv[PROC_AUXV_MAX];
        size_t auxv_size;
};

/* Reads all of the above. `proc_fd` is an O_PATH or O_RDONLY descriptor of /proc/PID (or of
 * /proc/PID/task/TID when the main thread is gone). Returns 0 or a negative errno; on an error
 * what could be read is still in *ret. Release with procinfo_done(). */
int procinfo_read(int proc_fd, struct procinfo *ret);
void procinfo_done(struct procinfo *info);

/* Field 22 of a stat line, found behind the last ')': comm may hold spaces, digits and ')'.
 * -EBADMSG when the line has no such field. */
int procinfo_start_ticks(const char *stat, size_t size, uint64_t *ret);
