#include "sieve/recheck.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "sieve/fill.h"

/* Karp and Rabin 1987: the hash of WINDOW bytes is a polynomial in BASE modulo 2^64, so that the
 * hash one byte further costs one multiplication. Its coefficients are not the bytes but 64 bits
 * drawn for each byte value, so that the last byte, too, reaches the high bits, which are looked
 * at. It is computed at every byte of memory; of the needles every eighth window is known: any
 * fragment holds one of them, and a hit is compared byte by byte to both sides. (The matcher in
 * secret/fragment.c does the reverse: every window of the needles, every eighth of memory.) */
#define BASE 0x9e3779b97f4a7c15ULL
#define WINDOW 8U

/* A filter of bits, one per hash, before the table: 32 in a word, found by the low bits. Its size
 * is one of few, so that the shift is a constant in the loop over every byte. */
#define FILTER_LOG_1 13U /* log2 of words: 32 KiB, an L1 cache */
#define FILTER_LOG_2 15U
#define FILTER_LOG_3 16U /* 256 KiB: half of an L2 cache */
#define FILTER_LOG_4 18U
#define FILTER_LOG_5 21U /* 8 MiB */
#define BITS_PER_HASH 64U

/* One multiplication waits for the one before; four places of a block do not. */
#define LANES 4U

#define TAIL (FRAGMENT_SIZE - 1U) /* bytes of the last block that a fragment may begin in */

_Static_assert(FRAGMENT_SIZE >= 2 * WINDOW - 1, "a fragment must hold a known window");
_Static_assert(NEEDLE_SIZE_MIN >= WINDOW, "so must a short needle");

struct window { /* where it stands in a needle */
        uint32_t needle, at;
};

struct recheck {
        const struct needle_set *set;
        const struct plan *plan;
        bool empty;

        uint64_t come[256]; /* by byte: its coefficient */
        uint64_t gone[256]; /* and what takes it away again: times BASE^WINDOW */
        uint32_t *filter;
        unsigned filter_log;
        struct window *slots; /* open addressing by hash; needle + 1, 0 is empty */
        uint16_t *tags;       /* some bits of each slot's hash */
        unsigned slots_shift;

        uint8_t tail[TAIL]; /* the last bytes before `next` */
        uint64_t next;      /* offset behind the last block */
};

/* Steele, Lea, Flood 2014 (splitmix64): bits without structure from a counter. */
static uint64_t mix(uint64_t x) {
        x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
        x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
        return x ^ x >> 31;
}

static uint64_t hash_of(const struct recheck *recheck, const uint8_t *at) {
        uint64_t h = 0;

        for (size_t i = 0; i < WINDOW; i++)
                h = h * BASE + recheck->come[at[i]];
        return h;
}

/* The hash one byte further: of at[1] to at[WINDOW]. */
static inline uint64_t hash_next(const struct recheck *recheck, uint64_t h, const uint8_t *at) {
        return h * BASE + recheck->come[at[WINDOW]] - recheck->gone[at[0]];
}

/* Not the bits that find the slot. */
static uint16_t tag_of(uint64_t h) {
        return (uint16_t)(h >> 5);
}

static uint32_t window_bit(uint64_t h) {
        return 1U << h % 32;
}

/* More than a few bytes between zeros, and no fill, which are all over a redacted core. */
static bool says_something(const uint8_t *at, size_t n) {
        uint8_t plain[FRAGMENT_SIZE];
        size_t zeros = 0;

        for (size_t i = 0; i < n; i++)
                zeros += at[i] == 0;
        if (n - zeros < FRAGMENT_NONZERO_MIN)
                return false;
        for (uint64_t phase = 0; phase < FILL_SIZE; phase++) {
                fill(plain, n, phase);
                if (memcmp(at, plain, n) == 0)
                        return false;
        }
        return true;
}

/* Do two windows have the same surroundings, as far as fragments around them reach? A needle
 * that repeats itself would otherwise fill the table with one hash. */
static bool same_surroundings(const struct needle *a, uint32_t a_at, const struct needle *b,
                              uint32_t b_at) {
        if (a == b && a_at == b_at)
                return true;
        return a_at >= WINDOW && b_at >= WINDOW && a->size - a_at >= FRAGMENT_SIZE &&
               b->size - b_at >= FRAGMENT_SIZE &&
               memcmp(a->bytes + a_at - WINDOW, b->bytes + b_at - WINDOW, WINDOW + FRAGMENT_SIZE) ==
                       0;
}

