/* doctor: findings about this host, each with its remedy.
 *
 * A finding is good, worth knowing, or bad; `status` ends with 1 when any is bad.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "host/policy.h"

enum health {
        HEALTH_GOOD,
        HEALTH_NOTE, /* true of this host or of this way of working, and nothing is broken */
        HEALTH_BAD,
};

struct doctor {
        const char *root;
        json_t *findings; /* objects: topic, health, text, remedy */
        bool bad;
        bool failed; /* no memory for a finding */
};

/* `remedy` is NULL for what needs none. */
void doctor_say(struct doctor *d, enum health health, const char *topic, const char *remedy,
                const char *format, ...) __attribute__((format(printf, 5, 6)));

/* core_pattern, core_pipe_limit, sysctl.d, and what core_pattern does not close. */
void doctor_kernel(struct doctor *d);

/* Pins, links, canary, tags, processes of unknown history. */
void doctor_sensors(struct doctor *d, const struct policy *policy);
