/* detect: private keys that announce themselves, in memory of which nothing is known.
 *
 * Containers by their structure: PEM and OpenSSH text ("-----BEGIN … PRIVATE KEY-----"), the
 * binary OpenSSH body ("openssh-key-v1"), and DER (PKCS#1, PKCS#8, SEC1) that parses as a key.
 * Published test keys are no findings (the allow-list in detect_known.c names their sources).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DETECT_SIZE_MAX (64U << 10) /* bytes of one container: the look-ahead a window needs */

enum detector {
        DETECT_PEM,
        DETECT_OPENSSH,
        DETECT_DER,
        _DETECT_MAX,
};

struct detection {
        enum detector detector;
        size_t start, size; /* the container, bytes of the window */
        bool encrypted;     /* reported, not erased: nothing can be read from it */
        bool whole;         /* false: a container cut short; erased as far as it goes */
};

const char *detector_to_string(enum detector detector);

/* Non-zero stops and is returned. */
typedef int (*detect_hit)(void *userdata, const struct detection *detection);

/* Looks for containers that begin in the first `limit` bytes of the window; the bytes behind
 * `limit` (DETECT_SIZE_MAX, or what is left of the memory) are look-ahead. */
int detect_keys(const uint8_t *window, size_t n, size_t limit, detect_hit hit, void *userdata);
