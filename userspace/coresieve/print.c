#include "print.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "audit/record_text.h"
#include "cli.h"

#define KEY_COLUMNS 14
#define INDENT 2

int print_error(const char *thing, const char *reason, const char *remedy) {
        (void)fprintf(stderr, "coresieve: %s: %s: %s\n", thing, reason, remedy);
        return CLI_CANNOT;
}

int print_errno(const char *thing, int error, const char *remedy) {
        const char *words = strerrordesc_np(error < 0 ? -error : error);

        return print_error(thing, words ? words : "unknown error", remedy);
}

static uint32_t code_point(const unsigned char *bytes, size_t n) {
        static const unsigned char masks[] = { 0, 0x7f, 0x1f, 0x0f, 0x07 };
        uint32_t code = bytes[0] & masks[n];

        for (size_t i = 1; i < n; i++)
                code = code << 6 | (bytes[i] & 0x3f);
        return code;
}

/* Control characters, and those of Unicode's that change direction, join or hide. */
static bool steers(uint32_t code) {
        return code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0xad || code == 0x61c ||
               (code >= 0x200b && code <= 0x200f) || (code >= 0x2028 && code <= 0x202e) ||
               (code >= 0x2060 && code <= 0x206f) || code == 0xfeff ||
               (code >= 0xfff9 && code <= 0xfffb) || code >= 0xe0000;
}

int print_safe(FILE *file, const char *text) {
        size_t size = strlen(text);
        int columns = 0;

        for (size_t i = 0; i < size;) {
                const unsigned char *at = (const unsigned char *)text + i;
                size_t n = text_sequence(at, size - i);
                uint32_t code = n ? code_point(at, n) : *at;

                if (n && !steers(code)) {
                        (void)fwrite(at, 1, n, file);
                        columns++;
                } else
                        columns += fprintf(file, "\\u%04" PRIx32, code);
                i += n ? n : 1;
        }
        return columns;
}

static void print_scalar(FILE *file, const json_t *value) {
        if (json_is_string(value))
                (void)print_safe(file, json_string_value(value));
        else if (json_is_integer(value))
                (void)fprintf(file, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        else if (json_is_boolean(value))
                (void)fputs(json_is_true(value) ? "yes" : "no", file);
        else
                (void)fputc('-', file);
}

static bool is_flat(const json_t *array) {
        for (size_t i = 0; i < json_array_size(array); i++) {
                const json_t *value = json_array_get(array, i);

                if (json_is_object(value) || json_is_array(value))
                        return false;
        }
        return true;
}

/* Does it begin on a line of its own? */
static bool is_block(const json_t *value) {
        return (json_is_object(value) && json_object_size(value) > 0) ||
               (json_is_array(value) && !is_flat(value));
}

static void print_array(FILE *file, const json_t *array, int indent) {
        size_t n = json_array_size(array);

        if (n == 0 || is_flat(array)) {
                for (size_t i = 0; i < n; i++) {
                        (void)fputs(i ? ", " : "", file);
                        print_scalar(file, json_array_get(array, i));
                }
                (void)fputs(n ? "\n" : "-\n", file);
                return;
        }
        (void)fputc('\n', file);
        for (size_t i = 0; i < n; i++) {
                (void)fprintf(file, "%*s%zu:", indent, "", i + 1);
                print_value(file, json_array_get(array, i), indent + INDENT);
        }
}

static void print_object(FILE *file, const json_t *object, int indent) {
        const char *key;
        json_t *value;

        if (json_object_size(object) == 0) {
                (void)fputs("-\n", file);
                return;
        }
        (void)fputc('\n', file);
        json_object_foreach((json_t *)object, key, value) {
                int columns = fprintf(file, "%*s", indent, "") - indent + print_safe(file, key);

                (void)fputc(':', file);
                if (!is_block(value))
                        (void)fprintf(file, "%*s",
                                      columns < KEY_COLUMNS ? KEY_COLUMNS - columns : 1, "");
                print_value(file, value, indent + INDENT);
        }
}

void print_value(FILE *file, const json_t *value, int indent) {
        if (json_is_object(value))
                print_object(file, value, indent);
        else if (json_is_array(value))
                print_array(file, value, indent);
        else {
                print_scalar(file, value);
                (void)fputc('\n', file);
        }
}

void print_json(const json_t *value) {
        if (json_dumpf(value, stdout, JSON_INDENT(2) | JSON_ENSURE_ASCII | JSON_ENCODE_ANY) < 0)
                (void)print_error("JSON", "not written", "is there memory and room for it?");
        (void)putchar('\n');
}

int print_done(int status) {
        if (fflush(stdout) == 0 && !ferror(stdout))
                return status;
        return print_errno("stdout", errno ? errno : EIO, "the answer is not complete");
}
