#include <errno.h>
#include <stddef.h>

#include "base/cleanup.h"
#include "core_pattern/brief.h"

/* What a worker may say of itself. Every other cause is the helper's to find. */
#define WORKER_CAUSES                                                                              \
        (CAUSE_BIT(CAUSE_NEEDLE_TOO_SHORT) | CAUSE_BIT(CAUSE_NEEDLE_LARGE) |                       \
         CAUSE_BIT(CAUSE_NEEDLE_ENCRYPTED))
#define FILE_FLAGS (NEEDLE_TOO_SHORT | NEEDLE_LARGE | NEEDLE_ENCRYPTED | NEEDLE_KEY)

#define ERRNO_MAX 4095 /* MAX_ERRNO of linux/err.h */
#define SIGNAL_MAX 64U
#define LANDLOCK_ABI_MAX 1024U         /* versions are counted one by one: 7 in 6.18 */
#define DURATION_MAX 86400000000000ULL /* ns: a day, far over any deadline */

/* The errno of a stage, as the headers of core/ and sieve/ give them, and what it means for the
 * crash. The first line that fits is taken. */
#define ANY_STAGE _STAGE_MAX
static const struct {
        int error;
        enum stage stage;
        enum cause cause;
} meanings[] = {
        { -ESTALE, STAGE_HEAD, CAUSE_IDENTITY }, /* the worker's: the stream is of another process
                                                  */
        { -EBADMSG, STAGE_HEAD, CAUSE_CORE_MALFORMED },
        { -ENOTSUP, STAGE_HEAD, CAUSE_CORE_FOREIGN },
        { -EBADMSG, STAGE_PLAN, CAUSE_CORE_MALFORMED },
        { -EBADMSG, STAGE_LEARN, CAUSE_DISAGREE },
        { -EBADMSG, STAGE_EMIT, CAUSE_DISAGREE },
        { -EFBIG, STAGE_EMIT, CAUSE_STORE_FULL },
        { -ENOSPC, STAGE_EMIT, CAUSE_STORE_FULL },
        { -EDQUOT, STAGE_EMIT, CAUSE_STORE_FULL },
        { -EROFS, STAGE_EMIT, CAUSE_STORE_FAILED },
        { -E2BIG, STAGE_NEEDLES, CAUSE_NEEDLE_LARGE },
        { -ENODATA, ANY_STAGE, CAUSE_CORE_CUT },
        { -ESRCH, ANY_STAGE, CAUSE_CORE_CUT }, /* PAGEMAP_SCAN, when the process was killed */
        { -E2BIG, ANY_STAGE, CAUSE_CORE_LARGE },
        { -EIO, ANY_STAGE, CAUSE_MEMORY_UNREADABLE },
        { -EFAULT, ANY_STAGE, CAUSE_MEMORY_UNREADABLE },
};

uint64_t result_causes(const struct worker_result *result) {
        if (result->error == 0)
                return 0;
        for (size_t i = 0; i < ARRAY_SIZE(meanings); i++)
                if (meanings[i].error == result->error &&
                    (meanings[i].stage == ANY_STAGE || meanings[i].stage == result->stage))
                        return CAUSE_BIT(meanings[i].cause);
        return CAUSE_BIT(CAUSE_WORKER_FAILED);
}

static bool unwind_valid(const struct unwind_result *unwind) {
        return (unsigned)unwind->outcome < _UNWIND_OUTCOME_MAX &&
               unwind->threads <= UNWIND_THREADS_MAX &&
               unwind->frames <= UNWIND_THREADS_MAX * UNWIND_FRAMES_MAX;
}

bool result_valid(const struct worker_result *result, const struct brief *brief) {
        if (result->version != RESULT_VERSION || result->size != sizeof(*result))
                return false;
        if (result->stage >= _STAGE_MAX || result->error > 0 || result->error < -ERRNO_MAX)
                return false;
        /* A dump is whole only behind the last stage, and there nothing is left to fail. */
        if ((result->error == 0) != (result->stage == STAGE_KEEP))
                return false;
        if (result->content >= CONTENT_REFUSE || result->content < brief->content)
                return false;
        if (result->causes & ~WORKER_CAUSES || result->signal > SIGNAL_MAX)
                return false;
        if (result->landlock > LANDLOCK_ABI_MAX || result->pad != 0)
                return false;
        for (size_t i = 0; i < _STAGE_MAX; i++)
                if (result->duration_ns[i] > DURATION_MAX)
                        return false;
        for (size_t i = 0; i < BRIEF_FILES_MAX; i++)
                if (result->file_flags[i] & ~FILE_FLAGS ||
                    (i >= brief->n_files && result->file_flags[i] != 0))
                        return false;
        return unwind_valid(&result->report.unwind);
}
