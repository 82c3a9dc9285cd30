#include "base/clock.h"

#include <time.h>

#define MS_PER_SEC 1000U

static uint64_t clock_ns(clockid_t clock) {
        struct timespec now = { 0 };

        (void)clock_gettime(clock, &now); /* fails only for a clock that is none */
        return (uint64_t)now.tv_sec * NS_PER_SEC + (uint64_t)now.tv_nsec;
}

uint64_t clock_now_ns(void) {
        return clock_ns(CLOCK_MONOTONIC);
}

uint64_t clock_cpu_ns(void) {
        return clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

void clock_pause_ms(unsigned ms) {
        const struct timespec pause = {
                .tv_sec = ms / MS_PER_SEC,
                .tv_nsec = (long)(ms % MS_PER_SEC * NS_PER_MS),
        };

        (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
}
