/* malformed_core: heads that no kernel writes, as a table: shared by the unit tests of core/ and
 * by the tool that feeds them to the worker.
 *
 * Each case is the sound core of core_image.h with up to three fields overwritten, or cut short.
 */
#pragma once

#include <errno.h>

#include "tests/tools/core_image.h"

enum damage_place {
        DAMAGE_NONE,
        DAMAGE_EHDR,
        DAMAGE_PHDR, /* of segment `index` */
        DAMAGE_NOTE, /* the head of note `index` (enum image_note) */
        DAMAGE_DESC, /* its descriptor */
};

struct damage {
        enum damage_place place;
        unsigned index;
        size_t field; /* bytes from there */
        unsigned width;
        uint64_t value;
};

struct malformed_case {
        const char *name;
        int error; /* negative errno of core_head_read() or core_notes_parse() */
        struct damage damage[3];
        size_t cut; /* size left, when not 0 */
};

#define EHDR(member, value)                                                                        \
        { DAMAGE_EHDR, 0, offsetof(Elf64_Ehdr, member), sizeof(((Elf64_Ehdr *)0)->member), value }
#define PHDR(index, member, value)                                                                 \
        {                                                                                          \
                DAMAGE_PHDR, index, offsetof(Elf64_Phdr, member),                                  \
                        sizeof(((Elf64_Phdr *)0)->member), value                                   \
        }
#define NOTE(index, member, value)                                                                 \
        { DAMAGE_NOTE, index, offsetof(Elf64_Nhdr, member), 4, value }
#define DESC(index, field, width, value)                                                           \
        { DAMAGE_DESC, index, field, width, value }
#define IDENT(field, value)                                                                        \
        { DAMAGE_EHDR, 0, field, 1, value }

/* Of segment indices: see core_image.h. */
#define SEGMENT_NOTE 0
#define SEGMENT_TEXT 1
#define SEGMENT_HEAP 2
#define SEGMENT_STACK 3

#define TABLE_END(n) (sizeof(Elf64_Ehdr) + (n) * sizeof(Elf64_Phdr))

