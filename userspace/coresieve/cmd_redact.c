/* coresieve redact IN OUT [--key FILE]…: the sieve of a crash, on a core that exists already.
 *
 * The same worker, equally confined: IN may come from anywhere. Only the budget is missing, for
 * no process waits.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "audit/record_text.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/io.h"
#include "base/paths.h"
#include "cli.h"
#include "core_pattern/brief.h"
#include "core_pattern/limits.h"
#include "core_pattern/spawn.h"
#include "host/policy.h"
#include "keep/dump.h"
#include "output.h"
#include "print.h"
#include "records.h"

#define DEADLINE_NS (24ULL * 3600 * NS_PER_SEC) /* of a core of terabytes */
#define CPU_SEC (24U * 3600)
#define TRAILER_MAX (256U << 20) /* note and section table behind a core: PLAN_ERASURES_MAX */

/* RFC 8878 section 3.1.1 */
static const unsigned char zstd_magic[4] = { 0x28, 0xb5, 0x2f, 0xfd };

DEFINE_CLEANUP(policy, struct policy, policy_free)
DEFINE_CLEANUP(dump, struct dump, dump_close)

struct request {
        const char *in, *out;
        const char *keys[BRIEF_FILES_MAX];
        size_t n_keys;
        enum content content;
        bool force;
};

static int usage(const char *thing, const char *reason) {
        (void)print_error(thing, reason,
                          "usage: coresieve redact IN OUT [--key FILE]... "
                          "[--content redact|stacks|detect] [--force]");
        return CLI_CANNOT;
}

static int parse_value(struct request *request, const char *option, const char *value) {
        if (!value)
                return usage(option, "it needs a value");
        if (strcmp(option, "--key") == 0) {
                if (request->n_keys == BRIEF_FILES_MAX)
                        return usage(option, "too many of them");
                request->keys[request->n_keys++] = value;
                return CLI_DONE;
        }
        /* `refuse` keeps nothing, so there is nothing to write. */
        if (content_from_string(value, &request->content) < 0 || request->content == CONTENT_REFUSE)
                return usage(value, "no such content");
        return CLI_DONE;
}

static int parse(int argc, char **argv, struct request *ret) {
        struct request request = { .content = CONTENT_REDACT };
        int r = CLI_DONE;

        for (int i = 1; i < argc && r == CLI_DONE; i++) {
                if (strcmp(argv[i], "--key") == 0 || strcmp(argv[i], "--content") == 0) {
                        r = parse_value(&request, argv[i], i + 1 < argc ? argv[i + 1] : NULL);
                        i++;
                } else if (strcmp(argv[i], "--force") == 0)
                        request.force = true;
                else if (!request.in)
                        request.in = argv[i];
                else if (!request.out)
                        request.out = argv[i];
                else
                        r = usage(argv[i], "not understood");
        }
        if (r == CLI_DONE && !request.out)
                r = usage("redact", "an input and an output are needed");
        if (r == CLI_DONE)
                *ret = request;
        return r;
}

static int open_regular(const char *path, int *ret_fd, uint64_t *ret_size) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        struct stat st;

        if (fd < 0)
                return print_errno(path, errno, "name a file that you can read");
        if (fstat(fd, &st) < 0)
                return print_errno(path, errno, "name a file that you can read");
        if (!S_ISREG(st.st_mode))
                return print_error(path, "no regular file", "name a file");
        *ret_size = (uint64_t)st.st_size;
        *ret_fd = TAKE_FD(fd);
        return CLI_DONE;
}

/* The worker needs a file that it can read twice: a compressed core is unpacked first, into a
 * file without a name. */
static int unpack(const struct request *request, const struct output *output, int *fd,
                  uint64_t *size) {
        _cleanup_(cleanup_dump) struct dump *dump = NULL;
        _cleanup_close_ int plain = -1;
        unsigned char magic[sizeof(zstd_magic)];
        int r;

        if (io_pread(*fd, magic, sizeof(magic), 0) != sizeof(magic) ||
            memcmp(magic, zstd_magic, sizeof(magic)) != 0)
                return CLI_DONE;
        r = output_scratch(output, &plain);
        if (r == 0)
                r = dump_open(*fd, &dump);
        if (r == 0)
                r = dump_unpack(dump, plain, INT64_MAX, size);
        if (r == -EBADMSG)
                return print_error(request->in, "damaged zstd file", "nothing was written");
        if (r < 0)
                return print_errno(request->in, r, output_remedy(r));
        if (lseek(plain, 0, SEEK_SET) < 0)
                return print_errno(request->in, errno, "nothing was written");
        (void)close(*fd);
        *fd = TAKE_FD(plain);
        return CLI_DONE;
}

