#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/paths.h"
#include "doctor.h"
#include "host/handover.h"

#define SYSCTL_FILE_MAX (1U << 20)
#define SYSCTL_FILES_MAX 512U /* in one directory */
#define SMALL_FILE_MAX 65536U

DEFINE_CLEANUP(dir, DIR, closedir)

/* --- core_pattern ----------------------------------------------------------------------------- */

static void pattern_examine(struct doctor *d, const struct before *before) {
        static const char enable[] = "run `coresieve enable`";
        char now[CORE_PATTERN_MAX + 1];
        int r = pattern_read(now);

        if (r < 0) {
                doctor_say(d, HEALTH_BAD, "core_pattern", "mount procfs", "cannot be read: %s",
                           strerrordesc_np(-r));
                return;
        }
        switch (pattern_kind(now, before->ours)) {
        case PATTERN_OURS:
                doctor_say(d, HEALTH_GOOD, "core_pattern", NULL, "is ours");
                break;
        case PATTERN_OURS_OTHER:
                doctor_say(d, HEALTH_BAD, "core_pattern", enable,
                           "is a helper of another installation or root: %s", now);
                break;
        case PATTERN_SOCKET:
                doctor_say(d, HEALTH_BAD, "core_pattern",
                           "mask the unit that listens there (systemd-coredump.socket), then "
                           "`coresieve enable`",
                           "was replaced by a socket, unfiltered dumps go to its listener: %s",
                           now);
                break;
        case PATTERN_PIPE:
                doctor_say(d, HEALTH_BAD, "core_pattern",
                           "remove that handler or keep it from setting core_pattern, then "
                           "`coresieve enable`",
                           "was replaced, unfiltered dumps go to: %s", now);
                break;
        case PATTERN_FILE:
                doctor_say(d, HEALTH_BAD, "core_pattern", enable,
                           "is not ours, the kernel writes unfiltered files: %s", now);
                break;
        }
}

static void limit_examine(struct doctor *d, const struct before *before) {
        unsigned now;
        int r = pipe_limit_read(&now);

        if (r < 0)
                doctor_say(d, HEALTH_BAD, "core_pipe_limit", "mount procfs", "cannot be read: %s",
                           strerrordesc_np(-r));
        else if (now == 0)
                doctor_say(d, HEALTH_BAD, "core_pipe_limit", "run `coresieve enable`",
                           "is 0: the kernel does not keep the process for its helper");
        else if (*before->ours && now < before->our_limit)
                doctor_say(d, HEALTH_BAD, "core_pipe_limit", "run `coresieve enable`",
                           "is %u, enable had set %u: more crashes at one time leave nothing", now,
                           before->our_limit);
        else
                doctor_say(d, HEALTH_GOOD, "core_pipe_limit", NULL, "is %u", now);
}

/* --- who else would set it -------------------------------------------------------------------- */

/* `kernel.core_pattern = …`, with sysctl.d's leading `-` and either separator. */
static bool line_sets_pattern(const char *line) {
        line += strspn(line, " \t-");
        if (strncmp(line, "kernel.core_pattern", 19) != 0 &&
            strncmp(line, "kernel/core_pattern", 19) != 0)
                return false;
        line += 19;
        line += strspn(line, " \t");
        return *line == '=';
}

static void sysctl_file(struct doctor *d, const char *path) {
        _cleanup_free_ char *text = NULL;
        size_t size;

        if (io_read_path(AT_FDCWD, path, SYSCTL_FILE_MAX, &text, &size) < 0)
                return;
        for (char *at = text, *line; (line = strsep(&at, "\n"));) {
                if (line_sets_pattern(line)) {
                        doctor_say(d, HEALTH_NOTE, "sysctl.d",
                                   "remove that line, or mask the file, so that no reload of "
                                   "sysctl settings takes core_pattern away",
                                   "%s sets core_pattern: %s", path, line);
                        return;
                }
        }
}

static void sysctl_examine(struct doctor *d) {
        static const char *const directories[] = { "/etc/sysctl.d", "/run/sysctl.d",
                                                   "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d" };
        char path[PATH_MAX];

        (void)snprintf(path, sizeof(path), "%s/etc/sysctl.conf", d->root);
        sysctl_file(d, path);
        for (size_t i = 0; i < ARRAY_SIZE(directories); i++) {
                _cleanup_(cleanup_dir) DIR *dir = NULL;
                const struct dirent *entry;

                (void)snprintf(path, sizeof(path), "%s%s", d->root, directories[i]);
                dir = opendir(path);
                if (!dir)
                        continue;
                for (unsigned n = 0; n < SYSCTL_FILES_MAX && (entry = readdir(dir)); n++) {
                        const char *dot = strrchr(entry->d_name, '.');

                        if (!dot || strcmp(dot, ".conf") != 0)
                                continue;
                        (void)snprintf(path, sizeof(path), "%s%s/%s", d->root, directories[i],
                                       entry->d_name);
                        sysctl_file(d, path);
                }
        }
}

/* --- what core_pattern does not close ----------------------------------------------------------
 */

/* Is there a line behind the heading? */
static bool has_swap(void) {
        _cleanup_free_ char *text = NULL;
        const char *line;
        size_t size;

        if (io_read_path(AT_FDCWD, "/proc/swaps", SMALL_FILE_MAX, &text, &size) < 0)
                return false;
        line = strchr(text, '\n');
        return line && line[1] != '\0';
}

static bool kdump_loaded(void) {
        _cleanup_free_ char *text = NULL;
        size_t size;

        return io_read_path(AT_FDCWD, "/sys/kernel/kexec_crash_loaded", SMALL_FILE_MAX, &text,
                            &size) == 0 &&
               text[0] == '1';
}

static void leaks_examine(struct doctor *d) {
        doctor_say(d, HEALTH_NOTE, "beside core_pattern", NULL,
                   "nothing here stops gcore, a debugger, or a runtime's own dump (Java's hprof, "
                   "Node's heap snapshot)");
        doctor_say(d, HEALTH_NOTE, "crashes without a record", NULL,
                   "the kernel starts no helper for a process that is not dumpable or has "
                   "RLIMIT_CORE=1, nor over core_pipe_limit: no dump, and no record yet");
        if (has_swap())
                doctor_say(d, HEALTH_NOTE, "swap", "encrypt swap, or turn it off",
                           "memory may be written to a disk by swapping");
        if (kdump_loaded())
                doctor_say(d, HEALTH_NOTE, "kdump", "filter user pages (makedumpfile -d 31)",
                           "a crash of the kernel dumps the memory of processes");
}

/* --------------------------------------------------------------------------------------------- */

void doctor_kernel(struct doctor *d) {
        struct before before = { 0 };
        int r = before_load(d->root, &before);

        if (r < 0 && r != -ENOENT)
                doctor_say(d, HEALTH_BAD, "state", "run `coresieve disable`, then enable",
                           "%s%s cannot be used: %s", d->root, PATH_BEFORE, strerrordesc_np(-r));
        pattern_examine(d, &before);
        limit_examine(d, &before);
        sysctl_examine(d);
        leaks_examine(d);
}
