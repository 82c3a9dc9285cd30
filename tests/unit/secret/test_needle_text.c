/* What of a text is hunted, in which forms, and what is flagged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "secret/init.h"
#include "tests/unit/secret/form_maker.h"
#include "tests/unit/secret/hunter.h"

#define SHORT NEEDLE_TOO_SHORT
#define STRINGS_MAX 4U

struct text_case {
        const char *name;
        const char *text;
        unsigned flags;
        const char *hunted[STRINGS_MAX]; /* whole, by themselves */
        const char *spared[STRINGS_MAX];
};

static const struct text_case cases[] = {
        { "one word alone is a password", "correcthorse\n", 0, { "correcthorse" }, { 0 } },
        { "a short word alone is flagged", "hunter2\n", SHORT, { 0 }, { "hunter2" } },
        { "a value is hunted without its name",
          "DB_PASSWORD=correcthorse\n",
          0,
          { "correcthorse", "DB_PASSWORD=correcthorse" },
          { 0 } },
        { "quotes are no part of a value",
          "password = \"correcthorse\"\n",
          0,
          { "correcthorse" },
          { 0 } },
        { "single quotes are none either",
          "password: 'correcthorse'\n",
          0,
          { "correcthorse" },
          { 0 } },
        { "a short value is flagged", "password = hunter2\n", SHORT, { 0 }, { 0 } },
        { "a comment, a blank line and a bare name flag nothing",
          "# hi\n\n; hm\n[db]\npassword:\nTOKEN=\n  \n",
          0,
          { 0 },
          { 0 } },
        { "a long comment may hold an old password",
          "# was: correcthorsebattery\n",
          0,
          { "# was: correcthorsebattery" },
          { 0 } },
        { "common words are neither hunted nor flagged",
          "ssl = on\nhost=localhost\nuser: root\ndebug = FALSE\nkind = production\n",
          0,
          { 0 },
          { "production", "localhost" } },
        { "a path is no secret, nor is its line",
          "log_file = /var/log/example/server.log\n",
          0,
          { 0 },
          { "/var/log/example/server.log", "log_file = /var/log/example/server.log" } },
        { "a token may begin with a slash",
          "key = /Ab3xy7Qq9ZtLm42Pw0KdVr5\n",
          0,
          { "/Ab3xy7Qq9ZtLm42Pw0KdVr5" },
          { 0 } },
        { "an OpenSSH public key is nobody's secret, and its comment may be short",
          "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPdzQ3Yh4tB0Lk1mWQ8r9nD2vX5cJ6fK7gH1aZ0bYxUe "
          "root@vm\n"
          "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBKq3\n",
          0,
          { 0 },
          { "AAAAC3NzaC1lZDI1NTE5AAAAIPdzQ3Yh4tB0Lk1mWQ8r9nD2vX5cJ6fK7gH1aZ0bYxUe" } },
        { "what only begins like a public key is a secret",
          "ssh-password correcthorse\n",
          0,
          { "correcthorse" },
          { 0 } },
        { "the last part of user:password is hunted",
          "alice:correcthorse\n",
          0,
          { "correcthorse" },
          { 0 } },
        { "the last part of a .pgpass line is flagged when short",
          "localhost:5432:shop:shopkeeper:hunter2\n",
          SHORT,
          { "shopkeeper" },
          { 0 } },
        { "the last part of a .pgpass line is hunted",
          "localhost:5432:shop:bob:correcthorse\n",
          0,
          { "correcthorse" },
          { 0 } },
        { "a .netrc line gives its password",
          "machine example.org login bob password correcthorse\n",
          0,
          { "correcthorse" },
          { 0 } },
        { "the password of a URL is hunted",
          "DATABASE_URL=postgres://bob:correcthorse@db.example.org/shop\n",
          0,
          { "correcthorse" },
          { 0 } },
        { "the password of a URL is decoded",
          "url: redis://:correct%2Fhorse%21x@cache:6379/0\n",
          0,
          { "correct/horse!x", "correct%2Fhorse%21x" },
          { 0 } },
        { "a short password of a URL is flagged", "u=amqp://bob:pw@mq/\n", SHORT, { 0 }, { 0 } },
        { "a URL without a password is not flagged", "u=https://example.org/a\n", 0, { 0 }, { 0 } },
        { "JSON strings are values, names are not",
          "{\"user_identifier\": \"bobby_tables\", \"password\": \"correcthorse\"}\n",
          0,
          { "correcthorse", "bobby_tables" },
          { 0 } },
        { "a JSON string is hunted without its escapes",
          "{\"password\":\"correct\\\"horse\\/x\\u00e9y\"}\n",
          0,
          { "correct\"horse/x\xc3\xa9y", "correct\\\"horse\\/x\\u00e9y" },
          { 0 } },
        { "a short JSON string is flagged", "{\"password\": \"hunter2\"}\n", SHORT, { 0 }, { 0 } },
        { "a short JSON number is flagged", "  \"pin\": 123456,\n", SHORT, { 0 }, { 0 } },
        { "JSON's brackets and literals flag nothing",
          "{\n  \"a\": {\n  \"b\": [ true, false ],\n \"c\": null\n  }\n}\n",
          0,
          { 0 },
          { 0 } },
        { "an XML element gives its text",
          "<password>correcthorse</password>\n",
          0,
          { "correcthorse" },
          { 0 } },
        { "a value ends before `;`", "pass correcthorse;\n", 0, { "correcthorse" }, { 0 } },
        { "lines may end in CRLF",
          "a=correcthorse\r\nb=batterystaple\r\n",
          0,
          { "correcthorse", "batterystaple" },
          { 0 } },
        { "a base64 value that ends in `=` is a value",
          "key = Y29ycmVjdGhvcnNlYmF0dGVyeQ==\n",
          0,
          { "Y29ycmVjdGhvcnNlYmF0dGVyeQ==", "correcthorsebattery" },
          { 0 } },
        { "a lone base64 key is hunted decoded, too",
          "Y29ycmVjdGhvcnNlYmF0dGVyeQ=\n",
          0,
          { "correcthorsebattery" },
          { 0 } },
        { "a hex value is hunted decoded, too",
          "psk = 636f7272656374686f7273656261747465727921\n",
          0,
          { "correcthorsebattery!" },
          { 0 } },
        { "text may be Latin-1", "pass = correct\xe9horse\n", 0, { "correct\xe9horse" }, { 0 } },
        { "YAML around an indented key is a text file",
          "api_token: correcthorse\nkey: |\n  -----BEGIN X-----\n",
          0,
          { "correcthorse" },
          { 0 } },
};

