/* io: whole reads and writes. EINTR is retried, a short transfer is continued. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Reads until `n` bytes or the end. Returns the bytes read (fewer than `n` only at the end) or
 * a negative errno. */
ssize_t io_read(int fd, void *buf, size_t n);

/* The same at a file offset; the descriptor's own offset is not touched. */
ssize_t io_pread(int fd, void *buf, size_t n, uint64_t offset);

/* Writes all `n` bytes. Returns 0 or a negative errno; how much went out before is unknown. */
int io_write(int fd, const void *buf, size_t n);

/* Reads a whole small file (procfs, a policy, a key): at most `max` bytes, else -EFBIG.
 * *ret is NUL-terminated behind its *ret_size bytes, and the caller's to free. */
int io_read_fd(int fd, size_t max, char **ret, size_t *ret_size);
int io_read_path(int dirfd, const char *path, size_t max, char **ret, size_t *ret_size);
