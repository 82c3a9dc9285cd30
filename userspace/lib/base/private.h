/* private: directories and files that nobody but root can have had a hand in.
 *
 * The audit log, its tip, pending records, reservations and dumps lie in such places. A link, a
 * FIFO or a second name there would let somebody else choose what root reads or overwrites, so
 * nothing that is found is followed or trusted before it has been looked at through its own
 * descriptor.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

/* Opens the directory `root` + `path`: a real directory (its last component is no symlink),
 * root's, with no right for group and others. With `create` it is made 0700 if missing, and so
 * are its parents (0755). 0, -EPERM when it is something else, or another negative errno. */
int private_dir(const char *root, const char *path, bool create, int *ret_fd);

/* Opens `name` in such a directory with `flags` (O_CREAT makes it 0600): a regular file, root's,
 * with one name and no right for group and others. Never blocks on a FIFO. 0, -EPERM when it is
 * something else, -ELOOP for a symlink, or another negative errno. */
int private_file(int dirfd, const char *name, int flags, int *ret_fd);

/* Is `fd` still what `name` stands for? A file locked after it was replaced locks nothing. */
bool private_same(int dirfd, const char *name, int fd);

/* flock() that gives up after `ms` milliseconds: 0, -ETIMEDOUT, or a negative errno. */
int private_lock(int fd, int operation, unsigned ms);
