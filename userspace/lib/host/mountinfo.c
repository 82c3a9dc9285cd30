#include "host/mountinfo.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/io.h"

#define PATH_MOUNTINFO "/proc/self/mountinfo"
#define MOUNTINFO_MAX (16U << 20)

/* Fields of a line, proc_pid_mountinfo(5): ID PARENT DEV ROOT POINT OPTIONS [TAG…] - TYPE SOURCE
 * SUPER. Blanks within a field are octal escapes. */
enum { FIELD_ID = 0, FIELD_ROOT = 3, FIELD_POINT = 4, FIELDS_BEFORE_DASH = 6, SUPER_BEHIND = 3 };

struct span {
        const char *at;
        size_t size;
};

static struct span field_next(const char **at, const char *end) {
        struct span field;

        while (*at < end && **at == ' ')
                (*at)++;
        field.at = *at;
        while (*at < end && **at != ' ')
                (*at)++;
        field.size = (size_t)(*at - field.at);
        return field;
}

static bool octal_escape(const char *at, const char *end) {
        if (end - at < 4 || at[0] != '\\')
                return false;
        return at[1] >= '0' && at[1] <= '3' && at[2] >= '0' && at[2] <= '7' && at[3] >= '0' &&
               at[3] <= '7';
}

static char *unescape(struct span s) {
        const char *end = s.at + s.size;
        char *text = malloc(s.size + 1);
        size_t n = 0;

        if (!text)
                return NULL;
        for (const char *p = s.at; p < end; p++) {
                if (octal_escape(p, end)) {
                        text[n++] = (char)((p[1] - '0') << 6 | (p[2] - '0') << 3 | (p[3] - '0'));
                        p += 3;
                } else
                        text[n++] = *p;
        }
        text[n] = '\0';
        return text;
}

/* An option's value; a comma within it is escaped as well ("\,"): taken as it is, such a
 * directory is then not found, and that is reported. */
static bool option_find(struct span options, const char *name, struct span *ret) {
        size_t n = strlen(name);

        for (const char *at = options.at, *end = options.at + options.size; at < end;) {
                const char *comma = memchr(at, ',', (size_t)(end - at));
                const char *stop = comma ? comma : end;

                if ((size_t)(stop - at) > n && memcmp(at, name, n) == 0 && at[n] == '=') {
                        *ret = (struct span){ at + n + 1, (size_t)(stop - at) - n - 1 };
                        return true;
                }
                at = stop + 1;
        }
        return false;
}

static bool span_is(struct span s, const char *text) {
        return s.size == strlen(text) && memcmp(s.at, text, s.size) == 0;
}

static int line_parse(const char *at, const char *end, uint64_t id, struct mount_layers *ret) {
        struct span root = { 0 }, point = { 0 }, super = { 0 }, field, upper;
        struct mount_layers layers;

        for (int i = 0; i < FIELDS_BEFORE_DASH; i++) {
                field = field_next(&at, end);
                if (field.size == 0)
                        return -ENOENT;
                if (i == FIELD_ID && strtoull(field.at, NULL, 10) != id)
                        return -ENOENT;
                if (i == FIELD_ROOT)
                        root = field;
                if (i == FIELD_POINT)
                        point = field;
        }
        do {
                field = field_next(&at, end);
                if (field.size == 0)
                        return -ENOENT;
        } while (!span_is(field, "-"));
        for (int i = 0; i < SUPER_BEHIND; i++)
                super = field_next(&at, end);
        if (!option_find(super, "upperdir", &upper))
                return -ENOENT;

        layers = (struct mount_layers){ unescape(point), unescape(root), unescape(upper) };
        if (!layers.point || !layers.root || !layers.upper) {
                mount_layers_done(&layers);
                return -ENOMEM;
        }
        *ret = layers;
        return 0;
}

int mount_layers_parse(const char *text, uint64_t id, struct mount_layers *ret) {
        while (*text) {
                const char *end = strchrnul(text, '\n');
                int r = line_parse(text, end, id, ret);

                if (r != -ENOENT)
                        return r;
                text = *end ? end + 1 : end;
        }
        return -ENOENT;
}

int mount_layers_read(uint64_t id, struct mount_layers *ret) {
        _cleanup_free_ char *text = NULL;
        size_t size;
        int r;

        r = io_read_path(AT_FDCWD, PATH_MOUNTINFO, MOUNTINFO_MAX, &text, &size);
        if (r < 0)
                return r;
        return mount_layers_parse(text, id, ret);
}

int mount_root_parse(const char *text, uint64_t *ret) {
        uint64_t id = 0;
        bool found = false;

        /* Mounts on top of each other stand in order: the last is the one that is seen. */
        while (*text) {
                const char *end = strchrnul(text, '\n'), *at = text;
                struct span fields[FIELD_POINT + 1];

                for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
                        fields[i] = field_next(&at, end);
                if (span_is(fields[FIELD_POINT], "/")) {
                        id = strtoull(fields[FIELD_ID].at, NULL, 10);
                        found = true;
                }
                text = *end ? end + 1 : end;
        }
        if (!found)
                return -ENOENT;
        *ret = id;
        return 0;
}

int mount_root_read(pid_t pid, uint64_t *ret) {
        _cleanup_free_ char *text = NULL;
        char path[64];
        size_t size;
        int r;

        if (pid == 0)
                (void)snprintf(path, sizeof(path), "%s", PATH_MOUNTINFO);
        else
                (void)snprintf(path, sizeof(path), "/proc/%d/mountinfo", pid);
        r = io_read_path(AT_FDCWD, path, MOUNTINFO_MAX, &text, &size);
        if (r < 0)
                return r;
        return mount_root_parse(text, ret);
}

void mount_layers_done(struct mount_layers *layers) {
        free(layers->point);
        free(layers->root);
        free(layers->upper);
        *layers = (struct mount_layers){ 0 };
}
