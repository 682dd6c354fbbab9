/* The queue, the planning window, quotes and why. */
#include "core_fix.h"

static void priority_then_age_decides(void **state)
{
    struct fix f = fix_new();
    struct fg_spec low = fix_spec(), normal = fix_spec(), high = fix_spec();
    low.priority = FG_PRIORITY_LOW;
    high.priority = FG_PRIORITY_HIGH;
    fg_id ids[] = {fix_submit(&f, low), fix_submit(&f, normal), fix_submit(&f, high), fix_submit(&f, normal), fix_submit(&f, high)};
    static const size_t places[] = {5, 3, 1, 4, 2};
    for (size_t i = 0; i < FG_COUNT(ids); i++)
        assert_int_equal(fg_core_position(f.core, ids[i], f.now), places[i]);
    fix_hello(&f);
    fix_dispatch(&f);                    /* room for two halves */
    assert_int_equal(fix_task(&f, ids[2])->state, FG_STATE_STARTING);
    assert_int_equal(fix_task(&f, ids[4])->state, FG_STATE_STARTING);
    assert_int_equal(fix_task(&f, ids[1])->state, FG_STATE_QUEUED);
    fix_end(&f);
}

static void a_task_queued_again_keeps_its_place_by_age(void **state)
{
    struct fix f = fix_new();
    fix_hello(&f);
    struct fg_spec spec = fix_spec();
    spec.need.share_permille = 1000;
    spec.retries = 1;
    fg_id first = fix_running(&f, spec), second = fix_submit(&f, spec);
    fix_finished(&f, first, FG_STATE_FAILED, FG_REASON_INTERNAL, S);
    assert_int_equal(fg_core_position(f.core, first, f.now), 1);
    assert_int_equal(fg_core_position(f.core, second, f.now), 2);
    fix_end(&f);
}

static void places_are_right_for_any_order_of_coming_and_going(void **state)
{
    enum { N = 2000 };
    struct fix f = fix_new();
    struct fg_spec spec = fix_spec();
    uint64_t x = 1;
    for (int i = 0; i < N; i++) {        /* each id once, in an order that jumps about */
        x = (x * 1103515245u + 12345u) % 2048;
        struct fg_input in = {.kind = FG_IN_SUBMIT, .task = {1, x + 1}, .submit = {tenant, &spec, NULL}};
        assert_ok(fg_core_handle(f.core, &in, f.now, &f.fx, &f.err), f.err);
        if (i % 3 == 0)
            assert_ok(fg_core_handle(f.core, &(struct fg_input){.kind = FG_IN_HOLD, .task = in.task}, f.now, &f.fx, &f.err), f.err);
    }
    size_t place = 0;
    for (uint64_t i = 1; i <= 2048; i++) {
        const struct fg_task *t = fg_core_task(f.core, (fg_id){1, i});
        if (t)
            assert_int_equal(fg_core_position(f.core, t->id, f.now), t->held ? 0 : ++place);
    }
    struct fg_core_counts counts;
    fg_core_counts(f.core, &counts);
    assert_int_equal(place, counts.queued - counts.held);
    assert_int_equal(counts.queued, N);
    fix_end(&f);
}

/* One device, a window of 3 lines. The first three ask for kinds that are not there; the fourth would fit. */
static void planning_looks_at_the_window_and_no_further(void **state)
{
    struct fix f = fix_new();
    fg_core_destroy(f.core);
    f.core = fix_core(3);
    fix_hello(&f);
    fg_id blocked[3];
    for (int i = 0; i < 3; i++) {
        struct fg_spec other = fix_spec();
        snprintf(other.need.device_kind, sizeof other.need.device_kind, "absent-%d", i);
        blocked[i] = fix_submit(&f, other);
    }
    fg_id fits = fix_submit(&f, fix_spec());
    fix_dispatch(&f);
    assert_int_equal(fix_task(&f, fits)->state, FG_STATE_QUEUED);
    assert_ok(fix_ask(&f, FG_IN_CANCEL, blocked[1]), f.err);    /* it moves into the window */
    fix_dispatch(&f);
    assert_int_equal(fix_task(&f, fits)->state, FG_STATE_STARTING);
    fix_end(&f);
}

/* A line counts once, however many wait in it. */
static void equal_tasks_that_are_blocked_do_not_hide_what_is_behind_them(void **state)
{
    struct fix f = fix_new();
    fg_core_destroy(f.core);
    f.core = fix_core(3);
    fix_hello(&f);
    struct fg_spec other = fix_spec();
    snprintf(other.need.device_kind, sizeof other.need.device_kind, "absent");
    for (int i = 0; i < 2000; i++)
        fix_submit(&f, other);
    fg_id fits = fix_submit(&f, fix_spec());
    fix_dispatch(&f);
    assert_int_equal(fix_task(&f, fits)->state, FG_STATE_STARTING);
    fix_end(&f);
}

