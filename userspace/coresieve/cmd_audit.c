/* coresieve audit verify | show | tail: is the log whole, and what does it say? */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "audit/log.h"
#include "audit/log_line.h"
#include "audit/record_text.h"
#include "base/cleanup.h"
#include "base/paths.h"
#include "cli.h"
#include "print.h"
#include "records.h"

#define LOG_SUFFIX ".jsonl"
#define TIP_SUFFIX ".tip"
#define TAIL_DEFAULT 10U
#define TAIL_MAX 100000U
#define TIME_SECONDS 19

/* --- verify ----------------------------------------------------------------------------------- */

struct answer {
        struct log_check check;
        int r; /* of log_verify() */
        bool no_tip;
        uint64_t pending; /* of the host's own log */
};

/* The tip of `x.jsonl` stands beside it as `x.tip`. */
static char *tip_of(const char *log) {
        size_t n = strlen(log), suffix = strlen(LOG_SUFFIX);
        char *tip;

        if (n > suffix && strcmp(log + n - suffix, LOG_SUFFIX) == 0)
                n -= suffix;
        return asprintf(&tip, "%.*s%s", (int)n, log, TIP_SUFFIX) < 0 ? NULL : tip;
}

static int answer_exit(const struct answer *answer) {
        if (answer->r == -EBADMSG)
                return CLI_FOUND;
        /* A chain without its tip may have lost its newest records: that is no answer. */
        return answer->r < 0 || answer->no_tip ? CLI_CANNOT : CLI_DONE;
}

static void print_answer(const char *name, const struct answer *answer) {
        const struct log_check *check = &answer->check;

        if (answer->r == -EBADMSG) {
                (void)printf("%s: broken at line %" PRIu64 ": %s\n", name, check->bad_line,
                             check->what);
                (void)printf("  %" PRIu64 " records before it are in order\n", check->records);
                return;
        }
        if (answer->r < 0) {
                (void)print_errno(name, answer->r, "name an audit log that you can read");
                return;
        }
        (void)printf("%s: %s: %" PRIu64 " records, newest %s\n", name,
                     answer->no_tip ? "in order, but its tail cannot be checked" : "intact",
                     check->records, check->newest.hash);
        if (answer->no_tip)
                (void)print_error(name, "there is no tip beside it",
                                  "copy audit.tip together with audit.jsonl");
        if (check->torn)
                (void)printf("  an unfinished last line of %" PRIu64 " bytes: the next record "
                             "recovers it\n",
                             check->torn);
        if (check->ahead)
                (void)printf("  %" PRIu64 " records are newer than the tip: somebody died before "
                             "writing it\n",
                             check->ahead);
        if (answer->pending)
                (void)printf("  %" PRIu64 " records wait to be taken in\n", answer->pending);
}

static json_t *answer_json(const char *name, const struct answer *answer) {
        static const char *const words[] = { "intact", "broken", "unknown" };
        const struct log_check *check = &answer->check;
        json_t *object = json_object(), *facts;
        const char *what = answer->no_tip ? "there is no tip beside it" : check->what;

        if (answer->r < 0 && answer->r != -EBADMSG)
                what = strerrordesc_np(-answer->r);
        facts = json_pack("{s:s, s:I, s:I, s:s?, s:s?, s:I, s:I, s:I}", "result",
                          words[answer_exit(answer)], "records", (json_int_t)check->records,
                          "bad_line", (json_int_t)check->bad_line, "what", what, "newest",
                          check->newest.hash[0] ? check->newest.hash : NULL, "ahead",
                          (json_int_t)check->ahead, "torn", (json_int_t)check->torn, "pending",
                          (json_int_t)answer->pending);
        if (text_put(object, "log", name, strlen(name), PATH_MAX) == 0 &&
            json_object_update_new(object, facts) == 0)
                return object;
        json_decref(object);
        return NULL;
}

static int verify_one(const char *log, struct answer *ret) {
        _cleanup_free_ char *tip = tip_of(log);
        struct answer answer = { 0 };

        if (!tip)
                return -ENOMEM;
        answer.r = log_verify(log, tip, &answer.check);
        *ret = answer;
        return 0;
}

static int verify_copy(const char *log, struct answer *ret) {
        _cleanup_free_ char *tip = tip_of(log);
        struct answer answer = { 0 };

        if (!tip)
                return -ENOMEM;
        answer.no_tip = access(tip, F_OK) < 0 && errno == ENOENT;
        answer.r = log_verify(log, answer.no_tip ? NULL : tip, &answer.check);
        *ret = answer;
        return 0;
}

/* The host's own log: here a missing tip is a finding, and what waits belongs to the answer. */
static int verify_host(const char *root, char **ret_name, struct answer *ret) {
        struct answer answer;
        int r;

        if (asprintf(ret_name, "%s%s", root, PATH_LOG) < 0) {
                *ret_name = NULL;
                return -ENOMEM;
        }
        r = verify_one(*ret_name, &answer);
        if (r < 0)
                return r;
        r = log_pending_count(root, &answer.pending);
        if (r < 0 && answer.r == 0)
                answer.r = r;
        *ret = answer;
        return 0;
}

static int worse(int a, int b) {
        /* "Broken" is an answer even when another log gave none. */
        return a == CLI_FOUND || b == CLI_FOUND ? CLI_FOUND : (a > b ? a : b);
}

static int tell(const struct cli *cli, const char *name, const struct answer *answer,
                json_t *array) {
        if (!cli->json)
                print_answer(name, answer);
        else if (json_array_append_new(array, answer_json(name, answer)) < 0)
                return print_errno("audit", ENOMEM, "free some memory");
        return answer_exit(answer);
}

