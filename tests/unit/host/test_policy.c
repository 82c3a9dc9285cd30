/* The policy reader: what is accepted, and the exact words of what is not. */
#include "host/policy.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"

DEFINE_CLEANUP(policy, struct policy, policy_free)

/* Parses `text`; *ret_errors is the caller's to free. */
static int parse(const char *text, size_t size, struct policy **ret, char **ret_errors) {
        size_t n;
        FILE *errors = open_memstream(ret_errors, &n);
        int r;

        assert_non_null(errors);
        r = policy_parse("p", text, size, errors, ret);
        assert_int_equal(fclose(errors), 0);
        return r;
}

#define INVISIBLE                                                                                  \
        "holds an invisible character (a no-break space, a byte order mark); type the line anew\n"
#define SECRET "[Secret s]\nFile=/k\n"

struct error_case {
        const char *name;
        const char *text;
        const char *says; /* the whole of stderr */
};

static const struct error_case error_cases[] = {
        { "an unknown level is told with the levels that exist", SECRET "Content=redcat\n",
          "coresieve: p:3: Content=redcat: unknown level; one of detect, redact, stacks, "
          "refuse\n" },
        { "levels are written in small letters", SECRET "Content=Refuse\n",
          "coresieve: p:3: Content=Refuse: unknown level; one of detect, redact, stacks, "
          "refuse\n" },
        { "a secret cannot be left to the detectors", SECRET "Content=detect\n",
          "coresieve: p:3: Content=detect: a known secret is redacted at least; one of redact, "
          "stacks, refuse\n" },
        { "nor can all secrets", "[Default]\nTagged=detect\n",
          "coresieve: p:2: Tagged=detect: a known secret is redacted at least; one of redact, "
          "stacks, refuse\n" },
        { "blind is never waved through", "[Default]\nBlind=redact\n",
          "coresieve: p:2: Blind=redact: without tags nothing may be kept; only refuse\n" },
        { "an unknown key is told with the keys of its section", "[Secret s]\nfile=/k\n",
          "coresieve: p:2: file=: unknown key in [Secret]; one of File, Holder, Content\n"
          "coresieve: p:1: [Secret s]: names no file; add File=\n" },
        { "a key of another section is unknown", "[Process p]\nExe=/x\nFile=/k\n",
          "coresieve: p:3: File=: unknown key in [Process]; one of Exe, User, Unit, Content\n" },
        { "a key of the design that is not here yet says so", SECRET "SealTo=age1x\n",
          "coresieve: p:3: SealTo=: not implemented yet in this version; remove the line\n" },
        { "so does Mode=", "[Secret s]\nMode=observe\nFile=/k\n",
          "coresieve: p:2: Mode=: not implemented yet in this version; remove the line\n" },
        { "so does SyscallTracepoints=", "[Default]\nSyscallTracepoints=auto\n",
          "coresieve: p:2: SyscallTracepoints=: not implemented yet in this version; remove the "
          "line\n" },
        { "so does Cgroup=", "[Process p]\nCgroup=/x\nExe=/x\n",
          "coresieve: p:2: Cgroup=: not implemented yet in this version; remove the line\n" },
        { "an unknown section is told once, not once for each key", "[Secrets s]\nFile=/k\nA=b\n",
          "coresieve: p:1: [Secrets]: unknown section; one of [Default], [Secret NAME], [Process "
          "NAME]\n" },
        { "a section needs its bracket", "[Default\n",
          "coresieve: p:1: [Default: section without its closing ]\n" },
        { "a comment behind a section is none", "[Default] # x\n",
          "coresieve: p:1: [Default] # x: section without its closing ]\n" },
        { "a secret needs a name", "[Secret]\nFile=/k\n",
          "coresieve: p:1: [Secret ]: has no name; write it as [Secret NAME] or [Process NAME]\n" },
        { "a name is a word", "[Secret a b]\n",
          "coresieve: p:1: [Secret a b]: not a name; letters, digits, and ._- behind the first\n" },
        { "a name is no path", "[Secret ../x]\n",
          "coresieve: p:1: [Secret ../x]: not a name; letters, digits, and ._- behind the "
          "first\n" },
        { "[Default] has no name", "[Default x]\n",
          "coresieve: p:1: [Default x]: has no name; write [Default]\n" },
        { "[Default] stands once in a file", "[Default]\n[Default]\n",
          "coresieve: p:2: [Default]: stands twice in this file; put its keys together\n" },
        { "a secret stands once in a file", SECRET "[Secret s]\nFile=/l\n",
          "coresieve: p:3: [Secret s]: stands twice, first at p:1; put its keys together there\n" },
        { "a process stands once", "[Process p]\nExe=/x\n[Process p]\nExe=/y\n",
          "coresieve: p:3: [Process p]: stands twice, first at p:1; put its keys together "
          "there\n" },
        { "a key before any section is told", "File=/k\n[Default]\n",
          "coresieve: p:1: File=: stands before any section; begin with [Default], [Secret NAME] "
          "or [Process NAME]\n" },
        { "a single key stands once", "[Default]\nDeadline=3\nDeadline=3\n",
          "coresieve: p:3: Deadline=3: stands twice in this section; keep one\n" },
        { "a rule stands once in a secret", SECRET "File=/k\n",
          "coresieve: p:3: File=/k: stands twice in this secret; remove one\n" },
        { "a line that is nothing is told", "[Default]\nhello\n",
          "coresieve: p:2: hello: neither [Section], Key=value nor a comment\n" },
        { "a line without a key is told", "[Default]\n=x\n",
          "coresieve: p:2: =x: neither [Section], Key=value nor a comment\n" },
        { "a comment in a value fails instead of opening", "[Secret s]\nFile=/k # the key\n",
          "coresieve: p:2: File=: holds a comment; comments stand on lines of their own\n"
          "coresieve: p:1: [Secret s]: names no file; add File=\n" },
        { "a ; comment too", "[Secret s]\nFile=/k\t;x\nFile=/l\n",
          "coresieve: p:2: File=: holds a comment; comments stand on lines of their own\n" },
        { "a value that is a comment is none", "[Process p]\nUser=0\nExe=#/x\n",
          "coresieve: p:3: Exe=: holds a comment; comments stand on lines of their own\n" },
        { "an empty value is told", SECRET "Holder=\n",
          "coresieve: p:3: Holder=: is empty; give a value or remove the line\n" },
        { "lines are not continued", SECRET "File=/l\\\n",
          "coresieve: p:3: File=: ends in \\, but lines are not continued; write one line\n" },
        { "a relative path is told", SECRET "File=\"/l\"\n",
          "coresieve: p:3: File=\"/l\": not an absolute path; begin with / and use no quotes\n" },
        { "a relative executable is told", "[Process p]\nUser=0\nExe=vault\n",
          "coresieve: p:3: Exe=vault: not an absolute path; begin with / and use no quotes\n" },
        { "a relative holder is told", SECRET "Holder=nginx\n",
          "coresieve: p:3: Holder=nginx: not an absolute path; begin with / and use no quotes\n" },
        { "two rules of one number are told", "[Secret s]\nFile=/k56186\nFile=/k894100\n",
          "coresieve: p:3: File=/k894100: its number is taken by another rule by chance; give this "
          "secret another name\n" },
        { "other wildcards are not taken literally", SECRET "File=/etc/[ab].key\n",
          "coresieve: p:3: File=/etc/[ab].key: only * and ** are wildcards; put * where ?, [], {} "
          "or \\ stands\n" },
        { "braces are not taken literally", SECRET "File=/etc/{a,b}\n",
          "coresieve: p:3: File=/etc/{a,b}: only * and ** are wildcards; put * where ?, [], {} or "
          "\\ stands\n" },
        { "a directory is not its files", SECRET "File=/etc/ssl/\n",
          "coresieve: p:3: File=/etc/ssl/: has an empty, . or .. component; write the path as the "
          "kernel says it (for all files below a directory: /directory/**)\n" },
        { "a path has no dot components", SECRET "File=/etc/../k\n",
          "coresieve: p:3: File=/etc/../k: has an empty, . or .. component; write the path as the "
          "kernel says it (for all files below a directory: /directory/**)\n" },
        { "a path does not begin with two slashes", SECRET "File=//etc/k\n",
          "coresieve: p:3: File=//etc/k: has an empty, . or .. component; write the path as the "
          "kernel says it (for all files below a directory: /directory/**)\n" },
        { "the root directory is no file", SECRET "File=/\n",
          "coresieve: p:3: File=/: has an empty, . or .. component; write the path as the kernel "
          "says it (for all files below a directory: /directory/**)\n" },
        { "** stands alone", SECRET "File=/etc/**.key\n",
          "coresieve: p:3: File=/etc/**.key: ** stands alone between slashes; use * within a "
          "name\n" },
        { "a rule does not walk the host", SECRET "File=/**/*.key\n",
          "coresieve: p:3: File=/**/*.key: would walk the whole host; begin with a directory\n" },
        { "a secret without files is told", "[Secret s]\nContent=refuse\n",
          "coresieve: p:1: [Secret s]: names no file; add File=\n" },
        { "a process that is every process is told", "[Process p]\nContent=refuse\n",
          "coresieve: p:1: [Process p]: would match every process; add Exe=, User= or Unit=\n" },
        { "a unit is written with its suffix", "[Process p]\nUnit=nginx\nExe=/x\n",
          "coresieve: p:2: Unit=nginx: not a unit's full name; it ends in .service, .scope, "
          ".slice, "
          ".socket, .mount or .swap\n" },
        { "a unit's name has no blanks", "[Process p]\nUnit=a b.service\nExe=/x\n",
          "coresieve: p:2: Unit=a b.service: not a unit name; letters, digits, :_.@\\- and * for a "
          "wildcard\n" },
        { "a user that does not exist is told", "[Process p]\nUser=no-such-user\nExe=/x\n",
          "coresieve: p:2: User=no-such-user: no such user in /etc/passwd; if another service "
          "knows it, give its number\n" },
        { "the user number of nobody at all is none", "[Process p]\nUser=4294967295\nExe=/x\n",
          "coresieve: p:2: User=4294967295: not a user number; below 4294967295\n" },
        { "a deadline has bounds", "[Default]\nDeadline=3601\n",
          "coresieve: p:2: Deadline=3601: out of range; between 1 and 3600 seconds\n" },
        { "no time at all is no deadline", "[Default]\nDeadline=0\n",
          "coresieve: p:2: Deadline=0: out of range; between 1 and 3600 seconds\n" },
        { "a deadline is a number", "[Default]\nDeadline=-1\n",
          "coresieve: p:2: Deadline=-1: not a number of seconds, such as 30\n" },
        { "a size is a number", "[Default]\nStoreMax=1.5G\n",
          "coresieve: p:2: StoreMax=1.5G: not a size; digits and K, M, G or T, such as 512M\n" },
        { "a suffix alone is no size", "[Default]\nStoreMax=K\n",
          "coresieve: p:2: StoreMax=K: not a size; digits and K, M, G or T, such as 512M\n" },
        { "an unknown suffix is told", "[Default]\nStoreMax=5k\n",
          "coresieve: p:2: StoreMax=5k: not a size; digits and K, M, G or T, such as 512M\n" },
        { "a size does not wrap around", "[Default]\nStoreMax=16777216T\n",
          "coresieve: p:2: StoreMax=16777216T: larger than any disk; digits and K, M, G or T, such "
          "as 512M\n" },
        { "a dump limit that keeps nothing is told", "[Default]\nDumpMax=1023K\n",
          "coresieve: p:2: DumpMax=1023K: too small for any useful dump; at least 1M (to keep "
          "none: "
          "Untagged=refuse and Tagged=refuse)\n" },
        { "a variable is a name", "[Default]\nKeepEnvironment=PATH LC_*\n",
          "coresieve: p:2: KeepEnvironment=LC_*: not a variable's name; letters, digits and _, "
          "several with spaces between them, no wildcards\n" },
        { "only known blindness is accepted", "[Default]\nAcceptBlind=nfs\n",
          "coresieve: p:2: AcceptBlind=nfs: unknown file system; only tmpfs\n" },
        { "only known words for RLimit=", "[Default]\nRLimit=yes\n",
          "coresieve: p:2: RLimit=yes: unknown word; one of respect, ignore\n" },
        { "an emptied file protects nothing, and is told", "",
          "coresieve: p: holds no section; a policy without rules is written as [Default] "
          "alone\n" },
        { "so is one of comments only", "# Untagged=detect\n",
          "coresieve: p: holds no section; a policy without rules is written as [Default] "
          "alone\n" },
        { "DOS line ends are told", "[Default]\r\n",
          "coresieve: p:1: ends in a carriage return; convert the file to Unix line ends\n"
          "coresieve: p: holds no section; a policy without rules is written as [Default] "
          "alone\n" },
        { "a path does not end in a no-break space", SECRET "File=/l\u00a0\n",
          "coresieve: p:3: " INVISIBLE },
        { "a byte order mark is told", "\ufeff[Default]\n[Secret s]\nFile=/k\n",
          "coresieve: p:1: " INVISIBLE },
        { "a zero-width space is told", "[Process p]\nExe=/usr/\u200bbin/x\nUser=0\n",
          "coresieve: p:2: " INVISIBLE },
        { "a comment hides no line behind a line separator", SECRET "# x\u2028File=/l\n",
          "coresieve: p:3: " INVISIBLE },
        { "a message carries no control bytes of the file", "[Default]\n\xc3\xa4=1\n",
          "coresieve: p:2: \\xc3\\xa4=: unknown key in [Default]; one of Untagged, Tagged, "
          "UnknownHistory, Blind, AcceptBlind, Deadline, DumpMax, StoreMax, KeepFree, RLimit, "
          "KeepEnvironment\n" },
        { "every error is told, not only the first", "[Default]\nA=1\nB\n[X]\n",
          "coresieve: p:2: A=: unknown key in [Default]; one of Untagged, Tagged, UnknownHistory, "
          "Blind, AcceptBlind, Deadline, DumpMax, StoreMax, KeepFree, RLimit, KeepEnvironment\n"
          "coresieve: p:3: B: neither [Section], Key=value nor a comment\n"
          "coresieve: p:4: [X]: unknown section; one of [Default], [Secret NAME], [Process "
          "NAME]\n" },
};

