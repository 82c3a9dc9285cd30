#include <bpf/bpf.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "host/mountinfo.h"
#include "host/watch.h"

/* How many entries of a directory are tried before it is given up as a teacher. */
#define CHILDREN_MAX 64U

DEFINE_CLEANUP(dir, DIR, closedir)
#define _cleanup_mount_layers_ _cleanup_(mount_layers_done)

/* --- by the kernel's own word ---------------------------------------------------------------- */

/* What an open directory's inode is called. True of every file system whose open files have
 * inodes of their own; an overlay's are not those that the page cache knows. */
static int directory_shown(const struct watch_sensor *sensor, int fd, struct inode_key *ret) {
        union bpf_iter_link_info which = { .task.tid = (uint32_t)gettid() };
        LIBBPF_OPTS(bpf_link_create_opts, opts, .iter_info = &which,
                    .iter_info_len = sizeof(which));
        _cleanup_close_ int link = -1, iter = -1;

        link = bpf_link_create(sensor->show_directory_fd, 0, BPF_TRACE_ITER, &opts);
        if (link < 0)
                return -errno;
        iter = bpf_iter_create(link);
        if (iter < 0)
                return -errno;
        for (;;) {
                struct directory_answer answer;
                ssize_t n = io_read(iter, &answer, sizeof(answer));

                if (n < 0)
                        return (int)n;
                if ((size_t)n != sizeof(answer))
                        return -ENODATA;
                if (answer.fd == (uint32_t)fd) {
                        *ret = answer.key;
                        return 0;
                }
        }
}

/* --- by a file in it ------------------------------------------------------------------------- */

static int child_learn(const struct watch_sensor *sensor, int dirfd, const char *name, dev_t dev,
                       struct inode_key *ret) {
        _cleanup_close_ int fd = -1;
        struct learned learned;
        struct stat st;
        int r;

        if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return -errno;
        /* With two names, the kernel may tell the other one's directory; another device is a file
         * that is mounted here. */
        if (!S_ISREG(st.st_mode) || st.st_size == 0 || st.st_nlink != 1 || st.st_dev != dev)
                return -ENODATA;
        fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        if (fd < 0)
                return -errno;
        r = learner_read(&sensor->learner, fd, &learned);
        if (r < 0)
                return r;
        return learned_parent(&learned, 0, ret);
}

/* 0, or -ENODATA when no file here taught anything; *ret_blind when one was not seen. */
static int directory_learnt(const struct watch_sensor *sensor, int dirfd, dev_t dev,
                            struct inode_key *ret, bool *ret_blind) {
        _cleanup_(cleanup_dir) DIR *dir = NULL;
        const struct dirent *entry;
        int copy;

        *ret_blind = false;
        copy = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (copy < 0)
                return -errno;
        dir = fdopendir(copy);
        if (!dir) {
                (void)close(copy);
                return -errno;
        }
        for (unsigned i = 0; i < CHILDREN_MAX && (entry = readdir(dir)); i++) {
                int r;

                if (entry->d_type != DT_REG && entry->d_type != DT_UNKNOWN)
                        continue;
                r = child_learn(sensor, dirfd, entry->d_name, dev, ret);
                if (r == 0)
                        return 0;
                if (r == -EOPNOTSUPP)
                        *ret_blind = true;
        }
        return -ENODATA;
}

/* --- an overlay's upper layer ---------------------------------------------------------------- */

/* A file that is new, or changed for the first time, lies in the upper layer, in a directory
 * that may not exist yet: the layer is watched from its top. */
static int upper_watch(const struct watch_sensor *sensor, struct watch_set *set, int fd,
                       uint32_t id, const struct watch_pattern *pattern, size_t first) {
        _cleanup_mount_layers_ struct mount_layers layers = { 0 };
        struct watch_pattern above = { 0 };
        _cleanup_close_ int upper = -1;
        char self[64], path[PATH_MAX];
        struct dir_rule rule;
        struct inode_key key;
        struct statfs fs;
        struct statx stx;
        const char *rest;
        ssize_t n;
        int r;

        if (statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &stx) < 0)
                return -errno;
        if (!(stx.stx_mask & STATX_MNT_ID))
                return -ENOENT;
        r = mount_layers_read(stx.stx_mnt_id, &layers);
        if (r < 0)
                return r;
        (void)snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
        n = readlink(self, path, sizeof(path) - 1);
        if (n < 0)
                return -errno;
        path[n] = '\0';

        /* Only where the whole overlay is mounted does the path tell the place in the layer. */
        n = strcmp(layers.point, "/") == 0 ? 0 : (ssize_t)strlen(layers.point);
        if (strcmp(layers.root, "/") != 0 || strncmp(path, layers.point, (size_t)n) != 0)
                return -ENOENT;
        rest = path + n;
        if (*rest != '\0' && *rest != '/')
                return -ENOENT;
        upper = open(layers.upper, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (upper < 0)
                return -errno;
        if (fstatfs(upper, &fs) < 0)
                return -errno;
        if (fs.f_type == TMPFS_MAGIC || fs.f_type == OVERLAYFS_SUPER_MAGIC)
                return -EOPNOTSUPP;
        r = directory_shown(sensor, upper, &key);
        if (r < 0)
                return r;
        if (rest[0] == '/' && rest[1] != '\0') {
                r = watch_pattern_split(rest, &above);
                if (r < 0)
                        return r;
        }
        watch_rule_make(id, pattern, first, above.parts, above.n, &rule);
        watch_pattern_done(&above);
        return watch_set_dir(set, &key, &rule);
}

/* --------------------------------------------------------------------------------------------- */

static int finding(struct watch_set *set, bool needed, enum watch_problem problem, uint32_t id,
                   const char *path) {
        return needed ? watch_set_finding(set, problem, id, path, 0) : 0;
}

static int overlay_watch(const struct watch_sensor *sensor, struct watch_set *set, int fd,
                         const char *path, uint32_t id, const struct watch_pattern *pattern,
                         size_t first, bool needed) {
        int r = upper_watch(sensor, set, fd, id, pattern, first);

        if (r == -ENOMEM || r == -E2BIG)
                return r;
        if (r < 0)
                return finding(set, needed, WATCH_BLIND_OVERLAY, id, path);
        return 0;
}

int watch_directory(const struct watch_sensor *sensor, struct watch_set *set, int fd,
                    const char *path, uint32_t id, const struct watch_pattern *pattern,
                    size_t first, bool needed) {
        struct dir_rule rule;
        struct inode_key key;
        struct statfs fs;
        struct stat st;
        bool blind;
        int r;

        if (fstatfs(fd, &fs) < 0 || fstat(fd, &st) < 0)
                return -errno;
        if (fs.f_type == TMPFS_MAGIC)
                return finding(set, needed, WATCH_BLIND_TMPFS, id, path);

        watch_rule_make(id, pattern, first, NULL, 0, &rule);
        r = directory_learnt(sensor, fd, st.st_dev, &key, &blind);
        if (blind)
                return finding(set, needed, WATCH_BLIND_OTHER, id, path);
        if (r == 0)
                r = watch_set_dir(set, &key, &rule);
        else if (r == -ENODATA && fs.f_type != OVERLAYFS_SUPER_MAGIC) {
                r = directory_shown(sensor, fd, &key);
                if (r == 0)
                        r = watch_set_dir(set, &key, &rule);
        } else if (r == -ENODATA)
                r = 0;
        if (r < 0)
                return r;
        if (fs.f_type == OVERLAYFS_SUPER_MAGIC)
                return overlay_watch(sensor, set, fd, path, id, pattern, first, needed);
        return 0;
}
