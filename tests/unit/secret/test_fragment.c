/* The matcher tells all of every fragment, and nothing else: compared with a search that is slow
 * and obvious. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "secret/needle_add.h"
#include "tests/unit/secret/hunter.h"

static void add(struct hunter *h, const void *bytes, size_t n) {
        assert_int_equal(needle_set_add(h->set, bytes, n, FORM_PLAIN, 0), 0);
}

static bool is_plain(const uint8_t *at, size_t n) {
        size_t nonzero = 0;

        for (size_t i = 0; i < n; i++)
                nonzero += at[i] != 0;
        if (nonzero < FRAGMENT_NONZERO_MIN)
                return true;
        for (size_t phase = 0; phase < 8; phase++) {
                size_t i = 0;

                while (i < n && at[i] == (uint8_t) "REDACTED"[(i + phase) % 8])
                        i++;
                if (i == n)
                        return true;
        }
        return false;
}

/* Marks every byte that is in a fragment of a needle, by trying all places of all needles. */
static size_t search_slowly(const struct hunter *h, size_t n, uint8_t *ret) {
        size_t count = 0;

        memset(ret, 0, n);
        for (size_t i = 0; i < needle_set_count(h->set); i++) {
                const struct needle *needle = needle_set_at(h->set, i);
                size_t piece = needle->size < FRAGMENT_SIZE ? needle->size : FRAGMENT_SIZE;

                for (size_t at = 0; at + piece <= needle->size; at++)
                        for (size_t k = 0; k + piece <= n; k++)
                                if (memcmp(h->field + k, needle->bytes + at, piece) == 0 &&
                                    !is_plain(needle->bytes + at, piece)) {
                                        memset(ret + k, 1, piece);
                                        count++;
                                }
        }
        return count;
}

/* Few letters, so that needles overlap, repeat and nearly match all the time. */
static void letters_fill(struct hunter *h, uint8_t *buf, size_t n, unsigned letters) {
        static const uint8_t alphabet[] = { 0, 'R', 'E', 'D', 'A', 'C', 'T', 1 };

        for (size_t i = 0; i < n; i++)
                buf[i] = alphabet[(noise(&h->seed) >> 20) % letters];
}

static void it_tells_what_a_slow_search_finds_and_so_does_the_recheck(void **state) {
        static uint8_t expected[600];
        size_t secret = 0, clean = 0;

        (void)state;
        for (size_t round = 0; round < 400; round++) {
                _cleanup_hunter_ struct hunter *h = hunter_new();
                size_t n = 1 + round % sizeof(expected);
                unsigned letters = 1 + round % 8;
                size_t found;

                h->seed += round * 7919;
                for (size_t i = 0; i < 1 + round % 7; i++) {
                        uint8_t needle[80];
                        size_t size = NEEDLE_SIZE_MIN + noise(&h->seed) % (sizeof(needle) - 8);

                        letters_fill(h, needle, size, letters);
                        add(h, needle, size);
                }
                hunter_ready(h);
                letters_fill(h, h->field, n, letters);
                /* Pieces of needles, whole and torn, so that there is something to find. */
                for (size_t i = 0; i < needle_set_count(h->set) && round % 3 != 0; i++) {
                        const struct needle *needle = needle_set_at(h->set, i);
                        size_t from = noise(&h->seed) % needle->size;
                        size_t size = 1 + noise(&h->seed) % (needle->size - from);
                        size_t at = noise(&h->seed) % n;

                        memcpy(h->field + at, needle->bytes + from, size < n - at ? size : n - at);
                }
                found = search_slowly(h, n, expected);
                (void)hunter_hunt(h, 0, n);
                assert_memory_equal(h->hit, expected, n);
                assert_int_equal(hunter_recheck(h, n), found > 0 ? -EBADMSG : 0);
                *(found > 0 ? &secret : &clean) += 1;
        }
        assert_true(secret > 100 && clean > 50);
}

static void a_needle_of_8_to_15_bytes_must_match_whole(void **state) {
        (void)state;
        for (size_t size = NEEDLE_SIZE_MIN; size < FRAGMENT_SIZE; size++) {
                _cleanup_hunter_ struct hunter *h = hunter_new();
                uint8_t needle[FRAGMENT_SIZE];

                noise_fill(&h->seed, needle, size);
                add(h, needle, size);
                hunter_ready(h);
                assert_hunted(h, needle, size);
                assert_piece_spared(h, needle, size, 0, size - 1);
                assert_piece_spared(h, needle, size, 1, size - 1);
        }
}

static void fifteen_bytes_of_a_longer_needle_are_no_fragment(void **state) {
        _cleanup_hunter_ struct hunter *h = hunter_new();
        uint8_t needle[64];

        (void)state;
        noise_fill(&h->seed, needle, sizeof(needle));
        add(h, needle, sizeof(needle));
        hunter_ready(h);
        for (size_t at = 0; at + 16 <= sizeof(needle); at++) {
                assert_hunted(h, needle + at, 16);
                assert_piece_spared(h, needle, sizeof(needle), at, 15);
        }
}

