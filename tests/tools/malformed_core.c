/* malformed_core N: writes malformed core number N to standard output, for tests of the worker.
 * `malformed_core list` prints one line per case: number, cause that the record must name, name.
 * `malformed_core sound` writes the core that all of them are made of.
 */
#include <stdio.h>
#include <stdlib.h>

#include "tests/tools/malformed_core.h"

static const char *cause_of(int error) {
        switch (error) {
        case -EBADMSG:
                return "core-malformed";
        case -ENODATA:
                return "core-cut";
        case -ENOTSUP:
                return "core-foreign";
        default:
                return "core-large";
        }
}

static int write_image(const struct core_image *im) {
        if (fwrite(im->bytes, 1, im->size, stdout) != im->size || fflush(stdout) != 0) {
                perror("malformed_core: standard output");
                return 2;
        }
        return 0;
}

int main(int argc, char **argv) {
        struct core_image im;
        unsigned long n;
        char *end;

        if (argc != 2) {
                (void)fprintf(stderr, "usage: malformed_core N | list | sound\n");
                return 2;
        }
        if (strcmp(argv[1], "list") == 0) {
                for (size_t i = 0; i < MALFORMED_CASES; i++)
                        printf("%zu\t%s\t%s\n", i, cause_of(malformed_cases[i].error),
                               malformed_cases[i].name);
                return 0;
        }
        if (strcmp(argv[1], "sound") == 0) {
                image_build(&im);
                return write_image(&im);
        }
        errno = 0;
        n = strtoul(argv[1], &end, 10);
        if (errno != 0 || *end || end == argv[1] || n >= MALFORMED_CASES) {
                (void)fprintf(stderr, "malformed_core: no case %s: see `malformed_core list`\n",
                              argv[1]);
                return 2;
        }
        malformed_build(&malformed_cases[n], &im);
        return write_image(&im);
}
