/* From facts to verdict: every combination that matters, and what may never be looser. */
#include "host/decide.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "bpf/tags.h"

DEFINE_CLEANUP(policy, struct policy, policy_free)

static struct policy *policy_of(const char *text) {
        struct policy *policy = NULL;

        assert_int_equal(policy_parse("p", text, strlen(text), stderr, &policy), 0);
        return policy;
}

/* --- the table --- */

#define RULES                                                                                      \
        "[Secret plain]\nFile=/k/plain\n[Secret sign]\nFile=/k/sign\nContent=refuse\n"             \
        "[Secret held]\nFile=/k/held\nHolder=/usr/sbin/nginx\n"                                    \
        "[Process vault]\nExe=/usr/bin/vault\n"                                                    \
        "[Process hsm]\nExe=/usr/bin/hsm\nContent=refuse\n"                                        \
        "[Process lax]\nExe=/usr/bin/lax\nContent=detect\n"

/* File names of RULES, bits of decide_case.files. */
#define PLAIN 1U
#define SIGN 2U
#define HELD 4U
#define GONE 8U /* of a rule that is not in the policy any more */

struct decide_case {
        const char *name;
        const char *defaults; /* of [Default] */
        const char *exe;      /* NULL: /usr/bin/x */
        unsigned files;
        bool tagged;
        uint32_t reasons, flags;
        bool seeding, changed, rlimit_zero, no_policy, no_proc;
        int dump_mode; /* 0: as if 1, so that a case need not say it */
        bool not_dumpable;
        int tagmap_error, proc_error;

        enum content content;
        uint64_t causes;
        enum tag_state state;
};

#define FILE_TAG .tagged = true, .reasons = TAG_REASON_FILE
#define OLD_TAG .tagged = true, .reasons = TAG_REASON_UNKNOWN_HISTORY

#define SAYS(level, why, what)                                                                     \
        .content = CONTENT_##level, .causes = (why), .state = TAG_STATE_##what
#define C(cause) CAUSE_BIT(CAUSE_##cause)

