/* coresieve-helper: what the kernel runs when a process dumps core.
 *
 * Read main() downwards and you have followed a crash from the kernel to its record. The helper
 * is privileged, so it interprets no byte of the core on its descriptor 0 and none of a key
 * file: it collects what the kernel and the policy say, hands descriptors to one confined worker
 * (worker.c), and keeps or drops what that leaves behind.
 *
 * Every step adds to one verdict why the dump gets less than its default, or none; no step ends
 * the program. There is one way out, and it writes the record.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "audit/record.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/paths.h"
#include "base/private.h"
#include "core_pattern/commit.h"
#include "core_pattern/intake.h"
#include "core_pattern/limits.h"
#include "core_pattern/mapped_files.h"
#include "core_pattern/needle_files.h"
#include "core_pattern/spawn.h"
#include "host/decide.h"
#include "host/policy.h"
#include "host/tagmap.h"

struct crash {
        uint64_t start_ns;
        struct arguments arguments;
        struct identity identity;
        int identity_error;
        struct policy *policy;
        struct tagmap *tagmap;
        int tagmap_error;
        struct task_answer lineage;
        struct mapped_files mapped;
        struct verdict verdict;
        struct decision decision; /* its verdict is a part of ours */

        struct budget budget;
        int slot_fd;
        struct needle_files needles;
        struct commit commit;
        struct worker_outcome outcome;
        char *path; /* of the kept dump */
        struct record record;
};

static bool refused(const struct crash *crash) {
        return crash->verdict.content == CONTENT_REFUSE;
}

static void refuse(struct crash *crash, enum cause cause) {
        verdict_raise(&crash->verdict, CONTENT_REFUSE, cause);
}

/* The kernel starts us with 1 and 2 closed: whatever is opened first would be "stdout". */
static int standard_fds_open(void) {
        int fd;

        do {
                fd = open("/dev/null", O_RDWR);
                if (fd < 0)
                        return -errno;
        } while (fd <= STDERR_FILENO);
        (void)close(fd);
        return 0;
}

static void prepare_ourselves(struct crash *crash) {
        if (standard_fds_open() < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 ||
            signal(SIGPIPE, SIG_IGN) == SIG_ERR)
                refuse(crash, CAUSE_INTERNAL);
        (void)umask(077);
}

/* The record is begun first, with what argv says: whatever fails later still has it. */
static void begin_record(struct crash *crash, int argc, char *const argv[]) {
        struct arguments *a = &crash->arguments;
        struct record *record = &crash->record;
        _cleanup_close_ int run_fd = -1;

        if (arguments_parse(argc, argv, a) < 0)
                refuse(crash, CAUSE_ARGUMENTS);
        if (private_dir(a->root, PATH_RUN, true, &run_fd) < 0)
                run_fd = -1; /* an id without a counter is still unique */
        record_new_id(run_fd, record->id);

        record->event = EVENT_CRASH;
        if (a->time > 0)
                record->time.tv_sec = a->time;
        else
                (void)clock_gettime(CLOCK_REALTIME, &record->time);
        record->pid = a->pid;
        record->tid = a->tid;
        record->uid = a->uid;
        record->gid = a->gid;
        record->signal = a->signal;
        record->comm = a->comm;
        record->rlimit = a->core_limit_text;
        record->dump_mode = a->dump_mode;
}

static struct record_text text_of(const char *text) {
        return (struct record_text){ text, text ? strlen(text) : 0 };
}

static void identify(struct crash *crash) {
        struct record *record = &crash->record;
        const struct procinfo *info = &crash->identity.info;

        crash->identity_error = crash->arguments.pid > 0 && crash->arguments.tid > 0
                                        ? identity_read(&crash->arguments, &crash->identity)
                                        : -ESRCH;
        if (crash->identity.has_comm)
                record->comm =
                        (struct record_text){ crash->identity.comm, crash->identity.comm_size };
        record->exe = text_of(info->exe);
        record->cgroup = text_of(info->cgroup);
        record->unit = text_of(info->unit);
        record->start_ticks = info->start_ticks;
        record->dump_mode = crash->identity.dump_mode;
}

