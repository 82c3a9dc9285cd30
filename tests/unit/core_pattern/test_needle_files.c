/* needle_files: which files of a tag are found, and that no file system can hold the helper up.
 * The sensor's answer is made up here: a file's key is its inode number, its mode says whether it
 * is watched and whether the sensor sees it at all.
 *
 * with: core_pattern/needle_files.c
 * with: core_pattern/needle_search.c
 * with: core_pattern/needle_walk.c
 * with: core_pattern/mapped_files.c
 * with: core_pattern/result.c
 * with: core_pattern/sandbox_drop.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/io.h"
#include "core_pattern/needle_files.h"
#include "tests/unit/scratch.h"

#define LONG_MS 20000

static bool sensor_hangs;

static struct file_key key_of(const struct stat *st) {
        return (struct file_key){ .ino = st->st_ino, .dev = 1 };
}

#define MODE_WATCHED 0600
#define MODE_UNWATCHED 0700
#define MODE_BLIND 0610

int tagmap_identify(struct tagmap *map, int fd, struct file_key *ret, bool *ret_watched) {
        struct stat st;

        (void)map;
        while (sensor_hangs)
                (void)pause();
        if (fstat(fd, &st) < 0)
                return -errno;
        if (st.st_size == 0)
                return -ENODATA;
        if (st.st_mode & S_IXGRP)
                return -EOPNOTSUPP;
        *ret = key_of(&st);
        if (ret_watched)
                *ret_watched = !(st.st_mode & S_IXUSR);
        return 0;
}

struct scene {
        struct scratch *scratch;
        struct policy *policy;
        struct tag tag;
        struct mapped_files mapped;
        int proc_fd;
};

static int scene_make(void **state) {
        struct scene *scene = calloc(1, sizeof(*scene));
        char text[2048];

        if (!scene || scratch_setup((void **)&scene->scratch) < 0)
                return -1;
        scratch_mkdir(scene->scratch, "/keys", 0700);
        (void)snprintf(text, sizeof(text),
                       "[Secret a]\nFile=%s/keys/*.key\n[Secret b]\nFile=%s/keys/**\n",
                       scene->scratch->root, scene->scratch->root);
        scene->proc_fd = open("/proc/self", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        *state = scene;
        sensor_hangs = false;
        return policy_parse("test", text, strlen(text), stderr, &scene->policy);
}

static int scene_drop(void **state) {
        struct scene *scene = *state;
        void *scratch = scene->scratch;

        mapped_files_done(&scene->mapped);
        policy_free(scene->policy);
        (void)close(scene->proc_fd);
        free(scene);
        return scratch_teardown(&scratch);
}

/* Puts a file there and its name into the tag; `rule` 0 or 1. */
static void file_tagged(struct scene *scene, const char *path, unsigned rule) {
        struct tag_file *file = &scene->tag.files[scene->tag.n_files++];
        struct stat st;

        assert_int_equal(scratch_save(scene->scratch, path, path, strlen(path)), 0);
        assert_int_equal(stat(scratch_path(scene->scratch, path), &st), 0);
        file->key = key_of(&st);
        file->rule = scene->policy->rules[rule].id;
        file->ready = 1;
}

static void find(struct scene *scene, uint64_t ms, struct needle_files *ret) {
        needle_files_find(scene->policy, NULL, &scene->tag, &scene->mapped, scene->proc_fd,
                          clock_now_ns() + ms * NS_PER_MS, ret);
}

static void the_files_of_a_tag_are_opened(void **state) {
        struct scene *scene = *state;
        struct needle_files files;
        char text[64] = "";

        file_tagged(scene, "/keys/one.key", 0);
        file_tagged(scene, "/keys/two.key", 0);
        assert_int_equal(scratch_save(scene->scratch, "/keys/other.key", "x", 1), 0);
        find(scene, LONG_MS, &files);
        assert_true(files.causes == 0);
        assert_int_equal(files.n, 2);
        assert_int_equal(files.n_open, 2);
        for (size_t i = 0; i < 2; i++) {
                assert_int_equal(fcntl(files.files[i].fd, F_GETFL) & O_ACCMODE, O_RDONLY);
                assert_true(fcntl(files.files[i].fd, F_GETFD) & FD_CLOEXEC);
                assert_true(io_pread(files.files[i].fd, text, sizeof(text) - 1, 0) > 0);
                assert_non_null(strstr(files.files[i].path, text));
        }
        needle_files_done(&files);
        assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no child is left */
}

