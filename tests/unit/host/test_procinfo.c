/* /proc of one process: real, and as a hostile process would like it to read. */
#include "host/procinfo.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"

#define COMM_MAX 63U
#define STATUS_MAX (1U << 20)
#define CGROUP_MAX (256U << 10)

/* Fields 3 to 23 of a stat line; 4 is the parent, 22 the start. */
#define TAIL "S 7 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 123456 999 1\n"

/* --- the stat line --- */

struct stat_case {
        const char *name;
        const char *stat;
        int r;
        uint64_t start;
};

static const struct stat_case stat_cases[] = {
        { "a plain line", "42 (bash) " TAIL, 0, 123456 },
        { "a comm that looks like the end", "42 (x) R 1) " TAIL, 0, 123456 },
        { "a comm that brings its own fields",
          "42 (a) S 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9) " TAIL, 0, 123456 },
        { "a comm with a newline", "42 (a\nb) " TAIL, 0, 123456 },
        { "a comm of brackets", "42 ())(()) " TAIL, 0, 123456 },
        { "an empty comm", "42 () " TAIL, 0, 123456 },
        { "the largest start",
          "42 (x) S 7 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 "
          "18446744073709551615",
          0, UINT64_MAX },
        { "a start past 64 bits",
          "42 (x) S 7 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 "
          "18446744073709551616",
          -EBADMSG, 0 },
        { "a line without a comm", "42 bash " TAIL, -EBADMSG, 0 },
        { "a line cut before the start", "42 (x) S 7 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0",
          -EBADMSG, 0 },
        { "a line cut in the space before the start",
          "42 (x) S 7 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 ", -EBADMSG, 0 },
        { "a start that is no number",
          "42 (x) S 7 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 -5 9\n", -EBADMSG, 0 },
        { "a start with a tail", "42 (x) S 7 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 5x 9\n",
          -EBADMSG, 0 },
        { "a line that ends in the comm", "42 (x)", -EBADMSG, 0 },
        { "an empty line", "", -EBADMSG, 0 },
};

static void start_is_found(void **state) {
        const struct stat_case *c = *state;
        size_t size = strlen(c->stat);
        _cleanup_free_ char *stat = malloc(size ? size : 1);
        uint64_t start = 0;

        assert_non_null(stat);
        memcpy(stat, c->stat, size); /* no NUL: the sanitiser sees a read past the end */
        assert_int_equal(procinfo_start_ticks(stat, size, &start), c->r);
        assert_int_equal(start, c->start);
}

/* --- made-up processes --- */

#define STATUS                                                                                     \
        "Name:\tx\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t42\nNgid:\t0\nPid:\t42\nPPid:\t7\n"  \
        "TracerPid:\t0\nUid:\t1000\t1001\t1002\t1003\nGid:\t2000\t2001\t2002\t2003\n"              \
        "FDSize:\t64\nGroups:\t \nNStgid:\t42\t5\nNSpid:\t42\t5\n"

struct fake_case {
        const char *name;
        const char *stat, *status, *cgroup; /* NULL: the plain one */
        const char *exe;
        int r;
        const char *comm, *want_cgroup, *want_unit;
        pid_t inner_pid;
        uid_t uid, euid;
};

#define PLAIN_COMM "x"
#define V2 "0::/system.slice/nginx.service\n"

