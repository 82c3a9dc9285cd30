/* intake: the kernel's arguments, and a process read through one descriptor.
 *
 * with: core_pattern/intake.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "core_pattern/intake.h"

#define ARGC_MAX 16

static int argc_of(char *const argv[]) {
        int n = 0;

        while (argv[n])
                n++;
        return n;
}

/* The arguments as kernel 6.18 gives them; a case replaces one of them (NULL: leaves it out). */
static char *const usual[] = { "/x/coresieve-helper",
                               "1",
                               "P=4711",
                               "I=4712",
                               "F=3",
                               "d=1",
                               "s=11",
                               "u=33",
                               "g=34",
                               "t=1790000000",
                               "c=18446744073709551615",
                               "h=web",
                               "--",
                               "nginx",
                               NULL };

struct argument_case {
        const char *name;
        int at; /* index into `usual` */
        char *text;
        int want;
};

static const struct argument_case argument_cases[] = {
        { "the kernel's own arguments are understood", 1, "1", 0 },
        { "an empty F= is a kernel before 6.16", 4, "F=", 0 },
        { "a missing F= is understood", 4, NULL, 0 },
        { "h= holds any bytes", 11, "h=a b\n\xff", 0 },
        { "an empty h= is understood", 11, "h=", 0 },
        { "another version is refused", 1, "2", -EINVAL },
        { "a version that only begins with ours is refused", 1, "11", -EINVAL },
        { "an unknown key is refused", 4, "x=1", -EINVAL },
        { "an empty argument is refused", 4, "", -EINVAL },
        { "a key without = is refused", 4, "F3", -EINVAL },
        { "a key of two letters is refused", 4, "FF=3", -EINVAL },
        { "a key given twice is refused", 4, "P=4711", -EINVAL },
        { "a missing P= is refused", 2, NULL, -EINVAL },
        { "a missing c= is refused", 10, NULL, -EINVAL },
        { "P=0 is no process", 2, "P=0", -EINVAL },
        { "a negative pid is refused", 2, "P=-1", -EINVAL },
        { "a signed pid is refused", 2, "P=+1", -EINVAL },
        { "a pid with a blank is refused", 2, "P= 1", -EINVAL },
        { "a pid with a tail is refused", 2, "P=1x", -EINVAL },
        { "a pid over INT_MAX is refused", 2, "P=2147483648", -EINVAL },
        { "a pid over 64 bits is refused", 2, "P=18446744073709551617", -EINVAL },
        { "an empty pid is refused", 2, "P=", -EINVAL },
        { "F=0 would be the core itself", 4, "F=0", -EINVAL },
        { "F=2 is no pidfd", 4, "F=2", -EINVAL },
        { "a dump mode of 3 does not exist", 5, "d=3", -EINVAL },
        { "signal 64 exists", 6, "s=64", 0 },
        { "signal 65 does not", 6, "s=65", -EINVAL },
        { "uid 4294967295 is the largest", 7, "u=4294967295", 0 },
        { "uid 4294967296 is refused", 7, "u=4294967296", -EINVAL },
        { "a core limit over 64 bits is refused", 10, "c=18446744073709551616", -EINVAL },
        { "c=0 is understood", 10, "c=0", 0 },
        { "R= takes an absolute root", 4, "R=/srv/test", 0 },
        { "R= refuses a relative root", 4, "R=srv", -EINVAL },
        { "R= refuses a parent in the middle", 4, "R=/srv/../etc", -EINVAL },
        { "R= refuses a parent at the end", 4, "R=/srv/..", -EINVAL },
        { "R= takes a name that begins with two dots", 4, "R=/srv/..a", 0 },
        { "without dashes nothing is understood", 12, "d=1", -EINVAL },
        { "without a name behind the dashes nothing is understood", 13, NULL, -EINVAL },
};

static void arguments_are_checked(void **state) {
        const struct argument_case *c = *state;
        char *argv[ARGC_MAX] = { NULL };
        struct arguments a;
        int n = 0;

        for (int i = 0; usual[i]; i++) {
                char *text = i == c->at ? c->text : usual[i];

                if (text)
                        argv[n++] = text;
        }
        assert_int_equal(arguments_parse(n, argv, &a), c->want);
        if (c->want == 0) {
                assert_int_equal(a.pid, 4711);
                assert_int_equal(a.tid, 4712);
                assert_string_equal(a.comm.bytes, "nginx");
        }
}

