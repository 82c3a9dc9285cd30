#include "base/array.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/param.h>

#define ROOM_FIRST 64U

int array_grow(void *array, size_t *room, size_t n, size_t max, size_t size) {
        size_t more = *room ? *room * 2 : ROOM_FIRST;
        void *old, *grown;

        if (n >= max)
                return -E2BIG;
        if (n < *room)
                return 0;
        more = MIN(more, max);
        memcpy(&old, array, sizeof(old)); /* whatever type it points to */
        grown = reallocarray(old, more, size);
        if (!grown)
                return -ENOMEM;
        memcpy(array, &grown, sizeof(grown));
        *room = more;
        return 0;
}
