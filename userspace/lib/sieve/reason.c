#include "sieve/reason.h"

#include <stddef.h>

#include "base/cleanup.h"

static const char *const names[_REASON_MAX] = {
        [REASON_NEEDLE] = "needle",     [REASON_DETECTED] = "detected",
        [REASON_ARGUMENT] = "argument", [REASON_ENVIRONMENT] = "environment",
        [REASON_REGISTER] = "register", [REASON_VECTOR] = "vector",
        [REASON_NOTE] = "note",         [REASON_STACK] = "stack",
        [REASON_LEVEL] = "level",
};

/* The number may come from a dump: one that is not in the table is answered, not trusted. */
const char *reason_to_string(enum reason reason) {
        size_t i = (size_t)reason;

        return i < ARRAY_SIZE(names) && names[i] ? names[i] : "unknown";
}
