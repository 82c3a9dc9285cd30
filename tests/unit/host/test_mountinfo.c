/* Mounts and boot ids, as the kernel writes them and as nobody should. */
#include "host/mountinfo.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "host/bootid.h"

static const char text[] =
        "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n"
        "30 22 0:44 / /m\\040x rw shared:2 master:1 - overlay o rw,lowerdir=/l,upperdir=/u\\0401,"
        "workdir=/w\n"
        "31 22 0:45 /sub /n rw - overlay o rw,lowerdir=/l:/k,upperdir=/up\n"
        "32 22 0:46 / /ro rw - overlay o ro,lowerdir=/l:/k\n"
        "33 22 0:47 / / rw - tmpfs t rw\n";

static void layers_are_found_and_unescaped(void **state) {
        struct mount_layers layers;

        (void)state;
        assert_int_equal(mount_layers_parse(text, 30, &layers), 0);
        assert_string_equal(layers.point, "/m x");
        assert_string_equal(layers.root, "/");
        assert_string_equal(layers.upper, "/u 1");
        mount_layers_done(&layers);
        assert_int_equal(mount_layers_parse(text, 31, &layers), 0);
        assert_string_equal(layers.root, "/sub");
        assert_string_equal(layers.upper, "/up");
        mount_layers_done(&layers);
}

static void a_mount_without_an_upper_layer_has_none(void **state) {
        struct mount_layers layers;

        (void)state;
        assert_int_equal(mount_layers_parse(text, 22, &layers), -ENOENT);
        assert_int_equal(mount_layers_parse(text, 32, &layers), -ENOENT);
        assert_int_equal(mount_layers_parse(text, 99, &layers), -ENOENT);
        assert_int_equal(mount_layers_parse("", 1, &layers), -ENOENT);
        assert_int_equal(mount_layers_parse("30 22 0:44 / /m rw", 30, &layers), -ENOENT);
        assert_int_equal(mount_layers_parse("30 22 0:44 / /m rw -", 30, &layers), -ENOENT);
}

static void the_root_is_the_mount_on_top(void **state) {
        uint64_t id;

        (void)state;
        assert_int_equal(mount_root_parse(text, &id), 0);
        assert_int_equal(id, 33);
        assert_int_equal(mount_root_parse("30 22 0:44 / /m rw - t t rw\n", &id), -ENOENT);
        assert_int_equal(mount_root_parse("30\n", &id), -ENOENT);
}

static void a_boot_id_is_read_to_its_end(void **state) {
        static const char good[] = "00112233-4455-6677-8899-aabbccddeeff\n";
        uint8_t id[BOOT_ID_SIZE];

        (void)state;
        assert_int_equal(boot_id_parse(good, id), 0);
        for (unsigned i = 0; i < BOOT_ID_SIZE; i++)
                assert_int_equal(id[i], i * 0x11);
        assert_int_equal(boot_id_parse("00112233-4455-6677-8899-aabbccddeeff0", id), -EBADMSG);
        assert_int_equal(boot_id_parse("001122334455-6677-8899-aabbccddeeff", id), -EBADMSG);
        assert_int_equal(boot_id_parse("00112233-4455-6677-8899-aabbccddeefX", id), -EBADMSG);
        assert_int_equal(boot_id_parse("00112233-4455-6677-8899-aabbccddee", id), -EBADMSG);
        assert_int_equal(boot_id_parse("", id), -EBADMSG);
        assert_int_equal(boot_id_read(id), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(layers_are_found_and_unescaped),
                cmocka_unit_test(a_mount_without_an_upper_layer_has_none),
                cmocka_unit_test(the_root_is_the_mount_on_top),
                cmocka_unit_test(a_boot_id_is_read_to_its_end),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
