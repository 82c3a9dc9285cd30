#include "host/procinfo.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/io.h"

#define STAT_MAX 4096U          /* bytes: 52 numbers and a comm */
#define STATUS_MAX (1U << 20)   /* bytes: mostly the Groups: line, of up to 65536 groups */
#define CGROUP_MAX (256U << 10) /* bytes: a line of up to 4 KiB for each hierarchy */

#define STAT_PPID 4
#define STAT_START 22

/* --- stat: "pid (comm) state ppid …" (proc(5)) ------------------------------------------------ */

/* The text behind comm's ')': the last one, for comm itself may hold any byte and the numbers
 * behind it hold none. NULL if there is none. */
static const char *stat_tail(const char *stat, size_t size) {
        const char *paren = memrchr(stat, ')', size);

        return paren ? paren + 1 : NULL;
}

/* Decimal digits that end where `end` or a separator is; false for anything else. */
static bool number_at(const char *at, const char *end, uint64_t *ret) {
        const char *start = at;
        uint64_t n = 0;

        for (; at < end && *at >= '0' && *at <= '9'; at++)
                if (__builtin_mul_overflow(n, 10U, &n) ||
                    __builtin_add_overflow(n, (uint64_t)(*at - '0'), &n))
                        return false;
        if (at == start || (at < end && *at != ' ' && *at != '\t' && *at != '\n'))
                return false;
        *ret = n;
        return true;
}

/* Field `field` (3 is the state), counted from the last ')'. */
static int stat_number(const char *stat, size_t size, unsigned field, uint64_t *ret) {
        const char *at = stat_tail(stat, size), *end = stat + size;

        if (!at)
                return -EBADMSG;
        for (unsigned n = 2;; n++) {
                if (at >= end || *at != ' ')
                        return -EBADMSG;
                at++;
                if (n + 1 == field)
                        return number_at(at, end, ret) ? 0 : -EBADMSG;
                while (at < end && *at != ' ')
                        at++;
        }
}

int procinfo_start_ticks(const char *stat, size_t size, uint64_t *ret) {
        return stat_number(stat, size, STAT_START, ret);
}

static int take_stat(const char *stat, size_t size, struct procinfo *info) {
        const char *open = memchr(stat, '(', size), *tail = stat_tail(stat, size);
        uint64_t ppid, start;
        size_t n;
        int r;

        if (!open || !tail || tail - 1 <= open)
                return -EBADMSG;
        r = stat_number(stat, size, STAT_PPID, &ppid);
        if (r < 0)
                return r;
        r = stat_number(stat, size, STAT_START, &start);
        if (r < 0)
                return r;

        n = (size_t)(tail - 1 - (open + 1));
        if (n >= sizeof(info->comm))
                n = sizeof(info->comm) - 1;
        memcpy(info->comm, open + 1, n);
        info->comm[n] = '\0';
        info->comm_size = n;
        info->ppid = (pid_t)ppid;
        info->start_ticks = start;
        return 0;
}

/* --- status ----------------------------------------------------------------------------------- */

/* The values of line `name` ("Uid:"), up to its newline. Name: is the first line and may hold
 * anything, so the last line of a name is the kernel's. */
static const char *status_line(const char *status, const char *name, const char **ret_end) {
        size_t n = strlen(name);
        const char *found = NULL;

        for (const char *line = status; line;) {
                const char *newline = strchr(line, '\n');

                if (strncmp(line, name, n) == 0) {
                        found = line + n;
                        *ret_end = newline ? newline : line + strlen(line);
                }
                line = newline ? newline + 1 : NULL;
        }
        return found;
}

/* Value number `i` of the line, from 0; or the last with i == LAST. */
#define LAST (-1)
static int status_number(const char *status, const char *name, int i, uint64_t *ret) {
        const char *end = NULL, *at = status_line(status, name, &end);
        int n = 0;

        if (!at)
                return -EBADMSG;
        for (;; n++) {
                const char *value = at + strspn(at, "\t "), *next;

                if (value >= end)
                        return -EBADMSG;
                next = value + strcspn(value, "\t \n");
                if (i == n || (i == LAST && next + strspn(next, "\t ") >= end))
                        return number_at(value, end, ret) ? 0 : -EBADMSG;
                at = next;
        }
}

static int take_status(const char *status, struct procinfo *info) {
        const struct {
                const char *name;
                int i;
        } wanted[] = {
                { "Tgid:", 0 }, { "NStgid:", LAST }, { "Uid:", 0 }, { "Uid:", 1 }, { "Gid:", 0 },
        };
        uint64_t values[ARRAY_SIZE(wanted)];

        for (size_t k = 0; k < ARRAY_SIZE(wanted); k++) {
                int r = status_number(status, wanted[k].name, wanted[k].i, &values[k]);

                if (r < 0)
                        return r;
                if (values[k] > UINT32_MAX)
                        return -EBADMSG;
        }
        info->pid = (pid_t)values[0];
        info->inner_pid = (pid_t)values[1];
        info->uid = (uid_t)values[2];
        info->euid = (uid_t)values[3];
        info->gid = (gid_t)values[4];
        return 0;
}

/* --- cgroup: "id:controllers:path" (cgroups(7)) ----------------------------------------------- */

