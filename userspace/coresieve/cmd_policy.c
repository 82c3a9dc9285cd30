/* coresieve policy check [FILE]: is this a policy?
 *
 * Without FILE the host's own files are read, and judged as at a crash: owner and mode too. FILE
 * is a draft, which may be anybody's.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "audit/record_text.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "cli.h"
#include "host/policy.h"

#define DIGEST_HEX_SIZE (2 * sizeof(((struct policy *)0)->digest) + 1)
#define MESSAGE_MAX 4096U /* bytes of one message in JSON */

DEFINE_CLEANUP(policy, struct policy, policy_free)

static inline void cleanup_json(json_t **value) {
        json_decref(*value);
}

static int usage(void) {
        (void)fputs("usage: coresieve policy check [FILE]\n", stderr);
        return CLI_CANNOT;
}

static int check_draft(const char *file, FILE *errors, struct policy **ret) {
        _cleanup_free_ char *text = NULL;
        size_t size;
        int r = io_read_path(AT_FDCWD, file, POLICY_SIZE_MAX, &text, &size);

        if (r < 0) {
                (void)fprintf(errors, "coresieve: %s: %s; %s\n", file, strerrordesc_np(-r),
                              r == -EFBIG ? "at most 1 MiB: split it into policy.d/*.conf"
                                          : "name a file that you can read");
                return r;
        }
        return policy_parse(file, text, size, errors, ret);
}

/* Content that is no policy, or files that are not to be trusted, answer the question; files
 * that could not be read do not. */
static int exit_of(int r) {
        if (r == 0)
                return CLI_DONE;
        return r == -EINVAL || r == -EPERM ? CLI_FOUND : CLI_CANNOT;
}

static void digest_hex(const struct policy *policy, char ret[DIGEST_HEX_SIZE]) {
        for (size_t i = 0; i < sizeof(policy->digest); i++)
                (void)snprintf(ret + 2 * i, 3, "%02x", policy->digest[i]);
}

static size_t count_files(const struct policy *policy) {
        size_t n = 0;

        while (policy->files[n])
                n++;
        return n;
}

static void print_text(const struct policy *policy, const char *file) {
        (void)printf("%s: valid; files: %zu, secrets: %zu, rules: %zu, processes: %zu\n",
                     file ? file : policy->files[0], count_files(policy), policy->n_secrets,
                     policy->n_rules, policy->n_processes);
}

/* One object for each line of `errors`. */
static int put_errors(json_t *array, const char *errors) {
        while (*errors) {
                size_t n = strcspn(errors, "\n");
                json_t *object = json_object();

                if (!object || json_array_append_new(array, object) < 0 ||
                    text_put(object, "message", errors, n, MESSAGE_MAX) < 0)
                        return -ENOMEM;
                errors += n + (errors[n] == '\n');
        }
        return 0;
}

static int put_policy(json_t *object, const struct policy *policy) {
        char digest[DIGEST_HEX_SIZE];
        json_t *files = json_array();

        if (!files || json_object_set_new(object, "files", files) < 0)
                return -ENOMEM;
        for (char **file = policy->files; *file; file++) {
                json_t *entry = json_object();

                if (!entry || json_array_append_new(files, entry) < 0 ||
                    text_put(entry, "path", *file, strlen(*file), MESSAGE_MAX) < 0)
                        return -ENOMEM;
        }
        digest_hex(policy, digest);
        if (json_object_set_new(object, "digest", json_string(digest)) < 0 ||
            json_object_set_new(object, "secrets", json_integer((json_int_t)policy->n_secrets)) <
                    0 ||
            json_object_set_new(object, "rules", json_integer((json_int_t)policy->n_rules)) < 0 ||
            json_object_set_new(object, "processes",
                                json_integer((json_int_t)policy->n_processes)) < 0)
                return -ENOMEM;
        return 0;
}

static int print_json(const struct policy *policy, const char *errors) {
        _cleanup_(cleanup_json) json_t *object = json_object();
        json_t *array = json_array();
        int r = 0;

        if (!object || json_object_set_new(object, "valid", json_boolean(policy != NULL)) < 0 ||
            json_object_set_new(object, "errors", array) < 0)
                return -ENOMEM;
        r = put_errors(array, errors);
        if (r == 0 && policy)
                r = put_policy(object, policy);
        if (r < 0)
                return r;
        if (json_dumpf(object, stdout, JSON_INDENT(2)) < 0)
                return -EIO;
        return putchar('\n') == EOF ? -EIO : 0;
}

static int check(const struct cli *cli, const char *file) {
        _cleanup_(cleanup_policy) struct policy *policy = NULL;
        _cleanup_free_ char *errors = NULL;
        FILE *stream;
        size_t size;
        int r, shown = 0;

        stream = open_memstream(&errors, &size);
        if (!stream) {
                (void)fputs("coresieve: policy check: no memory: free some and try again\n",
                            stderr);
                return CLI_CANNOT;
        }
        r = file ? check_draft(file, stream, &policy) : policy_load(cli->root, stream, &policy);
        if (fclose(stream) != 0)
                shown = -ENOMEM;
        else if (cli->json)
                shown = print_json(policy, errors);
        else if (policy)
                print_text(policy, file);
        else
                (void)fputs(errors, stderr);

        if (shown == 0 && fflush(stdout) != 0)
                shown = -errno;
        if (shown < 0) {
                (void)fprintf(stderr, "coresieve: policy check: %s: the answer was not printed\n",
                              strerrordesc_np(-shown));
                return CLI_CANNOT;
        }
        return exit_of(r);
}

int cmd_policy(const struct cli *cli, int argc, char **argv) {
        if (argc < 2 || argc > 3 || strcmp(argv[1], "check") != 0)
                return usage();
        return check(cli, argc == 3 ? argv[2] : NULL);
}
