/* reserve: room in the store, promised to one helper at a time. Used by store.c only. */
#pragma once

#include <stdint.h>

#include "host/policy.h"

struct reserve; /* opaque: a locked slot */

/* See store_reserve(). `store_dirfd` is the store's directory. */
int reserve_take(const char *root, int store_dirfd, const struct policy *policy,
                 struct reserve **ret, uint64_t *ret_bytes);
void reserve_release(struct reserve *reserve); /* NULL is fine */
