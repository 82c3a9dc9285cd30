#include "secret/fragment.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "sieve/fill.h"

/* Two filters and a table. Any fragment, wherever it begins, covers one 8-aligned word, so only
 * aligned words are looked at. The first filter is small enough for the cache and lets through
 * about one random word in a hundred, the second one (another hash, more bits) few of those.
 * What is left is looked up exactly: each of the 8 fragments around the word, in a table of all
 * distinct fragments. So the cost of a word has a bound, however often needles repeat. */
#define WINDOW 8U
#define FIRST_BITS_PER_WINDOW 64U
#define FIRST_BITS_LOG_MIN 12U
#define FIRST_BITS_LOG_MAX 22U /* 512 KiB: an L2 cache */
#define SECOND_BITS_PER_WINDOW 32U
#define SECOND_BITS_LOG_MIN 12U
#define SECOND_BITS_LOG_MAX 29U /* 64 MiB: NEEDLE_BYTES_MAX windows */

/* Short needles: 4-aligned words of memory, and exactly one of a needle's first 4 windows. */
#define SHORT_WINDOW 4U
#define SHORT_BITS_LOG_MIN 12U
#define SHORT_BITS_LOG_MAX 20U
#define SHORT_SIZES (FRAGMENT_SIZE - NEEDLE_SIZE_MIN)

#define UNROLLED 4U /* words of one turn of the loop */

_Static_assert(FRAGMENT_SIZE == 2 * WINDOW, "a fragment must cover an aligned word");
_Static_assert(NEEDLE_SIZE_MIN >= 2 * SHORT_WINDOW - 1, "so must a short needle");

/* Odd, without structure: fractions of sqrt(2), sqrt(3), sqrt(5). */
#define HASH_A 0x6a09e667f3bcc909ULL
#define HASH_B 0xbb67ae8584caa73bULL
#define HASH_C 0x3c6ef372fe94f82bULL

struct filter {
        uint64_t *words;
        unsigned shift; /* of a 64-bit hash, to the number of a bit */
};

struct fragment_index {
        const struct needle_set *set;
        size_t n_needles; /* the set may grow later */
        uint8_t *bytes;   /* the needles one behind the other: fragments are places in here */
        uint32_t *starts; /* of each needle in `bytes`, rising; one more: the end */
        size_t n_bytes;

        struct filter first, second;
        uint32_t *table; /* place + 1 of a fragment, by hash; open addressing */
        unsigned table_shift;

        bool has_short;
        uint32_t short_sizes; /* bit n: a short needle of NEEDLE_SIZE_MIN + n bytes */
        struct filter short_first, short_prefix;
        uint32_t *short_table; /* needle + 1, by hash of all its bytes */
        unsigned short_shift;
};

static uint64_t load64(const uint8_t *at) {
        uint64_t v;

        memcpy(&v, at, sizeof(v));
        return v;
}

static uint32_t load32(const uint8_t *at) {
        uint32_t v;

        memcpy(&v, at, sizeof(v));
        return v;
}

static uint64_t fragment_hash(const uint8_t *at) {
        uint64_t h = load64(at) * HASH_A;

        return ((h ^ h >> 32) + load64(at + WINDOW)) * HASH_B;
}

/* Covers all of 8 to 15 bytes: the first and the last eight, and how many. */
static uint64_t short_hash(const uint8_t *at, size_t size) {
        uint64_t h = load64(at) * HASH_A + size;

        return ((h ^ h >> 32) + load64(at + size - WINDOW)) * HASH_B;
}

static int filter_new(struct filter *filter, size_t n, size_t bits_each, unsigned log_min,
                      unsigned log_max) {
        unsigned log = log_min;

        while (log < log_max && ((size_t)1 << log) < n * bits_each)
                log++;
        filter->words = calloc(((size_t)1 << log) / 64, sizeof(uint64_t));
        filter->shift = 64 - log;
        return filter->words ? 0 : -ENOMEM;
}

static inline void filter_set(struct filter *filter, uint64_t hash) {
        uint64_t bit = hash >> filter->shift;

        filter->words[bit / 64] |= 1ULL << bit % 64;
}

static inline uint64_t filter_get(const struct filter *filter, uint64_t hash) {
        uint64_t bit = hash >> filter->shift;

        return filter->words[bit / 64] >> bit % 64 & 1;
}

