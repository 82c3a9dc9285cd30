#include "preflight.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/paths.h"
#include "core_pattern/spawn.h"
#include "host/mountinfo.h"

/* include/uapi/linux/nsfs.h has it from 6.18 on; fixed since 3.8 (PROC_PID_INIT_INO). */
#define PID_NAMESPACE_INIT 0xEFFFFFFCU

#define PATH_KERNEL_CONFIG "/proc/config.gz"
#define LIBEXEC_BESIDE "../libexec/coresieve"

DEFINE_CLEANUP(pipe, FILE, (void)pclose)

static int say(FILE *errors, const char *thing, int r, const char *reason, const char *remedy) {
        (void)fprintf(errors, "coresieve: %s: %s: %s\n", thing,
                      reason ? reason : strerrordesc_np(-r), remedy);
        return r;
}

/* --- program files ---------------------------------------------------------------------------- */

static bool only_root_writes(const struct stat *st) {
        return st->st_uid == 0 && !(st->st_mode & (S_IWGRP | S_IWOTH));
}

/* Who can write a directory can put another program in the file's place; not in one with the
 * sticky bit (/tmp), where what root owns is root's to rename. Everything below was found to be. */
static bool only_root_replaces(const struct stat *st) {
        return st->st_uid == 0 && (only_root_writes(st) || (st->st_mode & S_ISVTX));
}

static int directories_check(const char *path, FILE *errors) {
        _cleanup_free_ char *at = strdup(path);
        struct stat st;

        if (!at)
                return -ENOMEM;
        for (char *slash; (slash = strrchr(at, '/'));) {
                slash[slash == at] = '\0';
                if (stat(at, &st) < 0)
                        return say(errors, at, -errno, NULL, "make it readable");
                if (!only_root_replaces(&st))
                        return say(errors, at, -EPERM, "others than root may write it",
                                   "install Coresieve where only root may write");
                if (slash == at)
                        break;
        }
        return 0;
}

static int program_check(const char *path, FILE *errors) {
        struct stat st;

        if (lstat(path, &st) < 0)
                return say(errors, path, -errno, NULL, "reinstall Coresieve");
        if (!S_ISREG(st.st_mode) || !(st.st_mode & S_IXUSR))
                return say(errors, path, -EACCES, "is no program", "reinstall Coresieve");
        if (!only_root_writes(&st))
                return say(errors, path, -EPERM, "others than root may write it",
                           "chown root:root and chmod 0755");
        return directories_check(path, errors);
}

static int program_path(const char *dir, const char *name, char ret[PATH_MAX]) {
        char path[PATH_MAX];

        if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path))
                return -ENAMETOOLONG;
        return realpath(path, ret) ? 0 : -errno;
}

int preflight_programs(FILE *errors, struct programs *ret) {
        char self[PATH_MAX], beside[PATH_MAX];
        struct programs found;
        const char *dir;
        ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
        int r;

        if (n < 0)
                return say(errors, "/proc/self/exe", -errno, NULL, "mount procfs");
        self[n] = '\0';
        dir = dirname(self);
        r = program_path(dir, PROGRAM_HELPER, found.helper);
        if (r < 0) {
                if (snprintf(beside, sizeof(beside), "%s/%s", dir, LIBEXEC_BESIDE) >=
                    (int)sizeof(beside))
                        return -ENAMETOOLONG;
                dir = beside;
                r = program_path(dir, PROGRAM_HELPER, found.helper);
        }
        if (r < 0)
                return say(errors, PROGRAM_HELPER, r, NULL, "reinstall Coresieve");
        r = program_path(dir, PROGRAM_WORKER, found.worker);
        if (r < 0)
                return say(errors, PROGRAM_WORKER, r, NULL, "reinstall Coresieve");
        r = program_check(found.helper, errors);
        if (r == 0)
                r = program_check(found.worker, errors);
        if (r < 0)
                return r;
        *ret = found;
        return 0;
}

/* --- the host --------------------------------------------------------------------------------- */

/* Is the same file there when the kernel looks the path up? */
static bool visible_to_init(const char *path) {
        uint64_t our_root, inits_root;
        char there[PATH_MAX];
        struct stat ours, inits;

        if (mount_root_read(0, &our_root) == 0 && mount_root_read(1, &inits_root) == 0 &&
            our_root == inits_root)
                return true;
        /* Another mount namespace may still show the same file there. */
        if (snprintf(there, sizeof(there), "/proc/1/root%s", path) >= (int)sizeof(there))
                return false;
        if (stat(path, &ours) < 0 || stat(there, &inits) < 0)
                return false;
        return ours.st_dev == inits.st_dev && ours.st_ino == inits.st_ino;
}

/* CONFIG_STATIC_USERMODEHELPER starts one fixed program whatever core_pattern says, and shows in
 * nothing but the kernel's configuration, which not every kernel tells. */
static bool usermode_helper_is_fixed(void) {
        _cleanup_(cleanup_pipe) FILE *config = NULL;
        bool fixed = false;
        char line[256];

        if (access(PATH_KERNEL_CONFIG, R_OK) < 0)
                return false;
        config = popen("exec /bin/zcat " PATH_KERNEL_CONFIG " 2>/dev/null", "re");
        if (!config)
                return false;
        while (fgets(line, sizeof(line), config))
                fixed = fixed || strcmp(line, "CONFIG_STATIC_USERMODEHELPER=y\n") == 0;
        return fixed;
}

int preflight_host(const char *root, const struct programs *programs, FILE *errors) {
        struct stat ns;
        uid_t uid;
        gid_t gid;
        int r;

        if (geteuid() != 0)
                return say(errors, "enable", -EPERM, "only root may", "run it as root");
        if (stat("/proc/self/ns/pid", &ns) < 0)
                return say(errors, "/proc", -errno, NULL, "mount procfs");
        if (ns.st_ino != PID_NAMESPACE_INIT)
                return say(errors, "PID namespace", -EPERM, "this is a container",
                           "run enable on the host: core_pattern and sensors are the host's");
        if (!visible_to_init(programs->helper) || !visible_to_init(programs->worker))
                return say(errors, programs->helper, -EXDEV,
                           "PID 1 has another root, where this path is not the same file, and "
                           "there the kernel starts core_pattern's program",
                           "install Coresieve in PID 1's root and enable it from there");
        if (usermode_helper_is_fixed())
                return say(errors, "CONFIG_STATIC_USERMODEHELPER", -EPERM,
                           "this kernel starts no program that core_pattern names",
                           "use another kernel");
        r = worker_user(root, &uid, &gid);
        if (r < 0)
                return say(errors, "user " CORESIEVE_USER, r,
                           r == -ENOENT  ? "does not exist"
                           : r == -EPERM ? "has uid or gid 0"
                                         : NULL,
                           "create it: systemd-sysusers, or useradd --system " CORESIEVE_USER);
        return 0;
}