/* Variables whose values may stay are the policy's to name. Without one that can be read none
 * stay: that is stricter, and needs no word. */
static void keep_environment(const char *root, struct brief *brief) {
        _cleanup_(cleanup_policy) struct policy *policy = NULL;
        _cleanup_fclose_ FILE *nowhere = fopen("/dev/null", "we");

        if (nowhere && policy_load(root, nowhere, &policy) == 0)
                brief_set_environment(brief, policy->environment);
}

static const char *cause_remedy(enum cause cause) {
        switch (cause) {
        case CAUSE_CORE_FOREIGN:
                return "only cores of x86-64 programs as the kernel writes them are understood";
        case CAUSE_CORE_CUT:
                return "the file is not whole: copy it again";
        case CAUSE_CORE_MALFORMED:
                return "the file is damaged, or no core";
        case CAUSE_WORKER_MISSING:
                return "the worker stands beside this program: reinstall";
        case CAUSE_STORE_FULL:
                return "name a place with more room";
        default:
                return "nothing was written";
        }
}

static void print_causes(const char *thing, const struct worker_outcome *outcome) {
        for (unsigned cause = 0; cause < _CAUSE_MAX; cause++)
                if (outcome->causes & CAUSE_BIT(cause))
                        (void)print_error(thing, cause_to_string(cause), cause_remedy(cause));
        if (outcome->signal)
                (void)fprintf(stderr, "coresieve: the worker was ended by signal %d\n",
                              outcome->signal);
        if (outcome->answered)
                (void)fprintf(stderr,
                              "coresieve: it gave up in stage %s, near byte %" PRIu64
                              " of the core\n",
                              stage_to_string((enum stage)outcome->result.stage),
                              outcome->result.fault_offset);
}

static int run_worker(const struct cli *cli, const struct request *request, int in_fd,
                      uint64_t in_size, const int *key_fds, const struct output *output,
                      struct worker_outcome *ret) {
        _cleanup_close_ int program_fd = -1;
        _cleanup_free_ struct brief *brief = calloc(1, sizeof(*brief));
        struct worker_job job = {
                .brief = brief,
                .stream_fd = in_fd,
                .out_fd = output->fd,
                .log_fd = STDERR_FILENO,
                .mem_fd = -1,
                .pagemap_fd = -1,
                .needle_fds = key_fds,
                .limits = { in_size + TRAILER_MAX, WORKER_MEMORY, CPU_SEC },
                .deadline_ns = clock_now_ns() + DEADLINE_NS,
        };
        int r;

        if (!brief)
                return print_errno("redact", ENOMEM, "free some memory");
        brief->version = BRIEF_VERSION;
        brief->size = sizeof(*brief);
        brief->mode = BRIEF_OFFLINE;
        brief->content = request->content;
        brief->own_user = geteuid() == 0;
        brief->n_files = (uint32_t)request->n_keys;
        keep_environment(cli->root, brief);
        r = brief->own_user ? worker_user(cli->root, &job.uid, &job.gid) : 0;
        if (r < 0)
                return print_errno(CORESIEVE_USER, r, "its user is made by `make install`");
        r = worker_open(&program_fd);
        if (r < 0)
                return print_errno(PROGRAM_WORKER, r, "it stands beside this program: reinstall");
        worker_run(program_fd, &job, ret);
        if (ret->causes == 0)
                return CLI_DONE;
        print_causes(request->in, ret);
        return CLI_CANNOT;
}

static json_t *counts(const uint64_t *counts, unsigned n, const char *(*name)(unsigned)) {
        json_t *object = json_object();

        for (unsigned i = 0; i < n; i++)
                if (counts[i] &&
                    json_object_set_new(object, name(i), json_integer((json_int_t)counts[i])) < 0) {
                        json_decref(object);
                        return NULL;
                }
        return object;
}

static const char *reason_name(unsigned i) {
        return reason_to_string((enum reason)i);
}

static const char *detector_name(unsigned i) {
        return detector_to_string((enum detector)i);
}

