/* Who is served next: heads of the line and backfill, fair share, deadlines. Gangs and preemption: preempt.c. */
#include "queue_fix.h"
#include "random.h"

/* --- the head of the line --- */

/* 750 permille run for 100 s more. The head wants all of it, so it is promised now + 100 s. 250 are free: a task of 50 s
 * will have ended by then and starts, one of 200 s would delay the head and waits. */
static void others_start_only_where_they_do_not_delay_the_head(void **state)
{
    struct fix f = fix_new();
    fix_hello(&f);
    fg_id running = fix_running(&f, slice(750, 100));
    fg_id head = fix_submit(&f, slice(1000, 100)), slow = fix_submit(&f, slice(250, 200)), quick = fix_submit(&f, slice(250, 50));
    fix_dispatch(&f);
    assert_int_equal(state_of(&f, slow), FG_STATE_QUEUED);
    assert_int_equal(state_of(&f, quick), FG_STATE_STARTING);
    const struct fg_reservation *held = fg_core_reservation(f.core, head);
    assert_non_null(held);
    assert_int_equal(held->start_ns, f.now + 100 * S);
    fix_started(&f, quick);
    f.now += 50 * S;
    end_task(&f, quick);
    fix_dispatch(&f);
    assert_int_equal(state_of(&f, slow), FG_STATE_QUEUED);      /* room for it, but not until it would end */
    f.now += 50 * S;
    end_task(&f, running);
    fix_dispatch(&f);
    assert_int_equal(state_of(&f, head), FG_STATE_STARTING);
    assert_int_equal(state_of(&f, slow), FG_STATE_QUEUED);
    fix_end(&f);
}

/* Before there were reservations, small tasks that came all the time kept a large one waiting for ever. */
static void a_stream_of_small_tasks_does_not_starve_a_large_one(void **state)
{
    struct fix f = fix_new();
    fg_id small[4], large;
    fix_hello(&f);
    for (int i = 0; i < 4; i++)
        small[i] = fix_running(&f, slice(250, 60));
    large = fix_submit(&f, slice(1000, 60));
    for (int round = 0; round < 4; round++) {
        f.now += 15 * S;
        end_task(&f, small[round]);
        fix_submit(&f, slice(250, 60));
        fix_dispatch(&f);
    }
    assert_int_equal(state_of(&f, large), FG_STATE_STARTING);
    fix_end(&f);
}

/* What the head leaves spare at its start may be used beyond it: 1000 - 600 for the head = 400. */
static void what_the_head_leaves_spare_is_for_the_others(void **state)
{
    struct fix f = fix_new();
    fix_hello(&f);
    fix_running(&f, slice(500, 100));
    fg_id head = fix_submit(&f, slice(600, 100)), fits = fix_submit(&f, slice(400, 200)), no = fix_submit(&f, slice(100, 200));
    fix_dispatch(&f);
    assert_int_equal(state_of(&f, head), FG_STATE_QUEUED);
    assert_int_equal(state_of(&f, fits), FG_STATE_STARTING);
    assert_int_equal(state_of(&f, no), FG_STATE_QUEUED);
    fix_end(&f);
}

static void after_the_promised_start_nobody_else_starts_there(void **state)
{
    struct fix f = fix_new();
    fix_hello(&f);
    fix_running(&f, slice(750, 100));
    fg_id head = fix_submit(&f, slice(1000, 100));
    fix_submit(&f, slice(250, 200));     /* waits: it makes the round one that has something to decide */
    fix_dispatch(&f);
    assert_non_null(fg_core_reservation(f.core, head));
    f.now += 101 * S;                    /* what ran is late */
    fg_id quick = fix_submit(&f, slice(250, 1));
    fix_dispatch(&f);
    assert_int_equal(state_of(&f, quick), FG_STATE_QUEUED);
    assert_true(fg_core_reservation(f.core, head)->latest_ns >= f.now);
    fix_end(&f);
}

static void a_head_that_leaves_the_queue_gives_its_place_back(void **state)
{
    struct fix f = fix_new();
    fix_hello(&f);
    fix_running(&f, slice(750, 100));
    fg_id head = fix_submit(&f, slice(1000, 100)), slow = fix_submit(&f, slice(250, 200));
    fix_dispatch(&f);
    assert_int_equal(state_of(&f, slow), FG_STATE_QUEUED);
    assert_ok(fix_ask(&f, FG_IN_HOLD, head), f.err);
    fix_dispatch(&f);
    assert_int_equal(state_of(&f, slow), FG_STATE_STARTING);
    fix_end(&f);
}

