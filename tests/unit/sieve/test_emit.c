/* What is written is the core, changed where the plan says and nowhere else; and a secret that
 * the plan does not know is never written. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "secret/needle_add.h"
#include "sieve/emit.h"
#include "sieve/sweep.h"
#include "tests/unit/sieve/core_builder.h"
#include "tests/unit/sieve/emitted_core.h"
#include "tests/unit/sieve/sieve_keys.h"

DEFINE_CLEANUP(plan, struct plan, plan_free)
#define _cleanup_plan_ _cleanup_(cleanup_plan)

#define PAGE 4096U
#define HEAP 0x600000ULL

struct scene {
        struct builder b;
        struct plan *plan;
        struct needle_set *needles;
        struct sieve_report report;
        int out;
};

static void scene_done(struct scene *s) {
        plan_free(s->plan);
        needle_set_free(s->needles);
        builder_done(&s->b);
        (void)close(s->out);
}
#define _cleanup_scene_ _cleanup_(scene_done)

/* A plan with its extents; memory is written first. */
static void scene_make(struct scene *s, const struct builder_segment *segments, size_t n) {
        *s = (struct scene){ .b.fd = -1, .out = memfd_create("out", MFD_CLOEXEC) };
        assert_true(s->out >= 0);
        assert_int_equal(needle_set_new(&s->needles), 0);
        builder_make(&s->b, segments, n);
        assert_int_equal(source_new_file(s->b.head, s->b.notes, s->b.fd, &s->b.source), 0);
        assert_int_equal(plan_new(s->b.head, &s->plan), 0);
}

static void scene_noise(struct scene *s, uint64_t address, size_t n) {
        _cleanup_free_ uint8_t *noise = malloc(n);

        assert_non_null(noise);
        builder_random(address, noise, n);
        builder_write(&s->b, address, noise, n);
}

static int scene_emit(struct scene *s, bool compress, bool untried) {
        const struct sieve_job job = {
                .head = s->b.head,
                .notes = s->b.notes,
                .source = s->b.source,
                .needles = s->needles,
                .content = CONTENT_REDACT,
                .out_fd = s->out,
                .compress = compress,
        };
        const struct emit_job emit = { .job = &job, .plan = s->plan, .untried = untried };

        return emit_run(&emit, &s->report);
}

static uint8_t *scene_raw(struct scene *s, size_t *ret_size) {
        off_t size = lseek(s->b.fd, 0, SEEK_END);
        uint8_t *raw = malloc((size_t)size);

        assert_non_null(raw);
        assert_int_equal(io_pread(s->b.fd, raw, (size_t)size, 0), size);
        *ret_size = (size_t)size;
        return raw;
}

/* Plain against the raw core, then zstd against plain. */
static void assert_scene_exact(struct scene *s) {
        _cleanup_free_ uint8_t *raw = NULL, *back = NULL;
        _cleanup_close_ int packed = memfd_create("packed", MFD_CLOEXEC);
        struct emitted e;
        char command[128];
        size_t size;
        FILE *pipe;
        int plain = s->out;

        raw = scene_raw(s, &size);
        assert_int_equal(scene_emit(s, false, false), 0);
        emitted_open(&e, plain);
        assert_int_equal(e.size, s->report.core_size);
        assert_int_equal(e.note.content, CONTENT_REDACT);
        assert_exact(&e, raw, size);

        s->out = packed;
        assert_int_equal(scene_emit(s, true, false), 0);
        s->out = plain;
        back = malloc(e.size + 1);
        assert_non_null(back);
        (void)snprintf(command, sizeof(command), "zstd -dcq < /proc/%d/fd/%d", getpid(), packed);
        pipe = popen(command, "r");
        assert_non_null(pipe);
        assert_int_equal(fread(back, 1, e.size + 1, pipe), e.size);
        assert_int_equal(pclose(pipe), 0);
        assert_memory_equal(back, e.bytes, e.size);
        emitted_close(&e);
}

