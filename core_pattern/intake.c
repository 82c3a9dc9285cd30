#include "core_pattern/intake.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"

/* --- arguments -------------------------------------------------------------------------------- */

#define SIGNAL_MAX 64

/* A decimal number and nothing else: no sign, no blank, no overflow. */
static int number_parse(const char *text, uint64_t max, uint64_t *ret) {
        uint64_t value = 0;

        if (!*text)
                return -EINVAL;
        for (; *text; text++) {
                unsigned digit = (unsigned)(unsigned char)*text - '0';

                if (digit > 9)
                        return -EINVAL;
                if (value > (UINT64_MAX - digit) / 10)
                        return -EINVAL;
                value = value * 10 + digit;
        }
        if (value > max)
                return -EINVAL;
        *ret = value;
        return 0;
}

/* An absolute path that names no parent: what is put before paths.h. */
static int root_parse(const char *text) {
        if (text[0] != '/' || strlen(text) >= PATH_MAX / 2)
                return -EINVAL;
        for (const char *at = text; (at = strstr(at, "/..")); at += 3)
                if (at[3] == '/' || at[3] == '\0')
                        return -EINVAL;
        return 0;
}

static int argument_take(char key, const char *value, struct arguments *a) {
        uint64_t n = 0;
        int r = 0;

        switch (key) {
        case 'P':
                r = number_parse(value, INT_MAX, &n);
                if (r == 0 && n == 0)
                        r = -EINVAL;
                if (r == 0)
                        a->pid = (pid_t)n;
                return r;
        case 'I':
                r = number_parse(value, INT_MAX, &n);
                if (r == 0 && n == 0)
                        r = -EINVAL;
                if (r == 0)
                        a->tid = (pid_t)n;
                return r;
        case 'F':
                if (!*value)
                        return 0; /* before 6.16 the kernel does not know %F */
                r = number_parse(value, INT_MAX, &n);
                if (r == 0 && n <= STDERR_FILENO)
                        r = -EINVAL; /* 0 is the core itself */
                if (r == 0)
                        a->pid_fd = (int)n;
                return r;
        case 'd':
                r = number_parse(value, DUMP_MODE_ROOT, &n);
                if (r == 0)
                        a->dump_mode = (int)n;
                return r;
        case 's':
                r = number_parse(value, SIGNAL_MAX, &n);
                if (r == 0)
                        a->signal = (int)n;
                return r;
        case 'u':
                r = number_parse(value, UINT32_MAX, &n);
                if (r == 0)
                        a->uid = (uid_t)n;
                return r;
        case 'g':
                r = number_parse(value, UINT32_MAX, &n);
                if (r == 0)
                        a->gid = (gid_t)n;
                return r;
        case 't':
                r = number_parse(value, INT64_MAX, &n);
                if (r == 0)
                        a->time = (time_t)n;
                return r;
        case 'c':
                r = number_parse(value, UINT64_MAX, &n);
                if (r == 0) {
                        a->core_limit = n;
                        a->core_limit_text = (struct record_text){ value, strlen(value) };
                }
                return r;
        case 'h':
                return 0; /* the process's UTS namespace: nothing of ours depends on it */
        case 'R':
                r = root_parse(value);
                if (r == 0)
                        a->root = value;
                return r;
        default:
                return -EINVAL;
        }
}

