/* meddle: runs our helper under ptrace and spoils one system call of one of its processes.
 *
 *     |DIR/t ARGUMENT…         a link to it, as core_pattern; DIR/h is a link to our helper
 *
 * DIR/meddle.conf, one line each:
 *     main ROLE OFFSET      file offset of main() in the program of ROLE: counting starts there
 *     do ROLE N ACTION ARG  at the Nth system call of ROLE (1 is the first)
 * ROLE: helper; spawn (its child before exec); worker.
 * ACTION: error ERRNO, the call does not happen and fails; fail-flush ERRNO, the same, and N
 *         counts only fsync and fdatasync; signal SIGNO, sent to the process;
 *         victim SIGNO, sent to the dying process; call NAME, another system call happens instead
 *         (open socket execve ptrace fork process_vm_readv kill); pause MS, the call waits.
 *
 * DIR/meddle.log says what was counted and done: "count ROLE N", "did ROLE N NR PID", "end
 * ROLE STATUS". A failed call is replaced by read(-1): under a seccomp filter that kills, -1 as a
 * number would be killed itself, and every filter of ours allows read.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define TRACEES_MAX 16
#define LOG_FD 61

enum role { HELPER, SPAWN, WORKER, _ROLE_MAX };
static const char *const role_names[] = { "helper", "spawn", "worker" };

struct tracee {
        pid_t pid;
        enum role role;
        int counting, inside; /* inside: between entry and exit of a call */
        int replaced;         /* errno to return at exit, 0 none */
        unsigned long breakpoint;
        long original;
};

struct plan {
        unsigned long main_offset[_ROLE_MAX];
        enum role role;
        unsigned n;
        char action[16], arg[32];
};

static struct tracee tracees[TRACEES_MAX];
static unsigned counts[_ROLE_MAX], flushes;
static pid_t victim;

static void note(const char *format, ...) {
        va_list args;

        va_start(args, format);
        vdprintf(LOG_FD, format, args);
        va_end(args);
}

static enum role role_of(const char *name) {
        for (int i = 0; i < _ROLE_MAX; i++)
                if (strcmp(name, role_names[i]) == 0)
                        return (enum role)i;
        note("error unknown role %s\n", name);
        _exit(2);
}

static struct tracee *find(pid_t pid) {
        for (size_t i = 0; i < TRACEES_MAX; i++)
                if (tracees[i].pid == pid)
                        return &tracees[i];
        return NULL;
}

static struct tracee *add(pid_t pid, enum role role, int counting) {
        for (size_t i = 0; i < TRACEES_MAX; i++)
                if (!tracees[i].pid) {
                        tracees[i] =
                                (struct tracee){ .pid = pid, .role = role, .counting = counting };
                        return &tracees[i];
                }
        note("error too many processes\n");
        _exit(2);
}

static void break_at_main(struct tracee *t, const struct plan *plan) {
        char path[64], line[512];
        unsigned long base = 0;
        FILE *maps;

        snprintf(path, sizeof(path), "/proc/%d/maps", t->pid);
        maps = fopen(path, "re");
        if (maps && fgets(line, sizeof(line), maps))
                base = strtoul(line, NULL, 16);
        if (maps)
                fclose(maps);
        t->counting = 0;
        t->inside = 1; /* the exec itself is still to return */
        t->breakpoint = base + plan->main_offset[t->role];
        errno = 0;
        t->original = ptrace(PTRACE_PEEKTEXT, t->pid, t->breakpoint, 0);
        if (errno || ptrace(PTRACE_POKETEXT, t->pid, t->breakpoint, (t->original & ~0xffL) | 0xcc))
                note("error breakpoint at %#lx: %s\n", t->breakpoint, strerror(errno));
}

static void reach_main(struct tracee *t) {
        struct user_regs_struct regs;

        ptrace(PTRACE_GETREGS, t->pid, 0, &regs);
        ptrace(PTRACE_POKETEXT, t->pid, t->breakpoint, t->original);
        regs.rip = t->breakpoint;
        ptrace(PTRACE_SETREGS, t->pid, 0, &regs);
        t->breakpoint = 0;
        t->counting = 1;
}

static void other_call(struct user_regs_struct *regs, const char *name) {
        static const struct {
                const char *name;
                long nr;
        } calls[] = {
                { "open", SYS_open },     { "openat", SYS_openat },
                { "socket", SYS_socket }, { "execve", SYS_execve },
                { "ptrace", SYS_ptrace }, { "fork", SYS_fork },
                { "clone", SYS_clone },   { "process_vm_readv", SYS_process_vm_readv },
                { "kill", SYS_kill },
        };

        for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
                if (strcmp(calls[i].name, name) == 0) {
                        *regs = (struct user_regs_struct){ .rip = regs->rip,
                                                           .rsp = regs->rsp,
                                                           .rbp = regs->rbp,
                                                           .eflags = regs->eflags,
                                                           .cs = regs->cs,
                                                           .ss = regs->ss,
                                                           .fs_base = regs->fs_base,
                                                           .gs_base = regs->gs_base };
                        regs->orig_rax = (unsigned long)calls[i].nr;
                        regs->rax = (unsigned long)-ENOSYS;
                        return;
                }
        note("error unknown call %s\n", name);
}

