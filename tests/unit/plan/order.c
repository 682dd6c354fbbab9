/* The order of the queue, what tenants have used, and what is held for the head of the line. */
#include <math.h>

#include "base/units.h"
#include "plan/order.h"
#include "plan/preempt.h"
#include "plan/reserve.h"
#include "random.h"
#include "unit.h"

#define S FG_NS_PER_S
#define GIB (UINT64_C(1) << 30)

static void the_earlier_deadline_goes_first_then_the_older(void **state)
{
    const struct fg_order a = {5, {1, 9}}, b = {6, {1, 1}}, c = {FG_NO_DEADLINE, {1, 1}}, d = {FG_NO_DEADLINE, {1, 2}};
    assert_true(fg_order_cmp(&a, &b) < 0 && fg_order_cmp(&b, &c) < 0 && fg_order_cmp(&c, &d) < 0 && fg_order_cmp(&d, &d) == 0);
}

static void usage_halves_every_half_life(void **state)
{
    struct rng r = rng_start(__func__);
    assert_int_equal(fg_usage_decayed(1000000, 0, S), 1000000);
    assert_int_equal(fg_usage_decayed(1000000, -5, S), 1000000);
    assert_int_equal(fg_usage_decayed(1000000, 100 * S, 0), 1000000);
    assert_int_equal(fg_usage_decayed(1000000, S, S), 500000);
    assert_int_equal(fg_usage_decayed(UINT64_MAX, 64 * S, S), 0);
    for (int i = 0; i < 10000; i++) {
        uint64_t used = rng_next(&r) >> (1 + rng_below(&r, 30));
        int64_t half = 1 + (int64_t)rng_below(&r, 100000 * (uint64_t)S), age = (int64_t)rng_below(&r, 8 * (uint64_t)half);
        double want = (double)used * exp2(-(double)age / (double)half), got = (double)fg_usage_decayed(used, age, half);
        assert_true(fabs(got - want) <= want * 1e-4 + 1);
    }
}

static void usage_saturates(void **state)
{
    assert_int_equal(fg_usage_of(1000, S), 1000000);
    assert_int_equal(fg_usage_of(1, 999999), 0);
    assert_int_equal(fg_usage_of(1000, -S), 0);
    assert_true(fg_usage_of(UINT32_MAX, INT64_MAX) == UINT64_MAX);
    assert_true(fg_usage_add(UINT64_MAX, 1) == UINT64_MAX);
}

/* Against the order by the letter: each time the one with the least used for its weight. */
static void turns_are_taken_as_the_weights_say(void **state)
{
    struct rng r = rng_start(__func__);
    for (int round = 0; round < 200; round++) {
        struct fg_fair all[6];
        struct fg_fair_heap heap = {0};
        size_t n = 1 + rng_below(&r, 6);
        for (size_t i = 0; i < n; i++) {
            all[i] = (struct fg_fair){{0, 100 - i}, rng_below(&r, 50), 1 + (uint32_t)rng_below(&r, 5), NULL};
            fg_fair_push(&heap, &all[i]);
        }
        for (int step = 0; step < 100; step++) {
            size_t least = 0;
            for (size_t i = 1; i < n; i++)
                least = fg_fair_before(&all[i], &all[least]) ? i : least;
            assert_true(fg_id_eq(fg_fair_first(&heap)->tenant, all[least].tenant));
            uint64_t charge = rng_below(&r, 20);
            all[least].used_us += charge;
            fg_fair_charge(&heap, charge);
        }
        for (size_t i = 0; i < n; i++)
            fg_fair_pop(&heap);
        assert_null(fg_fair_first(&heap));
        fg_vec_fini(&heap.heap);
    }
}

static void how_many_go_before_is_what_taking_turns_gives(void **state)
{
    struct rng r = rng_start(__func__);
    for (int i = 0; i < 20000; i++) {
        struct fg_fair mine = {{0, rng_below(&r, 3)}, rng_below(&r, 100), 1 + (uint32_t)rng_below(&r, 4), NULL};
        struct fg_fair other = {{0, 3 + rng_below(&r, 3)}, rng_below(&r, 100), 1 + (uint32_t)rng_below(&r, 4), NULL};
        if (rng_below(&r, 2)) {
            fg_id swap = mine.tenant;
            mine.tenant = other.tenant;
            other.tenant = swap;
        }
        uint64_t count = rng_below(&r, 40), each = rng_below(&r, 10), want = 0;
        struct fg_fair at = other;
        for (; want < count && fg_fair_before(&at, &mine); want++)
            at.used_us += each;
        uint64_t got = fg_fair_ahead(&mine, &other, count, each);
        assert_true(got <= count && (got > want ? got - want : want - got) <= 1);   /* one more or less where they are equal */
    }
}

