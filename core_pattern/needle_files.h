/* needle_files: the files whose secrets a crashed process holds, opened for the worker.
 *
 * A tag names files by the sensor's own key. Here each is searched by the pattern of its rule,
 * on the host and below /proc/PID/root, and taken only if the sensor, asked now, gives the same
 * key: same device, inode, generation and change time. One that is gone or changed is
 * CAUSE_NEEDLE_MISSING. Mapped files that a rule names count as well (mapped_files.h).
 *
 * The search runs in a child that is killed at the deadline: the file systems may be the
 * process's own, and an open there may never return.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "core_pattern/brief.h"
#include "core_pattern/mapped_files.h"
#include "host/policy.h"
#include "host/tagmap.h"

struct needle_file {
        struct file_key key; /* of the tag; zero for a mapped file that could not be identified */
        uint32_t rule;
        int fd;          /* O_RDONLY regular file; -1 missing */
        char *path;      /* where it was found; NULL missing */
        struct stat was; /* when it was found */
};

struct needle_files {
        struct needle_file files[2 * BRIEF_FILES_MAX]; /* the open ones first: origin = index */
        size_t n, n_open;                              /* n_open <= BRIEF_FILES_MAX */
        uint64_t causes; /* CAUSE_NEEDLE_MISSING, CAUSE_NEEDLE_LARGE (too many), CAUSE_INTERNAL */
};
_Static_assert(TAG_FILES_MAX + MAPPED_FILES_MAX <= 2 * BRIEF_FILES_MAX, "a file needs a place");

/* Finds the files of `tag` (NULL: none) and of `mapped`. Always sets *ret; what went wrong is in
 * its causes. Release with needle_files_done(). */
void needle_files_find(const struct policy *policy, struct tagmap *map, const struct tag *tag,
                       const struct mapped_files *mapped, int memory_fd, uint64_t deadline_ns,
                       struct needle_files *ret);
void needle_files_done(struct needle_files *files);

/* Has none been written since it was found? To be asked when the worker is done: what it hunted
 * must be what the process was given. 0 or -ESTALE. */
int needle_files_check(const struct needle_files *files);
