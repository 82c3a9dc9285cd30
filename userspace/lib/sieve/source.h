/* source: where the bytes of a core come from.
 *
 * Live, memory is pulled from /proc/PID/mem while the kernel waits on the pipe that nobody
 * drains; offline, from a core file. Both answer by file offset (what is in the core) and by
 * address (what the process could see). A source knows what need not be read: pages of
 * anonymous mappings that were never touched (PAGEMAP_SCAN), holes of a sparse core file.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "core/head.h"
#include "core/note.h"
#include "sieve/plan.h"

struct source; /* opaque; borrows head and notes, owns no descriptor */

/* `mem_fd`, `pagemap_fd`: /proc/PID/{mem,pagemap}, O_RDONLY. */
int source_new_live(const struct core_head *head, const struct core_notes *notes, int mem_fd,
                    int pagemap_fd, struct source **ret);
/* `core_fd`: a seekable core file. -ENODATA when it ends before head->end. */
int source_new_file(const struct core_head *head, const struct core_notes *notes, int core_fd,
                    struct source **ret);
void source_free(struct source *source);

/* Adds to the plan every extent that must be read. Skips absent pages only where the mapping is
 * anonymous: absent pages of a file mapping hold the file's bytes. 0, -ENODATA (the process
 * died), -E2BIG, or an errno. */
int source_add_extents(struct source *source, struct plan *plan);

/* All `n` bytes at file offset `offset`, inside PT_LOADs, or an error: -ENODATA when the process
 * was killed (reads of its memory return 0), -EIO when a page cannot be read. Guard pages
 * (MADV_GUARD) read as zeros, as the kernel writes them; the vsyscall page, which mem refuses,
 * is the constant that the kernel maps. */
int source_read(struct source *source, uint64_t offset, void *buf, size_t n);

/* The same by address, also outside of what is dumped (live only). -EFAULT: not mapped. */
int source_read_address(struct source *source, uint64_t address, void *buf, size_t n);
