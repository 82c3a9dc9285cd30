#include "sieve/emit.h"

#include <elf.h>
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "secret/detect.h"
#include "sieve/erased_note.h"
#include "sieve/pack.h"
#include "sieve/recheck.h"
#include "sieve/sweep.h"

DEFINE_CLEANUP(pack, struct pack, pack_free)
DEFINE_CLEANUP(recheck, struct recheck, recheck_free)

#define DETECTED 1 /* returned through the sweep */

struct emitter {
        const struct emit_job *job;
        struct sieve_report *report;
        struct pack *pack;
        struct recheck *recheck;
        struct erased_trailer trailer;
        const struct sweep_window *window;
};

/* The detectors see the window as it was pulled: a key that learning saw is in the plan. */
static int on_container(void *userdata, const struct detection *d) {
        struct emitter *e = userdata;

        if (d->encrypted) {
                if (e->job->untried)
                        e->report->found_encrypted++;
                return 0;
        }
        if (e->job->untried)
                return DETECTED;
        return plan_is_erased(e->job->plan, e->window->offset + d->start, d->size) ? 0 : -EBADMSG;
}

static void patch_header(const struct emitter *e, uint8_t *bytes) {
        Elf64_Ehdr ehdr;

        memcpy(&ehdr, bytes, sizeof(ehdr));
        erased_trailer_patch(&e->trailer, &ehdr);
        memcpy(bytes, &ehdr, sizeof(ehdr));
}

static int emit_window(void *userdata, const struct sweep_window *w) {
        struct emitter *e = userdata;
        int r;

        if (!w->bytes)
                return pack_hole(e->pack, w->n);
        if (bytes_are_zero(w->bytes, w->n) && plan_is_kept(e->job->plan, w->offset, w->n))
                return pack_hole(e->pack, w->n);

        e->window = w;
        r = detect_keys(w->bytes, w->n + w->ahead, w->n, on_container, e);
        if (r != 0)
                return r;
        plan_apply(e->job->plan, w->offset, w->bytes, w->n);
        if (w->offset == 0)
                patch_header(e, w->bytes);
        if (e->job->rule) {
                r = rule_r_check(e->job->rule, w->offset, w->bytes, w->n);
                if (r < 0)
                        return r;
        }
        r = recheck_block(e->recheck, w->offset, w->bytes, w->n);
        if (r < 0)
                return r;
        return pack_data(e->pack, w->bytes, w->n);
}

static int write_trailer(void *userdata, const uint8_t *buf, size_t n) {
        struct emitter *e = userdata;

        return pack_data(e->pack, buf, n);
}

int emit_run(const struct emit_job *job, struct sieve_report *report) {
        _cleanup_(cleanup_pack) struct pack *pack = NULL;
        _cleanup_(cleanup_recheck) struct recheck *recheck = NULL;
        const struct core_head *head = job->job->head;
        struct emitter e = { .job = job, .report = report };
        struct sweep sweep = {
                .head = head,
                .plan = job->plan,
                .source = job->job->source,
                .skip_erased = true,
        };
        size_t n_ranges;
        int r;

        (void)plan_erasures(job->plan, &n_ranges);
        erased_trailer_place(head, n_ranges, &e.trailer);
        r = recheck_new(job->job->needles, job->plan, &recheck);
        if (r < 0)
                return r;
        r = pack_new(job->job->out_fd, job->job->compress, &pack);
        if (r < 0)
                return r;
        e.recheck = recheck;
        e.pack = pack;

        r = sweep_run(&sweep, emit_window, &e);
        report->memory_read = sweep.memory_read;
        if (r != 0)
                return r;
        r = erased_trailer_write(head, job->plan, job->job->content, &e.trailer, write_trailer, &e);
        if (r < 0)
                return r;
        return pack_finish(pack, &report->core_size);
}
