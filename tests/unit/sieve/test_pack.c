/* What comes out of `zstd -d` is what went in, holes cost nothing, and no error of writing is
 * lost. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

#include <cmocka.h>
#include <zstd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "sieve/pack.h"
#include "tests/unit/sieve/core_builder.h"

DEFINE_CLEANUP(pack, struct pack, pack_free)
#define _cleanup_pack_ _cleanup_(cleanup_pack)

/* One step of a file to be packed: random bytes, or zeros. */
struct step {
        uint64_t hole;
        size_t data;
};

static int empty_file(void) {
        int fd = memfd_create("out", MFD_CLOEXEC);

        assert_true(fd >= 0);
        return fd;
}

static off_t file_size(int fd) {
        struct stat st;

        assert_int_equal(fstat(fd, &st), 0);
        return st.st_size;
}

/* Packs the steps and returns the core they make. */
static uint8_t *pack_steps(int fd, bool compress, const struct step *steps, size_t n,
                           size_t *ret_size) {
        _cleanup_pack_ struct pack *pack = NULL;
        uint8_t *core = calloc(1, 1);
        size_t size = 0;
        uint64_t packed;

        assert_int_equal(pack_new(fd, compress, &pack), 0);
        for (size_t i = 0; i < n; i++) {
                core = realloc(core, size + steps[i].hole + steps[i].data + 1);
                assert_non_null(core);
                memset(core + size, 0, steps[i].hole);
                size += steps[i].hole;
                builder_random(i, core + size, steps[i].data);
                if (steps[i].hole > 0)
                        assert_int_equal(pack_hole(pack, steps[i].hole), 0);
                assert_int_equal(pack_data(pack, core + size, steps[i].data), 0);
                size += steps[i].data;
        }
        assert_int_equal(pack_finish(pack, &packed), 0);
        assert_int_equal(packed, size);
        *ret_size = size;
        return core;
}

static const struct step mixed[] = {
        { .data = 1 },
        { .data = PACK_DATA_MAX },
        { .hole = 1, .data = 17 },
        { .hole = 4095, .data = 4096 },
        { .hole = 4096, .data = 100 },
        { .hole = 4097 },
        { .hole = (16U << 20) + (3U << 20) + (5U << 16) + (7U << 12) + 9, .data = 8191 },
        { .data = PACK_DATA_MAX },
        { .data = PACK_DATA_MAX },
        { .hole = 5 },
};

static void zstd_gives_back_what_was_packed(void **state) {
        _cleanup_close_ int fd = empty_file();
        _cleanup_free_ uint8_t *core = NULL, *back = NULL;
        char command[128];
        FILE *pipe;
        size_t size;

        (void)state;
        core = pack_steps(fd, true, mixed, ARRAY_SIZE(mixed), &size);
        back = malloc(size + 1);
        assert_non_null(back);
        /* the program, not the library: what users have */
        (void)snprintf(command, sizeof(command), "zstd -dcq < /proc/%d/fd/%d", getpid(), fd);
        pipe = popen(command, "r");
        assert_non_null(pipe);
        assert_int_equal(fread(back, 1, size + 1, pipe), size);
        assert_int_equal(pclose(pipe), 0);
        assert_memory_equal(back, core, size);
}

static void a_flipped_bit_is_found_by_the_checksum(void **state) {
        _cleanup_close_ int fd = empty_file();
        _cleanup_free_ uint8_t *core = NULL;
        const struct step step = { .data = 65536 };
        uint8_t packed[2 * 65536], back[65536];
        ssize_t n;
        size_t size;

        (void)state;
        core = pack_steps(fd, true, &step, 1, &size);
        n = io_pread(fd, packed, sizeof(packed), 0);
        assert_true(n > 1000);
        assert_int_equal(ZSTD_decompress(back, sizeof(back), packed, (size_t)n), size);
        packed[1000] ^= 1;
        assert_true(ZSTD_isError(ZSTD_decompress(back, sizeof(back), packed, (size_t)n)));
}

static void a_plain_core_is_sparse_where_it_is_zero(void **state) {
        _cleanup_close_ int fd = empty_file();
        _cleanup_free_ uint8_t *core = NULL, *back = NULL;
        struct stat st;
        size_t size;

        (void)state;
        core = pack_steps(fd, false, mixed, ARRAY_SIZE(mixed), &size);
        back = malloc(size);
        assert_non_null(back);
        assert_int_equal(file_size(fd), size);
        assert_int_equal(io_pread(fd, back, size, 0), size);
        assert_memory_equal(back, core, size);
        assert_int_equal(fstat(fd, &st), 0);
        assert_true((size_t)st.st_blocks * 512 < 4 * PACK_DATA_MAX);
}

