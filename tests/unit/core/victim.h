/* victim: a child of a unit test that is stopped like a crashed process, with the head and notes
 * that the kernel would write for it, made from /proc and ptrace. No core_pattern, no core file.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/head.h"
#include "core/note.h"

#define VICTIM_THREADS_MAX 8U

/* What the child tells its parent: one per thread, in shared memory. */
struct victim_word {
        uint64_t frames;         /* that libgcc's unwinder shows from where the thread stops */
        uint64_t return_address; /* where the return address of its frame 0 lies */
        uint64_t tid;
};

struct victim {
        pid_t pid;
        int mem_fd;
        struct victim_word *words; /* shared; [0] is the main thread's */
        struct core_head head;
        struct core_notes notes;
        char *maps; /* what the names point into */
        uint8_t *auxv;
};

/* Runs in the child's main thread; must end in victim_stop() or start threads that do. */
typedef void (*victim_main)(struct victim_word *words);

/* Forks, waits until `n_threads` threads have stopped, and takes the picture. */
void victim_start(struct victim *victim, victim_main run, size_t n_threads);

/* The same with a program that is stopped as it enters system call `number`. */
void victim_exec(struct victim *victim, const char *const argv[], unsigned long number);

/* Takes head and notes (again) of a child whose threads all are in ptrace stops. */
void victim_picture(struct victim *victim);

/* Kills, reaps and frees. */
void victim_end(struct victim *victim);

/* For the child: notes how deep this thread stands, and stops for good. */
void victim_stop(struct victim_word *word);

/* An unwind_read: raw memory; userdata is the victim. */
int victim_read(void *userdata, uint64_t address, void *buf, size_t n);
