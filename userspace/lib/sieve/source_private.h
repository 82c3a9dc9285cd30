/* source_private: what the live and the file source share. Included by source*.c only. */
#pragma once

#include "sieve/source.h"

struct source {
        const struct core_head *head;
        const struct core_notes *notes;
        const struct source_kind *kind;
        uint32_t *loads; /* indices of the PT_LOADs with bytes in the file, by offset */
        size_t n_loads;
        int fd; /* mem, or the core file */
        /* live only */
        int pagemap_fd;
        bool no_scan; /* the kernel lacks PAGEMAP_SCAN (before 6.7) */
};

struct source_kind {
        /* Adds what of one segment must be read. */
        int (*add_segment)(struct source *source, const struct segment *segment, struct plan *plan);
        /* After all segments: were they those of a living process? */
        int (*finish)(struct source *source);
        /* Reads bytes that lie in one segment of the file. */
        int (*read)(struct source *source, const struct segment *segment, uint64_t offset,
                    void *buf, size_t n);
        int (*read_address)(struct source *source, uint64_t address, void *buf, size_t n);
};

int source_new(const struct core_head *head, const struct core_notes *notes,
               const struct source_kind *kind, int fd, struct source **ret);
