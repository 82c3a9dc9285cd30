/* The link-map closure stays, on stacks and at level `stacks`; crafted lists end. */
#include <link.h>
#include <stddef.h>
#include <stdint.h>

#include "sieve/link_map.h"
#include "tests/unit/sieve/rule_scene.h"

#define PHDRS (TEXT + 64)
#define DYNAMIC (DATA + 0x100)
#define DEBUG (DATA + 0x800)
#define MAPS HEAP /* malloc'ed */
#define NAMES (HEAP + 4ULL * PAGE)
#define DYNAMICS (HEAP + 8ULL * PAGE)

static void put_phdrs(struct scene *s, bool with_phdr) {
        Elf64_Phdr phdrs[] = {
                { .p_type = with_phdr ? PT_PHDR : PT_NULL, .p_vaddr = 64 },
                { .p_type = PT_LOAD, .p_offset = 0, .p_vaddr = 0 },
                { .p_type = PT_DYNAMIC, .p_vaddr = DYNAMIC - TEXT, .p_memsz = 64 },
        };

        builder_write(&s->b, PHDRS, phdrs, sizeof(phdrs));
}

static void put_dynamic(struct scene *s, uint64_t at, uint64_t debug) {
        Elf64_Dyn dyn[] = { { .d_tag = DT_SONAME, .d_un.d_val = 77 },
                            { .d_tag = DT_DEBUG, .d_un.d_val = debug },
                            { .d_tag = DT_NULL } };

        builder_write(&s->b, at, dyn, sizeof(dyn));
}

static void put_debug(struct scene *s, uint64_t at, uint64_t version, uint64_t map, uint64_t next) {
        uint64_t words[] = { version, map, 0x1234567, 0, 0x7654321, next };

        builder_write(&s->b, at, words, sizeof(words));
}

static void put_map(struct scene *s, uint64_t at, uint64_t name, uint64_t dynamic, uint64_t next) {
        uint64_t words[] = { SECRET, name, dynamic, next, 0, ~SECRET };

        builder_write(&s->b, at, words, sizeof(words));
}

static struct scene program(uint64_t rsp) {
        struct scene s = scene_new();

        scene_thread_at(&s, TID, rsp);
        scene_auxv(&s, AT_PHDR, PHDRS);
        scene_auxv(&s, AT_PHNUM, 3);
        scene_auxv(&s, AT_PHENT, sizeof(Elf64_Phdr));
        scene_auxv(&s, AT_RANDOM, STACK_END - 64);
        scene_make(&s);
        return s;
}

/* Two modules, the second with a name. */
static void put_closure(struct scene *s) {
        put_phdrs(s, true);
        put_dynamic(s, DYNAMIC, DEBUG);
        put_debug(s, DEBUG, 1, MAPS, SECRET);
        put_map(s, MAPS, NAMES, DYNAMIC, MAPS + 64);
        put_map(s, MAPS + 64, NAMES + 8, DYNAMICS, 0);
        builder_write(&s->b, NAMES + 8, "/lib/libsecret.so", 18);
        put_dynamic(s, DYNAMICS, 0);
        scene_word(s, DYNAMICS + 48, SECRET);
        scene_word(s, DYNAMIC - 8, SECRET);
}

static void the_closure_stays_and_its_neighbours_go(void **state) {
        _cleanup_scene_ struct scene s = program(STACK + 8ULL * PAGE);
        char name[18];

        (void)state;
        put_closure(&s);
        scene_run(&s, CONTENT_STACKS);
        assert_int_equal(scene_after(&s, DYNAMIC), DT_SONAME);
        assert_int_equal(scene_after(&s, DYNAMIC + 24), DEBUG);
        assert_int_equal(scene_after(&s, DYNAMIC - 8), FILLED);
        assert_int_equal(scene_after(&s, DEBUG + 16), 0x1234567);
        assert_int_equal(scene_after(&s, DEBUG + 40), FILLED);
        assert_int_equal(scene_after(&s, MAPS), SECRET);
        assert_int_equal(scene_after(&s, MAPS + 40), FILLED);
        assert_int_equal(scene_after(&s, MAPS + 64), SECRET);
        scene_read(&s, NAMES + 8, name, sizeof(name));
        assert_string_equal(name, "/lib/libsecret.so");
        assert_int_equal(scene_after(&s, DYNAMICS + 8), 77);
        assert_int_equal(scene_after(&s, DYNAMICS + 48), FILLED);
}

