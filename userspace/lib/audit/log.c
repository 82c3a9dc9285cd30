#include "audit/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit/log_chain.h"
#include "audit/log_pending.h"
#include "base/cleanup.h"
#include "base/paths.h"
#include "base/private.h"

/* The kernel takes lines of up to 1024 bytes and adds its own prefix; body keys come in an order
 * that puts who, when and what first. */
#define KMSG_PATH "/dev/kmsg"
#define KMSG_LINE_MAX 960U
#define KMSG_FORMAT "<2>coresieve: a record could not be written: %.*s\n"

static int append_flushed(struct chain *chain, const char *body, size_t size) {
        struct record_link newest;
        uint64_t before;
        int r;

        /* What cannot be taken in now still waits where it is, and `audit verify` counts it; it
         * must not keep this record out. */
        (void)pending_take(chain);
        before = chain->size;
        newest = chain->newest;
        r = chain_append(chain, body, size);
        if (r < 0)
                return r;
        r = chain_flush(chain);
        if (r < 0)
                chain_undo(chain, before, &newest);
        return r;
}

static int log_write(const char *root, const char *body, size_t size) {
        struct chain chain;
        int r;

        r = chain_open(root, &chain);
        if (r < 0)
                return r;
        r = chain_recover(&chain);
        if (r == 0)
                r = append_flushed(&chain, body, size);
        chain_close(&chain);
        return r;
}

static enum log_place kernel_put(const char *body) {
        _cleanup_close_ int fd = open(KMSG_PATH, O_WRONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        char line[KMSG_LINE_MAX + sizeof(KMSG_FORMAT)];
        int n;

        if (fd < 0)
                return LOG_LOST;
        n = snprintf(line, sizeof(line), KMSG_FORMAT, (int)(KMSG_LINE_MAX - sizeof(KMSG_FORMAT)),
                     body);
        return n > 0 && write(fd, line, (size_t)n) == n ? LOG_KERNEL : LOG_LOST;
}

/* The same record as it will be true once the caller has withdrawn the dump. */
static int unkept_body(const struct record *record, char **ret, size_t *ret_size) {
        _cleanup_free_ struct record *copy = malloc(sizeof(*copy));

        if (!copy)
                return -ENOMEM;
        *copy = *record;
        copy->kept = false;
        copy->path = (struct record_text){ 0 };
        verdict_raise(&copy->verdict, CONTENT_REFUSE, CAUSE_LOG_FAILED);
        return record_body(copy, ret, ret_size);
}

int log_append(const char *root, const struct record *record, enum log_place *ret_place) {
        _cleanup_free_ char *body = NULL, *unkept = NULL;
        _cleanup_close_ int run_dirfd = -1;
        size_t size;
        int r;

        r = record_body(record, &body, &size);
        if (r < 0) {
                *ret_place = kernel_put(record->id);
                return r;
        }
        r = log_write(root, body, size);
        if (r == 0) {
                *ret_place = LOG_WRITTEN;
                return 0;
        }
        if (record->kept && unkept_body(record, &unkept, &size) == 0) {
                free(body);
                body = TAKE_PTR(unkept);
        }
        if (private_dir(root, PATH_RUN, true, &run_dirfd) == 0 &&
            pending_put(run_dirfd, body, size) == 0)
                *ret_place = LOG_PENDING;
        else
                *ret_place = kernel_put(body);
        return r;
}
