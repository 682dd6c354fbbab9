/* Which rung keeps a device's limits, and when tasks may go there. */
#include "unit.h"

#include "device/ladder.h"

static const struct fg_ladder_probe alone = {0}, audited = {.tells_processes = true, .can_look = true},
    kernel = {.tells_processes = true, .can_look = true, .driver_limits = true};

static void the_first_look_takes_the_best_rung(void **state)
{
    struct fg_ladder l = {0};
    char why[200];
    fg_ladder_step(&l, &kernel, why);
    assert_int_equal(l.memory, FG_LEVEL_KERNEL);
    assert_int_equal(l.share, FG_LEVEL_AUDITED);     /* no driver keeps a share */
    struct fg_ladder m = {0};
    fg_ladder_step(&m, &alone, why);
    assert_int_equal(m.memory, FG_LEVEL_COOPERATIVE);
    assert_non_null(strstr(why, "does not tell who"));
}

static void a_lost_rung_is_left_at_once_and_taken_again_when_it_is_steady(void **state)
{
    struct fg_ladder l = {0};
    char why[200];
    fg_ladder_step(&l, &kernel, why);
    fg_ladder_step(&l, &audited, why);
    assert_int_equal(l.memory, FG_LEVEL_AUDITED);
    fg_ladder_step(&l, &kernel, why);
    fg_ladder_step(&l, &kernel, why);
    fg_ladder_step(&l, &audited, why);               /* it flaps: counted anew */
    fg_ladder_step(&l, &kernel, why);
    fg_ladder_step(&l, &kernel, why);
    assert_int_equal(l.memory, FG_LEVEL_AUDITED);
    fg_ladder_step(&l, &kernel, why);
    assert_int_equal(l.memory, FG_LEVEL_KERNEL);
}

static void only_who_can_look_and_is_told_audits(void **state)
{
    for (int i = 0; i < 3; i++) {
        struct fg_ladder l = {0};
        char why[200];
        fg_ladder_step(&l, &(struct fg_ladder_probe){.tells_processes = i & 1, .can_look = i & 2}, why);
        assert_int_equal(l.memory, FG_LEVEL_COOPERATIVE);
        assert_int_equal(l.share, FG_LEVEL_COOPERATIVE);
    }
}

static void a_programs_fault_is_not_the_devices(void **state)
{
    struct fg_health h = {0};
    char why[200];
    fg_health_xid(&h, 31);                           /* a program's bad address */
    assert_true(fg_health_step(&h, false, 0, 0, why));
    fg_health_xid(&h, 79);                           /* fallen off the bus */
    assert_false(fg_health_step(&h, false, 0, 0, why));
    assert_non_null(strstr(why, "Xid 79"));
    assert_false(fg_health_step(&h, false, 0, 0, why)); /* for good */
}

static void old_memory_errors_are_history_and_new_ones_a_fault(void **state)
{
    struct fg_health h = {0};
    char why[200];
    assert_true(fg_health_step(&h, false, 7, 0, why)); /* from before the agent's time */
    assert_true(fg_health_step(&h, false, 7, 0, why));
    assert_false(fg_health_step(&h, false, 9, 0, why));
    assert_non_null(strstr(why, "2 uncorrected"));
}

static void heat_drains_after_three_looks_and_lets_in_after_three(void **state)
{
    struct fg_health h = {0};
    char why[200];
    const uint64_t thermal = 0x40, power_cap = 0x4; /* the second is what a device under load does by design */
    for (int i = 0; i < 10; i++)
        assert_true(fg_health_step(&h, false, 0, power_cap, why));
    assert_true(fg_health_step(&h, false, 0, thermal, why));
    assert_true(fg_health_step(&h, false, 0, thermal, why));
    assert_false(fg_health_step(&h, false, 0, thermal, why));
    assert_false(fg_health_step(&h, false, 0, 0, why));
    assert_false(fg_health_step(&h, false, 0, 0, why));
    assert_true(fg_health_step(&h, false, 0, 0, why));
}

static void a_lost_device_that_is_back_is_used_again(void **state)
{
    struct fg_health h = {0};
    char why[200];
    assert_false(fg_health_step(&h, true, 0, 0, why));
    assert_true(fg_health_step(&h, false, 0, 0, why));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_look_takes_the_best_rung),
        cmocka_unit_test(a_lost_rung_is_left_at_once_and_taken_again_when_it_is_steady),
        cmocka_unit_test(only_who_can_look_and_is_told_audits),
        cmocka_unit_test(a_programs_fault_is_not_the_devices),
        cmocka_unit_test(old_memory_errors_are_history_and_new_ones_a_fault),
        cmocka_unit_test(heat_drains_after_three_looks_and_lets_in_after_three),
        cmocka_unit_test(a_lost_device_that_is_back_is_used_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
