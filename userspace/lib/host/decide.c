#include "host/decide.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "bpf/tags.h"

#define TAG_REASONS_KNOWN (TAG_REASON_FILE | TAG_REASON_UNKNOWN_HISTORY)

/* The kernel's mark behind the path of an executable or cgroup that was removed since. */
#define DELETED " (deleted)"

/* --- process rules ---------------------------------------------------------------------------- */

/* An executable replaced by an upgrade is still the one that the rule names. A file that really
 * has this ending is matched by its whole name too. */
static bool exe_match(const char *pattern, const char *exe) {
        size_t size = strlen(exe), mark = strlen(DELETED);
        char shorter[PROC_TEXT_MAX];

        if (pattern_match(pattern, exe))
                return true;
        if (size < mark || size - mark >= sizeof(shorter) ||
            strcmp(exe + size - mark, DELETED) != 0)
                return false;
        memcpy(shorter, exe, size - mark);
        shorter[size - mark] = '\0';
        return pattern_match(pattern, shorter);
}

static bool unit_match(const char *pattern, const char *cgroup) {
        size_t mark = strlen(DELETED);

        for (const char *at = cgroup; *at; at += strspn(at, "/")) {
                size_t size = strcspn(at, "/");

                if (at[size] == '\0' && size > mark && strcmp(at + size - mark, DELETED) == 0 &&
                    pattern_match_name(pattern, at, size - mark))
                        return true;
                if (size > 0 && pattern_match_name(pattern, at, size))
                        return true;
                at += size;
        }
        return false;
}

bool process_match(const struct policy_process *process, const struct procinfo *info) {
        if (process->exe && info->exe && !exe_match(process->exe, info->exe))
                return false;
        if (process->unit && info->cgroup && !unit_match(process->unit, info->cgroup))
                return false;
        if (process->has_user && process->user != info->uid && process->user != info->euid)
                return false;
        return true;
}

/* --- labels ----------------------------------------------------------------------------------- */

static void add_label(struct decision *d, const char *label, bool process, enum holder holder) {
        for (size_t i = 0; i < d->n_labels; i++)
                if (d->labels[i].process == process && strcmp(d->labels[i].label, label) == 0)
                        return;
        if (d->n_labels == DECIDE_LABELS_MAX) {
                d->n_labels_lost++;
                return;
        }
        d->labels[d->n_labels++] = (struct decide_label){
                .label = label,
                .process = process,
                .holder = holder,
        };
}

static enum holder holder_of(const struct policy_secret *secret, const struct procinfo *proc) {
        if (!secret->holders)
                return HOLDER_ANY;
        if (!proc || !proc->exe)
                return HOLDER_FOREIGN;
        for (char **holder = secret->holders; *holder; holder++)
                if (exe_match(*holder, proc->exe))
                        return HOLDER_ALLOWED;
        return HOLDER_FOREIGN;
}

/* --- the verdict, one fact at a time ---------------------------------------------------------- */

static enum cause cause_of_tagmap(int error) {
        switch (error) {
        case -ENOENT:
                return CAUSE_MAPS_MISSING;
        case -ESTALE:
                return CAUSE_MAPS_STALE;
        case -ENOLINK:
                return CAUSE_SENSOR_DEAD;
        case -EOVERFLOW:
                return CAUSE_TAGS_OVERFLOW;
        case -ESRCH:
                return CAUSE_IDENTITY;
        default:
                return CAUSE_INTERNAL;
        }
}

static enum tag_state state_of(const struct decide_facts *facts) {
        if (facts->tagmap_error < 0)
                return TAG_STATE_BLIND;
        if ((facts->tagged && facts->tag_reasons != TAG_REASON_UNKNOWN_HISTORY) ||
            facts->n_rules > 0)
                return TAG_STATE_TAGGED;
        if (facts->tagged || facts->seeding)
                return TAG_STATE_UNKNOWN;
        return TAG_STATE_CLEAN;
}

/* What holds whatever the process is. */
static void judge_circumstances(const struct decide_facts *facts, struct verdict *v) {
        if (!facts->policy)
                verdict_raise(v, CONTENT_REFUSE, CAUSE_POLICY_BROKEN);
        if (facts->policy_changed)
                verdict_raise(v, CONTENT_STACKS, CAUSE_POLICY_CHANGED);
        if (!facts->proc || facts->proc_error < 0)
                verdict_raise(v, CONTENT_REFUSE, CAUSE_IDENTITY);
        if (facts->dump_mode != DUMP_MODE_USER && facts->dump_mode != DUMP_MODE_ROOT)
                verdict_raise(v, CONTENT_REFUSE, CAUSE_DUMP_MODE);
        if (facts->rlimit_zero && !(facts->policy && facts->policy->ignore_rlimit))
                verdict_raise(v, CONTENT_REFUSE, CAUSE_RLIMIT);
        if (facts->tagmap_error < 0)
                verdict_raise(v, CONTENT_REFUSE, cause_of_tagmap(facts->tagmap_error));
}