static void every_value_is_taken(void **state) {
        struct arguments a;

        (void)state;
        assert_int_equal(arguments_parse(argc_of(usual), usual, &a), 0);
        assert_int_equal(a.pid_fd, 3);
        assert_int_equal(a.dump_mode, 1);
        assert_int_equal(a.signal, 11);
        assert_int_equal(a.uid, 33);
        assert_int_equal(a.gid, 34);
        assert_int_equal(a.time, 1790000000);
        assert_true(a.core_limit == UINT64_MAX);
        assert_string_equal(a.core_limit_text.bytes, "18446744073709551615");
        assert_string_equal(a.root, "");
}

static char *const hostile_names[] = {
        "--", "P=1", "", " ", "x) R 1", "a\nb", "\xff\xfe", "R=/tmp/evil", "-- P=1",
};

static void a_hostile_name_changes_nothing(void **state) {
        char *argv[ARGC_MAX] = { NULL };
        int n = argc_of(usual);

        (void)state;
        memcpy(argv, usual, sizeof(usual));
        for (size_t i = 0; i < ARRAY_SIZE(hostile_names); i++) {
                struct arguments a;

                argv[n - 1] = hostile_names[i];
                assert_int_equal(arguments_parse(n, argv, &a), 0);
                assert_string_equal(a.comm.bytes, hostile_names[i]);
                assert_int_equal(a.comm.size, strlen(hostile_names[i]));
                assert_int_equal(a.pid, 4711);
                assert_string_equal(a.root, "");
        }
}

static void a_bad_argument_does_not_lose_the_others(void **state) {
        char *argv[] = { "helper", "9", "P=x", "u=33", "R=/srv", "q", "--", "name", NULL };
        struct arguments a;

        (void)state;
        assert_int_equal(arguments_parse(argc_of(argv), argv, &a), -EINVAL);
        assert_int_equal(a.pid, 0);
        assert_int_equal(a.uid, 33);
        assert_string_equal(a.root, "/srv");
        assert_string_equal(a.comm.bytes, "name");
}

static void no_arguments_at_all_are_survived(void **state) {
        char *argv[] = { "helper", NULL };
        struct arguments a;

        (void)state;
        assert_int_equal(arguments_parse(1, argv, &a), -EINVAL);
        assert_int_equal(arguments_parse(0, argv + 1, &a), -EINVAL);
        assert_int_equal(a.pid_fd, -1);
        assert_int_equal(a.dump_mode, DUMP_MODE_UNKNOWN);
}

static pid_t sleeper_start(void) {
        pid_t pid = fork();

        assert_true(pid >= 0);
        if (pid == 0) {
                (void)pause();
                _exit(0);
        }
        return pid;
}

static void sleeper_end(pid_t pid) {
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void a_process_that_dumps_no_core_is_refused(void **state) {
        pid_t pid = sleeper_start();
        struct arguments a = { .pid = pid, .tid = pid, .pid_fd = -1, .dump_mode = 1 };
        struct identity identity;

        (void)state;
        assert_int_equal(identity_read(&a, &identity), -ENXIO);
        assert_int_equal(identity.info.pid, pid);
        assert_int_equal(identity_check(&identity), 0);
        sleeper_end(pid);
        assert_int_equal(identity_check(&identity), -ESRCH);
        identity_done(&identity);
}

static void a_name_keeps_its_slashes_and_newlines(void **state) {
        static const char *const names[] = { "../../etc/x", "a\nb) R 1", "", "123456789012345" };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
                struct arguments a = { .pid_fd = -1, .dump_mode = 1 };
                struct identity identity;
                char byte;
                int fds[2];

                assert_int_equal(pipe(fds), 0);
                a.pid = a.tid = fork();
                assert_true(a.pid >= 0);
                if (a.pid == 0) {
                        (void)prctl(PR_SET_NAME, names[i]);
                        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
                        (void)!write(fds[1], "x", 1);
                        (void)pause();
                        _exit(0);
                }
                assert_int_equal(read(fds[0], &byte, 1), 1);
                assert_int_equal(identity_read(&a, &identity), -ENXIO);
                assert_true(identity.has_comm);
                assert_int_equal(identity.comm_size, strlen(names[i]));
                assert_memory_equal(identity.comm, names[i], identity.comm_size);
                identity_done(&identity);
                sleeper_end(a.pid);
                assert_int_equal(close(fds[0]) | close(fds[1]), 0);
        }
}

