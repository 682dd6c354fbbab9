/* The place of a parked task is lent, and the owner gets it back; nobody is promised what is not there. */
#include "core_fix.h"
#include "random.h"

static struct fg_spec plain(uint64_t gb, uint32_t share)
{
    struct fg_spec spec = fix_spec();
    spec.need.memory_bytes = gb * GB;
    spec.need.share_permille = share;
    return spec;
}
static struct fg_spec spot(uint64_t gb, uint32_t share)
{
    struct fg_spec spec = plain(gb, share);
    spec.spot = true;
    return spec;
}
static const struct fg_lease *lease(const struct fix *f, fg_id id) { return &fix_task(f, id)->lease; }
static enum fg_state state_of(const struct fix *f, fg_id id) { return fix_task(f, id)->state; }
static void say(struct fix *f, fg_id id, enum fg_parking parking, const char *device, bool moved)
{
    struct fg_input in = fix_report_of(f, id, FG_REPORT_PARKING);
    in.report.parking = (struct fg_parking_report){.parking = parking, .bytes = GB, .moved = moved};
    snprintf(in.report.parking.device, sizeof in.report.parking.device, "%s", device);
    assert_ok(fix_in(f, in), f->err);
    fix_dispatch(f);
}
static struct fg_device_view view_of(const struct fix *f, size_t at)
{
    struct fg_device_view views[4];
    assert_true(fg_core_devices(f->core, views, 4) > at);
    return views[at];
}
/* dev0 of 16 GB with an owner of 12 GB and 80 %. */
static struct fix with_owner(fg_id *owner)
{
    struct fix f = fix_new();
    fix_hello(&f);
    *owner = fix_running(&f, plain(12, 800));
    return f;
}

static void the_place_of_a_parked_task_is_lent_to_a_spot_task_and_to_no_other(void **state)
{
    fg_id owner;
    struct fix f = with_owner(&owner);
    fg_id stays = fix_submit(&f, plain(8, 500)), goes = fix_submit(&f, spot(8, 500));
    fix_dispatch(&f);
    assert_int_equal(state_of(&f, goes), FG_STATE_QUEUED);
    fix_clear(&f);
    say(&f, owner, FG_PARKING_PARKED, "dev0", false);
    assert_int_equal(state_of(&f, stays), FG_STATE_QUEUED);      /* 12 + 8 are more than 16 for who is to stay */
    assert_int_equal(state_of(&f, goes), FG_STATE_STARTING);
    assert_true(lease(&f, goes)->borrowed && !lease(&f, owner)->borrowed);
    assert_int_equal(view_of(&f, 0).memory_parked_bytes, 12 * GB);
    assert_int_equal(view_of(&f, 0).memory_borrowed_bytes, 8 * GB);
    assert_int_equal(view_of(&f, 0).memory_free_bytes, 4 * GB);  /* 12 are promised, 8 are there */
    fix_end(&f);
}

static void what_fits_beside_the_owner_is_not_borrowed(void **state)
{
    fg_id owner;
    struct fix f = with_owner(&owner);
    say(&f, owner, FG_PARKING_PARKED, "dev0", false);
    fg_id small = fix_submit(&f, spot(4, 200));
    fix_dispatch(&f);
    assert_true(state_of(&f, small) == FG_STATE_STARTING && !lease(&f, small)->borrowed);
    fix_end(&f);
}

