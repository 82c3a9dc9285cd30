/* Any bytes as a policy: accepted or refused with words, nothing else. What is accepted must keep
 * the promises that policy.h makes to its callers, and match patterns to an end. */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "host/policy.h"

DEFINE_CLEANUP(policy, struct policy, policy_free)

#define REQUIRE(condition)                                                                         \
        do {                                                                                       \
                if (!(condition))                                                                  \
                        abort();                                                                   \
        } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require_pattern(const char *pattern) {
        REQUIRE(pattern[0] == '/' && strlen(pattern) <= POLICY_PATTERN_MAX);
        /* With its wildcards as names of themselves, a pattern is a path that it matches. */
        REQUIRE(pattern_match(pattern, pattern));
        REQUIRE(!strstr(pattern, "//") && !strstr(pattern, "/../"));
}

static void require_names(char *const *names) {
        size_t bytes = 0;

        for (; names && *names; names++) {
                REQUIRE((*names)[0] != '\0' && !strpbrk(*names, "= \t\n*"));
                bytes += strlen(*names) + 1;
        }
        REQUIRE(bytes <= POLICY_ENVIRONMENT_MAX);
}

static void require_policy(const struct policy *policy) {
        REQUIRE(policy->n_rules + policy->n_secrets + policy->n_processes <= POLICY_RULES_MAX);
        REQUIRE(policy->untagged < _CONTENT_MAX && policy->tagged < _CONTENT_MAX);
        REQUIRE(policy->tagged >= CONTENT_REDACT && policy->unknown >= CONTENT_REDACT);
        REQUIRE(policy->blind == CONTENT_REFUSE);
        REQUIRE(policy->deadline_sec > 0 && policy->deadline_sec <= POLICY_DEADLINE_MAX);
        REQUIRE(policy->store_dump_max >= POLICY_DUMP_MIN);
        require_names(policy->environment);

        for (size_t i = 0; i < policy->n_rules; i++) {
                const struct policy_rule *rule = &policy->rules[i];

                REQUIRE(rule->id != 0 && rule->secret < policy->n_secrets && rule->line > 0);
                REQUIRE(policy_rule_by_id(policy, rule->id) == rule);
                require_pattern(rule->pattern);
                REQUIRE(rule->pattern[1] != '*');
        }
        for (size_t i = 0; i < policy->n_secrets; i++) {
                const struct policy_secret *secret = &policy->secrets[i];

                REQUIRE(secret->n_rules > 0 && secret->content >= CONTENT_REDACT);
                REQUIRE(secret->content < _CONTENT_MAX);
                for (char **holder = secret->holders; holder && *holder; holder++)
                        require_pattern(*holder);
        }
        for (size_t i = 0; i < policy->n_processes; i++) {
                const struct policy_process *process = &policy->processes[i];

                REQUIRE(process->exe || process->unit || process->has_user);
                REQUIRE(process->content < _CONTENT_MAX);
                if (process->exe)
                        require_pattern(process->exe);
        }
}

/* What was said about a refused policy: whole lines in the shape of STYLE, printable ASCII. */
static void require_words(const char *errors, size_t size) {
        size_t lines = 0;

        REQUIRE(size > 0 && errors[size - 1] == '\n');
        for (const char *line = errors; *line; line = strchr(line, '\n') + 1, lines++)
                REQUIRE(strncmp(line, "coresieve: p:", strlen("coresieve: p:")) == 0);
        REQUIRE(lines <= POLICY_ERRORS_MAX + 1);
        for (size_t i = 0; i < size; i++)
                REQUIRE((errors[i] >= ' ' && errors[i] <= '~') || errors[i] == '\n');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_(cleanup_policy) struct policy *policy = NULL;
        _cleanup_free_ char *words = NULL;
        size_t n_words = 0;
        FILE *errors = open_memstream(&words, &n_words);
        int r;

        REQUIRE(errors);
        r = policy_parse("p", (const char *)data, size, errors, &policy);
        REQUIRE(fclose(errors) == 0);
        if (r < 0) {
                REQUIRE(r == -EINVAL || r == -EFBIG);
                REQUIRE(!policy);
                require_words(words, n_words);
                return 0;
        }
        REQUIRE(n_words == 0);
        require_policy(policy);
        return 0;
}
