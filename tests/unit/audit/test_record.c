/* A record is one line of plain ASCII JSON of a known schema, whatever a process calls itself. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>

#include "audit/record.h"
#include "audit/record_text.h"
#include "bpf/tags.h"
#include "secret/needle.h"
#include "tests/unit/scratch.h"

#define TEXT(literal) ((struct record_text){ (literal), sizeof(literal) - 1 })

/* The largest a record can be asked to hold. */
#define HUGE_TEXT 8192U

static struct record *record_new(void) {
        struct record *record = calloc(1, sizeof(*record));

        assert_non_null(record);
        strcpy(record->id, "0123abcd-7-00112233445566ff");
        record->time = (struct timespec){ 1700000000, 42 };
        record->dump_mode = -1;
        return record;
}

static struct record *crash_new(void) {
        struct record *record = record_new();
        struct sieve_report *report = &record->worker.report;

        record->pid = 4711;
        record->tid = 4712;
        record->uid = 33;
        record->gid = 34;
        record->signal = 11;
        record->comm = TEXT("nginx");
        record->exe = TEXT("/usr/sbin/nginx");
        record->cgroup = TEXT("/system.slice/nginx.service");
        record->unit = TEXT("nginx.service");
        record->start_ticks = UINT64_MAX;
        record->rlimit = TEXT("18446744073709551615");
        record->dump_mode = 1;
        record->verdict.content = CONTENT_STACKS;
        record->verdict.causes = CAUSE_BIT(CAUSE_NEEDLE_MISSING) | CAUSE_BIT(CAUSE_POLICY_CONTENT);
        record->tag_state = TAG_STATE_TAGGED;
        record->tag_since_ns = 99;
        record->tag_reasons = TAG_REASON_FILE | 0x80000000U;
        record->n_labels = 3;
        record->labels[0] = (struct record_label){ TEXT("tls"), false, HOLDER_FOREIGN };
        record->labels[1] = (struct record_label){ TEXT("signing"), false, HOLDER_ALLOWED };
        record->labels[2] = (struct record_label){ TEXT("vault"), true, HOLDER_ANY };
        record->n_files = 2;
        record->files[0] = (struct record_file){
                .path = TEXT("/etc/ssl/private/a.key"),
                .label = TEXT("tls"),
                .dev = (8U << 20) | 3U,
                .ino = 77,
                .fragments = 5,
                .flags = NEEDLE_KEY | NEEDLE_LARGE,
        };
        record->files[1] = (struct record_file){ .label = TEXT("tls") };
        record->kept = true;
        record->path = TEXT("/var/lib/coresieve/dumps/x.core.zst");
        record->size = 1000;
        record->has_worker = true;
        record->worker.stage = STAGE_KEEP;
        record->worker.landlock = 6;
        report->core_size = 1U << 30;
        report->erased[REASON_NEEDLE] = 640;
        report->erased[REASON_STACK] = 8;
        report->found[DETECT_PEM] = 1;
        report->found_encrypted = 2;
        report->hits[SIEVE_ORIGIN_VALUES] = 3;
        report->hits[SIEVE_ORIGIN_DETECTED] = 4;
        report->unwind = (struct unwind_result){ UNWIND_SAME, 2, 17 };
        record->duration_ns[STAGE_LEARN] = 1234567;
        record->has_policy = true;
        record->policy_digest[0] = 0xab;
        record->policy_digest[31] = 0xcd;
        return record;
}

static char *body_of(const struct record *record) {
        char *body = NULL;
        size_t size;

        assert_int_equal(record_body(record, &body, &size), 0);
        assert_int_equal(strlen(body), size);
        assert_true(size <= RECORD_LINE_MAX - RECORD_CHAIN_MAX);
        for (size_t i = 0; i < size; i++)
                assert_true(body[i] >= ' ' && body[i] <= '~');
        return body;
}

static json_t *parsed(const char *body) {
        json_t *object = json_loads(body, JSON_REJECT_DUPLICATES, NULL);

        assert_non_null(object);
        return object;
}