static void error_is_told(void **state) {
        const struct error_case *c = *state;
        _cleanup_free_ char *errors = NULL;
        struct policy *policy = NULL;

        assert_int_equal(parse(c->text, strlen(c->text), &policy, &errors), -EINVAL);
        assert_string_equal(errors, c->says);
        assert_null(policy);
}

static void everything_that_exists_is_read(void **state) {
        static const char text[] = "; comment\n"
                                   "\n"
                                   " \t\n"
                                   "  # indented comment\n"
                                   "[Default]\n"
                                   "Untagged = stacks\n"
                                   "Tagged=stacks\n"
                                   "UnknownHistory=refuse\n"
                                   "Blind=refuse\n"
                                   "AcceptBlind=tmpfs\n"
                                   "Deadline=5s\n"
                                   "DumpMax=1M\n"
                                   "StoreMax=2G\n"
                                   "KeepFree=3\n"
                                   "RLimit=ignore\n"
                                   "KeepEnvironment=PATH  HOME\n"
                                   "KeepEnvironment=LANG\n"
                                   "[ Secret\ttls ]\n"
                                   "File=/etc/ssl/private/**\n"
                                   "\tFile=/etc/a=b#c;d\n"
                                   "Holder=/usr/sbin/nginx\n"
                                   "Holder=/usr/sbin/apache*\n"
                                   "[Secret sign]\n"
                                   "Content=refuse\n"
                                   "File=/etc/signer/with space/*\n"
                                   "File=/etc/schl\u00fcssel/\u20ac/\xff\xc2\n"
                                   "[Process v]\n"
                                   "Exe=/**/vault\n"
                                   "User=root\n"
                                   "Unit=vault@*.service\n"
                                   "Content=refuse\n"
                                   "[Process w]\n"
                                   "User=4294967294";
        _cleanup_(cleanup_policy) struct policy *p = NULL;
        _cleanup_free_ char *errors = NULL;

        (void)state;
        assert_int_equal(parse(text, strlen(text), &p, &errors), 0);
        assert_string_equal(errors, "");
        assert_int_equal(p->untagged, CONTENT_STACKS);
        assert_int_equal(p->tagged, CONTENT_STACKS);
        assert_int_equal(p->unknown, CONTENT_REFUSE);
        assert_int_equal(p->blind, CONTENT_REFUSE);
        assert_true(p->accept_blind_tmpfs);
        assert_int_equal(p->deadline_sec, 5);
        assert_int_equal(p->store_dump_max, 1 << 20);
        assert_int_equal(p->store_total_max, 2ULL << 30);
        assert_int_equal(p->store_keep_free, 3);
        assert_true(p->ignore_rlimit);
        assert_string_equal(p->environment[0], "PATH");
        assert_string_equal(p->environment[1], "HOME");
        assert_string_equal(p->environment[2], "LANG");
        assert_null(p->environment[3]);

        assert_int_equal(p->n_secrets, 2);
        assert_string_equal(p->secrets[0].label, "tls");
        assert_int_equal(p->secrets[0].content, CONTENT_STACKS); /* Tagged= */
        assert_string_equal(p->secrets[0].holders[1], "/usr/sbin/apache*");
        assert_null(p->secrets[0].holders[2]);
        assert_int_equal(p->secrets[1].content, CONTENT_REFUSE);
        assert_null(p->secrets[1].holders);

        assert_int_equal(p->n_rules, 4);
        assert_string_equal(p->rules[1].pattern, "/etc/a=b#c;d");
        assert_int_equal(p->rules[1].line, 20);
        assert_string_equal(p->rules[1].file, "p");
        assert_string_equal(p->rules[2].pattern, "/etc/signer/with space/*");
        assert_int_equal(p->rules[2].secret, 1);
        assert_string_equal(p->rules[3].pattern, "/etc/schl\u00fcssel/\u20ac/\xff\xc2");

        assert_int_equal(p->n_processes, 2);
        assert_string_equal(p->processes[0].exe, "/**/vault");
        assert_string_equal(p->processes[0].unit, "vault@*.service");
        assert_true(p->processes[0].has_user);
        assert_int_equal(p->processes[0].user, 0);
        assert_int_equal(p->processes[0].content, CONTENT_REFUSE);
        assert_int_equal(p->processes[1].user, 4294967294U);
        assert_int_equal(p->processes[1].content, CONTENT_STACKS); /* Tagged= */
}

