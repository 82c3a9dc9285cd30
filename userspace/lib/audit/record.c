#include "audit/record.h"

#include <errno.h>
#include <limits.h>
#include <sha2.h>
#include <stdio.h>
#include <string.h>

#include "audit/record_json.h"
#include "audit/record_text.h"
#include "base/cleanup.h"

/* Texts are cut to RECORD_TEXT_MAX and, while the line is still too long, to half of that. With
 * all of them at 16 bytes a body is under 20 KiB. */
#define TEXT_MIN 16U

static const char *const event_names[_EVENT_MAX] = {
        [EVENT_CRASH] = "crash",
        [EVENT_ACCESS] = "access",
        [EVENT_RECOVERED] = "recovered",
        [EVENT_BREAK] = "break",
};

const char *event_to_string(enum record_event event) {
        return (unsigned)event < _EVENT_MAX ? event_names[event] : "unknown";
}

void record_hash(const void *bytes, size_t n, char ret[RECORD_HASH_SIZE]) {
        (void)SHA256Data(bytes, n, ret);
}

static int put_access(const struct record *record, struct record_json *json) {
        record_put_text(json, "verb", &record->verb);
        record_put_text(json, "target", &record->target_id);
        record_put(json, "uid", json_integer((json_int_t)record->actor_uid));
        /* (uid_t)-1: no login stands behind it, a service or a boot script */
        record_put(json, "loginuid",
                   record->actor_loginuid == (uid_t)-1
                           ? json_null()
                           : json_integer((json_int_t)record->actor_loginuid));
        record_put_text(json, "destination", &record->destination);
        return json->error;
}

static int put_recovered(const struct record *record, struct record_json *json) {
        record_put_u64(json, "bytes", record->torn_bytes);
        record_put(json, "sha256", json_string(record->torn_hash));
        record_put_text(json, "text", &record->torn_text);
        return json->error;
}

static void put_link(struct record_json *json, const char *key, const struct record_link *link) {
        struct record_json inner = { .object = json_object(), .text_max = json->text_max };

        record_put_u64(&inner, "seq", link->seq);
        record_put(&inner, "hash", json_string(link->hash));
        record_put_inner(json, key, &inner);
}

static int put_break(const struct record *record, struct record_json *json) {
        record_put(json, "reason", json_string(record->break_reason));
        put_link(json, "expected", &record->expected);
        put_link(json, "found", &record->found);
        return json->error;
}

static int put_event(const struct record *record, struct record_json *json) {
        switch (record->event) {
        case EVENT_CRASH:
                return record_put_crash(record, json);
        case EVENT_ACCESS:
                return put_access(record, json);
        case EVENT_RECOVERED:
                return put_recovered(record, json);
        case EVENT_BREAK:
                return put_break(record, json);
        default:
                return -EINVAL;
        }
}

static int body_format(const struct record *record, size_t text_max, char **ret) {
        struct record_json json = { .object = json_object(), .text_max = text_max };
        char *body;
        int r;

        record_put_envelope(record, &json);
        r = put_event(record, &json);
        if (r < 0) {
                json_decref(json.object);
                return r;
        }
        body = json_dumps(json.object, JSON_COMPACT | JSON_ENSURE_ASCII);
        json_decref(json.object);
        if (!body)
                return -ENOMEM;
        *ret = body;
        return 0;
}

int record_body(const struct record *record, char **ret, size_t *ret_size) {
        for (size_t max = RECORD_TEXT_MAX; max >= TEXT_MIN; max /= 2) {
                _cleanup_free_ char *body = NULL;
                int r = body_format(record, max, &body);

                if (r < 0)
                        return r;
                if (strlen(body) <= RECORD_LINE_MAX - RECORD_CHAIN_MAX) {
                        *ret_size = strlen(body);
                        *ret = TAKE_PTR(body);
                        return 0;
                }
        }
        return -E2BIG;
}

int record_line(const char *body, size_t body_size, const struct record_link *prev, char **ret,
                size_t *ret_size) {
        _cleanup_free_ char *line = NULL;
        int head;

        if (body_size < 2 || body_size > RECORD_LINE_MAX - RECORD_CHAIN_MAX || body[0] != '{' ||
            body[1] != '"' || body[body_size - 1] != '}')
                return -EBADMSG;
        line = malloc(RECORD_CHAIN_MAX + body_size + 1);
        if (!line)
                return -ENOMEM;
        head = snprintf(line, RECORD_CHAIN_MAX, "{\"v\":%d,\"seq\":\"%llu\",\"prev\":\"%s\",",
                        RECORD_SCHEMA, (unsigned long long)prev->seq + 1, prev->hash);
        if (head < 0 || (unsigned)head >= RECORD_CHAIN_MAX)
                return -EBADMSG;
        memcpy(line + head, body + 1, body_size - 1);
        line[(size_t)head + body_size - 1] = '\0';
        *ret_size = (size_t)head + body_size - 1;
        *ret = TAKE_PTR(line);
        return 0;
}
