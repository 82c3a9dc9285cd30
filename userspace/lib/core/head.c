#include "core/head.h"

#include <elf.h>
#include <errno.h>
#include <gelf.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/io.h"

/* Offsets are handed to pread() and written to 64-bit files: nothing lies behind this. */
#define CORE_OFFSET_MAX ((uint64_t)INT64_MAX)

/* The fill and rule R work on words of 8 bytes, in phase with the address. */
#define WORD_SIZE 8U

DEFINE_CLEANUP(core_head, struct core_head, core_head_free)

static inline void cleanup_elf(Elf **elf) {
        (void)elf_end(*elf); /* NULL is fine */
}

static int fault(struct core_fault *ret_fault, uint64_t offset, const char *what, int r) {
        *ret_fault = (struct core_fault){ .offset = offset, .what = what };
        return r;
}

/* Makes the first `size` bytes of the core be there: never one byte more, since what follows in
 * the pipe is memory, and the kernel must stay blocked on it. */
static int head_fill(struct core_head *head, int fd, size_t size, struct core_fault *ret_fault) {
        uint8_t *grown;
        ssize_t n;

        if (size <= head->size)
                return 0;
        grown = realloc(head->bytes, size);
        if (!grown)
                return -ENOMEM;
        head->bytes = grown;

        n = io_read(fd, head->bytes + head->size, size - head->size);
        if (n < 0)
                return (int)n;
        head->size += (size_t)n;
        if (head->size < size)
                return fault(ret_fault, head->size, "the core ends inside its head", -ENODATA);
        return 0;
}

/* The identification decides whether any other field means what we take it for. */
static int check_ehdr(const Elf64_Ehdr *ehdr, struct core_fault *ret_fault) {
        if (memcmp(ehdr->e_ident, ELFMAG, SELFMAG) != 0)
                return fault(ret_fault, 0, "no ELF file", -EBADMSG);
        if (ehdr->e_ident[EI_CLASS] != ELFCLASS64)
                return fault(ret_fault, EI_CLASS, "not of 64 bits", -ENOTSUP);
        if (ehdr->e_ident[EI_DATA] != ELFDATA2LSB)
                return fault(ret_fault, EI_DATA, "not little-endian", -ENOTSUP);
        if (ehdr->e_ident[EI_VERSION] != EV_CURRENT || ehdr->e_version != EV_CURRENT)
                return fault(ret_fault, EI_VERSION, "unknown ELF version", -ENOTSUP);
        if (ehdr->e_type != ET_CORE)
                return fault(ret_fault, offsetof(Elf64_Ehdr, e_type), "no core", -ENOTSUP);
        if (ehdr->e_machine != EM_X86_64)
                return fault(ret_fault, offsetof(Elf64_Ehdr, e_machine), "not of x86-64", -ENOTSUP);

        if (ehdr->e_ehsize != sizeof(Elf64_Ehdr))
                return fault(ret_fault, offsetof(Elf64_Ehdr, e_ehsize), "wrong size of ELF header",
                             -EBADMSG);
        if (ehdr->e_phentsize != sizeof(Elf64_Phdr))
                return fault(ret_fault, offsetof(Elf64_Ehdr, e_phentsize),
                             "wrong size of program header", -EBADMSG);
        if (ehdr->e_phnum == 0)
                return fault(ret_fault, offsetof(Elf64_Ehdr, e_phnum), "no program header",
                             -EBADMSG);
        if (ehdr->e_phoff < sizeof(Elf64_Ehdr) || ehdr->e_phoff % WORD_SIZE != 0)
                return fault(ret_fault, offsetof(Elf64_Ehdr, e_phoff),
                             "program headers overlap the ELF header or are not aligned", -EBADMSG);
        if (ehdr->e_phoff > CORE_HEAD_MAX)
                return fault(ret_fault, offsetof(Elf64_Ehdr, e_phoff),
                             "program headers lie too far behind", -E2BIG);
        return 0;
}

/* With PN_XNUM the count stands in a section header that the kernel writes last, behind all
 * memory. But it writes the notes right behind the table (elf_core_dump()), and the note
 * segment's header first: its offset tells the count. */
static int count_extended(struct core_head *head, int fd, const Elf64_Ehdr *ehdr, size_t *ret,
                          struct core_fault *ret_fault) {
        Elf64_Phdr first;
        uint64_t size;
        int r;

        r = head_fill(head, fd, ehdr->e_phoff + sizeof(first), ret_fault);
        if (r < 0)
                return r;
        memcpy(&first, head->bytes + ehdr->e_phoff, sizeof(first));

        size = first.p_offset - ehdr->e_phoff;
        if (first.p_type != PT_NOTE || first.p_offset < ehdr->e_phoff ||
            size % sizeof(Elf64_Phdr) != 0 || size / sizeof(Elf64_Phdr) < PN_XNUM)
                return fault(ret_fault, ehdr->e_phoff,
                             "program headers are not counted by the first note segment", -EBADMSG);
        if (size / sizeof(Elf64_Phdr) > CORE_SEGMENTS_MAX)
                return fault(ret_fault, ehdr->e_phoff, "too many program headers", -E2BIG);
        *ret = size / sizeof(Elf64_Phdr);
        return 0;
}

