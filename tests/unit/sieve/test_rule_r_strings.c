/* Arguments and environment on the initial stack, as the kernel and as programs leave them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "sieve/initial_strings.h"
#include "sieve/sieve.h"
#include "tests/unit/sieve/emitted_core.h"
#include "tests/unit/sieve/rule_scene.h"

#define STRINGS (STACK_END - 4ULL * PAGE) /* where argv[0] begins */
#define RANDOM_BELOW 40U                  /* bytes from AT_RANDOM's to argv[0] */
#define TOKEN "tok-93hf7w02kd8x5mq1"
#define PASSWORD "b7Kx92LmQ04tZrW1"

static const char *const default_strings[] = {
        "/usr/bin/prog",      "--key=" TOKEN, "plain",        "HOME=/root",
        "PASSWORD=" PASSWORD, "EMPTY=",       "LANG=C.UTF-8", "/usr/bin/prog" /* AT_EXECFN */
};
#define ARGC 3U

struct layout {
        uint64_t at; /* of argv[0]; 0: STRINGS */
        const char *const *strings;
        size_t n;
        uint64_t argc;      /* what stands in front of argv[] */
        size_t no_argument; /* this pointer of argv[] is NULL; 0: none */
        size_t variables;   /* pointers in envp[]; the rest of the array is NULL */
        uint64_t moved;     /* bytes by which the arrays moved down */
        bool no_auxv;       /* it stands nowhere */
};

/* The arrays below the strings; addresses of the strings go to `address`. */
static void put_stack(struct scene *s, const struct layout *l, uint64_t *address) {
        uint64_t start = l->at ? l->at : STRINGS, at = start, vector, words[128], n = 0;
        size_t variables = l->n - 1 - ARGC;

        for (size_t i = 0; i < l->n; i++) {
                address[i] = at;
                builder_write(&s->b, at, l->strings[i], strlen(l->strings[i]) + 1);
                at += strlen(l->strings[i]) + 1;
        }
        words[n++] = l->argc;
        for (size_t i = 0; i < ARGC; i++)
                words[n++] = l->no_argument == i && i > 0 ? 0 : address[i];
        words[n++] = 0;
        for (size_t i = 0; i < variables; i++)
                words[n++] = i < l->variables ? address[ARGC + i] : 0;
        words[n++] = 0;
        vector = n;
        memcpy(words + n, s->auxv, s->n_auxv * 8);
        n += s->n_auxv;
        if (l->no_auxv)
                words[vector] ^= 1;
        builder_write(&s->b, (start - RANDOM_BELOW - n * 8 - l->moved) / 16 * 16, words, n * 8);
}

static struct scene process(const struct layout *l, uint64_t *address) {
        static const char path[] = "/usr/bin/prog";
        struct scene s = scene_new();
        uint64_t start = l->at ? l->at : STRINGS, at = start;

        s.heap_size = 2ULL * INITIAL_STRINGS_MAX;
        for (size_t i = 0; i + 1 < l->n; i++)
                at += strlen(l->strings[i]) + 1;
        scene_thread_at(&s, TID, STACK + 8ULL * PAGE);
        scene_auxv(&s, AT_PAGESZ, PAGE);
        scene_auxv(&s, AT_ENTRY, TEXT);
        scene_auxv(&s, AT_RANDOM, start - RANDOM_BELOW);
        scene_auxv(&s, AT_EXECFN, at);
        scene_make(&s);
        put_stack(&s, l, address);
        assert_string_equal(l->strings[l->n - 1], path);
        return s;
}

static struct layout layout_of_the_kernel(void) {
        return (struct layout){ .strings = default_strings,
                                .n = ARRAY_SIZE(default_strings),
                                .argc = ARGC,
                                .variables = ARRAY_SIZE(default_strings) - 1 - ARGC };
}

static void assert_text(const struct scene *s, uint64_t address, const char *text) {
        char buf[256];

        scene_read(s, address, buf, strlen(text) + 1);
        assert_string_equal(buf, text);
}

/* The first `kept` bytes stand, the rest is fill, the end is where it was. */
static void assert_erased(const struct scene *s, uint64_t address, const char *text, size_t kept) {
        uint64_t at = scene_offset(s, address);
        char buf[256];

        scene_read(s, address, buf, strlen(text) + 1);
        assert_memory_equal(buf, text, kept);
        for (size_t i = kept; i < strlen(text); i++)
                assert_int_equal(buf[i], FILL_WORD[(at + i) % FILL_SIZE]);
        assert_int_equal(buf[strlen(text)], 0);
}

