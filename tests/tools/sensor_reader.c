/* sensor_reader WAY FILE SPIN: gets bytes of FILE by WAY while another thread crashes.
 *
 * The bytes end in one page at a fixed address (READER_BUFFER), so that whoever looks at the
 * crash can tell whether any had arrived: with them there, the tag must be there. SPIN is how
 * long the other thread turns before it crashes, in rounds of a loop; 0: after the read.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sensor_buffer.h"

static atomic_int started;
static unsigned long spin;
static char *buffer;

static void fail(const char *what) {
        perror(what);
        _exit(99);
}

static void crash(void) {
        signal(SIGSEGV, SIG_DFL);
        *(volatile int *)8 = 1;
        _exit(98);
}

static void *crasher(void *arg) {
        (void)arg;
        while (!atomic_load(&started))
                ;
        for (volatile unsigned long i = 0; i < spin; i++)
                ;
        if (spin)
                crash();
        return NULL;
}

/* --- ways in ---------------------------------------------------------------------------------- */

static void by_read(int fd) {
        if (read(fd, buffer, READER_BYTES) <= 0)
                fail("read");
}

static void by_pread(int fd) {
        if (pread(fd, buffer, READER_BYTES, 0) <= 0)
                fail("pread");
}

static void by_readv(int fd) {
        struct iovec v[2] = { { buffer, 3 }, { buffer + 3, READER_BYTES - 3 } };

        if (readv(fd, v, 2) <= 0)
                fail("readv");
}

static void by_mmap(int fd) {
        const char *p = mmap(NULL, READER_BYTES, PROT_READ, MAP_SHARED, fd, 0);

        if (p == MAP_FAILED)
                fail("mmap");
        memcpy(buffer, p, READER_BYTES);
}

/* A private mapping written to: the page is copied by a fault that maps nothing shared. */
static void by_cow(int fd) {
        char *p = mmap(NULL, READER_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);

        if (p == MAP_FAILED)
                fail("mmap");
        p[READER_BYTES - 1] = 'x';
        memcpy(buffer, p, READER_BYTES);
}

static void by_splice(int fd) {
        int pipe_fds[2];

        if (pipe(pipe_fds) < 0 || splice(fd, NULL, pipe_fds[1], NULL, READER_BYTES, 0) <= 0)
                fail("splice");
        if (read(pipe_fds[0], buffer, READER_BYTES) <= 0)
                fail("read of pipe");
}

static void ring_read(int fd, unsigned char flags) {
        struct io_uring_params params = { 0 };
        int ring = (int)syscall(SYS_io_uring_setup, 1, &params);
        struct io_uring_sqe *sqes;
        unsigned *array, *tail;
        char *sq;

        if (ring < 0)
                fail("io_uring_setup");
        sq = mmap(NULL, params.sq_off.array + params.sq_entries * sizeof(unsigned),
                  PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring, IORING_OFF_SQ_RING);
        sqes = mmap(NULL, params.sq_entries * sizeof(*sqes), PROT_READ | PROT_WRITE,
                    MAP_SHARED | MAP_POPULATE, ring, IORING_OFF_SQES);
        if (sq == MAP_FAILED || (void *)sqes == MAP_FAILED)
                fail("mmap of ring");
        sqes[0] = (struct io_uring_sqe){ .opcode = IORING_OP_READ,
                                         .flags = flags,
                                         .fd = fd,
                                         .addr = (uintptr_t)buffer,
                                         .len = READER_BYTES };
        array = (unsigned *)(sq + params.sq_off.array);
        tail = (unsigned *)(sq + params.sq_off.tail);
        array[0] = 0;
        __atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
        if (syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0)
                fail("io_uring_enter");
}

static void by_uring(int fd) {
        ring_read(fd, 0);
}

/* By a worker thread of the kernel. */
static void by_uring_worker(int fd) {
        ring_read(fd, IOSQE_ASYNC);
}

/* --- ways to a descriptor --------------------------------------------------------------------- */

static int file_open(const char *path) {
        int fd = open(path, O_RDONLY);

        if (fd < 0)
                fail(path);
        return fd;
}

/* From a process that opened it, and never read it, over a socket. */
static int passed_open(const char *path) {
        char control[CMSG_SPACE(sizeof(int))], byte = 0;
        struct iovec v = { &byte, 1 };
        struct msghdr message = { .msg_iov = &v,
                                  .msg_iovlen = 1,
                                  .msg_control = control,
                                  .msg_controllen = sizeof(control) };
        struct cmsghdr *c;
        int pair[2], fd;
        pid_t pid;

        if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
                fail("socketpair");
        pid = fork();
        if (pid == 0) {
                fd = file_open(path);
                c = CMSG_FIRSTHDR(&message);
                c->cmsg_level = SOL_SOCKET;
                c->cmsg_type = SCM_RIGHTS;
                c->cmsg_len = CMSG_LEN(sizeof(fd));
                memcpy(CMSG_DATA(c), &fd, sizeof(fd));
                _exit(sendmsg(pair[0], &message, 0) < 0);
        }
        if (recvmsg(pair[1], &message, 0) != 1 || waitpid(pid, NULL, 0) != pid)
                fail("recvmsg");
        c = CMSG_FIRSTHDR(&message);
        if (!c || c->cmsg_type != SCM_RIGHTS)
                fail("no descriptor came");
        memcpy(&fd, CMSG_DATA(c), sizeof(fd));
        return fd;
}

