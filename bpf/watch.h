/* watch: the fact that bytes of a file reach a process, and whether a rule names that file.
 *
 * A rule watches the files that it matched at enable, by inode, and a directory above them, by
 * name: a file created or renamed into it later is found by its first reader. The tag is stored
 * before the handler returns: the process cannot have used a byte by then (P3).
 *
 * In one object only: the linker of libbpf 1.1 cannot merge two uses of a kernel function.
 */
#pragma once

#include <stdbool.h>

#include "bpf/facts.h"

/* A global function: the verifier looks at it once, not at every way that leads to it, or these
 * programs are too large for it. */
#define verified_once __noinline

/* One look at one file; lives on the stack of the handler. Kernel pointers are kept as numbers:
 * the verifier forgets what they are in a loop's context. */
struct look {
        struct file_key key; /* all zeros until somebody asks: look_key() */
        __u64 inode;
        __u64 mm;
        __u32 dev;
        __u32 matched; /* a rule names it */
        __u64 dentry;  /* where the walk is */
        __u64 leaf;    /* the file's own dentry */
};

static __always_inline bool file_key_equal(const struct file_key *a, const struct file_key *b) {
        return a->ino == b->ino && a->dev == b->dev && a->gen == b->gen &&
               a->ctime_ns == b->ctime_ns;
}

/* Puts a file into a lineage's tag, once. */
verified_once int tag_file_add(const struct look *look, __u32 rule) {
        struct tags_counters *c;
        struct tag *tag;
        __u32 slot;

        if (!look)
                return 0;
        tag = tag_get(look->mm);
        if (!tag)
                return 0;
        /* The reason first: with a slot still being filled, the tag says less than it could, but
         * it is there. */
        tag_reason(tag, TAG_REASON_FILE);

        for (__u32 i = 0; i < TAG_FILES_MAX; i++) {
                const struct tag_file *f = &tag->files[i];

                if (f->ready && f->rule == rule && file_key_equal(&f->key, &look->key))
                        return 0;
        }

        /* Looked at before the count is raised, or a busy reader would wrap it. */
        slot = tag->n_files;
        if (slot < TAG_FILES_MAX)
                slot = __sync_fetch_and_add(&tag->n_files, 1);
        if (slot >= TAG_FILES_MAX) {
                __sync_fetch_and_or(&tag->flags, TAG_FILES_LOST);
                return 0;
        }
        tag->files[slot].key = look->key;
        tag->files[slot].rule = rule;
        /* An exchange is a full barrier on every architecture. */
        __sync_lock_test_and_set(&tag->files[slot].ready, 1);

        c = counters_get();
        if (c)
                __sync_fetch_and_add(&c->tagged, 1);
        return 0;
}

enum pages_way { PAGES_READ, PAGES_MAPPED, PAGES_FAULTED };

static __always_inline const struct watch_filter *filter_get(void) {
        __u32 zero = 0;

        return bpf_map_lookup_elem(&watch_filter, &zero);
}

static __always_inline bool device_watched(const struct watch_filter *filter, __u32 dev) {
        if (filter->n_devs > WATCH_DEVS_MAX)
                return true;
        for (__u32 i = 0; i < WATCH_DEVS_MAX; i++) {
                if (i >= filter->n_devs)
                        return false;
                if (filter->devs[i] == dev)
                        return true;
        }
        return false;
}

static __always_inline __u64 bit_of(const __u64 *bits, __u64 ino) {
        __u32 bit = watch_filter_bit(ino) & (WATCH_FILTER_BITS - 1);

        return bits[bit / 64] >> (bit % 64) & 1;
}

static __always_inline void file_key_of(struct inode *inode, struct file_key *ret) {
        ret->ino = inode->i_ino;
        ret->dev = inode->i_sb->s_dev;
        ret->gen = inode->i_generation;
        ret->ctime_ns =
                (__u64)inode->i_ctime_sec * NSEC_PER_SEC + (inode->i_ctime_nsec & ~I_CTIME_QUERIED);
}

static __always_inline void look_key(struct look *look) {
        if (!look->key.ino)
                file_key_of(kernel_ptr(inode, look->inode), &look->key);
}

static __always_inline __u64 dentry_of_alias(const struct hlist_node *node) {
        return (__u64)node - bpf_core_field_offset(struct dentry, d_u.d_alias);
}

/* Do `len` bytes (no more than WATCH_NAME_MAX) at `at` equal the piece? */
static __always_inline bool piece_equal(const struct name_piece *piece, const unsigned char *at,
                                        __u32 len) {
        struct name_piece found = {};

        if (len > WATCH_NAME_MAX)
                len = WATCH_NAME_MAX;
        if (bpf_probe_read_kernel(&found, len, at))
                return true; /* cannot tell: too much rather than too little */
        for (int i = 0; i < WATCH_NAME_MAX / 8; i++) {
                if (found.words[i] != piece->words[i])
                        return false;
        }
        return true;
}

