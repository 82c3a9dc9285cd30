/* learn: pulls everything once and marks every secret in the plan.
 *
 * Needles and their fragments are hunted in head and memory. Containers that the detectors prove
 * are erased, and what their keys look like elsewhere is hunted in a second pass.
 */
#pragma once

#include "sieve/plan.h"
#include "sieve/sieve.h"

#define LEARN_CONTAINERS_MAX 4096U /* different key containers of one core: else -E2BIG */

/* Adds erasures to a plan that has its extents, and needles of detected keys to the job's set.
 * Sets hits, found, found_encrypted and memory_read of the report. 0, -E2BIG when there are more
 * containers or needles than the limits, -ENOMEM, or an error of the source. */
int learn_run(const struct sieve_job *job, struct plan *plan, struct sieve_report *report);