static const struct fake_case fake_cases[] = {
        { .name = "a plain process" },
        { .name = "a comm that ends early and goes on as Uid: lines",
          .stat = "42 (x\nUid:\t0) " TAIL,
          .status = "Name:\tx\nUid:\t0\t0\t0\t0\n" STATUS,
          .comm = "x\nUid:\t0" },
        { .name = "a comm that brings a whole status", .status = "Name:\tx\n" STATUS },
        { .name = "a key that only begins alike", .status = STATUS "Uidx:\t5\t5\n" },
        { .name = "a process in no inner namespace",
          .status = "Tgid:\t42\nNStgid:\t42\nUid:\t1000\t1001\t0\t0\nGid:\t2000\t2000\n",
          .inner_pid = 42 },
        { .name = "a process three namespaces down",
          .status = "Tgid:\t42\nNStgid:\t42\t17\t1 \nUid:\t1000\t1001\t0\t0\nGid:\t2000\t0\n",
          .inner_pid = 1 },
        { .name = "a user number of 32 bits",
          .status = "Tgid:\t42\nNStgid:\t5\nUid:\t4294967294\t0\nGid:\t2000\n",
          .uid = 4294967294U,
          .euid = 0 },
        { .name = "a user number past 32 bits",
          .status = "Tgid:\t42\nNStgid:\t5\nUid:\t4294967296\t0\nGid:\t2000\n",
          .r = -EBADMSG },
        { .name = "a status without Uid:",
          .status = "Name:\tx\nTgid:\t42\nNStgid:\t5\nGid:\t1\n",
          .r = -EBADMSG },
        { .name = "a Uid: line without an effective user",
          .status = "Tgid:\t42\nNStgid:\t5\nUid:\t1000\nGid:\t1\n",
          .r = -EBADMSG },
        { .name = "a Uid: line of no numbers",
          .status = "Tgid:\t42\nNStgid:\t5\nUid:\troot\troot\nGid:\t1\n",
          .r = -EBADMSG },
        { .name = "an empty NStgid: line",
          .status = "Tgid:\t42\nNStgid:\t\nUid:\t1\t1\nGid:\t1\n",
          .r = -EBADMSG },
        { .name = "an empty status", .status = "", .r = -EBADMSG },

        { .name = "the root cgroup names no unit", .cgroup = "0::/\n", .want_cgroup = "/" },
        { .name = "no cgroup at all", .cgroup = "" },
        { .name = "a hybrid host whose units are in the old hierarchy",
          .cgroup = "2:cpu:/\n1:name=systemd:/system.slice/a.service\n0::/\n",
          .want_cgroup = "/system.slice/a.service",
          .want_unit = "a.service" },
        { .name = "a hybrid host whose units are in both",
          .cgroup = "1:name=systemd:/system.slice/a.service\n0::/system.slice/b.service\n",
          .want_cgroup = "/system.slice/b.service",
          .want_unit = "b.service" },
        { .name = "a hybrid host outside of any unit",
          .cgroup = "1:name=systemd:/a\n0::/b\n",
          .want_cgroup = "/b" },
        { .name = "an old host without the unified hierarchy",
          .cgroup = "3:cpu,cpuacct:/c.service\n1:name=systemd:/user.slice\n",
          .want_cgroup = "/user.slice" },
        { .name = "a hierarchy of controllers is none of ours",
          .cgroup = "10::/x.service\n3:a:/y\n" },
        { .name = "a path with colons",
          .cgroup = "0::/a:b/c:d.service\n",
          .want_cgroup = "/a:b/c:d.service",
          .want_unit = "c:d.service" },
        { .name = "the innermost unit is the one",
          .cgroup = "0::/user.slice/user@1.service/app.slice/run-1.scope/x\n",
          .want_cgroup = "/user.slice/user@1.service/app.slice/run-1.scope/x",
          .want_unit = "run-1.scope" },
        { .name = "a suffix alone is no unit",
          .cgroup = "0::/.service\n",
          .want_cgroup = "/.service" },
        { .name = "a removed unit",
          .cgroup = "0::/system.slice/a.service (deleted)\n",
          .want_cgroup = "/system.slice/a.service (deleted)",
          .want_unit = "a.service" },
        { .name = "lines that are none",
          .cgroup = "\n:\n::\nx\n0::/a.mount",
          .want_cgroup = "/a.mount",
          .want_unit = "a.mount" },

        { .name = "an executable that was removed", .exe = "/usr/bin/x (deleted)" },
        { .name = "an executable of any bytes", .exe = "/\xff\n \\x" },
};

struct fake {
        char dir[32];
        int fd;
};

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
        (void)st;
        (void)type;
        (void)ftw;
        return remove(path);
}

