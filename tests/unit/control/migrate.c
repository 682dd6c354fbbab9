/* Running tasks are moved to open a device for one that would wait longer than that takes; nobody is promised what is not there. */
#include "core_fix.h"
#include "random.h"

#define HOUR 3600

static struct fg_spec asks(uint64_t gb, uint32_t share, int64_t run_s)
{
    struct fg_spec spec = fix_spec();
    spec.need.memory_bytes = gb * GB;
    spec.need.share_permille = share;
    spec.limits.run_ns = run_s * S;
    return spec;
}
static const struct fg_lease *lease(const struct fix *f, fg_id id) { return &fix_task(f, id)->lease; }
static enum fg_state state_of(const struct fix *f, fg_id id) { return fix_task(f, id)->state; }

/* dev0, dev1, ... alike, 16 GB; their agent can move. */
static struct fix machine(size_t devices)
{
    static const char *const names[] = {"dev0", "dev1", "dev2", "dev3"};
    struct fix f = fix_new();
    f.device_count = devices;
    for (size_t i = 0; i < devices; i++) {
        f.devices[i] = fix_device(names[i], "gpu", 16 * GB);
        f.devices[i].moves = true;
    }
    fix_hello(&f);
    return f;
}

static void say(struct fix *f, fg_id id, enum fg_parking parking, fg_device_id device, bool moved)
{
    struct fg_input in = fix_report_of(f, id, FG_REPORT_PARKING);
    in.report.parking = (struct fg_parking_report){.parking = parking, .bytes = 4 * GB, .moved = moved};
    snprintf(in.report.parking.device, sizeof in.report.parking.device, "dev%u", device - 1);
    assert_ok(fix_in(f, in), f->err);
}
/* As an agent does it: parked, and on the other device. */
static void moves(struct fix *f, fg_id id)
{
    fg_device_id from = lease(f, id)->device, to = lease(f, id)->moving_to;
    assert_true(to != 0);
    say(f, id, FG_PARKING_CALLED, from, false);
    f->now += 4 * S;
    say(f, id, FG_PARKING_NONE, to, true);
}

/* What of dev0 is free is taken for a moment, so that the next goes to dev1. */
static fg_id wall(struct fix *f, uint32_t share)
{
    struct fg_spec spec = asks(1, share, 100);
    spec.program = (char *)"wall";
    return fix_running(f, spec);
}

/* dev0 has a task of 300, dev1 one of 600, each of 2 GB and for long. */
static struct fix fragmented(fg_id tasks[2])
{
    struct fix f = machine(2);
    tasks[0] = fix_running(&f, asks(2, 300, 100 * HOUR));
    fg_id w = wall(&f, 700);
    tasks[1] = fix_running(&f, asks(2, 600, 100 * HOUR));
    assert_true(lease(&f, tasks[0])->device == 1 && lease(&f, w)->device == 1 && lease(&f, tasks[1])->device == 2);
    fix_finished(&f, w, FG_STATE_SUCCEEDED, FG_REASON_NONE, S);
    fix_clear(&f);
    return f;
}

static void a_task_that_needs_a_whole_device_is_given_one_by_a_move(void **state)
{
    fg_id t[2];
    struct fix f = fragmented(t);
    struct fg_block blocks[4];
    fg_id head = fix_submit(&f, asks(10, 1000, HOUR));
    fix_dispatch(&f);
    assert_int_equal(lease(&f, t[0])->moving_to, 2);             /* 300 stand still rather than 600 */
    assert_true(fg_id_eq(lease(&f, t[0])->moved_for, head));
    assert_int_equal(fix_actions(&f, FG_ACT_MOVE, t[0]), 1);
    assert_int_equal(fg_core_reservation(f.core, head)->parts[0].device, 1);
    assert_true(fg_core_why(f.core, head, f.now, blocks, 4) >= 1);
    assert_int_equal(blocks[0].reason, FG_REASON_WAITING_MOVE);
    assert_string_equal(blocks[0].text, "room is made for it: 0 of 1 running task has moved to other devices of the machine; free in about 4 s");
    moves(&f, t[0]);
    fix_dispatch(&f);
    assert_true(lease(&f, head)->device == 1 && state_of(&f, head) == FG_STATE_STARTING);
    assert_true(lease(&f, t[0])->device == 2 && lease(&f, t[0])->moved_from == 1 && state_of(&f, t[0]) == FG_STATE_RUNNING);
    fix_end(&f);
}

