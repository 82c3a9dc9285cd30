/* A kept dump comes back byte for byte, and a damaged one does not come back at all. */
#include <elf.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <zstd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "keep/dump.h"
#include "sieve/erased_note.h"
#include "sieve/pack.h"

#define MIB (1U << 20)
#define HOLE (17U * MIB)
#define CORE_SIZE (2U * MIB + 17 + HOLE + 5)

DEFINE_CLEANUP(dump, struct dump, dump_close)
DEFINE_CLEANUP(pack, struct pack, pack_free)
#define _cleanup_dump_ _cleanup_(cleanup_dump)

static int empty_file(void) {
        int fd = memfd_create("dump", MFD_CLOEXEC);

        assert_true(fd >= 0);
        return fd;
}

static uint8_t *core_bytes(void) {
        uint8_t *core = calloc(1, CORE_SIZE);
        uint32_t x = 1;

        for (size_t i = 0; i < 2 * MIB + 17; i++) {
                x = x * 1664525 + 1013904223;
                core[i] = (uint8_t)(x >> 24);
        }
        memcpy(core + CORE_SIZE - 5, "tail!", 5);
        return core;
}

/* As the worker writes it. */
static int packed(const uint8_t *core) {
        _cleanup_(cleanup_pack) struct pack *pack = NULL;
        int fd = empty_file();
        uint64_t size;

        assert_int_equal(pack_new(fd, true, &pack), 0);
        assert_int_equal(pack_data(pack, core, MIB), 0);
        assert_int_equal(pack_data(pack, core + MIB, MIB), 0);
        assert_int_equal(pack_data(pack, core + 2 * MIB, 17), 0);
        assert_int_equal(pack_hole(pack, HOLE), 0);
        assert_int_equal(pack_data(pack, core + CORE_SIZE - 5, 5), 0);
        assert_int_equal(pack_finish(pack, &size), 0);
        assert_int_equal(size, CORE_SIZE);
        return fd;
}

static struct dump *opened(int fd) {
        struct dump *dump = NULL;

        assert_int_equal(dump_open(fd, &dump), 0);
        return dump;
}

static void a_dump_unpacks_to_its_core_with_its_holes(void **state) {
        _cleanup_free_ uint8_t *core = core_bytes(), *back = malloc(CORE_SIZE);
        _cleanup_close_ int fd = packed(core), out = empty_file();
        _cleanup_dump_ struct dump *dump = opened(fd);
        struct stat st;
        uint64_t size;

        (void)state;
        assert_int_equal(dump_unpack(dump, out, CORE_SIZE, &size), 0);
        assert_int_equal(size, CORE_SIZE);
        assert_int_equal(io_pread(out, back, CORE_SIZE, 0), CORE_SIZE);
        assert_memory_equal(back, core, CORE_SIZE);
        assert_int_equal(fstat(out, &st), 0);
        assert_int_equal(st.st_size, CORE_SIZE);
        assert_true((uint64_t)st.st_blocks * 512 < 4 * MIB);
}

static void a_hole_at_the_end_is_part_of_the_core(void **state) {
        _cleanup_(cleanup_pack) struct pack *pack = NULL;
        _cleanup_close_ int fd = empty_file(), out = empty_file();
        _cleanup_dump_ struct dump *dump = NULL;
        struct stat st;
        uint64_t size;

        (void)state;
        assert_int_equal(pack_new(fd, true, &pack), 0);
        assert_int_equal(pack_hole(pack, 12345), 0);
        assert_int_equal(pack_finish(pack, &size), 0);
        dump = opened(fd);
        assert_int_equal(dump_unpack(dump, out, size, &size), 0);
        assert_int_equal(fstat(out, &st), 0);
        assert_int_equal(st.st_size, 12345);
        assert_int_equal(st.st_blocks, 0);
}

static void a_core_longer_than_its_record_says_is_refused(void **state) {
        _cleanup_free_ uint8_t *core = core_bytes();
        _cleanup_close_ int fd = packed(core), out = empty_file();
        _cleanup_dump_ struct dump *dump = opened(fd);
        uint64_t size;

        (void)state;
        assert_int_equal(dump_unpack(dump, out, CORE_SIZE - 1, &size), -EFBIG);
        assert_int_equal(dump_unpack(dump, out, 0, &size), -EFBIG);
}

static void any_place_can_be_reached_by_skipping(void **state) {
        static const uint64_t places[] = { 0,
                                           1,
                                           MIB - 1,
                                           MIB,
                                           MIB + 1,
                                           2 * MIB + 16,
                                           2 * MIB + 17,
                                           2 * MIB + 17 + HOLE - 1,
                                           CORE_SIZE - 6,
                                           CORE_SIZE - 5,
                                           CORE_SIZE - 1 };
        _cleanup_free_ uint8_t *core = core_bytes();
        _cleanup_close_ int fd = packed(core);
        _cleanup_dump_ struct dump *dump = opened(fd);

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
                uint8_t bytes[64];
                size_t left = CORE_SIZE - places[i];
                size_t n = left < sizeof(bytes) ? left : sizeof(bytes);

                dump_rewind(dump);
                assert_int_equal(dump_skip(dump, places[i]), 0);
                assert_int_equal(dump_read(dump, bytes, sizeof(bytes)), n);
                assert_memory_equal(bytes, core + places[i], n);
        }
        dump_rewind(dump);
        assert_int_equal(dump_skip(dump, CORE_SIZE), 0);
        assert_int_equal(dump_skip(dump, 1), -ENODATA);
        dump_rewind(dump);
        assert_int_equal(dump_skip(dump, CORE_SIZE + 1), -ENODATA);
}

