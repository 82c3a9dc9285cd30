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
#define TAGS_ABI 2

/* Names below PATH_PINS, each as it is in the BPF object. */
#define TAGS_MAPS(X)                                                                               \
        X(meta)                                                                                    \
        X(counters)                                                                                \
        X(tags) X(rules) X(watch_filter) X(watch_dirs) X(watch_files) X(learn_until) X(learners)

/* Sensors and lifecycle: the program is pinned as `prog_NAME`, its link as `link_NAME`. */
#define TAGS_SENSORS(X)                                                                            \
        X(pages_got)                                                                               \
        X(pages_mapped) X(page_faulted) X(lineage_forked) X(lineage_execed) X(lineage_died)

/* Questions: iterator programs, pinned as `prog_NAME`; a link is made for each question. */
#define TAGS_QUERIES(X) X(answer_task) X(seed_task) X(show_directory)

#define TAGS_MAX 65536        /* lineages; over it `overflows` counts and no absence is clean */
#define TAG_FILES_MAX 16      /* files named in one tag; over it TAG_FILES_LOST is set */
#define WATCH_FILES_MAX 16384 /* files that a rule named at enable */
#define WATCH_DIRS_MAX 4096   /* directories below which a rule may name files later */
#define WATCH_DEPTH_MAX 64    /* parents looked at above one file; deeper: tagged, untold */
#define WATCH_RULES_MAX 8     /* rules in one entry of watch_files or watch_dirs */
#define WATCH_PAGES_MAX 32    /* entries of watch_dirs for one directory */
#define WATCH_DEVS_MAX 32     /* file systems with watched files; over it every one is looked at */
#define WATCH_FILTER_BITS 65536U /* 2^16: watch_filter_bit() */
#define WATCH_ALIASES_MAX 16     /* cached hard links of one file whose directories are looked at */
#define WATCH_NAME_MAX 32        /* bytes compared of a name's beginning or end */
#define LEARNERS_MAX 64          /* threads learning keys by reading at one time */
#define LEARN_PARENTS_MAX 8      /* directories above a learned file that are told */
#define RULES_MAX 1024           /* POLICY_RULES_MAX */

/* watch_file.rules of the canary: seen, counted, and nobody tagged for it. */
#define RULE_CANARY 0U
/* tag_file.rule of a file too deep to tell which rule, if any, names it. */
#define RULE_UNTOLD 0U

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

/* watch_files, watch_dirs: what the kernel calls an inode. The host's stat may say otherwise. */
struct inode_key {
        tag_u64 ino;
        tag_u32 dev;
        tag_u32 page; /* watch_dirs: 0 and on, while the entry before says `more`; else 0 */
};

struct watch_file {
        tag_u32 gen; /* an inode number used again for another file is another file */
        tag_u32 n_rules;
        tag_u32 rules[WATCH_RULES_MAX]; /* policy_rule.id, or RULE_CANARY */
};

/* A piece of a name, zero-padded so that it is compared by words. */
struct name_piece {
        tag_u64 words[WATCH_NAME_MAX / 8];
};

/* What a rule asks of a file below a watched directory. It names at least the files that the
 * pattern matches, and may name more: only one literal component between directory and file is
 * compared, at any depth; of the last component only what stands before its first and behind its
 * last `*`, WATCH_NAME_MAX bytes of each. Too much is a tag too many, never one too few. */
struct dir_rule {
        tag_u32 rule;
        tag_u32 depth_min; /* 1: directly in the directory */
        tag_u32 depth_max;
        tag_u32 name_len; /* 0, or how long the last component must be */
        tag_u32 prefix_len;
        tag_u32 suffix_len;
        tag_u32 middle_len; /* 0, or the length of a component that must stand between */
        tag_u32 pad;
        struct name_piece prefix, suffix, middle;
};

struct watch_dir {
        tag_u32 n_rules;
        tag_u32 more; /* 1: there is another page */
        struct dir_rule rules[WATCH_RULES_MAX];
};

/* watch_filter: one entry, key 0: nearly every read of the host ends here. A bit that is set says
 * that an inode may be in watch_files or watch_dirs, one that is not says that none is. */
struct watch_filter {
        tag_u32 n_devs; /* above WATCH_DEVS_MAX: look at every file system */
        tag_u32 pad;
        tag_u32 devs[WATCH_DEVS_MAX];
        tag_u64 files[WATCH_FILTER_BITS / 64];
        tag_u64 dirs[WATCH_FILTER_BITS / 64];
};

/* Which bit; Fibonacci hashing, for inode numbers that follow each other. */
static inline tag_u32 watch_filter_bit(tag_u64 ino) {
        return (tag_u32)((ino * 0x9E3779B97F4A7C15ULL) >> 48);
}

/* learners: key: thread id. The thread writes zeros and a time, reads one byte of a file, and
 * finds what the sensor saw; learn_until (CLOCK_BOOTTIME, ns) tells the sensor that anybody
 * learns at all, and passes by itself, so that a killed learner costs the host nothing for long.
 * Its entry says nothing to anybody, and makes room when the map is full. */
struct learned {
        struct file_key key;
        tag_u64 until_ns; /* CLOCK_BOOTTIME; written by the learner: then its entry may go */
        tag_u32 seen;     /* how often the hook fired for this thread */
        tag_u32 canary;   /* 1: the file is the canary, found on the way that tags take */
        tag_u32 watched;  /* 1: whoever reads this file is tagged for it, by whichever rule */
        tag_u32 n_parents;
        struct inode_key parents[LEARN_PARENTS_MAX]; /* of one of its hard links, nearest first */
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
        tag_u64 overflows;     /* tags that could not be stored: no absence is clean any more */
        tag_u64 canary_hits;   /* by read */
        tag_u64 canary_maps;   /* by a mapping's first touch of a cached page */
        tag_u64 canary_faults; /* by a page fault that had to look for the page */
        tag_u64 tagged;        /* files put into tags */
        tag_u64 untold;        /* files too deep to tell: tagged without a rule */
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

/* One line of the directory iterator: what the kernel calls a directory held open by a task. */
struct directory_answer {
        struct inode_key key;
        tag_u32 fd;
        tag_u32 pad;
};
