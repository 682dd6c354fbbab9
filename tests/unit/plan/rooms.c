/* Devices kept in order from round to round: the plan is the one that a fresh look at all of them gives. */
#include "plan/rooms.h"

#include "base/mem.h"
#include "base/units.h"
#include "random.h"
#include "unit.h"

#define GIB (UINT64_C(1) << 30)
enum { DEVICES = 40, TASKS = 30, HELD = 3 };

/* Machines of five devices, the first of which is the processor; every other one has none. What is free of it is in all five. */
enum { ON_MACHINE = 5 };
struct world {
    struct fg_plan_device devices[DEVICES];
    bool hosts;                          /* tasks ask for parts of processors, too */
    struct fg_plan_task tasks[TASKS];
    struct fg_spec specs[2];
    struct fg_reserved parts[HELD];
    struct fg_reservation held[HELD];
    struct fg_history *history;
    struct fg_rooms *rooms;
    size_t count;
    struct fg_snapshot snap;
};

static bool has_host(size_t i) { return i / ON_MACHINE % 2 == 0; }

static void tell_host(struct world *w, size_t i)
{
    struct fg_plan_device *host = &w->devices[i / ON_MACHINE * ON_MACHINE], *d = &w->devices[i];
    d->machine = (uint32_t)(i / ON_MACHINE) + 1;
    d->host = host->id;
    d->is_host = d == host;
    d->cores = host->cores;
    d->host_kind = host->kind;
    d->host_memory_bytes = host->memory_bytes;
    d->host_free_bytes = host->memory_free_bytes;
    d->host_free_milli = host->host_free_milli;
    d->host_price_nanousd_per_s = host->price_nanousd_per_s;
}

/* A processor: 16 or 8 cores, of which some thousandths are free. */
static void on_machine(struct rng *r, struct world *w, size_t i)
{
    struct fg_plan_device *d = &w->devices[i];
    size_t first = i / ON_MACHINE * ON_MACHINE;
    if (!has_host(i))
        return;
    if (i == first) {
        d->kind = "cpu";
        d->cores = rng_below(r, 2) ? 16 : 8;
        d->memory_bytes = (60 + rng_below(r, 3)) * GIB;
        d->memory_free_bytes = rng_below(r, 61) * GIB;
        d->host_free_milli = (uint32_t)rng_below(r, d->cores * 1000 + 1);
        d->share_free_permille = d->host_free_milli / d->cores;
        for (size_t k = first + 1; k < first + ON_MACHINE && k < w->count && w->devices[k].id; k++)
            tell_host(w, k);
    }
    if (w->devices[first].id)
        tell_host(w, i);
}

static void set_machine(struct world *w, size_t i)
{
    size_t first = i / ON_MACHINE * ON_MACHINE, known = fg_rooms_count(w->rooms);
    if (w->hosts && i == first && i < known)
        for (size_t k = first; k < first + ON_MACHINE && k < known; k++)
            fg_rooms_set(w->rooms, k, &w->devices[k]);
    else
        fg_rooms_set(w->rooms, i, &w->devices[i]);
}

static void random_device(struct rng *r, struct world *w, size_t i)
{
    static const char *const kinds[] = {"card", "big", "old"};
    uint64_t memory = (8 + 8 * rng_below(r, 2)) * GIB;
    w->devices[i] = (struct fg_plan_device){
        .id = (uint32_t)(i * 2 + 1), .kind = kinds[rng_below(r, 3)], .memory_bytes = memory, .price_nanousd_per_s = (int64_t)rng_below(r, 3) * 1000,
        .memory_free_bytes = rng_below(r, 5) ? rng_below(r, memory / GIB + 1) * GIB : memory,
        .share_free_permille = rng_below(r, 5) ? (uint32_t)rng_below(r, 9) * 125 : 1000, .usable = rng_below(r, 8) > 0};
    if (w->hosts)
        on_machine(r, w, i);
    if (w->rooms)
        set_machine(w, i);
}