static void a_file_of_any_zstd_can_be_read(void **state) {
        _cleanup_free_ uint8_t *core = core_bytes(), *file = malloc(ZSTD_compressBound(CORE_SIZE));
        _cleanup_close_ int fd = empty_file(), out = empty_file();
        _cleanup_dump_ struct dump *dump = NULL;
        ZSTD_CCtx *zstd = ZSTD_createCCtx();
        ZSTD_inBuffer in = { core, CORE_SIZE, 0 };
        ZSTD_outBuffer to = { file, ZSTD_compressBound(CORE_SIZE), 0 };
        uint8_t byte;
        uint64_t size;

        (void)state;
        ZSTD_CCtx_setParameter(zstd, ZSTD_c_contentSizeFlag, 0); /* one frame of unknown size */
        while (ZSTD_compressStream2(zstd, &to, &in, ZSTD_e_end) != 0)
                ;
        ZSTD_freeCCtx(zstd);
        assert_int_equal(io_write(fd, file, to.pos), 0);
        dump = opened(fd);
        assert_int_equal(dump_unpack(dump, out, CORE_SIZE, &size), 0);
        assert_int_equal(size, CORE_SIZE);
        dump_rewind(dump);
        assert_int_equal(dump_skip(dump, CORE_SIZE - 5), 0);
        assert_int_equal(dump_read(dump, &byte, 1), 1);
        assert_int_equal(byte, 't');
}

static void a_cut_anywhere_is_no_end(void **state) {
        _cleanup_free_ uint8_t *core = core_bytes();
        _cleanup_close_ int fd = packed(core);
        off_t size = lseek(fd, 0, SEEK_END);

        (void)state;
        /* Every byte of the last frames, and steps before them. */
        for (off_t cut = size - 1; cut > 0; cut -= cut > size - 200 ? 1 : 200003) {
                _cleanup_close_ int out = empty_file();
                _cleanup_dump_ struct dump *dump = opened(fd);
                uint64_t n = 0;
                int r;

                assert_int_equal(ftruncate(fd, cut), 0);
                r = dump_unpack(dump, out, CORE_SIZE, &n);
                /* Between two frames a cut is not the file's to tell: the size in the record is. */
                assert_true(r == -EBADMSG || (r == 0 && n < CORE_SIZE));
        }
}

static void a_flipped_bit_is_found(void **state) {
        _cleanup_free_ uint8_t *core = core_bytes();
        _cleanup_close_ int fd = packed(core);
        off_t size = lseek(fd, 0, SEEK_END);

        (void)state;
        for (off_t at = 0; at<size; at += at> size - 100 ? 1 : 200003) {
                _cleanup_close_ int out = empty_file();
                _cleanup_dump_ struct dump *dump = opened(fd);
                uint64_t n = 0;
                uint8_t byte;
                int r;

                assert_int_equal(pread(fd, &byte, 1, at), 1);
                byte ^= 1;
                assert_int_equal(pwrite(fd, &byte, 1, at), 1);
                r = dump_unpack(dump, out, CORE_SIZE, &n);
                if (r == 0 && n == CORE_SIZE) {
                        _cleanup_free_ uint8_t *back = malloc(CORE_SIZE);

                        /* A bit that means nothing (a header's unused one) may flip. */
                        io_pread(out, back, CORE_SIZE, 0);
                        assert_memory_equal(back, core, CORE_SIZE);
                }
                byte ^= 1;
                assert_int_equal(pwrite(fd, &byte, 1, at), 1);
        }
}

/* --- the note --------------------------------------------------------------------------------- */

struct noted { /* a core of a head, a note, and its table */
        Elf64_Ehdr head;
        Elf64_Nhdr note;
        char owner[12];
        struct erased_note_head front;
        struct erased_range ranges[3];
        Elf64_Shdr sections[3];
};

static struct noted noted_new(void) {
        struct noted n = {
                .head.e_shoff = offsetof(struct noted, sections),
                .head.e_shentsize = sizeof(Elf64_Shdr),
                .head.e_shnum = 3,
                .note = { sizeof(ERASED_NOTE_OWNER), sizeof(n.front) + sizeof(n.ranges),
                          ERASED_NOTE_TYPE },
                .owner = ERASED_NOTE_OWNER,
                .front = { ERASED_NOTE_VERSION, CONTENT_STACKS, 3 },
                .ranges = { { 100, 16, REASON_NEEDLE, 0 },
                            { 200, 8, REASON_STACK, 0 },
                            { 300, 32, REASON_NEEDLE, 0 } },
                .sections = { { 0 },
                              /* the kernel's own notes come first: not ours */
                              { .sh_type = SHT_NOTE, .sh_offset = 0, .sh_size = sizeof(n.head) },
                              { .sh_type = SHT_NOTE,
                                .sh_offset = offsetof(struct noted, note),
                                .sh_size = offsetof(struct noted, sections) -
                                           offsetof(struct noted, note) } },
        };