/* What depends on this host, taken out. */
static char *masked(const char *body) {
        static const char *const keys[] = { "\"boot_id\":\"", "\"host\":\"" };
        char *out = strdup(body);

        for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
                char *at = strstr(out, keys[i]);

                assert_non_null(at);
                at += strlen(keys[i]);
                memmove(at, strchr(at, '"'), strlen(strchr(at, '"')) + 1);
        }
        return out;
}

#define ENVELOPE(event)                                                                            \
        "{\"id\":\"0123abcd-7-00112233445566ff\",\"event\":\"" event                               \
        "\",\"time\":\"2023-11-14T22:13:20.000000042Z\",\"boot_id\":\"\",\"host\":\"\","

static void a_crash_has_exactly_the_keys_of_schema_1_in_their_order(void **state) {
        static const char expected[] = ENVELOPE("crash") //
                "\"pid\":4711,\"tid\":4712,\"uid\":33,\"gid\":34,\"signal\":11,"
                "\"comm\":\"nginx\",\"exe\":\"/usr/sbin/nginx\","
                "\"cgroup\":\"/system.slice/nginx.service\",\"unit\":\"nginx.service\","
                "\"start_ticks\":\"18446744073709551615\","
                "\"rlimit\":\"18446744073709551615\",\"dump_mode\":1,"
                "\"verdict\":{\"content\":\"stacks\",\"wrap\":\"plain\","
                "\"causes\":[\"policy-content\",\"needle-missing\"]},"
                "\"tag\":{\"state\":\"tagged\",\"since_ns\":\"99\","
                "\"reasons\":[\"file\",\"0x80000000\"],\"labels\":["
                "{\"label\":\"tls\",\"rule\":\"secret\",\"holder\":\"foreign\"},"
                "{\"label\":\"signing\",\"rule\":\"secret\",\"holder\":\"allowed\"},"
                "{\"label\":\"vault\",\"rule\":\"process\",\"holder\":null}],\"files\":["
                "{\"path\":\"/etc/ssl/private/a.key\",\"label\":\"tls\",\"dev\":\"8:3\","
                "\"ino\":\"77\",\"fragments\":\"5\",\"flags\":[\"large\",\"key\"]},"
                "{\"path\":null,\"label\":\"tls\",\"dev\":\"0:0\",\"ino\":\"0\","
                "\"fragments\":\"0\",\"flags\":[]}]},"
                "\"outcome\":\"kept\",\"path\":\"/var/lib/coresieve/dumps/x.core.zst\","
                "\"size\":\"1000\",\"core_size\":\"1073741824\","
                "\"erased\":{\"needle\":\"640\",\"stack\":\"8\"},\"found\":{\"pem\":\"1\"},"
                "\"found_encrypted\":\"2\",\"hits\":{\"values\":\"3\",\"detected\":\"4\"},"
                "\"unwind\":{\"result\":\"same\",\"threads\":2,\"frames\":17},"
                "\"durations_us\":{\"intake\":0,\"head\":0,\"needles\":0,\"plan\":0,"
                "\"learn\":1234,\"unwind\":0,\"emit\":0,\"keep\":0},"
                "\"worker\":{\"stage\":\"keep\",\"error\":null,\"signal\":null,\"landlock\":6,"
                "\"fault_offset\":\"0\"},\"policy_digest\":\"ab00000000000000"
                "0000000000000000000000000000000000000000000000cd\"}";
        _cleanup_free_ struct record *record = crash_new();
        _cleanup_free_ char *body = body_of(record), *text = masked(body);

        (void)state;
        assert_string_equal(text, expected);
}

