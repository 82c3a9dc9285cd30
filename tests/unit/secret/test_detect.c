/* Containers in memory of which nothing is known: all that are keys, and nothing else. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/io.h"
#include "secret/detect.h"
#include "secret/init.h"
#include "tests/unit/secret/form_maker.h"
#include "tests/unit/secret/hunter.h"

#define FOUND_MAX 32U

struct found {
        struct detection detections[FOUND_MAX];
        size_t n;
};

static int note(void *userdata, const struct detection *detection) {
        struct found *found = userdata;

        assert_true(found->n < FOUND_MAX);
        found->detections[found->n++] = *detection;
        return 0;
}

static struct found detect_limited(const uint8_t *window, size_t n, size_t limit) {
        struct found found = { 0 };

        assert_int_equal(detect_keys(window, n, limit, note, &found), 0);
        return found;
}

static struct found detect(const uint8_t *window, size_t n) {
        return detect_limited(window, n, n);
}

/* In noise, at places of any alignment, exactly there. */
static void assert_detected(const struct bytes *what, enum detector detector, bool encrypted,
                            bool whole, size_t size) {
        _cleanup_free_ uint8_t *window = malloc(what->size + 400);
        uint64_t seed = 4242;

        for (size_t at = 100; at < 117; at++) {
                struct found found;

                noise_fill(&seed, window, what->size + 400);
                /* letters of base64 on either side would belong to a cut body */
                window[at - 1] = 0;
                memcpy(window + at, what->data, what->size);
                window[at + what->size] = 0;
                found = detect(window, what->size + 400);
                assert_int_equal(found.n, 1);
                assert_int_equal(found.detections[0].detector, detector);
                assert_int_equal(found.detections[0].start, at);
                assert_int_equal(found.detections[0].size, size);
                assert_int_equal(found.detections[0].encrypted, encrypted);
                assert_int_equal(found.detections[0].whole, whole);
        }
}

static void keys_in_der_are_detected(void **state) {
        _cleanup_pkey_ EVP_PKEY *rsa = make_rsa(2048, 2), *ec = make_ec("P-256");
        _cleanup_pkey_ EVP_PKEY *k1 = make_ec("secp256k1"), *p521 = make_ec("P-521");
        _cleanup_pkey_ EVP_PKEY *ed = make_edwards("ED25519"), *x = make_edwards("X25519");
        struct bytes files[] = {
                encode(rsa, "DER", "PrivateKeyInfo", NULL),
                encode(rsa, "DER", "type-specific", NULL),
                encode(ec, "DER", "PrivateKeyInfo", NULL),
                encode(ec, "DER", "type-specific", NULL),
                encode(k1, "DER", "type-specific", NULL),
                encode(p521, "DER", "PrivateKeyInfo", NULL),
                encode(ed, "DER", "PrivateKeyInfo", NULL),
                encode(x, "DER", "PrivateKeyInfo", NULL),
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
                assert_detected(&files[i], DETECT_DER, false, true, files[i].size);
                bytes_done(&files[i]);
        }
}

static void keys_in_pem_are_detected_with_any_line_end(void **state) {
        static const char *const newlines[] = { "\n", "\r\n", "\\n", "\\r\\n", "\n  " };
        _cleanup_pkey_ EVP_PKEY *rsa = make_rsa(1024, 2), *ec = make_ec("P-256");
        _cleanup_bytes_ struct bytes rsa_der = encode(rsa, "DER", "PrivateKeyInfo", NULL);
        _cleanup_bytes_ struct bytes ec_der = encode(ec, "DER", "type-specific", NULL);

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(newlines); i++) {
                _cleanup_bytes_ struct bytes a = armor(&rsa_der, "PRIVATE KEY", newlines[i]);
                _cleanup_bytes_ struct bytes b = armor(&ec_der, "EC PRIVATE KEY", newlines[i]);

                assert_detected(&a, DETECT_PEM, false, true, a.size - strlen(newlines[i]));
                assert_detected(&b, DETECT_PEM, false, true, b.size - strlen(newlines[i]));
        }
}

static void openssh_keys_are_detected_as_text_and_as_bytes(void **state) {
        _cleanup_pkey_ EVP_PKEY *rsa = make_rsa(1024, 2), *ed = make_edwards("ED25519");
        struct bytes files[] = { encode_openssh(rsa, "none"), encode_openssh(ed, "none") };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
                _cleanup_bytes_ struct bytes text = armor(&files[i], "OPENSSH PRIVATE KEY", "\n");

                assert_detected(&files[i], DETECT_OPENSSH, false, true, files[i].size);
                assert_detected(&text, DETECT_OPENSSH, false, true, text.size - 1);
                bytes_done(&files[i]);
        }
}

