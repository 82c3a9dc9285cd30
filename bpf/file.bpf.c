/* file: the sensor on the page cache.
 *
 * All three tracepoints came with "filemap: Add trace events for get_pages, map_pages, and
 * fault" (6.12). They run in the reader's context (io_uring's workers have the
 * process's mm) and see read, pread, readv, splice, sendfile, mmap and passed descriptors alike.
 * Blind to: tmpfs, O_DIRECT, DAX, procfs, and a mapping of a whole huge page of the page cache
 * (filemap_map_pmd returns before the tracepoint: files of 2 MiB and more).
 */
#include "bpf/watch.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* filemap_get_pages: pages found, nothing copied to the reader yet. */
SEC("tp_btf/mm_filemap_get_pages")
int BPF_PROG(pages_got, struct address_space *mapping) {
        return fact_pages_given(mapping, PAGES_READ);
}

/* filemap_map_pages: another thread may read the page first, but no crash, fork or exec of the
 * process can pass this thread while it is in the fault. */
SEC("tp_btf/mm_filemap_map_pages")
int BPF_PROG(pages_mapped, struct address_space *mapping) {
        return fact_pages_given(mapping, PAGES_MAPPED);
}

/* filemap_fault: at its start, also for a write that copies the page. */
SEC("tp_btf/mm_filemap_fault")
int BPF_PROG(page_faulted, struct address_space *mapping) {
        return fact_pages_given(mapping, PAGES_FAULTED);
}