static int verify(const struct cli *cli, int argc, char **argv) {
        _cleanup_json_ json_t *array = json_array();
        int status = CLI_DONE;

        for (int i = 0; i < argc || i == 0; i++) {
                _cleanup_free_ char *host = NULL;
                struct answer answer;
                int r = argc == 0 ? verify_host(cli->root, &host, &answer)
                                  : verify_copy(argv[i], &answer);

                if (r < 0)
                        return print_errno("audit", r, "free some memory");
                status = worse(status, tell(cli, host ? host : argv[i], &answer, array));
        }
        if (cli->json)
                print_json(array);
        return print_done(status);
}

/* --- show and tail ---------------------------------------------------------------------------- */

static void print_crash(const json_t *record) {
        const json_t *verdict = json_object_get(record, "verdict");
        const json_t *causes = json_object_get(verdict, "causes");

        (void)printf("pid %" JSON_INTEGER_FORMAT " signal %" JSON_INTEGER_FORMAT " ",
                     json_integer_value(json_object_get(record, "pid")),
                     json_integer_value(json_object_get(record, "signal")));
        (void)print_safe(stdout, record_string(record, "exe", record_string(record, "comm", "-")));
        (void)printf(": %s, %s", record_string(verdict, "content", "?"),
                     record_string(record, "outcome", "?"));
        for (size_t i = 0; i < json_array_size(causes); i++) {
                (void)fputs(i ? ", " : "; ", stdout);
                (void)print_safe(stdout, json_string_value(json_array_get(causes, i)));
        }
}

static void print_access(const json_t *record) {
        (void)printf("%s of %s to ", record_string(record, "verb", "?"),
                     record_string(record, "target", "?"));
        (void)print_safe(stdout, record_string(record, "destination", "?"));
        (void)printf(" by uid %" JSON_INTEGER_FORMAT,
                     json_integer_value(json_object_get(record, "uid")));
}

static void print_break(const json_t *record) {
        (void)printf("%s: records up to %s were expected, up to %s were found",
                     record_string(record, "reason", "?"),
                     record_string(json_object_get(record, "expected"), "seq", "?"),
                     record_string(json_object_get(record, "found"), "seq", "?"));
}

static void print_record(const json_t *record) {
        const char *event = record_string(record, "event", "?");

        (void)printf("%.*sZ  %s  ", TIME_SECONDS, record_string(record, "time", "?"),
                     record_string(record, "id", "?"));
        (void)print_safe(stdout, event);
        (void)fputs("  ", stdout);
        if (strcmp(event, event_to_string(EVENT_CRASH)) == 0)
                print_crash(record);
        else if (strcmp(event, event_to_string(EVENT_ACCESS)) == 0)
                print_access(record);
        else if (strcmp(event, event_to_string(EVENT_BREAK)) == 0)
                print_break(record);
        else if (strcmp(event, event_to_string(EVENT_RECOVERED)) == 0)
                (void)printf("%s bytes of a torn line", record_string(record, "bytes", "?"));
        (void)putchar('\n');
}

/* The last lines, as they are: a ring of copies. */
struct ring {
        char **lines;
        size_t size, n; /* places; lines seen */
};

static int keep_line(void *userdata, const char *line, size_t size) {
        struct ring *ring = userdata;
        char *copy = strndup(line, size);

        if (!copy)
                return -ENOMEM;
        free(ring->lines[ring->n % ring->size]);
        ring->lines[ring->n++ % ring->size] = copy;
        return 0;
}

static int print_line(void *userdata, const char *line, size_t size) {
        const struct cli *cli = userdata;
        _cleanup_json_ json_t *record = NULL;

        if (cli->json)
                return printf("%.*s\n", (int)size, line) < 0 ? -EIO : 0;
        record = line_object(line, size);
        if (record)
                print_record(record);
        else
                (void)printf("(%zu bytes that are no record)\n", size);
        return 0;
}

static int tail(const struct cli *cli, size_t n) {
        struct ring ring = { .lines = calloc(n, sizeof(char *)), .size = n };
        int r = ring.lines ? log_read(cli->root, keep_line, &ring) : -ENOMEM;
        size_t first = ring.n > n ? ring.n - n : 0;

        for (size_t i = first; r == 0 && i < ring.n; i++)
                r = print_line((void *)cli, ring.lines[i % n], strlen(ring.lines[i % n]));
        for (size_t i = 0; ring.lines && i < n; i++)
                free(ring.lines[i]);
        free(ring.lines);
        return r;
}

static int show(const struct cli *cli, size_t n) {
        int r = n ? tail(cli, n) : log_read(cli->root, print_line, (void *)cli);

        if (r < 0)
                return print_errno(PATH_LOG, r, "run as root, and see `coresieve audit verify`");
        return print_done(CLI_DONE);
}

static int usage(void) {
        return print_error("audit", "not understood",
                           "usage: coresieve audit verify [FILE]... | show | tail [N]");
}

int cmd_audit(const struct cli *cli, int argc, char **argv) {
        unsigned long n = TAIL_DEFAULT;
        char *end;

        if (argc < 2)
                return usage();
        if (strcmp(argv[1], "verify") == 0)
                return verify(cli, argc - 2, argv + 2);
        if (strcmp(argv[1], "show") == 0 && argc == 2)
                return show(cli, 0);
        if (strcmp(argv[1], "tail") != 0 || argc > 3)
                return usage();
        if (argc == 3) {
                n = strtoul(argv[2], &end, 10);
                if (*end || n == 0 || n > TAIL_MAX)
                        return usage();
        }
        return show(cli, n);
}
