#include "sieve/initial_strings.h"

#include <elf.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/cursor.h"

#define WORD 8U
#define AUXV_ENTRY (2U * WORD)
#define STRINGS_FIRST 64U /* room made at first; doubled as needed */

/* How far below AT_RANDOM's bytes the auxiliary vector may begin, besides its own size: padding,
 * and what ld.so leaves when it is run by hand and moves the arrays down by its own arguments. */
#define AUXV_SLACK (64U << 10)

#define PAGE 4096U          /* a read that stays in one page either works or does not */
#define PATH_SIZE_MAX 4096U /* AT_EXECFN, with its NUL */

struct finder {
        const struct core_head *head;
        const struct core_notes *notes;
        struct source *source;
        char *const *environment;
        struct needle_set *needles;
        uint16_t origin;
        struct range_set *keep;
        struct initial_strings *found;
        const struct segment *segment; /* of the initial stack */
        uint64_t end;                  /* of what the file holds of it, an address */
        uint64_t random, execfn;       /* addresses */
};

/* argc, argv[], envp[], as they stand below the auxiliary vector. */
struct arrays {
        uint8_t *bytes; /* from argc on */
        size_t size;
        uint64_t argc;
};

static inline void arrays_done(struct arrays *arrays) {
        free(arrays->bytes);
}

static uint64_t word_at(const uint8_t *bytes) {
        uint64_t word;

        memcpy(&word, bytes, sizeof(word));
        return le64toh(word);
}

static bool inside(const struct finder *f, uint64_t address) {
        return address >= f->segment->address && address < f->end;
}

/* Reads [start, end) of the initial stack's segment. */
static int read_stack(const struct finder *f, uint64_t start, uint64_t end, uint8_t **ret) {
        _cleanup_free_ uint8_t *buf = malloc(end - start + 1);
        int r;

        if (!buf)
                return -ENOMEM;
        r = source_read(f->source, f->segment->offset + (start - f->segment->address), buf,
                        end - start);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(buf);
        return 0;
}

static int erase(const struct finder *f, uint64_t address, uint64_t size, enum reason reason) {
        struct initial_strings *found = f->found;

        if (size == 0)
                return 0;
        if (found->n == found->room) {
                size_t room = found->room ? found->room * 2 : STRINGS_FIRST;
                struct initial_string *grown =
                        reallocarray(found->erased, room, sizeof(*found->erased));

                if (!grown)
                        return -ENOMEM;
                found->erased = grown;
                found->room = room;
        }
        found->erased[found->n++] = (struct initial_string){ address, size, reason };
        return 0;
}

/* A value that finds no room is erased where it lies all the same. */
static int hunt_value(const struct finder *f, const uint8_t *value, size_t size) {
        int r = needle_set_add_value(f->needles, value, size, f->origin);

        if (r != -E2BIG)
                return r;
        f->found->unhunted = true;
        return 0;
}

/* The NUL stays: what is left is still a list of strings. */
static int erase_value(const struct finder *f, uint64_t address, const uint8_t *value, size_t size,
                       enum reason reason) {
        int r = hunt_value(f, value, size);

        if (r < 0)
                return r;
        r = range_set_add(f->keep, address + size, 1);
        if (r < 0)
                return r;
        return erase(f, address, size, reason);
}

static bool stays(const struct finder *f, const uint8_t *name, size_t size) {
        for (char *const *p = f->environment; p && *p; p++)
                if (strlen(*p) == size && memcmp(*p, name, size) == 0)
                        return true;
        return false;
}

static int take_variable(const struct finder *f, uint64_t address, const uint8_t *text,
                         size_t size) {
        const uint8_t *equals = memchr(text, '=', size);
        size_t name;
        int r;

        if (!equals)
                return erase_value(f, address, text, size, REASON_ENVIRONMENT);
        name = (size_t)(equals - text);
        if (stays(f, text, name))
                return range_set_add(f->keep, address, size + 1);
        r = range_set_add(f->keep, address, name + 1);
        if (r < 0)
                return r;
        return erase_value(f, address + name + 1, equals + 1, size - name - 1, REASON_ENVIRONMENT);
}

/* The strings from argv[0] on, end to end. `bytes` is what stands at `start`. */
static int walk_strings(const struct finder *f, uint64_t start, const uint8_t *bytes, size_t size,
                        uint64_t argc) {
        uint64_t index = 0;
        size_t at = 0;

        while (at < size) {
                const uint8_t *text = bytes + at;
                size_t left = size - at, length;
                uint64_t address = start + at;
                int r;

                /* A title may have been written over the strings up to the path. */
                if (address < f->execfn && f->execfn - address < left)
                        left = f->execfn - address;
                length = strnlen((const char *)text, left);
                if (address == f->execfn || index == 0)
                        r = range_set_add(f->keep, address, length + 1);
                else if (length == 0)
                        r = 0;
                else if (index < argc)
                        r = erase_value(f, address, text, length, REASON_ARGUMENT);
                else
                        r = take_variable(f, address, text, length);
                if (r < 0)
                        return r;
                index++;
                at += length < left ? length + 1 : length;
        }
        return 0;
}

