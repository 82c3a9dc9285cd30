/* The limits of a policy: what fits is accepted, one more is told. */
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

struct limit_case {
        const char *name;
        const char *head;
        const char *format; /* of a line; takes a number */
        unsigned fits;      /* so many lines are accepted, one more is not */
        const char *says;   /* part of the message */
};

static const struct limit_case limit_cases[] = {
        { "files of a secret", "[Secret s]\n", "File=/k%u\n", POLICY_RULES_MAX - 1,
          "more than 1024 sections, File= and Holder= lines" },
        { "holders of a secret", "[Secret s]\nFile=/k\n", "Holder=/k%u\n", POLICY_RULES_MAX - 2,
          "more than 1024 sections, File= and Holder= lines" },
        { "processes", "", "[Process p%u]\nExe=/x\n", POLICY_RULES_MAX,
          "more than 1024 sections, File= and Holder= lines" },
        { "secrets with a file each", "", "[Secret p%u]\nFile=/x\n", POLICY_RULES_MAX / 2,
          "more than 1024 sections, File= and Holder= lines" },
        { "names of variables", "[Default]\n", "KeepEnvironment=A%06u\n",
          POLICY_ENVIRONMENT_MAX / 8, "more than 4096 bytes of names in all" },
};

static int parse_lines(const struct limit_case *c, unsigned n, char **ret_errors) {
        _cleanup_(cleanup_policy) struct policy *p = NULL;
        _cleanup_free_ char *text = NULL;
        size_t size;
        FILE *f = open_memstream(&text, &size);

        assert_non_null(f);
        assert_true(fputs(c->head, f) >= 0);
        for (unsigned i = 0; i < n; i++)
                assert_true(fprintf(f, c->format, i) > 0);
        assert_int_equal(fclose(f), 0);
        return parse(text, size, &p, ret_errors);
}

static void limit_holds(void **state) {
        const struct limit_case *c = *state;
        _cleanup_free_ char *fits = NULL, *over = NULL;

        assert_int_equal(parse_lines(c, c->fits, &fits), 0);
        assert_string_equal(fits, "");
        assert_int_equal(parse_lines(c, c->fits + 1, &over), -EINVAL);
        assert_non_null(strstr(over, c->says));
}

static void pattern_limit_holds(void **state) {
        _cleanup_free_ char *text = NULL, *errors = NULL;
        struct policy *p = NULL;

        (void)state;
        assert_true(asprintf(&text, "[Secret s]\nFile=/%0*d\n", POLICY_PATTERN_MAX, 0) > 0);
        assert_int_equal(parse(text, strlen(text), &p, &errors), -EINVAL);
        assert_non_null(strstr(errors, "longer than any path (4095 bytes)"));
}

static void label_limit_holds(void **state) {
        for (int extra = 0; extra <= 1; extra++) {
                _cleanup_(cleanup_policy) struct policy *p = NULL;
                _cleanup_free_ char *text = NULL, *errors = NULL;

                (void)state;
                assert_true(asprintf(&text, "[Secret %0*d]\nFile=/k\n",
                                     (int)POLICY_LABEL_MAX + extra, 0) > 0);
                assert_int_equal(parse(text, strlen(text), &p, &errors), extra ? -EINVAL : 0);
        }
}

static void unit_limit_holds(void **state) {
        (void)state;
        for (int extra = 0; extra <= 1; extra++) {
                _cleanup_(cleanup_policy) struct policy *p = NULL;
                _cleanup_free_ char *text = NULL, *errors = NULL;

                assert_true(asprintf(&text, "[Process p]\nUnit=%0*d.service\n", 247 + extra, 0) >
                            0);
                assert_int_equal(parse(text, strlen(text), &p, &errors), extra ? -EINVAL : 0);
        }
}

static void size_limit_holds(void **state) {
        for (unsigned extra = 0; extra <= 1; extra++) {
                _cleanup_(cleanup_policy) struct policy *p = NULL;
                _cleanup_free_ char *text = malloc(POLICY_SIZE_MAX + 1), *errors = NULL;
                static const char head[] = "[Default]\n#";

                (void)state;
                assert_non_null(text);
                memset(text, 'x', POLICY_SIZE_MAX + 1);
                memcpy(text, head, strlen(head));
                assert_int_equal(parse(text, POLICY_SIZE_MAX + extra, &p, &errors),
                                 extra ? -EFBIG : 0);
        }
}

static void error_limit_holds(void **state) {
        static const struct limit_case lines = { .head = "[Default]\n", .format = "x%u\n" };
        _cleanup_free_ char *errors = NULL;
        unsigned n = 0;

        (void)state;
        assert_int_equal(parse_lines(&lines, 100000, &errors), -EINVAL);
        for (char *at = errors; (at = strchr(at, '\n')); at++)
                n++;
        assert_int_equal(n, POLICY_ERRORS_MAX + 1);
        assert_non_null(strstr(errors, "more errors follow; mend these 100 first\n"));
}

static const struct CMUnitTest plain_tests[] = {
        cmocka_unit_test(pattern_limit_holds), cmocka_unit_test(label_limit_holds),
        cmocka_unit_test(unit_limit_holds),    cmocka_unit_test(size_limit_holds),
        cmocka_unit_test(error_limit_holds),
};

int main(void) {
        struct CMUnitTest tests[ARRAY_SIZE(limit_cases) + ARRAY_SIZE(plain_tests)];
        size_t n = 0;

        for (size_t i = 0; i < ARRAY_SIZE(limit_cases); i++)
                tests[n++] = (struct CMUnitTest){ limit_cases[i].name, limit_holds, NULL, NULL,
                                                  (void *)&limit_cases[i] };
        memcpy(tests + n, plain_tests, sizeof(plain_tests));
        return cmocka_run_group_tests_name("policy limits", tests, NULL, NULL);
}
