/* The half of the sandbox that needs root, in the helper's program: it must link without
 * libseccomp, so that a broken library leaves a record. */
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "core_pattern/sandbox.h"

/* 1, not 0: to the kernel 0 means "do not write a file" and still starts a pipe helper; with 1 a
 * crash of the worker can never start another helper (core(5)). */
#define CORE_LIMIT_NO_HELPER 1U

static int limit_set(int which, uint64_t value) {
        struct rlimit limit = { .rlim_cur = value, .rlim_max = value };
        struct rlimit now;

        /* An offline command may run under limits tighter than ours: those stay. */
        if (getrlimit((__rlimit_resource_t)which, &now) < 0)
                return -errno;
        if (now.rlim_max < limit.rlim_max)
                limit.rlim_cur = limit.rlim_max = now.rlim_max;
        if (setrlimit((__rlimit_resource_t)which, &limit) < 0)
                return -errno;
        return 0;
}

static int limits_set(const struct sandbox_limits *limits) {
        const struct {
                int which;
                uint64_t value;
        } table[] = {
                { RLIMIT_FSIZE, limits->file_size },
                { RLIMIT_AS, limits->memory },
                { RLIMIT_CPU, limits->cpu_sec },
                { RLIMIT_CORE, CORE_LIMIT_NO_HELPER },
                { RLIMIT_MEMLOCK, 0 },
                { RLIMIT_MSGQUEUE, 0 },
        };

        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                int r = limit_set(table[i].which, table[i].value);

                if (r < 0)
                        return r;
        }
        return 0;
}

/* No capability in any set, so that exec gives none back. */
static int capabilities_drop(void) {
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { 0 };

        if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
                return -errno;
        if (syscall(SYS_capset, &header, none) < 0)
                return -errno;
        return 0;
}

/* The bounding set goes first, while we still may: the kernel ends the list with EINVAL. */
static int bounding_set_drop(void) {
        for (unsigned long capability = 0;; capability++)
                if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0)
                        return errno == EINVAL && capability > 0 ? 0 : -errno;
}

int sandbox_drop(bool own_user, uid_t uid, gid_t gid, const struct sandbox_limits *limits) {
        int r = limits_set(limits);

        if (r < 0)
                return r;
        if (own_user) {
                r = bounding_set_drop();
                if (r < 0)
                        return r;
                if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 ||
                    setresuid(uid, uid, uid) < 0)
                        return -errno;
        }
        r = capabilities_drop();
        if (r < 0)
                return r;
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                return -errno;
        return 0;
}
