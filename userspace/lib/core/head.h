/* head: the front of an ELF core (ELF header, program headers, notes), as the kernel streams it.
 *
 * The head's segment table is the truth about layout: what is dumped, where it lies in the file
 * and at which address. Only ELFCLASS64, little-endian, x86-64, ET_CORE is read here; anything
 * else is -ENOTSUP, gdb's gcore too, which puts the notes behind memory. Sources: gABI chapters 4
 * and 5, binfmt_elf.c:elf_core_dump().
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CORE_SEGMENTS_MAX (1U << 20) /* program headers; vm.max_map_count is 65,530 by default */
#define CORE_NOTES_MAX (64U << 20)   /* bytes of the note segment */
#define CORE_HEAD_MAX (160U << 20)   /* bytes before the first memory byte */

struct segment {
        uint32_t type;  /* PT_LOAD, PT_NOTE, … */
        uint32_t flags; /* PF_R | PF_W | PF_X */
        uint64_t address;
        uint64_t offset;    /* of its first byte in the file */
        uint64_t file_size; /* bytes in the file; what must be pulled */
        uint64_t memory_size;
};

/* Where a parser stopped and why, for the record. `what` is static text. */
struct core_fault {
        uint64_t offset; /* bytes from the start of the core */
        const char *what;
};

struct core_head {
        uint8_t *bytes; /* everything before the first memory byte, as the kernel sent it */
        size_t size;
        struct segment *segments; /* in table order */
        size_t n_segments;
        uint32_t *by_address; /* indices of the PT_LOADs with memory_size > 0, by address */
        size_t n_by_address;
        uint64_t notes_offset, notes_size;
        uint64_t end; /* largest offset + file_size: where a whole stream ends, or its
                       * section header (PN_XNUM) begins */
        bool many;    /* PN_XNUM: the count stands in sh_info of a header behind `end` */
};

/* Reads exactly the head from `fd` (a pipe or a file at its start) and checks it: sizes and sums
 * do not overflow, PT_LOADs do not overlap in the file, lie in rising order, and are congruent
 * to their address modulo 8. Returns 0; -EBADMSG malformed, -ENODATA cut, -ENOTSUP foreign,
 * -E2BIG over a limit (with *ret_fault set), -ENOMEM, or a read error. */
int core_head_read(int fd, struct core_head **ret, struct core_fault *ret_fault);
void core_head_free(struct core_head *head);

/* The PT_LOAD that holds `address`, or NULL. */
const struct segment *core_segment_at(const struct core_head *head, uint64_t address);

/* File offset of `address`; false when it is not in the file (the segment ends before). */
bool core_offset_of(const struct core_head *head, uint64_t address, uint64_t *ret);
