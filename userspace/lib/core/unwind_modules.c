#include "core/unwind_modules.h"

#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

/* User addresses of x86-64 with four levels of page tables; with five, nothing is mapped above
 * unless a program asks for it. */
#define ADDRESS_MAX (1ULL << 47)

/* .eh_frame_hdr (LSB 3.1, 8.6): version, three encodings, then the pointer to .eh_frame. */
#define EH_HEADER_VERSION 1U
#define EH_PCREL_SDATA4 0x1bU /* DW_EH_PE_pcrel | DW_EH_PE_sdata4, what every linker writes */
#define EH_POINTER_OFFSET 4U

/* What libdw is shown. */
struct image_head {
        Elf64_Ehdr header;
        Elf64_Phdr load;
        Elf64_Phdr eh_frame;
};

DEFINE_CLEANUP(modules, struct unwind_modules, unwind_modules_free)

static int compare_addresses(const void *a, const void *b) {
        uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

        return (x > y) - (x < y);
}

static int compare_modules(const void *a, const void *b) {
        const struct unwind_module *x = a, *y = b;

        return (x->low > y->low) - (x->low < y->low);
}

/* Every address at which an ELF image may begin, rising. */
static int candidates_find(const struct core_head *head, const struct core_notes *notes,
                           bool *ret_capped, uint64_t **ret, size_t *ret_n) {
        _cleanup_free_ uint64_t *at = NULL;
        size_t n = 0, unique = 0;
        bool capped = false;

        at = calloc(head->n_by_address + UNWIND_SEGMENTS_MAX, sizeof(*at));
        if (!at)
                return -ENOMEM;
        for (size_t i = 0; i < head->n_by_address; i++)
                at[n++] = head->segments[head->by_address[i]].address;
        for (size_t i = 0, taken = 0; i < notes->n_files; i++) {
                if (notes->files[i].file_offset != 0)
                        continue;
                if (taken++ == UNWIND_SEGMENTS_MAX) {
                        capped = true;
                        break;
                }
                at[n++] = notes->files[i].start;
        }
        qsort(at, n, sizeof(*at), compare_addresses);
        for (size_t i = 0; i < n; i++) {
                if (i == 0 || at[i] != at[i - 1])
                        at[unique++] = at[i];
        }
        *ret_capped = capped;
        *ret = TAKE_PTR(at);
        *ret_n = unique;
        return 0;
}

static bool header_is_ours(const Elf64_Ehdr *header) {
        return memcmp(header->e_ident, ELFMAG, SELFMAG) == 0 &&
               header->e_ident[EI_CLASS] == ELFCLASS64 && header->e_ident[EI_DATA] == ELFDATA2LSB &&
               (header->e_type == ET_EXEC || header->e_type == ET_DYN) &&
               header->e_machine == EM_X86_64 && header->e_phentsize == sizeof(Elf64_Phdr);
}

/* Where in memory the program headers lie: behind the header, unless a tool has moved them to the
 * end of the file (patchelf); then NT_FILE tells where that part of the same file is mapped. */
static bool table_find(const struct core_notes *notes, uint64_t base, const Elf64_Ehdr *header,
                       uint64_t *ret) {
        const struct core_file *first = core_file_at(notes, base);
        const struct core_file *end = notes->files + notes->n_files;
        uint64_t size = (uint64_t)header->e_phnum * sizeof(Elf64_Phdr);

        if (header->e_phoff > ADDRESS_MAX)
                return false;
        /* The vdso, or an image that no file backs: whole or not at all. */
        if (!first) {
                *ret = base + header->e_phoff;
                return true;
        }
        for (const struct core_file *file = first;
             file < end && file < first + UNWIND_PHDRS_MAX && strcmp(file->name, first->name) == 0;
             file++) {
                uint64_t length = file->end - file->start;

                if (header->e_phoff < file->file_offset ||
                    header->e_phoff - file->file_offset >= length ||
                    length - (header->e_phoff - file->file_offset) < size)
                        continue;
                *ret = file->start + (header->e_phoff - file->file_offset);
                return true;
        }
        return false;
}

