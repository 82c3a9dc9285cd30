/* The sections and keys of a policy: one table, one small setter for each kind of value. */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "base/cleanup.h"
#include "host/policy_reader.h"
#include "host/policy_value.h"

/* 32-bit FNV-1a (Fowler, Noll, Vo). */
#define FNV_BASIS 0x811c9dc5U
#define FNV_PRIME 0x01000193U

struct key {
        enum section section;
        enum content least; /* of a level */
        const char *name;
        /* Returns 0, -EINVAL (told) or -ENOMEM. NULL: in the design, but not here yet. */
        int (*set)(struct policy_reader *r, const struct key *key, char *value);
        size_t field; /* offset in the section's struct */
        bool list;    /* may stand several times */
};

static int bad_value(struct policy_reader *r, const struct key *key, const char *value,
                     const char *why) {
        char quoted[QUOTE_SIZE];

        return reader_error(r, r->line, "%s=%s: %s", key->name, quote_text(value, quoted), why);
}

/* The struct that the current section fills. */
static void *target(struct policy_reader *r) {
        switch (r->section) {
        case SECTION_SECRET:
                return &r->policy->secrets[r->index];
        case SECTION_PROCESS:
                return &r->policy->processes[r->index];
        default:
                return r->policy;
        }
}

static void *field_of(struct policy_reader *r, const struct key *key) {
        return (char *)target(r) + key->field;
}

/* Counts one more entry against the limit of all files together. */
static int count_entry(struct policy_reader *r) {
        if (r->n_entries >= POLICY_RULES_MAX)
                return reader_error(r, r->line,
                                    "more than %u sections, File= and Holder= lines in all "
                                    "files; use patterns",
                                    POLICY_RULES_MAX);
        r->n_entries++;
        return 0;
}

static int list_add(char ***list, const char *text) {
        size_t n = 0;
        char **grown;

        while (*list && (*list)[n])
                n++;
        grown = reallocarray(*list, n + 2, sizeof(*grown));
        if (!grown)
                return -ENOMEM;
        *list = grown;
        grown[n + 1] = NULL;
        grown[n] = strdup(text);
        return grown[n] ? 0 : -ENOMEM;
}

/* --- setters ---------------------------------------------------------------------------------- */

static int set_content(struct policy_reader *r, const struct key *key, char *value) {
        const char *why = value_content(value, key->least, field_of(r, key));

        return why ? bad_value(r, key, value, why) : 0;
}

static int set_secret_content(struct policy_reader *r, const struct key *key, char *value) {
        struct policy_secret *secret = target(r);

        if (secret->has_content)
                return bad_value(r, key, value,
                                 "an earlier file gave this secret its Content=; "
                                 "change it there");
        secret->has_content = true;
        return set_content(r, key, value);
}

static int set_process_content(struct policy_reader *r, const struct key *key, char *value) {
        struct policy_process *process = target(r);

        process->has_content = true;
        return set_content(r, key, value);
}

static int set_blind(struct policy_reader *r, const struct key *key, char *value) {
        if (strcmp(value, "refuse") != 0)
                return bad_value(r, key, value, "without tags nothing may be kept; only refuse");
        *(enum content *)field_of(r, key) = CONTENT_REFUSE;
        return 0;
}

static int set_accept_blind(struct policy_reader *r, const struct key *key, char *value) {
        if (strcmp(value, "tmpfs") != 0)
                return bad_value(r, key, value, "unknown file system; only tmpfs");
        *(bool *)field_of(r, key) = true;
        return 0;
}

static int set_rlimit(struct policy_reader *r, const struct key *key, char *value) {
        if (strcmp(value, "ignore") != 0 && strcmp(value, "respect") != 0)
                return bad_value(r, key, value, "unknown word; one of respect, ignore");
        *(bool *)field_of(r, key) = strcmp(value, "ignore") == 0;
        return 0;
}

static int set_seconds(struct policy_reader *r, const struct key *key, char *value) {
        const char *why = value_seconds(value, field_of(r, key));

        return why ? bad_value(r, key, value, why) : 0;
}

static int set_bytes(struct policy_reader *r, const struct key *key, char *value) {
        const char *why = value_bytes(value, field_of(r, key));

        return why ? bad_value(r, key, value, why) : 0;
}

