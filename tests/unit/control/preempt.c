/* Gangs start and stay whole, and whose place is taken for a task that ranks higher. */
#include "queue_fix.h"

/* --- gangs --- */

/* n tasks of one array, all or none. */
static void submit_gang(struct fix *f, struct fg_spec spec, uint32_t n, fg_id *ids)
{
    spec.gang = true;
    spec.array = (fg_id){1000, f->ids + 1};
    spec.array_size = n;
    for (uint32_t i = 0; i < n; i++) {
        spec.array_index = i;
        ids[i] = fix_submit(f, spec);
    }
}

static size_t count_in(const struct fix *f, const fg_id *ids, size_t n, enum fg_state state)
{
    size_t found = 0;
    for (size_t i = 0; i < n; i++)
        found += state_of(f, ids[i]) == state;
    return found;
}

static void a_gang_starts_whole_or_not_at_all(void **state)
{
    struct fix f = fix_new();
    fg_id gang[4];
    f.devices[1] = fix_device("dev1", "cpu", 16 * GB);
    f.device_count = 2;
    fix_hello(&f);
    fg_id running = fix_running(&f, slice(500, 100));
    submit_gang(&f, slice(500, 100), 4, gang);
    fg_id slow = fix_submit(&f, slice(500, 200)), quick = fix_submit(&f, slice(500, 50));
    fix_dispatch(&f);                    /* three of four places are free */
    assert_int_equal(count_in(&f, gang, 4, FG_STATE_QUEUED), 4);
    assert_int_equal(state_of(&f, slow), FG_STATE_QUEUED);      /* it would delay the gang */
    assert_int_equal(state_of(&f, quick), FG_STATE_STARTING);
    fix_started(&f, quick);
    f.now += 50 * S;
    end_task(&f, quick);
    f.now += 50 * S;
    end_task(&f, running);
    fix_dispatch(&f);
    assert_int_equal(count_in(&f, gang, 4, FG_STATE_STARTING), 4);
    assert_int_equal(state_of(&f, slow), FG_STATE_QUEUED);
    fix_end(&f);
}

static void a_gang_that_can_never_be_whole_ends_whole(void **state)
{
    struct fix f = fix_new();
    fg_id gang[3];
    submit_gang(&f, slice(500, 100), 3, gang);
    assert_ok(fix_ask(&f, FG_IN_CANCEL, gang[1]), f.err);
    for (int i = 0; i < 3; i++)
        assert_int_equal(state_of(&f, gang[i]), FG_STATE_CANCELED);
    fix_end(&f);
}

static void one_that_is_held_holds_its_gang(void **state)
{
    struct fix f = fix_new();
    fg_id gang[2];
    fix_hello(&f);
    submit_gang(&f, slice(500, 100), 2, gang);
    assert_ok(fix_ask(&f, FG_IN_HOLD, gang[1]), f.err);
    fix_dispatch(&f);
    assert_int_equal(count_in(&f, gang, 2, FG_STATE_QUEUED), 2);
    assert_ok(fix_ask(&f, FG_IN_RELEASE, gang[1]), f.err);
    fix_dispatch(&f);
    assert_int_equal(count_in(&f, gang, 2, FG_STATE_STARTING), 2);
    fix_end(&f);
}

/* --- preemption --- */

static void kill_ends(struct fix *f, fg_id id)
{
    fix_finished(f, id, FG_STATE_FAILED, FG_REASON_PREEMPTED, S);
}

static void a_task_that_may_be_preempted_makes_room_for_a_higher_one(void **state)
{
    struct fix f = fix_new();
    struct fg_spec low = slice(1000, 200), high = slice(600, 100);
    low.priority = FG_PRIORITY_LOW;
    low.preemptible = true;
    high.priority = FG_PRIORITY_HIGH;
    fix_hello(&f);
    fg_id victim = fix_running(&f, low), head = fix_submit(&f, high);
    fix_dispatch(&f);
    assert_int_equal(fix_actions(&f, FG_ACT_KILL, victim), 1);
    kill_ends(&f, victim);
    assert_int_equal(state_of(&f, victim), FG_STATE_QUEUED);
    assert_int_equal(fix_task(&f, victim)->reason, FG_REASON_PREEMPTED);
    assert_int_equal(fix_task(&f, victim)->attempt, 2);
    assert_int_equal(fix_task(&f, victim)->retries_left, 0);
    fix_dispatch(&f);
    assert_int_equal(state_of(&f, head), FG_STATE_STARTING);
    fix_started(&f, head);
    f.now += 100 * S;
    end_task(&f, head);
    fix_dispatch(&f);
    assert_int_equal(state_of(&f, victim), FG_STATE_STARTING);
    fix_end(&f);
}

