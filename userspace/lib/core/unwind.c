#include "core/unwind.h"

#include <elfutils/libdwfl.h>
#include <errno.h>
#include <gelf.h>
#include <libelf.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "core/unwind_modules.h"

/* Registers in DWARF's order (System V ABI AMD64, figure 3.36): 16 general ones and the return
 * address, which of the innermost frame is rip itself. */
#define DWARF_REGISTERS 17U

/* One of the two walks. Each has a libdw of its own: what libdw remembers of malformed CFI differs
 * from what it says at the first look, and both sides must be told the same. */
struct side {
        struct walk *walk;
        const struct unwind_view *view;
        Elf64_Ehdr machine;
        Elf *elf; /* of `machine` */
        Dwfl *dwfl;
        uint64_t pcs[UNWIND_FRAMES_MAX]; /* the valid part of the current thread */
        size_t n;
        size_t visited; /* frames that libdw showed */
};

struct walk {
        const struct core_head *head;
        struct unwind_modules *modules;
        struct side raw, redacted;
        size_t thread; /* the current one */
        uint64_t reads;
        uint64_t until_cpu_ns;
        bool capped;    /* some thread was deeper than compared */
        bool exhausted; /* reads or time are used up: the current thread is not whole */
        bool degraded;
        struct unwind_result result;
};

static void side_close(struct side *side) {
        dwfl_end(side->dwfl);
        (void)elf_end(side->elf); /* dwfl looks at it to its end */
}

static void walk_free(struct walk *walk) {
        side_close(&walk->raw);
        side_close(&walk->redacted);
        unwind_modules_free(walk->modules); /* after both sides, which see its images */
        free(walk);
}

DEFINE_CLEANUP(walk, struct walk, walk_free)

static const struct core_thread *side_thread(const struct side *side) {
        return &side->view->notes->threads[side->walk->thread];
}

/* --- what libdw asks --- */

/* libdw demands it; threads are asked for one by one. */
static pid_t on_next_thread(Dwfl *dwfl, void *dwfl_arg, void **thread_argp) {
        (void)dwfl;
        (void)dwfl_arg;
        (void)thread_argp;
        return 0;
}

static bool on_get_thread(Dwfl *dwfl, pid_t tid, void *dwfl_arg, void **thread_argp) {
        (void)dwfl;
        (void)tid;
        *thread_argp = dwfl_arg;
        return true;
}

static bool on_memory_read(Dwfl *dwfl, Dwarf_Addr address, Dwarf_Word *result, void *dwfl_arg) {
        struct side *side = dwfl_arg;
        struct walk *walk = side->walk;
        uint64_t word;

        (void)dwfl;
        if (walk->reads == UNWIND_READS_MAX) {
                walk->exhausted = true;
                return false;
        }
        walk->reads++;
        if (side->view->read(side->view->userdata, address, &word, sizeof(word)) < 0)
                return false;
        *result = word;
        return true;
}

static bool on_initial_registers(Dwfl_Thread *thread, void *thread_arg) {
        const struct user_regs_struct *r = &side_thread(thread_arg)->regs;
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
        struct side *side = arg;
        struct walk *walk = side->walk;
        Dwarf_Addr pc;

        if (clock_cpu_ns() > walk->until_cpu_ns)
                walk->exhausted = true;
        if (walk->exhausted || !dwfl_frame_pc(frame, &pc, NULL))
                return DWARF_CB_ABORT;
        /* Frame 0 is rip, with or without libdw: it is there already. */
        if (side->visited++ == 0)
                return DWARF_CB_OK;
        if (!is_code(walk->head, pc))
                return DWARF_CB_ABORT;
        if (side->n == UNWIND_FRAMES_MAX) {
                walk->capped = true;
                return DWARF_CB_ABORT;
        }
        side->pcs[side->n++] = pc;
        return DWARF_CB_OK;
}

static void side_follow(struct side *side) {
        side->pcs[0] = side_thread(side)->regs.rip;
        side->n = 1;
        side->visited = 0;
        /* The thread's own id is whatever the core says; its place is as good a name.
         * That it ends with an error is ordinary: most stacks end where nothing is left to read. */
        (void)dwfl_getthread_frames(side->dwfl, (pid_t)side->walk->thread + 1, on_frame, side);
}

static bool sides_equal(const struct side *raw, const struct side *redacted) {
        return side_thread(raw)->tid == side_thread(redacted)->tid && raw->n == redacted->n &&
               memcmp(raw->pcs, redacted->pcs, raw->n * sizeof(*raw->pcs)) == 0;
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

static int side_open(struct side *side, struct walk *walk, const struct unwind_view *view) {
        static const Dwfl_Callbacks callbacks = {
                .find_elf = on_find_elf,
                .find_debuginfo = on_find_debuginfo,
        };
        static const Dwfl_Thread_Callbacks thread_callbacks = {
                .next_thread = on_next_thread,
                .get_thread = on_get_thread,
                .memory_read = on_memory_read,
                .set_initial_registers = on_initial_registers,
        };
        /* Tells libdw the machine, also where no module could be found. */
        static const Elf64_Ehdr machine = {
                .e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB,
                             EV_CURRENT },
                .e_type = ET_CORE,
                .e_machine = EM_X86_64,
                .e_version = EV_CURRENT,
                .e_ehsize = sizeof(Elf64_Ehdr),
        };
        int r;

        side->walk = walk;
        side->view = view;
        side->machine = machine;
        side->elf = elf_memory((char *)&side->machine, sizeof(side->machine));
        side->dwfl = dwfl_begin(&callbacks);
        if (!side->elf || !side->dwfl)
                return -ENOMEM;
        r = modules_report(side->dwfl, walk->modules);
        if (r < 0)
                return r;
        return dwfl_attach_state(side->dwfl, side->elf, 1, &thread_callbacks, side) ? 0 : -ENOMEM;
}

static void walk_run(struct walk *walk, size_t n_threads) {
        for (walk->thread = 0; walk->thread < n_threads; walk->thread++) {
                side_follow(&walk->raw);
                side_follow(&walk->redacted);
                if (walk->exhausted)
                        return;
                walk->result.threads++;
                walk->result.frames += (uint32_t)walk->raw.n;
                if (!sides_equal(&walk->raw, &walk->redacted))
                        walk->degraded = true;
        }
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
        _cleanup_(cleanup_walk) struct walk *walk = NULL;
        size_t n = raw->notes->n_threads;
        int r;

        if (n != redacted->notes->n_threads)
                return -EINVAL;
        if (n == 0 || head->n_segments > UNWIND_SEGMENTS_MAX) {
                *ret = (struct unwind_result){ .outcome = n == 0 ? UNWIND_NONE : UNWIND_CAPPED };
                return 0;
        }
        if (elf_version(EV_CURRENT) == EV_NONE)
                return -ENOTSUP;
        walk = calloc(1, sizeof(*walk));
        if (!walk)
                return -ENOMEM;
        walk->head = head;
        walk->until_cpu_ns = clock_cpu_ns() + UNWIND_TIME_MAX_MS * NS_PER_MS;
        r = unwind_modules_find(head, raw->notes, images, userdata, &walk->modules);
        if (r < 0)
                return r;
        r = side_open(&walk->raw, walk, raw);
        if (r < 0)
                return r;
        r = side_open(&walk->redacted, walk, redacted);
        if (r < 0)
                return r;

        walk_run(walk, n < UNWIND_THREADS_MAX ? n : UNWIND_THREADS_MAX);
        *ret = walk->result;
        ret->outcome = walk_outcome(walk, n > UNWIND_THREADS_MAX);
        return 0;
}
