/* pattern: the only wildcards of a policy.
 *
 * `*` stands for any bytes within one component (none, and a leading dot, included), `**` as a
 * whole component for any number of components; at the end of a pattern it stands for at least
 * one. Every other byte is itself. Matching takes at most strlen(pattern) * strlen(path) steps,
 * whatever either of them holds: both may be hostile.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Does `pattern` match the absolute path? A relative path or pattern never matches. */
bool pattern_match(const char *pattern, const char *path);

/* The same for one name of `size` bytes (a unit): `*` is the only wildcard, '/' a byte like
 * others. */
bool pattern_match_name(const char *pattern, const char *name, size_t size);