static void add_window(struct recheck *recheck, uint32_t number, uint32_t at) {
        const struct needle *needle = needle_set_at(recheck->set, number);
        uint64_t h = hash_of(recheck, needle->bytes + at);
        size_t mask = SIZE_MAX >> recheck->slots_shift, i = h >> recheck->slots_shift;

        for (; recheck->slots[i].needle != 0; i = (i + 1) & mask)
                if (recheck->tags[i] == tag_of(h) &&
                    same_surroundings(needle_set_at(recheck->set, recheck->slots[i].needle - 1),
                                      recheck->slots[i].at, needle, at))
                        return;
        recheck->slots[i] = (struct window){ number + 1, at };
        recheck->tags[i] = tag_of(h);
        recheck->filter[h >> (64 - recheck->filter_log)] |= window_bit(h);
}

/* Every eighth window of a needle; of a short one, which must match whole, the first. */
static size_t windows_of(const struct needle *needle) {
        return needle->size < FRAGMENT_SIZE ? 1 : needle->size / WINDOW;
}

static int build(struct recheck *recheck) {
        static const unsigned logs[] = { FILTER_LOG_1, FILTER_LOG_2, FILTER_LOG_3, FILTER_LOG_4,
                                         FILTER_LOG_5 };
        size_t n_needles = needle_set_count(recheck->set), n = 0, log = 0;
        unsigned slots = 4;
        uint64_t power = 1;

        for (size_t i = 0; i < n_needles; i++)
                n += windows_of(needle_set_at(recheck->set, i));
        recheck->empty = n == 0;
        while (log + 1 < ARRAY_SIZE(logs) && ((size_t)32 << logs[log]) < n * BITS_PER_HASH)
                log++;
        while (((size_t)1 << slots) < n + n / 2)
                slots++;
        recheck->filter_log = logs[log];
        recheck->filter = calloc((size_t)1 << logs[log], sizeof(*recheck->filter));
        recheck->slots = calloc((size_t)1 << slots, sizeof(*recheck->slots));
        recheck->tags = calloc((size_t)1 << slots, sizeof(*recheck->tags));
        recheck->slots_shift = 64 - slots;
        if (!recheck->filter || !recheck->slots || !recheck->tags)
                return -ENOMEM;

        for (size_t i = 0; i < WINDOW; i++)
                power *= BASE;
        for (uint64_t byte = 0; byte < 256; byte++) {
                recheck->come[byte] = mix((byte + 1) * BASE);
                recheck->gone[byte] = recheck->come[byte] * power;
        }
        for (size_t i = 0; i < n_needles; i++)
                for (size_t k = 0; k < windows_of(needle_set_at(recheck->set, i)); k++)
                        add_window(recheck, (uint32_t)i, (uint32_t)(k * WINDOW));
        return 0;
}

int recheck_new(const struct needle_set *set, const struct plan *plan, struct recheck **ret) {
        struct recheck *recheck = calloc(1, sizeof(*recheck));
        int r;

        if (!recheck)
                return -ENOMEM;
        recheck->set = set;
        recheck->plan = plan;
        r = build(recheck);
        if (r < 0) {
                recheck_free(recheck);
                return r;
        }
        *ret = recheck;
        return 0;
}

void recheck_free(struct recheck *recheck) {
        if (!recheck)
                return;
        explicit_bzero(recheck->tail, sizeof(recheck->tail));
        free(recheck->filter);
        free(recheck->slots);
        free(recheck->tags);
        free(recheck);
}

/* A stretch of the core, as it is about to be written. */
struct stretch {
        uint64_t offset;
        const uint8_t *buf;
        size_t n;
};

static bool counts(const struct recheck *recheck, const struct stretch *s, size_t at, size_t n) {
        return says_something(s->buf + at, n) &&
               !(recheck->plan && plan_is_spared(recheck->plan, s->offset + at, n));
}

/* The window at `at` equals the one at `from` of the needle: does a fragment around it? */
static bool is_secret_around(const struct recheck *recheck, const struct stretch *s, size_t at,
                             const struct needle *needle, size_t from) {
        size_t before = 0, behind = WINDOW;

        if (needle->size < FRAGMENT_SIZE)
                return needle->size <= s->n - at &&
                       memcmp(s->buf + at, needle->bytes, needle->size) == 0 &&
                       counts(recheck, s, at, needle->size);
        while (before < WINDOW - 1 && before < at && before < from &&
               s->buf[at - before - 1] == needle->bytes[from - before - 1])
                before++;
        while (behind < FRAGMENT_SIZE && behind < s->n - at && behind < needle->size - from &&
               s->buf[at + behind] == needle->bytes[from + behind])
                behind++;
        for (size_t start = at - before; start + FRAGMENT_SIZE <= at + behind; start++)
                if (counts(recheck, s, start, FRAGMENT_SIZE))
                        return true;
        return false;
}

