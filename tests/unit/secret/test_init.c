/* After secret_init() no key of any kind makes libcrypto open a file or ask for randomness. */
#include <errno.h>
#include <seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "secret/detect.h"
#include "secret/init.h"
#include "tests/unit/secret/form_maker.h"
#include "tests/unit/secret/hunter.h"

#define KEYS_MAX 8U

static int note_detection(void *userdata, const struct detection *detection) {
        (void)detection;
        ++*(size_t *)userdata;
        return 0;
}

/* Kills the process at the first attempt to open anything or to draw randomness. */
static int close_files(void) {
        static const int denied[] = { SCMP_SYS(open),      SCMP_SYS(openat), SCMP_SYS(openat2),
                                      SCMP_SYS(getrandom), SCMP_SYS(socket), SCMP_SYS(stat),
                                      SCMP_SYS(newfstatat) };
        scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
        int r = filter ? 0 : -ENOMEM;

        for (size_t i = 0; i < ARRAY_SIZE(denied) && r == 0; i++)
                r = seccomp_rule_add(filter, SCMP_ACT_KILL_PROCESS, denied[i], 0);
        if (r == 0)
                r = seccomp_load(filter);
        seccomp_release(filter);
        return r;
}

/* In a child of its own: everything that the worker does with secrets, behind the filter. */
static int work_confined(const struct bytes *files, size_t n) {
        struct needle_set *set;
        size_t found = 0;

        /* In a fresh program libcrypto has done nothing yet; here the keys were made before, so
         * only what secret_init() is for can be missing. */
        if (secret_init() < 0 || needle_set_new(&set) < 0 || close_files() < 0)
                return 2;
        for (size_t i = 0; i < n; i++) {
                unsigned flags;

                if (needle_set_add_file(set, files[i].data, files[i].size, 0, &flags) < 0 ||
                    !(flags & NEEDLE_KEY))
                        return 3;
                if (detect_keys(files[i].data, files[i].size, files[i].size, note_detection,
                                &found) < 0)
                        return 4;
        }
        needle_set_free(set);
        return found == n ? 0 : 5;
}

static void keys_are_parsed_without_files_and_randomness(void **state) {
        _cleanup_pkey_ EVP_PKEY *rsa = make_rsa(2048, 2), *ec = make_ec("P-256");
        _cleanup_pkey_ EVP_PKEY *p521 = make_ec("P-521"), *ed = make_edwards("ED25519");
        _cleanup_pkey_ EVP_PKEY *ed448 = make_edwards("ED448"), *x = make_edwards("X25519");
        struct bytes files[KEYS_MAX] = {
                encode(rsa, "PEM", "PrivateKeyInfo", NULL),
                encode(ec, "PEM", "type-specific", NULL),
                encode(p521, "DER", "PrivateKeyInfo", NULL),
                encode(ed, "PEM", "PrivateKeyInfo", NULL),
                encode(ed448, "PEM", "PrivateKeyInfo", NULL),
                encode(x, "DER", "PrivateKeyInfo", NULL),
                encode_openssh(rsa, "none"),
                encode_openssh(ed, "none"),
        };
        int status;
        pid_t pid = fork();

        (void)state;
        assert_true(pid >= 0);
        if (pid == 0)
                _exit(work_confined(files, KEYS_MAX));
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
        for (size_t i = 0; i < KEYS_MAX; i++)
                bytes_done(&files[i]);
}

/* A configuration that leaves libcrypto without algorithms: read by nobody. The program starts
 * itself anew, for in this process libcrypto has long decided. */
static void no_configuration_is_read(void **state) {
        char path[] = "/tmp/test_init.XXXXXX";
        static const char text[] = "openssl_conf = all\n[all]\nproviders = p\n[p]\nbase = b\n"
                                   "[b]\nactivate = 1\n";
        int fd = mkstemp(path), status;
        pid_t pid;

        (void)state;
        assert_true(fd >= 0);
        assert_int_equal(write(fd, text, sizeof(text) - 1), sizeof(text) - 1);
        assert_int_equal(close(fd), 0);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                if (setenv("OPENSSL_CONF", path, 1) == 0)
                        execl("/proc/self/exe", "test_init", "anew", NULL);
                _exit(3);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(unlink(path), 0);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
}

static void it_may_be_called_again(void **state) {
        (void)state;
        assert_int_equal(secret_init(), 0);
        assert_int_equal(secret_init(), 0);
}

int main(int argc, char **argv) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(no_configuration_is_read),
                cmocka_unit_test(it_may_be_called_again),
                cmocka_unit_test(keys_are_parsed_without_files_and_randomness),
        };

        (void)argv;
        if (argc > 1)
                return secret_init() == 0 ? 0 : 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
