/* learn: pulls everything once and marks every secret in the plan.
 *
 * Needles and their fragments are hunted in head and memory. Containers that the detectors prove
 * are erased, and what their keys look like elsewhere is hunted in a second pass.
 */
#pragma once

#include "sieve/plan.h"
#include "sieve/sieve.h"

#define LEARN_CONTAINERS_MAX                                                                       \
        1024U /* different key containers of one core: their needles fit a set */

/* Adds erasures to a plan that has its extents, and needles of detected keys to the job's set.
 * Sets hits, found, found_encrypted and memory_read of the report. When there are more containers
 * or needles than the limits it sets needles_cut: with content `stacks` the rest is not hunted,
 * else -E2BIG. Or -ENOMEM, -E2BIG of the plan, an error of the source. */
int learn_run(const struct sieve_job *job, struct plan *plan, struct sieve_report *report);