static void defaults_are_those_of_the_design(void **state) {
        static const char text[] = "[Default]\n";
        _cleanup_(cleanup_policy) struct policy *p = NULL;
        _cleanup_free_ char *errors = NULL;

        (void)state;
        assert_int_equal(parse(text, strlen(text), &p, &errors), 0);
        assert_int_equal(p->untagged, CONTENT_DETECT);
        assert_int_equal(p->tagged, CONTENT_REDACT);
        assert_int_equal(p->unknown, CONTENT_REDACT);
        assert_int_equal(p->blind, CONTENT_REFUSE);
        assert_false(p->accept_blind_tmpfs);
        assert_false(p->ignore_rlimit);
        assert_int_equal(p->deadline_sec, 30);
        assert_null(p->environment);
        assert_int_equal(p->n_rules, 0);
}

/* A tag carries the id from enable to the crash: reordering the policy must not change it. */
static void rule_ids_survive_reordering(void **state) {
        static const char one[] = "[Secret a]\nFile=/x\nFile=/y\n[Secret b]\nFile=/x\n";
        static const char two[] = "[Secret b]\nFile=/x\n[Secret a]\nFile=/y\nFile=/x\n";
        _cleanup_(cleanup_policy) struct policy *p = NULL, *q = NULL;
        _cleanup_free_ char *e1 = NULL, *e2 = NULL;

        (void)state;
        assert_int_equal(parse(one, strlen(one), &p, &e1), 0);
        assert_int_equal(parse(two, strlen(two), &q, &e2), 0);
        for (size_t i = 0; i < p->n_rules; i++) {
                const struct policy_rule *rule = policy_rule_by_id(q, p->rules[i].id);

                assert_int_not_equal(p->rules[i].id, 0);
                assert_non_null(rule);
                assert_string_equal(rule->pattern, p->rules[i].pattern);
                assert_string_equal(q->secrets[rule->secret].label,
                                    p->secrets[p->rules[i].secret].label);
        }
        assert_null(policy_rule_by_id(p, 0));
        assert_memory_not_equal(p->digest, q->digest, sizeof(p->digest));
}

