/* ELF images that a hostile process put into its memory.
 * with: tests/unit/core/victim.c
 */
#include "core/unwind_modules.h"

#include <elf.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "victim.h"

DEFINE_CLEANUP(modules, struct unwind_modules, unwind_modules_free)

#define SEEDS 300U
#define EH_HEADER_READ 8U /* what decides where .eh_frame begins */

static void run(struct victim_word *words) {
        victim_stop(&words[0]);
}

static int setup(void **state) {
        static struct victim victim;

        victim_start(&victim, run, 1);
        *state = &victim;
        return 0;
}

static int teardown(void **state) {
        victim_end(*state);
        return 0;
}

/* --- images that lie --- */

static uint64_t random_next(uint64_t *seed) { /* xorshift64 */
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        return *seed;
}

static void header_random(Elf64_Ehdr *header, uint64_t *seed) {
        uint8_t *bytes = (uint8_t *)header;

        for (size_t i = 0; i < sizeof(*header); i++)
                bytes[i] = (uint8_t)random_next(seed);
}

static void header_many(Elf64_Ehdr *header, uint64_t *seed) {
        (void)seed;
        header->e_phnum = UINT16_MAX;
}

static void header_none(Elf64_Ehdr *header, uint64_t *seed) {
        (void)seed;
        header->e_phnum = 0;
}

static void header_far(Elf64_Ehdr *header, uint64_t *seed) {
        header->e_phoff = random_next(seed) | 1ULL << 46;
}

static void header_wraps(Elf64_Ehdr *header, uint64_t *seed) {
        (void)seed;
        header->e_phoff = UINT64_MAX - 100;
}

static void phdrs_random(Elf64_Phdr *phdrs, size_t n, uint64_t *seed) {
        for (size_t i = 0; i < n * sizeof(*phdrs); i++)
                ((uint8_t *)phdrs)[i] = (uint8_t)random_next(seed);
}

static void phdrs_sizes(Elf64_Phdr *phdrs, size_t n, uint64_t *seed) {
        for (size_t i = 0; i < n; i++) {
                phdrs[i].p_filesz = random_next(seed);
                phdrs[i].p_memsz = random_next(seed);
        }
}

static void phdrs_whole(Elf64_Phdr *phdrs, size_t n, uint64_t *seed) {
        (void)seed;
        for (size_t i = 0; i < n; i++)
                phdrs[i].p_filesz = phdrs[i].p_memsz = 1ULL << 46;
}

static void phdrs_addresses(Elf64_Phdr *phdrs, size_t n, uint64_t *seed) {
        for (size_t i = 0; i < n; i++) {
                if (phdrs[i].p_type == PT_GNU_EH_FRAME)
                        phdrs[i].p_vaddr = random_next(seed) >> 17;
        }
}

static void phdrs_no_eh_header(Elf64_Phdr *phdrs, size_t n, uint64_t *seed) {
        (void)seed;
        for (size_t i = 0; i < n; i++) {
                if (phdrs[i].p_type == PT_GNU_EH_FRAME)
                        phdrs[i].p_type = PT_NULL;
        }
}

static void phdrs_all_executable(Elf64_Phdr *phdrs, size_t n, uint64_t *seed) {
        (void)seed;
        for (size_t i = 0; i < n; i++) {
                phdrs[i].p_type = i % 2 ? (uint32_t)PT_LOAD : (uint32_t)PT_GNU_EH_FRAME;
                phdrs[i].p_flags |= PF_X;
        }
}

static void bytes_random(uint8_t *bytes, size_t n, uint64_t *seed) {
        for (size_t i = 0; i < n; i++)
                bytes[i] = (uint8_t)random_next(seed);
}

static void bytes_flipped(uint8_t *bytes, size_t n, uint64_t *seed) {
        for (size_t i = 0; i < n / 64 + 1; i++)
                bytes[random_next(seed) % n] ^= (uint8_t)(1U << random_next(seed) % 8);
}

static void bytes_ones(uint8_t *bytes, size_t n, uint64_t *seed) {
        (void)seed;
        memset(bytes, 0xff, n);
}

