/* lifecycle: every birth and death of an address space. */
#include "bpf/facts.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* kernel_clone: the child is complete and not yet woken. */
SEC("tp_btf/sched_process_fork")
int BPF_PROG(lineage_forked, struct task_struct *parent, struct task_struct *child) {
        return fact_forked(parent, child);
}

/* begin_new_exec, before the point of no return: "tracing: Add sched_prepare_exec tracepoint"
 * (6.10), older than the file sensor's tracepoints. sched_process_exec would be too
 * late: the loader has read the program into the new address space by then. */
SEC("tp_btf/sched_prepare_exec")
int BPF_PROG(lineage_execed, struct task_struct *task, struct linux_binprm *bprm) {
        return fact_execs(bprm);
}

/* exit_mmap: there since the maple tree tracks VMAs (6.1). Exact where
 * sched_process_exit is not: whoever was the last of threads, vfork and /proc readers. */
SEC("tp_btf/exit_mmap")
int BPF_PROG(lineage_died, struct mm_struct *mm) {
        return fact_died(mm);
}
