/* Notes: registers, vector state, arguments and strangers, byte by byte. */
#include <stddef.h>
#include <stdint.h>
#include <sys/user.h>

#include "tests/unit/sieve/rule_scene.h"

#define XSTATE_SIZE 2696U /* of an AVX-512 machine */

/* Reads a note's descriptor as it would be written; `index` counts notes of that type. */
static const uint8_t *note_after(const struct scene *s, uint32_t type, size_t index, size_t *ret) {
        static uint8_t buf[8192];

        for (size_t i = 0; i < s->b.notes->n_notes; i++) {
                const struct core_note *note = &s->b.notes->notes[i];

                if (note->type != type || index-- > 0)
                        continue;
                assert_true(note->size <= sizeof(buf));
                memcpy(buf, note->desc, note->size);
                plan_apply(s->plan, note->offset, buf, note->size);
                *ret = note->size;
                return buf;
        }
        fail_msg("no note of type %x", type);
        return NULL;
}

static uint64_t note_offset(const struct scene *s, uint32_t type) {
        for (size_t i = 0; i < s->b.notes->n_notes; i++)
                if (s->b.notes->notes[i].type == type)
                        return s->b.notes->notes[i].offset;
        fail_msg("no note of type %x", type);
        return 0;
}

static bool is_fill(const uint8_t *bytes, uint64_t offset, size_t n) {
        uint8_t expected[8192];

        fill(expected, n, offset);
        return memcmp(bytes, expected, n) == 0;
}

static struct scene one_thread(void) {
        struct scene s = scene_new();

        scene_thread_at(&s, TID, STACK + 8ULL * PAGE);
        return s;
}

static void each_general_register_gets_its_fate(void **state) {
        /* rip, rsp and their like stay whatever they hold; rbp is a register like others. */
        const struct user_regs_struct before = {
                .rip = SECRET,
                .rsp = SECRET,
                .eflags = SECRET,
                .orig_rax = SECRET,
                .cs = SECRET,
                .ss = SECRET,
                .ds = SECRET,
                .es = SECRET,
                .fs = SECRET,
                .gs = SECRET,
                .fs_base = SECRET,
                .gs_base = SECRET,
                .rax = 0,
                .rbx = 4095,
                .rcx = 4096,
                .rdx = SECRET,
                .rsi = TEXT + 1,
                .rdi = HEAP,
                .rbp = SECRET,
                .r8 = STACK,
                .r9 = 16,
                .r10 = RESERVED,
                .r11 = CODE,
                .r12 = GUARD,
                .r13 = TID + 100,
                .r14 = ~0ULL,
                .r15 = SECRET,
        };
        struct user_regs_struct after;
        _cleanup_scene_ struct scene s = scene_new();
        const uint8_t *status;
        size_t n;

        (void)state;
        scene_thread(&s, TID, &before);
        scene_make(&s);
        scene_run(&s, CONTENT_REDACT);
        status = note_after(&s, NT_PRSTATUS, 0, &n);
        memcpy(&after, status + offsetof(struct elf_prstatus, pr_reg), sizeof(after));
        assert_int_equal(after.rip, SECRET);
        assert_int_equal(after.rsp, SECRET);
        assert_int_equal(after.eflags, SECRET);
        assert_int_equal(after.orig_rax, SECRET);
        assert_int_equal(after.cs, SECRET);
        assert_int_equal(after.ss, SECRET);
        assert_int_equal(after.ds, SECRET);
        assert_int_equal(after.es, SECRET);
        assert_int_equal(after.fs, SECRET);
        assert_int_equal(after.gs, SECRET);
        assert_int_equal(after.fs_base, SECRET);
        assert_int_equal(after.gs_base, SECRET);
        assert_int_equal(after.rax, 0);
        assert_int_equal(after.rbx, 4095);
        assert_int_equal(after.rsi, TEXT + 1);
        assert_int_equal(after.rdi, HEAP);
        assert_int_equal(after.r8, STACK);
        assert_int_equal(after.r9, 16);
        assert_int_equal(after.r11, CODE);
        assert_int_not_equal(after.rcx, before.rcx);
        assert_int_not_equal(after.rdx, before.rdx);
        assert_int_not_equal(after.rbp, before.rbp);
        assert_int_not_equal(after.r10, before.r10);
        assert_int_not_equal(after.r12, before.r12);
        assert_int_not_equal(after.r13, before.r13);
        assert_int_not_equal(after.r14, before.r14);
        assert_int_not_equal(after.r15, before.r15);
        /* The rest of the note is the kernel's own. */
        assert_memory_equal(status, s.b.notes->notes[0].desc,
                            offsetof(struct elf_prstatus, pr_reg));
        memcpy(&n, status + offsetof(struct elf_prstatus, pr_reg) + sizeof(after), 4);
        assert_int_equal((uint32_t)n, 0);
}

