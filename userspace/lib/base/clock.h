/* clock: the one clock of deadlines, pauses and durations, and the CPU time of hostile work. */
#pragma once

#include <stdint.h>

#define NS_PER_SEC 1000000000ULL
#define NS_PER_MS 1000000ULL

/* Nanoseconds of CLOCK_MONOTONIC. */
uint64_t clock_now_ns(void);

/* Nanoseconds of CPU that this thread has used: a limit on work that a busy host does not move. */
uint64_t clock_cpu_ns(void);

/* Sleeps for `ms` milliseconds, less when a signal comes. */
void clock_pause_ms(unsigned ms);
