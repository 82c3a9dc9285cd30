/* handover_undo: everything that enable did, taken back; also what half an enable did. */
#pragma once

#include <stdio.h>

#include "host/handover.h"

/* core_pattern and core_pipe_limit first, for a crash from then on is the host's own again; then
 * sensors, bpffs, canary and the note itself. core_pattern that somebody else has set since stays
 * as it is. Goes on after an error; returns the first, each after a message to `errors`. */
int handover_undo(const char *root, const struct before *before, FILE *errors);
