#include "secret/pem.h"

#include <string.h>

#include "secret/encode.h"

#define BEGIN "-----BEGIN "
#define END "-----END "
#define DASHES "-----"
#define DASHES_SIZE 5U
#define PRIVATE "PRIVATE KEY"
#define HEADERS_MAX 16U /* lines of RFC 1421 headers: OpenSSL writes two */

static const char *const public_labels[] = {
        "CERTIFICATE",
        "TRUSTED CERTIFICATE",
        "X509 CERTIFICATE",
        "CERTIFICATE REQUEST",
        "PUBLIC KEY",
        "X509 CRL",
        "NEW CERTIFICATE REQUEST",
        "RSA PUBLIC KEY",
        "DSA PUBLIC KEY",
        "ECDSA PUBLIC KEY",
        "EC PARAMETERS",
        "DH PARAMETERS",
        "X9.42 DH PARAMETERS",
        "DSA PARAMETERS",
        "PKCS7",
        "CMS",
        "PKCS #7 SIGNED DATA",
        "SSH SIGNATURE",
        "PGP PUBLIC KEY BLOCK",
        "PGP SIGNATURE",
};

bool pem_is_public(const struct pem_block *block) {
        for (size_t i = 0; i < ARRAY_SIZE(public_labels); i++)
                if (strlen(public_labels[i]) == block->label.size &&
                    memcmp(public_labels[i], block->label.bytes, block->label.size) == 0)
                        return true;
        return false;
}

/* Steps over what may stand between two base64 characters: white space, a written-out line end
 * ("\n", "\r", "\t", with any number of backslashes), the backslash of JSON's "\/". */
static size_t skip_between(const uint8_t *text, size_t n, size_t at) {
        while (at < n) {
                size_t slashes = 0;

                if (text[at] == ' ' || text[at] == '\t' || text[at] == '\r' || text[at] == '\n') {
                        at++;
                        continue;
                }
                while (at + slashes < n && text[at + slashes] == '\\')
                        slashes++;
                if (slashes == 0 || at + slashes >= n)
                        break;
                if (text[at + slashes] == '/')
                        return at + slashes;
                if (text[at + slashes] != 'n' && text[at + slashes] != 'r' &&
                    text[at + slashes] != 't')
                        break;
                at += slashes + 1;
        }
        return at;
}

/* The label behind BEGIN at `at`: capitals, digits and single blanks, closed by dashes. */
static bool take_label(const uint8_t *text, size_t n, size_t at, struct pem_block *ret) {
        size_t size = 0;

        while (at + size < n && size <= PEM_LABEL_MAX && text[at + size] != '-' &&
               text[at + size] >= ' ' && text[at + size] < 0x7f)
                size++;
        if (size == 0 || size > PEM_LABEL_MAX || n - at - size < DASHES_SIZE ||
            memcmp(text + at + size, DASHES, DASHES_SIZE) != 0)
                return false;
        ret->label = (struct key_bytes){ text + at, size };
        ret->private = size >= strlen(PRIVATE) &&
                       memcmp(text + at + size - strlen(PRIVATE), PRIVATE, strlen(PRIVATE)) == 0;
        ret->body = at + size + DASHES_SIZE;
        return true;
}

/* Where the line that begins at `at` ends: at LF or at a written-out "\n". */
static size_t line_end(const uint8_t *text, size_t n, size_t at) {
        while (at < n && text[at] != '\n' &&
               !(text[at] == '\\' && at + 1 < n && text[at + 1] == 'n'))
                at++;
        return at;
}

static bool is_name(uint8_t c) {
        return c == '-' || (c != '+' && c != '/' && c != '_' && base64_value(c) >= 0);
}

/* Steps over "Proc-Type: 4,ENCRYPTED" and its like, which stand before the base64. */
static void skip_headers(const uint8_t *text, size_t n, struct pem_block *block) {
        for (size_t i = 0; i < HEADERS_MAX; i++) {
                size_t at = skip_between(text, n, block->body), end = line_end(text, n, at);
                size_t name = at;

                while (name < end && is_name(text[name]))
                        name++;
                if (name == at || name == end || text[name] != ':')
                        return;
                if (memmem(text + at, end - at, "ENCRYPTED", 9))
                        block->encrypted = true;
                block->body = end;
        }
}

/* The body runs as far as its characters do; then comes the end line, or it is cut. */
static void take_body(const uint8_t *text, size_t n, struct pem_block *block) {
        size_t at = block->body, last = at;

        for (;;) {
                at = skip_between(text, n, at);
                if (at >= n || (base64_value(text[at]) < 0 && text[at] != '=') ||
                    (text[at] == '-' && n - at >= 2 && text[at + 1] == '-'))
                        break;
                last = ++at;
        }
        block->body_size = last - block->body;
        block->size = last - block->start;
        if (n - at < sizeof(END) - 1 + block->label.size + DASHES_SIZE ||
            memcmp(text + at, END, sizeof(END) - 1) != 0)
                return;
        at += sizeof(END) - 1;
        if (memcmp(text + at, block->label.bytes, block->label.size) != 0 ||
            memcmp(text + at + block->label.size, DASHES, DASHES_SIZE) != 0)
                return;
        block->whole = true;
        block->size = at + block->label.size + DASHES_SIZE - block->start;
}

bool pem_next(const uint8_t *text, size_t n, size_t from, struct pem_block *ret) {
        while (from < n) {
                const uint8_t *at = memmem(text + from, n - from, BEGIN, sizeof(BEGIN) - 1);
                struct pem_block block = { 0 };
                size_t end;

                if (!at)
                        return false;
                block.start = (size_t)(at - text);
                end = n - block.start > PEM_SIZE_MAX ? block.start + PEM_SIZE_MAX : n;
                from = block.start + sizeof(BEGIN) - 1;
                if (!take_label(text, end, from, &block))
                        continue;
                skip_headers(text, end, &block);
                take_body(text, end, &block);
                *ret = block;
                return true;
        }
        return false;
}

int pem_decode(const uint8_t *text, const struct pem_block *block, struct secret_buf *ret) {
        size_t end = block->body + block->body_size;
        unsigned bits = 0, n_bits = 0;
        int r = secret_buf_reserve(ret, block->body_size);

        if (r < 0)
                return r;
        for (size_t at = skip_between(text, end, block->body); at < end;
             at = skip_between(text, end, at + 1)) {
                int value = base64_value(text[at]);

                if (value < 0)
                        break;
                bits = bits << 6 | (unsigned)value;
                n_bits += 6;
                if (n_bits < 8)
                        continue;
                n_bits -= 8;
                ret->data[ret->size++] = (uint8_t)(bits >> n_bits);
        }
        return 0;
}

bool pem_find_run(const uint8_t *text, const struct pem_block *block, size_t start, size_t end,
                  size_t *ret_at, size_t *ret_size) {
        size_t stop = block->body + block->body_size, i = 0, first = 0, behind = 0;
        size_t from = (start * 8 + 5) / 6, to = (end * 8 + 5) / 6; /* characters */

        for (size_t at = skip_between(text, stop, block->body); at < stop && i < to;
             at = skip_between(text, stop, at + 1), i++) {
                if (i == from)
                        first = at;
                if (i >= from)
                        behind = at + 1;
        }
        if (behind == 0)
                return false;
        *ret_at = first;
        *ret_size = behind - first;
        return true;
}
