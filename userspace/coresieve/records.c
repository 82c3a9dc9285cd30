#include "records.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit/log.h"
#include "audit/log_line.h"
#include "base/cleanup.h"
#include "base/paths.h"
#include "cli.h"
#include "print.h"

struct loading {
        json_t *by_id; /* id to record, in the order of the log */
        size_t bad;
};

static int take_line(void *userdata, const char *line, size_t size) {
        struct loading *loading = userdata;
        _cleanup_json_ json_t *record = size ? line_object(line, size) : NULL;
        const char *id = json_string_value(json_object_get(record, "id"));

        if (!id || !record_string(record, "event", NULL)) {
                loading->bad += size > 0;
                return 0;
        }
        if (json_object_get(loading->by_id, id))
                return 0;
        return json_object_set(loading->by_id, id, record) < 0 ? -ENOMEM : 0;
}

const char *record_string(const json_t *record, const char *key, const char *otherwise) {
        const char *text = json_string_value(json_object_get(record, key));

        return text ? text : otherwise;
}

struct place {
        json_t *record; /* borrowed */
        size_t n;       /* in the log: of the same time, the first comes first */
};

static int by_time(const void *a, const void *b) {
        const struct place *x = a, *y = b;
        int r = strcmp(record_string(x->record, "time", ""), record_string(y->record, "time", ""));

        return r ? r : (x->n > y->n) - (x->n < y->n);
}

static int sort_by_time(json_t *by_id, json_t **ret) {
        _cleanup_free_ struct place *places = calloc(json_object_size(by_id) + 1, sizeof(*places));
        _cleanup_json_ json_t *sorted = json_array();
        const char *id;
        json_t *record;
        size_t n = 0;

        if (!places || !sorted)
                return -ENOMEM;
        json_object_foreach(by_id, id, record) {
                places[n] = (struct place){ record, n };
                n++;
        }
        qsort(places, n, sizeof(*places), by_time);
        for (size_t i = 0; i < n; i++)
                if (json_array_append(sorted, places[i].record) < 0)
                        return -ENOMEM;
        *ret = TAKE_PTR(sorted);
        return 0;
}

int records_load(const char *root, json_t **ret, size_t *ret_bad) {
        _cleanup_json_ json_t *by_id = json_object();
        struct loading loading = { .by_id = by_id };
        int r;

        if (!by_id)
                return -ENOMEM;
        r = log_read(root, take_line, &loading);
        if (r < 0)
                return r;
        r = sort_by_time(by_id, ret);
        if (r < 0)
                return r;
        *ret_bad = loading.bad;
        return 0;
}

/* Returns a borrowed record; NULL with *ret_matches (0, or how many). */
static const json_t *find(const json_t *records, const char *id, size_t *ret_matches) {
        const json_t *begins = NULL, *parts = NULL;
        size_t n_begins = 0, n_parts = 0, n = strlen(id);

        for (size_t i = 0; i < json_array_size(records); i++) {
                const json_t *record = json_array_get(records, i);
                const char *other = record_string(record, "id", "");

                if (strcmp(other, id) == 0)
                        return record;
                if (n == 0 || strncmp(other, id, n) != 0)
                        continue;
                begins = record;
                n_begins++;
                if (other[n] == '-') {
                        parts = record;
                        n_parts++;
                }
        }
        *ret_matches = n_begins;
        if (n_parts == 1)
                return parts;
        return n_begins == 1 ? begins : NULL;
}

int records_get(const char *root, const char *id, json_t **ret) {
        _cleanup_json_ json_t *records = NULL;
        const json_t *record;
        size_t bad, matches = 0;
        char reason[64];
        int r;

        r = records_load(root, &records, &bad);
        if (r < 0)
                return print_errno(PATH_LOG, r, "run as root, and see `coresieve audit verify`");
        record = find(records, id, &matches);
        if (record) {
                *ret = json_incref((json_t *)record);
                return CLI_DONE;
        }
        if (matches == 0)
                return print_error(id, "no such record", "see `coresieve list`");
        (void)snprintf(reason, sizeof(reason), "%zu records begin so", matches);
        return print_error(id, reason, "give more of the id");
}
