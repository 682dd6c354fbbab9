/* Machines that come and go, epochs, repeated and stale reports, and every limit. */
#include "core_fix.h"

static struct fg_attempt_at_node had(const struct fix *f, fg_id id, bool finished)
{
    const struct fg_task *t = fix_task(f, id);
    return (struct fg_attempt_at_node){id, t->attempt, t->lease.epoch, finished};
}

static void a_stale_epoch_is_killed_and_forgotten(void **state)
{
    struct fix f = fix_new();
    fix_hello(&f);
    fg_id id = fix_running(&f, fix_spec());
    struct fg_input in = fix_report_of(&f, id, FG_REPORT_USAGE);
    in.report.epoch--;
    in.report.usage.seq = 1;
    assert_ok(fix_in(&f, in), f.err);
    assert_int_equal(f.fx.events.count, 0);
    assert_int_equal(fix_actions(&f, FG_ACT_KILL, id), 1);
    assert_int_equal(fix_actions(&f, FG_ACT_FORGET, id), 1);
    assert_int_equal(f.fx.actions.items[0].epoch, in.report.epoch);
    fix_clear(&f);
    in = fix_report_of(&f, id, FG_REPORT_USAGE);
    in.report.node = node_b;             /* right epoch, wrong machine */
    assert_ok(fix_in(&f, in), f.err);
    assert_int_equal(f.fx.events.count, 0);
    assert_int_equal(fix_actions(&f, FG_ACT_KILL, id), 1);
    fix_end(&f);
}

static void a_repeated_report_is_acked_and_changes_nothing(void **state)
{
    struct fix f = fix_new();
    fix_hello(&f);
    fg_id id = fix_running(&f, fix_spec());
    fix_started(&f, id);
    fix_used(&f, id, 2, 2 * S);
    fix_used(&f, id, 2, 2 * S);
    fix_used(&f, id, 1, 1 * S);
    assert_string_equal(fix_story(&f), "usage.recorded");
    assert_int_equal(fix_actions(&f, FG_ACT_ACK, id), 4);
    assert_int_equal(fix_task(&f, id)->usage.wall_ns, 2 * S);
    fix_finished(&f, id, FG_STATE_SUCCEEDED, FG_REASON_NONE, S);
    fix_clear(&f);
    fix_finished(&f, id, FG_STATE_FAILED, FG_REASON_INTERNAL, S);
    assert_int_equal(f.fx.events.count, 0);
    assert_int_equal(fix_actions(&f, FG_ACT_ACK, id), 1);
    assert_int_equal(fix_actions(&f, FG_ACT_FORGET, id), 1);
    assert_int_equal(fix_task(&f, id)->state, FG_STATE_SUCCEEDED);
    fix_end(&f);
}

static void a_node_is_lost_at_deadline_and_margin_and_not_before(void **state)
{
    struct fix f = fix_new();
    fix_hello(&f);
    fg_id id = fix_running(&f, fix_spec());
    f.now += 60 * S;
    fix_alive(&f);                       /* moves the deadline to now + 100 s */
    f.now += 20 * S;
    fix_gone(&f);
    f.now += 90 * S - 1;                 /* 110 s after the last sign, less 1 ns */
    assert_int_equal(fg_core_next_deadline(f.core), f.now + 1);
    fix_tick(&f);
    assert_int_equal(f.fx.events.count, 0);
    assert_int_equal(fix_task(&f, id)->state, FG_STATE_RUNNING);
    f.now++;
    fix_tick(&f);
    assert_string_equal(fix_story(&f), "node.lost task.finished lease.released task.settled");
    assert_int_equal(fix_task(&f, id)->reason, FG_REASON_NODE_LOST);
    assert_int_equal(fix_task(&f, id)->cost_nanousd, 0);
    fix_clear(&f);
    f.now += 1000 * S;
    fix_tick(&f);
    assert_int_equal(f.fx.events.count, 0);
    fix_end(&f);
}

