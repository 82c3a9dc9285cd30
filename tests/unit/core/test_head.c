/* The head is read to its last byte and no further, and nothing malformed gets past it. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "core/head.h"
#include "core/note.h"
#include "tests/tools/malformed_core.h"

DEFINE_CLEANUP(head, struct core_head, core_head_free)
DEFINE_CLEANUP(notes, struct core_notes, core_notes_free)

static int file_of(const void *bytes, size_t size) {
        int fd = memfd_create("core", MFD_CLOEXEC);

        assert_true(fd >= 0);
        assert_int_equal(io_write(fd, bytes, size), 0);
        assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
        return fd;
}

/* Head and notes, as the worker takes them. */
static int read_all(const void *bytes, size_t size, struct core_fault *ret_fault) {
        _cleanup_close_ int fd = file_of(bytes, size);
        _cleanup_(cleanup_head) struct core_head *head = NULL;
        _cleanup_(cleanup_notes) struct core_notes *notes = NULL;
        int r;

        r = core_head_read(fd, &head, ret_fault);
        if (r < 0)
                return r;
        return core_notes_parse(head, head->bytes, &notes, ret_fault);
}

static void a_sound_core_is_read_whole(void **state) {
        _cleanup_(cleanup_head) struct core_head *head = NULL;
        _cleanup_close_ int fd = -1;
        struct core_fault fault;
        struct core_image im;
        uint64_t offset;

        (void)state;
        image_build(&im);
        fd = file_of(im.bytes, im.size);
        assert_int_equal(core_head_read(fd, &head, &fault), 0);
        assert_int_equal(head->size, IMAGE_MEMORY);
        assert_memory_equal(head->bytes, im.bytes, IMAGE_MEMORY);
        assert_int_equal(head->n_segments, IMAGE_SEGMENTS);
        assert_int_equal(head->n_by_address, IMAGE_SEGMENTS - 1);
        assert_int_equal(head->notes_offset, TABLE_END(IMAGE_SEGMENTS));
        assert_int_equal(head->notes_size, im.notes_end - TABLE_END(IMAGE_SEGMENTS));
        assert_int_equal(head->end, IMAGE_SIZE);
        assert_false(head->many);
        assert_int_equal(head->segments[SEGMENT_TEXT].flags, PF_R | PF_X);

        assert_null(core_segment_at(head, IMAGE_TEXT - 1));
        assert_ptr_equal(core_segment_at(head, IMAGE_TEXT), &head->segments[SEGMENT_TEXT]);
        assert_ptr_equal(core_segment_at(head, IMAGE_HEAP + IMAGE_PAGE - 1),
                         &head->segments[SEGMENT_HEAP]);
        assert_null(core_segment_at(head, IMAGE_HEAP + IMAGE_PAGE));
        assert_null(core_segment_at(head, UINT64_MAX));
        assert_true(core_offset_of(head, IMAGE_STACK + 8, &offset));
        assert_int_equal(offset, IMAGE_MEMORY + 2 * IMAGE_PAGE + 8);
        assert_false(core_offset_of(head, IMAGE_STACK - 1, &offset));
}

static void an_address_behind_the_dumped_part_has_no_offset(void **state) {
        _cleanup_(cleanup_head) struct core_head *head = NULL;
        _cleanup_close_ int fd = -1;
        struct core_fault fault;
        struct core_image im;
        Elf64_Phdr load;
        uint64_t offset;

        (void)state;
        image_build(&im);
        memcpy(&load, im.bytes + TABLE_END(SEGMENT_STACK), sizeof(load));
        load.p_memsz = 16ULL * IMAGE_PAGE;
        memcpy(im.bytes + TABLE_END(SEGMENT_STACK), &load, sizeof(load));
        fd = file_of(im.bytes, im.size);
        assert_int_equal(core_head_read(fd, &head, &fault), 0);
        assert_non_null(core_segment_at(head, IMAGE_STACK + 2 * IMAGE_PAGE));
        assert_true(core_offset_of(head, IMAGE_STACK + IMAGE_PAGE - 1, &offset));
        assert_false(core_offset_of(head, IMAGE_STACK + IMAGE_PAGE, &offset));
}

/* One byte too many would take memory out of the pipe, and let the process go on dying. */
static void not_one_byte_of_memory_is_taken_from_the_pipe(void **state) {
        _cleanup_(cleanup_head) struct core_head *head = NULL;
        _cleanup_close_ int in = -1, out = -1;
        struct core_fault fault;
        struct core_image im;
        uint8_t next[IMAGE_PAGE];
        int ends[2];

        (void)state;
        image_build(&im);
        memset(im.bytes + IMAGE_MEMORY, 'M', IMAGE_PAGE);
        assert_int_equal(pipe(ends), 0);
        in = ends[0];
        out = ends[1];
        assert_int_equal(io_write(out, im.bytes, im.size), 0);
        assert_int_equal(core_head_read(in, &head, &fault), 0);
        assert_int_equal(io_read(in, next, sizeof(next)), sizeof(next));
        assert_memory_equal(next, im.bytes + IMAGE_MEMORY, sizeof(next));
}

