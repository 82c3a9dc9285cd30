#include "secret/buf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ROOM_FIRST 256U /* bytes: most forms of most secrets fit */

int secret_buf_reserve(struct secret_buf *buf, size_t n) {
        size_t room = buf->room ? buf->room : ROOM_FIRST;
        uint8_t *moved;

        if (n <= buf->room - buf->size)
                return 0;
        if (n > SIZE_MAX / 2 - buf->size)
                return -ENOMEM;
        while (room < buf->size + n)
                room *= 2;

        /* No realloc(): it would leave the old bytes in freed memory. */
        moved = malloc(room);
        if (!moved)
                return -ENOMEM;
        if (buf->size > 0)
                memcpy(moved, buf->data, buf->size);
        if (buf->data) {
                explicit_bzero(buf->data, buf->room);
                free(buf->data);
        }
        buf->data = moved;
        buf->room = room;
        return 0;
}

int secret_buf_add(struct secret_buf *buf, const void *bytes, size_t n) {
        int r;

        if (n == 0)
                return 0;
        r = secret_buf_reserve(buf, n);
        if (r < 0)
                return r;
        memcpy(buf->data + buf->size, bytes, n);
        buf->size += n;
        return 0;
}

int secret_buf_add_byte(struct secret_buf *buf, uint8_t byte) {
        return secret_buf_add(buf, &byte, 1);
}

void secret_buf_clear(struct secret_buf *buf) {
        if (buf->data)
                explicit_bzero(buf->data, buf->size);
        buf->size = 0;
}

void secret_buf_done(struct secret_buf *buf) {
        if (buf->data) {
                explicit_bzero(buf->data, buf->room);
                free(buf->data);
        }
        *buf = (struct secret_buf){ 0 };
}
