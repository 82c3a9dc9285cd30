#include "core_pattern/sandbox.h"

#include <errno.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <seccomp.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"

/* Landlock grows by versions, and the build machine's headers may be older than the kernel that
 * runs: every right up to ABI 7, as include/uapi/linux/landlock.h of 6.18 numbers them. */
#define RULES_FS_ABI1 ((1ULL << 13) - 1) /* execute … make_sym */
#define RULES_FS_REFER (1ULL << 13)      /* ABI 2 */
#define RULES_FS_TRUNCATE (1ULL << 14)   /* ABI 3 */
#define RULES_NET_TCP 3ULL               /* ABI 4: bind, connect */
#define RULES_FS_IOCTL_DEV (1ULL << 15)  /* ABI 5 */
#define RULES_SCOPE 3ULL                 /* ABI 6: abstract unix sockets, signals */

struct ruleset_attr { /* struct landlock_ruleset_attr of ABI 6 */
        uint64_t handled_access_fs;
        uint64_t handled_access_net; /* from ABI 4 on */
        uint64_t scoped;             /* from ABI 6 on */
};

/* PAGEMAP_SCAN, _IOWR('f', 16, struct pm_scan_arg) with its 96 bytes: newer than Debian 12's
 * headers. */
#ifndef PAGEMAP_SCAN
#define PAGEMAP_SCAN 0xc0606610U
#endif

/* Whoever starts the worker by other means than sandbox_drop() must not get a privileged one. */
static int privileges_check(bool own_user) {
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct caps[_LINUX_CAPABILITY_U32S_3] = { 0 };
        uid_t uid, euid, suid;
        gid_t gid, egid, sgid;

        if (getresuid(&uid, &euid, &suid) < 0 || getresgid(&gid, &egid, &sgid) < 0)
                return -errno;
        if (uid == 0 || euid != uid || suid != uid || egid != gid || sgid != gid)
                return -EPERM;
        if (own_user && (gid == 0 || getgroups(0, NULL) != 0))
                return -EPERM;
        if (syscall(SYS_capget, &header, caps) < 0)
                return -errno;
        for (size_t i = 0; i < ARRAY_SIZE(caps); i++)
                if (caps[i].effective || caps[i].permitted || caps[i].inheritable)
                        return -EPERM;
        if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
                return -EPERM;
        return 0;
}

int sandbox_landlock(unsigned *ret_abi) {
        struct ruleset_attr rules = { .handled_access_fs = RULES_FS_ABI1 };
        size_t size = sizeof(rules.handled_access_fs);
        _cleanup_close_ int fd = -1;
        long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

        /* ENOSYS: not built in; EOPNOTSUPP: not in the lsm= list. */
        if (abi < 0 && (errno == ENOSYS || errno == EOPNOTSUPP)) {
                *ret_abi = 0;
                return 0;
        }
        if (abi < 0)
                return -errno;

        if (abi >= 2)
                rules.handled_access_fs |= RULES_FS_REFER;
        if (abi >= 3)
                rules.handled_access_fs |= RULES_FS_TRUNCATE;
        if (abi >= 4) {
                rules.handled_access_net = RULES_NET_TCP;
                size = offsetof(struct ruleset_attr, scoped);
        }
        if (abi >= 5)
                rules.handled_access_fs |= RULES_FS_IOCTL_DEV;
        if (abi >= 6) {
                rules.scoped = RULES_SCOPE;
                size = sizeof(rules);
        }

        fd = (int)syscall(SYS_landlock_create_ruleset, &rules, size, 0);
        if (fd < 0)
                return -errno;
        /* No rule is added: every right that is handled is denied everywhere. */
        if (syscall(SYS_landlock_restrict_self, fd, 0) < 0)
                return -errno;
        *ret_abi = (unsigned)abi;
        return 0;
}

/* The allow-list, found with strace over every stage, live and offline. These take any argument:
 * what they reach are descriptors that were handed in and memory of its own. */
static const int allowed[] = {
        SCMP_SYS(read),          SCMP_SYS(pread64),   SCMP_SYS(write), SCMP_SYS(pwrite64),
        SCMP_SYS(lseek),         SCMP_SYS(ftruncate), SCMP_SYS(brk),   SCMP_SYS(munmap),
        SCMP_SYS(mremap),        /* realloc() of large blocks */
        SCMP_SYS(futex),         /* pthread_once() in libcrypto wakes whoever waits */
        SCMP_SYS(clock_gettime), /* where the vdso cannot answer */
        SCMP_SYS(sysinfo),       /* qsort() asks how much it may borrow */
        SCMP_SYS(exit_group),
};

/* These are safe only with these arguments. */
static const struct {
        int number;
        struct scmp_arg_cmp arg[2];
        unsigned n_args;
} allowed_with[] = {
        /* Asks which pages are there; with PM_SCAN_WP_MATCHING it needs a userfaultfd. */
        { SCMP_SYS(ioctl), { { 1, SCMP_CMP_EQ, PAGEMAP_SCAN, 0 } }, 1 },
        /* Memory of its own, never code and never a file. */
        { SCMP_SYS(mmap),
          { { 2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0 },
            { 3, SCMP_CMP_MASKED_EQ, MAP_ANONYMOUS | MAP_SHARED, MAP_ANONYMOUS } },
          2 },
};

DEFINE_CLEANUP(filter, void, seccomp_release)

static int seccomp_fill(scmp_filter_ctx filter) {
        int r;

        /* A syscall of x32 or i386 has other numbers: it must not be read as one of ours. */
        r = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
        if (r < 0)
                return r;
        r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
        if (r < 0)
                return r;
        for (size_t i = 0; i < ARRAY_SIZE(allowed); i++) {
                r = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, allowed[i], 0, NULL);
                if (r < 0)
                        return r;
        }
        for (size_t i = 0; i < ARRAY_SIZE(allowed_with); i++) {
                r = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, allowed_with[i].number,
                                           allowed_with[i].n_args, allowed_with[i].arg);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int seccomp_enter(void) {
        _cleanup_(cleanup_filter) scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
        int r;

        if (!filter)
                return -ENOMEM;
        r = seccomp_fill(filter);
        if (r < 0)
                return r;
        return seccomp_load(filter);
}

int sandbox_enter(bool own_user, unsigned *ret_landlock) {
        unsigned abi = 0;
        int r = privileges_check(own_user);

        if (r < 0)
                return r;
        if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
                return -errno;
        r = sandbox_landlock(&abi);
        if (r < 0)
                return r;
        r = seccomp_enter();
        if (r < 0)
                return r;
        *ret_landlock = abi;
        return 0;
}