/* The hash of the window at `at` is in the filter. */
static __attribute__((noinline)) bool is_secret(const struct recheck *recheck, uint64_t h,
                                                const struct stretch *s, size_t at) {
        size_t mask = SIZE_MAX >> recheck->slots_shift;

        for (size_t i = h >> recheck->slots_shift; recheck->slots[i].needle != 0;
             i = (i + 1) & mask) {
                const struct needle *needle;
                struct window window = recheck->slots[i];

                if (recheck->tags[i] != tag_of(h))
                        continue;
                needle = needle_set_at(recheck->set, window.needle - 1);
                if (memcmp(s->buf + at, needle->bytes + window.at, WINDOW) == 0 &&
                    is_secret_around(recheck, s, at, needle, window.at))
                        return true;
        }
        return false;
}

static inline uint32_t filter_get(const struct recheck *recheck, uint64_t h, unsigned log) {
        return recheck->filter[h >> (64 - log)] >> h % 32;
}

/* Places [from, to), each with WINDOW bytes behind it. */
static bool scan_places(const struct recheck *recheck, const struct stretch *s, size_t from,
                        size_t to) {
        uint64_t h;

        if (from >= to)
                return false;
        h = hash_of(recheck, s->buf + from);
        for (size_t at = from;; at++) {
                if ((filter_get(recheck, h, recheck->filter_log) & 1) &&
                    is_secret(recheck, h, s, at))
                        return true;
                if (at + 1 == to)
                        return false;
                h = hash_next(recheck, h, s->buf + at);
        }
}

/* The same in lanes side by side, `each` places long, from the first place on. `log` is that of
 * the filter: a constant where this is called. */
static inline __attribute__((always_inline)) bool
scan_lanes(const struct recheck *recheck, const struct stretch *s, size_t each, unsigned log) {
        const uint8_t *a = s->buf, *b = a + each, *c = b + each, *d = c + each;
        uint64_t ha = hash_of(recheck, a), hb = hash_of(recheck, b);
        uint64_t hc = hash_of(recheck, c), hd = hash_of(recheck, d);

        for (size_t i = 0; i < each; i++) {
                uint32_t in_a = filter_get(recheck, ha, log), in_b = filter_get(recheck, hb, log);
                uint32_t in_c = filter_get(recheck, hc, log), in_d = filter_get(recheck, hd, log);

                if (__builtin_expect((in_a | in_b | in_c | in_d) & 1, 0) &&
                    (((in_a & 1) && is_secret(recheck, ha, s, i)) ||
                     ((in_b & 1) && is_secret(recheck, hb, s, each + i)) ||
                     ((in_c & 1) && is_secret(recheck, hc, s, 2 * each + i)) ||
                     ((in_d & 1) && is_secret(recheck, hd, s, 3 * each + i))))
                        return true;
                ha = hash_next(recheck, ha, a + i);
                hb = hash_next(recheck, hb, b + i);
                hc = hash_next(recheck, hc, c + i);
                hd = hash_next(recheck, hd, d + i);
        }
        return false;
}

static bool scan_in_lanes(const struct recheck *recheck, const struct stretch *s, size_t each) {
        switch (recheck->filter_log) {
        case FILTER_LOG_1:
                return scan_lanes(recheck, s, each, FILTER_LOG_1);
        case FILTER_LOG_2:
                return scan_lanes(recheck, s, each, FILTER_LOG_2);
        case FILTER_LOG_3:
                return scan_lanes(recheck, s, each, FILTER_LOG_3);
        case FILTER_LOG_4:
                return scan_lanes(recheck, s, each, FILTER_LOG_4);
        default:
                return scan_lanes(recheck, s, each, FILTER_LOG_5);
        }
}

static bool holds_secret(const struct recheck *recheck, const struct stretch *s) {
        size_t places = s->n < WINDOW ? 0 : s->n - WINDOW + 1;
        /* A lane steps one byte beyond its last place. */
        size_t each = places == 0 ? 0 : (places - 1) / LANES;

        if (recheck->empty)
                return false;
        if (each > 0 && scan_in_lanes(recheck, s, each))
                return true;
        return scan_places(recheck, s, each * LANES, places);
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
