/* What tasks ask for decides which of two kinds that cost a task the same it leaves to others. */
#include "plan/market.h"

#include "base/mem.h"
#include "base/units.h"
#include "plan/rooms.h"
#include "random.h"
#include "unit.h"

#define GIB (UINT64_C(1) << 30)
#define S FG_NS_PER_S
enum { EACH = 4 };

struct world {
    struct fg_plan_device devices[64];
    struct fg_plan_task task;
    struct fg_spec spec;
    struct fg_history *history;
    struct fg_demand *demand;
    struct fg_rooms *rooms;
    struct fg_snapshot snap;
    uint64_t number;
};

static void begin(struct world *w, size_t count, size_t kinds)
{
    static const char *const names[] = {"a", "b", "c"};
    *w = (struct world){.history = fg_history_create(), .demand = fg_demand_create(100 * S), .rooms = fg_rooms_create()};
    fg_spec_defaults(&w->spec);
    for (size_t i = 0; i < count; i++) {
        w->devices[i] = (struct fg_plan_device){.id = (uint32_t)i + 1, .kind = names[i % kinds], .memory_bytes = 16 * GIB, .memory_free_bytes = 16 * GIB,
                                                .share_free_permille = 1000, .price_nanousd_per_s = 1000, .usable = true};
        fg_rooms_set(w->rooms, i, &w->devices[i]);
    }
    w->snap = (struct fg_snapshot){.tasks = &w->task, .task_count = 1, .devices = w->devices, .device_count = count, .rooms = w->rooms,
                                   .history = w->history, .demand = w->demand, .now_ns = 1000 * S};
}

static void end(struct world *w)
{
    fg_rooms_destroy(w->rooms);
    fg_demand_destroy(w->demand);
    fg_history_destroy(w->history);
}

static struct fg_need need(const char *kind, uint32_t share)
{
    struct fg_need n = {.memory_bytes = GIB, .share_permille = share};
    snprintf(n.device_kind, sizeof n.device_kind, "%s", kind);
    return n;
}

static void ask(struct world *w, const char *kind, uint32_t share, int n, int64_t now_ns)
{
    struct fg_need one = need(kind, share);
    for (int i = 0; i < n; i++)
        fg_demand_add(w->demand, &one, now_ns);
}

/* Where it goes, its room taken; false: nowhere. */
static bool place(struct world *w, const char *kind, uint32_t share, struct fg_placement *ret)
{
    struct fg_plan plan;
    struct fg_error err;
    w->task = (struct fg_plan_task){.id = {1, ++w->number}, .spec = &w->spec, .need = need(kind, share), .together = 1};
    assert_ok(fg_place(&w->snap, &plan, &err), err);
    bool placed = plan.placements.count == 1;
    if (placed) {
        *ret = plan.placements.items[0];
        struct fg_plan_device *d = &w->devices[ret->device - 1];
        assert_true(d->memory_free_bytes >= GIB && d->share_free_permille >= share);
        d->memory_free_bytes -= GIB;
        d->share_free_permille -= share;
    }
    fg_plan_fini(&plan);
    return placed;
}

static const char *kind_of(const struct world *w, const struct fg_placement *p) { return w->devices[p->device - 1].kind; }

/* Device 1 is an a, and the first by index: what may run anywhere leaves it, and both alternatives are told. */
static void what_may_run_anywhere_leaves_the_kind_that_others_are_bound_to(void **state)
{
    struct world w;
    struct fg_placement p;
    begin(&w, 2 * EACH, 2);
    ask(&w, "a", 1000, 50, 0);
    ask(&w, "", 1000, 50, 0);
    assert_true(place(&w, "", 1000, &p));
    assert_string_equal(kind_of(&w, &p), "b");
    assert_true(p.placed.second_device && p.placed.third_device);
    assert_true(p.placed.rule == FG_RULE_INDEX);         /* over the next b */
    for (int i = 1; i < EACH - 1; i++)
        assert_true(place(&w, "", 1000, &p) && strcmp(kind_of(&w, &p), "b") == 0);
    assert_true(place(&w, "", 1000, &p) && strcmp(kind_of(&w, &p), "b") == 0);
    assert_int_equal(p.placed.rule, FG_RULE_VALUE);      /* the last b over the first a */
    assert_true(place(&w, "", 1000, &p) && strcmp(kind_of(&w, &p), "a") == 0);   /* rather than wait */
    end(&w);
}

