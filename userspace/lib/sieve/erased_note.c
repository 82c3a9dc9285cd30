#include "sieve/erased_note.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#define NOTE_ALIGN 4U
#define WORD_SIZE 8U

/* Section names, and where each begins. */
static const char section_names[] = "\0" ERASED_NOTE_SECTION "\0.note\0.shstrtab";
#define NAME_ERASED 1U
#define NAME_NOTES (NAME_ERASED + sizeof(ERASED_NOTE_SECTION))
#define NAME_NAMES (NAME_NOTES + sizeof(".note"))

enum section {
        SECTION_NULL,
        SECTION_ERASED,
        SECTION_NOTES,
        SECTION_NAMES,
        _SECTION_MAX,
};

/* What comes before the ranges. The compiler must not pad between: it is the file's layout. */
struct note_front {
        Elf64_Nhdr header;
        char owner[(sizeof(ERASED_NOTE_OWNER) + NOTE_ALIGN - 1) / NOTE_ALIGN * NOTE_ALIGN];
        struct erased_note_head head;
} __attribute__((packed));

static uint64_t align_up(uint64_t n) {
        return (n + WORD_SIZE - 1) & ~(uint64_t)(WORD_SIZE - 1);
}

void erased_trailer_place(const struct core_head *head, uint64_t n_ranges,
                          struct erased_trailer *ret) {
        struct erased_trailer t = { .start = head->end, .n_ranges = n_ranges };

        t.note = align_up(t.start + (head->many ? sizeof(Elf64_Shdr) : 0));
        t.names = t.note + sizeof(struct note_front) + n_ranges * sizeof(struct erased_range);
        t.table = align_up(t.names + sizeof(section_names));
        t.end = t.table + _SECTION_MAX * sizeof(Elf64_Shdr);
        *ret = t;
}

void erased_trailer_patch(const struct erased_trailer *trailer, Elf64_Ehdr *ehdr) {
        ehdr->e_shoff = htole64(trailer->table);
        ehdr->e_shentsize = htole16(sizeof(Elf64_Shdr));
        ehdr->e_shnum = htole16(_SECTION_MAX);
        ehdr->e_shstrndx = htole16(SECTION_NAMES);
}

/* From the end of memory to the first range. */
static int write_front(const struct core_head *head, enum content content,
                       const struct erased_trailer *t, erased_sink sink, void *userdata) {
        uint8_t buf[sizeof(Elf64_Shdr) + WORD_SIZE + sizeof(struct note_front)] = { 0 };
        struct note_front front = {
                .header.n_namesz = htole32(sizeof(ERASED_NOTE_OWNER)),
                .header.n_type = htole32(ERASED_NOTE_TYPE),
                .owner = ERASED_NOTE_OWNER,
                .head.version = htole32(ERASED_NOTE_VERSION),
                .head.content = htole32((uint32_t)content),
                .head.n_ranges = htole64(t->n_ranges),
        };
        /* as fill_extnum_info() of binfmt_elf.c makes it */
        const Elf64_Shdr counter = {
                .sh_type = SHT_NULL,
                .sh_size = htole64(1),
                .sh_info = htole32((uint32_t)head->n_segments),
        };

        front.header.n_descsz =
                htole32((uint32_t)(sizeof(front.head) + t->n_ranges * sizeof(struct erased_range)));
        if (head->many)
                memcpy(buf, &counter, sizeof(counter));
        memcpy(buf + (t->note - t->start), &front, sizeof(front));
        return sink(userdata, buf, t->note - t->start + sizeof(front));
}

static int write_ranges(const struct erasure *erasures, size_t n, erased_sink sink,
                        void *userdata) {
        const size_t room = ERASED_PIECE_MAX / sizeof(struct erased_range);
        _cleanup_free_ struct erased_range *ranges = calloc(room, sizeof(*ranges));
        size_t filled = 0;

        if (!ranges)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                int r;

                ranges[filled++] = (struct erased_range){
                        .offset = htole64(erasures[i].offset),
                        .size = htole64(erasures[i].size),
                        .reason = htole32((uint32_t)erasures[i].reason),
                };
                if (filled < room && i + 1 < n)
                        continue;
                r = sink(userdata, (const uint8_t *)ranges, filled * sizeof(*ranges));
                if (r != 0)
                        return r;
                filled = 0;
        }
        return 0;
}

static int write_back(const struct core_head *head, const struct erased_trailer *t,
                      erased_sink sink, void *userdata) {
        uint8_t buf[sizeof(section_names) + WORD_SIZE + _SECTION_MAX * sizeof(Elf64_Shdr)] = { 0 };
        Elf64_Shdr sections[_SECTION_MAX] = {
                [SECTION_NULL] = { .sh_info =
                                           htole32(head->many ? (uint32_t)head->n_segments : 0) },
                [SECTION_ERASED] = { .sh_name = htole32(NAME_ERASED),
                                     .sh_type = htole32(SHT_NOTE),
                                     .sh_offset = htole64(t->note),
                                     .sh_size = htole64(t->names - t->note),
                                     .sh_addralign = htole64(NOTE_ALIGN) },
                [SECTION_NOTES] = { .sh_name = htole32(NAME_NOTES),
                                    .sh_type = htole32(SHT_NOTE),
                                    .sh_offset = htole64(head->notes_offset),
                                    .sh_size = htole64(head->notes_size),
                                    .sh_addralign = htole64(NOTE_ALIGN) },
                [SECTION_NAMES] = { .sh_name = htole32(NAME_NAMES),
                                    .sh_type = htole32(SHT_STRTAB),
                                    .sh_offset = htole64(t->names),
                                    .sh_size = htole64(sizeof(section_names)),
                                    .sh_addralign = htole64(1) },
        };

        memcpy(buf, section_names, sizeof(section_names));
        memcpy(buf + (t->table - t->names), sections, sizeof(sections));
        return sink(userdata, buf, t->end - t->names);
}

int erased_trailer_write(const struct core_head *head, const struct plan *plan,
                         enum content content, const struct erased_trailer *trailer,
                         erased_sink sink, void *userdata) {
        const struct erasure *erasures;
        size_t n;
        int r;

        erasures = plan_erasures(plan, &n);
        if (n != trailer->n_ranges)
                return -EINVAL;
        r = write_front(head, content, trailer, sink, userdata);
        if (r != 0)
                return r;
        r = write_ranges(erasures, n, sink, userdata);
        if (r != 0)
                return r;
        return write_back(head, trailer, sink, userdata);
}