static void meddle(struct tracee *t, const struct plan *plan) {
        struct user_regs_struct regs;

        ptrace(PTRACE_GETREGS, t->pid, 0, &regs);
        note("did %s %u %lld %d\n", role_names[t->role], plan->n, (long long)regs.orig_rax, t->pid);
        if (strcmp(plan->action, "error") == 0 || strcmp(plan->action, "fail-flush") == 0) {
                regs.orig_rax = SYS_read;
                regs.rdi = (unsigned long)-1;
                ptrace(PTRACE_SETREGS, t->pid, 0, &regs);
                t->replaced = atoi(plan->arg);
        } else if (strcmp(plan->action, "signal") == 0) {
                kill(t->pid, atoi(plan->arg));
        } else if (strcmp(plan->action, "victim") == 0) {
                kill(victim, atoi(plan->arg));
                usleep(100000); /* its memory goes at once, but not in no time */
        } else if (strcmp(plan->action, "pause") == 0) {
                usleep((useconds_t)atoi(plan->arg) * 1000);
        } else {
                other_call(&regs, plan->arg);
                ptrace(PTRACE_SETREGS, t->pid, 0, &regs);
        }
}

/* Is this call one that the plan counts, and the one it means? */
static int is_meant(const struct tracee *t, const struct plan *plan) {
        struct user_regs_struct regs;

        if (t->role != plan->role)
                return 0;
        if (strcmp(plan->action, "fail-flush") != 0)
                return counts[t->role] == plan->n;
        ptrace(PTRACE_GETREGS, t->pid, 0, &regs);
        return (regs.orig_rax == SYS_fsync || regs.orig_rax == SYS_fdatasync) &&
               ++flushes == plan->n;
}

static void at_call(struct tracee *t, const struct plan *plan) {
        struct user_regs_struct regs;

        t->inside = !t->inside;
        if (t->inside && t->counting) {
                counts[t->role]++;
                if (is_meant(t, plan))
                        meddle(t, plan);
        }
        if (!t->inside && t->replaced) {
                ptrace(PTRACE_GETREGS, t->pid, 0, &regs);
                regs.rax = (unsigned long)-t->replaced;
                ptrace(PTRACE_SETREGS, t->pid, 0, &regs);
                t->replaced = 0;
        }
}

static void trace(pid_t helper, const struct plan *plan) {
        const long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |
                             PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL;
        struct tracee *t;
        int status;
        pid_t pid;

        waitpid(helper, &status, 0);
        ptrace(PTRACE_SETOPTIONS, helper, 0, options);
        t = add(helper, HELPER, 0);
        break_at_main(t, plan);
        t->inside = 0; /* stopped behind the exec, whose return is not seen */
        ptrace(PTRACE_SYSCALL, helper, 0, 0);

        while ((pid = waitpid(-1, &status, __WALL)) > 0) {
                int event = status >> 16, deliver = 0;

                t = find(pid);
                if (!t)
                        t = add(pid, SPAWN,
                                1); /* its first stop may come before its parent's event */
                if (WIFEXITED(status) || WIFSIGNALED(status)) {
                        note("end %s %s %d\n", role_names[t->role],
                             WIFEXITED(status) ? "exit" : "signal",
                             WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
                        t->pid = 0;
                        continue;
                }
                if (WSTOPSIG(status) == (SIGTRAP | 0x80)) {
                        at_call(t, plan);
                } else if (event == PTRACE_EVENT_EXEC) {
                        t->role = WORKER;
                        break_at_main(t, plan);
                } else if (event) {
                        ; /* a new process: its own stop follows */
                } else if (WSTOPSIG(status) == SIGTRAP && t->breakpoint) {
                        reach_main(t);
                } else if (WSTOPSIG(status) != SIGSTOP) {
                        deliver = WSTOPSIG(status);
                }
                ptrace(PTRACE_SYSCALL, pid, 0, deliver);
        }
}

static void read_plan(const char *dir, struct plan *plan) {
        char path[4096], line[128], role[16];
        unsigned long offset;
        FILE *f;

        snprintf(path, sizeof(path), "%s/meddle.conf", dir);
        f = fopen(path, "re");
        while (f && fgets(line, sizeof(line), f)) {
                if (sscanf(line, "main %15s %lx", role, &offset) == 2)
                        plan->main_offset[role_of(role)] = offset;
                else if (sscanf(line, "do %15s %u %15s %31s", role, &plan->n, plan->action,
                                plan->arg) == 4)
                        plan->role = role_of(role);
        }
        if (f)
                fclose(f);
}

int main(int argc, char **argv) {
        struct plan plan = { 0 };
        char path[4096], dir[2048], program[4096];
        pid_t helper;
        int fd;

        if (argc < 2 || !strrchr(argv[0], '/'))
                return 2;
        snprintf(dir, sizeof(dir), "%.*s", (int)(strrchr(argv[0], '/') - argv[0]), argv[0]);
        snprintf(program, sizeof(program), "%s/h", dir);
        while ((fd = open("/dev/null", O_RDWR)) >= 0 && fd <= 2)
                ;
        close(fd);
        for (int i = 1; i < argc; i++)
                if (strncmp(argv[i], "P=", 2) == 0)
                        victim = atoi(argv[i] + 2);
        snprintf(path, sizeof(path), "%s/meddle.log", dir);
        fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
        if (fd < 0 || dup3(fd, LOG_FD, O_CLOEXEC) < 0)
                return 1;
        close(fd);
        read_plan(dir, &plan);

        helper = fork();
        if (helper == 0) {
                close(1);
                close(2);
                ptrace(PTRACE_TRACEME, 0, 0, 0);
                argv[0] = program;
                execv(program, argv);
                _exit(127);
        }
        /* Ours must go, or the dying process would wait for us and not for the helper. */
        close(0);
        trace(helper, &plan);
        for (int i = 0; i < _ROLE_MAX; i++)
                note("count %s %u\n", role_names[i], counts[i]);
        note("done\n");
        return 0;
}
