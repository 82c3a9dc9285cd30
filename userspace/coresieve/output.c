#include "output.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

/* Splits a path into its directory, opened, and its last component. */
static int open_directory(const char *path, struct output *output) {
        _cleanup_free_ char *copy = strdup(path), *full = NULL;
        const char *directory = ".";
        char *slash, *name;
        int n;

        if (!copy)
                return -ENOMEM;
        slash = strrchr(copy, '/');
        name = slash ? slash + 1 : copy;
        if (name[0] == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
                return -EISDIR;
        if (strlen(name) > NAME_MAX)
                return -ENAMETOOLONG;
        (void)snprintf(output->name, sizeof(output->name), "%s", name);
        if (slash) {
                *name = '\0'; /* keeps the slash: the root directory is one as well */
                directory = copy;
        }
        full = realpath(directory, NULL);
        if (!full)
                return -errno;
        n = snprintf(output->path, sizeof(output->path), "%s%s%s", full,
                     strcmp(full, "/") == 0 ? "" : "/", output->name);
        if (n < 0 || (size_t)n >= sizeof(output->path))
                return -ENAMETOOLONG;
        output->dirfd = open(full, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return output->dirfd < 0 ? -errno : 0;
}

static int check_place(const struct output *output) {
        struct stat st;

        if (fstatat(output->dirfd, output->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return errno == ENOENT ? 0 : -errno;
        if (!output->force)
                return -EEXIST;
        return S_ISREG(st.st_mode) ? 0 : -ENOTSUP;
}

static int hidden_name(char ret[NAME_MAX + 1]) {
        uint64_t random;

        if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random))
                return -EIO;
        (void)snprintf(ret, NAME_MAX + 1, ".coresieve.%016" PRIx64, random);
        return 0;
}

static int open_unnamed(int dirfd, char hidden[NAME_MAX + 1]) {
        int fd = openat(dirfd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        int r;

        if (fd >= 0)
                return fd;
        if (errno != EOPNOTSUPP && errno != EISDIR) /* EISDIR: a kernel without O_TMPFILE */
                return -errno;
        r = hidden_name(hidden);
        if (r < 0)
                return r;
        fd = openat(dirfd, hidden, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0) {
                r = -errno;
                hidden[0] = '\0';
                return r;
        }
        return fd;
}

int output_open(const char *path, bool force, struct output *ret) {
        int r;

        *ret = (struct output){ .dirfd = -1, .fd = -1, .force = force };
        r = open_directory(path, ret);
        if (r == 0)
                r = check_place(ret);
        if (r < 0)
                return r;
        ret->fd = open_unnamed(ret->dirfd, ret->hidden);
        return ret->fd < 0 ? ret->fd : 0;
}

int output_scratch(const struct output *output, int *ret_fd) {
        char hidden[NAME_MAX + 1] = "";
        int fd = open_unnamed(output->dirfd, hidden);

        if (fd < 0)
                return fd;
        if (hidden[0] && unlinkat(output->dirfd, hidden, 0) < 0) {
                int r = -errno;

                (void)close(fd);
                return r;
        }
        *ret_fd = fd;
        return 0;
}

static int link_as(const struct output *output, const char *name) {
        char path[sizeof("/proc/self/fd/") + 3 * sizeof(int)];

        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", output->fd);
        return linkat(AT_FDCWD, path, output->dirfd, name, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
}

/* Only a rename replaces in one step, and only what has a name can be renamed. */
static int take_place(struct output *output) {
        unsigned flags = output->force ? 0 : RENAME_NOREPLACE;
        int r;

        if (!output->hidden[0] && !output->force)
                return link_as(output, output->name);
        if (!output->hidden[0]) {
                r = hidden_name(output->hidden);
                if (r == 0)
                        r = link_as(output, output->hidden);
                if (r < 0) {
                        output->hidden[0] = '\0';
                        return r;
                }
        }
        if (renameat2(output->dirfd, output->hidden, output->dirfd, output->name, flags) < 0)
                return -errno;
        output->hidden[0] = '\0';
        return 0;
}

int output_commit(struct output *output) {
        int r = check_place(output);

        if (r < 0)
                return r;
        if (fsync(output->fd) < 0)
                return -errno;
        r = take_place(output);
        if (r < 0)
                return r;
        return fsync(output->dirfd) < 0 ? -errno : 0;
}

void output_done(struct output *output) {
        if (output->hidden[0] && output->dirfd >= 0)
                (void)unlinkat(output->dirfd, output->hidden, 0);
        output->hidden[0] = '\0';
        cleanup_close(&output->fd);
        cleanup_close(&output->dirfd);
        output->fd = output->dirfd = -1;
}

const char *output_remedy(int error) {
        switch (error) {
        case -EEXIST:
                return "--force replaces it";
        case -ENOTSUP:
                return "only a regular file is replaced: name another place";
        case -EISDIR:
                return "name a file, not a directory";
        case -ENOSPC:
        case -EDQUOT:
        case -EFBIG:
                return "name a place with more room";
        default:
                return "name a place that you can write to";
        }
}
