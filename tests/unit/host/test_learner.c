/* learner: its place in the sensor's map, also after others died in theirs. No sensor is there:
 * whoever gets a place is told that the file was not seen.
 */
#include "host/learner.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <bpf/bpf.h>
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "tests/unit/scratch.h"

struct scene {
        struct scratch *scratch;
        struct learner learner;
        int fd;
};

static int scene_make(void **state) {
        struct scene *scene = calloc(1, sizeof(*scene));

        if (!scene || scratch_setup((void **)&scene->scratch) < 0)
                return -1;
        scene->learner.learners_fd = bpf_map_create(BPF_MAP_TYPE_HASH, "learners", sizeof(uint32_t),
                                                    sizeof(struct learned), LEARNERS_MAX, NULL);
        scene->learner.until_fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "learn_until",
                                                 sizeof(uint32_t), sizeof(uint64_t), 1, NULL);
        if (scratch_save(scene->scratch, "/file", "x", 1) < 0)
                return -1;
        scene->fd = open(scratch_path(scene->scratch, "/file"), O_RDONLY | O_CLOEXEC);
        *state = scene;
        return scene->fd < 0 ? -1 : 0;
}

static int scene_drop(void **state) {
        struct scene *scene = *state;
        void *scratch = scene->scratch;

        cleanup_close(&scene->learner.learners_fd);
        cleanup_close(&scene->learner.until_fd);
        cleanup_close(&scene->fd);
        free(scene);
        return scratch_teardown(&scratch);
}

/* Maps are root's to make. */
static void need_maps(const struct scene *scene) {
        if (scene->learner.learners_fd < 0 || scene->learner.until_fd < 0)
                skip();
}

static void enter(const struct scene *scene, uint32_t tid, uint64_t until_ns) {
        const struct learned entry = { .until_ns = until_ns };

        assert_int_equal(bpf_map_update_elem(scene->learner.learners_fd, &tid, &entry, BPF_NOEXIST),
                         0);
}

static int learn(const struct scene *scene) {
        struct learned learned;

        return learner_read(&scene->learner, scene->fd, &learned);
}

static size_t entries(const struct scene *scene) {
        uint32_t key, next;
        size_t n = 0;

        while (n <= LEARNERS_MAX &&
               bpf_map_get_next_key(scene->learner.learners_fd, n ? &key : NULL, &next) == 0) {
                key = next;
                n++;
        }
        return n;
}

static void a_learner_leaves_no_entry(void **state) {
        struct scene *scene = *state;

        need_maps(scene);
        assert_int_equal(learn(scene), -EOPNOTSUPP);
        assert_int_equal(entries(scene), 0);
}

static uint32_t dead_process(void) {
        pid_t pid = fork();

        assert_true(pid >= 0);
        if (pid == 0)
                _exit(0);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        return (uint32_t)pid;
}

static void entries_of_the_dead_make_room(void **state) {
        struct scene *scene = *state;

        need_maps(scene);
        for (unsigned i = 0; i < LEARNERS_MAX; i++)
                enter(scene, dead_process(), UINT64_MAX);
        assert_int_equal(entries(scene), LEARNERS_MAX);
        assert_int_equal(learn(scene), -EOPNOTSUPP);
        assert_int_equal(entries(scene), 0);
}

/* Threads of ours that live until the end of a test. */
struct crowd {
        pthread_t threads[LEARNERS_MAX];
        uint32_t tids[LEARNERS_MAX];
        pthread_barrier_t come, go;
        unsigned n;
};

static void *crowd_main(void *arg) {
        struct crowd *crowd = arg;

        crowd->tids[__sync_fetch_and_add(&crowd->n, 1)] = (uint32_t)gettid();
        (void)pthread_barrier_wait(&crowd->come);
        (void)pthread_barrier_wait(&crowd->go);
        return NULL;
}

static void crowd_come(struct crowd *crowd) {
        assert_int_equal(pthread_barrier_init(&crowd->come, NULL, LEARNERS_MAX + 1), 0);
        assert_int_equal(pthread_barrier_init(&crowd->go, NULL, LEARNERS_MAX + 1), 0);
        for (unsigned i = 0; i < LEARNERS_MAX; i++)
                assert_int_equal(pthread_create(&crowd->threads[i], NULL, crowd_main, crowd), 0);
        (void)pthread_barrier_wait(&crowd->come);
}

static void crowd_go(struct crowd *crowd) {
        (void)pthread_barrier_wait(&crowd->go);
        for (unsigned i = 0; i < LEARNERS_MAX; i++)
                assert_int_equal(pthread_join(crowd->threads[i], NULL), 0);
        (void)pthread_barrier_destroy(&crowd->come);
        (void)pthread_barrier_destroy(&crowd->go);
}

static void one_more_than_may_learn_at_once_is_told_so(void **state) {
        struct scene *scene = *state;
        struct crowd crowd = { .n = 0 };

        need_maps(scene);
        crowd_come(&crowd);
        for (unsigned i = 0; i + 1 < LEARNERS_MAX; i++)
                enter(scene, crowd.tids[i], UINT64_MAX);
        assert_int_equal(learn(scene), -EOPNOTSUPP); /* the last place */
        enter(scene, crowd.tids[LEARNERS_MAX - 1], UINT64_MAX);
        assert_int_equal(learn(scene), -EUSERS);
        assert_int_equal(entries(scene), LEARNERS_MAX);
        crowd_go(&crowd);
}

static void an_old_entry_makes_room_though_its_number_lives_again(void **state) {
        struct scene *scene = *state;
        struct crowd crowd = { .n = 0 };

        need_maps(scene);
        crowd_come(&crowd);
        for (unsigned i = 0; i < LEARNERS_MAX; i++)
                enter(scene, crowd.tids[i], i == 0 ? 1 : UINT64_MAX);
        assert_int_equal(learn(scene), -EOPNOTSUPP);
        assert_int_equal(entries(scene), LEARNERS_MAX - 1);
        crowd_go(&crowd);
}

#define SCENE_TEST(f) cmocka_unit_test_setup_teardown(f, scene_make, scene_drop)

int main(void) {
        const struct CMUnitTest tests[] = {
                SCENE_TEST(a_learner_leaves_no_entry),
                SCENE_TEST(entries_of_the_dead_make_room),
                SCENE_TEST(one_more_than_may_learn_at_once_is_told_so),
                SCENE_TEST(an_old_entry_makes_room_though_its_number_lives_again),
        };

        return cmocka_run_group_tests_name("host/learner", tests, NULL, NULL);
}
