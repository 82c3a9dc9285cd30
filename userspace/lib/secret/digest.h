/* digest: the three hashes that keys are expanded or known by, out of libcrypto. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define DIGEST_256_SIZE 32U
#define DIGEST_512_SIZE 64U
#define DIGEST_448_SIZE 114U /* SHAKE256 as Ed448 expands its seed, RFC 8032 5.2.5 */

/* 0 or -ENOMEM. */
int digest_sha256(const uint8_t *bytes, size_t n, uint8_t ret[DIGEST_256_SIZE]);
int digest_sha512(const uint8_t *bytes, size_t n, uint8_t ret[DIGEST_512_SIZE]);
int digest_shake256(const uint8_t *bytes, size_t n, uint8_t ret[DIGEST_448_SIZE]);
