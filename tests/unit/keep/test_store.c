/* A dump is whole or absent, overwrites nothing, and all helpers together keep to the limits. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <time.h>

#include <cmocka.h>

#include "base/paths.h"
#include "keep/store.h"
#include "tests/unit/scratch.h"

#define ID "0123abcd-1-00112233445566ff"
#define DUMP PATH_STORE "/" ID STORE_SUFFIX
#define MIB (1ULL << 20)

#define STORE_TEST(name) cmocka_unit_test_setup_teardown(name, store_setup, scratch_teardown)

DEFINE_CLEANUP(store, struct store, store_close)
#define _cleanup_store_ _cleanup_(cleanup_store)

static int store_setup(void **state) {
        if (scratch_setup(state) < 0)
                return -1;
        scratch_mkdir(*state, PATH_STORE, 0700);
        return 0;
}

static struct store *opened(const struct scratch *s) {
        struct store *store = NULL;

        assert_int_equal(store_open(s->root, &store), 0);
        return store;
}

static struct policy limits(uint64_t dump_max, uint64_t total_max, uint64_t keep_free) {
        return (struct policy){
                .store_dump_max = dump_max,
                .store_total_max = total_max,
                .store_keep_free = keep_free,
        };
}

static int commit(struct store *store, const char *id, const char *bytes) {
        _cleanup_close_ int fd = -1;
        _cleanup_free_ char *path = NULL;
        uint64_t size;

        assert_int_equal(store_create(store, &fd), 0);
        assert_int_equal(io_write(fd, bytes, strlen(bytes)), 0);
        return store_commit(store, fd, id, &path, &size);
}

static void a_committed_dump_is_there_whole_and_roots_alone(void **state) {
        struct scratch *s = *state;
        _cleanup_store_ struct store *store = opened(s);
        _cleanup_free_ char *path = NULL, *again = NULL, *text = NULL;
        _cleanup_close_ int fd = -1, read_fd = -1;
        struct stat st;
        uint64_t size;

        assert_int_equal(store_create(store, &fd), 0);
        assert_int_equal(io_write(fd, "dump", 4), 0);
        assert_int_equal(store_path(s->root, ID, &again), -ENOENT);
        assert_int_equal(store_commit(store, fd, ID, &path, &size), 0);
        assert_int_equal(size, 4);
        assert_string_equal(path, scratch_path(s, DUMP));
        assert_int_equal(lstat(path, &st), 0);
        assert_int_equal(st.st_mode, S_IFREG | 0600);
        assert_int_equal(st.st_nlink, 1);
        text = scratch_load(s, DUMP, NULL);
        assert_string_equal(text, "dump");
        assert_int_equal(store_path(s->root, ID, &again), 0);
        assert_string_equal(again, path);
        assert_int_equal(store_read(s->root, ID, &read_fd), 0);
}

static void a_dump_never_committed_leaves_nothing(void **state) {
        struct scratch *s = *state;
        struct store *store = opened(s);
        int fd;

        assert_int_equal(store_create(store, &fd), 0);
        assert_int_equal(io_write(fd, "half", 4), 0);
        close(fd);
        store_close(store);
        assert_int_equal(rmdir(scratch_path(s, PATH_STORE)), 0); /* empty */
}

static void nothing_is_ever_overwritten(void **state) {
        struct scratch *s = *state;
        _cleanup_store_ struct store *store = opened(s);

        for (unsigned kind = 0; kind < 4; kind++) {
                _cleanup_free_ char *text = NULL;
                const char *name = scratch_path(s, DUMP), *victim = scratch_path(s, "/victim");

                unlink(name);
                rmdir(name);
                scratch_save(s, "/victim", "untouched", 9);
                switch (kind) {
                case 0:
                        assert_int_equal(scratch_save(s, DUMP, "old", 3), 0);
                        break;
                case 1:
                        assert_int_equal(symlink(victim, name), 0);
                        break;
                case 2:
                        assert_int_equal(symlink(scratch_path(s, "/made"), name), 0);
                        break;
                default:
                        assert_int_equal(mkfifo(name, 0600), 0);
                        break;
                }
                assert_int_equal(commit(store, ID, "new"), -EEXIST);
                text = scratch_load(s, "/victim", NULL);
                assert_string_equal(text, "untouched");
                assert_int_equal(access(scratch_path(s, "/made"), F_OK), -1);
                /* ... and what it did not commit it does not take back. */
                assert_int_equal(store_withdraw(store, ID), -ENOENT);
                assert_int_equal(access(name, F_OK) == 0 || kind == 2, 1);
        }
}