/* The kernel's answer must be about the process whose /proc we read. */
static int lineage_check(const struct crash *crash) {
        long ticks_per_sec = sysconf(_SC_CLK_TCK);
        uint64_t ticks;

        if (ticks_per_sec <= 0)
                return -EINVAL;
        ticks = crash->lineage.start_boottime / (NS_PER_SEC / (uint64_t)ticks_per_sec);
        return crash->lineage.tgid == (tag_u32)crash->identity.info.pid &&
                               ticks == crash->identity.info.start_ticks
                       ? 0
                       : -ESRCH;
}

static int ask_sensors(struct crash *crash) {
        const char *why = NULL; /* `coresieve status` says it at length */
        int r = tagmap_open(crash->arguments.root, &crash->tagmap, &why);

        if (r < 0)
                return r;
        r = tagmap_of_task(crash->tagmap, crash->arguments.tid, &crash->lineage);
        if (r == 0)
                r = lineage_check(crash);
        if (r < 0)
                memset(&crash->lineage, 0, sizeof(crash->lineage)); /* somebody else's tag */
        return r;
}

static void collect(struct crash *crash) {
        if (policy_load(crash->arguments.root, stderr, &crash->policy) < 0)
                crash->policy = NULL;
        crash->budget = budget_new(crash->start_ns, crash->policy ? crash->policy->deadline_sec
                                                                  : DEADLINE_DEFAULT_SEC);

        crash->tagmap_error = crash->identity_error < 0 ? -ESRCH : ask_sensors(crash);

        if (crash->policy && crash->identity_error == 0 &&
            mapped_files_read(crash->policy, crash->identity.memory_fd, &crash->mapped) < 0)
                refuse(crash, CAUSE_INTERNAL);
        /* The last word of /proc: from here on only descriptors are used that are tied to it. */
        if (crash->identity_error == 0)
                crash->identity_error = identity_check(&crash->identity);
}

static void take_decision(struct crash *crash) {
        const struct verdict *verdict = &crash->decision.verdict;

        crash->verdict.causes |= verdict->causes;
        if (verdict->content > crash->verdict.content)
                crash->verdict.content = verdict->content;
}

/* Adds what policy, tag and circumstances say to the verdict (host/decide.h). */
static void judge(struct crash *crash) {
        const struct tags_meta *meta = crash->tagmap ? tagmap_meta(crash->tagmap) : NULL;
        const struct tag *tag = &crash->lineage.tag;
        uint32_t rules[TAG_FILES_MAX + MAPPED_FILES_MAX];
        size_t n_rules = 0;

        for (size_t i = 0; crash->lineage.found && i < TAG_FILES_MAX; i++)
                if (tag->files[i].ready)
                        rules[n_rules++] = tag->files[i].rule;
        for (size_t i = 0; i < crash->mapped.n; i++)
                rules[n_rules++] = crash->mapped.files[i].rule;

        decide(
                &(struct decide_facts){
                        .policy = crash->policy,
                        .policy_changed = crash->policy && meta &&
                                          memcmp(crash->policy->digest, meta->policy_digest,
                                                 sizeof(crash->policy->digest)) != 0,
                        .proc = &crash->identity.info,
                        .proc_error = crash->identity_error,
                        .dump_mode = crash->identity.dump_mode,
                        .rlimit_zero = crash->arguments.core_limit == 0,
                        .tagmap_error = crash->tagmap_error,
                        .seeding = meta && meta->state != TAGS_LIVE,
                        .tagged = crash->lineage.found,
                        .tag_reasons = tag->reasons,
                        .tag_flags = tag->flags,
                        .rules = rules,
                        .n_rules = n_rules,
                },
                &crash->decision);
        take_decision(crash);
}

/* What may have been read unseen counts as if it had been. */
static void judge_unwatched(struct crash *crash) {
        const struct needle_files *needles = &crash->needles;

        if (crash->decision.tag_state == TAG_STATE_CLEAN)
                crash->decision.tag_state = TAG_STATE_UNKNOWN;
        for (size_t i = 0; i < needles->n; i++) {
                const struct policy_rule *rule =
                        needles->files[i].unwatched
                                ? policy_rule_by_id(crash->policy, needles->files[i].rule)
                                : NULL;

                if (rule)
                        decide_rule(crash->policy, rule, &crash->identity.info, &crash->decision);
        }
        take_decision(crash);
}

