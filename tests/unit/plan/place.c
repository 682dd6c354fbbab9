/* Each task to its cheapest device with room, by numbered rules; who waits is told why; nothing is overfull. */
#include "base/mem.h"
#include "base/units.h"
#include "plan/place.h"
#include "random.h"
#include "unit.h"

#define GIB (UINT64_C(1) << 30)
#define MAX_DEVICES 8
#define MAX_TASKS 60

static const struct fg_spec plain = {.priority = FG_PRIORITY_NORMAL};

static struct fg_plan_device device(uint32_t id, const char *kind, uint64_t memory, int64_t price)
{
    return (struct fg_plan_device){.id = id, .kind = kind, .memory_bytes = memory, .memory_free_bytes = memory, .share_free_permille = 1000,
                                   .price_nanousd_per_s = price, .usable = true};
}

static struct fg_plan_task task(uint64_t n, uint64_t memory, uint32_t share)
{
    return (struct fg_plan_task){.id = {0, n}, .spec = &plain, .need = {.memory_bytes = memory, .share_permille = share}};
}

static struct fg_plan place(const struct fg_plan_device *devices, size_t device_count, const struct fg_plan_task *tasks, size_t task_count)
{
    struct fg_plan plan = {0};
    struct fg_error err = {0};
    const struct fg_snapshot snap = {.tasks = tasks, .task_count = task_count, .devices = devices, .device_count = device_count};
    assert_ok(fg_place(&snap, &plan, &err), err);
    assert_int_equal(plan.placements.count + plan.waiting.count, task_count);
    return plan;
}

static void assert_placed(const struct fg_plan *plan, size_t i, uint32_t dev, enum fg_rule rule)
{
    assert_true(i < plan->placements.count);
    assert_int_equal(plan->placements.items[i].device, dev);
    assert_int_equal(plan->placements.items[i].placed.rule, rule);
}

static void the_only_device_with_room_takes_it(void **state)
{
    struct fg_plan_device d[] = {device(1, "cpu", GIB, 5), device(2, "cpu", 4 * GIB, 9)};
    struct fg_plan_task t[] = {task(1, 2 * GIB, 250)};
    struct fg_plan plan = place(d, 2, t, 1);
    assert_placed(&plan, 0, 2, FG_RULE_ONLY_FIT);
    assert_int_equal(plan.placements.items[0].placed.runner_up_cost_nanousd, 0);
    assert_int_equal(plan.placements.items[0].memory_bytes, 2 * GIB);
    assert_int_equal(plan.placements.items[0].share_permille, 250);
    fg_plan_fini(&plan);
}

/* Prior of 60 s. Device 1: half its memory, 500 permille at 1000/s: 30,000. Device 2: 250 permille at 3000/s: 45,000. */
static void the_least_expected_cost_wins_and_the_runner_up_is_kept(void **state)
{
    struct fg_plan_device d[] = {device(1, "cpu", 2 * GIB, 1000), device(2, "cpu", 8 * GIB, 3000)};
    struct fg_plan_task t[] = {task(1, GIB, 250)};
    struct fg_plan plan = place(d, 2, t, 1);
    assert_placed(&plan, 0, 1, FG_RULE_LEAST_COST);
    assert_int_equal(plan.placements.items[0].placed.expected_cost_nanousd, 30000);
    assert_int_equal(plan.placements.items[0].placed.runner_up_cost_nanousd, 45000);
    assert_int_equal(plan.cost_nanousd, 30000);
    assert_int_equal(plan.bound_nanousd, 30000);
    fg_plan_fini(&plan);
}

/* Both free of charge; on "gpu" the program was seen to take a second, on "cpu" nothing is known. */
static void at_equal_cost_the_earlier_end_wins(void **state)
{
    struct fg_history *h = fg_history_create();
    struct fg_outcome o = {.state = FG_STATE_SUCCEEDED, .run_ns = FG_NS_PER_S};
    struct fg_plan_device d[] = {device(1, "cpu", GIB, 0), device(2, "gpu", GIB, 0)};
    struct fg_plan_task t[] = {task(1, GIB, 250)};
    struct fg_plan plan = {0};
    struct fg_error err = {0};
    for (int i = 0; i < 20; i++)
        fg_history_observe(h, &plain, "gpu", 250, &o);
    const struct fg_snapshot snap = {.tasks = t, .task_count = 1, .devices = d, .device_count = 2, .history = h};
    assert_ok(fg_place(&snap, &plan, &err), err);
    assert_placed(&plan, 0, 2, FG_RULE_FINISH_FIRST);
    fg_plan_fini(&plan);
    fg_history_destroy(h);
}

