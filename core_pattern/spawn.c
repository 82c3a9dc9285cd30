#include "core_pattern/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/io.h"
#include "base/paths.h"

/* Descriptors are first copied up here, above every fixed number of the worker, so that moving
 * one down never overwrites another that is still to be moved. */
#define FD_PARKING 64
_Static_assert(WORKER_FD_NEEDLES + BRIEF_FILES_MAX < FD_PARKING, "parking overlaps the targets");

/* How long a killed worker may take to be gone: it may sit in a read of a slow file system. */
#define KILL_WAIT_MS 2000

int worker_open(int *ret_fd) {
        char path[PATH_MAX];
        ssize_t n = readlink("/proc/self/exe", path, sizeof(path));
        char *slash;
        int fd;

        if (n < 0)
                return -errno;
        if ((size_t)n >= sizeof(path) - sizeof(PROGRAM_WORKER))
                return -ENAMETOOLONG;
        path[n] = '\0';
        slash = strrchr(path, '/');
        if (!slash)
                return -ENOENT;
        memcpy(slash + 1, PROGRAM_WORKER, sizeof(PROGRAM_WORKER));
        fd = open(path, O_PATH | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
                return -errno;
        *ret_fd = fd;
        return 0;
}

int worker_user(const char *root, uid_t *ret_uid, gid_t *ret_gid) {
        _cleanup_fclose_ FILE *file = NULL;
        char path[PATH_MAX];
        int n = snprintf(path, sizeof(path), "%s/etc/passwd", root);

        if (n < 0 || (size_t)n >= sizeof(path))
                return -ENAMETOOLONG;
        file = fopen(path, "re");
        if (!file)
                return -errno;
        for (;;) {
                const struct passwd *entry;

                errno = 0;
                entry = fgetpwent(file);
                if (!entry)
                        return errno && errno != ENOENT ? -errno : -ENOENT;
                if (strcmp(entry->pw_name, CORESIEVE_USER) != 0)
                        continue;
                if (entry->pw_uid == 0 || entry->pw_gid == 0)
                        return -EPERM;
                *ret_uid = entry->pw_uid;
                *ret_gid = entry->pw_gid;
                return 0;
        }
}

/* Sealed, so that the worker can take it for what the helper meant, whatever happens later. */
static int brief_seal(const struct brief *brief, int *ret_fd) {
        _cleanup_close_ int fd = memfd_create("brief", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        int r;

        if (fd < 0)
                return -errno;
        r = io_write(fd, brief, sizeof(*brief));
        if (r < 0)
                return r;
        if (lseek(fd, 0, SEEK_SET) < 0)
                return -errno;
        if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0)
                return -errno;
        *ret_fd = TAKE_FD(fd);
        return 0;
}

/* --- in the child ----------------------------------------------------------------------------- */

struct move {
        int from, to;
};

/* Leaves exactly the worker's descriptors open. */
static int descriptors_arrange(const struct worker_job *job, int program_fd, int brief_fd,
                               int result_fd, int *ret_program_fd) {
        struct move moves[WORKER_FD_NEEDLES + BRIEF_FILES_MAX] = {
                { job->stream_fd, WORKER_FD_STREAM },   { job->out_fd, WORKER_FD_OUT },
                { job->log_fd, WORKER_FD_LOG },         { brief_fd, WORKER_FD_BRIEF },
                { result_fd, WORKER_FD_RESULT },        { job->mem_fd, WORKER_FD_MEM },
                { job->pagemap_fd, WORKER_FD_PAGEMAP },
        };
        size_t n = WORKER_FD_NEEDLES;
        int program;

        for (size_t i = 0; i < job->brief->n_files; i++)
                moves[n++] = (struct move){ job->needle_fds[i], WORKER_FD_NEEDLES + (int)i };

        for (size_t i = 0; i < n; i++) {
                if (moves[i].from < 0)
                        continue; /* offline: there is no process to read from */
                moves[i].from = fcntl(moves[i].from, F_DUPFD_CLOEXEC, FD_PARKING);
                if (moves[i].from < 0)
                        return -errno;
        }
        program = fcntl(program_fd, F_DUPFD_CLOEXEC, FD_PARKING);
        if (program < 0)
                return -errno;

        if (close_range(0, FD_PARKING - 1, 0) < 0)
                return -errno;
        for (size_t i = 0; i < n; i++)
                if (moves[i].from >= 0 && dup2(moves[i].from, moves[i].to) < 0)
                        return -errno;
        if (close_range(FD_PARKING, ~0U, CLOSE_RANGE_CLOEXEC) < 0)
                return -errno;
        *ret_program_fd = program;
        return 0;
}

/* Signals as a fresh program expects them, but for two that must not end a worker silently: a
 * full output is an errno (EFBIG), not a death. Ignoring survives exec. */
static int signals_arrange(void) {
        sigset_t none;

        if (sigemptyset(&none) < 0 || sigprocmask(SIG_SETMASK, &none, NULL) < 0)
                return -errno;
        if (signal(SIGXFSZ, SIG_IGN) == SIG_ERR || signal(SIGPIPE, SIG_IGN) == SIG_ERR)
                return -errno;
        return 0;
}

static _Noreturn void child_main(int program_fd, const struct worker_job *job, int brief_fd,
                                 int result_fd, pid_t parent) {
        char name[] = PROGRAM_WORKER;
        char *argv[] = { name, NULL };
        char *envp[] = { NULL };
        int program = -1;

        if (signals_arrange() < 0 ||
            descriptors_arrange(job, program_fd, brief_fd, result_fd, &program) < 0 ||
            sandbox_drop(job->brief->own_user, job->uid, job->gid, &job->limits) < 0)
                _exit(WORKER_EXIT_SETUP);

        /* After sandbox_drop(): a change of ids clears it. The parent may have died before. */
        if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || getppid() != parent)
                _exit(WORKER_EXIT_SETUP);

        (void)execveat(program, "", argv, envp, AT_EMPTY_PATH); /* returns only to fail */
        _exit(WORKER_EXIT_EXEC);
}

