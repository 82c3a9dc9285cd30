/* filter: CORESIEVE_TEST='*residues*' build/unit/secret/test_needle_key runs the cases whose names
 * match, with * and ?. Linked into every unit test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

__attribute__((constructor)) static void filter_set(void) {
        cmocka_set_test_filter(getenv("CORESIEVE_TEST")); /* NULL: every case */
}
