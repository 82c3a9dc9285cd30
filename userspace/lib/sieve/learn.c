#include "sieve/learn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/param.h>

#include "base/cleanup.h"
#include "secret/detect.h"
#include "secret/fragment.h"
#include "sieve/sweep.h"

DEFINE_CLEANUP(fragment_index, struct fragment_index, fragment_index_free)

/* A copy of each different container: the set of needles must not grow while it is hunted. */
struct container {
        uint8_t *bytes;
        size_t size;
};

struct containers {
        struct container *items;
        size_t n;
};

struct learner {
        const struct sieve_job *job;
        struct plan *plan;
        struct sieve_report *report;
        const struct fragment_index *index;
        struct containers *containers; /* NULL: detectors are done */
        const struct sweep_window *window;
};

static void cleanup_containers(struct containers *containers) {
        for (size_t i = 0; i < containers->n; i++) {
                explicit_bzero(containers->items[i].bytes, containers->items[i].size);
                free(containers->items[i].bytes);
        }
        free(containers->items);
}

static int containers_add(struct containers *containers, const uint8_t *bytes, size_t size) {
        struct container *item;

        for (size_t i = 0; i < containers->n; i++)
                if (containers->items[i].size == size &&
                    memcmp(containers->items[i].bytes, bytes, size) == 0)
                        return 0;
        if (containers->n == LEARN_CONTAINERS_MAX)
                return -E2BIG;
        if (!containers->items) {
                containers->items = calloc(LEARN_CONTAINERS_MAX, sizeof(*containers->items));
                if (!containers->items)
                        return -ENOMEM;
        }
        item = &containers->items[containers->n];
        item->bytes = malloc(size);
        if (!item->bytes)
                return -ENOMEM;
        memcpy(item->bytes, bytes, size);
        item->size = size;
        containers->n++;
        return 0;
}

static int on_fragment(void *userdata, size_t start, size_t end, const struct needle *needle) {
        struct learner *l = userdata;
        const struct sweep_window *w = l->window;
        size_t origin = MIN(needle->origin, SIEVE_ORIGINS_MAX - 1);
        /* The hunt began SWEEP_BEFORE bytes before the window, and looked as far behind it, at
         * the ends of the core where nothing is. */
        uint64_t from = w->offset + start < SWEEP_BEFORE ? 0 : w->offset + start - SWEEP_BEFORE;
        uint64_t to = MIN(w->offset + end - SWEEP_BEFORE, l->job->head->end);

        if (w->offset + end <= SWEEP_BEFORE || from >= to ||
            plan_is_spared(l->plan, from, to - from))
                return 0;
        /* The windows overlap: each fragment counts where it begins, or where a hole ends. */
        if ((from >= w->offset || w->fresh) && from < w->offset + w->n)
                l->report->hits[origin]++;
        return plan_erase(l->plan, from, to - from,
                          origin == SIEVE_ORIGIN_DETECTED ? REASON_DETECTED : REASON_NEEDLE);
}

/* A key that cannot be hunted may be left anywhere but in what `stacks` keeps. */
static int needles_cut(const struct sieve_job *job, struct sieve_report *report) {
        report->needles_cut = true;
        return job->content == CONTENT_STACKS ? 0 : -E2BIG;
}

static int on_container(void *userdata, const struct detection *d) {
        struct learner *l = userdata;
        const struct sweep_window *w = l->window;
        uint64_t from = w->offset + d->start, end = l->job->head->end;
        int r;

        if (d->encrypted) {
                l->report->found_encrypted++;
                return 0;
        }
        l->report->found[d->detector]++;
        r = plan_erase(l->plan, from, MIN(d->size, end - from), REASON_DETECTED);
        if (r < 0)
                return r;
        r = containers_add(l->containers, w->bytes + d->start, d->size);
        return r == -E2BIG ? needles_cut(l->job, l->report) : r;
}

static int learn_window(void *userdata, const struct sweep_window *w) {
        struct learner *l = userdata;
        int r;

        if (!w->bytes)
                return 0;
        /* What of a fragment reaches into zeros, the windows around have seen. */
        if (bytes_are_zero(w->bytes, w->n))
                return 0;

        l->window = w;
        r = fragment_hunt(l->index, w->bytes - SWEEP_BEFORE, SWEEP_BEFORE + w->n + SWEEP_BEFORE,
                          on_fragment, l);
        if (r != 0 || !l->containers)
                return r;
        return detect_keys(w->bytes, w->n + w->ahead, w->n, on_container, l);
}

static int learn_pass(struct learner *l) {
        _cleanup_(cleanup_fragment_index) struct fragment_index *index = NULL;
        struct sweep sweep = { .head = l->job->head, .plan = l->plan, .source = l->job->source };
        int r;

        r = fragment_index_new(l->job->needles, &index);
        if (r < 0)
                return r;
        l->index = index;
        memset(l->report->hits, 0, sizeof(l->report->hits));
        r = sweep_run(&sweep, learn_window, l);
        l->report->memory_read = sweep.memory_read;
        return r;
}

/* *ret_new: does the set hold a needle that no pass has hunted yet? */
static int add_needles(const struct sieve_job *job, const struct containers *containers,
                       struct sieve_report *report, bool *ret_new) {
        size_t before = needle_set_count(job->needles);

        for (size_t i = 0; i < containers->n; i++) {
                unsigned flags = 0;
                int r = needle_set_add_file(job->needles, containers->items[i].bytes,
                                            containers->items[i].size, SIEVE_ORIGIN_DETECTED,
                                            &flags);

                if (r < 0)
                        return r;
                if (flags & NEEDLE_LARGE)
                        r = needles_cut(job, report);
                if (r < 0)
                        return r;
        }
        *ret_new = needle_set_count(job->needles) > before;
        return 0;
}

int learn_run(const struct sieve_job *job, struct plan *plan, struct sieve_report *report) {
        _cleanup_(cleanup_containers) struct containers containers = { 0 };
        struct learner l = {
                .job = job, .plan = plan, .report = report, .containers = &containers
        };
        bool more;
        int r;

        r = learn_pass(&l);
        if (r < 0)
                return r;
        r = add_needles(job, &containers, report, &more);
        if (r < 0 || !more)
                return r;
        l.containers = NULL;
        return learn_pass(&l);
}
