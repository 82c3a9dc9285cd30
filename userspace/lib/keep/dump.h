/* dump: reading a kept dump.
 *
 * A dump is a row of zstd frames that each tell their size (sieve/pack.h), so that what is not
 * wanted can be skipped without being decompressed. Any other zstd file can be read too, only
 * slower. Used by the command, never by the helper.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "sieve/reason.h"

struct dump; /* opaque; borrows its descriptor, which must be a regular file */

int dump_open(int fd, struct dump **ret);
void dump_close(struct dump *dump); /* NULL is fine */

/* The next `n` bytes of the core. Returns how many (fewer only at the end), -EBADMSG when the
 * file is damaged or cut, or a read error. */
ssize_t dump_read(struct dump *dump, void *buf, size_t n);

/* Passes over `n` bytes: 0, -ENODATA when the core ends before, or as above. */
int dump_skip(struct dump *dump, uint64_t n);

/* Back to the start. */
void dump_rewind(struct dump *dump);

/* What `.note.coresieve` lists. */
struct dump_erased {
        uint32_t content;                                 /* enum content, as the note says */
        uint64_t ranges[_REASON_MAX], bytes[_REASON_MAX]; /* [0]: of no reason known here */
};

/* Reads the note from the start of the dump, in constant memory. -ENODATA: there is none;
 * -EBADMSG: damaged. Moves the dump's position. */
int dump_erased(struct dump *dump, struct dump_erased *ret);

/* Writes the whole core from the start into `out_fd`, an empty regular file, leaving pages of
 * zeros as holes. -EFBIG when it is longer than `max` bytes. */
int dump_unpack(struct dump *dump, int out_fd, uint64_t max, uint64_t *ret_size);
