/* initial_strings: arguments and environment, as the kernel put them on the initial stack.
 *
 * binfmt_elf.c:create_elf_tables() leaves, upwards: argc, argv[], NULL, envp[], NULL, the
 * auxiliary vector, the bytes of AT_RANDOM, then all argument and environment strings end to
 * end, and last the executable's path (AT_EXECFN). Programs move the pointers about (getopt,
 * unsetenv) and write titles over the strings; so only argc and argv[0] are taken from the
 * arrays, and the strings are walked where they lie. Pointers that lead elsewhere are followed:
 * nginx keeps its environment in the heap. Not found: copies that no pointer of the initial
 * arrays leads to (PostgreSQL makes an array of its own before it writes its title).
 *
 * Stay: argv[0], variable names, values of allow-listed variables, AT_EXECFN. If the layout is
 * not found every string is erased.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/head.h"
#include "core/note.h"
#include "secret/needle.h"
#include "sieve/range_set.h"
#include "sieve/reason.h"
#include "sieve/source.h"

/* The kernel's own limit on arguments and environment is 6 MiB (3/4 of _STK_LIM). */
#define INITIAL_STRINGS_MAX (8U << 20)
#define INITIAL_ARRAYS_MAX (8U << 20) /* bytes of argv[], envp[] and the auxiliary vector */
#define INITIAL_ARGC_MAX (1U << 20)

struct initial_string {
        uint64_t address, size; /* without the NUL; anywhere in memory */
        enum reason reason;
};

struct initial_strings {
        struct initial_string *erased;
        size_t n, room;
        bool unhunted; /* the set of needles had no room for some value */
};

/* Finds what to erase, adds what stays to `keep` and every erased value to `needles`, as long as
 * there is room. 0 also
 * when there is no initial stack in the core; -E2BIG when the strings elsewhere are more than
 * INITIAL_STRINGS_MAX bytes. */
int initial_strings_find(const struct core_head *head, const struct core_notes *notes,
                         struct source *source, char *const *environment,
                         struct needle_set *needles, uint16_t origin, struct range_set *keep,
                         struct initial_strings *ret);
void initial_strings_done(struct initial_strings *strings);
