#include "core_pattern/needle_walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "host/pattern.h"

struct walk {
        int root_fd;
        walk_hit hit;
        void *userdata;
        unsigned left; /* of WALK_ENTRIES_MAX */
        bool cut;      /* something was left out */
};

static void cleanup_closedir(DIR **dir) {
        if (*dir)
                (void)closedir(*dir);
}

static int open_in_root(int root_fd, const char *path, int flags, int *ret_fd) {
        struct open_how how = {
                .flags = (uint64_t)(unsigned)(flags | O_CLOEXEC),
                .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
        };
        long fd = syscall(SYS_openat2, root_fd, path, &how, sizeof(how));

        if (fd < 0)
                return -errno;
        *ret_fd = (int)fd;
        return 0;
}

int needle_reopen(int path_fd, int *ret_fd) {
        char path[sizeof("/proc/self/fd/") + 11];
        struct stat st;
        int fd;

        if (fstat(path_fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return -EINVAL;
        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", path_fd);
        fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        *ret_fd = fd;
        return 0;
}

static int walk_file(struct walk *walk, const char *path) {
        _cleanup_close_ int fd = -1;
        int r;

        if (walk->left == 0) {
                walk->cut = true;
                return 0;
        }
        walk->left--;
        r = open_in_root(walk->root_fd, path, O_PATH, &fd);
        if (r == -ENOSYS || r == -EINVAL)
                return -ENOTSUP;
        if (r < 0)
                return 0; /* not there, or not to be read: no such file */
        return walk->hit(walk->userdata, path, fd);
}

static int walk_from(struct walk *walk, char *path, size_t size, const char *rest, unsigned depth);

/* One entry of a directory, for a pattern whose first component has a wildcard. */
static int walk_entry(struct walk *walk, char *path, size_t size, const struct dirent *entry,
                      const char *component, size_t n, const char *rest, unsigned depth) {
        size_t name = strlen(entry->d_name);
        bool any_depth = n == 2 && memcmp(component, "**", 2) == 0;
        char pattern[NAME_MAX + 1];
        int r = 0;

        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
                return 0;
        if (size + 1 + name >= PATH_MAX) {
                walk->cut = true;
                return 0;
        }
        path[size] = '/';
        memcpy(path + size + 1, entry->d_name, name + 1);

        if (!any_depth) {
                memcpy(pattern, component, n);
                pattern[n] = '\0';
                if (pattern_match_name(pattern, entry->d_name, name))
                        r = walk_from(walk, path, size + 1 + name, rest, depth + 1);
        } else {
                if (!*rest)
                        r = walk_file(walk, path);
                if (r == 0 && (entry->d_type == DT_DIR || entry->d_type == DT_UNKNOWN))
                        r = walk_from(walk, path, size + 1 + name, component - 1, depth + 1);
        }
        path[size] = '\0';
        return r;
}

static int walk_directory(struct walk *walk, char *path, size_t size, const char *component,
                          size_t n, const char *rest, unsigned depth) {
        _cleanup_(cleanup_closedir) DIR *dir = NULL;
        const struct dirent *entry;
        int fd = -1;
        int r = open_in_root(walk->root_fd, size ? path : "/", O_RDONLY | O_DIRECTORY, &fd);

        if (r == -ENOSYS || r == -EINVAL)
                return -ENOTSUP;
        if (r < 0)
                return 0;
        dir = fdopendir(fd);
        if (!dir) {
                r = -errno;
                (void)close(fd);
                return r;
        }
        for (;;) {
                errno = 0;
                entry = readdir(dir);
                if (!entry && errno == 0)
                        return 0;
                if (!entry || walk->left == 0) {
                        walk->cut = true;
                        return 0;
                }
                walk->left--;
                r = walk_entry(walk, path, size, entry, component, n, rest, depth);
                if (r != 0)
                        return r;
        }
}

/* `path` (of `size` bytes, in a buffer of PATH_MAX) is done, `rest` is the pattern behind it: ""
 * or a slash and a component and so on. */
static int walk_from(struct walk *walk, char *path, size_t size, const char *rest, unsigned depth) {
        const char *component = rest + 1;
        size_t n;
        int r;

        if (!*rest)
                return walk_file(walk, path);
        if (depth >= WALK_DEPTH_MAX) {
                walk->cut = true;
                return 0;
        }
        n = strcspn(component, "/");
        rest = component + n;
        if (n > NAME_MAX)
                return 0; /* no file system has such a name */

        if (n == 2 && memcmp(component, "**", 2) == 0) {
                if (*rest) { /* `**` stands for nothing, too, but not at the end */
                        r = walk_from(walk, path, size, rest, depth + 1);
                        if (r != 0)
                                return r;
                }
                return walk_directory(walk, path, size, component, n, rest, depth);
        }
        if (memchr(component, '*', n))
                return walk_directory(walk, path, size, component, n, rest, depth);

        if (size + 1 + n >= PATH_MAX)
                return 0;
        path[size] = '/';
        memcpy(path + size + 1, component, n);
        path[size + 1 + n] = '\0';
        r = walk_from(walk, path, size + 1 + n, rest, depth + 1);
        path[size] = '\0';
        return r;
}

int needle_walk(int root_fd, const char *pattern, walk_hit hit, void *userdata) {
        struct walk walk = {
                .root_fd = root_fd,
                .hit = hit,
                .userdata = userdata,
                .left = WALK_ENTRIES_MAX,
        };
        char path[PATH_MAX] = "";
        int r;

        if (pattern[0] != '/')
                return -EINVAL;
        r = walk_from(&walk, path, 0, pattern, 0);
        if (r != 0)
                return r;
        return walk.cut ? -E2BIG : 0;
}
