/* The keys of a crash. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "audit/record_json.h"
#include "audit/record_text.h"
#include "base/cleanup.h"
#include "bpf/tags.h"
#include "secret/detect.h"
#include "secret/needle.h"
#include "sieve/reason.h"

#define NS_PER_US 1000U
#define NAME_SIZE 64U
#define HASH_BYTES 32U

struct flag_name {
        uint32_t bit;
        const char *name;
};

static const struct flag_name reason_names[] = {
        { TAG_REASON_FILE, "file" },
        { TAG_REASON_UNKNOWN_HISTORY, "unknown-history" },
};

static const struct flag_name needle_names[] = {
        { NEEDLE_TOO_SHORT, "too-short" },      { NEEDLE_LARGE, "large" },
        { NEEDLE_ENCRYPTED, "encrypted" },      { NEEDLE_KEY, "key" },
        { RECORD_FILE_UNWATCHED, "unwatched" },
};

static const char *const state_names[_TAG_STATE_MAX] = {
        [TAG_STATE_CLEAN] = "clean",
        [TAG_STATE_TAGGED] = "tagged",
        [TAG_STATE_UNKNOWN] = "unknown-history",
        [TAG_STATE_BLIND] = "blind",
};

static const char *const holder_names[_HOLDER_MAX] = {
        [HOLDER_ALLOWED] = "allowed",
        [HOLDER_FOREIGN] = "foreign",
};

static void put_flags(struct record_json *json, const char *key, uint32_t bits,
                      const struct flag_name *names, size_t n) {
        json_t *array = json_array();

        for (size_t i = 0; i < n; i++) {
                if (bits & names[i].bit)
                        record_append(array, json, json_string(names[i].name));
                bits &= ~names[i].bit;
        }
        /* A bit that has no name yet is still told. */
        for (uint32_t bit = 1; bits; bit <<= 1) {
                char name[NAME_SIZE];

                if (!(bits & bit))
                        continue;
                (void)snprintf(name, sizeof(name), "0x%" PRIx32, bit);
                record_append(array, json, json_string(name));
                bits &= ~bit;
        }
        record_put(json, key, array);
}

static struct record_json inner_of(const struct record_json *json) {
        return (struct record_json){ .object = json_object(), .text_max = json->text_max };
}

static void put_process(const struct record *record, struct record_json *json) {
        record_put(json, "pid", json_integer(record->pid));
        record_put(json, "tid", json_integer(record->tid));
        record_put(json, "uid", json_integer((json_int_t)record->uid));
        record_put(json, "gid", json_integer((json_int_t)record->gid));
        record_put(json, "signal", json_integer(record->signal));
        record_put_text(json, "comm", &record->comm);
        record_put_text(json, "exe", &record->exe);
        record_put_text(json, "cgroup", &record->cgroup);
        record_put_text(json, "unit", &record->unit);
        record_put_u64(json, "start_ticks", record->start_ticks);
        record_put_text(json, "rlimit", &record->rlimit);
        record_put(json, "dump_mode",
                   record->dump_mode < 0 ? json_null() : json_integer(record->dump_mode));
}

static void put_verdict(const struct record *record, struct record_json *json) {
        struct record_json inner = inner_of(json);
        json_t *causes = json_array();

        for (unsigned cause = 0; cause < _CAUSE_MAX; cause++)
                if (record->verdict.causes & CAUSE_BIT(cause))
                        record_append(causes, &inner, json_string(cause_to_string(cause)));
        record_put(&inner, "content", json_string(content_to_string(record->verdict.content)));
        record_put(&inner, "wrap", json_string(wrap_to_string(record->verdict.wrap)));
        record_put(&inner, "causes", causes);
        record_put_inner(json, "verdict", &inner);
}

static json_t *file_object(const struct record_file *file, struct record_json *outer) {
        struct record_json json = inner_of(outer);
        char dev[NAME_SIZE];

        (void)snprintf(dev, sizeof(dev), "%" PRIu64 ":%" PRIu64, file->dev >> 20,
                       file->dev & 0xfffff);
        record_put_text(&json, "path", &file->path);
        record_put_text(&json, "label", &file->label);
        record_put(&json, "dev", json_string(dev));
        record_put_u64(&json, "ino", file->ino);
        record_put_u64(&json, "fragments", file->fragments);
        put_flags(&json, "flags", file->flags, needle_names, ARRAY_SIZE(needle_names));
        if (json.error < 0 && outer->error == 0)
                outer->error = json.error;
        return json.object;
}

static json_t *label_object(const struct record_label *label, struct record_json *outer) {
        struct record_json json = inner_of(outer);
        const char *holder =
                (unsigned)label->holder < _HOLDER_MAX ? holder_names[label->holder] : NULL;

        record_put_text(&json, "label", &label->label);
        record_put(&json, "rule", json_string(label->process ? "process" : "secret"));
        record_put(&json, "holder", holder ? json_string(holder) : json_null());
        if (json.error < 0 && outer->error == 0)
                outer->error = json.error;
        return json.object;
}

static void put_list(struct record_json *json, const char *key, json_t *list, size_t lost) {
        char twin[NAME_SIZE];

        record_put(json, key, list);
        if (lost == 0)
                return;
        (void)snprintf(twin, sizeof(twin), "%s_cut", key);
        record_put(json, twin, json_integer((json_int_t)lost));
}

