#include "victim.h"

#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <unwind.h>

#include <cmocka.h>

#include "base/io.h"

#define MAPS_MAX (1U << 20)
#define AUXV_MAX 4096U
#define SEGMENTS_MAX 2048U
#define POLL_US 2000U
#define POLLS_MAX 5000U

static _Unwind_Reason_Code count_frame(struct _Unwind_Context *context, void *arg) {
        uint64_t *n = arg;

        if (_Unwind_GetIP(context) != 0)
                (*n)++;
        return _URC_NO_REASON;
}

__attribute__((noinline)) void victim_stop(struct victim_word *word) {
        uint64_t frames = 0;
        long r = SYS_pause;

        (void)_Unwind_Backtrace(count_frame, &frames);
        word->return_address = (uint64_t)__builtin_frame_address(0) + sizeof(void *);
        word->tid = (uint64_t)syscall(SYS_gettid);
        __atomic_store_n(&word->frames, frames, __ATOMIC_RELEASE);
        /* The system call stands here and not in libc: this function is frame 0, as it was for
         * the unwinder above. */
        for (;;)
                __asm__ volatile("syscall" : "+a"(r) : : "rcx", "r11", "memory");
}

int victim_read(void *userdata, uint64_t address, void *buf, size_t n) {
        const struct victim *victim = userdata;
        ssize_t k = io_pread(victim->mem_fd, buf, n, address);

        if (k < 0)
                return (int)k;
        return (size_t)k == n ? 0 : -EFAULT;
}

/* --- the picture --- */

static void picture_maps(struct victim *victim) {
        struct core_head *head = &victim->head;
        struct core_notes *notes = &victim->notes;
        char path[64];
        size_t size;

        (void)snprintf(path, sizeof(path), "/proc/%d/maps", victim->pid);
        assert_int_equal(io_read_path(AT_FDCWD, path, MAPS_MAX, &victim->maps, &size), 0);
        head->segments = calloc(SEGMENTS_MAX, sizeof(*head->segments));
        head->by_address = calloc(SEGMENTS_MAX, sizeof(*head->by_address));
        notes->files = calloc(SEGMENTS_MAX, sizeof(*notes->files));
        assert_true(head->segments && head->by_address && notes->files);

        for (char *save = NULL, *line = strtok_r(victim->maps, "\n", &save); line;
             line = strtok_r(NULL, "\n", &save)) {
                struct segment *segment = &head->segments[head->n_segments];
                uint64_t start, end, offset;
                char mode[5];
                int name = 0;

                assert_in_range(head->n_segments, 0, SEGMENTS_MAX - 1);
                assert_int_equal(sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %*s %*s %n",
                                        &start, &end, mode, &offset, &name),
                                 4);
                if (start >> 47)
                        continue;
                *segment = (struct segment){ .type = PT_LOAD,
                                             .flags = (mode[0] == 'r' ? PF_R : 0U) |
                                                      (mode[1] == 'w' ? PF_W : 0U) |
                                                      (mode[2] == 'x' ? PF_X : 0U),
                                             .address = start,
                                             .file_size = end - start,
                                             .memory_size = end - start };
                head->by_address[head->n_by_address++] = (uint32_t)head->n_segments++;
                if (line[name] == '/')
                        notes->files[notes->n_files++] = (struct core_file){ .start = start,
                                                                             .end = end,
                                                                             .file_offset = offset,
                                                                             .name = line + name };
        }
        notes->has_files = true;
}

static void picture_threads(struct victim *victim) {
        struct core_notes *notes = &victim->notes;
        const struct dirent *entry;
        char path[64];
        DIR *dir;

        notes->threads = calloc(VICTIM_THREADS_MAX, sizeof(*notes->threads));
        (void)snprintf(path, sizeof(path), "/proc/%d/task", victim->pid);
        dir = opendir(path);
        assert_true(notes->threads && dir);
        while ((entry = readdir(dir))) {
                struct core_thread *thread = &notes->threads[notes->n_threads];

                if (entry->d_name[0] == '.')
                        continue;
                assert_in_range(notes->n_threads, 0, VICTIM_THREADS_MAX - 1);
                thread->tid = (pid_t)strtol(entry->d_name, NULL, 10);
                assert_int_equal(ptrace(PTRACE_GETREGS, thread->tid, NULL, &thread->regs), 0);
                notes->n_threads++;
        }
        (void)closedir(dir);
}

