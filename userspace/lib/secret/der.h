/* der: one tag-length-value of DER at a time (X.690: definite lengths in their shortest form). */
#pragma once

#include "base/cursor.h"
#include "secret/key_parse.h"

enum der_tag {
        DER_INTEGER = 0x02,
        DER_BIT_STRING = 0x03,
        DER_OCTET_STRING = 0x04,
        DER_OID = 0x06,
        DER_SEQUENCE = 0x30,
        DER_CONTEXT_0 = 0xa0,
        DER_CONTEXT_1 = 0xa1,
        DER_IMPLICIT_1 = 0x81,
};

#define DER_LENGTH_BYTES_MAX 4U

/* Takes the next value if it has this tag; no step otherwise. */
static inline bool der_take(struct cursor *c, unsigned tag, struct key_bytes *ret) {
        struct cursor at = *c;
        const uint8_t *head = cursor_take(&at, 2);
        size_t size;

        if (!head || head[0] != tag)
                return false;
        size = head[1];
        if (size >= 0x80) {
                size_t n = size & 0x7f;
                const uint8_t *length = n <= DER_LENGTH_BYTES_MAX ? cursor_take(&at, n) : NULL;

                if (n == 0 || !length || length[0] == 0)
                        return false;
                size = 0;
                for (size_t i = 0; i < n; i++)
                        size = size << 8 | length[i];
                if (size < 0x80)
                        return false;
        }
        ret->bytes = cursor_take(&at, size);
        ret->size = size;
        if (!ret->bytes)
                return false;
        *c = at;
        return true;
}

static inline struct cursor der_cursor(struct key_bytes value) {
        return cursor_new(value.bytes, value.size);
}

/* A non-negative INTEGER, without its leading zero. */
static inline bool der_take_integer(struct cursor *c, struct key_bytes *ret) {
        struct cursor at = *c;
        struct key_bytes value;

        if (!der_take(&at, DER_INTEGER, &value) || value.size == 0 || value.bytes[0] >= 0x80)
                return false;
        if (value.bytes[0] == 0) {
                if (value.size > 1 && value.bytes[1] < 0x80)
                        return false;
                value.bytes++;
                value.size--;
        }
        *c = at;
        *ret = value;
        return true;
}

/* An INTEGER of one byte (a version). */
static inline bool der_take_small(struct cursor *c, unsigned *ret) {
        struct key_bytes value;

        if (!der_take(c, DER_INTEGER, &value) || value.size != 1)
                return false;
        *ret = value.bytes[0];
        return true;
}
