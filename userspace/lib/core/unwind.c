#include "core/unwind.h"

#include <elfutils/libdwfl.h>
#include <errno.h>
#include <gelf.h>
#include <libelf.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "core/unwind_modules.h"

enum { VIEW_RAW, VIEW_REDACTED, _VIEW_MAX };

/* Registers in DWARF's order (System V ABI AMD64, figure 3.36): 16 general ones and the return
 * address, which of the innermost frame is rip itself. */
#define DWARF_REGISTERS 17U

#define NSEC_PER_SEC 1000000000ULL
#define NSEC_PER_MSEC 1000000ULL

struct trace {
        uint64_t pcs[UNWIND_FRAMES_MAX]; /* the valid part */
        size_t n;
        size_t visited; /* frames that libdw showed */
};

struct walk {
        const struct core_head *head;
        const struct unwind_view *views[_VIEW_MAX];
        struct unwind_modules *modules;
        size_t n_threads; /* to compare */
        size_t thread;    /* the thread and the view that are walked now */
        unsigned view;
        bool started;
        uint64_t reads;
        uint64_t deadline_ns;
        bool capped;    /* some thread was deeper than compared */
        bool exhausted; /* reads or time are used up: the current thread is not whole */
        bool degraded;
        struct unwind_result result;
        struct trace traces[_VIEW_MAX];
};

DEFINE_CLEANUP(walk_modules, struct unwind_modules, unwind_modules_free)
DEFINE_CLEANUP(dwfl, Dwfl, dwfl_end)

static void elf_close(Elf *elf) {
        (void)elf_end(elf);
}

DEFINE_CLEANUP(elf, Elf, elf_close)

static uint64_t now_ns(void) {
        struct timespec t;

        if (clock_gettime(CLOCK_MONOTONIC, &t) < 0)
                return UINT64_MAX; /* no clock, no bound: stop at once */
        return (uint64_t)t.tv_sec * NSEC_PER_SEC + (uint64_t)t.tv_nsec;
}

static const struct core_thread *walk_thread(const struct walk *walk) {
        return &walk->views[walk->view]->notes->threads[walk->thread];
}

/* --- what libdw asks --- */

/* Threads come twice, raw and redacted in turn: both share the modules and their parsed CFI. */
static pid_t on_next_thread(Dwfl *dwfl, void *dwfl_arg, void **thread_argp) {
        struct walk *walk = dwfl_arg;

        (void)dwfl;
        *thread_argp = walk;
        if (!walk->started)
                walk->started = true;
        else if (++walk->view == _VIEW_MAX) {
                walk->view = VIEW_RAW;
                walk->thread++;
        }
        if (walk->thread >= walk->n_threads)
                return 0;
        /* The thread's own id is whatever the core says, and libdw takes <= 0 for an end. */
        return (pid_t)walk->thread + 1;
}

static bool on_memory_read(Dwfl *dwfl, Dwarf_Addr address, Dwarf_Word *result, void *dwfl_arg) {
        struct walk *walk = dwfl_arg;
        const struct unwind_view *view = walk->views[walk->view];
        uint64_t word;

        (void)dwfl;
        if (walk->reads == UNWIND_READS_MAX) {
                walk->exhausted = true;
                return false;
        }
        walk->reads++;
        if (view->read(view->userdata, address, &word, sizeof(word)) < 0)
                return false;
        *result = word;
        return true;
}

static bool on_initial_registers(Dwfl_Thread *thread, void *thread_arg) {
        const struct user_regs_struct *r = &walk_thread(thread_arg)->regs;
        const Dwarf_Word words[DWARF_REGISTERS] = {
                r->rax, r->rdx, r->rcx, r->rbx, r->rsi, r->rdi, r->rbp, r->rsp, r->r8,
                r->r9,  r->r10, r->r11, r->r12, r->r13, r->r14, r->r15, r->rip,
        };

        return dwfl_thread_state_registers(thread, 0, DWARF_REGISTERS, words);
}

static int on_find_elf(Dwfl_Module *module, void **userdata, const char *name, Dwarf_Addr base,
                       char **file_name, Elf **elfp) {
        uint8_t *image;
        size_t size;

        (void)module;
        (void)name;
        (void)base;
        (void)file_name;
        if (unwind_module_image(*userdata, &image, &size) == 0)
                *elfp = elf_memory((char *)image, size);
        return -1;
}

static int on_find_debuginfo(Dwfl_Module *module, void **userdata, const char *name,
                             Dwarf_Addr base, const char *file_name, const char *link,
                             GElf_Word crc, char **path) {
        (void)module;
        (void)userdata;
        (void)name;
        (void)base;
        (void)file_name;
        (void)link;
        (void)crc;
        (void)path;
        return -1; /* there is no debug information, and no path is ever opened */
}

/* --- one thread --- */

static bool is_executable(const struct core_head *head, uint64_t address) {
        const struct segment *segment = core_segment_at(head, address);

        return segment && (segment->flags & PF_X);
}

/* A return address may stand right behind its segment's last call. */
static bool is_code(const struct core_head *head, uint64_t pc) {
        return is_executable(head, pc) || (pc > 0 && is_executable(head, pc - 1));
}

static int on_frame(Dwfl_Frame *frame, void *arg) {
        struct walk *walk = arg;
        struct trace *trace = &walk->traces[walk->view];
        Dwarf_Addr pc;

        if (now_ns() > walk->deadline_ns)
                walk->exhausted = true;
        if (walk->exhausted || !dwfl_frame_pc(frame, &pc, NULL))
                return DWARF_CB_ABORT;
        /* Frame 0 is rip, with or without libdw: it is there already. */
        if (trace->visited++ == 0)
                return DWARF_CB_OK;
        if (!is_code(walk->head, pc))
                return DWARF_CB_ABORT;
        if (trace->n == UNWIND_FRAMES_MAX) {
                walk->capped = true;
                return DWARF_CB_ABORT;
        }
        trace->pcs[trace->n++] = pc;
        return DWARF_CB_OK;
}