static const struct decide_case cases[] = {
        { "a proved absence of tags is left to the detectors", SAYS(DETECT, 0, CLEAN) },
        { "a tag is redacted", FILE_TAG, .files = PLAIN, SAYS(REDACT, 0, TAGGED) },
        { "a mapped file of a rule counts without a tag", .files = PLAIN, SAYS(REDACT, 0, TAGGED) },
        { "the level of a secret is followed", FILE_TAG, .files = SIGN,
          SAYS(REFUSE, C(POLICY_CONTENT), TAGGED) },
        { "the strictest of two secrets wins", FILE_TAG, .files = PLAIN | SIGN,
          SAYS(REFUSE, C(POLICY_CONTENT), TAGGED) },
        { "Tagged= is the level of secrets that name none", "Tagged=stacks\n", FILE_TAG,
          .files = PLAIN, SAYS(STACKS, C(POLICY_CONTENT), TAGGED) },
        { "Untagged= holds for the untagged", "Untagged=refuse\n",
          SAYS(REFUSE, C(POLICY_CONTENT), CLEAN) },
        { "a tag never makes it looser than no tag", "Untagged=stacks\n", FILE_TAG, .files = PLAIN,
          SAYS(STACKS, C(POLICY_CONTENT), TAGGED) },
        { "Untagged=redact is an answer too", "Untagged=redact\n",
          SAYS(REDACT, C(POLICY_CONTENT), CLEAN) },

        { "a tag without a file leaves nothing to hunt", FILE_TAG,
          SAYS(STACKS, C(NEEDLE_MISSING), TAGGED) },
        { "a tag without a file is still under Tagged=", "Tagged=refuse\n", FILE_TAG,
          SAYS(REFUSE, C(NEEDLE_MISSING) | C(POLICY_CONTENT), TAGGED) },
        { "a tag without a reason is a tag", .tagged = true,
          SAYS(STACKS, C(NEEDLE_MISSING), TAGGED) },
        { "a tag that lost files cannot be hunted whole", FILE_TAG, .files = PLAIN,
          .flags = TAG_FILES_LOST, SAYS(STACKS, C(NEEDLE_MISSING), TAGGED) },
        { "a file of a rule that is gone cannot be found", FILE_TAG, .files = GONE,
          SAYS(STACKS, C(NEEDLE_MISSING), TAGGED) },
        { "a file of a rule that is gone falls to Tagged=", "Tagged=refuse\n", FILE_TAG,
          .files = GONE, SAYS(REFUSE, C(NEEDLE_MISSING) | C(POLICY_CONTENT), TAGGED) },
        { "a reason of another version is not understood", .tagged = true,
          .reasons = TAG_REASON_FILE | 0x100U, .files = PLAIN,
          SAYS(REFUSE, C(MAPS_STALE), TAGGED) },

        { "older than the sensors gives stacks", OLD_TAG,
          SAYS(STACKS, C(UNKNOWN_HISTORY), UNKNOWN) },
        { "UnknownHistory=redact cannot be kept yet", "UnknownHistory=redact\n", OLD_TAG,
          SAYS(STACKS, C(UNKNOWN_HISTORY), UNKNOWN) },
        { "UnknownHistory=refuse refuses", "UnknownHistory=refuse\n", OLD_TAG,
          SAYS(REFUSE, C(UNKNOWN_HISTORY), UNKNOWN) },
        { "a known file does not make up for an unknown past", .tagged = true,
          .reasons = TAG_REASON_FILE | TAG_REASON_UNKNOWN_HISTORY, .files = PLAIN,
          SAYS(STACKS, C(UNKNOWN_HISTORY), TAGGED) },
        { "while sensors are seeded absence says nothing", .seeding = true,
          SAYS(STACKS, C(UNKNOWN_HISTORY), UNKNOWN) },
        { "while sensors are seeded a file is not the whole story", FILE_TAG, .files = PLAIN,
          .seeding = true, SAYS(STACKS, C(UNKNOWN_HISTORY), TAGGED) },

        { "a process rule without files gives stacks", .exe = "/usr/bin/vault",
          SAYS(STACKS, C(PROCESS_RULE), CLEAN) },
        { "a process rule with a tag gives stacks", FILE_TAG, .files = PLAIN,
          .exe = "/usr/bin/vault", SAYS(STACKS, C(PROCESS_RULE), TAGGED) },
        { "a process rule may ask for more", .exe = "/usr/bin/hsm",
          SAYS(REFUSE, C(PROCESS_RULE) | C(POLICY_CONTENT), CLEAN) },
        { "a process rule cannot ask for less yet", .exe = "/usr/bin/lax",
          SAYS(STACKS, C(PROCESS_RULE), CLEAN) },
        { "a process rule follows a replaced executable", .exe = "/usr/bin/vault (deleted)",
          SAYS(STACKS, C(PROCESS_RULE), CLEAN) },

        { "RLIMIT_CORE=0 is an opt-out", .rlimit_zero = true, SAYS(REFUSE, C(RLIMIT), CLEAN) },
        { "RLIMIT_CORE=0 is an opt-out of the tagged", .rlimit_zero = true, FILE_TAG,
          .files = PLAIN, SAYS(REFUSE, C(RLIMIT), TAGGED) },
        { "RLimit=respect is the default", "RLimit=respect\n", .rlimit_zero = true,
          SAYS(REFUSE, C(RLIMIT), CLEAN) },
        { "RLimit=ignore looks past it", "RLimit=ignore\n", .rlimit_zero = true,
          SAYS(DETECT, 0, CLEAN) },
        { "not dumpable is respected", .not_dumpable = true, SAYS(REFUSE, C(DUMP_MODE), CLEAN) },
        { "an unknown dump mode counts as none", .dump_mode = -1,
          SAYS(REFUSE, C(DUMP_MODE), CLEAN) },
        { "a dump mode of the future counts as none", .dump_mode = 3,
          SAYS(REFUSE, C(DUMP_MODE), CLEAN) },
        { "a set-uid program may be dumped for root", .dump_mode = DUMP_MODE_ROOT,
          SAYS(DETECT, 0, CLEAN) },

        { "no maps, no dump", .tagmap_error = -ENOENT, SAYS(REFUSE, C(MAPS_MISSING), BLIND) },
        { "maps of another boot, no dump", .tagmap_error = -ESTALE,
          SAYS(REFUSE, C(MAPS_STALE), BLIND) },
        { "a dead sensor, no dump", .tagmap_error = -ENOLINK, SAYS(REFUSE, C(SENSOR_DEAD), BLIND) },
        { "overflowed maps, no dump", .tagmap_error = -EOVERFLOW,
          SAYS(REFUSE, C(TAGS_OVERFLOW), BLIND) },
        { "no such task, no dump", .tagmap_error = -ESRCH, SAYS(REFUSE, C(IDENTITY), BLIND) },
        { "maps that cannot be read, no dump", .tagmap_error = -EPERM,
          SAYS(REFUSE, C(INTERNAL), BLIND) },

        { "no policy, no dump", .no_policy = true, SAYS(REFUSE, C(POLICY_BROKEN), CLEAN) },
        { "no policy, no dump of the tagged either", .no_policy = true, FILE_TAG, .files = PLAIN,
          SAYS(REFUSE, C(POLICY_BROKEN), TAGGED) },
        { "without a policy nobody ignores the limit", .no_policy = true, .rlimit_zero = true,
          SAYS(REFUSE, C(POLICY_BROKEN) | C(RLIMIT), CLEAN) },
        { "an edited policy may have named more", .changed = true,
          SAYS(STACKS, C(POLICY_CHANGED), CLEAN) },
        { "an edited policy may have named more files", .changed = true, FILE_TAG, .files = PLAIN,
          SAYS(STACKS, C(POLICY_CHANGED), TAGGED) },
        { "an edited policy may have said refuse", .changed = true, FILE_TAG, .files = SIGN,
          SAYS(REFUSE, C(POLICY_CHANGED) | C(POLICY_CONTENT), TAGGED) },

        { "a process that cannot be told, no dump", .proc_error = -EBADMSG,
          SAYS(REFUSE, C(IDENTITY), CLEAN) },
        { "a process that is gone, no dump", .no_proc = true, SAYS(REFUSE, C(IDENTITY), CLEAN) },
        { "a process that is gone holds nothing", .no_proc = true, FILE_TAG, .files = HELD,
          SAYS(REFUSE, C(IDENTITY), TAGGED) },
        { "every reason is told, not only the strictest", .changed = true, .rlimit_zero = true,
          .seeding = true, .exe = "/usr/bin/vault", .not_dumpable = true,
          SAYS(REFUSE,
               C(POLICY_CHANGED) | C(RLIMIT) | C(UNKNOWN_HISTORY) | C(PROCESS_RULE) | C(DUMP_MODE),
               UNKNOWN) },
};