static void ties_go_to_the_fullest_then_to_the_lowest_id(void **state)
{
    struct fg_plan_device d[] = {device(7, "cpu", 4 * GIB, 5), device(3, "cpu", 4 * GIB, 5), device(9, "cpu", 4 * GIB, 5)};
    struct fg_plan_task t[] = {task(1, GIB, 250), task(2, GIB, 250), task(3, GIB, 900)};
    struct fg_plan plan = place(d, 3, t, 3);
    assert_placed(&plan, 0, 3, FG_RULE_INDEX);
    assert_placed(&plan, 1, 3, FG_RULE_PACK); /* it holds the first */
    assert_placed(&plan, 2, 7, FG_RULE_INDEX);
    fg_plan_fini(&plan);
}

static void who_waits_is_told_for_what(void **state)
{
    struct fg_plan_device d[] = {device(1, "cpu", 4 * GIB, 5), device(2, "gpu", 8 * GIB, 5)};
    d[1].share_free_permille = 100; /* busy with what ran before this plan */
    struct fg_plan_task t[] = {
        task(1, GIB, 800),     /* placed on 1 */
        task(2, GIB, 800),     /* 1 was free for it, but for the first */
        task(3, 6 * GIB, 200), /* only 2 could hold it, and 2 was busy before */
        task(4, 9 * GIB, 200), /* no device ever */
        task(5, GIB, 100),     /* goes on: backfill */
    };
    struct fg_plan_task kind = task(6, GIB, 100);
    snprintf(kind.need.device_kind, sizeof kind.need.device_kind, "tpu");
    struct fg_plan_task all[] = {t[0], t[1], t[2], t[3], t[4], kind};
    struct fg_plan plan = place(d, 2, all, 6);
    assert_int_equal(plan.placements.count, 2);
    assert_int_equal(plan.placements.items[1].task.lo, 5);
    static const struct { uint64_t task; enum fg_reason reason; } want[] = {
        {2, FG_REASON_WAITING_PRIORITY}, {3, FG_REASON_WAITING_CAPACITY}, {4, FG_REASON_INVALID}, {6, FG_REASON_INVALID}};
    assert_int_equal(plan.waiting.count, FG_COUNT(want));
    for (size_t i = 0; i < FG_COUNT(want); i++) {
        assert_int_equal(plan.waiting.items[i].task.lo, want[i].task);
        assert_string_equal(fg_reason_name(plan.waiting.items[i].reason), fg_reason_name(want[i].reason));
    }
    fg_plan_fini(&plan);
}

/* The core may end an invalid task; one that only waits for a machine to come back must not be ended. */
static void nothing_is_invalid_while_a_device_that_could_hold_it_is_known(void **state)
{
    struct fg_plan_device d[] = {device(1, "cpu", 4 * GIB, 5), device(2, "cpu", 64 * GIB, 5)};
    struct fg_plan_task t[] = {task(1, 16 * GIB, 100)};
    d[1].usable = false;
    struct fg_plan plan = place(d, 2, t, 1);
    assert_int_equal(plan.waiting.items[0].reason, FG_REASON_WAITING_CAPACITY);
    fg_plan_fini(&plan);
    d[0].usable = false;
    t[0].need.memory_bytes = 100 * GIB;
    plan = place(d, 2, t, 1);
    assert_int_equal(plan.waiting.items[0].reason, FG_REASON_WAITING_CAPACITY);
    fg_plan_fini(&plan);
    plan = place(d, 0, t, 1);
    assert_int_equal(plan.waiting.items[0].reason, FG_REASON_WAITING_CAPACITY);
    fg_plan_fini(&plan);
    plan = place(d, 2, t, 0);
    assert_int_equal(plan.placements.count + plan.waiting.count, 0);
    fg_plan_fini(&plan);
    fg_plan_fini(NULL);
}

static void the_bound_takes_the_cheapest_device_though_it_is_full(void **state)
{
    struct fg_plan_device d[] = {device(1, "cpu", 4 * GIB, 1000), device(2, "cpu", 4 * GIB, 2000)};
    struct fg_plan_task t[] = {task(1, GIB, 1000), task(2, GIB, 1000)};
    struct fg_plan plan = place(d, 2, t, 2);
    assert_int_equal(plan.cost_nanousd, 60000 + 120000);
    assert_int_equal(plan.bound_nanousd, 60000 + 60000);
    fg_plan_fini(&plan);
}

