/* A whole run: the stages in their order, one pass where nothing is found, two where something
 * is, and no dump when the two disagree. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "secret/needle_add.h"
#include "sieve/sieve.h"
#include "tests/unit/sieve/core_builder.h"
#include "tests/unit/sieve/emitted_core.h"
#include "tests/unit/sieve/sieve_keys.h"

#define PAGE 4096U
#define HEAP 0x600000ULL
#define STACK 0x7ffff0000000ULL
#define STACK_SIZE (32U * PAGE)
#define STAGES_MAX 16U

struct scene {
        struct builder b;
        struct needle_set *needles;
        struct sieve_report report;
        int out;
        enum stage stages[STAGES_MAX];
        size_t n_stages;
        /* written into the core when this stage begins for the nth time */
        enum stage meddle_stage;
        unsigned meddle_nth;
        uint64_t meddle_address;
        const void *meddle_bytes;
        size_t meddle_size;
};

static void scene_done(struct scene *s) {
        needle_set_free(s->needles);
        builder_done(&s->b);
        (void)close(s->out);
}
#define _cleanup_scene_ _cleanup_(scene_done)

static void scene_make(struct scene *s) {
        const struct builder_segment segments[] = {
                { .address = HEAP, .file_size = 2 * SIEVE_TILE },
                { .address = STACK, .file_size = STACK_SIZE },
        };
        uint8_t noise[PAGE];

        *s = (struct scene){
                .b = { .fd = -1, .rsp = STACK + STACK_SIZE / 2, .rip = HEAP },
                .out = memfd_create("out", MFD_CLOEXEC),
        };
        assert_true(s->out >= 0);
        assert_int_equal(needle_set_new(&s->needles), 0);
        builder_make(&s->b, segments, ARRAY_SIZE(segments));
        builder_random(1, noise, sizeof(noise));
        builder_write(&s->b, HEAP + PAGE, noise, sizeof(noise));
        assert_int_equal(source_new_file(s->b.head, s->b.notes, s->b.fd, &s->b.source), 0);
}

static void on_enter(void *userdata, enum stage stage) {
        struct scene *s = userdata;
        unsigned nth = 1;

        assert_true(s->n_stages < STAGES_MAX);
        for (size_t i = 0; i < s->n_stages; i++)
                nth += s->stages[i] == stage;
        s->stages[s->n_stages++] = stage;
        if (s->meddle_bytes && stage == s->meddle_stage && nth == s->meddle_nth)
                builder_write(&s->b, s->meddle_address, s->meddle_bytes, s->meddle_size);
}

static int scene_run(struct scene *s, enum content content) {
        static char *const environment[] = { NULL };
        const struct sieve_job job = {
                .head = s->b.head,
                .notes = s->b.notes,
                .source = s->b.source,
                .needles = s->needles,
                .environment = environment,
                .content = content,
                .out_fd = s->out,
                .enter = on_enter,
                .userdata = s,
        };

        return sieve_run(&job, &s->report);
}

static void assert_stages(const struct scene *s, const enum stage *stages, size_t n) {
        assert_int_equal(s->n_stages, n);
        for (size_t i = 0; i < n; i++)
                assert_int_equal(s->stages[i], stages[i]);
}

/* What was written against what stands in the core now. */
static void assert_written(struct scene *s, enum content content, uint64_t *ret_ranges) {
        off_t size = lseek(s->b.fd, 0, SEEK_END);
        _cleanup_free_ uint8_t *raw = malloc((size_t)size);
        struct emitted e;

        assert_non_null(raw);
        assert_int_equal(io_pread(s->b.fd, raw, (size_t)size, 0), size);
        emitted_open(&e, s->out);
        assert_int_equal(e.note.content, content);
        assert_int_equal(e.size, s->report.core_size);
        assert_exact(&e, raw, (size_t)size);
        *ret_ranges = e.note.n_ranges;
        emitted_close(&e);
}

static void a_core_without_keys_is_read_once_and_stays_as_it_is(void **state) {
        static const enum stage stages[] = { STAGE_PLAN, STAGE_EMIT, STAGE_UNWIND };
        _cleanup_scene_ struct scene s;
        uint64_t ranges;

        (void)state;
        scene_make(&s);
        assert_int_equal(scene_run(&s, CONTENT_DETECT), 0);
        assert_stages(&s, stages, ARRAY_SIZE(stages));
        assert_written(&s, CONTENT_DETECT, &ranges);
        assert_int_equal(ranges, 0);
        assert_int_equal(s.report.memory_read, PAGE);
        assert_int_equal(s.report.unwind.threads, 1);
}

