/* note: the notes of a core, found through a bounds-checked cursor.
 *
 * Nothing is copied: pointers go into the bytes handed in, which must outlive the result.
 * Offsets are those of the file, so that what is found here can be erased there.
 * Sources: gABI note section, binfmt_elf.c:fill_note_info(), linux/elfcore.h.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/user.h>

#include "core/head.h"

#define CORE_THREADS_MAX 65536U        /* NT_PRSTATUS notes */
#define CORE_NOTE_COUNT_MAX (1U << 20) /* notes of all types: a thread has at most about eight */

struct core_note {
        uint32_t type;
        bool is_core;    /* name is "CORE" or "LINUX", the kernel's own; else a stranger's */
        uint64_t offset; /* of the descriptor */
        size_t size;     /* bytes of the descriptor */
        const uint8_t *desc;
};

struct core_thread {
        pid_t tid;            /* as the process sees it */
        uint64_t regs_offset; /* file offset of pr_reg, a struct user_regs_struct */
        struct user_regs_struct regs;
};

struct core_file {            /* one entry of NT_FILE */
        uint64_t start, end;  /* addresses */
        uint64_t file_offset; /* bytes */
        const char *name;     /* NUL-terminated, the process's choice */
};

struct core_notes {
        struct core_note *notes;
        size_t n_notes;
        struct core_thread *threads; /* the crashing one first, as the kernel orders them */
        size_t n_threads;
        struct core_file *files; /* by address */
        size_t n_files;
        bool has_files; /* false: the kernel left NT_FILE out, nothing may be taken for anonymous */
        uint64_t names_offset, names_size; /* NT_FILE's path strings in the file */
        const uint8_t *auxv;
        size_t auxv_size;
        pid_t pid;  /* NT_PRPSINFO, as the process sees it; 0 when there is none */
        int signal; /* si_signo, 0 when there is none */
};

/* Parses the note segment of a head, or of a copy of its bytes (`bytes`, head->size long) that
 * has been redacted. Returns 0, -EBADMSG with *ret_fault, -E2BIG, or -ENOMEM. */
int core_notes_parse(const struct core_head *head, const uint8_t *bytes, struct core_notes **ret,
                     struct core_fault *ret_fault);
void core_notes_free(struct core_notes *notes);

/* The value of an auxiliary vector entry (AT_*), 0 when absent. */
uint64_t core_auxv(const struct core_notes *notes, uint64_t type);

/* The mapped file that holds `address`, or NULL. */
const struct core_file *core_file_at(const struct core_notes *notes, uint64_t address);