/* A tenth of what is asked for is free on dev1, the rest on dev0: more than any has, less than both have. */
static void so_is_one_that_needs_more_than_any_device_has_free(void **state)
{
    fg_id t[2];
    struct fix f = fragmented(t);
    fg_id head = fix_submit(&f, asks(4, 900, HOUR));
    fix_dispatch(&f);
    assert_int_equal(lease(&f, t[0])->moving_to, 2);
    moves(&f, t[0]);
    fix_dispatch(&f);
    assert_int_equal(lease(&f, head)->device, 1);
    fix_end(&f);
}

static void nobody_moves_where_the_machine_has_not_enough_or_its_agent_cannot(void **state)
{
    fg_id t[2];
    struct fix f = fragmented(t);
    assert_int_equal(lease(&f, wall(&f, 200))->device, 2);       /* the fullest: 200 are left there */
    fix_submit(&f, asks(13, 1000, HOUR));
    fix_dispatch(&f);
    assert_int_equal(fix_actions(&f, FG_ACT_MOVE, t[0]) + fix_actions(&f, FG_ACT_MOVE, t[1]), 0);
    fix_end(&f);

    f = fragmented(t);
    f.devices[0].moves = f.devices[1].moves = false;
    struct fg_attempt_at_node has[2] = {{t[0], 1, lease(&f, t[0])->epoch, false}, {t[1], 1, lease(&f, t[1])->epoch, false}};
    fix_hello_with(&f, node_a, "boot", has, 2);
    fix_submit(&f, asks(10, 1000, HOUR));
    fix_dispatch(&f);
    assert_int_equal(fix_actions(&f, FG_ACT_MOVE, t[0]) + fix_actions(&f, FG_ACT_MOVE, t[1]), 0);
    fix_end(&f);
}

/* What is on dev1 is known to end in a moment: 200 runs of its program took 3 s each. */
static void nobody_moves_for_one_that_will_start_soon_by_itself(void **state)
{
    struct fix f = machine(2);
    struct fg_spec brief = asks(2, 600, 100);
    brief.program = (char *)"brief";
    for (int i = 0; i < 200; i++) {
        fg_id id = fix_running(&f, brief);
        f.now += 3 * S;
        fix_finished(&f, id, FG_STATE_SUCCEEDED, FG_REASON_NONE, 3 * S);
    }
    fg_id stays = fix_running(&f, asks(2, 500, 100 * HOUR)), soon = fix_running(&f, brief);
    assert_true(lease(&f, stays)->device != lease(&f, soon)->device);
    fg_id head = fix_submit(&f, asks(10, 1000, HOUR));
    fix_dispatch(&f);
    assert_int_equal(fix_actions(&f, FG_ACT_MOVE, stays) + fix_actions(&f, FG_ACT_MOVE, soon), 0);
    fix_finished(&f, soon, FG_STATE_SUCCEEDED, FG_REASON_NONE, 3 * S);
    fix_dispatch(&f);
    assert_int_equal(state_of(&f, head), FG_STATE_STARTING);
    fix_end(&f);
}

static void a_move_that_failed_is_not_tried_again_at_once_and_the_other_is(void **state)
{
    fg_id t[2];
    struct fix f = fragmented(t);
    fg_id head = fix_submit(&f, asks(10, 1000, HOUR));
    fix_dispatch(&f);
    assert_int_equal(lease(&f, t[0])->moving_to, 2);
    say(&f, t[0], FG_PARKING_NONE, 1, true);
    assert_true(!lease(&f, t[0])->moving_to && lease(&f, t[0])->device == 1);
    f.now += 10 * S;
    fix_alive(&f);
    fix_dispatch(&f);
    assert_true(!lease(&f, t[0])->moving_to && lease(&f, t[1])->moving_to == 1);
    moves(&f, t[1]);
    fix_dispatch(&f);
    assert_int_equal(lease(&f, head)->device, 2);
    fix_end(&f);
}

