/* Any bytes as the front of a core: an answer, nothing
 * else. What is accepted must keep the promises that head.h and note.h make to their callers. */
#include <elf.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "core/head.h"
#include "core/note.h"

DEFINE_CLEANUP(head, struct core_head, core_head_free)
DEFINE_CLEANUP(notes, struct core_notes, core_notes_free)

#define REQUIRE(condition)                                                                         \
        do {                                                                                       \
                if (!(condition))                                                                  \
                        abort();                                                                   \
        } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require_head(const struct core_head *head, size_t size) {
        uint64_t end = head->size;

        REQUIRE(head->size <= size && head->size <= CORE_HEAD_MAX);
        REQUIRE(head->notes_offset + head->notes_size <= head->size);
        for (size_t i = 0; i < head->n_segments; i++) {
                const struct segment *s = &head->segments[i];
                uint64_t offset;

                if (s->file_size == 0)
                        continue;
                if (s->type != PT_LOAD)
                        continue;
                REQUIRE(s->offset >= end && s->file_size <= s->memory_size);
                end = s->offset + s->file_size;
                REQUIRE(core_segment_at(head, s->address) == s);
                REQUIRE(core_offset_of(head, s->address + s->file_size - 1, &offset));
                REQUIRE(offset == end - 1);
        }
        REQUIRE(head->end == end);
}

static void require_notes(const struct core_head *head, const struct core_notes *notes) {
        for (size_t i = 0; i < notes->n_notes; i++) {
                const struct core_note *note = &notes->notes[i];

                REQUIRE(note->offset >= head->notes_offset);
                REQUIRE(note->offset + note->size <= head->notes_offset + head->notes_size);
                REQUIRE(note->desc == head->bytes + note->offset);
        }
        for (size_t i = 0; i < notes->n_files; i++) {
                const struct core_file *file = &notes->files[i];

                REQUIRE(core_file_at(notes, file->start) == file);
                REQUIRE(strlen(file->name) < notes->names_size);
        }
        REQUIRE(notes->n_threads > 0);
        (void)core_auxv(notes, 25);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_close_ int fd = memfd_create("core", MFD_CLOEXEC);
        _cleanup_(cleanup_head) struct core_head *head = NULL;
        _cleanup_(cleanup_notes) struct core_notes *notes = NULL;
        struct core_fault fault;

        REQUIRE(fd >= 0 && io_write(fd, data, size) == 0 && lseek(fd, 0, SEEK_SET) == 0);
        if (core_head_read(fd, &head, &fault) < 0)
                return 0;
        require_head(head, size);
        if (core_notes_parse(head, head->bytes, &notes, &fault) < 0)
                return 0;
        require_notes(head, notes);
        return 0;
}
