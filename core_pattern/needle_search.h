/* needle_search: looks for the files of a crashed process, in a child of the helper's own.
 *
 * A child, because the file systems may be the process's own and an open there may never return:
 * it is killed at the deadline. What it says is one message for each file, with its descriptor;
 * needle_files.h has what is made of them. Used by needle_files.c only.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "core_pattern/mapped_files.h"
#include "host/policy.h"
#include "host/tagmap.h"

enum found_kind {
        FOUND_TAG,       /* a file of the tag */
        FOUND_MAPPED,    /* mapped file number `mapping` */
        FOUND_UNWATCHED, /* one that the process may have read unseen */
        FOUND_CUT,       /* no file: there may be more unwatched ones than could be looked at */
        FOUND_DONE,      /* no file: the search is complete */
};

/* One message. Sender and receiver are one program, so the struct is a plain one. */
struct found {
        struct file_key key; /* zero for a file that the sensor cannot identify */
        uint32_t rule;
        uint32_t kind; /* enum found_kind */
        uint32_t mapping;
        uint32_t pad;
        char path[PATH_MAX];
};

struct needle_search {
        const struct policy *policy;
        struct tagmap *map;
        const struct tag *tag; /* all zeros: none */
        const struct mapped_files *mapped;
        int memory_fd; /* directory of /proc */
        bool own_view; /* needle_search_own_view() */
        int socket;
};

/* Does the process see files by other paths than we do: another mount namespace or root, or one
 * that cannot be told? */
bool needle_search_own_view(int memory_fd);

/* The child: sends what it finds and ends. `parent` is who forked it. */
_Noreturn void needle_search_main(const struct needle_search *search, pid_t parent);