static void a_file_that_is_gone_is_missing_and_named(void **state) {
        struct scene *scene = *state;
        struct needle_files files;

        file_tagged(scene, "/keys/one.key", 0);
        file_tagged(scene, "/keys/two.key", 0);
        assert_int_equal(unlink(scratch_path(scene->scratch, "/keys/one.key")), 0);
        find(scene, LONG_MS, &files);
        assert_true(files.causes == CAUSE_BIT(CAUSE_NEEDLE_MISSING));
        assert_int_equal(files.n_open, 1);
        assert_int_equal(files.n, 2);
        assert_int_equal(files.files[1].fd, -1);
        assert_null(files.files[1].path);
        assert_true(files.files[1].key.ino == scene->tag.files[0].key.ino);
        needle_files_done(&files);
}

static void a_file_under_another_name_than_its_rule_s_is_missing(void **state) {
        struct scene *scene = *state;
        struct needle_files files;

        file_tagged(scene, "/keys/one.pem", 0); /* rule 0 is for *.key */
        find(scene, LONG_MS, &files);
        assert_true(files.causes == CAUSE_BIT(CAUSE_NEEDLE_MISSING));
        assert_int_equal(files.n_open, 0);
        needle_files_done(&files);
}

static void a_rule_that_left_the_policy_finds_nothing(void **state) {
        struct scene *scene = *state;
        struct needle_files files;

        file_tagged(scene, "/keys/one.key", 0);
        scene->tag.files[0].rule ^= 1;
        find(scene, LONG_MS, &files);
        assert_true(files.causes == CAUSE_BIT(CAUSE_NEEDLE_MISSING));
        needle_files_done(&files);
}

static void one_file_by_two_rules_is_taken_for_both(void **state) {
        struct scene *scene = *state;
        struct needle_files files;

        file_tagged(scene, "/keys/one.key", 0);
        scene->tag.files[1] = scene->tag.files[0];
        scene->tag.files[1].rule = scene->policy->rules[1].id;
        scene->tag.n_files = 2;
        find(scene, LONG_MS, &files);
        assert_true(files.causes == 0);
        assert_int_equal(files.n_open, 2);
        needle_files_done(&files);
}

static void files_that_the_tag_could_not_name_are_missing(void **state) {
        struct scene *scene = *state;
        struct needle_files files;

        file_tagged(scene, "/keys/one.key", 0);
        scene->tag.flags = TAG_FILES_LOST;
        find(scene, LONG_MS, &files);
        assert_true(files.causes == CAUSE_BIT(CAUSE_NEEDLE_MISSING));
        needle_files_done(&files);

        scene->tag.flags = 0;
        scene->tag.n_files = 2; /* handed out, not yet filled */
        find(scene, LONG_MS, &files);
        assert_true(files.causes == CAUSE_BIT(CAUSE_NEEDLE_MISSING));
        needle_files_done(&files);
}

static void a_file_system_that_hangs_costs_its_share_and_no_more(void **state) {
        struct scene *scene = *state;
        struct needle_files files;
        uint64_t start = clock_now_ns();

        file_tagged(scene, "/keys/one.key", 0);
        sensor_hangs = true;
        find(scene, 300, &files);
        assert_true(clock_now_ns() - start < 10000 * NS_PER_MS);
        assert_true(files.causes == (CAUSE_BIT(CAUSE_DEADLINE) | CAUSE_BIT(CAUSE_NEEDLE_MISSING)));
        assert_int_equal(files.n_open, 0);
        assert_int_equal(files.n, 1);
        needle_files_done(&files);
        /* Killed; whether it is reaped already is a matter of luck. */
        assert_true(waitpid(-1, NULL, 0) > 0 || errno == ECHILD);
}

static void a_mapped_file_is_taken_though_it_was_unlinked(void **state) {
        struct scene *scene = *state;
        struct needle_files files;
        const char *path = scratch_path(scene->scratch, "/keys/mapped.key");
        void *memory;
        int fd;

        assert_int_equal(scratch_save(scene->scratch, "/keys/mapped.key", "secret", 6), 0);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        assert_true(fd >= 0);
        memory = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
        assert_ptr_not_equal(memory, MAP_FAILED);
        assert_int_equal(close(fd), 0);
        assert_int_equal(unlink(path), 0);

        assert_int_equal(mapped_files_read(scene->policy, scene->proc_fd, &scene->mapped), 0);
        assert_int_equal(scene->mapped.n, 1);
        needle_files_find(scene->policy, NULL, NULL, &scene->mapped, scene->proc_fd,
                          clock_now_ns() + LONG_MS * NS_PER_MS, &files);
        assert_true(files.causes == 0);
        assert_int_equal(files.n_open, 1);
        needle_files_done(&files);

        /* Unmapped since: nothing leads to it any more. */
        assert_int_equal(munmap(memory, 4096), 0);
        needle_files_find(scene->policy, NULL, NULL, &scene->mapped, scene->proc_fd,
                          clock_now_ns() + LONG_MS * NS_PER_MS, &files);
        assert_true(files.causes == CAUSE_BIT(CAUSE_NEEDLE_MISSING));
        needle_files_done(&files);
}

