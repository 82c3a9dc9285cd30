#include "core_pattern/needle_files.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "core_pattern/needle_walk.h"
#include "core_pattern/spawn.h"

#define NS_PER_MS 1000000ULL

/* What the child says: one message for each file it found, with its descriptor, then one with
 * `done` set. Its memory is a copy of ours, so the struct is a plain one. */
struct found {
        struct file_key key;
        uint32_t rule;
        uint32_t mapping; /* 1 + index of the mapped file; 0: a file of the tag */
        uint32_t done;
        uint32_t pad;
        char path[PATH_MAX];
};

/* --- in the child: the search ------------------------------------------------------------------
 */

struct search {
        struct tagmap *map;
        const struct tag *tag; /* a private copy: ready slots that are still looked for */
        bool sought[TAG_FILES_MAX];
        uint32_t rule; /* whose pattern is walked */
        int socket;
};

static int found_send(int socket, const struct found *found, int fd) {
        char control[CMSG_SPACE(sizeof(int))] = { 0 };
        /* sendmsg() takes it non-const and leaves it alone. */
        struct iovec part = { .iov_base = (void *)(uintptr_t)found, .iov_len = sizeof(*found) };
        struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };

        if (fd >= 0) {
                struct cmsghdr *header;

                message.msg_control = control;
                message.msg_controllen = sizeof(control);
                header = CMSG_FIRSTHDR(&message);
                header->cmsg_level = SOL_SOCKET;
                header->cmsg_type = SCM_RIGHTS;
                header->cmsg_len = CMSG_LEN(sizeof(int));
                memcpy(CMSG_DATA(header), &fd, sizeof(int));
        }
        if (sendmsg(socket, &message, MSG_NOSIGNAL) < 0)
                return -errno;
        return 0;
}

static int file_send(int socket, const struct file_key *key, uint32_t rule, uint32_t mapping,
                     const char *path, int fd) {
        struct found found = { .key = *key, .rule = rule, .mapping = mapping };

        (void)snprintf(found.path, sizeof(found.path), "%s", path);
        return found_send(socket, &found, fd);
}

/* Any slot of the walked rule still open? */
static bool search_is_over(const struct search *search) {
        for (size_t i = 0; i < TAG_FILES_MAX; i++)
                if (search->sought[i] && search->tag->files[i].rule == search->rule)
                        return false;
        return true;
}

#define WALK_DONE 1 /* stops a walk that has found all it was for */

static int candidate_try(void *userdata, const char *path, int path_fd) {
        struct search *search = userdata;
        _cleanup_close_ int fd = -1;
        struct file_key key;

        if (needle_reopen(path_fd, &fd) < 0)
                return 0;
        if (tagmap_identify(search->map, fd, &key) < 0)
                return 0; /* empty, or unseen by the sensor: it cannot have set the tag */

        for (size_t i = 0; i < TAG_FILES_MAX; i++) {
                int r;

                if (!search->sought[i] || search->tag->files[i].rule != search->rule ||
                    memcmp(&search->tag->files[i].key, &key, sizeof(key)) != 0)
                        continue;
                search->sought[i] = false;
                r = file_send(search->socket, &key, search->rule, 0, path, fd);
                if (r < 0)
                        return r;
        }
        return search_is_over(search) ? WALK_DONE : 0;
}

static bool same_directory(int a, int b) {
        struct stat sa, sb;

        return fstat(a, &sa) == 0 && fstat(b, &sb) == 0 && sa.st_dev == sb.st_dev &&
               sa.st_ino == sb.st_ino;
}

/* The files of the tag. One that is not found is simply not sent. */
static int search_tag(struct search *search, const struct policy *policy, int host_root,
                      int process_root) {
        const int roots[] = { host_root, process_root };

        for (size_t i = 0; i < TAG_FILES_MAX; i++) {
                const struct policy_rule *rule;

                if (!search->sought[i])
                        continue;
                search->rule = search->tag->files[i].rule;
                rule = policy_rule_by_id(policy, search->rule);
                if (!rule)
                        continue; /* removed from the policy since: the key cannot be found */
                for (size_t k = 0; k < ARRAY_SIZE(roots); k++) {
                        int r;

                        if (roots[k] < 0 || search_is_over(search))
                                continue;
                        r = needle_walk(roots[k], rule->pattern, candidate_try, search);
                        if (r < 0 && r != -E2BIG && r != -ENOTSUP)
                                return r;
                }
        }
        return 0;
}