/* A malloc'ed link map in a heap that is also a stack: without it lldb finds no module. */
static void the_closure_stays_where_a_stack_is(void **state) {
        _cleanup_scene_ struct scene s = program(HEAP + 16ULL * PAGE);
        char name[18];

        (void)state;
        put_closure(&s);
        scene_run(&s, CONTENT_REDACT);
        assert_int_equal(scene_after(&s, MAPS), SECRET);
        assert_int_equal(scene_after(&s, MAPS + 40), FILLED);
        scene_read(&s, NAMES + 8, name, sizeof(name));
        assert_string_equal(name, "/lib/libsecret.so");
        assert_int_equal(scene_check(&s, HEAP, HEAP_SIZE), 0);
}

static void the_table_is_found_without_its_own_header(void **state) {
        _cleanup_scene_ struct scene s = program(STACK + 8ULL * PAGE);

        (void)state;
        put_closure(&s);
        put_phdrs(&s, false);
        scene_run(&s, CONTENT_STACKS);
        assert_int_equal(scene_after(&s, MAPS), SECRET);
}

static void every_namespace_is_followed(void **state) {
        static const struct {
                uint64_t version;
                bool kept;
        } cases[] = { { 1, false }, { 2, true } };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                _cleanup_scene_ struct scene s = program(STACK + 8ULL * PAGE);

                put_closure(&s);
                put_debug(&s, DEBUG, cases[i].version, MAPS, DEBUG + 64);
                put_debug(&s, DEBUG + 64, cases[i].version, MAPS + 256, 0);
                put_map(&s, MAPS + 256, 0, 0, 0);
                scene_run(&s, CONTENT_STACKS);
                assert_int_equal(scene_after(&s, MAPS + 256) == SECRET, cases[i].kept);
        }
}

static void without_a_dynamic_section_nothing_stays(void **state) {
        static const struct {
                const char *name;
                uint64_t type, value;
        } cases[] = {
                { "no program headers", AT_PHDR, 0 },
                { "program headers nowhere", AT_PHDR, SECRET },
                { "program headers at the end of memory", AT_PHDR, ~0ULL },
                { "too many program headers", AT_PHNUM, LINK_PHDRS_MAX + 1 },
                { "program headers of another size", AT_PHENT, 32 },
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                _cleanup_scene_ struct scene s = scene_new();

                scene_thread_at(&s, TID, STACK + 8ULL * PAGE);
                scene_auxv(&s, cases[i].type, cases[i].value);
                scene_auxv(&s, AT_PHDR, PHDRS);
                scene_auxv(&s, AT_PHNUM, 3);
                scene_auxv(&s, AT_PHENT, sizeof(Elf64_Phdr));
                scene_make(&s);
                put_closure(&s);
                scene_run(&s, CONTENT_STACKS);
                if (scene_after(&s, MAPS) != FILLED)
                        fail_msg("%s", cases[i].name);
        }
}

