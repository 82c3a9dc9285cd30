/* cleanup: release on every way out of a scope, in the manner of systemd.
 *
 *     _cleanup_close_ int fd = -1;
 *     _cleanup_free_ char *text = NULL;
 */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(f) __attribute__((cleanup(f)))

static inline void cleanup_free(void *p) {
        free(*(void **)p);
}

static inline void cleanup_close(const int *fd) {
        if (*fd >= 0)
                (void)close(*fd);
}

static inline void cleanup_fclose(FILE **f) {
        if (*f)
                (void)fclose(*f);
}

#define _cleanup_free_ _cleanup_(cleanup_free)
#define _cleanup_close_ _cleanup_(cleanup_close)
#define _cleanup_fclose_ _cleanup_(cleanup_fclose)

/* Defines `cleanup_NAME` for a `void release(TYPE *)`, to be used as _cleanup_(cleanup_NAME). */
/* NOLINTBEGIN(bugprone-macro-parentheses): a type cannot stand in parentheses. */
#define DEFINE_CLEANUP(name, type, release)                                                        \
        static inline void cleanup_##name(type **p) {                                              \
                if (*p)                                                                            \
                        release(*p);                                                               \
        }
/* NOLINTEND(bugprone-macro-parentheses) */

/* Hands a pointer or descriptor on to the caller and disarms its cleanup. */
#define TAKE_PTR(p)                                                                                \
        ({                                                                                         \
                __typeof__(p) _taken = (p);                                                        \
                (p) = NULL;                                                                        \
                _taken;                                                                            \
        })
#define TAKE_FD(fd)                                                                                \
        ({                                                                                         \
                int _taken = (fd);                                                                 \
                (fd) = -1;                                                                         \
                _taken;                                                                            \
        })

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
