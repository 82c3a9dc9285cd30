#include "host/learner.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* How long the sensor looks for learners after the last one, and how long an entry is anybody's:
 * long enough for any read, short enough that a learner that was killed costs nothing. */
#define LEARN_SECONDS 10ULL

#define NSEC_PER_SEC 1000000000ULL

static int boot_time_ns(uint64_t *ret) {
        struct timespec now;

        if (clock_gettime(CLOCK_BOOTTIME, &now) < 0)
                return -errno;
        *ret = (uint64_t)now.tv_sec * NSEC_PER_SEC + (uint64_t)now.tv_nsec;
        return 0;
}

static int learn_announce(const struct learner *learner, uint64_t until) {
        uint32_t zero = 0;

        if (bpf_map_update_elem(learner->until_fd, &zero, &until, BPF_ANY) < 0)
                return -errno;
        return 0;
}

/* Is nobody waiting for this entry any more? Its thread may be gone; or its number is another
 * thread's by now, and then the entry is old. */
static bool learner_is_stale(const struct learner *learner, uint32_t tid, uint64_t now) {
        struct learned entry;

        if (kill((pid_t)tid, 0) < 0 && errno == ESRCH)
                return true;
        return bpf_map_lookup_elem(learner->learners_fd, &tid, &entry) == 0 && entry.until_ns < now;
}

/* Threads that were killed while learning leave their entry behind. Keys first, entries later: a
 * walk over a map that loses keys begins again. */
static void learners_sweep(const struct learner *learner, uint64_t now) {
        uint32_t tids[LEARNERS_MAX];
        size_t n = 0;

        while (n < LEARNERS_MAX &&
               bpf_map_get_next_key(learner->learners_fd, n ? &tids[n - 1] : NULL, &tids[n]) == 0)
                n++;
        for (size_t i = 0; i < n; i++)
                if (learner_is_stale(learner, tids[i], now))
                        (void)bpf_map_delete_elem(learner->learners_fd, &tids[i]);
}

static int learners_enter(const struct learner *learner, uint32_t tid, uint64_t now,
                          uint64_t until) {
        const struct learned nothing = { .until_ns = until };

        if (bpf_map_update_elem(learner->learners_fd, &tid, &nothing, BPF_ANY) == 0)
                return 0;
        if (errno != E2BIG)
                return -errno;
        learners_sweep(learner, now);
        if (bpf_map_update_elem(learner->learners_fd, &tid, &nothing, BPF_ANY) == 0)
                return 0;
        return errno == E2BIG ? -EUSERS : -errno;
}

int learner_read(const struct learner *learner, int fd, struct learned *ret) {
        uint32_t tid = (uint32_t)gettid();
        struct learned found;
        uint64_t now = 0, until;
        struct stat st;
        ssize_t n;
        char byte;
        int r, read_error;

        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return -EOPNOTSUPP;
        if (st.st_size == 0)
                return -ENODATA;
        r = fcntl(fd, F_GETFL);
        if (r < 0)
                return -errno;
        if (r & O_DIRECT)
                return -EOPNOTSUPP;

        r = boot_time_ns(&now);
        if (r < 0)
                return r;
        until = now + LEARN_SECONDS * NSEC_PER_SEC;
        r = learn_announce(learner, until);
        if (r < 0)
                return r;
        r = learners_enter(learner, tid, now, until);
        if (r < 0)
                return r;
        do
                n = pread(fd, &byte, sizeof(byte), 0);
        while (n < 0 && errno == EINTR);
        read_error = n < 0 ? -errno : 0;
        explicit_bzero(&byte, sizeof(byte));
        r = bpf_map_lookup_elem(learner->learners_fd, &tid, &found) < 0 ? -errno : 0;
        (void)bpf_map_delete_elem(learner->learners_fd, &tid);

        if (read_error < 0)
                return read_error;
        if (r < 0)
                return r;
        if (n == 0)
                return -ENODATA;
        if (!found.seen)
                return -EOPNOTSUPP;
        *ret = found;
        return 0;
}

int learned_parent(const struct learned *learned, unsigned level, struct inode_key *ret) {
        if (level >= learned->n_parents || level >= LEARN_PARENTS_MAX)
                return -ENODATA;
        *ret = learned->parents[level];
        return 0;
}