static void a_nul_byte_is_told_wherever_it_is(void **state) {
        static const char text[] = "[Secret s]\nFile=/k\n# comm\0ent\nFile=/l\0x\n";
        _cleanup_free_ char *errors = NULL;
        struct policy *policy = NULL;

        (void)state;
        assert_int_equal(parse(text, sizeof(text) - 1, &policy, &errors), -EINVAL);
        assert_string_equal(errors, "coresieve: p:3: holds a NUL or control byte; remove it\n"
                                    "coresieve: p:4: holds a NUL or control byte; remove it\n");
}

static void long_text_in_a_message_is_cut(void **state) {
        _cleanup_free_ char *text = NULL, *errors = NULL;
        struct policy *policy = NULL;

        (void)state;
        assert_true(asprintf(&text, "[Default]\n%0*d=1\n", 100000, 0) > 0);
        assert_int_equal(parse(text, strlen(text), &policy, &errors), -EINVAL);
        assert_non_null(strstr(errors, "000...=: unknown key"));
        assert_true(strlen(errors) < 512);
}

static void a_long_line_is_not_truncated(void **state) {
        _cleanup_(cleanup_policy) struct policy *p = NULL;
        _cleanup_free_ char *text = NULL, *errors = NULL;

        (void)state;
        assert_true(asprintf(&text, "[Secret s]\nFile=/%0*d\n", POLICY_PATTERN_MAX - 1, 0) > 0);
        assert_int_equal(parse(text, strlen(text), &p, &errors), 0);
        assert_int_equal(strlen(p->rules[0].pattern), POLICY_PATTERN_MAX);
}

