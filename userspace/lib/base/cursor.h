/* cursor: reads from memory that an attacker wrote.
 *
 * Every parser of hostile input takes one. No read passes the end; a failed read leaves the
 * cursor where it was, so that cursor_pos() says where the input went wrong. Integers are
 * little-endian unless the name says otherwise. Nothing is copied or owned: the bytes must
 * outlive the cursor.
 */
#pragma once

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct cursor {
        const uint8_t *data;
        size_t size; /* bytes */
        size_t pos;  /* bytes from the start; never above size */
};

static inline struct cursor cursor_new(const void *data, size_t size) {
        return (struct cursor){ .data = data, .size = size, .pos = 0 };
}

static inline size_t cursor_pos(const struct cursor *c) {
        return c->pos;
}

static inline size_t cursor_left(const struct cursor *c) {
        return c->size - c->pos;
}

/* Takes `n` bytes: NULL, and no step, when fewer are left. */
static inline const uint8_t *cursor_take(struct cursor *c, size_t n) {
        const uint8_t *at = c->data + c->pos;

        if (n > cursor_left(c))
                return NULL;
        c->pos += n;
        return at;
}

static inline bool cursor_skip(struct cursor *c, size_t n) {
        return cursor_take(c, n) != NULL;
}

/* Steps to the next multiple of `align` (a power of two), counted from the start. */
static inline bool cursor_align(struct cursor *c, size_t align) {
        return cursor_skip(c, (align - (c->pos & (align - 1))) & (align - 1));
}

static inline bool cursor_u32(struct cursor *c, uint32_t *ret) {
        const uint8_t *at = cursor_take(c, sizeof(*ret));

        if (!at)
                return false;
        memcpy(ret, at, sizeof(*ret));
        *ret = le32toh(*ret);
        return true;
}

static inline bool cursor_u64(struct cursor *c, uint64_t *ret) {
        const uint8_t *at = cursor_take(c, sizeof(*ret));

        if (!at)
                return false;
        memcpy(ret, at, sizeof(*ret));
        *ret = le64toh(*ret);
        return true;
}
