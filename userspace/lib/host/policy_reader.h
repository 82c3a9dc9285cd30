/* policy_reader: the grammar of policy files, line by line into a struct policy.
 *
 * Internal to policy*.c. A reader goes through all files of one policy; it collects every error
 * and leaves it to the caller to throw the policy away.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "host/policy.h"

enum section {
        SECTION_NONE, /* before the first, or in one that was not understood */
        SECTION_DEFAULT,
        SECTION_SECRET,
        SECTION_PROCESS,
        _SECTION_MAX,
};

struct policy_reader {
        struct policy *policy;
        FILE *errors; /* NULL: nowhere */
        unsigned n_errors;
        size_t n_entries; /* counted against POLICY_RULES_MAX */

        const char *file; /* owned by policy.files */
        unsigned line;
        enum section section;
        size_t index;          /* into policy.secrets or policy.processes */
        bool section_skipped;  /* its errors were told: its keys are not looked at */
        bool seen_any_section; /* in this file */
        bool seen_default;     /* in this file */
        uint64_t seen_keys;    /* single-valued keys of this section, by index into the table */
};

/* Takes in one file. `text` has `size` bytes and a NUL behind them, and is cut to pieces.
 * 0 (look at n_errors) or -ENOMEM. */
int reader_take_file(struct policy_reader *r, const char *name, char *text, size_t size);

/* What can only be said when all files are in: sections that name nothing, defaults. */
void reader_finish(struct policy_reader *r);

/* One message, `coresieve: file:line: …`; returns -EINVAL. */
int reader_error(struct policy_reader *r, unsigned line, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

/* Copies foreign bytes for a message: no control characters, bounded. */
#define QUOTE_SIZE 160U
const char *quote_text(const char *text, char ret[QUOTE_SIZE]);

/* A section line was read: finds or adds what it names (policy_keys.c). */
int reader_section(struct policy_reader *r, const char *kind, const char *name);

/* A Key=value line was read, in r->section (policy_keys.c). */
int reader_key(struct policy_reader *r, const char *key, char *value);
