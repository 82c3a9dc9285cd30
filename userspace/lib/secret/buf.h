/* buf: a growing byte string that leaves nothing behind: wiped when freed and when it moves. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

struct secret_buf {
        uint8_t *data;
        size_t size, room; /* bytes */
};

/* Makes room for `n` more bytes. 0 or -ENOMEM. */
int secret_buf_reserve(struct secret_buf *buf, size_t n);

/* Appends. 0 or -ENOMEM. */
int secret_buf_add(struct secret_buf *buf, const void *bytes, size_t n);
int secret_buf_add_byte(struct secret_buf *buf, uint8_t byte);

/* Forgets the content, keeps the room. */
void secret_buf_clear(struct secret_buf *buf);

/* Wipes and frees; the buffer is empty then and may be used again. */
void secret_buf_done(struct secret_buf *buf);

#define _cleanup_secret_buf_ _cleanup_(secret_buf_done)
