/* sandbox: what a worker can still do, shown by doing it, each in a child of its own.
 *
 * with: core_pattern/sandbox.c
 * with: core_pattern/sandbox_drop.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/fs.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "core_pattern/sandbox.h"

#define NOBODY 65534
#define DONE 42 /* exit status of a child that did all it was asked */

static const struct sandbox_limits limits = {
        .file_size = 4096,
        .memory = RLIM_INFINITY, /* AddressSanitizer reserves terabytes */
        .cpu_sec = 30,
};

/* Runs `act` in a child and returns waitpid()'s status. The act leaves by child_exit(): neither
 * exit handlers nor the sanitizer's may run under the filter. */
static int in_child(void (*act)(void)) {
        pid_t pid = fork();
        int status;

        assert_true(pid >= 0);
        if (pid == 0) {
                act();
                (void)syscall(SYS_exit_group, DONE);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        return status;
}

static void child_exit(int status) {
        (void)syscall(SYS_exit_group, status);
}

#define CHILD_ASSERT(what)                                                                         \
        do {                                                                                       \
                if (!(what))                                                                       \
                        child_exit(1);                                                             \
        } while (0)

static int zero_fd; /* /dev/zero, opened before */

static void enter(void) {
        unsigned abi;

        CHILD_ASSERT(sandbox_drop(true, NOBODY, NOBODY, &limits) == 0);
        CHILD_ASSERT(sandbox_enter(true, &abi) == 0);
}

/* --- what dies -------------------------------------------------------------------------------- */

static void do_open(void) {
        (void)syscall(SYS_open, "/etc/passwd", O_RDONLY);
}

static void do_openat(void) {
        (void)syscall(SYS_openat, AT_FDCWD, "/etc/passwd", O_RDONLY);
}

static void do_stat(void) {
        char buf[256];

        (void)syscall(SYS_newfstatat, AT_FDCWD, "/etc/passwd", buf, 0);
}

static void do_socket(void) {
        (void)syscall(SYS_socket, AF_INET, SOCK_STREAM, 0);
}

static void do_fork(void) {
        (void)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
}

static void do_clone3(void) {
        (void)syscall(SYS_clone3, NULL, 0);
}

static void do_execve(void) {
        char *argv[] = { NULL };

        (void)syscall(SYS_execve, "/bin/true", argv, argv);
}

static void do_execveat(void) {
        char *argv[] = { NULL };

        (void)syscall(SYS_execveat, zero_fd, "", argv, argv, AT_EMPTY_PATH);
}

static void do_ptrace(void) {
        (void)syscall(SYS_ptrace, PTRACE_TRACEME, 0, 0, 0);
}

static void do_kill(void) {
        (void)syscall(SYS_kill, 1, 0);
}

static void do_vm_readv(void) {
        (void)syscall(SYS_process_vm_readv, 1, NULL, 0, NULL, 0, 0);
}

static void do_setuid(void) {
        (void)syscall(SYS_setuid, 0);
}

static void do_bpf(void) {
        (void)syscall(SYS_bpf, 0, NULL, 0);
}

static void do_io_uring(void) {
        (void)syscall(SYS_io_uring_setup, 1, NULL);
}

static void do_dup(void) {
        (void)syscall(SYS_dup, 0);
}

static void do_prctl(void) {
        (void)syscall(SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0);
}

static void do_tiocsti(void) {
        (void)syscall(SYS_ioctl, zero_fd, 0x5412UL, "x");
}

static void do_mmap_code(void) {
        (void)syscall(SYS_mmap, NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                      0);
}

static void do_mmap_file(void) {
        (void)syscall(SYS_mmap, NULL, 4096, PROT_READ, MAP_PRIVATE, zero_fd, 0);
}

static void do_mmap_shared(void) {
        (void)syscall(SYS_mmap, NULL, 4096, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

static void do_mprotect_code(void) {
        static char page[8192] __attribute__((aligned(4096)));

        (void)syscall(SYS_mprotect, page, 4096, PROT_READ | PROT_EXEC);
}

static void do_close(void) {
        (void)syscall(SYS_close, zero_fd);
}

/* read of i386 (3) has the number that close has here: it must not be taken for one of ours. */
static void do_i386(void) {
        long r;

        __asm__ volatile("int $0x80" : "=a"(r) : "a"(3), "b"(0), "c"(0), "d"(0) : "memory");
        (void)r;
}

#define X32_BIT 0x40000000L

static void do_x32(void) {
        (void)syscall(X32_BIT | SYS_read, zero_fd, NULL, 0);
}

static const struct {
        const char *name;
        void (*act)(void);
} deadly[] = {
        { "open dies", do_open },
        { "openat dies", do_openat },
        { "stat of a path dies", do_stat },
        { "socket dies", do_socket },
        { "fork dies", do_fork },
        { "clone3 dies", do_clone3 },
        { "execve dies", do_execve },
        { "execveat of a descriptor dies", do_execveat },
        { "ptrace dies", do_ptrace },
        { "kill dies", do_kill },
        { "process_vm_readv dies", do_vm_readv },
        { "setuid dies", do_setuid },
        { "bpf dies", do_bpf },
        { "io_uring_setup dies", do_io_uring },
        { "dup dies", do_dup },
        { "close dies: no descriptor's number comes free", do_close },
        { "becoming dumpable again dies", do_prctl },
        { "any ioctl but PAGEMAP_SCAN dies", do_tiocsti },
        { "mapping code dies", do_mmap_code },
        { "mapping a file dies", do_mmap_file },
        { "mapping shared memory dies", do_mmap_shared },
        { "making memory executable dies", do_mprotect_code },
        { "a system call of i386 dies", do_i386 },
        { "a system call of x32 dies", do_x32 },
};

static void (*deadly_act)(void);

static void enter_and_act(void) {
        enter();
        deadly_act();
}

static void it_dies(void **state) {
        int status;

        deadly_act = deadly[*(const size_t *)*state].act;
        status = in_child(enter_and_act);
        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), SIGSYS);
        assert_false(WCOREDUMP(status));
}

/* --- what works ------------------------------------------------------------------------------- */

static void read_compute_and_answer(void) {
        char buf[16];
        void *p;

        enter();
        CHILD_ASSERT(syscall(SYS_read, zero_fd, buf, sizeof(buf)) == sizeof(buf));
        CHILD_ASSERT(syscall(SYS_pread64, zero_fd, buf, sizeof(buf), 4096) == sizeof(buf));
        p = (void *)syscall(SYS_mmap, NULL, 1 << 20, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHILD_ASSERT(p != MAP_FAILED);
        CHILD_ASSERT(syscall(SYS_munmap, p, 1 << 20) == 0);
        CHILD_ASSERT(syscall(SYS_ioctl, zero_fd, 0xc0606610UL, NULL) == -1);
}

static void what_was_handed_in_can_be_read(void **state) {
        int status = in_child(read_compute_and_answer);

        (void)state;
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), DONE);
}