static void bytes_zero(uint8_t *bytes, size_t n, uint64_t *seed) {
        (void)seed;
        memset(bytes, 0, n);
}

struct lie {
        const char *name;
        void (*header)(Elf64_Ehdr *header, uint64_t *seed);
        void (*phdrs)(Elf64_Phdr *phdrs, size_t n, uint64_t *seed);
        void (*eh_header)(uint8_t *bytes, size_t n, uint64_t *seed);
        void (*cfi)(uint8_t *bytes, size_t n, uint64_t *seed);
};

static const struct lie lies[] = {
        { .name = "a random ELF header", .header = header_random },
        { .name = "65,535 program headers", .header = header_many },
        { .name = "no program headers", .header = header_none },
        { .name = "program headers far away", .header = header_far },
        { .name = "program headers whose address wraps", .header = header_wraps },
        { .name = "random program headers", .phdrs = phdrs_random },
        { .name = "random sizes", .phdrs = phdrs_sizes },
        { .name = "segments larger than all memory", .phdrs = phdrs_whole },
        { .name = "an .eh_frame_hdr anywhere", .phdrs = phdrs_addresses },
        { .name = "nothing but executable segments", .phdrs = phdrs_all_executable },
        { .name = "flipped bits where .eh_frame is looked for",
          .phdrs = phdrs_no_eh_header,
          .cfi = bytes_flipped },
        { .name = "a random pointer to .eh_frame", .eh_header = bytes_random },
        { .name = "random CFI", .cfi = bytes_random },
        { .name = "CFI with flipped bits", .cfi = bytes_flipped },
        { .name = "CFI of ones", .cfi = bytes_ones },
        { .name = "CFI of zeros", .cfi = bytes_zero },
};

struct liar {
        struct victim *victim;
        const struct lie *lie;
        uint64_t seed;
        size_t told;
};

/* What is asked for is known by its size: an ELF header, a table, the head of .eh_frame_hdr, CFI.
 */
static int lying_read(void *userdata, uint64_t address, void *buf, size_t n) {
        struct liar *liar = userdata;
        const struct lie *lie = liar->lie;
        int r = victim_read(liar->victim, address, buf, n);

        if (r < 0)
                return r;
        liar->told++;
        if (n == sizeof(Elf64_Ehdr) && lie->header && memcmp(buf, ELFMAG, SELFMAG) == 0)
                lie->header(buf, &liar->seed);
        else if (n % sizeof(Elf64_Phdr) == 0 && n <= UNWIND_PHDRS_MAX * sizeof(Elf64_Phdr) &&
                 lie->phdrs)
                lie->phdrs(buf, n / sizeof(Elf64_Phdr), &liar->seed);
        else if (n == EH_HEADER_READ && lie->eh_header)
                lie->eh_header(buf, n, &liar->seed);
        else if (n > EH_HEADER_READ && lie->cfi)
                lie->cfi(buf, n, &liar->seed);
        else
                liar->told--;
        return 0;
}

/* Whatever the images say, both views are walked alike, and an end is reached. */
static void test_lies(void **state) {
        struct victim *victim = *state;
        struct unwind_view view = { &victim->notes, victim_read, victim };

        for (size_t i = 0; i < ARRAY_SIZE(lies); i++) {
                struct liar liar = { .victim = victim,
                                     .lie = &lies[i],
                                     .seed = 0x9e3779b97f4a7c15 };

                for (unsigned seed = 0; seed < SEEDS; seed++) {
                        struct unwind_result result = { 0 };

                        if (unwind_compare(&victim->head, &view, &view, lying_read, &liar,
                                           &result) < 0 ||
                            (result.outcome != UNWIND_SAME && result.outcome != UNWIND_CAPPED) ||
                            result.frames == 0)
                                fail_msg("%s, seed %u: outcome %d, %u frames", lies[i].name, seed,
                                         (int)result.outcome, result.frames);
                }
                if (liar.told < SEEDS)
                        fail_msg("%s: never asked", lies[i].name);
        }
}

