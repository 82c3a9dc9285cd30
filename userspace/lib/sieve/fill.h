/* fill: what stands where something was erased: the word `REDACTED`, in phase with the address
 * (file offset and address agree modulo 8: head.h checks it). A hint to the eye; the note is
 * the authority (P5). */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define FILL_WORD "REDACTED"
#define FILL_SIZE 8U

/* A whole word at any phase is eight bytes of the word written twice: a heap of gigabytes is
 * filled at the speed of memory. */
static inline void fill(uint8_t *buf, size_t n, uint64_t offset) {
        const char *word = &(FILL_WORD FILL_WORD)[offset % FILL_SIZE];
        size_t i = 0;

        for (; n - i >= FILL_SIZE; i += FILL_SIZE)
                memcpy(buf + i, word, FILL_SIZE);
        memcpy(buf + i, word, n - i);
}
