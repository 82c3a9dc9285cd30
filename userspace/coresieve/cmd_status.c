/* coresieve status: is this host protected, and if not, what is to be done? */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "audit/record_text.h"
#include "base/cleanup.h"
#include "cli.h"
#include "doctor.h"
#include "host/policy.h"

#define TEXT_MAX 4096U /* bytes of one finding */

DEFINE_CLEANUP(policy, struct policy, policy_free)

static const char *health_to_string(enum health health) {
        static const char *const names[] = { "good", "note", "bad" };

        return names[health];
}

void doctor_say(struct doctor *d, enum health health, const char *topic, const char *remedy,
                const char *format, ...) {
        json_t *finding = json_object();
        char text[TEXT_MAX];
        va_list args;

        va_start(args, format);
        (void)vsnprintf(text, sizeof(text), format, args);
        va_end(args);
        d->bad = d->bad || health == HEALTH_BAD;
        if (!finding || json_array_append_new(d->findings, finding) < 0 ||
            json_object_set_new(finding, "topic", json_string(topic)) < 0 ||
            json_object_set_new(finding, "health", json_string(health_to_string(health))) < 0 ||
            text_put(finding, "text", text, strlen(text), TEXT_MAX) < 0 ||
            text_put(finding, "remedy", remedy, remedy ? strlen(remedy) : 0, TEXT_MAX) < 0)
                d->failed = true;
}

static void print_text(const struct doctor *d) {
        const json_t *finding;
        size_t i;

        json_array_foreach(d->findings, i, finding) {
                const char *remedy = json_string_value(json_object_get(finding, "remedy"));

                (void)printf("%-5s %s: %s%s%s\n",
                             json_string_value(json_object_get(finding, "health")),
                             json_string_value(json_object_get(finding, "topic")),
                             json_string_value(json_object_get(finding, "text")),
                             remedy ? ": " : "", remedy ? remedy : "");
        }
}

/* Takes the findings over. */
static int print_json(struct doctor *d) {
        json_t *object = json_pack("{s:b, s:o}", "protected", !d->bad, "findings", d->findings);
        int r;

        if (!object)
                return -ENOMEM;
        d->findings = NULL;
        r = json_dumpf(object, stdout, JSON_INDENT(2));
        json_decref(object);
        if (r < 0)
                return -EIO;
        return putchar('\n') == EOF ? -EIO : 0;
}

static void policy_read(struct doctor *d, struct policy **ret) {
        _cleanup_free_ char *errors = NULL;
        size_t size;
        FILE *stream = open_memstream(&errors, &size);
        int r;

        if (!stream) {
                d->failed = true;
                return;
        }
        r = policy_load(d->root, stream, ret);
        if (fclose(stream) != 0)
                d->failed = true;
        else if (r < 0)
                doctor_say(d, HEALTH_BAD, "policy", "see `coresieve policy check`",
                           "cannot be used, every dump is refused: %s", strerrordesc_np(-r));
}

int cmd_status(const struct cli *cli, int argc, char **argv) {
        _cleanup_(cleanup_policy) struct policy *policy = NULL;
        struct doctor d = { .root = cli->root };
        int r = 0;

        (void)argv;
        if (argc != 1) {
                (void)fputs("usage: coresieve [--root DIR] [--json] status\n", stderr);
                return CLI_CANNOT;
        }
        if (geteuid() != 0) {
                (void)fputs("coresieve: status: only root may ask the sensors: run it as root\n",
                            stderr);
                return CLI_CANNOT;
        }
        d.findings = json_array();
        if (!d.findings)
                return CLI_CANNOT;
        policy_read(&d, &policy);
        doctor_kernel(&d);
        doctor_sensors(&d, policy);
        if (cli->json && !d.failed)
                r = print_json(&d);
        else
                print_text(&d);
        json_decref(d.findings);
        if (r < 0 || d.failed || fflush(stdout) != 0) {
                (void)fputs("coresieve: status: the answer is not complete: free some memory\n",
                            stderr);
                return CLI_CANNOT;
        }
        return d.bad ? CLI_FOUND : CLI_DONE;
}
