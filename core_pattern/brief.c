#include "core_pattern/brief.h"

#include <string.h>

void brief_set_environment(struct brief *brief, char *const *names) {
        brief->environment_size = 0;
        for (; names && *names; names++) {
                size_t n = strlen(*names) + 1;

                if (n > sizeof(brief->environment) - brief->environment_size)
                        continue;
                memcpy(brief->environment + brief->environment_size, *names, n);
                brief->environment_size += (uint32_t)n;
        }
}
