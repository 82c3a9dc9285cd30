#include "core_pattern/needle_files.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "core_pattern/needle_search.h"

/* 1: a message was taken, with a descriptor if it is of a file; 0: the child is done; or a
 * negative errno. */
static int found_receive(int socket, struct found *ret, int *ret_fd) {
        char control[CMSG_SPACE(sizeof(int))];
        struct iovec part = { .iov_base = ret, .iov_len = sizeof(*ret) };
        struct msghdr message = {
                .msg_iov = &part,
                .msg_iovlen = 1,
                .msg_control = control,
                .msg_controllen = sizeof(control),
        };
        const struct cmsghdr *header;
        ssize_t n = recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);

        if (n < 0)
                return -errno;
        if ((size_t)n != sizeof(*ret))
                return -EPIPE; /* it died */
        if (ret->kind == FOUND_DONE)
                return 0;
        if (ret->kind == FOUND_CUT)
                return 1;
        header = CMSG_FIRSTHDR(&message);
        if (!header || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
                return -EBADMSG;
        memcpy(ret_fd, CMSG_DATA(header), sizeof(int));
        return 1;
}

/* Takes the descriptor. A file that tag and mapping name is hunted once. */
static int files_add(struct needle_files *files, const struct found *found, int fd) {
        struct needle_file *file = &files->files[files->n];
        struct stat st;

        if (fstat(fd, &st) < 0)
                return -errno;
        for (size_t i = 0; i < files->n; i++)
                if (files->files[i].rule == found->rule &&
                    files->files[i].was.st_dev == st.st_dev &&
                    files->files[i].was.st_ino == st.st_ino) {
                        (void)close(fd);
                        return 0;
                }
        if (files->n == BRIEF_FILES_MAX)
                return -E2BIG;
        file->path = strndup(found->path, sizeof(found->path) - 1);
        if (!file->path)
                return -ENOMEM;
        file->key = found->key;
        file->rule = found->rule;
        file->unwatched = found->kind == FOUND_UNWATCHED;
        file->was = st;
        file->fd = fd;
        files->n = files->n_open = files->n + 1;
        return 0;
}

/* `mapped_found` has MAPPED_FILES_MAX places. */
static int files_receive(struct needle_files *files, bool *mapped_found, int socket,
                         uint64_t deadline_ns) {
        struct pollfd poll_fd = { .fd = socket, .events = POLLIN };

        for (;;) {
                _cleanup_close_ int fd = -1;
                struct found found;
                uint64_t now = clock_now_ns();
                int r;

                if (now >= deadline_ns)
                        return -ETIME;
                r = poll(&poll_fd, 1, (int)((deadline_ns - now) / NS_PER_MS) + 1);
                if (r < 0 && errno != EINTR)
                        return -errno;
                if (r <= 0)
                        continue;
                r = found_receive(socket, &found, &fd);
                if (r <= 0)
                        return r;
                if (found.kind == FOUND_UNWATCHED || found.kind == FOUND_CUT)
                        files->causes |= CAUSE_BIT(CAUSE_UNWATCHED_FILE);
                if (found.kind == FOUND_CUT)
                        continue;
                r = files_add(files, &found, fd);
                if (r < 0)
                        return r;
                fd = -1; /* it is the list's */
                if (found.kind == FOUND_MAPPED && found.mapping < MAPPED_FILES_MAX)
                        mapped_found[found.mapping] = true;
        }
}

/* Runs the search and takes what it finds, until it is done or its time is over. */
static int search_run(struct needle_search *search, uint64_t deadline_ns,
                      struct needle_files *files, bool *mapped_found) {
        _cleanup_close_ int ours = -1, theirs = -1;
        pid_t parent = getpid(), pid;
        int sockets[2];
        int r;

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0)
                return -errno;
        ours = sockets[0];
        theirs = sockets[1];

        pid = fork();
        if (pid < 0)
                return -errno;
        if (pid == 0) {
                search->socket = theirs;
                needle_search_main(search, parent);
        }
        (void)close(TAKE_FD(theirs)); /* so that its death is the end of ours */

        r = files_receive(files, mapped_found, ours, deadline_ns);
        /* One that hangs in a file system cannot be waited for; it holds nothing of ours that
         * anybody waits for, and ends when it can. */
        if (r < 0 && kill(pid, SIGKILL) < 0)
                return -errno;
        if (waitpid(pid, NULL, r < 0 ? WNOHANG : 0) < 0)
                return -errno;
        return r;
}