static void write_bytes(const struct fake *fake, const char *name, const void *bytes, size_t n) {
        _cleanup_close_ int fd =
                openat(fake->fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        assert_true(fd >= 0);
        assert_int_equal(write(fd, bytes, n), n);
}

static void write_text(const struct fake *fake, const char *name, const char *text) {
        write_bytes(fake, name, text, strlen(text));
}

static void fake_start(struct fake *fake) {
        strcpy(fake->dir, "/tmp/coresieve-proc-XXXXXX");
        assert_non_null(mkdtemp(fake->dir));
        fake->fd = open(fake->dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
        assert_true(fake->fd >= 0);
        write_text(fake, "stat", "42 (" PLAIN_COMM ") " TAIL);
        write_text(fake, "status", STATUS);
        write_text(fake, "cgroup", V2);
        write_text(fake, "auxv", "0123456789abcdef");
}

static void fake_end(struct fake *fake) {
        (void)close(fake->fd);
        assert_int_equal(nftw(fake->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

static void assert_same(const char *got, const char *want) {
        if (!want)
                assert_null(got);
        else {
                assert_non_null(got);
                assert_string_equal(got, want);
        }
}

static void fake_is_read(void **state) {
        const struct fake_case *c = *state;
        const char *exe = c->exe ? c->exe : "/usr/bin/x";
        struct procinfo info;
        struct fake fake;

        fake_start(&fake);
        if (c->stat)
                write_text(&fake, "stat", c->stat);
        if (c->status)
                write_text(&fake, "status", c->status);
        if (c->cgroup)
                write_text(&fake, "cgroup", c->cgroup);
        assert_int_equal(symlinkat(exe, fake.fd, "exe"), 0);

        assert_int_equal(procinfo_read(fake.fd, &info), c->r);
        /* What could be read is there, even after an error. */
        assert_string_equal(info.comm, c->comm ? c->comm : PLAIN_COMM);
        assert_int_equal(info.comm_size, strlen(info.comm));
        assert_int_equal(info.ppid, 7);
        assert_int_equal(info.start_ticks, 123456);
        assert_same(info.exe, exe);
        assert_same(info.cgroup, c->cgroup ? c->want_cgroup : "/system.slice/nginx.service");
        assert_same(info.unit, c->cgroup ? c->want_unit : "nginx.service");
        assert_int_equal(info.auxv_size, 16);
        assert_memory_equal(info.auxv, "0123456789abcdef", 16);
        if (c->r == 0) {
                assert_int_equal(info.pid, 42);
                assert_int_equal(info.inner_pid, c->inner_pid ? c->inner_pid : 5);
                assert_int_equal(info.uid, c->uid ? c->uid : 1000);
                assert_int_equal(info.euid, c->uid ? c->euid : 1001);
                assert_int_equal(info.gid, 2000);
        }
        procinfo_done(&info);
        fake_end(&fake);
}

/* --- limits, and files that are missing --- */

static int read_fake(struct fake *fake, struct procinfo *info) {
        int r = procinfo_read(fake->fd, info);

        procinfo_done(info);
        return r;
}

/* A file of `size` bytes that begins with `head`. */
static void write_padded(const struct fake *fake, const char *name, const char *head, size_t size) {
        _cleanup_free_ char *bytes = malloc(size);

        assert_non_null(bytes);
        memset(bytes, 'x', size);
        memcpy(bytes, head, strlen(head));
        write_bytes(fake, name, bytes, size);
}

static void limits_hold(void **state) {
        static const struct {
                const char *file, *head;
                size_t max;
        } limits[] = {
                { "auxv", "", PROC_AUXV_MAX },
                { "status", STATUS, STATUS_MAX },
                { "cgroup", V2, CGROUP_MAX },
                { "stat", "42 (x) " TAIL, 4096 },
        };
        struct procinfo info;

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(limits); i++) {
                struct fake fake;

                fake_start(&fake);
                assert_int_equal(symlinkat("/x", fake.fd, "exe"), 0);
                write_padded(&fake, limits[i].file, limits[i].head, limits[i].max);
                assert_int_equal(read_fake(&fake, &info), 0);
                write_padded(&fake, limits[i].file, limits[i].head, limits[i].max + 1);
                assert_int_equal(read_fake(&fake, &info), -EFBIG);
                fake_end(&fake);
        }
}

static void a_long_cgroup_is_not_cut(void **state) {
        struct procinfo info;
        struct fake fake;

        (void)state;
        for (unsigned extra = 0; extra <= 1; extra++) {
                _cleanup_free_ char *text = NULL;

                fake_start(&fake);
                assert_int_equal(symlinkat("/x", fake.fd, "exe"), 0);
                assert_true(asprintf(&text, "0::/%0*u\n", (int)(PROC_TEXT_MAX - 1 + extra), 0U) >
                            0);
                write_text(&fake, "cgroup", text);
                assert_int_equal(read_fake(&fake, &info), extra ? -ENAMETOOLONG : 0);
                fake_end(&fake);
        }
}

static void a_long_comm_is_cut_and_stays_text(void **state) {
        struct procinfo info;
        struct fake fake;
        _cleanup_free_ char *text = NULL;

        (void)state;
        fake_start(&fake);
        assert_int_equal(symlinkat("/x", fake.fd, "exe"), 0);
        assert_true(asprintf(&text, "42 (%0*u) " TAIL, (int)COMM_MAX + 1, 0U) > 0);
        write_text(&fake, "stat", text);
        assert_int_equal(procinfo_read(fake.fd, &info), 0);
        assert_int_equal(info.comm_size, COMM_MAX);
        assert_int_equal(strlen(info.comm), COMM_MAX);
        procinfo_done(&info);
        fake_end(&fake);
}

static void a_bad_stat_is_an_error(void **state) {
        static const char *const stats[] = { "42 x) " TAIL, "42 (x " TAIL, "42 (x) S x 1\n",
                                             "42 (x) S 7 1\n", "42 )(" TAIL };
        struct procinfo info;

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(stats); i++) {
                struct fake fake;

                fake_start(&fake);
                assert_int_equal(symlinkat("/x", fake.fd, "exe"), 0);
                write_text(&fake, "stat", stats[i]);
                assert_int_equal(procinfo_read(fake.fd, &info), -EBADMSG);
                assert_int_equal(info.start_ticks, 0);
                assert_int_equal(info.comm_size, 0);
                assert_int_equal(info.uid, 1000); /* the others were read all the same */
                procinfo_done(&info);
                fake_end(&fake);
        }
}

static void a_nul_hides_nothing(void **state) {
        static const char status[] = STATUS "\0Uid:\t0\t0\n";
        struct procinfo info;
        struct fake fake;

        (void)state;
        fake_start(&fake);
        assert_int_equal(symlinkat("/x", fake.fd, "exe"), 0);
        write_bytes(&fake, "status", status, sizeof(status) - 1);
        assert_int_equal(read_fake(&fake, &info), -EBADMSG);
        fake_end(&fake);
}

static void each_missing_file_is_an_error(void **state) {
        static const char *const files[] = { "stat", "status", "cgroup", "exe", "auxv" };
        struct procinfo info;

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
                struct fake fake;

                fake_start(&fake);
                assert_int_equal(symlinkat("/x", fake.fd, "exe"), 0);
                assert_int_equal(unlinkat(fake.fd, files[i], 0), 0);
                assert_int_equal(read_fake(&fake, &info), -ENOENT);
                fake_end(&fake);
        }
}

/* --- real processes --- */

static void this_process_is_read(void **state) {
        _cleanup_close_ int fd = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);
        char exe[4096] = { 0 };
        struct procinfo info;
        unsigned long random = 0;

        (void)state;
        assert_true(fd >= 0);
        assert_int_equal(procinfo_read(fd, &info), 0);
        assert_int_equal(info.pid, getpid());
        assert_int_equal(info.inner_pid, getpid());
        assert_int_equal(info.ppid, getppid());
        assert_int_equal(info.uid, getuid());
        assert_int_equal(info.euid, geteuid());
        assert_int_equal(info.gid, getgid());
        assert_true(info.start_ticks > 0);
        assert_true(readlink("/proc/self/exe", exe, sizeof(exe) - 1) > 0);
        assert_string_equal(info.exe, exe);
        for (size_t i = 0; i + 16 <= info.auxv_size; i += 16) {
                unsigned long pair[2];

                memcpy(pair, info.auxv + i, sizeof(pair));
                if (pair[0] == AT_RANDOM)
                        random = pair[1];
        }
        assert_int_equal(random, getauxval(AT_RANDOM));
        procinfo_done(&info);
}

/* The comm of a real process, through the real kernel: 15 bytes that try everything. */
static void a_real_hostile_comm_is_only_a_comm(void **state) {
        static const char *const comms[] = { "x) R 1 2 3 4 5", "a\nUid:\t0\t0", "\n\n\n", ")",
                                             "\xff\xfe(\\n" };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(comms); i++) {
                struct procinfo info;
                char path[64], byte = 0;
                int ready[2], done[2], fd;
                pid_t pid;

                assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
                assert_int_equal(pipe2(done, O_CLOEXEC), 0);
                pid = fork();
                assert_true(pid >= 0);
                if (pid == 0) {
                        (void)close(done[1]);
                        if (prctl(PR_SET_NAME, comms[i]) < 0 || setresgid(7, 7, 7) < 0 ||
                            setresuid(8, 9, 10) < 0 || write(ready[1], "", 1) != 1)
                                _exit(1);
                        (void)read(done[0], &byte, 1);
                        _exit(0);
                }
                (void)close(ready[1]);
                assert_int_equal(read(ready[0], &byte, 1), 1);
                assert_true(snprintf(path, sizeof(path), "/proc/%d", pid) > 0);
                fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
                assert_true(fd >= 0);
                assert_int_equal(procinfo_read(fd, &info), 0);
                assert_string_equal(info.comm, comms[i]);
                assert_int_equal(info.ppid, getpid());
                assert_int_equal(info.uid, 8);
                assert_int_equal(info.euid, 9);
                assert_int_equal(info.gid, 7);
                procinfo_done(&info);
                (void)close(fd);
                (void)close(ready[0]);
                (void)close(done[0]);
                (void)close(done[1]);
                assert_int_equal(waitpid(pid, NULL, 0), pid);
        }
}

