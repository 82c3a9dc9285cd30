/* decide: from facts to verdict.
 *
 * Pure: everything it knows stands in struct decide_facts, gathered by intake; no look at the
 * host, so that a table of cases can hold every combination. The strictest fact wins (P2, P3),
 * and what cannot be told counts as the stricter answer. What is found out later (a needle that
 * is missing, no room in the store) raises the same verdict further.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "audit/record.h"
#include "host/policy.h"
#include "host/procinfo.h"
#include "host/verdict.h"

/* Labels named in a decision; more count for the verdict all the same. */
#define DECIDE_LABELS_MAX RECORD_LABELS_MAX

/* The kernel's dump mode (%d, or PIDFD_GET_INFO): 2 is allowed as 1 is, for the store is root's
 * alone; anything else is not. */
#define DUMP_MODE_USER 1
#define DUMP_MODE_ROOT 2

struct decide_facts {
        const struct policy *policy; /* NULL: there is none that can be read */
        bool policy_changed;         /* its digest is not that of the last enable */
        const struct procinfo *proc; /* NULL, or a failed procinfo_read(): no identity */
        int proc_error;              /* of procinfo_read() */
        int dump_mode;               /* -1 unknown */
        bool rlimit_zero;            /* RLIMIT_CORE=0: the process asked for no core */

        int tagmap_error;     /* of tagmap_open() or tagmap_of_task(), 0 when both answered */
        bool seeding;         /* meta.state is not TAGS_LIVE: absence says nothing yet */
        bool tagged;          /* the lineage has a tag */
        uint32_t tag_reasons; /* TAG_REASON_*, of that tag */
        uint32_t tag_flags;   /* TAG_FILES_LOST, of that tag */

        const uint32_t *rules; /* policy_rule ids of the tag's files and of mapped files */
        size_t n_rules;
};

struct decide_label {
        const char *label; /* of the policy */
        bool process;      /* of a [Process], else of a [Secret] */
        enum holder holder;
};

struct decision {
        struct verdict verdict;
        enum tag_state tag_state;
        struct decide_label labels[DECIDE_LABELS_MAX]; /* each once */
        size_t n_labels;
        size_t n_labels_lost; /* that found no room */
};

void decide(const struct decide_facts *facts, struct decision *ret);

/* One more rule of the policy, of a file that was found to be held after the decision: its
 * secret's content and label. */
void decide_rule(const struct policy *policy, const struct policy_rule *rule,
                 const struct procinfo *proc, struct decision *d);

/* Does a [Process] section match? Every key given must; a fact that is not known (an executable
 * or cgroup that could not be read) counts as matching. Exe= sees through the " (deleted)" that
 * the kernel appends, Unit= looks at every component of the cgroup path (a service may make
 * groups below its own), User= at the real and at the effective user. */
bool process_match(const struct policy_process *process, const struct procinfo *info);