/* Does the auxiliary vector stand at `bytes`? ld.so, when run by hand, mends values in place: the
 * types in their order and AT_RANDOM's value are what nothing else repeats. */
static bool is_auxv(const struct finder *f, const uint8_t *bytes, size_t entries) {
        for (size_t i = 0; i < entries; i++) {
                const uint8_t *ours = f->notes->auxv + i * AUXV_ENTRY;
                const uint8_t *theirs = bytes + i * AUXV_ENTRY;

                if (word_at(ours) != word_at(theirs))
                        return false;
                if (word_at(ours) == AT_RANDOM && word_at(ours + WORD) != word_at(theirs + WORD))
                        return false;
        }
        return true;
}

/* Entries of the note's vector, AT_NULL included; 0 when it has no end. */
static size_t auxv_entries(const struct core_notes *notes) {
        for (size_t i = 0; i + AUXV_ENTRY <= notes->auxv_size; i += AUXV_ENTRY)
                if (word_at(notes->auxv + i) == AT_NULL)
                        return i / AUXV_ENTRY + 1;
        return 0;
}

/* 1 and the vector's address, 0 when it is not there, or an error. */
static int find_auxv(const struct finder *f, uint64_t *ret, uint64_t *ret_end) {
        size_t entries = auxv_entries(f->notes), size = entries * AUXV_ENTRY;
        uint64_t top = f->random / WORD * WORD, start = f->segment->address;
        _cleanup_free_ uint8_t *bytes = NULL;
        int r;

        if (entries == 0 || !inside(f, f->random) || size > INITIAL_ARRAYS_MAX)
                return 0;
        if (top - start > size + AUXV_SLACK)
                start = top - size - AUXV_SLACK;
        start = (start + WORD - 1) / WORD * WORD;
        if (top < start + size)
                return 0;
        r = read_stack(f, start, top, &bytes);
        if (r < 0)
                return r;
        for (size_t at = top - start - size + WORD; at >= WORD; at -= WORD)
                if (is_auxv(f, bytes + at - WORD, entries)) {
                        *ret = start + at - WORD;
                        *ret_end = *ret + size;
                        return 1;
                }
        return 0;
}

/* Going down from the vector through envp[] and argv[], the first word too small for a pointer
 * is argc. 1, 0 when the arrays are not as the kernel made them, or an error. */
static int find_arrays(const struct finder *f, uint64_t auxv, struct arrays *ret) {
        uint64_t start = f->segment->address;
        _cleanup_free_ uint8_t *bytes = NULL;
        size_t size;
        int r;

        if (auxv - start > INITIAL_ARRAYS_MAX)
                start = auxv - INITIAL_ARRAYS_MAX;
        start += (auxv - start) % WORD;
        size = auxv - start;
        r = read_stack(f, start, auxv, &bytes);
        if (r < 0)
                return r;
        for (size_t at = size; at >= WORD; at -= WORD) {
                const uint8_t *argc = bytes + at - WORD;
                uint64_t n = word_at(argc);
                size_t above = (size - at) / WORD; /* words between argc and the vector */

                if (n == 0 || n > INITIAL_ARGC_MAX)
                        continue;
                if (n + 1 > above || word_at(argc + (n + 1) * WORD) != 0)
                        return 0;
                ret->size = size - at + WORD;
                ret->argc = n;
                memmove(bytes, argc, ret->size);
                ret->bytes = TAKE_PTR(bytes);
                return 1;
        }
        return 0;
}

/* Reads a string anywhere in memory, up to its NUL or to where nothing is mapped. */
static int read_string(const struct finder *f, uint64_t address, size_t max, uint8_t **ret,
                       size_t *ret_size) {
        _cleanup_free_ uint8_t *text = NULL;
        size_t size = 0;

        for (;;) {
                size_t n = PAGE - (address + size) % PAGE;
                uint8_t *grown = realloc(text, size + n);
                const uint8_t *end;
                int r;

                if (!grown)
                        return -ENOMEM;
                text = grown;
                r = source_read_address(f->source, address + size, text + size, n);
                if (r == -EFAULT || r == -EIO)
                        break;
                if (r < 0)
                        return r;
                end = memchr(text + size, '\0', n);
                if (end) {
                        size = (size_t)(end - text);
                        break;
                }
                size += n;
                if (size > max)
                        return -E2BIG;
        }
        *ret = TAKE_PTR(text);
        *ret_size = size;
        return 0;
}

