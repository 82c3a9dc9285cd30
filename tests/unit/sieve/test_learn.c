/* Learning finds every secret wherever a border lies, counts it once, and follows what a detector
 * finds to its copies. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "secret/needle_add.h"
#include "sieve/learn.h"
#include "sieve/sweep.h"
#include "tests/unit/sieve/core_builder.h"
#include "tests/unit/sieve/sieve_keys.h"

DEFINE_CLEANUP(plan, struct plan, plan_free)
DEFINE_CLEANUP(needle_set, struct needle_set, needle_set_free)
#define _cleanup_plan_ _cleanup_(cleanup_plan)
#define _cleanup_needles_ _cleanup_(cleanup_needle_set)

#define PAGE 4096U
#define HEAP 0x600000ULL
#define SECRET_SIZE 48U
#define ORIGIN 3U

struct scene {
        struct builder b;
        struct plan *plan;
        struct needle_set *needles;
        struct sieve_report report;
        uint8_t secret[SECRET_SIZE];
};

static void scene_done(struct scene *s) {
        plan_free(s->plan);
        needle_set_free(s->needles);
        builder_done(&s->b);
}
#define _cleanup_scene_ _cleanup_(scene_done)

/* A secret that is hunted as it stands: bytes that are no text. */
static void scene_make(struct scene *s, const struct builder_segment *segments, size_t n) {
        unsigned flags;

        *s = (struct scene){ .b.fd = -1 };
        builder_random(42, s->secret, sizeof(s->secret));
        s->secret[0] = 0xff;
        assert_int_equal(needle_set_new(&s->needles), 0);
        assert_int_equal(
                needle_set_add_file(s->needles, s->secret, sizeof(s->secret), ORIGIN, &flags), 0);
        builder_make(&s->b, segments, n);
        assert_int_equal(source_new_file(s->b.head, s->b.notes, s->b.fd, &s->b.source), 0);
}

/* Learns and freezes. */
static int scene_learn(struct scene *s) {
        struct sieve_job job = {
                .head = s->b.head,
                .notes = s->b.notes,
                .source = s->b.source,
                .needles = s->needles,
        };
        int r;

        plan_free(s->plan);
        s->plan = NULL;
        s->report = (struct sieve_report){ 0 };
        assert_int_equal(plan_new(s->b.head, &s->plan), 0);
        assert_int_equal(plan_spare(s->plan, s->b.notes->names_offset, s->b.notes->names_size), 0);
        assert_int_equal(source_add_extents(s->b.source, s->plan), 0);
        r = learn_run(&job, s->plan, &s->report);
        if (r == 0)
                assert_int_equal(plan_freeze(s->plan), 0);
        return r;
}

static uint64_t erased_of(const struct scene *s, enum reason reason) {
        uint64_t bytes[_REASON_MAX];

        plan_erased_bytes(s->plan, bytes);
        return bytes[reason];
}

/* Exactly the secret at a file offset, counted once. */
static void assert_found_at(struct scene *s, uint64_t offset) {
        assert_int_equal(scene_learn(s), 0);
        assert_true(plan_is_erased(s->plan, offset, SECRET_SIZE));
        assert_int_equal(erased_of(s, REASON_NEEDLE), SECRET_SIZE);
        assert_int_equal(s->report.hits[ORIGIN], 1);
}

static void write_at(struct scene *s, uint64_t offset, const void *from, size_t n) {
        assert_int_equal(pwrite(s->b.fd, from, n, (off_t)offset), n);
}

static void a_secret_over_the_border_of_two_tiles_is_found_once_and_whole(void **state) {
        const struct builder_segment heap = { .address = HEAP, .file_size = 3 * SIEVE_TILE };
        static const uint8_t zeros[SECRET_SIZE];
        _cleanup_free_ uint8_t *noise = malloc(3 * SIEVE_TILE);
        _cleanup_scene_ struct scene s;
        /* windows are counted from the start of the core, which is one run of data here */
        const uint64_t borders[] = { SIEVE_TILE, 2 * SIEVE_TILE, SIEVE_TILE + SWEEP_AHEAD };

        (void)state;
        assert_non_null(noise);
        scene_make(&s, &heap, 1);
        builder_random(7, noise, 3 * SIEVE_TILE);
        builder_write(&s.b, HEAP, noise, 3 * SIEVE_TILE);
        for (size_t i = 0; i < ARRAY_SIZE(borders); i++) {
                for (int64_t shift = -(int64_t)SECRET_SIZE - 2; shift <= 18; shift += 5) {
                        uint64_t at = borders[i] + (uint64_t)shift;

                        write_at(&s, at, s.secret, SECRET_SIZE);
                        assert_found_at(&s, at);
                        write_at(&s, at, zeros, SECRET_SIZE);
                }
        }
}