static void picture_free(struct victim *victim) {
        free(victim->head.segments);
        free(victim->head.by_address);
        free(victim->notes.files);
        free(victim->notes.threads);
        free(victim->maps);
        free(victim->auxv);
        victim->head = (struct core_head){ 0 };
        victim->notes = (struct core_notes){ 0 };
        victim->maps = NULL;
        victim->auxv = NULL;
}

void victim_picture(struct victim *victim) {
        char path[64], *auxv;

        picture_free(victim);
        picture_maps(victim);
        picture_threads(victim);
        (void)snprintf(path, sizeof(path), "/proc/%d/auxv", victim->pid);
        assert_int_equal(io_read_path(AT_FDCWD, path, AUXV_MAX, &auxv, &victim->notes.auxv_size),
                         0);
        victim->auxv = (uint8_t *)auxv;
        victim->notes.auxv = victim->auxv;
        victim->notes.pid = victim->pid;
}

/* --- life and death --- */

static void open_memory(struct victim *victim) {
        char path[64];

        (void)snprintf(path, sizeof(path), "/proc/%d/mem", victim->pid);
        victim->mem_fd = open(path, O_RDONLY | O_CLOEXEC);
        assert_true(victim->mem_fd >= 0);
}

static void stop_thread(pid_t tid) {
        int status;

        assert_int_equal(ptrace(PTRACE_SEIZE, tid, NULL, NULL), 0);
        assert_int_equal(ptrace(PTRACE_INTERRUPT, tid, NULL, NULL), 0);
        assert_int_equal(waitpid(tid, &status, __WALL), tid);
        assert_true(WIFSTOPPED(status));
}

void victim_start(struct victim *victim, victim_main run, size_t n_threads) {
        size_t size = VICTIM_THREADS_MAX * sizeof(*victim->words);

        *victim = (struct victim){ .mem_fd = -1 };
        victim->words = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        assert_true(victim->words != MAP_FAILED);
        victim->pid = fork();
        assert_true(victim->pid >= 0);
        if (victim->pid == 0) {
                (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* no failed test leaves it behind */
                run(victim->words);
                _exit(1);
        }
        for (size_t i = 0, polls = 0; i < n_threads; polls++) {
                assert_in_range(polls, 0, POLLS_MAX);
                if (__atomic_load_n(&victim->words[i].frames, __ATOMIC_ACQUIRE) != 0)
                        i++;
                else
                        (void)usleep(POLL_US);
        }
        open_memory(victim);
        for (size_t i = 0; i < n_threads; i++)
                stop_thread((pid_t)victim->words[i].tid);
        victim_picture(victim);
}

void victim_exec(struct victim *victim, const char *const argv[], unsigned long number) {
        struct user_regs_struct regs;
        int status;

        *victim = (struct victim){ .mem_fd = -1 };
        victim->pid = fork();
        assert_true(victim->pid >= 0);
        if (victim->pid == 0) {
                (void)ptrace(PTRACE_TRACEME, 0, NULL, NULL);
                (void)execv(argv[0], (char *const *)argv);
                _exit(1);
        }
        assert_int_equal(waitpid(victim->pid, &status, 0), victim->pid);
        for (size_t polls = 0;; polls++) {
                assert_true(WIFSTOPPED(status) && polls < POLLS_MAX);
                assert_int_equal(ptrace(PTRACE_SYSCALL, victim->pid, NULL, NULL), 0);
                assert_int_equal(waitpid(victim->pid, &status, 0), victim->pid);
                assert_int_equal(ptrace(PTRACE_GETREGS, victim->pid, NULL, &regs), 0);
                if (regs.orig_rax == number)
                        break;
        }
        open_memory(victim);
        victim_picture(victim);
}

/* A thread that is traced goes only when its tracer has seen it die, and the main thread's end
 * is told after all others'. */
static void reap(pid_t tid) {
        int status;

        while (waitpid(tid, &status, __WALL) == tid && !WIFEXITED(status) && !WIFSIGNALED(status))
                continue;
}

void victim_end(struct victim *victim) {
        if (victim->pid > 0) {
                (void)kill(victim->pid, SIGKILL);
                for (size_t i = 0; i < victim->notes.n_threads; i++) {
                        if (victim->notes.threads[i].tid != victim->pid)
                                reap(victim->notes.threads[i].tid);
                }
                reap(victim->pid);
        }
        picture_free(victim);
        if (victim->mem_fd >= 0)
                (void)close(victim->mem_fd);
        if (victim->words)
                (void)munmap(victim->words, VICTIM_THREADS_MAX * sizeof(*victim->words));
        *victim = (struct victim){ .mem_fd = -1 };
}
