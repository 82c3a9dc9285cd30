/* A set holds each string once, up to its limits, and values of arguments by their rule. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "secret/init.h"
#include "secret/needle_add.h"
#include "tests/unit/secret/hunter.h"

DEFINE_CLEANUP(set, struct needle_set, needle_set_free)
#define _cleanup_set_ _cleanup_(cleanup_set)

static struct needle_set *new_set(void) {
        struct needle_set *set = NULL;

        assert_int_equal(needle_set_new(&set), 0);
        return set;
}

static void the_same_bytes_are_one_needle(void **state) {
        _cleanup_set_ struct needle_set *set = new_set();
        const uint8_t bytes[] = "0123456789abcdef";

        (void)state;
        for (uint16_t i = 0; i < 5; i++)
                assert_int_equal(needle_set_add(set, bytes, 16, FORM_PLAIN, i), 0);
        assert_int_equal(needle_set_add(set, bytes, 15, FORM_HEX, 7), 0);
        assert_int_equal(needle_set_count(set), 2);
        assert_int_equal(needle_set_at(set, 0)->origin, 0);
        assert_int_equal(needle_set_at(set, 1)->origin, 7);
        assert_int_equal(needle_set_at(set, 1)->form, FORM_HEX);
        assert_memory_equal(needle_set_at(set, 1)->bytes, bytes, 15);
}

static void what_is_shorter_than_the_least_is_no_needle(void **state) {
        _cleanup_set_ struct needle_set *set = new_set();

        (void)state;
        assert_int_equal(needle_set_add(set, (const uint8_t *)"1234567", 7, FORM_PLAIN, 0), 0);
        assert_int_equal(needle_set_count(set), 0);
        assert_int_equal(needle_set_add(set, (const uint8_t *)"12345678", 8, FORM_PLAIN, 0), 0);
        assert_int_equal(needle_set_count(set), 1);
}

static void needles_stay_where_they_are_while_the_set_grows(void **state) {
        _cleanup_set_ struct needle_set *set = new_set();
        const struct needle *first;
        uint8_t bytes[8] = "first!!";

        (void)state;
        assert_int_equal(needle_set_add(set, bytes, 8, FORM_PLAIN, 0), 0);
        first = needle_set_at(set, 0);
        for (uint32_t i = 0; i < 5000; i++) {
                memcpy(bytes, &i, sizeof(i));
                assert_int_equal(needle_set_add(set, bytes, 8, FORM_PLAIN, 0), 0);
        }
        assert_ptr_equal(first, needle_set_at(set, 0));
        assert_memory_equal(first->bytes, "first!!", 8);
}

static void the_number_of_needles_has_a_limit(void **state) {
        _cleanup_set_ struct needle_set *set = new_set();
        uint8_t bytes[8] = { 0 };
        unsigned flags = 0;

        (void)state;
        for (uint32_t i = 0; i < NEEDLES_MAX; i++) {
                memcpy(bytes, &i, sizeof(i));
                assert_int_equal(needle_set_add(set, bytes, 8, FORM_PLAIN, 0), 0);
        }
        assert_int_equal(needle_set_count(set), NEEDLES_MAX);
        assert_int_equal(needle_set_add(set, bytes, 8, FORM_PLAIN, 0), 0); /* is there already */
        bytes[7] = 1;
        assert_int_equal(needle_set_add(set, bytes, 8, FORM_PLAIN, 0), -E2BIG);
        assert_int_equal(needle_set_add_value(set, (const uint8_t *)"correcthorsebattery", 19, 0),
                         -E2BIG);
        assert_int_equal(
                needle_set_add_file(set, (const uint8_t *)"correcthorsebattery", 19, 0, &flags), 0);
        assert_int_equal(flags, NEEDLE_LARGE);
        assert_int_equal(needle_set_count(set), NEEDLES_MAX);
}

static void the_bytes_of_a_set_have_a_limit(void **state) {
        _cleanup_set_ struct needle_set *set = new_set();
        _cleanup_free_ uint8_t *bytes = calloc(1, NEEDLE_FILE_MAX);

        (void)state;
        for (uint32_t i = 0; i < NEEDLE_BYTES_MAX / NEEDLE_FILE_MAX; i++) {
                memcpy(bytes, &i, sizeof(i));
                assert_int_equal(needle_set_add(set, bytes, NEEDLE_FILE_MAX, FORM_PLAIN, 0), 0);
        }
        assert_int_equal(needle_set_add(set, (const uint8_t *)"12345678", 8, FORM_PLAIN, 0),
                         -E2BIG);
}

static const struct {
        const char *name, *value, *hunted, *spared;
} values[] = {
        { "a bearer token is hunted", "Authorization: Bearer abcdef123456",
          "Authorization: Bearer abcdef123456", NULL },
        { "an option's value is hunted without its name", "--token=abcdef123456", "abcdef123456",
          "--token=abcde" },
        { "a path is not hunted", "/usr/lib/x86_64-linux-gnu/libexample.so.1", NULL,
          "/usr/lib/x86_64-linux-gnu/libexample.so.1" },
        { "a path behind an option is not hunted", "--config=/etc/example/server.conf", NULL,
          "/etc/example/server.conf" },
        { "a search path is not hunted", "/usr/local/sbin:/usr/local/bin:/usr/sbin", NULL,
          "/usr/local/sbin:/usr/local/bin:/usr/sbin" },
        { "a relative path is not hunted", "./build/bin/server-binary", NULL,
          "./build/bin/server-binary" },
        { "11 bytes are not hunted", "abcdef12345", NULL, "abcdef12345" },
        { "12 bytes are hunted", "abcdef123456", "abcdef123456", NULL },
        { "a common word is not hunted", "administrator", NULL, "administrator" },
        { "the password of a URL is hunted by itself", "https://bob:correcthorse@example.org/",
          "correcthorse", NULL },
        { "punctuation is not hunted", "----------------", NULL, "----------------" },
};

static void values_are_hunted_by_their_rule(void **state) {
        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
                _cleanup_hunter_ struct hunter *h = hunter_new();

                print_message("  %s\n", values[i].name);
                assert_int_equal(needle_set_add_value(h->set, (const uint8_t *)values[i].value,
                                                      strlen(values[i].value), 5),
                                 0);
                hunter_ready(h);
                if (values[i].hunted)
                        assert_hunted(h, values[i].hunted, strlen(values[i].hunted));
                if (values[i].spared)
                        assert_not_hunted(h, values[i].spared, strlen(values[i].spared));
        }
}

static void every_form_has_a_name(void **state) {
        (void)state;
        for (enum form form = 0; form < _FORM_MAX; form++)
                assert_non_null(form_to_string(form));
        assert_null(form_to_string(_FORM_MAX));
}

static int warm(void **state) {
        (void)state;
        return secret_init();
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_same_bytes_are_one_needle),
                cmocka_unit_test(what_is_shorter_than_the_least_is_no_needle),
                cmocka_unit_test(needles_stay_where_they_are_while_the_set_grows),
                cmocka_unit_test(the_number_of_needles_has_a_limit),
                cmocka_unit_test(the_bytes_of_a_set_have_a_limit),
                cmocka_unit_test(values_are_hunted_by_their_rule),
                cmocka_unit_test(every_form_has_a_name),
        };

        return cmocka_run_group_tests(tests, warm, NULL);
}
