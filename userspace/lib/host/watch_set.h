/* watch_set: what the sensor is to watch, gathered in memory and then put into its maps.
 *
 * New entries go in before old ones are taken out, so that a policy that changes leaves no
 * moment in which a file named by both is not watched.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bpf/tags.h"

#define WATCH_FINDINGS_MAX 256U /* told apart; more are counted */

enum watch_problem {
        WATCH_BLIND_TMPFS,   /* a file or directory on tmpfs */
        WATCH_BLIND_OTHER,   /* on another file system that the sensor does not see */
        WATCH_BLIND_OVERLAY, /* an overlay's directory, empty and with its upper layer hidden */
        WATCH_UNREADABLE,    /* could not be opened or read */
        WATCH_TOO_MUCH,      /* over a limit of tags.h or of the walk */
        _WATCH_PROBLEM_MAX,
};

struct watch_finding {
        enum watch_problem problem;
        uint32_t rule;
        int error; /* negative errno, or 0 */
        char *path;
};

struct watch_file_entry {
        struct inode_key key;
        struct watch_file value;
        char *path; /* one under which it was found; NULL: the canary */
};

struct watch_dir_entry {
        struct inode_key key; /* page 0 */
        struct dir_rule *rules;
        size_t n_rules;
};

struct watch_set {
        struct watch_file_entry *files; /* sorted by key */
        size_t n_files, room_files;
        struct watch_dir_entry *dirs; /* sorted by key */
        size_t n_dirs, room_dirs;
        struct watch_finding *findings;
        size_t n_findings, n_findings_lost;
        uint32_t *rules; /* ids */
        size_t n_rules;
};

/* The sensor's maps, borrowed. */
struct watch_maps {
        int files_fd, dirs_fd, filter_fd, rules_fd;
};

void watch_set_done(struct watch_set *set);

/* 0; -E2BIG over a limit of tags.h, -ENOMEM. The same twice is once. */
int watch_set_file(struct watch_set *set, const struct file_key *key, uint32_t rule,
                   const char *path);
int watch_set_dir(struct watch_set *set, const struct inode_key *key, const struct dir_rule *rule);
int watch_set_finding(struct watch_set *set, enum watch_problem problem, uint32_t rule,
                      const char *path, int error);

/* Makes the maps say what the set says. *ret_grown: a rule or a directory is there that was not
 * before, so a process may have read what it names unseen. 0 or a negative errno. */
int watch_set_apply(const struct watch_set *set, const struct watch_maps *maps, bool *ret_grown);

/* Where a file of a tag was found, or NULL. */
const char *watch_set_path(const struct watch_set *set, const struct file_key *key);

/* How many directories of the set the maps do not have: mounts made and links pointed elsewhere
 * since. A file that came since is known by its directory. */
int watch_set_missing(const struct watch_set *set, const struct watch_maps *maps, size_t *ret);
