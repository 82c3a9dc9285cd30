#include "core_pattern/needle_search.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "core_pattern/needle_walk.h"

struct search {
        const struct needle_search *job;
        bool sought[TAG_FILES_MAX]; /* slots of the tag whose file was not found yet */
        uint32_t rule;              /* whose pattern is walked */
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

/* A message without a file. */
static int word_send(const struct needle_search *job, enum found_kind kind) {
        const struct found found = { .kind = kind };

        return found_send(job->socket, &found, -1);
}

static int file_send(const struct search *search, struct found *found, const char *path, int fd) {
        (void)snprintf(found->path, sizeof(found->path), "%s", path);
        return found_send(search->job->socket, found, fd);
}

/* --- the files of the tag --------------------------------------------------------------------- */

/* Any slot of the walked rule still open? */
static bool search_is_over(const struct search *search) {
        for (size_t i = 0; i < TAG_FILES_MAX; i++)
                if (search->sought[i] && search->job->tag->files[i].rule == search->rule)
                        return false;
        return true;
}

#define WALK_DONE 1 /* stops a walk that has found all it was for */

static int candidate_try(void *userdata, const char *path, int path_fd) {
        struct search *search = userdata;
        const struct tag *tag = search->job->tag;
        _cleanup_close_ int fd = -1;
        struct file_key key;

        if (needle_reopen(path_fd, &fd) < 0)
                return 0;
        if (tagmap_identify(search->job->map, fd, &key, NULL) < 0)
                return 0; /* empty, or unseen by the sensor: it cannot have set the tag */

        for (size_t i = 0; i < TAG_FILES_MAX; i++) {
                struct found found = { .key = key, .rule = search->rule, .kind = FOUND_TAG };
                int r;

                if (!search->sought[i] || tag->files[i].rule != search->rule ||
                    memcmp(&tag->files[i].key, &key, sizeof(key)) != 0)
                        continue;
                search->sought[i] = false;
                r = file_send(search, &found, path, fd);
                if (r < 0)
                        return r;
        }
        return search_is_over(search) ? WALK_DONE : 0;
}

/* One that is not found is simply not sent. */
static int search_tag(struct search *search, int host_root, int process_root) {
        const int roots[] = { host_root, process_root };
        const struct tag *tag = search->job->tag;

        for (size_t i = 0; i < TAG_FILES_MAX; i++)
                search->sought[i] = tag->files[i].ready;
        for (size_t i = 0; i < TAG_FILES_MAX; i++) {
                const struct policy_rule *rule;

                if (!search->sought[i])
                        continue;
                search->rule = tag->files[i].rule;
                rule = policy_rule_by_id(search->job->policy, search->rule);
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

/* --- the mapped ones, each through its own link in map_files: the very file, even if deleted ---
 */

static int search_mapped(const struct search *search) {
        const struct mapped_files *mapped = search->job->mapped;

        for (size_t i = 0; i < mapped->n; i++) {
                const struct mapped_file *file = &mapped->files[i];
                struct found found = { .rule = file->rule,
                                       .kind = FOUND_MAPPED,
                                       .mapping = (uint32_t)i };
                _cleanup_close_ int path_fd = -1, fd = -1;
                char link[64];
                int r;

                (void)snprintf(link, sizeof(link), "map_files/%llx-%llx",
                               (unsigned long long)file->start, (unsigned long long)file->end);
                path_fd = openat(search->job->memory_fd, link, O_PATH | O_CLOEXEC);
                if (path_fd < 0 || needle_reopen(path_fd, &fd) < 0)
                        continue;
                /* The descriptor is the mapped file itself: no key has to vouch for it. */
                if (tagmap_identify(search->job->map, fd, &found.key, NULL) < 0)
                        found.key = (struct file_key){ 0 };
                r = file_send(search, &found, file->path, fd);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* --- what the process alone has at a rule's path -----------------------------------------------
 */

/* Did the policy accept by name that reads of such a file are not seen? */
static bool blindness_accepted(const struct policy *policy, int fd) {
        struct statfs fs;

        return policy->accept_blind_tmpfs && fstatfs(fd, &fs) == 0 && fs.f_type == TMPFS_MAGIC;
}

/* Whatever cannot be told counts as unwatched. */
static int view_try(void *userdata, const char *path, int path_fd) {
        const struct search *search = userdata;
        struct found found = { .rule = search->rule, .kind = FOUND_UNWATCHED };
        _cleanup_close_ int fd = -1;
        bool watched = false;
        int r = needle_reopen(path_fd, &fd);

        if (r == -EINVAL)
                return 0; /* a device, a FIFO, a directory: no file of a rule */
        if (r < 0)
                return word_send(search->job, FOUND_CUT);
        r = tagmap_identify(search->job->map, fd, &found.key, &watched);
        if (r == -ENODATA || (r == 0 && watched))
                return 0;
        if (r == -EOPNOTSUPP && blindness_accepted(search->job->policy, fd))
                return 0;
        if (r < 0)
                found.key = (struct file_key){ 0 };
        return file_send(search, &found, path, fd);
}

static int search_view(struct search *search, int process_root) {
        const struct policy *policy = search->job->policy;

        if (!search->job->own_view)
                return 0;
        if (process_root < 0)
                return word_send(search->job, FOUND_CUT);
        for (size_t i = 0; i < policy->n_rules; i++) {
                int r;

                search->rule = policy->rules[i].id;
                r = needle_walk(process_root, policy->rules[i].pattern, view_try, search);
                if (r == -E2BIG || r == -ENOTSUP)
                        r = word_send(search->job, FOUND_CUT);
                if (r < 0)
                        return r;
        }
        return 0;
}

static bool same_inode(int fd_a, const char *a, int fd_b, const char *b) {
        struct stat sa, sb;

        return fstatat(fd_a, a, &sa, 0) == 0 && fstatat(fd_b, b, &sb, 0) == 0 &&
               sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino;
}

bool needle_search_own_view(int memory_fd) {
        return !same_inode(memory_fd, "ns/mnt", AT_FDCWD, "/proc/self/ns/mnt") ||
               !same_inode(memory_fd, "root", AT_FDCWD, "/");
}

/* ---------------------------------------------------------------------------------------------- */

_Noreturn void needle_search_main(const struct needle_search *job, pid_t parent) {
        _cleanup_close_ int host_root = -1, process_root = -1;
        struct search search = { .job = job };

        /* The kernel's pipe: while any copy of it is open, the process is not let go. */
        (void)close(STDIN_FILENO);
        if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || getppid() != parent)
                _exit(1);

        host_root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (host_root < 0)
                _exit(1);
        if (job->own_view)
                process_root = openat(job->memory_fd, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (search_tag(&search, host_root, process_root) < 0 || search_mapped(&search) < 0 ||
            search_view(&search, process_root) < 0 || word_send(job, FOUND_DONE) < 0)
                _exit(1);
        _exit(0);
}