/* After 4 s of 300 stood still, a hundred times that over two devices: 60 s. */
static void after_a_chain_there_is_none_on_the_machine_for_a_while(void **state)
{
    fg_id t[2];
    struct fix f = fragmented(t);
    fg_id head = fix_submit(&f, asks(10, 1000, HOUR));
    fix_dispatch(&f);
    moves(&f, t[0]);
    fix_dispatch(&f);
    fix_started(&f, head);
    fix_finished(&f, head, FG_STATE_CANCELED, FG_REASON_NONE, S);
    fix_finished(&f, t[0], FG_STATE_CANCELED, FG_REASON_NONE, S);
    fg_id w = wall(&f, 400), again = fix_running(&f, asks(2, 300, 100 * HOUR));
    assert_true(lease(&f, w)->device == 2 && lease(&f, again)->device == 1);
    fix_finished(&f, w, FG_STATE_SUCCEEDED, FG_REASON_NONE, S);
    fix_submit(&f, asks(10, 1000, HOUR));
    f.now += 50 * S;
    fix_alive(&f);
    fix_dispatch(&f);
    assert_int_equal(lease(&f, again)->moving_to, 0);
    f.now += 15 * S;
    fix_alive(&f);
    fix_dispatch(&f);
    assert_int_equal(lease(&f, again)->moving_to, 2);
    fix_end(&f);
}

static void who_ends_or_is_stopped_on_the_way_leaves_both_places(void **state)
{
    for (int how = 0; how < 3; how++) {
        fg_id t[2];
        struct fix f = fragmented(t);
        fg_id head = fix_submit(&f, asks(10, 1000, HOUR));
        fix_dispatch(&f);
        assert_int_equal(lease(&f, t[0])->moving_to, 2);
        if (how == 0)
            fix_finished(&f, t[0], FG_STATE_SUCCEEDED, FG_REASON_NONE, S);
        if (how == 1) {
            assert_ok(fix_ask(&f, FG_IN_CANCEL, t[0]), f.err);
            fix_finished(&f, t[0], FG_STATE_CANCELED, FG_REASON_NONE, S);
        }
        if (how == 2) {                  /* the head goes away: who is on the way arrives */
            assert_ok(fix_ask(&f, FG_IN_CANCEL, head), f.err);
            moves(&f, t[0]);
        }
        fix_dispatch(&f);
        struct fg_device_view views[2];
        fg_core_devices(f.core, views, 2);
        assert_int_equal(views[1].share_free_permille, how == 2 ? 100 : 400);
        assert_int_equal(views[0].share_free_permille, how == 2 ? 1000 : 0);     /* the head has it */
        fix_end(&f);
    }
}

static void copy_row(void *arg, const struct fg_task *task, const char *key, const char *doc)
{
    struct fg_error err;
    if (!task && doc)
        assert_ok(fg_core_load_aux(arg, key, doc, &err), err);
    if (!task || fg_state_is_terminal(task->state))
        return;
    FG_AUTO_STR struct fg_str text = {0};
    struct fg_task copy = {.id = task->id, .tenant = task->tenant};
    fg_task_encode(task, &text);
    assert_ok(fg_task_decode(text.data, text.len, &copy, &err), err);
    assert_ok(fg_core_load_task(arg, &copy, &err), err);
}

