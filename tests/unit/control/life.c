/* A task's life: what each input makes of it, in which order, and what it costs. */
#include "core_fix.h"

static void a_submit_is_submitted_queued_classified(void **state)
{
    struct fix f = fix_new();
    fg_id id = fix_submit(&f, fix_spec());
    assert_string_equal(fix_story(&f), "task.submitted task.queued task.classified");
    assert_int_equal(f.fx.actions.count, 0);
    const struct fg_task *t = fix_task(&f, id);
    assert_int_equal(t->state, FG_STATE_QUEUED);
    assert_int_equal(t->attempt, 1);
    assert_int_equal(t->class_rule, FG_CLASS_RULE_WHOLE_DEVICE);  /* it wants half of one */
    assert_int_equal(fg_core_position(f.core, id, f.now), 1);
    fix_end(&f);
}

static void the_whole_route_gives_everything_back(void **state)
{
    struct fix f = fix_new();
    struct fg_device_view view;
    fix_hello(&f);
    fix_clear(&f);
    fg_id id = fix_submit(&f, fix_spec());
    fix_dispatch(&f);
    assert_int_equal(fix_actions(&f, FG_ACT_START, id), 1);
    assert_int_equal(fg_core_devices(f.core, &view, 1), 1);
    assert_int_equal(view.memory_free_bytes, 15 * GB);
    assert_int_equal(view.share_free_permille, 500);
    fix_started(&f, id);
    f.now += 5 * S;
    fix_used(&f, id, 1, 5 * S);
    f.now += 5 * S;
    fix_finished(&f, id, FG_STATE_SUCCEEDED, FG_REASON_NONE, 10 * S);
    assert_string_equal(fix_story(&f), "task.submitted task.queued task.classified task.placed lease.granted task.started "
                                       "usage.recorded task.finished lease.released task.settled");
    assert_int_equal(fix_actions(&f, FG_ACT_ACK, id), 3);
    assert_int_equal(fix_actions(&f, FG_ACT_FORGET, id), 1);
    fg_core_devices(f.core, &view, 1);
    assert_int_equal(view.memory_free_bytes, 16 * GB);
    assert_int_equal(view.share_free_permille, 1000);
    assert_int_equal(view.leases, 0);
    /* run 10 s x half the device x 1,000,000 nanousd/s */
    assert_int_equal(fix_task(&f, id)->cost_nanousd, 5000000);
    assert_true(fix_task(&f, id)->settled);
    fix_end(&f);
}

static void a_key_is_good_for_one_task(void **state)
{
    struct fix f = fix_new();
    fg_id first, again, found = FG_ID_NONE;
    assert_ok(fix_submit_key(&f, fix_spec(), "k\nbody", &first), f.err);
    fix_clear(&f);
    assert_fails(fix_submit_key(&f, fix_spec(), "k\nbody", &again), f.err, FG_E_CONFLICT);
    assert_fails(fix_submit_key(&f, fix_spec(), "k\nother", &again), f.err, FG_E_IDEMPOTENCY_MISMATCH);
    assert_int_equal(f.fx.events.count, 0);
    assert_true(fg_core_idempotent(f.core, tenant, "k", &found));
    assert_true(fg_id_eq(found, first));
    assert_false(fg_core_idempotent(f.core, (fg_id){8, 8}, "k", &found));
    assert_ok(fix_submit_key(&f, fix_spec(), "kk\nbody", &again), f.err);
    fix_end(&f);
}

static void a_refused_input_changes_nothing(void **state)
{
    struct fix f = fix_new();
    fix_hello(&f);
    fg_id id = fix_running(&f, fix_spec());
    uint64_t before = fg_core_hash(f.core);
    assert_fails(fix_ask(&f, FG_IN_CANCEL, (fg_id){9, 9}), f.err, FG_E_NOT_FOUND);
    assert_fails(fix_ask(&f, FG_IN_HOLD, id), f.err, FG_E_CONFLICT);
    assert_fails(fix_ask(&f, FG_IN_RELEASE, id), f.err, FG_E_CONFLICT);
    fix_finished(&f, id, FG_STATE_SUCCEEDED, FG_REASON_NONE, S);
    fix_clear(&f);
    assert_true(before != fg_core_hash(f.core));
    before = fg_core_hash(f.core);
    assert_fails(fix_ask(&f, FG_IN_CANCEL, id), f.err, FG_E_CONFLICT);
    assert_int_equal(f.fx.events.count + f.fx.actions.count, 0);
    assert_true(before == fg_core_hash(f.core));
    fix_end(&f);
}

static void cancel_ends_a_waiting_task_at_once_and_for_free(void **state)
{
    struct fix f = fix_new();
    fg_id id = fix_submit(&f, fix_spec());
    fix_clear(&f);
    assert_ok(fix_ask(&f, FG_IN_CANCEL, id), f.err);
    assert_string_equal(fix_story(&f), "task.finished task.settled");
    assert_int_equal(fix_task(&f, id)->state, FG_STATE_CANCELED);
    assert_int_equal(fix_task(&f, id)->cost_nanousd, 0);
    assert_int_equal(fg_core_position(f.core, id, f.now), 0);
    fix_end(&f);
}

