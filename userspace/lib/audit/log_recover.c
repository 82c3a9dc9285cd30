/* What an append does before it may write: see log.h "recover". */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "audit/log.h"
#include "audit/log_chain.h"
#include "audit/log_line.h"
#include "audit/log_pending.h"
#include "base/cleanup.h"
#include "base/io.h"

#define TORN_TEXT_MAX 1024U /* bytes kept of a torn line: its id and the first keys */

/* The newest line as it stands in the file. */
struct tail {
        uint64_t end; /* offset of its newline; 0 with an empty log */
        struct line_head head;
        struct record_link link;
        bool unreadable; /* longer than any of ours, or not ours */
        bool hashed;     /* link.hash is that of its bytes */
};

int chain_append_recovered(struct chain *chain, const char *torn, size_t size) {
        _cleanup_free_ struct record *record = malloc(sizeof(*record));
        _cleanup_free_ char *body = NULL;
        size_t body_size, text = 0;
        int r;

        if (!record)
                return -ENOMEM;
        chain_event(chain, EVENT_RECOVERED, record);
        record->torn_bytes = size;
        record_hash(torn, size, record->torn_hash);
        /* Our lines are ASCII. After a power cut other bytes may follow that were never ours,
         * and a record is no place for them. */
        while (text < size && text < TORN_TEXT_MAX && torn[text] >= ' ' && torn[text] <= '~')
                text++;
        record->torn_text = (struct record_text){ torn, text };
        r = record_body(record, &body, &body_size);
        if (r < 0)
                return r;
        r = chain_append(chain, body, body_size);
        if (r < 0) /* the bytes are gone: the word of it must not be; it waits with the others */
                (void)pending_put(chain->run_dirfd, body, body_size);
        return r;
}

/* Cuts a torn last line off. *ret_torn (NULL: there was none) is the caller's to free. A tail
 * without a newline that is longer than any line of ours is left as it is and ended, so that
 * what follows stands on a line of its own. */
static int cut_torn(struct chain *chain, char *buf, char **ret_torn, size_t *ret_size) {
        _cleanup_free_ char *torn = NULL;
        const char *line;
        size_t size;
        int r;

        *ret_torn = NULL;
        *ret_size = 0;
        r = line_before(chain->fd, chain->size, buf, &line, &size);
        if (r == -ENODATA || (r == 0 && size == 0))
                return 0;
        if (r == -EFBIG) {
                r = io_write(chain->fd, "\n", 1);
                if (r == 0)
                        chain->size++;
                return r;
        }
        if (r < 0)
                return r;
        torn = malloc(size);
        if (!torn)
                return -ENOMEM;
        memcpy(torn, line, size);
        if (ftruncate(chain->fd, (off_t)(chain->size - size)) < 0)
                return -errno;
        chain->size -= size;
        *ret_torn = TAKE_PTR(torn);
        *ret_size = size;
        return 0;
}

static int tail_read(const struct chain *chain, char *buf, struct tail *ret) {
        struct tail tail = { .link.hash = RECORD_HASH_ZERO };
        const char *line;
        size_t size;
        int r;

        if (chain->size == 0) {
                *ret = tail;
                return 0;
        }
        tail.end = chain->size - 1;
        r = line_before(chain->fd, tail.end, buf, &line, &size);
        if (r < 0 && r != -EFBIG && r != -ENODATA)
                return r;
        if (r < 0) {
                tail.unreadable = true;
                *ret = tail;
                return 0;
        }
        record_hash(line, size, tail.link.hash);
        tail.hashed = true;
        tail.unreadable = line_head_parse(line, size, &tail.head) < 0;
        tail.link.seq = tail.unreadable ? 0 : tail.head.seq;
        *ret = tail;
        return 0;
}