static void encrypted_keys_are_reported_as_such(void **state) {
        _cleanup_pkey_ EVP_PKEY *rsa = make_rsa(1024, 2);
        _cleanup_bytes_ struct bytes der = encode(rsa, "DER", "PrivateKeyInfo", "pass");
        _cleanup_bytes_ struct bytes pkcs8 = encode(rsa, "PEM", "PrivateKeyInfo", "pass");
        _cleanup_bytes_ struct bytes old = encode(rsa, "PEM", "type-specific", "pass");
        _cleanup_bytes_ struct bytes ssh = encode_openssh(rsa, "aes256-ctr");

        (void)state;
        assert_detected(&der, DETECT_DER, true, true, der.size);
        assert_detected(&pkcs8, DETECT_PEM, true, true, pkcs8.size - 1);
        assert_detected(&old, DETECT_PEM, true, true, old.size - 1);
        assert_detected(&ssh, DETECT_OPENSSH, true, true, ssh.size);
}

static void a_text_cut_short_is_detected_as_far_as_it_goes(void **state) {
        _cleanup_pkey_ EVP_PKEY *rsa = make_rsa(1024, 2);
        _cleanup_bytes_ struct bytes der = encode(rsa, "DER", "PrivateKeyInfo", NULL);
        _cleanup_bytes_ struct bytes pem = armor(&der, "PRIVATE KEY", "\n");

        (void)state;
        for (size_t n = 100; n < 860; n += 19) {
                struct bytes cut = { pem.data, n };
                size_t size = n;

                while (pem.data[size - 1] == '\n')
                        size--;
                assert_detected(&cut, DETECT_PEM, false, false, size);
        }
}

static void what_only_looks_like_a_key_is_no_finding(void **state) {
#define TEXT(s) (s), sizeof(s) - 1
        static const struct {
                const char *name, *text;
                size_t size;
        } cases[] = {
                { "a label in a program's data",
                  TEXT("-----BEGIN RSA PRIVATE KEY-----\0%s: no key") },
                { "a label with nothing behind",
                  TEXT("-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n") },
                { "an example",
                  TEXT("-----BEGIN PRIVATE KEY-----\nMIIEvQ...\n-----END PRIVATE KEY-----") },
                { "base64 that is no key",
                  TEXT("-----BEGIN PRIVATE KEY-----\n"
                       "bG9yZW0gaXBzdW0gZG9sb3Igc2l0IGFtZXQgY29uc2VjdGV0dXIgYWRpcGlzY2lu\n"
                       "-----END PRIVATE KEY-----\n") },
                { "the magic of OpenSSH alone", TEXT("openssh-key-v1\0") },
                { "an SNMP request",
                  TEXT("\x30\x26\x02\x01\x01\x04\x06public\xa0\x19\x02\x01\x00\x02\x01\x00\x02\x01"
                       "\x00\x30\x0e\x30\x0c\x06\x08+\x06\x01\x02\x01\x01\x02\x00\x05\x00") },
        };
#undef TEXT
        _cleanup_pkey_ EVP_PKEY *rsa = make_rsa(1024, 2), *ec = make_ec("P-256");
        struct bytes public[] = {
                encode(rsa, "DER", "SubjectPublicKeyInfo", NULL),
                encode(rsa, "PEM", "SubjectPublicKeyInfo", NULL),
                make_certificate(rsa, true),
                make_certificate(rsa, false),
                make_certificate(ec, false),
        };
        uint8_t window[512];

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                memset(window, 0, sizeof(window));
                memcpy(window + 7, cases[i].text, cases[i].size);
                print_message("  %s\n", cases[i].name);
                assert_int_equal(detect(window, sizeof(window)).n, 0);
        }
        for (size_t i = 0; i < ARRAY_SIZE(public); i++) {
                assert_int_equal(detect(public[i].data, public[i].size).n, 0);
                bytes_done(&public[i]);
        }
}

static void numbers_that_disagree_are_no_finding(void **state) {
        _cleanup_pkey_ EVP_PKEY *rsa = make_rsa(1024, 2);
        _cleanup_bytes_ struct bytes der = encode(rsa, "DER", "type-specific", NULL);

        (void)state;
        assert_int_equal(detect(der.data, der.size).n, 1);
        der.data[60] ^= 1; /* in the modulus */
        assert_int_equal(detect(der.data, der.size).n, 0);
}

