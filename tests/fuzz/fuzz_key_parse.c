/* The same bytes as a secret file, as a container, and as memory to detect keys in. What parses
 * points into the input; what was added can be indexed and hunted in the input itself. */
#include <stdint.h>
#include <stdlib.h>

#include "secret/detect.h"
#include "secret/fragment.h"
#include "secret/init.h"
#include "secret/key_parse.h"
#include "secret/needle.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv) {
        (void)argc;
        (void)argv;
        return secret_init();
}

static void parse(const uint8_t *data, size_t size) {
        struct key key;

        if (key_parse(data, size, &key) < 0)
                return;
        if (key.container > size || key.n_numbers == 0 || key.n_numbers > KEY_NUMBERS_MAX)
                abort();
        if (key.secret.bytes < data || key.secret.bytes + key.secret.size > data + size)
                abort();
        (void)key_check(&key);
}

static int note(void *userdata, const struct detection *detection) {
        const size_t *size = userdata;

        if (detection->start > *size || detection->size > *size - detection->start ||
            detection->size == 0)
                abort();
        return 0;
}

static int note_hit(void *userdata, size_t start, size_t end, const struct needle *needle) {
        const size_t *size = userdata;

        if (start >= end || end > *size || end - start > needle->size)
                abort();
        return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct needle_set *set = NULL;
        struct fragment_index *index = NULL;
        unsigned flags;

        parse(data, size);
        (void)detect_keys(data, size, size, note, &size);
        if (needle_set_new(&set) == 0 && needle_set_add_file(set, data, size, 0, &flags) == 0 &&
            fragment_index_new(set, &index) == 0)
                (void)fragment_hunt(index, data, size, note_hit, &size);
        fragment_index_free(index);
        needle_set_free(set);
        return 0;
}