/* --- in the parent ---------------------------------------------------------------------------- */

struct answer {
        unsigned char bytes[sizeof(struct worker_result) + 1]; /* one more: too long is refused */
        size_t size;
};

/* Takes what the pipe has. False when there is no more to come. */
static bool answer_take(int fd, struct answer *answer) {
        ssize_t n;

        if (answer->size == sizeof(answer->bytes))
                return false;
        n = read(fd, answer->bytes + answer->size, sizeof(answer->bytes) - answer->size);
        if (n <= 0)
                return false;
        answer->size += (size_t)n;
        return true;
}

static int wait_ms(uint64_t deadline_ns) {
        uint64_t now = clock_now_ns();

        if (now >= deadline_ns)
                return 0;
        /* Rounded up: a deadline is not reached a moment before it. */
        return (int)((deadline_ns - now) / NS_PER_MS) + 1;
}

/* Waits for the end of the process, taking its answer meanwhile. 0, -ETIME at the deadline, or
 * an errno. */
static int worker_wait(int pid_fd, int result_fd, uint64_t deadline_ns, struct answer *answer) {
        struct pollfd fds[] = {
                { .fd = pid_fd, .events = POLLIN },
                { .fd = result_fd, .events = POLLIN },
        };

        for (;;) {
                int timeout = wait_ms(deadline_ns);
                int n;

                if (timeout == 0)
                        return -ETIME;
                n = poll(fds, ARRAY_SIZE(fds), timeout);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                if (fds[1].revents && !answer_take(result_fd, answer))
                        fds[1].fd = -1; /* poll() skips it: only the end is waited for now */
                if (!fds[0].revents)
                        continue;
                while (fds[1].fd >= 0 && answer_take(result_fd, answer))
                        continue;
                return 0;
        }
}

