/* facts: one handler for each fact of a lineage's life, whatever attach point reports it.
 *
 * A handler runs in the context of the process that the fact is about, and the tag is stored
 * before it returns. The fact "bytes of a file reach a process" has its own page, watch.h.
 */
#pragma once

#include "bpf/maps.h"

/* Where a new tag starts; a tag is too large for the stack of a BPF program. */
static const struct tag tag_empty;

static __always_inline struct tags_counters *counters_get(void) {
        __u32 zero = 0;

        return bpf_map_lookup_elem(&counters, &zero);
}

static __always_inline void counters_overflow(void) {
        struct tags_counters *c = counters_get();

        if (c)
                __sync_fetch_and_add(&c->overflows, 1);
}

/* --- tags ----------------------------------------------------------------------------------- */

/* The tag of a lineage, made when there is none. NULL: it could not be stored, and that is
 * counted. Two threads may come here at once: BPF_NOEXIST lets one of them in, both find it. */
static __always_inline struct tag *tag_get(__u64 mm) {
        struct tag *tag = bpf_map_lookup_elem(&tags, &mm);

        if (tag)
                return tag;
        bpf_map_update_elem(&tags, &mm, &tag_empty, BPF_NOEXIST);
        tag = bpf_map_lookup_elem(&tags, &mm);
        if (!tag)
                counters_overflow();
        return tag;
}

static __always_inline void tag_reason(struct tag *tag, __u32 reason) {
        if ((tag->reasons & reason) == reason)
                return;
        __sync_val_compare_and_swap(&tag->since_ns, 0, bpf_ktime_get_boot_ns());
        __sync_fetch_and_or(&tag->reasons, reason);
}

/* The memory was copied before this (copy_mm), and the child does not run yet: a tag of the
 * parent set before now may be of bytes that the child has too. */
static __always_inline int fact_forked(struct task_struct *parent, struct task_struct *child) {
        __u64 from = (__u64)parent->mm, to = (__u64)child->mm;
        const struct tags_meta *m;
        const struct tag *tag;
        struct tag *made;
        __u32 zero = 0;

        if (!to || to == from)
                return 0; /* a kernel thread; vfork and CLONE_VM share the memory and the tag */
        tag = from ? bpf_map_lookup_elem(&tags, &from) : NULL;
        if (tag) {
                if (bpf_map_update_elem(&tags, &to, tag, BPF_ANY))
                        counters_overflow();
                return 0;
        }
        bpf_map_delete_elem(&tags, &to);
        m = bpf_map_lookup_elem(&meta, &zero);
        if (!m || m->state != TAGS_SEEDING)
                return 0;
        made = tag_get(to);
        if (made)
                tag_reason(made, TAG_REASON_UNKNOWN_HISTORY);
        return 0;
}

/* Before the new address space is the process's own and before anything could be read into it:
 * from here on, what it gets is its tag. The old one is not ours to drop: a thread or vfork's
 * parent may live on in it, and if exec fails late, it dumps core. */
static __always_inline int fact_execs(struct linux_binprm *bprm) {
        __u64 mm = (__u64)bprm->mm;

        bpf_map_delete_elem(&tags, &mm);
        return 0;
}

/* The last user is gone and no memory is left, and the mm_struct is not yet free for another. */
static __always_inline int fact_died(struct mm_struct *dead) {
        __u64 mm = (__u64)dead;

        bpf_map_delete_elem(&tags, &mm);
        return 0;
}

/* A process older than the sensors (seeding). */
static __always_inline void fact_older_than_sensors(struct task_struct *task) {
        __u64 mm = (__u64)task->mm;
        struct tag *tag;

        if (!mm)
                return;
        tag = tag_get(mm);
        if (tag)
                tag_reason(tag, TAG_REASON_UNKNOWN_HISTORY);
}
