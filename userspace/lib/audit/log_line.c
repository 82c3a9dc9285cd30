#include "audit/log_line.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"

#define READER_BUFFER (2U * LINE_WINDOW)
#define HASH_DIGITS (RECORD_HASH_SIZE - 1U)
#define SEQ_DIGITS_MAX 19U /* what follows on a forged number cannot overflow */

static bool take(const char **at, const char *end, const char *literal) {
        size_t n = strlen(literal);

        if ((size_t)(end - *at) < n || memcmp(*at, literal, n) != 0)
                return false;
        *at += n;
        return true;
}

static bool is_hex(char c) {
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

static int take_id(const char **at, const char *end, char ret[RECORD_ID_SIZE]) {
        const char *quote = memchr(*at, '"', (size_t)(end - *at));

        if (!quote || !record_is_id(*at, (size_t)(quote - *at)))
                return -EBADMSG;
        memcpy(ret, *at, (size_t)(quote - *at));
        ret[quote - *at] = '\0';
        *at = quote;
        return 0;
}

int line_body_id(const char *body, size_t size, char ret[RECORD_ID_SIZE]) {
        const char *at = body;

        if (!take(&at, body + size, "{\"id\":\""))
                return -EBADMSG;
        return take_id(&at, body + size, ret);
}

int line_head_parse(const char *line, size_t size, struct line_head *ret) {
        const char *at = line, *end = line + size;
        struct line_head head = { 0 };
        size_t digits = 0;

        if (!take(&at, end, "{\"v\":1,\"seq\":\""))
                return -EBADMSG;
        for (; at < end && *at >= '0' && *at <= '9' && digits < SEQ_DIGITS_MAX; at++, digits++)
                head.seq = head.seq * 10 + (uint64_t)(*at - '0');
        if (digits == 0 || !take(&at, end, "\",\"prev\":\"") || (size_t)(end - at) < HASH_DIGITS)
                return -EBADMSG;
        for (size_t i = 0; i < HASH_DIGITS; i++)
                if (!is_hex(at[i]))
                        return -EBADMSG;
        memcpy(head.prev, at, HASH_DIGITS);
        at += HASH_DIGITS;
        if (!take(&at, end, "\",\"id\":\"") || take_id(&at, end, head.id) < 0)
                return -EBADMSG;
        *ret = head;
        return 0;
}

json_t *line_object(const char *line, size_t size) {
        json_t *object = json_loadb(line, size, JSON_REJECT_DUPLICATES, NULL);

        if (object && !json_is_object(object)) {
                json_decref(object);
                return NULL;
        }
        return object;
}

int line_before(int fd, uint64_t end, char *buf, const char **ret, size_t *ret_size) {
        uint64_t from = end > LINE_WINDOW ? end - LINE_WINDOW : 0;
        const char *newline;
        ssize_t n;

        if (end == 0)
                return -ENODATA;
        n = io_pread(fd, buf, (size_t)(end - from), from);
        if (n < 0)
                return (int)n;
        if ((uint64_t)n != end - from)
                return -EIO; /* shorter than it was a moment ago, although we hold the lock */
        newline = memrchr(buf, '\n', (size_t)n);
        if (!newline && from > 0)
                return -EFBIG;
        *ret = newline ? newline + 1 : buf;
        *ret_size = (size_t)(buf + n - *ret);
        return *ret_size > RECORD_LINE_MAX ? -EFBIG : 0;
}

int line_reader_new(int fd, uint64_t end, struct line_reader *ret) {
        char *buf = malloc(READER_BUFFER);

        if (!buf)
                return -ENOMEM;
        *ret = (struct line_reader){ .fd = fd, .end = end, .buf = buf };
        return 0;
}

void line_reader_done(struct line_reader *reader) {
        free(reader->buf);
        reader->buf = NULL;
}

static int refill(struct line_reader *reader) {
        uint64_t left = reader->end - reader->offset;
        ssize_t n;

        memmove(reader->buf, reader->buf + reader->start, reader->fill);
        reader->start = 0;
        if (left > READER_BUFFER - reader->fill)
                left = READER_BUFFER - reader->fill;
        n = io_pread(reader->fd, reader->buf + reader->fill, (size_t)left, reader->offset);
        if (n < 0)
                return (int)n;
        if ((uint64_t)n < left)
                reader->end = reader->offset + (uint64_t)n; /* it was cut meanwhile */
        reader->offset += (uint64_t)n;
        reader->fill += (size_t)n;
        return 0;
}

/* Drops everything up to and including the next newline. */
static int skip_line(struct line_reader *reader) {
        for (;;) {
                const char *at = reader->buf + reader->start;
                const char *newline = memchr(at, '\n', reader->fill);
                size_t n = newline ? (size_t)(newline + 1 - at) : reader->fill;
                int r;

                reader->start += n;
                reader->fill -= n;
                if (newline || reader->offset == reader->end)
                        return 0;
                r = refill(reader);
                if (r < 0)
                        return r;
        }
}

int line_next(struct line_reader *reader, struct line *ret) {
        const char *at, *newline;
        size_t size;
        int r;

        if (reader->skip) {
                r = skip_line(reader);
                if (r < 0)
                        return r;
                reader->skip = false;
        }
        if (reader->fill < LINE_WINDOW && reader->offset < reader->end) {
                r = refill(reader);
                if (r < 0)
                        return r;
        }
        if (reader->fill == 0)
                return 0;
        at = reader->buf + reader->start;
        newline = memchr(at, '\n', reader->fill);
        size = newline ? (size_t)(newline - at) : reader->fill;
        if (size <= RECORD_LINE_MAX) {
                *ret = (struct line){ .bytes = at, .size = size, .torn = !newline };
                size += newline ? 1 : 0;
                reader->start += size;
                reader->fill -= size;
                return 1;
        }
        *ret = (struct line){ .bytes = at, .size = RECORD_LINE_MAX, .too_long = true };
        reader->skip = true;
        return 1;
}
