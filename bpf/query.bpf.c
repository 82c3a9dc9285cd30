/* query: what user space asks the kernel, one task at a time or all of them.
 *
 * Iterators look a task up once and read its lineage then and there: no map is keyed by a PID
 * that could be somebody else's by now. A link with iter_info.task.tid asks for one thread
 * ("bpf: Parameterize task iterators", 6.1).
 */
#include "bpf/facts.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Writes one struct task_answer for each thread; too large for the stack, so in two parts. */
SEC("iter/task")
int answer_task(struct bpf_iter__task *ctx) {
        struct task_struct *task = ctx->task;
        const struct tag *tag = NULL;
        struct task_answer_head {
                __u64 mm, start_boottime;
                __u32 tgid, tid, found, pad;
        } head = {};

        _Static_assert(sizeof(head) == __builtin_offsetof(struct task_answer, tag), "two layouts");
        if (!task)
                return 0;
        head.mm = (__u64)task->mm;
        head.tgid = task->tgid;
        head.tid = task->pid;
        head.start_boottime = task->group_leader->start_boottime;
        if (head.mm)
                tag = bpf_map_lookup_elem(&tags, &head.mm);
        head.found = !!tag;
        bpf_seq_write(ctx->meta->seq, &head, sizeof(head));
        if (tag)
                bpf_seq_write(ctx->meta->seq, tag, sizeof(*tag));
        else
                bpf_seq_write(ctx->meta->seq, &tag_empty, sizeof(tag_empty));
        return 0;
}

/* Marks every task alive; writes nothing. */
SEC("iter/task")
int seed_task(struct bpf_iter__task *ctx) {
        struct task_struct *task = ctx->task;

        if (task)
                fact_older_than_sensors(task);
        return 0;
}

/* Writes one struct directory_answer for each descriptor: what a directory without any file to
 * learn from is called, where open files have the inodes of their own file system (not overlay). */
SEC("iter/task_file")
int show_directory(struct bpf_iter__task_file *ctx) {
        struct directory_answer answer = {};
        struct file *file = ctx->file;
        struct inode *inode;

        if (!file)
                return 0;
        inode = file->f_inode;
        answer.key.ino = inode->i_ino;
        answer.key.dev = inode->i_sb->s_dev;
        answer.fd = ctx->fd;
        bpf_seq_write(ctx->meta->seq, &answer, sizeof(answer));
        return 0;
}
