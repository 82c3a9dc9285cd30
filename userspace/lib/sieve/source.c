#include "sieve/source.h"

#include <elf.h>
#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "sieve/source_private.h"

DEFINE_CLEANUP(source, struct source, source_free)

static int index_loads(struct source *source, const struct core_head *head) {
        source->loads = calloc(head->n_segments ? head->n_segments : 1, sizeof(*source->loads));
        if (!source->loads)
                return -ENOMEM;
        for (size_t i = 0; i < head->n_segments; i++)
                if (head->segments[i].type == PT_LOAD && head->segments[i].file_size > 0)
                        source->loads[source->n_loads++] = (uint32_t)i;
        return 0;
}

int source_new(const struct core_head *head, const struct core_notes *notes,
               const struct source_kind *kind, int fd, struct source **ret) {
        _cleanup_(cleanup_source) struct source *source = calloc(1, sizeof(*source));
        int r;

        if (!source)
                return -ENOMEM;
        source->head = head;
        source->notes = notes;
        source->kind = kind;
        source->fd = fd;
        source->pagemap_fd = -1;
        r = index_loads(source, head);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(source);
        return 0;
}

void source_free(struct source *source) {
        if (!source)
                return;
        free(source->loads);
        free(source);
}

int source_add_extents(struct source *source, struct plan *plan) {
        for (size_t i = 0; i < source->n_loads; i++) {
                int r = source->kind->add_segment(source, &source->head->segments[source->loads[i]],
                                                  plan);

                if (r < 0)
                        return r;
        }
        return source->kind->finish(source);
}

/* The PT_LOAD whose bytes in the file hold `offset`, or NULL. */
static const struct segment *segment_at_offset(const struct source *source, uint64_t offset) {
        size_t low = 0, high = source->n_loads;

        while (low < high) {
                size_t middle = low + (high - low) / 2;
                const struct segment *s = &source->head->segments[source->loads[middle]];

                if (offset < s->offset)
                        high = middle;
                else if (offset - s->offset >= s->file_size)
                        low = middle + 1;
                else
                        return s;
        }
        return NULL;
}

int source_read(struct source *source, uint64_t offset, void *buf, size_t n) {
        uint8_t *to = buf;

        while (n > 0) {
                const struct segment *s = segment_at_offset(source, offset);
                size_t k = n;
                int r;

                if (!s)
                        return -EINVAL;
                if (k > s->file_size - (offset - s->offset))
                        k = (size_t)(s->file_size - (offset - s->offset));
                r = source->kind->read(source, s, offset, to, k);
                if (r < 0)
                        return r;
                to += k;
                offset += k;
                n -= k;
        }
        return 0;
}

int source_read_address(struct source *source, uint64_t address, void *buf, size_t n) {
        return source->kind->read_address(source, address, buf, n);
}
