#include "host/watch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "host/pattern.h"

struct walker {
        const struct watch_sensor *sensor;
        struct watch_set *set;
        struct watch_pattern pattern;
        uint32_t id;
        unsigned looked_at; /* entries, for all rules */
};

/* One directory on the way. */
struct place {
        int fd;
        char *path;
        size_t part; /* of the pattern, that its entries are compared with */
        uint64_t mount;
        bool covered; /* a directory above is watched, and what lies here lies below it */
        unsigned level;
};

DEFINE_CLEANUP(dir, DIR, closedir)

static int walk(struct walker *w, const struct place *place);

/* Errors that end everything; others become a finding of one rule. */
static bool is_fatal(int r) {
        return r == -ENOMEM || r == -EMFILE || r == -ENFILE;
}

static int note(struct walker *w, enum watch_problem problem, const char *path, int error) {
        return watch_set_finding(w->set, problem, w->id, path, error);
}

static int note_error(struct walker *w, const char *path, int r) {
        if (is_fatal(r))
                return r;
        return note(w, r == -E2BIG ? WATCH_TOO_MUCH : WATCH_UNREADABLE, path, r);
}

static int mount_of(int fd, uint64_t *ret) {
        struct statx stx;

        if (statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &stx) < 0)
                return -errno;
        *ret = stx.stx_mnt_id;
        return 0;
}

/* The kernel's own file systems hold no keys of anybody, and some answer a read with an act. */
static bool is_kernel_fs(int fd) {
        static const long kinds[] = {
                PROC_SUPER_MAGIC,   SYSFS_MAGIC,    CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC,
                DEBUGFS_MAGIC,      TRACEFS_MAGIC,  SECURITYFS_MAGIC,   BPF_FS_MAGIC,
                DEVPTS_SUPER_MAGIC, EFIVARFS_MAGIC, PSTOREFS_MAGIC,     SELINUX_MAGIC,
        };
        struct statfs fs;

        if (fstatfs(fd, &fs) < 0)
                return false;
        for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
                if (fs.f_type == kinds[i])
                        return true;
        }
        return false;
}

static char *path_join(const char *dir, const char *name) {
        char *path;

        if (asprintf(&path, "%s/%s", strcmp(dir, "/") == 0 ? "" : dir, name) < 0)
                return NULL;
        return path;
}

/* --- links that may be pointed elsewhere ------------------------------------------------------ */

/* Watches the directory above `path` for `*` and then parts[0..n-1]; with `direct` for these
 * alone. Nothing is reported: the target itself was looked at already. */
