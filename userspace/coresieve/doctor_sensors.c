#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "doctor.h"
#include "host/sensor.h"
#include "host/tagmap.h"

DEFINE_CLEANUP(tagmap, struct tagmap, tagmap_close)
#define _cleanup_watch_set_ _cleanup_(watch_set_done)

static const char enable[] = "run `coresieve enable`";

/* --- what the sensor is ------------------------------------------------------------------------
 */

static void backend_describe(struct doctor *d) {
        doctor_say(d, HEALTH_GOOD, "backend", NULL,
                   "page-cache tracepoints (tp_btf); tax: 60 to 220 ns for a buffered read, "
                   "nothing for other system calls");
        doctor_say(d, HEALTH_NOTE, "blind spots", NULL,
                   "not seen: tmpfs, O_DIRECT, procfs, mapped huge pages of the page cache (files "
                   "of 2 MiB and more), raw block devices; likely not: DAX, ZFS");
        doctor_say(d, HEALTH_NOTE, "container mounts", NULL,
                   "a file that a process has at a rule's path by mounts or a root of its own is "
                   "not watched: it is looked for when the process crashes (some milliseconds), "
                   "and where there is one the dump keeps stacks only (unwatched-file)");
}

/* --- is it alive -------------------------------------------------------------------------------
 */

static void links_examine(struct doctor *d, const struct tagmap *map) {
        const char *name;
        int r = tagmap_check_links(map, &name);

        if (r == 0)
                doctor_say(d, HEALTH_GOOD, "sensors", NULL, "all are attached");
        else if (r == -EOVERFLOW)
                doctor_say(d, HEALTH_BAD, "sensors", enable, "%s was left out by the kernel", name);
        else
                doctor_say(d, HEALTH_BAD, "sensors", enable,
                           "%s is not attached: every dump is refused", name);
}

static void canary_examine(struct doctor *d, struct tagmap *map) {
        int r = tagmap_check_canary(map, d->root);

        if (r == 0)
                doctor_say(d, HEALTH_GOOD, "canary", NULL, "was seen just now");
        else
                doctor_say(d, HEALTH_BAD, "canary", enable,
                           "was not seen (%s): every dump is refused", strerrordesc_np(-r));
}

struct census {
        uint64_t *lineages; /* of unknown history, one for each thread */
        size_t n, room;
};

static int census_take(const struct task_answer *answer, void *context) {
        struct census *c = context;
        int r;

        if (!answer->found || !(answer->tag.reasons & TAG_REASON_UNKNOWN_HISTORY))
                return 0;
        r = array_grow(&c->lineages, &c->room, c->n, SIZE_MAX, sizeof(*c->lineages));
        if (r < 0)
                return r;
        c->lineages[c->n++] = answer->mm;
        return 0;
}

static int lineage_compare(const void *a, const void *b) {
        uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

        return x < y ? -1 : x > y;
}

static size_t census_count(struct census *c) {
        size_t n = 0;

        if (c->n > 0)
                qsort(c->lineages, c->n, sizeof(*c->lineages), lineage_compare);
        for (size_t i = 0; i < c->n; i++)
                n += i == 0 || c->lineages[i] != c->lineages[i - 1];
        return n;
}

static void tags_examine(struct doctor *d, struct tagmap *map) {
        const struct tags_counters *counters = tagmap_counters(map);
        struct census census = { 0 };
        uint32_t used;
        int r;

        tagmap_count(map, &used);
        if (counters->overflows > 0)
                doctor_say(d, HEALTH_BAD, "tags",
                           "restart what makes so many processes, then `coresieve disable` and "
                           "`enable`",
                           "overflow: %llu tags did not fit (%u of %u used): every dump is refused",
                           (unsigned long long)counters->overflows, used, TAGS_MAX);
        else
                doctor_say(d, HEALTH_GOOD, "tags", NULL, "%u of %u used, none lost", used,
                           TAGS_MAX);
        if (tagmap_meta(map)->state != TAGS_LIVE)
                doctor_say(d, HEALTH_BAD, "tags", enable, "an enable did not come to its end");

        r = tagmap_each(map, census_take, &census);
        if (r < 0)
                doctor_say(d, HEALTH_BAD, "processes", enable, "cannot be asked: %s",
                           strerrordesc_np(-r));
        else if (census.n > 0)
                doctor_say(d, HEALTH_NOTE, "processes", "restart them, or the host",
                           "%zu are older than the sensors: their dumps keep stacks only",
                           census_count(&census));
        free(census.lineages);
}

