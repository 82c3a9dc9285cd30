/* clock: the one clock of deadlines, pauses and durations. */
#pragma once

#include <stdint.h>

#define NS_PER_SEC 1000000000ULL
#define NS_PER_MS 1000000ULL

/* Nanoseconds of CLOCK_MONOTONIC. */
uint64_t clock_now_ns(void);

/* Sleeps for `ms` milliseconds, less when a signal comes. */
void clock_pause_ms(unsigned ms);
