#include "host/tagmap.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/paths.h"
#include "host/bootid.h"
#include "host/learner.h"

/* Maps that one of our programs uses at most: room for the kernel's answer. */
#define PROGRAM_MAPS_MAX 32U

struct tagmap {
        int tags_fd, counters_fd, learners_fd, until_fd;
        int answer_fd; /* program */
        uint32_t tags_id;
        struct tags_meta meta;
        struct tags_counters counters;
};

static const char *const sensors[] = {
#define X(name) #name,
        TAGS_SENSORS(X)
#undef X
};

DEFINE_CLEANUP(tagmap, struct tagmap, tagmap_close)

static int pin_open(const char *name) {
        char path[PATH_MAX];
        int fd;

        (void)snprintf(path, sizeof(path), "%s/%s", PATH_PINS, name);
        fd = bpf_obj_get(path);
        return fd < 0 ? -errno : fd;
}

/* Does the program use this very map? Pins of two enables may have been mixed by hand. */
static int program_check(int fd, const char *name, uint32_t map_id, uint64_t *ret_missed) {
        uint32_t maps[PROGRAM_MAPS_MAX], size;
        struct bpf_prog_info info = {
                .nr_map_ids = PROGRAM_MAPS_MAX,
                .map_ids = (uint64_t)(uintptr_t)maps,
        };

        size = sizeof(info);
        if (bpf_obj_get_info_by_fd(fd, &info, &size) < 0)
                return -errno;
        /* The kernel keeps BPF_OBJ_NAME_LEN - 1 bytes of a name. */
        if (strncmp(info.name, name, sizeof(info.name) - 1) != 0)
                return -ENOLINK;
        for (uint32_t i = 0; i < info.nr_map_ids && i < PROGRAM_MAPS_MAX; i++) {
                if (maps[i] == map_id) {
                        *ret_missed = info.recursion_misses;
                        return 0;
                }
        }
        return -ENOLINK;
}

static int link_check(const char *name, uint32_t map_id, uint64_t *ret_missed) {
        _cleanup_close_ int link = -1, program = -1;
        struct bpf_link_info info = { 0 };
        uint32_t size = sizeof(info);
        char pin[NAME_MAX];

        (void)snprintf(pin, sizeof(pin), "link_%s", name);
        link = pin_open(pin);
        if (link < 0)
                return link;
        if (bpf_obj_get_info_by_fd(link, &info, &size) < 0)
                return -errno;
        program = bpf_prog_get_fd_by_id(info.prog_id);
        if (program < 0)
                return -errno;
        return program_check(program, name, map_id, ret_missed);
}

int tagmap_check_links(const struct tagmap *map, const char **ret_name) {
        for (size_t i = 0; i < ARRAY_SIZE(sensors); i++) {
                uint64_t missed = 0;
                int r = link_check(sensors[i], map->tags_id, &missed);

                *ret_name = sensors[i];
                if (r < 0)
                        return -ENOLINK;
                /* The kernel left a program out because it was running on that CPU already. */
                if (missed > 0)
                        return -EOVERFLOW;
        }
        *ret_name = NULL;
        return 0;
}

int tagmap_check_canary(struct tagmap *map, const char *root) {
        const struct learner learner = { map->learners_fd, map->until_fd };
        _cleanup_close_ int fd = -1;
        struct learned found;
        char path[PATH_MAX];
        int r;

        (void)snprintf(path, sizeof(path), "%s%s", root, PATH_CANARY);
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        if (fd < 0)
                return -errno;
        r = learner_read(&learner, fd, &found);
        if (r < 0)
                return r;
        if (!found.canary || memcmp(&found.key, &map->meta.canary, sizeof(found.key)) != 0)
                return -ENOLINK;
        return 0;
}

static int maps_open(struct tagmap *map, const char **ret_why) {
        struct {
                const char *pin;
                int *fd;
        } const pins[] = {
                { "tags", &map->tags_fd },
                { "counters", &map->counters_fd },
                { "learners", &map->learners_fd },
                { "learn_until", &map->until_fd },
                { "prog_answer_task", &map->answer_fd },
        };
        _cleanup_close_ int meta_fd = pin_open("meta");
        struct bpf_map_info info = { 0 };
        uint32_t zero = 0, size = sizeof(info);
        uint8_t boot_id[BOOT_ID_SIZE];
        int r;

        *ret_why = "tag maps are missing: run `coresieve enable`";
        if (meta_fd < 0)
                return meta_fd;
        /* The size first: the kernel writes as much as the map has, whatever we have room for. */
        if (bpf_obj_get_info_by_fd(meta_fd, &info, &size) < 0)
                return -errno;
        *ret_why = "tag maps are of another version of Coresieve: run `coresieve enable`";
        if (info.value_size != sizeof(map->meta) || info.key_size != sizeof(zero))
                return -ESTALE;
        if (bpf_map_lookup_elem(meta_fd, &zero, &map->meta) < 0)
                return -errno;
        if (map->meta.abi != TAGS_ABI)
                return -ESTALE;
        *ret_why = "tag maps are of another boot: run `coresieve enable`";
        r = boot_id_read(boot_id);
        if (r < 0)
                return r;
        if (memcmp(boot_id, map->meta.boot_id, sizeof(boot_id)) != 0)
                return -ESTALE;

        *ret_why = "some tag maps are missing: run `coresieve enable`";
        for (size_t i = 0; i < ARRAY_SIZE(pins); i++) {
                *pins[i].fd = pin_open(pins[i].pin);
                if (*pins[i].fd < 0)
                        return *pins[i].fd;
        }
        size = sizeof(info);
        memset(&info, 0, sizeof(info));
        if (bpf_obj_get_info_by_fd(map->tags_fd, &info, &size) < 0)
                return -errno;
        map->tags_id = info.id;
        if (bpf_map_lookup_elem(map->counters_fd, &zero, &map->counters) < 0)
                return -errno;
        return 0;
}