static void one_who_has_called_lends_nothing_more_and_has_all_when_he_is_back(void **state)
{
    fg_id owner;
    struct fix f = with_owner(&owner);
    say(&f, owner, FG_PARKING_PARKED, "dev0", false);
    fg_id first = fix_submit(&f, spot(8, 500));
    fix_dispatch(&f);
    fix_started(&f, first);
    assert_true(lease(&f, first)->borrowed);
    fix_clear(&f);
    say(&f, owner, FG_PARKING_CALLED, "dev0", false);
    assert_string_equal(fix_story(&f), "lease.called");
    fg_id second = fix_submit(&f, spot(8, 500));
    fix_dispatch(&f);
    assert_int_equal(state_of(&f, second), FG_STATE_QUEUED);
    fix_clear(&f);
    fix_finished(&f, first, FG_STATE_FAILED, FG_REASON_PREEMPTED, S);    /* as the agent has it make room */
    fix_dispatch(&f);
    assert_true(state_of(&f, first) == FG_STATE_QUEUED && fix_task(&f, first)->attempt == 2);
    assert_int_equal(fix_task(&f, first)->cost_nanousd, 0);
    say(&f, owner, FG_PARKING_NONE, "dev0", false);
    assert_true(lease(&f, owner)->parking == FG_PARKING_NONE && lease(&f, owner)->parked_ns == 0);
    assert_int_equal(view_of(&f, 0).memory_free_bytes, 4 * GB);
    assert_true(state_of(&f, first) == FG_STATE_QUEUED && state_of(&f, second) == FG_STATE_QUEUED);
    fix_end(&f);
}

static void the_owner_pays_for_what_is_kept_for_him(void **state)
{
    int64_t cost[2];
    for (int parked = 0; parked < 2; parked++) {
        fg_id owner;
        struct fix f = with_owner(&owner);
        if (parked)
            say(&f, owner, FG_PARKING_PARKED, "dev0", false);
        f.now += 100 * S;
        if (parked)
            say(&f, owner, FG_PARKING_NONE, "dev0", false);
        assert_int_equal(lease(&f, owner)->parked_us, parked ? 100000000 : 0);
        fix_finished(&f, owner, FG_STATE_SUCCEEDED, FG_REASON_NONE, 100 * S);
        cost[parked] = fix_task(&f, owner)->cost_nanousd;
        fix_end(&f);
    }
    assert_true(cost[0] > 0 && cost[0] == cost[1]);
}

/* Two devices of a kind and a third of another. */
static struct fix with_three(fg_id *owner)
{
    struct fix f = fix_new();
    f.device_count = 3;
    f.devices[0] = fix_device("dev0", "gpu", 16 * GB);
    f.devices[1] = fix_device("dev1", "gpu", 16 * GB);
    f.devices[2] = fix_device("dev2", "other", 16 * GB);
    fix_hello(&f);
    struct fg_spec spec = plain(12, 800);
    snprintf(spec.need.device_kind, sizeof spec.need.device_kind, "gpu");
    *owner = fix_running(&f, spec);
    assert_int_equal(lease(&f, *owner)->device, 1);
    return f;
}

static void one_without_room_moves_to_a_device_of_the_kind_and_is_promised_both_places_until_it_is_there(void **state)
{
    fg_id owner;
    struct fix f = with_three(&owner);
    say(&f, owner, FG_PARKING_PARKED, "dev0", false);
    say(&f, owner, FG_PARKING_LACKS, "dev0", false);
    assert_string_equal(fix_story(&f), "lease.parked lease.called lease.moving");
    assert_int_equal(fix_actions(&f, FG_ACT_MOVE, owner), 1);
    assert_int_equal(lease(&f, owner)->moving_to, 2);
    assert_true(view_of(&f, 0).memory_free_bytes == 4 * GB && view_of(&f, 1).memory_free_bytes == 4 * GB);
    fix_clear(&f);
    say(&f, owner, FG_PARKING_NONE, "dev1", true);
    assert_string_equal(fix_story(&f), "lease.moved lease.resumed");
    assert_true(lease(&f, owner)->device == 2 && !lease(&f, owner)->moving_to);
    assert_true(view_of(&f, 0).memory_free_bytes == 16 * GB && view_of(&f, 1).memory_free_bytes == 4 * GB);
    fix_end(&f);
}

static void a_move_that_failed_leaves_it_where_it_was_and_is_not_tried_at_once(void **state)
{
    fg_id owner;
    struct fix f = with_three(&owner);
    say(&f, owner, FG_PARKING_PARKED, "dev0", false);
    say(&f, owner, FG_PARKING_LACKS, "dev0", false);
    fix_clear(&f);
    say(&f, owner, FG_PARKING_CALLED, "dev0", true);
    assert_string_equal(fix_story(&f), "lease.moved");
    assert_true(lease(&f, owner)->device == 1 && !lease(&f, owner)->moving_to);
    assert_int_equal(view_of(&f, 1).memory_free_bytes, 16 * GB);
    fix_end(&f);
}

