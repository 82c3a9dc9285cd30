/* bench_alloc: a process of a stated size that waits to be killed.
 *
 *     bench_alloc MAPPED_MIB TOUCHED_MIB
 *
 * Maps MAPPED_MIB of anonymous memory and fills TOUCHED_MIB of it in blocks of 256 KiB, in turn
 * zero pages that were touched, text, and random bytes ("ztr"); prints "ready".
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define BLOCK (256UL << 10)

static uint64_t state = 88172645463325252ULL;

static uint64_t next(void) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        return state;
}

static void fill_text(char *p, size_t n) {
        static const char *const words[] = {
                "request ", "session ", "timeout ",   "handler ",    "config ", "error ",
                "INFO ",    "DEBUG ",   "from 10.0.", "\"name\":\"", "cache ",  "queue ",
                "worker ",  "thread ",  "buffer ",    "and the ",
        };
        size_t at = 0;

        while (at + 32 < n) {
                uint64_t r = next();
                const char *word = words[r & 15];
                size_t size = strlen(word);

                memcpy(p + at, word, size);
                at += size;
                if ((r >> 8 & 3) == 0)
                        at += (size_t)snprintf(p + at, 16, "%08x ", (unsigned)(r >> 16));
        }
}

static void fill_random(char *p, size_t n) {
        for (size_t at = 0; at + 8 <= n; at += 8) {
                uint64_t r = next() * 0x9E3779B97F4A7C15ULL;

                memcpy(p + at, &r, 8);
        }
}

int main(int argc, char **argv) {
        size_t mapped, touched;
        char *p;

        if (argc != 3)
                return 2;
        mapped = strtoull(argv[1], NULL, 10) << 20;
        touched = strtoull(argv[2], NULL, 10) << 20;
        p = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                 -1, 0);
        if (p == MAP_FAILED)
                return 1;
        for (size_t at = 0, k = 0; at < touched; at += BLOCK, k++) {
                /* Spread over the mapping, so that a sparse one has its data everywhere. */
                char *block = p + (mapped / touched > 1 ? at * (mapped / touched) : at);

                if (k % 3 == 0)
                        memset(block, 0, BLOCK);
                else if (k % 3 == 1)
                        fill_text(block, BLOCK);
                else
                        fill_random(block, BLOCK);
        }
        puts("ready");
        fflush(stdout);
        pause();
        return 0;
}