static unsigned add_text(struct hunter *h, const char *text, size_t n) {
        unsigned flags = 0;

        assert_int_equal(needle_set_add_file(h->set, (const uint8_t *)text, n, 1, &flags), 0);
        hunter_ready(h);
        return flags;
}

static void text_is_hunted_by_lines_and_values(void **state) {
        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                _cleanup_hunter_ struct hunter *h = hunter_new();
                unsigned flags = add_text(h, cases[i].text, strlen(cases[i].text));

                print_message("  %s\n", cases[i].name);
                assert_int_equal(flags, cases[i].flags);
                for (size_t k = 0; k < STRINGS_MAX && cases[i].hunted[k]; k++)
                        assert_hunted(h, cases[i].hunted[k], strlen(cases[i].hunted[k]));
                for (size_t k = 0; k < STRINGS_MAX && cases[i].spared[k]; k++)
                        assert_not_hunted(h, cases[i].spared[k], strlen(cases[i].spared[k]));
        }
}

static struct bytes wide(const char *text, size_t n, bool big_endian) {
        struct bytes b = { 0 };

        for (size_t i = 0; i < n; i++)
                put_bytes(&b, big_endian ? (char[]){ 0, text[i] } : (char[]){ text[i], 0 }, 2);
        return b;
}

static void a_password_is_hunted_in_every_text_form(void **state) {
        static const char password[] = "p@ss/w\"rd~+?>42", json[] = "p@ss/w\\\"rd~+?>42",
                          slashes[] = "p@ss\\/w\\\"rd~+?>42", url[] = "p%40ss%2Fw%22rd~%2B%3F%3E42";
        const uint8_t *bytes = (const uint8_t *)password;
        const size_t n = sizeof(password) - 1;
        _cleanup_hunter_ struct hunter *h = hunter_new();

        (void)state;
        assert_int_equal(add_text(h, password, n), 0);
        assert_hunted(h, password, n);
        assert_hunted(h, json, sizeof(json) - 1);
        assert_hunted(h, slashes, sizeof(slashes) - 1);
        assert_hunted(h, url, sizeof(url) - 1);
        for (size_t i = 0; i < 2; i++) {
                _cleanup_bytes_ struct bytes w = wide(password, n, i);
                _cleanup_bytes_ struct bytes hex = made_hex(bytes, n, i ? "%02X" : "%02x", 0);

                assert_hunted(h, w.data, w.size);
                assert_hunted(h, hex.data, hex.size);
        }
        for (size_t phase = 0; phase < 3; phase++)
                for (size_t i = 0; i < 2; i++) {
                        _cleanup_bytes_ struct bytes b = made_base64(bytes, n, phase, i);
                        _cleanup_bytes_ struct bytes std = made_base64(bytes, n, phase, false);
                        _cleanup_bytes_ struct bytes w = wide((const char *)std.data, std.size, i);

                        assert_hunted(h, b.data, b.size);
                        assert_hunted(h, w.data, w.size);
                }
}