static size_t rules_of(unsigned files, const struct policy *policy, uint32_t *ret) {
        size_t n = 0;

        for (size_t i = 0; i < policy->n_rules; i++)
                if (files & (1U << i))
                        ret[n++] = policy->rules[i].id;
        if (files & GONE)
                ret[n++] = 0xdeadbeef;
        return n;
}

static void decide_case_run(const struct decide_case *c, struct policy *policy,
                            struct decision *ret) {
        uint32_t rules[4];
        struct procinfo proc = { .uid = 1000, .euid = 1000 };
        struct decide_facts facts = {
                .policy = c->no_policy ? NULL : policy,
                .policy_changed = c->changed,
                .proc = c->no_proc ? NULL : &proc,
                .proc_error = c->proc_error,
                .dump_mode = c->not_dumpable ? 0 : (c->dump_mode ? c->dump_mode : DUMP_MODE_USER),
                .rlimit_zero = c->rlimit_zero,
                .tagmap_error = c->tagmap_error,
                .seeding = c->seeding,
                .tagged = c->tagged,
                .tag_reasons = c->reasons,
                .tag_flags = c->flags,
                .rules = rules,
                .n_rules = rules_of(c->files, policy, rules),
        };

        proc.exe = strdup(c->exe ? c->exe : "/usr/bin/x");
        assert_non_null(proc.exe);
        decide(&facts, ret);
        free(proc.exe);
}