static bool is_needle(const struct scene *s, const char *text) {
        for (size_t i = 0; i < needle_set_count(s->needles); i++) {
                const struct needle *n = needle_set_at(s->needles, i);

                if (n->size == strlen(text) && memcmp(n->bytes, text, n->size) == 0)
                        return n->origin == 1;
        }
        return false;
}

static void values_go_and_names_stay(void **state) {
        static char lang[] = "LANG";
        char *const environment[] = { lang, NULL };
        struct layout l = layout_of_the_kernel();
        uint64_t a[ARRAY_SIZE(default_strings)], bytes[_REASON_MAX];
        _cleanup_scene_ struct scene s = process(&l, a);

        (void)state;
        s.environment = environment;
        scene_run(&s, CONTENT_REDACT);
        assert_text(&s, a[0], "/usr/bin/prog");
        assert_erased(&s, a[1], default_strings[1], 0);
        assert_erased(&s, a[2], default_strings[2], 0);
        assert_erased(&s, a[3], default_strings[3], 5);
        assert_erased(&s, a[4], default_strings[4], 9);
        assert_text(&s, a[5], "EMPTY=");
        assert_text(&s, a[6], "LANG=C.UTF-8");
        assert_text(&s, a[7], "/usr/bin/prog");
        plan_erased_bytes(s.plan, bytes);
        assert_int_equal(bytes[REASON_ARGUMENT], strlen("--key=" TOKEN "plain"));
        assert_int_equal(bytes[REASON_ENVIRONMENT], strlen("/root" PASSWORD));
        assert_true(is_needle(&s, PASSWORD));
        assert_true(is_needle(&s, TOKEN));
        assert_false(is_needle(&s, "C.UTF-8"));
        assert_int_equal(scene_check(&s, STACK, STACK_SIZE), 0);
}

static void at_level_stacks_too(void **state) {
        struct layout l = layout_of_the_kernel();
        uint64_t a[ARRAY_SIZE(default_strings)];
        _cleanup_scene_ struct scene s = process(&l, a);

        (void)state;
        scene_run(&s, CONTENT_STACKS);
        assert_text(&s, a[0], "/usr/bin/prog");
        assert_erased(&s, a[1], default_strings[1], 0);
        assert_erased(&s, a[4], default_strings[4], 9);
        assert_erased(&s, a[6], default_strings[6], 5);
        assert_text(&s, a[7], "/usr/bin/prog");
}

/* unsetenv() moves envp[]'s pointers together, nginx sets argv[1] to NULL, ld.so moves all. */
static void arrays_in_disorder_do_not_matter(void **state) {
        struct layout cases[4];

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
                cases[i] = layout_of_the_kernel();
        cases[0].variables = 0;
        cases[1].variables = 2;
        cases[2].no_argument = 1;
        cases[3].moved = 160;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                uint64_t a[ARRAY_SIZE(default_strings)];
                _cleanup_scene_ struct scene s = process(&cases[i], a);

                scene_run(&s, CONTENT_REDACT);
                assert_text(&s, a[0], "/usr/bin/prog");
                assert_erased(&s, a[1], default_strings[1], 0);
                assert_erased(&s, a[3], default_strings[3], 5);
                assert_erased(&s, a[4], default_strings[4], 9);
                assert_text(&s, a[7], "/usr/bin/prog");
                assert_true(is_needle(&s, PASSWORD));
        }
}

static void where_nobody_knows_what_is_a_name_all_goes(void **state) {
        struct layout cases[4];

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
                cases[i] = layout_of_the_kernel();
        cases[0].argc = 0;
        cases[1].argc = ARGC - 1;
        cases[2].argc = INITIAL_ARGC_MAX;
        cases[3].no_auxv = true;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                uint64_t a[ARRAY_SIZE(default_strings)];
                _cleanup_scene_ struct scene s = process(&cases[i], a);

                scene_run(&s, CONTENT_REDACT);
                for (size_t k = 0; k < 7; k++) {
                        char buf[64];

                        scene_read(&s, a[k], buf, strlen(default_strings[k]));
                        for (size_t j = 0; j < strlen(default_strings[k]); j++)
                                assert_int_equal(buf[j], FILL_WORD[(a[k] + j) % FILL_SIZE]);
                }
                assert_text(&s, a[7], "/usr/bin/prog");
        }
}