/* A new file takes the place of the old one, and is read through the old path. */
static int rotated_open(const char *path) {
        char fresh[4096], text[READER_BYTES];
        int fd;

        (void)snprintf(fresh, sizeof(fresh), "%s.%d.tmp", path, getpid());
        fd = open(fresh, O_WRONLY | O_CREAT | O_EXCL, 0600);
        memset(text, 'R', sizeof(text));
        if (fd < 0 || write(fd, text, sizeof(text)) != sizeof(text) || close(fd) < 0 ||
            rename(fresh, path) < 0)
                fail(fresh);
        return file_open(path);
}

static int direct_open(const char *path) {
        int fd = open(path, O_RDONLY | O_DIRECT);

        if (fd < 0)
                fail(path);
        return fd;
}

static const struct way {
        const char *name;
        int (*open)(const char *path);
        void (*take)(int fd);
} ways[] = {
        { "read", file_open, by_read },      { "pread", file_open, by_pread },
        { "readv", file_open, by_readv },    { "mmap", file_open, by_mmap },
        { "cow", file_open, by_cow },        { "splice", file_open, by_splice },
        { "io_uring", file_open, by_uring }, { "io_uring-worker", file_open, by_uring_worker },
        { "passed", passed_open, by_read },  { "rotated", rotated_open, by_read },
        { "direct", direct_open, by_read },
};

static void run(const struct way *way, int fd) {
        pthread_t thread;

        if (pthread_create(&thread, NULL, crasher, NULL) != 0)
                fail("pthread_create");
        atomic_store(&started, 1);
        way->take(fd);
        if (!spin)
                crash();
        (void)pthread_join(thread, NULL);
}

/* --- lineages --------------------------------------------------------------------------------- */

static void *exec_here(void *self) {
        (void)execl(self, self, "idle", "-", "0", (char *)NULL);
        fail("execl");
        return NULL;
}

static int reads_for_parent(void *path) {
        by_read(file_open(path));
        _exit(0);
}

static char stack[65536] __attribute__((aligned(16)));

/* Each ends in the crash of one process, whose tag is then looked at. */
static void lineage(const char *name, char *path, char *self) {
        pthread_t thread;
        pid_t pid;
        int status;

        if (strcmp(name, "idle") == 0)
                crash();
        if (strcmp(name, "hold") == 0) { /* until it is killed */
                by_read(file_open(path));
                for (;;)
                        (void)pause();
        }
        if (strcmp(name, "fork") == 0) { /* the child has a copy */
                by_read(file_open(path));
                pid = fork();
                if (pid == 0)
                        crash();
                (void)waitpid(pid, &status, 0);
                _exit(0);
        }
        if (strcmp(name, "fork-before") == 0) { /* the child has nothing, its parent reads later */
                int fds[2];
                char byte;

                if (pipe(fds) < 0)
                        fail("pipe");
                pid = fork();
                if (pid == 0) {
                        if (read(fds[0], &byte, 1) != 1)
                                fail("pipe");
                        crash();
                }
                by_read(file_open(path));
                if (write(fds[1], "", 1) != 1)
                        fail("pipe");
                (void)waitpid(pid, &status, 0);
                _exit(0);
        }
        if (strcmp(name, "exec") == 0) { /* the new program has nothing */
                by_read(file_open(path));
                (void)execl(self, self, "idle", "-", "0", (char *)NULL);
        }
        if (strcmp(name, "thread-exec") == 0) { /* nor has it when a second thread execs */
                by_read(file_open(path));
                (void)pthread_create(&thread, NULL, exec_here, self);
                for (;;)
                        (void)pause();
        }
        if (strcmp(name, "vfork") == 0 || strcmp(name, "clone-vm") == 0) { /* shared memory */
                int flags = CLONE_VM | SIGCHLD | (*name == 'v' ? CLONE_VFORK : 0);

                pid = clone(reads_for_parent, stack + sizeof(stack), flags, path);
                if (pid < 0 || waitpid(pid, &status, 0) != pid)
                        fail("clone");
                crash();
        }
        if (strcmp(name, "inherited") == 0) { /* opened before exec, read after */
                char number[16], turns[24];
                int fd = file_open(path);

                (void)snprintf(number, sizeof(number), "%d", fd);
                (void)snprintf(turns, sizeof(turns), "%lu", spin);
                (void)execl(self, self, "from-fd", number, turns, (char *)NULL);
        }
}

int main(int argc, char **argv) {
        const struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY };

        if (argc != 4) {
                (void)fprintf(stderr, "usage: sensor_reader WAY FILE SPIN\n");
                return 2;
        }
        if (setrlimit(RLIMIT_CORE, &unlimited) < 0)
                fail("setrlimit");
        spin = strtoul(argv[3], NULL, 10);
        buffer = mmap((void *)READER_BUFFER, READER_PAGE, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_POPULATE, -1, 0);
        if (buffer == MAP_FAILED)
                fail("mmap of the buffer");
        for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
                if (strcmp(argv[1], ways[i].name) == 0)
                        run(&ways[i], ways[i].open(argv[2]));
        }
        if (strcmp(argv[1], "from-fd") == 0)
                run(&ways[0], atoi(argv[2]));
        lineage(argv[1], argv[2], "/proc/self/exe");
        (void)fprintf(stderr, "sensor_reader: %s: unknown way\n", argv[1]);
        return 2;
}
