/* needle_files: which files of a tag are found, and that no file system can hold the helper up.
 * The sensor's answer is made up here: a file's key is its inode number.
 *
 * with: core_pattern/needle_files.c
 * with: core_pattern/needle_walk.c
 * with: core_pattern/mapped_files.c
 * with: core_pattern/spawn.c
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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "core_pattern/needle_files.h"
#include "core_pattern/spawn.h"
#include "tests/unit/scratch.h"

#define NS_PER_MS 1000000ULL
#define LONG_MS 20000

static bool sensor_hangs;

static struct file_key key_of(const struct stat *st) {
        return (struct file_key){ .ino = st->st_ino, .dev = 1 };
}

int tagmap_identify(struct tagmap *map, int fd, struct file_key *ret) {
        struct stat st;

        (void)map;
        while (sensor_hangs)
                (void)pause();
        if (fstat(fd, &st) < 0)
                return -errno;
        if (st.st_size == 0)
                return -ENODATA;
        *ret = key_of(&st);
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

#define SCENE_TEST(f) cmocka_unit_test_setup_teardown(f, scene_make, scene_drop)

int main(void) {
        const struct CMUnitTest tests[] = {
                SCENE_TEST(the_files_of_a_tag_are_opened),
                SCENE_TEST(a_file_that_is_gone_is_missing_and_named),
                SCENE_TEST(a_file_under_another_name_than_its_rule_s_is_missing),
                SCENE_TEST(a_rule_that_left_the_policy_finds_nothing),
                SCENE_TEST(one_file_by_two_rules_is_taken_for_both),
                SCENE_TEST(files_that_the_tag_could_not_name_are_missing),
                SCENE_TEST(a_file_system_that_hangs_costs_its_share_and_no_more),
                SCENE_TEST(a_mapped_file_is_taken_though_it_was_unlinked),
                SCENE_TEST(a_file_written_to_meanwhile_is_noticed),
        };

        return cmocka_run_group_tests_name("core_pattern/needle_files", tests, NULL, NULL);
}
