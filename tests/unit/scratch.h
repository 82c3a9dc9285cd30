/* scratch: a root of its own for each test, gone afterwards. */
#pragma once

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"

#define SCRATCH_PATH 512
#define SCRATCH_FILE_MAX (64U << 20)

struct scratch {
        char root[SCRATCH_PATH / 2];
};

static inline int scratch_remove_one(const char *path, const struct stat *st, int type,
                                     struct FTW *ftw) {
        (void)st;
        (void)type;
        (void)ftw;
        return remove(path);
}

static inline int scratch_setup(void **state) {
        struct scratch *s = calloc(1, sizeof(*s));
        const char *tmp = getenv("TMPDIR");

        snprintf(s->root, sizeof(s->root), "%s/coresieve-unit.XXXXXX", tmp ? tmp : "/tmp");
        if (!mkdtemp(s->root))
                return -1;
        *state = s;
        return 0;
}

static inline int scratch_teardown(void **state) {
        struct scratch *s = *state;

        nftw(s->root, scratch_remove_one, 16, FTW_DEPTH | FTW_PHYS);
        free(s);
        return 0;
}

/* The path of something below the root; valid for the next 15 calls. */
static inline const char *scratch_path(const struct scratch *s, const char *path) {
        static char buf[16][SCRATCH_PATH];
        static unsigned i;
        char *at = buf[i++ % 16];

        snprintf(at, SCRATCH_PATH, "%s%s", s->root, path);
        return at;
}

static inline void scratch_mkdir(const struct scratch *s, const char *path, mode_t mode) {
        char full[SCRATCH_PATH];

        snprintf(full, sizeof(full), "%s%s", s->root, path);
        for (char *at = full + strlen(s->root); (at = strchr(at + 1, '/'));) {
                *at = '\0';
                mkdir(full, 0755);
                *at = '/';
        }
        mkdir(full, mode);
        chmod(full, mode);
}

/* Whole content, NUL-terminated; NULL when there is no such file. */
static inline char *scratch_load(const struct scratch *s, const char *path, size_t *ret_size) {
        char *text = NULL;
        size_t size = 0;

        if (io_read_path(AT_FDCWD, scratch_path(s, path), SCRATCH_FILE_MAX, &text, &size) < 0)
                return NULL;
        if (ret_size)
                *ret_size = size;
        return text;
}

static inline int scratch_save(const struct scratch *s, const char *path, const void *bytes,
                               size_t size) {
        _cleanup_close_ int fd =
                open(scratch_path(s, path), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        return fd < 0 ? -1 : io_write(fd, bytes, size);
}