struct middle {
        const struct dir_rule *rule;
        __u64 dentry;
        __u32 left; /* components still to look at */
        __u32 found;
};

static long middle_step(__u32 i, struct middle *m) {
        struct dentry *d = kernel_ptr(dentry, m->dentry);

        if (!m->left)
                return 1;
        m->left--;
        if (d->d_name.len == m->rule->middle_len &&
            piece_equal(&m->rule->middle, d->d_name.name, m->rule->middle_len)) {
                m->found = 1;
                return 1;
        }
        m->dentry = (__u64)d->d_parent;
        return 0;
}

/* Is there a component of that name between the directory and the file? */
static __always_inline bool middle_matches(const struct dir_rule *rule, __u64 leaf, __u32 depth) {
        struct middle m = { .rule = rule, .left = depth - 1 };

        m.dentry = (__u64)kernel_ptr(dentry, leaf)->d_parent;
        bpf_loop(WATCH_DEPTH_MAX, middle_step, &m, 0);
        return m.found;
}

static __always_inline bool name_matches(const struct dir_rule *rule, __u64 leaf) {
        struct dentry *d = kernel_ptr(dentry, leaf);
        __u32 seq = d->d_seq.seqcount.sequence;
        __u32 len = d->d_name.len;
        const unsigned char *name = d->d_name.name;
        bool match;

        match = (!rule->name_len || len == rule->name_len) &&
                len >= rule->prefix_len + rule->suffix_len &&
                piece_equal(&rule->prefix, name, rule->prefix_len) &&
                piece_equal(&rule->suffix, name + len - rule->suffix_len, rule->suffix_len);

        /* A rename is writing the name just now: what was compared may be neither the old name
         * nor the new one. */
        if ((seq & 1) || d->d_seq.seqcount.sequence != seq)
                return true;
        return match;
}

verified_once int rule_matches(const struct dir_rule *rule, const struct look *look, __u32 depth) {
        if (!rule || !look)
                return 0;
        if (depth < rule->depth_min || depth > rule->depth_max)
                return 0;
        if (!name_matches(rule, look->leaf))
                return 0;
        if (rule->middle_len && !middle_matches(rule, look->leaf, depth))
                return 0;
        return 1;
}

struct page_walk {
        struct look *look;
        struct inode_key key;
        __u32 depth;
};

/* One page of the rules of a watched directory. */
static long page_step(__u32 i, struct page_walk *walk) {
        const struct watch_dir *dir;

        walk->key.page = i;
        dir = bpf_map_lookup_elem(&watch_dirs, &walk->key);
        if (!dir)
                return 1;
        for (__u32 k = 0; k < WATCH_RULES_MAX && k < dir->n_rules; k++) {
                if (!rule_matches(&dir->rules[k], walk->look, walk->depth))
                        continue;
                walk->look->matched = 1;
                tag_file_add(walk->look, dir->rules[k].rule);
        }
        return !dir->more;
}

/* One step up from the file: is this directory watched, and for such a file? */
static long parent_step(__u32 i, struct look *look) {
        struct dentry *d = kernel_ptr(dentry, look->dentry);
        struct dentry *parent = d->d_parent;
        struct page_walk walk = { .look = look, .depth = i + 1 };

        if (parent == d || !parent)
                return 1;
        look->dentry = (__u64)parent;
        walk.key.ino = parent->d_inode->i_ino;
        walk.key.dev = look->dev;
        bpf_loop(WATCH_PAGES_MAX, page_step, &walk, 0);
        return 0;
}

/* How the walk up from a file ends, without a look into any map. */
enum walk_end { WALK_NOTHING, WALK_MAYBE, WALK_TOO_DEEP };

verified_once int walk_filtered(const struct look *look) {
        const struct watch_filter *filter = filter_get();
        struct dentry *d;
        __u64 maybe = 0;

        if (!look || !filter)
                return WALK_NOTHING;
        d = kernel_ptr(dentry, look->leaf);
        for (int i = 0; i < WATCH_DEPTH_MAX; i++) {
                struct dentry *parent = d->d_parent;

                if (parent == d || !parent)
                        return maybe ? WALK_MAYBE : WALK_NOTHING;
                maybe |= bit_of(filter->dirs, parent->d_inode->i_ino);
                d = parent;
        }
        return WALK_TOO_DEEP;
}