/* Hardly more than zeros, or nothing but the fill in any phase: says nothing, and is everywhere. */
static bool is_nothing(const uint8_t *at, size_t size) {
        unsigned nonzero = 0;

        for (size_t i = 0; i < size; i++)
                nonzero += at[i] != 0;
        if (nonzero < FRAGMENT_NONZERO_MIN)
                return true;
        for (size_t phase = 0; phase < FILL_SIZE; phase++) {
                size_t i = 0;

                while (i < size && at[i] == (uint8_t)FILL_WORD[(phase + i) % FILL_SIZE])
                        i++;
                if (i == size)
                        return true;
        }
        return false;
}

/* The fragment at `at`: its place in the needles' bytes + 1, or 0; the slot otherwise. */
static uint32_t *table_slot(const struct fragment_index *index, const uint8_t *at) {
        size_t mask = SIZE_MAX >> index->table_shift;

        for (size_t i = fragment_hash(at) >> index->table_shift;; i = (i + 1) & mask) {
                uint32_t place = index->table[i];

                if (place == 0 || memcmp(index->bytes + place - 1, at, FRAGMENT_SIZE) == 0)
                        return &index->table[i];
        }
}

static uint32_t *short_slot(const struct fragment_index *index, const uint8_t *at, size_t size) {
        size_t mask = SIZE_MAX >> index->short_shift;

        for (size_t i = short_hash(at, size) >> index->short_shift;; i = (i + 1) & mask) {
                const struct needle *needle;

                if (index->short_table[i] == 0)
                        return &index->short_table[i];
                needle = needle_set_at(index->set, index->short_table[i] - 1);
                if (needle->size == size && memcmp(needle->bytes, at, size) == 0)
                        return &index->short_table[i];
        }
}

/* The smallest power of two of slots that stays under 4/5 full. */
static int table_new(size_t n, uint32_t **ret, unsigned *ret_shift) {
        unsigned log = 4;

        while (((size_t)1 << log) * 4 / 5 < n)
                log++;
        *ret = calloc((size_t)1 << log, sizeof(uint32_t));
        *ret_shift = 64 - log;
        return *ret ? 0 : -ENOMEM;
}

static int copy_needles(struct fragment_index *index) {
        size_t at = 0;

        for (size_t i = 0; i < index->n_needles; i++)
                index->n_bytes += needle_set_at(index->set, i)->size;
        index->bytes = malloc(index->n_bytes + 1);
        index->starts = calloc(index->n_needles + 1, sizeof(*index->starts));
        if (!index->bytes || !index->starts)
                return -ENOMEM;
        for (size_t i = 0; i < index->n_needles; i++) {
                const struct needle *needle = needle_set_at(index->set, i);

                index->starts[i] = (uint32_t)at;
                memcpy(index->bytes + at, needle->bytes, needle->size);
                at += needle->size;
        }
        index->starts[index->n_needles] = (uint32_t)at;
        return 0;
}

static void add_fragments(struct fragment_index *index, size_t i) {
        size_t end = index->starts[i + 1];

        for (size_t at = index->starts[i]; at + FRAGMENT_SIZE <= end; at++) {
                const uint8_t *bytes = index->bytes + at;
                uint32_t *slot;

                if (is_nothing(bytes, FRAGMENT_SIZE))
                        continue;
                slot = table_slot(index, bytes);
                if (*slot != 0)
                        continue;
                *slot = (uint32_t)at + 1;
                for (size_t k = 0; k < WINDOW; k++) {
                        filter_set(&index->first, load64(bytes + k) * HASH_A);
                        filter_set(&index->second, load64(bytes + k) * HASH_C);
                }
        }
}

static void add_short(struct fragment_index *index, size_t i) {
        const uint8_t *bytes = index->bytes + index->starts[i];
        size_t size = index->starts[i + 1] - index->starts[i];

        if (is_nothing(bytes, size))
                return;
        index->has_short = true;
        index->short_sizes |= 1U << (size - NEEDLE_SIZE_MIN);
        *short_slot(index, bytes, size) = (uint32_t)i + 1;
        filter_set(&index->short_prefix, load64(bytes) * HASH_C);
        for (size_t k = 0; k < SHORT_WINDOW; k++)
                filter_set(&index->short_first, load32(bytes + k) * HASH_A);
}

