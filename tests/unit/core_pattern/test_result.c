/* result: what the helper believes of a worker's answer, and what an error of it means.
 *
 * with: core_pattern/result.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "core_pattern/brief.h"

static const struct brief brief = {
        .version = BRIEF_VERSION,
        .size = sizeof(brief),
        .content = CONTENT_REDACT,
        .n_files = 2,
};

static struct worker_result good(void) {
        return (struct worker_result){
                .version = RESULT_VERSION,
                .size = sizeof(struct worker_result),
                .stage = STAGE_KEEP,
                .content = CONTENT_REDACT,
                .signal = 11,
        };
}

#define FIELD(member)                                                                              \
        offsetof(struct worker_result, member), sizeof(((struct worker_result *)0)->member)

static const struct valid_case {
        const char *name;
        size_t at, size;
        uint64_t value; /* little-endian, the first `size` bytes of it */
        bool want;
} valid_cases[] = {
        { "a good answer is believed", FIELD(signal), 11, true },
        { "another version is not", FIELD(version), RESULT_VERSION + 1, false },
        { "another size is not", FIELD(size), sizeof(struct worker_result) - 1, false },
        { "a stage that does not exist is not", FIELD(stage), _STAGE_MAX, false },
        { "success before the last stage is not", FIELD(stage), STAGE_EMIT, false },
        { "an error behind the last stage is not", FIELD(error), (uint32_t)-EIO, false },
        { "a positive error is not", FIELD(error), 5, false },
        { "the largest errno needs a stage, too", FIELD(error), (uint32_t)-4096, false },
        { "a stricter content is believed", FIELD(content), CONTENT_STACKS, true },
        { "a laxer content is not", FIELD(content), CONTENT_DETECT, false },
        { "refuse is not the worker's to say", FIELD(content), CONTENT_REFUSE, false },
        { "a content that does not exist is not", FIELD(content), _CONTENT_MAX, false },
        { "a needle cause is believed", FIELD(causes), CAUSE_BIT(CAUSE_NEEDLE_LARGE), true },
        { "a cause of the helper's is not", FIELD(causes), CAUSE_BIT(CAUSE_RLIMIT), false },
        { "a cause that does not exist is not", FIELD(causes), 1ULL << 63, false },
        { "signal 64 is believed", FIELD(signal), 64, true },
        { "signal 65 is not", FIELD(signal), 65, false },
        { "padding must be zero", FIELD(pad), 1, false },
        { "a Landlock version of 2^31 is not", FIELD(landlock), 1ULL << 31, false },
        { "a day in one stage is believed", FIELD(duration_ns[0]), 86400000000000, true },
        { "more than a day is not", FIELD(duration_ns[0]), 86400000000001, false },
        { "flags of the second file are believed", FIELD(file_flags[1]), NEEDLE_KEY, true },
        { "flags of a file that was not handed in are not", FIELD(file_flags[2]), NEEDLE_KEY,
          false },
        { "a flag that does not exist is not", FIELD(file_flags[0]), 0x10, false },
        { "an unwind outcome that does not exist is not", FIELD(report.unwind.outcome),
          _UNWIND_OUTCOME_MAX, false },
        { "threads at the limit are believed", FIELD(report.unwind.threads), UNWIND_THREADS_MAX,
          true },
        { "threads over the limit are not", FIELD(report.unwind.threads), UNWIND_THREADS_MAX + 1,
          false },
        { "frames over the limit are not", FIELD(report.unwind.frames), UINT32_MAX, false },
};

static void answers_are_checked(void **state) {
        const struct valid_case *c = *state;
        struct worker_result result = good();

        memcpy((char *)&result + c->at, &c->value, c->size);
        assert_int_equal(result_valid(&result, &brief), c->want);
}

