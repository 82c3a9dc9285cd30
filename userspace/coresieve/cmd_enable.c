/* coresieve enable: from here on, no crash goes unsieved.
 *
 * In this order: what must hold on the host, the policy, the sensors with their proof, and last
 * core_pattern, so that no crash reaches a helper that cannot answer. What an enable that fails
 * has changed is put back. A second enable brings the running sensors to the policy as it is now.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <linux/magic.h>

#include "base/cleanup.h"
#include "base/paths.h"
#include "cli.h"
#include "handover_undo.h"
#include "host/handover.h"
#include "host/policy.h"
#include "host/sensor.h"
#include "preflight.h"

DEFINE_CLEANUP(policy, struct policy, policy_free)

static int say(const char *thing, int r, const char *remedy) {
        (void)fprintf(stderr, "coresieve: %s: %s: %s\n", thing, strerrordesc_np(-r), remedy);
        return r;
}

/* --- directories and bpffs ------------------------------------------------------------------- */

static int directory_make(const char *root, const char *path) {
        char full[PATH_MAX];
        struct stat st;

        if (snprintf(full, sizeof(full), "%s%s", root, path) >= (int)sizeof(full))
                return say(path, -ENAMETOOLONG, "use a shorter --root");
        if (mkdir(full, 0700) < 0 && errno != EEXIST)
                return say(full, -errno, "make the directory above it");
        if (lstat(full, &st) < 0)
                return say(full, -errno, "see dmesg");
        if (!S_ISDIR(st.st_mode) || st.st_uid != 0 || (st.st_mode & (S_IWGRP | S_IWOTH)))
                return say(full, -EPERM, "it must be a directory that only root may write");
        return 0;
}

static bool bpffs_is_mounted(void) {
        struct statfs fs;

        return statfs(PATH_BPFFS, &fs) == 0 && fs.f_type == BPF_FS_MAGIC;
}

static int bpffs_mount(bool *ret_mounted) {
        if (bpffs_is_mounted()) {
                *ret_mounted = false;
                return 0;
        }
        if (mount("bpf", PATH_BPFFS, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700") < 0)
                return say(PATH_BPFFS, -errno, "mount bpffs there");
        *ret_mounted = true;
        return 0;
}

/* --- the steps ---------------------------------------------------------------------------------
 */

/* What disable is to put back. A note stays true while the pattern is ours; once it is not (the
 * host was booted again, another handler took over), what is there now is what we replace. */
static int before_note(const char *root, const char *pattern, struct before *ret, bool *ret_first) {
        struct before before = { 0 };
        char now[CORE_PATTERN_MAX + 1] = "";
        unsigned limit = 0;
        bool ours;
        int r = before_load(root, &before);

        *ret_first = r == -ENOENT;
        if (r < 0 && r != -ENOENT)
                return say(PATH_BEFORE, r, "remove it if it is no file of ours");
        r = pattern_read(now);
        if (r == 0)
                r = pipe_limit_read(&limit);
        if (r < 0)
                return say(PATH_CORE_PATTERN, r, "mount procfs");
        ours = pattern_kind(now, *before.ours ? before.ours : pattern) <= PATTERN_OURS_OTHER;
        if (*ret_first || !ours) {
                /* Ours without a note of what was there before: the kernel's default then. */
                (void)snprintf(before.core_pattern, sizeof(before.core_pattern), "%s",
                               ours ? "core" : now);
                if (*ret_first || limit != before.our_limit)
                        before.core_pipe_limit = limit;
                before.bpffs_mounted = before.bpffs_mounted && access(PATH_PINS, F_OK) == 0;
        }
        memcpy(before.ours, pattern, strlen(pattern) + 1);
        before.our_limit =
                before.core_pipe_limit > CORE_PIPE_LIMIT ? before.core_pipe_limit : CORE_PIPE_LIMIT;
        *ret = before;
        return 0;
}

static void print_text(const struct sensor_report *report, const struct before *before) {
        (void)printf("coresieve: enabled: %zu files and %zu directories are watched, core_pattern "
                     "is ours\n",
                     report->n_files, report->n_dirs);
        if (report->seeded)
                (void)printf("coresieve: processes alive now are of unknown history until they are "
                             "restarted: their dumps keep stacks only\n");
        (void)printf("coresieve: at most %u dumps at one time (core_pipe_limit)\n",
                     before->our_limit);
}

static int print_json(const struct sensor_report *report, const struct before *before) {
        json_t *object = json_pack(
                "{s:b, s:b, s:b, s:I, s:I, s:i}", "enabled", 1, "kept", report->kept, "seeded",
                report->seeded, "files", (json_int_t)report->n_files, "directories",
                (json_int_t)report->n_dirs, "core_pipe_limit", (int)before->our_limit);
        int r = object ? json_dumpf(object, stdout, JSON_INDENT(2)) : -1;

        json_decref(object);
        (void)putchar('\n');
        return r < 0 ? -ENOMEM : 0;
}

static int enable(const struct cli *cli, const struct before *before, const struct policy *policy) {
        struct sensor_report report = { 0 };
        int r;

        r = sensor_enable(cli->root, policy, stderr, &report);
        if (r < 0)
                return r;
        r = handover_set(before->ours, before->our_limit);
        if (r < 0)
                return say(PATH_CORE_PATTERN, r, "the kernel did not take it; see `status`");
        if (cli->json)
                return print_json(&report, before);
        print_text(&report, before);
        return 0;
}

static int run(const struct cli *cli) {
        _cleanup_(cleanup_policy) struct policy *policy = NULL;
        char pattern[CORE_PATTERN_MAX + 1];
        struct programs programs;
        struct before before = { 0 };
        bool first = false, mounted = false;
        int r;

        r = preflight_programs(stderr, &programs);
        if (r == 0)
                r = preflight_host(cli->root, &programs, stderr);
        if (r < 0)
                return r;
        r = pattern_make(programs.helper, cli->root, pattern);
        if (r < 0)
                return say("core_pattern", r,
                           "the paths of helper and --root must be short and hold no blanks");
        r = policy_load(cli->root, stderr, &policy);
        if (r < 0)
                return r;
        /* Store and log as well: a helper that finds neither can keep nothing. */
        r = directory_make(cli->root, PATH_STATE);
        if (r == 0)
                r = directory_make(cli->root, PATH_STORE);
        if (r == 0)
                r = directory_make(cli->root, PATH_LOG_DIR);
        if (r == 0)
                r = before_note(cli->root, pattern, &before, &first);
        if (r == 0)
                r = bpffs_mount(&mounted);
        if (r < 0)
                return r;
        before.bpffs_mounted = before.bpffs_mounted || mounted;
        r = before_save(cli->root, &before);
        if (r < 0)
                (void)say(PATH_BEFORE, r, "make room in its directory");
        else
                r = enable(cli, &before, policy);
        if (r < 0 && first)
                (void)handover_undo(cli->root, &before, stderr);
        return r;
}

int cmd_enable(const struct cli *cli, int argc, char **argv) {
        (void)argv;
        if (argc != 1) {
                (void)fputs("usage: coresieve [--root DIR] [--json] enable\n", stderr);
                return CLI_CANNOT;
        }
        return run(cli) < 0 ? CLI_CANNOT : CLI_DONE;
}
