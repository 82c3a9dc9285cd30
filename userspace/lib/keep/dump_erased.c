/* The note of a kept dump, found through its section table. */
#include <elf.h>
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "keep/dump.h"
#include "sieve/erased_note.h"

#define SECTIONS_MAX 16U /* our table has five */
#define RANGES_AT_ONCE 1024U
#define NAME_SIZE 12U /* of the owner, with NUL and padding to 4 */

static int read_at(struct dump *dump, uint64_t offset, void *buf, size_t n) {
        ssize_t k;
        int r;

        dump_rewind(dump);
        r = dump_skip(dump, offset);
        if (r < 0)
                return r == -ENODATA ? -EBADMSG : r;
        k = dump_read(dump, buf, n);
        if (k < 0)
                return (int)k;
        return (size_t)k == n ? 0 : -EBADMSG;
}

/* Leaves the dump behind the note's fixed part. -ENODATA: another note. */
static int open_note(struct dump *dump, const Elf64_Shdr *section, struct erased_note_head *ret) {
        struct {
                Elf64_Nhdr note;
                char name[NAME_SIZE];
                struct erased_note_head head;
        } fixed;
        int r;

        if (section->sh_size < sizeof(fixed))
                return -ENODATA;
        r = read_at(dump, section->sh_offset, &fixed, sizeof(fixed));
        if (r < 0)
                return r;
        if (fixed.note.n_namesz != sizeof(ERASED_NOTE_OWNER) ||
            fixed.note.n_type != ERASED_NOTE_TYPE ||
            memcmp(fixed.name, ERASED_NOTE_OWNER, sizeof(ERASED_NOTE_OWNER)) != 0)
                return -ENODATA;
        if (fixed.head.version != ERASED_NOTE_VERSION ||
            fixed.head.n_ranges != (section->sh_size - sizeof(fixed)) / sizeof(struct erased_range))
                return -EBADMSG;
        *ret = fixed.head;
        return 0;
}

static int sum_ranges(struct dump *dump, uint64_t n, struct dump_erased *erased) {
        struct erased_range ranges[RANGES_AT_ONCE];

        while (n > 0) {
                size_t k = n < RANGES_AT_ONCE ? (size_t)n : RANGES_AT_ONCE;
                ssize_t size = dump_read(dump, ranges, k * sizeof(ranges[0]));

                if (size < 0)
                        return (int)size;
                if ((size_t)size != k * sizeof(ranges[0]))
                        return -EBADMSG;
                for (size_t i = 0; i < k; i++) {
                        uint32_t reason = ranges[i].reason < _REASON_MAX ? ranges[i].reason : 0;

                        erased->ranges[reason]++;
                        erased->bytes[reason] += ranges[i].size;
                }
                n -= k;
        }
        return 0;
}

int dump_erased(struct dump *dump, struct dump_erased *ret) {
        Elf64_Shdr sections[SECTIONS_MAX];
        Elf64_Ehdr head;
        int r = read_at(dump, 0, &head, sizeof(head));

        if (r < 0)
                return r;
        if (memcmp(head.e_ident, ELFMAG, SELFMAG) != 0 || head.e_ident[EI_CLASS] != ELFCLASS64)
                return -EBADMSG;
        if (head.e_shoff == 0 || head.e_shnum == 0)
                return -ENODATA;
        if (head.e_shnum > SECTIONS_MAX || head.e_shentsize != sizeof(sections[0]))
                return -EBADMSG;
        r = read_at(dump, head.e_shoff, sections, head.e_shnum * sizeof(sections[0]));
        if (r < 0)
                return r;
        /* The table stands at the end. Read on: the checksum behind it tells whether it is whole.
         */
        r = dump_skip(dump, UINT64_MAX);
        if (r != -ENODATA)
                return r;
        for (unsigned i = 0; i < head.e_shnum; i++) {
                struct dump_erased erased = { 0 };
                struct erased_note_head note;

                if (sections[i].sh_type != SHT_NOTE)
                        continue;
                r = open_note(dump, &sections[i], &note);
                if (r == -ENODATA)
                        continue;
                if (r == 0)
                        r = sum_ranges(dump, note.n_ranges, &erased);
                if (r < 0)
                        return r;
                erased.content = note.content;
                *ret = erased;
                return 0;
        }
        return -ENODATA;
}
