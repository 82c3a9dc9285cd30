#include "host/handover.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/paths.h"

#define ARGUMENTS "1 P=%P I=%I F=%F d=%d s=%s u=%u g=%g t=%t c=%c h=%h"
#define SYSCTL_MAX 4096U
#define BEFORE_MAX 4096U

/* --- the pattern ------------------------------------------------------------------------------ */

static bool pattern_word(const char *text) {
        return strcspn(text, " \t\n%") == strlen(text);
}

int pattern_make(const char *helper, const char *root, char ret[CORE_PATTERN_MAX + 1]) {
        char pattern[CORE_PATTERN_MAX + 1];
        int n;

        if (*helper != '/' || !pattern_word(helper) || !pattern_word(root))
                return -EINVAL;
        n = snprintf(pattern, sizeof(pattern), "|%s %s%s%s -- %%e", helper, ARGUMENTS,
                     *root ? " R=" : "", root);
        if (n < 0 || (size_t)n >= sizeof(pattern))
                return -E2BIG;
        memcpy(ret, pattern, (size_t)n + 1);
        return 0;
}

enum pattern_kind pattern_kind(const char *pattern, const char *ours) {
        const char *end = pattern + strcspn(pattern, " ");
        size_t n = strlen("/" PROGRAM_HELPER);

        if (*ours && strcmp(pattern, ours) == 0)
                return PATTERN_OURS;
        if (*pattern == '@')
                return PATTERN_SOCKET;
        if (*pattern != '|')
                return PATTERN_FILE;
        if ((size_t)(end - pattern) > n && memcmp(end - n, "/" PROGRAM_HELPER, n) == 0)
                return PATTERN_OURS_OTHER;
        return PATTERN_PIPE;
}

static int sysctl_read(const char *path, char **ret) {
        _cleanup_free_ char *text = NULL;
        size_t size;
        int r;

        r = io_read_path(AT_FDCWD, path, SYSCTL_MAX, &text, &size);
        if (r < 0)
                return r;
        text[strcspn(text, "\n")] = '\0';
        *ret = TAKE_PTR(text);
        return 0;
}

static int sysctl_write(const char *path, const char *text) {
        _cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);

        if (fd < 0)
                return -errno;
        return io_write(fd, text, strlen(text));
}

int pattern_read(char ret[CORE_PATTERN_MAX + 1]) {
        _cleanup_free_ char *text = NULL;
        int r = sysctl_read(PATH_CORE_PATTERN, &text);

        if (r < 0)
                return r;
        if (strlen(text) > CORE_PATTERN_MAX)
                return -E2BIG;
        memcpy(ret, text, strlen(text) + 1);
        return 0;
}

static int number_parse(const char *text, unsigned *ret) {
        char *end;
        unsigned long n;

        if (*text < '0' || *text > '9')
                return -EBADMSG;
        errno = 0;
        n = strtoul(text, &end, 10);
        if (errno || *end != '\0' || n > UINT_MAX)
                return -EBADMSG;
        *ret = (unsigned)n;
        return 0;
}

int pipe_limit_read(unsigned *ret) {
        _cleanup_free_ char *text = NULL;
        int r = sysctl_read(PATH_CORE_PIPE_LIMIT, &text);

        return r < 0 ? r : number_parse(text, ret);
}

int handover_set(const char *pattern, unsigned limit) {
        char now[CORE_PATTERN_MAX + 1], number[16];
        unsigned limit_now;
        int r;

        (void)snprintf(number, sizeof(number), "%u", limit);
        r = sysctl_write(PATH_CORE_PIPE_LIMIT, number);
        if (r < 0)
                return r;
        /* An empty pattern is a newline: a write of no bytes changes nothing. */
        r = sysctl_write(PATH_CORE_PATTERN, *pattern ? pattern : "\n");
        if (r < 0)
                return r;
        r = pattern_read(now);
        if (r < 0)
                return r;
        r = pipe_limit_read(&limit_now);
        if (r < 0)
                return r;
        return strcmp(now, pattern) == 0 && limit_now == limit ? 0 : -EIO;
}

/* --- what was there before -------------------------------------------------------------------- */

static int line_take(const char *key, const char *value, struct before *ret) {
        unsigned n;
        int r;

        if (strcmp(key, "core_pattern") == 0 || strcmp(key, "ours") == 0) {
                if (strlen(value) > CORE_PATTERN_MAX)
                        return -EBADMSG;
                memcpy(*key == 'o' ? ret->ours : ret->core_pattern, value, strlen(value) + 1);
                return 0;
        }
        r = number_parse(value, &n);
        if (r < 0)
                return r;
        if (strcmp(key, "core_pipe_limit") == 0)
                ret->core_pipe_limit = n;
        else if (strcmp(key, "our_limit") == 0)
                ret->our_limit = n;
        else if (strcmp(key, "bpffs_mounted") == 0)
                ret->bpffs_mounted = n != 0;
        else
                return -EBADMSG;
        return 0;
}

int before_parse(const char *text, struct before *ret) {
        _cleanup_free_ char *copy = strdup(text);
        struct before before = { 0 };
        unsigned lines = 0;

        if (!copy)
                return -ENOMEM;
        for (char *at = copy, *line; (line = strsep(&at, "\n")) && *line; lines++) {
                char *equals = strchr(line, '=');
                int r;

                if (!equals)
                        return -EBADMSG;
                *equals = '\0';
                r = line_take(line, equals + 1, &before);
                if (r < 0)
                        return r;
        }
        if (lines == 0)
                return -EBADMSG;
        *ret = before;
        return 0;
}

static int before_path(const char *root, const char *suffix, char ret[PATH_MAX]) {
        int n = snprintf(ret, PATH_MAX, "%s%s%s", root, PATH_BEFORE, suffix);

        return n < 0 || n >= PATH_MAX ? -ENAMETOOLONG : 0;
}

int before_load(const char *root, struct before *ret) {
        _cleanup_free_ char *text = NULL;
        _cleanup_close_ int fd = -1;
        char path[PATH_MAX];
        struct stat st;
        size_t size;
        int r;

        r = before_path(root, "", path);
        if (r < 0)
                return r;
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        if (fd < 0)
                return -errno;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode) || st.st_uid != 0 || (st.st_mode & (S_IWGRP | S_IWOTH)))
                return -EPERM;
        r = io_read_fd(fd, BEFORE_MAX, &text, &size);
        if (r < 0)
                return r;
        return before_parse(text, ret);
}

int before_save(const char *root, const struct before *before) {
        _cleanup_close_ int fd = -1;
        char path[PATH_MAX], fresh[PATH_MAX], text[BEFORE_MAX];
        int r, n;

        r = before_path(root, "", path);
        if (r == 0)
                r = before_path(root, ".new", fresh);
        if (r < 0)
                return r;
        n = snprintf(
                text, sizeof(text),
                "core_pattern=%s\ncore_pipe_limit=%u\nbpffs_mounted=%d\nours=%s\nour_limit=%u\n",
                before->core_pattern, before->core_pipe_limit, before->bpffs_mounted, before->ours,
                before->our_limit);
        if (n < 0 || (size_t)n >= sizeof(text))
                return -E2BIG;
        if (unlink(fresh) < 0 && errno != ENOENT)
                return -errno;
        fd = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
                return -errno;
        r = io_write(fd, text, (size_t)n);
        if (r < 0)
                return r;
        if (fsync(fd) < 0 || rename(fresh, path) < 0)
                return -errno;
        return 0;
}

int before_remove(const char *root) {
        char path[PATH_MAX];
        int r = before_path(root, "", path);

        if (r < 0)
                return r;
        return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}
