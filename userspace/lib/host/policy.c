#include "host/policy.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sha2.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/paths.h"
#include "host/policy_reader.h"

#define DEADLINE_SEC 30U
#define STORE_DUMP_MAX (4ULL << 30)
#define STORE_TOTAL_MAX (16ULL << 30)
#define STORE_KEEP_FREE (1ULL << 30)

#define DROP_IN_SUFFIX ".conf"

static void list_free(char **list) {
        for (char **at = list; at && *at; at++)
                free(*at);
        free(list);
}

DEFINE_CLEANUP(policy, struct policy, policy_free)
DEFINE_CLEANUP(list, char *, list_free)

static inline void cleanup_dir(DIR **dir) {
        if (*dir)
                (void)closedir(*dir);
}

void policy_free(struct policy *policy) {
        if (!policy)
                return;
        for (size_t i = 0; i < policy->n_secrets; i++) {
                free(policy->secrets[i].label);
                list_free(policy->secrets[i].holders);
        }
        for (size_t i = 0; i < policy->n_processes; i++) {
                free(policy->processes[i].label);
                free(policy->processes[i].exe);
                free(policy->processes[i].unit);
        }
        for (size_t i = 0; i < policy->n_rules; i++)
                free(policy->rules[i].pattern);
        free(policy->secrets);
        free(policy->processes);
        free(policy->rules);
        list_free(policy->environment);
        list_free(policy->files);
        free(policy);
}

static struct policy *policy_new(void) {
        struct policy *policy = malloc(sizeof(*policy));

        if (policy)
                *policy = (struct policy){
                        .untagged = CONTENT_DETECT,
                        .tagged = CONTENT_REDACT,
                        .unknown = CONTENT_REDACT,
                        .blind = CONTENT_REFUSE,
                        .deadline_sec = DEADLINE_SEC,
                        .store_dump_max = STORE_DUMP_MAX,
                        .store_total_max = STORE_TOTAL_MAX,
                        .store_keep_free = STORE_KEEP_FREE,
                };
        return policy;
}

const struct policy_rule *policy_rule_by_id(const struct policy *policy, uint32_t id) {
        for (size_t i = 0; i < policy->n_rules; i++)
                if (policy->rules[i].id == id)
                        return &policy->rules[i];
        return NULL;
}

/* One policy being read: what its files have in common. */
struct load {
        struct policy_reader reader;
        SHA2_CTX sha;
        size_t n_files;
        int error; /* of the first file that could not be read */
};

/* Remembers the name for as long as the policy lives: rules point to it. */
static int load_name(struct load *load, const char *name, const char **ret) {
        struct policy *policy = load->reader.policy;
        char **grown = reallocarray(policy->files, load->n_files + 2, sizeof(*grown));

        if (!grown)
                return -ENOMEM;
        policy->files = grown;
        grown[load->n_files + 1] = NULL;
        grown[load->n_files] = strdup(name);
        if (!grown[load->n_files])
                return -ENOMEM;
        *ret = grown[load->n_files++];
        return 0;
}

/* Takes in one file. `plain_name` is the name without `root`: the digest of a policy is the
 * same wherever it is tried. */
static int load_text(struct load *load, const char *name, const char *plain_name, char *text,
                     size_t size) {
        const char *kept;
        uint64_t framed = htole64(size);
        int r;

        /* The size between name and bytes keeps two policies with the same concatenation
         * apart. */
        SHA256Update(&load->sha, (const uint8_t *)plain_name, strlen(plain_name) + 1);
        SHA256Update(&load->sha, (const uint8_t *)&framed, sizeof(framed));
        SHA256Update(&load->sha, (const uint8_t *)text, size);

        r = load_name(load, name, &kept);
        if (r < 0)
                return r;
        return reader_take_file(&load->reader, kept, text, size);
}

/* A main file that lost its content (a full disk, a torn edit) would protect nothing, silently;
 * whoever means that can say so. */
static void load_check_main(struct load *load) {
        if (!load->reader.seen_any_section)
                reader_error(&load->reader, 0,
                             "holds no section; a policy without rules is "
                             "written as [Default] alone");
}

static int load_finish(struct load *load, struct policy **ret) {
        reader_finish(&load->reader);
        SHA256Final(load->reader.policy->digest, &load->sha);
        if (load->error < 0)
                return load->error;
        if (load->reader.n_errors > 0)
                return -EINVAL;
        *ret = load->reader.policy;
        return 0;
}