static void utf8_is_hunted_as_utf16(void **state) {
        static const char text[] = "gr\xc3\xbc\xc3\x9f-\xe2\x82\xac\xf0\x9f\x94\x91-1";
        static const uint8_t le[] = { 'g',  0,    'r',  0,    0xfc, 0,    0xdf, 0, '-', 0,
                                      0xac, 0x20, 0x3d, 0xd8, 0x11, 0xdd, '-',  0, '1', 0 };
        _cleanup_hunter_ struct hunter *h = hunter_new();

        (void)state;
        assert_int_equal(add_text(h, text, sizeof(text) - 1), 0);
        assert_hunted(h, le, sizeof(le));
}

/* What programs of other languages make of one password: each has a library that leaves other
 * characters as they are, and a fragment between two escapes is short. */
static void escapes_of_every_library_are_hunted(void **state) {
        static const char password[] = "a/+\"\xc3\xbc&b <c>%=\xc3\xa9'1*~:\xf0\x9f\x94\x91@$!";
        static const char *const written[] = {
                /* json.dumps of Python, PHP, Java, Go */
                "a/+\\\"\\u00fc&b <c>%=\\u00e9'1*~:\\ud83d\\udd11@$!",
                "a\\/+\\\"\\u00fc&b <c>%=\\u00e9'1*~:\\ud83d\\udd11@$!",
                "a/+\\\"\\u00FC&b <c>%=\\u00E9'1*~:\\uD83D\\uDD11@$!",
                "a/+\\\"\xc3\xbc\\u0026b \\u003cc\\u003e%=\xc3\xa9'1*~:\xf0\x9f\x94\x91@$!",
                /* quote, quote_plus, small digits, encodeURIComponent, URLEncoder */
                "a/%2B%22%C3%BC%26b%20%3Cc%3E%25%3D%C3%A9%271%2A~%3A%F0%9F%94%91%40%24%21",
                "a%2F%2B%22%C3%BC%26b+%3Cc%3E%25%3D%C3%A9%271%2A~%3A%F0%9F%94%91%40%24%21",
                "a%2f%2b%22%c3%bc%26b%20%3cc%3e%25%3d%c3%a9%271%2a~%3a%f0%9f%94%91%40%24%21",
                "a%2F%2B%22%C3%BC%26b%20%3Cc%3E%25%3D%C3%A9'1*~%3A%F0%9F%94%91%40%24!",
                "a%2F%2B%22%C3%BC%26b+%3Cc%3E%25%3D%C3%A9%271*%7E%3A%F0%9F%94%91%40%24%21",
                /* XML and HTML */
                "a/+&quot;\xc3\xbc&amp;b &lt;c&gt;%=\xc3\xa9&#039;1*~:\xf0\x9f\x94\x91@$!",
                "a/+&quot;\xc3\xbc&amp;b &lt;c&gt;%=\xc3\xa9&#x27;1*~:\xf0\x9f\x94\x91@$!",
                /* quotemeta, addslashes */
                "a\\/\\+\\\"\xc3\xbc\\&b\\ \\<c\\>\\%\\=\xc3\xa9\\'1\\*\\~\\:\xf0\x9f\x94\x91\\@\\$"
                "\\!",
                "a/+\\\"\xc3\xbc&b <c>%=\xc3\xa9\\'1*~:\xf0\x9f\x94\x91@$!",
        };
        _cleanup_hunter_ struct hunter *h = hunter_new();

        (void)state;
        /* Its last piece looks like a short value of its own. */
        assert_int_equal(add_text(h, password, sizeof(password) - 1), SHORT);
        for (size_t i = 0; i < ARRAY_SIZE(written); i++)
                assert_hunted(h, written[i], strlen(written[i]));
}