static void a_secret_over_two_segments_that_adjoin_in_the_file_is_found(void **state) {
        const struct builder_segment segments[] = {
                { .address = HEAP, .file_size = PAGE },
                { .address = HEAP + 16 * PAGE, .file_size = PAGE },
        };
        _cleanup_scene_ struct scene s;
        uint64_t at;

        (void)state;
        scene_make(&s, segments, ARRAY_SIZE(segments));
        at = s.b.head->size + PAGE - 20;
        write_at(&s, at, s.secret, SECRET_SIZE);
        assert_found_at(&s, at);
}

static void a_secret_over_the_border_of_head_and_memory_is_found(void **state) {
        const struct builder_segment heap = { .address = HEAP, .file_size = PAGE };
        _cleanup_scene_ struct scene s;
        uint64_t at;

        (void)state;
        scene_make(&s, &heap, 1);
        at = s.b.head->size - 20;
        memcpy(s.b.head->bytes + at, s.secret, 20);
        write_at(&s, s.b.head->size, s.secret + 20, SECRET_SIZE - 20);
        assert_found_at(&s, at);
}

static void a_secret_in_a_note_is_found(void **state) {
        const struct builder_segment heap = { .address = HEAP, .file_size = PAGE };
        _cleanup_scene_ struct scene s;

        (void)state;
        scene_make(&s, &heap, 1);
        for (size_t i = 0; i < s.b.notes->n_notes; i++) {
                const struct core_note *note = &s.b.notes->notes[i];

                if (note->type != NT_SIGINFO)
                        continue;
                memcpy(s.b.head->bytes + note->offset + 64, s.secret, SECRET_SIZE);
                assert_found_at(&s, note->offset + 64);
                return;
        }
        fail();
}

/* Holes are zeros: the last bytes of a secret may be those of a page that was never touched. */
static void a_secret_whose_zeros_lie_in_a_hole_is_found(void **state) {
        const struct builder_segment heap = { .address = HEAP, .file_size = 256 * PAGE };
        _cleanup_scene_ struct scene s;
        uint8_t ending[40] = { 0xff, 1, 2, 3, 4, 5, 6, 7, 8, 9 };
        uint8_t beginning[40] = { 0 };
        unsigned flags;
        uint64_t at;

        (void)state;
        for (size_t i = 1; i <= FRAGMENT_NONZERO_MIN; i++) /* fewer would say nothing */
                beginning[sizeof(beginning) - i] = (uint8_t)(0xe0 + i);
        scene_make(&s, &heap, 1);
        assert_int_equal(needle_set_add_file(s.needles, ending, sizeof(ending), 4, &flags), 0);
        assert_int_equal(needle_set_add_file(s.needles, beginning, sizeof(beginning), 5, &flags),
                         0);
        at = s.b.head->size;
        write_at(&s, at + 101 * PAGE - 10, ending, 10);
        write_at(&s, at + 200 * PAGE, beginning + sizeof(beginning) - FRAGMENT_NONZERO_MIN,
                 FRAGMENT_NONZERO_MIN);
        assert_int_equal(scene_learn(&s), 0);
        assert_true(plan_is_erased(s.plan, at + 101 * PAGE - 10, 10));
        assert_true(plan_is_erased(s.plan, at + 200 * PAGE, FRAGMENT_NONZERO_MIN));
        assert_int_equal(s.report.hits[4], 1);
        assert_int_equal(s.report.hits[5], 1);
        assert_int_equal(s.report.memory_read, 2 * PAGE);
}

static void a_secret_that_is_a_path_stays_where_debuggers_find_modules(void **state) {
        static const char path[] = "/srv/app/9f8b7c6d5e4f3a2b1c0d/module.so";
        const struct builder_segment segments[] = {
                { .address = HEAP, .file_size = PAGE, .file = path },
        };
        _cleanup_scene_ struct scene s;

        (void)state;
        scene_make(&s, segments, 1);
        assert_int_equal(
                needle_set_add(s.needles, (const uint8_t *)path, strlen(path), FORM_PLAIN, 9), 0);
        write_at(&s, s.b.head->size + 100, path, strlen(path));
        assert_int_equal(scene_learn(&s), 0);
        assert_true(plan_is_erased(s.plan, s.b.head->size + 100, strlen(path)));
        assert_true(plan_is_kept(s.plan, s.b.notes->names_offset, s.b.notes->names_size));
        assert_int_equal(s.report.hits[9], 1);
}