static struct policy *policy_for(const struct decide_case *c) {
        _cleanup_free_ char *text = NULL;

        assert_true(asprintf(&text, "[Default]\n%s" RULES, c->defaults ? c->defaults : "") > 0);
        return policy_of(text);
}

static void decided(void **state) {
        const struct decide_case *c = *state;
        _cleanup_(cleanup_policy) struct policy *policy = policy_for(c);
        struct decision d;

        decide_case_run(c, policy, &d);
        assert_int_equal(d.verdict.content, c->content);
        assert_int_equal(d.verdict.causes, c->causes);
        assert_int_equal(d.verdict.wrap, WRAP_PLAIN);
        assert_int_equal(d.tag_state, c->state);
}

/* Strictest wins: no two facts together may give less than either gives alone. */
static void no_second_fact_loosens_a_verdict(void **state) {
        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                struct decide_case both = cases[i];
                _cleanup_(cleanup_policy) struct policy *policy = policy_for(&both);
                struct decision d;

                for (unsigned bits = 0; bits < 1U << 6; bits++) {
                        both = cases[i];
                        both.changed |= bits & 1U;
                        both.seeding |= !!(bits & 2U);
                        if (bits & 4U) {
                                both.tagged = true;
                                both.reasons |= TAG_REASON_UNKNOWN_HISTORY;
                        }
                        if (bits & 8U)
                                both.files |= PLAIN;
                        if (bits & 16U)
                                both.tagmap_error = -ENOENT;
                        both.not_dumpable |= !!(bits & 32U);
                        decide_case_run(&both, policy, &d);
                        /* A file that is named after all takes back "no file is named". */
                        if (!(bits & 8U) || !(cases[i].causes & C(NEEDLE_MISSING)))
                                assert_true(d.verdict.content >= cases[i].content);
                }
        }
}

/* --- labels --- */

static bool has_label(const struct decision *d, const char *label, bool process,
                      enum holder holder) {
        for (size_t i = 0; i < d->n_labels; i++)
                if (strcmp(d->labels[i].label, label) == 0 && d->labels[i].process == process)
                        return d->labels[i].holder == holder;
        return false;
}

static void labels_are_named_once(void **state) {
        static const struct decide_case c = { .exe = "/usr/bin/vault", .files = PLAIN | HELD };
        _cleanup_(cleanup_policy) struct policy *policy = policy_for(&c);
        uint32_t twice[2] = { policy->rules[0].id, policy->rules[0].id };
        struct procinfo proc = { 0 };
        struct decide_facts facts = {
                .policy = policy, .proc = &proc, .dump_mode = 1, .rules = twice, .n_rules = 2
        };
        struct decision d;

        (void)state;
        decide_case_run(&c, policy, &d);
        assert_int_equal(d.n_labels, 3);
        assert_true(has_label(&d, "plain", false, HOLDER_ANY));
        assert_true(has_label(&d, "vault", true, HOLDER_ANY));
        assert_true(has_label(&d, "held", false, HOLDER_FOREIGN));

        proc.exe = strdup("/usr/bin/x");
        assert_non_null(proc.exe);
        decide(&facts, &d);
        free(proc.exe);
        assert_int_equal(d.n_labels, 1);
}

static void a_holder_is_not_foreign(void **state) {
        static const struct decide_case c = { .exe = "/usr/sbin/nginx (deleted)", .files = HELD };
        _cleanup_(cleanup_policy) struct policy *policy = policy_for(&c);
        struct decision d;

        (void)state;
        decide_case_run(&c, policy, &d);
        assert_true(has_label(&d, "held", false, HOLDER_ALLOWED));
}