/* A title may run over the arguments, and zeros over what is left of the environment. */
static void a_title_is_the_programs_name(void **state) {
        struct layout l = layout_of_the_kernel();
        uint64_t a[ARRAY_SIZE(default_strings)];
        _cleanup_scene_ struct scene s = process(&l, a);
        char title[] = "prog: worker process number 1";

        (void)state;
        for (uint64_t at = a[0]; at < a[7]; at++)
                builder_write(&s.b, at, "", 1);
        builder_write(&s.b, a[0], title, sizeof(title));
        scene_run(&s, CONTENT_REDACT);
        assert_text(&s, a[0], title);
        assert_text(&s, a[7], "/usr/bin/prog");
        assert_int_equal(scene_after(&s, (a[4] + 7) / 8 * 8), 0);
}

/* As nginx does: the title over everything, the environment in the heap. */
static void strings_that_moved_to_the_heap_are_followed(void **state) {
        static char lang[] = "LANG";
        static const char *const moved[] = { "SESSION=tok-moved-4f8a2c91e7", "LANG=C.UTF-8" };
        char *const environment[] = { lang, NULL };
        struct layout l = layout_of_the_kernel();
        uint64_t a[ARRAY_SIZE(default_strings)], array, bytes[_REASON_MAX];
        _cleanup_scene_ struct scene s = process(&l, a);
        char wipe[128] = "title";

        (void)state;
        s.environment = environment;
        builder_write(&s.b, a[0], wipe, a[7] - a[0]);
        array = (STRINGS - RANDOM_BELOW - (1 + ARGC + 1 + 4 + 1 + s.n_auxv) * 8) / 16 * 16;
        builder_write(&s.b, HEAP + PAGE - 9, moved[0], strlen(moved[0]) + 1);
        builder_write(&s.b, HEAP + 64, moved[1], strlen(moved[1]) + 1);
        builder_write(&s.b, HEAP + 256, "--argument", 11);
        scene_word(&s, array + 8 * 2, HEAP + 256);
        scene_word(&s, array + 8 * (1 + ARGC + 1), HEAP + PAGE - 9);
        scene_word(&s, array + 8 * (1 + ARGC + 2), HEAP + 64);
        scene_word(&s, array + 8 * (1 + ARGC + 3), SECRET); /* nowhere */
        scene_run(&s, CONTENT_REDACT);
        assert_text(&s, a[0], "title");
        assert_erased(&s, HEAP + PAGE - 9, moved[0], 8);
        assert_text(&s, HEAP + 64, moved[1]);
        assert_erased(&s, HEAP + 256, "--argument", 0);
        assert_true(is_needle(&s, "tok-moved-4f8a2c91e7"));
        plan_erased_bytes(s.plan, bytes);
        assert_int_equal(bytes[REASON_ARGUMENT], 10);
        assert_int_equal(bytes[REASON_ENVIRONMENT], strlen(moved[0]) - 8);
}

static size_t needles_of_values(void) {
        struct layout l = layout_of_the_kernel();
        uint64_t a[ARRAY_SIZE(default_strings)];
        _cleanup_scene_ struct scene s = process(&l, a);

        scene_run(&s, CONTENT_REDACT);
        return needle_set_count(s.needles);
}

static void values_that_find_no_room_are_erased_and_told(void **state) {
        size_t needed = needles_of_values();

        (void)state;
        assert_true(needed > 2);
        for (size_t missing = 0; missing < 2; missing++) {
                struct layout l = layout_of_the_kernel();
                uint64_t a[ARRAY_SIZE(default_strings)];
                _cleanup_scene_ struct scene s = process(&l, a);

                assert_int_equal(needle_set_new(&s.needles), 0);
                builder_needles(s.needles, NEEDLES_MAX - needed + missing);
                scene_run(&s, CONTENT_REDACT);
                assert_int_equal(needle_set_count(s.needles), NEEDLES_MAX);
                assert_int_equal(rule_r_unhunted(s.rule), missing > 0);
                assert_text(&s, a[0], "/usr/bin/prog");
                assert_erased(&s, a[1], default_strings[1], 0);
                assert_erased(&s, a[4], default_strings[4], 9);
        }
}