/* With the whole note filled gdb shows no frame. */
static void of_the_vector_state_only_its_header_stays(void **state) {
        uint8_t xstate[XSTATE_SIZE], fpregs[512];
        _cleanup_scene_ struct scene s = one_thread();
        const uint8_t *after;
        uint64_t at;
        size_t n;

        (void)state;
        builder_random(1, xstate, sizeof(xstate));
        builder_random(2, fpregs, sizeof(fpregs));
        builder_note(&s.notes, NT_FPREGSET, fpregs, sizeof(fpregs));
        builder_note(&s.notes, NT_X86_XSTATE, xstate, sizeof(xstate));
        builder_note(&s.notes, NT_PRXFPREG, fpregs, sizeof(fpregs));
        scene_make(&s);
        scene_run(&s, CONTENT_REDACT);

        after = note_after(&s, NT_X86_XSTATE, 0, &n);
        at = note_offset(&s, NT_X86_XSTATE);
        assert_true(is_fill(after, at, 464));
        assert_memory_equal(after + 464, xstate + 464, 576 - 464);
        assert_true(is_fill(after + 576, at + 576, sizeof(xstate) - 576));
        after = note_after(&s, NT_FPREGSET, 0, &n);
        assert_true(is_fill(after, note_offset(&s, NT_FPREGSET), sizeof(fpregs)));
        after = note_after(&s, NT_PRXFPREG, 0, &n);
        assert_true(is_fill(after, note_offset(&s, NT_PRXFPREG), sizeof(fpregs)));
}

static void vector_state_of_any_size_is_erased(void **state) {
        static const size_t sizes[] = { 0, 1, 463, 464, 465, 576, 577, 832 };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
                uint8_t xstate[832];
                _cleanup_scene_ struct scene s = one_thread();
                const uint8_t *after;
                uint64_t at;
                size_t n;

                builder_random(3, xstate, sizeof(xstate));
                builder_note(&s.notes, NT_X86_XSTATE, xstate, sizes[i]);
                scene_make(&s);
                scene_run(&s, CONTENT_REDACT);
                after = note_after(&s, NT_X86_XSTATE, 0, &n);
                at = note_offset(&s, NT_X86_XSTATE);
                assert_int_equal(n, sizes[i]);
                for (size_t k = 0; k < n; k++) {
                        bool stays = k >= 464 && k < 576;

                        assert_int_equal(after[k],
                                         stays ? xstate[k] : FILL_WORD[(at + k) % FILL_SIZE]);
                }
        }
}

static void arguments_go_and_the_programs_name_stays(void **state) {
        static const struct {
                const char *name, *before;
                size_t kept; /* bytes in front of the fill */
        } cases[] = {
                { "a name alone", "sleep", 80 },
                { "arguments", "curl -H Authorization:Bearer-0123456789", 5 },
                { "an empty name", " secret", 1 },
                { "nothing", "", 80 },
                { "a space at the end", "sleep ", 80 },
                { "a name of 79 bytes",
                  "0123456789012345678901234567890123456789012345678901234567890123456789012345678",
                  80 },
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                struct elf_prpsinfo info = { .pr_pid = TID, .pr_uid = 1000, .pr_fname = "name" };
                _cleanup_scene_ struct scene s = one_thread();
                const size_t at = offsetof(struct elf_prpsinfo, pr_psargs);
                size_t n, length = strlen(cases[i].before);
                const uint8_t *after;

                memcpy(info.pr_psargs, cases[i].before, length);
                builder_note(&s.notes, NT_PRPSINFO, &info, sizeof(info));
                scene_make(&s);
                scene_run(&s, CONTENT_REDACT);
                after = note_after(&s, NT_PRPSINFO, 0, &n);
                assert_memory_equal(after, &info, at);
                if (cases[i].kept == 80) {
                        assert_memory_equal(after, &info, sizeof(info));
                        continue;
                }
                assert_memory_equal(after + at, info.pr_psargs, cases[i].kept);
                assert_true(is_fill(after + at + cases[i].kept,
                                    note_offset(&s, NT_PRPSINFO) + at + cases[i].kept,
                                    length - cases[i].kept));
                /* The text still ends where it ended. */
                assert_int_equal(strnlen((const char *)after + at, 80), length);
        }
}

