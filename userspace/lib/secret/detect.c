#include "secret/detect.h"

#include <errno.h>

#include "secret/detect_known.h"
#include "secret/detect_private.h"

int detect_judge(const struct key *key) {
        int r = key_check(key);

        if (r == -EBADMSG)
                return 0;
        if (r < 0)
                return r;
        r = detect_is_known(key);
        return r < 0 ? r : !r;
}

int detect_keys(const uint8_t *window, size_t n, size_t limit, detect_hit hit, void *userdata) {
        struct detect_job job = { window, n, limit < n ? limit : n, hit, userdata };
        int r;

        r = detect_pem(&job);
        if (r != 0)
                return r;
        r = detect_openssh(&job);
        if (r != 0)
                return r;
        return detect_der(&job);
}