static void each_origin_counts_its_own_and_the_last_counts_the_rest(void **state) {
        const struct builder_segment heap = { .address = HEAP, .file_size = 4 * PAGE };
        _cleanup_scene_ struct scene s;
        uint8_t other[SECRET_SIZE];
        unsigned flags;

        (void)state;
        scene_make(&s, &heap, 1);
        builder_random(43, other, sizeof(other));
        other[0] = 0xff;
        assert_int_equal(
                needle_set_add_file(s.needles, other, sizeof(other), SIEVE_ORIGINS_MAX + 7, &flags),
                0);
        write_at(&s, s.b.head->size, s.secret, SECRET_SIZE);
        write_at(&s, s.b.head->size + PAGE, s.secret, SECRET_SIZE);
        write_at(&s, s.b.head->size + 2 * PAGE, other, SECRET_SIZE);
        assert_int_equal(scene_learn(&s), 0);
        assert_int_equal(s.report.hits[ORIGIN], 2);
        assert_int_equal(s.report.hits[SIEVE_ORIGINS_MAX - 1], 1);
}

static void a_detected_key_is_erased_with_its_copies_in_other_forms(void **state) {
        const struct builder_segment heap = { .address = HEAP, .file_size = 4 * SIEVE_TILE };
        void (*const make[])(struct test_key *) = { test_key_rsa, test_key_ec };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(make); i++) {
                _cleanup_scene_ struct scene s;
                struct test_key key;
                uint64_t pem, limbs;

                scene_make(&s, &heap, 1);
                make[i](&key);
                /* the number comes first: the pass that finds the container is past it */
                limbs = s.b.head->size + 3 * PAGE + 24;
                pem = s.b.head->size + 3 * SIEVE_TILE;
                write_at(&s, limbs, key.limbs, key.limbs_size);
                write_at(&s, pem, key.pem, key.pem_size);
                assert_int_equal(scene_learn(&s), 0);
                assert_int_equal(s.report.found[DETECT_PEM], 1);
                assert_true(plan_is_erased(s.plan, pem, key.pem_size - 1));
                assert_true(plan_is_erased(s.plan, limbs, key.limbs_size));
                assert_true(s.report.hits[SIEVE_ORIGIN_DETECTED] > 0);
                assert_int_equal(erased_of(&s, REASON_NEEDLE), 0);
                assert_true(erased_of(&s, REASON_DETECTED) >= key.pem_size - 1 + key.limbs_size);
        }
}

static void a_container_over_the_border_of_two_tiles_is_found(void **state) {
        const struct builder_segment heap = { .address = HEAP, .file_size = 2 * SIEVE_TILE };
        static const uint8_t zeros[4096];
        _cleanup_scene_ struct scene s;
        struct test_key key;

        (void)state;
        scene_make(&s, &heap, 1);
        test_key_rsa(&key);
        for (uint64_t back = 1; back < key.pem_size + 40; back += 97) {
                uint64_t at = SIEVE_TILE - back;

                write_at(&s, at, key.pem, key.pem_size);
                assert_int_equal(scene_learn(&s), 0);
                assert_int_equal(s.report.found[DETECT_PEM], 1);
                assert_true(plan_is_erased(s.plan, at, key.pem_size - 1));
                write_at(&s, at, zeros, key.pem_size);
        }
}

static void an_encrypted_container_is_counted_and_kept(void **state) {
        const struct builder_segment heap = { .address = HEAP, .file_size = PAGE };
        _cleanup_scene_ struct scene s;
        struct test_key key;
        size_t n;

        (void)state;
        scene_make(&s, &heap, 1);
        test_key_encrypted(&key);
        write_at(&s, s.b.head->size + 128, key.pem, key.pem_size);
        assert_int_equal(scene_learn(&s), 0);
        assert_int_equal(s.report.found_encrypted, 1);
        (void)plan_erasures(s.plan, &n);
        assert_int_equal(n, 0);
}

