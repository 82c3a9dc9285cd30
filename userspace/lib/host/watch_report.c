#include <string.h>

#include "host/sensor.h"

bool watch_finding_is_error(const struct watch_finding *finding, const struct policy *policy) {
        switch (finding->problem) {
        case WATCH_BLIND_TMPFS:
                return !policy->accept_blind_tmpfs;
        case WATCH_BLIND_OVERLAY:
                return false;
        default:
                return true;
        }
}

void watch_finding_print(FILE *to, const struct watch_finding *finding,
                         const struct policy *policy) {
        static const struct {
                const char *reason, *remedy;
        } words[_WATCH_PROBLEM_MAX] = {
                [WATCH_BLIND_TMPFS] = {
                        "is on tmpfs, whose reads the sensor does not see",
                        "move it to a disk file system, drop the rule, or set AcceptBlind=tmpfs",
                },
                [WATCH_BLIND_OTHER] = {
                        "is on a file system whose reads the sensor does not see",
                        "move it to another file system, or drop the rule",
                },
                [WATCH_BLIND_OVERLAY] = {
                        "is on an overlay whose upper layer cannot be watched: a file that is new "
                        "there is not known",
                        "run `coresieve enable` again when files have come",
                },
                [WATCH_UNREADABLE] = {
                        "cannot be read",
                        "make it readable for root, or drop the rule",
                },
                [WATCH_TOO_MUCH] = {
                        "is over a limit of what can be watched",
                        "make the rule narrower",
                },
        };
        const struct policy_rule *rule = policy_rule_by_id(policy, finding->rule);

        (void)fprintf(to, "coresieve: %s:%u: File=%s: %s %s%s%s; %s\n", rule ? rule->file : "?",
                      rule ? rule->line : 0, rule ? rule->pattern : "?", finding->path,
                      words[finding->problem].reason, finding->error < 0 ? ": " : "",
                      finding->error < 0 ? strerrordesc_np(-finding->error) : "",
                      words[finding->problem].remedy);
}
