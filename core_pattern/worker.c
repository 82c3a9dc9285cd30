/* coresieve-worker: the confined half. It reads what it was handed (brief.h), turns one core into
 * a clean one, and answers. All code that reads hostile memory runs here, and here it can do
 * nothing else: the sandbox is entered before the first byte of the core or of a key is read.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/io.h"
#include "core/head.h"
#include "core/note.h"
#include "core_pattern/brief.h"
#include "core_pattern/sandbox.h"
#include "secret/init.h"
#include "secret/needle.h"
#include "sieve/sieve.h"
#include "sieve/source.h"

DEFINE_CLEANUP(head, struct core_head, core_head_free)
DEFINE_CLEANUP(notes, struct core_notes, core_notes_free)
DEFINE_CLEANUP(source, struct source, source_free)
DEFINE_CLEANUP(needles, struct needle_set, needle_set_free)

struct worker {
        struct brief brief;
        char *environment[BRIEF_ENVIRONMENT_MAX / 2 + 1]; /* a name and its NUL are 2 bytes */
        struct worker_result result;
        uint64_t stage_start_ns;
};

/* Also called by the sieve: whatever ends the worker, the answer says in which stage. */
static void stage_enter(void *userdata, enum stage stage) {
        struct worker *w = userdata;
        uint64_t now = clock_now_ns();

        w->result.duration_ns[w->result.stage] += now - w->stage_start_ns;
        w->result.stage = stage;
        w->stage_start_ns = now;
}

/* The brief comes from the helper and is believed; its version and sizes are checked, for an
 * upgrade may have replaced one of the two programs. */
static int brief_read(struct worker *w) {
        struct brief *brief = &w->brief;
        size_t n = 0;

        if (io_read(WORKER_FD_BRIEF, brief, sizeof(*brief)) != sizeof(*brief))
                return -ENODATA;
        if (brief->version != BRIEF_VERSION || brief->size != sizeof(*brief) ||
            brief->n_files > BRIEF_FILES_MAX || brief->auxv_size > sizeof(brief->auxv) ||
            brief->environment_size > sizeof(brief->environment) ||
            brief->content >= CONTENT_REFUSE ||
            (brief->mode != BRIEF_LIVE && brief->mode != BRIEF_OFFLINE))
                return -EINVAL;
        if (brief->environment_size > 0 && brief->environment[brief->environment_size - 1] != '\0')
                return -EINVAL;
        for (char *at = brief->environment; at < brief->environment + brief->environment_size;
             at += strlen(at) + 1)
                if (*at)
                        w->environment[n++] = at;
        return 0;
}

/* The kernel's own word in the stream against what the helper read of the process: another
 * process may have taken its number in between. */
static int identity_compare(const struct brief *brief, const struct core_notes *notes) {
        if (brief->mode == BRIEF_OFFLINE)
                return 0;
        if (notes->pid != brief->pid || notes->auxv_size != brief->auxv_size ||
            memcmp(notes->auxv, brief->auxv, brief->auxv_size) != 0)
                return -ESTALE;
        return 0;
}

/* One secret file: its bytes become needles and are forgotten. */
static int needles_add_file(struct worker *w, uint32_t i, struct needle_set *needles) {
        uint8_t bytes[NEEDLE_FILE_MAX + 1];
        unsigned flags = 0;
        ssize_t n = io_pread(WORKER_FD_NEEDLES + (int)i, bytes, sizeof(bytes), 0);
        int r = 0;

        if (n < 0)
                return (int)n;
        if ((size_t)n > NEEDLE_FILE_MAX)
                flags = NEEDLE_LARGE;
        else
                r = needle_set_add_file(needles, bytes, (size_t)n, (uint16_t)i, &flags);
        explicit_bzero(bytes, sizeof(bytes));
        w->result.file_flags[i] = flags;
        return r;
}

/* What cannot be hunted whole makes the dump stricter: only what a backtrace needs stays. */
static void content_raise(struct worker *w, enum cause cause) {
        if (w->result.content < CONTENT_STACKS)
                w->result.content = CONTENT_STACKS;
        w->result.causes |= CAUSE_BIT(cause);
}

