/* maps: every map, in one place for all programs.
 *
 * Every object has them, weak, and `bpftool gen object` makes one of those with the same name,
 * after it has compared their shapes. All are pinned; host/sensor.c says where.
 */
#pragma once

#include "bpf/kernel.h"
#include "bpf/tags.h"

/* Elements are allocated when needed: 65536 tags would hold 35 MB from the start otherwise. A
 * failed allocation is a failed update, and that is counted. */
struct {
        __uint(type, BPF_MAP_TYPE_HASH);
        __uint(max_entries, TAGS_MAX);
        __uint(map_flags, BPF_F_NO_PREALLOC);
        __type(key, __u64); /* address of the mm_struct */
        __type(value, struct tag);
} tags SEC(".maps") __weak;

struct {
        __uint(type, BPF_MAP_TYPE_ARRAY);
        __uint(max_entries, 1);
        __type(key, __u32);
        __type(value, struct tags_meta);
} meta SEC(".maps") __weak;

struct {
        __uint(type, BPF_MAP_TYPE_ARRAY);
        __uint(max_entries, 1);
        __type(key, __u32);
        __type(value, struct tags_counters);
} counters SEC(".maps") __weak;

struct {
        __uint(type, BPF_MAP_TYPE_ARRAY);
        __uint(max_entries, 1);
        __type(key, __u32);
        __type(value, struct watch_filter);
} watch_filter SEC(".maps") __weak;

struct {
        __uint(type, BPF_MAP_TYPE_HASH);
        __uint(max_entries, WATCH_FILES_MAX);
        __uint(map_flags, BPF_F_NO_PREALLOC);
        __type(key, struct inode_key);
        __type(value, struct watch_file);
} watch_files SEC(".maps") __weak;

struct {
        __uint(type, BPF_MAP_TYPE_HASH);
        __uint(max_entries, WATCH_DIRS_MAX);
        __uint(map_flags, BPF_F_NO_PREALLOC);
        __type(key, struct inode_key);
        __type(value, struct watch_dir);
} watch_dirs SEC(".maps") __weak;

/* Which rules were watched since when nobody escaped them: read by user space only. */
struct {
        __uint(type, BPF_MAP_TYPE_HASH);
        __uint(max_entries, RULES_MAX);
        __uint(map_flags, BPF_F_NO_PREALLOC);
        __type(key, __u32);
        __type(value, __u32);
} rules SEC(".maps") __weak;

struct {
        __uint(type, BPF_MAP_TYPE_ARRAY);
        __uint(max_entries, 1);
        __type(key, __u32);
        __type(value, __u64);
} learn_until SEC(".maps") __weak;

struct {
        __uint(type, BPF_MAP_TYPE_HASH);
        __uint(max_entries, LEARNERS_MAX);
        __uint(map_flags, BPF_F_NO_PREALLOC);
        __type(key, __u32);
        __type(value, struct learned);
} learners SEC(".maps") __weak;
