/* An existing core file: its holes are those of the file system. */
#include <errno.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "sieve/source_private.h"

DEFINE_CLEANUP(source, struct source, source_free)

static int file_add_segment(struct source *source, const struct segment *s, struct plan *plan) {
        uint64_t at = s->offset, end = s->offset + s->file_size;

        while (at < end) {
                off_t data = lseek(source->fd, (off_t)at, SEEK_DATA), hole;
                int r;

                if (data < 0 && errno == ENXIO) /* nothing but a hole behind */
                        return 0;
                if (data < 0 && errno == EINVAL) /* a file system that does not tell */
                        return plan_add_extent(plan, at, end - at);
                if (data < 0)
                        return -errno;
                if ((uint64_t)data >= end)
                        return 0;
                hole = lseek(source->fd, data, SEEK_HOLE);
                if (hole < 0)
                        return -errno;
                if (hole <= data) /* the file was cut meanwhile */
                        return -ENODATA;
                at = (uint64_t)hole < end ? (uint64_t)hole : end;
                r = plan_add_extent(plan, (uint64_t)data, at - (uint64_t)data);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* A file that was cut while it was read answers SEEK_DATA as if nothing but a hole were there. */
static int file_finish(struct source *source) {
        off_t size = lseek(source->fd, 0, SEEK_END);

        if (size < 0)
                return -errno;
        return (uint64_t)size < source->head->end ? -ENODATA : 0;
}

static int file_read(struct source *source, const struct segment *s, uint64_t offset, void *buf,
                     size_t n) {
        ssize_t k = io_pread(source->fd, buf, n, offset);

        (void)s;
        if (k < 0)
                return (int)k;
        return (size_t)k < n ? -ENODATA : 0;
}

static int file_read_address(struct source *source, uint64_t address, void *buf, size_t n) {
        uint8_t *to = buf;

        while (n > 0) {
                const struct segment *s = core_segment_at(source->head, address);
                uint64_t in = s ? address - s->address : 0;
                size_t k = n;
                int r;

                if (!s || in >= s->file_size)
                        return -EFAULT;
                if (k > s->file_size - in)
                        k = (size_t)(s->file_size - in);
                r = file_read(source, s, s->offset + in, to, k);
                if (r < 0)
                        return r;
                to += k;
                address += k;
                n -= k;
        }
        return 0;
}

static const struct source_kind kind_file = {
        .add_segment = file_add_segment,
        .finish = file_finish,
        .read = file_read,
        .read_address = file_read_address,
};

int source_new_file(const struct core_head *head, const struct core_notes *notes, int core_fd,
                    struct source **ret) {
        _cleanup_(cleanup_source) struct source *source = NULL;
        int r;

        r = source_new(head, notes, &kind_file, core_fd, &source);
        if (r < 0)
                return r;
        r = file_finish(source);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(source);
        return 0;
}
