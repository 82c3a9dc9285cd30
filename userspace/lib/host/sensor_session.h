/* sensor_session: one run of sensor_enable(), for sensor.c and sensor_prove.c only. */
#pragma once

#include <bpf/libbpf.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "bpf/tags.h"
#include "coresieve.skel.h"
#include "host/policy.h"

struct session {
        const char *root;
        const struct policy *policy;
        FILE *errors;
        struct coresieve_bpf *skel;
        bool kept; /* maps of an earlier enable */
        struct tags_meta meta;
        int canary_fd;
};

static inline int session_say(const struct session *s, const char *thing, int r,
                              const char *remedy) {
        (void)fprintf(s->errors, "coresieve: %s: %s: %s\n", thing, strerrordesc_np(-r), remedy);
        return r;
}

static inline int map_fd(const struct bpf_map *map) {
        return bpf_map__fd(map);
}

int counters_get(const struct session *s, struct tags_counters *ret);

/* Opens the canary below s->root, made when it is missing. */
int canary_make(struct session *s);

/* Its key goes into s->meta. */
int canary_learn(struct session *s);

/* All sensors, by what they must have seen; not those of exec and death, whose link is checked. */
int session_prove(struct session *s);
