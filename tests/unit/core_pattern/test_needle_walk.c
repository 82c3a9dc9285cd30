/* needle_walk: which files a pattern names below a root that nobody trusts.
 *
 * with: core_pattern/needle_walk.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "core_pattern/needle_walk.h"

static char root[] = "/tmp/test_walk.XXXXXX";
static int root_fd = -1;

static const char *const directories[] = { "/etc",          "/etc/keys", "/etc/keys/a",
                                           "/etc/keys/a/b", "/store",    "/deep" };
static const char *const files[] = {
        "/etc/keys/one.key",      "/etc/keys/two.key", "/etc/keys/.hidden", "/etc/keys/a/three.key",
        "/etc/keys/a/b/four.key", "/store/five.key",   "/outside"
};

static void path_of(const char *name, char *ret, size_t size) {
        assert_true(snprintf(ret, size, "%s%s", root, name) < (int)size);
}

static void file_make(const char *name) {
        char path[4096];
        int fd;

        path_of(name, path, sizeof(path));
        fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, name, strlen(name)), (ssize_t)strlen(name));
        assert_int_equal(close(fd), 0);
}

static void link_make(const char *target, const char *name) {
        char path[4096];

        path_of(name, path, sizeof(path));
        assert_int_equal(symlink(target, path), 0);
}

static int tree_make(void **state) {
        char path[4096];

        (void)state;
        assert_non_null(mkdtemp(root));
        for (size_t i = 0; i < ARRAY_SIZE(directories); i++) {
                path_of(directories[i], path, sizeof(path));
                assert_int_equal(mkdir(path, 0700), 0);
        }
        for (size_t i = 0; i < ARRAY_SIZE(files); i++)
                file_make(files[i]);
        link_make("/store/five.key", "/etc/keys/absolute.lnk");
        link_make("../../store/five.key", "/etc/keys/relative.lnk");
        link_make("../../../../../../../../outside", "/etc/keys/escape.lnk");
        link_make("/proc/self/root/etc/passwd", "/etc/keys/magic.lnk");
        link_make("/nowhere", "/etc/keys/dangling.lnk");
        link_make("..", "/etc/keys/a/loop");
        link_make("/store", "/linked");
        path_of("/etc/keys/pipe.fifo", path, sizeof(path));
        assert_int_equal(mkfifo(path, 0600), 0);
        root_fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
        assert_true(root_fd >= 0);
        return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
        (void)st;
        (void)type;
        (void)ftw;
        return remove(path);
}

static int tree_remove(void **state) {
        (void)state;
        (void)close(root_fd);
        return nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

#define HITS_MAX 16

struct hits {
        char *paths[HITS_MAX];
        size_t n;
};

static int take(void *userdata, const char *path, int fd) {
        struct hits *hits = userdata;

        assert_true(fcntl(fd, F_GETFL) & O_PATH);
        assert_true(hits->n < HITS_MAX);
        hits->paths[hits->n] = strdup(path);
        assert_non_null(hits->paths[hits->n++]);
        return 0;
}

static int by_name(const void *a, const void *b) {
        return strcmp(*(char *const *)a, *(char *const *)b);
}

static const struct walk_case {
        const char *name;
        const char *pattern;
        const char *want; /* joined by blanks, sorted */
} walk_cases[] = {
        { "a plain path is that file", "/etc/keys/one.key", "/etc/keys/one.key" },
        { "a plain path that is not there is nothing", "/etc/keys/none.key", "" },
        { "a star stands for a part of a name", "/etc/keys/*.key",
          "/etc/keys/one.key /etc/keys/two.key" },
        { "a star in a directory's place", "/etc/*/one.key", "/etc/keys/one.key" },
        { "a star finds hidden files", "/etc/keys/.*", "/etc/keys/.hidden" },
        { "two stars at the end are every depth but this", "/etc/keys/a/**",
          "/etc/keys/a/b /etc/keys/a/b/four.key /etc/keys/a/loop /etc/keys/a/three.key" },
        { "two stars in the middle are every depth", "/etc/**/*.key",
          "/etc/keys/a/b/four.key /etc/keys/a/three.key /etc/keys/one.key /etc/keys/two.key" },
        { "two stars stand for nothing, too", "/etc/**/keys/one.key", "/etc/keys/one.key" },
        { "a link to a file is followed", "/etc/keys/relative.lnk", "/etc/keys/relative.lnk" },
        { "an absolute link stays in the root", "/etc/keys/absolute.lnk",
          "/etc/keys/absolute.lnk" },
        { "a link that climbs out stays in the root", "/etc/keys/escape.lnk",
          "/etc/keys/escape.lnk" },
        { "a dangling link is nothing", "/etc/keys/dangling.lnk", "" },
        { "a link in a directory's place is followed", "/linked/*.key", "/linked/five.key" },
        { "two stars do not descend through links", "/etc/keys/a/**/t*", "/etc/keys/a/three.key" },
        { "a directory that is not there is nothing", "/none/*", "" },
        { "a file in a directory's place is nothing", "/outside/*", "" },
};