static void cancel_of_a_running_task_is_canceled_however_it_ends(void **state)
{
    struct fix f = fix_new();
    fix_hello(&f);
    struct fg_spec spec = fix_spec();
    spec.retries = 3;
    spec.retry_on = FG_RETRY_INFRA | FG_RETRY_OOM | FG_RETRY_ERROR;
    fg_id id = fix_running(&f, spec);
    assert_ok(fix_ask(&f, FG_IN_CANCEL, id), f.err);
    assert_string_equal(fix_story(&f), "task.cancel_requested");
    assert_int_equal(fix_actions(&f, FG_ACT_KILL, id), 1);
    assert_ok(fix_ask(&f, FG_IN_CANCEL, id), f.err);            /* asked again: said again, logged once */
    assert_string_equal(fix_story(&f), "task.cancel_requested");
    assert_int_equal(fix_actions(&f, FG_ACT_KILL, id), 2);
    fix_finished(&f, id, FG_STATE_FAILED, FG_REASON_USER_ERROR, 4 * S);
    assert_int_equal(fix_task(&f, id)->state, FG_STATE_CANCELED);
    assert_int_equal(fix_task(&f, id)->reason, FG_REASON_NONE);
    assert_int_equal(fix_task(&f, id)->cost_nanousd, 2000000);  /* 4 s x 1/2: what ran is charged */
    fix_end(&f);
}

static void a_held_task_waits_until_it_is_released(void **state)
{
    struct fix f = fix_new();
    fix_hello(&f);
    struct fg_spec spec = fix_spec();
    spec.hold = true;
    fg_id id = fix_submit(&f, spec);
    fix_dispatch(&f);
    assert_int_equal(fix_task(&f, id)->reason, FG_REASON_HELD);
    fix_clear(&f);
    assert_ok(fix_ask(&f, FG_IN_HOLD, id), f.err);
    assert_int_equal(f.fx.events.count, 0);
    assert_ok(fix_ask(&f, FG_IN_RELEASE, id), f.err);
    fix_dispatch(&f);
    assert_string_equal(fix_story(&f), "task.released task.placed lease.granted");
    fix_end(&f);
}

struct cause { enum fg_reason reason; uint8_t retry_on; bool again; };

static void only_a_named_cause_uses_a_retry(void **state)
{
    static const struct cause causes[] = {
        {FG_REASON_NODE_LOST, FG_RETRY_INFRA, true},   {FG_REASON_DEVICE_FAULT, FG_RETRY_INFRA, true},
        {FG_REASON_INTERNAL, FG_RETRY_INFRA, true},    {FG_REASON_INTERNAL, FG_RETRY_OOM | FG_RETRY_ERROR, false},
        {FG_REASON_OOM_HOST, FG_RETRY_OOM, true},      {FG_REASON_OOM_VRAM, FG_RETRY_OOM, true},
        {FG_REASON_OOM_HOST, FG_RETRY_INFRA, false},   {FG_REASON_USER_ERROR, FG_RETRY_ERROR, true},
        {FG_REASON_USER_ERROR, FG_RETRY_INFRA, false}, {FG_REASON_TIME_LIMIT, 7, false},
        {FG_REASON_MAX_COST, 7, false},                {FG_REASON_INPUT_MISSING, 7, false}};
    for (size_t i = 0; i < FG_COUNT(causes); i++) {
        struct fix f = fix_new();
        fix_hello(&f);
        struct fg_spec spec = fix_spec();
        spec.retries = 1;
        spec.retry_on = causes[i].retry_on;
        fg_id id = fix_running(&f, spec);
        fix_finished(&f, id, FG_STATE_FAILED, causes[i].reason, S);
        const struct fg_task *t = fix_task(&f, id);
        assert_int_equal(t->state, causes[i].again ? FG_STATE_QUEUED : FG_STATE_FAILED);
        assert_int_equal(t->reason, causes[i].reason);
        assert_int_equal(t->attempt, causes[i].again ? 2 : 1);
        if (causes[i].again) {           /* one retry was asked for, so the second failure is the last */
            assert_string_equal(fix_story(&f), "task.queued lease.released");
            fix_dispatch(&f);
            fix_started(&f, id);
            fix_finished(&f, id, FG_STATE_FAILED, causes[i].reason, S);
            assert_int_equal(fix_task(&f, id)->state, FG_STATE_FAILED);
        }
        fix_end(&f);
    }
}