static void parked_ones_leave_a_device_that_takes_no_more_tasks(void **state)
{
    fg_id owner;
    struct fix f = with_three(&owner);
    say(&f, owner, FG_PARKING_PARKED, "dev0", false);
    fix_clear(&f);
    f.devices[0].healthy = false;
    struct fg_attempt_at_node has = {owner, 1, lease(&f, owner)->epoch, false};
    fix_hello_with(&f, node_a, "boot", &has, 1);
    assert_int_equal(lease(&f, owner)->moving_to, 2);
    assert_int_equal(fix_actions(&f, FG_ACT_MOVE, owner), 1);
    fix_clear(&f);
    fix_hello_with(&f, node_a, "boot", &has, 1);                 /* it may not have been heard: said again */
    assert_int_equal(fix_actions(&f, FG_ACT_MOVE, owner), 1);
    fix_finished(&f, owner, FG_STATE_SUCCEEDED, FG_REASON_NONE, S);   /* it ends on the way: both places are free */
    assert_int_equal(view_of(&f, 1).memory_free_bytes, 16 * GB);
    fix_end(&f);
}

static void a_full_or_another_kind_of_device_is_no_place_to_move_to(void **state)
{
    fg_id owner;
    struct fix f = with_three(&owner);
    struct fg_spec spec = plain(12, 300);
    snprintf(spec.need.device_kind, sizeof spec.need.device_kind, "gpu");
    fix_running(&f, spec);
    say(&f, owner, FG_PARKING_PARKED, "dev0", false);
    say(&f, owner, FG_PARKING_LACKS, "dev0", false);
    assert_int_equal(fix_actions(&f, FG_ACT_MOVE, owner), 0);
    assert_int_equal(lease(&f, owner)->moving_to, 0);
    fix_end(&f);
}

static void copy_row(void *arg, const struct fg_task *task, const char *key, const char *doc)
{
    struct fg_error err;
    if (!task) {
        assert_ok(fg_core_load_aux(arg, key, doc, &err), err);
        return;
    }
    if (fg_state_is_terminal(task->state))
        return;
    FG_AUTO_STR struct fg_str text = {0};
    struct fg_task copy = {.id = task->id, .tenant = task->tenant};
    fg_task_encode(task, &text);
    assert_ok(fg_task_decode(text.data, text.len, &copy, &err), err);
    assert_ok(fg_core_load_task(arg, &copy, &err), err);
}

static void parked_borrowed_and_moving_survive_a_restart_and_a_replay(void **state)
{
    struct fix f = fix_new();
    struct fg_core *replayed = fix_core(1000), *loaded = fix_core(1000);
    f.device_count = 2;
    f.devices[1] = fix_device("dev1", "cpu", 16 * GB);
    fix_hello(&f);
    fg_id owner = fix_submit(&f, plain(12, 800)), wall = fix_submit(&f, plain(16, 1000));
    fix_dispatch(&f);
    fix_started(&f, owner);
    fix_started(&f, wall);
    say(&f, owner, FG_PARKING_PARKED, "dev0", false);
    fg_id guest = fix_submit(&f, spot(8, 500));
    fix_dispatch(&f);
    assert_true(lease(&f, guest)->borrowed);
    fix_finished(&f, wall, FG_STATE_SUCCEEDED, FG_REASON_NONE, S);
    say(&f, owner, FG_PARKING_LACKS, "dev0", false);
    assert_int_equal(lease(&f, owner)->moving_to, 2);
    for (size_t i = 0; i < f.fx.events.count; i++)
        assert_ok(fg_core_apply(replayed, &f.fx.events.items[i], &f.err), f.err);
    fg_core_changes(f.core, copy_row, loaded);
    fg_core_loaded(loaded, f.fx.events.items[f.fx.events.count - 1].seq);
    fg_core_verify(replayed);
    fg_core_verify(loaded);
    assert_true(fg_core_hash(replayed) == fg_core_hash(f.core) && fg_core_hash(loaded) == fg_core_hash(f.core));
    fg_core_destroy(replayed);
    fg_core_destroy(loaded);
    fix_end(&f);
}

