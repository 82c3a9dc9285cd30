#include "host/sensor.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/paths.h"
#include "host/bootid.h"
#include "host/sensor_pins.h"
#include "host/sensor_session.h"
#include "host/tagmap.h"
#include "host/watch.h"

#define NSEC_PER_SEC 1000000000ULL

DEFINE_CLEANUP(tagmap, struct tagmap, tagmap_close)
#define _cleanup_watch_set_ _cleanup_(watch_set_done)

/* Our messages say what libbpf's would, with a remedy. */
static int print_nothing(enum libbpf_print_level level, const char *format, va_list args) {
        (void)level;
        (void)format;
        (void)args;
        return 0;
}

static uint64_t boot_time_ns(void) {
        struct timespec now = { 0 };

        (void)clock_gettime(CLOCK_BOOTTIME, &now);
        return (uint64_t)now.tv_sec * NSEC_PER_SEC + (uint64_t)now.tv_nsec;
}

static int meta_put(struct session *s, uint32_t state) {
        uint32_t zero = 0;

        s->meta.state = state;
        if (bpf_map_update_elem(map_fd(s->skel->maps.meta), &zero, &s->meta, BPF_ANY) < 0)
                return -errno;
        return 0;
}

/* --- loading ---------------------------------------------------------------------------------- */

/* Are the pins of this boot and version, and every sensor in its place? */
static bool pins_are_whole(struct tags_meta *ret_meta, bool *ret_overflow) {
        _cleanup_(cleanup_tagmap) struct tagmap *map = NULL;
        const char *why, *sensor;
        int r;

        if (tagmap_open_unproved(&map, &why) < 0)
                return false;
        r = tagmap_check_links(map, &sensor);
        if (r < 0 && r != -EOVERFLOW)
                return false;
        *ret_meta = *tagmap_meta(map);
        *ret_overflow = r == -EOVERFLOW || tagmap_counters(map)->overflows > 0 ||
                        ret_meta->state != TAGS_LIVE;
        return true;
}

static int map_reuse(struct bpf_map *map, const char *name) {
        _cleanup_close_ int fd = pins_open("", name);

        if (fd < 0)
                return fd;
        return bpf_map__reuse_fd(map, fd);
}