/* Of three moves one is under way: it goes on, and what is left is decided anew. The head has its device in the end. */
static void a_server_that_is_killed_on_the_way_goes_on_with_the_move(void **state)
{
    for (int stored = 0; stored < 2; stored++) {
        struct fix f = machine(2);
        fg_id a = fix_submit(&f, asks(2, 300, 100 * HOUR)), full = fix_submit(&f, asks(1, 700, 100 * HOUR)), b = fix_submit(&f, asks(2, 600, 100 * HOUR));
        fix_dispatch(&f);
        fix_started(&f, a);
        fix_started(&f, full);
        fix_started(&f, b);
        fix_finished(&f, full, FG_STATE_CANCELED, FG_REASON_NONE, 0);
        fg_id head = fix_submit(&f, asks(10, 1000, HOUR));
        fix_dispatch(&f);
        assert_int_equal(lease(&f, a)->moving_to, 2);
        struct fg_core *again = fix_core(1000);
        uint64_t hash = fg_core_hash(f.core);
        if (stored)
            fg_core_changes(f.core, copy_row, again);
        for (size_t i = 0; !stored && i < f.fx.events.count; i++)
            assert_ok(fg_core_apply(again, &f.fx.events.items[i], &f.err), f.err);
        fg_core_loaded(again, f.fx.events.items[f.fx.events.count - 1].seq);
        assert_true(fg_core_hash(again) == hash);
        fg_core_destroy(f.core);
        f.core = again;
        fix_clear(&f);
        struct fg_attempt_at_node has[2] = {{a, 1, lease(&f, a)->epoch, false}, {b, 1, lease(&f, b)->epoch, false}};
        fix_hello_with(&f, node_a, "boot", has, 2);
        fix_dispatch(&f);
        assert_int_equal(fix_actions(&f, FG_ACT_MOVE, a), 1);    /* it may not have been heard: said again */
        assert_int_equal(state_of(&f, head), FG_STATE_QUEUED);
        moves(&f, a);
        fix_dispatch(&f);
        assert_int_equal(lease(&f, head)->device, 1);
        fix_end(&f);
    }
}

/* x (600) of dev0 needs dev1, whose z (500) goes to dev2 (450) first. Neither of these can be opened: what is starting is not moved. */
static void a_chain_makes_one_move_after_the_other(void **state)
{
    struct fix f = machine(3);
    fg_id x = fix_running(&f, asks(1, 600, 100 * HOUR)), w0 = wall(&f, 400), z = fix_running(&f, asks(1, 500, 100 * HOUR));
    fg_id p = fix_submit(&f, asks(1, 10, 100 * HOUR));
    fix_dispatch(&f);
    fg_id w1 = wall(&f, 490), y = fix_submit(&f, asks(1, 450, 100 * HOUR));
    fix_dispatch(&f);
    assert_true(lease(&f, x)->device == 1 && lease(&f, z)->device == 2 && lease(&f, p)->device == 2 && lease(&f, y)->device == 3);
    fix_finished(&f, w0, FG_STATE_SUCCEEDED, FG_REASON_NONE, S);
    fix_finished(&f, w1, FG_STATE_SUCCEEDED, FG_REASON_NONE, S);
    fg_id head = fix_submit(&f, asks(16, 1000, HOUR));
    fix_dispatch(&f);
    assert_true(lease(&f, z)->moving_to == 3 && !lease(&f, x)->moving_to);
    fg_id late = fix_submit(&f, asks(1, 400, HOUR));     /* it would fit in what z leaves for x */
    moves(&f, z);
    assert_int_equal(lease(&f, x)->moving_to, 2);
    fix_dispatch(&f);
    assert_int_equal(state_of(&f, late), FG_STATE_QUEUED);
    moves(&f, x);
    fix_dispatch(&f);
    assert_int_equal(lease(&f, head)->device, 1);
    fix_end(&f);
}

static void two_that_leave_for_two_devices_go_at_once(void **state)
{
    struct fix f = machine(3);
    fg_id x = fix_running(&f, asks(1, 300, 100 * HOUR)), y = fix_running(&f, asks(1, 400, 100 * HOUR)), w = wall(&f, 300);
    fg_id b = fix_running(&f, asks(1, 650, 100 * HOUR)), w1 = wall(&f, 350), c = fix_running(&f, asks(1, 600, 100 * HOUR));
    assert_true(lease(&f, x)->device == 1 && lease(&f, y)->device == 1 && lease(&f, b)->device == 2 && lease(&f, c)->device == 3);
    fix_finished(&f, w, FG_STATE_SUCCEEDED, FG_REASON_NONE, S);
    fix_finished(&f, w1, FG_STATE_SUCCEEDED, FG_REASON_NONE, S);
    fg_id head = fix_submit(&f, asks(16, 1000, HOUR));
    fix_dispatch(&f);
    assert_true(lease(&f, x)->moving_to == 2 && lease(&f, y)->moving_to == 3);
    moves(&f, x);
    fix_dispatch(&f);
    assert_int_equal(state_of(&f, head), FG_STATE_QUEUED);
    moves(&f, y);
    fix_dispatch(&f);
    assert_int_equal(lease(&f, head)->device, 1);
    fix_end(&f);
}

