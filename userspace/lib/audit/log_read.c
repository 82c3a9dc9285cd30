#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "audit/log.h"
#include "audit/log_chain.h"
#include "audit/log_line.h"
#include "audit/log_pending.h"
#include "base/cleanup.h"
#include "base/paths.h"
#include "base/private.h"

static int read_file(int dirfd, const char *name, log_each each, void *userdata) {
        _cleanup_close_ int fd = -1;
        struct line_reader reader;
        struct line line;
        struct stat st;
        int r = private_file(dirfd, name, O_RDONLY, &fd);

        if (r < 0)
                return r == -ENOENT ? 0 : r;
        /* A reader waits for the end of an append, so as not to see half a line; it does not
         * fail because of one that hangs. */
        r = private_lock(fd, LOCK_SH, LOG_LOCK_MS);
        if (r < 0 && r != -ETIMEDOUT)
                return r;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (r == 0 && flock(fd, LOCK_UN) < 0)
                return -errno;
        r = line_reader_new(fd, (uint64_t)st.st_size, &reader);
        if (r < 0)
                return r;
        while ((r = line_next(&reader, &line)) > 0) {
                r = each(userdata, line.bytes, line.size);
                if (r != 0)
                        break;
        }
        line_reader_done(&reader);
        return r;
}

static int read_pending(const char *root, log_each each, void *userdata) {
        _cleanup_close_ int dirfd = -1;
        int r = private_dir(root, PATH_RUN, false, &dirfd);

        if (r < 0)
                return r == -ENOENT ? 0 : r;
        r = read_file(dirfd, TAKING_NAME, each, userdata);
        if (r != 0)
                return r;
        return read_file(dirfd, PENDING_NAME, each, userdata);
}

int log_read(const char *root, log_each each, void *userdata) {
        _cleanup_close_ int dirfd = -1;
        int r = private_dir(root, PATH_LOG_DIR, false, &dirfd);

        if (r < 0 && r != -ENOENT)
                return r;
        if (r == 0) {
                r = read_file(dirfd, LOG_NAME, each, userdata);
                if (r != 0)
                        return r;
        }
        return read_pending(root, each, userdata);
}

static int count_one(void *userdata, const char *line, size_t size) {
        uint64_t *n = userdata;

        (void)line;
        *n += size > 0;
        return 0;
}

int log_pending_count(const char *root, uint64_t *ret) {
        uint64_t n = 0;
        int r = read_pending(root, count_one, &n);

        if (r < 0)
                return r;
        *ret = n;
        return 0;
}
