/* detect_private: the detectors behind detect_keys(). Inside of secret/ only. */
#pragma once

#include "secret/detect.h"
#include "secret/key_parse.h"

struct detect_job {
        const uint8_t *window;
        size_t n, limit;
        detect_hit hit;
        void *userdata;
};

/* Is this parsed key a finding: does it add up, and is it not one of the published ones? 1, 0, or
 * -ENOMEM. */
int detect_judge(const struct key *key);

int detect_pem(const struct detect_job *job);
int detect_openssh(const struct detect_job *job);
int detect_der(const struct detect_job *job);