/* As gcc -static leaves it: .eh_frame is there, and nothing says where. */
static void test_no_eh_header(void **state) {
        static const struct lie hide = { .phdrs = phdrs_no_eh_header };
        struct victim *victim = *state;
        struct liar liar = { .victim = victim, .lie = &hide };
        struct unwind_view view = { &victim->notes, victim_read, victim };
        struct unwind_result result;

        assert_int_equal(unwind_compare(&victim->head, &view, &view, lying_read, &liar, &result),
                         0);
        assert_true(liar.told >= 3);
        assert_int_equal(result.outcome, UNWIND_SAME);
        assert_int_equal(result.frames, victim->words[0].frames);
}

static void test_libdw_sees_own_image(void **state) {
        struct victim *victim = *state;
        _cleanup_(cleanup_modules) struct unwind_modules *all = NULL;
        size_t with_cfi = 0;

        assert_int_equal(
                unwind_modules_find(&victim->head, &victim->notes, victim_read, victim, &all), 0);
        assert_true(all->n_modules >= 3); /* this program, libc, the vdso */
        for (size_t i = 0; i < all->n_modules; i++) {
                struct unwind_module *module = &all->modules[i];
                const Elf64_Ehdr *header;
                uint8_t *image;
                size_t size;

                assert_true(module->low < module->high);
                assert_true(i == 0 || module[-1].high <= module->low);
                assert_int_equal(unwind_module_image(module, &image, &size), 0);
                header = (const Elf64_Ehdr *)image;
                assert_int_equal(header->e_shnum, 0);
                assert_int_equal(header->e_shoff, 0);
                assert_in_range(header->e_phnum, 1, 2);
                with_cfi += header->e_phnum == 2;
        }
        assert_true(with_cfi >= 3);
}

/* --- limits --- */

#define FAKE_STRIDE 0x10000U

/* An ELF image with one executable segment, wherever one looks; `userdata` makes it claim twice
 * the room that it has. */
static int fake_read(void *userdata, uint64_t address, void *buf, size_t n) {
        struct {
                Elf64_Ehdr header;
                Elf64_Phdr load;
        } image = { .header = { .e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64,
                                             ELFDATA2LSB, EV_CURRENT },
                                .e_type = ET_DYN,
                                .e_machine = EM_X86_64,
                                .e_phoff = sizeof(Elf64_Ehdr),
                                .e_phentsize = sizeof(Elf64_Phdr),
                                .e_phnum = 1 },
                    .load = { .p_type = PT_LOAD,
                              .p_flags = PF_R | PF_X,
                              .p_filesz = FAKE_STRIDE,
                              .p_memsz = userdata ? 2 * FAKE_STRIDE : FAKE_STRIDE } };
        uint64_t at = address % FAKE_STRIDE;

        if (at > sizeof(image) || n > sizeof(image) - at)
                return -EFAULT;
        memcpy(buf, (uint8_t *)&image + at, n);
        return 0;
}

static void find_fakes(size_t n, size_t expect, bool capped) {
        _cleanup_(cleanup_modules) struct unwind_modules *all = NULL;
        struct core_notes notes = { 0 };
        struct core_head head = { .segments = calloc(n, sizeof(struct segment)),
                                  .n_segments = n,
                                  .by_address = calloc(n, sizeof(uint32_t)),
                                  .n_by_address = n };

        assert_true(head.segments && head.by_address);
        for (size_t i = 0; i < n; i++) {
                head.by_address[i] = (uint32_t)i;
                head.segments[i] = (struct segment){ .type = PT_LOAD,
                                                     .flags = PF_R | PF_X,
                                                     .address = (i + 1) * FAKE_STRIDE,
                                                     .memory_size = FAKE_STRIDE };
        }
        assert_int_equal(unwind_modules_find(&head, &notes, fake_read, NULL, &all), 0);
        assert_int_equal(all->n_modules, expect);
        assert_int_equal(all->capped, capped);
        free(head.segments);
        free(head.by_address);
}

static void test_modules_limit(void **state) {
        (void)state;
        find_fakes(UNWIND_MODULES_MAX, UNWIND_MODULES_MAX, false);
        find_fakes(UNWIND_MODULES_MAX + 1, UNWIND_MODULES_MAX, true);
}