static int set_dump_max(struct policy_reader *r, const struct key *key, char *value) {
        uint64_t n = 0;
        const char *why = value_bytes(value, &n);

        if (!why && n < POLICY_DUMP_MIN)
                why = "too small for any useful dump; at least 1M (to keep none: Untagged=refuse "
                      "and Tagged=refuse)";
        if (why)
                return bad_value(r, key, value, why);
        *(uint64_t *)field_of(r, key) = n;
        return 0;
}

static size_t names_size(char **names) {
        size_t n = 0;

        for (; names && *names; names++)
                n += strlen(*names) + 1;
        return n;
}

static int set_environment(struct policy_reader *r, const struct key *key, char *value) {
        char ***list = field_of(r, key);
        char *state = NULL;
        size_t used = names_size(*list);

        for (char *name = strtok_r(value, " \t", &state); name;
             name = strtok_r(NULL, " \t", &state)) {
                const char *why = value_variable(name);
                int k;

                used += strlen(name) + 1;
                if (!why && used > POLICY_ENVIRONMENT_MAX)
                        why = "more than 4096 bytes of names in all; keep fewer";
                if (why)
                        return bad_value(r, key, name, why);
                k = list_add(list, name);
                if (k < 0)
                        return k;
        }
        return 0;
}
_Static_assert(POLICY_ENVIRONMENT_MAX == 4096, "said in a message above");

static int set_pattern(struct policy_reader *r, const struct key *key, char *value) {
        const char *why = value_pattern(value, false);
        char **field = field_of(r, key);

        if (why)
                return bad_value(r, key, value, why);
        *field = strdup(value);
        return *field ? 0 : -ENOMEM;
}

static int set_unit(struct policy_reader *r, const struct key *key, char *value) {
        const char *why = value_unit(value);
        char **field = field_of(r, key);

        if (why)
                return bad_value(r, key, value, why);
        *field = strdup(value);
        return *field ? 0 : -ENOMEM;
}

static int set_user(struct policy_reader *r, const struct key *key, char *value) {
        struct policy_process *process = target(r);
        const char *why = value_user(value, &process->user);

        if (why)
                return bad_value(r, key, value, why);
        process->has_user = true;
        return 0;
}

static int set_holder(struct policy_reader *r, const struct key *key, char *value) {
        const char *why = value_pattern(value, false);
        int k;

        if (why)
                return bad_value(r, key, value, why);
        k = count_entry(r);
        return k < 0 ? k : list_add(field_of(r, key), value);
}

/* The same for the same words, wherever they stand: tags carry it from enable to the crash. */
static uint32_t rule_id(const char *label, const char *pattern) {
        uint32_t hash = FNV_BASIS;

        for (const char *at = label;; at++) {
                hash = (hash ^ (unsigned char)*at) * FNV_PRIME;
                if (*at == '\0')
                        break;
        }
        for (const char *at = pattern; *at; at++)
                hash = (hash ^ (unsigned char)*at) * FNV_PRIME;
        return hash ? hash : 1;
}

static int set_file(struct policy_reader *r, const struct key *key, char *value) {
        struct policy *policy = r->policy;
        struct policy_secret *secret = target(r);
        const struct policy_rule *twin;
        const char *why = value_pattern(value, true);
        struct policy_rule *grown, *rule;
        uint32_t id;
        int k;

        if (why)
                return bad_value(r, key, value, why);
        id = rule_id(secret->label, value);
        twin = policy_rule_by_id(policy, id);
        if (twin && twin->secret == r->index && strcmp(twin->pattern, value) == 0)
                return bad_value(r, key, value, "stands twice in this secret; remove one");
        if (twin)
                return bad_value(r, key, value,
                                 "its number is taken by another rule by chance; "
                                 "give this secret another name");
        k = count_entry(r);
        if (k < 0)
                return k;

        grown = reallocarray(policy->rules, policy->n_rules + 1, sizeof(*grown));
        if (!grown)
                return -ENOMEM;
        policy->rules = grown;
        rule = &grown[policy->n_rules];
        *rule = (struct policy_rule){
                .id = id,
                .pattern = strdup(value),
                .secret = r->index,
                .file = r->file,
                .line = r->line,
        };
        if (!rule->pattern)
                return -ENOMEM;
        policy->n_rules++;
        secret->n_rules++;
        return 0;
}

/* --- the table -------------------------------------------------------------------------------- */