static void a_thread_that_is_none_of_the_process_has_no_name(void **state) {
        pid_t pid = sleeper_start();
        struct arguments a = { .pid = pid, .tid = getpid(), .pid_fd = -1, .dump_mode = 1 };
        struct identity identity;

        (void)state;
        assert_int_equal(identity_read(&a, &identity), -ENXIO);
        assert_false(identity.has_comm);
        identity_done(&identity);
        sleeper_end(pid);
}

static void a_pidfd_of_another_process_is_refused(void **state) {
        pid_t pid = sleeper_start(), other = sleeper_start();
        struct arguments a = { .pid = pid, .tid = pid, .dump_mode = 1 };
        struct identity identity;

        (void)state;
        a.pid_fd = (int)syscall(SYS_pidfd_open, other, 0);
        assert_true(a.pid_fd >= 0);
        assert_int_equal(identity_read(&a, &identity), -ESRCH);
        identity_done(&identity);
        sleeper_end(pid);
        sleeper_end(other);
}

static void a_descriptor_that_is_no_pidfd_is_refused(void **state) {
        pid_t pid = sleeper_start();
        struct arguments a = { .pid = pid, .tid = pid, .dump_mode = 1 };
        struct identity identity;
        int fds[2];

        (void)state;
        assert_int_equal(pipe(fds), 0);
        a.pid_fd = fds[0];
        assert_int_equal(identity_read(&a, &identity), -EBADF);
        identity_done(&identity); /* closes fds[0] */
        assert_int_equal(close(fds[1]), 0);
        sleeper_end(pid);
}

static void a_process_that_is_gone_is_refused(void **state) {
        pid_t pid = sleeper_start();
        struct arguments a = { .pid = pid, .tid = pid, .pid_fd = -1, .dump_mode = 1 };
        struct identity identity;

        (void)state;
        sleeper_end(pid);
        assert_int_equal(identity_read(&a, &identity), -ESRCH);
        identity_done(&identity);
}

int main(void) {
        struct CMUnitTest tests[ARRAY_SIZE(argument_cases) + 10];
        size_t n = 0;

        for (size_t i = 0; i < ARRAY_SIZE(argument_cases); i++)
                tests[n++] = (struct CMUnitTest){
                        .name = argument_cases[i].name,
                        .test_func = arguments_are_checked,
                        .initial_state = (void *)(uintptr_t)&argument_cases[i],
                };
        tests[n++] = (struct CMUnitTest)cmocka_unit_test(every_value_is_taken);
        tests[n++] = (struct CMUnitTest)cmocka_unit_test(a_hostile_name_changes_nothing);
        tests[n++] = (struct CMUnitTest)cmocka_unit_test(a_bad_argument_does_not_lose_the_others);
        tests[n++] = (struct CMUnitTest)cmocka_unit_test(no_arguments_at_all_are_survived);
        tests[n++] = (struct CMUnitTest)cmocka_unit_test(a_process_that_dumps_no_core_is_refused);
        tests[n++] = (struct CMUnitTest)cmocka_unit_test(a_name_keeps_its_slashes_and_newlines);
        tests[n++] = (struct CMUnitTest)cmocka_unit_test(
                a_thread_that_is_none_of_the_process_has_no_name);
        tests[n++] = (struct CMUnitTest)cmocka_unit_test(a_pidfd_of_another_process_is_refused);
        tests[n++] = (struct CMUnitTest)cmocka_unit_test(a_descriptor_that_is_no_pidfd_is_refused);
        tests[n++] = (struct CMUnitTest)cmocka_unit_test(a_process_that_is_gone_is_refused);
        return _cmocka_run_group_tests("core_pattern/intake", tests, n, NULL, NULL);
}
