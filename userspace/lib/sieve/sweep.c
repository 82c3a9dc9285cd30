#include "sieve/sweep.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/param.h>

#include "base/cleanup.h"
#include "sieve/sieve.h"

/* Rule R looks at whole words: windows begin and end at them. */
#define WORD_SIZE 8U

/* Of a window that is erased in part, this much is pulled or left out at a time: small enough for
 * what level `stacks` erases around a kept page, large enough for the system call to cost little.
 */
#define SKIP_STEP (64U << 10)

#define WINDOW_MAX (SIEVE_TILE + SWEEP_AHEAD)

struct reader {
        struct sweep *sweep;
        const struct extent *extents;
        size_t n_extents, next; /* the first extent that ends behind the place of reading */
        uint8_t *bytes;         /* SWEEP_BEFORE, WINDOW_MAX, SWEEP_BEFORE */
};

struct piece {
        uint64_t n;
        bool hole;
};

/* Each 8 bytes are compared with the 8 before: one memcmp at memory speed. */
bool bytes_are_zero(const uint8_t *buf, size_t n) {
        static const uint8_t zeros[WORD_SIZE];

        if (n <= sizeof(zeros))
                return memcmp(buf, zeros, n) == 0;
        return memcmp(buf, zeros, sizeof(zeros)) == 0 &&
               memcmp(buf, buf + sizeof(zeros), n - sizeof(zeros)) == 0;
}

/* What comes next at `at`: a hole, or at most `max` bytes that are to be read. 0: the end. */
static struct piece reader_next(struct reader *reader, uint64_t at, uint64_t max) {
        const struct core_head *head = reader->sweep->head;
        const struct extent *e;
        uint64_t start, end;

        if (at < head->size)
                return (struct piece){ .n = MIN(max, head->size - at) };
        while (reader->next < reader->n_extents &&
               reader->extents[reader->next].offset + reader->extents[reader->next].size <= at)
                reader->next++;
        if (reader->next == reader->n_extents)
                return (struct piece){ .n = head->end - at, .hole = true };

        e = &reader->extents[reader->next];
        start = MAX(e->offset & ~(uint64_t)(WORD_SIZE - 1), at);
        if (start - at >= SWEEP_HOLE_MIN)
                return (struct piece){ .n = start - at, .hole = true };
        end = MIN((e->offset + e->size + WORD_SIZE - 1) & ~(uint64_t)(WORD_SIZE - 1), head->end);
        return (struct piece){ .n = MIN(max, end - at) };
}

/* Reads a part of one extent; what the plan erases whole steps of is left as zeros. */
static int read_part(struct sweep *sweep, uint64_t from, uint64_t stop, uint8_t *to) {
        bool whole = !sweep->skip_erased || plan_is_kept(sweep->plan, from, stop - from);

        for (uint64_t next; from < stop; to += next - from, from = next) {
                int r;

                next = whole ? stop : MIN(from + SKIP_STEP, stop);
                if (!whole && plan_is_erased(sweep->plan, from, next - from))
                        continue;
                r = source_read(sweep->source, from, to, next - from);
                if (r < 0)
                        return r;
                sweep->memory_read += next - from;
        }
        return 0;
}

static int read_extents(const struct reader *reader, uint64_t at, uint8_t *to, size_t n) {
        uint64_t end = at + n;

        memset(to, 0, n);
        for (size_t i = reader->next; i < reader->n_extents && reader->extents[i].offset < end;
             i++) {
                const struct extent *e = &reader->extents[i];
                uint64_t from = MAX(e->offset, at), stop = MIN(e->offset + e->size, end);
                int r;

                if (from >= stop)
                        continue;
                r = read_part(reader->sweep, from, stop, to + (from - at));
                if (r < 0)
                        return r;
        }
        return 0;
}

/* Fills the window, which holds `have` bytes from `at` on, as far as there is data. *ret_ended:
 * a hole or the end of the core follows. */
static int reader_fill(struct reader *reader, uint64_t at, size_t *have, bool *ret_ended) {
        const struct core_head *head = reader->sweep->head;
        uint8_t *window = reader->bytes + SWEEP_BEFORE;
        int r;

        while (*have < WINDOW_MAX) {
                uint64_t place = at + *have;
                struct piece piece = reader_next(reader, place, WINDOW_MAX - *have);

                if (piece.hole || piece.n == 0) {
                        memset(window + *have, 0, SWEEP_BEFORE);
                        *ret_ended = true;
                        return 0;
                }
                if (place < head->size) {
                        memcpy(window + *have, head->bytes + place, piece.n);
                } else {
                        r = read_extents(reader, place, window + *have, piece.n);
                        if (r < 0)
                                return r;
                }
                *have += piece.n;
        }
        *ret_ended = false;
        return 0;
}

int sweep_run(struct sweep *sweep, sweep_each each, void *userdata) {
        _cleanup_free_ uint8_t *bytes = calloc(1, SWEEP_BEFORE + WINDOW_MAX + SWEEP_BEFORE);
        struct reader reader = { .sweep = sweep, .bytes = bytes };
        uint64_t at = 0;
        size_t have = 0;
        bool fresh = true;
        int r;

        if (!bytes)
                return -ENOMEM;
        reader.extents = plan_extents(sweep->plan, &reader.n_extents);

        while (at < sweep->head->end) {
                struct sweep_window window = { .offset = at,
                                               .bytes = bytes + SWEEP_BEFORE,
                                               .fresh = fresh };
                bool ended;

                r = reader_fill(&reader, at, &have, &ended);
                if (r < 0)
                        return r;
                if (have == 0) {
                        window.bytes = NULL;
                        window.n = reader_next(&reader, at, UINT64_MAX).n;
                        memset(bytes, 0, SWEEP_BEFORE);
                } else {
                        window.n = MIN(have, SIEVE_TILE);
                        window.ahead = have - window.n + (ended ? SWEEP_BEFORE : 0);
                }
                fresh = !window.bytes;
                r = each(userdata, &window);
                if (r != 0)
                        return r;
                at += window.n;
                if (have > 0) {
                        have -= window.n;
                        memmove(bytes, bytes + window.n, SWEEP_BEFORE + have);
                }
        }
        return 0;
}