static int maps_reuse(struct coresieve_bpf *skel) {
        int r;

#define X(name)                                                                                    \
        r = map_reuse(skel->maps.name, #name);                                                     \
        if (r < 0)                                                                                 \
                return r;
        TAGS_MAPS(X)
#undef X
        return 0;
}

static int session_load(struct session *s) {
        struct coresieve_bpf *skel = coresieve_bpf__open();
        int r;

        if (!skel)
                return session_say(s, "sensor", -errno, "reinstall Coresieve");
        s->skel = skel;
        if (s->kept) {
                r = maps_reuse(skel);
                if (r < 0)
                        return session_say(s, "tag maps", r,
                                           "run `coresieve disable`, then enable");
        }
        r = coresieve_bpf__load(skel);
        if (r < 0)
                return session_say(
                        s, "page-cache sensor cannot be loaded", r,
                        "it needs Linux 6.12 or later with CONFIG_DEBUG_INFO_BTF, and root with "
                        "all capabilities");
        return 0;
}

/* --- attaching -------------------------------------------------------------------------------- */

static int sensor_attach(const struct bpf_program *program, const char *name) {
        struct bpf_link *link = bpf_program__attach(program);
        int r;

        if (!link)
                return -errno;
        r = pins_put(bpf_link__fd(link), "link_", name);
        (void)bpf_link__destroy(link); /* our descriptor only: the pin holds it */
        return r;
}

static int session_attach(struct session *s) {
        struct coresieve_bpf *skel = s->skel;
        int r;

        r = pins_make_directory();
        if (r < 0)
                return session_say(s, PATH_PINS, r, "mount bpffs on " PATH_BPFFS);
        if (!s->kept) {
                /* Sensors that fire before user space is ready find a state to go by. */
                r = meta_put(s, TAGS_SEEDING);
                if (r < 0)
                        return session_say(s, "tag maps", r, "see dmesg");
#define X(name)                                                                                    \
        r = pins_put(map_fd(skel->maps.name), "", #name);                                          \
        if (r < 0)                                                                                 \
                return session_say(s, "pin of map " #name, r, "is " PATH_BPFFS " a bpffs?");
                TAGS_MAPS(X)
#undef X
        }
#define X(name)                                                                                    \
        r = pins_put(bpf_program__fd(skel->progs.name), "prog_", #name);                           \
        if (r < 0)                                                                                 \
                return session_say(s, "pin of program " #name, r, "is " PATH_BPFFS " a bpffs?");
        TAGS_QUERIES(X)
#undef X
#define X(name)                                                                                    \
        r = sensor_attach(skel->progs.name, #name);                                                \
        if (r < 0)                                                                                 \
                return session_say(                                                                \
                        s, "sensor " #name " cannot be attached", r,                               \
                        "this kernel's tracepoints are not enough; see README, kernels");
        TAGS_SENSORS(X)
#undef X
        return 0;
}

/* --- seeding ---------------------------------------------------------------------------------- */

static int seed(const struct session *s) {
        _cleanup_close_ int link = -1, iter = -1;

        link = bpf_link_create(bpf_program__fd(s->skel->progs.seed_task), 0, BPF_TRACE_ITER, NULL);
        if (link < 0)
                return -errno;
        iter = bpf_iter_create(link);
        if (iter < 0)
                return -errno;
        for (;;) {
                char nothing;
                ssize_t n = io_read(iter, &nothing, sizeof(nothing));

                if (n == 0)
                        return 0;
                /* The iterator pauses after so many tasks without output. */
                if (n < 0 && n != -EAGAIN)
                        return (int)n;
        }
}

static int overflows_reset(const struct session *s) {
        struct tags_counters counters;
        uint32_t zero = 0;
        int r = counters_get(s, &counters);

        if (r < 0)
                return r;
        counters.overflows = 0;
        if (bpf_map_update_elem(map_fd(s->skel->maps.counters), &zero, &counters, BPF_ANY) < 0)
                return -errno;
        return 0;
}

/* --- watching --------------------------------------------------------------------------------- */

static int findings_judge(const struct session *s, const struct watch_set *set) {
        bool bad = set->n_findings_lost > 0;

        for (size_t i = 0; i < set->n_findings; i++) {
                watch_finding_print(s->errors, &set->findings[i], s->policy);
                bad = bad || watch_finding_is_error(&set->findings[i], s->policy);
        }
        return bad ? -EREMOTE : 0;
}

static int watch_through_pins(const struct policy *policy, const struct file_key *canary,
                              struct watch_set *ret) {
        _cleanup_close_ int learners = pins_open("", "learners");
        _cleanup_close_ int until = pins_open("", "learn_until");
        _cleanup_close_ int show = pins_open("prog_", "show_directory");
        const struct watch_sensor sensor = { { learners, until }, show };

        if (learners < 0 || until < 0 || show < 0)
                return -ENOENT;
        return watch_build(policy, &sensor, canary, ret);
}

int sensor_review(const struct policy *policy, struct watch_set *ret, size_t *ret_missing) {
        _cleanup_close_ int dirs = pins_open("", "watch_dirs");
        const struct watch_maps maps = { .dirs_fd = dirs };
        struct watch_set set = { 0 };
        int r;

        if (dirs < 0)
                return -ENOENT;
        r = watch_through_pins(policy, NULL, &set);
        if (r < 0)
                return r;
        r = watch_set_missing(&set, &maps, ret_missing);
        if (r < 0) {
                watch_set_done(&set);
                return r;
        }
        *ret = set;
        return 0;
}

static int session_watch(struct session *s, const struct watch_set *set, bool must_seed,
                         struct sensor_report *report) {
        const struct watch_maps maps = { map_fd(s->skel->maps.watch_files),
                                         map_fd(s->skel->maps.watch_dirs),
                                         map_fd(s->skel->maps.watch_filter),
                                         map_fd(s->skel->maps.rules) };
        bool grown = false;
        int r;

        /* From here on a fork of somebody unmarked is marked, until everybody is. */
        r = meta_put(s, TAGS_SEEDING);
        if (r == 0 && must_seed)
                r = overflows_reset(s);
        if (r == 0)
                r = watch_set_apply(set, &maps, &grown);
        if (r < 0)
                return session_say(s, "watch maps", r, "make the policy's rules narrower");
        if (must_seed || grown) {
                r = seed(s);
                if (r < 0)
                        return session_say(s, "marking of the processes alive", r, "try again");
                report->seeded = true;
        }
        memcpy(s->meta.policy_digest, s->policy->digest, sizeof(s->meta.policy_digest));
        s->meta.attached_ns = boot_time_ns();
        r = meta_put(s, TAGS_LIVE);
        if (r < 0)
                return session_say(s, "tag maps", r, "try again");
        report->n_files = set->n_files;
        report->n_dirs = set->n_dirs;
        return 0;
}

/* --- the story -------------------------------------------------------------------------------- */

static int session_run(struct session *s, struct sensor_report *report) {
        _cleanup_watch_set_ struct watch_set set = { 0 };
        bool overflow = false;
        int r;

        s->kept = report->kept = pins_are_whole(&s->meta, &overflow);
        if (!s->kept) {
                r = pins_remove();
                if (r < 0)
                        return session_say(s, PATH_PINS, r, "remove it by hand");
                s->meta = (struct tags_meta){ .abi = TAGS_ABI };
                r = boot_id_read(s->meta.boot_id);
                if (r < 0)
                        return session_say(s, "boot id", r, "mount procfs");
                if (getrandom(&s->meta.generation, sizeof(s->meta.generation), 0) < 0)
                        return session_say(s, "getrandom", -errno, "try again");
        }
        r = canary_make(s);
        if (r < 0)
                return r;
        /* With sensors in place the rules are judged before anything is touched. */
        if (s->kept) {
                r = watch_through_pins(s->policy, &s->meta.canary, &set);
                if (r < 0)
                        return session_say(s, "rules of the policy", r, "try again");
                r = findings_judge(s, &set);
                if (r < 0)
                        return r;
        }
        r = session_load(s);
        if (r < 0)
                return r;
        r = session_attach(s);
        if (r < 0)
                return r;
        r = canary_learn(s);
        if (r < 0)
                return r;
        if (!s->kept) {
                r = watch_through_pins(s->policy, &s->meta.canary, &set);
                if (r < 0)
                        return session_say(s, "rules of the policy", r, "try again");
                r = findings_judge(s, &set);
                if (r < 0)
                        return r;
        }
        /* A canary made anew is another file. */
        r = watch_set_file(&set, &s->meta.canary, RULE_CANARY, NULL);
        if (r < 0)
                return session_say(s, "watch maps", r, "make the policy's rules narrower");
        r = session_watch(s, &set, !s->kept || overflow, report);
        if (r < 0)
                return r;
        return session_prove(s);
}

int sensor_enable(const char *root, const struct policy *policy, FILE *errors,
                  struct sensor_report *ret_report) {
        struct session s = { .root = root, .policy = policy, .errors = errors, .canary_fd = -1 };
        struct sensor_report report = { 0 };
        int r;

        (void)libbpf_set_print(print_nothing);
        r = session_run(&s, &report);
        cleanup_close(&s.canary_fd);
        coresieve_bpf__destroy(s.skel);
        if (r < 0) {
                /* What was there before stays; what this run made goes. */
                if (!report.kept)
                        (void)sensor_disable();
                return r;
        }
        *ret_report = report;
        return 0;
}

int sensor_disable(void) {
        return pins_remove();
}