static int needles_read(struct worker *w, struct needle_set *needles) {
        for (uint32_t i = 0; i < w->brief.n_files; i++) {
                int r = needles_add_file(w, i, needles);

                if (r < 0)
                        return r;
                if (w->result.file_flags[i] & NEEDLE_TOO_SHORT)
                        content_raise(w, CAUSE_NEEDLE_TOO_SHORT);
                if (w->result.file_flags[i] & NEEDLE_LARGE)
                        content_raise(w, CAUSE_NEEDLE_LARGE);
                /* The process decrypted it with a passphrase that nobody else has: its key lies
                 * in memory in forms that cannot be made here. */
                if (w->result.file_flags[i] & NEEDLE_ENCRYPTED)
                        content_raise(w, CAUSE_NEEDLE_ENCRYPTED);
        }
        return 0;
}

static int source_open(const struct worker *w, const struct core_head *head,
                       const struct core_notes *notes, struct source **ret) {
        if (w->brief.mode == BRIEF_LIVE)
                return source_new_live(head, notes, WORKER_FD_MEM, WORKER_FD_PAGEMAP, ret);
        return source_new_file(head, notes, WORKER_FD_STREAM, ret);
}

static int core_sieve(struct worker *w) {
        _cleanup_(cleanup_head) struct core_head *head = NULL;
        _cleanup_(cleanup_notes) struct core_notes *notes = NULL;
        _cleanup_(cleanup_needles) struct needle_set *needles = NULL;
        _cleanup_(cleanup_source) struct source *source = NULL;
        struct core_fault fault = { 0 };
        int r;

        stage_enter(w, STAGE_HEAD);
        r = core_head_read(WORKER_FD_STREAM, &head, &fault);
        w->result.fault_offset = fault.offset;
        if (r < 0)
                return r;
        r = core_notes_parse(head, head->bytes, &notes, &fault);
        w->result.fault_offset = fault.offset;
        if (r != 0)
                return r;
        w->result.signal = notes->signal > 0 ? (uint32_t)notes->signal : 0;
        r = identity_compare(&w->brief, notes);
        if (r < 0)
                return r;

        stage_enter(w, STAGE_NEEDLES);
        r = needle_set_new(&needles);
        if (r < 0)
                return r;
        r = needles_read(w, needles);
        if (r < 0)
                return r;

        stage_enter(w, STAGE_PLAN);
        r = source_open(w, head, notes, &source);
        if (r < 0)
                return r;
        r = sieve_run(
                &(struct sieve_job){
                        .head = head,
                        .notes = notes,
                        .source = source,
                        .needles = needles,
                        .environment = w->environment,
                        .content = (enum content)w->result.content,
                        .out_fd = WORKER_FD_OUT,
                        .compress = w->brief.compress,
                        .enter = stage_enter,
                        .userdata = w,
                },
                &w->result.report);
        if (r == 0 && w->result.report.needles_cut)
                content_raise(w, CAUSE_NEEDLE_LARGE);
        return r;
}

static int work(struct worker *w) {
        int r = secret_init(); /* opens what libcrypto wants opened */

        if (r < 0)
                return r;
        r = sandbox_enter(w->brief.own_user, &w->result.landlock);
        if (r < 0)
                return r;
        return core_sieve(w);
}

int main(void) {
        static struct worker w; /* too large for the stack it would share with a core's parser */
        int r;

        w.stage_start_ns = clock_now_ns();
        if (brief_read(&w) < 0)
                return WORKER_EXIT_NO_BRIEF;
        w.result = (struct worker_result){
                .version = RESULT_VERSION,
                .size = sizeof(w.result),
                .stage = STAGE_INTAKE,
                .content = w.brief.content,
        };

        r = work(&w);
        /* Closes the account of the last stage; only success moves on to the next. */
        stage_enter(&w, r == 0 ? STAGE_KEEP : (enum stage)w.result.stage);
        w.result.error = r;
        if (io_write(WORKER_FD_RESULT, &w.result, sizeof(w.result)) < 0)
                return EXIT_FAILURE;
        return WORKER_EXIT_ANSWERED;
}