/* --- any order of things: two devices, an agent that knows nothing but its own books --- */

#define TASKS 12
struct guest { fg_id id; bool known, there, parked, called; int device; uint64_t memory; uint32_t share; };
struct room { struct guest guests[TASKS]; size_t count; };

static bool fits(const struct room *m, int device, uint64_t memory, uint32_t share)
{
    for (size_t i = 0; i < m->count; i++)
        if (m->guests[i].there && m->guests[i].device == device) {
            memory += m->guests[i].memory;
            share += m->guests[i].share;
        }
    return memory <= 16 * GB && share <= 1000;
}

/* What the core promises: those that are not borrowed, on the device and on the one they move to. */
static void nobody_is_promised_what_is_not_there(const struct fix *f, const struct room *m)
{
    uint64_t memory[3] = {0};
    uint32_t share[3] = {0};
    for (size_t i = 0; i < m->count; i++) {
        const struct fg_task *t = fg_core_task(f->core, m->guests[i].id);
        if (!t || !t->lease_live || t->lease.borrowed)
            continue;
        memory[t->lease.device] += t->lease.memory_bytes;
        share[t->lease.device] += t->lease.share_permille;
        if (t->lease.moving_to) {
            memory[t->lease.moving_to] += t->lease.memory_bytes;
            share[t->lease.moving_to] += t->lease.share_permille;
        }
    }
    for (int d = 1; d <= 2; d++)
        assert_true(memory[d] <= 16 * GB && share[d] <= 1000);
}

static const char *const names[] = {"dev0", "dev1"};

/* As an agent does: a start that has no room in its books is given back when its place is borrowed, and waits else. */
static void take_starts(struct fix *f, struct room *m)
{
    for (size_t i = 0; i < m->count; i++) {
        struct guest *g = &m->guests[i];
        const struct fg_task *t = fg_core_task(f->core, g->id);
        if (!t || !t->lease_live || t->state != FG_STATE_STARTING)
            continue;
        int device = (int)t->lease.device - 1;
        if (fits(m, device, t->lease.memory_bytes, t->lease.share_permille)) {
            *g = (struct guest){.id = g->id, .known = true, .there = true, .device = device, .memory = t->lease.memory_bytes, .share = t->lease.share_permille};
            fix_started(f, g->id);
        } else {
            assert_true(t->lease.borrowed);      /* who is promised a place finds it, but for those that are to go */
            fix_finished(f, g->id, FG_STATE_FAILED, FG_REASON_PREEMPTED, 0);
        }
    }
}

static void make_room_for(struct fix *f, struct room *m, struct guest *owner)
{
    for (size_t i = 0; i < m->count && !fits(m, owner->device, owner->memory, owner->share); i++) {
        struct guest *g = &m->guests[i];
        const struct fg_task *t = g->there && g->device == owner->device ? fg_core_task(f->core, g->id) : NULL;
        if (!t || !t->lease.borrowed)
            continue;
        *g = (struct guest){.id = g->id};
        fix_finished(f, g->id, FG_STATE_FAILED, FG_REASON_PREEMPTED, S);
    }
}

static void wake(struct fix *f, struct room *m, struct guest *g, struct rng *r)
{
    say(f, g->id, FG_PARKING_CALLED, names[g->device], false);
    if (rng_below(r, 2) == 0 && !fits(m, g->device, g->memory, g->share)) {
        say(f, g->id, FG_PARKING_LACKS, names[g->device], false);
        int to = (int)lease(f, g->id)->moving_to - 1;
        if (to >= 0 && fits(m, to, g->memory, g->share))
            g->device = to;
        if (to >= 0)
            say(f, g->id, FG_PARKING_CALLED, names[g->device], true);
    }
    make_room_for(f, m, g);
    assert_true(fits(m, g->device, g->memory, g->share));        /* the promise */
    g->there = true;
    g->parked = false;
    say(f, g->id, FG_PARKING_NONE, names[g->device], false);
}

