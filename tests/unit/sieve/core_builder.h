/* core_builder: sound core files of any shape, sparse, in memory.
 *
 * Laid out as the kernel does it: ELF header, program headers, notes (one thread, auxv, NT_FILE),
 * padding to a page, memory; with more segments than e_phnum holds also the section header that
 * counts them. Whatever a test does not write is a hole.
 */
#pragma once

#include <elf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/procfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "core/head.h"
#include "core/note.h"
#include "secret/needle_add.h"
#include "sieve/source.h"

#define BUILDER_PAGE 4096U
#define BUILDER_TID 4242

struct builder_segment {
        uint64_t address;
        uint64_t file_size;
        uint64_t memory_size; /* 0: as file_size */
        uint32_t flags;       /* 0: PF_R | PF_W */
        bool no_access;       /* flags are really 0 */
        const char *file;     /* NT_FILE names it */
};

struct builder_bytes {
        uint8_t *bytes;
        size_t size;
};

struct builder {
        int fd;
        struct core_head *head;
        struct core_notes *notes;
        struct source *source;
        /* what the thread's registers and auxv say */
        uint64_t rsp, rip, vdso;
        bool no_files;                         /* NT_FILE is missing */
        const struct builder_bytes *own_notes; /* instead of all of these; borrowed */
};

static inline void builder_done(struct builder *b) {
        source_free(b->source);
        core_notes_free(b->notes);
        core_head_free(b->head);
        if (b->fd >= 0)
                (void)close(b->fd);
}
#define _cleanup_builder_ _cleanup_(builder_done)

static inline void builder_put(struct builder_bytes *to, const void *from, size_t n) {
        to->bytes = realloc(to->bytes, to->size + n);
        if (!to->bytes)
                abort();
        if (n > 0)
                memcpy(to->bytes + to->size, from, n);
        to->size += n;
}

static inline void builder_note(struct builder_bytes *to, uint32_t type, const void *desc,
                                size_t n) {
        static const uint8_t zeros[4];
        Elf64_Nhdr head = { .n_namesz = 5, .n_descsz = (uint32_t)n, .n_type = type };

        builder_put(to, &head, sizeof(head));
        builder_put(to, "CORE\0\0\0", 8);
        builder_put(to, desc, n);
        builder_put(to, zeros, (4 - n % 4) % 4);
}

static inline void builder_file_note(struct builder_bytes *to,
                                     const struct builder_segment *segments, size_t n) {
        struct builder_bytes desc = { 0 };
        uint64_t front[2] = { 0, BUILDER_PAGE };

        for (size_t i = 0; i < n; i++)
                front[0] += segments[i].file != NULL;
        builder_put(&desc, front, sizeof(front));
        for (size_t i = 0; i < n; i++) {
                uint64_t size =
                        segments[i].memory_size ? segments[i].memory_size : segments[i].file_size;
                uint64_t entry[3] = { segments[i].address, segments[i].address + size, 0 };

                if (segments[i].file)
                        builder_put(&desc, entry, sizeof(entry));
        }
        for (size_t i = 0; i < n; i++)
                if (segments[i].file)
                        builder_put(&desc, segments[i].file, strlen(segments[i].file) + 1);
        builder_note(to, NT_FILE, desc.bytes, desc.size);
        free(desc.bytes);
}

static inline void builder_notes(const struct builder *b, struct builder_bytes *to,
                                 const struct builder_segment *segments, size_t n) {
        struct elf_prstatus status = { .pr_pid = BUILDER_TID };
        struct elf_prpsinfo info = { .pr_pid = BUILDER_TID, .pr_psargs = "program" };
        struct user_regs_struct regs = { .rsp = b->rsp, .rip = b->rip };
        uint8_t siginfo[128] = { 11 };
        uint64_t auxv[4] = { AT_SYSINFO_EHDR, b->vdso, AT_NULL, 0 };

        memcpy(&status.pr_reg, &regs, sizeof(regs));
        builder_note(to, NT_PRSTATUS, &status, sizeof(status));
        builder_note(to, NT_PRPSINFO, &info, sizeof(info));
        builder_note(to, NT_SIGINFO, siginfo, sizeof(siginfo));
        builder_note(to, NT_AUXV, auxv, sizeof(auxv));
        if (!b->no_files)
                builder_file_note(to, segments, n);
}

static inline uint64_t builder_size(const struct builder_segment *s) {
        return s->memory_size ? s->memory_size : s->file_size;
}