static void a_file_written_to_meanwhile_is_noticed(void **state) {
        struct scene *scene = *state;
        struct needle_files files;

        file_tagged(scene, "/keys/one.key", 0);
        find(scene, LONG_MS, &files);
        assert_int_equal(needle_files_check(&files), 0);
        (void)usleep(20000); /* a change time may be as coarse as a tick */
        assert_int_equal(scratch_save(scene->scratch, "/keys/one.key", "/keys/One.key", 13), 0);
        assert_int_equal(needle_files_check(&files), -ESTALE);
        needle_files_done(&files);
}

/* --- a process with a view of its own --- */

#define VIEW "/coresieve-unit" /* a directory that the host does not have */

struct view_case {
        const char *name;
        struct {
                const char *path;
                mode_t mode; /* 0: an empty file that is not watched */
        } files[3];
        const char *policy; /* NULL: [Secret c] File=VIEW/ *.key */
        uint64_t causes;
        size_t n_found;
};

static const struct view_case view_cases[] = {
        { .name = "a file that only the process has there is hunted, and is unwatched",
          .files = { { "/one.key", MODE_UNWATCHED } },
          .causes = CAUSE_BIT(CAUSE_UNWATCHED_FILE),
          .n_found = 1 },
        { .name = "a watched file that is not in the tag was not read",
          .files = { { "/one.key", MODE_WATCHED } } },
        { .name = "an empty file holds nothing", .files = { { "/one.key", 0 } } },
        { .name = "a file of another name is none of the rule's",
          .files = { { "/one.pem", MODE_UNWATCHED } } },
        { .name = "of several files the unwatched ones are hunted",
          .files = { { "/a.key", MODE_WATCHED },
                     { "/b.key", MODE_UNWATCHED },
                     { "/c.key", MODE_BLIND } },
          .causes = CAUSE_BIT(CAUSE_UNWATCHED_FILE),
          .n_found = 2 },
        { .name = "a file that the sensor cannot see is unwatched",
          .files = { { "/one.key", MODE_BLIND } },
          .causes = CAUSE_BIT(CAUSE_UNWATCHED_FILE),
          .n_found = 1 },
        { .name = "accepted blindness is for tmpfs and nothing else",
          .files = { { "/one.key", MODE_BLIND } },
          .policy = "[Default]\nAcceptBlind=tmpfs\n[Secret c]\nFile=" VIEW "/*.key\n",
          .causes = CAUSE_BIT(CAUSE_UNWATCHED_FILE),
          .n_found = 1 },
        { .name = "more than could be looked at may be unwatched too",
          .files = { { "/one.key", MODE_WATCHED } },
          /* WALK_DEPTH_MAX components and one more */
          .policy = "[Secret c]\nFile=" VIEW
                    "/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17/18/19/20/21/22/23/24/25/26/27/28/29"
                    "/30/31/32/*.key\n",
          .causes = CAUSE_BIT(CAUSE_UNWATCHED_FILE) },
};

