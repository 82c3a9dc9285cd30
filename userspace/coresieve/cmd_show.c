/* coresieve show ID: one record, and what was erased from its dump. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "cli.h"
#include "host/verdict.h"
#include "keep/dump.h"
#include "keep/store.h"
#include "print.h"
#include "records.h"
#include "sieve/reason.h"

DEFINE_CLEANUP(dump, struct dump, dump_close)

static void print_erased(const struct dump_erased *erased) {
        uint64_t ranges = 0, bytes = 0;

        (void)printf("erased, by the dump's own note:\n");
        for (unsigned reason = 0; reason < _REASON_MAX; reason++) {
                if (!erased->ranges[reason])
                        continue;
                (void)printf("  %-14s %12" PRIu64 " bytes in %" PRIu64 " ranges\n",
                             reason ? reason_to_string(reason) : "unknown", erased->bytes[reason],
                             erased->ranges[reason]);
                ranges += erased->ranges[reason];
                bytes += erased->bytes[reason];
        }
        (void)printf("  %-14s %12" PRIu64 " bytes in %" PRIu64 " ranges\n", "together", bytes,
                     ranges);
}

/* A crash without a dump is a complete answer; a dump that is damaged is not. */
static int show_dump(const char *root, const char *id) {
        _cleanup_(cleanup_dump) struct dump *dump = NULL;
        _cleanup_close_ int fd = -1;
        struct dump_erased erased = { 0 };
        struct stat st;
        int r;

        r = store_read(root, id, &fd);
        if (r == -ENOENT) {
                (void)printf("dump:          none is kept\n");
                return CLI_DONE;
        }
        if (r < 0)
                return print_errno(id, r, "its dump is not root's own: look at the store");
        if (fstat(fd, &st) < 0)
                return print_errno(id, errno, "its dump cannot be looked at");
        (void)printf("dump:          kept, %jd bytes; `coresieve extract %s FILE` unpacks it\n",
                     (intmax_t)st.st_size, id);
        r = dump_open(fd, &dump);
        if (r == 0)
                r = dump_erased(dump, &erased);
        if (r == -ENODATA) {
                (void)printf("erased:        the dump has no note\n");
                return CLI_DONE;
        }
        if (r < 0)
                return print_errno(id, r, "its dump is damaged: do not rely on it");
        print_erased(&erased);
        return CLI_DONE;
}

int cmd_show(const struct cli *cli, int argc, char **argv) {
        _cleanup_json_ json_t *record = NULL;
        const char *event;
        int r;

        if (argc != 2)
                return print_error("show", "one id is needed", "usage: coresieve show ID");
        r = records_get(cli->root, argv[1], &record);
        if (r != CLI_DONE)
                return r;
        if (cli->json) {
                print_json(record);
                return print_done(CLI_DONE);
        }
        event = record_string(record, "event", "");
        (void)printf("record of a%s %s:", event[0] == 'a' ? "n" : "", event);
        print_value(stdout, record, 0);
        if (strcmp(event, "crash") == 0)
                r = show_dump(cli->root, record_string(record, "id", ""));
        return print_done(r);
}