static void test_files_limit(void **state) {
        _cleanup_(cleanup_modules) struct unwind_modules *all = NULL, *more = NULL;
        struct core_head head = { 0 };
        struct core_notes notes = { .n_files = UNWIND_SEGMENTS_MAX };

        (void)state;
        notes.files = calloc(UNWIND_SEGMENTS_MAX + 1, sizeof(*notes.files));
        assert_non_null(notes.files);
        assert_int_equal(unwind_modules_find(&head, &notes, fake_read, NULL, &all), 0);
        assert_false(all->capped);
        notes.n_files++;
        assert_int_equal(unwind_modules_find(&head, &notes, fake_read, NULL, &more), 0);
        assert_true(more->capped);
        free(notes.files);
}

/* Answers for .eh_frame_hdr that .eh_frame begins with it, and notes the largest read. */
static int big_read(void *userdata, uint64_t address, void *buf, size_t n) {
        static const uint8_t header[EH_HEADER_READ] = { 1, 0x1b, 3, 0x3b, 0xfc, 0xff, 0xff, 0xff };
        size_t *largest = userdata;

        (void)address;
        if (n == sizeof(header)) {
                memcpy(buf, header, n);
                return 0;
        }
        if (n > *largest)
                *largest = n;
        return -EFAULT;
}

static void test_image_limit(void **state) {
        size_t largest = 0, size;
        struct unwind_modules all = { .read = big_read, .userdata = &largest };
        struct unwind_module fits = { .all = &all,
                                      .low = 1,
                                      .high = 2,
                                      .eh_header = 0x1000,
                                      .eh_start = 0x1000,
                                      .eh_end = 0x1000 + UNWIND_IMAGE_MAX };
        struct unwind_module over = fits;
        uint8_t *image;

        (void)state;
        assert_int_equal(unwind_module_image(&fits, &image, &size), 0);
        assert_int_equal(largest, UNWIND_IMAGE_MAX);
        assert_false(all.capped);
        free(fits.image);

        over.eh_end++;
        largest = 0;
        assert_int_equal(unwind_module_image(&over, &image, &size), 0);
        assert_int_equal(largest, 0);
        assert_true(all.capped);
        free(over.image);
}

static void test_neighbours(void **state) {
        _cleanup_(cleanup_modules) struct unwind_modules *all = NULL;
        struct segment segments[] = {
                { PT_LOAD, PF_R | PF_X, 0x10000, 0, 0, 0x10000 },
                { PT_LOAD, PF_R | PF_X, 0x20000, 0, 0, 0x10000 },
                { PT_LOAD, PF_R, 0x40000, 0, 0, 0x10000 },
        };
        uint32_t by_address[] = { 0, 1, 2 };
        struct core_head head = {
                .segments = segments, .n_segments = 3, .by_address = by_address, .n_by_address = 3
        };
        struct core_notes notes = { 0 };

        (void)state;
        assert_int_equal(unwind_modules_find(&head, &notes, fake_read, &head, &all), 0);
        /* What is not executable in the core is no module, whatever its image says. */
        assert_int_equal(all->n_modules, 2);
        assert_int_equal(all->modules[0].low, 0x10000);
        assert_int_equal(all->modules[0].high, 0x20000);
        assert_int_equal(all->modules[1].low, 0x20000);
        assert_int_equal(all->modules[1].high, 0x40000);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                { "images that lie neither crash nor hang, and are the same to both views",
                  test_lies, setup, teardown, NULL },
                { "a program without .eh_frame_hdr is followed", test_no_eh_header, setup, teardown,
                  NULL },
                { "libdw sees an image made here, without sections", test_libdw_sees_own_image,
                  setup, teardown, NULL },
                { "modules are limited", test_modules_limit, NULL, NULL, NULL },
                { "files looked at are limited", test_files_limit, NULL, NULL, NULL },
                { "image bytes are limited", test_image_limit, NULL, NULL, NULL },
                { "modules are executable and do not reach into their neighbours", test_neighbours,
                  NULL, NULL, NULL },
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
