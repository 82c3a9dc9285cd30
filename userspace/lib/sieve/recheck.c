#include "sieve/recheck.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "sieve/fill.h"

/* Karp and Rabin 1987: the hash of `width` bytes is a polynomial in BASE modulo 2^64, so that the
 * hash one byte further costs one multiplication. One roll finds fragments, a second one (only
 * if there are any) the first bytes of needles that are shorter than a fragment. */
#define BASE 0x9e3779b97f4a7c15ULL
#define SPREAD 0xd6e8feb86659fd93ULL /* the low bits of a polynomial decide little: spread them */

#define BITS_PER_HASH 64U
#define BITS_LOG_MIN 12U
#define BITS_LOG_MAX 23U /* 1 MiB */

/* One multiplication waits for the one before; four places of a block do not. */
#define LANES 4U

#define TAIL (FRAGMENT_SIZE - 1U) /* bytes of the last block that a fragment may begin in */

struct roll {
        size_t width;
        uint64_t out; /* BASE^width: takes the oldest byte away */
        uint64_t *seen;
        unsigned seen_shift;
        uint32_t *slots; /* place + 1 in `bytes`; open addressing by hash */
        unsigned slots_shift;
};

struct recheck {
        const struct plan *plan;
        uint8_t *bytes; /* all needles, each with its size before it */
        size_t n_bytes;
        struct roll fragments, prefixes;
        bool has_fragments, has_prefixes;
        uint8_t tail[TAIL]; /* the last bytes before `next` */
        uint64_t next;      /* offset behind the last block */
};

DEFINE_CLEANUP(recheck, struct recheck, recheck_free)

static uint64_t hash_of(const uint8_t *at, size_t width) {
        uint64_t h = 0;

        for (size_t i = 0; i < width; i++)
                h = h * BASE + at[i];
        return h;
}

static int roll_init(struct roll *roll, size_t width, size_t n) {
        unsigned bits = BITS_LOG_MIN, slots = 4;

        roll->width = width;
        roll->out = 1;
        for (size_t i = 0; i < width; i++)
                roll->out *= BASE;
        while (bits < BITS_LOG_MAX && ((size_t)1 << bits) < n * BITS_PER_HASH)
                bits++;
        while (((size_t)1 << slots) < n + n / 4 + 1)
                slots++;
        roll->seen = calloc(((size_t)1 << bits) / 64, sizeof(*roll->seen));
        roll->slots = calloc((size_t)1 << slots, sizeof(*roll->slots));
        roll->seen_shift = 64 - bits;
        roll->slots_shift = 64 - slots;
        return roll->seen && roll->slots ? 0 : -ENOMEM;
}

/* Neither zeros nor fill, which are all over a redacted core. */
static bool says_something(const uint8_t *at, size_t n) {
        uint8_t plain[FRAGMENT_SIZE] = { 0 };

        if (memcmp(at, plain, n) == 0)
                return false;
        for (uint64_t phase = 0; phase < FILL_SIZE; phase++) {
                fill(plain, n, phase);
                if (memcmp(at, plain, n) == 0)
                        return false;
        }
        return true;
}

/* Notes the `size` bytes at `place`, found by the hash of their first `width`. */
static void roll_add(struct recheck *recheck, struct roll *roll, size_t place, size_t size) {
        const uint8_t *at = recheck->bytes + place;
        uint64_t h = hash_of(at, roll->width) * SPREAD, bit = h >> roll->seen_shift;
        size_t mask = SIZE_MAX >> roll->slots_shift, i = h >> roll->slots_shift;

        if (!says_something(at, size))
                return;
        for (; roll->slots[i] != 0; i = (i + 1) & mask)
                if (roll == &recheck->fragments &&
                    memcmp(recheck->bytes + roll->slots[i] - 1, at, size) == 0)
                        return;
        roll->slots[i] = (uint32_t)place + 1;
        roll->seen[bit / 64] |= 1ULL << bit % 64;
}

