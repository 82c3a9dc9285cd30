/* detect_pem: PEM and OpenSSH text, and OpenSSH's binary body. */

#include <errno.h>
#include <string.h>

#include "secret/buf.h"
#include "secret/detect_private.h"
#include "secret/pem.h"

#define CUT_MIN                                                                                    \
        24U /* decoded bytes: what is left of a key has a header and some of its content           \
             */

/* Does a cut body begin as a private key does: SEQUENCE, version, and integer, sequence or octets;
 * or OpenSSH's magic? */
static bool begins_as_key(const uint8_t *der, size_t n) {
        size_t at;

        if (n < CUT_MIN)
                return false;
        if (memcmp(der, KEY_OPENSSH_MAGIC, sizeof(KEY_OPENSSH_MAGIC)) == 0)
                return true;
        if (der[0] != 0x30)
                return false;
        at = der[1] < 0x80 ? 2 : 2 + (der[1] & 0x7fU);
        if (at + 4 > n || der[at] != 0x02 || der[at + 1] != 1 || der[at + 2] > 1)
                return false;
        return der[at + 3] == 0x02 || der[at + 3] == 0x30 || der[at + 3] == 0x04;
}

/* 1: a finding (*ret complete), 0: none, or -ENOMEM. */
static int judge_block(const uint8_t *text, const struct pem_block *block, struct detection *ret) {
        _cleanup_secret_buf_ struct secret_buf der = { 0 };
        struct detection found = { .detector = DETECT_PEM,
                                   .start = block->start,
                                   .size = block->size,
                                   .whole = block->whole };
        struct key key;
        int r = pem_decode(text, block, &der);

        if (r < 0)
                return r;
        if (der.size >= sizeof(KEY_OPENSSH_MAGIC) &&
            memcmp(der.data, KEY_OPENSSH_MAGIC, sizeof(KEY_OPENSSH_MAGIC)) == 0)
                found.detector = DETECT_OPENSSH;
        found.encrypted = block->encrypted;
        if (block->encrypted)
                r = der.size >= CUT_MIN;
        else {
                r = key_parse(der.data, der.size, &key);
                found.encrypted = r == -EKEYREJECTED;
                if (r == 0)
                        r = detect_judge(&key);
                else if (r == -EKEYREJECTED)
                        r = 1;
                else
                        r = begins_as_key(der.data, der.size);
        }
        if (r > 0)
                *ret = found;
        return r;
}

int detect_pem(const struct detect_job *job) {
        struct pem_block block;
        size_t from = 0;

        while (from < job->limit && pem_next(job->window, job->n, from, &block)) {
                struct detection found;
                int r;

                if (block.start >= job->limit)
                        return 0;
                from = block.start + block.size;
                if (!block.private)
                        continue;
                r = judge_block(job->window, &block, &found);
                if (r > 0)
                        r = job->hit(job->userdata, &found);
                if (r != 0)
                        return r;
        }
        return 0;
}

int detect_openssh(const struct detect_job *job) {
        size_t from = 0;

        for (;;) {
                const uint8_t *at = memmem(job->window + from, job->n - from, KEY_OPENSSH_MAGIC,
                                           sizeof(KEY_OPENSSH_MAGIC));
                struct detection found = { .detector = DETECT_OPENSSH, .whole = true };
                struct key key;
                int r;

                if (!at || (size_t)(at - job->window) >= job->limit)
                        return 0;
                found.start = (size_t)(at - job->window);
                from = found.start + sizeof(KEY_OPENSSH_MAGIC);
                r = key_parse_openssh(at, job->n - found.start, &key);
                found.encrypted = r == -EKEYREJECTED;
                if (r < 0 && r != -EKEYREJECTED)
                        continue;
                found.size = key.container;
                r = r == 0 ? detect_judge(&key) : 1;
                if (r > 0)
                        r = job->hit(job->userdata, &found);
                if (r != 0)
                        return r;
                from = found.start + found.size;
        }
}