static void an_error_in_an_earlier_stage_is_an_answer(void **state) {
        struct worker_result result = good();

        (void)state;
        result.stage = STAGE_LEARN;
        result.error = -EIO;
        assert_true(result_valid(&result, &brief));
        result.error = -4095;
        assert_true(result_valid(&result, &brief));
        result.error = -4096;
        assert_false(result_valid(&result, &brief));
}

static const struct cause_case {
        const char *name;
        enum stage stage;
        int error;
        enum cause want;
} cause_cases[] = {
        { "a bad head is core-malformed", STAGE_HEAD, -EBADMSG, CAUSE_CORE_MALFORMED },
        { "a cut head is core-cut", STAGE_HEAD, -ENODATA, CAUSE_CORE_CUT },
        { "a 32-bit core is core-foreign", STAGE_HEAD, -ENOTSUP, CAUSE_CORE_FOREIGN },
        { "a huge head is core-large", STAGE_HEAD, -E2BIG, CAUSE_CORE_LARGE },
        { "another process's stream is identity", STAGE_HEAD, -ESTALE, CAUSE_IDENTITY },
        { "too many needles are needle-large", STAGE_NEEDLES, -E2BIG, CAUSE_NEEDLE_LARGE },
        { "a death while learning is core-cut", STAGE_LEARN, -ENODATA, CAUSE_CORE_CUT },
        { "a death before memory is read is core-cut", STAGE_PLAN, -ESRCH, CAUSE_CORE_CUT },
        { "a death while emitting is core-cut", STAGE_EMIT, -ENODATA, CAUSE_CORE_CUT },
        { "an unreadable page is memory-unreadable", STAGE_LEARN, -EIO, CAUSE_MEMORY_UNREADABLE },
        { "a secret first met while emitting is disagree", STAGE_EMIT, -EBADMSG, CAUSE_DISAGREE },
        { "over RLIMIT_FSIZE is store-full", STAGE_EMIT, -EFBIG, CAUSE_STORE_FULL },
        { "a full disk is store-full", STAGE_EMIT, -ENOSPC, CAUSE_STORE_FULL },
        { "a full quota is store-full", STAGE_EMIT, -EDQUOT, CAUSE_STORE_FULL },
        { "no memory is worker-failed", STAGE_LEARN, -ENOMEM, CAUSE_WORKER_FAILED },
        { "a failed sandbox is worker-failed", STAGE_INTAKE, -EPERM, CAUSE_WORKER_FAILED },
        { "a full disk elsewhere is worker-failed", STAGE_LEARN, -ENOSPC, CAUSE_WORKER_FAILED },
};

static void errors_have_one_cause(void **state) {
        const struct cause_case *c = *state;
        struct worker_result result = good();

        result.stage = c->stage;
        result.error = c->error;
        assert_true(result_causes(&result) == CAUSE_BIT(c->want));
}

static void success_has_no_cause(void **state) {
        struct worker_result result = good();

        (void)state;
        assert_true(result_causes(&result) == 0);
}

int main(void) {
        struct CMUnitTest tests[ARRAY_SIZE(valid_cases) + ARRAY_SIZE(cause_cases) + 2];
        size_t n = 0;

        for (size_t i = 0; i < ARRAY_SIZE(valid_cases); i++)
                tests[n++] = (struct CMUnitTest){
                        .name = valid_cases[i].name,
                        .test_func = answers_are_checked,
                        .initial_state = (void *)(uintptr_t)&valid_cases[i],
                };
        for (size_t i = 0; i < ARRAY_SIZE(cause_cases); i++)
                tests[n++] = (struct CMUnitTest){
                        .name = cause_cases[i].name,
                        .test_func = errors_have_one_cause,
                        .initial_state = (void *)(uintptr_t)&cause_cases[i],
                };
        tests[n++] = (struct CMUnitTest)cmocka_unit_test(an_error_in_an_earlier_stage_is_an_answer);
        tests[n++] = (struct CMUnitTest)cmocka_unit_test(success_has_no_cause);
        return _cmocka_run_group_tests("core_pattern/result", tests, n, NULL, NULL);
}
