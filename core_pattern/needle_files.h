/* needle_files: the files whose secrets a crashed process holds, opened for the worker.
 *
 * A tag names files by the sensor's own key. Here each is searched by the pattern of its rule,
 * on the host and below /proc/PID/root, and taken only if the sensor, asked now, gives the same
 * key: same device, inode, generation and change time. One that is gone or changed is
 * CAUSE_NEEDLE_MISSING. Mapped files that a rule names count as well (mapped_files.h).
 *
 * Rules are paths as the process sees them, too. A process in a mount namespace or root of its
 * own may have at a rule's path a file that the host does not have there, and that no sensor
 * watches (a container's bind mount, its image, a tmpfs without AcceptBlind=): it may have been
 * read unseen. Such files are hunted like those of the tag and are CAUSE_UNWATCHED_FILE. A file
 * that is watched and not in the tag was not read. Not seen: mounts that the process has left or
 * undone by the time of the crash, and what an ancestor read in another view.
 *
 * The search runs in a child that is killed at the deadline (needle_search.h).
 */
#pragma once

#include <stdbool.h>
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
        bool unwatched;  /* not of the tag: it may have been read unseen */
        int fd;          /* O_RDONLY regular file; -1 missing */
        char *path;      /* where it was found; NULL missing */
        struct stat was; /* when it was found */
};

struct needle_files {
        struct needle_file files[2 * BRIEF_FILES_MAX]; /* the open ones first: origin = index */
        size_t n, n_open;                              /* n_open <= BRIEF_FILES_MAX */
        /* CAUSE_NEEDLE_MISSING, CAUSE_NEEDLE_LARGE (too many), CAUSE_UNWATCHED_FILE,
         * CAUSE_DEADLINE, CAUSE_INTERNAL */
        uint64_t causes;
};
_Static_assert(TAG_FILES_MAX + MAPPED_FILES_MAX <= 2 * BRIEF_FILES_MAX, "a file needs a place");

/* Is there anything to look for? */
bool needle_files_wanted(const struct tag *tag, const struct mapped_files *mapped, int memory_fd);

/* Finds the files of `tag` (NULL: none) and of `mapped`. Always sets *ret; what went wrong is in
 * its causes. Release with needle_files_done(). */
void needle_files_find(const struct policy *policy, struct tagmap *map, const struct tag *tag,
                       const struct mapped_files *mapped, int memory_fd, uint64_t deadline_ns,
                       struct needle_files *ret);
void needle_files_done(struct needle_files *files);

/* Has none been written since it was found? To be asked when the worker is done: what it hunted
 * must be what the process was given. 0, -ESTALE, or the negative errno of a look that failed. */
int needle_files_check(const struct needle_files *files);