static void one_run_is_told_once(void **state) {
        _cleanup_hunter_ struct hunter *h = hunter_new();
        uint8_t needle[1024];

        (void)state;
        noise_fill(&h->seed, needle, sizeof(needle));
        add(h, needle, sizeof(needle));
        hunter_ready(h);
        noise_fill(&h->seed, h->field, 4096);
        memcpy(h->field + 1001, needle, sizeof(needle));
        assert_int_equal(hunter_hunt(h, 0, 4096), 1);
        assert_int_equal(h->hit[1000], 0);
        assert_int_equal(h->hit[1001 + 1023], 1);
        assert_int_equal(h->hit[1001 + 1024], 0);
}

static void a_needle_that_straddles_buffers_is_told_whole(void **state) {
        (void)state;
        for (size_t size = NEEDLE_SIZE_MIN; size < 200; size += 7) {
                _cleanup_hunter_ struct hunter *h = hunter_new();
                uint8_t needle[200], both[FIELD_SIZE];
                const size_t border = 2048;

                noise_fill(&h->seed, needle, size);
                add(h, needle, size);
                hunter_ready(h);
                for (size_t before = 1; before < size; before++) {
                        noise_fill(&h->seed, h->field, 4096);
                        memcpy(h->field + border - before, needle, size);
                        (void)hunter_hunt(h, 0, border);
                        memcpy(both, h->hit, sizeof(both));
                        (void)hunter_hunt(h, border - FRAGMENT_OVERLAP, 2048);
                        for (size_t i = 0; i < size; i++) {
                                size_t at = border - before + i;
                                size_t second = at + FRAGMENT_OVERLAP - border;

                                assert_true(both[at] ||
                                            (at + FRAGMENT_OVERLAP >= border && h->hit[second]));
                        }
                }
        }
}

static void zeros_and_fill_are_no_needles(void **state) {
        _cleanup_hunter_ struct hunter *h = hunter_new();
        uint8_t bytes[64] = { 0 };

        (void)state;
        add(h, bytes, sizeof(bytes));
        add(h, bytes, 12);
        fill(bytes, sizeof(bytes), 3);
        add(h, bytes, sizeof(bytes));
        add(h, bytes, 9);
        hunter_ready(h);
        memset(h->field, 0, FIELD_SIZE);
        fill(h->field + 100, 1000, 0);
        assert_int_equal(hunter_hunt(h, 0, FIELD_SIZE), 0);
        assert_int_equal(hunter_recheck(h, FIELD_SIZE), 0);
}

static void a_needle_with_zeros_inside_is_told(void **state) {
        _cleanup_hunter_ struct hunter *h = hunter_new();
        uint8_t needle[40] = { 0 };

        (void)state;
        noise_fill(&h->seed, needle, 9);
        noise_fill(&h->seed, needle + 25, 15);
        add(h, needle, sizeof(needle));
        hunter_ready(h);
        assert_hunted(h, needle, sizeof(needle));
        memset(h->field, 0, FIELD_SIZE);
        for (size_t at = 100; at < 164; at++) {
                memset(h->field, 0, 512);
                memcpy(h->field + at, needle, 9);
                assert_true(hunter_hunt(h, 0, 512) > 0);
                for (size_t i = 0; i < 9; i++)
                        assert_int_equal(h->hit[at + i], 1);
        }
        /* Of the first nine bytes only the last few, and zeros behind: still sixteen bytes. */
        for (size_t keep = FRAGMENT_NONZERO_MIN; keep <= 9; keep++)
                for (size_t at = 100; at < 116; at++) {
                        memset(h->field, 0, 512);
                        memcpy(h->field + at, needle + 9 - keep, keep);
                        assert_true(hunter_hunt(h, 0, 512) > 0);
                        for (size_t i = 0; i < keep; i++)
                                assert_int_equal(h->hit[at + i], 1);
                        assert_int_equal(hunter_recheck(h, 512), -EBADMSG);
                }
}

/* A private value of a test key in libcrypto was a small number between zeros: return addresses
 * before such a number lost their zero bytes, and backtraces ended there. */
static void a_small_number_between_zeros_is_not_told(void **state) {
        _cleanup_hunter_ struct hunter *h = hunter_new();
        uint8_t needle[48] = { 0 };

        (void)state;
        noise_fill(&h->seed, needle, 16);
        needle[32] = 1; /* as it was: whatever the limit is */
        add(h, needle, sizeof(needle));
        hunter_ready(h);
        memset(h->field, 0, FIELD_SIZE);
        h->field[100] = 1;
        assert_int_equal(hunter_hunt(h, 0, 512), 0);
        assert_int_equal(hunter_recheck(h, 512), 0);
        memcpy(h->field + 84, needle + 16 - FRAGMENT_NONZERO_MIN, FRAGMENT_NONZERO_MIN);
        assert_true(hunter_hunt(h, 0, 512) > 0);
}