/* nginx copies its environment to the heap, lets envp[] point there, and writes its title over
 * what the kernel left: such strings are arguments and variables too. */
static int take_outside(const struct finder *f, const struct arrays *arrays, uint64_t argv0) {
        size_t budget = INITIAL_STRINGS_MAX;

        for (size_t i = 2; i < arrays->size / WORD; i++) {
                uint64_t address = word_at(arrays->bytes + i * WORD);
                _cleanup_free_ uint8_t *text = NULL;
                const uint8_t *equals;
                size_t size, name = 0;
                int r;

                if (address == 0 || (address >= argv0 && address < f->end))
                        continue;
                r = read_string(f, address, budget, &text, &size);
                if (r < 0)
                        return r;
                if (size > budget)
                        return -E2BIG;
                budget -= size;
                equals = i > arrays->argc ? memchr(text, '=', size) : NULL;
                if (equals)
                        name = (size_t)(equals - text) + 1;
                if (equals && stays(f, text, name - 1))
                        continue;
                r = hunt_value(f, text + name, size - name);
                if (r < 0)
                        return r;
                r = erase(f, address + name, size - name,
                          i > arrays->argc ? REASON_ENVIRONMENT : REASON_ARGUMENT);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* 1: done; 0: the layout is not the kernel's; or an error. */
static int take_layout(const struct finder *f) {
        _cleanup_(arrays_done) struct arrays arrays = { 0 };
        _cleanup_free_ uint8_t *bytes = NULL;
        uint64_t auxv, auxv_end, argv0;
        int r;

        r = find_auxv(f, &auxv, &auxv_end);
        if (r <= 0)
                return r;
        r = find_arrays(f, auxv, &arrays);
        if (r <= 0)
                return r;
        argv0 = word_at(arrays.bytes + WORD);
        if (argv0 < auxv_end || !inside(f, argv0) || f->end - argv0 > INITIAL_STRINGS_MAX)
                return 0;
        r = read_stack(f, argv0, f->end, &bytes);
        if (r < 0)
                return r;
        r = walk_strings(f, argv0, bytes, f->end - argv0, arrays.argc);
        if (r < 0)
                return r;
        r = take_outside(f, &arrays, argv0);
        return r < 0 ? r : 1;
}

/* Not even the names are safe to keep where nobody knows what is a name; but the path that
 * debuggers open is where the kernel says. */
static int take_all(const struct finder *f) {
        uint64_t start = inside(f, f->random) ? f->random : f->segment->address;
        uint64_t path_end = f->execfn;
        int r;

        if (inside(f, f->execfn) && f->execfn >= start) {
                _cleanup_free_ uint8_t *path = NULL;
                uint64_t n = f->end - f->execfn;

                if (n > PATH_SIZE_MAX)
                        n = PATH_SIZE_MAX;
                r = read_stack(f, f->execfn, f->execfn + n, &path);
                if (r < 0)
                        return r;
                path_end += strnlen((const char *)path, n);
                r = range_set_add(f->keep, f->execfn, path_end - f->execfn + 1);
                if (r < 0)
                        return r;
                r = erase(f, start, f->execfn - start, REASON_ENVIRONMENT);
                if (r < 0)
                        return r;
                start = path_end + 1;
        }
        return start < f->end ? erase(f, start, f->end - start, REASON_ENVIRONMENT) : 0;
}

int initial_strings_find(const struct core_head *head, const struct core_notes *notes,
                         struct source *source, char *const *environment,
                         struct needle_set *needles, uint16_t origin, struct range_set *keep,
                         struct initial_strings *ret) {
        struct initial_strings found = { 0 };
        struct finder f = {
                .head = head,
                .notes = notes,
                .source = source,
                .environment = environment,
                .needles = needles,
                .origin = origin,
                .keep = keep,
                .found = &found,
                .random = core_auxv(notes, AT_RANDOM),
                .execfn = core_auxv(notes, AT_EXECFN),
        };
        int r;

        f.segment = core_segment_at(head, f.random ? f.random : f.execfn);
        if (!f.segment || f.segment->file_size == 0) {
                *ret = found;
                return 0;
        }
        f.end = f.segment->address + f.segment->file_size;
        r = take_layout(&f);
        if (r == 0)
                r = take_all(&f);
        if (r < 0) {
                initial_strings_done(&found);
                return r;
        }
        *ret = found;
        return 0;
}

void initial_strings_done(struct initial_strings *strings) {
        free(strings->erased);
        *strings = (struct initial_strings){ 0 };
}