static void only_an_unnamed_file_of_this_store_is_committed(void **state) {
        struct scratch *s = *state;
        _cleanup_store_ struct store *store = opened(s);
        _cleanup_free_ char *path = NULL;
        _cleanup_close_ int named = -1, pipe_end = -1;
        uint64_t size;
        int ends[2];

        scratch_save(s, "/named", "x", 1);
        named = open(scratch_path(s, "/named"), O_WRONLY | O_CLOEXEC);
        assert_int_equal(store_commit(store, named, ID, &path, &size), -EINVAL);
        assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
        close(ends[0]);
        pipe_end = ends[1];
        assert_int_equal(store_commit(store, pipe_end, ID, &path, &size), -EINVAL);
}

static void what_is_no_id_reaches_no_path(void **state) {
        static const char *const bad[] = { "", ".", "..", "../x", "a/b", "-a", "a.core", "ID" };
        struct scratch *s = *state;
        _cleanup_store_ struct store *store = opened(s);
        char *path;
        int fd;

        for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
                assert_int_equal(commit(store, bad[i], "x"), -EINVAL);
                assert_int_equal(store_withdraw(store, bad[i]), -EINVAL);
                assert_int_equal(store_path(s->root, bad[i], &path), -EINVAL);
                assert_int_equal(store_read(s->root, bad[i], &fd), -EINVAL);
        }
}

static void a_withdrawn_dump_is_gone(void **state) {
        struct scratch *s = *state;
        _cleanup_store_ struct store *store = opened(s);
        char *path;

        assert_int_equal(commit(store, ID, "x"), 0);
        assert_int_equal(store_withdraw(store, ID), 0);
        assert_int_equal(store_path(s->root, ID, &path), -ENOENT);
        assert_int_equal(store_withdraw(store, ID), -ENOENT);
        assert_int_equal(commit(store, ID, "y"), 0);
        unlink(scratch_path(s, DUMP)); /* somebody was faster */
        assert_int_equal(store_withdraw(store, ID), 0);
}

static void a_file_put_in_its_place_is_neither_read_nor_withdrawn(void **state) {
        struct scratch *s = *state;
        _cleanup_store_ struct store *store = opened(s);
        int fd;

        assert_int_equal(commit(store, ID, "x"), 0);
        unlink(scratch_path(s, DUMP));
        scratch_save(s, DUMP, "another", 7);
        assert_int_equal(store_withdraw(store, ID), -ESTALE);
        assert_int_equal(access(scratch_path(s, DUMP), F_OK), 0);
        assert_int_equal(chown(scratch_path(s, DUMP), 1, 1), 0);
        assert_int_equal(store_read(s->root, ID, &fd), -EPERM);
        unlink(scratch_path(s, DUMP));
        assert_int_equal(symlink("/etc/passwd", scratch_path(s, DUMP)), 0);
        assert_int_equal(store_read(s->root, ID, &fd), -EPERM);
        unlink(scratch_path(s, DUMP));
        assert_int_equal(mkfifo(scratch_path(s, DUMP), 0600), 0);
        assert_int_equal(store_read(s->root, ID, &fd), -EPERM);
        unlink(scratch_path(s, DUMP));
        assert_int_equal(link(scratch_path(s, "/victim"), scratch_path(s, DUMP)), -1);
        scratch_save(s, "/victim", "x", 1);
        assert_int_equal(link(scratch_path(s, "/victim"), scratch_path(s, DUMP)), 0);
        assert_int_equal(store_read(s->root, ID, &fd), -EPERM);
}

