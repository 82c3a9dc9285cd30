/* Apart from detect.c, so that whoever only names a detector (the helper) links no libcrypto. */
#include "secret/detect.h"

static const char *const detector_names[_DETECT_MAX] = {
        [DETECT_PEM] = "pem",
        [DETECT_OPENSSH] = "openssh",
        [DETECT_DER] = "der",
};

const char *detector_to_string(enum detector detector) {
        return detector < _DETECT_MAX ? detector_names[detector] : NULL;
}