static void traces_compare(struct walk *walk) {
        const struct trace *raw = &walk->traces[VIEW_RAW];
        const struct trace *redacted = &walk->traces[VIEW_REDACTED];

        walk->result.threads++;
        walk->result.frames += (uint32_t)raw->n;
        if (walk->views[VIEW_RAW]->notes->threads[walk->thread].tid !=
                    walk->views[VIEW_REDACTED]->notes->threads[walk->thread].tid ||
            raw->n != redacted->n ||
            memcmp(raw->pcs, redacted->pcs, raw->n * sizeof(*raw->pcs)) != 0)
                walk->degraded = true;
}

static int on_thread(Dwfl_Thread *thread, void *arg) {
        struct walk *walk = arg;
        struct trace *trace = &walk->traces[walk->view];

        trace->pcs[0] = walk_thread(walk)->regs.rip;
        trace->n = 1;
        trace->visited = 0;
        /* That it ends with an error is ordinary: most stacks end where nothing is left to read. */
        (void)dwfl_thread_getframes(thread, on_frame, walk);
        if (walk->exhausted)
                return DWARF_CB_ABORT;
        if (walk->view == VIEW_REDACTED)
                traces_compare(walk);
        return DWARF_CB_OK;
}

/* --- all threads --- */

static int modules_report(Dwfl *dwfl, struct unwind_modules *modules) {
        dwfl_report_begin(dwfl);
        for (size_t i = 0; i < modules->n_modules; i++) {
                struct unwind_module *module = &modules->modules[i];
                Dwfl_Module *reported;
                void **userdata;

                /* Never a name of the process's: libdw gives meaning to some. */
                reported = dwfl_report_module(dwfl, "module", module->low, module->high);
                if (!reported ||
                    !dwfl_module_info(reported, &userdata, NULL, NULL, NULL, NULL, NULL, NULL))
                        return -ENOMEM;
                *userdata = module;
        }
        return dwfl_report_end(dwfl, NULL, NULL) == 0 ? 0 : -ENOMEM;
}

static int walk_run(struct walk *walk) {
        static const Dwfl_Callbacks callbacks = {
                .find_elf = on_find_elf,
                .find_debuginfo = on_find_debuginfo,
        };
        static const Dwfl_Thread_Callbacks thread_callbacks = {
                .next_thread = on_next_thread,
                .memory_read = on_memory_read,
                .set_initial_registers = on_initial_registers,
        };
        /* Tells libdw the machine, also where no module could be found. */
        Elf64_Ehdr machine = {
                .e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB,
                             EV_CURRENT },
                .e_type = ET_CORE,
                .e_machine = EM_X86_64,
                .e_version = EV_CURRENT,
                .e_ehsize = sizeof(Elf64_Ehdr),
        };
        _cleanup_(cleanup_elf) Elf *elf = NULL;
        _cleanup_(cleanup_dwfl) Dwfl *dwfl = NULL; /* after elf: released before it */
        int r;

        if (elf_version(EV_CURRENT) == EV_NONE)
                return -ENOTSUP;
        elf = elf_memory((char *)&machine, sizeof(machine));
        dwfl = dwfl_begin(&callbacks);
        if (!elf || !dwfl)
                return -ENOMEM;
        r = modules_report(dwfl, walk->modules);
        if (r < 0)
                return r;
        if (!dwfl_attach_state(dwfl, elf, 1, &thread_callbacks, walk))
                return -ENOMEM;
        return dwfl_getthreads(dwfl, on_thread, walk) < 0 ? -ENOMEM : 0;
}

static enum unwind_outcome walk_outcome(const struct walk *walk, bool left_out) {
        if (walk->degraded)
                return UNWIND_DEGRADED;
        if (left_out || walk->capped || walk->exhausted || walk->modules->capped)
                return UNWIND_CAPPED;
        return UNWIND_SAME;
}

int unwind_compare(const struct core_head *head, const struct unwind_view *raw,
                   const struct unwind_view *redacted, unwind_read images, void *userdata,
                   struct unwind_result *ret) {
        _cleanup_(cleanup_walk_modules) struct unwind_modules *modules = NULL;
        _cleanup_free_ struct walk *walk = NULL;
        size_t n = raw->notes->n_threads;
        int r;

        if (n != redacted->notes->n_threads)
                return -EINVAL;
        if (n == 0 || head->n_segments > UNWIND_SEGMENTS_MAX) {
                *ret = (struct unwind_result){ .outcome = n == 0 ? UNWIND_NONE : UNWIND_CAPPED };
                return 0;
        }
        walk = calloc(1, sizeof(*walk));
        if (!walk)
                return -ENOMEM;
        r = unwind_modules_find(head, raw->notes, images, userdata, &modules);
        if (r < 0)
                return r;

        walk->head = head;
        walk->views[VIEW_RAW] = raw;
        walk->views[VIEW_REDACTED] = redacted;
        walk->modules = modules;
        walk->n_threads = n < UNWIND_THREADS_MAX ? n : UNWIND_THREADS_MAX;
        walk->deadline_ns = now_ns() + UNWIND_TIME_MAX_MS * NSEC_PER_MSEC;
        r = walk_run(walk);
        if (r < 0)
                return r;

        *ret = walk->result;
        ret->outcome = walk_outcome(walk, n > UNWIND_THREADS_MAX);
        return 0;
}
