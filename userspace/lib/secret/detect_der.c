/* detect_der: private keys in DER, found by their version number.
 *
 * PKCS#1 and PKCS#8 have the version 0 or 1, SEC1 has 1: "02 01 00" or "02 01 01" stands right
 * behind the head of the outer SEQUENCE. An encrypted PKCS#8 key has none: it is found by the
 * identifier of its scheme. */

#include <errno.h>
#include <string.h>

#include "secret/detect_private.h"

#define VERSION_SIZE 3U
#define SEQUENCE 0x30
#define HEAD_MAX 4U /* bytes of a SEQUENCE's tag and length: a container is under 64 KiB */

/* Sixteen bytes at a time, in whatever registers the compiler has. */
#define LANES 16U
typedef uint8_t bytes16 __attribute__((vector_size(LANES)));
typedef uint64_t words2 __attribute__((vector_size(LANES)));

static bytes16 load(const uint8_t *at) {
        bytes16 v;

        memcpy(&v, at, sizeof(v));
        return v;
}

static bool is_version(const uint8_t *at) {
        return at[0] == 0x02 && at[1] == 0x01 && at[2] <= 1;
}

/* The next place from `from` on, below `end`, where a version stands; `end` when there is none.
 * VERSION_SIZE bytes can be read at each place. */
static size_t next_version(const uint8_t *buf, size_t from, size_t end) {
        while (from + LANES <= end) {
                /* true is all ones */
                bytes16 found = (bytes16)(load(buf + from) == 0x02) &
                                (bytes16)(load(buf + from + 1) == 0x01) &
                                (bytes16)(load(buf + from + 2) <= 0x01);
                words2 any = (words2)found;

                if ((any[0] | any[1]) == 0) {
                        from += LANES;
                        continue;
                }
                while (!is_version(buf + from))
                        from++;
                return from;
        }
        while (from < end && !is_version(buf + from))
                from++;
        return from;
}

/* Where the SEQUENCE begins whose content begins at `at`: its length may take three shapes. */
static bool sequence_start(const uint8_t *buf, size_t at, size_t *ret) {
        if (at >= 2 && buf[at - 2] == SEQUENCE && buf[at - 1] < 0x80)
                *ret = at - 2;
        else if (at >= 3 && buf[at - 3] == SEQUENCE && buf[at - 2] == 0x81)
                *ret = at - 3;
        else if (at >= HEAD_MAX && buf[at - 4] == SEQUENCE && buf[at - 3] == 0x82)
                *ret = at - HEAD_MAX;
        else
                return false;
        return true;
}

/* Tells of the container at `start`, if it is one. *ret_end: where to go on. */
static int try_container(const struct detect_job *job, size_t start, size_t *ret_end) {
        struct detection found = { .detector = DETECT_DER, .start = start, .whole = true };
        struct key key;
        int r;

        if (start >= job->limit)
                return 0;
        r = key_parse_der(job->window + start, job->n - start, &key);
        found.encrypted = r == -EKEYREJECTED;
        if (r < 0 && r != -EKEYREJECTED)
                return 0;
        found.size = key.container;
        r = r == 0 ? detect_judge(&key) : 1;
        if (r < 0)
                return r;
        *ret_end = start + found.size; /* also a known key: what is inside is known as well */
        return r > 0 ? job->hit(job->userdata, &found) : 0;
}

static int detect_plain(const struct detect_job *job) {
        size_t end = job->limit + HEAD_MAX, at = 0;

        if (job->n < VERSION_SIZE)
                return 0;
        if (end > job->n - VERSION_SIZE + 1)
                end = job->n - VERSION_SIZE + 1;
        while ((at = next_version(job->window, at, end)) < end) {
                size_t next = at + 1, start;
                int r = 0;

                if (sequence_start(job->window, at, &start))
                        r = try_container(job, start, &next);
                if (r != 0)
                        return r;
                at = next > at ? next : at + 1;
        }
        return 0;
}

/* PBES2 of PKCS#5 (RFC 8018): what OpenSSL writes. */
static int detect_encrypted(const struct detect_job *job) {
        static const uint8_t pbes2[] = { 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86,
                                         0xf7, 0x0d, 0x01, 0x05, 0x0d };
        size_t from = 0;

        for (;;) {
                const uint8_t *at = memmem(job->window + from, job->n - from, pbes2, sizeof(pbes2));
                size_t inner, outer, next = 0;
                int r;

                if (!at)
                        return 0;
                from = (size_t)(at - job->window) + sizeof(pbes2);
                if (!sequence_start(job->window, from - sizeof(pbes2), &inner) ||
                    !sequence_start(job->window, inner, &outer))
                        continue;
                r = try_container(job, outer, &next);
                if (r != 0)
                        return r;
        }
}

int detect_der(const struct detect_job *job) {
        int r = detect_plain(job);

        return r != 0 ? r : detect_encrypted(job);
}
