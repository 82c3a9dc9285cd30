/* A dying process: /proc/PID/mem and /proc/PID/pagemap, while the kernel waits on its pipe.
 *
 * What mem refuses, the kernel writes as zeros: guard pages, special mappings without pages of
 * their own ([vvar]), and what lies behind the end of a mapped file. Anything else that cannot be
 * read is an error, never zeros. Sources: fs/proc/base.c:mem_rw(), fs/proc/task_mmu.c,
 * fs/coredump.c:dump_user_range(), Documentation/admin-guide/mm/pagemap.rst.
 */
#include <elf.h>
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "sieve/source_private.h"

/* PAGEMAP_SCAN is Linux 6.7's; the C library's headers are older. */
struct pagemap_region {
        uint64_t start, end, categories;
};

struct pagemap_scan {
        uint64_t size, flags;
        uint64_t start, end, walk_end;
        uint64_t regions, n_regions;
        uint64_t max_pages;
        uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};

#define PAGEMAP_SCAN_IOCTL _IOWR('f', 16, struct pagemap_scan)
#define PAGE_CATEGORY_PRESENT (1ULL << 3)
#define PAGE_CATEGORY_SWAPPED (1ULL << 4)
#define PAGE_CATEGORY_ZERO (1ULL << 5)  /* the shared page of zeros: read, never written */
#define PAGE_CATEGORY_GUARD (1ULL << 8) /* Linux 6.15 */
#define SCAN_REGIONS 4096U              /* answered at a time: 96 KiB of stack */

/* Bits of an entry of pagemap. */
#define ENTRY_PRESENT (1ULL << 63)
#define ENTRY_SWAPPED (1ULL << 62)
#define ENTRY_GUARD (1ULL << 58) /* Linux 6.15; it comes with ENTRY_SWAPPED */
#define ENTRIES 512U             /* read at a time: 2 MiB of memory */

#define PAGE 4096U            /* x86-64; a huge page is reported as many small ones */
#define USER_END (1ULL << 63) /* mem and pagemap know nothing above, with 5 levels neither */
#define VSYSCALL 0xffffffffff600000ULL /* one page, the only one above that is dumped */

/* vdso, trampolines: mappings that belong to no file, whose pages come from the kernel when first
 * touched. They are a few pages, never writable, so that reading such a mapping whole is cheap. */
#define SPECIAL_MAX (1U << 20)

