/* recheck: the naive second search of every block before it is compressed.
 *
 * It shares no code and no algorithm with fragment.c: a rolling hash over every byte position
 * (Karp and Rabin 1987), each candidate compared with memcmp. A bug in the matcher must be
 * matched by a different bug here before a secret passes.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "secret/needle.h"
#include "sieve/plan.h"

struct recheck; /* opaque; remembers the end of the last block, so that nothing hides between */

/* `set` and `plan` must outlive it; `plan` tells the spared ranges; NULL: none. */
int recheck_new(const struct needle_set *set, const struct plan *plan, struct recheck **ret);
void recheck_free(struct recheck *recheck);

/* Blocks come in file order; `offset` is the block's place in the core. A gap (a hole) between
 * two blocks is taken as zeros. 0, or -EBADMSG when a fragment of a needle is in it. */
int recheck_block(struct recheck *recheck, uint64_t offset, const uint8_t *buf, size_t n);
