#include "host/pattern.h"

#include <string.h>

/* One component of a path or pattern; `at` is NULL behind the last. */
struct part {
        const char *at;
        size_t size;
};

static struct part part_at(const char *text) {
        return (struct part){ .at = text, .size = text ? strcspn(text, "/") : 0 };
}

static struct part part_next(struct part part) {
        const char *end = part.at + part.size;

        return part_at(*end == '/' ? end + 1 : NULL);
}

static bool part_is_deep(struct part part) {
        return part.at && part.size == 2 && part.at[0] == '*' && part.at[1] == '*';
}

/* Only the last `*` is ever taken up again: what an earlier one swallowed cannot help a later
 * literal that the last one could not find. */
static bool glob_match(const char *glob, size_t n_glob, const char *text, size_t n_text) {
        size_t g = 0, t = 0, star_g = 0, star_t = 0;
        bool star = false;

        while (t < n_text) {
                if (g < n_glob && glob[g] == '*') {
                        star = true;
                        star_g = ++g;
                        star_t = t;
                } else if (g < n_glob && glob[g] == text[t]) {
                        g++;
                        t++;
                } else if (star) {
                        g = star_g;
                        t = ++star_t;
                } else
                        return false;
        }
        while (g < n_glob && glob[g] == '*')
                g++;
        return g == n_glob;
}

bool pattern_match_name(const char *pattern, const char *name, size_t size) {
        return glob_match(pattern, strlen(pattern), name, size);
}

/* The same walk one level up: components instead of bytes, `**` instead of `*`. */
bool pattern_match(const char *pattern, const char *path) {
        struct part p, t, star_p = { 0 }, star_t = { 0 };

        if (*pattern != '/' || *path != '/')
                return false;
        p = part_at(pattern + 1);
        t = part_at(path + 1);

        while (t.at) {
                if (part_is_deep(p)) {
                        struct part next = part_next(p);

                        if (!next.at)
                                return t.size > 0;
                        star_p = p = next;
                        star_t = t;
                } else if (p.at && t.size > 0 && glob_match(p.at, p.size, t.at, t.size)) {
                        p = part_next(p);
                        t = part_next(t);
                } else if (star_p.at) {
                        p = star_p;
                        t = star_t = part_next(star_t);
                } else
                        return false;
        }
        return !p.at;
}