        memcpy(n.head.e_ident, ELFMAG, SELFMAG);
        n.head.e_ident[EI_CLASS] = ELFCLASS64;
        return n;
}

static int erased_of(const void *bytes, size_t size, struct dump_erased *ret) {
        _cleanup_free_ uint8_t *file = malloc(ZSTD_compressBound(size));
        _cleanup_close_ int fd = empty_file();
        _cleanup_dump_ struct dump *dump = opened(fd);
        size_t n = ZSTD_compress(file, ZSTD_compressBound(size), bytes, size, 1);

        assert_int_equal(io_write(fd, file, n), 0);
        return dump_erased(dump, ret);
}

static void the_note_is_summed_up_by_reason(void **state) {
        struct noted n = noted_new();
        struct dump_erased erased;

        (void)state;
        assert_int_equal(erased_of(&n, sizeof(n), &erased), 0);
        assert_int_equal(erased.content, CONTENT_STACKS);
        assert_int_equal(erased.ranges[REASON_NEEDLE], 2);
        assert_int_equal(erased.bytes[REASON_NEEDLE], 48);
        assert_int_equal(erased.ranges[REASON_STACK], 1);
        assert_int_equal(erased.bytes[REASON_STACK], 8);
        n.ranges[1].reason = 4711;
        assert_int_equal(erased_of(&n, sizeof(n), &erased), 0);
        assert_int_equal(erased.bytes[0], 8);
}

static void a_note_that_lies_is_damaged_and_another_is_not_ours(void **state) {
        static const struct {
                size_t field, size;
                uint64_t value;
                int r;
        } cases[] = {
#define FIELD(member, value, r)                                                                    \
        { offsetof(struct noted, member), sizeof(((struct noted *)0)->member), value, r }
                FIELD(head.e_ident[EI_MAG0], 0, -EBADMSG),
                FIELD(head.e_ident[EI_CLASS], ELFCLASS32, -EBADMSG),
                FIELD(head.e_shoff, 0, -ENODATA),
                FIELD(head.e_shoff, sizeof(struct noted), -EBADMSG),
                FIELD(head.e_shoff, UINT64_MAX, -EBADMSG),
                FIELD(head.e_shnum, 0, -ENODATA),
                FIELD(head.e_shnum, 4, -EBADMSG),
                FIELD(head.e_shnum, 17, -EBADMSG),
                FIELD(head.e_shnum, 65535, -EBADMSG),
                FIELD(head.e_shentsize, 63, -EBADMSG),
                FIELD(note.n_type, 1, -ENODATA),
                FIELD(note.n_namesz, 9, -ENODATA),
                FIELD(owner[0], 'C', -ENODATA),
                FIELD(front.version, 2, -EBADMSG),
                FIELD(front.n_ranges, 2, -EBADMSG),
                FIELD(front.n_ranges, 4, -EBADMSG),
                FIELD(front.n_ranges, UINT64_MAX, -EBADMSG),
                FIELD(sections[2].sh_type, SHT_PROGBITS, -ENODATA),
                FIELD(sections[2].sh_size, 8, -ENODATA),
                FIELD(sections[2].sh_size, UINT64_MAX, -EBADMSG),
                FIELD(sections[2].sh_offset, sizeof(struct noted) - 8, -EBADMSG),
                FIELD(sections[1].sh_offset, UINT64_MAX, -EBADMSG),
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                struct noted n = noted_new();
                struct dump_erased erased;

                memcpy((uint8_t *)&n + cases[i].field, &cases[i].value, cases[i].size);
                if (erased_of(&n, sizeof(n), &erased) != cases[i].r)
                        fail_msg("case %zu", i);
        }
}

static void a_note_cut_anywhere_is_damaged(void **state) {
        struct noted n = noted_new();
        struct dump_erased erased;

        (void)state;
        for (size_t cut = 0; cut < sizeof(n); cut++)
                assert_int_equal(erased_of(&n, cut, &erased), -EBADMSG);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_dump_unpacks_to_its_core_with_its_holes),
                cmocka_unit_test(a_hole_at_the_end_is_part_of_the_core),
                cmocka_unit_test(a_core_longer_than_its_record_says_is_refused),
                cmocka_unit_test(any_place_can_be_reached_by_skipping),
                cmocka_unit_test(a_file_of_any_zstd_can_be_read),
                cmocka_unit_test(a_cut_anywhere_is_no_end),
                cmocka_unit_test(a_flipped_bit_is_found),
                cmocka_unit_test(the_note_is_summed_up_by_reason),
                cmocka_unit_test(a_note_that_lies_is_damaged_and_another_is_not_ours),
                cmocka_unit_test(a_note_cut_anywhere_is_damaged),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
