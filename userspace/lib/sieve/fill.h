/* fill: what stands where something was erased: the word `REDACTED`, in phase with the address
 * (file offset and address agree modulo 8: head.h checks it). A hint to the eye; the note is
 * the authority (P5). */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define FILL_WORD "REDACTED"
#define FILL_SIZE 8U

static inline void fill(uint8_t *buf, size_t n, uint64_t offset) {
        for (size_t i = 0; i < n; i++)
                buf[i] = (uint8_t)FILL_WORD[(offset + i) % FILL_SIZE];
}
