/* array: room for one element more in an allocated array. */
#pragma once

#include <stddef.h>

/* `array` is the address of the array's pointer (NULL while `*room` is 0), which holds `n` elements
 * of `size` bytes each and has room for `*room`. Doubles the room as needed, up to `max` elements.
 * 0, -E2BIG or -ENOMEM; after an error all is as it was. */
int array_grow(void *array, size_t *room, size_t n, size_t max, size_t size);