static void a_detected_key_starts_a_second_attempt_that_erases_it(void **state) {
        static const enum stage stages[] = { STAGE_PLAN,  STAGE_EMIT,   STAGE_PLAN,
                                             STAGE_LEARN, STAGE_UNWIND, STAGE_EMIT };
        _cleanup_scene_ struct scene s;
        struct test_key key;
        uint64_t ranges;

        (void)state;
        scene_make(&s);
        test_key_rsa(&key);
        builder_write(&s.b, HEAP + SIEVE_TILE + 5, key.pem, key.pem_size);
        builder_write(&s.b, HEAP + 64, key.limbs, key.limbs_size);
        assert_int_equal(scene_run(&s, CONTENT_DETECT), 0);
        assert_stages(&s, stages, ARRAY_SIZE(stages));
        assert_written(&s, CONTENT_DETECT, &ranges);
        assert_true(ranges >= 2);
        assert_int_equal(s.report.found[DETECT_PEM], 1);
        assert_true(s.report.erased[REASON_DETECTED] >= key.pem_size - 1 + key.limbs_size);
        assert_int_equal(s.report.erased[REASON_STACK], 0);
}

static void needles_make_two_passes_at_any_content(void **state) {
        static const enum stage stages[] = { STAGE_PLAN, STAGE_LEARN, STAGE_UNWIND, STAGE_EMIT };
        static const enum content contents[] = { CONTENT_DETECT, CONTENT_REDACT, CONTENT_STACKS };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(contents); i++) {
                _cleanup_scene_ struct scene s;
                uint8_t secret[64];
                uint64_t ranges;

                scene_make(&s);
                builder_random(5, secret, sizeof(secret));
                assert_int_equal(needle_set_add(s.needles, secret, sizeof(secret), FORM_PLAIN, 2),
                                 0);
                builder_write(&s.b, HEAP + 3, secret, sizeof(secret));
                builder_write(&s.b, STACK + STACK_SIZE / 2 + 64, secret, sizeof(secret));
                assert_int_equal(scene_run(&s, contents[i]), 0);
                assert_stages(&s, stages, ARRAY_SIZE(stages));
                assert_written(&s, contents[i], &ranges);
                assert_int_equal(s.report.hits[2], 2);
                assert_int_equal(s.report.erased[REASON_NEEDLE], 2 * sizeof(secret));
                assert_int_equal(s.report.erased[REASON_LEVEL] > 0, contents[i] == CONTENT_STACKS);
        }
}

static void a_detected_key_that_finds_no_room_leaves_stacks_only(void **state) {
        static const enum stage stages[] = { STAGE_PLAN,  STAGE_LEARN,  STAGE_PLAN,
                                             STAGE_LEARN, STAGE_UNWIND, STAGE_EMIT };
        static const enum content contents[] = { CONTENT_DETECT, CONTENT_REDACT, CONTENT_STACKS };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(contents); i++) {
                size_t skipped = contents[i] == CONTENT_STACKS ? 2 : 0;
                _cleanup_scene_ struct scene s;
                struct test_key key;
                uint64_t ranges;

                scene_make(&s);
                builder_needles(s.needles, NEEDLES_MAX);
                test_key_ec(&key);
                builder_write(&s.b, HEAP + SIEVE_TILE + 5, key.pem, key.pem_size);
                assert_int_equal(scene_run(&s, contents[i]), 0);
                assert_stages(&s, stages + skipped, ARRAY_SIZE(stages) - skipped);
                assert_written(&s, CONTENT_STACKS, &ranges);
                assert_true(s.report.needles_cut);
                assert_int_equal(s.report.found[DETECT_PEM], 1);
        }
}

static void a_secret_that_comes_between_the_passes_means_no_dump(void **state) {
        _cleanup_scene_ struct scene s;
        uint8_t secret[64];

        (void)state;
        scene_make(&s);
        builder_random(5, secret, sizeof(secret));
        assert_int_equal(needle_set_add(s.needles, secret, sizeof(secret), FORM_PLAIN, 2), 0);
        s.meddle_stage = STAGE_EMIT;
        s.meddle_nth = 1;
        s.meddle_address = HEAP + PAGE + 77;
        s.meddle_bytes = secret;
        s.meddle_size = sizeof(secret);
        assert_int_equal(scene_run(&s, CONTENT_REDACT), -EBADMSG);
}

static void a_key_that_comes_between_the_passes_means_no_dump(void **state) {
        _cleanup_scene_ struct scene s;
        struct test_key first, second;

        (void)state;
        scene_make(&s);
        test_key_ec(&first);
        test_key_ec(&second);
        builder_write(&s.b, HEAP + SIEVE_TILE, first.pem, first.pem_size);
        s.meddle_stage = STAGE_EMIT;
        s.meddle_nth = 2; /* the first attempt is the optimistic one */
        s.meddle_address = HEAP + PAGE;
        s.meddle_bytes = second.pem;
        s.meddle_size = second.pem_size;
        assert_int_equal(scene_run(&s, CONTENT_DETECT), -EBADMSG);
}

