/* The policy of a host: which files are read, in which order, and which are not trusted. */
#include "host/policy.h"

#include <errno.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/paths.h"

DEFINE_CLEANUP(policy, struct policy, policy_free)

#define GOOD "[Secret s]\nFile=/k\n"

struct host {
        char root[32];
        char *errors;
        struct policy *policy;
};

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
        (void)st;
        (void)type;
        (void)ftw;
        return remove(path);
}

static char *path_in(const struct host *host, const char *path) {
        char *full = NULL;

        assert_true(asprintf(&full, "%s%s", host->root, path) > 0);
        return full;
}

static void make_dir(const struct host *host, const char *path) {
        _cleanup_free_ char *full = path_in(host, path);

        assert_int_equal(mkdir(full, 0755), 0);
}

static void write_file(const struct host *host, const char *path, const char *text) {
        _cleanup_free_ char *full = path_in(host, path);
        _cleanup_fclose_ FILE *f = fopen(full, "we");

        assert_non_null(f);
        assert_true(fputs(text, f) >= 0);
}

static int host_start(void **state) {
        struct host *host = calloc(1, sizeof(*host));

        assert_non_null(host);
        strcpy(host->root, "/tmp/coresieve-policy-XXXXXX");
        assert_non_null(mkdtemp(host->root));
        make_dir(host, "/etc");
        make_dir(host, "/etc/coresieve");
        make_dir(host, PATH_POLICY_DIR);
        *state = host;
        return 0;
}

