/* detect_known: private keys that everybody has: published, and so no findings. */
#pragma once

#include <stdbool.h>

#include "secret/key_parse.h"

/* 1 known, 0 not, or -ENOMEM. */
int detect_is_known(const struct key *key);
