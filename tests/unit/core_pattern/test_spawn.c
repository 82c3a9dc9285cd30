/* spawn: a worker that answers, fails, lies, hangs or dies. This program is its own worker: run
 * under the worker's name it behaves as brief.pid says.
 *
 * with: core_pattern/spawn.c
 * with: core_pattern/result.c
 * with: core_pattern/sandbox_drop.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/io.h"
#include "base/paths.h"
#include "core_pattern/spawn.h"

#define NOBODY 65534

enum behaviour {
        ANSWERS = 1,
        ANSWERS_AND_LINGERS, /* the pipe is done long before the process */
        FAILS,
        ANSWERS_GARBAGE,
        ANSWERS_SHORT,
        ANSWERS_TWICE,
        SAYS_NOTHING,
        EXITS_BADLY, /* with a good answer */
        HANGS,
        HANGS_STOPPED,
        DIES,
        WRITES_TOO_MUCH,
        CHECKS_DESCRIPTORS,
        CHECKS_PARENT_DEATH,
};

/* --- the worker --------------------------------------------------------------------------------
 */

static const char stream_text[] = "the stream", needle_text[] = "the needle";

static bool descriptor_says(int fd, const char *text) {
        char buf[64] = "";

        return io_pread(fd, buf, sizeof(buf) - 1, 0) == (ssize_t)strlen(text) &&
               strcmp(buf, text) == 0;
}

/* Exactly the descriptors of brief.h, at their places, and no environment. */
static int descriptors_check(void) {
        DIR *dir = opendir("/proc/self/fd");
        const struct dirent *entry;
        unsigned long long open_fds = 0;

        if (!dir)
                return -errno;
        while ((entry = readdir(dir)))
                if (entry->d_name[0] != '.' && atoi(entry->d_name) != dirfd(dir))
                        open_fds |= 1ULL << atoi(entry->d_name);
        (void)closedir(dir);
        /* 0-4 and two needles; mem and pagemap were not handed in */
        if (open_fds != (0x1fULL | (3ULL << WORKER_FD_NEEDLES)))
                return -EBADF;
        if (!descriptor_says(WORKER_FD_STREAM, stream_text) ||
            !descriptor_says(WORKER_FD_NEEDLES + 1, needle_text))
                return -EBADMSG;
        if (environ && environ[0])
                return -E2BIG;
        if (getuid() != NOBODY || getgid() != NOBODY)
                return -EPERM;
        if (write(WORKER_FD_BRIEF, "x", 1) >= 0 || ftruncate(WORKER_FD_BRIEF, 0) >= 0)
                return -EROFS;
        return 0;
}

static int output_check(void) {
        char block[4096] = "";

        for (int i = 0; i < 3; i++)
                if (write(WORKER_FD_OUT, block, sizeof(block)) < 0)
                        return -errno; /* EFBIG, and no SIGXFSZ */
        return 0;
}

static void answer(struct worker_result *result, int error) {
        result->error = error;
        result->stage = error ? STAGE_EMIT : STAGE_KEEP;
        if (io_write(WORKER_FD_RESULT, result, sizeof(*result)) < 0)
                _exit(1);
}

static int worker_main(void) {
        struct worker_result result = { .version = RESULT_VERSION, .size = sizeof(result) };
        struct brief brief;

        if (io_read(WORKER_FD_BRIEF, &brief, sizeof(brief)) != sizeof(brief))
                return WORKER_EXIT_NO_BRIEF;
        result.content = brief.content;
        switch ((enum behaviour)brief.pid) {
        case ANSWERS:
                answer(&result, 0);
                break;
        case ANSWERS_AND_LINGERS:
                answer(&result, 0);
                (void)close(WORKER_FD_RESULT);
                (void)usleep(200000);
                break;
        case FAILS:
                answer(&result, -EIO);
                break;
        case ANSWERS_GARBAGE:
                result.version = 77;
                answer(&result, 0);
                break;
        case ANSWERS_SHORT:
                (void)io_write(WORKER_FD_RESULT, &result, 10);
                break;
        case ANSWERS_TWICE:
                answer(&result, 0);
                answer(&result, 0);
                break;
        case SAYS_NOTHING:
                break;
        case EXITS_BADLY:
                answer(&result, 0);
                return 9;
        case HANGS:
                for (;;)
                        (void)pause();
        case HANGS_STOPPED:
                answer(&result, 0);
                (void)raise(SIGSTOP);
                break;
        case DIES:
                answer(&result, 0);
                (void)raise(SIGKILL);
                break;
        case WRITES_TOO_MUCH:
                answer(&result, output_check());
                break;
        case CHECKS_DESCRIPTORS:
                answer(&result, descriptors_check());
                break;
        case CHECKS_PARENT_DEATH:
                (void)io_write(WORKER_FD_OUT, "up", 2);
                for (;;)
                        (void)pause();
        }
        return WORKER_EXIT_ANSWERED;
}

/* --- the tests ---------------------------------------------------------------------------------
 */