static void skip_unless_root(void **state) {
        if (geteuid() != 0)
                skip();
        a_real_hostile_comm_is_only_a_comm(state);
}

static const struct CMUnitTest plain_tests[] = {
        cmocka_unit_test(limits_hold),
        cmocka_unit_test(a_long_cgroup_is_not_cut),
        cmocka_unit_test(a_long_comm_is_cut_and_stays_text),
        cmocka_unit_test(a_bad_stat_is_an_error),
        cmocka_unit_test(a_nul_hides_nothing),
        cmocka_unit_test(each_missing_file_is_an_error),
        cmocka_unit_test(this_process_is_read),
        { "a real hostile comm is only a comm", skip_unless_root, NULL, NULL, NULL },
};

int main(void) {
        struct CMUnitTest
                tests[ARRAY_SIZE(stat_cases) + ARRAY_SIZE(fake_cases) + ARRAY_SIZE(plain_tests)];
        size_t n = 0;

        for (size_t i = 0; i < ARRAY_SIZE(stat_cases); i++)
                tests[n++] = (struct CMUnitTest){ stat_cases[i].name, start_is_found, NULL, NULL,
                                                  (void *)&stat_cases[i] };
        for (size_t i = 0; i < ARRAY_SIZE(fake_cases); i++)
                tests[n++] = (struct CMUnitTest){ fake_cases[i].name, fake_is_read, NULL, NULL,
                                                  (void *)&fake_cases[i] };
        memcpy(tests + n, plain_tests, sizeof(plain_tests));
        return cmocka_run_group_tests_name("procinfo", tests, NULL, NULL);
}