/* The address at which virtual address 0 of an image lies that is mapped at `base`. */
static bool bias_find(const Elf64_Phdr *phdrs, size_t n, uint64_t base, uint64_t *ret) {
        for (size_t i = 0; i < n; i++) {
                if (phdrs[i].p_type != PT_LOAD)
                        continue;
                /* Wraps for images linked above where they lie: modular, as the loader's is. */
                *ret = base + phdrs[i].p_offset - phdrs[i].p_vaddr;
                return phdrs[i].p_offset < ADDRESS_MAX;
        }
        return false;
}

/* The part of a PT_LOAD that comes from the file, as addresses. */
static bool load_range(const Elf64_Phdr *load, uint64_t bias, uint64_t size, uint64_t *ret_start,
                       uint64_t *ret_end) {
        uint64_t start = bias + load->p_vaddr;

        if (load->p_type != PT_LOAD || start >= ADDRESS_MAX || size > ADDRESS_MAX - start)
                return false;
        *ret_start = start;
        *ret_end = start + size;
        return size > 0;
}

static void eh_find(const Elf64_Phdr *phdrs, size_t n, uint64_t bias,
                    struct unwind_module *module) {
        for (size_t i = 0; i < n; i++) {
                uint64_t at = bias + phdrs[i].p_vaddr, start, end;

                if (phdrs[i].p_type != PT_GNU_EH_FRAME)
                        continue;
                for (size_t k = 0; k < n; k++) {
                        if (!load_range(&phdrs[k], bias, phdrs[k].p_filesz, &start, &end) ||
                            at < start || at >= end || phdrs[i].p_filesz > end - at)
                                continue;
                        module->eh_header = at;
                        module->eh_header_size = phdrs[i].p_filesz;
                        module->eh_start = start;
                        module->eh_end = end;
                        return;
                }
        }
}

/* Adds the executable segments of the ELF image at `base`, if there is one. */
static void image_add(struct unwind_modules *all, const struct core_head *head,
                      const struct core_notes *notes, uint64_t base) {
        Elf64_Phdr phdrs[UNWIND_PHDRS_MAX];
        struct unwind_module module = { .all = all };
        Elf64_Ehdr header;
        uint64_t table, bias;
        size_t n;

        if (all->read(all->userdata, base, &header, sizeof(header)) < 0 || !header_is_ours(&header))
                return;
        n = header.e_phnum;
        if (n == 0 || n > UNWIND_PHDRS_MAX || !table_find(notes, base, &header, &table))
                return;
        if (all->read(all->userdata, table, phdrs, n * sizeof(*phdrs)) < 0)
                return;
        if (!bias_find(phdrs, n, base, &bias))
                return;

        eh_find(phdrs, n, bias, &module);
        for (size_t i = 0; i < n; i++) {
                const struct segment *segment;

                if (!(phdrs[i].p_flags & PF_X) ||
                    !load_range(&phdrs[i], bias, phdrs[i].p_memsz, &module.low, &module.high))
                        continue;
                /* A file that is mapped to be looked at (a debugger's, a linker's) runs nothing,
                 * and what it claims must not hide the code that does. */
                segment = core_segment_at(head, module.low);
                if (!segment || !(segment->flags & PF_X))
                        continue;
                if (all->n_modules == UNWIND_MODULES_MAX) {
                        all->full = all->capped = true;
                        return;
                }
                all->modules[all->n_modules++] = module;
        }
}

/* Modules must not overlap: libdw would take the one or the other. The later one wins, for an
 * image that claims more than its own mapping runs into its neighbour from below. */
static void overlaps_cut(struct unwind_modules *all) {
        size_t kept = 0;

        qsort(all->modules, all->n_modules, sizeof(*all->modules), compare_modules);
        for (size_t i = 0; i < all->n_modules; i++) {
                struct unwind_module *module = &all->modules[i];

                if (i + 1 < all->n_modules && module->high > module[1].low)
                        module->high = module[1].low;
                if (module->low < module->high)
                        all->modules[kept++] = *module;
        }
        all->n_modules = kept;
}

