/* What an operator drains takes nothing new, whatever its agent says; what runs there goes on, or goes if it may be asked to. */
#include "core_fix.h"

static void ask(struct fix *f, fg_device_id device, const char *reason, bool now, bool resume)
{
    struct fg_input in = {.kind = FG_IN_DRAIN, .drain = {.tenant = tenant, .node = node_a, .device = device, .reason = reason, .now = now, .resume = resume}};
    assert_ok(fix_in(f, in), f->err);
}
static void drain(struct fix *f, fg_device_id device, const char *reason) { ask(f, device, reason, false, false); }
static void resume(struct fix *f, fg_device_id device) { ask(f, device, NULL, false, true); }
static enum fg_state state_of(const struct fix *f, fg_id id) { return fix_task(f, id)->state; }

/* dev0 (id 1) and dev1 (id 2), 16 GB each. */
static struct fix two_devices(void)
{
    struct fix f = fix_new();
    f.devices[1] = fix_device("dev1", "cpu", 16 * GB);
    f.device_count = 2;
    fix_hello(&f);
    return f;
}

static void nothing_new_is_placed_on_a_drained_device_and_what_runs_goes_on(void **state)
{
    struct fix f = two_devices();
    fg_id there = fix_running(&f, fix_spec());
    assert_int_equal(fix_task(&f, there)->lease.device, 1);
    drain(&f, 1, "fan");
    assert_int_equal(fix_actions(&f, FG_ACT_KILL, there), 0);
    fg_id a = fix_running(&f, fix_spec()), b = fix_running(&f, fix_spec()), c = fix_submit(&f, fix_spec());
    fix_dispatch(&f);
    assert_true(fix_task(&f, a)->lease.device == 2 && fix_task(&f, b)->lease.device == 2);
    assert_int_equal(state_of(&f, c), FG_STATE_QUEUED);          /* half of dev1 each */
    assert_int_equal(state_of(&f, there), FG_STATE_RUNNING);
    resume(&f, 1);
    fix_dispatch(&f);
    assert_int_equal(fix_task(&f, c)->lease.device, 1);
    fix_end(&f);
}

static void a_drained_machine_drains_all_its_devices_and_those_it_names_later(void **state)
{
    struct fix f = two_devices();
    drain(&f, 0, "moving house");
    f.devices[2] = fix_device("dev2", "cpu", 16 * GB);
    f.device_count = 3;
    fix_hello(&f);
    fg_id id = fix_submit(&f, fix_spec());
    fix_dispatch(&f);
    assert_int_equal(state_of(&f, id), FG_STATE_QUEUED);
    resume(&f, 0);
    fix_dispatch(&f);
    assert_int_equal(state_of(&f, id), FG_STATE_STARTING);
    fix_end(&f);
}

static void a_drain_is_not_lifted_by_its_agent(void **state)
{
    struct fix f = two_devices();
    drain(&f, 1, NULL);
    drain(&f, 2, NULL);
    fix_gone(&f);
    fix_hello_with(&f, node_a, "another boot", NULL, 0);
    f.devices[0].healthy = false;
    fix_hello(&f);
    f.devices[0].healthy = true;
    fix_hello(&f);
    fg_id id = fix_submit(&f, fix_spec());
    fix_dispatch(&f);
    assert_int_equal(state_of(&f, id), FG_STATE_QUEUED);
    fix_end(&f);
}

static void a_device_drained_by_itself_stays_so_when_its_machine_is_resumed(void **state)
{
    struct fix f = two_devices();
    struct fg_drain_view v;
    drain(&f, 1, "fan");
    drain(&f, 0, "dust");
    assert_true(fg_core_drain(f.core, node_a, 1, &v) && !v.whole_node && strcmp(v.reason, "fan") == 0);
    assert_true(fg_core_drain(f.core, node_a, 2, &v) && v.whole_node && strcmp(v.reason, "dust") == 0);
    resume(&f, 0);
    assert_true(fg_core_drain(f.core, node_a, 1, &v) && !fg_core_drain(f.core, node_a, 2, &v) && !fg_core_drain(f.core, node_a, 0, &v));
    fix_end(&f);
}

