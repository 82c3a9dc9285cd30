/* learner: what the sensor calls a file, learnt by reading one byte of it.
 *
 * stat() cannot say: an overlay's file has the inode of its lower layer, btrfs another device.
 * The reading thread is the key in the sensor's map, so every thread learns for itself. Reading
 * tags the reader like anybody else.
 */
#pragma once

#include <sys/types.h>

#include "bpf/tags.h"

struct learner {
        int learners_fd; /* the maps, borrowed */
        int until_fd;
};

/* Fills *ret for the regular file `fd`. -EOPNOTSUPP: the sensor does not see reads of this file
 * (tmpfs, opened with O_DIRECT, procfs, no regular file); -ENODATA: it is empty; -EUSERS:
 * LEARNERS_MAX threads are learning already; -ENOENT: the
 * read took so long that another learner needed the place; or the negative errno of a read or a
 * map. */
int learner_read(const struct learner *learner, int fd, struct learned *ret);

/* The key of the directory that holds learned file: the kernel's answer is of one hard link, so
 * ask only for files that have one. -ENODATA when the kernel named no parent. */
int learned_parent(const struct learned *learned, unsigned level, struct inode_key *ret);
