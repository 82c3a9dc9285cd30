#include "sieve/walk.h"

#include "sieve/sieve.h"

int walk_extents(const struct plan *plan, uint64_t start, uint64_t end, walk_part part,
                 void *userdata) {
        const struct extent *extents;
        size_t n, low = 0, high;
        int r;

        extents = plan_extents(plan, &n);
        high = n;
        while (low < high) {
                size_t middle = low + (high - low) / 2;

                if (extents[middle].offset + extents[middle].size > start)
                        high = middle;
                else
                        low = middle + 1;
        }
        for (; low < n && extents[low].offset < end; low++) {
                uint64_t from = extents[low].offset, to = from + extents[low].size;

                if (from < start)
                        from = start;
                if (to > end)
                        to = end;
                r = part(userdata, from, to - from);
                if (r != 0)
                        return r;
        }
        return 0;
}

struct walk {
        struct source *source;
        uint8_t *buf;
        walk_tile tile;
        void *userdata;
};

static int walk_one(void *userdata, uint64_t offset, uint64_t size) {
        const struct walk *walk = userdata;
        int r;

        while (size > 0) {
                size_t n = size < SIEVE_TILE ? size : SIEVE_TILE;

                r = source_read(walk->source, offset, walk->buf, n);
                if (r < 0)
                        return r;
                r = walk->tile(walk->userdata, offset, walk->buf, n);
                if (r != 0)
                        return r;
                offset += n;
                size -= n;
        }
        return 0;
}

int walk_memory(struct source *source, const struct plan *plan, uint64_t start, uint64_t end,
                uint8_t *buf, walk_tile tile, void *userdata) {
        struct walk walk = { .source = source, .tile = tile, .userdata = userdata };

        walk.buf = buf;
        return walk_extents(plan, start, end, walk_one, &walk);
}
