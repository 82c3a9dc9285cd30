/* output: a file that a command writes for its user: whole or absent, 0600, and never over
 * another unless told so.
 *
 * It has no name until it is whole (O_TMPFILE), or, on file systems that cannot do that, a
 * hidden one beside its own that goes when anything fails.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>

struct output {
        int dirfd;
        int fd; /* O_RDWR, empty */
        bool force;
        char name[NAME_MAX + 1];
        char hidden[NAME_MAX + 1]; /* "": unnamed */
        char path[PATH_MAX];       /* absolute, for records */
};

/* 0, -EEXIST when there is such a file (without `force`), -ENOTSUP when what is there is no
 * regular file (never replaced), or another negative errno. */
int output_open(const char *path, bool force, struct output *ret);

/* Flushes it and gives it its name; with `force` in the place of what was there, in one step. */
int output_commit(struct output *output);

/* Without a commit before, nothing stays. */
void output_done(struct output *output);

/* An unnamed file beside it, for what must be read from its start more than once. */
int output_scratch(const struct output *output, int *ret_fd);

/* What to do about an errno of the above. */
const char *output_remedy(int error);