/* --- reservations --- */

static struct fg_plan_device device(uint32_t id, uint64_t memory_free, uint32_t share_free)
{
    return (struct fg_plan_device){.id = id, .kind = "cpu", .memory_bytes = 16 * GIB, .memory_free_bytes = memory_free,
                                   .share_free_permille = share_free, .usable = true};
}

/* Device 1: 400 free, 300 end at 10 and 300 at 20. Device 2: 0 free, 1000 end at 15. 700 is there at 10 on device 1. */
static void the_head_is_promised_the_first_place_that_comes_free(void **state)
{
    struct fg_plan_device d[] = {device(1, 8 * GIB, 400), device(2, 8 * GIB, 0)};
    struct fg_plan_lease l[] = {{2, GIB, 1000, 15, 50}, {1, GIB, 300, 20, 99}, {1, GIB, 300, 10, 40}};
    struct fg_plan_task t = {.id = {0, 1}, .need = {.memory_bytes = GIB, .share_permille = 700}};
    struct fg_snapshot snap = {.devices = d, .device_count = 2, .now_ns = 5};
    struct fg_reservation r;
    assert_true(fg_reserve(&snap, &t, l, 3, &r));
    assert_int_equal(r.start_ns, 10);
    assert_int_equal(r.latest_ns, 40);
    assert_int_equal(r.count, 1);
    assert_int_equal(r.parts[0].device, 1);
    assert_int_equal(r.parts[0].spare_share_permille, 0);
    assert_int_equal(r.parts[0].spare_memory_bytes, 8 * GIB);   /* 8 free + 1 comes free - 1 for it */
    fg_reservation_fini(&r);
    t.together = 2;                      /* a gang of two: the second place is there at 15 on device 2 */
    assert_true(fg_reserve(&snap, &t, l, 3, &r));
    assert_int_equal(r.start_ns, 15);
    assert_int_equal(r.count, 2);
    fg_reservation_fini(&r);
    t.together = 3;
    assert_false(fg_reserve(&snap, &t, l, 3, &r));
}

/* The start is the first moment at which it fits on some device, found here by trying all ends. */
static void no_earlier_start_was_possible(void **state)
{
    struct rng r = rng_start(__func__);
    for (int i = 0; i < 3000; i++) {
        struct fg_plan_device d[4];
        struct fg_plan_lease l[12];
        size_t n = 1 + rng_below(&r, 4), leases = rng_below(&r, 12);
        for (size_t k = 0; k < n; k++)
            d[k] = device((uint32_t)k + 1, rng_below(&r, 16) * GIB, (uint32_t)rng_below(&r, 11) * 100);
        for (size_t k = 0; k < leases; k++)
            l[k] = (struct fg_plan_lease){1 + (uint32_t)rng_below(&r, n), rng_below(&r, 8) * GIB, (uint32_t)rng_below(&r, 6) * 100,
                                          10 + (int64_t)rng_below(&r, 50), 100};
        struct fg_plan_task t = {.id = {0, 1}, .need = {.memory_bytes = rng_below(&r, 16) * GIB, .share_permille = 1 + (uint32_t)rng_below(&r, 1000)}};
        struct fg_snapshot snap = {.devices = d, .device_count = n, .now_ns = 5};
        struct fg_reservation got;
        int64_t want = INT64_MAX;
        for (size_t k = 0; k < n; k++)
            for (int64_t at = 5; at < 61; at++) {
                uint64_t memory = d[k].memory_free_bytes;
                uint32_t share = d[k].share_free_permille;
                for (size_t j = 0; j < leases; j++)
                    if (l[j].device == d[k].id && l[j].end_ns <= at) {
                        memory += l[j].memory_bytes;
                        share += l[j].share_permille;
                    }
                if (t.need.memory_bytes <= FG_MIN(memory, 16 * GIB) && t.need.share_permille <= FG_MIN(share, 1000u))
                    want = FG_MIN(want, at);
            }
        bool found = fg_reserve(&snap, &t, l, leases, &got);
        assert_true(found == (want != INT64_MAX));
        assert_true(!found || got.start_ns == want);
        if (found)
            fg_reservation_fini(&got);
    }
}

