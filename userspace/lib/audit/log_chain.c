#include "audit/log_chain.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "audit/log.h"
#include "audit/log_line.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/paths.h"
#include "base/private.h"

/* A log that was renamed while we waited for its lock is opened again, so many times. */
#define REOPEN_MAX 8U
#define SEQ_DIGITS 20U

int tip_read(int fd, struct record_link *ret) {
        struct record_link tip = { 0 };
        char text[TIP_SIZE + 1];
        ssize_t n = io_pread(fd, text, sizeof(text), 0);

        if (n < 0)
                return (int)n;
        if (n == 0)
                return -ENODATA;
        if (n != TIP_SIZE || text[SEQ_DIGITS] != ' ' || text[TIP_SIZE - 1] != '\n')
                return -EBADMSG;
        for (size_t i = 0; i < SEQ_DIGITS; i++) {
                if (text[i] < '0' || text[i] > '9' || (i == 0 && text[i] != '0'))
                        return -EBADMSG;
                tip.seq = tip.seq * 10 + (uint64_t)(text[i] - '0');
        }
        memcpy(tip.hash, text + SEQ_DIGITS + 1, RECORD_HASH_SIZE - 1);
        if (strspn(tip.hash, "0123456789abcdef") != RECORD_HASH_SIZE - 1)
                return -EBADMSG;
        *ret = tip;
        return 0;
}

/* In place and of one size: neither a full disk nor a crash can leave half of it, since it lies
 * in one sector. */
int tip_write(int fd, const struct record_link *tip) {
        char text[TIP_SIZE + 1];
        ssize_t n;

        (void)snprintf(text, sizeof(text), "%0*" PRIu64 " %s\n", SEQ_DIGITS, tip->seq, tip->hash);
        n = pwrite(fd, text, TIP_SIZE, 0);
        if (n < 0)
                return -errno;
        if (n != TIP_SIZE)
                return -EIO;
        /* What stood there before may have been longer. */
        return ftruncate(fd, TIP_SIZE) < 0 || fsync(fd) < 0 ? -errno : 0;
}

static int log_open_locked(int dirfd, int *ret_fd) {
        for (unsigned i = 0; i < REOPEN_MAX; i++) {
                _cleanup_close_ int fd = -1;
                int r = private_file(dirfd, LOG_NAME, O_RDWR | O_APPEND | O_CREAT, &fd);

                if (r < 0)
                        return r;
                r = private_lock(fd, LOCK_EX, LOG_LOCK_MS);
                if (r < 0)
                        return r;
                if (private_same(dirfd, LOG_NAME, fd)) {
                        *ret_fd = TAKE_FD(fd);
                        return 0;
                }
        }
        return -ESTALE;
}

void chain_close(struct chain *chain) {
        cleanup_close(&chain->run_dirfd);
        cleanup_close(&chain->tip_fd);
        cleanup_close(&chain->fd); /* and with it the lock */
        cleanup_close(&chain->dirfd);
}

static int chain_open_files(const char *root, struct chain *chain) {
        struct stat st;
        int r = private_dir(root, PATH_LOG_DIR, true, &chain->dirfd);

        if (r < 0)
                return r;
        r = log_open_locked(chain->dirfd, &chain->fd);
        if (r < 0)
                return r;
        r = private_file(chain->dirfd, TIP_NAME, O_RDWR | O_CREAT, &chain->tip_fd);
        if (r < 0)
                return r;
        if (fstat(chain->fd, &st) < 0)
                return -errno;
        chain->size = (uint64_t)st.st_size;
        chain->fresh = chain->size == 0;
        /* Without it ids have no counter and nothing is pending: no reason to lose a record. */
        if (private_dir(root, PATH_RUN, true, &chain->run_dirfd) < 0)
                chain->run_dirfd = -1;
        return 0;
}

int chain_open(const char *root, struct chain *ret) {
        struct chain chain = { .dirfd = -1, .fd = -1, .tip_fd = -1, .run_dirfd = -1 };
        int r = chain_open_files(root, &chain);

        if (r < 0) {
                chain_close(&chain);
                return r;
        }
        *ret = chain;
        return 0;
}

/* One write: a reader, and whoever comes after a crash, sees a whole line or a torn last one. */
int chain_append(struct chain *chain, const char *body, size_t size) {
        _cleanup_free_ char *line = NULL;
        size_t line_size;
        int r = record_line(body, size, &chain->newest, &line, &line_size);

        if (r < 0)
                return r;
        line[line_size] = '\n'; /* in place of the NUL */
        r = io_write(chain->fd, line, line_size + 1);
        if (r < 0) {
                chain_undo(chain, chain->size, &chain->newest);
                return r;
        }
        chain->size += line_size + 1;
        chain->newest.seq++;
        record_hash(line, line_size, chain->newest.hash);
        chain->unflushed = true;
        return 0;
}

void chain_undo(struct chain *chain, uint64_t size, const struct record_link *newest) {
        /* When even this fails a torn line stays, which the next append recovers, or a whole
         * one, whose id tells that it need not be taken in again. */
        if (ftruncate(chain->fd, (off_t)size) < 0)
                return;
        chain->size = size;
        chain->newest = *newest;
}

int chain_flush(struct chain *chain) {
        if (!chain->unflushed)
                return 0;
        /* A directory entry made just now must survive a power cut as well as its bytes. */
        if (fdatasync(chain->fd) < 0 || (chain->fresh && fsync(chain->dirfd) < 0))
                return -errno;
        chain->unflushed = chain->fresh = false;
        if (tip_write(chain->tip_fd, &chain->newest) == 0)
                chain->tip = chain->newest;
        return 0;
}

void chain_event(const struct chain *chain, enum record_event event, struct record *ret) {
        memset(ret, 0, sizeof(*ret));
        ret->event = event;
        if (clock_gettime(CLOCK_REALTIME, &ret->time) < 0)
                ret->time = (struct timespec){ 0 };
        record_new_id(chain->run_dirfd, ret->id);
}
