/* A live source reads what the kernel would write, from a process whose mappings are of every kind
 * that the kernel treats in a way of its own. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "tests/unit/sieve/source_support.h"

#define VSYSCALL_ADDRESS 0xffffffffff600000ULL
#define ADVICE_GUARD 102 /* MADV_GUARD_INSTALL, Linux 6.13 */

/* A child that has the same mappings, and that sleeps until it is killed. */
struct child {
        pid_t pid;
        int mem, pagemap;
};

static void child_done(struct child *child) {
        if (child->pid > 0) {
                (void)kill(child->pid, SIGKILL);
                (void)waitpid(child->pid, NULL, 0);
        }
        (void)close(child->mem);
        (void)close(child->pagemap);
}
#define _cleanup_child_ _cleanup_(child_done)

static int open_proc(pid_t pid, const char *name) {
        char path[64];
        int fd;

        (void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        assert_true(fd >= 0);
        return fd;
}

static struct child child_start(void (*touch)(void *), void *userdata) {
        struct child child;
        int ready[2];
        char byte;

        assert_int_equal(pipe(ready), 0);
        child.pid = fork();
        assert_true(child.pid >= 0);
        if (child.pid == 0) {
                (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
                if (touch)
                        touch(userdata);
                if (write(ready[1], "x", 1) != 1)
                        _exit(1);
                for (;;)
                        (void)pause();
        }
        (void)close(ready[1]);
        assert_int_equal(read(ready[0], &byte, 1), 1);
        (void)close(ready[0]);
        child.mem = open_proc(child.pid, "mem");
        child.pagemap = open_proc(child.pid, "pagemap");
        return child;
}

static uint8_t *map(size_t size, int protection) {
        void *p = mmap(NULL, size, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        assert_true(p != MAP_FAILED);
        /* a touched page must not bring 511 others with it */
        assert_int_equal(madvise(p, size, MADV_NOHUGEPAGE), 0);
        return p;
}

static struct builder_segment segment_of(const void *p, size_t size) {
        return (struct builder_segment){ .address = (uint64_t)(uintptr_t)p, .file_size = size };
}

static void touch_some(void *userdata) {
        volatile uint8_t *p = userdata;

        p[2 * PAGE] = 1;
        p[3 * PAGE] = 1;
        p[100 * PAGE] = 1;
        (void)p[50 * PAGE]; /* read only: the shared page of zeros */
}

static void check_touched(struct builder *b) {
        _cleanup_plan_ struct plan *plan = NULL;
        uint64_t at = b->head->size;

        assert_int_equal(plan_new(b->head, &plan), 0);
        assert_int_equal(source_add_extents(b->source, plan), 0);
        assert_extent(plan, 0, at + 2 * PAGE, 2 * PAGE);
        /* pagemap's entries, without the scan, cannot tell a page of zeros */
        if (b->source->no_scan)
                assert_extent(plan, 1, at + 50 * PAGE, PAGE);
        assert_int_equal(count_extents(plan), b->source->no_scan ? 3 : 2);
        assert_extent(plan, b->source->no_scan ? 2 : 1, at + 100 * PAGE, PAGE);
}

static void pages_never_touched_are_skipped(void **state) {
        _cleanup_builder_ struct builder b = { .fd = -1 };
        uint8_t *p = map(1024 * PAGE, PROT_READ | PROT_WRITE);
        _cleanup_child_ struct child child = child_start(touch_some, p);
        const struct builder_segment segment = segment_of(p, 1024 * PAGE);

        (void)state;
        builder_make(&b, &segment, 1);
        assert_int_equal(source_new_live(b.head, b.notes, child.mem, child.pagemap, &b.source), 0);
        check_touched(&b);
        b.source->no_scan = true;
        check_touched(&b);
        (void)munmap(p, 1024 * PAGE);
}

#define MANY_PAGES 20000U

static void touch_every_second(void *userdata) {
        volatile uint8_t *p = userdata;

        for (size_t i = 0; i < MANY_PAGES; i += 2)
                p[i * PAGE] = 1;
}

/* The kernel's buffer holds 512 regions, an answer 4,096: both must be outrun. */
static void more_regions_than_one_answer_holds_are_all_found(void **state) {
        _cleanup_builder_ struct builder b = { .fd = -1 };
        uint8_t *p = map(MANY_PAGES * PAGE, PROT_READ | PROT_WRITE);
        _cleanup_child_ struct child child = child_start(touch_every_second, p);
        const struct builder_segment segment = segment_of(p, MANY_PAGES * PAGE);

        (void)state;
        builder_make(&b, &segment, 1);
        assert_int_equal(source_new_live(b.head, b.notes, child.mem, child.pagemap, &b.source), 0);
        for (int no_scan = 0; no_scan < 2; no_scan++) {
                _cleanup_plan_ struct plan *plan = NULL;

                b.source->no_scan = no_scan;
                assert_int_equal(plan_new(b.head, &plan), 0);
                assert_int_equal(source_add_extents(b.source, plan), 0);
                assert_int_equal(count_extents(plan), MANY_PAGES / 2);
                for (size_t i = 0; i < MANY_PAGES / 2; i++)
                        assert_extent(plan, i, b.head->size + 2 * i * PAGE, PAGE);
        }
        (void)munmap(p, MANY_PAGES * PAGE);
}

static void nothing_is_skipped_without_the_list_of_files(void **state) {
        _cleanup_builder_ struct builder b = { .fd = -1, .no_files = true };
        _cleanup_plan_ struct plan *plan = NULL;
        uint8_t *p = map(1024 * PAGE, PROT_READ | PROT_WRITE);
        _cleanup_child_ struct child child = child_start(touch_some, p);
        const struct builder_segment segment = segment_of(p, 1024 * PAGE);

        (void)state;
        builder_make(&b, &segment, 1);
        assert_int_equal(source_new_live(b.head, b.notes, child.mem, child.pagemap, &b.source), 0);
        assert_int_equal(plan_new(b.head, &plan), 0);
        assert_int_equal(source_add_extents(b.source, plan), 0);
        assert_int_equal(count_extents(plan), 1);
        assert_extent(plan, 0, b.head->size, 1024 * PAGE);
        (void)munmap(p, 1024 * PAGE);
}

static void untouched_pages_of_a_file_are_read(void **state) {
        _cleanup_builder_ struct builder b = { .fd = -1 };
        _cleanup_plan_ struct plan *plan = NULL;
        _cleanup_close_ int fd = memfd_create("mapped", MFD_CLOEXEC);
        uint8_t text[PAGE], buf[PAGE], *p;
        struct builder_segment segment;

        (void)state;
        builder_random(1, text, sizeof(text));
        assert_int_equal(ftruncate(fd, 8 * PAGE), 0);
        assert_int_equal(pwrite(fd, text, PAGE, 5 * PAGE), PAGE);
        p = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
        assert_true(p != MAP_FAILED);
        segment = segment_of(p, 8 * PAGE);
        segment.file = "/mapped";
        _cleanup_child_ struct child child = child_start(NULL, NULL);
        builder_make(&b, &segment, 1);
        assert_int_equal(source_new_live(b.head, b.notes, child.mem, child.pagemap, &b.source), 0);
        assert_int_equal(plan_new(b.head, &plan), 0);
        assert_int_equal(source_add_extents(b.source, plan), 0);
        assert_extent(plan, 0, b.head->size, 8 * PAGE);
        assert_int_equal(source_read(b.source, b.head->size + 5 * PAGE, buf, PAGE), 0);
        assert_memory_equal(buf, text, PAGE);
        (void)munmap(p, 8 * PAGE);
}

static void install_guards(void *userdata) {
        uint8_t *p = userdata;

        memset(p, 'a', 1024 * PAGE);
        (void)madvise(p + PAGE, PAGE, ADVICE_GUARD);
        (void)madvise(p + 300 * PAGE, 700 * PAGE, ADVICE_GUARD);
}

static void guard_pages_read_as_zeros(void **state) {
        _cleanup_builder_ struct builder b = { .fd = -1 };
        _cleanup_plan_ struct plan *plan = NULL;
        _cleanup_free_ uint8_t *buf = malloc(1024 * PAGE), *want = malloc(1024 * PAGE);
        uint8_t *p = map(1024 * PAGE, PROT_READ | PROT_WRITE);
        struct builder_segment segment = segment_of(p, 1024 * PAGE);

        (void)state;
        assert_true(buf && want);
        if (madvise(p, PAGE, ADVICE_GUARD) < 0)
                skip(); /* before Linux 6.13 there are none */
        (void)munmap(p, PAGE);
        p = map(1024 * PAGE, PROT_READ | PROT_WRITE);
        segment = segment_of(p, 1024 * PAGE);
        _cleanup_child_ struct child child = child_start(install_guards, p);
        builder_make(&b, &segment, 1);
        assert_int_equal(source_new_live(b.head, b.notes, child.mem, child.pagemap, &b.source), 0);

        memset(want, 'a', 1024 * PAGE);
        memset(want + PAGE, 0, PAGE);
        memset(want + 300 * PAGE, 0, 700 * PAGE);
        assert_int_equal(source_read(b.source, b.head->size, buf, 1024 * PAGE), 0);
        assert_memory_equal(buf, want, 1024 * PAGE);
        /* from within a guarded page, and by address */
        memset(buf, 'x', PAGE);
        assert_int_equal(source_read(b.source, b.head->size + PAGE + 100, buf, PAGE), 0);
        assert_memory_equal(buf, want + PAGE + 100, PAGE);
        assert_int_equal(source_read_address(b.source, segment.address + PAGE, buf, 2 * PAGE), 0);
        assert_memory_equal(buf, want + PAGE, 2 * PAGE);
        /* the scan leaves them out */
        assert_int_equal(plan_new(b.head, &plan), 0);
        assert_int_equal(source_add_extents(b.source, plan), 0);
        assert_int_equal(count_extents(plan), 3);
        (void)munmap(p, 1024 * PAGE);
}

/* The child's own idea of a mapping that the kernel made. */
static bool find_mapping(pid_t pid, const char *name, uint64_t *ret_start, uint64_t *ret_end) {
        char path[64], line[512];
        _cleanup_fclose_ FILE *maps = NULL;

        (void)snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
        maps = fopen(path, "re");
        assert_non_null(maps);
        while (fgets(line, sizeof(line), maps)) {
                char *end;

                if (!strstr(line, name))
                        continue;
                *ret_start = strtoull(line, &end, 16);
                *ret_end = strtoull(end + 1, NULL, 16);
                return true;
        }
        return false;
}

/* The kernel writes zeros for [vvar], and mem refuses it; with NT_FILE and without. */
static void the_pages_that_the_kernel_shows_to_all_read_as_zeros(void **state) {
        _cleanup_child_ struct child child = child_start(NULL, NULL);
        uint64_t vvar, vvar_end, vdso, vdso_end;

        (void)state;
        if (!find_mapping(child.pid, "[vvar]", &vvar, &vvar_end) ||
            !find_mapping(child.pid, "[vdso]", &vdso, &vdso_end))
                skip();
        for (int no_files = 0; no_files < 2; no_files++) {
                const struct builder_segment segments[] = {
                        { .address = vvar, .file_size = vvar_end - vvar, .flags = PF_R },
                        /* [vvar_vclock], since Linux 6.13 */
                        { .address = vvar_end, .file_size = vdso - vvar_end, .flags = PF_R },
                        { .address = vdso, .file_size = vdso_end - vdso, .flags = PF_R | PF_X },
                };
                _cleanup_builder_ struct builder b = { .fd = -1,
                                                       .vdso = vdso,
                                                       .no_files = no_files };
                _cleanup_plan_ struct plan *plan = NULL;
                uint64_t size = vdso_end - vvar;
                _cleanup_free_ uint8_t *buf = malloc(size), *zeros = calloc(1, size);

                assert_true(buf && zeros);
                memset(buf, 'x', size);
                builder_make(&b, segments, ARRAY_SIZE(segments));
                assert_int_equal(
                        source_new_live(b.head, b.notes, child.mem, child.pagemap, &b.source), 0);
                assert_int_equal(source_read(b.source, b.head->size, buf, size), 0);
                assert_memory_equal(buf, zeros, vdso - vvar);
                assert_memory_equal(buf + (vdso - vvar), (void *)(uintptr_t)vdso, vdso_end - vdso);
                /* the vdso's pages need not be touched to be there */
                assert_int_equal(plan_new(b.head, &plan), 0);
                assert_int_equal(source_add_extents(b.source, plan), 0);
                assert_extent(plan, 0, b.head->size, size);
        }
}

static void the_vsyscall_page_is_what_the_kernel_maps(void **state) {
        static const uint8_t time_call[] = { 0xcc, 0x48, 0xc7, 0xc0, 0xc9, 0x00,
                                             0x00, 0x00, 0x0f, 0x05, 0xc3, 0xcc };
        static const uint8_t zeros[PAGE];
        _cleanup_child_ struct child child = child_start(NULL, NULL);
        uint8_t buf[PAGE];

        (void)state;
        for (int readable = 0; readable < 2; readable++) {
                const struct builder_segment segment = {
                        .address = VSYSCALL_ADDRESS,
                        .file_size = PAGE,
                        .flags = readable ? PF_R | PF_X : PF_X,
                };
                _cleanup_builder_ struct builder b = { .fd = -1 };
                _cleanup_plan_ struct plan *plan = NULL;

                builder_make(&b, &segment, 1);
                assert_int_equal(
                        source_new_live(b.head, b.notes, child.mem, child.pagemap, &b.source), 0);
                assert_int_equal(plan_new(b.head, &plan), 0);
                assert_int_equal(source_add_extents(b.source, plan), 0);
                assert_extent(plan, 0, b.head->size, PAGE);
                assert_int_equal(source_read(b.source, b.head->size, buf, PAGE), 0);
                if (readable)
                        assert_memory_equal(buf + 1023, time_call, sizeof(time_call));
                else
                        assert_memory_equal(buf, zeros, PAGE);
                assert_int_equal(source_read_address(b.source, VSYSCALL_ADDRESS + 1024, buf, 16),
                                 0);
                assert_int_equal(source_read_address(b.source, VSYSCALL_ADDRESS + 4090, buf, 16),
                                 -EFAULT);
                assert_int_equal(source_read_address(b.source, VSYSCALL_ADDRESS - 8, buf, 4),
                                 -EFAULT);
        }
}

static void touch_first(void *userdata) {
        *(volatile uint8_t *)userdata = 1;
}

static void memory_that_cannot_be_read_is_an_error_not_zeros(void **state) {
        static const uint8_t zeros[PAGE];
        _cleanup_close_ int fd = (int)syscall(SYS_memfd_secret, O_CLOEXEC);
        uint8_t buf[PAGE], *p;

        (void)state;
        if (fd < 0)
                skip(); /* the one kind of memory that mem refuses at will */
        assert_int_equal(ftruncate(fd, 2 * PAGE), 0);
        p = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        assert_true(p != MAP_FAILED);
        _cleanup_child_ struct child child = child_start(touch_first, p);
        for (int no_access = 0; no_access < 2; no_access++) {
                _cleanup_builder_ struct builder b = { .fd = -1 };
                struct builder_segment segment = segment_of(p, 2 * PAGE);

                segment.file = "/secretmem (deleted)";
                segment.no_access = no_access;
                builder_make(&b, &segment, 1);
                assert_int_equal(
                        source_new_live(b.head, b.notes, child.mem, child.pagemap, &b.source), 0);
                assert_int_equal(source_read(b.source, b.head->size, buf, PAGE), -EIO);
                assert_int_equal(source_read_address(b.source, segment.address, buf, PAGE),
                                 -EFAULT);
                /* a page that is not there, and that the kernel cannot have either */
                assert_int_equal(source_read(b.source, b.head->size + PAGE, buf, PAGE),
                                 no_access ? -EIO : 0);
                if (!no_access)
                        assert_memory_equal(buf, zeros, PAGE);
        }
        (void)munmap(p, 2 * PAGE);
}

static void an_address_that_is_not_mapped_is_a_fault(void **state) {
        _cleanup_builder_ struct builder b = { .fd = -1 };
        uint8_t *p = map(PAGE, PROT_READ | PROT_WRITE);
        _cleanup_child_ struct child child = child_start(touch_first, p);
        const struct builder_segment segment = segment_of(p, PAGE);
        uint8_t buf[PAGE];

        (void)state;
        builder_make(&b, &segment, 1);
        assert_int_equal(source_new_live(b.head, b.notes, child.mem, child.pagemap, &b.source), 0);
        assert_int_equal(source_read_address(b.source, segment.address, buf, PAGE), 0);
        assert_int_equal(buf[0], 1);
        assert_int_equal(source_read_address(b.source, 8, buf, 8), -EFAULT);
        assert_int_equal(source_read_address(b.source, UINT64_MAX - 3, buf, 8), -EFAULT);
        (void)munmap(p, PAGE);
}

static void inaccessible_memory_is_read_all_the_same(void **state) {
        _cleanup_builder_ struct builder b = { .fd = -1 };
        _cleanup_plan_ struct plan *plan = NULL;
        uint8_t buf[PAGE], *p = map(4 * PAGE, PROT_READ | PROT_WRITE);
        struct builder_segment segment = segment_of(p, 4 * PAGE);

        (void)state;
        memset(p + PAGE, 'a', PAGE);
        assert_int_equal(mprotect(p, 4 * PAGE, PROT_NONE), 0);
        segment.no_access = true;
        _cleanup_child_ struct child child = child_start(NULL, NULL);
        builder_make(&b, &segment, 1);
        assert_int_equal(source_new_live(b.head, b.notes, child.mem, child.pagemap, &b.source), 0);
        assert_int_equal(plan_new(b.head, &plan), 0);
        assert_int_equal(source_add_extents(b.source, plan), 0);
        assert_int_equal(count_extents(plan), 1);
        assert_extent(plan, 0, b.head->size + PAGE, PAGE);
        assert_int_equal(source_read(b.source, b.head->size + PAGE, buf, PAGE), 0);
        assert_int_equal(buf[PAGE - 1], 'a');
        (void)munmap(p, 4 * PAGE);
}

/* The scan of a killed process finds no page, and does not say why: its dump would be all holes. */
static void a_process_that_was_killed_is_no_process_without_memory(void **state) {
        _cleanup_builder_ struct builder b = { .fd = -1 };
        uint8_t *p = map(1024 * PAGE, PROT_READ | PROT_WRITE);
        _cleanup_child_ struct child child = child_start(touch_some, p);
        const struct builder_segment segment = segment_of(p, 1024 * PAGE);
        uint8_t buf[PAGE];

        (void)state;
        builder_make(&b, &segment, 1);
        assert_int_equal(source_new_live(b.head, b.notes, child.mem, child.pagemap, &b.source), 0);
        assert_int_equal(kill(child.pid, SIGKILL), 0);
        assert_int_equal(waitpid(child.pid, NULL, 0), child.pid);
        child.pid = -1;
        for (int no_scan = 0; no_scan < 2; no_scan++) {
                _cleanup_plan_ struct plan *plan = NULL;

                b.source->no_scan = no_scan;
                assert_int_equal(plan_new(b.head, &plan), 0);
                assert_int_equal(source_add_extents(b.source, plan), -ENODATA);
        }
        assert_int_equal(source_read(b.source, b.head->size + 2 * PAGE, buf, PAGE), -ENODATA);
        assert_int_equal(source_read_address(b.source, segment.address, buf, 1), -ENODATA);
        (void)munmap(p, 1024 * PAGE);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(pages_never_touched_are_skipped),
                cmocka_unit_test(more_regions_than_one_answer_holds_are_all_found),
                cmocka_unit_test(nothing_is_skipped_without_the_list_of_files),
                cmocka_unit_test(untouched_pages_of_a_file_are_read),
                cmocka_unit_test(guard_pages_read_as_zeros),
                cmocka_unit_test(the_pages_that_the_kernel_shows_to_all_read_as_zeros),
                cmocka_unit_test(the_vsyscall_page_is_what_the_kernel_maps),
                cmocka_unit_test(memory_that_cannot_be_read_is_an_error_not_zeros),
                cmocka_unit_test(an_address_that_is_not_mapped_is_a_fault),
                cmocka_unit_test(inaccessible_memory_is_read_all_the_same),
                cmocka_unit_test(a_process_that_was_killed_is_no_process_without_memory),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