static void arguments_without_an_end_go_to_the_end(void **state) {
        struct elf_prpsinfo info = { .pr_pid = TID };
        _cleanup_scene_ struct scene s = one_thread();
        const size_t at = offsetof(struct elf_prpsinfo, pr_psargs);
        const uint8_t *after;
        size_t n;

        (void)state;
        memset(info.pr_psargs, 'x', sizeof(info.pr_psargs));
        info.pr_psargs[1] = ' ';
        builder_note(&s.notes, NT_PRPSINFO, &info, sizeof(info));
        scene_make(&s);
        scene_run(&s, CONTENT_REDACT);
        after = note_after(&s, NT_PRPSINFO, 0, &n);
        assert_true(is_fill(after + at + 2, note_offset(&s, NT_PRPSINFO) + at + 2, 78));
}

static void of_the_signal_its_kind_stays(void **state) {
        static const struct {
                const char *name;
                int32_t code;
                uint64_t words[3], after[3];
        } cases[] = {
                { "a fault at a pointer", 1, { HEAP + 8, 5, SECRET }, { HEAP + 8, 5, FILLED } },
                { "a fault at a secret", 1, { SECRET, 0, 0 }, { FILLED, 0, 0 } },
                { "a signal sent, with its sender",
                  0,
                  { 0x3e800012345ULL, SECRET, 0 },
                  { 0x3e800012345ULL, FILLED, 0 } },
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                uint8_t siginfo[128] = { 11 };
                _cleanup_scene_ struct scene s = one_thread();
                const uint8_t *after;
                uint64_t expected[3];
                size_t n;

                memcpy(siginfo + 8, &cases[i].code, 4);
                memcpy(siginfo + 16, cases[i].words, sizeof(cases[i].words));
                builder_note(&s.notes, NT_SIGINFO, siginfo, sizeof(siginfo));
                scene_make(&s);
                scene_run(&s, CONTENT_REDACT);
                after = note_after(&s, NT_SIGINFO, 0, &n);
                assert_memory_equal(after, siginfo, 16);
                for (size_t k = 0; k < 3; k++) {
                        uint64_t at = note_offset(&s, NT_SIGINFO) + 16 + 8 * k;

                        expected[k] = cases[i].after[k];
                        if (expected[k] == FILLED)
                                fill((uint8_t *)&expected[k], 8, at);
                        if (memcmp(after + 16 + 8 * k, &expected[k], 8) != 0)
                                fail_msg("%s: word %zu", cases[i].name, k);
                }
        }
}

static void what_nobody_knows_goes_whole(void **state) {
        static const struct {
                const char *owner;
                uint32_t type;
                bool kept;
        } cases[] = {
                { "LINUX", 0x999, false },         { "CORE", 0x999, false },
                { "LINUX", 0x205, true },          { "GDB", NT_PRSTATUS, false },
                { "GDB", NT_AUXV, false },         { "coresieve", 0x43530001, false },
                { "LINUX", NT_386_IOPERM, false },
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                static const uint8_t zeros[4];
                _cleanup_scene_ struct scene s = one_thread();
                uint8_t desc[100];
                Elf64_Nhdr head = { .n_namesz = (uint32_t)strlen(cases[i].owner) + 1,
                                    .n_descsz = sizeof(desc),
                                    .n_type = cases[i].type };
                const struct core_note *note;
                uint8_t after[sizeof(desc)];

                builder_random(4, desc, sizeof(desc));
                builder_put(&s.notes, &head, sizeof(head));
                builder_put(&s.notes, cases[i].owner, head.n_namesz);
                builder_put(&s.notes, zeros, (4 - head.n_namesz % 4) % 4);
                builder_put(&s.notes, desc, sizeof(desc));
                scene_make(&s);
                scene_run(&s, CONTENT_REDACT);
                note = &s.b.notes->notes[1];
                memcpy(after, note->desc, sizeof(after));
                plan_apply(s.plan, note->offset, after, sizeof(after));
                if (cases[i].kept)
                        assert_memory_equal(after, desc, sizeof(desc));
                else
                        assert_true(is_fill(after, note->offset, sizeof(desc)));
        }
}