static json_t *causes_of(uint64_t causes) {
        json_t *array = json_array();

        for (unsigned i = 0; i < _CAUSE_MAX; i++)
                if (causes & CAUSE_BIT(i) &&
                    json_array_append_new(array, json_string(cause_to_string(i))) < 0) {
                        json_decref(array);
                        return NULL;
                }
        return array;
}

/* How often fragments of each key were found: 0 means that the core held none. */
static json_t *keys_of(const struct request *request, const struct sieve_report *report) {
        json_t *array = json_array();

        for (size_t i = 0; i < request->n_keys; i++) {
                json_t *key = json_object();

                if (text_put(key, "path", request->keys[i], strlen(request->keys[i]), PATH_MAX) <
                            0 ||
                    json_object_set_new(key, "fragments",
                                        json_integer((json_int_t)report->hits[i])) < 0 ||
                    json_array_append(array, key) < 0) {
                        json_decref(key);
                        json_decref(array);
                        return NULL;
                }
                json_decref(key);
        }
        return array;
}

static json_t *summary(const struct request *request, const struct output *output,
                       const struct worker_result *result) {
        const struct sieve_report *report = &result->report;
        json_t *object = json_object(), *facts;

        facts = json_pack("{s:s, s:o, s:o, s:o, s:o, s:{s:s, s:i, s:i}, s:I}", "content",
                          content_to_string((enum content)result->content), "causes",
                          causes_of(result->causes), "erased",
                          counts(report->erased, _REASON_MAX, reason_name), "found",
                          counts(report->found, _DETECT_MAX, detector_name), "keys",
                          keys_of(request, report), "unwind", "result",
                          unwind_outcome_to_string(report->unwind.outcome), "threads",
                          (int)report->unwind.threads, "frames", (int)report->unwind.frames, "size",
                          (json_int_t)report->core_size);
        if (text_put(object, "output", output->path, strlen(output->path), PATH_MAX) < 0 ||
            json_object_update_new(object, facts) < 0) {
                json_decref(object);
                return NULL;
        }
        return object;
}

static int print_summary(const struct cli *cli, const struct request *request,
                         const struct output *output, const struct worker_result *result) {
        _cleanup_json_ json_t *object = summary(request, output, result);

        if (!object)
                return print_errno("redact", ENOMEM, "it is done, but cannot be summed up");
        if (cli->json)
                print_json(object);
        else {
                (void)fputs("redacted:", stdout);
                print_value(stdout, object, 0);
        }
        return print_done(CLI_DONE);
}

static int redact(const struct cli *cli, const struct request *request, const int *key_fds,
                  struct output *output) {
        _cleanup_free_ struct worker_outcome *outcome = calloc(1, sizeof(*outcome));
        _cleanup_close_ int in_fd = -1;
        uint64_t size = 0;
        int r;

        if (!outcome)
                return print_errno("redact", ENOMEM, "free some memory");
        r = open_regular(request->in, &in_fd, &size);
        if (r == CLI_DONE)
                r = unpack(request, output, &in_fd, &size);
        if (r == CLI_DONE)
                r = run_worker(cli, request, in_fd, size, key_fds, output, outcome);
        if (r != CLI_DONE)
                return r;
        r = output_commit(output);
        if (r < 0)
                return print_errno(output->path, r, output_remedy(r));
        return print_summary(cli, request, output, &outcome->result);
}

static int with_output(const struct cli *cli, const struct request *request, const int *key_fds) {
        struct output output;
        int r = output_open(request->out, request->force, &output);

        if (r < 0)
                r = print_errno(request->out, r, output_remedy(r));
        else
                r = redact(cli, request, key_fds, &output);
        output_done(&output);
        return r;
}

int cmd_redact(const struct cli *cli, int argc, char **argv) {
        int key_fds[BRIEF_FILES_MAX];
        struct request request;
        size_t n = 0;
        int r;

        r = parse(argc, argv, &request);
        for (; r == CLI_DONE && n < request.n_keys; n++) {
                uint64_t size;

                key_fds[n] = -1;
                r = open_regular(request.keys[n], &key_fds[n], &size);
        }
        if (r == CLI_DONE)
                r = with_output(cli, &request, key_fds);
        for (size_t i = 0; i < n; i++)
                cleanup_close(&key_fds[i]);
        return r;
}