static void a_higher_priority_does_not_wait_for_what_is_held_for_a_lower(void **state)
{
    struct fix f = fix_new();
    fix_hello(&f);
    fix_running(&f, slice(750, 100));
    fix_submit(&f, slice(1000, 100));
    struct fg_spec high = slice(250, 500);
    high.priority = FG_PRIORITY_HIGH;
    fix_dispatch(&f);
    fg_id first = fix_submit(&f, high);
    fix_dispatch(&f);
    assert_int_equal(state_of(&f, first), FG_STATE_STARTING);
    fix_end(&f);
}

/* --- a small world: tasks end exactly when their limit says, and the prior's 95th percentile is never below it --- */

struct run { fg_id id; int64_t submitted_ns, ends_ns, promised_ns; fg_id of; uint32_t permille; fg_id gang; };
struct town { struct fix f; FG_VEC(struct run) runs; size_t placed; int64_t device_ns[2]; };

static struct run *run_of(struct town *t, fg_id id)
{
    for (size_t i = t->runs.count; i > 0; i--)
        if (fg_id_eq(t->runs.items[i - 1].id, id))
            return &t->runs.items[i - 1];
    return NULL;
}

static void town_dispatch(struct town *t)
{
    struct fix *f = &t->f;
    fix_clear(f);
    fix_dispatch(f);
    for (size_t i = 0; i < t->runs.count; i++) {
        struct run *r = &t->runs.items[i];
        const struct fg_reservation *held = r->ends_ns ? NULL : fg_core_reservation(f->core, r->id);
        if (held && !r->promised_ns)
            r->promised_ns = held->start_ns;
        assert_true(!held || held->start_ns <= r->promised_ns);  /* a promise is kept, or bettered */
    }
    size_t n = f->fx.actions.count;
    FG_AUTO_FREE struct fg_action *starts = fg_alloc((n + 1) * sizeof *starts);
    for (size_t i = 0; i < n; i++)
        starts[i] = f->fx.actions.items[i];
    for (size_t i = 0; i < n; i++) {
        struct run *r = run_of(t, starts[i].task);
        if (starts[i].kind != FG_ACT_START || !r)
            continue;
        fix_started(f, r->id);
        r->ends_ns = f->now + fix_task(f, r->id)->spec.limits.run_ns;
        t->placed++;
        assert_true(!r->promised_ns || f->now <= r->promised_ns);
        t->device_ns[fg_id_eq(r->of, other_tenant)] += (int64_t)r->permille * (r->ends_ns - f->now) / 1000;
    }
}

/* To the next end, or by at most step. */
static void town_pass(struct town *t, int64_t step)
{
    int64_t next = t->f.now + step;
    for (size_t i = 0; i < t->runs.count; i++)
        if (t->runs.items[i].ends_ns)
            next = FG_MIN(next, t->runs.items[i].ends_ns);
    t->f.now = next;
    for (size_t i = 0; i < t->runs.count;) {
        struct run r = t->runs.items[i];
        if (r.ends_ns != next) {
            i++;
            continue;
        }
        end_task(&t->f, r.id);
        t->runs.items[i] = t->runs.items[--t->runs.count];
    }
}

static void town_end(struct town *t)
{
    fg_vec_fini(&t->runs);
    fix_end(&t->f);
}

