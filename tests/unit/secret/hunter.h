/* hunter: plants bytes in noise and asks matcher and recheck whether they see them. */
#pragma once

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "secret/fragment.h"
#include "secret/needle.h"
#include "sieve/fill.h"
#include "sieve/recheck.h"

#define FIELD_SIZE 16384U

struct hunter {
        struct needle_set *set;
        struct fragment_index *index;
        uint64_t seed;
        uint8_t field[FIELD_SIZE];
        uint8_t hit[FIELD_SIZE]; /* 1 where a run was told, from where the hunt began */
        size_t from;             /* where it began */
        size_t n_hits;
};

/* xorshift64: noise that a failing test can be repeated with. */
static inline uint64_t noise(uint64_t *seed) {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        return *seed ^= *seed << 17;
}

static inline void noise_fill(uint64_t *seed, uint8_t *buf, size_t n) {
        for (size_t i = 0; i < n; i++)
                buf[i] = (uint8_t)(noise(seed) >> 32);
}

static inline struct hunter *hunter_new(void) {
        struct hunter *h = calloc(1, sizeof(*h));

        assert_non_null(h);
        h->seed = 88172645463325252ULL;
        assert_int_equal(needle_set_new(&h->set), 0);
        return h;
}

static inline void hunter_free(struct hunter *h) {
        fragment_index_free(h->index);
        needle_set_free(h->set);
        free(h);
}

static inline void cleanup_hunter(struct hunter **h) {
        if (*h)
                hunter_free(*h);
}
#define _cleanup_hunter_ __attribute__((cleanup(cleanup_hunter)))

static inline void hunter_ready(struct hunter *h) {
        fragment_index_free(h->index);
        assert_int_equal(fragment_index_new(h->set, &h->index), 0);
}

static inline int hunter_note(void *userdata, size_t start, size_t end,
                              const struct needle *needle) {
        struct hunter *h = userdata;

        assert_true(start < end && h->from + end <= FIELD_SIZE);
        assert_true(end - start >= NEEDLE_SIZE_MIN && end - start <= needle->size);
        assert_true(end - start >= FRAGMENT_SIZE || end - start == needle->size);
        assert_non_null(
                memmem(needle->bytes, needle->size, h->field + h->from + start, end - start));
        memset(h->hit + start, 1, end - start);
        h->n_hits++;
        return 0;
}

static inline size_t hunter_hunt(struct hunter *h, size_t from, size_t n) {
        memset(h->hit, 0, sizeof(h->hit));
        h->n_hits = 0;
        h->from = from;
        assert_int_equal(fragment_hunt(h->index, h->field + from, n, hunter_note, h), 0);
        return h->n_hits;
}

static inline int hunter_recheck(const struct hunter *h, size_t n) {
        struct recheck *recheck = NULL;
        int r;

        assert_int_equal(recheck_new(h->set, NULL, &recheck), 0);
        r = recheck_block(recheck, 0, h->field, n);
        recheck_free(recheck);
        return r;
}

/* Are all the bytes told of when they stand at any of 64 alignments, and does the recheck see
 * them, and is nothing seen once the told ones are filled? */
static inline void assert_hunted(struct hunter *h, const void *bytes, size_t n) {
        assert_true(n + 256 < FIELD_SIZE);
        for (size_t align = 0; align < 64; align++) {
                size_t at = 64 + align, end = at + n + 64;

                noise_fill(&h->seed, h->field, end);
                memcpy(h->field + at, bytes, n);
                (void)hunter_hunt(h, 0, end);
                for (size_t i = 0; i < n; i++)
                        if (!h->hit[at + i])
                                fail_msg("byte %zu of %zu is not told at alignment %zu", i, n,
                                         align);
                if (align % 16 != 0)
                        continue;
                assert_int_equal(hunter_recheck(h, end), -EBADMSG);
                for (size_t i = 0; i < end; i++)
                        if (h->hit[i])
                                fill(h->field + i, 1, i);
                assert_int_equal(hunter_recheck(h, end), 0);
        }
}

/* A piece of a needle, with neighbours that differ from the needle's, is not told. */
static inline void assert_piece_spared(struct hunter *h, const uint8_t *needle, size_t size,
                                       size_t at, size_t n) {
        for (size_t align = 0; align < 16; align++) {
                uint8_t *to = h->field + 64 + align;

                noise_fill(&h->seed, h->field, 256 + n);
                memcpy(to, needle + at, n);
                if (at > 0)
                        to[-1] = (uint8_t)~needle[at - 1];
                if (at + n < size)
                        to[n] = (uint8_t)~needle[at + n];
                assert_int_equal(hunter_hunt(h, 0, 256 + n), 0);
                assert_int_equal(hunter_recheck(h, 256 + n), 0);
        }
}

static inline void assert_not_hunted(struct hunter *h, const void *bytes, size_t n) {
        for (size_t align = 0; align < 16; align++) {
                size_t at = 64 + align, end = at + n + 64;

                noise_fill(&h->seed, h->field, end);
                memcpy(h->field + at, bytes, n);
                assert_int_equal(hunter_hunt(h, 0, end), 0);
                if (align == 0)
                        assert_int_equal(hunter_recheck(h, end), 0);
        }
}
