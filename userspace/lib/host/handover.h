/* handover: core_pattern becomes ours, and what it was before comes back.
 *
 * What enable replaced is kept in PATH_BEFORE (root's, mode 0600), written before anything is
 * changed, so that disable also cleans up after an enable that was killed half-way. The kernel
 * cuts a pattern silently at 127 characters and newer ones accept invalid ones: what was written
 * is read back and compared.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define CORE_PATTERN_MAX 127U /* CORENAME_MAX_SIZE - 1 */

/* How many dumps the kernel pipes at one time; over it a process is reaped without one. Each
 * holds its memory while it waits for one of the SLOTS_MAX workers. A larger limit found on the
 * host is kept; 0 (no limit, and the kernel does not wait for the helper) is not. */
#define CORE_PIPE_LIMIT 16U

struct before {
        char core_pattern[CORE_PATTERN_MAX + 1];
        unsigned core_pipe_limit;
        bool bpffs_mounted;              /* by enable: disable unmounts it */
        char ours[CORE_PATTERN_MAX + 1]; /* what enable wrote; empty: not that far yet */
        unsigned our_limit;
};

enum pattern_kind {
        PATTERN_OURS,
        PATTERN_OURS_OTHER, /* our helper, of another place or version */
        PATTERN_FILE,       /* the kernel writes files */
        PATTERN_PIPE,       /* another program */
        PATTERN_SOCKET,     /* `@` or `@@`: another program listens */
};

/* The pattern for a helper and root. -E2BIG: over CORE_PATTERN_MAX; -EINVAL: a path or root with
 * blanks or `%`, which the kernel would take apart. */
int pattern_make(const char *helper, const char *root, char ret[CORE_PATTERN_MAX + 1]);
enum pattern_kind pattern_kind(const char *pattern, const char *ours);

/* One line of /proc/sys/kernel, without its newline. */
int pattern_read(char ret[CORE_PATTERN_MAX + 1]);
int pipe_limit_read(unsigned *ret);

/* Sets limit, then pattern, and compares what the kernel says then. -EIO: it says otherwise. */
int handover_set(const char *pattern, unsigned limit);

/* The state file below `root`: text, `key=value`. -ENOENT: not there; -EBADMSG: not ours. */
int before_parse(const char *text, struct before *ret);
int before_load(const char *root, struct before *ret);
int before_save(const char *root, const struct before *before);
int before_remove(const char *root);