static void the_head_starts_when_it_was_promised_or_before(void **state)
{
    struct rng r = rng_start(__func__);
    for (int world = 0; world < 20; world++) {
        struct town t = {.f = fix_new()};
        size_t devices = 1 + rng_below(&r, 3), promised = 0;
        for (size_t i = 0; i < devices; i++) {
            char name[8];
            snprintf(name, sizeof name, "dev%zu", i);
            t.f.devices[i] = fix_device(name, rng_below(&r, 3) ? "cpu" : "card", (4 + rng_below(&r, 12)) * GB);
        }
        t.f.device_count = devices;
        fix_hello(&t.f);
        for (int step = 0; step < 300; step++) {
            for (uint64_t n = rng_below(&r, 3); n > 0 && t.runs.count < 40; n--) {
                struct fg_spec spec = slice((uint32_t)(1 + rng_below(&r, 10)) * 100, 1 + (int64_t)rng_below(&r, 100));
                spec.need.memory_bytes = (1 + rng_below(&r, 4)) * GB;
                if (rng_below(&r, 5) == 0)
                    snprintf(spec.need.device_kind, sizeof spec.need.device_kind, rng_below(&r, 2) ? "cpu" : "card");
                fg_id id = submit_of(&t.f, tenant, spec);
                fg_vec_push(&t.runs, (struct run){.id = id, .of = tenant, .permille = spec.need.share_permille});
            }
            town_dispatch(&t);
            town_pass(&t, (int64_t)(1 + rng_below(&r, 20)) * S);
            for (size_t i = 0; i < t.runs.count; i++)
                promised += t.runs.items[i].promised_ns != 0;
        }
        assert_true(t.placed > 20 && promised > 0);
        town_end(&t);
    }
}

/* --- fair share --- */

static void tenants_take_turns_within_one_round(void **state)
{
    struct fix f = fix_new();
    fg_id mine[4], theirs[4];
    for (int i = 0; i < 4; i++)
        mine[i] = fix_submit(&f, slice(250, 100));
    for (int i = 0; i < 4; i++)
        theirs[i] = submit_of(&f, other_tenant, slice(250, 100));
    fix_hello(&f);
    fix_dispatch(&f);
    size_t a = 0, b = 0;
    for (int i = 0; i < 4; i++) {
        a += state_of(&f, mine[i]) == FG_STATE_STARTING;
        b += state_of(&f, theirs[i]) == FG_STATE_STARTING;
    }
    assert_int_equal(a, 2);
    assert_int_equal(b, 2);
    fix_end(&f);
}

/* Weights 1 and 3, both always with tasks waiting: after a while they have a quarter and three quarters of the device. */
static void what_tenants_get_converges_to_their_weights(void **state)
{
    struct rng r = rng_start(__func__);
    struct town t = {.f = fix_new()};
    fix_hello(&t.f);
    assert_ok(fix_in(&t.f, (struct fg_input){.kind = FG_IN_WEIGHT, .weight = {other_tenant, 3}}), t.f.err);
    for (int step = 0; step < 1500; step++) {
        size_t waiting[2] = {0};
        for (size_t i = 0; i < t.runs.count; i++)
            waiting[fg_id_eq(t.runs.items[i].of, other_tenant)] += !t.runs.items[i].ends_ns;
        for (int who = 0; who < 2; who++)
            for (; waiting[who] < 6; waiting[who]++) {
                struct fg_spec spec = slice(250, 5 + (int64_t)rng_below(&r, 20));
                fg_id of = who ? other_tenant : tenant, id = submit_of(&t.f, of, spec);
                fg_vec_push(&t.runs, (struct run){.id = id, .of = of, .permille = 250});
            }
        town_dispatch(&t);
        town_pass(&t, 5 * S);
    }
    double share = (double)t.device_ns[1] / (double)(t.device_ns[0] + t.device_ns[1]);
    assert_true(share > 0.72 && share < 0.78);
    town_end(&t);
}

static void what_was_used_is_forgotten_by_half_lives(void **state)
{
    struct fix f = fix_new();
    struct fg_tenant_view v[2];
    fix_hello(&f);
    fg_id id = fix_running(&f, slice(500, 100));
    f.now += 100 * S;
    end_task(&f, id);
    assert_int_equal(fg_core_tenants(f.core, f.now, v, 2), 1);
    assert_int_equal(v[0].used_us, 50000000);    /* half a device for 100 s */
    assert_true(fg_core_tenants(f.core, f.now + 86400 * S, v, 2) == 1 && v[0].used_us == 25000000);
    fix_end(&f);
}