static void a_lost_attempt_runs_again_elsewhere_when_asked_for(void **state)
{
    struct fix f = fix_new();
    fix_hello(&f);
    struct fg_spec spec = fix_spec();
    spec.retries = 1;
    fg_id id = fix_running(&f, spec);
    uint64_t epoch = fix_task(&f, id)->lease.epoch;
    fix_hello_with(&f, node_b, "boot", NULL, 0);
    fix_gone(&f);
    f.now += LEASE + MARGIN;
    fix_clear(&f);
    fix_tick(&f);
    fix_dispatch(&f);
    assert_string_equal(fix_story(&f), "node.lost task.queued lease.released task.placed lease.granted");
    const struct fg_task *t = fix_task(&f, id);
    assert_true(fg_id_eq(t->lease.node, node_b));
    assert_int_equal(t->attempt, 2);
    assert_true(t->lease.epoch > epoch);
    struct fg_attempt_at_node old = {id, 1, epoch, false};
    fix_clear(&f);
    fix_hello_with(&f, node_a, "boot", &old, 1);                /* the first one turns up: it must go */
    assert_int_equal(fix_actions(&f, FG_ACT_KILL, id), 1);
    assert_int_equal(fix_actions(&f, FG_ACT_FORGET, id), 1);
    assert_int_equal(f.fx.actions.items[0].epoch, epoch);
    fix_end(&f);
}

static void hello_adopts_what_runs_and_starts_what_did_not_arrive(void **state)
{
    struct fix f = fix_new();
    fix_hello(&f);
    fg_id runs = fix_running(&f, fix_spec());
    fg_id starts = fix_submit(&f, fix_spec());
    fix_dispatch(&f);
    uint64_t epoch = fix_task(&f, starts)->lease.epoch;
    struct fg_attempt_at_node has[] = {had(&f, runs, false), {(fg_id){5, 5}, 1, 999, false}, {(fg_id){5, 6}, 1, 998, true}};
    fix_gone(&f);
    fix_clear(&f);
    fix_hello_with(&f, node_a, "boot", has, 3);
    assert_int_equal(f.fx.events.count, 0);                     /* it said nothing new */
    assert_int_equal(fix_actions(&f, FG_ACT_START, runs), 0);
    assert_int_equal(fix_actions(&f, FG_ACT_START, starts), 1);
    assert_int_equal(fix_task(&f, starts)->lease.epoch, epoch);
    assert_int_equal(fix_actions(&f, FG_ACT_KILL, has[1].task), 1);
    assert_int_equal(fix_actions(&f, FG_ACT_FORGET, has[1].task), 1);
    assert_int_equal(fix_actions(&f, FG_ACT_KILL, has[2].task), 0);
    assert_int_equal(fix_actions(&f, FG_ACT_FORGET, has[2].task), 1);
    fix_end(&f);
}

static void a_machine_that_forgot_what_ran_lost_it(void **state)
{
    struct fix f = fix_new();
    fix_hello(&f);
    fg_id id = fix_running(&f, fix_spec());
    fix_hello_with(&f, node_a, "boot-2", NULL, 0);
    assert_string_equal(fix_story(&f), "node.joined task.finished lease.released task.settled");
    assert_int_equal(fix_task(&f, id)->reason, FG_REASON_NODE_LOST);
    fix_end(&f);
}

static void a_canceled_start_that_did_not_arrive_is_not_started(void **state)
{
    struct fix f = fix_new();
    fix_hello(&f);
    fg_id id = fix_submit(&f, fix_spec());
    fix_dispatch(&f);
    fix_gone(&f);
    assert_ok(fix_ask(&f, FG_IN_CANCEL, id), f.err);
    fix_clear(&f);
    fix_hello(&f);
    assert_int_equal(fix_actions(&f, FG_ACT_START, id), 0);
    assert_int_equal(fix_task(&f, id)->state, FG_STATE_CANCELED);
    fix_end(&f);
}