/* --- properties --- */

struct world {
    struct fg_plan_device devices[MAX_DEVICES];
    struct fg_plan_task tasks[MAX_TASKS];
    struct fg_spec specs[3];
    struct fg_snapshot snap;
};

static void random_world(struct rng *r, struct world *w, const struct fg_history *h)
{
    static const char *const kinds[] = {"cpu", "gpu", "tpu"};
    static const char *const programs[] = {"a", "b", NULL};
    *w = (struct world){.snap = {.tasks = w->tasks, .devices = w->devices, .history = h}};
    w->snap.device_count = rng_below(r, MAX_DEVICES + 1);
    w->snap.task_count = rng_below(r, MAX_TASKS + 1);
    for (int i = 0; i < 3; i++) {
        fg_spec_defaults(&w->specs[i]);
        w->specs[i].program = (char *)programs[i];
        w->specs[i].type = i == 1 ? FG_TASK_IMAGE_CLASSIFICATION : FG_TASK_COMMAND;
    }
    for (size_t i = 0; i < w->snap.device_count; i++) {
        struct fg_plan_device *d = &w->devices[i];
        *d = device((uint32_t)i + 1, kinds[rng_below(r, 3)], (1 + rng_below(r, 8)) * GIB, (int64_t)rng_below(r, 3) * 1000);
        d->memory_free_bytes = d->memory_bytes * rng_below(r, 5) / 4;
        d->share_free_permille = (uint32_t)rng_below(r, 5) * 250;
        d->usable = rng_below(r, 5) > 0;
    }
    for (size_t i = 0; i < w->snap.task_count; i++) {
        w->tasks[i] = task(i + 1, (1 + rng_below(r, 20)) * GIB / 2, (uint32_t)rng_below(r, 12) * 100);
        w->tasks[i].spec = &w->specs[rng_below(r, 3)];
        if (rng_below(r, 4) == 0)
            snprintf(w->tasks[i].need.device_kind, sizeof w->tasks[i].need.device_kind, "%s", kinds[rng_below(r, 3)]);
    }
}

static bool fits(const struct fg_plan_device *d, const struct fg_need *n)
{
    return d->usable && n->memory_bytes <= d->memory_free_bytes && n->share_permille <= d->share_free_permille &&
           (!n->device_kind[0] || strcmp(n->device_kind, d->kind) == 0);
}

static int64_t cost_on(const struct world *w, const struct fg_plan_device *d, const struct fg_plan_task *t)
{
    struct fg_estimate e;
    fg_estimate(w->snap.history, t->spec, d->kind, t->need.share_permille, &e);
    return fg_expected_cost_of(d, t, e.mean_ns);
}

/* Go through the plan again, task by task, by the letter of place.h, on a copy of the devices. */
static void check_plan(struct world *w, const struct fg_plan *plan)
{
    struct fg_plan_device left[MAX_DEVICES];
    size_t placed = 0, waiting = 0;
    int64_t cost = 0;
    memcpy(left, w->devices, sizeof left);
    for (size_t i = 0; i < w->snap.task_count; i++) {
        const struct fg_plan_task *t = &w->tasks[i];
        int64_t least = -1;
        bool fit_at_first = false;
        for (size_t d = 0; d < w->snap.device_count; d++) {
            fit_at_first |= fits(&w->devices[d], &t->need);
            if (fits(&left[d], &t->need)) {
                int64_t c = cost_on(w, &left[d], t);
                least = least < 0 || c < least ? c : least;
            }
        }
        if (least < 0) {
            const struct fg_id_reason *why = &plan->waiting.items[waiting++];
            assert_true(fg_id_eq(why->task, t->id));
            assert_true(fit_at_first == (why->reason == FG_REASON_WAITING_PRIORITY));
            continue;
        }
        const struct fg_placement *p = &plan->placements.items[placed++];
        struct fg_plan_device *on = &left[p->device - 1];
        assert_true(fg_id_eq(p->task, t->id));
        assert_true(fits(on, &t->need));
        assert_true(p->placed.expected_cost_nanousd == least && cost_on(w, on, t) == least);
        assert_true(p->placed.rule >= FG_RULE_ONLY_FIT && p->placed.rule <= FG_RULE_INDEX);
        assert_true(p->placed.rule == FG_RULE_ONLY_FIT || p->placed.runner_up_cost_nanousd >= least);
        on->memory_free_bytes -= p->memory_bytes; /* fits() held: never below zero */
        on->share_free_permille -= p->share_permille;
        cost += least;
    }
    assert_int_equal(placed, plan->placements.count);
    assert_int_equal(waiting, plan->waiting.count);
    assert_true(cost == plan->cost_nanousd);
    assert_true(plan->cost_nanousd >= plan->bound_nanousd && plan->bound_nanousd >= 0);
}