static int file_of(const char *text) {
        int fd = memfd_create("test", MFD_CLOEXEC);

        assert_true(fd >= 0);
        assert_int_equal(io_write(fd, text, strlen(text)), 0);
        return fd;
}

static void run_with(enum behaviour behaviour, uint64_t ms, int out, struct worker_outcome *ret) {
        struct brief brief = {
                .version = BRIEF_VERSION,
                .size = sizeof(brief),
                .mode = BRIEF_OFFLINE,
                .content = CONTENT_REDACT,
                .pid = behaviour,
                .own_user = true,
                .n_files = 2,
        };
        int needles[] = { file_of("another"), file_of(needle_text) };
        struct worker_job job = {
                .brief = &brief,
                .stream_fd = file_of(stream_text),
                .out_fd = out,
                .log_fd = STDERR_FILENO,
                .mem_fd = -1,
                .pagemap_fd = -1,
                .needle_fds = needles,
                .uid = NOBODY,
                .gid = NOBODY,
                .limits = { .file_size = 8192, .memory = RLIM_INFINITY, .cpu_sec = 30 },
                .deadline_ns = clock_now_ns() + ms * NS_PER_MS,
        };
        int program = open("/proc/self/exe", O_PATH | O_CLOEXEC);

        assert_true(program >= 0);
        worker_run(program, &job, ret);
        assert_int_equal(close(program), 0);
        assert_int_equal(close(job.stream_fd), 0);
        assert_int_equal(close(needles[0]), 0);
        assert_int_equal(close(needles[1]), 0);
}

static const struct run_case {
        const char *name;
        enum behaviour behaviour;
        uint64_t ms;
        uint64_t causes;
        bool answered;
        int signal;
} run_cases[] = {
        { "a good answer is a dump", ANSWERS, 20000, 0, true, 0 },
        { "its end is waited for, not only its answer", ANSWERS_AND_LINGERS, 20000, 0, true, 0 },
        { "an error is an answer and no dump", FAILS, 20000, CAUSE_BIT(CAUSE_MEMORY_UNREADABLE),
          true, 0 },
        { "garbage is refused", ANSWERS_GARBAGE, 20000, CAUSE_BIT(CAUSE_WORKER_FAILED), false, 0 },
        { "a short answer is refused", ANSWERS_SHORT, 20000, CAUSE_BIT(CAUSE_WORKER_FAILED), false,
          0 },
        { "a long answer is refused", ANSWERS_TWICE, 20000, CAUSE_BIT(CAUSE_WORKER_FAILED), false,
          0 },
        { "silence is refused", SAYS_NOTHING, 20000, CAUSE_BIT(CAUSE_WORKER_FAILED), false, 0 },
        { "a good answer and a bad exit are refused", EXITS_BADLY, 20000,
          CAUSE_BIT(CAUSE_WORKER_FAILED), false, 0 },
        { "one that hangs is killed at the deadline", HANGS, 500, CAUSE_BIT(CAUSE_DEADLINE), false,
          SIGKILL },
        { "one that is stopped is killed at the deadline", HANGS_STOPPED, 500,
          CAUSE_BIT(CAUSE_DEADLINE), false, SIGKILL },
        { "one that dies after a good answer is refused", DIES, 20000,
          CAUSE_BIT(CAUSE_WORKER_KILLED), false, SIGKILL },
        { "output over the limit is an error, not a death", WRITES_TOO_MUCH, 20000,
          CAUSE_BIT(CAUSE_STORE_FULL), true, 0 },
        { "it has exactly the descriptors of brief.h", CHECKS_DESCRIPTORS, 20000, 0, true, 0 },
        { "a deadline that has passed runs nothing", ANSWERS, 0, CAUSE_BIT(CAUSE_DEADLINE), false,
          SIGKILL },
};

#define STRAY_LOW 50   /* below where spawn.c parks descriptors, and above the worker's own */
#define STRAY_HIGH 200 /* above */

