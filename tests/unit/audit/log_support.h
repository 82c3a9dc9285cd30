/* log_support: a log of small records for the tests of the log. */
#pragma once

#include "audit/log.h"
#include "base/paths.h"
#include "tests/unit/scratch.h"

#define LOG_TEST(name) cmocka_unit_test_setup_teardown(name, scratch_setup, scratch_teardown)

/* Appends a crash with this id. */
static inline enum log_place append(const struct scratch *s, const char *id) {
        _cleanup_free_ struct record *record = calloc(1, sizeof(*record));
        enum log_place place = LOG_LOST;

        snprintf(record->id, sizeof(record->id), "%s", id);
        record->pid = 1;
        record->comm = (struct record_text){ "comm", 4 };
        log_append(s->root, record, &place);
        return place;
}

static inline void three(const struct scratch *s) {
        append(s, "0-1-a");
        append(s, "0-2-b");
        append(s, "0-3-c");
}

static inline int verify(const struct scratch *s, struct log_check *ret) {
        return log_verify(scratch_path(s, PATH_LOG), scratch_path(s, PATH_TIP), ret);
}

static inline unsigned count_text(const struct scratch *s, const char *path, const char *text) {
        size_t size;
        _cleanup_free_ char *all = scratch_load(s, path, &size);
        unsigned n = 0;

        if (!all)
                return 0;
        for (char *at = all; (at = memmem(at, size - (size_t)(at - all), text, strlen(text))); at++)
                n++;
        return n;
}

/* The 1-based line, in a text of whole lines. */
static inline char *line_at(char *text, unsigned line) {
        while (--line)
                text = strchr(text, '\n') + 1;
        return text;
}