int policy_parse(const char *name, const char *text, size_t size, FILE *errors,
                 struct policy **ret) {
        _cleanup_(cleanup_policy) struct policy *policy = policy_new();
        _cleanup_free_ char *copy = NULL;
        struct load load = { .reader = { .policy = policy, .errors = errors } };
        int r;

        if (!policy)
                return -ENOMEM;
        if (size > POLICY_SIZE_MAX) {
                load.reader.file = name;
                reader_error(&load.reader, 0, "larger than 1 MiB; split it into policy.d/*.conf");
                return -EFBIG;
        }
        copy = malloc(size + 1);
        if (!copy)
                return -ENOMEM;
        memcpy(copy, text, size);
        copy[size] = '\0';

        SHA256Init(&load.sha);
        r = load_text(&load, name, name, copy, size);
        if (r < 0)
                return r;
        load_check_main(&load);
        r = load_finish(&load, ret);
        if (r < 0)
                return r;
        policy = NULL;
        return 0;
}

/* --- the host's files ------------------------------------------------------------------------- */

/* Tells why a file cannot be used, and remembers the first reason. */
static int load_refuse(struct load *load, const char *name, int error, const char *why) {
        load->reader.file = name;
        reader_error(&load->reader, 0, "%s", why);
        load->reader.file = PATH_POLICY; /* `name` is the caller's, and may go */
        if (load->error == 0)
                load->error = error;
        return error;
}

static int load_refuse_errno(struct load *load, const char *name, int error, const char *remedy) {
        char why[256];

        (void)snprintf(why, sizeof(why), "%s; %s", strerrordesc_np(-error), remedy);
        return load_refuse(load, name, error, why);
}

/* Only root may decide which keys are protected. An unprivileged caller (`policy check`, tests)
 * may look at its own files; it decides nothing. */
static int load_trust(struct load *load, const char *name, const struct stat *st) {
        if (st->st_uid != 0 && st->st_uid != geteuid())
                return load_refuse(load, name, -EPERM,
                                   "does not belong to root; who owns it could switch off "
                                   "protection: chown root");
        if (st->st_mode & (S_IWGRP | S_IWOTH))
                return load_refuse(load, name, -EPERM,
                                   "can be written by its group or by anyone; who can write it "
                                   "could switch off protection: chmod go-w");
        return 0;
}

