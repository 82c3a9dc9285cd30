/* preflight: what must hold on a host before core_pattern becomes ours.
 *
 * The kernel starts the helper as root, in the root directory of PID 1 and with nobody to tell:
 * whatever would go wrong then is looked for now.
 */
#pragma once

#include <limits.h>
#include <stdio.h>

struct programs {
        char helper[PATH_MAX];
        char worker[PATH_MAX];
};

/* Finds helper and worker: beside this program (a build tree), or in ../libexec/coresieve. Each
 * must be an executable file, root's and nobody else's to write, as all directories above it.
 * Returns 0, or a negative errno after a message to `errors`. */
int preflight_programs(FILE *errors, struct programs *ret);

/* Root in the initial namespaces, usermode helpers not fixed to another program, the helper at
 * the same path in PID 1's root, the worker's user. The same convention. */
int preflight_host(const char *root, const struct programs *programs, FILE *errors);