static void errors_may_go_nowhere(void **state) {
        struct policy *p = NULL;

        (void)state;
        assert_int_equal(policy_parse("p", "x\n", 2, NULL, &p), -EINVAL);
}

static const struct CMUnitTest plain_tests[] = {
        cmocka_unit_test(everything_that_exists_is_read),
        cmocka_unit_test(defaults_are_those_of_the_design),
        cmocka_unit_test(rule_ids_survive_reordering),
        cmocka_unit_test(a_nul_byte_is_told_wherever_it_is),
        cmocka_unit_test(long_text_in_a_message_is_cut),
        cmocka_unit_test(a_long_line_is_not_truncated),
        cmocka_unit_test(errors_may_go_nowhere),
};

int main(void) {
        struct CMUnitTest tests[ARRAY_SIZE(error_cases) + ARRAY_SIZE(plain_tests)];
        size_t n = 0;

        for (size_t i = 0; i < ARRAY_SIZE(error_cases); i++)
                tests[n++] = (struct CMUnitTest){ error_cases[i].name, error_is_told, NULL, NULL,
                                                  (void *)&error_cases[i] };
        memcpy(tests + n, plain_tests, sizeof(plain_tests));
        return cmocka_run_group_tests_name("policy", tests, NULL, NULL);
}
