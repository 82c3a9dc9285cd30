/* init: makes libcrypto ready for a sandbox without files.
 *
 * libcrypto reads its configuration and looks its algorithms up when they are first used. Called
 * before the sandbox closes, secret_init() does all of that: afterwards nothing in secret/ opens
 * a file or draws a random number.
 */
#pragma once

/* 0, or -EIO when libcrypto cannot compute what it should. */
int secret_init(void);