static void crafted_lists_end(void **state) {
        static const struct {
                uint64_t debug, map, name, dynamic, next;
        } cases[] = {
                { DEBUG, MAPS, NAMES, DYNAMICS, MAPS },  /* a circle */
                { DEBUG, MAPS, SECRET, SECRET, SECRET }, /* nowhere */
                { ~0ULL, MAPS, NAMES, DYNAMICS, 0 },     /* at the end of memory */
                { DEBUG, ~7ULL, NAMES, DYNAMICS, 0 },
                { DEBUG, MAPS, ~0ULL, ~0ULL, ~0ULL },
                { DEBUG, HEAP + HEAP_SIZE - 8, NAMES, DYNAMICS, 0 },
                { DEBUG, MAPS, HEAP + HEAP_SIZE - 1, HEAP + HEAP_SIZE - 8, 0 },
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                _cleanup_scene_ struct scene s = program(STACK + 8ULL * PAGE);

                put_phdrs(&s, true);
                put_dynamic(&s, DYNAMIC, cases[i].debug);
                put_debug(&s, DEBUG, 2, cases[i].map, DEBUG);
                put_map(&s, MAPS, cases[i].name, cases[i].dynamic, cases[i].next);
                scene_run(&s, CONTENT_STACKS);
        }
}

/* A list, a name, a section longer than their limits keep no more than those. */
static void what_is_kept_is_bounded(void **state) {
        _cleanup_free_ uint64_t *dyn = calloc(LINK_DYNAMIC_MAX + 1, 16);
        _cleanup_free_ char *name = malloc(LINK_NAME_MAX + 1);
        _cleanup_scene_ struct scene s = program(STACK + 8ULL * PAGE);

        (void)state;
        assert_non_null(dyn);
        assert_non_null(name);
        for (size_t i = 0; i < 2 * (LINK_DYNAMIC_MAX + 1); i++)
                dyn[i] = SECRET;
        memset(name, 'n', LINK_NAME_MAX);
        put_closure(&s);
        builder_write(&s.b, DYNAMICS, dyn, (LINK_DYNAMIC_MAX + 1) * 16);
        builder_write(&s.b, NAMES + 8, name, LINK_NAME_MAX);
        scene_run(&s, CONTENT_STACKS);
        assert_int_equal(scene_after(&s, DYNAMICS + (LINK_DYNAMIC_MAX - 1) * 16), SECRET);
        assert_int_equal(scene_after(&s, DYNAMICS + LINK_DYNAMIC_MAX * 16), FILLED);
        assert_int_equal(scene_after(&s, NAMES + 8), FILLED);
}

static void the_longest_list_is_kept_to_its_limit(void **state) {
        _cleanup_scene_ struct scene s = scene_new();

        (void)state;
        s.heap_size = (LINK_MAPS_MAX + 64) * 64ULL;
        s.heap_size += PAGE - s.heap_size % PAGE;
        scene_thread_at(&s, TID, STACK + 8ULL * PAGE);
        scene_auxv(&s, AT_PHDR, PHDRS);
        scene_auxv(&s, AT_PHNUM, 3);
        scene_auxv(&s, AT_PHENT, sizeof(Elf64_Phdr));
        scene_make(&s);
        put_phdrs(&s, true);
        put_dynamic(&s, DYNAMIC, DEBUG);
        put_debug(&s, DEBUG, 1, MAPS, 0);
        for (uint64_t i = 0; i < LINK_MAPS_MAX + 2; i++)
                put_map(&s, MAPS + i * 64, 0, 0, MAPS + (i + 1) * 64);
        scene_run(&s, CONTENT_STACKS);
        assert_int_equal(scene_after(&s, MAPS + (LINK_MAPS_MAX - 1) * 64ULL), SECRET);
        assert_int_equal(scene_after(&s, MAPS + LINK_MAPS_MAX * 64ULL), FILLED);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_closure_stays_and_its_neighbours_go),
                cmocka_unit_test(the_closure_stays_where_a_stack_is),
                cmocka_unit_test(the_table_is_found_without_its_own_header),
                cmocka_unit_test(every_namespace_is_followed),
                cmocka_unit_test(without_a_dynamic_section_nothing_stays),
                cmocka_unit_test(crafted_lists_end),
                cmocka_unit_test(what_is_kept_is_bounded),
                cmocka_unit_test(the_longest_list_is_kept_to_its_limit),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