/* 20 KB of settings with escapes in every value still fit, and each value's escapes are hunted. */
static void many_values_with_escapes_fit_into_a_set(void **state) {
        static const char value[] = "7f3%-&ab/\xc3\xa9+cd", url[] = "7f3%25-%26ab%2F%C3%A9%2Bcd";
        _cleanup_hunter_ struct hunter *h = hunter_new();
        _cleanup_bytes_ struct bytes text = { 0 };
        char line[100];

        (void)state;
        for (unsigned i = 0; i < 400; i++) {
                uint64_t a = noise(&h->seed), b = noise(&h->seed);
                int n = snprintf(line, sizeof(line), "KEY_%u_X = \"%016lx & %08lx/\xc3\xa9+x\"\n",
                                 i, (unsigned long)a, (unsigned long)b);

                put_bytes(&text, line, (size_t)n);
        }
        put_bytes(&text, "LAST=", 5);
        put_bytes(&text, value, sizeof(value) - 1);
        assert_int_equal(add_text(h, (const char *)text.data, text.size), 0);
        assert_hunted(h, url, sizeof(url) - 1);
}

static void an_escaped_text_is_hunted_in_utf16(void **state) {
        static const char password[] = "p@ss/w\"rd~+?>42", url[] = "p%40ss%2Fw%22rd~%2B%3F%3E42";
        _cleanup_hunter_ struct hunter *h = hunter_new();
        _cleanup_bytes_ struct bytes w = wide(url, sizeof(url) - 1, false);

        (void)state;
        assert_int_equal(add_text(h, password, sizeof(password) - 1), 0);
        assert_hunted(h, w.data, w.size);
}

/* CPython's str with an emoji in it, wchar_t of regcomp(), Go's []rune. */
static void text_is_hunted_as_utf32(void **state) {
        static const char text[] = "gr\xc3\xbc\xf0\x9f\x94\x91-secret";
        static const uint8_t le[] = { 'g', 0, 0, 0, 'r', 0, 0, 0, 0xfc, 0, 0, 0, 0x11, 0xf5, 1, 0,
                                      '-', 0, 0, 0, 's', 0, 0, 0, 'e',  0, 0, 0, 'c',  0,    0, 0,
                                      'r', 0, 0, 0, 'e', 0, 0, 0, 't',  0, 0, 0 };
        _cleanup_hunter_ struct hunter *h = hunter_new();

        (void)state;
        assert_int_equal(add_text(h, text, sizeof(text) - 1), 0);
        assert_hunted(h, le, sizeof(le));
}

