#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/paths.h"
#include "host/learner.h"
#include "host/sensor_session.h"
#include "host/tagmap.h"

/* What the canary holds: more than nothing, less than the 1 KiB that a kernel may come to answer
 * without the tracepoint. */
#define CANARY_TEXT "coresieve reads this file to prove that its sensor sees reads.\n"

DEFINE_CLEANUP(tagmap, struct tagmap, tagmap_close)

/* --- the canary ------------------------------------------------------------------------------- */

int canary_make(struct session *s) {
        char path[PATH_MAX];
        struct stat st;
        int r;

        (void)snprintf(path, sizeof(path), "%s%s", s->root, PATH_CANARY);
        s->canary_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
        if (s->canary_fd < 0)
                return session_say(s, path, -errno, "make its directory, owned by root");
        if (fstat(s->canary_fd, &st) < 0)
                return session_say(s, path, -errno, "see dmesg");
        if (!S_ISREG(st.st_mode) || st.st_uid != 0 || st.st_nlink != 1)
                return session_say(s, path, -EPERM, "remove it: it is no file of ours");
        /* Its change time is part of its key: written once. */
        if (st.st_size == (off_t)strlen(CANARY_TEXT))
                return 0;
        if (ftruncate(s->canary_fd, 0) < 0)
                return session_say(s, path, -errno, "see dmesg");
        r = io_write(s->canary_fd, CANARY_TEXT, strlen(CANARY_TEXT));
        if (r < 0 || fsync(s->canary_fd) < 0)
                return session_say(s, path, r < 0 ? r : -errno, "see dmesg");
        return 0;
}

int canary_learn(struct session *s) {
        const struct learner learner = { map_fd(s->skel->maps.learners),
                                         map_fd(s->skel->maps.learn_until) };
        struct learned learned;
        int r;

        r = learner_read(&learner, s->canary_fd, &learned);
        if (r == -EOPNOTSUPP)
                return session_say(s, PATH_CANARY, r,
                                   "the sensor does not see reads there: put " PATH_STATE
                                   " on a disk file system (not tmpfs)");
        if (r < 0)
                return session_say(s, PATH_CANARY, r, "see dmesg");
        s->meta.canary = learned.key;
        return 0;
}

int counters_get(const struct session *s, struct tags_counters *ret) {
        uint32_t zero = 0;

        if (bpf_map_lookup_elem(map_fd(s->skel->maps.counters), &zero, ret) < 0)
                return -errno;
        return 0;
}

/* A first touch of a page that is cached, then a write that copies it: the two other ways in. */
static int canary_touch(const struct session *s) {
        size_t size = strlen(CANARY_TEXT);
        volatile char *page;
        char byte;

        page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, s->canary_fd, 0);
        if (page == MAP_FAILED)
                return -errno;
        byte = page[0];
        (void)munmap((void *)page, size);

        page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, s->canary_fd, 0);
        if (page == MAP_FAILED)
                return -errno;
        page[0] = byte;
        (void)munmap((void *)page, size);
        return 0;
}

/* Every way to a file's bytes is walked once, and must have been seen. */
static int canary_prove_maps(struct session *s) {
        struct tags_counters before = { 0 }, after = { 0 };
        int r;

        r = counters_get(s, &before);
        if (r == 0)
                r = canary_touch(s);
        if (r == 0)
                r = counters_get(s, &after);
        if (r < 0)
                return session_say(s, PATH_CANARY, r, "see dmesg");
        if (after.canary_maps == before.canary_maps)
                return session_say(s, "sensor pages_mapped did not fire", -ENOLINK,
                                   "this kernel maps files unseen; report it");
        if (after.canary_faults == before.canary_faults)
                return session_say(s, "sensor page_faulted did not fire", -ENOLINK,
                                   "this kernel maps files unseen; report it");
        return 0;
}

/* Our own lineage is tagged by now (we read key files, or we are older than the sensors): a
 * child must have that tag, and a child that was never forked from us could not. */
static int fork_prove(const struct session *s, struct tagmap *map) {
        struct task_answer self = { 0 }, child = { 0 };
        int pipe_fds[2], status, r;
        pid_t pid;

        r = tagmap_of_task(map, getpid(), &self);
        if (r < 0)
                return session_say(s, "lineage of this process", r, "report it");
        if (!self.found)
                return 0; /* nothing was read and nobody was marked: nothing to inherit */
        if (pipe2(pipe_fds, O_CLOEXEC) < 0)
                return session_say(s, "pipe", -errno, "try again");
        pid = fork();
        if (pid == 0) {
                char byte;

                (void)close(pipe_fds[1]);
                _exit(read(pipe_fds[0], &byte, 1) < 0);
        }
        (void)close(pipe_fds[0]);
        r = pid < 0 ? -errno : tagmap_of_task(map, pid, &child);
        (void)close(pipe_fds[1]);
        if (pid > 0)
                (void)waitpid(pid, &status, 0);
        if (r < 0)
                return session_say(s, "fork", r, "try again");
        if (!child.found || child.tag.reasons != self.tag.reasons)
                return session_say(s, "sensor lineage_forked did not fire", -ENOLINK, "report it");
        return 0;
}

int session_prove(struct session *s) {
        _cleanup_(cleanup_tagmap) struct tagmap *map = NULL;
        const char *why;
        int r;

        r = canary_prove_maps(s);
        if (r < 0)
                return r;
        r = tagmap_open(s->root, &map, &why);
        if (r < 0)
                return session_say(s, "sensors do not prove themselves", r, why);
        return fork_prove(s, map);
}
