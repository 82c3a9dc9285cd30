/* limits: slots that die with their owner, shares that end with the whole.
 *
 * with: core_pattern/limits.c
 * with: core_pattern/result.c
 * with: core_pattern/sandbox_drop.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/paths.h"
#include "core_pattern/limits.h"

static char root[] = "/tmp/test_limits.XXXXXX";

static int root_make(void **state) {
        (void)state;
        return mkdtemp(root) ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
        (void)st;
        (void)type;
        (void)ftw;
        return remove(path);
}

static int root_remove(void **state) {
        (void)state;
        return nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void slots_have_a_limit_and_come_back(void **state) {
        int fds[SLOTS_MAX], extra = -1;

        (void)state;
        for (size_t i = 0; i < SLOTS_MAX; i++)
                assert_int_equal(slot_take(root, clock_now_ns(), &fds[i]), 0);
        assert_int_equal(slot_take(root, clock_now_ns(), &extra), -EBUSY);
        assert_int_equal(close(fds[2]), 0);
        assert_int_equal(slot_take(root, clock_now_ns(), &fds[2]), 0);
        for (size_t i = 0; i < SLOTS_MAX; i++)
                assert_int_equal(close(fds[i]), 0);
}

static void waiting_for_a_slot_ends_in_time(void **state) {
        uint64_t start = clock_now_ns();
        int fds[SLOTS_MAX], extra = -1;

        (void)state;
        for (size_t i = 0; i < SLOTS_MAX; i++)
                assert_int_equal(slot_take(root, clock_now_ns(), &fds[i]), 0);
        assert_int_equal(slot_take(root, start + 300 * NS_PER_MS, &extra), -EBUSY);
        assert_true(clock_now_ns() - start >= 300 * NS_PER_MS);
        assert_true(clock_now_ns() - start < 5000 * NS_PER_MS);
        for (size_t i = 0; i < SLOTS_MAX; i++)
                assert_int_equal(close(fds[i]), 0);
}

static void a_killed_owner_gives_its_slot_back(void **state) {
        int fds[SLOTS_MAX], ready[2];
        pid_t pid;
        char byte;

        (void)state;
        assert_int_equal(pipe(ready), 0);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                if (slot_take(root, clock_now_ns(), &fds[0]) < 0 || write(ready[1], "x", 1) != 1)
                        _exit(1);
                for (;;)
                        (void)pause();
        }
        assert_int_equal(read(ready[0], &byte, 1), 1);
        for (size_t i = 1; i < SLOTS_MAX; i++)
                assert_int_equal(slot_take(root, clock_now_ns(), &fds[i]), 0);
        assert_int_equal(slot_take(root, clock_now_ns(), &fds[0]), -EBUSY);
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        assert_int_equal(slot_take(root, clock_now_ns(), &fds[0]), 0);
        for (size_t i = 0; i < SLOTS_MAX; i++)
                assert_int_equal(close(fds[i]), 0);
        assert_int_equal(close(ready[0]), 0);
        assert_int_equal(close(ready[1]), 0);
}

static void a_place_that_others_can_write_is_refused(void **state) {
        char path[128];
        int fd = -1;

        (void)state;
        (void)snprintf(path, sizeof(path), "%s" PATH_RUN, root);
        assert_int_equal(chmod(path, 0777), 0);
        assert_int_equal(slot_take(root, clock_now_ns(), &fd), -EPERM);
        assert_int_equal(chmod(path, 0700), 0);
}

static void a_share_ends_with_the_whole(void **state) {
        struct budget budget = budget_new(1000 * NS_PER_SEC, 30);

        (void)state;
        assert_true(budget.end_ns == 1030 * NS_PER_SEC);
        assert_true(budget_share(&budget, 1000 * NS_PER_SEC, 3) == 1010 * NS_PER_SEC);
        assert_true(budget_share(&budget, 1025 * NS_PER_SEC, 3) == 1030 * NS_PER_SEC);
        assert_true(budget_share(&budget, 1040 * NS_PER_SEC, 3) == 1030 * NS_PER_SEC);
}

static void a_worker_s_limits_follow_from_budget_and_room(void **state) {
        struct budget budget = budget_new(7, 30);
        struct sandbox_limits limits = worker_limits(&budget, 12345);

        (void)state;
        assert_true(limits.file_size == 12345);
        assert_true(limits.memory == WORKER_MEMORY);
        assert_int_equal(limits.cpu_sec, 31);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(slots_have_a_limit_and_come_back),
                cmocka_unit_test(waiting_for_a_slot_ends_in_time),
                cmocka_unit_test(a_killed_owner_gives_its_slot_back),
                cmocka_unit_test(a_place_that_others_can_write_is_refused),
                cmocka_unit_test(a_share_ends_with_the_whole),
                cmocka_unit_test(a_worker_s_limits_follow_from_budget_and_room),
        };

        return cmocka_run_group_tests_name("core_pattern/limits", tests, root_make, root_remove);
}
