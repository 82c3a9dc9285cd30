#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "audit/log.h"
#include "audit/log_chain.h"
#include "audit/log_line.h"
#include "base/cleanup.h"
#include "base/private.h"

struct walk {
        struct log_check check;
        struct record_link tip;
        bool tip_met; /* the tip's line was met and is the one it names */
        uint64_t line;
};

static int open_log(const char *path, int *ret_fd, uint64_t *ret_size) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
        struct stat st;

        if (fd < 0)
                return -errno;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return -EINVAL;
        *ret_size = (uint64_t)st.st_size;
        *ret_fd = TAKE_FD(fd);
        return 0;
}

static int open_tip(const char *path, struct record_link *ret) {
        _cleanup_close_ int fd = -1;
        uint64_t size;
        int r = open_log(path, &fd, &size);

        return r < 0 ? r : tip_read(fd, ret);
}

static int broken(struct walk *walk, const char *what) {
        walk->check.bad_line = walk->line;
        walk->check.what = what;
        return -EBADMSG;
}

static int check_event(struct walk *walk, const struct line *line) {
        json_t *object = line_object(line->bytes, line->size);
        const char *event;
        bool is_break;

        if (!object)
                return broken(walk, "the line is no JSON object");
        event = json_string_value(json_object_get(object, "event"));
        is_break = event && strcmp(event, event_to_string(EVENT_BREAK)) == 0;
        json_decref(object);
        if (!event)
                return broken(walk, "the line names no event");
        if (is_break)
                return broken(walk, "records before this line are missing or changed: it says so");
        return 0;
}

static int check_line(struct walk *walk, const struct line *line) {
        struct log_check *check = &walk->check;
        struct line_head head;
        int r;

        if (line->too_long)
                return broken(walk, "the line is longer than a record can be");
        if (line_head_parse(line->bytes, line->size, &head) < 0)
                return broken(walk, "the line is no record of schema 1");
        if (strcmp(head.prev, check->newest.hash) != 0 || head.seq != check->newest.seq + 1) {
                /* A break record follows on what was found, and jumps over what was lost. */
                r = check_event(walk, line);
                if (r < 0)
                        return r;
                return broken(walk, walk->line == 1 ? "the first records are missing"
                                                    : "the line does not follow the one before: "
                                                      "one was changed, removed or moved");
        }
        r = check_event(walk, line);
        if (r < 0)
                return r;
        check->newest.seq = head.seq;
        record_hash(line->bytes, line->size, check->newest.hash);
        check->records++;
        if (head.seq == walk->tip.seq)
                walk->tip_met = strcmp(check->newest.hash, walk->tip.hash) == 0;
        return 0;
}

static int walk_lines(struct walk *walk, int fd, uint64_t size) {
        struct line_reader reader;
        struct line line;
        int r = line_reader_new(fd, size, &reader);

        if (r < 0)
                return r;
        while ((r = line_next(&reader, &line)) > 0) {
                walk->line++;
                if (line.torn && !line.too_long) {
                        walk->check.torn = line.size;
                        r = 0;
                        break;
                }
                r = check_line(walk, &line);
                if (r < 0)
                        break;
        }
        line_reader_done(&reader);
        return r;
}

static int check_tip(struct walk *walk, int tip) {
        struct log_check *check = &walk->check;

        walk->line = check->records + 1;
        if (tip == -ENOENT || tip == -ENODATA)
                return broken(walk, "the tip is missing: nobody can say whether the tail is");
        if (tip == -EBADMSG)
                return broken(walk,
                              "the tip is unreadable: nobody can say whether the tail is cut");
        if (tip < 0)
                return tip;
        if (walk->tip.seq > check->newest.seq)
                return broken(walk, "the newest records are missing: the tip is ahead of the log");
        if (!walk->tip_met)
                return broken(walk, "the tip names another record than the log holds");
        check->ahead = check->newest.seq - walk->tip.seq;
        return 0;
}

int log_verify(const char *log_path, const char *tip_path, struct log_check *ret) {
        struct walk walk = { .check.newest.hash = RECORD_HASH_ZERO };
        _cleanup_close_ int fd = -1;
        uint64_t size;
        int tip = 0, r;

        r = open_log(log_path, &fd, &size);
        if (r == -ENOENT && tip_path && open_tip(tip_path, &walk.tip) == 0 && walk.tip.seq > 0) {
                walk.line = 1;
                r = broken(&walk, "the log is missing: its tip is still there");
                *ret = walk.check;
        }
        if (r < 0)
                return r;
        /* Log and tip are looked at while nobody is between them; after that only lines are
         * added. The size again: it may have grown while we waited. */
        r = private_lock(fd, LOCK_SH, LOG_LOCK_MS);
        if (r < 0)
                return r;
        if (tip_path)
                tip = open_tip(tip_path, &walk.tip);
        size = (uint64_t)lseek(fd, 0, SEEK_END);
        if (flock(fd, LOCK_UN) < 0)
                return -errno;
        /* The tip of a log without a record. */
        walk.tip_met = walk.tip.seq == 0 && strcmp(walk.tip.hash, RECORD_HASH_ZERO) == 0;
        r = walk_lines(&walk, fd, size);
        if (r == 0 && tip_path)
                r = check_tip(&walk, tip);
        if (r == 0 || r == -EBADMSG)
                *ret = walk.check;
        return r;
}
