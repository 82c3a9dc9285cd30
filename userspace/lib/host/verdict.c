#include "host/verdict.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"

static const char *const content_names[_CONTENT_MAX] = {
        [CONTENT_DETECT] = "detect",
        [CONTENT_REDACT] = "redact",
        [CONTENT_STACKS] = "stacks",
        [CONTENT_REFUSE] = "refuse",
};

static const char *const wrap_names[_WRAP_MAX] = {
        [WRAP_PLAIN] = "plain",
};

static const char *const cause_names[_CAUSE_MAX] = {
        [CAUSE_POLICY_CONTENT] = "policy-content",
        [CAUSE_PROCESS_RULE] = "process-rule",
        [CAUSE_UNKNOWN_HISTORY] = "unknown-history",
        [CAUSE_MAPS_MISSING] = "maps-missing",
        [CAUSE_MAPS_STALE] = "maps-stale",
        [CAUSE_SENSOR_DEAD] = "sensor-dead",
        [CAUSE_TAGS_OVERFLOW] = "tags-overflow",
        [CAUSE_POLICY_BROKEN] = "policy-broken",
        [CAUSE_POLICY_CHANGED] = "policy-changed",
        [CAUSE_RLIMIT] = "rlimit",
        [CAUSE_DUMP_MODE] = "dump-mode",
        [CAUSE_IDENTITY] = "identity",
        [CAUSE_ARGUMENTS] = "arguments",
        [CAUSE_BUSY] = "busy",
        [CAUSE_DEADLINE] = "deadline",
        [CAUSE_NEEDLE_MISSING] = "needle-missing",
        [CAUSE_NEEDLE_TOO_SHORT] = "needle-too-short",
        [CAUSE_NEEDLE_LARGE] = "needle-large",
        [CAUSE_WORKER_MISSING] = "worker-missing",
        [CAUSE_WORKER_KILLED] = "worker-killed",
        [CAUSE_WORKER_FAILED] = "worker-failed",
        [CAUSE_CORE_MALFORMED] = "core-malformed",
        [CAUSE_CORE_CUT] = "core-cut",
        [CAUSE_CORE_FOREIGN] = "core-foreign",
        [CAUSE_CORE_LARGE] = "core-large",
        [CAUSE_MEMORY_UNREADABLE] = "memory-unreadable",
        [CAUSE_DISAGREE] = "disagree",
        [CAUSE_STORE_FULL] = "store-full",
        [CAUSE_STORE_FAILED] = "store-failed",
        [CAUSE_LOG_FAILED] = "log-failed",
        [CAUSE_INTERNAL] = "internal",
        [CAUSE_NEEDLE_ENCRYPTED] = "needle-encrypted",
        [CAUSE_UNWATCHED_FILE] = "unwatched-file",
};

/* A bit in causes is all there is room for. */
_Static_assert(_CAUSE_MAX <= 64, "causes are bits of 64");

/* Values may come from the worker: out of range has a name too, never a crash. */
static const char *name_at(const char *const *names, size_t n, size_t i) {
        return i < n && names[i] ? names[i] : "unknown";
}

const char *content_to_string(enum content content) {
        return name_at(content_names, ARRAY_SIZE(content_names), content);
}

const char *wrap_to_string(enum wrap wrap) {
        return name_at(wrap_names, ARRAY_SIZE(wrap_names), wrap);
}

const char *cause_to_string(enum cause cause) {
        return name_at(cause_names, ARRAY_SIZE(cause_names), cause);
}

int content_from_string(const char *text, enum content *ret) {
        for (size_t i = 0; i < _CONTENT_MAX; i++)
                if (strcmp(text, content_names[i]) == 0) {
                        *ret = (enum content)i;
                        return 0;
                }
        return -EINVAL;
}