static void those_on_a_drained_device_leave_it_one_after_the_other(void **state)
{
    struct fix f = machine(2);
    fg_id x = fix_running(&f, asks(1, 300, 100 * HOUR)), y = fix_running(&f, asks(1, 400, 100 * HOUR));
    assert_true(lease(&f, x)->device == 1 && lease(&f, y)->device == 1);
    assert_ok(fix_in(&f, (struct fg_input){.kind = FG_IN_DRAIN, .drain = {.node = node_a, .device = 1}}), f.err);
    fg_id first = lease(&f, x)->moving_to ? x : y, second = first.lo == x.lo ? y : x;
    assert_true(lease(&f, first)->moving_to == 2 && !lease(&f, second)->moving_to);
    moves(&f, first);
    assert_int_equal(lease(&f, second)->moving_to, 2);
    moves(&f, second);
    assert_int_equal(fg_core_tasks_at(f.core, node_a, 1, NULL, 0), 0);
    fix_end(&f);
}

/* --- any order of things --- */

#define TASKS 14
struct guest { fg_id id; bool parked, spoken; };

/* What is promised of each device: live leases there, and on the way there. */
static void nobody_is_promised_what_is_not_there(const struct fix *f, const struct guest *g, size_t n)
{
    uint64_t memory[5] = {0};
    uint32_t share[5] = {0};
    for (size_t i = 0; i < n; i++) {
        const struct fg_task *t = fg_core_task(f->core, g[i].id);
        fg_device_id at[2] = {t && t->lease_live ? t->lease.device : 0, t && t->lease_live ? t->lease.moving_to : 0};
        for (int k = 0; k < 2; k++) {
            memory[at[k]] += at[k] ? t->lease.memory_bytes : 0;
            share[at[k]] += at[k] ? t->lease.share_permille + (k ? 0 : t->lease.lent_permille) : 0;
        }
    }
    for (int d = 1; d < 5; d++)
        assert_true(memory[d] <= 16 * GB && share[d] <= 1000);
}

static void some_end_or_come(struct fix *f, struct guest *g, size_t *n, struct rng *r)
{
    if (*n < TASKS && rng_below(r, 2)) {
        struct fg_spec spec = asks(1 + rng_below(r, 8), 100 * (1 + (uint32_t)rng_below(r, 6)), 10 * HOUR);
        if (rng_below(r, 3) == 0)
            spec = asks(1 + rng_below(r, 16), 1000 - 50 * (uint32_t)rng_below(r, 3), 10 * HOUR);
        spec.need.share_max_permille = rng_below(r, 4) ? 0 : 1000;
        spec.preemptible = rng_below(r, 6) == 0;
        g[(*n)++] = (struct guest){.id = fix_submit(f, spec)};
        return;
    }
    size_t i = *n ? rng_below(r, *n) : 0;
    if (*n && state_of(f, g[i].id) == FG_STATE_RUNNING) {
        fix_finished(f, g[i].id, FG_STATE_CANCELED, FG_REASON_NONE, 0);
        g[i] = g[--*n];
    } else if (*n && state_of(f, g[i].id) == FG_STATE_QUEUED && rng_below(r, 4) == 0) {
        assert_ok(fix_ask(f, FG_IN_CANCEL, g[i].id), f->err);
        g[i] = g[--*n];
    }
}

