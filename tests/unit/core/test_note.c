/* Notes are found where they are, believed in nothing, and parsed alike once redacted. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "core/note.h"
#include "tests/tools/core_image.h"

DEFINE_CLEANUP(notes, struct core_notes, core_notes_free)

#define NOTE_HEAD (sizeof(Elf64_Nhdr) + 8) /* with the name "CORE" */

/* A head whose bytes are a note segment at 0 and nothing else. */
static int parse(const uint8_t *bytes, size_t offset, size_t size, struct core_notes **ret,
                 struct core_fault *fault) {
        const struct core_head head = { .notes_offset = offset, .notes_size = size };

        return core_notes_parse(&head, bytes, ret, fault);
}

static int parse_image(const struct core_image *im, struct core_notes **ret) {
        size_t at = im->note[IMAGE_PRSTATUS];
        struct core_fault fault;

        return parse(im->bytes, at, im->notes_end - at, ret, &fault);
}

static void every_note_of_a_sound_core_is_found(void **state) {
        _cleanup_(cleanup_notes) struct core_notes *notes = NULL;
        struct core_image im;

        (void)state;
        image_build(&im);
        assert_int_equal(parse_image(&im, &notes), 0);
        assert_int_equal(notes->n_notes, _IMAGE_NOTE_MAX);
        for (size_t i = 0; i < _IMAGE_NOTE_MAX; i++) {
                assert_int_equal(notes->notes[i].offset, im.desc[i]);
                assert_ptr_equal(notes->notes[i].desc, im.bytes + im.desc[i]);
                assert_true(notes->notes[i].is_core);
        }
        assert_int_equal(notes->n_threads, 1);
        assert_int_equal(notes->threads[0].tid, IMAGE_TID);
        assert_int_equal(notes->threads[0].regs.rsp, IMAGE_STACK + 256);
        assert_int_equal(notes->threads[0].regs_offset, im.desc[IMAGE_PRSTATUS] + 112);
        assert_int_equal(notes->pid, IMAGE_TID);
        assert_int_equal(notes->signal, 11);
        assert_int_equal(core_auxv(notes, AT_ENTRY), IMAGE_TEXT);
        assert_int_equal(core_auxv(notes, AT_RANDOM), 0);
}

static void files_are_found_by_address(void **state) {
        _cleanup_(cleanup_notes) struct core_notes *notes = NULL;
        struct core_image im;

        (void)state;
        image_build(&im);
        assert_int_equal(parse_image(&im, &notes), 0);
        assert_true(notes->has_files);
        assert_int_equal(notes->n_files, 2);
        assert_string_equal(core_file_at(notes, IMAGE_TEXT)->name, "/bin/one");
        assert_string_equal(core_file_at(notes, IMAGE_HEAP + IMAGE_PAGE - 1)->name, "/lib/2");
        assert_int_equal(notes->files[1].file_offset, IMAGE_PAGE);
        assert_null(core_file_at(notes, IMAGE_TEXT - 1));
        assert_null(core_file_at(notes, IMAGE_TEXT + IMAGE_PAGE));
        assert_int_equal(notes->names_offset, im.desc[IMAGE_FILE] + 64);
        assert_int_equal(notes->names_size, 16);
}

static void a_core_without_a_file_note_says_so(void **state) {
        _cleanup_(cleanup_notes) struct core_notes *notes = NULL;
        struct core_image im;
        uint32_t type = 0x1234;

        (void)state;
        image_build(&im);
        image_put(&im, im.note[IMAGE_FILE] + offsetof(Elf64_Nhdr, n_type), &type, sizeof(type));
        assert_int_equal(parse_image(&im, &notes), 0);
        assert_false(notes->has_files);
        assert_int_equal(notes->n_files, 0);
        assert_null(core_file_at(notes, IMAGE_TEXT));
}

/* Numbers are given out per owner: a stranger's type 1 is no thread. */
static void a_strangers_note_is_not_taken_for_the_kernels(void **state) {
        _cleanup_(cleanup_notes) struct core_notes *notes = NULL;
        struct core_image im;

        (void)state;
        image_build(&im);
        im.bytes[im.note[IMAGE_PRPSINFO] + sizeof(Elf64_Nhdr)] = 'X';
        assert_int_equal(parse_image(&im, &notes), 0);
        assert_false(notes->notes[IMAGE_PRPSINFO].is_core);
        assert_int_equal(notes->pid, 0);
}