/* O_NONBLOCK: a FIFO in the place of a policy must not hold up a crash. */
static int load_open(struct load *load, int dirfd, const char *base, const char *name, mode_t type,
                     const char *remedy, int *ret_fd) {
        _cleanup_close_ int fd = -1;
        struct stat st;
        int r;

        fd = openat(dirfd, base, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        if (fd < 0)
                return load_refuse_errno(load, name, -errno, remedy);
        if (fstat(fd, &st) < 0)
                return load_refuse_errno(load, name, -errno, remedy);
        if ((st.st_mode & S_IFMT) != type)
                return load_refuse(load, name, type == S_IFDIR ? -ENOTDIR : -EINVAL,
                                   type == S_IFDIR ? "not a directory; make it one"
                                                   : "not a regular file; replace it by one");
        r = load_trust(load, name, &st);
        if (r < 0)
                return r;
        *ret_fd = TAKE_FD(fd);
        return 0;
}

/* Returns 0 also after an error of this file that was told, so that the others are looked at
 * too; else -ENOMEM. */
static int load_file(struct load *load, int dirfd, const char *base, const char *name,
                     const char *plain_name, const char *remedy) {
        _cleanup_close_ int fd = -1;
        _cleanup_free_ char *text = NULL;
        size_t size;
        int r;

        r = load_open(load, dirfd, base, name, S_IFREG, remedy, &fd);
        if (r < 0)
                return 0;
        r = io_read_fd(fd, POLICY_SIZE_MAX, &text, &size);
        if (r == -ENOMEM)
                return r;
        if (r < 0) {
                load_refuse_errno(load, name, r,
                                  r == -EFBIG ? "at most 1 MiB: split it into policy.d/*.conf"
                                              : remedy);
                return 0;
        }
        return load_text(load, name, plain_name, text, size);
}

static int load_main(struct load *load, const char *root) {
        static const char remedy[] = "install the default policy there, or write one";
        _cleanup_free_ char *name = NULL, *dir = NULL;
        _cleanup_close_ int fd = -1;
        const char *slash;
        int r;

        if (asprintf(&name, "%s%s", root, PATH_POLICY) < 0) {
                name = NULL;
                return -ENOMEM;
        }
        slash = strrchr(name, '/');
        dir = strndup(name, (size_t)(slash - name));
        if (!dir)
                return -ENOMEM;

        r = load_open(load, AT_FDCWD, dir, dir, S_IFDIR, remedy, &fd);
        if (r < 0)
                return 0;
        r = load_file(load, fd, slash + 1, name, PATH_POLICY, remedy);
        if (r < 0)
                return r;
        if (load->error == 0)
                load_check_main(load);
        return 0;
}

static bool is_drop_in(const char *name) {
        size_t size = strlen(name), suffix = strlen(DROP_IN_SUFFIX);

        return name[0] != '.' && size > suffix && strcmp(name + size - suffix, DROP_IN_SUFFIX) == 0;
}

static int name_compare(const void *a, const void *b) {
        return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The names of the drop-ins in `dir`, sorted; *ret is NULL-terminated. -E2BIG over the limit. */
static int list_drop_ins(DIR *dir, char ***ret) {
        _cleanup_(cleanup_list) char **names = calloc(POLICY_FILES_MAX + 1, sizeof(*names));
        size_t n = 0;

        if (!names)
                return -ENOMEM;
        for (;;) {
                struct dirent *entry;

                errno = 0;
                entry = readdir(dir);
                if (!entry && errno != 0)
                        return -errno;
                if (!entry)
                        break;
                if (!is_drop_in(entry->d_name))
                        continue;
                if (n == POLICY_FILES_MAX)
                        return -E2BIG;
                names[n] = strdup(entry->d_name);
                if (!names[n])
                        return -ENOMEM;
                n++;
        }
        qsort(names, n, sizeof(*names), name_compare);
        *ret = TAKE_PTR(names);
        return 0;
}

_Static_assert(POLICY_FILES_MAX == 256, "said in a message below");

/* Opens the directory of drop-ins. *ret_dir stays NULL when there is none, or after an error that
 * was told. */
static int load_open_drop_ins(struct load *load, const char *dir, const char *remedy,
                              DIR **ret_dir) {
        _cleanup_close_ int fd = -1;
        struct stat st;
        DIR *stream;

        if (lstat(dir, &st) < 0 && errno == ENOENT)
                return 0;
        if (load_open(load, AT_FDCWD, dir, dir, S_IFDIR, remedy, &fd) < 0)
                return 0;
        stream = fdopendir(fd);
        if (!stream)
                return -errno;
        fd = -1; /* the stream's now */
        *ret_dir = stream;
        return 0;
}

static int load_drop_ins(struct load *load, const char *root) {
        static const char remedy[] = "make it readable for root, or remove it";
        _cleanup_(cleanup_list) char **names = NULL;
        _cleanup_(cleanup_dir) DIR *stream = NULL;
        _cleanup_free_ char *dir = NULL;
        int r;

        if (asprintf(&dir, "%s%s", root, PATH_POLICY_DIR) < 0) {
                dir = NULL;
                return -ENOMEM;
        }
        r = load_open_drop_ins(load, dir, remedy, &stream);
        if (r < 0 || !stream)
                return r;
        r = list_drop_ins(stream, &names);
        if (r == -ENOMEM)
                return r;
        if (r < 0) {
                load_refuse_errno(load, dir, r,
                                  r == -E2BIG ? "at most 256 *.conf: put some together" : remedy);
                return 0;
        }

        for (char **name = names; name && *name; name++) {
                _cleanup_free_ char *full = NULL;

                if (asprintf(&full, "%s/%s", dir, *name) < 0) {
                        full = NULL;
                        return -ENOMEM;
                }
                r = load_file(load, dirfd(stream), *name, full, full + strlen(root), remedy);
                if (r < 0)
                        return r;
        }
        return 0;
}

int policy_load(const char *root, FILE *errors, struct policy **ret) {
        _cleanup_(cleanup_policy) struct policy *policy = policy_new();
        struct load load = { .reader = { .policy = policy, .errors = errors } };
        int r;

        if (!policy)
                return -ENOMEM;
        SHA256Init(&load.sha);
        r = load_main(&load, root);
        if (r < 0)
                return r;
        r = load_drop_ins(&load, root);
        if (r < 0)
                return r;
        r = load_finish(&load, ret);
        if (r < 0)
                return r;
        policy = NULL;
        return 0;
}
