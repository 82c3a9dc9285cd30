#include "core_pattern/limits.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/paths.h"
#include "base/private.h"

struct budget budget_new(uint64_t start_ns, uint64_t deadline_sec) {
        return (struct budget){ start_ns, start_ns + deadline_sec * NS_PER_SEC };
}

uint64_t budget_share(const struct budget *budget, uint64_t now_ns, unsigned share) {
        uint64_t until = now_ns + (budget->end_ns - budget->start_ns) / share;

        return until < budget->end_ns ? until : budget->end_ns;
}

struct sandbox_limits worker_limits(const struct budget *budget, uint64_t room) {
        return (struct sandbox_limits){
                .file_size = room,
                .memory = WORKER_MEMORY,
                /* Rounded up: the deadline ends a worker, this only what escapes it. */
                .cpu_sec = (unsigned)((budget->end_ns - budget->start_ns) / NS_PER_SEC) + 1,
        };
}

/* One look at every slot. -EBUSY when all are taken. */
static int slot_try(int run_fd, int *ret_fd) {
        for (unsigned i = 0; i < SLOTS_MAX; i++) {
                _cleanup_close_ int fd = -1;
                char name[sizeof(RUN_SLOT_PREFIX) + 10]; /* digits of an unsigned */
                int r;

                (void)snprintf(name, sizeof(name), RUN_SLOT_PREFIX "%u", i);
                r = private_file(run_fd, name, O_RDWR | O_CREAT, &fd);
                if (r < 0)
                        return r;
                if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
                        if (errno != EWOULDBLOCK)
                                return -errno;
                        continue;
                }
                *ret_fd = TAKE_FD(fd);
                return 0;
        }
        return -EBUSY;
}

int slot_take(const char *root, uint64_t deadline_ns, int *ret_fd) {
        _cleanup_close_ int run_fd = -1;
        int r = private_dir(root, PATH_RUN, true, &run_fd);

        if (r < 0)
                return r;
        for (;;) {
                r = slot_try(run_fd, ret_fd);
                if (r != -EBUSY || clock_now_ns() >= deadline_ns)
                        return r;
                clock_pause_ms(SLOT_POLL_MS);
        }
}