/* The agent: starts what it is given, and answers an order in steps, sometimes that it cannot. */
static void agent_does(struct fix *f, struct guest *g, size_t n, struct rng *r)
{
    for (size_t i = 0; i < n; i++) {
        const struct fg_task *t = fix_task(f, g[i].id);
        if (t->state == FG_STATE_STARTING && rng_below(r, 3))
            fix_started(f, g[i].id);
        else if (t->state != FG_STATE_RUNNING || !t->lease.moving_to || rng_below(r, 2))
            continue;
        else if (rng_below(r, 5) == 0)
            say(f, g[i].id, rng_below(r, 2) ? FG_PARKING_NONE : FG_PARKING_CALLED, t->lease.device, true);
        else if (t->lease.parking == FG_PARKING_NONE)
            say(f, g[i].id, FG_PARKING_CALLED, t->lease.device, false);
        else
            say(f, g[i].id, FG_PARKING_NONE, t->lease.moving_to, true);
    }
}

static void in_any_order_nobody_is_promised_what_is_not_there_and_the_log_gives_the_state_back(void **state)
{
    struct rng r = rng_start("control/migrate");
    uint64_t chains = 0, moved = 0;
    for (int world = 0; world < 60; world++) {
        struct fix f = machine(2 + rng_below(&r, 3));
        struct guest g[TASKS];
        size_t n = 0;
        struct fg_core *replayed = fix_core(1000);
        for (int i = 0; i < 200; i++) {
            f.now += (int64_t)rng_below(&r, 30) * S;
            some_end_or_come(&f, g, &n, &r);
            agent_does(&f, g, n, &r);
            if (rng_below(&r, 20) == 0)
                assert_ok(fix_in(&f, (struct fg_input){.kind = FG_IN_DRAIN, .drain = {.node = node_a, .device = 1, .resume = rng_below(&r, 2)}}), f.err);
            fix_alive(&f);
            fix_dispatch(&f);
            for (size_t k = 0; k < f.fx.actions.count; k++)
                if (f.fx.actions.items[k].kind == FG_ACT_KILL && fix_task(&f, f.fx.actions.items[k].task)->lease_live)
                    fix_finished(&f, f.fx.actions.items[k].task, FG_STATE_FAILED, FG_REASON_PREEMPTED, 0);
            nobody_is_promised_what_is_not_there(&f, g, n);
            for (size_t k = 0; k < f.fx.events.count; k++)
                assert_ok(fg_core_apply(replayed, &f.fx.events.items[k], &f.err), f.err);
            fix_clear(&f);
        }
        assert_true(fg_core_hash(replayed) == fg_core_hash(f.core));
        struct fg_plan_stats stats;
        fg_core_plan_stats(f.core, &stats);
        chains += stats.chains;
        moved += stats.moves;
        fg_core_destroy(replayed);
        fix_end(&f);
    }
    printf("%llu chains, %llu moves\n", (unsigned long long)chains, (unsigned long long)moved);
    assert_true(chains > 20 && moved > chains);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_task_that_needs_a_whole_device_is_given_one_by_a_move),
        cmocka_unit_test(so_is_one_that_needs_more_than_any_device_has_free),
        cmocka_unit_test(nobody_moves_where_the_machine_has_not_enough_or_its_agent_cannot),
        cmocka_unit_test(nobody_moves_for_one_that_will_start_soon_by_itself),
        cmocka_unit_test(a_move_that_failed_is_not_tried_again_at_once_and_the_other_is),
        cmocka_unit_test(after_a_chain_there_is_none_on_the_machine_for_a_while),
        cmocka_unit_test(who_ends_or_is_stopped_on_the_way_leaves_both_places),
        cmocka_unit_test(a_server_that_is_killed_on_the_way_goes_on_with_the_move),
        cmocka_unit_test(a_chain_makes_one_move_after_the_other),
        cmocka_unit_test(two_that_leave_for_two_devices_go_at_once),
        cmocka_unit_test(those_on_a_drained_device_leave_it_one_after_the_other),
        cmocka_unit_test(in_any_order_nobody_is_promised_what_is_not_there_and_the_log_gives_the_state_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
