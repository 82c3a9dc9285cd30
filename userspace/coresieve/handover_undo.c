#include "handover_undo.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/paths.h"
#include "host/sensor.h"

static int say(FILE *errors, const char *thing, int r, const char *remedy) {
        (void)fprintf(errors, "coresieve: %s: %s: %s\n", thing, strerrordesc_np(-r), remedy);
        return r;
}

static int settings_restore(const struct before *before, FILE *errors) {
        char now[CORE_PATTERN_MAX + 1];
        unsigned limit = 0;
        int r;

        r = pattern_read(now);
        if (r == 0)
                r = pipe_limit_read(&limit);
        if (r < 0)
                return say(errors, PATH_CORE_PATTERN, r, "mount procfs");
        if (strcmp(now, before->core_pattern) == 0 && limit == before->core_pipe_limit)
                return 0;
        if (pattern_kind(now, before->ours) > PATTERN_OURS_OTHER) {
                /* The limit may be ours still: enable was ended between its two writes. */
                if (strcmp(now, before->core_pattern) == 0 && limit == before->our_limit) {
                        r = handover_set(now, before->core_pipe_limit);
                        return r < 0 ? say(errors, PATH_CORE_PIPE_LIMIT, r, "set it by hand") : 0;
                }
                (void)fprintf(errors,
                              "coresieve: %s: is not ours any more (%s): left as it is; it was "
                              "`%s`, and core_pipe_limit %u, before enable\n",
                              PATH_CORE_PATTERN, now, before->core_pattern,
                              before->core_pipe_limit);
                return 0;
        }
        r = handover_set(before->core_pattern, before->core_pipe_limit);
        return r < 0 ? say(errors, PATH_CORE_PATTERN, r, "set it by hand") : 0;
}

int handover_undo(const char *root, const struct before *before, FILE *errors) {
        char canary[PATH_MAX];
        int r, first;

        first = settings_restore(before, errors);
        r = sensor_disable();
        if (r < 0)
                (void)say(errors, PATH_PINS, r, "remove it by hand");
        if (first == 0)
                first = r;
        /* Somebody else's pins keep it mounted, and that is right. */
        if (before->bpffs_mounted && umount(PATH_BPFFS) < 0 && errno != EBUSY && errno != EINVAL) {
                r = say(errors, PATH_BPFFS, -errno, "unmount it by hand");
                if (first == 0)
                        first = r;
        }
        (void)snprintf(canary, sizeof(canary), "%s%s", root, PATH_CANARY);
        if (unlink(canary) < 0 && errno != ENOENT) {
                r = say(errors, canary, -errno, "remove it by hand");
                if (first == 0)
                        first = r;
        }
        /* The note goes last, and stays while anything is left to put back. */
        if (first == 0) {
                first = before_remove(root);
                if (first < 0)
                        (void)say(errors, PATH_BEFORE, first, "remove it by hand");
        }
        return first;
}
