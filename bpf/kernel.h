/* kernel: the few kernel types that the programs look into.
 *
 * Partial on purpose: CO-RE relocates each field against the BTF of the running kernel, so only
 * the names matter. Every field read anywhere in bpf/ stands here, which makes this page the
 * list of what a new kernel can break.
 */
#pragma once

#include <linux/types.h>

#include <linux/bpf.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

/* BPF_PROG names a `ctx` that no program here needs. */
#pragma clang diagnostic ignored "-Wunused-parameter"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct hlist_node {
        struct hlist_node *next;
};

struct hlist_head {
        struct hlist_node *first;
};

struct super_block {
        __u32 s_dev; /* major << 20 | minor */
};

struct inode {
        struct super_block *i_sb;
        unsigned long i_ino;
        __u32 i_generation;
        /* One timespec64 until "fs: switch timespec64 fields in inode to discrete integers"
         * (6.11); the page cache's tracepoints are younger (6.12). */
        __s64 i_ctime_sec;
        __u32 i_ctime_nsec;
        struct hlist_head i_dentry;
};

struct address_space {
        struct inode *host;
};

struct qstr {
        __u32 len;
        const unsigned char *name;
};

struct seqcount {
        __u32 sequence;
};

struct seqcount_spinlock {
        struct seqcount seqcount;
};

struct dentry {
        struct seqcount_spinlock d_seq;
        struct dentry *d_parent;
        struct qstr d_name;
        struct inode *d_inode;
        union {
                struct hlist_node d_alias;
        } d_u;
};

struct file {
        struct inode *f_inode;
};

struct mm_struct {
        unsigned long task_size; /* never read: the address itself is what counts */
};

struct task_struct {
        struct mm_struct *mm;
        struct task_struct *group_leader;
        __s32 pid;
        __s32 tgid;
        __u64 start_boottime;
};

struct linux_binprm {
        struct mm_struct *mm;
};

struct seq_file;

struct bpf_iter_meta {
        struct seq_file *seq;
};

struct bpf_iter__task {
        struct bpf_iter_meta *meta;
        struct task_struct *task;
};

struct bpf_iter__task_file {
        struct bpf_iter_meta *meta;
        struct task_struct *task;
        __u32 fd;
        struct file *file;
};

#pragma clang attribute pop

/* "fs: add infrastructure for multigrain timestamps" (6.13) marks in the nanoseconds that the
 * time was looked at: no part of the time. */
#define I_CTIME_QUERIED (1U << 31)

#define NSEC_PER_SEC 1000000000ULL

extern void *bpf_rdonly_cast(const void *obj, __u32 btf_id) __ksym;

/* A pointer that the verifier lets us follow: a bad one reads as zeros ("bpf: Add a kfunc for
 * generic type cast", 6.2). */
#define kernel_ptr(type, address)                                                                  \
        ((struct type *)bpf_rdonly_cast((const void *)(address),                                   \
                                        bpf_core_type_id_kernel(struct type)))