/* --- does it watch what the policy says --------------------------------------------------------
 */

static void finding_say(struct doctor *d, const struct watch_finding *finding,
                        const struct policy *policy) {
        _cleanup_free_ char *text = NULL;
        size_t size;
        FILE *stream = open_memstream(&text, &size);
        char *remedy;

        if (!stream) {
                d->failed = true;
                return;
        }
        watch_finding_print(stream, finding, policy);
        if (fclose(stream) != 0) {
                d->failed = true;
                return;
        }
        text[strcspn(text, "\n")] = '\0';
        remedy = strrchr(text, ';');
        if (remedy) {
                *remedy = '\0';
                remedy += 1 + strspn(remedy + 1, " ");
        }
        doctor_say(d, watch_finding_is_error(finding, policy) ? HEALTH_BAD : HEALTH_NOTE, "rules",
                   remedy, "%s", text + strlen("coresieve: "));
}

static void rules_examine(struct doctor *d, const struct policy *policy) {
        _cleanup_watch_set_ struct watch_set set = { 0 };
        size_t missing;
        int r = sensor_review(policy, &set, &missing);

        if (r < 0) {
                doctor_say(d, HEALTH_BAD, "rules", enable, "cannot be looked at: %s",
                           strerrordesc_np(-r));
                return;
        }
        for (size_t i = 0; i < set.n_findings; i++)
                finding_say(d, &set.findings[i], policy);
        if (missing > 0)
                doctor_say(d, HEALTH_BAD, "rules", enable,
                           "%zu directories that rules name by now are not watched (a new mount, "
                           "a link pointed elsewhere)",
                           missing);
        else
                doctor_say(d, HEALTH_GOOD, "rules", NULL,
                           "%zu rules name %zu files in %zu watched directories", policy->n_rules,
                           set.n_files, set.n_dirs);
}

static void policy_examine(struct doctor *d, const struct tagmap *map,
                           const struct policy *policy) {
        if (memcmp(tagmap_meta(map)->policy_digest, policy->digest, sizeof(policy->digest)) != 0)
                doctor_say(d, HEALTH_BAD, "policy", enable,
                           "changed since enable: dumps of tagged processes keep stacks only");
        else
                doctor_say(d, HEALTH_GOOD, "policy", NULL, "is the one that was enabled");
}

/* --------------------------------------------------------------------------------------------- */

/* The reasons of tagmap.h end with the remedy. */
static void why_say(struct doctor *d, const char *why) {
        const char *colon = strrchr(why, ':');

        if (colon)
                doctor_say(d, HEALTH_BAD, "sensors", colon + 2, "%.*s", (int)(colon - why), why);
        else
                doctor_say(d, HEALTH_BAD, "sensors", enable, "%s", why);
}

void doctor_sensors(struct doctor *d, const struct policy *policy) {
        _cleanup_(cleanup_tagmap) struct tagmap *map = NULL;
        const char *why;

        backend_describe(d);
        if (tagmap_open_unproved(&map, &why) < 0) {
                why_say(d, why);
                return;
        }
        links_examine(d, map);
        canary_examine(d, map);
        tags_examine(d, map);
        if (!policy)
                return;
        policy_examine(d, map, policy);
        rules_examine(d, policy);
}
