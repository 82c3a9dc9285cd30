/* coresieve list: every crash that left a record, oldest first, with what became of its dump. */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "audit/record.h"
#include "base/cleanup.h"
#include "base/paths.h"
#include "cli.h"
#include "keep/store.h"
#include "print.h"
#include "records.h"

#define TIME_SECONDS 19 /* columns of 2006-01-02T15:04:05 */

/* Every key is always there: a record that lacks one gives null. */
static int put(json_t *row, const char *key, json_t *value) {
        return json_object_set(row, key, value ? value : json_null());
}

/* Path and size of a dump that is there; null when there is none, or none any more. */
static int put_dump(json_t *row, const char *root, const char *id) {
        _cleanup_free_ char *path = NULL;
        struct stat st;

        if (store_path(root, id, &path) < 0 || lstat(path, &st) < 0)
                return put(row, "path", NULL) < 0 || put(row, "size", NULL) < 0 ? -1 : 0;
        if (json_object_set_new(row, "path", json_string(path)) < 0)
                return -1;
        return json_object_set_new(row, "size", json_integer(st.st_size));
}

static json_t *row_of(const json_t *record, const char *root) {
        static const char *const keys[] = { "id",   "time", "pid",    "uid",    "exe",
                                            "comm", "unit", "signal", "outcome" };
        static const char *const judged[] = { "content", "wrap", "causes" };
        const json_t *verdict = json_object_get(record, "verdict");
        json_t *row = json_object();
        bool bad = false;

        for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
                bad |= put(row, keys[i], json_object_get(record, keys[i])) < 0;
        for (size_t i = 0; i < ARRAY_SIZE(judged); i++)
                bad |= put(row, judged[i], json_object_get(verdict, judged[i])) < 0;
        bad |= put(row, "labels", json_object_get(json_object_get(record, "tag"), "labels")) < 0;
        bad |= put_dump(row, root, record_string(record, "id", "")) < 0;
        if (!bad)
                return row;
        json_decref(row);
        return NULL;
}

static int crashes(const json_t *records, const char *root, json_t **ret) {
        _cleanup_json_ json_t *rows = json_array();

        for (size_t i = 0; i < json_array_size(records); i++) {
                const json_t *record = json_array_get(records, i);

                if (strcmp(record_string(record, "event", ""), event_to_string(EVENT_CRASH)) != 0)
                        continue;
                if (json_array_append_new(rows, row_of(record, root)) < 0)
                        return -ENOMEM;
        }
        *ret = TAKE_PTR(rows);
        return *ret ? 0 : -ENOMEM;
}

static int id_columns(const json_t *rows) {
        size_t most = strlen("ID");

        for (size_t i = 0; i < json_array_size(rows); i++) {
                size_t n = strlen(record_string(json_array_get(rows, i), "id", ""));

                if (n > most)
                        most = n;
        }
        return (int)most;
}

/* What an administrator should not have to look for: a secret in hands that Holder= does not
 * name. */
static void print_foreign(const json_t *row) {
        const json_t *labels = json_object_get(row, "labels"), *label;
        const char *before = "  FOREIGN HOLDER of ";
        size_t i;

        json_array_foreach(labels, i, label) {
                if (strcmp(record_string(label, "holder", ""), "foreign") != 0)
                        continue;
                (void)fputs(before, stdout);
                (void)print_safe(stdout, record_string(label, "label", "?"));
                before = ", ";
        }
}

static void print_table(const json_t *rows) {
        int width = id_columns(rows);

        (void)printf("%-20s  %-*s  %7s  %3s  %-7s  %12s  %s\n", "TIME", width, "ID", "PID", "SIG",
                     "CONTENT", "SIZE", "EXE");
        for (size_t i = 0; i < json_array_size(rows); i++) {
                const json_t *row = json_array_get(rows, i), *size = json_object_get(row, "size");
                char bytes[24] = "-";

                if (json_is_integer(size))
                        (void)snprintf(bytes, sizeof(bytes), "%" JSON_INTEGER_FORMAT,
                                       json_integer_value(size));
                (void)printf("%.*sZ  %-*s  %7" JSON_INTEGER_FORMAT "  %3" JSON_INTEGER_FORMAT
                             "  %-7s  %12s  ",
                             TIME_SECONDS, record_string(row, "time", "?"), width,
                             record_string(row, "id", "?"),
                             json_integer_value(json_object_get(row, "pid")),
                             json_integer_value(json_object_get(row, "signal")),
                             record_string(row, "content", "?"), bytes);
                /* Without an exe the name it gave itself; both are its own to choose. */
                (void)print_safe(stdout,
                                 record_string(row, "exe", record_string(row, "comm", "-")));
                print_foreign(row);
                (void)putchar('\n');
        }
}

int cmd_list(const struct cli *cli, int argc, char **argv) {
        _cleanup_json_ json_t *records = NULL, *rows = NULL;
        size_t bad = 0;
        int r;

        if (argc != 1)
                return print_error(argv[1], "not understood", "usage: coresieve list [--json]");
        r = records_load(cli->root, &records, &bad);
        if (r < 0)
                return print_errno(PATH_LOG, r, "run as root, and see `coresieve audit verify`");
        r = crashes(records, cli->root, &rows);
        if (r < 0)
                return print_errno("list", r, "free some memory");
        if (bad > 0)
                (void)print_error(PATH_LOG, "some lines are no records",
                                  "see `coresieve audit verify`");
        if (cli->json)
                print_json(rows);
        else
                print_table(rows);
        return print_done(CLI_DONE);
}