static void noise_holds_no_keys(void **state) {
        _cleanup_free_ uint8_t *window = malloc(1U << 20);
        uint64_t seed = 99;

        (void)state;
        for (size_t i = 0; i < 8; i++) {
                noise_fill(&seed, window, 1U << 20);
                assert_int_equal(detect(window, 1U << 20).n, 0);
                /* the bytes that all detectors look for, everywhere */
                for (size_t k = 0; k < 1U << 20; k++)
                        window[k] =
                                (uint8_t) "\x30\x82\x01\x02\x01\x00\x04\x30-\x81"[window[k] % 10];
                assert_int_equal(detect(window, 1U << 20).n, 0);
        }
}

/* What begins behind `limit` belongs to the next window; what begins before it is whole. */
static void a_key_belongs_to_the_window_in_which_it_begins(void **state) {
        _cleanup_pkey_ EVP_PKEY *ec = make_ec("P-256");
        _cleanup_bytes_ struct bytes der = encode(ec, "DER", "PrivateKeyInfo", NULL);
        _cleanup_bytes_ struct bytes pem = armor(&der, "PRIVATE KEY", "\n");
        _cleanup_bytes_ struct bytes ssh = encode_openssh(ec, "none");
        const struct bytes *const all[] = { &der, &pem, &ssh };
        uint8_t window[4096];

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(all); i++)
                for (size_t limit = 995; limit < 1010; limit++) {
                        struct found found;

                        memset(window, 0, sizeof(window));
                        memcpy(window + 1000, all[i]->data, all[i]->size);
                        found = detect_limited(window, sizeof(window), limit);
                        assert_int_equal(found.n, limit > 1000);
                        assert_true(found.n == 0 || found.detections[0].whole);
                }
}

static void several_keys_of_one_window_are_all_told(void **state) {
        _cleanup_pkey_ EVP_PKEY *ec = make_ec("P-256"), *ed = make_edwards("ED25519");
        _cleanup_bytes_ struct bytes a = encode(ec, "DER", "type-specific", NULL);
        _cleanup_bytes_ struct bytes b = encode(ed, "PEM", "PrivateKeyInfo", NULL);
        uint8_t window[4096] = { 0 };
        struct found found;

        (void)state;
        for (size_t i = 0; i < 4; i++) {
                memcpy(window + 1000 * i, a.data, a.size);
                memcpy(window + 1000 * i + a.size, b.data, b.size);
        }
        found = detect(window, sizeof(window));
        assert_int_equal(found.n, 8);
}

static int stop(void *userdata, const struct detection *detection) {
        (void)userdata;
        (void)detection;
        return -42;
}

static void detection_stops_when_told(void **state) {
        _cleanup_pkey_ EVP_PKEY *ec = make_ec("P-256");
        _cleanup_bytes_ struct bytes der = encode(ec, "DER", "PrivateKeyInfo", NULL);
        _cleanup_bytes_ struct bytes pem = armor(&der, "PRIVATE KEY", "\n");

        (void)state;
        assert_int_equal(detect_keys(der.data, der.size, der.size, stop, NULL), -42);
        assert_int_equal(detect_keys(pem.data, pem.size, pem.size, stop, NULL), -42);
}

/* `openssl speed` holds RSA keys that everybody has. */
static void published_keys_are_no_finding(void **state) {
        _cleanup_free_ char *program = NULL;
        size_t n;

        (void)state;
        if (io_read_path(AT_FDCWD, "/usr/bin/openssl", 16U << 20, &program, &n) < 0)
                skip();
        assert_non_null(memmem(program, n, "\x02\x01\x00\x02", 4)); /* they are there */
        assert_int_equal(detect((const uint8_t *)program, n).n, 0);
}

static void every_detector_has_a_name(void **state) {
        (void)state;
        for (enum detector d = 0; d < _DETECT_MAX; d++)
                assert_non_null(detector_to_string(d));
        assert_null(detector_to_string(_DETECT_MAX));
}

static int warm(void **state) {
        (void)state;
        return secret_init();
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(keys_in_der_are_detected),
                cmocka_unit_test(keys_in_pem_are_detected_with_any_line_end),
                cmocka_unit_test(openssh_keys_are_detected_as_text_and_as_bytes),
                cmocka_unit_test(encrypted_keys_are_reported_as_such),
                cmocka_unit_test(a_text_cut_short_is_detected_as_far_as_it_goes),
                cmocka_unit_test(what_only_looks_like_a_key_is_no_finding),
                cmocka_unit_test(numbers_that_disagree_are_no_finding),
                cmocka_unit_test(noise_holds_no_keys),
                cmocka_unit_test(a_key_belongs_to_the_window_in_which_it_begins),
                cmocka_unit_test(several_keys_of_one_window_are_all_told),
                cmocka_unit_test(detection_stops_when_told),
                cmocka_unit_test(published_keys_are_no_finding),
                cmocka_unit_test(every_detector_has_a_name),
        };

        return cmocka_run_group_tests(tests, warm, NULL);
}