/* int.from_bytes(), str() and hex() of a key that is a file of random bytes. */
static void other_bytes_are_hunted_as_a_number_and_in_utf16(void **state) {
        _cleanup_hunter_ struct hunter *h = hunter_new();
        _cleanup_test_bn_ BIGNUM *number = NULL;
        _cleanup_bytes_ struct bytes decimal = { 0 }, limbs = { 0 }, digits = { 0 }, hex = { 0 };
        uint8_t key[48];

        (void)state;
        noise_fill(&h->seed, key, sizeof(key));
        key[0] |= 0x80;
        key[5] = 0;
        number = BN_bin2bn(key, sizeof(key), NULL);
        decimal = made_decimal(number);
        limbs = made_limbs(number);
        digits = made_digits(number, 30, 4);
        hex = made_hex(key, sizeof(key), "%02x", 0);
        assert_int_equal(add_text(h, (const char *)key, sizeof(key)), 0);
        assert_hunted(h, decimal.data, decimal.size);
        assert_hunted(h, limbs.data, limbs.size);
        assert_hunted(h, digits.data, digits.size);
        for (size_t i = 0; i < 2; i++) {
                _cleanup_bytes_ struct bytes w = wide((const char *)hex.data, hex.size, i);
                _cleanup_bytes_ struct bytes b = made_base64(key, sizeof(key), 1, false);
                _cleanup_bytes_ struct bytes wb = wide((const char *)b.data, b.size, i);

                assert_hunted(h, w.data, w.size);
                assert_hunted(h, wb.data, wb.size);
        }
}

static void other_bytes_are_hunted_whole(void **state) {
        _cleanup_hunter_ struct hunter *h = hunter_new();
        uint8_t key[32];

        (void)state;
        noise_fill(&h->seed, key, sizeof(key));
        key[5] = 0;
        assert_int_equal(add_text(h, (const char *)key, sizeof(key)), 0);
        assert_hunted(h, key, sizeof(key));
        for (size_t phase = 0; phase < 3; phase++) {
                _cleanup_bytes_ struct bytes b = made_base64(key, sizeof(key), phase, false);

                assert_hunted(h, b.data, b.size);
        }
        assert_int_equal(add_text(h, "\0\1\2\3", 4), NEEDLE_TOO_SHORT);
        assert_int_equal(add_text(h, "", 0), 0);
}

static void a_file_at_the_limit_is_hunted_and_one_over_it_flagged(void **state) {
        _cleanup_hunter_ struct hunter *h = hunter_new();
        _cleanup_free_ uint8_t *big = malloc(NEEDLE_FILE_MAX + 1);

        (void)state;
        noise_fill(&h->seed, big, NEEDLE_FILE_MAX + 1);
        assert_int_equal(add_text(h, (const char *)big, NEEDLE_FILE_MAX), 0);
        assert_hunted(h, big + NEEDLE_FILE_MAX - 64, 64);
        assert_int_equal(add_text(h, (const char *)big, NEEDLE_FILE_MAX + 1), NEEDLE_LARGE);
}

/* --- PEM files --- */

static void a_file_of_certificates_gives_nothing(void **state) {
        static const char before[] = "subject=CN = server.example.org\nServer: x\n\n";
        _cleanup_pkey_ EVP_PKEY *key = make_ec("P-256");
        _cleanup_bytes_ struct bytes pem = make_certificate(key, true);
        _cleanup_bytes_ struct bytes der = make_certificate(key, false);
        _cleanup_bytes_ struct bytes public = encode(key, "PEM", "SubjectPublicKeyInfo", NULL);
        _cleanup_bytes_ struct bytes public_der = encode(key, "DER", "SubjectPublicKeyInfo", NULL);
        _cleanup_bytes_ struct bytes text = { 0 };
        _cleanup_hunter_ struct hunter *h = hunter_new();

        (void)state;
        put_bytes(&text, before, sizeof(before) - 1);
        put_bytes(&text, pem.data, pem.size);
        put_bytes(&text, pem.data, pem.size);
        put_bytes(&text, public.data, public.size);
        assert_int_equal(add_text(h, (char *)text.data, text.size), 0);
        assert_int_equal(add_text(h, (char *)der.data, der.size), 0);
        assert_int_equal(add_text(h, (char *)public_der.data, public_der.size), 0);
        assert_int_equal(needle_set_count(h->set), 0);
}