/* The files of the tag are looked for even when the dump is refused: the record names them. */
static void find_needles(struct crash *crash) {
        const struct tag *tag = crash->lineage.found ? &crash->lineage.tag : NULL;
        uint64_t causes, until;

        if (!crash->tagmap || !crash->policy || crash->identity.memory_fd < 0 ||
            !needle_files_wanted(tag, &crash->mapped, crash->identity.memory_fd))
                return;
        until = budget_share(&crash->budget, clock_now_ns(), NEEDLE_SHARE);
        needle_files_find(crash->policy, crash->tagmap, tag, &crash->mapped,
                          crash->identity.memory_fd, until, &crash->needles);

        causes = crash->needles.causes;
        crash->verdict.causes |= causes;
        if (causes && crash->verdict.content < CONTENT_STACKS)
                crash->verdict.content = CONTENT_STACKS;
        if (causes & CAUSE_BIT(CAUSE_INTERNAL))
                refuse(crash, CAUSE_INTERNAL);
        if (causes & CAUSE_BIT(CAUSE_UNWATCHED_FILE))
                judge_unwatched(crash);
}

static void take_slot(struct crash *crash) {
        uint64_t until = budget_share(&crash->budget, clock_now_ns(), SLOT_SHARE);
        int r = slot_take(crash->arguments.root, until, &crash->slot_fd);

        if (r < 0)
                refuse(crash, r == -EBUSY ? CAUSE_BUSY : CAUSE_INTERNAL);
}

static void fill_brief(const struct crash *crash, struct brief *brief) {
        const struct procinfo *info = &crash->identity.info;

        *brief = (struct brief){
                .version = BRIEF_VERSION,
                .size = sizeof(*brief),
                .mode = BRIEF_LIVE,
                .content = crash->verdict.content,
                .pid = info->inner_pid,
                .compress = true,
                .own_user = true,
                .n_files = (uint32_t)crash->needles.n_open,
                .auxv_size = (uint32_t)info->auxv_size,
        };
        memcpy(brief->auxv, info->auxv, info->auxv_size);
        brief_set_environment(brief, crash->policy->environment);
}

static uint64_t run_worker(struct crash *crash) {
        _cleanup_close_ int program_fd = -1, mem_fd = -1, pagemap_fd = -1;
        int needle_fds[BRIEF_FILES_MAX];
        struct worker_job job;
        struct brief brief;
        int r;

        fill_brief(crash, &brief);
        for (size_t i = 0; i < crash->needles.n_open; i++)
                needle_fds[i] = crash->needles.files[i].fd;
        job = (struct worker_job){
                .brief = &brief,
                .stream_fd = STDIN_FILENO,
                .out_fd = crash->commit.out_fd,
                .log_fd = STDERR_FILENO,
                .needle_fds = needle_fds,
                .limits = worker_limits(&crash->budget, crash->commit.room),
                .deadline_ns = crash->budget.end_ns,
        };
        if (worker_user(crash->arguments.root, &job.uid, &job.gid) < 0 ||
            worker_open(&program_fd) < 0)
                return CAUSE_BIT(CAUSE_WORKER_MISSING);
        r = identity_open_memory(&crash->identity, &mem_fd, &pagemap_fd);
        if (r < 0) /* -ENOENT, -ESRCH: it was killed while it was being dumped */
                return r == -ENOENT || r == -ESRCH ? CAUSE_BIT(CAUSE_CORE_CUT)
                                                   : CAUSE_BIT(CAUSE_MEMORY_UNREADABLE);
        job.mem_fd = mem_fd;
        job.pagemap_fd = pagemap_fd;

        worker_run(program_fd, &job, &crash->outcome);
        return crash->outcome.causes;
}

static void sieve(struct crash *crash) {
        uint64_t until = budget_share(&crash->budget, clock_now_ns(), SLOT_SHARE), causes;
        enum cause cause;

        if (commit_begin(crash->arguments.root, crash->policy, until, &crash->commit, &cause) < 0) {
                refuse(crash, cause);
                return;
        }
        causes = run_worker(crash);
        if (crash->outcome.answered) {
                const struct worker_result *result = &crash->outcome.result;

                crash->verdict.causes |= result->causes;
                if (result->content > crash->verdict.content)
                        crash->verdict.content = (enum content)result->content;
        }
        crash->verdict.causes |= causes;
        if (causes)
                crash->verdict.content = CONTENT_REFUSE;
        if (needle_files_check(&crash->needles) < 0)
                refuse(crash, CAUSE_NEEDLE_MISSING);
        /* An error here costs other helpers room until we are done, nothing else. */
        (void)store_settle(crash->commit.store, crash->commit.out_fd);
}