static void outcomes_are_told_apart(void **state) {
        const struct run_case *c = *state;
        struct worker_outcome outcome;
        int out = open("/tmp", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
        /* What somebody forgot to close on exec must not reach the worker, wherever it stands. */
        int low = fcntl(out, F_DUPFD, STRAY_LOW), high = fcntl(out, F_DUPFD, STRAY_HIGH);
        uint64_t start = clock_now_ns();

        assert_true(out >= 0 && low >= STRAY_LOW && high >= STRAY_HIGH);
        run_with(c->behaviour, c->ms, out, &outcome);
        assert_int_equal(close(low), 0);
        assert_int_equal(close(high), 0);
        assert_true(clock_now_ns() - start < 15000 * NS_PER_MS);
        assert_true(outcome.causes == c->causes);
        assert_int_equal(outcome.answered, c->answered);
        assert_int_equal(outcome.signal, c->signal);
        assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no child is left */
        assert_int_equal(close(out), 0);
}

static void a_missing_program_is_told(void **state) {
        struct brief brief = { .version = BRIEF_VERSION, .size = sizeof(brief), .own_user = true };
        struct worker_job job = {
                .brief = &brief,
                .stream_fd = STDIN_FILENO,
                .out_fd = STDOUT_FILENO,
                .log_fd = STDERR_FILENO,
                .mem_fd = -1,
                .pagemap_fd = -1,
                .uid = NOBODY,
                .gid = NOBODY,
                .limits = { 0, RLIM_INFINITY, 30 },
                .deadline_ns = clock_now_ns() + 20000 * NS_PER_MS,
        };
        struct worker_outcome outcome;
        int fd = open("/etc/passwd", O_PATH | O_CLOEXEC);

        (void)state;
        worker_run(fd, &job, &outcome);
        assert_true(outcome.causes == CAUSE_BIT(CAUSE_WORKER_MISSING));
        assert_int_equal(close(fd), 0);
}

static void it_dies_with_its_parent(void **state) {
        int out = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        struct stat st = { 0 };
        pid_t parent;
        int status;

        (void)state;
        assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0);
        parent = fork();
        assert_true(parent >= 0);
        if (parent == 0) {
                struct worker_outcome outcome;

                run_with(CHECKS_PARENT_DEATH, 60000, out, &outcome);
                _exit(0);
        }
        for (int i = 0; i < 1000 && st.st_size == 0; i++) {
                assert_int_equal(fstat(out, &st), 0);
                (void)usleep(10000);
        }
        assert_int_equal(st.st_size, 2);
        assert_int_equal(kill(parent, SIGKILL), 0);
        assert_int_equal(waitpid(parent, NULL, 0), parent);

        /* It is ours now, and gone without our doing. */
        assert_true(waitpid(-1, &status, 0) > 0);
        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), SIGKILL);
        assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0), 0);
        assert_int_equal(close(out), 0);
}

static char passwd_root[] = "/tmp/test_spawn.XXXXXX";

static int user_of(const char *passwd, uid_t *ret_uid, gid_t *ret_gid) {
        char path[128];
        FILE *file;
        int r;

        (void)snprintf(path, sizeof(path), "%s/etc/passwd", passwd_root);
        file = fopen(path, "we");
        assert_non_null(file);
        assert_true(fputs(passwd, file) >= 0);
        assert_int_equal(fclose(file), 0);
        r = worker_user(passwd_root, ret_uid, ret_gid);
        assert_int_equal(unlink(path), 0);
        return r;
}

static void the_worker_s_user_is_its_own(void **state) {
        static const char root[] = "root:x:0:0:root:/root:/bin/sh\n";
        char text[256], path[128];
        uid_t uid = 0;
        gid_t gid = 0;

        (void)state;
        assert_non_null(mkdtemp(passwd_root));
        (void)snprintf(path, sizeof(path), "%s/etc", passwd_root);
        assert_int_equal(worker_user(passwd_root, &uid, &gid), -ENOENT);
        assert_int_equal(mkdir(path, 0755), 0);
        (void)snprintf(text, sizeof(text), "%s" CORESIEVE_USER ":x:990:991::/:/bin/false\n", root);
        assert_int_equal(user_of(text, &uid, &gid), 0);
        assert_int_equal(uid, 990);
        assert_int_equal(gid, 991);
        assert_int_equal(user_of(root, &uid, &gid), -ENOENT);
        assert_int_equal(user_of("", &uid, &gid), -ENOENT);
        assert_int_equal(user_of(CORESIEVE_USER "2:x:990:991::/:/x\n", &uid, &gid), -ENOENT);
        assert_int_equal(user_of(CORESIEVE_USER ":x:0:991::/:/x\n", &uid, &gid), -EPERM);
        assert_int_equal(user_of(CORESIEVE_USER ":x:990:0::/:/x\n", &uid, &gid), -EPERM);
        assert_int_equal(rmdir(path), 0);
        assert_int_equal(rmdir(passwd_root), 0);
}

int main(int argc, char *argv[]) {
        struct CMUnitTest tests[ARRAY_SIZE(run_cases) + 3];
        size_t n = 0;

        if (argc > 0 && strcmp(argv[0], PROGRAM_WORKER) == 0)
                _exit(worker_main());

        for (size_t i = 0; i < ARRAY_SIZE(run_cases); i++)
                tests[n++] = (struct CMUnitTest){
                        .name = run_cases[i].name,
                        .test_func = outcomes_are_told_apart,
                        .initial_state = (void *)(uintptr_t)&run_cases[i],
                };
        tests[n++] = (struct CMUnitTest)cmocka_unit_test(a_missing_program_is_told);
        tests[n++] = (struct CMUnitTest)cmocka_unit_test(it_dies_with_its_parent);
        tests[n++] = (struct CMUnitTest)cmocka_unit_test(the_worker_s_user_is_its_own);
        return _cmocka_run_group_tests("core_pattern/spawn", tests, n, NULL, NULL);
}