/* The whole run: such a dump is kept, and keeps stacks only. */
static void a_full_set_of_needles_costs_memory_and_not_the_dump(void **state) {
        (void)state;
        for (size_t full = 0; full < 2; full++) {
                struct layout l = layout_of_the_kernel();
                uint64_t a[ARRAY_SIZE(default_strings)];
                _cleanup_scene_ struct scene s = process(&l, a);
                struct sieve_report report;
                struct sieve_job job = { .content = CONTENT_REDACT,
                                         .head = s.b.head,
                                         .notes = s.b.notes,
                                         .environment = s.environment,
                                         .out_fd = memfd_create("out", MFD_CLOEXEC) };
                struct emitted e;

                assert_int_equal(source_new_file(s.b.head, s.b.notes, s.b.fd, &s.b.source), 0);
                assert_int_equal(needle_set_new(&s.needles), 0);
                scene_word(&s, HEAP + 64, 0x1122334455667788);
                if (full)
                        builder_needles(s.needles, NEEDLES_MAX);
                job.source = s.b.source;
                job.needles = s.needles;
                assert_int_equal(sieve_run(&job, &report), 0);
                assert_int_equal(report.needles_cut, full);
                emitted_open(&e, job.out_fd);
                assert_int_equal(e.note.content, full ? CONTENT_STACKS : CONTENT_REDACT);
                emitted_close(&e);
                assert_int_equal(report.erased[REASON_LEVEL] > 0, full);
                assert_int_equal(close(job.out_fd), 0);
        }
}

/* Eight MiB is more than the kernel ever takes: whoever has more elsewhere gets no dump. */
static void strings_elsewhere_are_bounded(void **state) {
        static const struct {
                size_t size;
                int expected;
        } cases[] = { { INITIAL_STRINGS_MAX, 0 }, { INITIAL_STRINGS_MAX + 1, -E2BIG } };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                struct layout l = layout_of_the_kernel();
                uint64_t a[ARRAY_SIZE(default_strings)], array;
                _cleanup_scene_ struct scene s = process(&l, a);
                _cleanup_free_ char *text = malloc(cases[i].size);

                assert_non_null(text);
                memset(text, 'v', cases[i].size);
                text[0] = '/'; /* a path is no needle */
                array = (STRINGS - RANDOM_BELOW - (1 + ARGC + 1 + 4 + 1 + s.n_auxv) * 8) / 16 * 16;
                builder_write(&s.b, HEAP, text, cases[i].size);
                scene_word(&s, array + 8 * (1 + ARGC + 1), HEAP);
                assert_int_equal(scene_plan(&s, CONTENT_REDACT), cases[i].expected);
        }
}

static void a_title_that_runs_into_the_path_ends_there(void **state) {
        struct layout l = layout_of_the_kernel();
        uint64_t a[ARRAY_SIZE(default_strings)];
        _cleanup_scene_ struct scene s = process(&l, a);

        (void)state;
        for (uint64_t at = a[2]; at < a[7]; at++)
                builder_write(&s.b, at, "x", 1);
        scene_run(&s, CONTENT_REDACT);
        assert_text(&s, a[7], "/usr/bin/prog");
        assert_true(scene_after(&s, a[6] / 8 * 8) == FILLED);
}

static void a_variable_without_a_name_goes_whole(void **state) {
        static const char *const strings[] = { "prog",           "a",      "b",
                                               "no-equals-sign", "=value", "/usr/bin/prog" };
        struct layout l = { .strings = strings, .n = 6, .argc = ARGC, .variables = 2 };
        uint64_t a[6];
        _cleanup_scene_ struct scene s = process(&l, a);

        (void)state;
        scene_run(&s, CONTENT_REDACT);
        assert_erased(&s, a[3], strings[3], 0);
        assert_erased(&s, a[4], strings[4], 1);
}

/* Only the whole name counts. */
static void an_allow_listed_name_is_no_prefix(void **state) {
        static char pass[] = "PASS", longer[] = "PASSWORDS";
        char *const environment[] = { pass, longer, NULL };
        struct layout l = layout_of_the_kernel();
        uint64_t a[ARRAY_SIZE(default_strings)];
        _cleanup_scene_ struct scene s = process(&l, a);

        (void)state;
        s.environment = environment;
        scene_run(&s, CONTENT_REDACT);
        assert_erased(&s, a[4], default_strings[4], 9);
}