/* Looks up the directories of one file, by each of its cached names. */
static __always_inline void look_up(struct look *look, struct inode *inode) {
        const struct hlist_node *alias = inode->i_dentry.first;

        for (int i = 0; i < WATCH_ALIASES_MAX && alias; i++) {
                int end;

                look->leaf = dentry_of_alias(alias);
                end = walk_filtered(look);
                if (end != WALK_NOTHING) {
                        look_key(look);
                        look->dentry = look->leaf;
                        bpf_loop(WATCH_DEPTH_MAX, parent_step, look, 0);
                }
                if (end == WALK_TOO_DEEP) {
                        struct tags_counters *c = counters_get();

                        /* No answer is not the answer "no". */
                        look->matched = 1;
                        tag_file_add(look, RULE_UNTOLD);
                        if (c)
                                __sync_fetch_and_add(&c->untold, 1);
                }
                alias = kernel_ptr(hlist_node, alias)->next;
        }
}

static __always_inline void canary_seen(enum pages_way way, struct learned *learned) {
        struct tags_counters *c = counters_get();

        if (learned)
                learned->canary = 1;
        if (!c)
                return;
        if (way == PAGES_READ)
                __sync_fetch_and_add(&c->canary_hits, 1);
        else if (way == PAGES_MAPPED)
                __sync_fetch_and_add(&c->canary_maps, 1);
        else
                __sync_fetch_and_add(&c->canary_faults, 1);
}

/* The thread that is learning keys, if this is one. Its page faults are no lesson: they are of
 * its own text. */
static __always_inline struct learned *learner_get(enum pages_way way) {
        __u32 zero = 0, tid;
        __u64 *until, seen;

        if (way != PAGES_READ)
                return NULL;
        until = bpf_map_lookup_elem(&learn_until, &zero);
        if (!until || !*until)
                return NULL;
        seen = *until;
        if (bpf_ktime_get_boot_ns() > seen) {
                __sync_val_compare_and_swap(until, seen, 0);
                return NULL;
        }
        tid = (__u32)bpf_get_current_pid_tgid();
        return bpf_map_lookup_elem(&learners, &tid);
}

struct ancestor {
        struct learned *learned;
        __u64 dentry;
};

static long ancestor_step(__u32 i, struct ancestor *a) {
        struct dentry *d = kernel_ptr(dentry, a->dentry);
        struct dentry *parent = d->d_parent;
        struct inode *inode;

        if (parent == d || !parent || i >= LEARN_PARENTS_MAX)
                return 1;
        inode = parent->d_inode;
        a->learned->parents[i].ino = inode->i_ino;
        a->learned->parents[i].dev = inode->i_sb->s_dev;
        a->learned->n_parents = i + 1;
        a->dentry = (__u64)parent;
        return 0;
}

static __always_inline void learn(struct learned *learned, struct inode *inode) {
        const struct hlist_node *alias = inode->i_dentry.first;
        struct ancestor a = { .learned = learned };

        file_key_of(inode, &learned->key);
        learned->seen++;
        if (!alias)
                return;
        a.dentry = dentry_of_alias(alias);
        bpf_loop(LEARN_PARENTS_MAX, ancestor_step, &a, 0);
}

/* Is the file known by its inode? */
static __always_inline void look_file(struct look *look, __u64 ino, enum pages_way way,
                                      struct learned *learned) {
        struct inode_key key = { .ino = ino, .dev = look->dev };
        const struct watch_file *file = bpf_map_lookup_elem(&watch_files, &key);

        if (!file)
                return;
        look_key(look);
        if (file->gen != look->key.gen)
                return;
        for (__u32 i = 0; i < WATCH_RULES_MAX && i < file->n_rules; i++) {
                if (file->rules[i] == RULE_CANARY) {
                        canary_seen(way, learned);
                        continue;
                }
                look->matched = 1;
                tag_file_add(look, file->rules[i]);
        }
}

/* Pages of a file are about to be given to the running process. Cheapest questions first: this
 * is asked at every buffered read of the host. */
static __always_inline int fact_pages_given(struct address_space *mapping, enum pages_way way) {
        struct task_struct *task = bpf_get_current_task_btf();
        const struct watch_filter *filter = filter_get();
        struct learned *learned = learner_get(way);
        struct inode *inode = mapping->host;
        struct look look = {};
        __u64 ino;

        if (learned)
                learn(learned, inode);
        look.dev = inode->i_sb->s_dev;
        if (!filter || !device_watched(filter, look.dev))
                return 0;
        look.mm = (__u64)task->mm;
        if (!look.mm)
                return 0; /* a kernel thread: who asked it to read is seen where he gets it */

        look.inode = (__u64)inode;
        ino = inode->i_ino;
        if (bit_of(filter->files, ino))
                look_file(&look, ino, way, learned);
        look_up(&look, inode);
        if (learned)
                learned->watched = look.matched;
        return 0;
}