static void look_at_ourselves(void) {
        uid_t uid, euid, suid;
        struct rlimit limit;

        CHILD_ASSERT(sandbox_drop(true, NOBODY, NOBODY, &limits) == 0);
        CHILD_ASSERT(getresuid(&uid, &euid, &suid) == 0);
        CHILD_ASSERT(uid == NOBODY && euid == NOBODY && suid == NOBODY);
        CHILD_ASSERT(getgroups(0, NULL) == 0);
        CHILD_ASSERT(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
        for (int capability = 0; capability < 41; capability++) /* CAP_CHECKPOINT_RESTORE is 40 */
                CHILD_ASSERT(prctl(PR_CAPBSET_READ, capability, 0, 0, 0) == 0);
        CHILD_ASSERT(getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_max == 4096);
        CHILD_ASSERT(getrlimit(RLIMIT_CORE, &limit) == 0 && limit.rlim_max == 1);
        CHILD_ASSERT(setresuid(0, 0, 0) == -1);
}

static void nothing_is_left_of_root(void **state) {
        int status = in_child(look_at_ourselves);

        (void)state;
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), DONE);
}

/* --- what keeps it from entering -----------------------------------------------------------------
 */

/* By the look at its privileges, before anything else: that Landlock asks for no_new_privs too
 * would help only where there is Landlock. */
static void refused(void) {
        unsigned abi;

        CHILD_ASSERT(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) == 0);
        CHILD_ASSERT(sandbox_enter(true, &abi) == -EPERM);
        CHILD_ASSERT(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 1);
}

static void enter_as_root(void) {
        refused();
}