static void put_tag(const struct record *record, struct record_json *json) {
        size_t n_files = record->n_files < RECORD_FILES_MAX ? record->n_files : RECORD_FILES_MAX;
        size_t n_labels =
                record->n_labels < RECORD_LABELS_MAX ? record->n_labels : RECORD_LABELS_MAX;
        struct record_json inner = inner_of(json);
        json_t *labels = json_array(), *files = json_array();

        for (size_t i = 0; i < n_labels; i++)
                record_append(labels, &inner, label_object(&record->labels[i], &inner));
        for (size_t i = 0; i < n_files; i++)
                record_append(files, &inner, file_object(&record->files[i], &inner));
        record_put(&inner, "state",
                   (unsigned)record->tag_state < _TAG_STATE_MAX
                           ? json_string(state_names[record->tag_state])
                           : json_null());
        record_put_u64(&inner, "since_ns", record->tag_since_ns);
        put_flags(&inner, "reasons", record->tag_reasons, reason_names, ARRAY_SIZE(reason_names));
        put_list(&inner, "labels", labels, record->n_labels_lost);
        put_list(&inner, "files", files, record->n_files_lost);
        record_put_inner(json, "tag", &inner);
}

static void put_report(const struct record *record, struct record_json *json) {
        const struct sieve_report *report = &record->worker.report;
        struct record_json erased = inner_of(json), found = inner_of(json), hits = inner_of(json),
                           unwind = inner_of(json);

        record_put_u64(json, "core_size", report->core_size);
        for (unsigned reason = 1; reason < _REASON_MAX; reason++)
                if (report->erased[reason])
                        record_put_u64(&erased, reason_to_string(reason), report->erased[reason]);
        record_put_inner(json, "erased", &erased);
        for (unsigned detector = 0; detector < _DETECT_MAX; detector++)
                if (report->found[detector])
                        record_put_u64(&found, detector_to_string(detector),
                                       report->found[detector]);
        record_put_inner(json, "found", &found);
        record_put_u64(json, "found_encrypted", report->found_encrypted);
        record_put_u64(&hits, "values", report->hits[SIEVE_ORIGIN_VALUES]);
        record_put_u64(&hits, "detected", report->hits[SIEVE_ORIGIN_DETECTED]);
        record_put_inner(json, "hits", &hits);
        record_put(&unwind, "result",
                   (unsigned)report->unwind.outcome < _UNWIND_OUTCOME_MAX
                           ? json_string(unwind_outcome_to_string(report->unwind.outcome))
                           : json_null());
        record_put(&unwind, "threads", json_integer((json_int_t)report->unwind.threads));
        record_put(&unwind, "frames", json_integer((json_int_t)report->unwind.frames));
        record_put_inner(json, "unwind", &unwind);
}

static void put_no_report(struct record_json *json) {
        static const char *const keys[] = { "core_size",       "erased", "found",
                                            "found_encrypted", "hits",   "unwind" };

        for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
                record_put(json, keys[i], json_null());
}

static void put_durations(const struct record *record, struct record_json *json) {
        struct record_json inner = inner_of(json);

        for (unsigned stage = 0; stage < _STAGE_MAX; stage++)
                record_put(&inner, stage_to_string(stage),
                           json_integer((json_int_t)(record->duration_ns[stage] / NS_PER_US)));
        record_put_inner(json, "durations_us", &inner);
}

static json_t *error_name(int error) {
        const char *name = error < 0 ? strerrorname_np(-error) : NULL;
        char number[NAME_SIZE];

        if (error == 0)
                return json_null();
        if (name)
                return json_string(name);
        (void)snprintf(number, sizeof(number), "%d", error);
        return json_string(number);
}

static void put_worker(const struct record *record, struct record_json *json) {
        struct record_json inner = inner_of(json);
        bool told = record->has_worker;

        if (!told && !record->worker_signal) {
                json_decref(inner.object);
                record_put(json, "worker", json_null());
                return;
        }
        record_put(&inner, "stage",
                   told && record->worker.stage < _STAGE_MAX
                           ? json_string(stage_to_string(record->worker.stage))
                           : json_null());
        record_put(&inner, "error", told ? error_name(record->worker.error) : json_null());
        record_put(&inner, "signal",
                   record->worker_signal ? json_integer(record->worker_signal) : json_null());
        record_put(&inner, "landlock",
                   told ? json_integer((json_int_t)record->worker.landlock) : json_null());
        if (told)
                record_put_u64(&inner, "fault_offset", record->worker.fault_offset);
        else
                record_put(&inner, "fault_offset", json_null());
        record_put_inner(json, "worker", &inner);
}

static void put_digest(const struct record *record, struct record_json *json) {
        char hex[HASH_BYTES * 2 + 1];

        for (size_t i = 0; i < HASH_BYTES; i++)
                (void)snprintf(hex + 2 * i, 3, "%02x", record->policy_digest[i]);
        record_put(json, "policy_digest", record->has_policy ? json_string(hex) : json_null());
}

int record_put_crash(const struct record *record, struct record_json *json) {
        put_process(record, json);
        put_verdict(record, json);
        put_tag(record, json);
        record_put(json, "outcome", json_string(record->kept ? "kept" : "metadata"));
        record_put_text(json, "path", &record->path);
        if (record->kept)
                record_put_u64(json, "size", record->size);
        else
                record_put(json, "size", json_null());
        if (record->has_worker)
                put_report(record, json);
        else
                put_no_report(json);
        put_durations(record, json);
        put_worker(record, json);
        put_digest(record, json);
        return json->error;
}
