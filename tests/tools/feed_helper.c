/* feed_helper: runs our helper on a stream of the test's choosing instead of the kernel's.
 *
 *     |DIR/t ARGUMENT…         a link to it; DIR/h is a link to our helper
 *
 * The helper's descriptor 0 is a pipe that carries DIR/stream and then ends. The kernel's own
 * pipe is held, undrained, until the helper has ended: the process can be read meanwhile.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define KEEP_FD 60

int main(int argc, char **argv) {
        char dir[2048], path[4096], block[65536];
        int stream, pipes[2], fd;
        pid_t feeder, helper;

        if (argc < 2 || !strrchr(argv[0], '/'))
                return 2;
        while ((fd = open("/dev/null", O_RDWR)) >= 0 && fd <= 2)
                ;
        close(fd);
        snprintf(dir, sizeof(dir), "%.*s", (int)(strrchr(argv[0], '/') - argv[0]), argv[0]);
        snprintf(path, sizeof(path), "%s/stream", dir);
        stream = open(path, O_RDONLY | O_CLOEXEC);
        if (stream < 0 || fcntl(0, F_DUPFD_CLOEXEC, KEEP_FD) < 0 || pipe2(pipes, O_CLOEXEC) < 0)
                return 1;

        feeder = fork();
        if (feeder == 0) {
                ssize_t k;

                close(pipes[0]);
                signal(SIGPIPE, SIG_IGN);
                while ((k = read(stream, block, sizeof(block))) > 0)
                        if (write(pipes[1], block, (size_t)k) != k)
                                break;
                _exit(0);
        }
        snprintf(path, sizeof(path), "%s/h", dir);
        helper = fork();
        if (helper == 0) {
                dup2(pipes[0], 0);
                close(1);
                close(2);
                argv[0] = path;
                execv(path, argv);
                _exit(127);
        }
        close(pipes[0]);
        close(pipes[1]);
        if (feeder < 0 || helper < 0)
                return 1;
        waitpid(helper, NULL, 0);
        kill(feeder, SIGKILL);
        return 0;
}