int tagmap_open_unproved(struct tagmap **ret, const char **ret_why) {
        _cleanup_(cleanup_tagmap) struct tagmap *map = calloc(1, sizeof(*map));
        uint64_t missed;
        int r;

        *ret_why = "out of memory";
        if (!map)
                return -ENOMEM;
        map->tags_fd = map->counters_fd = map->learners_fd = map->until_fd = map->answer_fd = -1;
        r = maps_open(map, ret_why);
        if (r < 0)
                return r;
        *ret_why = "the pinned programs do not use the pinned maps: run `coresieve enable`";
        r = program_check(map->answer_fd, "answer_task", map->tags_id, &missed);
        if (r < 0)
                return r;
        *ret_why = NULL;
        *ret = TAKE_PTR(map);
        return 0;
}

int tagmap_open(const char *root, struct tagmap **ret, const char **ret_why) {
        _cleanup_(cleanup_tagmap) struct tagmap *map = NULL;
        const char *sensor;
        int r;

        r = tagmap_open_unproved(&map, ret_why);
        if (r < 0)
                return r;
        r = tagmap_check_links(map, &sensor);
        if (r == -EOVERFLOW)
                *ret_why = "a sensor was left out by the kernel: run `coresieve enable`";
        else
                *ret_why = "a sensor is not attached: run `coresieve enable`";
        if (r < 0)
                return r;
        *ret_why = "the sensor did not see the canary: run `coresieve enable`, then `status`";
        if (tagmap_check_canary(map, root) < 0)
                return -ENOLINK;
        *ret_why = "tags were lost, the maps are full: run `coresieve enable`, then `status`";
        if (map->counters.overflows > 0)
                return -EOVERFLOW;
        *ret_why = NULL;
        *ret = TAKE_PTR(map);
        return 0;
}

void tagmap_close(struct tagmap *map) {
        int *const fds[] = { &map->tags_fd, &map->counters_fd, &map->learners_fd, &map->until_fd,
                             &map->answer_fd };

        if (!map)
                return;
        for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
                cleanup_close(fds[i]);
        free(map);
}

const struct tags_meta *tagmap_meta(const struct tagmap *map) {
        return &map->meta;
}

const struct tags_counters *tagmap_counters(const struct tagmap *map) {
        return &map->counters;
}

/* Starts the iterator over one thread, or over all with tid 0. */
static int answers_open(const struct tagmap *map, pid_t tid) {
        union bpf_iter_link_info which = { .task.tid = (uint32_t)tid };
        LIBBPF_OPTS(bpf_link_create_opts, opts, .iter_info = &which,
                    .iter_info_len = sizeof(which));
        _cleanup_close_ int link = -1;
        int fd;

        link = bpf_link_create(map->answer_fd, 0, BPF_TRACE_ITER, &opts);
        if (link < 0)
                return -errno;
        fd = bpf_iter_create(link);
        return fd < 0 ? -errno : fd;
}

int tagmap_of_task(struct tagmap *map, pid_t tid, struct task_answer *ret) {
        _cleanup_close_ int fd = -1;
        struct task_answer answer;
        ssize_t n;

        if (tid <= 0)
                return -ESRCH;
        fd = answers_open(map, tid);
        if (fd < 0)
                return fd;
        n = io_read(fd, &answer, sizeof(answer));
        if (n < 0)
                return (int)n;
        if (n == 0)
                return -ESRCH;
        if ((size_t)n != sizeof(answer) || answer.tid != (uint32_t)tid)
                return -EIO;
        if (!answer.mm)
                return -ESRCH;
        *ret = answer;
        return 0;
}

int tagmap_each(struct tagmap *map, int (*each)(const struct task_answer *answer, void *context),
                void *context) {
        _cleanup_close_ int fd = answers_open(map, 0);

        if (fd < 0)
                return fd;
        for (;;) {
                struct task_answer answer;
                ssize_t n = io_read(fd, &answer, sizeof(answer));
                int r;

                if (n < 0)
                        return (int)n;
                if (n == 0)
                        return 0;
                if ((size_t)n != sizeof(answer))
                        return -EIO;
                if (!answer.mm)
                        continue;
                r = each(&answer, context);
                if (r != 0)
                        return r;
        }
}

int tagmap_count(const struct tagmap *map, uint32_t *ret) {
        uint64_t key, next;
        uint32_t n = 0;
        bool first = true;

        /* Keys deleted meanwhile make the kernel start over: never more steps than two rounds. */
        while (n < 2 * TAGS_MAX &&
               bpf_map_get_next_key(map->tags_fd, first ? NULL : &key, &next) == 0) {
                key = next;
                first = false;
                n++;
        }
        *ret = n;
        return 0;
}

int tagmap_identify(struct tagmap *map, int fd, struct file_key *ret, bool *ret_watched) {
        const struct learner learner = { map->learners_fd, map->until_fd };
        struct learned found;
        int r;

        r = learner_read(&learner, fd, &found);
        if (r < 0)
                return r;
        *ret = found.key;
        if (ret_watched)
                *ret_watched = found.watched;
        return 0;
}
