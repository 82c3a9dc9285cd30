/* log: the chained audit log.
 *
 * One append: lock (flock on the log, LOG_LOCK_MS at most), recover, take in what is pending,
 * write, flush, tip. The tip (count and hash of the newest line, fixed size, written in place)
 * stands in PATH_TIP beside the log, so that a cut tail shows. Recover means:
 *
 *   - a torn last line (no newline: somebody died while writing) is cut off, and a `recovered`
 *     record names its bytes;
 *   - a log that is ahead of its tip by lines that chain (died between write and tip) is whole;
 *   - anything else that is not as the tip says (a cut or changed tail, a missing log or tip) is
 *     evidence: nothing is mended, the append goes on behind it, and a `break` record keeps what
 *     was expected and what was found. `audit verify` reports it for as long as the log is kept.
 *
 * When the log cannot be written (its disk is full, read-only, locked too long), the record goes
 * to PATH_RUN/pending.jsonl instead and is taken in by the next append that succeeds, once; and
 * failing that to the kernel log. Nothing is lost silently, and the caller learns it, for then
 * no dump may be kept: what waits says so already (outcome metadata, cause log-failed).
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "audit/record.h"

#define LOG_LOCK_MS 5000U
#define LOG_PENDING_MAX (4U << 20) /* bytes of pending records */
#define LOG_AHEAD_MAX 8192U        /* lines that the log may be ahead of its tip */

enum log_place {
        LOG_WRITTEN, /* in the audit log, flushed */
        LOG_PENDING, /* in PATH_RUN/pending.jsonl, taken in by a later append */
        LOG_KERNEL,  /* only in the kernel's log, cut to one line of it */
        LOG_LOST,    /* nowhere */
};

/* Appends one record. Returns 0 and LOG_WRITTEN; or the negative errno of the log and where the
 * record went instead. Directories and files that are missing are made; links, FIFOs and what
 * is not root's are refused (-EPERM, -ELOOP). */
int log_append(const char *root, const struct record *record, enum log_place *ret_place);

/* What `audit verify` found. */
struct log_check {
        uint64_t records;  /* lines that are in order */
        uint64_t bad_line; /* 1-based line of the first break, 0 none */
        const char *what;  /* is wrong there; static text, NULL when nothing is */
        struct record_link newest;
        uint64_t ahead; /* lines newer than the tip: somebody died before writing it */
        uint64_t torn;  /* bytes of an unfinished last line: the next append recovers it */
};

/* Walks the whole chain and compares the tip. 0 intact, -EBADMSG broken (see *ret), else an
 * errno of the log: -ENOENT no such log, -EINVAL no regular file, -ETIMEDOUT locked too long.
 * *ret is set with 0 and -EBADMSG. A `tip_path` of NULL: the tail is not checked. Several files
 * are several chains; each is checked alone. */
int log_verify(const char *log_path, const char *tip_path, struct log_check *ret);

/* Calls `each` with every record line (no newline), oldest first; pending ones (bodies without
 * v, seq and prev) last. Non-zero stops and is returned. A line that is not JSON is handed on as
 * it is, at most RECORD_LINE_MAX bytes of it. No log is no error. */
typedef int (*log_each)(void *userdata, const char *line, size_t size);
int log_read(const char *root, log_each each, void *userdata);

/* How many records wait to be taken in. */
int log_pending_count(const char *root, uint64_t *ret);