/* Are the lines behind the tip whole and chained to it? 1, 0, or a read error. */
static int is_ahead(const struct chain *chain, const struct tail *tail, char *buf) {
        struct line_head head = tail->head;
        uint64_t end = tail->end;
        const char *line = NULL;
        size_t size;
        int r;

        r = line_before(chain->fd, end, buf, &line, &size);
        for (unsigned i = 0; r == 0 && i < LOG_AHEAD_MAX; i++) {
                struct record_link before = { .hash = RECORD_HASH_ZERO };
                uint64_t begin = end - size;

                if (begin > 0) {
                        end = begin - 1;
                        r = line_before(chain->fd, end, buf, &line, &size);
                        if (r < 0)
                                break;
                        record_hash(line, size, before.hash);
                }
                if (strcmp(head.prev, before.hash) != 0)
                        return 0;
                before.seq = head.seq - 1;
                if (before.seq == chain->tip.seq)
                        return strcmp(before.hash, chain->tip.hash) == 0;
                if (begin == 0 || line_head_parse(line, size, &head) < 0 || head.seq != before.seq)
                        return 0;
        }
        return r == -EFBIG || r == -ENODATA ? 0 : r;
}

/* NULL when the log is as the tip says. */
static const char *break_reason(const struct chain *chain, const struct tail *tail, int tip) {
        if (tip == -ENODATA)
                return "tip-missing";
        if (tip < 0)
                return "tip-unreadable";
        if (chain->size == 0)
                return "log-missing";
        if (tail->unreadable)
                return "tail-unreadable";
        return tail->link.seq < chain->tip.seq ? "tail-cut" : "tail-changed";
}

static int append_break(struct chain *chain, const char *reason, const struct tail *tail) {
        _cleanup_free_ struct record *record = malloc(sizeof(*record));
        _cleanup_free_ char *body = NULL;
        size_t size;
        int r;

        if (!record)
                return -ENOMEM;
        chain_event(chain, EVENT_BREAK, record);
        record->break_reason = reason;
        record->expected = chain->tip;
        record->found = tail->link;
        r = record_body(record, &body, &size);
        if (r < 0)
                return r;
        /* Numbers go on behind the larger of both: nobody's number is given out twice. A log
         * that is gone may be found again, and then this line follows on its last one. */
        chain->newest = tail->hashed ? tail->link : chain->tip;
        if (chain->tip.seq > chain->newest.seq)
                chain->newest.seq = chain->tip.seq;
        return chain_append(chain, body, size);
}

static int compare_tip(struct chain *chain, char *buf) {
        struct tail tail;
        int tip, r;

        r = tail_read(chain, buf, &tail);
        if (r < 0)
                return r;
        memcpy(chain->tip.hash, RECORD_HASH_ZERO, RECORD_HASH_SIZE);
        tip = tip_read(chain->tip_fd, &chain->tip);
        if (tip < 0 && tip != -ENODATA && tip != -EBADMSG)
                return tip;
        chain->newest = tail.link;
        if (tip == -ENODATA && chain->fresh)
                /* The first record of all. The tip comes first: a log with lines but without a
                 * tip is then never an honest one. */
                return tip_write(chain->tip_fd, &chain->tip);
        if (tip == 0 && !tail.unreadable && tail.link.seq == chain->tip.seq &&
            strcmp(tail.link.hash, chain->tip.hash) == 0)
                return 0;
        if (tip == 0 && tail.hashed && !tail.unreadable && tail.link.seq > chain->tip.seq) {
                r = is_ahead(chain, &tail, buf);
                if (r < 0)
                        return r;
                if (r > 0)
                        return 0;
        }
        return append_break(chain, break_reason(chain, &tail, tip), &tail);
}

int chain_recover(struct chain *chain) {
        _cleanup_free_ char *buf = malloc(LINE_WINDOW), *torn = NULL;
        size_t torn_size;
        int r;

        if (!buf)
                return -ENOMEM;
        r = cut_torn(chain, buf, &torn, &torn_size);
        if (r < 0)
                return r;
        r = compare_tip(chain, buf);
        if (r < 0 || !torn)
                return r;
        return chain_append_recovered(chain, torn, torn_size);
}