/* Does NT_FILE say that some part of [start, end) is a file's? Without the note, all may be. */
static bool may_be_file(const struct source *source, uint64_t start, uint64_t end) {
        const struct core_notes *notes = source->notes;
        size_t low = 0, high = notes->n_files;

        if (!notes->has_files)
                return true;
        while (low < high) {
                size_t middle = low + (high - low) / 2;

                if (notes->files[middle].end <= start)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low < notes->n_files && notes->files[low].start < end;
}

static int read_entries(const struct source *source, uint64_t address, uint64_t *entries,
                        size_t n) {
        ssize_t k = io_pread(source->pagemap_fd, entries, n * sizeof(*entries),
                             address / PAGE * sizeof(*entries));

        if (k < 0)
                return (int)k;
        return (size_t)k < n * sizeof(*entries) ? -ENODATA : 0;
}

/* How many of `n` pages from `address` on, all refused by mem, does the kernel write as zeros?
 * An absent page of no file is a hole to it, whatever the reason that mem refuses. An absent page
 * of a file can be refused for two reasons: it cannot be had (behind the end of the file, [vvar]),
 * then the kernel cannot have it either; or it may not be read (proc_mem.force_override=never),
 * which readable mappings rule out. */
static int count_zero_pages(const struct source *source, const struct segment *s, uint64_t address,
                            size_t n, size_t *ret) {
        uint64_t entries[ENTRIES];
        size_t i;
        int r;

        if (n > ENTRIES)
                n = ENTRIES;
        r = read_entries(source, address, entries, n);
        if (r < 0)
                return r;
        for (i = 0; i < n; i++) {
                uint64_t page = address + i * PAGE;

                if (entries[i] & ENTRY_GUARD)
                        continue;
                if (entries[i] & (ENTRY_PRESENT | ENTRY_SWAPPED))
                        break;
                if (!(s->flags & PF_R) && may_be_file(source, page, page + PAGE))
                        break;
        }
        *ret = i;
        return 0;
}

/* mem refused `address`. Zeroes what the kernel would write as zeros, at most `n` bytes. */
static int read_refused(const struct source *source, uint64_t address, void *buf, size_t n,
                        size_t *ret) {
        const struct segment *s = core_segment_at(source->head, address);
        uint64_t start = address & ~(uint64_t)(PAGE - 1), end = address + n;
        size_t pages;
        int r;

        if (!s)
                return -EIO;
        if (end > s->address + s->memory_size)
                end = s->address + s->memory_size;
        r = count_zero_pages(source, s, start, (end - start + PAGE - 1) / PAGE, &pages);
        if (r < 0)
                return r;
        if (pages == 0)
                return -EIO;
        if (end > start + pages * PAGE)
                end = start + pages * PAGE;
        memset(buf, 0, end - address);
        *ret = end - address;
        return 0;
}

/* arch/x86/entry/vsyscall: with vsyscall=emulate the page is three system calls between
 * breakpoints, and readable; with vsyscall=xonly (the default) it is not backed at all, and the
 * kernel writes zeros. */
static int read_vsyscall(const struct source *source, uint64_t address, uint8_t *buf, size_t n) {
        static const uint8_t calls[][9] = {
                { 0x48, 0xc7, 0xc0, 0x60, 0x00, 0x00, 0x00, 0x0f, 0x05 }, /* gettimeofday */
                { 0x48, 0xc7, 0xc0, 0xc9, 0x00, 0x00, 0x00, 0x0f, 0x05 }, /* time */
                { 0x48, 0xc7, 0xc0, 0x35, 0x01, 0x00, 0x00, 0x0f, 0x05 }, /* getcpu */
        };
        const size_t slot = 1024; /* bytes from one call to the next */
        const struct segment *s = core_segment_at(source->head, address);
        uint8_t page[PAGE];

        if (!s || address < VSYSCALL || address - VSYSCALL > PAGE ||
            n > PAGE - (address - VSYSCALL))
                return -EIO;
        if (!(s->flags & PF_R)) {
                memset(buf, 0, n);
                return 0;
        }
        memset(page, 0xcc, sizeof(page)); /* int3 */
        for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
                memcpy(page + i * slot, calls[i], sizeof(calls[i]));
                page[i * slot + sizeof(calls[i])] = 0xc3; /* ret */
        }
        memcpy(buf, page + (address - VSYSCALL), n);
        return 0;
}

static int read_memory(const struct source *source, uint64_t address, void *buf, size_t n) {
        uint8_t *to = buf;

        if (address >= USER_END || n > USER_END - address)
                return read_vsyscall(source, address, buf, n);

        while (n > 0) {
                ssize_t k = pread(source->fd, to, n, (off_t)address);
                size_t done = k > 0 ? (size_t)k : 0;
                int r;

                if (k < 0 && errno == EINTR)
                        continue;
                if (k < 0 && errno != EIO)
                        return -errno;
                if (k == 0) /* killed: its memory is gone */
                        return -ENODATA;
                if (k < 0) {
                        r = read_refused(source, address, to, n, &done);
                        if (r < 0)
                                return r;
                }
                to += done;
                address += done;
                n -= done;
        }
        return 0;
}

static int live_read(struct source *source, const struct segment *s, uint64_t offset, void *buf,
                     size_t n) {
        return read_memory(source, s->address + (offset - s->offset), buf, n);
}

static int live_read_address(struct source *source, uint64_t address, void *buf, size_t n) {
        int r = read_memory(source, address, buf, n);

        return r == -EIO ? -EFAULT : r;
}

/* Adds [start, end) of a segment's memory, given by address. */
static int add_memory(const struct segment *s, uint64_t start, uint64_t end, struct plan *plan) {
        if (start < s->address)
                start = s->address;
        if (end > s->address + s->file_size)
                end = s->address + s->file_size;
        if (start >= end)
                return 0;
        return plan_add_extent(plan, s->offset + (start - s->address), end - start);
}

