#include "sieve/pack.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

#include "base/cleanup.h"

#define LEVEL 1 /* the bottleneck as it is: .3 GB/s on text */

/* Sizes of the frames of zeros, largest first: any hole is a few of each. */
static const size_t hole_sizes[] = { 16U << 20, 1U << 20, 64U << 10, 4U << 10 };
#define HOLE_FRAME_MAX 1024U /* bytes of a compressed frame of zeros; 16 MiB make 543 */
#define PAGE 4096U           /* a plain core has its holes at pages */

struct frame {
        uint8_t bytes[HOLE_FRAME_MAX];
        size_t size;
};

struct pack {
        int fd;
        uint64_t core_at; /* bytes of the core so far */
        uint64_t file_at; /* bytes written to the file */
        /* compressed only */
        ZSTD_CCtx *zstd;
        struct frame holes[ARRAY_SIZE(hole_sizes)];
        uint8_t *held; /* frames not yet written */
        size_t held_size, held_room;
};

DEFINE_CLEANUP(pack, struct pack, pack_free)

static int write_at(int fd, const uint8_t *buf, size_t n, uint64_t offset) {
        while (n > 0) {
                ssize_t k = pwrite(fd, buf, n, (off_t)offset);

                if (k < 0 && errno == EINTR)
                        continue;
                if (k < 0)
                        return -errno;
                if (k == 0)
                        return -EIO;
                buf += k;
                offset += (size_t)k;
                n -= (size_t)k;
        }
        return 0;
}

static int make_frame(struct pack *pack, void *to, size_t room, const void *from, size_t n,
                      size_t *ret) {
        size_t k = ZSTD_compress2(pack->zstd, to, room, from, n);

        if (ZSTD_isError(k))
                return -ENOMEM; /* the room is large enough: only memory can be lacking */
        *ret = k;
        return 0;
}

static int make_holes(struct pack *pack) {
        _cleanup_free_ uint8_t *zeros = calloc(1, hole_sizes[0]);

        if (!zeros)
                return -ENOMEM;
        for (size_t i = 0; i < ARRAY_SIZE(hole_sizes); i++) {
                struct frame *hole = &pack->holes[i];
                int r;

                r = make_frame(pack, hole->bytes, sizeof(hole->bytes), zeros, hole_sizes[i],
                               &hole->size);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int pack_start_zstd(struct pack *pack) {
        pack->zstd = ZSTD_createCCtx();
        if (!pack->zstd)
                return -ENOMEM;
        if (ZSTD_isError(ZSTD_CCtx_setParameter(pack->zstd, ZSTD_c_compressionLevel, LEVEL)) ||
            ZSTD_isError(ZSTD_CCtx_setParameter(pack->zstd, ZSTD_c_checksumFlag, 1)))
                return -EINVAL;
        pack->held_room = 2 * ZSTD_compressBound(PACK_DATA_MAX);
        pack->held = malloc(pack->held_room);
        if (!pack->held)
                return -ENOMEM;
        return make_holes(pack);
}

int pack_new(int fd, bool compress, struct pack **ret) {
        _cleanup_(cleanup_pack) struct pack *pack = calloc(1, sizeof(*pack));
        int r;

        if (!pack)
                return -ENOMEM;
        pack->fd = fd;
        if (compress) {
                r = pack_start_zstd(pack);
                if (r < 0)
                        return r;
        }
        *ret = TAKE_PTR(pack);
        return 0;
}

void pack_free(struct pack *pack) {
        if (!pack)
                return;
        ZSTD_freeCCtx(pack->zstd); /* NULL is fine */
        free(pack->held);
        free(pack);
}

/* Makes room for `n` bytes of frames. */
static int pack_flush(struct pack *pack, size_t n) {
        int r;

        if (pack->held_room - pack->held_size >= n)
                return 0;
        r = write_at(pack->fd, pack->held, pack->held_size, pack->file_at);
        if (r < 0)
                return r;
        pack->file_at += pack->held_size;
        pack->held_size = 0;
        return 0;
}

static int pack_frame(struct pack *pack, const uint8_t *buf, size_t n) {
        size_t k;
        int r;

        r = pack_flush(pack, ZSTD_compressBound(n));
        if (r < 0)
                return r;
        r = make_frame(pack, pack->held + pack->held_size, pack->held_room - pack->held_size, buf,
                       n, &k);
        if (r < 0)
                return r;
        pack->held_size += k;
        return 0;
}

/* Pages of zeros are left out: the file gets a hole there. */
static int pack_plain(struct pack *pack, const uint8_t *buf, size_t n) {
        static const uint8_t zeros[PAGE];

        for (size_t i = 0, end; i < n; i = end) {
                size_t page = n - i < PAGE ? n - i : PAGE;
                int r;

                end = i + page;
                if (memcmp(buf + i, zeros, page) == 0)
                        continue;
                while (end < n) {
                        page = n - end < PAGE ? n - end : PAGE;
                        if (memcmp(buf + end, zeros, page) == 0)
                                break;
                        end += page;
                }
                r = write_at(pack->fd, buf + i, end - i, pack->core_at + i);
                if (r < 0)
                        return r;
        }
        return 0;
}

int pack_data(struct pack *pack, const uint8_t *buf, size_t n) {
        int r;

        if (n > PACK_DATA_MAX)
                return -EINVAL;
        if (n == 0)
                return 0;
        r = pack->zstd ? pack_frame(pack, buf, n) : pack_plain(pack, buf, n);
        if (r < 0)
                return r;
        pack->core_at += n;
        return 0;
}

int pack_hole(struct pack *pack, uint64_t n) {
        static const uint8_t zeros[4U << 10];
        int r;

        static_assert(sizeof(zeros) == 4U << 10, "what is left is less than the smallest frame");
        pack->core_at += n;
        if (!pack->zstd)
                return 0;
        for (size_t i = 0; i < ARRAY_SIZE(hole_sizes); i++) {
                const struct frame *hole = &pack->holes[i];

                for (; n >= hole_sizes[i]; n -= hole_sizes[i]) {
                        r = pack_flush(pack, hole->size);
                        if (r < 0)
                                return r;
                        memcpy(pack->held + pack->held_size, hole->bytes, hole->size);
                        pack->held_size += hole->size;
                }
        }
        return n > 0 ? pack_frame(pack, zeros, (size_t)n) : 0;
}

int pack_finish(struct pack *pack, uint64_t *ret_size) {
        int r = 0;

        if (pack->zstd)
                r = pack_flush(pack, pack->held_room);
        else if (ftruncate(pack->fd, (off_t)pack->core_at) < 0)
                r = -errno;
        if (r < 0)
                return r;
        *ret_size = pack->core_at;
        return 0;
}
