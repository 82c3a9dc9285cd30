/* policy: what the host's administrator asked for.
 *
 * The reader is ours because the INI libraries at hand truncate long lines or keep inline
 * comments in values, and both fail open. Grammar: sections, `Key=value`, comments (# or ;) on
 * lines of their own, no continuation, no quoting, no length limit that truncates. An unknown
 * section or key, a bad value, a duplicate of a single-valued key, a NUL byte, or a file that
 * cannot be read is an error with file and line; a policy with an error is no policy.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "host/verdict.h"

#define POLICY_SIZE_MAX (1U << 20) /* bytes of one policy file */
#define POLICY_FILES_MAX 256       /* drop-ins */
#define POLICY_RULES_MAX 1024      /* rules of all sections together */

/* One File= line. */
struct policy_rule {
        uint32_t id;      /* FNV-1a of "label\0pattern": the same after reordering; never 0 */
        char *pattern;    /* absolute; `*` within a component, `**` for any number of them */
        size_t secret;    /* index into policy.secrets */
        const char *file; /* where it stands, for messages */
        unsigned line;
};

struct policy_secret { /* [Secret NAME] */
        char *label;
        bool has_content;
        enum content content; /* Content=, else policy.tagged */
        char **holders;       /* Holder=, NULL-terminated or NULL */
};

struct policy_process { /* [Process NAME]: every key given must match */
        char *label;
        char *exe;  /* Exe=: path pattern as in File=, or NULL */
        char *unit; /* Unit=: systemd unit name, `*` allowed, or NULL */
        bool has_user;
        uid_t user; /* User=: name or number, resolved when read */
        bool has_content;
        enum content content;
};

struct policy {
        enum content untagged;    /* Untagged=, detect */
        enum content tagged;      /* Tagged=, redact */
        enum content unknown;     /* UnknownHistory=, redact (served as stacks for now) or refuse */
        enum content blind;       /* Blind=, refuse only: P2 */
        bool accept_blind_tmpfs;  /* AcceptBlind=tmpfs */
        uint64_t deadline_sec;    /* Deadline=, 30 */
        uint64_t store_dump_max;  /* DumpMax=, bytes of one kept dump; suffixes K M G T */
        uint64_t store_total_max; /* StoreMax=, bytes of all kept dumps */
        uint64_t store_keep_free; /* KeepFree=, bytes left free on the file system */
        char **environment;       /* KeepEnvironment=: variables whose values stay; NULL-term. */
        bool ignore_rlimit;       /* RLimit=ignore: RLIMIT_CORE=0 is no opt-out */

        struct policy_secret *secrets;
        size_t n_secrets;
        struct policy_process *processes;
        size_t n_processes;
        struct policy_rule *rules;
        size_t n_rules;

        uint8_t digest[32]; /* SHA-256 over the names and bytes of every file read, in order */
};

/* Reads PATH_POLICY and the *.conf of PATH_POLICY_DIR (sorted by name) below `root` ("" for the
 * host). Every error goes to `errors` as `file:line: what, why, remedy`, not only the first.
 * Returns 0, -EINVAL after an error of content, or the negative errno of the file that could
 * not be read (a missing main file too). */
int policy_load(const char *root, FILE *errors, struct policy **ret);
void policy_free(struct policy *policy); /* NULL is fine */

/* For tests and fuzzing: one file's bytes instead of the host's files. */
int policy_parse(const char *name, const char *text, size_t size, FILE *errors,
                 struct policy **ret);

const struct policy_rule *policy_rule_by_id(const struct policy *policy, uint32_t id);

/* Does `pattern` (see policy_rule) match the absolute path? Bounded: no backtracking blow-up. */
bool pattern_match(const char *pattern, const char *path);
