/* reserve: room in the store, promised to one helper at a time. Used by store.c only. */
#pragma once

#include <stdint.h>

#include "host/policy.h"

struct reserve; /* opaque: a locked slot */

/* See store_reserve(). `store_dirfd` is the store's directory. */
int reserve_take(const char *root, int store_dirfd, const struct policy *policy,
                 struct reserve **ret, uint64_t *ret_bytes);

/* Lowers it to `bytes`, all that the dump came to. 0 or a negative errno; the larger one stays
 * in force then. */
int reserve_settle(struct reserve *reserve, uint64_t bytes);
void reserve_release(struct reserve *reserve); /* NULL is fine */