/* A child whose root is the scratch directory; its directory of /proc. */
static int view_open(struct scene *scene, pid_t *ret_pid) {
        char path[64], byte;
        int fds[2], fd;

        assert_int_equal(pipe(fds), 0);
        *ret_pid = fork();
        assert_true(*ret_pid >= 0);
        if (*ret_pid == 0) {
                /* A test that fails forgets it. */
                (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
                byte = chroot(scene->scratch->root) == 0 ? 'y' : 'n';
                (void)!write(fds[1], &byte, 1);
                (void)pause();
                _exit(0);
        }
        assert_int_equal(read(fds[0], &byte, 1), 1);
        assert_int_equal(close(fds[0]) | close(fds[1]), 0);
        if (byte == 'n')
                return -EPERM;
        (void)snprintf(path, sizeof(path), "/proc/%d", (int)*ret_pid);
        fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(fd >= 0);
        return fd;
}

static void view_close(int fd, pid_t pid) {
        if (fd >= 0)
                assert_int_equal(close(fd), 0);
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void view_is_searched(void **state) {
        const struct view_case *c = *state;
        const char *text = c->policy ? c->policy : "[Secret c]\nFile=" VIEW "/*.key\n";
        struct mapped_files mapped = { 0 };
        struct needle_files files;
        struct policy *policy;
        struct scene *scene;
        void *made = NULL;
        pid_t pid;
        int fd;

        assert_int_equal(scene_make(&made), 0);
        scene = made;
        assert_int_equal(policy_parse("test", text, strlen(text), stderr, &policy), 0);
        scratch_mkdir(scene->scratch, VIEW, 0700);
        for (size_t i = 0; i < ARRAY_SIZE(c->files) && c->files[i].path; i++) {
                char path[64];

                (void)snprintf(path, sizeof(path), VIEW "%s", c->files[i].path);
                assert_int_equal(
                        scratch_save(scene->scratch, path, "key", c->files[i].mode ? 3 : 0), 0);
                assert_int_equal(chmod(scratch_path(scene->scratch, path),
                                       c->files[i].mode ? c->files[i].mode : MODE_UNWATCHED),
                                 0);
        }
        fd = view_open(scene, &pid);
        if (fd == -EPERM) {
                view_close(fd, pid);
                policy_free(policy);
                (void)scene_drop(&made);
                skip();
        }

        assert_true(needle_files_wanted(NULL, &mapped, fd));
        needle_files_find(policy, NULL, NULL, &mapped, fd, clock_now_ns() + LONG_MS * NS_PER_MS,
                          &files);
        assert_true(files.causes == c->causes);
        assert_int_equal(files.n_open, c->n_found);
        assert_int_equal(files.n, c->n_found);
        for (size_t i = 0; i < files.n; i++)
                assert_true(files.files[i].unwatched);
        needle_files_done(&files);
        view_close(fd, pid);
        policy_free(policy);
        assert_int_equal(scene_drop(&made), 0);
}

static void more_unwatched_files_than_can_be_hunted_are_large(void **state) {
        static const char text[] = "[Secret c]\nFile=" VIEW "/*.key\n";
        struct scene *scene = *state;
        struct mapped_files mapped = { 0 };
        struct policy *policy;
        pid_t pid;
        int fd;

        scratch_mkdir(scene->scratch, VIEW, 0700);
        assert_int_equal(policy_parse("test", text, strlen(text), stderr, &policy), 0);
        fd = view_open(scene, &pid);
        for (unsigned n = 1; fd >= 0 && n <= BRIEF_FILES_MAX + 1; n++) {
                struct needle_files files;
                char path[64];

                (void)snprintf(path, sizeof(path), VIEW "/%u.key", n);
                assert_int_equal(scratch_save(scene->scratch, path, "key", 3), 0);
                assert_int_equal(chmod(scratch_path(scene->scratch, path), MODE_UNWATCHED), 0);
                if (n < BRIEF_FILES_MAX)
                        continue;
                needle_files_find(policy, NULL, NULL, &mapped, fd,
                                  clock_now_ns() + LONG_MS * NS_PER_MS, &files);
                assert_int_equal(files.n_open, BRIEF_FILES_MAX);
                assert_true(files.causes ==
                            (CAUSE_BIT(CAUSE_UNWATCHED_FILE) |
                             (n > BRIEF_FILES_MAX ? CAUSE_BIT(CAUSE_NEEDLE_LARGE) : 0)));
                needle_files_done(&files);
        }
        view_close(fd, pid);
        policy_free(policy);
        if (fd < 0)
                skip();
}

static void our_own_view_needs_no_search(void **state) {
        struct scene *scene = *state;

        assert_false(needle_files_wanted(NULL, &scene->mapped, scene->proc_fd));
        assert_true(needle_files_wanted(&scene->tag, &scene->mapped, scene->proc_fd));
        /* A directory that tells nothing of namespaces. */
        assert_true(needle_files_wanted(NULL, &scene->mapped, AT_FDCWD));
}

#define SCENE_TEST(f) cmocka_unit_test_setup_teardown(f, scene_make, scene_drop)

int main(void) {
        struct CMUnitTest tests[ARRAY_SIZE(view_cases) + 16] = {
                SCENE_TEST(the_files_of_a_tag_are_opened),
                SCENE_TEST(a_file_that_is_gone_is_missing_and_named),
                SCENE_TEST(a_file_under_another_name_than_its_rule_s_is_missing),
                SCENE_TEST(a_rule_that_left_the_policy_finds_nothing),
                SCENE_TEST(one_file_by_two_rules_is_taken_for_both),
                SCENE_TEST(files_that_the_tag_could_not_name_are_missing),
                SCENE_TEST(a_file_system_that_hangs_costs_its_share_and_no_more),
                SCENE_TEST(a_mapped_file_is_taken_though_it_was_unlinked),
                SCENE_TEST(a_file_written_to_meanwhile_is_noticed),
                SCENE_TEST(more_unwatched_files_than_can_be_hunted_are_large),
                SCENE_TEST(our_own_view_needs_no_search),
        };
        size_t n = 0;

        while (tests[n].test_func)
                n++;
        for (size_t i = 0; i < ARRAY_SIZE(view_cases); i++)
                tests[n++] = (struct CMUnitTest){
                        .name = view_cases[i].name,
                        .test_func = view_is_searched,
                        .initial_state = (void *)(uintptr_t)&view_cases[i],
                };
        return _cmocka_run_group_tests("core_pattern/needle_files", tests, n, NULL, NULL);
}
