/* policy: what the host's administrator asked for.
 *
 * The reader is ours because the INI libraries at hand truncate long lines or keep inline
 * comments in values, and both fail open. Grammar: sections, `Key=value`, comments (# or ;) on
 * lines of their own, no continuation, no quoting, no length limit that truncates. An unknown
 * section or key, a bad value, a duplicate of a single-valued key, a NUL byte, or a file that
 * cannot be read is an error with file and line; a policy with an error is no policy.
 *
 * Over several files: a later file overrides single keys of [Default], adds File= and Holder=
 * lines to a [Secret NAME] of an earlier one, and cannot touch a [Process NAME]: two packages
 * that happen to choose the same name must not switch off each other's protection.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "host/pattern.h"
#include "host/verdict.h"

#define POLICY_SIZE_MAX (1U << 20)   /* bytes of one policy file */
#define POLICY_FILES_MAX 256U        /* drop-ins */
#define POLICY_RULES_MAX 1024U       /* sections, File=, Holder= lines of all files together */
#define POLICY_ERRORS_MAX 100U       /* messages printed; the rest is only counted */
#define POLICY_LABEL_MAX 64U         /* bytes of NAME in [Secret NAME] */
#define POLICY_PATTERN_MAX 4095U     /* bytes: no path is longer */
#define POLICY_ENVIRONMENT_MAX 4096U /* bytes of KeepEnvironment= names, a NUL behind each */
#define POLICY_DEADLINE_MAX 3600U    /* seconds */
#define POLICY_DUMP_MIN (1ULL << 20) /* bytes: a smaller DumpMax= keeps nothing useful */

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
        const char *file; /* where its newest section stands */
        unsigned line;
        size_t n_rules; /* File= lines; never 0 in a policy that was accepted */
        bool has_content;
        enum content content; /* Content=, else policy.tagged */
        char **holders;       /* Holder=, NULL-terminated or NULL */
};

struct policy_process { /* [Process NAME]: every key given must match */
        char *label;
        const char *file;
        unsigned line;
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
        enum content unknown;     /* UnknownHistory=, redact (served as stacks for now) or more */
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

        char **files;       /* the files read, in order, as messages name them; NULL-terminated */
        uint8_t digest[32]; /* SHA-256 over the names and bytes of every file read, in order */
};

/* Reads PATH_POLICY and the *.conf of PATH_POLICY_DIR (sorted by name) below `root` ("" for the
 * host). Files and their directories must belong to root and be writable by nobody else: keys
 * are trusted to them. Every error goes to `errors` (NULL: nowhere) as a line
 * `coresieve: file:line: what: why; remedy`, not only the first.
 * Returns 0, -EINVAL after an error of content, or the negative errno of the first file that
 * could not be read (a missing main file too) or trusted (-EPERM). */
int policy_load(const char *root, FILE *errors, struct policy **ret);
void policy_free(struct policy *policy); /* NULL is fine */

/* The same for the bytes of one main file, whoever owns it: drafts, tests, fuzzing. */
int policy_parse(const char *name, const char *text, size_t size, FILE *errors,
                 struct policy **ret);

const struct policy_rule *policy_rule_by_id(const struct policy *policy, uint32_t id);
