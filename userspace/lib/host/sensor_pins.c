#include "host/sensor_pins.h"

#include <bpf/bpf.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/paths.h"

#define PINS_TOP PATH_BPFFS "/coresieve"
#define PINS_LEVELS 2 /* coresieve/VERSION/PIN */

/* A suffix that bpffs allows: no dots there. */
#define PIN_NEW "_new"

DEFINE_CLEANUP(dir, DIR, closedir)

static void pin_path(char path[static PATH_MAX], const char *prefix, const char *name,
                     const char *suffix) {
        (void)snprintf(path, PATH_MAX, "%s/%s%s%s", PATH_PINS, prefix, name, suffix);
}

int pins_open(const char *prefix, const char *name) {
        char path[PATH_MAX];
        int fd;

        pin_path(path, prefix, name, "");
        fd = bpf_obj_get(path);
        return fd < 0 ? -errno : fd;
}

int pins_make_directory(void) {
        if (mkdir(PINS_TOP, 0700) < 0 && errno != EEXIST)
                return -errno;
        if (mkdir(PATH_PINS, 0700) < 0 && errno != EEXIST)
                return -errno;
        return 0;
}

int pins_put(int fd, const char *prefix, const char *name) {
        char path[PATH_MAX], fresh[PATH_MAX];

        pin_path(path, prefix, name, "");
        pin_path(fresh, prefix, name, PIN_NEW);
        if (unlink(fresh) < 0 && errno != ENOENT)
                return -errno;
        if (bpf_obj_pin(fd, fresh) < 0)
                return -errno;
        if (rename(fresh, path) < 0) {
                int r = -errno;

                (void)unlink(fresh);
                return r;
        }
        return 0;
}

static int remove_below(int parent, const char *name, int levels) {
        _cleanup_(cleanup_dir) DIR *dir = NULL;
        const struct dirent *entry;
        int fd, r = 0;

        fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return errno == ENOENT ? 0 : -errno;
        dir = fdopendir(fd);
        if (!dir) {
                (void)close(fd);
                return -ENOMEM;
        }
        while ((entry = readdir(dir))) {
                if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
                        continue;
                if (unlinkat(fd, entry->d_name, 0) == 0)
                        continue;
                if ((errno == EISDIR || errno == EPERM) && levels > 1)
                        r = remove_below(fd, entry->d_name, levels - 1);
                else
                        r = -errno;
                if (r < 0)
                        return r;
        }
        return unlinkat(parent, name, AT_REMOVEDIR) < 0 ? -errno : 0;
}

int pins_remove(void) {
        return remove_below(AT_FDCWD, PINS_TOP, PINS_LEVELS);
}
