#include "host/learner.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* How long the sensor looks for learners after the last one: long enough for any read, short
 * enough that a learner that was killed costs nothing. */
#define LEARN_SECONDS 10ULL

#define NSEC_PER_SEC 1000000000ULL

static int learn_announce(const struct learner *learner) {
        struct timespec now;
        uint32_t zero = 0;
        uint64_t until;

        if (clock_gettime(CLOCK_BOOTTIME, &now) < 0)
                return -errno;
        until = ((uint64_t)now.tv_sec + LEARN_SECONDS) * NSEC_PER_SEC;
        if (bpf_map_update_elem(learner->until_fd, &zero, &until, BPF_ANY) < 0)
                return -errno;
        return 0;
}

/* Threads that were killed while learning leave their entry behind. At most LEARNERS_MAX steps
 * forward; a step back to the beginning (the key was deleted by another) ends it as well. */
static void learners_sweep(const struct learner *learner) {
        uint32_t tid, next;
        bool first = true;

        for (unsigned i = 0; i < LEARNERS_MAX; i++) {
                if (bpf_map_get_next_key(learner->learners_fd, first ? NULL : &tid, &next) < 0)
                        return;
                if (!first && kill((pid_t)tid, 0) < 0 && errno == ESRCH)
                        (void)bpf_map_delete_elem(learner->learners_fd, &tid);
                tid = next;
                first = false;
        }
        if (!first && kill((pid_t)tid, 0) < 0 && errno == ESRCH)
                (void)bpf_map_delete_elem(learner->learners_fd, &tid);
}

static int learners_enter(const struct learner *learner, uint32_t tid) {
        static const struct learned nothing;

        if (bpf_map_update_elem(learner->learners_fd, &tid, &nothing, BPF_ANY) == 0)
                return 0;
        if (errno != E2BIG)
                return -errno;
        learners_sweep(learner);
        if (bpf_map_update_elem(learner->learners_fd, &tid, &nothing, BPF_ANY) == 0)
                return 0;
        return errno == E2BIG ? -EUSERS : -errno;
}

int learner_read(const struct learner *learner, int fd, struct learned *ret) {
        uint32_t tid = (uint32_t)gettid();
        struct learned found;
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

        r = learn_announce(learner);
        if (r < 0)
                return r;
        r = learners_enter(learner, tid);
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
