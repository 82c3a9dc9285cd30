/* record: one audit entry, and its JSON.
 *
 * Schema version 1, one object a line, every key of an event always there and in the order
 * below; null where nothing is known. A line is plain ASCII whatever a process calls itself
 * (other characters as \uXXXX), so that no terminal and no log shipper can be tricked by it.
 *
 *   v        1
 *   seq      counts from 1
 *   prev     SHA-256 of the bytes of the line before, without its newline; 64 zeros for the first
 *   id       boot id (8 hex) - counter - random (16 hex)
 *   event    "crash" | "access" | "recovered" | "break"
 *   time     RFC 3339, UTC, nanoseconds
 *   boot_id  of the kernel that wrote it
 *   host     its node name
 *
 *   crash:   pid tid uid gid signal comm exe cgroup unit start_ticks rlimit dump_mode
 *            verdict{content wrap causes[]}
 *            tag{state since_ns reasons[] labels[{label rule holder}]
 *                files[{path label dev ino fragments flags[]}]}
 *            outcome ("kept" | "metadata") path size core_size
 *            erased{reason: bytes} found{detector: count} found_encrypted
 *            hits{values detected}: fragments found besides those of files
 *            unwind{result threads frames} durations_us{stage: µs}
 *            worker{stage error signal landlock fault_offset} policy_digest
 *   access:  verb target uid loginuid destination
 *   recovered: bytes sha256 text: a torn last line was cut off; text is its leading ASCII
 *   break:   reason expected{seq hash} found{seq hash}: the log is not what the tip says, and
 *            what is missing or changed lies before this line
 *
 * Text that is not UTF-8, or holds a NUL or DEL, is escaped (each bad byte as U+FFFD) and gets a
 * twin `<key>_b64` with its true bytes. Text that was cut gets a twin `<key>_cut` with the number
 * of bytes it had; a list that was cut gets one with the number of entries left out. 64-bit
 * numbers are strings. A record holds no byte of a secret: neither arguments nor environment have
 * a field.
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
#define RECORD_ID_SIZE 48U          /* as above, and NUL */
#define RECORD_LINE_MAX (64U << 10) /* bytes of one line; longer text is cut, and says so */
#define RECORD_CHAIN_MAX 128U       /* of them: v, seq and prev */
#define RECORD_TEXT_MAX 4096U       /* bytes of one text; less when the line would be too long */
#define RECORD_FILES_MAX BRIEF_FILES_MAX
#define RECORD_LABELS_MAX 32U
#define RECORD_HASH_SIZE 65U /* SHA-256 in hex, and NUL */

enum record_event {
        EVENT_CRASH,
        EVENT_ACCESS, /* extract: who and what */
        /* the log's own */
        EVENT_RECOVERED,
        EVENT_BREAK,
        _EVENT_MAX,
};

const char *event_to_string(enum record_event event);

enum tag_state {
        TAG_STATE_CLEAN, /* proved absence */
        TAG_STATE_TAGGED,
        TAG_STATE_UNKNOWN, /* older than the sensors, or there is a file that they do not watch */
        TAG_STATE_BLIND,   /* the sensors could not be asked */
        _TAG_STATE_MAX,
};

/* Bytes of any kind with their length: borrowed, not owned. */
struct record_text {
        const char *bytes; /* NULL: the key is written as null */
        size_t size;
};

/* Does the policy let this executable hold the secret? */
enum holder {
        HOLDER_ANY,     /* null: no Holder= names who may, or it is the label of a process rule */
        HOLDER_ALLOWED, /* "allowed" */
        HOLDER_FOREIGN, /* "foreign": it is none of those named, or could not be told */
        _HOLDER_MAX,
};

struct record_label { /* of the policy */
        struct record_text label;
        bool process; /* rule "process": a [Process] matched; else "secret" */
        enum holder holder;
};

/* "unwatched": not of the tag, but at a rule's path as the process alone sees it. */
#define RECORD_FILE_UNWATCHED 0x100U

struct record_file {              /* a file of the tag, or unwatched */
        struct record_text path;  /* where it was found; NULL bytes: missing */
        struct record_text label; /* of the rule */
        uint64_t dev, ino;        /* as the sensor saw them: dev is major << 20 | minor */
        uint64_t fragments;       /* of it found in the dump */
        unsigned flags;           /* NEEDLE_* and RECORD_FILE_* */
};

/* A place in the chain. */
struct record_link {
        uint64_t seq;
        char hash[RECORD_HASH_SIZE];
};

struct record {
        char id[RECORD_ID_SIZE];
        struct timespec time; /* CLOCK_REALTIME of the crash */
        enum record_event event;

        pid_t pid, tid;
        uid_t uid;
        gid_t gid;
        int signal;
        int dump_mode; /* %d, -1 unknown */
        enum tag_state tag_state;
        uint32_t tag_reasons;
        int worker_signal; /* that killed it, 0 none; told without a result as well */
        struct record_text comm, exe, cgroup, unit;
        uint64_t start_ticks;
        struct record_text rlimit; /* %c as the kernel gave it */

        struct verdict verdict; /* as carried out */
        uint64_t tag_since_ns;
        struct record_label labels[RECORD_LABELS_MAX];
        size_t n_labels, n_labels_lost;
        struct record_file files[RECORD_FILES_MAX];
        size_t n_files, n_files_lost;

        struct record_text path; /* of the kept dump */
        uint64_t size;           /* bytes of it */
        struct worker_result worker;
        uint64_t duration_ns[_STAGE_MAX];
        uint8_t policy_digest[32];
        bool kept;
        bool has_worker; /* a result came back; else what it would tell is null */
        bool has_policy;

        /* access */
        struct record_text verb;      /* "extract" */
        struct record_text target_id; /* the crash that was extracted */
        uid_t actor_uid, actor_loginuid;
        struct record_text destination;

        /* recovered */
        uint64_t torn_bytes;
        struct record_text torn_text;
        char torn_hash[RECORD_HASH_SIZE];

        /* break */
        const char *break_reason; /* static text */
        struct record_link expected, found;
};

/* Makes a new id: boot id, a counter kept in `run_dirfd` (PATH_RUN; < 0 or failing: 0), and
 * random bytes. Always succeeds. */
void record_new_id(int run_dirfd, char ret[RECORD_ID_SIZE]);

/* Are these bytes fit to be an id: hex digits and dashes, and so a safe file name? */
bool record_is_id(const char *text, size_t size);

/* Formats the body: the object from `id` on, without v, seq and prev. *ret is the caller's to
 * free and no longer than RECORD_LINE_MAX - RECORD_CHAIN_MAX. 0, -ENOMEM, or -E2BIG (a bug: no
 * record is that large). */
int record_body(const struct record *record, char **ret, size_t *ret_size);

/* Puts v, seq and prev before a body: one line without its newline. Bodies are chained as bytes,
 * so that one which had to wait elsewhere is taken in as it was written. -EBADMSG when `body` is
 * none, -ENOMEM. */
int record_line(const char *body, size_t body_size, const struct record_link *prev, char **ret,
                size_t *ret_size);

/* SHA-256 of `n` bytes in hex. */
void record_hash(const void *bytes, size_t n, char ret[RECORD_HASH_SIZE]);

#define RECORD_HASH_ZERO "0000000000000000000000000000000000000000000000000000000000000000"
