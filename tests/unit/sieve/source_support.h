/* source_support: what tests of sources share. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sieve/source_private.h"
#include "tests/unit/sieve/core_builder.h"

DEFINE_CLEANUP(plan, struct plan, plan_free)
#define _cleanup_plan_ _cleanup_(cleanup_plan)

#define PAGE 4096U

static inline void assert_extent(const struct plan *plan, size_t i, uint64_t offset,
                                 uint64_t size) {
        size_t n;
        const struct extent *e = plan_extents(plan, &n);

        assert_true(i < n);
        assert_int_equal(e[i].offset, offset);
        assert_int_equal(e[i].size, size);
}

static inline size_t count_extents(const struct plan *plan) {
        size_t n;

        (void)plan_extents(plan, &n);
        return n;
}
