#include "audit/log_pending.h"

#include <errno.h>
#include <fcntl.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "audit/log.h"
#include "audit/log_line.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/private.h"

#define PENDING_LOCK_MS 1000U
#define REOPEN_MAX 8U /* a file that was renamed while we waited is opened again, so many times */
/* Lines that may have come into the log behind those of an interrupted take: breaks and
 * recoveries of appends that failed themselves. */
#define TAKEN_SLACK 64U
#define PENDING_LINES_MAX (LOG_PENDING_MAX / 64U) /* no body is that short */

struct waiting { /* one line of taking.jsonl */
        char id[RECORD_ID_SIZE];
        const char *body;
        size_t size;
        bool ours;
        bool taken;
};

static int open_locked(int dirfd, int *ret_fd) {
        for (unsigned i = 0; i < REOPEN_MAX; i++) {
                _cleanup_close_ int fd = -1;
                int r = private_file(dirfd, PENDING_NAME, O_RDWR | O_APPEND | O_CREAT, &fd);

                if (r < 0)
                        return r;
                r = private_lock(fd, LOCK_EX, PENDING_LOCK_MS);
                if (r < 0)
                        return r;
                if (private_same(dirfd, PENDING_NAME, fd)) {
                        *ret_fd = TAKE_FD(fd);
                        return 0;
                }
        }
        return -ESTALE;
}

int pending_put(int run_dirfd, const char *body, size_t size) {
        _cleanup_free_ char *line = NULL;
        _cleanup_close_ int fd = -1;
        char last = '\n';
        struct stat st;
        int r;

        if (run_dirfd < 0)
                return -EBADF;
        r = open_locked(run_dirfd, &fd);
        if (r < 0)
                return r;
        if (fstat(fd, &st) < 0)
                return -errno;
        if ((uint64_t)st.st_size + size + 2 > LOG_PENDING_MAX)
                return -ENOSPC;
        if (st.st_size > 0 && io_pread(fd, &last, 1, (uint64_t)st.st_size - 1) != 1)
                return -EIO;
        line = malloc(size + 2);
        if (!line)
                return -ENOMEM;
        /* The newline first if somebody died in the middle of his line. */
        line[0] = '\n';
        memcpy(line + 1, body, size);
        line[size + 1] = '\n';
        r = last == '\n' ? io_write(fd, line + 1, size + 1) : io_write(fd, line, size + 2);
        if (r < 0 && ftruncate(fd, st.st_size) < 0)
                return -errno; /* the torn line is known as such when it is taken in */
        return r;
}

struct by_id {
        struct waiting *waiting;
};

static int by_id_compare(const void *a, const void *b) {
        const struct by_id *x = a, *y = b;

        return strcmp(x->waiting->id, y->waiting->id);
}

/* Marks what an interrupted take has already brought into the log. */
static int mark_taken(const struct chain *chain, struct waiting *waiting, size_t n) {
        _cleanup_free_ struct by_id *sorted = calloc(n + 1, sizeof(*sorted));
        _cleanup_free_ char *buf = malloc(LINE_WINDOW);
        uint64_t end = chain->size;

        if (!sorted || !buf)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++)
                sorted[i].waiting = &waiting[i];
        qsort(sorted, n, sizeof(*sorted), by_id_compare);
        for (size_t i = 0; end > 0 && i < n + TAKEN_SLACK; i++) {
                struct waiting key = { 0 };
                struct by_id wanted = { &key }, *found;
                struct line_head head;
                const char *line;
                size_t size;
                int r = line_before(chain->fd, end - 1, buf, &line, &size);

                if (r < 0)
                        return r == -ENODATA || r == -EFBIG ? 0 : r;
                end -= size + 1;
                if (line_head_parse(line, size, &head) < 0)
                        continue;
                memcpy(key.id, head.id, sizeof(key.id));
                found = bsearch(&wanted, sorted, n, sizeof(*sorted), by_id_compare);
                if (found)
                        found->waiting->taken = true;
        }
        return 0;
}

static bool is_body(const char *line, size_t size) {
        json_t *object =
                size <= RECORD_LINE_MAX - RECORD_CHAIN_MAX ? line_object(line, size) : NULL;
        bool is = object != NULL;

        json_decref(object);
        return is;
}

static int waiting_split(char *text, size_t size, struct waiting **ret, size_t *ret_n) {
        _cleanup_free_ struct waiting *waiting = NULL;
        size_t n = 0, room = 1;

        for (size_t i = 0; i < size; i++)
                room += text[i] == '\n';
        if (room > PENDING_LINES_MAX)
                return -E2BIG;
        waiting = calloc(room, sizeof(*waiting));
        if (!waiting)
                return -ENOMEM;
        for (char *at = text, *end = text + size; at < end;) {
                char *newline = memchr(at, '\n', (size_t)(end - at));
                struct waiting *w = &waiting[n];

                w->body = at;
                w->size = (size_t)((newline ? newline : end) - at);
                w->ours = newline && line_body_id(at, w->size, w->id) == 0 && is_body(at, w->size);
                if (w->size > 0)
                        n++;
                at += w->size + 1;
        }
        *ret = TAKE_PTR(waiting);
        *ret_n = n;
        return 0;
}

/* Chains the lines of taking.jsonl, flushes, and drops it. */
static int take_file(struct chain *chain) {
        _cleanup_free_ struct waiting *waiting = NULL;
        _cleanup_free_ char *text = NULL;
        _cleanup_close_ int fd = -1;
        struct record_link newest = chain->newest;
        uint64_t before = chain->size;
        size_t size, n;
        int r;

        r = private_file(chain->run_dirfd, TAKING_NAME, O_RDONLY, &fd);
        if (r < 0)
                return r == -ENOENT ? 0 : r;
        r = io_read_fd(fd, LOG_PENDING_MAX, &text, &size);
        if (r < 0)
                return r;
        r = waiting_split(text, size, &waiting, &n);
        if (r < 0)
                return r;
        r = mark_taken(chain, waiting, n);
        for (size_t i = 0; r == 0 && i < n; i++) {
                if (waiting[i].taken)
                        continue;
                r = waiting[i].ours
                            ? chain_append(chain, waiting[i].body, waiting[i].size)
                            : chain_append_recovered(chain, waiting[i].body, waiting[i].size);
        }
        if (r < 0)
                return r;
        r = chain_flush(chain);
        if (r < 0) {
                chain_undo(chain, before, &newest);
                return r;
        }
        return unlinkat(chain->run_dirfd, TAKING_NAME, 0) < 0 ? -errno : 0;
}

/* Nobody is in the middle of a line then, and whoever waited for the lock sees that the file has
 * another name now. */
static int rename_locked(int dirfd) {
        _cleanup_close_ int fd = -1;
        int r = open_locked(dirfd, &fd);

        if (r < 0)
                return r;
        return renameat(dirfd, PENDING_NAME, dirfd, TAKING_NAME) < 0 ? -errno : 0;
}

int pending_take(struct chain *chain) {
        int r;

        if (chain->run_dirfd < 0)
                return 0;
        r = take_file(chain); /* left by somebody who died, or whose disk was full */
        if (r < 0)
                return r;
        if (faccessat(chain->run_dirfd, PENDING_NAME, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
                return errno == ENOENT ? 0 : -errno;
        r = rename_locked(chain->run_dirfd);
        return r < 0 ? r : take_file(chain);
}
