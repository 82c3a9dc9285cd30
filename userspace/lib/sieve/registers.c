#include "sieve/registers.h"

#include <elf.h>
#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/procfs.h>
#include <sys/user.h>

#define WORD 8U

/* In no <elf.h> of Debian 12: the layout of the XSAVE area (6.11), the shadow stack pointer. */
#define NOTE_XSAVE_LAYOUT 0x205U
#define NOTE_SHADOW_STACK 0x204U

/* NT_X86_XSTATE is an XSAVE area (Intel SDM vol. 1, 13.4): 464 bytes of x87 and SSE state, then
 * 48 bytes in which Linux leaves xcr0, then the header. Without those two gdb shows no frame. */
#define XSTATE_KEEP_START 464U
#define XSTATE_KEEP_END 576U

/* siginfo_t: number, errno, code, padding; then a union. */
#define SIGINFO_FIXED 16U
#define SIGINFO_CODE 8U
#define SIGINFO_SENDER_END 24U /* pid and uid, where a process sent it */

struct registers {
        const struct core_head *head;
        const struct range_set *addresses;
        struct plan *plan;
};

static bool harmless(const struct registers *r, uint64_t word) {
        return word < REGISTER_SMALL || range_set_has(r->addresses, word);
}

/* Erases the harmful words of [from, to) of a descriptor, neighbours as one. */
static int erase_words(const struct registers *rs, const struct core_note *note, size_t from,
                       size_t to, const bool *stays, enum reason reason) {
        size_t start = from;
        int r;

        for (size_t at = from; at < to; at += WORD) {
                uint64_t word;

                memcpy(&word, note->desc + at, WORD);
                if (!(stays && stays[(at - from) / WORD]) && !harmless(rs, le64toh(word)))
                        continue;
                r = start < at ? plan_erase(rs->plan, note->offset + start, at - start, reason) : 0;
                if (r < 0)
                        return r;
                start = at + WORD;
        }
        return start < to ? plan_erase(rs->plan, note->offset + start, to - start, reason) : 0;
}

#define REGISTER(name) [offsetof(struct user_regs_struct, name) / WORD] = true

static int plan_general(const struct registers *rs, const struct core_note *note) {
        static const bool stays[sizeof(struct user_regs_struct) / WORD] = {
                REGISTER(orig_rax), REGISTER(rip), REGISTER(cs),      REGISTER(eflags),
                REGISTER(rsp),      REGISTER(ss),  REGISTER(ds),      REGISTER(es),
                REGISTER(fs),       REGISTER(gs),  REGISTER(fs_base), REGISTER(gs_base),
        };
        size_t from = offsetof(struct elf_prstatus, pr_reg);

        return erase_words(rs, note, from, from + sizeof(stays) * WORD, stays, REASON_REGISTER);
}

static int plan_signal(const struct registers *rs, const struct core_note *note) {
        size_t from = SIGINFO_FIXED;
        int32_t code;

        memcpy(&code, note->desc + SIGINFO_CODE, sizeof(code));
        if (code <= 0)
                from = SIGINFO_SENDER_END;
        return erase_words(rs, note, from, note->size, NULL, REASON_NOTE);
}

/* The arguments go, the program's name stays, and so do the NULs behind them: the text keeps its
 * end, for readers that print it as a string. */
static int plan_arguments(const struct registers *rs, const struct core_note *note) {
        size_t from = offsetof(struct elf_prpsinfo, pr_psargs), to = note->size;
        const uint8_t *end;

        end = memchr(note->desc + from, ' ', to - from);
        if (!end || memchr(note->desc + from, '\0', (size_t)(end - (note->desc + from))))
                end = memchr(note->desc + from, '\0', to - from);
        if (!end)
                return 0;
        from = (size_t)(end - note->desc) + 1;
        while (to > from && note->desc[to - 1] == '\0')
                to--;
        return from < to ? plan_erase(rs->plan, note->offset + from, to - from, REASON_NOTE) : 0;
}

static int plan_vector(const struct registers *rs, const struct core_note *note) {
        size_t first = note->size < XSTATE_KEEP_START ? note->size : XSTATE_KEEP_START;
        int r;

        r = first > 0 ? plan_erase(rs->plan, note->offset, first, REASON_VECTOR) : 0;
        if (r < 0 || note->size <= XSTATE_KEEP_END)
                return r;
        return plan_erase(rs->plan, note->offset + XSTATE_KEEP_END, note->size - XSTATE_KEEP_END,
                          REASON_VECTOR);
}

static int plan_whole(const struct registers *rs, const struct core_note *note,
                      enum reason reason) {
        return note->size > 0 ? plan_erase(rs->plan, note->offset, note->size, reason) : 0;
}

static int plan_note(const struct registers *rs, const struct core_note *note) {
        if (!note->is_core)
                return plan_whole(rs, note, REASON_NOTE);
        switch (note->type) {
        case NT_PRSTATUS:
                return plan_general(rs, note);
        case NT_PRPSINFO:
                return plan_arguments(rs, note);
        case NT_SIGINFO:
                return plan_signal(rs, note);
        case NT_X86_XSTATE:
                return plan_vector(rs, note);
        case NT_FPREGSET:
        case NT_PRXFPREG:
                return plan_whole(rs, note, REASON_VECTOR);
        case NOTE_SHADOW_STACK:
                if (note->size % WORD == 0)
                        return erase_words(rs, note, 0, note->size, NULL, REASON_REGISTER);
                return plan_whole(rs, note, REASON_NOTE);
        case NT_AUXV:
        case NT_FILE:
        case NOTE_XSAVE_LAYOUT:
                return 0;
        default:
                return plan_whole(rs, note, REASON_NOTE);
        }
}

/* The kernel pads with zeros: anything else that lies between the parts of a head is not hers. */
static int plan_gap(const struct registers *rs, uint64_t start, uint64_t end) {
        const uint8_t *bytes = rs->head->bytes;

        while (start < end && bytes[start] == 0)
                start++;
        while (end > start && bytes[end - 1] == 0)
                end--;
        return start < end ? plan_erase(rs->plan, start, end - start, REASON_NOTE) : 0;
}

int registers_plan(const struct core_head *head, const struct core_notes *notes,
                   const struct range_set *addresses, struct plan *plan) {
        const struct registers rs = { .head = head, .addresses = addresses, .plan = plan };
        Elf64_Ehdr ehdr;
        uint64_t table_end;
        int r;

        memcpy(&ehdr, head->bytes, sizeof(ehdr));
        table_end = ehdr.e_phoff + head->n_segments * sizeof(Elf64_Phdr);
        r = plan_gap(&rs, sizeof(ehdr), ehdr.e_phoff);
        if (r == 0)
                r = plan_gap(&rs, table_end, head->notes_offset);
        if (r == 0)
                r = plan_gap(&rs, head->notes_offset + head->notes_size, head->size);
        for (size_t i = 0; r == 0 && i < notes->n_notes; i++)
                r = plan_note(&rs, &notes->notes[i]);
        return r;
}