/* A run of one needle whose end begins a fragment of another, at every distance. */
static void runs_of_two_needles_that_overlap_are_both_told(void **state) {
        (void)state;
        for (size_t shift = 1; shift < 20; shift++) {
                _cleanup_hunter_ struct hunter *h = hunter_new();
                uint8_t both[80];

                noise_fill(&h->seed, both, sizeof(both));
                add(h, both, 16);
                add(h, both + shift, 16);
                add(h, both + 2 * shift, 16);
                hunter_ready(h);
                for (size_t i = 0; i < 3; i++)
                        assert_hunted(h, both + i * shift, 16);
                if (shift <= 16)
                        assert_hunted(h, both, 2 * shift + 16);
        }
}

static int stop_at_second(void *userdata, size_t start, size_t end, const struct needle *needle) {
        int *n = userdata;

        (void)start;
        (void)end;
        (void)needle;
        return ++*n == 2 ? -42 : 0;
}

static void the_hunt_stops_when_told(void **state) {
        _cleanup_hunter_ struct hunter *h = hunter_new();
        int n = 0;

        (void)state;
        add(h, "correcthorsebattery", 19);
        add(h, "shortsecret", 11);
        hunter_ready(h);
        for (size_t i = 0; i < 4; i++)
                memcpy(h->field + 100 * (i + 1), "correcthorsebattery", 19);
        assert_int_equal(fragment_hunt(h->index, h->field, 4096, stop_at_second, &n), -42);
        assert_int_equal(n, 2);
}

static void an_empty_set_finds_nothing(void **state) {
        _cleanup_hunter_ struct hunter *h = hunter_new();

        (void)state;
        hunter_ready(h);
        noise_fill(&h->seed, h->field, FIELD_SIZE);
        assert_int_equal(hunter_hunt(h, 0, FIELD_SIZE), 0);
        assert_int_equal(hunter_hunt(h, 0, 0), 0);
        assert_int_equal(hunter_recheck(h, FIELD_SIZE), 0);
}

/* 65,536 needles of the same eight bytes at every place: each word is looked up a bounded number
 * of times, or this test does not end. */
static void a_needle_that_repeats_itself_costs_no_more(void **state) {
        _cleanup_hunter_ struct hunter *h = hunter_new();
        _cleanup_free_ uint8_t *needle = malloc(NEEDLE_FILE_MAX);

        (void)state;
        memset(needle, 'A', NEEDLE_FILE_MAX);
        for (size_t i = 0; i < 64; i++)
                add(h, needle, NEEDLE_FILE_MAX - i);
        hunter_ready(h);
        for (size_t i = 0; i < FIELD_SIZE; i++)
                h->field[i] = i % 16 == 15 ? 'B' : 'A'; /* fifteen are too few */
        for (size_t i = 0; i < 64; i++)
                assert_int_equal(hunter_hunt(h, 0, FIELD_SIZE), 0);
        assert_int_equal(hunter_recheck(h, FIELD_SIZE), 0);
}

static void the_largest_set_is_indexed_and_found(void **state) {
        _cleanup_hunter_ struct hunter *h = hunter_new();
        _cleanup_free_ uint8_t *needle = malloc(NEEDLE_FILE_MAX);

        (void)state;
        for (size_t i = 0; i < NEEDLE_BYTES_MAX / NEEDLE_FILE_MAX; i++) {
                noise_fill(&h->seed, needle, NEEDLE_FILE_MAX);
                add(h, needle, NEEDLE_FILE_MAX);
        }
        hunter_ready(h);
        noise_fill(&h->seed, h->field, FIELD_SIZE);
        assert_int_equal(hunter_recheck(h, FIELD_SIZE), 0);
        memcpy(h->field + 4001, needle + NEEDLE_FILE_MAX - 100, 100);
        assert_int_equal(hunter_hunt(h, 0, FIELD_SIZE), 1);
        assert_int_equal(hunter_recheck(h, FIELD_SIZE), -EBADMSG);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(it_tells_what_a_slow_search_finds_and_so_does_the_recheck),
                cmocka_unit_test(a_needle_of_8_to_15_bytes_must_match_whole),
                cmocka_unit_test(fifteen_bytes_of_a_longer_needle_are_no_fragment),
                cmocka_unit_test(one_run_is_told_once),
                cmocka_unit_test(a_needle_that_straddles_buffers_is_told_whole),
                cmocka_unit_test(zeros_and_fill_are_no_needles),
                cmocka_unit_test(a_needle_with_zeros_inside_is_told),
                cmocka_unit_test(a_small_number_between_zeros_is_not_told),
                cmocka_unit_test(runs_of_two_needles_that_overlap_are_both_told),
                cmocka_unit_test(the_hunt_stops_when_told),
                cmocka_unit_test(an_empty_set_finds_nothing),
                cmocka_unit_test(a_needle_that_repeats_itself_costs_no_more),
                cmocka_unit_test(the_largest_set_is_indexed_and_found),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
