/* crash_thread: a preloaded library that makes a second thread of any program crash on demand.
 *
 *     LD_PRELOAD=crash_thread.so CRASH_TRIGGER=/path/prefix program…
 *
 * In every process (children too) a thread waits for the file PREFIX.PID to appear and then dies
 * of the signal named in it: "SEGV" by a null dereference, anything else by abort().
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define POLL_US 5000

static void *wait_and_crash(void *arg) {
        char path[512], word[16] = "";
        const char *prefix = arg;

        snprintf(path, sizeof(path), "%s.%d", prefix, (int)getpid());
        while (access(path, R_OK) != 0)
                usleep(POLL_US);
        FILE *f = fopen(path, "re");
        if (f) {
                if (!fgets(word, sizeof(word), f))
                        word[0] = '\0';
                fclose(f);
        }
        if (strncmp(word, "SEGV", 4) == 0)
                *(volatile int *)8 = 1;
        abort();
}

static void start(void) {
        pthread_t thread;
        char *prefix = getenv("CRASH_TRIGGER");

        if (prefix && pthread_create(&thread, NULL, wait_and_crash, strdup(prefix)) == 0)
                pthread_detach(thread);
}

__attribute__((constructor)) static void begin(void) {
        pthread_atfork(NULL, NULL, start);
        start();
}
