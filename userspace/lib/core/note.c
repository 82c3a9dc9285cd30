#include "core/note.h"

#include <assert.h>
#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/procfs.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/cursor.h"

/* Names and descriptors of a core's notes are padded to this (gABI says 8 for 64 bits; no kernel
 * ever did). */
#define NOTE_ALIGN 4U

#define SIGINFO_SIZE 128U /* siginfo_t: fixed by the kernel's ABI */
#define AUXV_ENTRY_SIZE 16U
#define FILE_ENTRY_SIZE 24U /* start, end, offset in pages */

DEFINE_CLEANUP(core_notes, struct core_notes, core_notes_free)

struct parser {
        struct core_notes *notes;
        size_t notes_room, threads_room;
        bool has_psinfo, has_siginfo;
        struct core_fault *ret_fault;
};

static int fault(struct parser *p, uint64_t offset, const char *what, int r) {
        *p->ret_fault = (struct core_fault){ .offset = offset, .what = what };
        return r;
}

static int parse_prstatus(struct parser *p, const struct core_note *note) {
        struct core_notes *notes = p->notes;
        struct elf_prstatus status;
        struct core_thread thread;
        int r;

        if (note->size != sizeof(status))
                return fault(p, note->offset, "NT_PRSTATUS has a wrong size", -EBADMSG);
        if (notes->n_threads == CORE_THREADS_MAX)
                return fault(p, note->offset, "too many threads", -E2BIG);
        r = array_grow(&notes->threads, &p->threads_room, notes->n_threads, CORE_THREADS_MAX,
                       sizeof(thread));
        if (r < 0)
                return r;

        memcpy(&status, note->desc, sizeof(status));
        thread.tid = status.pr_pid;
        thread.regs_offset = note->offset + offsetof(struct elf_prstatus, pr_reg);
        static_assert(sizeof(status.pr_reg) == sizeof(thread.regs), "one layout of registers");
        memcpy(&thread.regs, &status.pr_reg, sizeof(thread.regs));
        notes->threads[notes->n_threads++] = thread;
        return 0;
}

static int parse_prpsinfo(struct parser *p, const struct core_note *note) {
        struct elf_prpsinfo info;

        if (note->size != sizeof(info))
                return fault(p, note->offset, "NT_PRPSINFO has a wrong size", -EBADMSG);
        if (p->has_psinfo)
                return fault(p, note->offset, "second NT_PRPSINFO", -EBADMSG);
        memcpy(&info, note->desc, sizeof(info));
        p->has_psinfo = true;
        p->notes->pid = info.pr_pid;
        return 0;
}

/* gdb's gcore writes one for each thread; the first is the crashing one's. */
static int parse_siginfo(struct parser *p, const struct core_note *note) {
        int32_t signo;

        if (note->size != SIGINFO_SIZE)
                return fault(p, note->offset, "NT_SIGINFO has a wrong size", -EBADMSG);
        if (p->has_siginfo)
                return 0;
        memcpy(&signo, note->desc, sizeof(signo));
        p->has_siginfo = true;
        p->notes->signal = signo;
        return 0;
}

static int parse_auxv(struct parser *p, const struct core_note *note) {
        if (note->size % AUXV_ENTRY_SIZE != 0)
                return fault(p, note->offset, "NT_AUXV holds half an entry", -EBADMSG);
        if (p->notes->auxv)
                return fault(p, note->offset, "second NT_AUXV", -EBADMSG);
        p->notes->auxv = note->desc;
        p->notes->auxv_size = note->size;
        return 0;
}

static int parse_file_entries(struct parser *p, const struct core_note *note, struct cursor *c,
                              uint64_t n, uint64_t page) {
        struct core_notes *notes = p->notes;
        uint64_t before = 0;

        for (uint64_t i = 0; i < n; i++) {
                struct core_file *file = &notes->files[i];
                uint64_t at = note->offset + cursor_pos(c), pages;

                if (!cursor_u64(c, &file->start) || !cursor_u64(c, &file->end) ||
                    !cursor_u64(c, &pages))
                        return fault(p, at, "NT_FILE ends inside an entry", -EBADMSG);
                if (file->start >= file->end || file->start < before)
                        return fault(p, at, "NT_FILE's ranges are empty or out of order", -EBADMSG);
                if (__builtin_mul_overflow(pages, page, &file->file_offset))
                        return fault(p, at, "NT_FILE's file offset overflows", -EBADMSG);
                before = file->end;
        }
        return 0;
}

