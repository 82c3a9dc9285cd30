/* mapped_files: files under a rule of the policy that a process has mapped.
 *
 * They count as files of its tag: with a wide coredump_filter the kernel dumps file mappings, and
 * a page that the process never touched was never seen by a sensor.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "host/policy.h"

#define MAPPED_FILES_MAX 16U   /* under rules, in one process */
#define MAPPED_PATHS_MAX 8192U /* different paths of /proc/PID/maps compared with the rules */

struct mapped_file {
        uint64_t start, end; /* names its entry in /proc/PID/map_files */
        uint32_t rule;
        char *path; /* as /proc/PID/maps has it */
};

struct mapped_files {
        struct mapped_file files[MAPPED_FILES_MAX];
        size_t n;
        bool cut; /* there are more than the limits */
};

/* Reads maps in `memory_fd`, a directory of /proc, and compares its paths with every rule. Looks
 * at no file. 0 or a negative errno. Release with mapped_files_done(). */
int mapped_files_read(const struct policy *policy, int memory_fd, struct mapped_files *ret);
void mapped_files_done(struct mapped_files *mapped);

/* The same for the text of maps (which is changed). */
int mapped_files_parse(const struct policy *policy, char *maps, struct mapped_files *ret);
