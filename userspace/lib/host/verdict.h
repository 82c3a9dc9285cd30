/* verdict: what becomes of a crash, and every cause that made it stricter than the default, in
 * words a record can carry.
 *
 * decide.h makes it from what is known before the worker exists; whatever is found out later (a
 * needle that is missing, a worker that failed, no room) can only raise it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum content { /* ordered: a larger value is stricter */
               CONTENT_DETECT,
               CONTENT_REDACT,
               CONTENT_STACKS,
               CONTENT_REFUSE,
               _CONTENT_MAX,
};

enum wrap {
        WRAP_PLAIN,
        _WRAP_MAX,
};

/* Why a dump got less than its default, or none at all. One bit each (1ULL << cause); names are
 * stable, records carry them (cause_to_string). New ones go before _CAUSE_MAX. */
enum cause {
        /* the verdict */
        CAUSE_POLICY_CONTENT,  /* policy-content: a rule or default of the policy asked for it */
        CAUSE_PROCESS_RULE,    /* process-rule: [Process] matched, detectors cannot serve it yet */
        CAUSE_UNKNOWN_HISTORY, /* unknown-history: older than the sensors */
        CAUSE_MAPS_MISSING,    /* maps-missing */
        CAUSE_MAPS_STALE,      /* maps-stale: another boot, ABI or generation */
        CAUSE_SENSOR_DEAD,     /* sensor-dead: a link is gone or the canary was not seen */
        CAUSE_TAGS_OVERFLOW,   /* tags-overflow */
        CAUSE_POLICY_BROKEN,   /* policy-broken: the policy cannot be read */
        CAUSE_POLICY_CHANGED,  /* policy-changed: edited since enable */
        CAUSE_RLIMIT,          /* rlimit: RLIMIT_CORE=0 is an opt-out */
        CAUSE_DUMP_MODE,       /* dump-mode: the kernel says not dumpable */
        CAUSE_IDENTITY,        /* identity: the process cannot be told from another */
        CAUSE_ARGUMENTS,       /* arguments: the kernel's arguments are not understood */
        CAUSE_BUSY,            /* busy: too many helpers at work */
        CAUSE_DEADLINE,        /* deadline */
        /* needles */
        CAUSE_NEEDLE_MISSING,   /* needle-missing: a file of the tag is gone, changed or unnamed */
        CAUSE_NEEDLE_TOO_SHORT, /* needle-too-short */
        CAUSE_NEEDLE_LARGE,     /* needle-large: a file or a set over its limit */
        /* the worker */
        CAUSE_WORKER_MISSING,    /* worker-missing: cannot be started */
        CAUSE_WORKER_KILLED,     /* worker-killed: by a signal, the sandbox's included */
        CAUSE_WORKER_FAILED,     /* worker-failed: it gave up; `worker` of the record says where */
        CAUSE_CORE_MALFORMED,    /* core-malformed */
        CAUSE_CORE_CUT,          /* core-cut: the stream or the memory ended early */
        CAUSE_CORE_FOREIGN,      /* core-foreign: ELFCLASS32, another machine or byte order */
        CAUSE_CORE_LARGE,        /* core-large: over a stated limit of head, notes or segments */
        CAUSE_MEMORY_UNREADABLE, /* memory-unreadable */
        CAUSE_DISAGREE,          /* disagree: a secret first met while emitting */
        /* keeping */
        CAUSE_STORE_FULL,   /* store-full: size, total or free-space limit */
        CAUSE_STORE_FAILED, /* store-failed: missing, read-only, an I/O error */
        CAUSE_LOG_FAILED,   /* log-failed: the record could not reach the audit log */
        CAUSE_INTERNAL,     /* internal: a failed system call of our own */
        /* needles, again */
        CAUSE_NEEDLE_ENCRYPTED, /* needle-encrypted: a key file whose key only the process knows */
        /* unwatched-file: the process has at a rule's path, in its own mounts, a file that no
         * sensor watches */
        CAUSE_UNWATCHED_FILE,
        _CAUSE_MAX,
};

#define CAUSE_BIT(cause) (1ULL << (cause))

const char *content_to_string(enum content content);          /* "detect", "redact", … */
int content_from_string(const char *text, enum content *ret); /* 0 or -EINVAL */
const char *wrap_to_string(enum wrap wrap);
const char *cause_to_string(enum cause cause);

struct verdict {
        enum content content;
        enum wrap wrap;
        uint64_t causes; /* CAUSE_BIT()s */
};

/* Makes a verdict at least `content` strict and notes why. */
static inline void verdict_raise(struct verdict *v, enum content content, enum cause cause) {
        if (content > v->content)
                v->content = content;
        v->causes |= CAUSE_BIT(cause);
}
