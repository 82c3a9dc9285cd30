/* erased_note: what `.note.coresieve` holds, and the section table that carries it.
 *
 * Nothing in the core moves: behind its last byte come the note, the section names and a section
 * table; only e_shoff, e_shnum, e_shentsize and e_shstrndx of the ELF header change. A second
 * SHT_NOTE covers the kernel's own notes, or `eu-readelf -n` would stop showing them. On a
 * PN_XNUM core entry 0 keeps the program header count in sh_info.
 *
 * Note: owner "coresieve", type 0x43530001 (type 1 would print as PRSTATUS whatever the owner),
 * descriptor = struct erased_note_head, then `n_ranges` × struct erased_range, little-endian.
 */
#pragma once

#include <stdint.h>

#define ERASED_NOTE_OWNER "coresieve"
#define ERASED_NOTE_TYPE 0x43530001U
#define ERASED_NOTE_VERSION 1U
#define ERASED_NOTE_SECTION ".note.coresieve"

struct erased_note_head {
        uint32_t version;
        uint32_t content; /* enum content */
        uint64_t n_ranges;
};

struct erased_range { /* of the file; a PT_LOAD's table entry tells the address */
        uint64_t offset;
        uint64_t size;
        uint32_t reason;   /* enum reason */
        uint32_t reserved; /* 0 */
};