static void a_store_that_others_can_reach_is_no_store(void **state) {
        struct scratch *s = *state;
        const char *path = scratch_path(s, PATH_STORE);
        struct store *store;

        for (mode_t bit = 1; bit <= 040; bit <<= 1) {
                assert_int_equal(chmod(path, 0700 | bit), 0);
                assert_int_equal(store_open(s->root, &store), -EPERM);
        }
        assert_int_equal(chmod(path, 0700), 0);
        assert_int_equal(chown(path, 1, 0), 0);
        assert_int_equal(store_open(s->root, &store), -EPERM);
        assert_int_equal(rmdir(path), 0);
        assert_int_equal(store_open(s->root, &store), -ENOENT);
        scratch_mkdir(s, "/elsewhere", 0700);
        assert_int_equal(symlink(scratch_path(s, "/elsewhere"), path), 0);
        assert_int_equal(store_open(s->root, &store), -EPERM);
        assert_int_equal(unlink(path), 0);
        scratch_save(s, PATH_STORE, "", 0);
        assert_int_equal(store_open(s->root, &store), -EPERM);
}

static void a_read_only_store_is_known_before_any_work(void **state) {
        struct scratch *s = *state;
        const char *path = scratch_path(s, PATH_STORE);
        struct store *store = NULL;

        if (mount("none", path, "tmpfs", 0, "size=1m,mode=0700") < 0)
                skip();
        if (mount("none", path, NULL, MS_REMOUNT | MS_RDONLY, NULL) == 0)
                assert_int_equal(store_open(s->root, &store), -EROFS);
        umount2(path, MNT_DETACH);
        assert_null(store);
}

static void a_reservation_is_the_smallest_of_all_limits(void **state) {
        struct scratch *s = *state;
        static const struct {
                uint64_t dump, total, expected;
                int r;
        } cases[] = {
                { 8 * MIB, 100 * MIB, 8 * MIB, 0 },
                { 8 * MIB, 8 * MIB, 5 * MIB, 0 }, /* 3 MiB are there */
                { 8 * MIB, 4 * MIB, MIB, 0 },     /* exactly what is useful */
                { 8 * MIB, 4 * MIB - 1, 0, -ENOSPC },
                { 8 * MIB, 3 * MIB, 0, -ENOSPC },
                { 8 * MIB, 1 * MIB, 0, -ENOSPC }, /* already over */
                { MIB - 1, 100 * MIB, 0, -ENOSPC },
        };

        assert_int_equal(scratch_save(s, PATH_STORE "/stray", "", 0), 0);
        assert_int_equal(truncate(scratch_path(s, PATH_STORE "/stray"), 3 * MIB), 0);
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                struct policy policy = limits(cases[i].dump, cases[i].total, 0);
                _cleanup_store_ struct store *store = opened(s);
                uint64_t bytes = 0;

                assert_int_equal(store_reserve(store, &policy, &bytes), cases[i].r);
                assert_int_equal(bytes, cases[i].expected);
        }
}

/* On a file system of its own: on the host's others write at the same time. */
static void free_space_is_kept_free(void **state) {
        static const struct {
                uint64_t keep, expected;
                int r;
        } cases[] = {
                { 0, 64 * MIB, 0 },           { 60 * MIB, 4 * MIB, 0 }, { 63 * MIB, MIB, 0 },
                { 63 * MIB + 1, 0, -ENOSPC }, { 64 * MIB, 0, -ENOSPC }, { UINT64_MAX, 0, -ENOSPC },
        };
        struct scratch *s = *state;

        if (mount("none", scratch_path(s, PATH_STORE), "tmpfs", 0, "size=64m,mode=0700") < 0)
                skip();
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                struct policy policy = limits(UINT64_MAX, UINT64_MAX, cases[i].keep);
                struct store *store = opened(s);
                uint64_t bytes = 0;

                assert_int_equal(store_reserve(store, &policy, &bytes), cases[i].r);
                assert_int_equal(bytes, cases[i].expected);
                store_close(store);
        }
        umount2(scratch_path(s, PATH_STORE), MNT_DETACH);
}

