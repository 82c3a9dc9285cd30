/* fragment: finds every fragment of every needle, at memory speed.
 *
 * Any 15 bytes of memory hold one whole 8-aligned word, so the filter hashes all shifted 8-byte
 * windows of the needles and probes only aligned words of memory; a hit is checked exactly and
 * widened both ways to the longest run equal to the needle. Needles of 8 to 15 bytes have a
 * filter of their own over 4-aligned words and must match whole.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "secret/needle.h"

struct fragment_index; /* opaque; refers to the set, which must outlive it */

/* Returns 0 or -ENOMEM. An empty set gives an index that finds nothing. */
int fragment_index_new(const struct needle_set *set, struct fragment_index **ret);
void fragment_index_free(struct fragment_index *index);

/* Called with [start, end) in bytes of the buffer. Non-zero stops the hunt and is returned. */
typedef int (*fragment_hit)(void *userdata, size_t start, size_t end, const struct needle *needle);

/* Hunts in `buf`, at any alignment of buffer and needle. A needle that straddles two buffers is
 * found whole when the second begins with the last FRAGMENT_OVERLAP bytes of the first.
 * Fragments of nothing but zero bytes, or of the fill, are not hits. */
#define FRAGMENT_OVERLAP 64U
int fragment_hunt(const struct fragment_index *index, const uint8_t *buf, size_t n,
                  fragment_hit hit, void *userdata);