/* A copy of header and table that libelf can read alone: the section table that the header names
 * is not there yet, so its fields are cleared, and a count that does not fit into e_phnum gets a
 * section header of our own. */
static int table_image(const struct core_head *head, const Elf64_Ehdr *ehdr, size_t n,
                       uint8_t **ret, size_t *ret_size) {
        size_t table_end = ehdr->e_phoff + n * sizeof(Elf64_Phdr);
        Elf64_Ehdr masked = *ehdr;
        Elf64_Shdr counter = { .sh_type = SHT_NULL, .sh_info = (Elf64_Word)n };
        uint8_t *image = malloc(table_end + sizeof(counter));

        if (!image)
                return -ENOMEM;

        masked.e_shoff = head->many ? table_end : 0;
        masked.e_shnum = head->many ? 1 : 0;
        masked.e_shentsize = sizeof(Elf64_Shdr);
        masked.e_shstrndx = SHN_UNDEF;
        memcpy(image, head->bytes, table_end);
        memcpy(image, &masked, sizeof(masked));
        memcpy(image + table_end, &counter, sizeof(counter));

        *ret = image;
        *ret_size = table_end + (head->many ? sizeof(counter) : 0);
        return 0;
}

static int read_segments(struct core_head *head, const Elf64_Ehdr *ehdr, size_t n,
                         struct core_fault *ret_fault) {
        _cleanup_free_ uint8_t *image = NULL;
        _cleanup_(cleanup_elf) Elf *elf = NULL;
        size_t size, n_elf;
        GElf_Ehdr parsed;
        int r;

        r = table_image(head, ehdr, n, &image, &size);
        if (r < 0)
                return r;
        if (elf_version(EV_CURRENT) == EV_NONE)
                return -ENOTSUP;
        elf = elf_memory((char *)image, size);
        if (!elf || !gelf_getehdr(elf, &parsed) || parsed.e_type != ET_CORE ||
            elf_getphdrnum(elf, &n_elf) < 0 || n_elf != n)
                return fault(ret_fault, 0, "libelf does not take it for a core", -EBADMSG);

        head->segments = calloc(n, sizeof(*head->segments));
        if (!head->segments)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                GElf_Phdr phdr;

                if (!gelf_getphdr(elf, (int)i, &phdr))
                        return fault(ret_fault, ehdr->e_phoff + i * sizeof(Elf64_Phdr),
                                     "libelf cannot read the program header", -EBADMSG);
                head->segments[i] = (struct segment){
                        .type = phdr.p_type,
                        .flags = phdr.p_flags,
                        .address = phdr.p_vaddr,
                        .offset = phdr.p_offset,
                        .file_size = phdr.p_filesz,
                        .memory_size = phdr.p_memsz,
                };
        }
        head->n_segments = n;
        return 0;
}

/* Each field is the attacker's: compared before it is added to anything. */
static const char *load_fault(const struct segment *s) {
        if (s->file_size > s->memory_size)
                return "segment holds more bytes in the file than in memory";
        if (s->memory_size > UINT64_MAX - s->address)
                return "segment runs past the end of memory";
        if (s->file_size > CORE_OFFSET_MAX ||
            (s->file_size > 0 && s->offset > CORE_OFFSET_MAX - s->file_size))
                return "segment runs past the largest file";
        if (s->file_size > 0 && s->offset % WORD_SIZE != s->address % WORD_SIZE)
                return "segment's offset and address differ modulo 8";
        return NULL;
}

/* Walks the table once: the note segment, and PT_LOADs rising and disjoint in the file. */
static int check_segments(struct core_head *head, const Elf64_Ehdr *ehdr, size_t *ret_size,
                          struct core_fault *ret_fault) {
        uint64_t table_end = ehdr->e_phoff + head->n_segments * sizeof(Elf64_Phdr);
        uint64_t first = 0, end = 0, notes_end;
        bool has_notes = false;

        for (size_t i = 0; i < head->n_segments; i++) {
                const struct segment *s = &head->segments[i];
                uint64_t where = ehdr->e_phoff + i * sizeof(Elf64_Phdr);
                const char *what;

                if (s->type == PT_NOTE) {
                        if (has_notes)
                                return fault(ret_fault, where, "second note segment", -EBADMSG);
                        if (s->offset < table_end)
                                return fault(ret_fault, where, "notes overlap the headers",
                                             -EBADMSG);
                        if (s->file_size > CORE_NOTES_MAX || s->offset > CORE_HEAD_MAX)
                                return fault(ret_fault, where, "notes are too large or too far",
                                             -E2BIG);
                        has_notes = true;
                        head->notes_offset = s->offset;
                        head->notes_size = s->file_size;
                        continue;
                }
                /* The bytes of a type that we do not know would be in no plan. */
                if (s->type != PT_LOAD)
                        return fault(ret_fault, where, "segment of a type that no core has",
                                     -EBADMSG);
                what = load_fault(s);
                if (what)
                        return fault(ret_fault, where, what, -EBADMSG);
                if (s->file_size == 0)
                        continue;
                if (end > 0 && s->offset < end)
                        return fault(ret_fault, where,
                                     "segments overlap in the file or are out of order", -EBADMSG);
                if (end == 0)
                        first = s->offset;
                end = s->offset + s->file_size;
        }
        if (!has_notes)
                return fault(ret_fault, ehdr->e_phoff, "no note segment", -EBADMSG);

        notes_end = head->notes_offset + head->notes_size;
        if (end == 0)
                first = end = notes_end;
        if (first < notes_end && head->notes_offset >= end)
                return fault(ret_fault, ehdr->e_phoff,
                             "the notes lie behind memory, as gcore writes them, no kernel",
                             -ENOTSUP);
        if (first < notes_end)
                return fault(ret_fault, ehdr->e_phoff, "memory begins before the notes end",
                             -EBADMSG);
        if (first > CORE_HEAD_MAX)
                return fault(ret_fault, ehdr->e_phoff, "memory begins too far behind", -E2BIG);
        if (head->many && ehdr->e_shoff < end)
                return fault(ret_fault, offsetof(Elf64_Ehdr, e_shoff),
                             "section header lies before the end of memory", -EBADMSG);
        head->end = end;
        *ret_size = first;
        return 0;
}