/* The head of the line waits for dev0, most of which is taken; once that is drained, dev1 is held for it. */
static void what_was_held_there_is_held_elsewhere(void **state)
{
    struct fix f = two_devices();
    struct fg_spec whole = fix_spec();
    struct fg_spec small = fix_spec();
    whole.need.share_permille = 900;
    small.need.share_permille = 50;
    whole.limits.run_ns = small.limits.run_ns = 100 * S;
    fix_running(&f, whole);
    f.now += 50 * S;
    fix_running(&f, whole);
    fg_id head = fix_submit(&f, whole);
    fix_submit(&f, small);               /* places are held where there is something to be had */
    fix_dispatch(&f);
    assert_int_equal(fg_core_reservation(f.core, head)->parts[0].device, 1);
    drain(&f, 1, NULL);
    fix_submit(&f, small);
    fix_dispatch(&f);
    assert_int_equal(fg_core_reservation(f.core, head)->parts[0].device, 2);
    fix_end(&f);
}

static void with_now_those_go_who_may_be_asked_to_and_are_asked_again_after_a_hello(void **state)
{
    struct fix f = two_devices();
    struct fg_spec spot = fix_spec(), small = fix_spec();
    spot.spot = true;
    spot.need.share_permille = small.need.share_permille = 200;
    fg_id goes = fix_running(&f, spot), stays = fix_running(&f, small);
    assert_true(fix_task(&f, goes)->lease.device == 1 && fix_task(&f, stays)->lease.device == 1);
    ask(&f, 1, "fan", true, false);
    assert_true(fix_actions(&f, FG_ACT_KILL, goes) == 1 && fix_actions(&f, FG_ACT_KILL, stays) == 0);
    struct fg_staying there[4];
    assert_int_equal(fg_core_tasks_at(f.core, node_a, 1, there, 4), 2);
    for (int i = 0; i < 2; i++)
        assert_true(there[i].going == fg_id_eq(there[i].task->id, goes));
    fix_finished(&f, goes, FG_STATE_FAILED, FG_REASON_PREEMPTED, S);
    fix_dispatch(&f);
    assert_true(fix_task(&f, goes)->attempt == 2 && fix_task(&f, goes)->lease.device == 2);      /* elsewhere, at no cost */
    assert_int_equal(fix_task(&f, goes)->cost_nanousd, 0);
    assert_int_equal(fg_core_tasks_at(f.core, node_a, 1, there, 4), 1);
    fix_end(&f);
}

/* Which kills were sent is forgotten with the server; the drain says that they are to go. */
static void after_a_restart_of_the_server_they_are_asked_again(void **state)
{
    struct fix f = two_devices();
    struct fg_spec spot = fix_spec();
    struct fg_error err;
    spot.spot = true;
    fg_id goes = fix_submit(&f, spot);
    fix_dispatch(&f);
    fix_started(&f, goes);
    ask(&f, 0, NULL, true, false);
    struct fg_core *again = fix_core(1000);
    for (size_t i = 0; i < f.fx.events.count; i++)
        assert_ok(fg_core_apply(again, &f.fx.events.items[i], &err), err);
    fg_core_loaded(again, f.fx.events.count);
    fg_core_destroy(f.core);
    f.core = again;
    fix_clear(&f);
    struct fg_attempt_at_node has = {.task = goes, .attempt = 1, .epoch = fix_task(&f, goes)->lease.epoch};
    fix_hello_with(&f, node_a, "boot", &has, 1);
    assert_int_equal(fix_actions(&f, FG_ACT_KILL, goes), 1);
    fix_end(&f);
}

static void why_says_since_when_what_for_and_what_lifts_it(void **state)
{
    struct fix f = two_devices();
    struct fg_block blocks[8];
    drain(&f, 0, "new fans");
    drain(&f, 2, NULL);
    fg_id id = fix_submit(&f, fix_spec());
    fix_dispatch(&f);
    assert_int_equal(fg_core_why(f.core, id, f.now, blocks, 8), 2);
    assert_int_equal(blocks[0].reason, FG_REASON_DRAINED);
    assert_string_equal(blocks[0].text, "drained since 1970-01-01T00:16:40Z, for new fans: fgpu nodes resume machine-1");
    assert_string_equal(blocks[1].text, "drained since 1970-01-01T00:16:40Z: fgpu devices resume machine-1/dev1");
    fix_end(&f);
}