static void a_core_without_erasures_is_written_as_it_is(void **state) {
        const struct builder_segment segments[] = {
                { .address = HEAP, .file_size = 3 * SIEVE_TILE + 100 * PAGE },
                { .address = HEAP + (8 << 20), .file_size = 0, .memory_size = PAGE },
                { .address = HEAP + (16 << 20), .file_size = 2 * PAGE },
        };
        _cleanup_scene_ struct scene s;

        (void)state;
        scene_make(&s, segments, ARRAY_SIZE(segments));
        scene_noise(&s, HEAP, SIEVE_TILE + 7 * PAGE);
        scene_noise(&s, HEAP + SIEVE_TILE + 9 * PAGE, PAGE); /* behind a short hole */
        scene_noise(&s, HEAP + 2 * SIEVE_TILE, SIEVE_TILE);
        scene_noise(&s, HEAP + (16 << 20) + PAGE, PAGE);
        assert_int_equal(source_add_extents(s.b.source, s.plan), 0);
        assert_int_equal(plan_freeze(s.plan), 0);
        assert_scene_exact(&s);
}

static void erased_bytes_are_fill_and_all_others_stay(void **state) {
        const struct builder_segment heap = { .address = HEAP, .file_size = 3 * SIEVE_TILE };
        _cleanup_scene_ struct scene s;
        uint64_t at;

        (void)state;
        scene_make(&s, &heap, 1);
        scene_noise(&s, HEAP, 3 * SIEVE_TILE);
        assert_int_equal(source_add_extents(s.b.source, s.plan), 0);
        at = s.b.head->size;
        assert_int_equal(plan_erase(s.plan, SIEVE_TILE - 13, 29, REASON_NEEDLE), 0);
        assert_int_equal(plan_erase(s.plan, s.b.notes->names_offset - 3, 3, REASON_NOTE), 0);
        assert_int_equal(plan_erase(s.plan, at + 1, 1, REASON_STACK), 0);
        assert_int_equal(plan_erase(s.plan, at + SIEVE_TILE, SIEVE_TILE + 5, REASON_LEVEL), 0);
        assert_int_equal(plan_erase(s.plan, s.b.head->end - 7, 7, REASON_STACK), 0);
        assert_int_equal(plan_freeze(s.plan), 0);
        assert_scene_exact(&s);
        /* what goes anyway is not pulled */
        assert_true(s.report.memory_read < 3 * SIEVE_TILE);
}

static void odd_sizes_and_odd_places_are_written_exactly(void **state) {
        const struct builder_segment segments[] = {
                { .address = HEAP + 3, .file_size = 5000 },
                { .address = HEAP + 10 * PAGE + 1, .file_size = 17 },
                { .address = HEAP + 20 * PAGE + 7, .file_size = 100001, .memory_size = 100 * PAGE },
                { .address = HEAP + 200 * PAGE, .file_size = 1 },
        };
        _cleanup_scene_ struct scene s;

        (void)state;
        scene_make(&s, segments, ARRAY_SIZE(segments));
        for (size_t i = 0; i < ARRAY_SIZE(segments); i++)
                scene_noise(&s, segments[i].address, segments[i].file_size);
        for (size_t i = 0; i < s.b.head->n_segments; i++)
                if (s.b.head->segments[i].file_size > 0 && s.b.head->segments[i].type == PT_LOAD)
                        assert_int_equal(plan_add_extent(s.plan, s.b.head->segments[i].offset,
                                                         s.b.head->segments[i].file_size),
                                         0);
        assert_int_equal(plan_freeze(s.plan), 0);
        assert_scene_exact(&s);
}

static void a_core_of_nothing_but_holes_is_written(void **state) {
        const struct builder_segment heap = { .address = HEAP, .file_size = 64 << 20 };
        _cleanup_scene_ struct scene s;

        (void)state;
        scene_make(&s, &heap, 1);
        assert_int_equal(source_add_extents(s.b.source, s.plan), 0);
        assert_int_equal(plan_freeze(s.plan), 0);
        assert_scene_exact(&s);
        assert_int_equal(s.report.memory_read, 0);
}

