/* sensor: loads, pins, proves and removes the sensors.
 *
 * Everything lives pinned below PATH_PINS and outlives this program. A second enable keeps the
 * maps, attaches its programs beside the old ones, and only then lets these go: no read goes
 * unseen, no tag is lost. Whoever may have read a secret before it was watched is marked as of
 * unknown history: at the first enable all processes alive, later again when a rule or a watched
 * directory is new, when tags were lost, or when a sensor had come off.
 */
#pragma once

#include <stdbool.h>
#include <stdio.h>

#include "host/policy.h"
#include "host/watch_set.h"

/* What enable did, for its report. */
struct sensor_report {
        bool kept;   /* maps and tags of an earlier enable */
        bool seeded; /* processes alive were marked */
        size_t n_files, n_dirs;
};

/* Returns 0 when the sensors are attached, proved, and watch what the policy names. Otherwise a
 * negative errno after a message to `errors` (-EREMOTE: a rule cannot be served), and the first
 * enable leaves nothing behind. Findings that do not end it are printed to `errors` as well. */
int sensor_enable(const char *root, const struct policy *policy, FILE *errors,
                  struct sensor_report *ret_report);

/* Unpins everything below PATH_BPFFS/coresieve, whatever version made it; the kernel lets go of
 * sensors and tags. Nothing there is fine. */
int sensor_disable(void);

/* What the policy's rules mean by now, learnt through the sensors in place; *ret_missing as of
 * watch_set_missing(). -ENOENT: not enabled. */
int sensor_review(const struct policy *policy, struct watch_set *ret, size_t *ret_missing);

/* Does a finding stand against the policy? Else it is to be told only. */
bool watch_finding_is_error(const struct watch_finding *finding, const struct policy *policy);

/* A line: rule, path, reason, remedy. */
void watch_finding_print(FILE *to, const struct watch_finding *finding,
                         const struct policy *policy);