static void the_auxiliary_vector_ends_at_its_null_entry(void **state) {
        _cleanup_(cleanup_notes) struct core_notes *notes = NULL;
        struct core_image im;

        (void)state;
        image_build(&im);
        image_put_u64(&im, im.desc[IMAGE_AUXV] + 16, AT_NULL);
        assert_int_equal(parse_image(&im, &notes), 0);
        assert_int_equal(core_auxv(notes, AT_PAGESZ), IMAGE_PAGE);
        assert_int_equal(core_auxv(notes, AT_ENTRY), 0);
}

static void the_last_note_may_lack_its_padding(void **state) {
        _cleanup_(cleanup_notes) struct core_notes *notes = NULL;
        struct core_image im;
        uint32_t size = 7;
        size_t at;

        (void)state;
        image_build(&im);
        at = im.note[IMAGE_PRSTATUS];
        image_put(&im, im.note[IMAGE_SPARE] + offsetof(Elf64_Nhdr, n_descsz), &size, sizeof(size));
        assert_int_equal(
                parse(im.bytes, at, im.notes_end - 1 - at, &notes, &(struct core_fault){ 0 }), 0);
        assert_int_equal(notes->notes[IMAGE_SPARE].size, 7);
}

static void notes_cut_at_any_byte_never_run_over(void **state) {
        _cleanup_free_ uint8_t *bytes = NULL;
        struct core_image im;
        size_t at, size;

        (void)state;
        image_build(&im);
        at = im.note[IMAGE_PRSTATUS];
        size = im.notes_end - at;
        for (size_t n = 0; n < size; n++) {
                _cleanup_(cleanup_notes) struct core_notes *notes = NULL;
                struct core_fault fault = { 0 };

                /* Exactly as long as it may be: ASan sees the first byte too many. */
                free(bytes);
                bytes = malloc(n ? n : 1);
                assert_non_null(bytes);
                memcpy(bytes, im.bytes + at, n);
                if (parse(bytes, 0, n, &notes, &fault) < 0) {
                        assert_non_null(fault.what);
                        assert_true(fault.offset <= n);
                }
        }
}

static uint8_t *repeat_note(size_t n, uint32_t type, uint32_t desc_size, size_t *ret_size) {
        size_t each = NOTE_HEAD + desc_size;
        const Elf64_Nhdr note = { .n_namesz = 5, .n_descsz = desc_size, .n_type = type };
        uint8_t *bytes = calloc(n, each);

        assert_non_null(bytes);
        for (size_t i = 0; i < n; i++) {
                memcpy(bytes + i * each, &note, sizeof(note));
                memcpy(bytes + i * each + sizeof(note), "CORE", 5);
        }
        *ret_size = n * each;
        return bytes;
}

static void threads_are_counted_up_to_their_limit(void **state) {
        static const struct {
                size_t n;
                int expected;
        } cases[] = { { CORE_THREADS_MAX, 0 }, { CORE_THREADS_MAX + 1, -E2BIG } };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                _cleanup_(cleanup_notes) struct core_notes *notes = NULL;
                _cleanup_free_ uint8_t *bytes = NULL;
                struct core_fault fault;
                size_t size;

                bytes = repeat_note(cases[i].n, NT_PRSTATUS, sizeof(struct elf_prstatus), &size);
                assert_int_equal(parse(bytes, 0, size, &notes, &fault), cases[i].expected);
                if (notes)
                        assert_int_equal(notes->n_threads, CORE_THREADS_MAX);
        }
}

static void notes_are_counted_up_to_their_limit(void **state) {
        static const struct {
                size_t n;
                int expected;
        } cases[] = { { CORE_NOTE_COUNT_MAX, -EBADMSG /* no thread */ },
                      { CORE_NOTE_COUNT_MAX + 1, -E2BIG } };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                _cleanup_(cleanup_notes) struct core_notes *notes = NULL;
                _cleanup_free_ uint8_t *bytes = NULL;
                struct core_fault fault;
                size_t size;

                bytes = repeat_note(cases[i].n, 0x999, 0, &size);
                assert_int_equal(parse(bytes, 0, size, &notes, &fault), cases[i].expected);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(every_note_of_a_sound_core_is_found),
                cmocka_unit_test(files_are_found_by_address),
                cmocka_unit_test(a_core_without_a_file_note_says_so),
                cmocka_unit_test(a_strangers_note_is_not_taken_for_the_kernels),
                cmocka_unit_test(the_auxiliary_vector_ends_at_its_null_entry),
                cmocka_unit_test(the_last_note_may_lack_its_padding),
                cmocka_unit_test(notes_cut_at_any_byte_never_run_over),
                cmocka_unit_test(threads_are_counted_up_to_their_limit),
                cmocka_unit_test(notes_are_counted_up_to_their_limit),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
