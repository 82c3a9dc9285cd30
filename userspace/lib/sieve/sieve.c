#include "sieve/sieve.h"

#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "sieve/emit.h"
#include "sieve/learn.h"
#include "sieve/rule_r.h"
#include "sieve/view.h"

DEFINE_CLEANUP(plan, struct plan, plan_free)
DEFINE_CLEANUP(rule_r, struct rule_r, rule_r_free)

static void enter(const struct sieve_job *job, enum stage stage) {
        if (job->enter)
                job->enter(job->userdata, stage);
}

/* How many entries of NT_FILE from `first` on are parts of one file; *ret_module: is it code? */
static size_t file_parts(const struct sieve_job *job, size_t first, bool *ret_module) {
        const struct core_notes *notes = job->notes;
        size_t i = first;

        *ret_module = false;
        for (; i < notes->n_files && strcmp(notes->files[i].name, notes->files[first].name) == 0;
             i++) {
                const struct segment *s = core_segment_at(job->head, notes->files[i].start);

                *ret_module = *ret_module || (s && (s->flags & PF_X));
        }
        return i - first;
}

/* Debuggers open the programs and libraries that NT_FILE names, and nothing else: a secret in the
 * name of a memfd or of a mapped data file goes like any other. */
static int spare_modules(const struct sieve_job *job, struct plan *plan) {
        const struct core_notes *notes = job->notes;
        uint64_t at = notes->names_offset;

        for (size_t i = 0, n; i < notes->n_files; i += n) {
                uint64_t size = 0;
                bool module;

                n = file_parts(job, i, &module);
                for (size_t k = 0; k < n; k++)
                        size += strlen(notes->files[i + k].name) + 1;
                if (module) {
                        int r = plan_spare(plan, at, size);

                        if (r < 0)
                                return r == -E2BIG ? 0 : r; /* the rest may be erased, then */
                }
                at += size;
        }
        return 0;
}

/* A plan that knows what is there and what must stay whatever is found. */
static int start_plan(const struct sieve_job *job, struct plan **ret) {
        _cleanup_(cleanup_plan) struct plan *plan = NULL;
        int r;

        r = plan_new(job->head, &plan);
        if (r < 0)
                return r;
        r = spare_modules(job, plan);
        if (r < 0)
                return r;
        r = source_add_extents(job->source, plan);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(plan);
        return 0;
}

/* Both passes; the plan has its extents and the erasures of rule R. */
static int learn_and_emit(const struct sieve_job *job, struct plan *plan, const struct rule_r *rule,
                          struct sieve_report *report) {
        struct emit_job emit = { .job = job, .plan = plan, .rule = rule };
        int r;

        enter(job, STAGE_LEARN);
        r = learn_run(job, plan, report);
        if (r < 0)
                return r;
        r = plan_freeze(plan);
        if (r < 0)
                return r;
        plan_erased_bytes(plan, report->erased);

        enter(job, STAGE_UNWIND);
        r = view_compare(job, plan, &report->unwind);
        if (r < 0)
                return r;

        enter(job, STAGE_EMIT);
        return emit_run(&emit, report);
}

static int run_redact(const struct sieve_job *asked, struct sieve_report *report) {
        _cleanup_(cleanup_plan) struct plan *plan = NULL;
        _cleanup_(cleanup_rule_r) struct rule_r *rule = NULL;
        struct sieve_job job = *asked;
        int r;

        enter(&job, STAGE_PLAN);
        r = start_plan(&job, &plan);
        if (r < 0)
                return r;
        r = rule_r_new(job.head, job.notes, job.source, job.environment, job.needles,
                       SIEVE_ORIGIN_VALUES, &rule);
        if (r < 0)
                return r;
        if (rule_r_unhunted(rule)) {
                report->needles_cut = true;
                job.content = CONTENT_STACKS;
        }
        r = rule_r_plan(rule, job.content, plan);
        if (r < 0)
                return r;
        return learn_and_emit(&job, plan, rule, report);
}

/* Optimism: almost every untagged core holds no key at all, and is written while the detectors
 * watch. 1 when one fired. */
static int try_in_one_pass(const struct sieve_job *job, struct sieve_report *report) {
        _cleanup_(cleanup_plan) struct plan *plan = NULL;
        struct emit_job emit = { .job = job, .untried = true };
        int r;

        r = start_plan(job, &plan);
        if (r < 0)
                return r;
        r = plan_freeze(plan);
        if (r < 0)
                return r;

        emit.plan = plan;
        enter(job, STAGE_EMIT);
        r = emit_run(&emit, report);
        if (r != 0)
                return r;
        enter(job, STAGE_UNWIND);
        return view_compare(job, plan, &report->unwind);
}

static int run_detect(const struct sieve_job *job, struct sieve_report *report) {
        _cleanup_(cleanup_plan) struct plan *plan = NULL;
        int r;

        enter(job, STAGE_PLAN);
        if (needle_set_count(job->needles) == 0) {
                r = try_in_one_pass(job, report);
                if (r <= 0)
                        return r;
                *report = (struct sieve_report){ 0 };
                if (ftruncate(job->out_fd, 0) < 0)
                        return -errno;
                enter(job, STAGE_PLAN);
        }
        r = start_plan(job, &plan);
        if (r < 0)
                return r;
        return learn_and_emit(job, plan, NULL, report);
}

int sieve_run(const struct sieve_job *job, struct sieve_report *ret) {
        struct sieve_report report = { 0 };
        struct sieve_job stricter = *job;
        int r;

        switch (job->content) {
        case CONTENT_DETECT:
                r = run_detect(job, &report);
                break;
        case CONTENT_REDACT:
        case CONTENT_STACKS:
                r = run_redact(job, &report);
                break;
        default:
                r = -EINVAL; /* `refuse` keeps no memory: the helper never gets here */
        }
        if (r == -E2BIG && report.needles_cut && job->content < CONTENT_STACKS) {
                /* Nothing was written yet: learning comes first wherever needles are added. */
                stricter.content = CONTENT_STACKS;
                report = (struct sieve_report){ .needles_cut = true };
                r = run_redact(&stricter, &report);
        }
        if (r < 0)
                return r;
        *ret = report;
        return 0;
}