static void a_crash_without_a_worker_has_the_same_keys_with_null(void **state) {
        _cleanup_free_ struct record *whole = crash_new(), *bare = record_new();
        _cleanup_free_ char *a = body_of(whole), *b = body_of(bare);
        json_t *x = parsed(a), *y = parsed(b), *value;
        void *i = json_object_iter(x), *k = json_object_iter(y);
        static const char *const nulls[] = { "exe",    "path", "size",   "core_size",    "erased",
                                             "unwind", "hits", "worker", "policy_digest" };

        (void)state;
        while (i && k) {
                assert_string_equal(json_object_iter_key(i), json_object_iter_key(k));
                i = json_object_iter_next(x, i);
                k = json_object_iter_next(y, k);
        }
        assert_true(!i && !k);
        for (size_t n = 0; n < ARRAY_SIZE(nulls); n++) {
                value = json_object_get(y, nulls[n]);
                assert_true(json_is_null(value));
        }
        assert_string_equal(json_string_value(json_object_get(y, "outcome")), "metadata");
        json_decref(x);
        json_decref(y);
}

static void a_worker_killed_without_an_answer_is_told_with_its_signal(void **state) {
        _cleanup_free_ struct record *record = record_new();
        _cleanup_free_ char *body = NULL;

        (void)state;
        record->worker_signal = 31;
        record->worker.stage = _STAGE_MAX; /* nothing of an answer that never came is read */
        body = body_of(record);
        assert_non_null(strstr(
                body, "\"worker\":{\"stage\":null,\"error\":null,\"signal\":31,\"landlock\":null,"
                      "\"fault_offset\":null}"));
}

static void a_workers_error_has_its_name(void **state) {
        _cleanup_free_ struct record *record = crash_new();
        _cleanup_free_ char *body = NULL;

        (void)state;
        record->worker.error = -EBADMSG;
        record->worker.stage = STAGE_HEAD;
        record->worker.fault_offset = UINT64_MAX;
        body = body_of(record);
        assert_non_null(strstr(
                body, "\"worker\":{\"stage\":\"head\",\"error\":\"EBADMSG\","
                      "\"signal\":null,\"landlock\":6,\"fault_offset\":\"18446744073709551615\"}"));
}

static void an_access_has_exactly_its_keys(void **state) {
        static const char expected[] = ENVELOPE("access") //
                "\"verb\":\"extract\",\"target\":\"0123abcd-6-aa\",\"uid\":0,\"loginuid\":null,"
                "\"destination\":\"/root/core\"}";
        _cleanup_free_ struct record *record = record_new();
        _cleanup_free_ char *body = NULL, *text = NULL;

        (void)state;
        record->event = EVENT_ACCESS;
        record->verb = TEXT("extract");
        record->target_id = TEXT("0123abcd-6-aa");
        record->actor_loginuid = (uid_t)-1;
        record->destination = TEXT("/root/core");
        body = body_of(record);
        text = masked(body);
        assert_string_equal(text, expected);
}

static unsigned value_of(char c) {
        static const char digits[] =
                "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

        return (unsigned)(strchr(digits, c) - digits);
}

static size_t decode(const char *text, unsigned char *out) {
        size_t n = 0;

        for (; *text; text += 4) {
                unsigned pad = (text[2] == '=') + (text[3] == '=');
                unsigned group = value_of(text[0]) << 18 | value_of(text[1]) << 12 |
                                 (pad < 2 ? value_of(text[2]) << 6 : 0) |
                                 (pad < 1 ? value_of(text[3]) : 0);

                for (unsigned i = 0; i < 3 - pad; i++)
                        out[n++] = (unsigned char)(group >> (16 - 8 * i));
        }
        return n;
}

static void every_byte_of_a_hostile_name_is_told_and_none_breaks_the_line(void **state) {
        _cleanup_free_ struct record *record = crash_new();
        char all[256];

        (void)state;
        for (unsigned i = 0; i < 256; i++)
                all[i] = (char)i;
        for (size_t size = 1; size <= sizeof(all); size++) {
                _cleanup_free_ char *body = NULL;
                unsigned char back[256];
                const char *twin;
                json_t *object;

                record->comm = (struct record_text){ all + sizeof(all) - size, size };
                body = body_of(record);
                object = parsed(body);
                twin = json_string_value(json_object_get(object, "comm_b64"));
                assert_non_null(twin);
                assert_int_equal(decode(twin, back), size);
                assert_memory_equal(back, record->comm.bytes, size);
                json_decref(object);
        }
}