static void two_reservations_together_keep_to_the_total(void **state) {
        struct scratch *s = *state;
        struct policy policy = limits(6 * MIB, 10 * MIB, 0);
        struct store *a = opened(s), *b = opened(s), *c = opened(s);
        uint64_t bytes;

        assert_int_equal(store_reserve(a, &policy, &bytes), 0);
        assert_int_equal(bytes, 6 * MIB);
        assert_int_equal(store_reserve(a, &policy, &bytes), -EALREADY);
        assert_int_equal(store_reserve(b, &policy, &bytes), 0);
        assert_int_equal(bytes, 4 * MIB);
        assert_int_equal(store_reserve(c, &policy, &bytes), -EAGAIN);
        store_close(a); /* given back */
        assert_int_equal(store_reserve(c, &policy, &bytes), 0);
        assert_int_equal(bytes, 6 * MIB);
        store_close(b);
        store_close(c);
}

static void a_committed_dump_counts_by_its_size_and_no_longer_by_its_promise(void **state) {
        struct scratch *s = *state;
        struct policy policy = limits(6 * MIB, 8 * MIB, 0);
        _cleanup_store_ struct store *a = opened(s), *b = opened(s);
        uint64_t bytes;

        assert_int_equal(store_reserve(a, &policy, &bytes), 0);
        assert_int_equal(commit(a, ID, "x"), 0);
        assert_int_equal(store_reserve(b, &policy, &bytes), 0);
        assert_int_equal(bytes, 6 * MIB);
}

static void what_a_whole_file_did_not_need_is_given_back(void **state) {
        struct scratch *s = *state;
        struct policy policy = limits(8 * MIB, 8 * MIB, 0);
        _cleanup_store_ struct store *a = opened(s), *b = opened(s);
        uint64_t bytes;
        int fd = -1;

        assert_int_equal(store_settle(a, STDIN_FILENO), -EINVAL); /* nothing reserved */
        assert_int_equal(store_reserve(a, &policy, &bytes), 0);
        assert_int_equal(store_create(a, &fd), 0);
        assert_int_equal(ftruncate(fd, 3 * MIB), 0);
        assert_int_equal(store_reserve(b, &policy, &bytes), -EAGAIN);
        assert_int_equal(store_settle(a, fd), 0);
        assert_int_equal(store_reserve(b, &policy, &bytes), 0);
        assert_int_equal(bytes, 5 * MIB);
        assert_int_equal(close(fd), 0);
}

static void a_killed_helpers_reservation_ends_with_it(void **state) {
        struct scratch *s = *state;
        struct policy policy = limits(6 * MIB, 6 * MIB, 0);
        _cleanup_store_ struct store *store = opened(s);
        uint64_t bytes;
        int ready[2], status;
        pid_t pid;
        char byte;

        assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
        pid = fork();
        if (pid == 0) {
                struct store *theirs = NULL;

                if (store_open(s->root, &theirs) == 0 &&
                    store_reserve(theirs, &policy, &bytes) == 0)
                        (void)!write(ready[1], "x", 1);
                pause();
                _exit(0);
        }
        assert_int_equal(read(ready[0], &byte, 1), 1);
        assert_int_equal(store_reserve(store, &policy, &bytes), -EAGAIN);
        kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(store_reserve(store, &policy, &bytes), 0);
        close(ready[0]);
        close(ready[1]);
}

static void there_are_as_many_reservations_as_slots(void **state) {
        struct scratch *s = *state;
        struct policy policy = limits(MIB, 1000 * MIB, 0);
        struct store *stores[STORE_SLOTS_MAX + 1];
        uint64_t bytes;

        for (unsigned i = 0; i <= STORE_SLOTS_MAX; i++)
                stores[i] = opened(s);
        for (unsigned i = 0; i < STORE_SLOTS_MAX; i++)
                assert_int_equal(store_reserve(stores[i], &policy, &bytes), 0);
        assert_int_equal(store_reserve(stores[STORE_SLOTS_MAX], &policy, &bytes), -EBUSY);
        store_close(stores[7]);
        assert_int_equal(store_reserve(stores[STORE_SLOTS_MAX], &policy, &bytes), 0);
        for (unsigned i = 0; i <= STORE_SLOTS_MAX; i++)
                if (i != 7)
                        store_close(stores[i]);
}