static void random_tasks(struct rng *r, struct world *w, uint64_t *number)
{
    size_t n = 1 + rng_below(r, TASKS), together = 0;
    for (size_t i = 0; i < n; i++) {
        struct fg_plan_task *t = &w->tasks[i];
        if (together > 1) {              /* of the gang that began before it */
            *t = w->tasks[i - 1];
            t->together = 1;
            together--;
        } else {
            together = rng_below(r, 6) ? 1 : 1 + rng_below(r, FG_MIN(n - i, (size_t)6));
            *t = (struct fg_plan_task){.spec = &w->specs[rng_below(r, 2)], .need = {.memory_bytes = rng_below(r, 5) * 2 * GIB, .share_permille = (uint32_t)(1 + rng_below(r, 8)) * 125},
                .together = (uint32_t)together, .rank = (int)rng_below(r, 3), .blocked = rng_below(r, 10) == 0, .no_reserve = rng_below(r, 4) == 0};
            t->deadline_ns = rng_below(r, 4) ? 0 : w->snap.now_ns + (int64_t)rng_below(r, 200) * FG_NS_PER_S;
            t->group = together > 1 ? (fg_id){9, *number} : FG_ID_NONE;
            if (w->hosts && rng_below(r, 2)) {
                t->need.cpus_milli = (uint32_t)rng_below(r, 40) * 125;
                t->need.host_bytes = rng_below(r, 8) * GIB;
            }
            if (rng_below(r, 5) == 0)
                snprintf(t->need.device_kind, sizeof t->need.device_kind, "big");
        }
        t->id = (fg_id){0, ++*number};
    }
    w->snap.task_count = n;
}

/* For tasks of this round or others, on devices that differ. */
static void random_reservations(struct rng *r, struct world *w)
{
    w->snap.reservation_count = rng_below(r, HELD + 1);
    for (size_t i = 0; i < w->snap.reservation_count; i++) {
        const struct fg_plan_task *t = &w->tasks[rng_below(r, w->snap.task_count)];
        fg_id own = fg_id_is_none(t->group) ? t->id : t->group;
        w->parts[i] = (struct fg_reserved){w->devices[(i * 7 + rng_below(r, 7)) % w->count].id, 1, rng_below(r, 4) * GIB, (uint32_t)rng_below(r, 4) * 125};
        w->held[i] = (struct fg_reservation){rng_below(r, 2) ? own : (fg_id){5, i + 1}, (int)rng_below(r, 3),
                                             w->snap.now_ns + (int64_t)rng_below(r, 300) * FG_NS_PER_S - 50 * FG_NS_PER_S, 0, &w->parts[i], 1};
    }
}

static void world_begin(struct rng *r, struct world *w, bool hosts)
{
    *w = (struct world){.hosts = hosts, .count = 20 + rng_below(r, DEVICES - 20), .history = fg_history_create(), .rooms = fg_rooms_create()};
    for (int s = 0; s < 2; s++) {
        fg_spec_defaults(&w->specs[s]);
        w->specs[s].program = (char *)(s ? "a" : "b");
    }
    for (int i = 0; i < 60; i++) {
        struct fg_outcome o = {.state = FG_STATE_SUCCEEDED, .run_ns = (int64_t)rng_below(r, 100) * FG_NS_PER_S};
        fg_history_observe(w->history, &w->specs[i % 2], i % 3 ? "card" : "big", (uint32_t)rng_below(r, 1001), &o);
    }
    w->snap = (struct fg_snapshot){.tasks = w->tasks, .devices = w->devices, .device_count = w->count, .history = w->history,
                                   .now_ns = 1000 * FG_NS_PER_S, .reservations = w->held};
    for (size_t i = 0; i < w->count; i++)
        random_device(r, w, i);
}

static void assert_same_plan(const struct fg_plan *a, const struct fg_plan *b)
{
    assert_int_equal(a->placements.count, b->placements.count);
    assert_int_equal(a->waiting.count, b->waiting.count);
    assert_true(a->head == b->head && a->cost_nanousd == b->cost_nanousd && a->bound_nanousd == b->bound_nanousd && a->iterations == b->iterations);
    for (size_t i = 0; i < a->placements.count; i++) {
        const struct fg_placement *x = &a->placements.items[i], *y = &b->placements.items[i];
        assert_true(fg_id_eq(x->task, y->task) && x->device == y->device && x->placed.rule == y->placed.rule);
        assert_true(x->placed.second_device == y->placed.second_device && x->placed.third_device == y->placed.third_device);
    }
    for (size_t i = 0; i < a->waiting.count; i++)
        assert_true(fg_id_eq(a->waiting.items[i].task, b->waiting.items[i].task) && a->waiting.items[i].reason == b->waiting.items[i].reason);
}

