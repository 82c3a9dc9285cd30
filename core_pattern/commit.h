/* commit: from a finished, unnamed file to a named dump with its record.
 *
 * The order is what makes it whole or absent: room is reserved before the worker writes; the
 * bytes are on the disk before they get a name; the record is on the disk last, and a dump whose
 * record did not get there is taken back.
 */
#pragma once

#include <stdint.h>

#include "audit/record.h"
#include "host/policy.h"
#include "keep/store.h"

struct commit {
        struct store *store;
        int out_fd;    /* for the worker, O_WRONLY */
        uint64_t room; /* bytes it may write */
};

/* Opens the store, reserves room and makes the file. What other helpers have reserved is waited
 * for until `deadline_ns`: most of it comes back, for nobody knows before how large a dump will
 * be. 0, or a negative errno and in *ret_cause what it means: CAUSE_STORE_FULL or
 * CAUSE_STORE_FAILED. Release with commit_done(). */
int commit_begin(const char *root, const struct policy *policy, uint64_t deadline_ns,
                 struct commit *ret, enum cause *ret_cause);
void commit_done(struct commit *commit);

/* Flushes the file and names it after the record. *ret_path is the caller's to free. */
int commit_dump(struct commit *commit, const char *id, char **ret_path, uint64_t *ret_size);

/* Appends the record. When that fails the dump, if there is one, is withdrawn. 0 or the negative
 * errno of the log. */
int commit_record(struct commit *commit, const char *root, const struct record *record);
