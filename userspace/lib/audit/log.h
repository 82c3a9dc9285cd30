/* log: the chained audit log.
 *
 * One append: lock (flock on the log, LOG_LOCK_MS at most), recover, write, fsync, tip. Recover
 * means: a torn last line (no newline) is cut off and named in a line of its own kind, pending
 * records of PATH_RUN are taken in first. The tip (count and hash of the newest line, fixed
 * size, written in place) is kept in PATH_TIP beside the log, so that a cut tail shows.
 *
 * When the log cannot be written (its disk is full, read-only, locked too long), the record goes
 * to a pending file in PATH_RUN instead, and failing that to the kernel log: nothing is lost
 * silently, and the caller learns it, for then no dump may be kept.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "audit/record.h"

#define LOG_LOCK_MS 5000U
#define LOG_PENDING_MAX 4096U /* records */

enum log_place {
        LOG_WRITTEN, /* in the audit log, flushed */
        LOG_PENDING, /* in PATH_RUN/pending.jsonl, taken in by the next append */
        LOG_KERNEL,  /* only in the kernel's log */
};

/* Appends one record. Returns 0 and LOG_WRITTEN; or the negative errno of the log and where the
 * record went instead. */
int log_append(const char *root, const struct record *record, enum log_place *ret_place);

/* What `audit verify` found. */
struct log_check {
        uint64_t records;
        uint64_t bad_line; /* 1-based line of the first break, 0 none */
        const char *what;  /* static text */
        char tip[65];      /* hash of the newest line */
        uint64_t pending;  /* records not yet taken in */
};

/* Walks the whole chain and compares the tip. 0 intact, -EBADMSG broken (see *ret), else an
 * errno. Several files are several chains; each is checked alone. */
int log_verify(const char *log_path, const char *tip_path, struct log_check *ret);

/* Calls `each` with every record line (no newline), oldest first; pending ones last. Non-zero
 * stops and is returned. A line that is not JSON is handed on as it is. */
typedef int (*log_each)(void *userdata, const char *line, size_t size);
int log_read(const char *root, log_each each, void *userdata);
