/* emitted_core: what a tool without knowledge of ours finds in a core that was written: sections
 * by libelf's structures, ranges from the note, and whether bytes are fill. */
#pragma once

#include <elf.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "sieve/erased_note.h"
#include "sieve/fill.h"

struct emitted {
        uint8_t *bytes;
        size_t size;
        Elf64_Ehdr ehdr;
        const Elf64_Shdr *sections;
        struct erased_note_head note;
        const struct erased_range *ranges;
};

/* Maps a plain core. */
static inline void emitted_open(struct emitted *e, int fd) {
        struct stat st;
        const Elf64_Shdr *s;
        const Elf64_Nhdr *note;

        assert_int_equal(fstat(fd, &st), 0);
        e->size = (size_t)st.st_size;
        e->bytes = mmap(NULL, e->size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
        assert_true(e->bytes != MAP_FAILED);
        memcpy(&e->ehdr, e->bytes, sizeof(e->ehdr));
        assert_int_equal(e->ehdr.e_shnum, 4);
        assert_int_equal(e->ehdr.e_shentsize, sizeof(Elf64_Shdr));
        assert_int_equal(e->ehdr.e_shoff % 8, 0);
        assert_int_equal(e->ehdr.e_shoff + 4 * sizeof(Elf64_Shdr), e->size);
        e->sections = (const Elf64_Shdr *)(e->bytes + e->ehdr.e_shoff);

        s = &e->sections[1];
        assert_string_equal((char *)e->bytes + e->sections[e->ehdr.e_shstrndx].sh_offset +
                                    s->sh_name,
                            ERASED_NOTE_SECTION);
        assert_int_equal(s->sh_type, SHT_NOTE);
        note = (const Elf64_Nhdr *)(e->bytes + s->sh_offset);
        assert_int_equal(note->n_type, ERASED_NOTE_TYPE);
        assert_int_equal(note->n_namesz, sizeof(ERASED_NOTE_OWNER));
        assert_memory_equal(note + 1, ERASED_NOTE_OWNER, sizeof(ERASED_NOTE_OWNER));
        assert_int_equal(s->sh_size, sizeof(*note) + 12 + note->n_descsz);
        memcpy(&e->note, (const uint8_t *)(note + 1) + 12, sizeof(e->note));
        assert_int_equal(e->note.version, ERASED_NOTE_VERSION);
        assert_int_equal(note->n_descsz,
                         sizeof(e->note) + e->note.n_ranges * sizeof(struct erased_range));
        e->ranges =
                (const struct erased_range *)((const uint8_t *)(note + 1) + 12 + sizeof(e->note));
}

static inline void emitted_close(struct emitted *e) {
        (void)munmap(e->bytes, e->size);
}

/* Bytes outside of the ranges are those of `raw`, but for the section fields of the ELF header;
 * bytes inside are fill. */
static inline void assert_exact(struct emitted *e, const uint8_t *raw, size_t size) {
        uint8_t *bytes = malloc(size);
        Elf64_Ehdr ehdr, was;

        assert_non_null(bytes);
        assert_true(e->size > size);
        memcpy(bytes, e->bytes, size);
        memcpy(&ehdr, bytes, sizeof(ehdr));
        memcpy(&was, raw, sizeof(was));
        ehdr.e_shoff = was.e_shoff;
        ehdr.e_shnum = was.e_shnum;
        ehdr.e_shentsize = was.e_shentsize;
        ehdr.e_shstrndx = was.e_shstrndx;
        memcpy(bytes, &ehdr, sizeof(ehdr));
        for (uint64_t i = 0; i < e->note.n_ranges; i++) {
                const struct erased_range *r = &e->ranges[i];

                assert_int_equal(r->reserved, 0);
                assert_true(r->offset < size && r->size <= size - r->offset);
                for (uint64_t j = r->offset; j < r->offset + r->size; j++)
                        assert_int_equal(bytes[j], FILL_WORD[j % FILL_SIZE]);
                memcpy(bytes + r->offset, raw + r->offset, r->size);
        }
        assert_memory_equal(bytes, raw, size);
        free(bytes);
}