/* Kills, and waits until it is gone: until then it holds the stream and the output. */
static int worker_kill(pid_t pid, int pid_fd) {
        struct pollfd fds = { .fd = pid_fd, .events = POLLIN };

        /* The process is ours and not waited for, so its number cannot have been given away. */
        if (kill(pid, SIGKILL) < 0)
                return -errno;
        if (pid_fd >= 0 && poll(&fds, 1, KILL_WAIT_MS) == 0)
                return -ETIME;
        return 0;
}

static uint64_t outcome_causes(const siginfo_t *end, const struct worker_job *job,
                               const struct answer *answer, struct worker_outcome *outcome) {
        if (end->si_code != CLD_EXITED) {
                outcome->signal = end->si_status;
                return CAUSE_BIT(CAUSE_WORKER_KILLED);
        }
        switch (end->si_status) {
        case WORKER_EXIT_ANSWERED:
                break;
        case WORKER_EXIT_EXEC:
                return CAUSE_BIT(CAUSE_WORKER_MISSING);
        case WORKER_EXIT_SETUP:
                return CAUSE_BIT(CAUSE_INTERNAL);
        default:
                return CAUSE_BIT(CAUSE_WORKER_FAILED);
        }
        if (answer->size != sizeof(outcome->result))
                return CAUSE_BIT(CAUSE_WORKER_FAILED);
        memcpy(&outcome->result, answer->bytes, sizeof(outcome->result));
        if (!result_valid(&outcome->result, job->brief)) {
                memset(&outcome->result, 0, sizeof(outcome->result));
                return CAUSE_BIT(CAUSE_WORKER_FAILED);
        }
        outcome->answered = true;
        return result_causes(&outcome->result);
}

static uint64_t worker_attend(pid_t pid, int pid_fd, int result_fd, const struct worker_job *job,
                              struct worker_outcome *outcome) {
        struct answer answer = { .size = 0 };
        siginfo_t end = { 0 };
        int r = pid_fd < 0 ? -EBADF : worker_wait(pid_fd, result_fd, job->deadline_ns, &answer);

        if (r < 0) {
                int killed = worker_kill(pid, pid_fd);

                if (killed == 0)
                        (void)waitid(P_PID, (id_t)pid, &end, WEXITED);
                outcome->signal = SIGKILL;
                return r == -ETIME ? CAUSE_BIT(CAUSE_DEADLINE) : CAUSE_BIT(CAUSE_INTERNAL);
        }
        if (waitid(P_PID, (id_t)pid, &end, WEXITED) < 0)
                return CAUSE_BIT(CAUSE_INTERNAL);
        return outcome_causes(&end, job, &answer, outcome);
}

void worker_run(int program_fd, const struct worker_job *job, struct worker_outcome *ret) {
        _cleanup_close_ int brief_fd = -1, result_read = -1, result_write = -1, pid_fd = -1;
        pid_t parent = getpid(), pid;
        int pipe_fds[2];

        memset(ret, 0, sizeof(*ret));
        ret->causes = CAUSE_BIT(CAUSE_INTERNAL);

        if (brief_seal(job->brief, &brief_fd) < 0 || pipe2(pipe_fds, O_CLOEXEC) < 0)
                return;
        result_read = pipe_fds[0];
        result_write = pipe_fds[1];
        /* The answer is smaller than the pipe: only the reading end could wait, and must not. */
        if (fcntl(result_read, F_SETFL, O_NONBLOCK) < 0)
                return;

        pid = fork();
        if (pid < 0)
                return;
        if (pid == 0)
                child_main(program_fd, job, brief_fd, result_write, parent);

        (void)close(TAKE_FD(result_write)); /* so that the pipe ends with the worker */
        pid_fd = (int)syscall(SYS_pidfd_open, pid, 0);
        ret->causes = worker_attend(pid, pid_fd, result_read, job, ret);
}
