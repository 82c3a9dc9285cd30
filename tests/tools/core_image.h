/* core_image: a small sound core of x86-64, built in memory, to be damaged on purpose.
 *
 * Laid out as the kernel does it: ELF header, program headers, notes right behind them, padding
 * to a page, then a text segment, a heap and a stack of one page each.
 */
#pragma once

#include <elf.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/procfs.h>

#define IMAGE_PAGE 4096U
#define IMAGE_SEGMENTS 4U /* note, text, heap, stack */
#define IMAGE_MEMORY (2 * IMAGE_PAGE)
#define IMAGE_SIZE (IMAGE_MEMORY + 3 * IMAGE_PAGE)

#define IMAGE_TEXT 0x400000ULL
#define IMAGE_HEAP 0x600000ULL
#define IMAGE_STACK 0x7ffff000ULL
#define IMAGE_TID 4242

enum image_note { /* in the order of the notes */
                  IMAGE_PRSTATUS,
                  IMAGE_PRPSINFO,
                  IMAGE_SIGINFO,
                  IMAGE_AUXV,
                  IMAGE_FILE,
                  IMAGE_FPREGSET,
                  IMAGE_XSTATE,
                  IMAGE_SPARE, /* 8 bytes of a type that nobody knows */
                  _IMAGE_NOTE_MAX,
};

struct core_image {
        uint8_t bytes[IMAGE_SIZE];
        size_t size;
        size_t note[_IMAGE_NOTE_MAX]; /* where each note's own head begins */
        size_t desc[_IMAGE_NOTE_MAX]; /* where its descriptor begins */
        size_t notes_end;
};

static inline void image_put(struct core_image *im, size_t at, const void *from, size_t n) {
        memcpy(im->bytes + at, from, n);
}

static inline void image_put_u64(struct core_image *im, size_t at, uint64_t value) {
        memcpy(im->bytes + at, &value, sizeof(value));
}

static inline size_t image_add_note(struct core_image *im, enum image_note which, size_t at,
                                    const char *name, uint32_t type, const void *desc,
                                    uint32_t size) {
        Elf64_Nhdr head = { .n_namesz = (uint32_t)strlen(name) + 1,
                            .n_descsz = size,
                            .n_type = type };

        im->note[which] = at;
        image_put(im, at, &head, sizeof(head));
        image_put(im, at + sizeof(head), name, head.n_namesz);
        at += sizeof(head) + (head.n_namesz + 3) / 4 * 4;
        im->desc[which] = at;
        image_put(im, at, desc, size);
        return at + (size + 3) / 4 * 4;
}

static inline size_t image_add_notes(struct core_image *im, size_t at) {
        struct elf_prstatus status = { .pr_pid = IMAGE_TID };
        struct elf_prpsinfo info = { .pr_pid = IMAGE_TID, .pr_psargs = "image --key hunter2" };
        int32_t siginfo[32] = { 11 };
        const uint64_t auxv[] = { AT_PAGESZ, IMAGE_PAGE, AT_ENTRY, IMAGE_TEXT, AT_NULL, 0 };
        struct {
                uint64_t n, page, entries[2][3];
                char names[16];
        } file = { 2,
                   IMAGE_PAGE,
                   { { IMAGE_TEXT, IMAGE_TEXT + IMAGE_PAGE, 0 },
                     { IMAGE_HEAP, IMAGE_HEAP + IMAGE_PAGE, 1 } },
                   "/bin/one\0/lib/2" };
        static const uint8_t xstate[832];
        static const uint8_t spare[8];
        struct user_regs_struct regs = { .rip = IMAGE_TEXT + 16, .rsp = IMAGE_STACK + 256 };

        memcpy(&status.pr_reg, &regs, sizeof(regs));
        at = image_add_note(im, IMAGE_PRSTATUS, at, "CORE", NT_PRSTATUS, &status, sizeof(status));
        at = image_add_note(im, IMAGE_PRPSINFO, at, "CORE", NT_PRPSINFO, &info, sizeof(info));
        at = image_add_note(im, IMAGE_SIGINFO, at, "CORE", NT_SIGINFO, siginfo, sizeof(siginfo));
        at = image_add_note(im, IMAGE_AUXV, at, "CORE", NT_AUXV, auxv, sizeof(auxv));
        at = image_add_note(im, IMAGE_FILE, at, "CORE", NT_FILE, &file, sizeof(file));
        at = image_add_note(im, IMAGE_FPREGSET, at, "CORE", NT_FPREGSET, xstate, 512);
        at = image_add_note(im, IMAGE_XSTATE, at, "LINUX", NT_X86_XSTATE, xstate, sizeof(xstate));
        return image_add_note(im, IMAGE_SPARE, at, "LINUX", 0x999, spare, sizeof(spare));
}

static inline void image_build(struct core_image *im) {
        static const struct {
                uint64_t address;
                uint32_t flags;
        } loads[] = { { IMAGE_TEXT, PF_R | PF_X },
                      { IMAGE_HEAP, PF_R | PF_W },
                      { IMAGE_STACK, PF_R | PF_W } };
        Elf64_Ehdr ehdr = { .e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64,
                                         ELFDATA2LSB, EV_CURRENT },
                            .e_type = ET_CORE,
                            .e_machine = EM_X86_64,
                            .e_version = EV_CURRENT,
                            .e_phoff = sizeof(ehdr),
                            .e_ehsize = sizeof(ehdr),
                            .e_phentsize = sizeof(Elf64_Phdr),
                            .e_phnum = IMAGE_SEGMENTS };
        size_t at = sizeof(ehdr) + IMAGE_SEGMENTS * sizeof(Elf64_Phdr);
        Elf64_Phdr note = { .p_type = PT_NOTE, .p_offset = at };

        memset(im, 0, sizeof(*im));
        im->size = IMAGE_SIZE;
        im->notes_end = image_add_notes(im, at);
        note.p_filesz = im->notes_end - at;
        image_put(im, 0, &ehdr, sizeof(ehdr));
        image_put(im, sizeof(ehdr), &note, sizeof(note));
        for (size_t i = 0; i < IMAGE_SEGMENTS - 1; i++) {
                Elf64_Phdr load = { .p_type = PT_LOAD,
                                    .p_flags = loads[i].flags,
                                    .p_offset = IMAGE_MEMORY + i * IMAGE_PAGE,
                                    .p_vaddr = loads[i].address,
                                    .p_filesz = IMAGE_PAGE,
                                    .p_memsz = IMAGE_PAGE,
                                    .p_align = IMAGE_PAGE };

                image_put(im, sizeof(ehdr) + (i + 1) * sizeof(load), &load, sizeof(load));
        }
}