static int build(struct fragment_index *index) {
        size_t n_fragments = 0, n_short = 0;
        int r;

        for (size_t i = 0; i < index->n_needles; i++) {
                uint32_t size = needle_set_at(index->set, i)->size;

                if (size >= FRAGMENT_SIZE)
                        n_fragments += size - FRAGMENT_SIZE + 1;
                else
                        n_short++;
        }
        r = filter_new(&index->first, n_fragments, FIRST_BITS_PER_WINDOW, FIRST_BITS_LOG_MIN,
                       FIRST_BITS_LOG_MAX);
        if (r < 0)
                return r;
        r = filter_new(&index->second, n_fragments, SECOND_BITS_PER_WINDOW, SECOND_BITS_LOG_MIN,
                       SECOND_BITS_LOG_MAX);
        if (r < 0)
                return r;
        r = filter_new(&index->short_first, n_short * SHORT_WINDOW, FIRST_BITS_PER_WINDOW,
                       SHORT_BITS_LOG_MIN, SHORT_BITS_LOG_MAX);
        if (r < 0)
                return r;
        r = filter_new(&index->short_prefix, n_short, SECOND_BITS_PER_WINDOW, SHORT_BITS_LOG_MIN,
                       SHORT_BITS_LOG_MAX);
        if (r < 0)
                return r;
        r = table_new(n_fragments, &index->table, &index->table_shift);
        if (r < 0)
                return r;
        r = table_new(n_short, &index->short_table, &index->short_shift);
        if (r < 0)
                return r;
        r = copy_needles(index);
        if (r < 0)
                return r;
        for (size_t i = 0; i < index->n_needles; i++) {
                if (needle_set_at(index->set, i)->size >= FRAGMENT_SIZE)
                        add_fragments(index, i);
                else
                        add_short(index, i);
        }
        return 0;
}

int fragment_index_new(const struct needle_set *set, struct fragment_index **ret) {
        struct fragment_index *index = calloc(1, sizeof(*index));
        int r;

        if (!index)
                return -ENOMEM;
        index->set = set;
        index->n_needles = needle_set_count(set);
        r = build(index);
        if (r < 0) {
                fragment_index_free(index);
                return r;
        }
        *ret = index;
        return 0;
}

void fragment_index_free(struct fragment_index *index) {
        if (!index)
                return;
        if (index->bytes)
                explicit_bzero(index->bytes, index->n_bytes);
        free(index->bytes);
        free(index->starts);
        free(index->first.words);
        free(index->second.words);
        free(index->table);
        free(index->short_first.words);
        free(index->short_prefix.words);
        free(index->short_table);
        free(index);
}

struct hunt {
        const struct fragment_index *index;
        const uint8_t *buf;
        size_t n;
        size_t done; /* end of the last run that was told */
        fragment_hit hit;
        void *userdata;
};

/* The needle whose bytes hold the place `at`. */
static size_t needle_of(const struct fragment_index *index, size_t at) {
        size_t low = 0, high = index->n_needles;

        while (high - low > 1) {
                size_t middle = low + (high - low) / 2;

                if (index->starts[middle] <= at)
                        low = middle;
                else
                        high = middle;
        }
        return low;
}

/* The run from `start` on that equals a needle from `place` on: at least a fragment. */
static int tell_run(struct hunt *hunt, size_t start, size_t place) {
        const struct fragment_index *index = hunt->index;
        size_t i = needle_of(index, place), end = index->starts[i + 1], size = FRAGMENT_SIZE;

        while (start + size < hunt->n && place + size < end &&
               hunt->buf[start + size] == index->bytes[place + size])
                size++;
        hunt->done = start + size;
        return hunt->hit(hunt->userdata, start, start + size, needle_set_at(index->set, i));
}

/* Looks up the fragments that cover the word at `at`, but for those inside of the last run. Those
 * to the left of a run need no look: the word before would have found them. */
static int look_around(struct hunt *hunt, size_t at) {
        size_t start = at < WINDOW - 1 ? 0 : at - (WINDOW - 1);
        size_t last = hunt->n - FRAGMENT_SIZE < at ? hunt->n - FRAGMENT_SIZE : at;

        if (hunt->done >= FRAGMENT_SIZE && start < hunt->done - FRAGMENT_SIZE + 1)
                start = hunt->done - FRAGMENT_SIZE + 1;
        while (start <= last) {
                uint32_t place = *table_slot(hunt->index, hunt->buf + start);
                int r;

                if (place == 0) {
                        start++;
                        continue;
                }
                r = tell_run(hunt, start, place - 1);
                if (r != 0)
                        return r;
                start = hunt->done - FRAGMENT_SIZE + 1;
        }
        return 0;
}

/* A zero word between zero words: in no fragment that counts. Spares needles with zeros inside
 * from a look at every word of every empty page. */