/* What the tag itself says, apart from the policy. */
static void judge_tag(const struct decide_facts *facts, struct verdict *v) {
        bool unknown = facts->seeding;

        if (facts->tagged) {
                uint32_t files = facts->tag_reasons & TAG_REASON_FILE;

                unknown |= facts->tag_reasons & TAG_REASON_UNKNOWN_HISTORY;
                if (facts->tag_reasons & ~TAG_REASONS_KNOWN)
                        verdict_raise(v, CONTENT_REFUSE, CAUSE_MAPS_STALE);
                /* A tag without a file that could be named leaves nothing to hunt. */
                if ((files && facts->n_rules == 0) || facts->tag_reasons == 0 ||
                    (facts->tag_flags & TAG_FILES_LOST))
                        verdict_raise(v, CONTENT_STACKS, CAUSE_NEEDLE_MISSING);
        }
        if (!unknown)
                return;
        /* `redact` of what nobody named would be an empty promise until detectors exist. */
        verdict_raise(v, CONTENT_STACKS, CAUSE_UNKNOWN_HISTORY);
        if (facts->policy)
                verdict_raise(v, facts->policy->unknown, CAUSE_UNKNOWN_HISTORY);
}

/* Raises to what the policy says; only what is stricter than `usual` needs an explanation. */
static void judge_policy(struct verdict *v, enum content content, enum content usual) {
        if (content > usual)
                verdict_raise(v, content, CAUSE_POLICY_CONTENT);
        else if (content > v->content)
                v->content = content;
}

void decide_rule(const struct policy *policy, const struct policy_rule *rule,
                 const struct procinfo *proc, struct decision *d) {
        const struct policy_secret *secret = &policy->secrets[rule->secret];

        judge_policy(&d->verdict, secret->content, CONTENT_REDACT);
        add_label(d, secret->label, false, holder_of(secret, proc));
}

static void judge_secrets(const struct decide_facts *facts, struct decision *d) {
        const struct policy *policy = facts->policy;

        if (d->tag_state == TAG_STATE_TAGGED && facts->n_rules == 0)
                judge_policy(&d->verdict, policy->tagged, CONTENT_REDACT);
        for (size_t i = 0; i < facts->n_rules; i++) {
                const struct policy_rule *rule = policy_rule_by_id(policy, facts->rules[i]);

                /* The rule was removed since the tag was set: nothing says where the file is. */
                if (!rule) {
                        judge_policy(&d->verdict, policy->tagged, CONTENT_REDACT);
                        verdict_raise(&d->verdict, CONTENT_STACKS, CAUSE_NEEDLE_MISSING);
                        continue;
                }
                decide_rule(policy, rule, facts->proc, d);
        }
}

static void judge_processes(const struct decide_facts *facts, struct decision *d) {
        const struct policy *policy = facts->policy;

        for (size_t i = 0; i < policy->n_processes; i++) {
                const struct policy_process *process = &policy->processes[i];

                if (!process_match(process, facts->proc))
                        continue;
                /* Its keys come by ways that leave no needle: only what unwinding needs may
                 * stay, until detectors recognise the rest. */
                verdict_raise(&d->verdict, CONTENT_STACKS, CAUSE_PROCESS_RULE);
                judge_policy(&d->verdict, process->content, CONTENT_STACKS);
                add_label(d, process->label, true, HOLDER_ANY);
        }
}

void decide(const struct decide_facts *facts, struct decision *ret) {
        const struct policy *policy = facts->policy;

        *ret = (struct decision){
                .verdict = { .content = CONTENT_DETECT, .wrap = WRAP_PLAIN },
                .tag_state = state_of(facts),
        };
        judge_circumstances(facts, &ret->verdict);
        judge_tag(facts, &ret->verdict);
        if (!policy)
                return;
        judge_policy(&ret->verdict, policy->untagged, CONTENT_DETECT);
        judge_secrets(facts, ret);
        if (facts->proc)
                judge_processes(facts, ret);
}