static void a_core_without_memory_ends_with_its_notes(void **state) {
        _cleanup_(cleanup_head) struct core_head *head = NULL;
        _cleanup_close_ int fd = -1;
        struct core_fault fault;
        struct core_image im;
        Elf64_Ehdr ehdr;

        (void)state;
        image_build(&im);
        memcpy(&ehdr, im.bytes, sizeof(ehdr));
        ehdr.e_phnum = 1;
        memcpy(im.bytes, &ehdr, sizeof(ehdr));
        fd = file_of(im.bytes, im.notes_end);
        assert_int_equal(core_head_read(fd, &head, &fault), 0);
        assert_int_equal(head->size, im.notes_end);
        assert_int_equal(head->end, im.notes_end);
        assert_int_equal(head->n_by_address, 0);
        assert_null(core_segment_at(head, IMAGE_TEXT));
}

static void a_head_cut_at_any_byte_is_cut(void **state) {
        struct core_image im;

        (void)state;
        image_build(&im);
        for (size_t n = 0; n < IMAGE_MEMORY; n++) {
                struct core_fault fault = { 0 };

                assert_int_equal(read_all(im.bytes, n, &fault), -ENODATA);
                assert_int_equal(fault.offset, n);
                assert_non_null(fault.what);
        }
        assert_int_equal(read_all(im.bytes, IMAGE_MEMORY, &(struct core_fault){ 0 }), 0);
}

static void each_malformed_head_is_refused_with_its_reason(void **state) {
        (void)state;
        for (size_t i = 0; i < MALFORMED_CASES; i++) {
                struct core_fault fault = { .offset = UINT64_MAX };
                struct core_image im;
                int r;

                malformed_build(&malformed_cases[i], &im);
                r = read_all(im.bytes, im.size, &fault);
                if (r != malformed_cases[i].error || !fault.what)
                        fail_msg("%s: %d (%s), not %d", malformed_cases[i].name, r, fault.what,
                                 malformed_cases[i].error);
                assert_true(fault.offset < UINT64_MAX);
        }
}

/* Any single byte of the head damaged: an answer, and ASan has nothing to say. */
static void no_damaged_byte_breaks_the_reader(void **state) {
        struct core_image im;

        (void)state;
        image_build(&im);
        for (size_t at = 0; at < im.notes_end; at++)
                for (unsigned bit = 0; bit < 8; bit += 7) {
                        struct core_fault fault;

                        im.bytes[at] ^= 1U << bit;
                        (void)read_all(im.bytes, im.size, &fault);
                        im.bytes[at] ^= 1U << bit;
                }
}

/* A head of `n` segments as the kernel writes it: e_phnum says PN_XNUM, the note segment's
 * offset tells; segment i lies at page i and holds no bytes. */
static uint8_t *many_segments(size_t n, size_t *ret_size) {
        size_t size = TABLE_END(n) + 12 + 8 + sizeof(struct elf_prstatus);
        struct core_image *im = malloc(sizeof(*im));
        uint8_t *bytes = calloc(1, size);
        Elf64_Ehdr ehdr;
        Elf64_Phdr note = { .p_type = PT_NOTE,
                            .p_offset = TABLE_END(n),
                            .p_filesz = size - TABLE_END(n) };

        assert_non_null(im);
        assert_non_null(bytes);
        image_build(im);
        memcpy(&ehdr, im->bytes, sizeof(ehdr));
        ehdr.e_phnum = PN_XNUM;
        ehdr.e_shnum = 1;
        ehdr.e_shentsize = sizeof(Elf64_Shdr);
        ehdr.e_shoff = size;
        memcpy(bytes, &ehdr, sizeof(ehdr));
        memcpy(bytes + TABLE_END(0), &note, sizeof(note));
        for (size_t i = 1; i < n; i++) {
                Elf64_Phdr load = { .p_type = PT_LOAD,
                                    .p_vaddr = i * IMAGE_PAGE,
                                    .p_memsz = IMAGE_PAGE / 2 };

                memcpy(bytes + TABLE_END(i), &load, sizeof(load));
        }
        memcpy(bytes + TABLE_END(n), im->bytes + im->note[IMAGE_PRSTATUS], size - TABLE_END(n));
        free(im);
        *ret_size = size;
        return bytes;
}