static void a_drain_is_one_event_and_none_where_nothing_changes(void **state)
{
    struct fix f = two_devices();
    struct fg_drain_view v;
    fix_clear(&f);
    resume(&f, 1);
    drain(&f, 1, "a");
    f.now += 5 * S;
    drain(&f, 1, "a");
    drain(&f, 1, NULL);                  /* says no other reason */
    assert_string_equal(fix_story(&f), "node.drained");
    drain(&f, 1, "b");
    assert_true(fg_core_drain(f.core, node_a, 1, &v) && v.since_ns == 1000 * S && strcmp(v.reason, "b") == 0);
    resume(&f, 1);
    resume(&f, 1);
    assert_string_equal(fix_story(&f), "node.drained node.drained node.resumed");
    fix_end(&f);
}

static void what_is_not_there_or_said_at_length_is_refused(void **state)
{
    struct fix f = two_devices();
    char text[FG_DRAIN_REASON + 1] = {0};
    memset(text, 'x', FG_DRAIN_REASON);
    struct fg_input in = {.kind = FG_IN_DRAIN, .drain = {.node = node_b}};
    assert_fails(fix_in(&f, in), f.err, FG_E_NOT_FOUND);
    in.drain.node = node_a;
    in.drain.device = 3;
    assert_fails(fix_in(&f, in), f.err, FG_E_NOT_FOUND);
    in.drain.device = 1;
    in.drain.reason = text;
    assert_fails(fix_in(&f, in), f.err, FG_E_INVALID);
    text[FG_DRAIN_REASON - 1] = 0;
    assert_ok(fix_in(&f, in), f.err);
    fix_end(&f);
}

struct rows { FG_VEC(char *) all; size_t gone; };

static void on_row(void *arg, const struct fg_task *task, const char *key, const char *doc)
{
    struct rows *r = arg;
    if (!key)
        return;
    r->gone += !doc;
    fg_vec_push(&r->all, fg_strdup(key));
    fg_vec_push(&r->all, fg_strdup(doc));
}

/* The log alone gives them back, and so do the rows, in whatever order those of machines and devices come. */
static void drains_survive_replay_and_rows(void **state)
{
    struct fix f = two_devices();
    struct rows rows = {0};
    drain(&f, 2, "fan");
    drain(&f, 1, "fuse");
    drain(&f, 0, "dust");
    resume(&f, 1);
    struct fg_core *again = fix_core(1000), *loaded = fix_core(1000);
    for (size_t i = 0; i < f.fx.events.count; i++)
        assert_ok(fg_core_apply(again, &f.fx.events.items[i], &f.err), f.err);
    fg_core_changes(f.core, on_row, &rows);
    assert_int_equal(rows.gone, 1);
    for (size_t i = rows.all.count; i > 0; i -= 2)
        if (rows.all.items[i - 1])
            assert_ok(fg_core_load_aux(loaded, rows.all.items[i - 2], rows.all.items[i - 1], &f.err), f.err);
    fg_core_loaded(loaded, f.fx.events.count);
    fg_core_verify(loaded);
    assert_true(fg_core_hash(again) == fg_core_hash(f.core) && fg_core_hash(loaded) == fg_core_hash(f.core));
    struct fg_drain_view v;
    assert_true(fg_core_drain(loaded, node_a, 2, &v) && strcmp(v.reason, "fan") == 0 && v.since_ns == f.now);
    assert_true(fg_core_drain(loaded, node_a, 1, &v) && strcmp(v.reason, "dust") == 0 && v.whole_node);
    for (size_t i = 0; i < rows.all.count; i++)
        free(rows.all.items[i]);
    fg_vec_fini(&rows.all);
    fg_core_destroy(again);
    fg_core_destroy(loaded);
    fix_end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_new_is_placed_on_a_drained_device_and_what_runs_goes_on),
        cmocka_unit_test(a_drained_machine_drains_all_its_devices_and_those_it_names_later),
        cmocka_unit_test(a_drain_is_not_lifted_by_its_agent),
        cmocka_unit_test(a_device_drained_by_itself_stays_so_when_its_machine_is_resumed),
        cmocka_unit_test(what_was_held_there_is_held_elsewhere),
        cmocka_unit_test(with_now_those_go_who_may_be_asked_to_and_are_asked_again_after_a_hello),
        cmocka_unit_test(after_a_restart_of_the_server_they_are_asked_again),
        cmocka_unit_test(why_says_since_when_what_for_and_what_lifts_it),
        cmocka_unit_test(a_drain_is_one_event_and_none_where_nothing_changes),
        cmocka_unit_test(what_is_not_there_or_said_at_length_is_refused),
        cmocka_unit_test(drains_survive_replay_and_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
