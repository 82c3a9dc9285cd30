/* needle_walk: the files that a rule's pattern names below one root directory.
 *
 * The root may be the crashed process's own (/proc/PID/root), so nothing in it is trusted: every
 * path is resolved within the root (openat2, RESOLVE_IN_ROOT, no magic links) and a file is
 * first opened O_PATH, which has no effect on any device or FIFO. A symlink in place of a file
 * or of a plain component is followed, as rotations use them; `**` does not descend through one,
 * for such a way may be endless.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define WALK_ENTRIES_MAX 65536U /* directory entries and paths looked at, for one pattern */
#define WALK_DEPTH_MAX 32U      /* directories below one another */

/* One file of that name; `path` as below the root, `fd` O_PATH and the caller's of needle_walk().
 * Non-zero stops the walk and is returned. */
typedef int (*walk_hit)(void *userdata, const char *path, int fd);

/* 0; -E2BIG when a limit left some of it unseen; -ENOTSUP without openat2 (before 5.6); or what
 * `hit` returned. A directory that cannot be read holds no file. */
int needle_walk(int root_fd, const char *pattern, walk_hit hit, void *userdata);

/* Opens what an O_PATH descriptor stands for, if it is a regular file, O_RDONLY. -EINVAL when
 * it is something else. */
int needle_reopen(int path_fd, int *ret_fd);
