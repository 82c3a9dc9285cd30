#include "keep/reserve.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/paths.h"
#include "base/private.h"
#include "keep/store.h"

#define RESERVE_NAME "store.reserve"
#define SLOT_SIZE sizeof(uint64_t)

struct reserve {
        int fd; /* its locks end with it, also when we are killed */
        unsigned slot;
};

static void cleanup_closedir(DIR **dir) {
        if (*dir)
                (void)closedir(*dir);
}

/* Bytes of every file in the store, whatever it is: a stray takes up room as well. */
static int store_used(int store_dirfd, uint64_t *ret) {
        _cleanup_(cleanup_closedir) DIR *dir = NULL;
        uint64_t used = 0;
        unsigned n = 0;
        int fd = openat(store_dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        if (fd < 0)
                return -errno;
        dir = fdopendir(fd);
        if (!dir) {
                (void)close(fd);
                return -ENOMEM;
        }
        for (;;) {
                const struct dirent *entry;
                struct stat st;

                errno = 0;
                entry = readdir(dir);
                if (!entry)
                        break;
                if (++n > STORE_FILES_MAX)
                        return -ENOSPC;
                if (fstatat(store_dirfd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
                        if (errno == ENOENT) /* withdrawn or cleared away meanwhile */
                                continue;
                        return -errno;
                }
                if (S_ISREG(st.st_mode) && st.st_size > 0)
                        used += (uint64_t)st.st_size;
        }
        if (errno != 0)
                return -errno;
        *ret = used;
        return 0;
}

static int slot_lock(int fd, unsigned slot) {
        struct flock lock = {
                .l_type = F_WRLCK,
                .l_whence = SEEK_SET,
                .l_start = (off_t)(slot * SLOT_SIZE),
                .l_len = SLOT_SIZE,
        };

        if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
                return 1;
        return errno == EAGAIN || errno == EACCES ? 0 : -errno;
}

static int slot_unlock(int fd, unsigned slot) {
        struct flock lock = {
                .l_type = F_UNLCK,
                .l_whence = SEEK_SET,
                .l_start = (off_t)(slot * SLOT_SIZE),
                .l_len = SLOT_SIZE,
        };

        return fcntl(fd, F_OFD_SETLK, &lock) < 0 ? -errno : 0;
}

static uint64_t saturating_add(uint64_t a, uint64_t b) {
        return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

/* Sums what the living hold and locks the first free slot. A slot that can be locked has no
 * owner: its number is of no account. */
static int slots_scan(int fd, uint64_t *ret_reserved, unsigned *ret_slot) {
        unsigned mine = STORE_SLOTS_MAX;
        uint64_t reserved = 0;

        for (unsigned slot = 0; slot < STORE_SLOTS_MAX; slot++) {
                uint64_t bytes = 0;
                int r = slot_lock(fd, slot);

                if (r < 0)
                        return r;
                if (r > 0) {
                        if (mine == STORE_SLOTS_MAX)
                                mine = slot;
                        else if ((r = slot_unlock(fd, slot)) < 0)
                                return r;
                        continue;
                }
                if (io_pread(fd, &bytes, sizeof(bytes), slot * SLOT_SIZE) != sizeof(bytes))
                        return -EIO;
                reserved = saturating_add(reserved, bytes);
        }
        if (mine == STORE_SLOTS_MAX)
                return -EBUSY;
        *ret_reserved = reserved;
        *ret_slot = mine;
        return 0;
}

static uint64_t left_of(uint64_t limit, uint64_t taken) {
        return limit > taken ? limit - taken : 0;
}

static uint64_t room_of(const struct policy *policy, uint64_t used, uint64_t free_bytes,
                        uint64_t reserved) {
        uint64_t room = policy->store_dump_max;

        if (left_of(policy->store_total_max, saturating_add(used, reserved)) < room)
                room = left_of(policy->store_total_max, saturating_add(used, reserved));
        /* What others have already written is counted twice here, as taken and as promised: the
         * error is on the safe side and ends with their dump. */
        if (left_of(free_bytes, saturating_add(policy->store_keep_free, reserved)) < room)
                room = left_of(free_bytes, saturating_add(policy->store_keep_free, reserved));
        return room;
}

static int room_left(int store_dirfd, const struct policy *policy, uint64_t reserved,
                     uint64_t *ret) {
        uint64_t used = 0, free_bytes, room;
        struct statvfs fs;
        int r = store_used(store_dirfd, &used);

        if (r < 0)
                return r;
        if (fstatvfs(store_dirfd, &fs) < 0)
                return -errno;
        free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
        room = room_of(policy, used, free_bytes, reserved);
        if (room < STORE_USEFUL)
                return room_of(policy, used, free_bytes, 0) < STORE_USEFUL ? -ENOSPC : -EAGAIN;
        *ret = room;
        return 0;
}

/* Under the lock of the whole file. */
static int take_slot(int fd, int store_dirfd, const struct policy *policy, unsigned *ret_slot,
                     uint64_t *ret_bytes) {
        uint64_t reserved = 0, room = 0;
        unsigned slot = 0;
        int r = slots_scan(fd, &reserved, &slot);

        if (r < 0)
                return r;
        r = room_left(store_dirfd, policy, reserved, &room);
        if (r < 0)
                return r;
        if (pwrite(fd, &room, sizeof(room), (off_t)(slot * SLOT_SIZE)) != sizeof(room))
                return -EIO;
        *ret_slot = slot;
        *ret_bytes = room;
        return 0;
}

int reserve_take(const char *root, int store_dirfd, const struct policy *policy,
                 struct reserve **ret, uint64_t *ret_bytes) {
        _cleanup_free_ struct reserve *reserve = malloc(sizeof(*reserve));
        _cleanup_close_ int dirfd = -1, fd = -1;
        int r;

        if (!reserve)
                return -ENOMEM;
        r = private_dir(root, PATH_RUN, true, &dirfd);
        if (r < 0)
                return r;
        r = private_file(dirfd, RESERVE_NAME, O_RDWR | O_CREAT, &fd);
        if (r < 0)
                return r;
        r = private_lock(fd, LOCK_EX, STORE_LOCK_MS);
        if (r < 0)
                return r == -ETIMEDOUT ? -EDEADLK : r;
        r = take_slot(fd, store_dirfd, policy, &reserve->slot, ret_bytes);
        if (flock(fd, LOCK_UN) < 0 && r == 0)
                r = -errno;
        if (r < 0)
                return r;
        reserve->fd = TAKE_FD(fd);
        *ret = TAKE_PTR(reserve);
        return 0;
}

int reserve_settle(struct reserve *reserve, uint64_t bytes) {
        ssize_t n;
        int r = private_lock(reserve->fd, LOCK_EX, STORE_LOCK_MS);

        if (r < 0)
                return r;
        n = pwrite(reserve->fd, &bytes, sizeof(bytes), (off_t)(reserve->slot * SLOT_SIZE));
        r = n == (ssize_t)sizeof(bytes) ? 0 : -EIO;
        if (flock(reserve->fd, LOCK_UN) < 0)
                return -errno;
        return r;
}

void reserve_release(struct reserve *reserve) {
        if (!reserve)
                return;
        cleanup_close(&reserve->fd);
        free(reserve);
}
