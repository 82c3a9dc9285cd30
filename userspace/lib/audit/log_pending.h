/* log_pending: records that could not be written, waiting in PATH_RUN. Used by log*.c only.
 *
 * Whoever cannot write the log appends to pending.jsonl under that file's own lock, which is
 * never held while the log is waited for. Whoever holds the log renames it to taking.jsonl,
 * chains its lines, flushes, and only then unlinks it. After a death in between, the lines that
 * are already in the log are known by their ids: each is taken in exactly once.
 */
#pragma once

#include "audit/log_chain.h"

#define PENDING_NAME "pending.jsonl"
#define TAKING_NAME "taking.jsonl"

/* Puts one body there. -ENOSPC when LOG_PENDING_MAX is reached. */
int pending_put(int run_dirfd, const char *body, size_t size);

/* Takes in everything, under the lock of `chain`. After an error what is left still waits. */
int pending_take(struct chain *chain);