static void a_cancel_that_did_not_arrive_is_said_again(void **state)
{
    struct fix f = fix_new();
    fix_hello(&f);
    fg_id id = fix_running(&f, fix_spec());
    fix_gone(&f);
    assert_ok(fix_ask(&f, FG_IN_CANCEL, id), f.err);
    struct fg_attempt_at_node has = had(&f, id, false);
    fix_clear(&f);
    fix_hello_with(&f, node_a, "boot", &has, 1);
    assert_int_equal(fix_actions(&f, FG_ACT_KILL, id), 1);
    fix_end(&f);
}

static void devices_keep_their_ids_and_one_not_named_takes_nothing(void **state)
{
    struct fix f = fix_new();
    f.devices[1] = fix_device("dev1", "cpu", 16 * GB);
    f.device_count = 2;
    fix_hello(&f);
    fix_hello_with(&f, node_b, "boot", NULL, 0);
    assert_int_equal(fg_core_device(f.core, 1)->node.lo, node_a.lo);
    assert_int_equal(fg_core_device(f.core, 4)->node.lo, node_b.lo);
    f.devices[0] = fix_device("dev1", "cpu", 8 * GB);           /* dev0 is gone, dev1 smaller */
    f.device_count = 1;
    fix_hello(&f);
    assert_string_equal(fg_core_device(f.core, 2)->name, "dev1");
    assert_int_equal(fg_core_device(f.core, 2)->memory_bytes, 8 * GB);
    assert_false(fg_core_device(f.core, 1)->healthy);
    struct fg_spec spec = fix_spec();
    spec.need.memory_bytes = 12 * GB;
    fg_id id = fix_submit(&f, spec);
    fix_dispatch(&f);
    assert_int_equal(fix_task(&f, id)->lease.device, 3);
    fix_end(&f);
}

static void the_queue_limit_expires_a_task(void **state)
{
    struct fix f = fix_new();
    struct fg_spec spec = fix_spec();
    spec.limits.queue_ns = 30 * S;
    fg_id id = fix_submit(&f, spec);
    assert_int_equal(fg_core_next_deadline(f.core), f.now + 30 * S);
    f.now += 30 * S;
    fix_clear(&f);
    fix_tick(&f);
    assert_string_equal(fix_story(&f), "task.finished task.settled");
    assert_int_equal(fix_task(&f, id)->state, FG_STATE_EXPIRED);
    assert_int_equal(fix_task(&f, id)->reason, FG_REASON_QUEUE_LIMIT);
    assert_int_equal(fg_core_next_deadline(f.core), INT64_MAX);
    fix_end(&f);
}

static void a_start_that_takes_too_long_is_killed_until_it_ends(void **state)
{
    struct fix f = fix_new();
    fix_hello(&f);
    struct fg_spec spec = fix_spec();
    spec.limits.startup_ns = 20 * S;
    fg_id id = fix_submit(&f, spec);
    fix_dispatch(&f);
    fix_clear(&f);
    f.now += 20 * S;
    for (size_t kills = 1; kills <= 3; kills++) {               /* said again each 30 s */
        fix_tick(&f);
        assert_int_equal(fix_actions(&f, FG_ACT_KILL, id), kills);
        assert_int_equal(f.fx.actions.items[kills - 1].reason, FG_REASON_STARTUP_LIMIT);
        assert_int_equal(fg_core_next_deadline(f.core), f.now + 30 * S);
        f.now += 30 * S;
    }
    fix_finished(&f, id, FG_STATE_FAILED, FG_REASON_INTERNAL, 0);
    assert_int_equal(fix_task(&f, id)->state, FG_STATE_FAILED);
    assert_int_equal(fix_task(&f, id)->reason, FG_REASON_STARTUP_LIMIT);
    fix_end(&f);
}

