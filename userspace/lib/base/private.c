#include "base/private.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/clock.h"

#define OTHERS_MASK 0077U
#define LOCK_POLL_MS 5U /* an append takes a few ms: most of it is the flush */

static int make_parents(char *path, size_t from) {
        for (char *at = path + from; (at = strchr(at + 1, '/'));) {
                int r = 0;

                *at = '\0';
                if (mkdir(path, 0755) < 0 && errno != EEXIST)
                        r = -errno;
                *at = '/';
                if (r < 0)
                        return r;
        }
        return 0;
}

int private_dir(const char *root, const char *path, bool create, int *ret_fd) {
        _cleanup_close_ int fd = -1;
        char full[PATH_MAX];
        struct stat st;
        int r;

        r = snprintf(full, sizeof(full), "%s%s", root, path);
        if (r < 0 || (size_t)r >= sizeof(full))
                return -ENAMETOOLONG;
        if (create) {
                r = make_parents(full, strlen(root));
                if (r < 0)
                        return r;
                if (mkdir(full, 0700) < 0 && errno != EEXIST)
                        return -errno;
        }
        fd = open(full, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return errno == ENOTDIR || errno == ELOOP ? -EPERM : -errno;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (st.st_uid != 0 || (st.st_mode & OTHERS_MASK))
                return -EPERM;
        *ret_fd = TAKE_FD(fd);
        return 0;
}

int private_file(int dirfd, const char *name, int flags, int *ret_fd) {
        _cleanup_close_ int fd = -1;
        struct stat st;

        fd = openat(dirfd, name, flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY, 0600);
        if (fd < 0)
                return -errno;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode) || st.st_uid != 0 || st.st_nlink != 1 ||
            (st.st_mode & OTHERS_MASK))
                return -EPERM;
        *ret_fd = TAKE_FD(fd);
        return 0;
}

bool private_same(int dirfd, const char *name, int fd) {
        struct stat named, held;

        return fstatat(dirfd, name, &named, AT_SYMLINK_NOFOLLOW) == 0 && fstat(fd, &held) == 0 &&
               named.st_dev == held.st_dev && named.st_ino == held.st_ino;
}

int private_lock(int fd, int operation, unsigned ms) {
        uint64_t end = clock_now_ns() + ms * NS_PER_MS;

        while (flock(fd, operation | LOCK_NB) < 0) {
                if (errno != EWOULDBLOCK && errno != EINTR)
                        return -errno;
                if (clock_now_ns() >= end)
                        return -ETIMEDOUT;
                clock_pause_ms(LOCK_POLL_MS);
        }
        return 0;
}