/* One byte with the size stands before a short needle, so that a place alone tells it. */
static int copy_needles(struct recheck *recheck, const struct needle_set *set) {
        size_t n = needle_set_count(set), place = 0;

        for (size_t i = 0; i < n; i++)
                recheck->n_bytes += needle_set_at(set, i)->size + 1;
        recheck->bytes = malloc(recheck->n_bytes + 1);
        if (!recheck->bytes)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                const struct needle *needle = needle_set_at(set, i);
                bool is_short = needle->size < FRAGMENT_SIZE;

                recheck->bytes[place++] = is_short ? (uint8_t)needle->size : 0;
                memcpy(recheck->bytes + place, needle->bytes, needle->size);
                if (is_short)
                        roll_add(recheck, &recheck->prefixes, place, needle->size);
                for (size_t k = 0; k + FRAGMENT_SIZE <= needle->size; k++)
                        roll_add(recheck, &recheck->fragments, place + k, FRAGMENT_SIZE);
                place += needle->size;
        }
        return 0;
}

int recheck_new(const struct needle_set *set, const struct plan *plan, struct recheck **ret) {
        _cleanup_(cleanup_recheck) struct recheck *recheck = calloc(1, sizeof(*recheck));
        size_t n_fragments = 0, n_short = 0;
        int r;

        if (!recheck)
                return -ENOMEM;
        for (size_t i = 0; i < needle_set_count(set); i++) {
                size_t size = needle_set_at(set, i)->size;

                n_fragments += size < FRAGMENT_SIZE ? 0 : size - FRAGMENT_SIZE + 1;
                n_short += size < FRAGMENT_SIZE;
        }
        recheck->plan = plan;
        recheck->has_fragments = n_fragments > 0;
        recheck->has_prefixes = n_short > 0;
        r = roll_init(&recheck->fragments, FRAGMENT_SIZE, n_fragments);
        if (r < 0)
                return r;
        r = roll_init(&recheck->prefixes, NEEDLE_SIZE_MIN, n_short);
        if (r < 0)
                return r;
        r = copy_needles(recheck, set);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(recheck);
        return 0;
}

void recheck_free(struct recheck *recheck) {
        if (!recheck)
                return;
        if (recheck->bytes)
                explicit_bzero(recheck->bytes, recheck->n_bytes);
        explicit_bzero(recheck->tail, sizeof(recheck->tail));
        free(recheck->bytes);
        free(recheck->fragments.seen);
        free(recheck->fragments.slots);
        free(recheck->prefixes.seen);
        free(recheck->prefixes.slots);
        free(recheck);
}

/* A stretch of the core, as it is about to be written. */
struct stretch {
        uint64_t offset;
        const uint8_t *buf;
        size_t n;
};

/* The hash at `at` was seen: is a needle there, and not in a range that is kept on purpose? */
static bool is_secret(const struct recheck *recheck, const struct roll *roll, uint64_t h,
                      const struct stretch *s, size_t at) {
        size_t mask = SIZE_MAX >> roll->slots_shift;

        for (size_t i = h >> roll->slots_shift; roll->slots[i] != 0; i = (i + 1) & mask) {
                const uint8_t *needle = recheck->bytes + roll->slots[i] - 1;
                size_t size = roll->width == FRAGMENT_SIZE ? FRAGMENT_SIZE : needle[-1];

                if (size <= s->n - at && memcmp(s->buf + at, needle, size) == 0 &&
                    !plan_is_spared(recheck->plan, s->offset + at, size))
                        return true;
        }
        return false;
}

static inline bool roll_seen(const struct roll *roll, uint64_t h) {
        uint64_t bit = h >> roll->seen_shift;

        return roll->seen[bit / 64] >> bit % 64 & 1;
}

/* Places [from, to), each with `width` bytes behind it. */
static bool scan_places(const struct recheck *recheck, const struct roll *roll,
                        const struct stretch *s, size_t from, size_t to) {
        const uint8_t *buf = s->buf;
        uint64_t h;

        if (from >= to)
                return false;
        h = hash_of(buf + from, roll->width);
        for (size_t at = from;; at++) {
                if (roll_seen(roll, h * SPREAD) && is_secret(recheck, roll, h * SPREAD, s, at))
                        return true;
                if (at + 1 == to)
                        return false;
                h = h * BASE + buf[at + roll->width] - roll->out * buf[at];
        }
}

