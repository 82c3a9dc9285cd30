/* store: where clean dumps are kept: whole or absent.
 *
 * A dump is an unnamed file (O_TMPFILE) until its bytes are on the disk; then it is linked under
 * its record's id. The directory must be a real directory, root's, 0700; nothing in it is
 * followed or trusted. Limits hold for all helpers together: each reserves its largest size
 * under the store's lock before it writes.
 *
 * Reservations stand in PATH_RUN/store.reserve, one 8-byte slot for each live helper, which
 * holds an open-file-description lock on its slot: a dead helper's reservation ends with it.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "host/policy.h"

#define STORE_LOCK_MS 5000U
#define STORE_SUFFIX ".core.zst"
#define STORE_SLOTS_MAX 64U    /* helpers that hold a reservation at one time */
#define STORE_FILES_MAX 65536U /* files in the store; with more nothing is kept */

struct store; /* opaque: directory, lock, reservation */

/* Opens the store below `root` and checks it. 0, -ENOENT, -EPERM (not a 0700 directory of
 * root's), -EROFS, or another negative errno. */
int store_open(const char *root, struct store **ret);
void store_close(struct store *store); /* gives back the reservation; NULL is fine */

/* Reserves room for one dump: the smaller of policy->store_dump_max and what is left under
 * store_total_max and store_keep_free, given the reservations of others. One per store_open().
 * -ENOSPC when nothing useful (under STORE_USEFUL) is left or STORE_FILES_MAX is reached; -EAGAIN
 * when others have promised themselves what is left, which ends with their dumps; -EDEADLK when
 * the lock timed out; -EBUSY when all slots are taken. */
#define STORE_USEFUL (1U << 20)
int store_reserve(struct store *store, const struct policy *policy, uint64_t *ret_bytes);

/* The file is whole: gives back what was reserved beyond its size. An error costs others room
 * until this store is closed, nothing else. */
int store_settle(struct store *store, int fd);

/* An unnamed file to write to, 0600, O_WRONLY for the worker's use; the caller closes it. */
int store_create(struct store *store, int *ret_fd);

/* Flushes the file and gives it the name "<id>.core.zst"; *ret_path is the absolute path as the
 * host sees it (`root` included) and the caller's to free, *ret_size its bytes. -EEXIST: there
 * is a dump of that id, which is never overwritten; -EINVAL: no id, or no file of
 * store_create(); -ESTALE: what stands under the name is not what was written. */
int store_commit(struct store *store, int fd, const char *id, char **ret_path, uint64_t *ret_size);

/* Takes back the dump that this store committed (its record could not be written). -ENOENT
 * when it committed none of that id; -ESTALE when another file stands under its name now. */
int store_withdraw(struct store *store, const char *id);

/* The path of the dump with this id; -EINVAL for an id that is none (no '/', fixed alphabet),
 * -ENOENT when it is not there. Opens nothing. */
int store_path(const char *root, const char *id, char **ret_path);

/* Opens the dump with this id for reading: a regular file of root's with one name, -EPERM if it
 * is something else; -EINVAL and -ENOENT as above. */
int store_read(const char *root, const char *id, int *ret_fd);