static void cost_comes_before_value(void **state)
{
    struct world w;
    struct fg_placement p;
    begin(&w, 2 * EACH, 2);
    ask(&w, "a", 1000, 50, 0);
    ask(&w, "", 1000, 50, 0);
    for (size_t i = 0; i < 2 * EACH; i += 2) {
        w.devices[i].price_nanousd_per_s = 999;
        fg_rooms_set(w.rooms, i, &w.devices[i]);
    }
    assert_true(place(&w, "", 1000, &p));
    assert_string_equal(kind_of(&w, &p), "a");
    end(&w);
}

/* Nobody is bound: the fullest, the lowest id, as without a market. */
static void where_nobody_is_bound_the_other_rules_decide(void **state)
{
    struct world w;
    struct fg_placement p;
    begin(&w, 2 * EACH, 2);
    ask(&w, "", 500, 50, 0);
    assert_true(place(&w, "", 500, &p));
    assert_true(p.device == 1 && p.placed.rule == FG_RULE_INDEX);
    assert_true(place(&w, "", 300, &p));
    assert_true(p.device == 1 && p.placed.rule == FG_RULE_PACK);
    end(&w);
}

/* Half-life 100 s: what was asked 2,000 s ago counts a millionth. */
static void what_is_asked_no_more_is_forgotten(void **state)
{
    struct world w;
    struct fg_placement p;
    begin(&w, 2 * EACH, 2);
    ask(&w, "a", 1000, 1000, 0);
    ask(&w, "b", 1000, 100, 2000 * S);
    assert_true(place(&w, "", 1000, &p));
    assert_string_equal(kind_of(&w, &p), "a");
    end(&w);
}

/* Many more needs than are kept: the frequent ones stay, and equal histories choose alike. */
static void few_needs_are_kept_and_equal_histories_choose_alike(void **state)
{
    struct rng r = rng_start(__func__);
    struct world a, b;
    struct fg_placement x, y;
    begin(&a, 60, 3);
    begin(&b, 60, 3);
    for (int i = 0; i < 5000; i++) {
        static const char *const kinds[] = {"", "a", "b"};
        struct fg_need n = need(kinds[rng_below(&r, 3)], 1 + (uint32_t)rng_below(&r, 1000));
        n.memory_bytes += rng_below(&r, 15 * GIB);
        fg_demand_add(a.demand, &n, i * S / 100);
        fg_demand_add(b.demand, &n, i * S / 100);
    }
    assert_int_equal(fg_demand_arrived(a.demand), 5000);
    for (int i = 0; i < 80; i++) {
        uint32_t share = 100 * (1 + (uint32_t)rng_below(&r, 10));
        bool placed = place(&a, "", share, &x);
        assert_int_equal(placed, place(&b, "", share, &y));
        assert_true(!placed || (x.device == y.device && x.placed.rule == y.placed.rule));
    }
    end(&a);
    end(&b);
}

/* A stream that asks for nine tenths of what there is, a quarter of it bound to one of three kinds that cost the same: how many bound ones find no
 * room. By the fullest and the lowest id alone the flexible ones take the first kind. */
static size_t refused(struct rng r, bool learn)
{
    struct world w;
    struct fg_placement p;
    size_t n = 0;
    begin(&w, 60, 3);
    w.snap.demand = learn ? w.demand : NULL;
    for (uint64_t sum = 0; sum < 54000;) {
        const char *kind = rng_below(&r, 4) ? "" : "a";
        uint32_t share = 100 * (1 + (uint32_t)rng_below(&r, 10));
        ask(&w, kind, share, 1, (int64_t)sum * S / 1000);
        n += !place(&w, kind, share, &p) && kind[0];
        sum += share;
    }
    end(&w);
    return n;
}

static void bound_tasks_find_room_where_the_fullest_would_have_taken_it(void **state)
{
    struct rng r = rng_start(__func__);
    size_t with = 0, without = 0;
    for (int i = 0; i < 20; i++) {
        struct rng own = {rng_next(&r)};
        with += refused(own, true);
        without += refused(own, false);
    }
    printf("refused: %zu with, %zu without\n", with, without);
    assert_true(without >= 8 && with * 4 < without * 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_may_run_anywhere_leaves_the_kind_that_others_are_bound_to),
        cmocka_unit_test(cost_comes_before_value),
        cmocka_unit_test(where_nobody_is_bound_the_other_rules_decide),
        cmocka_unit_test(what_is_asked_no_more_is_forgotten),
        cmocka_unit_test(few_needs_are_kept_and_equal_histories_choose_alike),
        cmocka_unit_test(bound_tasks_find_room_where_the_fullest_would_have_taken_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
