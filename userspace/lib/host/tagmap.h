/* tagmap: what the sensors know of a process, asked at a crash.
 *
 * Everything here reads pinned maps and links; only sensor.h creates them. The absence of a tag
 * is an answer only while the sensors prove themselves: the maps are of this ABI, boot and
 * generation, every link is pinned and alive, nothing overflowed, and a canary read through the
 * page cache is seen by the sensor just now. Anything else is an error with its reason (P3: an
 * absence that is not proved is not clean).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "bpf/tags.h"

struct tagmap; /* opaque: descriptors of the pinned objects */

/* Opens the maps below PATH_PINS and proves the sensors, `root` as in paths.h.
 * Returns 0; or -ENOENT (not enabled or unpinned), -ESTALE (another boot, ABI or generation),
 * -ENOLINK (a link is gone or the canary was not seen), -EOVERFLOW, or another negative errno,
 * with *ret_why a static sentence that names what failed and the remedy. */
int tagmap_open(const char *root, struct tagmap **ret, const char **ret_why);
void tagmap_close(struct tagmap *map); /* NULL is fine */

/* For status and tags: opens without the proof, which these give in parts. An absence told by
 * such a map says nothing. tagmap_check_links() names the sensor at fault. */
int tagmap_open_unproved(struct tagmap **ret, const char **ret_why);
int tagmap_check_links(const struct tagmap *map, const char **ret_name);
int tagmap_check_canary(struct tagmap *map, const char *root);

/* As they were when the map was opened. */
const struct tags_counters *tagmap_counters(const struct tagmap *map);
const struct tags_meta *tagmap_meta(const struct tagmap *map);

/* The lineage of thread `tid` (init namespace). Use the crashing thread, not the leader, whose
 * address space is gone when only it exited. -ESRCH: no such task, or it has no memory. */
int tagmap_of_task(struct tagmap *map, pid_t tid, struct task_answer *ret);

/* Every thread alive that has memory, tagged or not (answer->found); `each` ends it with a value
 * other than 0, which is returned. */
int tagmap_each(struct tagmap *map, int (*each)(const struct task_answer *answer, void *context),
                void *context);

/* How many lineages have a tag; about right while processes come and go. */
int tagmap_count(const struct tagmap *map, uint32_t *ret);

/* What the sensor calls the open regular file `fd`, learnt by reading one byte of it: the only
 * answer that holds on overlay and btrfs. -EOPNOTSUPP when the sensor does not see this file
 * (tmpfs, O_DIRECT only, procfs), -ENODATA for an empty file. *ret_watched (may be NULL): any
 * rule names it for the sensor, so that who has read it since then has a tag that says so. */
int tagmap_identify(struct tagmap *map, int fd, struct file_key *ret, bool *ret_watched);