/* On the processor, and in what is told of it on all devices of the machine. */
static void carry_out_beside(struct world *w, struct fg_plan_device *d, const struct fg_placement *p)
{
    size_t first = (size_t)(d - w->devices) / ON_MACHINE * ON_MACHINE;
    if (!d->machine) {
        assert_true(!p->cpus_milli && !p->host_bytes);
        return;
    }
    struct fg_plan_device *host = &w->devices[first];
    uint32_t milli = d->is_host ? p->share_permille * d->cores : p->cpus_milli;
    assert_true(milli <= host->host_free_milli && p->host_bytes <= host->memory_free_bytes && !(d->is_host && p->cpus_milli));
    host->host_free_milli -= milli;
    host->memory_free_bytes -= p->host_bytes;
    host->share_free_permille = host->host_free_milli / host->cores;
    for (size_t k = first; k < first + ON_MACHINE && k < w->count; k++)
        tell_host(w, k);
}

static void carry_out(struct world *w, const struct fg_plan *plan)
{
    for (size_t i = 0; i < plan->placements.count; i++) {
        struct fg_plan_device *d = &w->devices[(plan->placements.items[i].device - 1) / 2];
        assert_true(d->usable && d->memory_free_bytes >= plan->placements.items[i].memory_bytes);
        assert_true(d->share_free_permille >= plan->placements.items[i].share_permille);
        d->memory_free_bytes -= plan->placements.items[i].memory_bytes;
        d->share_free_permille -= plan->placements.items[i].share_permille;
        carry_out_beside(w, d, &plan->placements.items[i]);
    }
}

static void compare(struct rng r, bool hosts)
{
    size_t placed = 0, heads = 0, improved = 0;
    for (int n = 0; n < 60; n++) {
        struct world w;
        uint64_t number = 0;
        world_begin(&r, &w, hosts);
        for (int round = 0; round < 30; round++) {
            struct fg_plan fresh = {0}, kept = {0};
            struct fg_error err = {0};
            random_tasks(&r, &w, &number);
            random_reservations(&r, &w);
            w.snap.reserve = rng_below(&r, 2);
            w.snap.improve_iterations = rng_below(&r, 2) * 500;
            w.snap.seed = number;
            w.snap.rooms = NULL;
            assert_ok(fg_place(&w.snap, &fresh, &err), err);
            w.snap.rooms = w.rooms;
            assert_ok(fg_place(&w.snap, &kept, &err), err);
            assert_same_plan(&fresh, &kept);
            carry_out(&w, &kept);
            assert_true(fg_rooms_sound(w.rooms));
            for (size_t i = 0; i < w.count; i++)
                assert_true(fg_rooms_same(w.rooms, i, &w.devices[i]));
            placed += kept.placements.count;
            heads += kept.head != SIZE_MAX;
            improved += kept.iterations > 0;
            fg_plan_fini(&fresh);
            fg_plan_fini(&kept);
            for (size_t i = rng_below(&r, 12); i > 0; i--)
                random_device(&r, &w, rng_below(&r, w.count));
        }
        fg_rooms_destroy(w.rooms);
        fg_history_destroy(w.history);
    }
    assert_true(placed > 2000 && heads > 100 && improved > 20);
}

static void kept_devices_give_the_plans_of_fresh_ones_and_hold_what_was_placed(void **state) { compare(rng_start(__func__), false); }
static void parts_of_processors_are_found_kept_and_held_as_on_fresh_devices(void **state) { compare(rng_start(__func__), true); }

static void what_is_free_is_told_without_looking_at_all(void **state)
{
    struct rng r = rng_start(__func__);
    struct world w;
    world_begin(&r, &w, false);
    for (int step = 0; step < 2000; step++) {
        struct fg_rooms_free got, want = {0};
        random_device(&r, &w, rng_below(&r, w.count));
        for (size_t i = 0; i < w.count; i++) {
            const struct fg_plan_device *d = &w.devices[i];
            if (!d->usable || !d->memory_free_bytes || !d->share_free_permille)
                continue;
            want.memory += d->memory_free_bytes;
            want.share += d->share_free_permille;
            want.largest_memory = FG_MAX(want.largest_memory, d->memory_free_bytes);
            want.largest_share = FG_MAX(want.largest_share, d->share_free_permille);
        }
        fg_rooms_free(w.rooms, &got);
        assert_true(got.memory == want.memory && got.share == want.share);
        assert_true(got.largest_memory == want.largest_memory && got.largest_share == want.largest_share);
    }
    fg_rooms_cut(w.rooms, 3);
    assert_true(fg_rooms_count(w.rooms) == 3 && fg_rooms_sound(w.rooms));
    fg_rooms_destroy(w.rooms);
    fg_history_destroy(w.history);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kept_devices_give_the_plans_of_fresh_ones_and_hold_what_was_placed),
        cmocka_unit_test(parts_of_processors_are_found_kept_and_held_as_on_fresh_devices),
        cmocka_unit_test(what_is_free_is_told_without_looking_at_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