#define DEFAULT(member) .section = SECTION_DEFAULT, .field = offsetof(struct policy, member)
#define SECRET(member) .section = SECTION_SECRET, .field = offsetof(struct policy_secret, member)
#define PROCESS(member) .section = SECTION_PROCESS, .field = offsetof(struct policy_process, member)

/* clang-format off */
static const struct key keys[] = {
        { DEFAULT(untagged), .name = "Untagged", .set = set_content, .least = CONTENT_DETECT },
        { DEFAULT(tagged), .name = "Tagged", .set = set_content, .least = CONTENT_REDACT },
        { DEFAULT(unknown), .name = "UnknownHistory", .set = set_content, .least = CONTENT_REDACT },
        { DEFAULT(blind), .name = "Blind", .set = set_blind },
        { DEFAULT(accept_blind_tmpfs), .name = "AcceptBlind", .set = set_accept_blind },
        { DEFAULT(deadline_sec), .name = "Deadline", .set = set_seconds },
        { DEFAULT(store_dump_max), .name = "DumpMax", .set = set_dump_max },
        { DEFAULT(store_total_max), .name = "StoreMax", .set = set_bytes },
        { DEFAULT(store_keep_free), .name = "KeepFree", .set = set_bytes },
        { DEFAULT(ignore_rlimit), .name = "RLimit", .set = set_rlimit },
        { DEFAULT(environment), .name = "KeepEnvironment", .set = set_environment, .list = true },
        { .section = SECTION_DEFAULT, .name = "SyscallTracepoints" },
        { .section = SECTION_DEFAULT, .name = "SealTo" },
        { .section = SECTION_DEFAULT, .name = "Mode" },

        { .section = SECTION_SECRET, .name = "File", .set = set_file, .list = true },
        { SECRET(holders), .name = "Holder", .set = set_holder, .list = true },
        { SECRET(content), .name = "Content", .set = set_secret_content, .least = CONTENT_REDACT },
        { .section = SECTION_SECRET, .name = "SealTo" },
        { .section = SECTION_SECRET, .name = "Mode" },

        { PROCESS(exe), .name = "Exe", .set = set_pattern },
        { PROCESS(user), .name = "User", .set = set_user },
        { PROCESS(unit), .name = "Unit", .set = set_unit },
        { PROCESS(content), .name = "Content", .set = set_process_content, .least = CONTENT_DETECT },
        { .section = SECTION_PROCESS, .name = "Cgroup" },
        { .section = SECTION_PROCESS, .name = "SealTo" },
        { .section = SECTION_PROCESS, .name = "Mode" },
};
/* clang-format on */
_Static_assert(ARRAY_SIZE(keys) <= 64, "seen_keys holds a bit for each");

static const char *const section_names[_SECTION_MAX] = {
        [SECTION_DEFAULT] = "Default",
        [SECTION_SECRET] = "Secret",
        [SECTION_PROCESS] = "Process",
};

/* "Exe, User, Unit, Content": the keys that may be used in `section`. */
static const char *key_names(enum section section, char *ret, size_t size) {
        size_t n = 0;

        ret[0] = '\0';
        for (size_t i = 0; i < ARRAY_SIZE(keys) && n < size; i++)
                if (keys[i].section == section && keys[i].set)
                        n += (size_t)snprintf(ret + n, size - n, "%s%s", n ? ", " : "",
                                              keys[i].name);
        return ret;
}

int reader_key(struct policy_reader *r, const char *name, char *value) {
        char quoted[QUOTE_SIZE], names[256];

        for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
                const struct key *key = &keys[i];

                if (key->section != r->section || strcmp(key->name, name) != 0)
                        continue;
                if (!key->set)
                        return reader_error(r, r->line,
                                            "%s=: not implemented yet in this version; remove "
                                            "the line",
                                            key->name);
                if (!key->list && (r->seen_keys & (1ULL << i)))
                        return bad_value(r, key, value, "stands twice in this section; keep one");
                r->seen_keys |= 1ULL << i;
                return key->set(r, key, value);
        }
        return reader_error(r, r->line, "%s=: unknown key in [%s]; one of %s",
                            quote_text(name, quoted), section_names[r->section],
                            key_names(r->section, names, sizeof(names)));
}

/* --- sections --------------------------------------------------------------------------------- */

