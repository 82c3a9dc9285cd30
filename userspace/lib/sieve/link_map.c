#include "sieve/link_map.h"

#include <elf.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#define PAGE 4096U /* a read that stays in one page either works or does not */

/* The public start of struct link_map and struct r_debug, as debuggers read them. */
struct map_words {
        uint64_t base, name, dynamic, next, previous;
};
struct debug_words {
        uint64_t version, map, brk, state, base; /* int and enum are padded to words */
        uint64_t next;                           /* of r_debug_extended, version 2 and later */
};
#define DEBUG_WORDS_OLD (5U * sizeof(uint64_t))
#define DEBUG_VERSION_EXTENDED 2U

struct closure {
        struct source *source;
        struct range_set *keep;
};

/* 1: read; 0: not there, which ends the part of the closure that needs it; or an error. */
static int read_at(const struct closure *c, uint64_t address, void *buf, size_t n) {
        int r = source_read_address(c->source, address, buf, n);

        if (r == -EFAULT || r == -EIO)
                return 0;
        return r < 0 ? r : 1;
}

static int keep_name(const struct closure *c, uint64_t address) {
        size_t size = 0;

        while (size < LINK_NAME_MAX) {
                uint8_t buf[PAGE];
                const uint8_t *end;
                size_t n = PAGE - (address + size) % PAGE;
                int r;

                if (n > LINK_NAME_MAX - size)
                        n = LINK_NAME_MAX - size;
                r = read_at(c, address + size, buf, n);
                if (r < 0)
                        return r;
                if (r == 0)
                        return 0;
                end = memchr(buf, '\0', n);
                if (end)
                        return range_set_add(c->keep, address, size + (size_t)(end - buf) + 1);
                size += n;
        }
        return 0; /* no path is this long */
}

/* Keeps a .dynamic up to its DT_NULL and tells DT_DEBUG's value, 0 when there is none. */
static int keep_dynamic(const struct closure *c, uint64_t address, uint64_t *ret_debug) {
        uint64_t debug = 0;
        size_t n = 0;
        bool ended = false;

        while (!ended && n < LINK_DYNAMIC_MAX) {
                Elf64_Dyn dyn[PAGE / sizeof(Elf64_Dyn)];
                uint64_t at = address + n * sizeof(dyn[0]);
                size_t block = (PAGE - at % PAGE) / sizeof(dyn[0]);
                int r;

                if (block == 0)
                        block = 1; /* an entry across two pages: not aligned, but readable */
                r = read_at(c, at, dyn, block * sizeof(dyn[0]));
                if (r < 0)
                        return r;
                if (r == 0)
                        break;
                for (size_t i = 0; i < block && !ended; i++, n++) {
                        if (dyn[i].d_tag == DT_DEBUG)
                                debug = dyn[i].d_un.d_ptr;
                        ended = dyn[i].d_tag == DT_NULL;
                }
        }
        *ret_debug = debug;
        return range_set_add(c->keep, address, n * sizeof(Elf64_Dyn));
}

static int keep_maps(const struct closure *c, uint64_t address) {
        for (unsigned i = 0; address != 0 && i < LINK_MAPS_MAX; i++) {
                struct map_words map;
                uint64_t debug;
                int r;

                r = read_at(c, address, &map, sizeof(map));
                if (r <= 0)
                        return r;
                r = range_set_add(c->keep, address, sizeof(map));
                if (r < 0)
                        return r;
                r = keep_name(c, map.name);
                if (r < 0)
                        return r;
                r = keep_dynamic(c, map.dynamic, &debug);
                if (r < 0)
                        return r;
                address = map.next;
        }
        return 0;
}

static int keep_debug(const struct closure *c, uint64_t address) {
        for (unsigned i = 0; address != 0 && i < LINK_NAMESPACES_MAX; i++) {
                struct debug_words debug = { 0 };
                bool extended;
                int r;

                r = read_at(c, address, &debug, DEBUG_WORDS_OLD);
                if (r <= 0)
                        return r;
                extended = (uint32_t)debug.version >= DEBUG_VERSION_EXTENDED;
                if (extended) {
                        r = read_at(c, address, &debug, sizeof(debug));
                        if (r <= 0)
                                return r;
                }
                r = range_set_add(c->keep, address, extended ? sizeof(debug) : DEBUG_WORDS_OLD);
                if (r < 0)
                        return r;
                r = keep_maps(c, debug.map);
                if (r < 0)
                        return r;
                address = extended ? debug.next : 0;
        }
        return 0;
}

/* Where the executable's .dynamic lies. Without PT_PHDR (static PIE) the table is taken to
 * stand right behind the ELF header, as every linker puts it. 1, 0 (none), or an error. */
static int find_dynamic(const struct closure *c, const struct core_notes *notes, uint64_t *ret) {
        uint64_t table = core_auxv(notes, AT_PHDR), n = core_auxv(notes, AT_PHNUM);
        uint64_t base = 0, dynamic = 0;
        bool has_base = false, has_dynamic = false;

        if (table == 0 || n > LINK_PHDRS_MAX || core_auxv(notes, AT_PHENT) != sizeof(Elf64_Phdr))
                return 0;
        for (uint64_t i = 0; i < n; i++) {
                Elf64_Phdr phdr;
                int r = read_at(c, table + i * sizeof(phdr), &phdr, sizeof(phdr));

                if (r <= 0)
                        return r;
                if (phdr.p_type == PT_PHDR) {
                        base = table - phdr.p_vaddr;
                        has_base = true;
                }
                if (phdr.p_type == PT_LOAD && phdr.p_offset == 0 && !has_base) {
                        base = table - sizeof(Elf64_Ehdr) - phdr.p_vaddr;
                        has_base = true;
                }
                if (phdr.p_type == PT_DYNAMIC) {
                        dynamic = phdr.p_vaddr;
                        has_dynamic = true;
                }
        }
        *ret = base + dynamic;
        return has_dynamic ? 1 : 0;
}

int link_map_keep(const struct core_notes *notes, struct source *source, struct range_set *keep) {
        const struct closure c = { .source = source, .keep = keep };
        uint64_t dynamic, debug;
        int r;

        r = find_dynamic(&c, notes, &dynamic);
        if (r <= 0)
                return r;
        r = keep_dynamic(&c, dynamic, &debug);
        if (r < 0)
                return r;
        return keep_debug(&c, debug);
}
