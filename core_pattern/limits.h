/* limits: how much of the host a storm of crashes may take.
 *
 * At most SLOTS_MAX helpers have a worker at one time, each worker within WORKER_MEMORY: that is
 * SLOTS_MAX x WORKER_MEMORY = 4 GiB of address space for all of them together, however many
 * processes crash. A helper without a slot waits, within a share of its deadline, and then
 * writes a record without memory.
 */
#pragma once

#include <stdint.h>

#include "core_pattern/sandbox.h"

#define SLOTS_MAX 4U
#define SLOT_POLL_MS 20U /* how often a waiting helper looks */

/* Address space of one worker. The largest things it may hold at once: the head (CORE_HEAD_MAX,
 * 160 MiB), its redacted notes (64), module images for unwinding (UNWIND_IMAGE_MAX, 256),
 * extents and erasures of the plan (64 + 96 and their growth), needles and their index (80),
 * libraries (20). */
#define WORKER_MEMORY (1ULL << 30)

#define DEADLINE_DEFAULT_SEC 30U /* until the policy has been read */

/* Shares of the deadline, so that what comes first cannot eat what comes after. */
#define SLOT_SHARE 3U   /* a third for waiting for a slot, and for room in the store */
#define NEEDLE_SHARE 4U /* a quarter for finding the tag's files */

#define RUN_SLOT_PREFIX "slot." /* files below PATH_RUN, locked while a helper is at work */

struct budget {
        uint64_t start_ns; /* clock_now_ns() when the helper began */
        uint64_t end_ns;   /* the process is let go then at the latest */
};

struct budget budget_new(uint64_t start_ns, uint64_t deadline_sec);

/* The moment by which a part that begins at `now_ns` and may use 1/`share` of the whole must be
 * done: never past the end. */
uint64_t budget_share(const struct budget *budget, uint64_t now_ns, unsigned share);

/* What a worker gets that may write `room` bytes: WORKER_MEMORY, and as much processor time as
 * the whole budget has, for it has one thread. */
struct sandbox_limits worker_limits(const struct budget *budget, uint64_t room);

/* Takes a slot; closing *ret_fd gives it back. -EBUSY when none was free until `deadline_ns`,
 * or a negative errno. */
int slot_take(const char *root, uint64_t deadline_ns, int *ret_fd);