static bool is_amid_zeros(const struct hunt *hunt, size_t at) {
        return load64(hunt->buf + at) == 0 &&
               (at < WINDOW || load64(hunt->buf + at - WINDOW) == 0) &&
               (at + 2 * WINDOW > hunt->n || load64(hunt->buf + at + WINDOW) == 0);
}

static int look_at(struct hunt *hunt, size_t at) {
        uint64_t word = load64(hunt->buf + at);

        if (!filter_get(&hunt->index->second, word * HASH_C) || is_amid_zeros(hunt, at))
                return 0;
        return look_around(hunt, at);
}

static int hunt_fragments(struct hunt *hunt) {
        const struct filter first = hunt->index->first;
        const uint8_t *buf = hunt->buf;
        size_t at = 0;

        for (; at + UNROLLED * WINDOW <= hunt->n; at += UNROLLED * WINDOW) {
                uint64_t a = filter_get(&first, load64(buf + at) * HASH_A);
                uint64_t b = filter_get(&first, load64(buf + at + WINDOW) * HASH_A);
                uint64_t c = filter_get(&first, load64(buf + at + 2 * WINDOW) * HASH_A);
                uint64_t d = filter_get(&first, load64(buf + at + 3 * WINDOW) * HASH_A);

                if (__builtin_expect((a | b | c | d) == 0, 1))
                        continue;
                for (size_t k = 0; k < UNROLLED; k++) {
                        int r = look_at(hunt, at + k * WINDOW);

                        if (r != 0)
                                return r;
                }
        }
        for (; at + WINDOW <= hunt->n; at += WINDOW) {
                int r = look_at(hunt, at);

                if (r != 0)
                        return r;
        }
        return 0;
}

/* Is there a short needle that begins at `start`? */
static int look_short(struct hunt *hunt, size_t start) {
        const struct fragment_index *index = hunt->index;
        const uint8_t *at = hunt->buf + start;

        if (hunt->n - start < NEEDLE_SIZE_MIN ||
            !filter_get(&index->short_prefix, load64(at) * HASH_C))
                return 0;
        for (size_t k = 0; k < SHORT_SIZES; k++) {
                size_t size = NEEDLE_SIZE_MIN + k;
                uint32_t i;
                int r;

                if (!(index->short_sizes >> k & 1) || size > hunt->n - start)
                        continue;
                i = *short_slot(index, at, size);
                if (i == 0)
                        continue;
                r = hunt->hit(hunt->userdata, start, start + size,
                              needle_set_at(index->set, i - 1));
                if (r != 0)
                        return r;
        }
        return 0;
}

/* A 4-aligned word that may stand in a short needle: at one of its first four bytes. */
static int look_short_around(struct hunt *hunt, size_t at) {
        for (size_t back = 0; back < SHORT_WINDOW && back <= at; back++) {
                int r = look_short(hunt, at - back);

                if (r != 0)
                        return r;
        }
        return 0;
}

static int hunt_short(struct hunt *hunt) {
        const struct filter first = hunt->index->short_first;
        const uint8_t *buf = hunt->buf;
        size_t at = 0;

        for (; at + SHORT_WINDOW <= hunt->n; at += SHORT_WINDOW) {
                /* Four words at once while there are four; most have nothing. */
                while (at + UNROLLED * SHORT_WINDOW <= hunt->n &&
                       !(filter_get(&first, load32(buf + at) * HASH_A) |
                         filter_get(&first, load32(buf + at + SHORT_WINDOW) * HASH_A) |
                         filter_get(&first, load32(buf + at + 2 * SHORT_WINDOW) * HASH_A) |
                         filter_get(&first, load32(buf + at + 3 * SHORT_WINDOW) * HASH_A)))
                        at += UNROLLED * SHORT_WINDOW;
                if (at + SHORT_WINDOW > hunt->n)
                        break;
                if (filter_get(&first, load32(buf + at) * HASH_A)) {
                        int r = look_short_around(hunt, at);

                        if (r != 0)
                                return r;
                }
        }
        return 0;
}

int fragment_hunt(const struct fragment_index *index, const uint8_t *buf, size_t n,
                  fragment_hit hit, void *userdata) {
        struct hunt hunt = { .index = index, .buf = buf, .n = n, .hit = hit, .userdata = userdata };
        int r = n >= FRAGMENT_SIZE ? hunt_fragments(&hunt) : 0;

        if (r != 0 || !index->has_short)
                return r;
        return hunt_short(&hunt);
}