static void enter_with_groups(void) {
        gid_t group = 4;

        CHILD_ASSERT(setgroups(1, &group) == 0);
        CHILD_ASSERT(setresgid(NOBODY, NOBODY, NOBODY) == 0);
        CHILD_ASSERT(setresuid(NOBODY, NOBODY, NOBODY) == 0);
        CHILD_ASSERT(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
        refused();
}

static void enter_with_capabilities(void) {
        CHILD_ASSERT(prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) == 0);
        CHILD_ASSERT(setgroups(0, NULL) == 0);
        CHILD_ASSERT(setresgid(NOBODY, NOBODY, NOBODY) == 0);
        CHILD_ASSERT(setresuid(NOBODY, NOBODY, NOBODY) == 0);
        CHILD_ASSERT(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
        refused();
}

static void enter_with_new_privileges(void) {
        CHILD_ASSERT(setgroups(0, NULL) == 0);
        CHILD_ASSERT(setresgid(NOBODY, NOBODY, NOBODY) == 0);
        CHILD_ASSERT(setresuid(NOBODY, NOBODY, NOBODY) == 0);
        refused();
}

static void a_privilege_left_keeps_it_out(void **state) {
        void (*const acts[])(void) = { enter_as_root, enter_with_groups, enter_with_capabilities,
                                       enter_with_new_privileges };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(acts); i++) {
                int status = in_child(acts[i]);

                assert_true(WIFEXITED(status));
                assert_int_equal(WEXITSTATUS(status), DONE);
        }
}

/* --- Landlock, before the filter would kill the attempt -----------------------------------------
 */

static void landlock_only(void) {
        struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(9) };
        unsigned abi = 0;
        int fd;

        CHILD_ASSERT(sandbox_drop(true, NOBODY, NOBODY, &limits) == 0);
        CHILD_ASSERT(access("/etc/passwd", R_OK) == 0);
        fd = open("/etc/passwd", O_RDONLY);
        CHILD_ASSERT(fd >= 0);
        CHILD_ASSERT(sandbox_landlock(&abi) == 0);
        if (abi == 0)
                child_exit(DONE + 1);
        CHILD_ASSERT(open("/etc/passwd", O_RDONLY) < 0 && errno == EACCES);
        CHILD_ASSERT(open("/tmp", O_RDONLY | O_DIRECTORY) < 0 && errno == EACCES);
        CHILD_ASSERT(open("/tmp", O_TMPFILE | O_RDWR, 0600) < 0 && errno == EACCES);
        if (abi >= 4) {
                int s = socket(AF_INET, SOCK_STREAM, 0);

                address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
                CHILD_ASSERT(s >= 0);
                CHILD_ASSERT(connect(s, (struct sockaddr *)&address, sizeof(address)) < 0 &&
                             errno == EACCES);
        }
        if (abi >= 6)
                CHILD_ASSERT(kill(getppid(), 0) < 0 && errno == EPERM);
        /* What was opened before stays readable: that is what the worker lives on. */
        CHILD_ASSERT(read(fd, &abi, 1) == 1);
}

static void landlock_grants_nothing(void **state) {
        int status = in_child(landlock_only);

        (void)state;
        assert_true(WIFEXITED(status));
        if (WEXITSTATUS(status) == DONE + 1)
                skip(); /* this kernel has no Landlock */
        assert_int_equal(WEXITSTATUS(status), DONE);
}

int main(void) {
        static size_t numbers[ARRAY_SIZE(deadly)];
        struct CMUnitTest tests[ARRAY_SIZE(deadly) + 4];
        size_t n = 0;

        zero_fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
        if (zero_fd < 0)
                return 1;
        for (size_t i = 0; i < ARRAY_SIZE(deadly); i++) {
                numbers[i] = i;
                tests[n++] = (struct CMUnitTest){
                        .name = deadly[i].name,
                        .test_func = it_dies,
                        .initial_state = &numbers[i],
                };
        }
        tests[n++] = (struct CMUnitTest)cmocka_unit_test(what_was_handed_in_can_be_read);
        tests[n++] = (struct CMUnitTest)cmocka_unit_test(nothing_is_left_of_root);
        tests[n++] = (struct CMUnitTest)cmocka_unit_test(a_privilege_left_keeps_it_out);
        tests[n++] = (struct CMUnitTest)cmocka_unit_test(landlock_grants_nothing);
        return _cmocka_run_group_tests("core_pattern/sandbox", tests, n, NULL, NULL);
}
