/* pack: the output file, zstd or plain.
 *
 * Compressed, the file is a concatenation of zstd frames, each with a checksum; `zstd -d` gives
 * the core. Holes are ready-made frames of zeros, so that 64 GiB of untouched memory cost
 * milliseconds. Plain, holes are holes of a sparse file. Nothing but pwrite() and ftruncate() is
 * done to the descriptor, which stays the caller's.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PACK_DATA_MAX (1U << 20) /* bytes of one pack_data(): one frame */

struct pack; /* opaque */

/* `fd`: an empty regular file. 0, -ENOMEM. */
int pack_new(int fd, bool compress, struct pack **ret);
void pack_free(struct pack *pack);

/* Appends at most PACK_DATA_MAX bytes, or `n` zeros of any number. 0, or an error of writing
 * (-ENOSPC, -EFBIG, -EIO …), after which the file is of no use. */
int pack_data(struct pack *pack, const uint8_t *buf, size_t n);
int pack_hole(struct pack *pack, uint64_t n);

/* Writes what is still held back. *ret_size: bytes of the core, uncompressed. */
int pack_finish(struct pack *pack, uint64_t *ret_size);
