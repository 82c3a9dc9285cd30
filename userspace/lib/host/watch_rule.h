/* watch_rule: from a pattern, or the rest of one, to what the sensor compares in the kernel.
 *
 * Pure. The rule made here matches every file that the pattern matches, and may match more (see
 * struct dir_rule): too much is a tag too many.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bpf/tags.h"

#define WATCH_PARTS_MAX 128U /* components of one pattern */
#define WATCH_PART_MAX 255U  /* bytes of one of them: NAME_MAX */

struct watch_part {
        char text[WATCH_PART_MAX + 1];
        size_t size;
        bool deep; /* `**` */
        bool wild; /* holds a `*` */
};

struct watch_pattern {
        struct watch_part *parts;
        size_t n;
};

/* Splits an absolute pattern. -EINVAL: not absolute, an empty component, `.` or `..`; -E2BIG:
 * over WATCH_PARTS_MAX or WATCH_PART_MAX; -ENOMEM. */
int watch_pattern_split(const char *pattern, struct watch_pattern *ret);
void watch_pattern_done(struct watch_pattern *pattern);

/* The rule for files below a directory that stands for the components before `first`. `above` is
 * NULL, or the names of directories between the watched directory and that one, outermost first,
 * `n_above` of them (an overlay's upper layer is watched from its top). */
void watch_rule_make(uint32_t id, const struct watch_pattern *pattern, size_t first,
                     const struct watch_part *above, size_t n_above, struct dir_rule *ret);

/* What the kernel does with such a rule, for tests: `names` from below the directory down to the
 * file. */
bool watch_rule_matches(const struct dir_rule *rule, const char *const *names, size_t n);
