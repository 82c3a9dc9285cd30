/* drain: a core_pattern program that reads the stream and keeps nothing: the price of the pipe. */
#include <fcntl.h>
#include <unistd.h>

int main(void) {
        static char block[1 << 16];

        /* splice() into /dev/null would not copy; a handler that looks at bytes must. */
        while (read(0, block, sizeof(block)) > 0)
                ;
        return 0;
}
