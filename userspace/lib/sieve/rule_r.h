/* rule_r: which bytes of notes, registers and stacks a backtrace does not need.
 *
 * Rule R was found on 174 cores and 85,000 frames: with it gdb, eu-stack and lldb show the
 * same frames as for the raw core. It erases registers, vector state, arguments, environment
 * values and stack words, and for content `stacks` everything but what unwinding needs. It never
 * reads a path.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/head.h"
#include "core/note.h"
#include "host/verdict.h"
#include "secret/needle.h"
#include "sieve/plan.h"
#include "sieve/source.h"

/* Runs of erased words of stacks in shared memory (a Go arena); behind that, what is further
 * than STACK_WINDOW (stacks.h) from every live stack pointer goes whole. */
#define RULE_R_RUNS_MAX (PLAN_ERASURES_MAX / 2)

struct rule_r; /* opaque: range set, stacks with their stack pointers, what is kept of each */

/* Finds link map and initial strings. `environment`: names (NULL-terminated) whose values stay.
 * Every argument and environment value that is erased is added to `needles` when long enough,
 * with origin `origin`. Borrows head, notes and source. 0, -ENOMEM, -E2BIG over a limit of the
 * parts (link_map.h, stacks.h), or an error of source or needles. */
int rule_r_new(const struct core_head *head, const struct core_notes *notes, struct source *source,
               char *const *environment, struct needle_set *needles, uint16_t origin,
               struct rule_r **ret);
void rule_r_free(struct rule_r *rule);

/* Was there a value that found no room among the needles? Copies of it elsewhere are not hunted. */
bool rule_r_unhunted(const struct rule_r *rule);

/* Finds the stacks and adds every erasure of the rule to the plan, which already has its extents
 * and must outlive the rule. `content` is CONTENT_REDACT or CONTENT_STACKS. Once per rule. */
int rule_r_plan(struct rule_r *rule, enum content content, struct plan *plan);

/* Does a block, as it is about to be written, hold a stack word that the rule would erase?
 * Memory shared with a process that runs on may change between learn and emit. 0 or -EBADMSG.
 *
 * A word of which the plan erased a part is not judged: once a needle that ends in it is gone,
 * what is left of a pointer looks like no pointer. So up to 7 bytes of each such word may change
 * unseen, and up to 14 in a row where two of them meet: fewer than FRAGMENT_SIZE, and bytes of a
 * needle are no matter of this check, for recheck.h hunts these everywhere.
 * `buf` stands at file offset `offset`, 8-aligned, after plan_apply(); the plan is frozen. */
int rule_r_check(const struct rule_r *rule, uint64_t offset, const uint8_t *buf, size_t n);
