/* pem: text blocks between "-----BEGIN LABEL-----" and "-----END LABEL-----" (RFC 7468, RFC 1421).
 *
 * Reads files and hostile memory alike: line ends may be LF, CRLF, or written out as "\n" (JSON,
 * environment), lines may be indented, and the end may be missing.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "secret/buf.h"
#include "secret/key_parse.h"

#define PEM_SIZE_MAX (64U << 10) /* bytes of one block; what is longer counts as cut */
#define PEM_LABEL_MAX 40U        /* bytes */

struct pem_block {
        size_t start, size;     /* the block, from its first dash; bytes of the text */
        size_t body, body_size; /* the base64 characters and what stands between them */
        struct key_bytes label; /* "RSA PRIVATE KEY" */
        bool private;           /* the label says so */
        bool encrypted;         /* the headers of RFC 1421 say so */
        bool whole;             /* the end line was seen */
};

/* The next block that begins at or behind `from`. */
bool pem_next(const uint8_t *text, size_t n, size_t from, struct pem_block *ret);

/* What the body stands for; a cut body as far as it goes. 0 or -ENOMEM. */
int pem_decode(const uint8_t *text, const struct pem_block *block, struct secret_buf *ret);

/* Where the characters lie that stand for bytes [start, end) of the decoded body: a run of the
 * text, line ends included, from the first that stands for nothing before to the last that has
 * any bit of these. False when there are none. */
bool pem_find_run(const uint8_t *text, const struct pem_block *block, size_t start, size_t end,
                  size_t *ret_at, size_t *ret_size);

/* One of the labels that hold nothing private (certificates, parameters, public keys)? */
bool pem_is_public(const struct pem_block *block);