static void weights_survive_replay_and_rows(void **state)
{
    struct fix f = fix_new();
    assert_fails(fix_in(&f, (struct fg_input){.kind = FG_IN_WEIGHT, .weight = {other_tenant, 0}}), f.err, FG_E_INVALID);
    assert_fails(fix_in(&f, (struct fg_input){.kind = FG_IN_WEIGHT, .weight = {other_tenant, FG_WEIGHT_MAX + 1}}), f.err, FG_E_INVALID);
    assert_ok(fix_in(&f, (struct fg_input){.kind = FG_IN_WEIGHT, .weight = {other_tenant, 7}}), f.err);
    assert_ok(fix_in(&f, (struct fg_input){.kind = FG_IN_WEIGHT, .weight = {other_tenant, 7}}), f.err);
    assert_int_equal(fix_events(&f, FG_EV_TENANT_WEIGHTED), 1);
    struct fg_core *again = fix_core(1000);
    assert_ok(fg_core_apply(again, &f.fx.events.items[0], &f.err), f.err);
    assert_true(fg_core_hash(again) == fg_core_hash(f.core));
    fg_core_destroy(again);
    fix_end(&f);
}

/* --- deadlines --- */

static void the_earliest_deadline_of_a_tenant_is_first_in_its_class(void **state)
{
    struct fix f = fix_new();
    struct fg_spec none = slice(1000, 50), late = none, soon = none, high = none;
    late.limits.deadline_ns = 1000 * S;
    soon.limits.deadline_ns = 500 * S;
    high.priority = FG_PRIORITY_HIGH;
    fg_id ids[] = {fix_submit(&f, none), fix_submit(&f, late), fix_submit(&f, soon), fix_submit(&f, high)};
    static const size_t places[] = {4, 3, 2, 1};
    for (size_t i = 0; i < FG_COUNT(ids); i++)
        assert_int_equal(fg_core_position(f.core, ids[i], f.now), places[i]);
    fix_end(&f);
}

/* Ten runs of 100 s on the only kind: the spread is narrow, so 95 of 100 runs take longer than about half of it. */
static void what_cannot_end_in_time_is_refused_with_the_proof(void **state)
{
    struct fix f = fix_new();
    struct fg_spec spec = slice(1000, 1000);
    fg_id id;
    fix_hello(&f);
    spec.limits.deadline_ns = 10 * S;
    assert_ok(fix_submit_key(&f, spec, NULL, &id), f.err);      /* nothing is known of it: nothing is proven */
    assert_ok(fix_ask(&f, FG_IN_CANCEL, id), f.err);
    spec.limits.deadline_ns = 0;
    for (int i = 0; i < 30; i++) {
        id = fix_running(&f, spec);
        f.now += 100 * S;
        fix_finished(&f, id, FG_STATE_SUCCEEDED, FG_REASON_NONE, 100 * S);
        fix_clear(&f);
    }
    spec.limits.deadline_ns = 10 * S;
    assert_fails(fix_submit_key(&f, spec, NULL, &id), f.err, FG_E_INVALID);
    assert_string_equal(f.err.pointer, "/limits/deadline");
    assert_has(f.err.text, "95 of 100 runs take longer");
    assert_int_equal(f.fx.events.count, 0);
    spec.limits.deadline_ns = 500 * S;   /* one can, five can not on one device: 5 x at least 70 s and more */
    int taken = 0;
    while (fix_submit_key(&f, spec, NULL, &id) == 0)
        taken++;
    assert_in_range(taken, 5, 9);
    assert_has(f.err.text, "earlier deadlines need at least");
    spec.priority = FG_PRIORITY_HIGH;    /* they come after it */
    assert_ok(fix_submit_key(&f, spec, NULL, &id), f.err);
    fix_end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(others_start_only_where_they_do_not_delay_the_head),
        cmocka_unit_test(a_stream_of_small_tasks_does_not_starve_a_large_one),
        cmocka_unit_test(what_the_head_leaves_spare_is_for_the_others),
        cmocka_unit_test(after_the_promised_start_nobody_else_starts_there),
        cmocka_unit_test(a_head_that_leaves_the_queue_gives_its_place_back),
        cmocka_unit_test(a_higher_priority_does_not_wait_for_what_is_held_for_a_lower),
        cmocka_unit_test(the_head_starts_when_it_was_promised_or_before),
        cmocka_unit_test(tenants_take_turns_within_one_round),
        cmocka_unit_test(what_tenants_get_converges_to_their_weights),
        cmocka_unit_test(what_was_used_is_forgotten_by_half_lives),
        cmocka_unit_test(weights_survive_replay_and_rows),
        cmocka_unit_test(the_earliest_deadline_of_a_tenant_is_first_in_its_class),
        cmocka_unit_test(what_cannot_end_in_time_is_refused_with_the_proof),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