static int compare_address(const void *a, const void *b, void *userdata) {
        const struct segment *segments = userdata;
        uint64_t x = segments[*(const uint32_t *)a].address;
        uint64_t y = segments[*(const uint32_t *)b].address;

        return x < y ? -1 : x > y;
}

/* Two segments at one address would make "the byte at this address" ambiguous: a pointer could
 * be judged by one and the stack erased in the other. */
static int index_addresses(struct core_head *head, const Elf64_Ehdr *ehdr,
                           struct core_fault *ret_fault) {
        size_t n = 0;

        head->by_address = calloc(head->n_segments, sizeof(*head->by_address));
        if (!head->by_address)
                return -ENOMEM;
        for (size_t i = 0; i < head->n_segments; i++)
                if (head->segments[i].type == PT_LOAD && head->segments[i].memory_size > 0)
                        head->by_address[n++] = (uint32_t)i;
        qsort_r(head->by_address, n, sizeof(*head->by_address), compare_address, head->segments);

        for (size_t i = 1; i < n; i++) {
                const struct segment *before = &head->segments[head->by_address[i - 1]];
                uint32_t index = head->by_address[i];

                if (head->segments[index].address < before->address + before->memory_size)
                        return fault(ret_fault, ehdr->e_phoff + index * sizeof(Elf64_Phdr),
                                     "segments overlap in memory", -EBADMSG);
        }
        head->n_by_address = n;
        return 0;
}

int core_head_read(int fd, struct core_head **ret, struct core_fault *ret_fault) {
        _cleanup_(cleanup_core_head) struct core_head *head = calloc(1, sizeof(*head));
        Elf64_Ehdr ehdr;
        size_t n, size;
        int r;

        if (!head)
                return -ENOMEM;

        r = head_fill(head, fd, sizeof(ehdr), ret_fault);
        if (r < 0)
                return r;
        memcpy(&ehdr, head->bytes, sizeof(ehdr));
        r = check_ehdr(&ehdr, ret_fault);
        if (r < 0)
                return r;

        n = ehdr.e_phnum;
        head->many = n == PN_XNUM;
        if (head->many) {
                r = count_extended(head, fd, &ehdr, &n, ret_fault);
                if (r < 0)
                        return r;
        }

        r = head_fill(head, fd, ehdr.e_phoff + n * sizeof(Elf64_Phdr), ret_fault);
        if (r < 0)
                return r;
        r = read_segments(head, &ehdr, n, ret_fault);
        if (r < 0)
                return r;
        r = check_segments(head, &ehdr, &size, ret_fault);
        if (r < 0)
                return r;
        r = index_addresses(head, &ehdr, ret_fault);
        if (r < 0)
                return r;

        r = head_fill(head, fd, size, ret_fault);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(head);
        return 0;
}

void core_head_free(struct core_head *head) {
        if (!head)
                return;
        free(head->bytes);
        free(head->segments);
        free(head->by_address);
        free(head);
}

const struct segment *core_segment_at(const struct core_head *head, uint64_t address) {
        size_t low = 0, high = head->n_by_address;

        while (low < high) {
                size_t middle = low + (high - low) / 2;
                const struct segment *s = &head->segments[head->by_address[middle]];

                if (address < s->address)
                        high = middle;
                else if (address - s->address >= s->memory_size)
                        low = middle + 1;
                else
                        return s;
        }
        return NULL;
}

bool core_offset_of(const struct core_head *head, uint64_t address, uint64_t *ret) {
        const struct segment *s = core_segment_at(head, address);

        if (!s || address - s->address >= s->file_size)
                return false;
        *ret = s->offset + (address - s->address);
        return true;
}