/* Containers cut short, so that thousands cost no time to make. */
static uint64_t write_cut_containers(struct scene *s, unsigned n) {
        uint64_t at = s->b.head->size;

        for (unsigned i = 0; i < n; i++) {
                uint8_t der[40] = { 0x30, 0x77, 0x02, 0x01, 0x01, 0x04, 0x20 };
                char text[128] = "-----BEGIN EC PRIVATE KEY-----\n";
                size_t size = strlen(text);

                builder_random(1000 + i, der + 7, 32);
                size += (size_t)EVP_EncodeBlock((unsigned char *)text + size, der, 39);
                write_at(s, at, text, size);
                at += sizeof(text);
        }
        return at;
}

static void more_different_keys_than_the_limit_are_refused(void **state) {
        const struct builder_segment heap = { .address = HEAP, .file_size = SIEVE_TILE };
        _cleanup_scene_ struct scene s;
        uint64_t at;

        (void)state;
        scene_make(&s, &heap, 1);
        at = write_cut_containers(&s, LEARN_CONTAINERS_MAX);
        assert_int_equal(scene_learn(&s), 0);
        assert_int_equal(s.report.found[DETECT_PEM], LEARN_CONTAINERS_MAX);
        /* one more copy is no other key … */
        (void)write_cut_containers(&s, 1);
        write_at(&s, at, "-----BEGIN EC PRIVATE KEY-----\n", 31);
        assert_int_equal(scene_learn(&s), 0);
        /* … but one more key is */
        (void)write_cut_containers(&s, LEARN_CONTAINERS_MAX + 1);
        assert_int_equal(scene_learn(&s), -E2BIG);
        assert_true(s.report.needles_cut);
}

static void with_stacks_alone_more_keys_than_the_limit_are_erased_and_told(void **state) {
        const struct builder_segment heap = { .address = HEAP, .file_size = SIEVE_TILE };
        _cleanup_scene_ struct scene s;
        struct sieve_job job;

        (void)state;
        scene_make(&s, &heap, 1);
        (void)write_cut_containers(&s, LEARN_CONTAINERS_MAX + 1);
        job = (struct sieve_job){ .head = s.b.head,
                                  .notes = s.b.notes,
                                  .source = s.b.source,
                                  .needles = s.needles,
                                  .content = CONTENT_STACKS };
        assert_int_equal(plan_new(s.b.head, &s.plan), 0);
        assert_int_equal(source_add_extents(s.b.source, s.plan), 0);
        assert_int_equal(learn_run(&job, s.plan, &s.report), 0);
        assert_true(s.report.needles_cut);
        assert_int_equal(s.report.found[DETECT_PEM], LEARN_CONTAINERS_MAX + 1);
}

static void a_core_that_is_cut_while_it_is_read_is_an_error(void **state) {
        const struct builder_segment heap = { .address = HEAP, .file_size = 4 * PAGE };
        _cleanup_scene_ struct scene s;
        struct sieve_job job;

        (void)state;
        scene_make(&s, &heap, 1);
        write_at(&s, s.b.head->size + 3 * PAGE, "x", 1);
        job = (struct sieve_job){
                .head = s.b.head, .notes = s.b.notes, .source = s.b.source, .needles = s.needles
        };
        assert_int_equal(plan_new(s.b.head, &s.plan), 0);
        assert_int_equal(source_add_extents(s.b.source, s.plan), 0);
        assert_int_equal(ftruncate(s.b.fd, (off_t)s.b.head->end - 1), 0);
        assert_int_equal(learn_run(&job, s.plan, &s.report), -ENODATA);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_secret_over_the_border_of_two_tiles_is_found_once_and_whole),
                cmocka_unit_test(a_secret_over_two_segments_that_adjoin_in_the_file_is_found),
                cmocka_unit_test(a_secret_over_the_border_of_head_and_memory_is_found),
                cmocka_unit_test(a_secret_in_a_note_is_found),
                cmocka_unit_test(a_secret_whose_zeros_lie_in_a_hole_is_found),
                cmocka_unit_test(a_secret_that_is_a_path_stays_where_debuggers_find_modules),
                cmocka_unit_test(each_origin_counts_its_own_and_the_last_counts_the_rest),
                cmocka_unit_test(a_detected_key_is_erased_with_its_copies_in_other_forms),
                cmocka_unit_test(a_container_over_the_border_of_two_tiles_is_found),
                cmocka_unit_test(an_encrypted_container_is_counted_and_kept),
                cmocka_unit_test(more_different_keys_than_the_limit_are_refused),
                cmocka_unit_test(with_stacks_alone_more_keys_than_the_limit_are_erased_and_told),
                cmocka_unit_test(a_core_that_is_cut_while_it_is_read_is_an_error),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