/* The same places in lanes side by side, `each` long, from place 0 on. */
static bool scan_lanes(const struct recheck *recheck, const struct roll *roll,
                       const struct stretch *s, size_t each) {
        const size_t width = roll->width;
        const uint64_t out = roll->out;
        uint64_t h[LANES];

        if (each == 0)
                return false;
        for (size_t lane = 0; lane < LANES; lane++)
                h[lane] = hash_of(s->buf + lane * each, width);
        for (size_t i = 0; i < each; i++) {
                bool any = false;

                for (size_t lane = 0; lane < LANES; lane++)
                        any |= roll_seen(roll, h[lane] * SPREAD);
                for (size_t lane = 0; any && lane < LANES; lane++)
                        if (roll_seen(roll, h[lane] * SPREAD) &&
                            is_secret(recheck, roll, h[lane] * SPREAD, s, lane * each + i))
                                return true;
                for (size_t lane = 0; lane < LANES; lane++) {
                        const uint8_t *at = s->buf + lane * each + i;

                        h[lane] = h[lane] * BASE + at[width] - out * at[0];
                }
        }
        return false;
}

static bool scan(const struct recheck *recheck, const struct roll *roll, const struct stretch *s) {
        size_t places = s->n < roll->width ? 0 : s->n - roll->width + 1;
        /* A lane steps one byte beyond its last place. */
        size_t each = places == 0 ? 0 : (places - 1) / LANES;

        return scan_lanes(recheck, roll, s, each) ||
               scan_places(recheck, roll, s, each * LANES, places);
}

static bool holds_secret(const struct recheck *recheck, const struct stretch *s) {
        return (recheck->has_fragments && scan(recheck, &recheck->fragments, s)) ||
               (recheck->has_prefixes && scan(recheck, &recheck->prefixes, s));
}

/* The tail with `n` bytes behind it (TAIL at most), which follow it in the core. */
static bool seam_holds_secret(const struct recheck *recheck, const uint8_t *behind, size_t n) {
        uint8_t seam[2 * TAIL];
        /* Before the first byte of the core there is nothing, not zeros. */
        size_t before = recheck->next < TAIL ? (size_t)recheck->next : TAIL;
        struct stretch joined = { recheck->next - before, seam + TAIL - before, before + n };
        bool found;

        memcpy(seam, recheck->tail, TAIL);
        memcpy(seam + TAIL, behind, n);
        found = holds_secret(recheck, &joined);
        explicit_bzero(seam, sizeof(seam));
        return found;
}

static void tail_keep(struct recheck *recheck, const uint8_t *buf, size_t n) {
        size_t fresh = n < TAIL ? n : TAIL;

        memmove(recheck->tail, recheck->tail + fresh, TAIL - fresh);
        memcpy(recheck->tail + TAIL - fresh, buf + n - fresh, fresh);
}

int recheck_block(struct recheck *recheck, uint64_t offset, const uint8_t *buf, size_t n) {
        static const uint8_t zeros[TAIL];
        struct stretch block = { offset, buf, n };

        if (offset < recheck->next || n > UINT64_MAX - offset)
                return -EINVAL;
        if (offset > recheck->next) {
                uint64_t gap = offset - recheck->next;
                size_t hole = gap < TAIL ? (size_t)gap : TAIL;

                if (seam_holds_secret(recheck, zeros, hole))
                        return -EBADMSG;
                tail_keep(recheck, zeros, hole);
                recheck->next = offset;
        }
        if (seam_holds_secret(recheck, buf, n < TAIL ? n : TAIL) || holds_secret(recheck, &block))
                return -EBADMSG;
        tail_keep(recheck, buf, n);
        recheck->next = offset + n;
        return 0;
}
