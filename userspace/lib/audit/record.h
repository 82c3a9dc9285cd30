/* record: one audit entry, and its JSON.
 *
 * Schema version 1, one object a line, keys in the order below. `prev` is the SHA-256 of the
 * bytes of the line before (without its newline; 64 zeros for the first), `seq` counts from 1.
 * Text that is not UTF-8 is escaped (each bad byte as U+FFFD) and gets a twin `<key>_b64` with
 * its true bytes. Numbers that may pass 2^53 are strings. A record holds no byte of a secret:
 * neither arguments nor environment have a field.
 *
 *   v seq prev id event time boot_id host
 *   crash:  pid tid uid gid signal comm exe cgroup unit start_ticks rlimit dump_mode
 *           verdict{content wrap causes[]} tag{state since_ns reasons[] labels[] files[]}
 *           outcome ("kept" | "metadata") path size sha? core_size
 *           erased{reason: bytes} found{detector: count} hits[{file, label, fragments}]
 *           unwind{result threads frames} durations_ms{stage: ms}
 *           worker{stage error signal fault_offset} policy_digest
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "core_pattern/brief.h"
#include "host/verdict.h"
#include "sieve/sieve.h"

#define RECORD_SCHEMA 1
#define RECORD_ID_SIZE 48U          /* boot id (8 hex) - counter - random (16 hex), and NUL */
#define RECORD_LINE_MAX (64U << 10) /* bytes of one line; longer text is cut, and says so */
#define RECORD_FILES_MAX BRIEF_FILES_MAX

enum record_event {
        EVENT_CRASH,
        EVENT_ACCESS, /* extract: who and what */
        _EVENT_MAX,
};

enum tag_state {
        TAG_STATE_CLEAN, /* proved absence */
        TAG_STATE_TAGGED,
        TAG_STATE_UNKNOWN, /* older than the sensors */
        TAG_STATE_BLIND,   /* the sensors could not be asked */
        _TAG_STATE_MAX,
};

/* Bytes of any kind with their length: borrowed, not owned. */
struct record_text {
        const char *bytes; /* NULL: the key is written as null */
        size_t size;
};

struct record_file {              /* a file of the tag */
        struct record_text path;  /* where it was found; NULL bytes: missing */
        struct record_text label; /* of the rule */
        uint64_t dev, ino;        /* as the sensor saw them */
        uint64_t fragments;       /* of it found in the dump */
        unsigned flags;           /* NEEDLE_* */
};

struct record {
        char id[RECORD_ID_SIZE];
        enum record_event event;
        struct timespec time; /* CLOCK_REALTIME of the crash */

        pid_t pid, tid;
        uid_t uid;
        gid_t gid;
        int signal;
        struct record_text comm, exe, cgroup, unit;
        uint64_t start_ticks;
        struct record_text rlimit; /* %c as the kernel gave it */
        int dump_mode;             /* %d, -1 unknown */

        struct verdict verdict; /* as carried out */
        enum tag_state tag_state;
        uint32_t tag_reasons;
        uint64_t tag_since_ns;
        struct record_file files[RECORD_FILES_MAX];
        size_t n_files;

        bool kept;
        struct record_text path; /* of the kept dump */
        uint64_t size;           /* bytes of it */

        bool has_worker;
        struct worker_result worker;
        int worker_signal; /* that killed it, 0 none */
        uint64_t duration_ns[_STAGE_MAX];
        uint8_t policy_digest[32];
        bool has_policy;

        /* access */
        struct record_text target_id; /* the crash that was extracted */
        uid_t actor_uid, actor_loginuid;
        struct record_text destination;
};

/* Makes a new id: boot id, a counter kept in `run_dirfd` (/run/coresieve; < 0 or failing: 0),
 * and random bytes. Always succeeds. */
void record_new_id(int run_dirfd, char ret[RECORD_ID_SIZE]);

/* Formats one line without its newline. `prev` is 64 hex digits. *ret is the caller's to free.
 * 0, -ENOMEM. Never longer than RECORD_LINE_MAX. */
int record_format(const struct record *record, uint64_t seq, const char *prev, char **ret,
                  size_t *ret_size);
