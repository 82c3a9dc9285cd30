/* coresieve: the command. Each verb stands in a file of its own, cmd_<verb>.c. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli.h"
#include "print.h"

#define VERSION "0.1"

struct verb {
        const char *name;
        int (*run)(const struct cli *cli, int argc, char **argv);
        const char *arguments;
        const char *summary;
};

static const struct verb verbs[] = {
        { "enable", cmd_enable, "", "sieve every crash from now on" },
        { "disable", cmd_disable, "", "put the host back as it was before enable" },
        { "status", cmd_status, "", "what is protected, what is not, and the remedy" },
        { "tags", cmd_tags, "", "processes that hold secrets now" },
        { "list", cmd_list, "", "crashes, oldest first" },
        { "show", cmd_show, "ID", "one record, and what was erased" },
        { "extract", cmd_extract, "ID FILE [--force]", "unpack a kept dump to a plain core" },
        { "redact", cmd_redact, "IN OUT [--key FILE]... [--content redact|stacks|detect] [--force]",
          "sieve a core that exists already" },
        { "audit", cmd_audit, "verify [FILE]... | show | tail [N]", "the audit log" },
        { "policy", cmd_policy, "check [FILE]", "is this a policy?" },
};

struct options {
        struct cli cli;
        bool help, version;
        int argc; /* the verb and what is its own */
        char **argv;
};

static void print_verb(FILE *file, const struct verb *verb) {
        (void)fprintf(file, "usage: coresieve [--root DIR] [--json] %s %s\n\n%s\n", verb->name,
                      verb->arguments, verb->summary);
}

static void print_usage(FILE *file) {
        (void)fputs("usage: coresieve [--root DIR] [--json] VERB ...\n\n", file);
        for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
                (void)fprintf(file, "  %-8s  %s\n", verbs[i].name, verbs[i].summary);
        (void)fputs(
                "\n"
                "  --root DIR  a whole installation below DIR\n"
                "  --json      print facts as JSON\n"
                "  --help      of the command, or of a verb\n"
                "  --version\n"
                "\n"
                "Exit status: 0 done or clean, 1 the answer is \"found\" or \"bad\", 2 usage, or "
                "no answer.\n",
                file);
}

/* A core of this process could hold what it reads, and it may be killed while it does. */
static int protect_ourselves(void) {
        struct rlimit none = { 0, 0 };

        (void)umask(077);
        if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || setrlimit(RLIMIT_CORE, &none) < 0)
                return -errno;
        /* A file that takes the place of a closed stderr would be written to by messages. */
        for (int fd = 0; fd <= STDERR_FILENO; fd++)
                if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) < 0)
                        return -errno;
        return 0;
}

/* Takes one global option at argv[*i]: 1 taken, 0 not one, -EINVAL without its value. */
static int take_option(int argc, char **argv, int *i, struct options *options) {
        const char *arg = argv[*i];

        if (strcmp(arg, "--json") == 0)
                options->cli.json = true;
        else if (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0)
                options->help = true;
        else if (strcmp(arg, "--version") == 0)
                options->version = true;
        else if (strncmp(arg, "--root=", strlen("--root=")) == 0)
                options->cli.root = arg + strlen("--root=");
        else if (strcmp(arg, "--root") == 0) {
                if (*i + 1 >= argc)
                        return -EINVAL;
                options->cli.root = argv[++*i];
        } else
                return 0;
        return 1;
}

/* Global options may stand before and after the verb; behind `--` nothing is an option of ours.
 * What is left keeps its order in options->argv, which has room for all of argv. */
static int parse(int argc, char **argv, struct options *options) {
        for (int i = 1; i < argc; i++) {
                int r;

                if (strcmp(argv[i], "--") == 0) {
                        while (++i < argc)
                                options->argv[options->argc++] = argv[i];
                        break;
                }
                r = take_option(argc, argv, &i, options);
                if (r < 0)
                        return r;
                if (r == 0)
                        options->argv[options->argc++] = argv[i];
        }
        return 0;
}

/* Paths of dumps stand in records: they must not depend on where the command was started. */
static int resolve_root(const char *root, char **ret) {
        _cleanup_free_ char *full = NULL;

        if (root[0] == '\0') {
                *ret = strdup("");
                return *ret ? 0 : -ENOMEM;
        }
        full = realpath(root, NULL);
        if (!full)
                return -errno;
        if (strcmp(full, "/") == 0)
                full[0] = '\0';
        *ret = TAKE_PTR(full);
        return 0;
}

static const struct verb *verb_find(const char *name) {
        for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
                if (strcmp(verbs[i].name, name) == 0)
                        return &verbs[i];
        return NULL;
}

static int run(struct options *options) {
        _cleanup_free_ char *root = NULL;
        const struct verb *verb;
        int r;

        if (options->version) {
                (void)puts("coresieve " VERSION);
                return print_done(CLI_DONE);
        }
        if (options->argc == 0) {
                print_usage(options->help ? stdout : stderr);
                return options->help ? print_done(CLI_DONE) : CLI_CANNOT;
        }
        verb = verb_find(options->argv[0]);
        if (!verb)
                return print_error(options->argv[0], "no such verb", "see `coresieve --help`");
        if (options->help) {
                print_verb(stdout, verb);
                return print_done(CLI_DONE);
        }
        r = resolve_root(options->cli.root, &root);
        if (r < 0)
                return print_errno(options->cli.root, r, "--root names a directory that exists");
        options->cli.root = root;
        return verb->run(&options->cli, options->argc, options->argv);
}

int main(int argc, char **argv) {
        _cleanup_free_ char **left = NULL;
        struct options options = { .cli.root = "" };
        int r = protect_ourselves();

        if (r < 0)
                return print_errno("coresieve", r,
                                   "it cannot protect its own memory: run as root?");
        left = calloc((size_t)argc + 1, sizeof(*left));
        if (!left)
                return print_errno("coresieve", ENOMEM, "free some memory");
        options.argv = left;
        r = parse(argc, argv, &options);
        if (r < 0)
                return print_error("--root", "it needs a directory", "see `coresieve --help`");
        return run(&options);
}
