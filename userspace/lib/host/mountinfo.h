/* mountinfo: where a mount's layers lie. */
#pragma once

#include <stdint.h>
#include <sys/types.h>

/* The options of mount `id` (statx stx_mnt_id) of /proc/self/mountinfo text: the mount point, the
 * directory of the file system that is mounted there, and the option `upperdir`, all unescaped.
 * Each is the caller's to free. -ENOENT: no such mount, or it has no upper directory. */
struct mount_layers {
        char *point;
        char *root;
        char *upper;
};

/* The id of the mount that is the root directory of `pid` (0: this process); the id of a mount is
 * its own in all namespaces. -ENOENT: the root is a plain directory (chroot). */
int mount_root_parse(const char *text, uint64_t *ret);
int mount_root_read(pid_t pid, uint64_t *ret);

int mount_layers_parse(const char *text, uint64_t id, struct mount_layers *ret);
int mount_layers_read(uint64_t id, struct mount_layers *ret);
void mount_layers_done(struct mount_layers *layers);
