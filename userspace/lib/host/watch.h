/* watch: what a policy's rules mean on this host, right now.
 *
 * Every rule is walked down from the root: the files that match are learnt by reading a byte,
 * and directories are watched by name, so that a file that comes later is known at its first
 * read: each literal directory of the pattern but the root (one may be exchanged by a rename),
 * the deepest that exists, and wherever the walk enters another mount or follows a symbolic link.
 * A link to a file may be pointed elsewhere: files of that name beside the target and one
 * directory beside are watched too. `**` follows no links, like a shell's.
 *
 * Not seen until the next enable: a mount made, a link to a directory exchanged, and a missing
 * directory created as a link, after this.
 */
#pragma once

#include "host/learner.h"
#include "host/policy.h"
#include "host/watch_rule.h"
#include "host/watch_set.h"

#define WATCH_WALK_MAX 1000000U /* directory entries looked at for all rules together */
#define WATCH_LEVELS_MAX 64U    /* directories below each other */

/* The attached sensor, borrowed. */
struct watch_sensor {
        struct learner learner;
        int show_directory_fd; /* program */
};

/* Fills *ret, findings included: what is wrong with one rule does not end the walk of others.
 * `canary` is added as RULE_CANARY unless NULL. Returns 0 or a negative errno. */
int watch_build(const struct policy *policy, const struct watch_sensor *sensor,
                const struct file_key *canary, struct watch_set *ret);

/* What the kernel calls the directory `fd` (`path` for messages and to find its mount); also the
 * upper layer of an overlay. Adds the rule made of pattern[first..]. */
int watch_directory(const struct watch_sensor *sensor, struct watch_set *set, int fd,
                    const char *path, uint32_t id, const struct watch_pattern *pattern,
                    size_t first, bool needed);