/* Three characters at the start of a word are a small number: at a fixed address a pointer. */
static void text_that_looks_like_a_pointer_goes_all_the_same(void **state) {
        static const char *const strings[] = { "prog", "123456789aba!`", "", "", "",
                                               "",     "/usr/bin/prog" };
        struct layout l = { .strings = strings, .n = 7, .argc = ARGC, .variables = 3 };
        uint64_t a[7], word;
        _cleanup_scene_ struct scene s = process(&l, a);

        (void)state;
        assert_int_equal(pread(s.b.fd, &word, 8, (off_t)scene_offset(&s, STRINGS + 16)), 8);
        assert_int_equal(word, DATA + 0x2161); /* or this test proves nothing */
        scene_run(&s, CONTENT_REDACT);
        assert_erased(&s, a[1], strings[1], 0);
        assert_int_equal(scene_check(&s, STACK, STACK_SIZE), 0);
}

static void more_strings_than_the_limit_all_go(void **state) {
        static const struct {
                uint64_t size; /* from argv[0] to the segment's end */
                bool kept;
        } cases[] = { { INITIAL_STRINGS_MAX, true }, { INITIAL_STRINGS_MAX + 8, false } };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                struct layout l = layout_of_the_kernel();
                uint64_t a[ARRAY_SIZE(default_strings)];

                l.at = HEAP + 2ULL * INITIAL_STRINGS_MAX - cases[i].size;
                {
                        _cleanup_scene_ struct scene s = process(&l, a);

                        scene_run(&s, CONTENT_REDACT);
                        if (cases[i].kept)
                                assert_text(&s, a[0], "/usr/bin/prog");
                        else
                                assert_int_equal(scene_after(&s, a[0]), FILLED);
                        assert_text(&s, a[7], "/usr/bin/prog");
                }
        }
}

static void no_auxiliary_vector_no_initial_stack(void **state) {
        _cleanup_scene_ struct scene s = scene_new();

        (void)state;
        scene_thread_at(&s, TID, THREAD + 8ULL * PAGE);
        scene_make(&s);
        scene_word(&s, STACK + 8, SECRET);
        scene_run(&s, CONTENT_REDACT);
        assert_int_equal(scene_after(&s, STACK + 8), SECRET);
}

/* Pointers that the process chose: nothing is read past the segment, nothing hangs. */
static void a_crafted_vector_is_survived(void **state) {
        static const struct {
                uint64_t random, execfn;
        } cases[] = {
                { STACK, STACK },
                { STACK + 1, STACK_END - 1 },
                { STACK_END - 1, 1 },
                { HEAP, STACK },
                { GUARD, GUARD },
                { ~0ULL, ~0ULL },
                { TEXT + 1, TEXT + TEXT_SIZE - 1 },
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                _cleanup_scene_ struct scene s = scene_new();

                scene_thread_at(&s, TID, STACK + 8ULL * PAGE);
                scene_auxv(&s, AT_RANDOM, cases[i].random);
                scene_auxv(&s, AT_EXECFN, cases[i].execfn);
                scene_make(&s);
                for (uint64_t at = STACK; at < STACK_END; at += PAGE)
                        scene_word(&s, at, at);
                scene_run(&s, CONTENT_REDACT);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(values_go_and_names_stay),
                cmocka_unit_test(at_level_stacks_too),
                cmocka_unit_test(arrays_in_disorder_do_not_matter),
                cmocka_unit_test(where_nobody_knows_what_is_a_name_all_goes),
                cmocka_unit_test(a_title_is_the_programs_name),
                cmocka_unit_test(strings_that_moved_to_the_heap_are_followed),
                cmocka_unit_test(values_that_find_no_room_are_erased_and_told),
                cmocka_unit_test(a_full_set_of_needles_costs_memory_and_not_the_dump),
                cmocka_unit_test(strings_elsewhere_are_bounded),
                cmocka_unit_test(a_title_that_runs_into_the_path_ends_there),
                cmocka_unit_test(a_variable_without_a_name_goes_whole),
                cmocka_unit_test(an_allow_listed_name_is_no_prefix),
                cmocka_unit_test(text_that_looks_like_a_pointer_goes_all_the_same),
                cmocka_unit_test(more_strings_than_the_limit_all_go),
                cmocka_unit_test(no_auxiliary_vector_no_initial_stack),
                cmocka_unit_test(a_crafted_vector_is_survived),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
