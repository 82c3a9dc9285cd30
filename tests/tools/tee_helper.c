/* tee_helper: a core_pattern program that keeps the kernel's own stream and then runs ours.
 *
 *     |DIR/t ARGUMENT…         a link to it; DIR/h is a link to our helper
 *
 * Drains the pipe into DIR/raw.PID first, so that the raw core is that of the very same crash,
 * then starts the helper on a pipe that is fed the same bytes. The kernel's pipe stays open until
 * the helper ends: the dying process can be read meanwhile, as without us.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define BLOCK 65536
#define KEEP_FD 60 /* out of the way of the descriptors that the helper expects */

static void fail(const char *dir, const char *what) {
        char path[4096];
        int fd, saved = errno;

        snprintf(path, sizeof(path), "%s/tee.error", dir);
        fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (fd >= 0)
                dprintf(fd, "tee_helper: %s: %s\n", what, strerror(saved));
        _exit(1);
}

static int is_zero(const char *block, size_t n) {
        return block[0] == 0 && memcmp(block, block + 1, n - 1) == 0;
}

static void drain(const char *dir, int from, int to) {
        static char block[BLOCK];
        off_t at = 0;

        for (;;) {
                size_t have = 0;

                while (have < sizeof(block)) {
                        ssize_t k = read(from, block + have, sizeof(block) - have);

                        if (k < 0 && errno == EINTR)
                                continue;
                        if (k < 0)
                                fail(dir, "read");
                        if (k == 0)
                                break;
                        have += (size_t)k;
                }
                if (have && !is_zero(block, have) && pwrite(to, block, have, at) != (ssize_t)have)
                        fail(dir, "write");
                at += (off_t)have;
                if (have < sizeof(block))
                        break;
        }
        if (ftruncate(to, at) < 0)
                fail(dir, "truncate");
}

static void feed(int from, int to) {
        static char block[BLOCK];
        ssize_t k;

        signal(SIGPIPE, SIG_IGN);
        while ((k = read(from, block, sizeof(block))) > 0)
                for (ssize_t done = 0; done < k;) {
                        ssize_t w = write(to, block + done, (size_t)(k - done));

                        if (w < 0)
                                _exit(0); /* the helper has seen enough */
                        done += w;
                }
        _exit(0);
}

int main(int argc, char **argv) {
        char path[4096], dir[2048], program[4096];
        const char *pid = "unknown";
        int raw, pipes[2], status;
        pid_t feeder, helper;

        if (argc < 2 || !strrchr(argv[0], '/'))
                return 2;
        snprintf(dir, sizeof(dir), "%.*s", (int)(strrchr(argv[0], '/') - argv[0]), argv[0]);
        snprintf(program, sizeof(program), "%s/h", dir);
        /* The kernel leaves 1 and 2 closed; files opened here must not become stdout. */
        while ((raw = open("/dev/null", O_RDWR)) >= 0 && raw <= 2)
                ;
        close(raw);
        for (int i = 1; i < argc; i++)
                if (strncmp(argv[i], "P=", 2) == 0)
                        pid = argv[i] + 2;

        snprintf(path, sizeof(path), "%s/raw.%s.part", dir, pid);
        raw = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        if (raw < 0 || fcntl(0, F_DUPFD_CLOEXEC, KEEP_FD) < 0)
                fail(dir, path);
        drain(dir, 0, raw);
        lseek(raw, 0, SEEK_SET);

        if (pipe2(pipes, O_CLOEXEC) < 0)
                fail(dir, "pipe");
        feeder = fork();
        if (feeder == 0) {
                close(pipes[0]);
                feed(raw, pipes[1]);
        }
        helper = fork();
        if (helper == 0) {
                dup2(pipes[0], 0);
                close(1);
                close(2);
                argv[0] = program;
                execv(program, argv);
                _exit(127);
        }
        if (feeder < 0 || helper < 0)
                fail(dir, "fork");
        close(pipes[0]);
        close(pipes[1]);
        waitpid(helper, &status, 0);
        kill(feeder, SIGKILL);
        waitpid(feeder, NULL, 0);

        /* Its name tells the test that everything is done. */
        if (strlen(path) > 5) {
                char done[4096];

                snprintf(done, sizeof(done), "%.*s", (int)strlen(path) - 5, path);
                if (rename(path, done) < 0)
                        fail(dir, done);
        }
        return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