/* The kernel has been waiting for the last copy of the pipe to close: now the process is reaped
 * and its service can be started again. What follows needs only our own files. */
static void let_go(struct crash *crash) {
        (void)close(STDIN_FILENO);
        cleanup_close(&crash->slot_fd);
        crash->slot_fd = -1;
}

static void keep(struct crash *crash) {
        uint64_t start_ns = clock_now_ns();
        int r;

        if (refused(crash))
                return;
        r = commit_dump(&crash->commit, crash->record.id, &crash->path, &crash->record.size);
        if (r < 0) {
                refuse(crash, r == -ENOSPC || r == -EDQUOT ? CAUSE_STORE_FULL : CAUSE_STORE_FAILED);
                return;
        }
        crash->record.duration_ns[STAGE_KEEP] = clock_now_ns() - start_ns;
}

static void record_labels(struct crash *crash) {
        const struct decision *decision = &crash->decision;
        struct record *record = &crash->record;

        for (size_t i = 0; i < decision->n_labels; i++)
                record->labels[i] = (struct record_label){
                        .label = text_of(decision->labels[i].label),
                        .process = decision->labels[i].process,
                        .holder = decision->labels[i].holder,
                };
        record->n_labels = decision->n_labels;
        record->n_labels_lost = decision->n_labels_lost;
}

static void record_files(struct crash *crash) {
        struct record *record = &crash->record;

        for (size_t i = 0; i < crash->needles.n && i < RECORD_FILES_MAX; i++) {
                const struct needle_file *from = &crash->needles.files[i];
                const struct policy_rule *rule = policy_rule_by_id(crash->policy, from->rule);
                struct record_file *to = &record->files[record->n_files++];

                to->path = text_of(from->path);
                to->label = text_of(rule ? crash->policy->secrets[rule->secret].label : NULL);
                to->dev = from->key.dev;
                to->ino = from->key.ino;
                if (i < crash->needles.n_open && crash->outcome.answered) {
                        to->flags = crash->outcome.result.file_flags[i];
                        to->fragments = crash->outcome.result.report.hits[i];
                }
                if (from->unwatched)
                        to->flags |= RECORD_FILE_UNWATCHED;
        }
        record->n_files_lost = crash->needles.n - record->n_files;
}

static int write_record(struct crash *crash) {
        struct record *record = &crash->record;

        record->verdict = crash->verdict;
        record->tag_state = crash->decision.tag_state;
        record->tag_reasons = crash->lineage.tag.reasons;
        record->tag_since_ns = crash->lineage.tag.since_ns;
        record_labels(crash);
        record_files(crash);
        record->kept = crash->path != NULL;
        record->path = text_of(crash->path);
        record->worker_signal = crash->outcome.signal;
        record->has_worker = crash->outcome.answered;
        record->worker = crash->outcome.result;
        for (int stage = STAGE_HEAD; stage < STAGE_KEEP; stage++)
                record->duration_ns[stage] = crash->outcome.result.duration_ns[stage];
        record->has_policy = crash->policy != NULL;
        if (crash->policy)
                memcpy(record->policy_digest, crash->policy->digest, sizeof(record->policy_digest));
        return commit_record(&crash->commit, crash->arguments.root, record);
}

static void release(struct crash *crash) {
        commit_done(&crash->commit);
        needle_files_done(&crash->needles);
        mapped_files_done(&crash->mapped);
        tagmap_close(crash->tagmap);
        policy_free(crash->policy);
        identity_done(&crash->identity);
        free(crash->path);
}

int main(int argc, char *argv[]) {
        struct crash crash = {
                .start_ns = clock_now_ns(),
                .identity = { .pid_fd = -1, .proc_fd = -1, .memory_fd = -1 },
                .slot_fd = -1,
                .commit = { .out_fd = -1 },
                .decision = { .tag_state = TAG_STATE_BLIND },
        };
        int r;

        prepare_ourselves(&crash);
        begin_record(&crash, argc, argv);
        identify(&crash);
        collect(&crash);
        judge(&crash);
        find_needles(&crash);
        if (!refused(&crash))
                take_slot(&crash);
        crash.record.duration_ns[STAGE_INTAKE] = clock_now_ns() - crash.start_ns;
        if (!refused(&crash))
                sieve(&crash);
        let_go(&crash);
        keep(&crash);
        r = write_record(&crash);
        release(&crash);
        return r < 0 ? 1 : 0;
}
