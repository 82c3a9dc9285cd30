#include "audit/record_json.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "audit/record_text.h"
#include "base/cleanup.h"
#include "base/io.h"

#define U64_DIGITS 21U /* and NUL */
#define TIME_SIZE 64U
#define HOST_SIZE 256U /* HOST_NAME_MAX is 64; other systems' names travel in merged logs */
#define BOOT_ID_SIZE 36U

void record_put(struct record_json *json, const char *key, json_t *value) {
        if (json_object_set_new(json->object, key, value) < 0 && json->error == 0)
                json->error = -ENOMEM;
}

void record_put_u64(struct record_json *json, const char *key, uint64_t value) {
        char digits[U64_DIGITS];

        (void)snprintf(digits, sizeof(digits), "%" PRIu64, value);
        record_put(json, key, json_string(digits));
}

void record_put_text(struct record_json *json, const char *key, const struct record_text *text) {
        int r = text_put(json->object, key, text->bytes, text->size, json->text_max);

        if (r < 0 && json->error == 0)
                json->error = r;
}

void record_put_inner(struct record_json *json, const char *key, struct record_json *inner) {
        if (inner->error < 0 && json->error == 0)
                json->error = inner->error;
        record_put(json, key, inner->object);
}

void record_append(json_t *array, struct record_json *json, json_t *value) {
        if (json_array_append_new(array, value) < 0 && json->error == 0)
                json->error = -ENOMEM;
}

static void put_time(struct record_json *json, const struct timespec *time) {
        char text[TIME_SIZE];
        struct tm utc;
        int r;

        if (!gmtime_r(&time->tv_sec, &utc)) {
                record_put(json, "time", json_null());
                return;
        }
        r = snprintf(text, sizeof(text), "%04d-%02d-%02dT%02d:%02d:%02d.%09ldZ", utc.tm_year + 1900,
                     utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec,
                     time->tv_nsec);
        record_put(json, "time",
                   r < 0 || (size_t)r >= sizeof(text) ? json_null() : json_string(text));
}

static void put_boot_id(struct record_json *json) {
        _cleanup_free_ char *boot = NULL;
        struct record_text text = { 0 };
        size_t size;

        /* Without procfs the id of the record still begins with zeros and says the same. */
        if (io_read_path(AT_FDCWD, "/proc/sys/kernel/random/boot_id", BOOT_ID_SIZE + 1, &boot,
                         &size) == 0)
                text = (struct record_text){ boot, strcspn(boot, "\n") };
        record_put_text(json, "boot_id", &text);
}

static void put_host(struct record_json *json) {
        char host[HOST_SIZE] = "";
        struct record_text text = { 0 };

        if (gethostname(host, sizeof(host) - 1) == 0)
                text = (struct record_text){ host, strlen(host) };
        record_put_text(json, "host", &text);
}

void record_put_envelope(const struct record *record, struct record_json *json) {
        record_put(json, "id", json_string(record->id));
        record_put(json, "event", json_string(event_to_string(record->event)));
        put_time(json, &record->time);
        put_boot_id(json);
        put_host(json);
}