static void a_shadow_stack_pointer_is_a_register(void **state) {
        static const struct {
                uint64_t before;
                bool kept;
        } cases[] = { { THREAD, true }, { SECRET, false } };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                _cleanup_scene_ struct scene s = one_thread();
                const uint8_t *after;
                size_t n;

                builder_note(&s.notes, 0x204, &cases[i].before, 8);
                scene_make(&s);
                scene_run(&s, CONTENT_REDACT);
                after = note_after(&s, 0x204, 0, &n);
                assert_int_equal(memcmp(after, &cases[i].before, 8) == 0, cases[i].kept);
        }
}

static void files_and_the_auxiliary_vector_stay(void **state) {
        _cleanup_scene_ struct scene s = one_thread();
        static const uint32_t types[] = { NT_FILE, NT_AUXV };

        (void)state;
        scene_auxv(&s, AT_RANDOM, SECRET);
        scene_make(&s);
        scene_run(&s, CONTENT_STACKS);
        for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
                size_t n;
                const uint8_t *after = note_after(&s, types[i], 0, &n);

                assert_memory_equal(after, s.b.head->bytes + note_offset(&s, types[i]), n);
        }
}

/* A copy of the notes that was redacted is parsed again: by unwind, by `show`. */
static void redacted_notes_are_still_notes(void **state) {
        _cleanup_scene_ struct scene s = one_thread();
        _cleanup_free_ uint8_t *bytes = NULL;
        struct core_notes *notes = NULL;
        struct core_fault fault;
        uint8_t xstate[XSTATE_SIZE];

        (void)state;
        builder_random(5, xstate, sizeof(xstate));
        builder_note(&s.notes, NT_X86_XSTATE, xstate, sizeof(xstate));
        scene_make(&s);
        scene_run(&s, CONTENT_REDACT);
        bytes = malloc(s.b.head->size);
        assert_non_null(bytes);
        memcpy(bytes, s.b.head->bytes, s.b.head->size);
        plan_apply(s.plan, 0, bytes, s.b.head->size);
        assert_int_equal(core_notes_parse(s.b.head, bytes, &notes, &fault), 0);
        assert_int_equal(notes->n_threads, 1);
        assert_int_equal(notes->n_files, s.b.notes->n_files);
        core_notes_free(notes);
}

/* The kernel pads with zeros; a file handed to `redact` may hold anything there. */
static void what_hides_between_the_parts_of_a_head_goes(void **state) {
        _cleanup_scene_ struct scene s = one_thread();
        uint64_t gap;
        uint8_t after[16];

        (void)state;
        scene_make(&s);
        gap = s.b.head->notes_offset + s.b.head->notes_size + 5;
        assert_true(gap + 16 < s.b.head->size);
        memcpy(s.b.head->bytes + gap, "hidden\0treasure", 16);
        scene_run(&s, CONTENT_REDACT);
        memcpy(after, s.b.head->bytes + gap, sizeof(after));
        plan_apply(s.plan, gap, after, sizeof(after));
        assert_true(is_fill(after, gap, 15));
        assert_int_equal(after[15], 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(each_general_register_gets_its_fate),
                cmocka_unit_test(of_the_vector_state_only_its_header_stays),
                cmocka_unit_test(vector_state_of_any_size_is_erased),
                cmocka_unit_test(arguments_go_and_the_programs_name_stays),
                cmocka_unit_test(arguments_without_an_end_go_to_the_end),
                cmocka_unit_test(of_the_signal_its_kind_stays),
                cmocka_unit_test(what_nobody_knows_goes_whole),
                cmocka_unit_test(a_shadow_stack_pointer_is_a_register),
                cmocka_unit_test(files_and_the_auxiliary_vector_stay),
                cmocka_unit_test(redacted_notes_are_still_notes),
                cmocka_unit_test(what_hides_between_the_parts_of_a_head_goes),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