static void each_single_byte_comes_back_from_its_text_or_its_twin(void **state) {
        (void)state;
        for (unsigned i = 0; i < 256; i++) {
                json_t *object = json_object();
                char byte = (char)i;
                bool plain = i > 0 && i < 127;

                assert_int_equal(text_put(object, "comm", &byte, 1, 16), 0);
                assert_int_equal(json_object_get(object, "comm_b64") == NULL, plain);
                assert_null(json_object_get(object, "comm_cut"));
                if (plain)
                        assert_memory_equal(json_string_value(json_object_get(object, "comm")),
                                            &byte, 1);
                else
                        assert_string_equal(json_string_value(json_object_get(object, "comm")),
                                            "\xEF\xBF\xBD");
                json_decref(object);
        }
}

static void only_shortest_forms_of_real_characters_are_utf8(void **state) {
        static const struct {
                const char *bytes;
                size_t size, sequence;
        } cases[] = {
                { "", 0, 0 },
                { "a", 1, 1 },
                { "\x7f", 1, 1 },
                { "\x80", 1, 0 },             /* a continuation alone */
                { "\xc0\x80", 2, 0 },         /* overlong NUL */
                { "\xc1\xbf", 2, 0 },         /* overlong */
                { "\xc2\x80", 2, 2 },         /* U+0080 */
                { "\xc2", 1, 0 },             /* cut */
                { "\xc2\x41", 2, 0 },         /* no continuation */
                { "\xe0\x9f\xbf", 3, 0 },     /* overlong */
                { "\xe0\xa0\x80", 3, 3 },     /* U+0800 */
                { "\xed\x9f\xbf", 3, 3 },     /* U+D7FF */
                { "\xed\xa0\x80", 3, 0 },     /* surrogate */
                { "\xe2\x82\xac", 3, 3 },     /* U+20AC */
                { "\xe2\x82", 2, 0 },         /* cut */
                { "\xf0\x8f\xbf\xbf", 4, 0 }, /* overlong */
                { "\xf0\x90\x80\x80", 4, 4 }, /* U+10000 */
                { "\xf4\x8f\xbf\xbf", 4, 4 }, /* U+10FFFF */
                { "\xf4\x90\x80\x80", 4, 0 }, /* past Unicode */
                { "\xf5\x80\x80\x80", 4, 0 }, /* past Unicode */
                { "\xff", 1, 0 },
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
                assert_int_equal(
                        text_sequence((const unsigned char *)cases[i].bytes, cases[i].size),
                        cases[i].sequence);
}

static void long_text_is_cut_between_characters_and_says_so(void **state) {
        static const struct {
                const char *text, *expected;
        } cases[] = {
                { "0123456789abcdefg", "0123456789abcdef" },
                { "0123456789abcde\xc3\xa4g", "0123456789abcde" },
                { "0123456789abcd\xe2\x82\xacg", "0123456789abcd" },
                { "0123456789abc\xf0\x90\x80\x80g", "0123456789abc" },
                { "0123456789ab\xf0\x90\x80\x80g", "0123456789ab\xf0\x90\x80\x80" },
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                json_t *object = json_object();
                size_t size = strlen(cases[i].text);

                assert_int_equal(text_put(object, "exe", cases[i].text, size, 16), 0);
                assert_string_equal(json_string_value(json_object_get(object, "exe")),
                                    cases[i].expected);
                assert_null(json_object_get(object, "exe_b64"));
                assert_int_equal(json_integer_value(json_object_get(object, "exe_cut")), size);
                json_decref(object);
        }
}

static void text_of_exactly_the_limit_is_not_cut(void **state) {
        json_t *object = json_object();

        (void)state;
        assert_int_equal(text_put(object, "exe", "0123456789abcdef", 16, 16), 0);
        assert_null(json_object_get(object, "exe_cut"));
        json_decref(object);
}

static void the_largest_and_most_hostile_record_still_fits_its_line(void **state) {
        _cleanup_free_ struct record *record = crash_new();
        _cleanup_free_ char *huge = malloc(HUGE_TEXT), *body = NULL;
        struct record_text text = { huge, HUGE_TEXT };
        json_t *object, *files, *labels;

        (void)state;
        memset(huge, 0xff, HUGE_TEXT); /* 6 bytes each as \ufffd, and a twin */
        record->comm = record->exe = record->cgroup = record->unit = record->rlimit = text;
        record->path = text;
        record->n_labels = RECORD_LABELS_MAX + 1;
        record->n_labels_lost = record->n_files_lost = SIZE_MAX >> 1;
        for (size_t i = 0; i < RECORD_LABELS_MAX; i++)
                record->labels[i] = (struct record_label){ text, true, _HOLDER_MAX };
        record->n_files = RECORD_FILES_MAX + 1; /* more than there are: only those are read */
        for (size_t i = 0; i < RECORD_FILES_MAX; i++)
                record->files[i] = (struct record_file){ text,       text,       UINT64_MAX,
                                                         UINT64_MAX, UINT64_MAX, UINT32_MAX };
        record->verdict.causes = UINT64_MAX;
        for (unsigned i = 1; i < _REASON_MAX; i++)
                record->worker.report.erased[i] = UINT64_MAX;
        body = body_of(record);
        object = parsed(body);
        files = json_object_get(json_object_get(object, "tag"), "files");
        assert_int_equal(json_array_size(files), RECORD_FILES_MAX);
        labels = json_object_get(json_object_get(object, "tag"), "labels");
        assert_int_equal(json_array_size(labels), RECORD_LABELS_MAX);
        assert_int_equal(json_integer_value(json_object_get(object, "exe_cut")), HUGE_TEXT);
        json_decref(object);
}

static void lists_that_were_cut_say_how_much_is_missing(void **state) {
        _cleanup_free_ struct record *record = crash_new();
        _cleanup_free_ char *whole = body_of(record), *cut = NULL;

        (void)state;
        assert_null(strstr(whole, "_cut"));
        record->n_labels_lost = 2;
        record->n_files_lost = 3;
        cut = body_of(record);
        assert_non_null(strstr(cut, "}],\"labels_cut\":2,\"files\":["));
        assert_non_null(strstr(cut, "}],\"files_cut\":3}"));
}

static void a_line_is_the_body_behind_its_place_in_the_chain(void **state) {
        struct record_link prev = { .seq = 41, .hash = RECORD_HASH_ZERO };
        _cleanup_free_ char *line = NULL;
        size_t size;

        (void)state;
        assert_int_equal(record_line("{\"id\":\"a\"}", 10, &prev, &line, &size), 0);
        assert_string_equal(line, "{\"v\":1,\"seq\":\"42\",\"prev\":\"" RECORD_HASH_ZERO
                                  "\",\"id\":\"a\"}");
        assert_int_equal(size, strlen(line));
}

static void what_is_no_body_is_not_chained(void **state) {
        static const char *const bodies[] = { "", "{", "{}", "[\"a\"]", "{\"a\":1", "x\"a\"}" };
        _cleanup_free_ char *large = malloc(RECORD_LINE_MAX), *line = NULL;
        struct record_link prev = { .hash = RECORD_HASH_ZERO };
        size_t size;

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(bodies); i++)
                assert_int_equal(record_line(bodies[i], strlen(bodies[i]), &prev, &line, &size),
                                 -EBADMSG);
        memset(large, '"', RECORD_LINE_MAX);
        large[0] = '{';
        large[RECORD_LINE_MAX - RECORD_CHAIN_MAX] = '}';
        assert_int_equal(
                record_line(large, RECORD_LINE_MAX - RECORD_CHAIN_MAX + 1, &prev, &line, &size),
                -EBADMSG);
        large[RECORD_LINE_MAX - RECORD_CHAIN_MAX - 1] = '}';
        assert_int_equal(
                record_line(large, RECORD_LINE_MAX - RECORD_CHAIN_MAX, &prev, &line, &size), 0);
        assert_true(size <= RECORD_LINE_MAX);
}

