/* Apart from unwind.c, so that whoever only names an outcome (the helper) links no libdw. */
#include "core/unwind.h"

const char *unwind_outcome_to_string(enum unwind_outcome outcome) {
        static const char *const names[_UNWIND_OUTCOME_MAX] = {
                [UNWIND_NONE] = "none",
                [UNWIND_SAME] = "same",
                [UNWIND_DEGRADED] = "degraded",
                [UNWIND_CAPPED] = "capped",
        };

        return (unsigned)outcome < _UNWIND_OUTCOME_MAX ? names[outcome] : NULL;
}