static void patterns_name_files(void **state) {
        const struct walk_case *c = *state;
        struct hits hits = { .n = 0 };
        char got[4096] = "";

        assert_int_equal(needle_walk(root_fd, c->pattern, take, &hits), 0);
        qsort(hits.paths, hits.n, sizeof(hits.paths[0]), by_name);
        for (size_t i = 0; i < hits.n; i++) {
                (void)snprintf(got + strlen(got), sizeof(got) - strlen(got), "%s%s", i ? " " : "",
                               hits.paths[i]);
                free(hits.paths[i]);
        }
        assert_string_equal(got, c->want);
}

static int read_one(void *userdata, const char *path, int fd) {
        char *text = userdata;
        int file = -1, r = needle_reopen(fd, &file);

        (void)path;
        if (r < 0)
                return r;
        assert_true(fcntl(file, F_GETFD) & FD_CLOEXEC);
        assert_int_equal(fcntl(file, F_GETFL) & O_ACCMODE, O_RDONLY);
        text[read(file, text, 63)] = '\0';
        assert_int_equal(close(file), 0);
        return 1;
}

static void links_end_in_the_root_s_own_files(void **state) {
        char text[64];

        (void)state;
        assert_int_equal(needle_walk(root_fd, "/etc/keys/absolute.lnk", read_one, text), 1);
        assert_string_equal(text, "/store/five.key");
        assert_int_equal(needle_walk(root_fd, "/etc/keys/escape.lnk", read_one, text), 1);
        assert_string_equal(text, "/outside");
}

static void a_magic_link_is_not_followed(void **state) {
        char path[] = "/proc/self/root/etc/passwd", text[64];
        int host = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);

        (void)state;
        assert_true(access(path, R_OK) == 0);
        assert_int_equal(needle_walk(host, path, read_one, text), 0);
        assert_int_equal(close(host), 0);
}

static void only_regular_files_are_opened(void **state) {
        char text[64];

        (void)state;
        /* A FIFO opened for reading would wait for a writer for ever. */
        assert_int_equal(needle_walk(root_fd, "/etc/keys/pipe.fifo", read_one, text), -EINVAL);
        assert_int_equal(needle_walk(root_fd, "/etc/keys/a", read_one, text), -EINVAL);
}

static int count_one(void *userdata, const char *path, int fd) {
        (void)path;
        (void)fd;
        (*(unsigned *)userdata)++;
        return 0;
}

static void depth_has_a_limit(void **state) {
        char path[4096] = "/deep";
        unsigned n = 0;

        (void)state;
        for (unsigned i = 0; i < WALK_DEPTH_MAX + 2; i++) {
                char real[8192];

                (void)strcat(path, "/d");
                path_of(path, real, sizeof(real));
                assert_int_equal(mkdir(real, 0700), 0);
        }
        assert_int_equal(needle_walk(root_fd, "/deep/**", count_one, &n), -E2BIG);
        /* /deep is at depth 1 */
        assert_int_equal(n, WALK_DEPTH_MAX - 1);
}

static void a_relative_pattern_is_refused(void **state) {
        unsigned n = 0;

        (void)state;
        assert_int_equal(needle_walk(root_fd, "etc", count_one, &n), -EINVAL);
}

int main(void) {
        struct CMUnitTest tests[ARRAY_SIZE(walk_cases) + 5];
        size_t n = 0;

        for (size_t i = 0; i < ARRAY_SIZE(walk_cases); i++)
                tests[n++] = (struct CMUnitTest){
                        .name = walk_cases[i].name,
                        .test_func = patterns_name_files,
                        .initial_state = (void *)(uintptr_t)&walk_cases[i],
                };
        tests[n++] = (struct CMUnitTest)cmocka_unit_test(links_end_in_the_root_s_own_files);
        tests[n++] = (struct CMUnitTest)cmocka_unit_test(a_magic_link_is_not_followed);
        tests[n++] = (struct CMUnitTest)cmocka_unit_test(only_regular_files_are_opened);
        tests[n++] = (struct CMUnitTest)cmocka_unit_test(depth_has_a_limit);
        tests[n++] = (struct CMUnitTest)cmocka_unit_test(a_relative_pattern_is_refused);
        return _cmocka_run_group_tests("core_pattern/needle_walk", tests, n, tree_make,
                                       tree_remove);
}
