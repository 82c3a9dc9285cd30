#include "keep/store.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "audit/record.h"
#include "base/cleanup.h"
#include "base/paths.h"
#include "base/private.h"
#include "keep/reserve.h"

#define NAME_SIZE (RECORD_ID_SIZE + sizeof(STORE_SUFFIX))

struct store {
        char *root;
        int dirfd;
        struct reserve *reserve;
        char committed[RECORD_ID_SIZE]; /* "": nothing yet */
        int committed_fd;               /* held, so that no other file can get its inode number */
};

DEFINE_CLEANUP(store, struct store, store_close)

/* An id is a file name here: what is no id must not reach a path. */
static int dump_name(const char *id, char ret[NAME_SIZE]) {
        if (!record_is_id(id, strlen(id)))
                return -EINVAL;
        (void)snprintf(ret, NAME_SIZE, "%s" STORE_SUFFIX, id);
        return 0;
}

int store_open(const char *root, struct store **ret) {
        _cleanup_(cleanup_store) struct store *store = calloc(1, sizeof(*store));
        struct statvfs fs;
        int r;

        if (!store)
                return -ENOMEM;
        store->dirfd = store->committed_fd = -1;
        store->root = strdup(root);
        if (!store->root)
                return -ENOMEM;
        r = private_dir(root, PATH_STORE, false, &store->dirfd);
        if (r < 0)
                return r;
        if (fstatvfs(store->dirfd, &fs) < 0)
                return -errno;
        if (fs.f_flag & ST_RDONLY)
                return -EROFS;
        *ret = TAKE_PTR(store);
        return 0;
}

void store_close(struct store *store) {
        if (!store)
                return;
        reserve_release(store->reserve);
        cleanup_close(&store->committed_fd);
        cleanup_close(&store->dirfd);
        free(store->root);
        free(store);
}

int store_reserve(struct store *store, const struct policy *policy, uint64_t *ret_bytes) {
        if (store->reserve)
                return -EALREADY;
        return reserve_take(store->root, store->dirfd, policy, &store->reserve, ret_bytes);
}

int store_settle(struct store *store, int fd) {
        struct stat st;

        if (!store->reserve)
                return -EINVAL;
        if (fstat(fd, &st) < 0)
                return -errno;
        return reserve_settle(store->reserve, (uint64_t)st.st_size);
}

int store_create(struct store *store, int *ret_fd) {
        int fd = openat(store->dirfd, ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);

        if (fd < 0)
                return -errno;
        *ret_fd = fd;
        return 0;
}

/* AT_EMPTY_PATH needs CAP_DAC_READ_SEARCH over the file's user namespace and so may be refused
 * to a contained root; procfs offers the same by another way. */
static int link_file(int fd, int dirfd, const char *name) {
        char path[sizeof("/proc/self/fd/") + 3 * sizeof(int)];

        if (linkat(fd, "", dirfd, name, AT_EMPTY_PATH) == 0)
                return 0;
        if (errno != ENOENT && errno != EPERM)
                return -errno;
        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        return linkat(AT_FDCWD, path, dirfd, name, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
}

static int check_unnamed(const struct store *store, int fd, struct stat *ret) {
        struct stat dir;

        if (fstat(store->dirfd, &dir) < 0 || fstat(fd, ret) < 0)
                return -errno;
        if (!S_ISREG(ret->st_mode) || ret->st_nlink != 0 || ret->st_dev != dir.st_dev)
                return -EINVAL;
        return 0;
}

/* Takes the name back, if it is still our file's. */
static void link_undo(const struct store *store, int fd, const char *name) {
        if (private_same(store->dirfd, name, fd))
                (void)unlinkat(store->dirfd, name, 0);
}

static int link_checked(const struct store *store, int fd, const char *name) {
        int r = link_file(fd, store->dirfd, name);

        if (r < 0)
                return r;
        if (!private_same(store->dirfd, name, fd)) {
                /* Somebody else's file now, and not ours to unlink; or the look itself failed,
                 * and then a second one tells. */
                link_undo(store, fd, name);
                return -ESTALE;
        }
        if (fsync(store->dirfd) == 0)
                return 0;
        /* A name that a power cut may take away is no promise to put into a record. */
        r = -errno;
        link_undo(store, fd, name);
        return r;
}

int store_commit(struct store *store, int fd, const char *id, char **ret_path, uint64_t *ret_size) {
        _cleanup_free_ char *path = NULL;
        _cleanup_close_ int held = -1;
        char name[NAME_SIZE];
        struct stat st = { 0 };
        int r;

        r = dump_name(id, name);
        if (r < 0)
                return r;
        r = check_unnamed(store, fd, &st);
        if (r < 0)
                return r;
        held = fcntl(fd, F_DUPFD_CLOEXEC, 0);
        if (held < 0)
                return -errno;
        if (asprintf(&path, "%s%s/%s", store->root, PATH_STORE, name) < 0) {
                path = NULL;
                return -ENOMEM;
        }
        /* The name appears only after the bytes are on the disk: a reader must never open half a
         * dump, and a power cut must leave none. */
        if (fsync(fd) < 0)
                return -errno;
        r = link_checked(store, fd, name);
        if (r < 0)
                return r;
        (void)snprintf(store->committed, sizeof(store->committed), "%s", id);
        cleanup_close(&store->committed_fd);
        store->committed_fd = TAKE_FD(held);
        /* From here on the file itself is counted. */
        reserve_release(store->reserve);
        store->reserve = NULL;
        *ret_path = TAKE_PTR(path);
        *ret_size = (uint64_t)st.st_size;
        return 0;
}

int store_withdraw(struct store *store, const char *id) {
        char name[NAME_SIZE];
        int r = dump_name(id, name);

        if (r < 0)
                return r;
        if (strcmp(store->committed, id) != 0)
                return -ENOENT;
        if (faccessat(store->dirfd, name, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
                return errno == ENOENT ? 0 : -errno;
        if (!private_same(store->dirfd, name, store->committed_fd))
                return -ESTALE;
        if (unlinkat(store->dirfd, name, 0) < 0)
                return -errno;
        store->committed[0] = '\0';
        return fsync(store->dirfd) < 0 ? -errno : 0;
}

int store_path(const char *root, const char *id, char **ret_path) {
        _cleanup_free_ char *path = NULL;
        char name[NAME_SIZE];
        struct stat st;
        int r = dump_name(id, name);

        if (r < 0)
                return r;
        if (asprintf(&path, "%s%s/%s", root, PATH_STORE, name) < 0) {
                path = NULL;
                return -ENOMEM;
        }
        if (lstat(path, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return -ENOENT;
        *ret_path = TAKE_PTR(path);
        return 0;
}

int store_read(const char *root, const char *id, int *ret_fd) {
        _cleanup_close_ int dirfd = -1;
        char name[NAME_SIZE];
        int r = dump_name(id, name);

        if (r < 0)
                return r;
        r = private_dir(root, PATH_STORE, false, &dirfd);
        if (r < 0)
                return r;
        r = private_file(dirfd, name, O_RDONLY, ret_fd);
        return r == -ELOOP ? -EPERM : r;
}
