/* paths: where Coresieve keeps things on a host.
 *
 * `coresieve --root DIR` (and `R=DIR` in core_pattern) puts DIR before every path but bpffs and
 * procfs, which belong to the kernel and exist once: tests and the demo run a whole
 * installation without touching the host's own.
 */
#pragma once

#define PATH_POLICY "/etc/coresieve/policy.conf"
#define PATH_POLICY_DIR "/etc/coresieve/policy.d"
#define PATH_STORE "/var/lib/coresieve/dumps"
#define PATH_STATE "/var/lib/coresieve" /* what enable replaced, the canary */
#define PATH_CANARY "/var/lib/coresieve/canary"
#define PATH_BEFORE "/var/lib/coresieve/before-enable" /* core_pattern and more, for disable */
#define PATH_LOG_DIR "/var/log/coresieve"
#define PATH_LOG "/var/log/coresieve/audit.jsonl"
#define PATH_TIP "/var/log/coresieve/audit.tip"
#define PATH_RUN "/run/coresieve" /* slots, counter, pending records: gone at boot */

#define PATH_BPFFS "/sys/fs/bpf"
#define PATH_PINS "/sys/fs/bpf/coresieve/v1"
#define PATH_CORE_PATTERN "/proc/sys/kernel/core_pattern"
#define PATH_CORE_PIPE_LIMIT "/proc/sys/kernel/core_pipe_limit"

#define CORESIEVE_USER "coresieve" /* the worker's own uid and gid */

/* Program names, all in one directory (PREFIX/libexec/coresieve, or the build tree's bin/):
 * each finds the others beside itself. */
#define PROGRAM_HELPER "coresieve-helper"
#define PROGRAM_WORKER "coresieve-worker"