static void what_leaves_the_window_by_being_placed_lets_others_in_at_once(void **state)
{
    struct fix f = fix_new();
    fg_core_destroy(f.core);
    f.core = fix_core(2);
    fix_hello(&f);
    struct fg_spec spec = fix_spec();
    spec.need.share_permille = 100;
    for (int i = 0; i < 10; i++)
        fix_submit(&f, spec);
    fix_dispatch(&f);
    struct fg_core_counts counts;
    fg_core_counts(f.core, &counts);
    assert_int_equal(counts.starting, 10);
    fix_end(&f);
}

static void nothing_is_placed_on_a_machine_that_is_away(void **state)
{
    struct fix f = fix_new();
    fix_hello(&f);
    fix_gone(&f);
    fg_id id = fix_submit(&f, fix_spec());
    fix_dispatch(&f);
    assert_int_equal(fix_task(&f, id)->state, FG_STATE_QUEUED);
    fix_hello(&f);
    fix_dispatch(&f);
    assert_int_equal(fix_task(&f, id)->state, FG_STATE_STARTING);
    fix_end(&f);
}

static void why_names_what_is_missing_on_each_device(void **state)
{
    struct fix f = fix_new();
    struct fg_block blocks[8];
    fg_id none = fix_submit(&f, fix_spec());
    assert_int_equal(fg_core_why(f.core, none, f.now, blocks, 8), 1);  /* no device at all */
    assert_int_equal(blocks[0].device, 0);
    f.devices[1] = fix_device("dev1", "tiny", GB / 2);
    f.device_count = 2;
    fix_hello(&f);
    struct fg_spec spec = fix_spec();
    spec.need.share_permille = 1000;
    fg_id first = fix_submit(&f, spec), second = fix_submit(&f, spec);
    fix_dispatch(&f);
    assert_int_equal(fix_task(&f, none)->state, FG_STATE_STARTING);
    assert_int_equal(fg_core_why(f.core, second, f.now, blocks, 8), 2);
    assert_int_equal(blocks[0].reason, FG_REASON_WAITING_CAPACITY);
    assert_int_equal(blocks[0].share_missing_permille, 500);
    assert_int_equal(blocks[1].reason, FG_REASON_INVALID);      /* half a GB never holds one */
    assert_ok(fix_ask(&f, FG_IN_HOLD, second), f.err);
    assert_int_equal(fg_core_why(f.core, second, f.now, blocks, 8), 3);
    assert_int_equal(blocks[0].reason, FG_REASON_HELD);
    assert_int_equal(fg_core_why(f.core, none, f.now, blocks, 8), 0);  /* it does not wait */
    (void)first;
    fix_end(&f);
}

static void a_quote_says_what_it_would_be_given_and_cost(void **state)
{
    struct fix f = fix_new();
    struct fg_quote q;
    struct fg_spec spec = fix_spec();
    assert_ok(fg_core_quote(f.core, &spec, &q, &f.err), f.err);
    assert_int_equal(q.device, 0);       /* no device is known: not an error */
    fix_hello(&f);
    assert_ok(fg_core_quote(f.core, &spec, &q, &f.err), f.err);
    assert_int_equal(q.device, 1);
    assert_int_equal(q.need.share_permille, 500);
    assert_true(q.cost_p50_nanousd > 0 && q.cost_p95_nanousd >= q.cost_p50_nanousd);
    spec.need.share_permille = 1000;
    fix_running(&f, spec);
    assert_ok(fg_core_quote(f.core, &spec, &q, &f.err), f.err); /* full now: as if it were free */
    assert_int_equal(q.device, 1);
    fix_end(&f);
}

static void what_no_device_can_hold_is_refused_with_the_largest_there_is(void **state)
{
    struct fix f = fix_new();
    struct fg_quote q;
    struct fg_spec spec = fix_spec();
    fix_hello(&f);
    spec.need.memory_bytes = 17 * GB;
    assert_fails(fg_core_quote(f.core, &spec, &q, &f.err), f.err, FG_E_INVALID);
    assert_string_equal(f.err.pointer, "/resources/memory");
    assert_has(f.err.text, "16");
    spec = fix_spec();
    snprintf(spec.need.device_kind, sizeof spec.need.device_kind, "absent");
    assert_fails(fg_core_quote(f.core, &spec, &q, &f.err), f.err, FG_E_INVALID);
    assert_string_equal(f.err.pointer, "/resources/device_kind");
    fix_end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(priority_then_age_decides),
        cmocka_unit_test(a_task_queued_again_keeps_its_place_by_age),
        cmocka_unit_test(places_are_right_for_any_order_of_coming_and_going),
        cmocka_unit_test(planning_looks_at_the_window_and_no_further),
        cmocka_unit_test(equal_tasks_that_are_blocked_do_not_hide_what_is_behind_them),
        cmocka_unit_test(what_leaves_the_window_by_being_placed_lets_others_in_at_once),
        cmocka_unit_test(nothing_is_placed_on_a_machine_that_is_away),
        cmocka_unit_test(why_names_what_is_missing_on_each_device),
        cmocka_unit_test(a_quote_says_what_it_would_be_given_and_cost),
        cmocka_unit_test(what_no_device_can_hold_is_refused_with_the_largest_there_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