static void labels_over_the_limit_still_count(void **state) {
        _cleanup_(cleanup_policy) struct policy *policy = NULL;
        _cleanup_free_ char *text = NULL;
        uint32_t rules[DECIDE_LABELS_MAX + 1];
        struct procinfo proc = { .exe = (char *)"/x" };
        struct decide_facts facts = {
                .proc = &proc, .dump_mode = 1, .rules = rules, .n_rules = DECIDE_LABELS_MAX
        };
        struct decision d;
        size_t size;
        FILE *f = open_memstream(&text, &size);

        (void)state;
        assert_non_null(f);
        for (unsigned i = 0; i <= DECIDE_LABELS_MAX; i++)
                assert_true(fprintf(f, "[Secret s%u]\nFile=/k\n%s", i,
                                    i == DECIDE_LABELS_MAX ? "Content=refuse\n" : "") > 0);
        assert_int_equal(fclose(f), 0);
        facts.policy = policy = policy_of(text);
        for (size_t i = 0; i < ARRAY_SIZE(rules); i++)
                rules[i] = policy->rules[i].id;

        decide(&facts, &d);
        assert_int_equal(d.n_labels, DECIDE_LABELS_MAX);
        assert_int_equal(d.n_labels_lost, 0);
        assert_int_equal(d.verdict.content, CONTENT_REDACT);

        facts.n_rules++;
        decide(&facts, &d);
        assert_int_equal(d.n_labels, DECIDE_LABELS_MAX);
        assert_int_equal(d.n_labels_lost, 1);
        assert_int_equal(d.verdict.content, CONTENT_REFUSE);
}

static void a_rule_found_later_is_judged_as_the_others_were(void **state) {
        static const struct decide_case c = { .exe = "/usr/bin/x", .files = PLAIN };
        _cleanup_(cleanup_policy) struct policy *policy = policy_for(&c);
        struct procinfo proc = { .exe = (char *)"/usr/bin/x" };
        struct decision d;

        (void)state;
        decide_case_run(&c, policy, &d);
        assert_int_equal(d.verdict.content, CONTENT_REDACT);
        decide_rule(policy, &policy->rules[0], &proc, &d);
        assert_int_equal(d.n_labels, 1);
        for (size_t i = 1; i < 3; i++)
                decide_rule(policy, &policy->rules[i], &proc, &d);
        assert_int_equal(d.verdict.content, CONTENT_REFUSE);
        assert_true(d.verdict.causes & CAUSE_BIT(CAUSE_POLICY_CONTENT));
        assert_true(has_label(&d, "held", false, HOLDER_FOREIGN));
}

/* --- process rules --- */

struct match_case {
        const char *name;
        const char *rule;
        const char *exe, *cgroup;
        uid_t uid, euid;
        bool match;
};

static const struct match_case match_cases[] = {
        { "another executable does not match", "Exe=/bin/a\n", "/bin/b", "/", 0, 0, false },
        { "an executable matches", "Exe=/bin/a\n", "/bin/a", "/", 0, 0, true },
        { "an executable pattern matches", "Exe=/opt/**/bin/*\n", "/opt/a/b/bin/c", "/", 0, 0,
          true },
        { "a removed executable matches", "Exe=/bin/a\n", "/bin/a (deleted)", "/", 0, 0, true },
        { "a file with that ending can be named too", "Exe=/bin/a (deleted)\n", "/bin/a (deleted)",
          "/", 0, 0, true },
        { "the mark alone is no executable", "Exe=/bin/a\n", " (deleted)", "/", 0, 0, false },
        { "an unreadable executable counts as matching", "Exe=/bin/a\n", NULL, "/", 0, 0, true },
        { "an unreadable executable does not undo User=", "Exe=/bin/a\nUser=7\n", NULL, "/", 8, 8,
          false },
        { "the real user matches", "User=7\n", "/x", "/", 7, 8, true },
        { "the effective user matches", "User=7\n", "/x", "/", 8, 7, true },
        { "another user does not match", "User=7\n", "/x", "/", 8, 8, false },
        { "a unit matches", "Unit=v.service\n", "/x", "/system.slice/v.service", 0, 0, true },
        { "a unit with * matches", "Unit=v@*.service\n", "/x", "/system.slice/v@1.service", 0, 0,
          true },
        { "a unit's own groups below it match", "Unit=v.service\n", "/x",
          "/system.slice/v.service/a/b.service", 0, 0, true },
        { "a slice matches what is in it", "Unit=system.slice\n", "/x", "/system.slice/v.service",
          0, 0, true },
        { "a removed unit matches", "Unit=v.service\n", "/x", "/system.slice/v.service (deleted)",
          0, 0, true },
        { "part of a unit's name does not match", "Unit=v.service\n", "/x",
          "/system.slice/vv.service", 0, 0, false },
        { "no unit does not match", "Unit=v.service\n", "/x", "/", 0, 0, false },
        { "an unreadable cgroup counts as matching", "Unit=v.service\n", "/x", NULL, 0, 0, true },
        { "every key must match", "Exe=/x\nUnit=v.service\nUser=7\n", "/x", "/v.service", 8, 8,
          false },
        { "every key does match", "Exe=/x\nUnit=v.service\nUser=7\n", "/x", "/v.service", 7, 7,
          true },
};

