/* The id of a record. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "audit/record.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/private.h"

#define COUNTER_NAME "counter"
#define COUNTER_LOCK_MS                                                                            \
        200U /* the counter orders ids for people; uniqueness is the random part's */
#define COUNTER_DIGITS 20U
#define BOOT_DIGITS 8U
#define BOOT_FILE_MAX 64U

#ifndef GRND_INSECURE
#define GRND_INSECURE 0x0004
#endif

static int counter_next(int run_dirfd, uint64_t *ret) {
        _cleanup_close_ int fd = -1;
        char text[COUNTER_DIGITS + 1] = "";
        uint64_t value;
        ssize_t n;
        int r;

        if (run_dirfd < 0)
                return -EBADF;
        r = private_file(run_dirfd, COUNTER_NAME, O_RDWR | O_CREAT, &fd);
        if (r < 0)
                return r;
        r = private_lock(fd, LOCK_EX, COUNTER_LOCK_MS);
        if (r < 0)
                return r;
        n = io_pread(fd, text, COUNTER_DIGITS, 0);
        if (n < 0)
                return (int)n;
        value = strtoull(text, NULL, 10) + 1;
        (void)snprintf(text, sizeof(text), "%020" PRIu64, value);
        if (pwrite(fd, text, COUNTER_DIGITS, 0) != (ssize_t)COUNTER_DIGITS)
                return -EIO;
        *ret = value;
        return 0;
}

/* Never blocks: a crash in early boot, before the kernel's generator is ready, needs an id that
 * is unlike the others, not one that cannot be guessed. */
static uint64_t random_u64(void) {
        struct timespec now = { 0 };
        uint64_t value;

        if (getrandom(&value, sizeof(value), GRND_INSECURE) == (ssize_t)sizeof(value) ||
            getrandom(&value, sizeof(value), GRND_NONBLOCK) == (ssize_t)sizeof(value))
                return value;
        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_nsec << 32 ^ (uint64_t)now.tv_sec << 20 ^ (uint64_t)getpid();
}

bool record_is_id(const char *text, size_t size) {
        if (size == 0 || size >= RECORD_ID_SIZE || text[0] == '-')
                return false;
        for (size_t i = 0; i < size; i++)
                if (!strchr("0123456789abcdef-", text[i]) || text[i] == '\0')
                        return false;
        return true;
}

void record_new_id(int run_dirfd, char ret[RECORD_ID_SIZE]) {
        _cleanup_free_ char *boot = NULL;
        uint64_t counter = 0;
        size_t size;

        if (io_read_path(AT_FDCWD, "/proc/sys/kernel/random/boot_id", BOOT_FILE_MAX, &boot, &size) <
                    0 ||
            size < BOOT_DIGITS) {
                free(boot);
                boot = NULL;
        }
        if (counter_next(run_dirfd, &counter) < 0)
                counter = 0;
        (void)snprintf(ret, RECORD_ID_SIZE, "%.8s-%" PRIu64 "-%016" PRIx64,
                       boot ? boot : "00000000", counter, random_u64());
}