static void zeros_within_data_become_holes_of_a_plain_core(void **state) {
        _cleanup_close_ int fd = empty_file();
        _cleanup_pack_ struct pack *pack = NULL;
        _cleanup_free_ uint8_t *tile = calloc(1, PACK_DATA_MAX), *back = malloc(PACK_DATA_MAX);
        struct stat st;
        uint64_t size;

        (void)state;
        assert_true(tile && back);
        tile[PACK_DATA_MAX / 2] = 1;
        tile[PACK_DATA_MAX - 1] = 1;
        assert_int_equal(pack_new(fd, false, &pack), 0);
        assert_int_equal(pack_data(pack, tile, PACK_DATA_MAX), 0);
        assert_int_equal(pack_finish(pack, &size), 0);
        assert_int_equal(io_pread(fd, back, PACK_DATA_MAX, 0), PACK_DATA_MAX);
        assert_memory_equal(back, tile, PACK_DATA_MAX);
        assert_int_equal(fstat(fd, &st), 0);
        assert_true(st.st_blocks * 512 <= 2 * 4096);
}

static void sixty_four_gigabytes_of_nothing_cost_milliseconds(void **state) {
        _cleanup_close_ int fd = empty_file();
        _cleanup_pack_ struct pack *pack = NULL;
        struct timespec from, to;
        uint64_t size;

        (void)state;
        assert_int_equal(pack_new(fd, true, &pack), 0);
        (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
        assert_int_equal(pack_hole(pack, 64ULL << 30), 0);
        assert_int_equal(pack_finish(pack, &size), 0);
        (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
        assert_int_equal(size, 64ULL << 30);
        assert_true(file_size(fd) < 4 << 20);
        /* 3 ms; a second even under a sanitizer on a busy machine would be a hundred times that */
        assert_true((to.tv_sec - from.tv_sec) * 1000 + (to.tv_nsec - from.tv_nsec) / 1000000 < 500);
}

static void more_than_one_frame_at_a_time_is_refused(void **state) {
        _cleanup_close_ int fd = empty_file();
        _cleanup_pack_ struct pack *pack = NULL;
        _cleanup_free_ uint8_t *tile = calloc(1, PACK_DATA_MAX + 1);

        (void)state;
        assert_non_null(tile);
        assert_int_equal(pack_new(fd, true, &pack), 0);
        assert_int_equal(pack_data(pack, tile, PACK_DATA_MAX + 1), -EINVAL);
        assert_int_equal(pack_data(pack, tile, PACK_DATA_MAX), 0);
}

static int pack_until_error(int fd, bool compress) {
        _cleanup_pack_ struct pack *pack = NULL;
        _cleanup_free_ uint8_t *tile = malloc(PACK_DATA_MAX);
        uint64_t size;
        int r = 0;

        assert_non_null(tile);
        assert_int_equal(pack_new(fd, compress, &pack), 0);
        for (unsigned i = 0; i < 16 && r == 0; i++) {
                builder_random(i, tile, PACK_DATA_MAX);
                r = pack_data(pack, tile, PACK_DATA_MAX);
        }
        return r < 0 ? r : pack_finish(pack, &size);
}

static void a_full_disk_is_an_error(void **state) {
        (void)state;
        for (int compress = 0; compress < 2; compress++) {
                _cleanup_close_ int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);

                assert_true(fd >= 0);
                assert_int_equal(pack_until_error(fd, compress), -ENOSPC);
        }
}

static void what_is_held_back_meets_the_full_disk_when_finishing(void **state) {
        _cleanup_close_ int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
        _cleanup_pack_ struct pack *pack = NULL;
        uint64_t size;

        (void)state;
        assert_true(fd >= 0);
        assert_int_equal(pack_new(fd, true, &pack), 0);
        assert_int_equal(pack_data(pack, (const uint8_t *)"x", 1), 0);
        assert_int_equal(pack_finish(pack, &size), -ENOSPC);
}

static void the_limit_on_file_size_is_an_error(void **state) {
        char name[] = "/tmp/coresieve-pack-XXXXXX";
        _cleanup_close_ int fd = mkstemp(name);
        const struct rlimit limit = { .rlim_cur = 3 << 20, .rlim_max = RLIM_INFINITY };
        struct rlimit before;
        int r[2];

        (void)state;
        assert_true(fd >= 0);
        assert_int_equal(unlink(name), 0);
        assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
        (void)signal(SIGXFSZ, SIG_IGN);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
        r[0] = pack_until_error(fd, true);
        r[1] = pack_until_error(fd, false);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
        assert_int_equal(r[0], -EFBIG);
        assert_int_equal(r[1], -EFBIG);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(zstd_gives_back_what_was_packed),
                cmocka_unit_test(a_flipped_bit_is_found_by_the_checksum),
                cmocka_unit_test(a_plain_core_is_sparse_where_it_is_zero),
                cmocka_unit_test(zeros_within_data_become_holes_of_a_plain_core),
                cmocka_unit_test(sixty_four_gigabytes_of_nothing_cost_milliseconds),
                cmocka_unit_test(more_than_one_frame_at_a_time_is_refused),
                cmocka_unit_test(a_full_disk_is_an_error),
                cmocka_unit_test(what_is_held_back_meets_the_full_disk_when_finishing),
                cmocka_unit_test(the_limit_on_file_size_is_an_error),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
