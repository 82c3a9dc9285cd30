/* tags: keys and values of the pinned maps, for both sides.
 *
 * A tag belongs to a lineage, and a lineage is an address space: the key is the address of the
 * kernel's mm_struct. Every birth of an address space writes or deletes its key (exec deletes,
 * fork copies or deletes), so that an address used again never inherits a dead process's tag;
 * CLONE_VM and vfork share the key because they share the memory.
 *
 * Sizes are fixed and there is no padding: user space and BPF see the same bytes.
 */
#pragma once

#ifndef __bpf__
#include <stdint.h>
typedef uint64_t tag_u64;
typedef uint32_t tag_u32;
#else
typedef __u64 tag_u64;
typedef __u32 tag_u32;
#endif

/* Changes whenever a map's key, value or meaning does: maps of another ABI are not ours. */
#define TAGS_ABI 1

#define TAGS_MAX 65536        /* lineages; over it `overflows` counts and no absence is clean */
#define TAG_FILES_MAX 16      /* files named in one tag; over it TAG_FILES_LOST is set */
#define WATCH_FILES_MAX 16384 /* files that a rule named at enable */
#define WATCH_DIRS_MAX 4096   /* directories below which a rule may name files later */
#define WATCH_DEPTH_MAX 16    /* parents looked at above one file */
#define LEARNERS_MAX 64       /* programs learning keys by reading at one time */

/* tag.reasons */
#define TAG_REASON_FILE 0x1U            /* got bytes of a file that the policy names */
#define TAG_REASON_UNKNOWN_HISTORY 0x2U /* older than the sensors, or forked from such */

/* tag.flags */
#define TAG_FILES_LOST 0x1U /* more files than TAG_FILES_MAX: some are not named */

/* What the sensor saw of a file: the kernel's own numbers. `dev` is s_dev (major << 20 | minor),
 * not stat's encoding; on overlay and btrfs neither number is what stat() says. */
struct file_key {
        tag_u64 ino;
        tag_u32 dev;
        tag_u32 gen;
        tag_u64 ctime_ns; /* change time, ns since the epoch: a rewritten file is another file */
};

struct tag_file {
        struct file_key key;
        tag_u32 rule;  /* policy_rule.id */
        tag_u32 ready; /* written last: a slot with 0 is still being filled */
};

struct tag {
        tag_u32 reasons;
        tag_u32 flags;
        tag_u64 since_ns; /* CLOCK_BOOTTIME of the first reason */
        tag_u32 n_files;  /* slots handed out; may exceed TAG_FILES_MAX, then TAG_FILES_LOST */
        tag_u32 pad;
        struct tag_file files[TAG_FILES_MAX];
};

/* meta: one entry, key 0. */
struct tags_meta {
        tag_u32 abi;
        tag_u32 state;       /* enum tags_state */
        tag_u64 generation;  /* random, one per enable */
        tag_u64 attached_ns; /* CLOCK_BOOTTIME when the last sensor was attached */
        unsigned char boot_id[16];
        unsigned char policy_digest[32]; /* SHA-256, policy.digest */
        struct file_key canary;
};

enum tags_state {
        TAGS_SEEDING = 1, /* a fork whose parent has no tag yet is unknown-history */
        TAGS_LIVE = 2,
};

/* counters: one entry, key 0; written by BPF only. */
struct tags_counters {
        tag_u64 overflows; /* tags that could not be stored: no absence is clean any more */
        tag_u64 canary_hits;
        tag_u64 tagged;
};

/* One line of the task iterator: the kernel's answer to "what is this task's lineage?" */
struct task_answer {
        tag_u64 mm;             /* 0: no address space (a kernel thread, or already gone) */
        tag_u64 start_boottime; /* ns, of the thread-group leader */
        tag_u32 tgid;
        tag_u32 tid;
        tag_u32 found; /* 1: `tag` holds this lineage's tag */
        tag_u32 pad;
        struct tag tag;
};
