#include "secret/needle.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "secret/needle_add.h"

#define PAGE_NEEDLES 1024U /* needles of one page of the table; pages never move */
#define PAGES_MAX (NEEDLES_MAX / PAGE_NEEDLES)
#define BLOCK_SIZE (64U << 10) /* bytes of one block of the arena */
#define SEEN_FIRST 1024U       /* slots of the table against doubles; a power of two */

struct block {
        struct block *next;
        size_t size, used; /* bytes */
        uint8_t bytes[];
};

struct needle_set {
        struct needle *pages[PAGES_MAX];
        size_t count;
        size_t bytes; /* of all needles */
        struct block *blocks;
        uint32_t *seen; /* index + 1 of a needle, by hash of its bytes; open addressing */
        size_t seen_size;
};

static const char *const form_names[_FORM_MAX] = {
        [FORM_PLAIN] = "plain",
        [FORM_BIG_ENDIAN] = "big-endian",
        [FORM_LITTLE_ENDIAN] = "little-endian",
        [FORM_WORDS32_BIG_ENDIAN] = "words32-big-endian",
        [FORM_DIGITS30] = "digits30",
        [FORM_DIGITS52] = "digits52",
        [FORM_DIGITS60] = "digits60",
        [FORM_DECIMAL] = "decimal",
        [FORM_HEX] = "hex",
        [FORM_BASE64] = "base64",
        [FORM_UTF16] = "utf16",
        [FORM_UTF32] = "utf32",
        [FORM_ESCAPED] = "escaped",
        [FORM_MONTGOMERY] = "montgomery",
        [FORM_MONTGOMERY52] = "montgomery52",
        [FORM_DERIVED] = "derived",
};

const char *form_to_string(enum form form) {
        return form < _FORM_MAX ? form_names[form] : NULL;
}

int needle_set_new(struct needle_set **ret) {
        struct needle_set *set = calloc(1, sizeof(*set));

        if (!set)
                return -ENOMEM;
        *ret = set;
        return 0;
}

void needle_set_free(struct needle_set *set) {
        if (!set)
                return;
        while (set->blocks) {
                struct block *next = set->blocks->next;

                explicit_bzero(set->blocks->bytes, set->blocks->used);
                free(set->blocks);
                set->blocks = next;
        }
        for (size_t i = 0; i < PAGES_MAX; i++)
                free(set->pages[i]);
        free(set->seen);
        free(set);
}

size_t needle_set_count(const struct needle_set *set) {
        return set->count;
}

const struct needle *needle_set_at(const struct needle_set *set, size_t i) {
        return &set->pages[i / PAGE_NEEDLES][i % PAGE_NEEDLES];
}

/* FNV-1a: only doubles are sought, nobody gains by making it collide but time of his own. */
static uint64_t bytes_hash(const uint8_t *bytes, size_t size) {
        uint64_t h = 0xcbf29ce484222325ULL;

        for (size_t i = 0; i < size; i++)
                h = (h ^ bytes[i]) * 0x100000001b3ULL;
        return h ^ h >> 32;
}

/* The slot where a needle with these bytes is, or would be put. */
static uint32_t *seen_slot(const struct needle_set *set, const uint8_t *bytes, size_t size) {
        size_t mask = set->seen_size - 1;

        for (size_t i = bytes_hash(bytes, size) & mask;; i = (i + 1) & mask) {
                const struct needle *needle;

                if (set->seen[i] == 0)
                        return &set->seen[i];
                needle = needle_set_at(set, set->seen[i] - 1);
                if (needle->size == size && memcmp(needle->bytes, bytes, size) == 0)
                        return &set->seen[i];
        }
}

/* Keeps the table at most half full. */
static int seen_grow(struct needle_set *set) {
        size_t size = set->seen_size ? set->seen_size * 2 : SEEN_FIRST;
        uint32_t *grown;

        if (set->count < set->seen_size / 2)
                return 0;
        grown = calloc(size, sizeof(*grown));
        if (!grown)
                return -ENOMEM;
        free(set->seen);
        set->seen = grown;
        set->seen_size = size;
        for (size_t i = 0; i < set->count; i++) {
                const struct needle *needle = needle_set_at(set, i);

                *seen_slot(set, needle->bytes, needle->size) = (uint32_t)i + 1;
        }
        return 0;
}

static uint8_t *arena_take(struct needle_set *set, size_t n) {
        struct block *block = set->blocks;

        if (!block || n > block->size - block->used) {
                size_t size = n > BLOCK_SIZE ? n : BLOCK_SIZE;

                block = malloc(sizeof(*block) + size);
                if (!block)
                        return NULL;
                *block = (struct block){ .next = set->blocks, .size = size };
                set->blocks = block;
        }
        block->used += n;
        return block->bytes + block->used - n;
}

int needle_set_add(struct needle_set *set, const uint8_t *bytes, size_t size, enum form form,
                   uint16_t origin) {
        struct needle **page;
        uint32_t *slot;
        uint8_t *copy;
        int r;

        if (size < NEEDLE_SIZE_MIN)
                return 0;
        r = seen_grow(set);
        if (r < 0)
                return r;
        slot = seen_slot(set, bytes, size);
        if (*slot != 0)
                return 0;
        if (set->count >= NEEDLES_MAX || size > NEEDLE_BYTES_MAX - set->bytes)
                return -E2BIG;

        page = &set->pages[set->count / PAGE_NEEDLES];
        if (!*page)
                *page = calloc(PAGE_NEEDLES, sizeof(**page));
        if (!*page)
                return -ENOMEM;
        copy = arena_take(set, size);
        if (!copy)
                return -ENOMEM;
        memcpy(copy, bytes, size);
        (*page)[set->count % PAGE_NEEDLES] = (struct needle){
                .bytes = copy,
                .size = (uint32_t)size,
                .form = (uint16_t)form,
                .origin = origin,
        };
        *slot = (uint32_t)++set->count;
        set->bytes += size;
        return 0;
}
