/* needle_words: pieces of text, and which of them are nobody's secret. Inside of secret/ only. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct text { /* borrowed; not NUL-terminated */
        const uint8_t *at;
        size_t size;
};

struct text text_from(struct text t, size_t start);
struct text text_trim(struct text t);    /* without white space at its ends */
struct text text_unquote(struct text t); /* that, and without one pair of quotes */

bool text_is_blank(uint8_t c);

/* A word that stands in everyone's memory: never hunted, never flagged as too short. */
bool text_is_common(struct text t);

/* Nothing but punctuation. */
bool text_is_decoration(struct text t);

/* One path, or several with colons between them. Hunting it would take the names of modules away
 * from debuggers. base64 may begin with a slash, so no component may look like a token. */
bool text_is_path(struct text t);