/* The kernel's lone section header ends the raw core; its count must also be in our table. */
static void more_segments_than_the_header_can_count_keep_their_count(void **state) {
        const size_t n = PN_XNUM + 5;
        struct builder_segment *segments = calloc(n, sizeof(*segments));
        _cleanup_scene_ struct scene s;
        struct emitted e;

        (void)state;
        assert_non_null(segments);
        for (size_t i = 0; i < n; i++)
                segments[i] = (struct builder_segment){ .address = HEAP + i * 2 * PAGE,
                                                        .file_size = i % 4096 ? 0 : PAGE,
                                                        .memory_size = PAGE };
        scene_make(&s, segments, n);
        assert_true(s.b.head->many);
        scene_noise(&s, HEAP, PAGE);
        assert_int_equal(source_add_extents(s.b.source, s.plan), 0);
        assert_int_equal(plan_freeze(s.plan), 0);
        assert_scene_exact(&s);
        emitted_open(&e, s.out);
        assert_int_equal(e.ehdr.e_phnum, PN_XNUM);
        assert_int_equal(e.sections[0].sh_info, n + 1);
        emitted_close(&e);
        free(segments);
}

/* A secret that comes between learning and emitting, at each kind of border. */
static void a_needle_that_the_plan_does_not_know_is_never_written(void **state) {
        const struct builder_segment heap = { .address = HEAP, .file_size = 3 * SIEVE_TILE };
        uint64_t places[] = { 0, 0, SIEVE_TILE - 20, 2 * SIEVE_TILE - 1, 0 };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
                _cleanup_scene_ struct scene s;
                uint8_t secret[48];

                scene_make(&s, &heap, 1);
                scene_noise(&s, HEAP, 3 * SIEVE_TILE);
                places[0] = s.b.head->size;
                places[1] = s.b.head->size + 3;
                places[4] = s.b.head->end - sizeof(secret);
                builder_random(9, secret, sizeof(secret));
                assert_int_equal(needle_set_add(s.needles, secret, sizeof(secret), FORM_PLAIN, 0),
                                 0);
                assert_int_equal(source_add_extents(s.b.source, s.plan), 0);
                assert_int_equal(plan_freeze(s.plan), 0);
                assert_int_equal(scene_emit(&s, true, false), 0);
                /* half of it is enough */
                assert_int_equal(pwrite(s.b.fd, secret + 16, 24, (off_t)places[i]), 24);
                assert_int_equal(scene_emit(&s, true, false), -EBADMSG);
        }
}

static void a_secret_in_a_note_that_the_plan_does_not_know_is_never_written(void **state) {
        const struct builder_segment heap = { .address = HEAP, .file_size = PAGE };
        _cleanup_scene_ struct scene s;
        uint8_t secret[48];

        (void)state;
        scene_make(&s, &heap, 1);
        builder_random(9, secret, sizeof(secret));
        assert_int_equal(needle_set_add(s.needles, secret, sizeof(secret), FORM_PLAIN, 0), 0);
        memcpy(s.b.head->bytes + s.b.notes->threads[0].regs_offset, secret, 16);
        assert_int_equal(plan_freeze(s.plan), 0);
        assert_int_equal(scene_emit(&s, true, false), -EBADMSG);
}

static void a_key_that_only_a_detector_sees_is_news_or_a_contradiction(void **state) {
        const struct builder_segment heap = { .address = HEAP, .file_size = 2 * SIEVE_TILE };
        struct test_key key;

        (void)state;
        test_key_rsa(&key);
        for (unsigned i = 0; i < 3; i++) {
                const uint64_t back[] = { 2 * SIEVE_TILE, 300, 5 };
                _cleanup_scene_ struct scene s;
                uint64_t at;

                scene_make(&s, &heap, 1);
                at = s.b.head->size + 2 * SIEVE_TILE - back[i];
                if (i > 0) /* over the border of two tiles */
                        at = SIEVE_TILE - back[i];
                assert_int_equal(pwrite(s.b.fd, key.pem, key.pem_size, (off_t)at), key.pem_size);
                assert_int_equal(source_add_extents(s.b.source, s.plan), 0);
                assert_int_equal(plan_freeze(s.plan), 0);
                assert_int_equal(scene_emit(&s, true, true), 1);
                assert_int_equal(scene_emit(&s, true, false), -EBADMSG);

                plan_free(s.plan);
                assert_int_equal(plan_new(s.b.head, &s.plan), 0);
                assert_int_equal(source_add_extents(s.b.source, s.plan), 0);
                assert_int_equal(plan_erase(s.plan, at, key.pem_size, REASON_DETECTED), 0);
                assert_int_equal(plan_freeze(s.plan), 0);
                assert_int_equal(scene_emit(&s, true, false), 0);
        }
}