static void nobody_is_preempted_who_was_not_asked_or_ranks_as_high(void **state)
{
    struct fix f = fix_new();
    struct fg_spec plain = slice(500, 200), equal = slice(500, 200), high = slice(1000, 100);
    plain.priority = FG_PRIORITY_LOW;
    equal.priority = FG_PRIORITY_HIGH;
    equal.preemptible = true;
    high.priority = FG_PRIORITY_HIGH;
    fix_hello(&f);
    fix_running(&f, plain);
    fix_running(&f, equal);
    fg_id head = fix_submit(&f, high);
    fix_dispatch(&f);
    assert_int_equal(f.fx.actions.count, 0);
    assert_int_equal(state_of(&f, head), FG_STATE_QUEUED);
    fix_end(&f);
}

/* Three of 300: an old spot task, a young spot task, a low one. 100 are free, 400 are wanted: one must go, the young spot task. */
static void spot_goes_first_and_of_it_the_youngest(void **state)
{
    struct fix f = fix_new();
    struct fg_spec spot = slice(300, 500), low = slice(300, 500), want = slice(400, 100);
    spot.spot = true;
    low.priority = FG_PRIORITY_LOW;
    low.preemptible = true;
    fix_hello(&f);
    fg_id old = fix_running(&f, spot);
    f.now += S;
    fg_id young = fix_running(&f, spot), third = fix_running(&f, low);
    fix_submit(&f, want);
    fix_dispatch(&f);
    assert_int_equal(fix_actions(&f, FG_ACT_KILL, old), 0);
    assert_int_equal(fix_actions(&f, FG_ACT_KILL, young), 1);
    assert_int_equal(fix_actions(&f, FG_ACT_KILL, third), 0);
    fix_end(&f);
}

static void what_ends_by_itself_in_a_moment_is_not_killed(void **state)
{
    struct fix f = fix_new();
    struct fg_spec low = slice(1000, 100), high = slice(600, 100);
    low.spot = true;
    fix_hello(&f);
    fg_id victim = fix_running(&f, low);
    f.now += 98 * S;
    fix_submit(&f, high);
    fix_dispatch(&f);
    assert_int_equal(fix_actions(&f, FG_ACT_KILL, victim), 0);
    fix_end(&f);
}

static void of_a_gang_all_are_preempted(void **state)
{
    struct fix f = fix_new();
    fg_id gang[2];
    struct fg_spec spot = slice(500, 500);
    spot.spot = true;
    fix_hello(&f);
    submit_gang(&f, spot, 2, gang);
    fix_dispatch(&f);
    for (int i = 0; i < 2; i++)
        fix_started(&f, gang[i]);
    fix_submit(&f, slice(500, 100));
    fix_clear(&f);
    fix_dispatch(&f);
    for (int i = 0; i < 2; i++)
        assert_int_equal(fix_actions(&f, FG_ACT_KILL, gang[i]), 1);
    fix_end(&f);
}

static void spot_tasks_are_charged_the_spot_price(void **state)
{
    static const struct fg_price price = {"", 1000000, 300000};
    struct fix f = fix_new();
    fg_core_destroy(f.core);
    f.core = fg_core_create(&(struct fg_core_config){.lease_ns = LEASE, .lease_margin_ns = MARGIN, .prices = &price, .price_count = 1});
    struct fg_spec spot = slice(500, 100);
    spot.spot = true;
    fix_hello(&f);
    fg_id cheap = fix_running(&f, spot), dear = fix_running(&f, slice(500, 100));
    assert_int_equal(fix_task(&f, cheap)->lease.price_nanousd_per_s, 300000);
    assert_int_equal(fix_task(&f, dear)->lease.price_nanousd_per_s, 1000000);
    fix_end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_gang_starts_whole_or_not_at_all),
        cmocka_unit_test(a_gang_that_can_never_be_whole_ends_whole),
        cmocka_unit_test(one_that_is_held_holds_its_gang),
        cmocka_unit_test(a_task_that_may_be_preempted_makes_room_for_a_higher_one),
        cmocka_unit_test(nobody_is_preempted_who_was_not_asked_or_ranks_as_high),
        cmocka_unit_test(spot_goes_first_and_of_it_the_youngest),
        cmocka_unit_test(what_ends_by_itself_in_a_moment_is_not_killed),
        cmocka_unit_test(of_a_gang_all_are_preempted),
        cmocka_unit_test(spot_tasks_are_charged_the_spot_price),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
