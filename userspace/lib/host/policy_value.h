/* policy_value: the values of a policy, each kind in one place.
 *
 * Every function takes one NUL-terminated value and returns NULL and sets *ret, or returns the
 * reason why it is none, remedy included, as static text for a message.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "host/verdict.h"

/* A level no looser than `least`. */
const char *value_content(const char *text, enum content least, enum content *ret);

const char *value_bytes(const char *text, uint64_t *ret); /* suffix K, M, G or T: powers of 1024 */
const char *value_seconds(const char *text, uint64_t *ret); /* 1…POLICY_DEADLINE_MAX, suffix s */

/* A path pattern. One that is `walked` (File=) must begin with a directory, or reading the
 * policy would mean walking the whole host. */
const char *value_pattern(const char *text, bool walked);

const char *value_unit(const char *text);             /* a systemd unit's full name, or `*` in it */
const char *value_user(const char *text, uid_t *ret); /* a name of /etc/passwd, or a number */
const char *value_label(const char *text);
const char *value_variable(const char *text); /* the name of an environment variable */