/* Whatever of the tag was not found stands in the list too, for the record. */
static void files_add_missing(struct needle_files *files, const struct tag *tag) {
        for (size_t i = 0; i < TAG_FILES_MAX; i++) {
                struct needle_file *file = &files->files[files->n];
                bool found = false;

                if (!tag->files[i].ready)
                        continue;
                for (size_t k = 0; k < files->n_open; k++)
                        if (memcmp(&files->files[k].key, &tag->files[i].key,
                                   sizeof(struct file_key)) == 0)
                                found = true;
                if (found)
                        continue;
                *file = (struct needle_file){ .key = tag->files[i].key,
                                              .rule = tag->files[i].rule,
                                              .fd = -1 };
                files->n++;
                files->causes |= CAUSE_BIT(CAUSE_NEEDLE_MISSING);
        }
        /* A slot handed out and not yet filled is a file as well, and nobody knows which. */
        for (size_t i = 0; i < TAG_FILES_MAX && i < tag->n_files; i++)
                if (!tag->files[i].ready)
                        files->causes |= CAUSE_BIT(CAUSE_NEEDLE_MISSING);
        if (tag->flags & TAG_FILES_LOST || tag->n_files > TAG_FILES_MAX)
                files->causes |= CAUSE_BIT(CAUSE_NEEDLE_MISSING);
}

bool needle_files_wanted(const struct tag *tag, const struct mapped_files *mapped, int memory_fd) {
        return tag || mapped->n > 0 || mapped->cut || needle_search_own_view(memory_fd);
}

void needle_files_find(const struct policy *policy, struct tagmap *map, const struct tag *tag,
                       const struct mapped_files *mapped, int memory_fd, uint64_t deadline_ns,
                       struct needle_files *ret) {
        static const struct tag none;
        struct needle_search search = {
                .policy = policy,
                .map = map,
                .tag = tag ? tag : &none,
                .mapped = mapped,
                .memory_fd = memory_fd,
                .own_view = needle_search_own_view(memory_fd),
                .socket = -1,
        };
        bool mapped_found[MAPPED_FILES_MAX] = { false };
        int r;

        memset(ret, 0, sizeof(*ret));
        r = search_run(&search, deadline_ns, ret, mapped_found);
        if (r == -E2BIG)
                ret->causes |= CAUSE_BIT(CAUSE_NEEDLE_LARGE);
        else if (r == -ETIME)
                ret->causes |= CAUSE_BIT(CAUSE_DEADLINE) | CAUSE_BIT(CAUSE_NEEDLE_MISSING);
        else if (r < 0)
                ret->causes |= CAUSE_BIT(CAUSE_INTERNAL);
        /* The unwatched ones come last: whatever ended the search, not all of them were seen. */
        if (r < 0 && search.own_view)
                ret->causes |= CAUSE_BIT(CAUSE_UNWATCHED_FILE);

        files_add_missing(ret, search.tag);
        for (size_t i = 0; i < mapped->n; i++)
                if (!mapped_found[i])
                        ret->causes |= CAUSE_BIT(CAUSE_NEEDLE_MISSING);
        if (mapped->cut)
                ret->causes |= CAUSE_BIT(CAUSE_NEEDLE_MISSING);
}

void needle_files_done(struct needle_files *files) {
        for (size_t i = 0; i < files->n; i++) {
                cleanup_close(&files->files[i].fd);
                free(files->files[i].path);
        }
        files->n = files->n_open = 0;
}

int needle_files_check(const struct needle_files *files) {
        for (size_t i = 0; i < files->n_open; i++) {
                const struct stat *was = &files->files[i].was;
                struct stat is;

                if (fstat(files->files[i].fd, &is) < 0)
                        return -errno;
                if (is.st_size != was->st_size || is.st_ctim.tv_sec != was->st_ctim.tv_sec ||
                    is.st_ctim.tv_nsec != was->st_ctim.tv_nsec)
                        return -ESTALE;
        }
        return 0;
}
