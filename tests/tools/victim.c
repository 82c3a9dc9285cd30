/* victim: reads a secret file and waits to be killed.
 *
 *     victim FILE [comm HEX | sharer | rlimit0 | rlimit1 | undumpable | threads N | leaderless]
 *
 * comm: takes any bytes as its name. sharer: a CLONE_VM process keeps copying the secret to new
 * places while the first one dies. undumpable: PR_SET_DUMPABLE 0. leaderless: the main thread
 * ends, another lives on. Prints "ready".
 */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#define SECRET_MAX 65536
#define PAUSE_US 20       /* so slow that the area is not full before the second pass */
#define AREA (64UL << 20) /* long enough to pull that the sharer gets in between two passes */

static char secret[SECRET_MAX];
static ssize_t size;
static char *area;

static int keep_copying(void *arg) {
        unsigned at = 0;

        (void)arg;
        signal(SIGSEGV, SIG_IGN);
        for (;;) {
                at = (at + 7 * 4096 + 16) % (unsigned)(AREA - SECRET_MAX);
                memcpy(area + at, secret, (size_t)size);
                usleep(PAUSE_US);
                if (getppid() == 1)
                        _exit(0);
        }
        return 0;
}

static void *sleep_on(void *arg) {
        pause();
        return arg;
}

static void set_limit(rlim_t value) {
        const struct rlimit limit = { value, value };

        if (setrlimit(RLIMIT_CORE, &limit) < 0)
                perror("setrlimit");
}

int main(int argc, char **argv) {
        const char *what = argc > 2 ? argv[2] : "";
        int fd;

        if (argc < 2)
                return 2;
        fd = open(argv[1], O_RDONLY);
        size = fd < 0 ? -1 : read(fd, secret, sizeof(secret));
        if (size < 0) {
                perror(argv[1]);
                return 1;
        }
        close(fd);
        if (strcmp(what, "comm") == 0 && argc > 3) {
                char comm[16] = "";

                for (int i = 0; i < 15 && argv[3][2 * i]; i++)
                        sscanf(argv[3] + 2 * i, "%2hhx", (unsigned char *)&comm[i]);
                prctl(PR_SET_NAME, comm);
        } else if (strcmp(what, "sharer") == 0) {
                static char stack[65536];

                area = mmap(NULL, AREA, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
                if (clone(keep_copying, stack + sizeof(stack), CLONE_VM | SIGCHLD, NULL) < 0)
                        perror("clone");
        } else if (strcmp(what, "rlimit0") == 0) {
                set_limit(0);
        } else if (strcmp(what, "rlimit1") == 0) {
                set_limit(1);
        } else if (strcmp(what, "undumpable") == 0) {
                prctl(PR_SET_DUMPABLE, 0);
        } else if (strcmp(what, "threads") == 0 && argc > 3) {
                pthread_t thread;

                for (int i = atoi(argv[3]); i > 0; i--)
                        pthread_create(&thread, NULL, sleep_on, NULL);
        } else if (strcmp(what, "leaderless") == 0) {
                pthread_t thread;

                pthread_create(&thread, NULL, sleep_on, NULL);
        }
        puts("ready");
        fflush(stdout);
        if (strcmp(what, "leaderless") == 0)
                pthread_exit(NULL);
        pause();
        return 0;
}