static void the_run_limit_is_backed_up_after_thirty_seconds(void **state)
{
    struct fix f = fix_new();
    fix_hello(&f);
    struct fg_spec spec = fix_spec();
    spec.limits.run_ns = 60 * S;
    fg_id id = fix_running(&f, spec);
    f.now += 90 * S - 1;
    fix_tick(&f);
    assert_int_equal(f.fx.actions.count, 0);
    f.now++;
    fix_tick(&f);
    assert_int_equal(fix_actions(&f, FG_ACT_KILL, id), 1);
    assert_int_equal(f.fx.actions.items[0].reason, FG_REASON_TIME_LIMIT);
    fix_end(&f);
}

static void max_cost_stops_a_task_on_time(void **state)
{
    struct fix f = fix_new();
    fix_hello(&f);
    struct fg_spec spec = fix_spec();
    spec.limits.max_cost_nanousd = 10000000;    /* at 500,000/s: 20 s */
    fg_id id = fix_running(&f, spec);
    assert_int_equal(fg_core_next_deadline(f.core), f.now + 20 * S);
    f.now += 20 * S;
    fix_tick(&f);
    assert_int_equal(fix_actions(&f, FG_ACT_KILL, id), 1);
    assert_int_equal(f.fx.actions.items[0].reason, FG_REASON_MAX_COST);
    fix_finished(&f, id, FG_STATE_FAILED, FG_REASON_NONE, 20 * S);
    assert_int_equal(fix_task(&f, id)->reason, FG_REASON_MAX_COST);
    assert_int_equal(fix_task(&f, id)->cost_nanousd, 10000000);
    fix_end(&f);
}

static void usage_that_cost_too_much_stops_a_task_before_the_tick(void **state)
{
    struct fix f = fix_new();
    fix_hello(&f);
    struct fg_spec spec = fix_spec();
    spec.limits.max_cost_nanousd = 10000000;
    fg_id id = fix_running(&f, spec);
    fix_used(&f, id, 1, 20 * S - 1);
    assert_int_equal(fix_actions(&f, FG_ACT_KILL, id), 0);
    fix_used(&f, id, 2, 20 * S);
    assert_int_equal(fix_actions(&f, FG_ACT_KILL, id), 1);
    fix_end(&f);
}

static void what_was_done_before_the_kill_counts(void **state)
{
    struct fix f = fix_new();
    fix_hello(&f);
    struct fg_spec spec = fix_spec();
    spec.limits.run_ns = 60 * S;
    fg_id id = fix_running(&f, spec);
    f.now += 90 * S;
    fix_tick(&f);
    fix_finished(&f, id, FG_STATE_SUCCEEDED, FG_REASON_NONE, 60 * S);
    assert_int_equal(fix_task(&f, id)->state, FG_STATE_SUCCEEDED);
    fix_end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stale_epoch_is_killed_and_forgotten),
        cmocka_unit_test(a_repeated_report_is_acked_and_changes_nothing),
        cmocka_unit_test(a_node_is_lost_at_deadline_and_margin_and_not_before),
        cmocka_unit_test(a_lost_attempt_runs_again_elsewhere_when_asked_for),
        cmocka_unit_test(hello_adopts_what_runs_and_starts_what_did_not_arrive),
        cmocka_unit_test(a_machine_that_forgot_what_ran_lost_it),
        cmocka_unit_test(a_canceled_start_that_did_not_arrive_is_not_started),
        cmocka_unit_test(a_cancel_that_did_not_arrive_is_said_again),
        cmocka_unit_test(devices_keep_their_ids_and_one_not_named_takes_nothing),
        cmocka_unit_test(the_queue_limit_expires_a_task),
        cmocka_unit_test(a_start_that_takes_too_long_is_killed_until_it_ends),
        cmocka_unit_test(the_run_limit_is_backed_up_after_thirty_seconds),
        cmocka_unit_test(max_cost_stops_a_task_on_time),
        cmocka_unit_test(usage_that_cost_too_much_stops_a_task_before_the_tick),
        cmocka_unit_test(what_was_done_before_the_kill_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
