/* coresieve disable: the host as it was before enable. Dumps and records stay. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/paths.h"
#include "cli.h"
#include "handover_undo.h"
#include "host/handover.h"

/* Without a note of what was there: pins and a pattern that can only be ours are taken back all
 * the same, to the kernel's defaults. */
static int before_guess(struct before *ret) {
        struct before before = { .core_pattern = "core" };
        int r = pattern_read(before.ours);

        if (r < 0)
                return r;
        if (pattern_kind(before.ours, "") != PATTERN_OURS_OTHER) {
                memcpy(before.core_pattern, before.ours, sizeof(before.ours));
                r = pipe_limit_read(&before.core_pipe_limit);
        } else
                (void)fprintf(stderr,
                              "coresieve: %s: is missing: core_pattern becomes the kernel's "
                              "default, `core`\n",
                              PATH_BEFORE);
        *ret = before;
        return r;
}

int cmd_disable(const struct cli *cli, int argc, char **argv) {
        struct before before;
        int r;

        (void)argv;
        if (argc != 1) {
                (void)fputs("usage: coresieve [--root DIR] [--json] disable\n", stderr);
                return CLI_CANNOT;
        }
        if (geteuid() != 0) {
                (void)fputs("coresieve: disable: only root may: run it as root\n", stderr);
                return CLI_CANNOT;
        }
        r = before_load(cli->root, &before);
        if (r == -ENOENT)
                r = before_guess(&before);
        if (r < 0) {
                (void)fprintf(stderr, "coresieve: %s: %s: restore core_pattern by hand\n",
                              PATH_BEFORE, strerrordesc_np(-r));
                return CLI_CANNOT;
        }
        r = handover_undo(cli->root, &before, stderr);
        if (r < 0)
                return CLI_CANNOT;
        if (cli->json)
                (void)puts("{\n  \"enabled\": false\n}");
        else
                (void)puts("coresieve: disabled");
        return CLI_DONE;
}