static const struct malformed_case malformed_cases[] = {
        /* ELF header */
        { "the magic is wrong", -EBADMSG, { IDENT(EI_MAG3, 'G') }, 0 },
        { "the class is 32 bits", -ENOTSUP, { IDENT(EI_CLASS, ELFCLASS32) }, 0 },
        { "the class is none", -ENOTSUP, { IDENT(EI_CLASS, ELFCLASSNONE) }, 0 },
        { "the byte order is big-endian", -ENOTSUP, { IDENT(EI_DATA, ELFDATA2MSB) }, 0 },
        { "the identification's version is unknown", -ENOTSUP, { IDENT(EI_VERSION, 2) }, 0 },
        { "the header's version is unknown", -ENOTSUP, { EHDR(e_version, 0) }, 0 },
        { "the type is an executable", -ENOTSUP, { EHDR(e_type, ET_EXEC) }, 0 },
        { "the machine is another", -ENOTSUP, { EHDR(e_machine, EM_AARCH64) }, 0 },
        { "the ELF header has no size", -EBADMSG, { EHDR(e_ehsize, 0) }, 0 },
        { "program headers have the size of 32 bits", -EBADMSG, { EHDR(e_phentsize, 32) }, 0 },
        { "there are no program headers", -EBADMSG, { EHDR(e_phnum, 0) }, 0 },
        { "program headers begin inside the ELF header", -EBADMSG, { EHDR(e_phoff, 0) }, 0 },
        { "program headers are not aligned", -EBADMSG, { EHDR(e_phoff, 65) }, 0 },
        { "program headers lie at the end of numbers", -E2BIG, { EHDR(e_phoff, ~7ULL) }, 0 },
        { "more program headers than the file holds", -ENODATA, { EHDR(e_phnum, 0xfffe) }, 0 },

        /* an extended count */
        { "the extended count is no whole number",
          -EBADMSG,
          { EHDR(e_phnum, PN_XNUM), PHDR(SEGMENT_NOTE, p_offset, TABLE_END(0x10000) + 8) },
          0 },
        { "the extended count would have fitted", -EBADMSG, { EHDR(e_phnum, PN_XNUM) }, 0 },
        { "the extended count is huge",
          -E2BIG,
          { EHDR(e_phnum, PN_XNUM), PHDR(SEGMENT_NOTE, p_offset, TABLE_END(1ULL << 40)) },
          0 },
        { "the extended count is negative",
          -EBADMSG,
          { EHDR(e_phnum, PN_XNUM), PHDR(SEGMENT_NOTE, p_offset, 8) },
          0 },
        { "the extended count has no note segment to be read from",
          -EBADMSG,
          { EHDR(e_phnum, PN_XNUM), PHDR(SEGMENT_NOTE, p_type, PT_LOAD),
            PHDR(SEGMENT_NOTE, p_offset, TABLE_END(0x10000)) },
          0 },
        { "the extended table is not there",
          -ENODATA,
          { EHDR(e_phnum, PN_XNUM), PHDR(SEGMENT_NOTE, p_offset, TABLE_END(0x10000)) },
          0 },

        /* program headers */
        { "there is no note segment",
          -EBADMSG,
          { PHDR(SEGMENT_NOTE, p_type, PT_LOAD), PHDR(SEGMENT_NOTE, p_filesz, 0) },
          0 },
        { "there are two note segments", -EBADMSG, { PHDR(SEGMENT_TEXT, p_type, PT_NOTE) }, 0 },
        { "a segment is of another type", -EBADMSG, { PHDR(SEGMENT_TEXT, p_type, PT_DYNAMIC) }, 0 },
        { "a segment is of type none", -EBADMSG, { PHDR(SEGMENT_TEXT, p_type, PT_NULL) }, 0 },
        { "the notes lie inside the table", -EBADMSG, { PHDR(SEGMENT_NOTE, p_offset, 64) }, 0 },
        { "the notes are huge", -E2BIG, { PHDR(SEGMENT_NOTE, p_filesz, 1ULL << 40) }, 0 },
        { "the notes lie far behind", -E2BIG, { PHDR(SEGMENT_NOTE, p_offset, 1ULL << 62) }, 0 },
        { "the notes' end overflows", -E2BIG, { PHDR(SEGMENT_NOTE, p_offset, ~7ULL) }, 0 },
        { "the notes reach into memory",
          -EBADMSG,
          { PHDR(SEGMENT_NOTE, p_filesz, IMAGE_MEMORY) },
          0 },
        { "the notes lie behind memory",
          -ENOTSUP,
          { PHDR(SEGMENT_NOTE, p_offset, IMAGE_SIZE) },
          0 },
        { "memory begins inside the notes", -EBADMSG, { PHDR(SEGMENT_TEXT, p_offset, 1024) }, 0 },
        { "memory begins inside the ELF header", -EBADMSG, { PHDR(SEGMENT_TEXT, p_offset, 0) }, 0 },
        { "memory begins far behind",
          -E2BIG,
          { PHDR(SEGMENT_TEXT, p_offset, 1ULL << 32),
            PHDR(SEGMENT_HEAP, p_offset, (1ULL << 32) + IMAGE_PAGE),
            PHDR(SEGMENT_STACK, p_offset, (1ULL << 32) + 2ULL * IMAGE_PAGE) },
          0 },
        { "a segment has more in the file than in memory",
          -EBADMSG,
          { PHDR(SEGMENT_HEAP, p_memsz, IMAGE_PAGE - 1) },
          0 },
        { "a segment with bytes is nowhere in memory",
          -EBADMSG,
          { PHDR(SEGMENT_HEAP, p_memsz, 0) },
          0 },
        { "a segment runs past the end of memory",
          -EBADMSG,
          { PHDR(SEGMENT_STACK, p_vaddr, ~0xfffULL), PHDR(SEGMENT_STACK, p_memsz, 0x2000) },
          0 },
        { "a segment's end in the file overflows",
          -EBADMSG,
          { PHDR(SEGMENT_STACK, p_offset, ~0xfffULL) },
          0 },
        { "a segment is larger than any file",
          -EBADMSG,
          { PHDR(SEGMENT_STACK, p_filesz, 1ULL << 63), PHDR(SEGMENT_STACK, p_memsz, 1ULL << 63) },
          0 },
        { "a segment is out of phase with its address",
          -EBADMSG,
          { PHDR(SEGMENT_HEAP, p_vaddr, IMAGE_HEAP + 4) },
          0 },
        { "segments overlap in the file",
          -EBADMSG,
          { PHDR(SEGMENT_HEAP, p_offset, IMAGE_MEMORY + 8) },
          0 },
        { "segments lie in the file in reverse",
          -EBADMSG,
          { PHDR(SEGMENT_TEXT, p_offset, IMAGE_MEMORY + IMAGE_PAGE),
            PHDR(SEGMENT_HEAP, p_offset, IMAGE_MEMORY) },
          0 },
        { "segments overlap in memory",
          -EBADMSG,
          { PHDR(SEGMENT_HEAP, p_vaddr, IMAGE_TEXT + 8) },
          0 },
        { "an empty segment spans the others in memory",
          -EBADMSG,
          { PHDR(SEGMENT_TEXT, p_filesz, 0), PHDR(SEGMENT_TEXT, p_vaddr, 0),
            PHDR(SEGMENT_TEXT, p_memsz, 1ULL << 47) },
          0 },

        /* notes */
        { "a note's name is huge", -EBADMSG, { NOTE(IMAGE_SPARE, n_namesz, 0xffffffff) }, 0 },
        { "a note's name is huge once padded",
          -EBADMSG,
          { NOTE(IMAGE_SPARE, n_namesz, 0xfffffffd) },
          0 },
        { "a note is huge", -EBADMSG, { NOTE(IMAGE_SPARE, n_descsz, 0xffffffff) }, 0 },
        { "a note is huge once padded", -EBADMSG, { NOTE(IMAGE_SPARE, n_descsz, 0xfffffffd) }, 0 },
        { "the last note is one byte too long", -EBADMSG, { NOTE(IMAGE_SPARE, n_descsz, 9) }, 0 },
        { "a note swallows the next one's head",
          -EBADMSG,
          { NOTE(IMAGE_PRSTATUS, n_descsz, sizeof(struct elf_prstatus) + 8) },
          0 },
        { "the note segment is empty", -EBADMSG, { PHDR(SEGMENT_NOTE, p_filesz, 0) }, 0 },
        { "the note segment ends inside a note's head",
          -EBADMSG,
          { PHDR(SEGMENT_NOTE, p_filesz, 11) },
          0 },
        { "the note segment ends inside a note's name",
          -EBADMSG,
          { PHDR(SEGMENT_NOTE, p_filesz, 14) },
          0 },
        { "no note tells of a thread", -EBADMSG, { NOTE(IMAGE_PRSTATUS, n_type, 0x1234) }, 0 },
        { "a thread's note is short", -EBADMSG, { NOTE(IMAGE_SPARE, n_type, NT_PRSTATUS) }, 0 },
        { "the process's note is short",
          -EBADMSG,
          { NOTE(IMAGE_PRPSINFO, n_type, 0x1234), NOTE(IMAGE_SPARE, n_type, NT_PRPSINFO) },
          0 },
        { "the signal's note is short", -EBADMSG, { NOTE(IMAGE_SPARE, n_type, NT_SIGINFO) }, 0 },
        { "the auxiliary vector holds half an entry",
          -EBADMSG,
          { NOTE(IMAGE_AUXV, n_type, 0x1234), NOTE(IMAGE_SPARE, n_type, NT_AUXV) },
          0 },
        { "there are two auxiliary vectors",
          -EBADMSG,
          { NOTE(IMAGE_FPREGSET, n_type, NT_AUXV) },
          0 },
        { "there are two file notes", -EBADMSG, { NOTE(IMAGE_XSTATE, n_type, NT_FILE) }, 0 },
        { "the file note ends inside its head",
          -EBADMSG,
          { NOTE(IMAGE_FILE, n_type, 0x1234), NOTE(IMAGE_SPARE, n_type, NT_FILE) },
          0 },
        { "the file note counts 2^32 entries",
          -EBADMSG,
          { DESC(IMAGE_FILE, 0, 8, 1ULL << 32) },
          0 },
        { "the file note's count overflows",
          -EBADMSG,
          { DESC(IMAGE_FILE, 0, 8, 0xaaaaaaaaaaaaaabULL) },
          0 },
        { "the file note's last name has no end", -EBADMSG, { DESC(IMAGE_FILE, 79, 1, 'x') }, 0 },
        { "the file note has fewer names than entries",
          -EBADMSG,
          { DESC(IMAGE_FILE, 72, 1, 'x') },
          0 },
        { "a file's range is empty", -EBADMSG, { DESC(IMAGE_FILE, 24, 8, IMAGE_TEXT) }, 0 },
        { "files are out of order", -EBADMSG, { DESC(IMAGE_FILE, 40, 8, 0x1000) }, 0 },
        { "a file's offset overflows", -EBADMSG, { DESC(IMAGE_FILE, 32, 8, 1ULL << 60) }, 0 },

        /* cut short */
        { "nothing comes", -ENODATA, { { 0 } }, SIZE_MAX },
        { "the stream ends inside the ELF header", -ENODATA, { { 0 } }, 63 },
        { "the stream ends behind the ELF header", -ENODATA, { { 0 } }, 64 },
        { "the stream ends inside the table", -ENODATA, { { 0 } }, TABLE_END(2) + 1 },
        { "the stream ends inside the notes", -ENODATA, { { 0 } }, TABLE_END(4) + 100 },
        { "the stream ends in the padding", -ENODATA, { { 0 } }, IMAGE_MEMORY - 1 },
};

#define MALFORMED_CASES (sizeof(malformed_cases) / sizeof(malformed_cases[0]))

static inline void malformed_build(const struct malformed_case *c, struct core_image *im) {
        image_build(im);
        for (size_t i = 0; i < sizeof(c->damage) / sizeof(c->damage[0]); i++) {
                const struct damage *d = &c->damage[i];
                size_t at = d->field;

                if (d->place == DAMAGE_NONE)
                        continue;
                if (d->place == DAMAGE_PHDR)
                        at += TABLE_END(d->index);
                if (d->place == DAMAGE_NOTE)
                        at += im->note[d->index];
                if (d->place == DAMAGE_DESC)
                        at += im->desc[d->index];
                memcpy(im->bytes + at, &d->value, d->width); /* little-endian */
        }
        if (c->cut > 0)
                im->size = c->cut == SIZE_MAX ? 0 : c->cut;
}
