/* coresieve tags: which processes hold secrets, and which files they got them from. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "audit/record_text.h"
#include "base/array.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "cli.h"
#include "host/policy.h"
#include "host/sensor.h"
#include "host/tagmap.h"

#define COMM_MAX 64U /* bytes; the kernel has 16 */
#define TEXT_MAX 4096U

DEFINE_CLEANUP(policy, struct policy, policy_free)
DEFINE_CLEANUP(tagmap, struct tagmap, tagmap_close)
#define _cleanup_watch_set_ _cleanup_(watch_set_done)

static inline void cleanup_json(json_t **value) {
        json_decref(*value);
}

/* One thread that lives in a tagged lineage. */
struct holder {
        uint64_t mm;
        uint32_t pid;
        struct tag tag;
};

struct list {
        struct holder *holders;
        size_t n, room;
};

static int list_take(const struct task_answer *answer, void *context) {
        struct list *list = context;
        int r;

        if (!answer->found)
                return 0;
        r = array_grow(&list->holders, &list->room, list->n, SIZE_MAX, sizeof(*list->holders));
        if (r < 0)
                return r;
        list->holders[list->n++] =
                (struct holder){ .mm = answer->mm, .pid = answer->tgid, .tag = answer->tag };
        return 0;
}

static int holder_compare(const void *a, const void *b) {
        const struct holder *x = a, *y = b;

        if (x->mm != y->mm)
                return x->mm < y->mm ? -1 : 1;
        return x->pid < y->pid ? -1 : x->pid > y->pid;
}

/* --- as JSON -----------------------------------------------------------------------------------
 */

static int put_u64(json_t *object, const char *key, uint64_t value) {
        char text[32];

        (void)snprintf(text, sizeof(text), "%" PRIu64, value);
        return json_object_set_new(object, key, json_string(text)) < 0 ? -ENOMEM : 0;
}

static int process_put(json_t *array, uint32_t pid) {
        json_t *object = json_object();
        _cleanup_free_ char *comm = NULL;
        size_t size = 0;
        char path[64];

        (void)snprintf(path, sizeof(path), "/proc/%u/comm", pid);
        /* Gone by now: no name. */
        if (io_read_path(AT_FDCWD, path, COMM_MAX, &comm, &size) == 0 && size > 0)
                size--;
        if (!object || json_array_append_new(array, object) < 0 ||
            json_object_set_new(object, "pid", json_integer(pid)) < 0)
                return -ENOMEM;
        return text_put(object, "comm", comm, size, COMM_MAX);
}

static int file_put(json_t *array, const struct tag_file *file, const struct policy *policy,
                    const struct watch_set *set) {
        const struct policy_rule *rule = policy ? policy_rule_by_id(policy, file->rule) : NULL;
        const char *label = rule ? policy->secrets[rule->secret].label : NULL;
        const char *pattern = rule ? rule->pattern : NULL;
        const char *path = watch_set_path(set, &file->key);
        json_t *object = json_object();
        int r;

        if (!object || json_array_append_new(array, object) < 0)
                return -ENOMEM;
        r = text_put(object, "path", path, path ? strlen(path) : 0, TEXT_MAX);
        if (r == 0)
                r = text_put(object, "label", label, label ? strlen(label) : 0, TEXT_MAX);
        if (r == 0)
                r = text_put(object, "rule", pattern, pattern ? strlen(pattern) : 0, TEXT_MAX);
        if (r == 0)
                r = put_u64(object, "dev", file->key.dev);
        if (r == 0)
                r = put_u64(object, "ino", file->key.ino);
        if (r == 0)
                r = put_u64(object, "generation", file->key.gen);
        return r;
}

static int tag_put(json_t *object, const struct tag *tag, const struct policy *policy,
                   const struct watch_set *set) {
        json_t *reasons = json_array(), *files = json_array();

        if (json_object_set_new(object, "reasons", reasons) < 0 ||
            json_object_set_new(object, "files", files) < 0 ||
            json_object_set_new(object, "files_lost", json_boolean(tag->flags & TAG_FILES_LOST)) <
                    0)
                return -ENOMEM;
        if ((tag->reasons & TAG_REASON_FILE) &&
            json_array_append_new(reasons, json_string("file")) < 0)
                return -ENOMEM;
        if ((tag->reasons & TAG_REASON_UNKNOWN_HISTORY) &&
            json_array_append_new(reasons, json_string("unknown-history")) < 0)
                return -ENOMEM;
        for (size_t i = 0; i < tag->n_files && i < TAG_FILES_MAX; i++) {
                int r = tag->files[i].ready ? file_put(files, &tag->files[i], policy, set) : 0;

                if (r < 0)
                        return r;
        }
        return 0;
}

