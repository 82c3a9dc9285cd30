/* record_text: bytes that a process chose, made fit for JSON.
 *
 * jansson refuses text that is not UTF-8, and a hostile comm must not cost the record. Bad bytes
 * become U+FFFD each, and the true bytes stand beside them in base64.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* Sets `key` of `object` to the text (NULL bytes: null), with the twins `<key>_b64` (it had
 * bytes that are not UTF-8, or a NUL or DEL) and `<key>_cut` (it was longer than `max` bytes; the
 * value is how long). 0 or -ENOMEM. */
int text_put(json_t *object, const char *key, const char *bytes, size_t size, size_t max);

/* How many of the first `size` bytes are the UTF-8 sequence at `bytes`: 1 to 4, or 0 when none
 * begins there (overlong forms, surrogates and code points past U+10FFFF are none). */
size_t text_sequence(const unsigned char *bytes, size_t size);