static void of_a_mixed_file_only_the_key_is_hunted(void **state) {
        static const char bag[] = "Bag Attributes\n    localKeyID: 01 02 \nsubject=CN = x\n";
        _cleanup_pkey_ EVP_PKEY *key = make_rsa(1024, 2);
        _cleanup_bytes_ struct bytes cert = make_certificate(key, true);
        _cleanup_bytes_ struct bytes cert_der = make_certificate(key, false);
        _cleanup_bytes_ struct bytes pem = encode(key, "PEM", "PrivateKeyInfo", NULL);
        _cleanup_bytes_ struct bytes text = { 0 };
        _cleanup_hunter_ struct hunter *h = hunter_new();
        _cleanup_test_bn_ BIGNUM *p = number_of(key, OSSL_PKEY_PARAM_RSA_FACTOR1);
        _cleanup_bytes_ struct bytes limbs = made_limbs(p);

        (void)state;
        put_bytes(&text, bag, sizeof(bag) - 1);
        put_bytes(&text, cert.data, cert.size);
        put_bytes(&text, pem.data, pem.size);
        put_bytes(&text, cert.data, cert.size);
        assert_int_equal(add_text(h, (char *)text.data, text.size), NEEDLE_KEY);
        assert_hunted(h, limbs.data, limbs.size);
        assert_not_hunted(h, cert.data, cert.size);
        assert_not_hunted(h, cert_der.data, cert_der.size);
}

static void keys_are_found_however_the_text_holds_them(void **state) {
        static const char *const newlines[] = { "\n", "\r\n", "\\n", "\\r\\n", "\n    ", "\\\\n" };
        static const char *const around[][2] = {
                { "", "" },
                { "leading text\n\n", "trailing\n" },
                { "{\"key\":\"", "\"}\n" },
                { "export KEY='", "'\n" },
                { "\xef\xbb\xbf", "" },
        };
        _cleanup_pkey_ EVP_PKEY *key = make_ec("P-256");
        _cleanup_bytes_ struct bytes der = encode(key, "DER", "type-specific", NULL);
        _cleanup_test_bn_ BIGNUM *d = number_of(key, OSSL_PKEY_PARAM_PRIV_KEY);
        _cleanup_bytes_ struct bytes limbs = made_limbs(d);

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(newlines); i++)
                for (size_t k = 0; k < ARRAY_SIZE(around); k++) {
                        _cleanup_bytes_ struct bytes pem =
                                armor(&der, "EC PRIVATE KEY", newlines[i]);
                        _cleanup_bytes_ struct bytes text = { 0 };
                        _cleanup_hunter_ struct hunter *h = hunter_new();

                        put_bytes(&text, around[k][0], strlen(around[k][0]));
                        put_bytes(&text, pem.data, pem.size);
                        put_bytes(&text, around[k][1], strlen(around[k][1]));
                        assert_int_equal(add_text(h, (char *)text.data, text.size) & NEEDLE_KEY,
                                         NEEDLE_KEY);
                        assert_hunted(h, limbs.data, limbs.size);
                }
}

static void several_keys_of_one_file_are_all_hunted(void **state) {
        _cleanup_pkey_ EVP_PKEY *a = make_ec("P-384"), *b = make_ec("secp256k1");
        _cleanup_bytes_ struct bytes pem_a = encode(a, "PEM", "PrivateKeyInfo", NULL);
        _cleanup_bytes_ struct bytes pem_b = encode(b, "PEM", "type-specific", NULL);
        _cleanup_test_bn_ BIGNUM *d_a = number_of(a, "priv"), *d_b = number_of(b, "priv");
        _cleanup_bytes_ struct bytes limbs_a = made_limbs(d_a), limbs_b = made_limbs(d_b);
        _cleanup_hunter_ struct hunter *h = hunter_new();

        (void)state;
        put_bytes(&pem_a, pem_b.data, pem_b.size);
        assert_int_equal(add_text(h, (char *)pem_a.data, pem_a.size), NEEDLE_KEY);
        assert_hunted(h, limbs_a.data, limbs_a.size);
        assert_hunted(h, limbs_b.data, limbs_b.size);
}

