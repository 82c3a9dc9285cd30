#include "host/bootid.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/io.h"

#define PATH_BOOT_ID "/proc/sys/kernel/random/boot_id"
#define BOOT_ID_TEXT_MAX 64U

static int nibble(char c) {
        if (c >= '0' && c <= '9')
                return c - '0';
        if (c >= 'a' && c <= 'f')
                return c - 'a' + 10;
        return -1;
}

int boot_id_parse(const char *text, uint8_t ret[BOOT_ID_SIZE]) {
        uint8_t id[BOOT_ID_SIZE];
        size_t n = 0;

        while (n < BOOT_ID_SIZE) {
                int high, low;

                if ((n == 4 || n == 6 || n == 8 || n == 10) && *text++ != '-')
                        return -EBADMSG;
                high = nibble(text[0]);
                low = high < 0 ? -1 : nibble(text[1]);
                if (low < 0)
                        return -EBADMSG;
                id[n++] = (uint8_t)(high << 4 | low);
                text += 2;
        }
        if (*text != '\0' && *text != '\n')
                return -EBADMSG;
        memcpy(ret, id, sizeof(id));
        return 0;
}

int boot_id_read(uint8_t ret[BOOT_ID_SIZE]) {
        _cleanup_free_ char *text = NULL;
        size_t size;
        int r;

        r = io_read_path(AT_FDCWD, PATH_BOOT_ID, BOOT_ID_TEXT_MAX, &text, &size);
        if (r < 0)
                return r;
        return boot_id_parse(text, ret);
}
