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
#define EH_OMIT 0xffU         /* DW_EH_PE_omit */
#define EH_POINTER_OFFSET 4U
#define EH_HEADER_MADE (EH_POINTER_OFFSET + sizeof(int32_t))

/* What libdw is shown; behind it the bytes of the process. */
struct image_head {
        Elf64_Ehdr header;
        Elf64_Phdr load;
        Elf64_Phdr eh_frame;
        uint8_t eh_header[EH_HEADER_MADE]; /* for images that have none */
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
        uint64_t start, end;

        for (size_t i = 0; i < n; i++) {
                uint64_t at = bias + phdrs[i].p_vaddr;

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
        /* gcc -static makes no .eh_frame_hdr: .eh_frame lies in the last segment that nobody
         * writes to, and is looked for there. */
        for (size_t i = 0; i < n; i++) {
                if (!(phdrs[i].p_flags & PF_W) &&
                    load_range(&phdrs[i], bias, phdrs[i].p_filesz, &start, &end)) {
                        module->eh_start = start;
                        module->eh_end = end;
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

        all = calloc(1, sizeof(*all) + UNWIND_MODULES_MAX * sizeof(*all->modules));
        if (!all)
                return -ENOMEM;
        all->read = read;
        all->userdata = userdata;
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
        free(all);
}

/* From where the segment must be read so that .eh_frame_hdr and .eh_frame are in it. Both stand
 * near its end, and in old layouts megabytes of code before them. */
static uint64_t eh_read_start(const struct unwind_module *module) {
        uint8_t bytes[EH_HEADER_MADE];
        uint64_t frame;
        int32_t relative;

        if (module->eh_header == 0 || module->eh_end - module->eh_header < sizeof(bytes) ||
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

/* .eh_frame without its header begins with the CIE that all of x86-64 shares (version 1, "zR",
 * alignments 1 and -8, return address in 16), and an FDE behind it points back to it. */
static bool eh_frame_search(const uint8_t *bytes, size_t n, size_t *ret) {
        static const uint8_t cie[] = { 0, 0, 0, 0, 1, 'z', 'R', 0, 1, 0x78, 16 };
        const uint8_t *found = bytes;

        while ((found = memmem(found, n - (size_t)(found - bytes), cie, sizeof(cie)))) {
                size_t at = (size_t)(found - bytes), next;
                uint32_t length, back;

                found++;
                if (at < sizeof(length))
                        continue;
                at -= sizeof(length);
                memcpy(&length, bytes + at, sizeof(length));
                next = at + sizeof(length) + length; /* of the FDE; 4 GiB and a bit at most */
                if (next > n || n - next < sizeof(length) + sizeof(back))
                        continue;
                memcpy(&back, bytes + next + sizeof(length), sizeof(back));
                if (back == next + sizeof(length) - at) {
                        *ret = at;
                        return true;
                }
        }
        return false;
}

/* Addresses in the image are those of memory: pointers that the loader has relocated are right,
 * and libdw has no bias to get wrong. */
static struct image_head image_head(const struct unwind_module *module) {
        return (struct image_head){
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
}

/* Tells where .eh_frame_hdr lies in an image whose `size` bytes behind the head come from address
 * `start`, or makes one that says where .eh_frame begins. */
static void image_add_cfi(struct image_head *head, const struct unwind_module *module,
                          const uint8_t *bytes, uint64_t start, uint64_t size) {
        Elf64_Phdr *phdr = &head->eh_frame;
        int32_t relative;
        size_t frame;

        *phdr = (Elf64_Phdr){ .p_type = PT_GNU_EH_FRAME, .p_flags = PF_R, .p_align = 1 };
        if (module->eh_header > 0) {
                phdr->p_offset = sizeof(*head) + module->eh_header - start;
                phdr->p_vaddr = module->eh_header;
                phdr->p_filesz = phdr->p_memsz = module->eh_header_size;
                head->header.e_phnum++;
                return;
        }
        if (!eh_frame_search(bytes, size, &frame))
                return;
        relative = (int32_t)(frame + EH_HEADER_MADE - EH_POINTER_OFFSET);
        head->eh_header[0] = EH_HEADER_VERSION;
        head->eh_header[1] = EH_PCREL_SDATA4;
        head->eh_header[2] = head->eh_header[3] = EH_OMIT; /* no table: libdw reads all of it */
        memcpy(head->eh_header + EH_POINTER_OFFSET, &relative, sizeof(relative));
        phdr->p_offset = offsetof(struct image_head, eh_header);
        phdr->p_vaddr = start - EH_HEADER_MADE;
        phdr->p_filesz = phdr->p_memsz = EH_HEADER_MADE;
        head->header.e_phnum++;
}

/* Room for the head and `*size` bytes of CFI; for the head alone where there is no such room. */
static uint8_t *image_new(struct unwind_modules *all, uint64_t *size) {
        size_t total = sizeof(struct image_head) + *size;
        uint8_t *image = malloc(total);

        if (image || *size == 0)
                return image;
        all->capped = true;
        *size = 0;
        total = sizeof(struct image_head);
        return malloc(total);
}

int unwind_module_image(struct unwind_module *module, uint8_t **ret, size_t *ret_size) {
        struct unwind_modules *all = module->all;
        struct image_head head = image_head(module);
        uint64_t start, size;

        if (!module->image) {
                start = eh_read_start(module);
                size = module->eh_end - start;
                if (size > UNWIND_IMAGE_MAX - all->image_bytes) {
                        all->capped = true;
                        size = 0;
                }
                module->image = image_new(all, &size);
                if (!module->image)
                        return -ENOMEM;
                /* Not readable (a core file without its file mappings): frames go by rbp alone. */
                if (size > 0 &&
                    all->read(all->userdata, start, module->image + sizeof(head), size) < 0)
                        size = 0;
                if (size > 0)
                        image_add_cfi(&head, module, module->image + sizeof(head), start, size);
                memcpy(module->image, &head, sizeof(head));
                module->image_size = sizeof(head) + size;
                all->image_bytes += size;
        }
        *ret = module->image;
        *ret_size = module->image_size;
        return 0;
}
