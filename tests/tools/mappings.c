/* mappings: a process with one of each kind of memory that a core treats in its own way.
 *
 *     mappings [many N | huge | degrade FILE]
 *
 * many: N extra mappings (a core with more than 65,535 segments counts them elsewhere, PN_XNUM).
 * degrade: writes the words around a return address of its own stack into FILE, which a rule
 * names, and reads them back: erasing that secret must break the backtrace.
 * Prints "ready" and waits to be killed.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <unistd.h>

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif
#define PAGE 4096UL
#define SIZE (64 * PAGE)
#define DEGRADE_SIZE 256

static void *map(int protection, int flags, int fd) {
        void *p = mmap(NULL, SIZE, protection, flags, fd, 0);

        if (p == MAP_FAILED) {
                perror("mmap");
                exit(1);
        }
        return p;
}

static void mark(void *p, const char *what) {
        for (size_t at = 0; at < SIZE; at += 8 * PAGE) /* most pages stay untouched */
                snprintf((char *)p + at, 64, "%s at %zu", what, at);
}

static void map_kinds(void) {
        const int rw = PROT_READ | PROT_WRITE, private = MAP_PRIVATE | MAP_ANONYMOUS;
        char *p;
        int fd, id;

        mark(map(rw, private, -1), "anonymous");
        mark(map(rw, MAP_SHARED | MAP_ANONYMOUS, -1), "shared anonymous");

        p = map(rw, private, -1);
        mark(p, "no access");
        mprotect(p, SIZE, PROT_NONE);

        p = map(rw, private, -1);
        mark(p, "read only");
        mprotect(p, SIZE, PROT_READ);

        p = map(rw, private, -1);
        mark(p, "not dumped");
        madvise(p, SIZE, MADV_DONTDUMP);

        p = map(rw, private, -1);
        mark(p, "guarded");
        madvise(p + 8 * PAGE, 8 * PAGE, MADV_GUARD_INSTALL);

        p = map(rw, private, -1);
        mark(p, "wiped on fork");
        madvise(p, SIZE, MADV_WIPEONFORK);

        fd = memfd_create("mappings", MFD_CLOEXEC);
        if (fd < 0 || ftruncate(fd, SIZE) < 0)
                exit(1);
        mark(map(rw, MAP_SHARED, fd), "memfd");
        (void)map(PROT_READ, MAP_SHARED, fd); /* never touched through this one */

        fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
        p = map(rw, MAP_PRIVATE, fd);
        p[PAGE] = 'w'; /* one page of its own: the whole mapping is dumped, file bytes too */
        (void)map(PROT_READ, MAP_SHARED, fd);

        id = shmget(IPC_PRIVATE, SIZE, IPC_CREAT | 0600);
        p = id < 0 ? (char *)-1 : shmat(id, NULL, 0);
        if (p != (char *)-1)
                mark(p, "System V");
        if (id >= 0)
                shmctl(id, IPC_RMID, NULL);
}

static void map_many(unsigned long n) {
        /* Neighbours with other rights are not merged. */
        char *p = mmap(NULL, n * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        for (unsigned long i = 0; p != MAP_FAILED && i < n; i += 2)
                if (mprotect(p + i * PAGE, PAGE, PROT_READ) < 0) {
                        perror("mprotect");
                        exit(1);
                }
}

static void __attribute__((noinline)) degrade(const char *path) {
        const char *frame = __builtin_frame_address(0);
        char back[DEGRADE_SIZE];
        int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);

        /* The file is as the stack is: the words from this frame's saved registers upwards. */
        if (fd < 0 || write(fd, frame, 64) != 64 || pread(fd, back, 64, 0) != 64) {
                perror(path);
                exit(1);
        }
        memset(back, 0, sizeof(back));
        close(fd);
        puts("ready");
        fflush(stdout);
        pause();
}

int main(int argc, char **argv) {
        map_kinds();
        if (argc > 2 && strcmp(argv[1], "many") == 0) {
                map_many(strtoul(argv[2], NULL, 10));
        } else if (argc > 1 && strcmp(argv[1], "huge") == 0) {
                void *p = mmap(NULL, 64UL << 20, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

                madvise(p, 64UL << 20, MADV_HUGEPAGE);
                memset((char *)p + (8UL << 20), 'h', 1000);
        } else if (argc > 2 && strcmp(argv[1], "degrade") == 0) {
                degrade(argv[2]);
                return 0;
        }
        puts("ready");
        fflush(stdout);
        pause();
        return 0;
}
