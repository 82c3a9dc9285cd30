/* coresieve extract ID FILE [--force]: a kept dump as a plain core, and a record of who took it. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "audit/log.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/paths.h"
#include "base/private.h"
#include "cli.h"
#include "keep/dump.h"
#include "keep/store.h"
#include "output.h"
#include "print.h"
#include "records.h"

#define LOGINUID_PATH "/proc/self/loginuid"
#define LOGINUID_MAX 16U /* characters */

DEFINE_CLEANUP(dump, struct dump, dump_close)

struct request {
        const char *id, *file;
        bool force;
};

static int parse(int argc, char **argv, struct request *ret) {
        struct request request = { 0 };

        for (int i = 1; i < argc; i++) {
                if (strcmp(argv[i], "--force") == 0)
                        request.force = true;
                else if (!request.id)
                        request.id = argv[i];
                else if (!request.file)
                        request.file = argv[i];
                else
                        return -EINVAL;
        }
        if (!request.file)
                return -EINVAL;
        *ret = request;
        return 0;
}

/* The user that logged in, however often he has become another since. (uid_t)-1: nobody did. */
static uid_t loginuid(void) {
        _cleanup_free_ char *text = NULL;
        unsigned long uid;
        size_t size;
        char *end;

        if (io_read_path(AT_FDCWD, LOGINUID_PATH, LOGINUID_MAX, &text, &size) < 0)
                return (uid_t)-1;
        errno = 0;
        uid = strtoul(text, &end, 10);
        return errno || end == text ? (uid_t)-1 : (uid_t)uid;
}

/* Before the file has its name: whoever has a core has left a record. */
static int record_access(const char *root, const char *id, const char *destination) {
        _cleanup_free_ struct record *record = calloc(1, sizeof(*record));
        _cleanup_close_ int run_fd = -1;
        enum log_place place = LOG_LOST;
        int r;

        if (!record)
                return print_errno("access record", ENOMEM, "nothing was extracted");
        if (private_dir(root, PATH_RUN, true, &run_fd) < 0)
                run_fd = -1;
        record_new_id(run_fd, record->id);
        record->event = EVENT_ACCESS;
        (void)clock_gettime(CLOCK_REALTIME, &record->time);
        record->verb = (struct record_text){ "extract", strlen("extract") };
        record->target_id = (struct record_text){ id, strlen(id) };
        record->actor_uid = getuid();
        record->actor_loginuid = loginuid();
        record->destination = (struct record_text){ destination, strlen(destination) };
        r = log_append(root, record, &place);
        if (r == 0)
                return CLI_DONE;
        if (place != LOG_PENDING)
                return print_errno(PATH_LOG, r, "without a record nothing is extracted");
        (void)print_errno(PATH_LOG, r, "the record of this access waits to be taken in");
        return CLI_DONE;
}

/* As the record has it: a decimal string, for it may pass 2^53. */
static int core_size_of(const json_t *record, uint64_t *ret) {
        const char *text = record_string(record, "core_size", NULL);
        char *end;

        if (!text || !*text)
                return -ENODATA;
        errno = 0;
        *ret = strtoull(text, &end, 10);
        return errno || *end ? -EBADMSG : 0;
}

static int unpack(const char *id, int dump_fd, uint64_t expected, struct output *output) {
        _cleanup_(cleanup_dump) struct dump *dump = NULL;
        uint64_t size = 0;
        int r = dump_open(dump_fd, &dump);

        if (r == 0)
                r = dump_unpack(dump, output->fd, expected, &size);
        if (r == -EBADMSG)
                return print_error(id, "its dump is damaged", "nothing was extracted");
        if (r == -EFBIG || (r == 0 && size != expected))
                return print_error(id, "its dump is not of the size that the record says",
                                   "it was changed after it was kept: nothing was extracted");
        if (r < 0)
                return print_errno(output->path, r, output_remedy(r));
        return CLI_DONE;
}

static int extract(const struct cli *cli, const char *id, const json_t *record,
                   struct output *output) {
        _cleanup_close_ int dump_fd = -1;
        uint64_t expected;
        int r;

        r = store_read(cli->root, id, &dump_fd);
        if (r == -ENOENT)
                return print_error(id, "no dump of it is kept", "see `coresieve show`");
        if (r < 0)
                return print_errno(id, r, "its dump is not root's own: look at the store");
        if (core_size_of(record, &expected) < 0)
                return print_error(id, "its record says no size", "it tells of no dump to extract");
        r = unpack(id, dump_fd, expected, output);
        if (r != CLI_DONE)
                return r;
        r = record_access(cli->root, id, output->path);
        if (r != CLI_DONE)
                return r;
        r = output_commit(output);
        if (r < 0)
                return print_errno(output->path, r, output_remedy(r));
        return CLI_DONE;
}

int cmd_extract(const struct cli *cli, int argc, char **argv) {
        _cleanup_json_ json_t *record = NULL;
        struct request request;
        struct output output;
        int r;

        if (parse(argc, argv, &request) < 0)
                return print_error("extract", "an id and a file are needed",
                                   "usage: coresieve extract ID FILE [--force]");
        r = records_get(cli->root, request.id, &record);
        if (r != CLI_DONE)
                return r;
        r = output_open(request.file, request.force, &output);
        if (r < 0)
                r = print_errno(request.file, r, output_remedy(r));
        else
                r = extract(cli, record_string(record, "id", ""), record, &output);
        output_done(&output);
        return r;
}