static void step(struct fix *f, struct room *m, struct rng *r)
{
    struct guest *g = m->count ? &m->guests[rng_below(r, m->count)] : NULL;
    const struct fg_task *t = g ? fg_core_task(f->core, g->id) : NULL;
    bool running = t && t->state == FG_STATE_RUNNING && g->known;
    f->now += (int64_t)rng_below(r, 5) * S;
    switch (rng_below(r, 6)) {
    case 0:
        if (m->count < TASKS) {
            struct fg_spec spec = plain(1 + rng_below(r, 12), 100 * (1 + (uint32_t)rng_below(r, 8)));
            spec.spot = rng_below(r, 2);
            spec.preemptible = rng_below(r, 4) == 0;
            spec.need.share_max_permille = rng_below(r, 3) ? 0 : 1000;   /* what is lent of it is the core's own matter */
            m->guests[m->count++] = (struct guest){.id = fix_submit(f, spec)};
        }
        break;
    case 1:
    case 2:
        if (running && g->there) {
            g->there = false;
            g->parked = true;
            say(f, g->id, FG_PARKING_PARKED, names[g->device], false);
        }
        break;
    case 3:
        if (running && g->parked && !lease(f, g->id)->borrowed)
            wake(f, m, g, r);
        break;
    case 4:
        if (running) {
            fix_finished(f, g->id, FG_STATE_SUCCEEDED, FG_REASON_NONE, S);
            *g = m->guests[--m->count];
        }
        break;
    default: fix_tick(f);
    }
}

static void in_any_order_every_owner_that_calls_finds_room_and_nobody_is_promised_what_is_not_there(void **state)
{
    struct rng r = rng_start("control/parking");
    uint64_t borrowed = 0, moves = 0;
    for (int world = 0; world < 100; world++) {
        struct fix f = fix_new();
        struct room m = {.count = 0};
        f.device_count = 2;
        f.devices[1] = fix_device("dev1", "cpu", 16 * GB);
        fix_hello(&f);
        for (int i = 0; i < 150; i++) {
            step(&f, &m, &r);
            fix_dispatch(&f);
            for (size_t k = 0; k < f.fx.actions.count; k++)      /* who is asked to go, goes */
                for (size_t g = 0; f.fx.actions.items[k].kind == FG_ACT_KILL && g < m.count; g++)
                    if (fg_id_eq(m.guests[g].id, f.fx.actions.items[k].task) && fix_task(&f, m.guests[g].id)->lease_live) {
                        m.guests[g] = (struct guest){.id = m.guests[g].id};
                        fix_finished(&f, m.guests[g].id, FG_STATE_FAILED, FG_REASON_PREEMPTED, S);
                    }
            fix_clear(&f);
            take_starts(&f, &m);
            nobody_is_promised_what_is_not_there(&f, &m);
        }
        struct fg_plan_stats stats;
        fg_core_plan_stats(f.core, &stats);
        borrowed += stats.borrowed;
        moves += stats.moves;
        fix_end(&f);
    }
    printf("%llu borrowed, %llu moves\n", (unsigned long long)borrowed, (unsigned long long)moves);
    assert_true(borrowed > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_place_of_a_parked_task_is_lent_to_a_spot_task_and_to_no_other),
        cmocka_unit_test(what_fits_beside_the_owner_is_not_borrowed),
        cmocka_unit_test(one_who_has_called_lends_nothing_more_and_has_all_when_he_is_back),
        cmocka_unit_test(the_owner_pays_for_what_is_kept_for_him),
        cmocka_unit_test(one_without_room_moves_to_a_device_of_the_kind_and_is_promised_both_places_until_it_is_there),
        cmocka_unit_test(a_move_that_failed_leaves_it_where_it_was_and_is_not_tried_at_once),
        cmocka_unit_test(parked_ones_leave_a_device_that_takes_no_more_tasks),
        cmocka_unit_test(a_full_or_another_kind_of_device_is_no_place_to_move_to),
        cmocka_unit_test(parked_borrowed_and_moving_survive_a_restart_and_a_replay),
        cmocka_unit_test(in_any_order_every_owner_that_calls_finds_room_and_nobody_is_promised_what_is_not_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
