/* record_json: putting one record's keys, in order, into an object. Used by record*.c only. */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "audit/record.h"

struct record_json {
        json_t *object;
        size_t text_max; /* bytes of one text */
        int error;       /* the first: later puts still release what they are handed */
};

/* Takes `value` over; NULL (out of memory) is an error. */
void record_put(struct record_json *json, const char *key, json_t *value);
void record_put_u64(struct record_json *json, const char *key, uint64_t value); /* a string */
void record_put_text(struct record_json *json, const char *key, const struct record_text *text);
void record_put_inner(struct record_json *json, const char *key, struct record_json *inner);
void record_append(json_t *array, struct record_json *json, json_t *value);

void record_put_envelope(const struct record *record, struct record_json *json);
int record_put_crash(const struct record *record, struct record_json *json);