static int host_end(void **state) {
        struct host *host = *state;

        policy_free(host->policy);
        free(host->errors);
        assert_int_equal(nftw(host->root, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
        free(host);
        return 0;
}

static int load(struct host *host) {
        size_t size;
        FILE *f;
        int r;

        policy_free(host->policy);
        free(host->errors);
        host->policy = NULL;
        host->errors = NULL;
        f = open_memstream(&host->errors, &size);
        assert_non_null(f);
        r = policy_load(host->root, f, &host->policy);
        assert_int_equal(fclose(f), 0);
        return r;
}

/* `says` is what must follow "coresieve: ROOT". */
static void assert_says(const struct host *host, const char *says) {
        _cleanup_free_ char *whole = NULL;

        assert_true(asprintf(&whole, "coresieve: %s%s\n", host->root, says) > 0);
        assert_string_equal(host->errors, whole);
}

static void drop_ins_are_read_in_order_of_name(void **state) {
        struct host *host = *state;

        write_file(host, PATH_POLICY, "[Default]\nDeadline=1\nDumpMax=1M\n" GOOD);
        write_file(host, PATH_POLICY_DIR "/20-b.conf", "[Default]\nDeadline=20\n");
        write_file(host, PATH_POLICY_DIR "/10-a.conf",
                   "[Secret s]\nFile=/l\n[Default]\nDeadline=10\n");
        write_file(host, PATH_POLICY_DIR "/README", "not read");
        write_file(host, PATH_POLICY_DIR "/a.conf.example", "not read");
        write_file(host, PATH_POLICY_DIR "/.a.conf", "not read");
        write_file(host, PATH_POLICY_DIR "/.conf", "not read");

        assert_int_equal(load(host), 0);
        assert_string_equal(host->errors, "");
        assert_int_equal(host->policy->deadline_sec, 20);
        assert_int_equal(host->policy->store_dump_max, 1 << 20);
        assert_int_equal(host->policy->n_secrets, 1);
        assert_int_equal(host->policy->n_rules, 2);
        assert_non_null(strstr(host->policy->rules[1].file, "/policy.d/10-a.conf"));
        assert_non_null(strstr(host->policy->files[2], "/policy.d/20-b.conf"));
        assert_null(host->policy->files[3]);
}

static void drop_ins_need_not_exist(void **state) {
        struct host *host = *state;
        _cleanup_free_ char *dir = path_in(host, PATH_POLICY_DIR);

        assert_int_equal(rmdir(dir), 0);
        write_file(host, PATH_POLICY, GOOD);
        assert_int_equal(load(host), 0);
}

static void a_missing_policy_is_no_policy(void **state) {
        struct host *host = *state;

        assert_int_equal(load(host), -ENOENT);
        assert_says(host, "/etc/coresieve/policy.conf: No such file or directory; install the "
                          "default policy there, or write one");
        assert_null(host->policy);
}

static void an_emptied_policy_is_no_policy(void **state) {
        struct host *host = *state;

        write_file(host, PATH_POLICY, "");
        write_file(host, PATH_POLICY_DIR "/a.conf", GOOD);
        assert_int_equal(load(host), -EINVAL);
        assert_says(host, "/etc/coresieve/policy.conf: holds no section; a policy without rules is "
                          "written as [Default] alone");
}

static void an_error_of_a_drop_in_names_it(void **state) {
        struct host *host = *state;

        write_file(host, PATH_POLICY, GOOD);
        write_file(host, PATH_POLICY_DIR "/tls.conf",
                   "# tls\n\n[Secret tls]\nFile=/etc/tls\n# level\n\nContent=redcat\n");
        assert_int_equal(load(host), -EINVAL);
        assert_says(host, "/etc/coresieve/policy.d/tls.conf:7: Content=redcat: unknown level; one "
                          "of detect, redact, stacks, refuse");
}

static void a_drop_in_cannot_weaken_a_secret(void **state) {
        struct host *host = *state;

        write_file(host, PATH_POLICY, GOOD "Content=refuse\n");
        write_file(host, PATH_POLICY_DIR "/a.conf", "[Secret s]\nContent=redact\n");
        assert_int_equal(load(host), -EINVAL);
        assert_says(host, "/etc/coresieve/policy.d/a.conf:2: Content=redact: an earlier file gave "
                          "this secret its Content=; change it there");
}

static void a_drop_in_cannot_narrow_a_process(void **state) {
        struct host *host = *state;
        _cleanup_free_ char *whole = NULL;

        write_file(host, PATH_POLICY, "[Process p]\nExe=/x\n");
        write_file(host, PATH_POLICY_DIR "/a.conf", "[Process p]\nUser=0\n");
        assert_int_equal(load(host), -EINVAL);
        assert_true(asprintf(&whole,
                             "coresieve: %s/etc/coresieve/policy.d/a.conf:1: [Process p]: stands "
                             "twice, first at %s/etc/coresieve/policy.conf:1; put its keys "
                             "together there\n",
                             host->root, host->root) > 0);
        assert_string_equal(host->errors, whole);
}

static void the_digest_tells_every_change(void **state) {
        struct host *host = *state;
        _cleanup_free_ char *a = NULL, *b = NULL;
        uint8_t digests[5][32];

        write_file(host, PATH_POLICY, GOOD);
        write_file(host, PATH_POLICY_DIR "/a.conf", "# 1\n");
        assert_int_equal(load(host), 0);
        memcpy(digests[0], host->policy->digest, 32);

        assert_int_equal(load(host), 0);
        assert_memory_equal(digests[0], host->policy->digest, 32);

        write_file(host, PATH_POLICY_DIR "/a.conf", "## 2\n");
        assert_int_equal(load(host), 0);
        memcpy(digests[1], host->policy->digest, 32);

        a = path_in(host, PATH_POLICY_DIR "/a.conf");
        b = path_in(host, PATH_POLICY_DIR "/b.conf");
        assert_int_equal(rename(a, b), 0);
        assert_int_equal(load(host), 0);
        memcpy(digests[2], host->policy->digest, 32);

        assert_int_equal(unlink(b), 0);
        assert_int_equal(load(host), 0);
        memcpy(digests[3], host->policy->digest, 32);

        /* The same bytes, cut elsewhere. */
        write_file(host, PATH_POLICY, GOOD "#");
        write_file(host, PATH_POLICY_DIR "/b.conf", "# 2\n");
        assert_int_equal(load(host), 0);
        memcpy(digests[4], host->policy->digest, 32);

        for (size_t i = 0; i < ARRAY_SIZE(digests); i++)
                for (size_t j = 0; j < i; j++)
                        assert_memory_not_equal(digests[i], digests[j], 32);
}

/* A policy is tried in a scratch root and installed on the host: the same policy. */
static void the_digest_does_not_depend_on_the_root(void **state) {
        struct host *host = *state;
        uint8_t digest[32];
        struct host *other = NULL;

        write_file(host, PATH_POLICY, GOOD);
        assert_int_equal(load(host), 0);
        memcpy(digest, host->policy->digest, 32);

        assert_int_equal(host_start((void **)&other), 0);
        write_file(other, PATH_POLICY, GOOD);
        assert_int_equal(load(other), 0);
        assert_memory_equal(digest, other->policy->digest, 32);
        assert_int_equal(host_end((void **)&other), 0);
}

/* --- trust --- */

struct mode_case {
        const char *name;
        const char *path;
        mode_t mode;
        const char *says; /* NULL: trusted */
};

#define WRITABLE                                                                                   \
        "can be written by its group or by anyone; who can write it could switch off protection: " \
        "chmod go-w"

static const struct mode_case mode_cases[] = {
        { "a policy that everybody may read is trusted", PATH_POLICY, 0444, NULL },
        { "a policy that its group can write is not", PATH_POLICY, 0664,
          "/etc/coresieve/policy.conf: " WRITABLE },
        { "a policy that anyone can write is not", PATH_POLICY, 0646,
          "/etc/coresieve/policy.conf: " WRITABLE },
        { "a drop-in that its group can write is not", PATH_POLICY_DIR "/a.conf", 0664,
          "/etc/coresieve/policy.d/a.conf: " WRITABLE },
        { "a directory where anyone can put a policy is not", "/etc/coresieve", 01777,
          "/etc/coresieve: " WRITABLE },
        { "a directory where the group can put drop-ins is not", PATH_POLICY_DIR, 0775,
          "/etc/coresieve/policy.d: " WRITABLE },
};

static void mode_is_judged(void **state) {
        const struct mode_case *c = *state;
        struct host *host = NULL;
        _cleanup_free_ char *path = NULL;

        assert_int_equal(host_start((void **)&host), 0);
        write_file(host, PATH_POLICY, GOOD);
        write_file(host, PATH_POLICY_DIR "/a.conf", "# a\n");
        path = path_in(host, c->path);
        assert_int_equal(chmod(path, c->mode), 0);
        assert_int_equal(load(host), c->says ? -EPERM : 0);
        if (c->says)
                assert_says(host, c->says);
        assert_int_equal(host_end((void **)&host), 0);
}

#define NOBODY 65534U

static void a_policy_of_another_user_is_not_trusted(void **state) {
        struct host *host = *state;
        _cleanup_free_ char *path = path_in(host, PATH_POLICY);

        if (geteuid() != 0)
                skip();
        write_file(host, PATH_POLICY, GOOD);
        assert_int_equal(chown(path, NOBODY, 0), 0);
        assert_int_equal(load(host), -EPERM);
        assert_says(host, "/etc/coresieve/policy.conf: does not belong to root; who owns it could "
                          "switch off protection: chown root");
}

static void a_symlink_is_judged_by_what_it_names(void **state) {
        struct host *host = *state;
        _cleanup_free_ char *link = path_in(host, PATH_POLICY), *to = path_in(host, "/real");

        write_file(host, "/real", GOOD);
        assert_int_equal(symlink(to, link), 0);
        assert_int_equal(load(host), 0);
        assert_int_equal(chmod(to, 0666), 0);
        assert_int_equal(load(host), -EPERM);
}

static void a_fifo_does_not_hold_up_a_crash(void **state) {
        struct host *host = *state;
        _cleanup_free_ char *path = path_in(host, PATH_POLICY);

        assert_int_equal(mkfifo(path, 0644), 0);
        assert_int_equal(load(host), -EINVAL);
        assert_says(host, "/etc/coresieve/policy.conf: not a regular file; replace it by one");
}

static void a_directory_is_no_drop_in(void **state) {
        struct host *host = *state;

        write_file(host, PATH_POLICY, GOOD);
        make_dir(host, PATH_POLICY_DIR "/a.conf");
        assert_int_equal(load(host), -EINVAL);
        assert_says(host, "/etc/coresieve/policy.d/a.conf: not a regular file; replace it by one");
}

static void a_dangling_policy_directory_is_told(void **state) {
        struct host *host = *state;
        _cleanup_free_ char *dir = path_in(host, PATH_POLICY_DIR);

        write_file(host, PATH_POLICY, GOOD);
        assert_int_equal(rmdir(dir), 0);
        assert_int_equal(symlink("/nonexistent", dir), 0);
        assert_int_equal(load(host), -ENOENT);
        assert_says(host, "/etc/coresieve/policy.d: No such file or directory; make it readable "
                          "for root, or remove it");
}

static void every_bad_file_is_told(void **state) {
        struct host *host = *state;

        make_dir(host, PATH_POLICY_DIR "/a.conf");
        write_file(host, PATH_POLICY_DIR "/b.conf", "x\n");
        assert_int_equal(load(host), -ENOENT);
        assert_non_null(strstr(host->errors, "policy.conf: No such file"));
        assert_non_null(strstr(host->errors, "a.conf: not a regular file"));
        assert_non_null(strstr(host->errors, "b.conf:1: x: neither"));
}

/* --- limits --- */

static void size_limit_holds(void **state) {
        struct host *host = *state;
        _cleanup_free_ char *text = malloc(POLICY_SIZE_MAX + 2);

        assert_non_null(text);
        memset(text, 'x', POLICY_SIZE_MAX + 1);
        text[0] = '#';
        text[POLICY_SIZE_MAX] = '\0';
        write_file(host, PATH_POLICY, GOOD);
        write_file(host, PATH_POLICY_DIR "/a.conf", text);
        assert_int_equal(load(host), 0);
        text[POLICY_SIZE_MAX] = 'x';
        text[POLICY_SIZE_MAX + 1] = '\0';
        write_file(host, PATH_POLICY_DIR "/a.conf", text);
        assert_int_equal(load(host), -EFBIG);
        assert_says(host, "/etc/coresieve/policy.d/a.conf: File too large; at most 1 MiB: split it "
                          "into policy.d/*.conf");
}

static void file_limit_holds(void **state) {
        struct host *host = *state;
        char path[64];

        write_file(host, PATH_POLICY, GOOD);
        for (unsigned i = 0; i < POLICY_FILES_MAX; i++) {
                assert_true(snprintf(path, sizeof(path), PATH_POLICY_DIR "/%u.conf", i) > 0);
                write_file(host, path, "# x\n");
        }
        assert_int_equal(load(host), 0);
        write_file(host, PATH_POLICY_DIR "/one-more.conf", "# x\n");
        assert_int_equal(load(host), -E2BIG);
        assert_says(host, "/etc/coresieve/policy.d: Argument list too long; at most 256 *.conf: "
                          "put some together");
}

#define IN_HOST(f) cmocka_unit_test_setup_teardown(f, host_start, host_end)

static const struct CMUnitTest host_tests[] = {
        IN_HOST(drop_ins_are_read_in_order_of_name),
        IN_HOST(drop_ins_need_not_exist),
        IN_HOST(a_missing_policy_is_no_policy),
        IN_HOST(an_emptied_policy_is_no_policy),
        IN_HOST(an_error_of_a_drop_in_names_it),
        IN_HOST(a_drop_in_cannot_weaken_a_secret),
        IN_HOST(a_drop_in_cannot_narrow_a_process),
        IN_HOST(the_digest_tells_every_change),
        IN_HOST(the_digest_does_not_depend_on_the_root),
        IN_HOST(a_policy_of_another_user_is_not_trusted),
        IN_HOST(a_symlink_is_judged_by_what_it_names),
        IN_HOST(a_fifo_does_not_hold_up_a_crash),
        IN_HOST(a_directory_is_no_drop_in),
        IN_HOST(a_dangling_policy_directory_is_told),
        IN_HOST(every_bad_file_is_told),
        IN_HOST(size_limit_holds),
        IN_HOST(file_limit_holds),
};

int main(void) {
        struct CMUnitTest tests[ARRAY_SIZE(host_tests) + ARRAY_SIZE(mode_cases)];
        size_t n = 0;

        (void)umask(022);
        for (size_t i = 0; i < ARRAY_SIZE(mode_cases); i++)
                tests[n++] = (struct CMUnitTest){ mode_cases[i].name, mode_is_judged, NULL, NULL,
                                                  (void *)&mode_cases[i] };
        memcpy(tests + n, host_tests, sizeof(host_tests));
        return cmocka_run_group_tests_name("policy files", tests, NULL, NULL);
}
