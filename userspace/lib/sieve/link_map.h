/* link_map: what debuggers need to find the modules of a process.
 *
 * The closure: the program's .dynamic, r_debug (one for each namespace), five words of every
 * link_map, its name, its .dynamic. Found from the auxiliary vector alone; every pointer is the
 * process's, so counts are bounded and what cannot be read is left out: the worst a crafted
 * list does is to keep bytes of its own stack that needles then still hunt.
 * Sources: <link.h>, gABI "Dynamic Linking".
 */
#pragma once

#include "core/note.h"
#include "sieve/range_set.h"
#include "sieve/source.h"

#define LINK_PHDRS_MAX 1024U    /* program headers of the executable */
#define LINK_DYNAMIC_MAX 512U   /* entries of one .dynamic */
#define LINK_MAPS_MAX 8192U     /* modules of one namespace */
#define LINK_NAMESPACES_MAX 16U /* dlmopen(); glibc has 16 */
#define LINK_NAME_MAX 4096U     /* bytes of one path */

/* Adds the closure to `keep`. 0 also when there is none (a static program); -ENODATA when the
 * process died, -E2BIG, -ENOMEM. */
int link_map_keep(const struct core_notes *notes, struct source *source, struct range_set *keep);