static void ids_are_fit_for_file_names_and_count_up(void **state) {
        struct scratch *s = *state;
        _cleanup_close_ int run = open(s->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        char first[RECORD_ID_SIZE], second[RECORD_ID_SIZE], none[RECORD_ID_SIZE];

        record_new_id(run, first);
        record_new_id(run, second);
        record_new_id(-1, none);
        assert_true(record_is_id(first, strlen(first)));
        assert_memory_equal(first + 8, "-1-", 3);
        assert_memory_equal(second + 8, "-2-", 3);
        assert_memory_equal(none + 8, "-0-", 3);
        assert_memory_equal(first, none, 8);
        assert_string_not_equal(first + 11, second + 11);
}

static void the_largest_counter_still_fits_the_id(void **state) {
        struct scratch *s = *state;
        _cleanup_close_ int run = open(s->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        char id[RECORD_ID_SIZE];

        assert_int_equal(scratch_save(s, "/counter", "18446744073709551614", 20), 0);
        record_new_id(run, id);
        assert_memory_equal(id + 8, "-18446744073709551615-", 22);
        assert_int_equal(strlen(id), RECORD_ID_SIZE - 2);
}

static void an_untrusted_counter_costs_the_number_not_the_id(void **state) {
        struct scratch *s = *state;
        _cleanup_close_ int run = open(s->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        char id[RECORD_ID_SIZE];

        assert_int_equal(symlink("/etc/passwd", scratch_path(s, "/counter")), 0);
        record_new_id(run, id);
        assert_memory_equal(id + 8, "-0-", 3);
}

static void what_could_leave_the_store_is_no_id(void **state) {
        static const char *const bad[] = { "",
                                           "..",
                                           "a/b",
                                           "-a",
                                           "abc.d",
                                           "ABCD",
                                           "g",
                                           "0123456789012345678901234567890"
                                           "12345678901234567" };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
                assert_false(record_is_id(bad[i], strlen(bad[i])));
        assert_false(record_is_id("a\0b", 3));
        assert_true(record_is_id("0123abcd-7-00112233445566ff", 27));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_crash_has_exactly_the_keys_of_schema_1_in_their_order),
                cmocka_unit_test(a_crash_without_a_worker_has_the_same_keys_with_null),
                cmocka_unit_test(a_worker_killed_without_an_answer_is_told_with_its_signal),
                cmocka_unit_test(a_workers_error_has_its_name),
                cmocka_unit_test(an_access_has_exactly_its_keys),
                cmocka_unit_test(every_byte_of_a_hostile_name_is_told_and_none_breaks_the_line),
                cmocka_unit_test(each_single_byte_comes_back_from_its_text_or_its_twin),
                cmocka_unit_test(only_shortest_forms_of_real_characters_are_utf8),
                cmocka_unit_test(long_text_is_cut_between_characters_and_says_so),
                cmocka_unit_test(text_of_exactly_the_limit_is_not_cut),
                cmocka_unit_test(the_largest_and_most_hostile_record_still_fits_its_line),
                cmocka_unit_test(lists_that_were_cut_say_how_much_is_missing),
                cmocka_unit_test(a_line_is_the_body_behind_its_place_in_the_chain),
                cmocka_unit_test(what_is_no_body_is_not_chained),
                cmocka_unit_test_setup_teardown(ids_are_fit_for_file_names_and_count_up,
                                                scratch_setup, scratch_teardown),
                cmocka_unit_test_setup_teardown(the_largest_counter_still_fits_the_id,
                                                scratch_setup, scratch_teardown),
                cmocka_unit_test_setup_teardown(an_untrusted_counter_costs_the_number_not_the_id,
                                                scratch_setup, scratch_teardown),
                cmocka_unit_test(what_could_leave_the_store_is_no_id),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