/* Fills *b: `fd` stands at its start. Segments must rise. */
static inline void builder_make(struct builder *b, const struct builder_segment *segments,
                                size_t n) {
        struct builder_bytes head = { 0 }, notes = { 0 };
        uint64_t table_end = sizeof(Elf64_Ehdr) + (n + 1) * sizeof(Elf64_Phdr), at;
        bool many = n + 1 >= PN_XNUM;
        Elf64_Ehdr ehdr = {
                .e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB,
                             EV_CURRENT },
                .e_type = ET_CORE,
                .e_machine = EM_X86_64,
                .e_version = EV_CURRENT,
                .e_phoff = sizeof(Elf64_Ehdr),
                .e_ehsize = sizeof(Elf64_Ehdr),
                .e_phentsize = sizeof(Elf64_Phdr),
                .e_phnum = many ? PN_XNUM : (uint16_t)(n + 1),
        };
        Elf64_Shdr counter = { .sh_size = 1, .sh_info = (uint32_t)(n + 1) };
        Elf64_Phdr *phdrs = calloc(n + 1, sizeof(*phdrs));
        struct core_fault fault;

        if (!phdrs)
                abort();
        if (b->own_notes)
                builder_put(&notes, b->own_notes->bytes, b->own_notes->size);
        else
                builder_notes(b, &notes, segments, n);
        phdrs[0] = (Elf64_Phdr){ .p_type = PT_NOTE, .p_offset = table_end, .p_filesz = notes.size };
        at = (table_end + notes.size + BUILDER_PAGE - 1) / BUILDER_PAGE * BUILDER_PAGE;
        for (size_t i = 0; i < n; i++) {
                const struct builder_segment *s = &segments[i];

                at += (s->address - at) % 8;
                phdrs[i + 1] = (Elf64_Phdr){
                        .p_type = PT_LOAD,
                        .p_flags = s->no_access ? 0
                                   : s->flags   ? s->flags
                                                : PF_R | PF_W,
                        .p_offset = at,
                        .p_vaddr = s->address,
                        .p_filesz = s->file_size,
                        .p_memsz = builder_size(s),
                };
                at += s->file_size;
        }
        if (many) {
                ehdr.e_shoff = at;
                ehdr.e_shnum = 1;
                ehdr.e_shentsize = sizeof(Elf64_Shdr);
        }
        builder_put(&head, &ehdr, sizeof(ehdr));
        builder_put(&head, phdrs, (n + 1) * sizeof(*phdrs));
        builder_put(&head, notes.bytes, notes.size);

        b->fd = memfd_create("core", MFD_CLOEXEC);
        if (b->fd < 0 || io_write(b->fd, head.bytes, head.size) < 0 ||
            ftruncate(b->fd, (off_t)at) < 0 ||
            (many && pwrite(b->fd, &counter, sizeof(counter), (off_t)at) != sizeof(counter)) ||
            lseek(b->fd, 0, SEEK_SET) < 0 || core_head_read(b->fd, &b->head, &fault) < 0 ||
            core_notes_parse(b->head, b->head->bytes, &b->notes, &fault) < 0)
                abort();
        free(phdrs);
        free(head.bytes);
        free(notes.bytes);
}

/* Writes memory: `address` must be in the file. */
static inline void builder_write(struct builder *b, uint64_t address, const void *from, size_t n) {
        uint64_t offset;

        if (!core_offset_of(b->head, address, &offset) ||
            pwrite(b->fd, from, n, (off_t)offset) != (ssize_t)n)
                abort();
}

/* xorshift: the same bytes in every run, unlike anything else. */
static inline void builder_random(uint64_t seed, uint8_t *buf, size_t n) {
        uint64_t x = seed * 0x9e3779b97f4a7c15ULL + 1;

        for (size_t i = 0; i < n; i++) {
                x ^= x << 13;
                x ^= x >> 7;
                x ^= x << 17;
                buf[i] = (uint8_t)(x >> 32);
        }
}

/* Fills a set with needles of nothing that is in any core, until it holds `count`. */
static inline void builder_needles(struct needle_set *set, size_t count) {
        for (uint64_t i = 1; needle_set_count(set) < count; i++) {
                uint64_t word = i * 0x9E3779B97F4A7C15ULL; /* odd: no two are the same */

                assert_int_equal(
                        needle_set_add(set, (const uint8_t *)&word, sizeof(word), FORM_PLAIN, 9),
                        0);
        }
}