static void an_encrypted_key_is_written_and_counted(void **state) {
        const struct builder_segment heap = { .address = HEAP, .file_size = PAGE };
        _cleanup_scene_ struct scene s;
        struct test_key key;

        (void)state;
        test_key_encrypted(&key);
        scene_make(&s, &heap, 1);
        builder_write(&s.b, HEAP, key.pem, key.pem_size);
        assert_int_equal(source_add_extents(s.b.source, s.plan), 0);
        assert_int_equal(plan_freeze(s.plan), 0);
        assert_int_equal(scene_emit(&s, false, true), 0);
        assert_int_equal(s.report.found_encrypted, 1);
}

static void a_core_that_is_cut_while_it_is_written_is_an_error(void **state) {
        const struct builder_segment heap = { .address = HEAP, .file_size = 4 * PAGE };
        _cleanup_scene_ struct scene s;

        (void)state;
        scene_make(&s, &heap, 1);
        scene_noise(&s, HEAP, 4 * PAGE);
        assert_int_equal(source_add_extents(s.b.source, s.plan), 0);
        assert_int_equal(plan_freeze(s.plan), 0);
        assert_int_equal(ftruncate(s.b.fd, (off_t)s.b.head->end - 1), 0);
        assert_int_equal(scene_emit(&s, true, false), -ENODATA);
}

/* elfutils, which knows nothing of us, prints the kernel's notes and ours. */
static void readelf_prints_both_notes(void **state) {
        const struct builder_segment heap = { .address = HEAP, .file_size = PAGE };
        _cleanup_scene_ struct scene s;
        char command[128], line[512];
        bool prstatus = false, ours = false;
        FILE *pipe;

        (void)state;
        scene_make(&s, &heap, 1);
        scene_noise(&s, HEAP, PAGE);
        assert_int_equal(source_add_extents(s.b.source, s.plan), 0);
        assert_int_equal(plan_erase(s.plan, s.b.head->size, 8, REASON_NEEDLE), 0);
        assert_int_equal(plan_freeze(s.plan), 0);
        assert_int_equal(scene_emit(&s, false, false), 0);
        (void)snprintf(command, sizeof(command), "eu-readelf -n /proc/%d/fd/%d", getpid(), s.out);
        pipe = popen(command, "r");
        assert_non_null(pipe);
        while (fgets(line, sizeof(line), pipe)) {
                prstatus |= strstr(line, "PRSTATUS") != NULL;
                ours |= strstr(line, ERASED_NOTE_OWNER) && strstr(line, "40 ");
        }
        assert_int_equal(pclose(pipe), 0);
        assert_true(prstatus);
        assert_true(ours);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_core_without_erasures_is_written_as_it_is),
                cmocka_unit_test(erased_bytes_are_fill_and_all_others_stay),
                cmocka_unit_test(odd_sizes_and_odd_places_are_written_exactly),
                cmocka_unit_test(a_core_of_nothing_but_holes_is_written),
                cmocka_unit_test(more_segments_than_the_header_can_count_keep_their_count),
                cmocka_unit_test(a_needle_that_the_plan_does_not_know_is_never_written),
                cmocka_unit_test(a_secret_in_a_note_that_the_plan_does_not_know_is_never_written),
                cmocka_unit_test(a_key_that_only_a_detector_sees_is_news_or_a_contradiction),
                cmocka_unit_test(an_encrypted_key_is_written_and_counted),
                cmocka_unit_test(a_core_that_is_cut_while_it_is_written_is_an_error),
                cmocka_unit_test(readelf_prints_both_notes),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