/* The mapped ones, each through its own link in map_files: the very file, even if deleted. */
static int search_mapped(struct search *search, const struct mapped_files *mapped, int memory_fd) {
        for (size_t i = 0; i < mapped->n; i++) {
                const struct mapped_file *file = &mapped->files[i];
                _cleanup_close_ int path_fd = -1, fd = -1;
                struct file_key key = { 0 };
                char link[64];
                int r;

                (void)snprintf(link, sizeof(link), "map_files/%llx-%llx",
                               (unsigned long long)file->start, (unsigned long long)file->end);
                path_fd = openat(memory_fd, link, O_PATH | O_CLOEXEC);
                if (path_fd < 0 || needle_reopen(path_fd, &fd) < 0)
                        continue;
                /* The descriptor is the mapped file itself: no key has to vouch for it. */
                if (tagmap_identify(search->map, fd, &key) < 0)
                        key = (struct file_key){ 0 };
                r = file_send(search->socket, &key, file->rule, (uint32_t)i + 1, file->path, fd);
                if (r < 0)
                        return r;
        }
        return 0;
}

static _Noreturn void search_main(const struct policy *policy, struct search *search,
                                  const struct mapped_files *mapped, int memory_fd, pid_t parent) {
        _cleanup_close_ int host_root = -1, process_root = -1;
        const struct found done = { .done = 1 };

        /* The kernel's pipe: while any copy of it is open, the process is not let go. */
        (void)close(STDIN_FILENO);
        if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || getppid() != parent)
                _exit(1);

        host_root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
        process_root = openat(memory_fd, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (host_root < 0)
                _exit(1);
        if (process_root >= 0 && same_directory(host_root, process_root)) {
                (void)close(process_root);
                process_root = -1;
        }
        if (search_tag(search, policy, host_root, process_root) < 0 ||
            search_mapped(search, mapped, memory_fd) < 0 ||
            found_send(search->socket, &done, -1) < 0)
                _exit(1);
        _exit(0);
}

/* --- in the parent ---------------------------------------------------------------------------- */

/* 1: a file was taken; 0: the child is done; or a negative errno. */
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
        if (ret->done)
                return 0;
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
                r = files_add(files, &found, fd);
                if (r < 0)
                        return r;
                fd = -1; /* it is the list's */
                if (found.mapping > 0 && found.mapping <= MAPPED_FILES_MAX)
                        mapped_found[found.mapping - 1] = true;
        }
}

/* Runs the search and takes what it finds, until it is done or its time is over. */
static int search_run(const struct policy *policy, struct search *search,
                      const struct mapped_files *mapped, int memory_fd, uint64_t deadline_ns,
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
                search_main(policy, search, mapped, memory_fd, parent);
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

void needle_files_find(const struct policy *policy, struct tagmap *map, const struct tag *tag,
                       const struct mapped_files *mapped, int memory_fd, uint64_t deadline_ns,
                       struct needle_files *ret) {
        static const struct tag none;
        struct search search = { .map = map, .tag = tag ? tag : &none, .socket = -1 };
        bool mapped_found[MAPPED_FILES_MAX] = { false };
        int r;

        memset(ret, 0, sizeof(*ret));
        for (size_t i = 0; i < TAG_FILES_MAX; i++)
                search.sought[i] = search.tag->files[i].ready;

        r = search_run(policy, &search, mapped, memory_fd, deadline_ns, ret, mapped_found);
        if (r == -E2BIG)
                ret->causes |= CAUSE_BIT(CAUSE_NEEDLE_LARGE);
        else if (r == -ETIME)
                ret->causes |= CAUSE_BIT(CAUSE_DEADLINE) | CAUSE_BIT(CAUSE_NEEDLE_MISSING);
        else if (r < 0)
                ret->causes |= CAUSE_BIT(CAUSE_INTERNAL);

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
