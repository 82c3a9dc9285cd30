/* cli: what every subcommand is given, and how it ends.
 *
 * argv[0] is the verb itself; options before it (--root, --json) are already in `cli`. A
 * subcommand prints facts to stdout and `coresieve: THING: REASON: REMEDY` to stderr.
 */
#pragma once

#include <stdbool.h>

struct cli {
        const char *root; /* "" for the host; see base/paths.h */
        bool json;        /* print facts as JSON */
};

enum cli_exit {
        CLI_DONE = 0,   /* done, or clean */
        CLI_FOUND = 1,  /* the question is answered "found" or "bad" */
        CLI_CANNOT = 2, /* usage, or no answer */
};

int cmd_policy(const struct cli *cli, int argc, char **argv);
int cmd_enable(const struct cli *cli, int argc, char **argv);
int cmd_disable(const struct cli *cli, int argc, char **argv);
int cmd_status(const struct cli *cli, int argc, char **argv);
int cmd_tags(const struct cli *cli, int argc, char **argv);
int cmd_list(const struct cli *cli, int argc, char **argv);
int cmd_show(const struct cli *cli, int argc, char **argv);
int cmd_extract(const struct cli *cli, int argc, char **argv);
int cmd_redact(const struct cli *cli, int argc, char **argv);
int cmd_audit(const struct cli *cli, int argc, char **argv);