/* The path of the first hierarchy whose "id:controllers" is what `is_it` looks for. */
static const char *cgroup_path(const char *text, bool (*is_it)(const char *line, size_t size),
                               const char **ret_end) {
        for (const char *line = text; line && *line;) {
                const char *newline = strchr(line, '\n');
                const char *end = newline ? newline : line + strlen(line);
                const char *first = memchr(line, ':', (size_t)(end - line));
                const char *second =
                        first ? memchr(first + 1, ':', (size_t)(end - first - 1)) : NULL;

                if (second && is_it(line, (size_t)(second - line))) {
                        *ret_end = end;
                        return second + 1;
                }
                line = newline ? newline + 1 : NULL;
        }
        return NULL;
}

static bool is_unified(const char *line, size_t size) {
        return size == strlen("0:") && memcmp(line, "0:", size) == 0;
}

static bool is_systemd(const char *line, size_t size) {
        static const char name[] = ":name=systemd";
        size_t n = strlen(name);

        return size >= n && memcmp(line + size - n, name, n) == 0;
}

/* The last component that is a unit; NULL with none. A removed cgroup has " (deleted)" behind. */
static const char *unit_in(const char *path, const char *end, size_t *ret_size) {
        static const char *const suffixes[] = { ".service", ".scope", ".socket", ".mount",
                                                ".swap" };
        static const char deleted[] = " (deleted)";
        size_t mark = strlen(deleted);
        const char *unit = NULL;

        if ((size_t)(end - path) >= mark && memcmp(end - mark, deleted, mark) == 0)
                end -= mark;
        for (const char *at = path; at < end;) {
                const char *slash = memchr(at, '/', (size_t)(end - at));
                size_t size = (size_t)((slash ? slash : end) - at);

                for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++) {
                        size_t n = strlen(suffixes[i]);

                        if (size > n && memcmp(at + size - n, suffixes[i], n) == 0) {
                                unit = at;
                                *ret_size = size;
                        }
                }
                at += size + 1;
        }
        return unit;
}

/* On a hybrid host either hierarchy may be the one that systemd keeps: the one that names a
 * unit is preferred, then the unified. */
static int take_cgroup(const char *text, struct procinfo *info) {
        const char *unified_end = NULL, *systemd_end = NULL, *unit, *path, *end;
        const char *unified = cgroup_path(text, is_unified, &unified_end);
        const char *systemd = cgroup_path(text, is_systemd, &systemd_end);
        size_t n = 0;

        unit = unified ? unit_in(unified, unified_end, &n) : NULL;
        path = unified;
        end = unified_end;
        if (!unit && systemd) {
                unit = unit_in(systemd, systemd_end, &n);
                if (unit || !unified) {
                        path = systemd;
                        end = systemd_end;
                }
        }
        if (!path)
                return 0;
        if ((size_t)(end - path) > PROC_TEXT_MAX)
                return -ENAMETOOLONG;
        info->cgroup = strndup(path, (size_t)(end - path));
        if (!info->cgroup)
                return -ENOMEM;
        if (!unit)
                return 0;
        info->unit = strndup(unit, n);
        return info->unit ? 0 : -ENOMEM;
}

/* --- the process ------------------------------------------------------------------------------ */

static int read_stat(int fd, struct procinfo *info) {
        _cleanup_free_ char *text = NULL;
        size_t size;
        int r = io_read_path(fd, "stat", STAT_MAX, &text, &size);

        return r < 0 ? r : take_stat(text, size, info);
}

/* A NUL would hide what stands behind it from string functions. */
static int read_text(int fd, const char *name, size_t max, char **ret) {
        _cleanup_free_ char *text = NULL;
        size_t size;
        int r = io_read_path(fd, name, max, &text, &size);

        if (r < 0)
                return r;
        if (memchr(text, '\0', size))
                return -EBADMSG;
        *ret = TAKE_PTR(text);
        return 0;
}

static int read_status(int fd, struct procinfo *info) {
        _cleanup_free_ char *text = NULL;
        int r = read_text(fd, "status", STATUS_MAX, &text);

        return r < 0 ? r : take_status(text, info);
}

static int read_cgroup(int fd, struct procinfo *info) {
        _cleanup_free_ char *text = NULL;
        int r = read_text(fd, "cgroup", CGROUP_MAX, &text);

        return r < 0 ? r : take_cgroup(text, info);
}

static int read_exe(int fd, struct procinfo *info) {
        char path[PROC_TEXT_MAX + 1];
        ssize_t n = readlinkat(fd, "exe", path, sizeof(path));

        if (n < 0)
                return -errno;
        /* A cut path is another path. */
        if ((size_t)n > PROC_TEXT_MAX)
                return -ENAMETOOLONG;
        info->exe = strndup(path, (size_t)n);
        return info->exe ? 0 : -ENOMEM;
}

static int read_auxv(int fd, struct procinfo *info) {
        _cleanup_free_ char *bytes = NULL;
        size_t size;
        int r = io_read_path(fd, "auxv", PROC_AUXV_MAX, &bytes, &size);

        if (r < 0)
                return r;
        memcpy(info->auxv, bytes, size);
        info->auxv_size = size;
        return 0;
}

int procinfo_read(int proc_fd, struct procinfo *ret) {
        static int (*const readers[])(int, struct procinfo *) = {
                read_stat, read_status, read_cgroup, read_exe, read_auxv,
        };
        int error = 0;

        *ret = (struct procinfo){ 0 };
        for (size_t i = 0; i < ARRAY_SIZE(readers); i++) {
                int r = readers[i](proc_fd, ret);

                if (r < 0 && error == 0)
                        error = r;
        }
        return error;
}

void procinfo_done(struct procinfo *info) {
        free(info->exe);
        free(info->cgroup);
        free(info->unit);
        *info = (struct procinfo){ 0 };
}