int unwind_modules_find(const struct core_head *head, const struct core_notes *notes,
                        unwind_read read, void *userdata, struct unwind_modules **ret) {
        _cleanup_(cleanup_modules) struct unwind_modules *all = NULL;
        _cleanup_free_ uint64_t *at = NULL;
        size_t n;
        int r;

        all = calloc(1, sizeof(*all));
        if (!all)
                return -ENOMEM;
        all->read = read;
        all->userdata = userdata;
        all->modules = calloc(UNWIND_MODULES_MAX, sizeof(*all->modules));
        if (!all->modules)
                return -ENOMEM;
        r = candidates_find(head, notes, &all->capped, &at, &n);
        if (r < 0)
                return r;
        for (size_t i = 0; i < n && !all->full; i++)
                image_add(all, head, notes, at[i]);
        overlaps_cut(all);
        *ret = TAKE_PTR(all);
        return 0;
}

void unwind_modules_free(struct unwind_modules *all) {
        if (!all)
                return;
        for (size_t i = 0; i < all->n_modules; i++)
                free(all->modules[i].image);
        free(all->modules);
        free(all);
}

/* From where the segment must be read so that .eh_frame_hdr and .eh_frame are in it. Both stand
 * near its end, and in old layouts megabytes of code before them. */
static uint64_t eh_read_start(const struct unwind_module *module) {
        uint8_t bytes[EH_POINTER_OFFSET + sizeof(int32_t)];
        uint64_t frame;
        int32_t relative;

        if (module->eh_end - module->eh_header < sizeof(bytes) ||
            module->all->read(module->all->userdata, module->eh_header, bytes, sizeof(bytes)) < 0)
                return module->eh_start;
        if (bytes[0] != EH_HEADER_VERSION || bytes[1] != EH_PCREL_SDATA4)
                return module->eh_start;
        memcpy(&relative, bytes + EH_POINTER_OFFSET, sizeof(relative));
        frame = module->eh_header + EH_POINTER_OFFSET + (uint64_t)(int64_t)relative;
        if (frame >= module->eh_header)
                return module->eh_header;
        return frame > module->eh_start ? frame : module->eh_start;
}

/* Addresses in the image are those of memory: pointers that the loader has relocated are right,
 * and libdw has no bias to get wrong. */
static struct image_head image_head(const struct unwind_module *module, uint64_t start,
                                    uint64_t size) {
        struct image_head h = {
                .header = { .e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64,
                                         ELFDATA2LSB, EV_CURRENT },
                            .e_type = ET_DYN,
                            .e_machine = EM_X86_64,
                            .e_version = EV_CURRENT,
                            .e_phoff = offsetof(struct image_head, load),
                            .e_ehsize = sizeof(Elf64_Ehdr),
                            .e_phentsize = sizeof(Elf64_Phdr),
                            .e_phnum = 1 },
                .load = { .p_type = PT_LOAD,
                          .p_flags = PF_R | PF_X,
                          .p_vaddr = module->low,
                          .p_memsz = module->high - module->low,
                          .p_align = 1 },
        };

        if (size > 0) {
                h.header.e_phnum = 2;
                h.eh_frame = (Elf64_Phdr){ .p_type = PT_GNU_EH_FRAME,
                                           .p_flags = PF_R,
                                           .p_offset = sizeof(h) + module->eh_header - start,
                                           .p_vaddr = module->eh_header,
                                           .p_filesz = module->eh_header_size,
                                           .p_memsz = module->eh_header_size,
                                           .p_align = 1 };
        }
        return h;
}

int unwind_module_image(struct unwind_module *module, uint8_t **ret, size_t *ret_size) {
        struct unwind_modules *all = module->all;
        struct image_head head;
        uint64_t start = 0, size = 0;

        if (!module->image) {
                if (module->eh_header > 0) {
                        start = eh_read_start(module);
                        size = module->eh_end - start;
                }
                if (size > UNWIND_IMAGE_MAX - all->image_bytes) {
                        all->capped = true;
                        size = 0;
                }
                module->image = malloc(sizeof(head) + size);
                if (!module->image)
                        return -ENOMEM;
                /* Not readable (a core file without its file mappings): frames go by rbp alone. */
                if (size > 0 &&
                    all->read(all->userdata, start, module->image + sizeof(head), size) < 0)
                        size = 0;
                head = image_head(module, start, size);
                memcpy(module->image, &head, sizeof(head));
                module->image_size = sizeof(head) + size;
                all->image_bytes += size;
        }
        *ret = module->image;
        *ret_size = module->image_size;
        return 0;
}
