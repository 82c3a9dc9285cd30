/* log_line: lines of a log, whatever is in it: forwards, backwards, and their first keys. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "audit/record.h"

struct line_head { /* the keys that every line begins with */
        uint64_t seq;
        char prev[RECORD_HASH_SIZE];
        char id[RECORD_ID_SIZE];
};

/* -EBADMSG: not as record_line() writes it. */
int line_head_parse(const char *line, size_t size, struct line_head *ret);

/* The id that a body begins with; -EBADMSG. */
int line_body_id(const char *body, size_t size, char ret[RECORD_ID_SIZE]);

/* The line when it is one JSON object and nothing else, for json_decref(); NULL when not. */
json_t *line_object(const char *line, size_t size);

/* The line that ends before offset `end` (of its newline): *ret points into `buf`, which has
 * LINE_WINDOW bytes. -ENODATA at the start of the file, -EFBIG when it is longer than
 * RECORD_LINE_MAX, or a read error. */
#define LINE_WINDOW (RECORD_LINE_MAX + 1U)
int line_before(int fd, uint64_t end, char *buf, const char **ret, size_t *ret_size);

struct line_reader {
        int fd; /* borrowed */
        uint64_t offset, end;
        char *buf;
        size_t start, fill;
        bool skip; /* the rest of a line that was too long */
};

struct line {
        const char *bytes; /* until the next call */
        size_t size;
        bool torn;     /* no newline behind it */
        bool too_long; /* the rest was skipped */
};

int line_reader_new(int fd, uint64_t end, struct line_reader *ret);
void line_reader_done(struct line_reader *reader);

/* 1 and the next line, 0 at the end, or a read error. */
int line_next(struct line_reader *reader, struct line *ret);
