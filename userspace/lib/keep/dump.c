#include "keep/dump.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

#include "base/cleanup.h"
#include "base/io.h"

/* A frame of pack.h fits whole: 1 MiB of data and what zstd adds when it cannot compress. */
#define INPUT_SIZE (4U << 20)
#define SCRATCH_SIZE (1U << 20)
#define PAGE 4096U

struct dump {
        int fd;
        uint64_t offset; /* of the next byte to read from the file */
        bool end;        /* of the file */
        bool mid_frame;
        uint8_t *input;
        size_t start, fill; /* of `input` */
        ZSTD_DCtx *zstd;
        uint8_t *scratch;
};

DEFINE_CLEANUP(dump, struct dump, dump_close)

int dump_open(int fd, struct dump **ret) {
        _cleanup_(cleanup_dump) struct dump *dump = calloc(1, sizeof(*dump));

        if (!dump)
                return -ENOMEM;
        dump->fd = fd;
        dump->zstd = ZSTD_createDCtx();
        dump->input = malloc(INPUT_SIZE);
        dump->scratch = malloc(SCRATCH_SIZE);
        if (!dump->zstd || !dump->input || !dump->scratch)
                return -ENOMEM;
        *ret = TAKE_PTR(dump);
        return 0;
}

void dump_close(struct dump *dump) {
        if (!dump)
                return;
        ZSTD_freeDCtx(dump->zstd); /* NULL is fine */
        free(dump->input);
        free(dump->scratch);
        free(dump);
}

void dump_rewind(struct dump *dump) {
        dump->offset = 0;
        dump->end = dump->mid_frame = false;
        dump->start = dump->fill = 0;
        (void)ZSTD_DCtx_reset(dump->zstd, ZSTD_reset_session_only); /* cannot fail */
}

/* Fills the whole buffer, or up to the end of the file. */
static int refill(struct dump *dump) {
        ssize_t n;

        if (dump->end)
                return 0;
        memmove(dump->input, dump->input + dump->start, dump->fill);
        dump->start = 0;
        n = io_pread(dump->fd, dump->input + dump->fill, INPUT_SIZE - dump->fill, dump->offset);
        if (n < 0)
                return (int)n;
        dump->end = (size_t)n < INPUT_SIZE - dump->fill;
        dump->offset += (size_t)n;
        dump->fill += (size_t)n;
        return 0;
}

ssize_t dump_read(struct dump *dump, void *buf, size_t n) {
        ZSTD_outBuffer out = { .dst = buf, .size = n };

        while (out.pos < n) {
                ZSTD_inBuffer in;
                size_t before = out.pos, left;

                if (dump->fill == 0) {
                        int r = refill(dump);

                        if (r < 0)
                                return r;
                }
                if (dump->fill == 0 && !dump->mid_frame)
                        break;
                in = (ZSTD_inBuffer){ .src = dump->input + dump->start, .size = dump->fill };
                left = ZSTD_decompressStream(dump->zstd, &out, &in);
                if (ZSTD_isError(left))
                        return -EBADMSG;
                dump->start += in.pos;
                dump->fill -= in.pos;
                dump->mid_frame = left != 0;
                if (in.pos == 0 && out.pos == before)
                        return -EBADMSG; /* it wants more, and there is no more */
        }
        return (ssize_t)out.pos;
}

/* Passes over the frame that begins here if it is not larger than *n. 1 passed, 0 not. */
static int skip_frame(struct dump *dump, uint64_t *n) {
        const uint8_t *at;
        unsigned long long content;
        size_t size;
        int r = dump->fill < INPUT_SIZE / 2 ? refill(dump) : 0;

        if (r < 0)
                return r;
        at = dump->input + dump->start;
        content = ZSTD_getFrameContentSize(at, dump->fill);
        if (content == ZSTD_CONTENTSIZE_UNKNOWN || content == ZSTD_CONTENTSIZE_ERROR ||
            content > *n)
                return 0;
        size = ZSTD_findFrameCompressedSize(at, dump->fill);
        if (ZSTD_isError(size))
                return 0; /* not whole in the buffer: decompressing will tell */
        dump->start += size;
        dump->fill -= size;
        *n -= content;
        return 1;
}

int dump_skip(struct dump *dump, uint64_t n) {
        while (n > 0) {
                size_t want = n < SCRATCH_SIZE ? (size_t)n : SCRATCH_SIZE;
                ssize_t k;

                if (!dump->mid_frame) {
                        int r = skip_frame(dump, &n);

                        if (r < 0)
                                return r;
                        if (r > 0)
                                continue;
                }
                k = dump_read(dump, dump->scratch, want);
                if (k < 0)
                        return (int)k;
                if (k == 0)
                        return -ENODATA;
                n -= (uint64_t)k;
        }
        return 0;
}

static bool is_zero(const uint8_t *buf, size_t n) {
        return buf[0] == 0 && memcmp(buf, buf + 1, n - 1) == 0;
}

/* Writes a tile but for its pages of zeros. Tiles begin at multiples of their size. */
static int write_sparse(int fd, const uint8_t *buf, size_t n, uint64_t offset) {
        size_t from = 0;

        while (from < n) {
                size_t to = from, page;

                while (to < n) {
                        page = n - to < PAGE ? n - to : PAGE;
                        if (is_zero(buf + to, page))
                                break;
                        to += page;
                }
                if (to > from) {
                        int r;

                        if (lseek(fd, (off_t)(offset + from), SEEK_SET) < 0)
                                return -errno;
                        r = io_write(fd, buf + from, to - from);
                        if (r < 0)
                                return r;
                }
                from = to + (to < n ? (n - to < PAGE ? n - to : PAGE) : 0);
        }
        return 0;
}

int dump_unpack(struct dump *dump, int out_fd, uint64_t max, uint64_t *ret_size) {
        uint64_t size = 0;

        dump_rewind(dump);
        for (;;) {
                ssize_t n = dump_read(dump, dump->scratch, SCRATCH_SIZE);
                int r;

                if (n < 0)
                        return (int)n;
                if (n == 0)
                        break;
                if ((uint64_t)n > max - size)
                        return -EFBIG;
                r = write_sparse(out_fd, dump->scratch, (size_t)n, size);
                if (r < 0)
                        return r;
                size += (uint64_t)n;
        }
        /* A hole at the end is part of the core, too. */
        if (ftruncate(out_fd, (off_t)size) < 0)
                return -errno;
        *ret_size = size;
        return 0;
}
