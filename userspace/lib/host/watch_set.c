#include "host/watch_set.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#define ROOM_FIRST 64U

static int key_compare(const struct inode_key *a, const struct inode_key *b) {
        if (a->dev != b->dev)
                return a->dev < b->dev ? -1 : 1;
        if (a->ino != b->ino)
                return a->ino < b->ino ? -1 : 1;
        return 0;
}

void watch_set_done(struct watch_set *set) {
        for (size_t i = 0; i < set->n_dirs; i++)
                free(set->dirs[i].rules);
        for (size_t i = 0; i < set->n_findings; i++)
                free(set->findings[i].path);
        for (size_t i = 0; i < set->n_files; i++)
                free(set->files[i].path);
        free(set->files);
        free(set->dirs);
        free(set->findings);
        free(set->rules);
        *set = (struct watch_set){ 0 };
}

/* Where the key is, or would stand, in a table of `n` entries that begin with their key. */
static size_t table_find(const void *table, size_t n, size_t size, const struct inode_key *key,
                         bool *ret_found) {
        size_t low = 0, high = n;

        *ret_found = false;
        while (low < high) {
                size_t middle = low + (high - low) / 2;
                int c = key_compare((const void *)((const char *)table + middle * size), key);

                if (c == 0) {
                        *ret_found = true;
                        return middle;
                }
                if (c < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

/* Opens a gap at `at`, zeroed. */
static int table_insert(void **table, size_t *n, size_t *room, size_t size, size_t at) {
        char *p = *table;

        if (*n == *room) {
                size_t grown = *room ? *room * 2 : ROOM_FIRST;

                p = reallocarray(*table, grown, size);
                if (!p)
                        return -ENOMEM;
                *table = p;
                *room = grown;
        }
        memmove(p + (at + 1) * size, p + at * size, (*n - at) * size);
        memset(p + at * size, 0, size);
        (*n)++;
        return 0;
}

int watch_set_file(struct watch_set *set, const struct file_key *key, uint32_t rule,
                   const char *path) {
        const struct inode_key inode = { .ino = key->ino, .dev = key->dev };
        struct watch_file *value;
        bool found;
        size_t at = table_find(set->files, set->n_files, sizeof(*set->files), &inode, &found);

        if (!found) {
                int r;

                if (set->n_files == WATCH_FILES_MAX)
                        return -E2BIG;
                r = table_insert((void **)&set->files, &set->n_files, &set->room_files,
                                 sizeof(*set->files), at);
                if (r < 0)
                        return r;
                set->files[at].key = inode;
                set->files[at].value.gen = key->gen;
                if (path && !(set->files[at].path = strdup(path)))
                        return -ENOMEM;
        }
        value = &set->files[at].value;
        for (uint32_t i = 0; i < value->n_rules; i++) {
                if (value->rules[i] == rule)
                        return 0;
        }
        if (value->n_rules == WATCH_RULES_MAX)
                return -E2BIG;
        value->rules[value->n_rules++] = rule;
        return 0;
}

int watch_set_dir(struct watch_set *set, const struct inode_key *key, const struct dir_rule *rule) {
        struct watch_dir_entry *entry;
        struct dir_rule *grown;
        bool found;
        size_t at = table_find(set->dirs, set->n_dirs, sizeof(*set->dirs), key, &found);

        if (!found) {
                int r;

                if (set->n_dirs == WATCH_DIRS_MAX)
                        return -E2BIG;
                r = table_insert((void **)&set->dirs, &set->n_dirs, &set->room_dirs,
                                 sizeof(*set->dirs), at);
                if (r < 0)
                        return r;
                set->dirs[at].key = *key;
        }
        entry = &set->dirs[at];
        for (size_t i = 0; i < entry->n_rules; i++) {
                if (memcmp(&entry->rules[i], rule, sizeof(*rule)) == 0)
                        return 0;
        }
        if (entry->n_rules == (size_t)WATCH_RULES_MAX * WATCH_PAGES_MAX)
                return -E2BIG;
        grown = reallocarray(entry->rules, entry->n_rules + 1, sizeof(*rule));
        if (!grown)
                return -ENOMEM;
        entry->rules = grown;
        entry->rules[entry->n_rules++] = *rule;
        return 0;
}

int watch_set_finding(struct watch_set *set, enum watch_problem problem, uint32_t rule,
                      const char *path, int error) {
        struct watch_finding *grown;
        char *copy;

        for (size_t i = 0; i < set->n_findings; i++) {
                const struct watch_finding *f = &set->findings[i];

                if (f->problem == problem && f->rule == rule && strcmp(f->path, path) == 0)
                        return 0;
        }
        if (set->n_findings == WATCH_FINDINGS_MAX) {
                set->n_findings_lost++;
                return 0;
        }
        grown = reallocarray(set->findings, set->n_findings + 1, sizeof(*grown));
        if (!grown)
                return -ENOMEM;
        set->findings = grown;
        copy = strdup(path);
        if (!copy)
                return -ENOMEM;
        set->findings[set->n_findings++] = (struct watch_finding){
                .problem = problem, .rule = rule, .error = error, .path = copy
        };
        return 0;
}

const char *watch_set_path(const struct watch_set *set, const struct file_key *key) {
        const struct inode_key inode = { .ino = key->ino, .dev = key->dev };
        bool found;
        size_t at = table_find(set->files, set->n_files, sizeof(*set->files), &inode, &found);

        if (!found || set->files[at].value.gen != key->gen)
                return NULL;
        return set->files[at].path;
}

/* --- into the maps --------------------------------------------------------------------------- */

static size_t dir_pages(const struct watch_dir_entry *entry) {
        return (entry->n_rules + WATCH_RULES_MAX - 1) / WATCH_RULES_MAX;
}

static void dir_page(const struct watch_dir_entry *entry, size_t page, struct inode_key *ret_key,
                     struct watch_dir *ret) {
        size_t first = page * WATCH_RULES_MAX;
        size_t n = entry->n_rules - first;

        if (n > WATCH_RULES_MAX)
                n = WATCH_RULES_MAX;
        *ret_key = entry->key;
        ret_key->page = (uint32_t)page;
        memset(ret, 0, sizeof(*ret));
        ret->n_rules = (uint32_t)n;
        ret->more = page + 1 < dir_pages(entry);
        memcpy(ret->rules, entry->rules + first, n * sizeof(*ret->rules));
}

static int put(int fd, const void *key, const void *value) {
        return bpf_map_update_elem(fd, key, value, BPF_ANY) < 0 ? -errno : 0;
}

static int apply_new(const struct watch_set *set, const struct watch_maps *maps, bool *ret_grown) {
        static const uint32_t present = 1;
        struct watch_dir page, before;
        struct inode_key key;
        int r;

        for (size_t i = 0; i < set->n_files; i++) {
                r = put(maps->files_fd, &set->files[i].key, &set->files[i].value);
                if (r < 0)
                        return r;
        }
        for (size_t i = 0; i < set->n_dirs; i++) {
                /* The last page first: the first one says that it is there. */
                for (size_t p = dir_pages(&set->dirs[i]); p > 0; p--) {
                        dir_page(&set->dirs[i], p - 1, &key, &page);
                        if (bpf_map_lookup_elem(maps->dirs_fd, &key, &before) < 0)
                                *ret_grown = true;
                        r = put(maps->dirs_fd, &key, &page);
                        if (r < 0)
                                return r;
                }
        }
        for (size_t i = 0; i < set->n_rules; i++) {
                if (bpf_map_update_elem(maps->rules_fd, &set->rules[i], &present, BPF_NOEXIST) == 0)
                        *ret_grown = true;
                else if (errno != EEXIST)
                        return -errno;
        }
        return 0;
}

static void filter_add_dev(struct watch_filter *filter, uint32_t dev) {
        for (uint32_t i = 0; i < filter->n_devs && i < WATCH_DEVS_MAX; i++) {
                if (filter->devs[i] == dev)
                        return;
        }
        if (filter->n_devs < WATCH_DEVS_MAX)
                filter->devs[filter->n_devs] = dev;
        /* One above the limit says that the list is not complete. */
        if (filter->n_devs <= WATCH_DEVS_MAX)
                filter->n_devs++;
}

static void filter_add(struct watch_filter *filter, uint64_t *bits, const struct inode_key *key) {
        uint32_t bit = watch_filter_bit(key->ino);

        bits[bit / 64] |= 1ULL << bit % 64;
        filter_add_dev(filter, key->dev);
}

/* On top of what *filter says already. */
static void filter_make(const struct watch_set *set, struct watch_filter *filter) {
        for (size_t i = 0; i < set->n_files; i++)
                filter_add(filter, filter->files, &set->files[i].key);
        for (size_t i = 0; i < set->n_dirs; i++)
                filter_add(filter, filter->dirs, &set->dirs[i].key);
}

static int apply_filter(const struct watch_set *set, const struct watch_maps *maps, bool keep_old) {
        _cleanup_free_ struct watch_filter *filter = calloc(1, sizeof(*filter));
        uint32_t zero = 0;

        if (!filter)
                return -ENOMEM;
        if (keep_old && bpf_map_lookup_elem(maps->filter_fd, &zero, filter) < 0)
                return -errno;
        filter_make(set, filter);
        return put(maps->filter_fd, &zero, filter);
}

static bool set_has_file(const struct watch_set *set, const void *key) {
        bool found;

        (void)table_find(set->files, set->n_files, sizeof(*set->files), key, &found);
        return found;
}

static bool set_has_dir(const struct watch_set *set, const void *key) {
        const struct inode_key *k = key;
        bool found;
        size_t at = table_find(set->dirs, set->n_dirs, sizeof(*set->dirs), k, &found);

        return found && k->page < dir_pages(&set->dirs[at]);
}

static bool set_has_rule(const struct watch_set *set, const void *key) {
        for (size_t i = 0; i < set->n_rules; i++) {
                if (set->rules[i] == *(const uint32_t *)key)
                        return true;
        }
        return false;
}

/* Takes out what the set does not have. The key that comes next is asked for before the one at
 * hand is deleted, or the kernel would begin again. */
static int apply_old(const struct watch_set *set, int fd, size_t key_size, size_t limit,
                     bool (*has)(const struct watch_set *, const void *)) {
        struct inode_key key, next;
        bool more = bpf_map_get_next_key(fd, NULL, &next) == 0;

        for (size_t i = 0; more && i < limit; i++) {
                memcpy(&key, &next, key_size);
                more = bpf_map_get_next_key(fd, &key, &next) == 0;
                if (has(set, &key))
                        continue;
                if (bpf_map_delete_elem(fd, &key) < 0 && errno != ENOENT)
                        return -errno;
        }
        return 0;
}

int watch_set_apply(const struct watch_set *set, const struct watch_maps *maps, bool *ret_grown) {
        bool grown = false;
        int r;

        r = apply_new(set, maps, &grown);
        if (r < 0)
                return r;
        r = apply_filter(set, maps, true);
        if (r < 0)
                return r;
        r = apply_old(set, maps->files_fd, sizeof(struct inode_key), WATCH_FILES_MAX, set_has_file);
        if (r < 0)
                return r;
        r = apply_old(set, maps->dirs_fd, sizeof(struct inode_key), WATCH_DIRS_MAX, set_has_dir);
        if (r < 0)
                return r;
        r = apply_old(set, maps->rules_fd, sizeof(uint32_t), RULES_MAX, set_has_rule);
        if (r < 0)
                return r;
        r = apply_filter(set, maps, false);
        if (r < 0)
                return r;
        *ret_grown = grown;
        return 0;
}

int watch_set_missing(const struct watch_set *set, const struct watch_maps *maps, size_t *ret) {
        struct watch_dir page, found;
        struct inode_key key;
        size_t missing = 0;

        for (size_t i = 0; i < set->n_dirs; i++) {
                for (size_t p = 0; p < dir_pages(&set->dirs[i]); p++) {
                        dir_page(&set->dirs[i], p, &key, &page);
                        if (bpf_map_lookup_elem(maps->dirs_fd, &key, &found) < 0)
                                missing++;
                }
        }
        *ret = missing;
        return 0;
}