/* Nobody of the same rank or in vain; the rest is room enough. */
static void who_must_go_makes_room_and_nobody_goes_in_vain(void **state)
{
    struct rng r = rng_start(__func__);
    size_t found = 0;
    for (int i = 0; i < 3000; i++) {
        struct fg_plan_device d[3];
        struct fg_plan_victim v[10];
        size_t n = 1 + rng_below(&r, 3), victims = rng_below(&r, 10);
        fg_device_id at = 0;
        for (size_t k = 0; k < n; k++)
            d[k] = device((uint32_t)k + 1, rng_below(&r, 8) * GIB, (uint32_t)rng_below(&r, 5) * 100);
        for (size_t k = 0; k < victims; k++)
            v[k] = (struct fg_plan_victim){1 + (uint32_t)rng_below(&r, n), (uint32_t)k, rng_below(&r, 8) * GIB,
                                           (uint32_t)rng_below(&r, 5) * 100, (int)rng_below(&r, 4), (int64_t)rng_below(&r, 9), false};
        struct fg_plan_task t = {.id = {0, 1}, .rank = 2, .need = {.memory_bytes = rng_below(&r, 16) * GIB, .share_permille = 100 + (uint32_t)rng_below(&r, 900)}};
        struct fg_snapshot snap = {.devices = d, .device_count = n, .now_ns = 10};
        if (!fg_preempt(&snap, &t, v, victims, &at))
            continue;
        found++;
        uint64_t memory = d[at - 1].memory_free_bytes;
        uint32_t share = d[at - 1].share_free_permille;
        for (size_t k = 0; k < victims; k++)
            if (v[k].chosen) {
                assert_true(v[k].device == at && v[k].rank < 2);
                memory += v[k].memory_bytes;
                share += v[k].share_permille;
            }
        assert_true(t.need.memory_bytes <= memory && t.need.share_permille <= share);
        for (size_t k = 0; k < victims; k++)
            assert_true(!v[k].chosen || memory - v[k].memory_bytes < t.need.memory_bytes || share - v[k].share_permille < t.need.share_permille);
    }
    assert_true(found > 100);
}

/* Greedy in order takes the cheap device for the first; together they cost less when it is left to the second. */
static void the_solver_places_the_same_tasks_for_less(void **state)
{
    struct fg_spec spec = {.priority = FG_PRIORITY_NORMAL};
    struct fg_plan_device d[] = {device(1, 16 * GIB, 500), device(2, 16 * GIB, 1000)};
    d[0].price_nanousd_per_s = 1000;
    d[1].price_nanousd_per_s = 1500;
    struct fg_plan_task t[] = {
        {.id = {0, 1}, .spec = &spec, .need = {.memory_bytes = GIB, .share_permille = 250}},
        {.id = {0, 2}, .spec = &spec, .need = {.memory_bytes = GIB, .share_permille = 500}},
    };
    struct fg_snapshot snap = {.tasks = t, .task_count = 2, .devices = d, .device_count = 2};
    struct fg_plan greedy = {0}, better = {0};
    struct fg_error err;
    assert_ok(fg_place(&snap, &greedy, &err), err);
    snap.improve_iterations = 1000;
    assert_ok(fg_place(&snap, &better, &err), err);
    assert_int_equal(better.placements.count, 2);
    assert_true(better.cost_nanousd < greedy.cost_nanousd && better.bound_nanousd <= better.cost_nanousd);
    assert_int_equal(better.placements.items[0].device, 2);
    assert_int_equal(better.placements.items[0].placed.rule, FG_RULE_WHOLE_PLAN);
    assert_int_equal(better.placements.items[0].placed.second_device, 1);
    assert_int_equal(better.placements.items[1].device, 1);
    fg_plan_fini(&greedy);
    fg_plan_fini(&better);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_earlier_deadline_goes_first_then_the_older),
        cmocka_unit_test(usage_halves_every_half_life),
        cmocka_unit_test(usage_saturates),
        cmocka_unit_test(turns_are_taken_as_the_weights_say),
        cmocka_unit_test(how_many_go_before_is_what_taking_turns_gives),
        cmocka_unit_test(the_head_is_promised_the_first_place_that_comes_free),
        cmocka_unit_test(no_earlier_start_was_possible),
        cmocka_unit_test(who_must_go_makes_room_and_nobody_goes_in_vain),
        cmocka_unit_test(the_solver_places_the_same_tasks_for_less),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