static int lineages_put(json_t *array, const struct list *list, const struct policy *policy,
                        const struct watch_set *set) {
        json_t *processes = NULL;
        int r = 0;

        for (size_t i = 0; r == 0 && i < list->n; i++) {
                const struct holder *holder = &list->holders[i];

                /* Another thread of the same process. */
                if (i > 0 && holder_compare(holder, holder - 1) == 0)
                        continue;
                if (i == 0 || list->holders[i - 1].mm != holder->mm) {
                        json_t *object = json_object();

                        processes = json_array();
                        if (!object || json_array_append_new(array, object) < 0 ||
                            json_object_set_new(object, "processes", processes) < 0)
                                return -ENOMEM;
                        r = tag_put(object, &holder->tag, policy, set);
                }
                if (r == 0)
                        r = process_put(processes, holder->pid);
        }
        return r;
}

/* --- as text -----------------------------------------------------------------------------------
 */

static const char *text_of(const json_t *object, const char *key) {
        return json_string_value(json_object_get(object, key));
}

/* What a process called itself may hold escape sequences of a terminal. */
static void print_safe(const char *text) {
        for (; *text; text++)
                (void)putchar((unsigned char)*text < ' ' || *text == '\177' ? '?' : *text);
}

static void print_lineage(const json_t *lineage) {
        const json_t *entry;
        size_t i;

        json_array_foreach(json_object_get(lineage, "processes"), i, entry) {
                const char *comm = text_of(entry, "comm");

                (void)printf("%s%" JSON_INTEGER_FORMAT " ", i ? ", " : "",
                             json_integer_value(json_object_get(entry, "pid")));
                print_safe(comm ? comm : "(gone)");
        }
        (void)fputs(":", stdout);
        json_array_foreach(json_object_get(lineage, "reasons"), i, entry)(void)
                printf(" %s", json_string_value(entry));
        (void)putchar('\n');
        json_array_foreach(json_object_get(lineage, "files"), i, entry) {
                const char *path = text_of(entry, "path"), *label = text_of(entry, "label");
                const char *rule = text_of(entry, "rule");

                (void)printf("  %s ", label ? label : "(rule gone)");
                print_safe(path ? path : rule ? rule : "(unknown)");
                if (!path)
                        (void)printf(" (inode %s)", text_of(entry, "ino"));
                (void)putchar('\n');
        }
        if (json_is_true(json_object_get(lineage, "files_lost")))
                (void)puts("  and files that found no room in the tag");
}

/* -----------------------------------------------------------------------------------------------
 */

static int run(const struct cli *cli) {
        _cleanup_(cleanup_policy) struct policy *policy = NULL;
        _cleanup_watch_set_ struct watch_set set = { 0 };
        _cleanup_(cleanup_json) json_t *array = json_array();
        _cleanup_(cleanup_tagmap) struct tagmap *map = NULL;
        struct list list = { 0 };
        const json_t *lineage;
        size_t missing, i;
        const char *why;
        int r;

        if (!array)
                return -ENOMEM;
        r = tagmap_open_unproved(&map, &why);
        if (r < 0) {
                (void)fprintf(stderr, "coresieve: tags: %s\n", why);
                return r;
        }
        /* Without a policy that can be read the tags are told without names. */
        if (policy_load(cli->root, stderr, &policy) == 0) {
                r = sensor_review(policy, &set, &missing);
                if (r < 0)
                        (void)fprintf(stderr,
                                      "coresieve: rules: %s: files are told without paths\n",
                                      strerrordesc_np(-r));
        }
        r = tagmap_each(map, list_take, &list);
        if (r == 0) {
                if (list.n > 0)
                        qsort(list.holders, list.n, sizeof(*list.holders), holder_compare);
                r = lineages_put(array, &list, policy, &set);
        }
        free(list.holders);
        if (r < 0) {
                (void)fprintf(stderr, "coresieve: tags: %s: try again\n", strerrordesc_np(-r));
                return r;
        }
        if (cli->json) {
                if (json_dumpf(array, stdout, JSON_INDENT(2)) < 0)
                        return -EIO;
                (void)putchar('\n');
        } else {
                json_array_foreach(array, i, lineage) print_lineage(lineage);
        }
        return fflush(stdout) == 0 ? 0 : -errno;
}

int cmd_tags(const struct cli *cli, int argc, char **argv) {
        (void)argv;
        if (argc != 1) {
                (void)fputs("usage: coresieve [--root DIR] [--json] tags\n", stderr);
                return CLI_CANNOT;
        }
        if (geteuid() != 0) {
                (void)fputs("coresieve: tags: only root may ask the sensors: run it as root\n",
                            stderr);
                return CLI_CANNOT;
        }
        return run(cli) < 0 ? CLI_CANNOT : CLI_DONE;
}
