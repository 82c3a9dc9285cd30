#include "host/watch_rule.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

static size_t piece_size(size_t n) {
        return n < WATCH_NAME_MAX ? n : WATCH_NAME_MAX;
}

static void piece_set(struct name_piece *piece, const char *text, size_t n) {
        memset(piece, 0, sizeof(*piece));
        memcpy(piece->words, text, n);
}

int watch_pattern_split(const char *pattern, struct watch_pattern *ret) {
        _cleanup_free_ struct watch_part *parts = NULL;
        size_t n = 0;

        if (*pattern != '/')
                return -EINVAL;
        parts = calloc(WATCH_PARTS_MAX, sizeof(*parts));
        if (!parts)
                return -ENOMEM;
        for (const char *at = pattern + 1;;) {
                size_t size = strcspn(at, "/");
                struct watch_part *part = &parts[n];

                if (n == WATCH_PARTS_MAX || size > WATCH_PART_MAX)
                        return -E2BIG;
                if (size == 0 || (size == 1 && at[0] == '.') ||
                    (size == 2 && at[0] == '.' && at[1] == '.'))
                        return -EINVAL;
                memcpy(part->text, at, size);
                part->text[size] = '\0';
                part->size = size;
                part->deep = size == 2 && at[0] == '*' && at[1] == '*';
                part->wild = memchr(at, '*', size) != NULL;
                n++;
                if (at[size] == '\0')
                        break;
                at += size + 1;
        }
        *ret = (struct watch_pattern){ .parts = TAKE_PTR(parts), .n = n };
        return 0;
}

void watch_pattern_done(struct watch_pattern *pattern) {
        free(pattern->parts);
        *pattern = (struct watch_pattern){ 0 };
}

static void rule_last(struct dir_rule *rule, const struct watch_part *last) {
        const char *star = memchr(last->text, '*', last->size);
        const char *end = last->text + last->size;
        size_t prefix, suffix;

        if (!star) {
                prefix = piece_size(last->size);
                suffix = piece_size(last->size - prefix);
                rule->name_len = (uint32_t)last->size;
        } else {
                const char *behind = memrchr(last->text, '*', last->size);

                prefix = piece_size((size_t)(star - last->text));
                suffix = piece_size((size_t)(end - behind - 1));
        }
        rule->prefix_len = (uint32_t)prefix;
        rule->suffix_len = (uint32_t)suffix;
        piece_set(&rule->prefix, last->text, prefix);
        piece_set(&rule->suffix, end - suffix, suffix);
}

static void rule_middle(struct dir_rule *rule, const struct watch_part *part) {
        rule->middle_len = (uint32_t)part->size;
        piece_set(&rule->middle, part->text, piece_size(part->size));
}

void watch_rule_make(uint32_t id, const struct watch_pattern *pattern, size_t first,
                     const struct watch_part *above, size_t n_above, struct dir_rule *ret) {
        const struct watch_part *last = &pattern->parts[pattern->n - 1];
        struct dir_rule rule = { .rule = id };
        bool deep = false;

        rule.depth_min = (uint32_t)n_above;
        if (n_above > 0)
                rule_middle(&rule, &above[n_above - 1]);
        for (size_t i = first; i < pattern->n; i++) {
                const struct watch_part *part = &pattern->parts[i];

                deep = deep || part->deep;
                /* At the end `**` stands for one component or more. */
                if (!part->deep || part == last)
                        rule.depth_min++;
                if (part != last && !part->wild)
                        rule_middle(&rule, part);
        }
        rule.depth_max = deep ? WATCH_DEPTH_MAX : rule.depth_min;
        if (!last->deep)
                rule_last(&rule, last);
        *ret = rule;
}

static bool piece_equal(const struct name_piece *piece, const char *at, size_t n) {
        return memcmp(piece->words, at, piece_size(n)) == 0;
}

bool watch_rule_matches(const struct dir_rule *rule, const char *const *names, size_t n) {
        const char *last = names[n - 1];
        size_t size = strlen(last);

        if (n < rule->depth_min || n > rule->depth_max)
                return false;
        if (rule->name_len && size != rule->name_len)
                return false;
        if (size < (size_t)rule->prefix_len + rule->suffix_len ||
            !piece_equal(&rule->prefix, last, rule->prefix_len) ||
            !piece_equal(&rule->suffix, last + size - rule->suffix_len, rule->suffix_len))
                return false;
        if (!rule->middle_len)
                return true;
        for (size_t i = 0; i + 1 < n; i++) {
                if (strlen(names[i]) == rule->middle_len &&
                    piece_equal(&rule->middle, names[i], rule->middle_len))
                        return true;
        }
        return false;
}
