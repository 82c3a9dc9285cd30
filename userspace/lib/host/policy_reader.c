#include "host/policy_reader.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "base/cleanup.h"

static bool is_blank(char c) {
        return c == ' ' || c == '\t';
}

/* Cuts blanks off both ends, in place. */
static char *trim(char *text) {
        size_t size;

        while (is_blank(*text))
                text++;
        size = strlen(text);
        while (size > 0 && is_blank(text[size - 1]))
                text[--size] = '\0';
        return text;
}

const char *quote_text(const char *text, char ret[QUOTE_SIZE]) {
        static const char hex[] = "0123456789abcdef";
        static const char cut[] = "...";
        size_t n = 0;

        for (; *text; text++) {
                unsigned char c = (unsigned char)*text;
                bool plain = c >= ' ' && c < 0x7f;

                if (n + 4 + sizeof(cut) > QUOTE_SIZE) {
                        memcpy(ret + n, cut, sizeof(cut));
                        return ret;
                }
                if (plain)
                        ret[n++] = (char)c;
                else {
                        ret[n++] = '\\';
                        ret[n++] = 'x';
                        ret[n++] = hex[c >> 4];
                        ret[n++] = hex[c & 15];
                }
        }
        ret[n] = '\0';
        return ret;
}

int reader_error(struct policy_reader *r, unsigned line, const char *format, ...) {
        va_list ap;

        r->n_errors++;
        if (!r->errors || r->n_errors > POLICY_ERRORS_MAX + 1)
                return -EINVAL;
        if (r->n_errors == POLICY_ERRORS_MAX + 1) {
                fprintf(r->errors, "coresieve: %s: more errors follow; mend these %u first\n",
                        r->file, POLICY_ERRORS_MAX);
                return -EINVAL;
        }
        if (line > 0)
                fprintf(r->errors, "coresieve: %s:%u: ", r->file, line);
        else
                fprintf(r->errors, "coresieve: %s: ", r->file);
        va_start(ap, format);
        vfprintf(r->errors, format, ap);
        va_end(ap);
        fputc('\n', r->errors);
        return -EINVAL;
}

/* "[Kind]" or "[Kind NAME]"; `line` is trimmed and begins with '['. */
static int take_section(struct policy_reader *r, char *line) {
        size_t size = strlen(line);
        char quoted[QUOTE_SIZE];
        char *kind, *name;

        if (line[size - 1] != ']')
                return reader_error(r, r->line, "%s: section without its closing ]",
                                    quote_text(line, quoted));
        line[size - 1] = '\0';
        kind = trim(line + 1);
        name = kind + strcspn(kind, " \t");
        if (*name != '\0')
                *name++ = '\0';
        return reader_section(r, kind, trim(name));
}

/* Both of these are customs of other INI readers, and a value that quietly kept them would be a
 * path that names nothing. */
static const char *value_custom(const char *value) {
        size_t size = strlen(value);

        if (size == 0)
                return "is empty; give a value or remove the line";
        if (value[size - 1] == '\\')
                return "ends in \\, but lines are not continued; write one line";
        for (const char *at = value; (at = strpbrk(at, "#;")); at++)
                if (at == value || is_blank(at[-1]))
                        return "holds a comment; comments stand on lines of their own";
        return NULL;
}

static int take_key(struct policy_reader *r, char *line) {
        char *equals = strchr(line, '='), *key, *value;
        char quoted[QUOTE_SIZE];
        const char *why;

        if (!equals || equals == line)
                return reader_error(r, r->line, "%s: neither [Section], Key=value nor a comment",
                                    quote_text(line, quoted));
        *equals = '\0';
        key = trim(line);
        value = trim(equals + 1);
        if (r->section == SECTION_NONE)
                return reader_error(r, r->line,
                                    "%s=: stands before any section; begin with "
                                    "[Default], [Secret NAME] or [Process NAME]",
                                    quote_text(key, quoted));
        why = value_custom(value);
        if (why)
                return reader_error(r, r->line, "%s=: %s", quote_text(key, quoted), why);
        return reader_key(r, key, value);
}

static bool has_control(const char *line, size_t size) {
        for (size_t i = 0; i < size; i++)
                if (((unsigned char)line[i] < ' ' && line[i] != '\t') || line[i] == 0x7f)
                        return true;
        return false;
}

/* Spaces, separators, joiners and direction marks of Unicode that an editor does not show, or
 * shows as a blank or a new line: a path that ends in one names nothing, and a rule behind a
 * U+2028 of a comment is never read. */
static bool is_invisible(uint32_t c) {
        static const struct {
                uint32_t first, last;
        } ranges[] = {
                { 0x80, 0xa0 },     { 0xad, 0xad },     { 0x2000, 0x200f }, { 0x2028, 0x202f },
                { 0x205f, 0x206f }, { 0x3000, 0x3000 }, { 0xfeff, 0xfeff },
        };

        for (size_t i = 0; i < ARRAY_SIZE(ranges); i++)
                if (c >= ranges[i].first && c <= ranges[i].last)
                        return true;
        return false;
}

/* All of them are UTF-8 sequences of two or three bytes; other bytes are not looked at. */
static bool has_invisible(const char *line, size_t size) {
        const unsigned char *at = (const unsigned char *)line;

        for (; size >= 2; at++, size--) {
                if ((at[0] & 0xe0) == 0xc0 &&
                    is_invisible((uint32_t)(at[0] & 0x1f) << 6 | (at[1] & 0x3f)))
                        return true;
                if ((at[0] & 0xf0) == 0xe0 && size >= 3 &&
                    is_invisible((uint32_t)(at[0] & 0x0f) << 12 | (uint32_t)(at[1] & 0x3f) << 6 |
                                 (at[2] & 0x3f)))
                        return true;
        }
        return false;
}

/* Returns 0, -EINVAL (told) or -ENOMEM. */
static int take_line(struct policy_reader *r, char *line, size_t size) {
        int k;

        /* Looked at before anything treats the line as a string, comments included: what an
         * editor shows and what we read must not differ. */
        if (size > 0 && line[size - 1] == '\r')
                return reader_error(r, r->line,
                                    "ends in a carriage return; convert the file to "
                                    "Unix line ends");
        if (has_control(line, size))
                return reader_error(r, r->line, "holds a NUL or control byte; remove it");
        if (has_invisible(line, size))
                return reader_error(r, r->line,
                                    "holds an invisible character (a no-break space, a byte "
                                    "order mark); type the line anew");

        line = trim(line);
        if (*line == '\0' || *line == '#' || *line == ';')
                return 0;
        if (*line != '[')
                return r->section_skipped ? 0 : take_key(r, line);

        r->seen_any_section = true;
        r->seen_keys = 0;
        k = take_section(r, line);
        r->section_skipped = k < 0;
        return k;
}

int reader_take_file(struct policy_reader *r, const char *name, char *text, size_t size) {
        char *end = text + size;

        r->file = name;
        r->line = 0;
        r->section = SECTION_NONE;
        r->section_skipped = r->seen_any_section = r->seen_default = false;

        while (text < end) {
                char *newline = memchr(text, '\n', (size_t)(end - text));
                size_t n = newline ? (size_t)(newline - text) : (size_t)(end - text);

                r->line++;
                text[n] = '\0';
                if (take_line(r, text, n) == -ENOMEM)
                        return -ENOMEM;
                text += n + 1;
        }
        return 0;
}
