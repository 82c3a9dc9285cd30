#include "core_pattern/mapped_files.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "host/procinfo.h"

#define MAPS_FIELDS 5 /* addresses, rights, offset, device, inode; then blanks and the path */
#define DELETED " (deleted)"

/* A line's range and path. The path is all behind the fifth field: it may hold blanks. False for
 * memory without a file: its "path" is empty or in brackets. */
static bool line_parse(char *line, uint64_t *ret_start, uint64_t *ret_end, char **ret_path) {
        char *at = line, *end;
        size_t n;

        *ret_start = strtoull(at, &end, 16);
        if (end == at || *end != '-')
                return false;
        at = end + 1;
        *ret_end = strtoull(at, &end, 16);
        if (end == at || *end != ' ')
                return false;
        at = line;
        for (int i = 0; i < MAPS_FIELDS; i++) {
                at += strcspn(at, " ");
                at += strspn(at, " ");
        }
        if (*at != '/')
                return false;
        /* A file that was unlinked is still the file that the rule means. */
        n = strlen(at);
        if (n > strlen(DELETED) && strcmp(at + n - strlen(DELETED), DELETED) == 0)
                at[n - strlen(DELETED)] = '\0';
        *ret_path = at;
        return true;
}

static const struct policy_rule *rule_find(const struct policy *policy, const char *path) {
        for (size_t i = 0; i < policy->n_rules; i++) {
                const char *pattern = policy->rules[i].pattern;

                /* Most paths differ from most rules within the first bytes. */
                if (strncmp(pattern, path, strcspn(pattern, "*")) == 0 &&
                    pattern_match(pattern, path))
                        return &policy->rules[i];
        }
        return NULL;
}

static int file_add(struct mapped_files *mapped, uint64_t start, uint64_t end, uint32_t rule,
                    const char *path) {
        char *copy;

        for (size_t i = 0; i < mapped->n; i++)
                if (strcmp(mapped->files[i].path, path) == 0)
                        return 0;
        if (mapped->n == MAPPED_FILES_MAX) {
                mapped->cut = true;
                return 0;
        }
        copy = strdup(path);
        if (!copy)
                return -ENOMEM;
        mapped->files[mapped->n++] = (struct mapped_file){ start, end, rule, copy };
        return 0;
}

int mapped_files_parse(const struct policy *policy, char *maps, struct mapped_files *ret) {
        const char *last = "";
        char *rest = maps, *line;
        size_t n_paths = 0;

        memset(ret, 0, sizeof(*ret));
        while ((line = strsep(&rest, "\n"))) {
                const struct policy_rule *rule;
                uint64_t start, end;
                char *path;
                int r;

                if (!line_parse(line, &start, &end, &path) || strcmp(path, last) == 0)
                        continue; /* one file's mappings mostly follow one another */
                last = path;
                if (n_paths++ == MAPPED_PATHS_MAX) {
                        ret->cut = true;
                        return 0;
                }
                rule = rule_find(policy, path);
                if (!rule)
                        continue;
                r = file_add(ret, start, end, rule->id, path);
                if (r < 0)
                        return r;
        }
        return 0;
}

int mapped_files_read(const struct policy *policy, int memory_fd, struct mapped_files *ret) {
        _cleanup_free_ char *maps = NULL;
        size_t size = 0;
        int r = io_read_path(memory_fd, "maps", PROC_MAPS_MAX, &maps, &size);

        if (r < 0)
                return r;
        if (size == 0)
                return -ESRCH; /* no memory: what it has mapped cannot be said */
        return mapped_files_parse(policy, maps, ret);
}

void mapped_files_done(struct mapped_files *mapped) {
        for (size_t i = 0; i < mapped->n; i++)
                free(mapped->files[i].path);
        mapped->n = 0;
}
