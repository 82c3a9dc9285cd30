/* bootid: which boot of this host is it? */
#pragma once

#include <stdint.h>

#define BOOT_ID_SIZE 16U

/* 0 or a negative errno. */
int boot_id_read(uint8_t ret[BOOT_ID_SIZE]);

/* The kernel's text form, 36 characters and a newline or the end behind them. -EBADMSG */
int boot_id_parse(const char *text, uint8_t ret[BOOT_ID_SIZE]);
