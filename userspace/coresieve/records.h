/* records: what the audit log holds, as JSON values. */
#pragma once

#include <jansson.h>
#include <stddef.h>

/* All records below `root`, by time, each id once (one that waits may just have been taken in).
 * *ret_bad counts lines that are no record. 0 or a negative errno. */
int records_load(const char *root, json_t **ret, size_t *ret_bad);

/* A string of a record, or `otherwise`. */
const char *record_string(const json_t *record, const char *key, const char *otherwise);

/* Loads, and finds the record that `id` names: the whole id, its first parts ("0123abcd-7"), or a
 * beginning that no other id has. CLI_DONE with *ret owned by the caller; or CLI_CANNOT, after a
 * message that says why. */
int records_get(const char *root, const char *id, json_t **ret);

static inline void cleanup_json(json_t **value) {
        json_decref(*value);
}

#define _cleanup_json_ __attribute__((cleanup(cleanup_json)))
