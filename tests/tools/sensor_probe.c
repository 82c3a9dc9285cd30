/* sensor_probe: asks the pinned maps as the helper does, for tests.
 * link: build/libcoresieve.a -lbpf
 *
 *     sensor_probe crash ROOT FILE PID TID   as core_pattern's program: appends a line to FILE,
 *                                            `PID got=0|1 tag=0|1 file=0|1 unknown=0|1 files=N`
 *                                            and `proved=R`
 *     sensor_probe open ROOT                 `0` or `-ENAME: why` of tagmap_open()
 *     sensor_probe task TID                  the same line for a living thread, without `got`
 *     sensor_probe identify ROOT PATH        the key, or `-ENAME`
 *     sensor_probe fill                      puts tags into the map until it is full
 *     sensor_probe abi N                     makes the pinned maps be of ABI N
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/paths.h"
#include "bpf/tags.h"
#include "host/tagmap.h"
#include "sensor_buffer.h"

/* Has anything arrived in the reader's buffer? */
static int buffer_filled(int pid) {
        char path[64], bytes[READER_BYTES];
        ssize_t n;
        int fd;

        (void)snprintf(path, sizeof(path), "/proc/%d/mem", pid);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return -1;
        n = pread(fd, bytes, sizeof(bytes), (off_t)READER_BUFFER);
        (void)close(fd);
        for (ssize_t i = 0; i < n; i++) {
                if (bytes[i])
                        return 1;
        }
        return n == (ssize_t)sizeof(bytes) ? 0 : -1;
}

static void describe(char *line, size_t size, int pid, int got, const struct task_answer *answer,
                     int proved) {
        const struct tag *tag = &answer->tag;
        unsigned reasons = answer->found ? tag->reasons : 0;

        (void)snprintf(line, size, "%d got=%d tag=%u file=%d unknown=%d files=%u proved=%s\n", pid,
                       got, answer->found, !!(reasons & TAG_REASON_FILE),
                       !!(reasons & TAG_REASON_UNKNOWN_HISTORY), answer->found ? tag->n_files : 0,
                       proved == 0 ? "0" : strerrorname_np(-proved));
}

static int crash(const char *root, const char *file, int pid, int tid) {
        struct task_answer answer = { 0 };
        struct tagmap *map, *proof;
        const char *why;
        char line[256];
        int fd, proved, got = buffer_filled(pid);

        proved = tagmap_open(root, &proof, &why);
        if (proved == 0)
                tagmap_close(proof);
        if (tagmap_open_unproved(&map, &why) == 0) {
                (void)tagmap_of_task(map, tid, &answer);
                tagmap_close(map);
        }
        describe(line, sizeof(line), pid, got, &answer, proved);
        fd = open(file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
        return fd < 0 || write(fd, line, strlen(line)) < 0;
}

static int show_task(int tid) {
        struct task_answer answer;
        struct tagmap *map;
        const char *why;
        char line[256];
        int r = tagmap_open_unproved(&map, &why);

        if (r == 0)
                r = tagmap_of_task(map, tid, &answer);
        if (r < 0) {
                (void)printf("-%s\n", strerrorname_np(-r));
                return 0;
        }
        describe(line, sizeof(line), tid, -1, &answer, 0);
        (void)fputs(line, stdout);
        return 0;
}

static int show_open(const char *root) {
        struct tagmap *map;
        const char *why;
        int r = tagmap_open(root, &map, &why);

        if (r < 0)
                (void)printf("-%s: %s\n", strerrorname_np(-r), why);
        else
                (void)puts("0");
        return 0;
}

static int identify(const char *root, const char *path) {
        struct file_key key;
        struct tagmap *map;
        bool watched;
        const char *why;
        int r, fd = open(path, O_RDONLY | O_CLOEXEC);

        if (fd < 0)
                return 1;
        r = tagmap_open(root, &map, &why);
        if (r == 0)
                r = tagmap_identify(map, fd, &key, &watched);
        if (r < 0)
                (void)printf("-%s\n", strerrorname_np(-r));
        else
                (void)printf("dev=%" PRIu32 " ino=%" PRIu64 " gen=%" PRIu32 " ctime=%" PRIu64
                             " watched=%d\n",
                             key.dev, key.ino, key.gen, key.ctime_ns, watched);
        return 0;
}

static int fill(void) {
        static struct tag tag = { .reasons = TAG_REASON_UNKNOWN_HISTORY };
        int fd = bpf_obj_get(PATH_PINS "/tags");

        if (fd < 0)
                return 1;
        /* No mm_struct has a small odd address. */
        for (uint64_t key = 1;; key += 2) {
                if (bpf_map_update_elem(fd, &key, &tag, BPF_ANY) < 0)
                        return errno != E2BIG;
        }
}

static int set_abi(unsigned abi) {
        struct tags_meta meta;
        uint32_t zero = 0;
        int fd = bpf_obj_get(PATH_PINS "/meta");

        if (fd < 0 || bpf_map_lookup_elem(fd, &zero, &meta) < 0)
                return 1;
        meta.abi = abi;
        return bpf_map_update_elem(fd, &zero, &meta, BPF_ANY) < 0;
}

int main(int argc, char **argv) {
        const char *verb = argc > 1 ? argv[1] : "";

        if (strcmp(verb, "crash") == 0 && argc == 6)
                return crash(argv[2], argv[3], atoi(argv[4]), atoi(argv[5]));
        if (strcmp(verb, "open") == 0 && argc == 3)
                return show_open(argv[2]);
        if (strcmp(verb, "task") == 0 && argc == 3)
                return show_task(atoi(argv[2]));
        if (strcmp(verb, "identify") == 0 && argc == 4)
                return identify(argv[2], argv[3]);
        if (strcmp(verb, "fill") == 0)
                return fill();
        if (strcmp(verb, "abi") == 0 && argc == 3)
                return set_abi((unsigned)atoi(argv[2]));
        (void)fprintf(stderr, "sensor_probe: see its source for usage\n");
        return 2;
}
