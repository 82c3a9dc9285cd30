/* view: the core as a debugger will see it, before and after. */
#pragma once

#include "core/unwind.h"
#include "sieve/plan.h"
#include "sieve/sieve.h"

/* Walks every thread over the raw and over the planned core. The plan is frozen. 0; -EBADMSG when
 * the plan leaves notes that cannot be read any more; or an error of the walk. */
int view_compare(const struct sieve_job *job, const struct plan *plan, struct unwind_result *ret);
