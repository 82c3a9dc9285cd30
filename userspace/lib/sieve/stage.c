/* Apart from sieve.c, so that whoever only names a stage (the helper) links no sieve. */
#include "base/cleanup.h"
#include "sieve/sieve.h"

static const char *const stage_names[_STAGE_MAX] = {
        [STAGE_INTAKE] = "intake", [STAGE_HEAD] = "head",   [STAGE_NEEDLES] = "needles",
        [STAGE_PLAN] = "plan",     [STAGE_LEARN] = "learn", [STAGE_UNWIND] = "unwind",
        [STAGE_EMIT] = "emit",     [STAGE_KEEP] = "keep",
};

const char *stage_to_string(enum stage stage) {
        size_t i = (size_t)stage;

        return i < ARRAY_SIZE(stage_names) ? stage_names[i] : "unknown";
}