static int twice(struct policy_reader *r, const char *name, const char *file, unsigned line) {
        return reader_error(r, r->line,
                            "[%s%s%s]: stands twice, first at %s:%u; put its keys together there",
                            section_names[r->section], *name ? " " : "", name, file, line);
}

static int open_default(struct policy_reader *r, const char *name) {
        char quoted[QUOTE_SIZE];

        if (*name != '\0')
                return reader_error(r, r->line, "[Default %s]: has no name; write [Default]",
                                    quote_text(name, quoted));
        if (r->seen_default)
                return reader_error(r, r->line,
                                    "[Default]: stands twice in this file; put its "
                                    "keys together");
        r->seen_default = true;
        return 0;
}

static int open_secret(struct policy_reader *r, const char *name) {
        struct policy *policy = r->policy;
        struct policy_secret *grown;
        int k;

        for (size_t i = 0; i < policy->n_secrets; i++) {
                struct policy_secret *secret = &policy->secrets[i];

                if (strcmp(secret->label, name) != 0)
                        continue;
                if (secret->file == r->file)
                        return twice(r, name, secret->file, secret->line);
                r->index = i;
                secret->file = r->file;
                secret->line = r->line;
                return 0;
        }
        k = count_entry(r);
        if (k < 0)
                return k;
        grown = reallocarray(policy->secrets, policy->n_secrets + 1, sizeof(*grown));
        if (!grown)
                return -ENOMEM;
        policy->secrets = grown;
        r->index = policy->n_secrets;
        grown[r->index] = (struct policy_secret){
                .label = strdup(name),
                .file = r->file,
                .line = r->line,
        };
        if (!grown[r->index].label)
                return -ENOMEM;
        policy->n_secrets++;
        return 0;
}

static int open_process(struct policy_reader *r, const char *name) {
        struct policy *policy = r->policy;
        struct policy_process *grown;
        int k;

        for (size_t i = 0; i < policy->n_processes; i++) {
                struct policy_process *process = &policy->processes[i];

                if (strcmp(process->label, name) == 0)
                        return twice(r, name, process->file, process->line);
        }
        k = count_entry(r);
        if (k < 0)
                return k;
        grown = reallocarray(policy->processes, policy->n_processes + 1, sizeof(*grown));
        if (!grown)
                return -ENOMEM;
        policy->processes = grown;
        r->index = policy->n_processes;
        grown[r->index] = (struct policy_process){
                .label = strdup(name),
                .file = r->file,
                .line = r->line,
        };
        if (!grown[r->index].label)
                return -ENOMEM;
        policy->n_processes++;
        return 0;
}

int reader_section(struct policy_reader *r, const char *kind, const char *name) {
        char quoted[QUOTE_SIZE], quoted_name[QUOTE_SIZE];
        const char *why;

        r->section = SECTION_NONE;
        for (int i = SECTION_DEFAULT; i < _SECTION_MAX; i++)
                if (strcmp(section_names[i], kind) == 0)
                        r->section = (enum section)i;
        if (r->section == SECTION_NONE)
                return reader_error(r, r->line,
                                    "[%s]: unknown section; one of [Default], [Secret NAME], "
                                    "[Process NAME]",
                                    quote_text(kind, quoted));
        if (r->section == SECTION_DEFAULT)
                return open_default(r, name);

        why = value_label(name);
        if (why)
                return reader_error(r, r->line, "[%s %s]: %s", section_names[r->section],
                                    quote_text(name, quoted_name), why);
        return r->section == SECTION_SECRET ? open_secret(r, name) : open_process(r, name);
}

void reader_finish(struct policy_reader *r) {
        struct policy *policy = r->policy;

        for (size_t i = 0; i < policy->n_secrets; i++) {
                struct policy_secret *secret = &policy->secrets[i];

                if (!secret->has_content)
                        secret->content = policy->tagged;
                if (secret->n_rules > 0)
                        continue;
                r->file = secret->file;
                reader_error(r, secret->line,
                             "[Secret %s]: names no file; add File=", secret->label);
        }
        for (size_t i = 0; i < policy->n_processes; i++) {
                struct policy_process *process = &policy->processes[i];

                if (!process->has_content)
                        process->content = policy->tagged;
                if (process->exe || process->unit || process->has_user)
                        continue;
                r->file = process->file;
                reader_error(r, process->line,
                             "[Process %s]: would match every process; add Exe=, User= or Unit=",
                             process->label);
        }
}