int arguments_parse(int argc, char *const argv[], struct arguments *ret) {
        static const char keys[] = "PIFdsugtchR";
        static const char optional[] = "FR";
        bool seen[sizeof(keys)] = { false };
        int i, r = 0;

        *ret = (struct arguments){ .pid_fd = -1, .dump_mode = DUMP_MODE_UNKNOWN, .root = "" };

        if (argc < 2 || strcmp(argv[1], ARGUMENTS_VERSION) != 0)
                r = -EINVAL; /* go on: R= says where the record belongs */
        for (i = 2; i < argc && strcmp(argv[i], "--") != 0; i++) {
                const char *key = argv[i][0] ? strchr(keys, argv[i][0]) : NULL;

                if (!key || argv[i][1] != '=' || seen[key - keys] ||
                    argument_take(*key, argv[i] + 2, ret) < 0) {
                        r = -EINVAL;
                        continue;
                }
                seen[key - keys] = true;
        }
        for (const char *key = keys; *key; key++)
                if (!seen[key - keys] && !strchr(optional, *key))
                        r = -EINVAL;

        /* Exactly one argument stands behind the dashes, and it may hold anything. */
        if (i + 2 != argc)
                return -EINVAL;
        ret->comm = (struct record_text){ argv[i + 1], strlen(argv[i + 1]) };
        return r;
}

/* --- identity --------------------------------------------------------------------------------- */

#define STATUS_MAX (64U << 10) /* bytes of /proc/PID/status or fdinfo; a page or two in truth */

/* PIDFD_GET_INFO (6.13), its coredump word (6.16): include/uapi/linux/pidfd.h. The size is part
 * of the number; an older kernel fills what it knows and says so in `mask`. */
struct pidfd_info_v1 {
        uint64_t mask;
        uint64_t cgroupid;
        uint32_t pid, tgid, ppid;
        uint32_t ids[8];
        int32_t exit_code;
        uint32_t coredump_mask;
        uint32_t spare;
};
_Static_assert(sizeof(struct pidfd_info_v1) == 72, "PIDFD_INFO_SIZE_VER1");

#define PIDFD_GET_INFO_V1 _IOWR(0xFF, 11, struct pidfd_info_v1)
#define PIDFD_INFO_COREDUMP_MASK (1ULL << 4)
#define PIDFD_COREDUMP_USER_MASK (1U << 2)
#define PIDFD_COREDUMP_ROOT_MASK (1U << 3)

static int dump_mode_ask(int pid_fd, int argument) {
        struct pidfd_info_v1 info = { .mask = PIDFD_INFO_COREDUMP_MASK };

        if (ioctl(pid_fd, PIDFD_GET_INFO_V1, &info) < 0 || !(info.mask & PIDFD_INFO_COREDUMP_MASK))
                return argument;
        if (info.coredump_mask & PIDFD_COREDUMP_ROOT_MASK)
                return DUMP_MODE_ROOT;
        if (info.coredump_mask & PIDFD_COREDUMP_USER_MASK)
                return DUMP_MODE_USER;
        return DUMP_MODE_NONE;
}

/* The process a pidfd stands for, while it exists: its number cannot have been given away.
 * -ESRCH when it was reaped, -EBADF when it is no pidfd. */
static int pid_fd_check(int pid_fd, pid_t pid) {
        _cleanup_free_ char *text = NULL;
        char path[sizeof("/proc/self/fdinfo/") + 11], want[32];
        const char *line;
        size_t size = 0;
        int r;

        (void)snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pid_fd);
        r = io_read_path(AT_FDCWD, path, STATUS_MAX, &text, &size);
        if (r < 0)
                return r;
        line = strstr(text, "\nPid:\t");
        if (!line)
                return -EBADF;
        (void)snprintf(want, sizeof(want), "\nPid:\t%d\n", (int)pid);
        return strncmp(line, want, strlen(want)) == 0 ? 0 : -ESRCH;
}

int identity_check(const struct identity *identity) {
        return pid_fd_check(identity->pid_fd, identity->info.pid);
}

/* Says the kernel that this thread's memory is being dumped? A process that took over the number
 * of one killed meanwhile is not. comm cannot forge the line: status escapes newlines. */
static int dumping_check(int dir_fd) {
        _cleanup_free_ char *text = NULL;
        size_t size = 0;
        int r = io_read_path(dir_fd, "status", STATUS_MAX, &text, &size);

        if (r < 0)
                return r;
        return strstr(text, "\nCoreDumping:\t1\n") ? 0 : -ENXIO;
}