static void more_segments_than_e_phnum_holds_are_counted(void **state) {
        static const size_t counts[] = { PN_XNUM, PN_XNUM + 1, 70022, CORE_SEGMENTS_MAX };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
                _cleanup_(cleanup_head) struct core_head *head = NULL;
                _cleanup_free_ uint8_t *bytes = NULL;
                _cleanup_close_ int fd = -1;
                struct core_fault fault;
                size_t size;

                bytes = many_segments(counts[i], &size);
                fd = file_of(bytes, size);
                assert_int_equal(core_head_read(fd, &head, &fault), 0);
                assert_true(head->many);
                assert_int_equal(head->n_segments, counts[i]);
                assert_ptr_equal(core_segment_at(head, (counts[i] - 1) * IMAGE_PAGE),
                                 &head->segments[counts[i] - 1]);
                assert_null(core_segment_at(head, 5 * IMAGE_PAGE + IMAGE_PAGE / 2));
        }
}

static void one_segment_over_the_limit_is_too_many(void **state) {
        _cleanup_free_ uint8_t *bytes = NULL;
        struct core_fault fault;
        size_t size;

        (void)state;
        bytes = many_segments(CORE_SEGMENTS_MAX + 1, &size);
        assert_int_equal(read_all(bytes, size, &fault), -E2BIG);
}

static void a_section_header_inside_memory_is_malformed(void **state) {
        _cleanup_free_ uint8_t *bytes = NULL;
        struct core_fault fault;
        Elf64_Ehdr ehdr;
        size_t size;

        (void)state;
        bytes = many_segments(PN_XNUM, &size);
        memcpy(&ehdr, bytes, sizeof(ehdr));
        ehdr.e_shoff = size - 1;
        memcpy(bytes, &ehdr, sizeof(ehdr));
        assert_int_equal(read_all(bytes, size, &fault), -EBADMSG);
}

/* Sets one field of the sound core's note segment and says what becomes of it. */
static int with_notes(uint64_t offset, uint64_t size, struct core_fault *fault) {
        _cleanup_free_ struct core_image *im = malloc(sizeof(*im));
        Elf64_Phdr note;

        assert_non_null(im);
        image_build(im);
        memcpy(&note, im->bytes + TABLE_END(0), sizeof(note));
        note.p_offset = offset;
        note.p_filesz = size;
        memcpy(im->bytes + TABLE_END(0), &note, sizeof(note));
        for (size_t i = 1; i < IMAGE_SEGMENTS; i++) {
                Elf64_Phdr load;

                memcpy(&load, im->bytes + TABLE_END(i), sizeof(load));
                load.p_filesz = 0;
                memcpy(im->bytes + TABLE_END(i), &load, sizeof(load));
        }
        return read_all(im->bytes, im->size, fault);
}

static void notes_at_their_limits_are_asked_for_and_no_more(void **state) {
        struct core_fault fault;

        (void)state;
        assert_int_equal(with_notes(TABLE_END(4), CORE_NOTES_MAX, &fault), -ENODATA);
        assert_int_equal(with_notes(TABLE_END(4), CORE_NOTES_MAX + 1ULL, &fault), -E2BIG);
        assert_int_equal(with_notes(CORE_HEAD_MAX - 8, 8, &fault), -ENODATA);
        assert_int_equal(with_notes(CORE_HEAD_MAX - 8, 9, &fault), -E2BIG);
}

static void a_descriptor_that_cannot_be_read_is_an_error(void **state) {
        struct core_head *head = NULL;
        struct core_fault fault;

        (void)state;
        assert_int_equal(core_head_read(-1, &head, &fault), -EBADF);
        assert_null(head);
        core_head_free(NULL);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_sound_core_is_read_whole),
                cmocka_unit_test(an_address_behind_the_dumped_part_has_no_offset),
                cmocka_unit_test(not_one_byte_of_memory_is_taken_from_the_pipe),
                cmocka_unit_test(a_core_without_memory_ends_with_its_notes),
                cmocka_unit_test(a_head_cut_at_any_byte_is_cut),
                cmocka_unit_test(each_malformed_head_is_refused_with_its_reason),
                cmocka_unit_test(no_damaged_byte_breaks_the_reader),
                cmocka_unit_test(more_segments_than_e_phnum_holds_are_counted),
                cmocka_unit_test(one_segment_over_the_limit_is_too_many),
                cmocka_unit_test(a_section_header_inside_memory_is_malformed),
                cmocka_unit_test(notes_at_their_limits_are_asked_for_and_no_more),
                cmocka_unit_test(a_descriptor_that_cannot_be_read_is_an_error),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