static struct fg_history *some_history(struct rng *r)
{
    struct fg_history *h = fg_history_create();
    struct fg_spec s;
    fg_spec_defaults(&s);
    s.program = (char *)"a";
    for (int i = 0; i < 30; i++) {
        struct fg_outcome o = {.state = FG_STATE_SUCCEEDED, .run_ns = (int64_t)rng_below(r, 100) * FG_NS_PER_S};
        fg_history_observe(h, &s, rng_below(r, 2) ? "cpu" : "gpu", (uint32_t)rng_below(r, 1001), &o);
    }
    return h;
}

static void a_plan_is_never_overfull_and_costs_the_least_step_by_step(void **state)
{
    struct rng r = rng_start(__func__);
    struct fg_history *h = some_history(&r);
    size_t placed = 0;
    for (int i = 0; i < 2000; i++) {
        struct world w;
        struct fg_plan plan = {0};
        struct fg_error err = {0};
        random_world(&r, &w, h);
        assert_ok(fg_place(&w.snap, &plan, &err), err);
        check_plan(&w, &plan);
        placed += plan.placements.count;
        fg_plan_fini(&plan);
    }
    assert_true(placed > 2000);
    fg_history_destroy(h);
}

/* The best comes from an order of the devices: it is the same one as when all are gone through. */
static void many_devices_are_chosen_from_as_few_are(void **state)
{
    enum { DEVICES = 200, TASKS = 300 };
    struct rng r = rng_start(__func__);
    static struct fg_plan_device d[DEVICES];
    static struct fg_plan_task t[TASKS];
    for (int round = 0; round < 30; round++) {
        for (size_t i = 0; i < DEVICES; i++) {
            d[i] = device((uint32_t)i + 1, rng_below(&r, 2) ? "cpu" : "gpu", (4 + rng_below(&r, 3)) * GIB, (int64_t)rng_below(&r, 2) * 1000);
            d[i].share_free_permille = (uint32_t)rng_below(&r, 5) * 250;
        }
        for (size_t i = 0; i < TASKS; i++)
            t[i] = task(i + 1, (1 + rng_below(&r, 3)) * GIB, (uint32_t)(1 + rng_below(&r, 4)) * 125);
        struct fg_plan plan = place(d, DEVICES, t, TASKS);
        struct fg_plan_device left[DEVICES];
        memcpy(left, d, sizeof left);
        for (size_t p = 0; p < plan.placements.count; p++) {
            const struct fg_placement *at = &plan.placements.items[p];
            const struct fg_plan_task *one = &t[at->task.lo - 1];
            size_t best = SIZE_MAX;
            int64_t best_cost = 0;
            uint32_t best_used = 0;
            for (size_t i = 0; i < DEVICES; i++) {
                if (!fits(&left[i], &one->need))
                    continue;
                uint32_t memory = 1000 - fg_price_permille(left[i].memory_free_bytes, left[i].memory_bytes, 0);
                uint32_t used = 1000 - left[i].share_free_permille > memory ? 1000 - left[i].share_free_permille : memory;
                int64_t cost = fg_expected_cost_of(&left[i], one, at->placed.expected_ns);
                if (best == SIZE_MAX || cost < best_cost || (cost == best_cost && used > best_used)) {
                    best = i;
                    best_cost = cost;
                    best_used = used;
                }
            }
            assert_int_equal(at->device, best + 1);
            left[best].memory_free_bytes -= at->memory_bytes;
            left[best].share_free_permille -= at->share_permille;
        }
        fg_plan_fini(&plan);
    }
}