static void a_store_of_too_many_files_keeps_nothing_more(void **state) {
        struct scratch *s = *state;
        struct policy policy = limits(MIB, UINT64_MAX, 0);
        _cleanup_close_ int dirfd = -1;
        char name[32];
        uint64_t bytes;

        if (mount("none", scratch_path(s, PATH_STORE), "tmpfs", 0, "mode=0700") < 0)
                skip();
        dirfd = open(scratch_path(s, PATH_STORE), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        for (unsigned i = 0; i < STORE_FILES_MAX - 1; i++) { /* with . and .. one too many */
                snprintf(name, sizeof(name), "%u", i);
                mknodat(dirfd, name, S_IFREG | 0600, 0);
        }
        for (unsigned i = 0; i < 2; i++) {
                _cleanup_store_ struct store *store = opened(s);

                assert_int_equal(store_reserve(store, &policy, &bytes), i == 0 ? -ENOSPC : 0);
                unlinkat(dirfd, "0", 0);
        }
        umount2(scratch_path(s, PATH_STORE), MNT_DETACH);
}

static void a_lock_held_by_another_is_not_waited_for_for_ever(void **state) {
        struct scratch *s = *state;
        struct policy policy = limits(MIB, UINT64_MAX, 0);
        _cleanup_store_ struct store *store = opened(s), *first = opened(s);
        _cleanup_close_ int fd = -1;
        struct timespec a, b;
        uint64_t bytes;

        assert_int_equal(store_reserve(first, &policy, &bytes), 0);
        fd = open(scratch_path(s, PATH_RUN "/store.reserve"), O_RDWR | O_CLOEXEC);
        assert_int_equal(flock(fd, LOCK_EX), 0);
        clock_gettime(CLOCK_MONOTONIC, &a);
        assert_int_equal(store_reserve(store, &policy, &bytes), -EDEADLK);
        clock_gettime(CLOCK_MONOTONIC, &b);
        assert_in_range((b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1000000,
                        STORE_LOCK_MS, STORE_LOCK_MS + 1000);
}

static void a_full_disk_at_the_last_byte_leaves_nothing(void **state) {
        struct scratch *s = *state;
        const char *path = scratch_path(s, PATH_STORE);
        struct store *store = NULL;
        char block[4096];
        int fd, r;

        if (mount("none", path, "tmpfs", 0, "size=64k,mode=0700") < 0)
                skip();
        memset(block, 'x', sizeof(block));
        store = opened(s);
        assert_int_equal(store_create(store, &fd), 0);
        while ((r = io_write(fd, block, sizeof(block))) == 0)
                ;
        assert_int_equal(r, -ENOSPC);
        close(fd);
        store_close(store);
        {
                struct statvfs fs;

                assert_int_equal(statvfs(path, &fs), 0);
                assert_int_equal(fs.f_bfree, fs.f_blocks);
        }
        umount2(path, MNT_DETACH);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                STORE_TEST(a_committed_dump_is_there_whole_and_roots_alone),
                STORE_TEST(a_dump_never_committed_leaves_nothing),
                STORE_TEST(nothing_is_ever_overwritten),
                STORE_TEST(only_an_unnamed_file_of_this_store_is_committed),
                STORE_TEST(what_is_no_id_reaches_no_path),
                STORE_TEST(a_withdrawn_dump_is_gone),
                STORE_TEST(a_file_put_in_its_place_is_neither_read_nor_withdrawn),
                STORE_TEST(a_store_that_others_can_reach_is_no_store),
                STORE_TEST(a_read_only_store_is_known_before_any_work),
                STORE_TEST(a_reservation_is_the_smallest_of_all_limits),
                STORE_TEST(free_space_is_kept_free),
                STORE_TEST(two_reservations_together_keep_to_the_total),
                STORE_TEST(a_committed_dump_counts_by_its_size_and_no_longer_by_its_promise),
                STORE_TEST(what_a_whole_file_did_not_need_is_given_back),
                STORE_TEST(a_killed_helpers_reservation_ends_with_it),
                STORE_TEST(there_are_as_many_reservations_as_slots),
                STORE_TEST(a_store_of_too_many_files_keeps_nothing_more),
                STORE_TEST(a_lock_held_by_another_is_not_waited_for_for_ever),
                STORE_TEST(a_full_disk_at_the_last_byte_leaves_nothing),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
