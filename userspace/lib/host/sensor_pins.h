/* sensor_pins: the directory of pinned objects, for sensor.c only. */
#pragma once

#include <stdbool.h>

/* Descriptor of PATH_PINS/NAME (with a prefix such as "link_" before it), or a negative errno. */
int pins_open(const char *prefix, const char *name);

int pins_make_directory(void);

/* Pins `fd`; what was pinned there before is let go in the same step. */
int pins_put(int fd, const char *prefix, const char *name);

/* Removes everything below PATH_BPFFS/coresieve, and that. 0 when nothing is there. */
int pins_remove(void);