static void process_matches(void **state) {
        const struct match_case *c = *state;
        _cleanup_(cleanup_policy) struct policy *policy = NULL;
        _cleanup_free_ char *text = NULL;
        struct procinfo proc = {
                .uid = c->uid, .euid = c->euid, .exe = (char *)c->exe, .cgroup = (char *)c->cgroup
        };

        assert_true(asprintf(&text, "[Process p]\n%s", c->rule) > 0);
        policy = policy_of(text);
        assert_int_equal(process_match(&policy->processes[0], &proc), c->match);
}

/* --- names --- */

static void every_name_is_its_own(void **state) {
        (void)state;
        for (int i = 0; i < _CAUSE_MAX; i++) {
                assert_string_not_equal(cause_to_string((enum cause)i), "unknown");
                for (int j = 0; j < i; j++)
                        assert_string_not_equal(cause_to_string((enum cause)i),
                                                cause_to_string((enum cause)j));
        }
        for (int i = 0; i < _CONTENT_MAX; i++) {
                enum content content;

                assert_int_equal(content_from_string(content_to_string((enum content)i), &content),
                                 0);
                assert_int_equal(content, i);
        }
        for (int i = 0; i < _WRAP_MAX; i++)
                assert_string_not_equal(wrap_to_string((enum wrap)i), "unknown");
}

/* A worker's answer may hold any number. */
static void numbers_out_of_range_have_a_name_too(void **state) {
        enum content content = CONTENT_STACKS;

        (void)state;
        assert_string_equal(cause_to_string(_CAUSE_MAX), "unknown");
        assert_string_equal(content_to_string((enum content)0xffffffffU), "unknown");
        assert_string_equal(wrap_to_string(_WRAP_MAX), "unknown");
        assert_int_equal(content_from_string("redact ", &content), -EINVAL);
        assert_int_equal(content_from_string("", &content), -EINVAL);
        assert_int_equal(content, CONTENT_STACKS);
}

static const struct CMUnitTest plain_tests[] = {
        cmocka_unit_test(no_second_fact_loosens_a_verdict),
        cmocka_unit_test(labels_are_named_once),
        cmocka_unit_test(a_holder_is_not_foreign),
        cmocka_unit_test(labels_over_the_limit_still_count),
        cmocka_unit_test(a_rule_found_later_is_judged_as_the_others_were),
        cmocka_unit_test(every_name_is_its_own),
        cmocka_unit_test(numbers_out_of_range_have_a_name_too),
};

int main(void) {
        struct CMUnitTest
                tests[ARRAY_SIZE(cases) + ARRAY_SIZE(match_cases) + ARRAY_SIZE(plain_tests)];
        size_t n = 0;

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
                tests[n++] = (struct CMUnitTest){ cases[i].name, decided, NULL, NULL,
                                                  (void *)&cases[i] };
        for (size_t i = 0; i < ARRAY_SIZE(match_cases); i++)
                tests[n++] = (struct CMUnitTest){ match_cases[i].name, process_matches, NULL, NULL,
                                                  (void *)&match_cases[i] };
        memcpy(tests + n, plain_tests, sizeof(plain_tests));
        return cmocka_run_group_tests_name("decide", tests, NULL, NULL);
}