static void a_stack_word_that_comes_between_the_passes_means_no_dump(void **state) {
        static const uint64_t word = 0x1122334455667788ULL;
        _cleanup_scene_ struct scene s;
        uint64_t value = HEAP; /* a pointer: it stays */

        (void)state;
        scene_make(&s);
        builder_write(&s.b, STACK + STACK_SIZE / 2 + 128, &value, sizeof(value));
        s.meddle_stage = STAGE_EMIT;
        s.meddle_nth = 1;
        s.meddle_address = STACK + STACK_SIZE / 2 + 128;
        s.meddle_bytes = &word;
        s.meddle_size = sizeof(word);
        assert_int_equal(scene_run(&s, CONTENT_REDACT), -EBADMSG);
}

static void content_that_keeps_no_memory_has_no_run(void **state) {
        _cleanup_scene_ struct scene s;

        (void)state;
        scene_make(&s);
        assert_int_equal(scene_run(&s, CONTENT_REFUSE), -EINVAL);
        assert_int_equal(s.n_stages, 0);
}

static void every_stage_has_a_name_and_no_other_number_has(void **state) {
        (void)state;
        for (enum stage i = 0; i < _STAGE_MAX; i++)
                assert_string_not_equal(stage_to_string(i), "unknown");
        assert_string_equal(stage_to_string(_STAGE_MAX), "unknown");
}

/* memfd_create("<token>"), a file named after a user's secret: NT_FILE repeats the name, and no
 * debugger needs it. */
static void only_the_names_of_code_are_spared(void **state) {
        static const char data[] = "/memfd:s3cr3t-t0k3n-of-32-characters (deleted)";
        static const char code[] = "/usr/lib/s3cr3t-t0k3n-of-32-characters.so";
        static const char token[] = "s3cr3t-t0k3n-of-32-characters";
        const struct builder_segment segments[] = {
                { .address = 0x400000, .file_size = PAGE, .flags = PF_R, .file = code },
                { .address = 0x401000, .file_size = PAGE, .flags = PF_R | PF_X, .file = code },
                { .address = HEAP, .file_size = PAGE, .file = data },
                { .address = STACK, .file_size = STACK_SIZE },
        };
        _cleanup_scene_ struct scene s = {
                .b = { .fd = -1, .rsp = STACK + STACK_SIZE / 2, .rip = 0x401000 },
                .out = memfd_create("out", MFD_CLOEXEC),
        };
        uint8_t head[2 * PAGE] = { 0 };
        uint64_t ranges;
        size_t n;

        (void)state;
        assert_int_equal(needle_set_new(&s.needles), 0);
        assert_int_equal(
                needle_set_add(s.needles, (const uint8_t *)token, strlen(token), FORM_PLAIN, 0), 0);
        builder_make(&s.b, segments, ARRAY_SIZE(segments));
        assert_int_equal(source_new_file(s.b.head, s.b.notes, s.b.fd, &s.b.source), 0);
        assert_int_equal(scene_run(&s, CONTENT_REDACT), 0);
        assert_written(&s, CONTENT_REDACT, &ranges);

        n = s.b.head->size < sizeof(head) ? s.b.head->size : sizeof(head);
        assert_int_equal(io_pread(s.out, head, n, 0), n);
        assert_non_null(memmem(head, n, code, sizeof(code)));
        assert_null(memmem(head, n, data, sizeof(data)));
        assert_null(memmem(head, n, "memfd:s3cr3t", strlen("memfd:s3cr3t")));
        assert_non_null(memmem(head, n, "memfd:", strlen("memfd:")));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(only_the_names_of_code_are_spared),
                cmocka_unit_test(a_core_without_keys_is_read_once_and_stays_as_it_is),
                cmocka_unit_test(a_detected_key_starts_a_second_attempt_that_erases_it),
                cmocka_unit_test(needles_make_two_passes_at_any_content),
                cmocka_unit_test(a_detected_key_that_finds_no_room_leaves_stacks_only),
                cmocka_unit_test(a_secret_that_comes_between_the_passes_means_no_dump),
                cmocka_unit_test(a_key_that_comes_between_the_passes_means_no_dump),
                cmocka_unit_test(a_stack_word_that_comes_between_the_passes_means_no_dump),
                cmocka_unit_test(content_that_keeps_no_memory_has_no_run),
                cmocka_unit_test(every_stage_has_a_name_and_no_other_number_has),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
