/* needle_file: what of a secret file is hunted. */

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "secret/buf.h"
#include "secret/encode.h"
#include "secret/needle_add.h"
#include "secret/pem.h"

#define BINARY_FORMS_MAX                                                                           \
        4096U /* bytes of a binary secret that is hunted in hex and base64, too                    \
               */
#define LATIN1_PRINTABLE_PERCENT 75U

struct file {
        struct needle_set *set;
        const uint8_t *bytes;
        size_t size;
        uint16_t origin;
        unsigned flags;
};

/* How many bytes of valid UTF-8 begin at `at`; 0 for none. */
static size_t utf8_size(const uint8_t *at, size_t n) {
        size_t size = *at < 0x80 ? 1 : *at >= 0xf0 ? 4 : *at >= 0xe0 ? 3 : 2;

        if ((*at >= 0x80 && *at < 0xc2) || *at > 0xf4 || size > n)
                return 0;
        for (size_t i = 1; i < size; i++)
                if ((at[i] & 0xc0) != 0x80)
                        return 0;
        return size;
}

/* Text has no control characters but white space. In UTF-8 that is enough; other bytes are taken
 * as Latin-1 when most are ASCII (*ret_pure false: it may be binary after all). */
static bool is_text(const uint8_t *bytes, size_t size, bool *ret_pure) {
        size_t odd = 0;

        for (size_t i = 0; i < size;) {
                size_t n = utf8_size(bytes + i, size - i);

                if (bytes[i] < ' ' && !(bytes[i] >= '\t' && bytes[i] <= '\r') && bytes[i] != 0x1b)
                        return false;
                odd += n == 0;
                i += n ? n : 1;
        }
        *ret_pure = odd == 0;
        return odd * 100 <= size * (100 - LATIN1_PRINTABLE_PERCENT);
}

static int add_binary(struct file *file) {
        if (file->size < NEEDLE_SIZE_MIN)
                file->flags |= NEEDLE_TOO_SHORT;
        if (file->size <= BINARY_FORMS_MAX)
                return needle_add_bytes(file->set, file->bytes, file->size, file->origin);
        return needle_set_add(file->set, file->bytes,
                              file->size < NEEDLE_FILE_MAX ? file->size : NEEDLE_FILE_MAX,
                              FORM_PLAIN, file->origin);
}

/* The text of a block's body as the file has it, and as UTF-16. */
static int add_pem_text(struct file *file, size_t at, size_t size) {
        static const bool big_endian[] = { false, true };
        int r = needle_set_add(file->set, file->bytes + at, size, FORM_PLAIN, file->origin);

        for (size_t i = 0; i < ARRAY_SIZE(big_endian) && r == 0; i++) {
                _cleanup_secret_buf_ struct secret_buf wide = { 0 };

                r = encode_utf16(&wide, file->bytes + at, size, big_endian[i]);
                if (r == 0)
                        r = needle_set_add(file->set, wide.data, wide.size, FORM_UTF16,
                                           file->origin);
        }
        return r;
}

/* A block that says PRIVATE KEY. What of its text stands for public parts (version, algorithm,
 * modulus, point) is no needle: the same characters stand in the certificate. */
static int add_private_block(struct file *file, const struct pem_block *block) {
        _cleanup_secret_buf_ struct secret_buf der = { 0 };
        struct key key;
        size_t start, at, size;
        int r;

        r = pem_decode(file->bytes, block, &der);
        if (r < 0)
                return r;
        r = block->encrypted ? -EKEYREJECTED : key_parse(der.data, der.size, &key);
        if (r < 0) {
                file->flags |= NEEDLE_ENCRYPTED;
                r = needle_add_bytes(file->set, der.data, der.size, file->origin);
                return r < 0 ? r : add_pem_text(file, block->body, block->body_size);
        }
        r = needle_add_key(file->set, &key, file->origin, &file->flags);
        if (r < 0)
                return r;
        start = (size_t)(key.secret.bytes - der.data);
        if (!pem_find_run(file->bytes, block, start, start + key.secret.size, &at, &size))
                return 0;
        return add_pem_text(file, at, size);
}

static bool at_line_start(const struct file *file, size_t at) {
        return at == 0 || file->bytes[at - 1] == '\n';
}

/* Text between blocks. A PEM file (blocks stand at line starts) may have explanatory text, which
 * holds no values (RFC 7468 section 2); anything else is a text file that has keys in it. */
static int add_between(struct file *file, size_t from, size_t to, bool lenient) {
        return needle_add_lines(file->set, file->bytes + from, to - from, lenient, file->origin,
                                &file->flags);
}

/* Are there only certificates and their like, each at a line's start? */
static bool is_public_pem(const struct file *file) {
        struct pem_block block;
        size_t from = 0, n = 0;

        for (; pem_next(file->bytes, file->size, from, &block); n++) {
                if (!pem_is_public(&block) || !at_line_start(file, block.start))
                        return false;
                from = block.start + block.size;
        }
        return n > 0;
}

static int add_text(struct file *file) {
        struct pem_block block;
        size_t from = 0, behind = 0;
        bool lenient = false;
        int r;

        if (is_public_pem(file))
                return 0;
        while (pem_next(file->bytes, file->size, from, &block)) {
                from = block.start + block.size;
                if (!block.private && !pem_is_public(&block))
                        continue; /* an unknown label: lines like any other */
                lenient |= at_line_start(file, block.start);
                r = add_between(file, behind, block.start, lenient);
                if (r < 0)
                        return r;
                behind = from;
                r = block.private ? add_private_block(file, &block) : 0;
                if (r < 0)
                        return r;
        }
        return add_between(file, behind, file->size, lenient);
}

/* A key in binary. *ret_done false: it is none. */
static int add_container(struct file *file, bool *ret_done) {
        struct key key;
        int r = key_parse(file->bytes, file->size, &key);

        *ret_done = true;
        if (r == 0) {
                r = needle_add_key(file->set, &key, file->origin, &file->flags);
                return r < 0 ? r
                             : needle_add_bytes(file->set, file->bytes + key.container,
                                                file->size - key.container, file->origin);
        }
        if (r == -EKEYREJECTED)
                file->flags |= NEEDLE_ENCRYPTED;
        else if (key_is_public_der(file->bytes, file->size))
                return 0;
        *ret_done = false;
        return 0;
}

static int add_content(struct file *file) {
        bool done, pure;
        int r = add_container(file, &done);

        if (r < 0 || done)
                return r;
        if (!is_text(file->bytes, file->size, &pure))
                return add_binary(file);
        r = pure ? 0 : add_binary(file);
        return r < 0 ? r : add_text(file);
}

int needle_set_add_file(struct needle_set *set, const uint8_t *bytes, size_t size, uint16_t origin,
                        unsigned *ret_flags) {
        struct file file = { .set = set, .bytes = bytes, .size = size, .origin = origin };
        int r;

        if (size > NEEDLE_FILE_MAX) {
                file.flags |= NEEDLE_LARGE;
                file.size = NEEDLE_FILE_MAX;
        }
        r = file.size > 0 ? add_content(&file) : 0;
        if (r == -E2BIG)
                file.flags |= NEEDLE_LARGE;
        else if (r < 0)
                return r;
        *ret_flags = file.flags;
        return 0;
}