static int directory_open(int dir_fd, const char *path, int *ret) {
        int fd = openat(dir_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

        if (fd < 0)
                return errno == ENOENT ? -ESRCH : -errno;
        *ret = fd;
        return 0;
}

/* /proc/PID shows no memory when the main thread has ended and others went on: then the crashing
 * thread's own directory does. The start time stays the process's. */
static int thread_read(const struct arguments *arguments, struct identity *identity) {
        uint64_t start_ticks = identity->info.start_ticks;
        char path[sizeof("task/") + 11];
        int r;

        (void)snprintf(path, sizeof(path), "task/%d", (int)arguments->tid);
        r = directory_open(identity->proc_fd, path, &identity->memory_fd);
        if (r < 0)
                return r;
        procinfo_done(&identity->info);
        r = procinfo_read(identity->memory_fd, &identity->info);
        identity->info.pid = arguments->pid;
        identity->info.start_ticks = start_ticks;
        return r;
}

/* The name that %e names, as it is: the kernel puts no '/' into %e. The file ends with a newline
 * of the kernel's own. Without it %e has to do. */
static void comm_read(const struct arguments *arguments, struct identity *identity) {
        _cleanup_free_ char *text = NULL;
        char path[sizeof("task//comm") + 11];
        size_t size = 0;

        (void)snprintf(path, sizeof(path), "task/%d/comm", (int)arguments->tid);
        if (io_read_path(identity->proc_fd, path, COMM_MAX, &text, &size) < 0 || size == 0)
                return;
        identity->comm_size = size - 1;
        memcpy(identity->comm, text, identity->comm_size);
        identity->has_comm = true;
}

int identity_read(const struct arguments *arguments, struct identity *ret) {
        char path[sizeof("/proc/") + 11];
        int r;

        *ret = (struct identity){ .pid_fd = arguments->pid_fd,
                                  .proc_fd = -1,
                                  .memory_fd = -1,
                                  .dump_mode = arguments->dump_mode };
        if (ret->pid_fd < 0)
                ret->pid_fd = (int)syscall(SYS_pidfd_open, arguments->pid, 0);
        if (ret->pid_fd < 0)
                return -errno;
        ret->dump_mode = dump_mode_ask(ret->pid_fd, arguments->dump_mode);

        (void)snprintf(path, sizeof(path), "/proc/%d", (int)arguments->pid);
        r = directory_open(AT_FDCWD, path, &ret->proc_fd);
        if (r < 0)
                return r;
        /* Now, not before: it is alive behind the open, so the directory is its own. */
        r = pid_fd_check(ret->pid_fd, arguments->pid);
        if (r < 0)
                return r;

        comm_read(arguments, ret);
        r = procinfo_read(ret->proc_fd, &ret->info);
        if (r >= 0 && ret->info.pid != arguments->pid)
                return -ESRCH;
        if (ret->info.auxv_size == 0)
                r = thread_read(arguments, ret);
        else
                ret->memory_fd = fcntl(ret->proc_fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
        if (r < 0)
                return r;
        if (ret->memory_fd < 0)
                return -errno;
        if (ret->info.auxv_size == 0)
                return -ESRCH;
        return dumping_check(ret->memory_fd);
}

void identity_done(struct identity *identity) {
        procinfo_done(&identity->info);
        cleanup_close(&identity->memory_fd);
        cleanup_close(&identity->proc_fd);
        cleanup_close(&identity->pid_fd);
}

int identity_open_memory(const struct identity *identity, int *ret_mem_fd, int *ret_pagemap_fd) {
        _cleanup_close_ int mem = openat(identity->memory_fd, "mem", O_RDONLY | O_CLOEXEC);
        _cleanup_close_ int pagemap = -1;

        if (mem < 0)
                return -errno;
        pagemap = openat(identity->memory_fd, "pagemap", O_RDONLY | O_CLOEXEC);
        if (pagemap < 0)
                return -errno;
        *ret_mem_fd = TAKE_FD(mem);
        *ret_pagemap_fd = TAKE_FD(pagemap);
        return 0;
}