static void the_text_of_an_encrypted_key_is_hunted_and_it_is_flagged(void **state) {
        _cleanup_pkey_ EVP_PKEY *key = make_rsa(1024, 2), *ed = make_edwards("ED25519");
        struct bytes files[4] = {
                encode(key, "PEM", "PrivateKeyInfo", "secret pass"),
                encode(key, "PEM", "type-specific", "secret pass"),
                encode_openssh(ed, "aes256-ctr"),
                { 0 },
        };

        (void)state;
        files[3] = armor(&files[2], "OPENSSH PRIVATE KEY", "\n");
        for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
                _cleanup_hunter_ struct hunter *h = hunter_new();

                assert_int_equal(add_text(h, (char *)files[i].data, files[i].size),
                                 NEEDLE_ENCRYPTED);
                assert_hunted(h, files[i].data + files[i].size / 2, 48);
                bytes_done(&files[i]);
        }
}

static void a_key_that_does_not_parse_is_hunted_as_it_stands_and_flagged(void **state) {
        static const char text[] =
                "-----BEGIN PRIVATE KEY-----\n"
                "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4v\n"
                "-----END PRIVATE KEY-----\n";
        _cleanup_hunter_ struct hunter *h = hunter_new();
        uint8_t decoded[48];

        (void)state;
        for (size_t i = 0; i < sizeof(decoded); i++)
                decoded[i] = (uint8_t)i;
        assert_int_equal(add_text(h, text, sizeof(text) - 1), NEEDLE_ENCRYPTED);
        assert_hunted(h, text + 28, 64);
        assert_hunted(h, decoded, sizeof(decoded));
        assert_not_hunted(h, text, 28);
}

static void an_unknown_block_is_text(void **state) {
        static const char text[] = "-----BEGIN OpenVPN Static key V1-----\n"
                                   "636f7272656374686f72736562617474\n"
                                   "-----END OpenVPN Static key V1-----\n";
        _cleanup_hunter_ struct hunter *h = hunter_new();

        (void)state;
        assert_int_equal(add_text(h, text, sizeof(text) - 1), 0);
        assert_hunted(h, "correcthorsebatt", 16);
}

static int warm(void **state) {
        (void)state;
        return secret_init();
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(text_is_hunted_by_lines_and_values),
                cmocka_unit_test(a_password_is_hunted_in_every_text_form),
                cmocka_unit_test(utf8_is_hunted_as_utf16),
                cmocka_unit_test(escapes_of_every_library_are_hunted),
                cmocka_unit_test(many_values_with_escapes_fit_into_a_set),
                cmocka_unit_test(an_escaped_text_is_hunted_in_utf16),
                cmocka_unit_test(text_is_hunted_as_utf32),
                cmocka_unit_test(other_bytes_are_hunted_as_a_number_and_in_utf16),
                cmocka_unit_test(other_bytes_are_hunted_whole),
                cmocka_unit_test(a_file_at_the_limit_is_hunted_and_one_over_it_flagged),
                cmocka_unit_test(a_file_of_certificates_gives_nothing),
                cmocka_unit_test(of_a_mixed_file_only_the_key_is_hunted),
                cmocka_unit_test(keys_are_found_however_the_text_holds_them),
                cmocka_unit_test(several_keys_of_one_file_are_all_hunted),
                cmocka_unit_test(the_text_of_an_encrypted_key_is_hunted_and_it_is_flagged),
                cmocka_unit_test(a_key_that_does_not_parse_is_hunted_as_it_stands_and_flagged),
                cmocka_unit_test(an_unknown_block_is_text),
        };

        return cmocka_run_group_tests(tests, warm, NULL);
}
