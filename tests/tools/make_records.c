/* make_records: crashes that never were, appended as the helper does.
 *
 *     make_records ROOT keep EXE COMM CORE     a kept dump of the plain core CORE
 *     make_records ROOT metadata EXE COMM      no dump
 *     make_records ROOT wait EXE COMM          as above, but into the file of those that wait
 *     make_records ROOT foreign EXE COMM       no dump, of a process that Holder= does not name
 *
 * Prints the id.
 *
 * link: build/libcoresieve.a -Wl,--as-needed -ljansson -lmd -lzstd -lelf -ldw -lcrypto
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "audit/log.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/paths.h"
#include "base/private.h"
#include "keep/store.h"
#include "sieve/pack.h"

static struct record record;

static void die(const char *what, int r) {
        fprintf(stderr, "make_records: %s: %s\n", what, strerror(-r));
        exit(1);
}

static void check(const char *what, int r) {
        if (r < 0)
                die(what, r);
}

static void compress(const char *core, int out_fd) {
        static uint8_t tile[PACK_DATA_MAX];
        static const uint8_t zeros[PACK_DATA_MAX];
        int fd = open(core, O_RDONLY | O_CLOEXEC);
        struct pack *pack;

        check(core, fd < 0 ? -errno : 0);
        check("pack_new", pack_new(out_fd, true, &pack));
        for (;;) {
                ssize_t n = io_read(fd, tile, sizeof(tile));

                check(core, (int)n);
                if (n == 0)
                        break;
                check("pack", memcmp(tile, zeros, (size_t)n) == 0
                                      ? pack_hole(pack, (uint64_t)n)
                                      : pack_data(pack, tile, (size_t)n));
        }
        check("pack_finish", pack_finish(pack, &record.worker.report.core_size));
        pack_free(pack);
        close(fd);
}

static void keep(const char *root, const char *core) {
        struct store *store;
        char *path;
        int fd;

        check("store_open", store_open(root, &store));
        check("store_create", store_create(store, &fd));
        compress(core, fd);
        check("store_commit", store_commit(store, fd, record.id, &path, &record.size));
        record.kept = record.has_worker = true;
        record.path = (struct record_text){ path, strlen(path) };
        record.worker.stage = STAGE_KEEP;
        record.worker.report.erased[REASON_NEEDLE] = 640;
        store_close(store);
}

/* Holds the log's lock for as long as an append waits for it. */
static void append_without_log(const char *root, enum log_place *place) {
        char path[4096];
        int fd;

        snprintf(path, sizeof(path), "%s" PATH_LOG, root);
        fd = open(path, O_RDWR | O_CLOEXEC);
        check(path, fd < 0 || flock(fd, LOCK_EX) < 0 ? -errno : 0);
        if (log_append(root, &record, place) == 0)
                die("log", -EEXIST);
        close(fd);
}

int main(int argc, char **argv) {
        enum log_place place;
        int run_fd;

        if (argc < 5)
                die("usage", -EINVAL);
        check("run", private_dir(argv[1], PATH_RUN, true, &run_fd));
        record_new_id(run_fd, record.id);
        clock_gettime(CLOCK_REALTIME, &record.time);
        record.pid = record.tid = 4711;
        record.signal = 11;
        record.dump_mode = 1;
        record.exe = (struct record_text){ argv[3], strlen(argv[3]) };
        record.comm = (struct record_text){ argv[4], strlen(argv[4]) };
        record.verdict.content = CONTENT_REDACT;
        if (strcmp(argv[2], "keep") == 0 && argc == 6)
                keep(argv[1], argv[5]);
        else
                verdict_raise(&record.verdict, CONTENT_REFUSE, CAUSE_MAPS_MISSING);
        if (strcmp(argv[2], "foreign") == 0)
                record.labels[record.n_labels++] = (struct record_label){
                        .label = { "tls", 3 },
                        .holder = HOLDER_FOREIGN,
                };
        if (strcmp(argv[2], "wait") == 0)
                append_without_log(argv[1], &place);
        else
                check("log_append", log_append(argv[1], &record, &place));
        puts(record.id);
        return 0;
}
