/* Any bytes as an audit log, its tip, or the name of a process.
 *
 * The first byte chooses: 0 a log as it is; 1 lines chained into a log, cut and given a tip; 2 a
 * text. What must hold: nothing that is read makes the reader lose its place; an append keeps a
 * log that is whole whole, and never makes a broken one look whole; a text becomes JSON whatever
 * it is.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "audit/log.h"
#include "audit/log_chain.h"
#include "audit/log_line.h"
#include "audit/record_text.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/paths.h"

#define PATH_SIZE 256

#define REQUIRE(condition)                                                                         \
        do {                                                                                       \
                if (!(condition))                                                                  \
                        abort();                                                                   \
        } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char root[PATH_SIZE / 2], log_path[PATH_SIZE], tip_path[PATH_SIZE];

static void remove_root(void) {
        char command[PATH_SIZE];

        snprintf(command, sizeof(command), "rm -rf %s", root);
        REQUIRE(system(command) == 0);
}

/* One root for the whole run, on a file system whose fsync() costs nothing. */
static void prepare(void) {
        const char *tmp = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";

        if (root[0])
                return;
        snprintf(root, sizeof(root), "%s/coresieve-fuzz.XXXXXX", tmp);
        REQUIRE(mkdtemp(root));
        atexit(remove_root);
        snprintf(log_path, sizeof(log_path), "%s%s", root, PATH_LOG);
        snprintf(tip_path, sizeof(tip_path), "%s%s", root, PATH_TIP);
        {
                struct record record = { .id = "0-0-0" };
                enum log_place place;

                REQUIRE(log_append(root, &record, &place) == 0); /* makes the directories */
        }
}

static void save(const char *path, const void *bytes, size_t size) {
        _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        REQUIRE(fd >= 0 && io_write(fd, bytes, size) == 0);
}

/* Forwards every byte is met once; backwards the same lines are. */
static void require_lines(const char *path, size_t size) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
        _cleanup_free_ char *buf = malloc(LINE_WINDOW);
        struct line_reader reader;
        struct line line = { 0 };
        size_t n = 0, lines = 0, back = 0;
        uint64_t end = size;
        bool long_lines = false, torn = false;

        REQUIRE(fd >= 0 && buf && line_reader_new(fd, size, &reader) == 0);
        while (line_next(&reader, &line) > 0) {
                REQUIRE(line.size <= RECORD_LINE_MAX && !memchr(line.bytes, '\n', line.size));
                n += line.size + !line.torn;
                lines++;
                long_lines |= line.too_long;
                torn = line.torn;
        }
        line_reader_done(&reader);
        REQUIRE(long_lines || n == size);
        if (long_lines)
                return;
        if (!torn && end > 0)
                end--;
        while (lines > 0 && (end > 0 || back < lines)) {
                const char *at;
                size_t k;
                int r = line_before(fd, end, buf, &at, &k);

                if (r == -ENODATA)
                        break;
                REQUIRE(r == 0);
                back++;
                if (end == k)
                        break;
                end -= k + 1;
        }
        /* An empty first line has no byte to stand on. */
        REQUIRE(back == lines || back + 1 == lines);
}

static void require_append(size_t size, bool has_tip) {
        struct record record = { .id = "0-1-a", .event = EVENT_ACCESS };
        struct log_check check;
        enum log_place place;
        int before, after;

        before = log_verify(log_path, tip_path, &check);
        REQUIRE(before == 0 || before == -EBADMSG);
        REQUIRE((before == 0) == (check.bad_line == 0) && (before == 0) == (check.what == NULL));
        REQUIRE(log_append(root, &record, &place) == 0 && place == LOG_WRITTEN);
        after = log_verify(log_path, tip_path, &check);
        if (size > 0 || has_tip) /* else it is the first record of all */
                REQUIRE(after == before);
        REQUIRE(check.torn == 0 || after != 0);
        REQUIRE(log_append(root, &record, &place) == 0 && place == LOG_WRITTEN);
        REQUIRE(log_verify(log_path, tip_path, &check) == after);
}

static void fuzz_raw(const uint8_t *data, size_t size) {
        save(log_path, data, size);
        save(tip_path, "", 0);
        require_lines(log_path, size);
        require_append(size, false);
}

/* Each line of the input becomes a body; then so many bytes are cut, and the tip is that of the
 * line before. */
static void fuzz_chained(const uint8_t *data, size_t size) {
        _cleanup_free_ char *out = NULL;
        struct record_link link = { .hash = RECORD_HASH_ZERO }, tip = link;
        _cleanup_close_ int tip_fd = -1;
        unsigned cut, behind, n = 0;
        size_t out_size = 0;
        FILE *file;

        if (size < 2)
                return;
        cut = data[0];
        behind = data[1];
        file = open_memstream(&out, &out_size);
        REQUIRE(file);
        for (const uint8_t *at = data + 2, *end = data + size; at < end;) {
                const uint8_t *newline = memchr(at, '\n', (size_t)(end - at));
                size_t body_size = (size_t)((newline ? newline : end) - at), line_size;
                char *line;

                if (record_line((const char *)at, body_size, &link, &line, &line_size) == 0) {
                        REQUIRE(line_size <= RECORD_LINE_MAX && strlen(line) <= line_size);
                        fwrite(line, 1, line_size, file);
                        fputc('\n', file);
                        link.seq++;
                        record_hash(line, line_size, link.hash);
                        free(line);
                        if (n++ == behind)
                                tip = link;
                }
                at += body_size + 1;
        }
        REQUIRE(fclose(file) == 0);
        out_size = out_size > cut ? out_size - cut : 0;
        save(log_path, out, out_size);
        save(tip_path, "", 0);
        tip_fd = open(tip_path, O_RDWR | O_CLOEXEC);
        REQUIRE(tip_fd >= 0 && tip_write(tip_fd, behind < n ? &tip : &link) == 0);
        require_lines(log_path, out_size);
        require_append(out_size, true);
}

static void fuzz_text(const uint8_t *data, size_t size) {
        json_t *object = json_object(), *back;
        size_t max = size > 0 ? data[0] + 16U : 16;
        char *text;

        REQUIRE(text_put(object, "key", (const char *)data, size, max) == 0);
        text = json_dumps(object, JSON_COMPACT | JSON_ENSURE_ASCII);
        REQUIRE(text);
        for (const char *at = text; *at; at++)
                REQUIRE(*at >= ' ' && *at <= '~');
        back = line_object(text, strlen(text));
        REQUIRE(back && json_equal(back, object));
        REQUIRE((json_object_get(back, "key_cut") != NULL) == (size > max));
        json_decref(back);
        json_decref(object);
        free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        prepare();
        if (size == 0)
                return 0;
        switch (data[0]) {
        case 0:
                fuzz_raw(data + 1, size - 1);
                break;
        case 1:
                fuzz_chained(data + 1, size - 1);
                break;
        default:
                fuzz_text(data + 1, size - 1);
        }
        return 0;
}
