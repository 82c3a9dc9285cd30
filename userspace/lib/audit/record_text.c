#include "audit/record_text.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"

#define KEY_MAX 64U /* of a twin */

static const char replacement[] = "\xEF\xBF\xBD"; /* U+FFFD */

static bool is_continuation(unsigned char byte) {
        return (byte & 0xC0) == 0x80;
}

/* RFC 3629 section 4: only the second byte's range depends on the first. */
size_t text_sequence(const unsigned char *bytes, size_t size) {
        unsigned char low = 0x80, high = 0xBF;
        size_t n;

        if (size == 0)
                return 0;
        if (bytes[0] < 0x80)
                return 1;
        if (bytes[0] >= 0xC2 && bytes[0] <= 0xDF)
                n = 2;
        else if (bytes[0] >= 0xE0 && bytes[0] <= 0xEF)
                n = 3;
        else if (bytes[0] >= 0xF0 && bytes[0] <= 0xF4)
                n = 4;
        else
                return 0;
        if (n > size)
                return 0;
        if (bytes[0] == 0xE0)
                low = 0xA0;
        else if (bytes[0] == 0xED)
                high = 0x9F;
        else if (bytes[0] == 0xF0)
                low = 0x90;
        else if (bytes[0] == 0xF4)
                high = 0x8F;
        if (bytes[1] < low || bytes[1] > high)
                return 0;
        for (size_t i = 2; i < n; i++)
                if (!is_continuation(bytes[i]))
                        return 0;
        return n;
}

/* Cuts between characters: half a character at the end would look like a bad byte. */
static size_t cut_at(const char *bytes, size_t size, size_t max) {
        size_t cut = max;

        if (size <= max)
                return size;
        while (cut > 0 && max - cut < 3 && is_continuation((unsigned char)bytes[cut]))
                cut--;
        return text_sequence((const unsigned char *)bytes + cut, size - cut) ? cut : max;
}

static json_t *sanitised(const char *bytes, size_t size, bool *ret_bad) {
        _cleanup_free_ char *out = malloc(size * (sizeof(replacement) - 1) + 1);
        size_t n = 0;
        bool bad = false;

        if (!out)
                return NULL;
        for (size_t i = 0; i < size;) {
                size_t k = text_sequence((const unsigned char *)bytes + i, size - i);

                /* DEL is the one control character that JSON leaves as it is. */
                if (k == 0 || bytes[i] == '\0' || bytes[i] == '\x7f') {
                        memcpy(out + n, replacement, sizeof(replacement) - 1);
                        n += sizeof(replacement) - 1;
                        bad = true;
                        i++;
                        continue;
                }
                memcpy(out + n, bytes + i, k);
                n += k;
                i += k;
        }
        out[n] = '\0';
        *ret_bad = bad;
        return json_stringn_nocheck(out, n);
}

static json_t *base64(const char *bytes, size_t size) {
        static const char digits[] =
                "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        _cleanup_free_ char *out = malloc((size + 2) / 3 * 4 + 1);
        size_t n = 0;

        if (!out)
                return NULL;
        for (size_t i = 0; i < size; i += 3) {
                uint32_t group = 0;

                for (size_t k = 0; k < 3; k++)
                        group = group << 8 | (i + k < size ? (unsigned char)bytes[i + k] : 0U);
                for (size_t k = 0; k < 4; k++)
                        out[n++] = i + k > size ? '=' : digits[group >> (18 - 6 * k) & 63];
        }
        return json_stringn_nocheck(out, n);
}

static int put(json_t *object, const char *key, const char *suffix, json_t *value) {
        char twin[KEY_MAX];

        (void)snprintf(twin, sizeof(twin), "%s%s", key, suffix);
        return json_object_set_new(object, twin, value) < 0 ? -ENOMEM : 0;
}

int text_put(json_t *object, const char *key, const char *bytes, size_t size, size_t max) {
        size_t cut;
        bool bad = false;
        int r;

        if (!bytes)
                return put(object, key, "", json_null());
        cut = cut_at(bytes, size, max);
        r = put(object, key, "", sanitised(bytes, cut, &bad));
        if (r == 0 && bad)
                r = put(object, key, "_b64", base64(bytes, cut));
        if (r == 0 && cut < size)
                r = put(object, key, "_cut", json_integer((json_int_t)size));
        return r;
}