static int above_watch(struct walker *w, const char *path, bool direct,
                       const struct watch_part *parts, size_t n) {
        static const struct watch_part any = { .text = "*", .size = 1, .wild = true };
        _cleanup_free_ struct watch_part *all = NULL;
        _cleanup_free_ char *copy = strdup(path);
        _cleanup_close_ int dir = -1;
        struct watch_pattern pattern;
        const char *above;

        if (!copy)
                return -ENOMEM;
        above = dirname(copy);
        all = calloc(n + 1, sizeof(*all));
        if (!all)
                return -ENOMEM;
        all[0] = any;
        memcpy(all + 1, parts, n * sizeof(*parts));
        pattern = (struct watch_pattern){ .parts = all, .n = n + 1 };
        dir = open(above, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (dir < 0)
                return -errno;
        return watch_directory(w->sensor, w->set, dir, above, w->id, &pattern, direct ? 1 : 0,
                               false);
}

static int target_path(int fd, char path[static PATH_MAX]) {
        char self[64];
        ssize_t n;

        (void)snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
        n = readlink(self, path, PATH_MAX - 1);
        if (n < 0)
                return -errno;
        path[n] = '\0';
        return 0;
}

/* `key.pem -> releases/7/key.pem`: files of that name there, and in the directories beside. */
static int link_to_file(struct walker *w, int fd) {
        struct watch_part name = { 0 };
        char path[PATH_MAX];
        const char *base;
        int r;

        r = target_path(fd, path);
        if (r < 0)
                return r;
        base = strrchr(path, '/');
        if (!base || strlen(base + 1) > WATCH_PART_MAX)
                return 0;
        name.size = strlen(base + 1);
        memcpy(name.text, base + 1, name.size);
        r = above_watch(w, path, true, &name, 1);
        if (r < 0 || base == path)
                return r;
        path[base - path] = '\0';
        return above_watch(w, path, false, &name, 1);
}

/* `current -> releases/7`: what the rule says of files in it, said of the directories beside. */
static int link_to_directory(struct walker *w, const struct place *place) {
        char path[PATH_MAX];
        int r;

        r = target_path(place->fd, path);
        if (r < 0)
                return r;
        return above_watch(w, path, false, w->pattern.parts + place->part,
                           w->pattern.n - place->part);
}

/* --- a file that matches --------------------------------------------------------------------- */

static int file_learn(struct walker *w, int fd, const char *path) {
        struct learned learned;
        struct statfs fs;
        int r;

        r = learner_read(&w->sensor->learner, fd, &learned);
        if (r == -ENODATA)
                return 0; /* its directory is watched: it is known when there is something in it */
        if (r == -EOPNOTSUPP) {
                if (fstatfs(fd, &fs) < 0)
                        return -errno;
                return note(w, fs.f_type == TMPFS_MAGIC ? WATCH_BLIND_TMPFS : WATCH_BLIND_OTHER,
                            path, 0);
        }
        if (r < 0)
                return r;
        return watch_set_file(w->set, &learned.key, w->id, path);
}

static int file_found(struct walker *w, const struct place *place, const char *name) {
        _cleanup_free_ char *path = path_join(place->path, name);
        _cleanup_close_ int fd = -1;
        struct stat st, target;
        uint64_t mount = 0;
        int r;

        if (!path)
                return -ENOMEM;
        if (fstatat(place->fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
            fstatat(place->fd, name, &target, 0) < 0)
                return errno == ENOENT || errno == ELOOP ? 0 : note_error(w, path, -errno);
        if (!S_ISREG(target.st_mode))
                return 0;
        fd = openat(place->fd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        if (fd < 0)
                return errno == ENOENT ? 0 : note_error(w, path, -errno);
        r = file_learn(w, fd, path);
        if (r < 0)
                return note_error(w, path, r);

        /* A file mounted by itself has no directory of the pattern's above it, nor has a link's
         * target: their own directories are watched. */
        r = mount_of(fd, &mount);
        if (r < 0)
                return note_error(w, path, r);
        if (S_ISLNK(st.st_mode) || mount != place->mount) {
                r = link_to_file(w, fd);
                if (r < 0)
                        return note_error(w, path, r);
        }
        return 0;
}

/* --- directories ----------------------------------------------------------------------------- */

static const struct watch_part *part_of(const struct walker *w, const struct place *place) {
        return &w->pattern.parts[place->part];
}

static bool part_is_last(const struct walker *w, size_t part) {
        return part + 1 == w->pattern.n;
}

/* Goes on in a subdirectory with pattern[part..]. */
static int descend(struct walker *w, const struct place *place, const char *name, size_t part,
                   bool follow) {
        _cleanup_free_ char *path = path_join(place->path, name);
        _cleanup_close_ int fd = -1;
        struct place below = { .part = part, .level = place->level + 1 };
        struct stat st;
        int r;

        if (!path)
                return -ENOMEM;
        if (below.level > WATCH_LEVELS_MAX)
                return note(w, WATCH_TOO_MUCH, path, -ELOOP);
        if (fstatat(place->fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return errno == ENOENT ? 0 : note_error(w, path, -errno);
        fd = openat(place->fd, name,
                    O_RDONLY | O_DIRECTORY | O_CLOEXEC | (follow ? 0 : O_NOFOLLOW));
        if (fd < 0)
                return errno == ENOENT || errno == ENOTDIR || errno == ELOOP
                               ? 0
                               : note_error(w, path, -errno);
        if (is_kernel_fs(fd))
                return 0;
        r = mount_of(fd, &below.mount);
        if (r < 0)
                return note_error(w, path, r);
        below.fd = fd;
        below.path = path;
        below.covered = place->covered && below.mount == place->mount && !S_ISLNK(st.st_mode);
        if (S_ISLNK(st.st_mode)) {
                r = link_to_directory(w, &below);
                if (r < 0) {
                        r = note_error(w, path, r);
                        if (r < 0)
                                return r;
                }
        }
        return walk(w, &below);
}

static int entry_found(struct walker *w, const struct place *place, const struct dirent *entry) {
        const struct watch_part *part = part_of(w, place);
        bool link = entry->d_type == DT_LNK, dir = entry->d_type == DT_DIR;
        bool last = part_is_last(w, place->part);
        struct stat st;

        if (entry->d_type == DT_UNKNOWN &&
            fstatat(place->fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
                link = S_ISLNK(st.st_mode);
                dir = S_ISDIR(st.st_mode);
        }
        if (part->deep) {
                if (dir)
                        return descend(w, place, entry->d_name, place->part, false);
                return last ? file_found(w, place, entry->d_name) : 0;
        }
        if (!pattern_match_name(part->text, entry->d_name, strlen(entry->d_name)))
                return 0;
        if (last)
                return dir ? 0 : file_found(w, place, entry->d_name);
        return dir || link ? descend(w, place, entry->d_name, place->part + 1, true) : 0;
}

static int entries_walk(struct walker *w, const struct place *place) {
        _cleanup_(cleanup_dir) DIR *dir = NULL;
        const struct dirent *entry;
        int copy, r;

        copy = openat(place->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (copy < 0)
                return note_error(w, place->path, -errno);
        dir = fdopendir(copy);
        if (!dir) {
                (void)close(copy);
                return -ENOMEM;
        }
        while (errno = 0, (entry = readdir(dir))) {
                if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
                        continue;
                if (++w->looked_at > WATCH_WALK_MAX)
                        return note(w, WATCH_TOO_MUCH, place->path, -E2BIG);
                r = entry_found(w, place, entry);
                if (r < 0)
                        return r;
        }
        return errno ? note_error(w, place->path, -errno) : 0;
}

/* Does the next directory of a literal pattern exist? Its links count. */
static bool next_exists(const struct place *place, const char *name) {
        struct stat st;

        return fstatat(place->fd, name, &st, 0) == 0 && S_ISDIR(st.st_mode);
}

static int walk(struct walker *w, const struct place *place) {
        const struct watch_part *part = part_of(w, place);
        bool last = part_is_last(w, place->part);
        struct place next = *place;
        int r;

        if (!next.covered) {
                bool stop = part->wild || last || !next_exists(place, part->text);

                /* The root is above everything: only watched where nothing nearer exists. */
                if (stop || strcmp(place->path, "/") != 0) {
                        r = watch_directory(w->sensor, w->set, place->fd, place->path, w->id,
                                            &w->pattern, place->part, stop);
                        if (r < 0) {
                                r = note_error(w, place->path, r);
                                if (r < 0)
                                        return r;
                        }
                }
                next.covered = stop;
        }
        if (!part->wild)
                return last ? file_found(w, &next, part->text)
                            : descend(w, &next, part->text, place->part + 1, true);
        if (part->deep && !last) {
                struct place zero = next; /* `**` stands for no component at all */

                zero.part++;
                r = walk(w, &zero);
                if (r < 0)
                        return r;
        }
        return entries_walk(w, &next);
}

/* --------------------------------------------------------------------------------------------- */

static int rule_walk(struct walker *w, const struct policy_rule *rule) {
        _cleanup_close_ int root = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        char path[] = "/";
        struct place place = { .fd = root, .path = path };
        int r;

        if (root < 0)
                return -errno;
        w->id = rule->id;
        r = mount_of(root, &place.mount);
        if (r < 0)
                return r;
        r = watch_pattern_split(rule->pattern, &w->pattern);
        if (r == -E2BIG || r == -EINVAL)
                return note(w, WATCH_TOO_MUCH, rule->pattern, r);
        if (r < 0)
                return r;
        r = walk(w, &place);
        watch_pattern_done(&w->pattern);
        return r;
}

int watch_build(const struct policy *policy, const struct watch_sensor *sensor,
                const struct file_key *canary, struct watch_set *ret) {
        struct watch_set set = { 0 };
        struct walker w = { .sensor = sensor, .set = &set };
        int r = 0;

        set.rules = calloc(policy->n_rules + 1, sizeof(*set.rules));
        if (!set.rules)
                return -ENOMEM;
        if (canary)
                r = watch_set_file(&set, canary, RULE_CANARY, NULL);
        for (size_t i = 0; r == 0 && i < policy->n_rules; i++) {
                set.rules[set.n_rules++] = policy->rules[i].id;
                r = rule_walk(&w, &policy->rules[i]);
        }
        if (r < 0) {
                watch_set_done(&set);
                return r;
        }
        *ret = set;
        return 0;
}
