/* erased_note: what `.note.coresieve` holds, and the section table that carries it.
 *
 * Nothing in the core moves: behind its last byte come the note, the section names and a section
 * table; only e_shoff, e_shnum, e_shentsize and e_shstrndx of the ELF header change. A second
 * SHT_NOTE covers the kernel's own notes, or `eu-readelf -n` would stop showing them. On a
 * PN_XNUM core the kernel's lone section header stays where it was, right behind memory, and
 * entry 0 of our table carries the program header count in sh_info as it did.
 *
 * Note: owner "coresieve", type 0x43530001 (type 1 would print as PRSTATUS whatever the owner),
 * descriptor = struct erased_note_head, then `n_ranges` × struct erased_range, little-endian.
 */
#pragma once

#include <elf.h>
#include <stddef.h>
#include <stdint.h>

#include "core/head.h"
#include "host/verdict.h"
#include "sieve/plan.h"

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

/* Where each part lies, bytes from the start of the file. */
struct erased_trailer {
        uint64_t start; /* head->end */
        uint64_t note;  /* the note, header included */
        uint64_t names; /* section names */
        uint64_t table; /* section headers */
        uint64_t end;   /* size of the whole core */
        uint64_t n_ranges;
};

/* Lays out what goes behind a core whose frozen plan has `n_ranges` erasures. */
void erased_trailer_place(const struct core_head *head, uint64_t n_ranges,
                          struct erased_trailer *ret);

/* The section fields of the ELF header, as they point to the trailer. */
void erased_trailer_patch(const struct erased_trailer *trailer, Elf64_Ehdr *ehdr);

/* Hands out the trailer in order, in pieces of at most ERASED_PIECE_MAX bytes. 0, -EINVAL when
 * the plan is not the one that was placed, or what `sink` returned. */
#define ERASED_PIECE_MAX (1U << 20)
typedef int (*erased_sink)(void *userdata, const uint8_t *buf, size_t n);
int erased_trailer_write(const struct core_head *head, const struct plan *plan,
                         enum content content, const struct erased_trailer *trailer,
                         erased_sink sink, void *userdata);
