/* registers: what of the notes goes: general registers, vector state, arguments, strangers.
 *
 * General registers stay where a debugger needs them whatever they hold (rip, rsp, eflags,
 * segments and their bases, orig_rax), and elsewhere only if they hold a small number or an
 * address: OpenSSL's bn_mul_mont unwinds through r9, a small integer.
 */
#pragma once

#include "core/head.h"
#include "core/note.h"
#include "sieve/plan.h"
#include "sieve/range_set.h"

#define REGISTER_SMALL 4096U /* numbers below are no secret */

/* `addresses`: what counts as a pointer. Works on the notes of the head alone. */
int registers_plan(const struct core_head *head, const struct core_notes *notes,
                   const struct range_set *addresses, struct plan *plan);
