/* unwind_modules: the code of a process, as libdw may know it: address ranges with their CFI.
 *
 * A module is one executable segment of an ELF image that lies in the process's memory. Libdw
 * is never shown what lies there, only an ELF image made here: our own header, one PT_LOAD, one
 * PT_GNU_EH_FRAME, and behind them the bytes of .eh_frame_hdr and .eh_frame. So a hostile image
 * can lie about its CFI and nothing else, and no symbol, section or path is ever looked at.
 * .eh_frame_hdr is made here where the linker made none (gcc -static).
 * Images are read when a frame needs them, at most UNWIND_IMAGE_MAX in all.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/head.h"
#include "core/note.h"
#include "core/unwind.h"

#define UNWIND_MODULES_MAX 4096U /* executable segments of ELF images */
#define UNWIND_PHDRS_MAX 64U     /* program headers of one image; linkers make about 15 */

struct unwind_modules;

struct unwind_module {
        struct unwind_modules *all;
        uint64_t low, high; /* addresses of its code; modules rise and do not overlap */
        uint64_t eh_header; /* address of .eh_frame_hdr, 0 without one */
        uint64_t eh_header_size;
        uint64_t eh_start; /* the segment that holds it, or may hold .eh_frame, as far as it is in
                            * the file */
        uint64_t eh_end;
        uint8_t *image; /* NULL until unwind_module_image() */
        size_t image_size;
};

struct unwind_modules {
        size_t n_modules;
        uint64_t image_bytes; /* of all images together */
        bool full;            /* UNWIND_MODULES_MAX */
        bool capped;          /* some module or image was left out over a limit */
        unwind_read read;     /* raw memory of the process */
        void *userdata;
        struct unwind_module modules[];
};

/* Finds the modules: ELF images at the start of mapped files, of dumped segments (the vdso is
 * one) and of nothing else. What is no ELF image is passed over: 0 or -ENOMEM. */
int unwind_modules_find(const struct core_head *head, const struct core_notes *notes,
                        unwind_read read, void *userdata, struct unwind_modules **ret);
void unwind_modules_free(struct unwind_modules *modules);

/* The image made for libdw: without CFI where there is none, or none that can be read. It belongs
 * to the module. 0 or -ENOMEM. */
int unwind_module_image(struct unwind_module *module, uint8_t **ret, size_t *ret_size);
