#include "core_pattern/commit.h"

#include <errno.h>

#include "audit/log.h"
#include "base/cleanup.h"
#include "base/clock.h"

#define ROOM_POLL_MS 20U /* how often a helper looks whether room was given back */

static int room_wait(struct store *store, const struct policy *policy, uint64_t deadline_ns,
                     uint64_t *ret_room) {
        for (;;) {
                int r = store_reserve(store, policy, ret_room);

                if ((r != -EAGAIN && r != -EBUSY) || clock_now_ns() >= deadline_ns)
                        return r;
                clock_pause_ms(ROOM_POLL_MS);
        }
}

int commit_begin(const char *root, const struct policy *policy, uint64_t deadline_ns,
                 struct commit *ret, enum cause *ret_cause) {
        int r;

        *ret = (struct commit){ .out_fd = -1 };
        r = store_open(root, &ret->store);
        if (r == 0)
                r = room_wait(ret->store, policy, deadline_ns, &ret->room);
        if (r == 0)
                r = store_create(ret->store, &ret->out_fd);
        if (r < 0)
                *ret_cause = r == -ENOSPC || r == -EDQUOT || r == -EAGAIN ? CAUSE_STORE_FULL
                                                                          : CAUSE_STORE_FAILED;
        return r;
}

void commit_done(struct commit *commit) {
        cleanup_close(&commit->out_fd);
        commit->out_fd = -1;
        store_close(commit->store);
        commit->store = NULL;
}

int commit_dump(struct commit *commit, const char *id, char **ret_path, uint64_t *ret_size) {
        return store_commit(commit->store, commit->out_fd, id, ret_path, ret_size);
}

int commit_record(struct commit *commit, const char *root, const struct record *record) {
        enum log_place place;
        int r = log_append(root, record, &place);

        if (r == 0 || !record->kept)
                return r;
        /* log_append() has told whoever reads the other places that there is no dump. */
        (void)store_withdraw(commit->store, record->id);
        return r;
}
