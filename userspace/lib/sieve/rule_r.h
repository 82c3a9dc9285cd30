/* rule_r: which bytes of notes, registers and stacks a backtrace does not need.
 *
 * Rule R was found on 174 cores and 85,000 frames (FACTS 6): with it gdb, eu-stack and lldb show
 * the same frames as for the raw core. It erases registers, vector state, arguments,
 * environment values and stack words, and for content `stacks` everything but what unwinding
 * needs. It never reads a path.
 */
#pragma once

#include <stdint.h>

#include "core/head.h"
#include "core/note.h"
#include "host/verdict.h"
#include "secret/needle.h"
#include "sieve/plan.h"
#include "sieve/source.h"

struct rule_r; /* opaque: range set, stacks with their stack pointers, what is kept of each */

/* Finds stacks, link map and initial strings. `environment`: names (NULL-terminated) whose
 * values stay. Every argument and environment value that is erased is added to `needles` when
 * long enough, with origin `origin`. Borrows all but copies the stacks' addresses. */
int rule_r_new(const struct core_head *head, const struct core_notes *notes, struct source *source,
               char *const *environment, struct needle_set *needles, uint16_t origin,
               struct rule_r **ret);
void rule_r_free(struct rule_r *rule);

/* Adds every erasure of the rule to the plan, which already has its extents. `content` is
 * CONTENT_REDACT or CONTENT_STACKS. */
int rule_r_plan(struct rule_r *rule, enum content content, struct plan *plan);

/* Does a block, as it is about to be written, hold a stack word that the rule would erase?
 * Memory shared with a process that runs on may change between learn and emit. 0 or -EBADMSG.
 * `buf` stands at file offset `offset`, 8-aligned, after plan_apply(). */
int rule_r_check(const struct rule_r *rule, uint64_t offset, const uint8_t *buf, size_t n);
