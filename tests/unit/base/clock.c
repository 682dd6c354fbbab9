/* Time never runs back, and a log's last time lifts it. */
#include <time.h>

#include "base/clock.h"
#include "base/units.h"
#include "unit.h"

static void time_does_not_run_back_and_is_utc(void **state)
{
    struct fg_clock clock;
    fg_clock_init_real(&clock);
    int64_t last = fg_now(&clock);
    for (int i = 0; i < 1000; i++) {
        int64_t now = fg_now(&clock);
        assert_true(now >= last);
        last = now;
    }
    assert_in_range(last / FG_NS_PER_S, time(NULL) - 60, time(NULL) + 60);
}

static void the_floor_lifts_but_never_lowers(void **state)
{
    struct fg_clock clock;
    fg_clock_init_real(&clock);
    int64_t now = fg_now(&clock);
    fg_clock_floor(&clock, now - 3600 * FG_NS_PER_S);
    assert_true(fg_now(&clock) - now < 60 * FG_NS_PER_S);
    fg_clock_floor(&clock, now + 3600 * FG_NS_PER_S);
    assert_true(fg_now(&clock) >= now + 3600 * FG_NS_PER_S);
    assert_true(fg_now(&clock) < now + 3660 * FG_NS_PER_S);
}

static void boot_time_is_the_same_for_every_clock(void **state)
{
    struct fg_clock a, b;
    fg_clock_init_real(&a);
    fg_clock_init_real(&b);
    fg_clock_floor(&b, fg_now(&b) + 3600 * FG_NS_PER_S);
    int64_t first = fg_boot(&a), second = fg_boot(&b);
    assert_true(second >= first && second - first < 60 * FG_NS_PER_S);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(time_does_not_run_back_and_is_utc),
        cmocka_unit_test(the_floor_lifts_but_never_lowers),
        cmocka_unit_test(boot_time_is_the_same_for_every_clock),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
