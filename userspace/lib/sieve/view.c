#include "sieve/view.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/param.h>

#include "base/cleanup.h"

DEFINE_CLEANUP(core_notes, struct core_notes, core_notes_free)

struct view {
        const struct sieve_job *job;
        const struct plan *plan;
};

static int read_raw(void *userdata, uint64_t address, void *buf, size_t n) {
        const struct view *view = userdata;

        return source_read_address(view->job->source, address, buf, n);
}

/* Overlays the plan on memory that was read by address. What is not in the core stays as it is:
 * a debugger takes it from the executables. */
static void apply_by_address(const struct view *view, uint64_t address, uint8_t *buf, size_t n) {
        while (n > 0) {
                const struct segment *s = core_segment_at(view->job->head, address);
                uint64_t in = s ? address - s->address : 0;
                size_t k;

                if (!s) /* mapped, so it lies in some segment */
                        return;
                k = MIN(n, s->memory_size - in);
                if (in < s->file_size)
                        plan_apply(view->plan, s->offset + in, buf, MIN(k, s->file_size - in));
                buf += k;
                address += k;
                n -= k;
        }
}

static int read_redacted(void *userdata, uint64_t address, void *buf, size_t n) {
        int r = read_raw(userdata, address, buf, n);

        if (r < 0)
                return r;
        apply_by_address(userdata, address, buf, n);
        return 0;
}

int view_compare(const struct sieve_job *job, const struct plan *plan, struct unwind_result *ret) {
        _cleanup_(cleanup_core_notes) struct core_notes *notes = NULL;
        _cleanup_free_ uint8_t *bytes = malloc(job->head->size);
        struct view view = { .job = job, .plan = plan };
        struct unwind_view raw = { .notes = job->notes, .read = read_raw, .userdata = &view };
        struct unwind_view redacted = { .read = read_redacted, .userdata = &view };
        struct core_fault fault;
        int r;

        if (!bytes)
                return -ENOMEM;
        memcpy(bytes, job->head->bytes, job->head->size);
        plan_apply(plan, 0, bytes, job->head->size);
        r = core_notes_parse(job->head, bytes, &notes, &fault);
        if (r < 0)
                return r;
        redacted.notes = notes;
        return unwind_compare(job->head, &raw, &redacted, read_raw, &view, ret);
}
