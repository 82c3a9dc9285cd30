/* emit: writes the core as the frozen plan says; decides nothing.
 *
 * Each window is pulled, filled where the plan says, rechecked as it then stands, and compressed:
 * the buffer that was rechecked is the buffer that is written.
 */
#pragma once

#include <stdbool.h>

#include "sieve/plan.h"
#include "sieve/rule_r.h"
#include "sieve/sieve.h"

struct emit_job {
        const struct sieve_job *job;
        const struct plan *plan;   /* frozen */
        const struct rule_r *rule; /* NULL: content `detect` */
        bool untried;              /* nothing was learned: a detection is news, no contradiction */
};

/* Sets core_size and memory_read of the report, and of an untried core found_encrypted. 0; 1 when
 * a detector fired on an untried core (what was written is of no use); -EBADMSG when a secret is
 * there that the plan does not know; -ENOMEM, an error of the source or of writing. */
int emit_run(const struct emit_job *job, struct sieve_report *report);