static void the_same_snapshot_gives_the_same_plan(void **state)
{
    struct rng r = rng_start(__func__);
    struct fg_history *h = some_history(&r);
    for (int i = 0; i < 300; i++) {
        struct world w;
        struct fg_plan a = {0}, b = {0};
        random_world(&r, &w, h);
        fg_place(&w.snap, &a, NULL);
        fg_place(&w.snap, &b, NULL);
        assert_int_equal(a.placements.count, b.placements.count);
        for (size_t p = 0; p < a.placements.count; p++) {
            const struct fg_placement *x = &a.placements.items[p], *y = &b.placements.items[p];
            assert_true(fg_id_eq(x->task, y->task) && x->device == y->device && x->placed.rule == y->placed.rule);
        }
        fg_plan_fini(&a);
        fg_plan_fini(&b);
    }
    fg_history_destroy(h);
}

static void every_device_that_cannot_take_it_says_what_it_lacks(void **state)
{
    struct rng r = rng_start(__func__);
    for (int i = 0; i < 1000; i++) {
        struct world w;
        struct fg_block blocks[MAX_DEVICES + 1];
        random_world(&r, &w, NULL);
        struct fg_plan_task t = task(1, (1 + rng_below(&r, 20)) * GIB / 2, (uint32_t)rng_below(&r, 1001));
        size_t n = fg_explain(&w.snap, &t, blocks, MAX_DEVICES + 1), lacking = 0;
        for (size_t d = 0; d < w.snap.device_count; d++)
            lacking += !fits(&w.devices[d], &t.need);
        assert_int_equal(n, w.snap.device_count ? lacking : 1);
        for (size_t b = 0; b < n; b++)
            assert_true(blocks[b].text[0] && (blocks[b].reason == FG_REASON_WAITING_CAPACITY || blocks[b].reason == FG_REASON_INVALID));
    }
}

static void what_is_missing_is_said_in_words(void **state)
{
    struct fg_plan_device d[] = {device(1, "cpu", 4 * GIB, 5), device(2, "gpu", 8 * GIB, 5), device(3, "cpu", GIB, 5), device(4, "cpu", 4 * GIB, 5),
                                 device(5, "cpu", 4 * GIB, 5)};
    struct fg_plan_task t = task(1, 2 * GIB, 500);
    struct fg_block b[8];
    snprintf(t.need.device_kind, sizeof t.need.device_kind, "cpu");
    d[0].memory_free_bytes = GIB / 2;
    d[0].share_free_permille = 375;
    d[3].usable = false;
    d[4].share_free_permille = 250;
    const struct fg_snapshot snap = {.devices = d, .device_count = 5};
    assert_int_equal(fg_explain(&snap, &t, b, 8), 5);
    assert_string_equal(b[0].text, "needs 1.5 GiB more memory and 12.5 % more share");
    assert_int_equal(b[0].memory_missing_bytes, 3 * GIB / 2);
    assert_int_equal(b[0].share_missing_permille, 125);
    assert_has(b[1].text, "'gpu'");
    assert_int_equal(b[1].reason, FG_REASON_INVALID);
    assert_has(b[2].text, "the whole device has 1 GiB");
    assert_int_equal(b[2].reason, FG_REASON_INVALID);
    assert_has(b[3].text, "not connected");
    assert_string_equal(b[4].text, "needs 25 % more share");
    assert_int_equal(fg_explain(&snap, &t, b, 2), 2);
}

static void every_rule_has_its_words(void **state)
{
    for (int rule = FG_RULE_ONLY_FIT; rule <= FG_RULE_INDEX; rule++)
        assert_true(strlen(fg_rule_text((enum fg_rule)rule)) > 5);
    assert_string_equal(fg_rule_text((enum fg_rule)0), "?");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_only_device_with_room_takes_it),
        cmocka_unit_test(the_least_expected_cost_wins_and_the_runner_up_is_kept),
        cmocka_unit_test(at_equal_cost_the_earlier_end_wins),
        cmocka_unit_test(ties_go_to_the_fullest_then_to_the_lowest_id),
        cmocka_unit_test(who_waits_is_told_for_what),
        cmocka_unit_test(nothing_is_invalid_while_a_device_that_could_hold_it_is_known),
        cmocka_unit_test(the_bound_takes_the_cheapest_device_though_it_is_full),
        cmocka_unit_test(a_plan_is_never_overfull_and_costs_the_least_step_by_step),
        cmocka_unit_test(many_devices_are_chosen_from_as_few_are),
        cmocka_unit_test(the_same_snapshot_gives_the_same_plan),
        cmocka_unit_test(every_device_that_cannot_take_it_says_what_it_lacks),
        cmocka_unit_test(what_is_missing_is_said_in_words),
        cmocka_unit_test(every_rule_has_its_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