static void out_of_memory_doubles_up_to_the_largest_device(void **state)
{
    struct fix f = fix_new();
    fix_hello(&f);
    struct fg_spec spec = fix_spec();
    spec.need.memory_bytes = 6 * GB;
    spec.retries = 9;
    spec.retry_on = FG_RETRY_OOM;
    fg_id id = fix_running(&f, spec);
    static const uint64_t steps[] = {12, 16};
    for (size_t i = 0; i < FG_COUNT(steps); i++) {
        fix_finished(&f, id, FG_STATE_FAILED, FG_REASON_OOM_HOST, S);
        fix_dispatch(&f);
        assert_int_equal(fix_task(&f, id)->lease.memory_bytes, steps[i] * GB);
        fix_started(&f, id);
    }
    fix_finished(&f, id, FG_STATE_FAILED, FG_REASON_OOM_HOST, S);   /* it had all there is */
    assert_int_equal(fix_task(&f, id)->state, FG_STATE_FAILED);
    assert_int_equal(fix_task(&f, id)->retries_left, 7);
    fix_end(&f);
}

static void what_failed_through_our_fault_is_free_and_the_rest_adds_up(void **state)
{
    struct fix f = fix_new();
    fix_hello(&f);
    struct fg_spec spec = fix_spec();
    spec.retries = 2;
    spec.retry_on = FG_RETRY_INFRA | FG_RETRY_ERROR;
    fg_id id = fix_running(&f, spec);
    fix_finished(&f, id, FG_STATE_FAILED, FG_REASON_USER_ERROR, 2 * S);     /* 2 s x 1/2 = 1,000,000 */
    assert_int_equal(fix_task(&f, id)->cost_nanousd, 1000000);
    fix_dispatch(&f);
    fix_started(&f, id);
    fix_finished(&f, id, FG_STATE_FAILED, FG_REASON_DEVICE_FAULT, 50 * S);  /* ours */
    assert_int_equal(fix_task(&f, id)->cost_nanousd, 1000000);
    fix_dispatch(&f);
    fix_started(&f, id);
    fix_finished(&f, id, FG_STATE_SUCCEEDED, FG_REASON_NONE, 6 * S);        /* + 3,000,000 */
    assert_int_equal(fix_task(&f, id)->cost_nanousd, 4000000);
    assert_int_equal(fix_events(&f, FG_EV_TASK_SETTLED), 1);
    fix_end(&f);
}

static void a_retry_whose_budget_is_spent_is_none(void **state)
{
    struct fix f = fix_new();
    fix_hello(&f);
    struct fg_spec spec = fix_spec();
    spec.retries = 5;
    spec.retry_on = FG_RETRY_ERROR;
    spec.limits.max_cost_nanousd = 2000000;     /* 4 s of half the device */
    fg_id id = fix_running(&f, spec);
    fix_finished(&f, id, FG_STATE_FAILED, FG_REASON_USER_ERROR, 3 * S);
    assert_int_equal(fix_task(&f, id)->state, FG_STATE_QUEUED);
    fix_dispatch(&f);
    fix_started(&f, id);
    fix_finished(&f, id, FG_STATE_FAILED, FG_REASON_USER_ERROR, S);
    assert_int_equal(fix_task(&f, id)->state, FG_STATE_FAILED);
    assert_int_equal(fix_task(&f, id)->reason, FG_REASON_USER_ERROR);
    assert_int_equal(fix_task(&f, id)->cost_nanousd, 2000000);
    fix_end(&f);
}

/* Found by the simulation: a proposal that only another kind of device could hold kept a task waiting for ever. */
static void a_proposed_memory_fits_the_kind_that_was_asked_for(void **state)
{
    struct fix f = fix_new();
    f.devices[1] = fix_device("dev1", "small", 64 << 20);
    f.device_count = 2;
    fix_hello(&f);
    struct fg_spec spec = fix_spec();
    spec.need.memory_bytes = 0;
    snprintf(spec.need.device_kind, sizeof spec.need.device_kind, "small");
    fg_id id = fix_submit(&f, spec);
    fix_dispatch(&f);
    assert_int_equal(fix_task(&f, id)->state, FG_STATE_STARTING);
    assert_true(fix_task(&f, id)->lease.memory_bytes <= 64 << 20);
    fix_end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_submit_is_submitted_queued_classified),
        cmocka_unit_test(the_whole_route_gives_everything_back),
        cmocka_unit_test(a_key_is_good_for_one_task),
        cmocka_unit_test(a_refused_input_changes_nothing),
        cmocka_unit_test(cancel_ends_a_waiting_task_at_once_and_for_free),
        cmocka_unit_test(cancel_of_a_running_task_is_canceled_however_it_ends),
        cmocka_unit_test(a_held_task_waits_until_it_is_released),
        cmocka_unit_test(only_a_named_cause_uses_a_retry),
        cmocka_unit_test(out_of_memory_doubles_up_to_the_largest_device),
        cmocka_unit_test(what_failed_through_our_fault_is_free_and_the_rest_adds_up),
        cmocka_unit_test(a_retry_whose_budget_is_spent_is_none),
        cmocka_unit_test(a_proposed_memory_fits_the_kind_that_was_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