static int scan_once(const struct source *source, struct pagemap_scan *scan) {
        int n = ioctl(source->pagemap_fd, PAGEMAP_SCAN_IOCTL, scan);

        if (n < 0 && errno == EINVAL && (scan->category_mask & PAGE_CATEGORY_GUARD)) {
                /* before 6.15 nothing is told of guard pages: they come as swapped ones */
                scan->category_mask &= ~PAGE_CATEGORY_GUARD;
                scan->category_inverted &= ~PAGE_CATEGORY_GUARD;
                n = ioctl(source->pagemap_fd, PAGEMAP_SCAN_IOCTL, scan);
        }
        if (n < 0 && errno == ESRCH)
                return -ENODATA;
        return n < 0 ? -errno : n;
}

static int add_by_scan(const struct source *source, const struct segment *s, struct plan *plan) {
        struct pagemap_region regions[SCAN_REGIONS];
        struct pagemap_scan scan = {
                .size = sizeof(scan),
                .start = s->address,
                .end = s->address + s->file_size,
                .regions = (uint64_t)(uintptr_t)regions,
                .n_regions = SCAN_REGIONS,
                .category_inverted = PAGE_CATEGORY_ZERO | PAGE_CATEGORY_GUARD,
                .category_mask = PAGE_CATEGORY_ZERO | PAGE_CATEGORY_GUARD,
                .category_anyof_mask = PAGE_CATEGORY_PRESENT | PAGE_CATEGORY_SWAPPED,
                .return_mask = PAGE_CATEGORY_PRESENT,
        };

        /* walk_end tells only where the kernel's own buffer of 512 regions was full for the last
         * time (Linux 6.18), so the regions themselves say how far the scan came: an answer that
         * is not full is the last. */
        while (scan.start < scan.end) {
                int n = scan_once(source, &scan), r;

                if (n < 0)
                        return n;
                for (int i = 0; i < n; i++) {
                        r = add_memory(s, regions[i].start, regions[i].end, plan);
                        if (r < 0)
                                return r;
                }
                if ((unsigned)n < SCAN_REGIONS)
                        return 0;
                if (regions[n - 1].end <= scan.start)
                        return -EIO;
                scan.start = regions[n - 1].end;
        }
        return 0;
}

static int add_by_entries(const struct source *source, const struct segment *s, struct plan *plan) {
        uint64_t entries[ENTRIES], end = s->address + s->file_size, at = s->address;

        while (at < end) {
                size_t n = (size_t)((end - at + PAGE - 1) / PAGE);
                int r;

                if (n > ENTRIES)
                        n = ENTRIES;
                r = read_entries(source, at, entries, n);
                if (r < 0)
                        return r;
                for (size_t i = 0; i < n; i++, at += PAGE) {
                        if (!(entries[i] & (ENTRY_PRESENT | ENTRY_SWAPPED)) ||
                            (entries[i] & ENTRY_GUARD))
                                continue;
                        r = add_memory(s, at, at + PAGE, plan);
                        if (r < 0)
                                return r;
                }
        }
        return 0;
}

static int live_add_segment(struct source *source, const struct segment *s, struct plan *plan) {
        uint64_t end = s->address + s->file_size;
        bool special = s->flags != 0 && !(s->flags & PF_W) && s->file_size <= SPECIAL_MAX;
        int r;

        if (end > USER_END || special || may_be_file(source, s->address, end))
                return plan_add_extent(plan, s->offset, s->file_size);

        if (!source->no_scan) {
                r = add_by_scan(source, s, plan);
                if (r != -ENOTTY)
                        return r;
                source->no_scan = true;
        }
        return add_by_entries(source, s, plan);
}

/* A process that was killed has no mappings: older kernels scan them, find nothing, and do not
 * say why. Reading its pagemap ends at once, whatever the address; unlike a read of mem it brings
 * no page into being. */
static int live_finish(struct source *source) {
        uint64_t entry;

        return read_entries(source, 0, &entry, 1);
}

static const struct source_kind kind_live = {
        .add_segment = live_add_segment,
        .finish = live_finish,
        .read = live_read,
        .read_address = live_read_address,
};

int source_new_live(const struct core_head *head, const struct core_notes *notes, int mem_fd,
                    int pagemap_fd, struct source **ret) {
        int r = source_new(head, notes, &kind_live, mem_fd, ret);

        if (r < 0)
                return r;
        (*ret)->pagemap_fd = pagemap_fd;
        return 0;
}