/* NT_FILE: count, page size, count × entry, count × name (fill_files_note()). */
static int parse_files(struct parser *p, const struct core_note *note) {
        struct core_notes *notes = p->notes;
        struct cursor c = cursor_new(note->desc, note->size);
        uint64_t n, page;
        int r;

        if (notes->has_files)
                return fault(p, note->offset, "second NT_FILE", -EBADMSG);
        if (!cursor_u64(&c, &n) || !cursor_u64(&c, &page))
                return fault(p, note->offset, "NT_FILE ends inside its head", -EBADMSG);
        if (n > cursor_left(&c) / FILE_ENTRY_SIZE)
                return fault(p, note->offset, "NT_FILE counts more entries than it holds",
                             -EBADMSG);
        notes->files = calloc(n ? n : 1, sizeof(*notes->files));
        if (!notes->files)
                return -ENOMEM;

        r = parse_file_entries(p, note, &c, n, page);
        if (r < 0)
                return r;
        notes->names_offset = note->offset + cursor_pos(&c);
        notes->names_size = cursor_left(&c);
        for (uint64_t i = 0; i < n; i++) {
                const uint8_t *name = c.data + cursor_pos(&c);
                const uint8_t *end = memchr(name, '\0', cursor_left(&c));

                if (!end)
                        return fault(p, note->offset + cursor_pos(&c),
                                     "NT_FILE holds a name without an end", -EBADMSG);
                (void)cursor_skip(&c, (size_t)(end - name) + 1);
                notes->files[i].name = (const char *)name;
        }
        notes->n_files = n;
        notes->has_files = true;
        return 0;
}

static int parse_known(struct parser *p, const struct core_note *note) {
        switch (note->type) {
        case NT_PRSTATUS:
                return parse_prstatus(p, note);
        case NT_PRPSINFO:
                return parse_prpsinfo(p, note);
        case NT_SIGINFO:
                return parse_siginfo(p, note);
        case NT_AUXV:
                return parse_auxv(p, note);
        case NT_FILE:
                return parse_files(p, note);
        default:
                return 0;
        }
}

static bool name_is(const uint8_t *name, size_t size, const char *text) {
        return size == strlen(text) + 1 && memcmp(name, text, size) == 0;
}

/* The owner decides who gave the type its number: both of the kernel's count as one here, since
 * no type of "CORE" is also one of "LINUX". */
static int parse_one(struct parser *p, struct cursor *c, uint64_t base) {
        struct core_notes *notes = p->notes;
        struct core_note note = { 0 };
        uint32_t name_size, size;
        const uint8_t *name;
        int r;

        if (!cursor_u32(c, &name_size) || !cursor_u32(c, &size) || !cursor_u32(c, &note.type))
                return fault(p, base + cursor_pos(c), "notes end inside a note's head", -EBADMSG);
        name = cursor_take(c, name_size);
        if (!name || !cursor_align(c, NOTE_ALIGN))
                return fault(p, base + cursor_pos(c), "note's name runs past the notes", -EBADMSG);
        note.offset = base + cursor_pos(c);
        note.size = size;
        note.desc = cursor_take(c, size);
        if (!note.desc)
                return fault(p, note.offset, "note runs past the notes", -EBADMSG);
        /* The last one may lack its padding. */
        if (cursor_left(c) > 0 && !cursor_align(c, NOTE_ALIGN))
                return fault(p, base + cursor_pos(c), "note's padding runs past the notes",
                             -EBADMSG);
        note.is_core = name_is(name, name_size, "CORE") || name_is(name, name_size, "LINUX");

        if (notes->n_notes == CORE_NOTE_COUNT_MAX)
                return fault(p, note.offset, "too many notes", -E2BIG);
        r = array_grow(&notes->notes, &p->notes_room, notes->n_notes, CORE_NOTE_COUNT_MAX,
                       sizeof(note));
        if (r < 0)
                return r;
        notes->notes[notes->n_notes++] = note;
        return note.is_core ? parse_known(p, &note) : 0;
}

int core_notes_parse(const struct core_head *head, const uint8_t *bytes, struct core_notes **ret,
                     struct core_fault *ret_fault) {
        _cleanup_(cleanup_core_notes) struct core_notes *notes = calloc(1, sizeof(*notes));
        struct parser p = { .notes = notes, .ret_fault = ret_fault };
        struct cursor c = cursor_new(bytes + head->notes_offset, head->notes_size);
        int r;

        if (!notes)
                return -ENOMEM;
        while (cursor_left(&c) > 0) {
                r = parse_one(&p, &c, head->notes_offset);
                if (r < 0)
                        return r;
        }
        if (notes->n_threads == 0)
                return fault(&p, head->notes_offset, "no thread", -EBADMSG);
        *ret = TAKE_PTR(notes);
        return 0;
}

void core_notes_free(struct core_notes *notes) {
        if (!notes)
                return;
        free(notes->notes);
        free(notes->threads);
        free(notes->files);
        free(notes);
}

uint64_t core_auxv(const struct core_notes *notes, uint64_t type) {
        struct cursor c = cursor_new(notes->auxv, notes->auxv_size);
        uint64_t key, value;

        while (cursor_u64(&c, &key) && cursor_u64(&c, &value)) {
                if (key == AT_NULL)
                        return 0;
                if (key == type)
                        return value;
        }
        return 0;
}

const struct core_file *core_file_at(const struct core_notes *notes, uint64_t address) {
        size_t low = 0, high = notes->n_files;

        while (low < high) {
                size_t middle = low + (high - low) / 2;
                const struct core_file *file = &notes->files[middle];

                if (address < file->start)
                        high = middle;
                else if (address >= file->end)
                        low = middle + 1;
                else
                        return file;
        }
        return NULL;
}
