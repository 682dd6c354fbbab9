/* The fewest moves on a machine that open a device for a task, and of those the cheapest; each goes into room that is free by then. */
#include <string.h>

#include "plan/moves.h"
#include "plan/pack.h"
#include "random.h"
#include "unit.h"

#define GB (UINT64_C(1) << 30)
#define DEVICES 4
#define LEASES 9

struct world {
    struct fg_moves_device devices[DEVICES];
    struct fg_moves_lease leases[LEASES];
    size_t device_count, lease_count;
};

static struct world empty(size_t devices)
{
    struct world w = {.device_count = devices};
    for (size_t i = 0; i < devices; i++)
        w.devices[i] = (struct fg_moves_device){16 * GB, 1000, true, true};
    return w;
}

static void put(struct world *w, uint32_t device, uint64_t gb, uint32_t share, uint64_t cost)
{
    w->devices[device].memory_free_bytes -= gb * GB;
    w->devices[device].share_free_permille -= share;
    w->leases[w->lease_count++] = (struct fg_moves_lease){device, gb * GB, share, cost, true};
}

static bool find(const struct world *w, uint64_t gb, uint32_t share, struct fg_moves *ret)
{
    return fg_moves_find(w->devices, w->device_count, w->leases, w->lease_count, gb * GB, share, ret);
}

static void one_move_opens_a_device_and_the_cheaper_task_goes(void **state)
{
    struct world w = empty(2);
    struct fg_moves m;
    put(&w, 0, 8, 500, 9);
    put(&w, 1, 8, 500, 5);
    assert_true(find(&w, 16, 1000, &m));
    assert_int_equal(m.count, 1);
    assert_true(m.device == 1 && m.moves[0].lease == 1 && m.moves[0].to == 0 && m.cost == 5);
}

static void with_room_as_it_is_nothing_moves(void **state)
{
    struct world w = empty(2);
    struct fg_moves m;
    put(&w, 0, 8, 500, 1);
    assert_true(find(&w, 16, 1000, &m) && m.count == 0 && m.device == 1);
}

/* 0 holds 300 + 300: neither 1 (800) nor 2 (700) has room for both; they part. */
static void two_leave_one_device_for_two_others(void **state)
{
    struct world w = empty(4);
    struct fg_moves m;
    put(&w, 0, 2, 200, 1);
    put(&w, 0, 2, 300, 1);
    put(&w, 1, 2, 800, 1);
    put(&w, 2, 2, 700, 1);
    put(&w, 3, 2, 1000, 1);
    assert_true(find(&w, 10, 1000, &m));
    assert_true(m.count == 2 && m.device == 0 && m.moves[0].to != m.moves[1].to);
}

/* x (600) of 0 needs 1, whose z (500) goes to 2 first; 2 itself cannot be opened. */
static void where_the_other_has_no_room_one_of_it_goes_first(void **state)
{
    struct world w = empty(3);
    struct fg_moves m;
    put(&w, 0, 1, 600, 1);
    put(&w, 1, 1, 500, 1);
    put(&w, 2, 1, 450, 1);
    w.devices[2].may_open = false;
    w.devices[1].may_open = false;
    assert_true(find(&w, 4, 1000, &m));
    assert_int_equal(m.count, 2);
    assert_true(m.device == 0 && m.moves[0].lease == 1 && m.moves[0].to == 2 && m.moves[1].lease == 0 && m.moves[1].to == 1);
}

static void who_cannot_be_moved_and_what_takes_nothing_are_left_alone(void **state)
{
    struct world w = empty(2);
    struct fg_moves m;
    put(&w, 0, 8, 500, 1);
    put(&w, 1, 8, 500, 1);
    w.leases[0].movable = false;
    w.devices[0].may_take = false;
    assert_false(find(&w, 16, 1000, &m));
    w.leases[0].movable = true;
    assert_true(find(&w, 16, 1000, &m) && m.device == 0);
    w.devices[0].may_open = false;
    assert_false(find(&w, 16, 1000, &m));
}

/* The third task of each leaves no other with 9 GB: memory counts as share does. */
static void room_is_of_memory_and_share_alike(void **state)
{
    struct world w = empty(2);
    struct fg_moves m;
    put(&w, 0, 9, 100, 1);
    put(&w, 1, 9, 100, 1);
    assert_false(find(&w, 8, 100, &m));
    assert_true(find(&w, 7, 900, &m) && m.count == 0);
}

/* --- against all sequences of moves --- */

struct brute { struct world w; uint64_t memory; uint32_t share; bool strict; uint32_t at, from[FG_MOVES_MAX], to[FG_MOVES_MAX], lease[FG_MOVES_MAX]; uint64_t cost, best; bool found; };

static bool is_open(const struct brute *b)
{
    for (uint32_t i = 0; i < b->w.device_count; i++) {
        const struct fg_moves_device *d = &b->w.devices[i];
        bool ok = d->may_open && d->memory_free_bytes >= b->memory && d->share_free_permille >= b->share;
        for (uint32_t k = 0; ok && b->strict && k < b->at; k++)
            ok = b->to[k] != i;
        if (ok)
            return true;
    }
    return false;
}

/* strict: no task twice, and nothing goes where a later move leaves. */
static bool is_barred(const struct brute *b, uint32_t lease)
{
    for (uint32_t k = 0; b->strict && k < b->at; k++)
        if (b->lease[k] == lease || b->to[k] == b->w.leases[lease].device)
            return true;
    return false;
}

static void try_all(struct brute *b, uint32_t left)
{
    if (left == 0) {
        if (is_open(b)) {
            b->best = b->found && b->best < b->cost ? b->best : b->cost;
            b->found = true;
        }
        return;
    }
    for (uint32_t k = 0; k < b->w.lease_count; k++)
        for (uint32_t to = 0; to < b->w.device_count; to++) {
            struct fg_moves_lease *l = &b->w.leases[k];
            struct fg_moves_device *f = &b->w.devices[l->device], *t = &b->w.devices[to];
            uint32_t from = l->device;
            if (!l->movable || to == from || !t->may_take || t->memory_free_bytes < l->memory_bytes || t->share_free_permille < l->share_permille || is_barred(b, k))
                continue;
            f->memory_free_bytes += l->memory_bytes, f->share_free_permille += l->share_permille;
            t->memory_free_bytes -= l->memory_bytes, t->share_free_permille -= l->share_permille;
            b->lease[b->at] = k, b->from[b->at] = from, b->to[b->at++] = to;
            l->device = to, b->cost += l->cost;
            try_all(b, left - 1);
            b->at--, b->cost -= l->cost, l->device = from;
            f->memory_free_bytes -= l->memory_bytes, f->share_free_permille -= l->share_permille;
            t->memory_free_bytes += l->memory_bytes, t->share_free_permille += l->share_permille;
        }
}

/* Fewest moves of all sequences; UINT32_MAX: more than three. */
static uint32_t fewest(const struct world *w, uint64_t memory, uint32_t share, bool strict, uint64_t *ret_cost)
{
    for (uint32_t moves = 0; moves <= FG_MOVES_MAX; moves++) {
        struct brute b = {.w = *w, .memory = memory, .share = share, .strict = strict};
        try_all(&b, moves);
        *ret_cost = b.best;
        if (b.found)
            return moves;
    }
    return UINT32_MAX;
}

static struct world random_world(struct rng *r)
{
    struct world w = empty(2 + rng_below(r, DEVICES - 1));
    size_t n = 2 + rng_below(r, LEASES - 2);
    for (size_t i = 0; i < n; i++) {
        uint32_t d = (uint32_t)rng_below(r, w.device_count);
        uint64_t gb = 1 + rng_below(r, 8);
        uint32_t share = 100 * (1 + (uint32_t)rng_below(r, 7));
        if (w.devices[d].memory_free_bytes < gb * GB || w.devices[d].share_free_permille < share)
            continue;
        put(&w, d, gb, share, 1 + rng_below(r, 9));
        w.leases[w.lease_count - 1].movable = rng_below(r, 6) != 0;
    }
    for (size_t i = 0; i < w.device_count; i++) {
        w.devices[i].may_open = rng_below(r, 8) != 0;
        w.devices[i].may_take = rng_below(r, 8) != 0;
    }
    return w;
}

static void each_goes_into_free_room_and_the_task_has_its_own(const struct world *w, const struct fg_moves *m, uint64_t memory, uint32_t share)
{
    struct world now = *w;
    uint64_t cost = 0;
    for (uint32_t i = 0; i < m->count; i++) {
        struct fg_moves_lease *l = &now.leases[m->moves[i].lease];
        struct fg_moves_device *f = &now.devices[l->device], *t = &now.devices[m->moves[i].to];
        assert_true(l->movable && t != f && t->may_take && t->memory_free_bytes >= l->memory_bytes && t->share_free_permille >= l->share_permille);
        f->memory_free_bytes += l->memory_bytes, f->share_free_permille += l->share_permille;
        t->memory_free_bytes -= l->memory_bytes, t->share_free_permille -= l->share_permille;
        l->device = m->moves[i].to;
        cost += l->cost;
    }
    const struct fg_moves_device *d = &now.devices[m->device];
    assert_true(d->may_open && d->memory_free_bytes >= memory && d->share_free_permille >= share && cost == m->cost);
}

static void of_random_machines_the_fewest_and_of_those_the_cheapest(void **state)
{
    struct rng r = rng_start("plan/moves");
    size_t opened = 0, same = 0, moved[FG_MOVES_MAX + 1] = {0};
    for (int i = 0; i < 4000; i++) {
        struct world w = random_world(&r);
        uint64_t memory = (1 + rng_below(&r, 16)) * GB, strict_cost, free_cost;
        uint32_t share = 100 * (4 + (uint32_t)rng_below(&r, 7));
        struct fg_moves m = {.count = UINT32_MAX};
        bool found = fg_moves_find(w.devices, w.device_count, w.leases, w.lease_count, memory, share, &m);
        uint32_t strict = fewest(&w, memory, share, true, &strict_cost), free = fewest(&w, memory, share, false, &free_cost);
        assert_true(m.count <= strict && m.count >= free);
        if (!found)
            continue;
        assert_true(m.count < strict || m.cost <= strict_cost);
        each_goes_into_free_room_and_the_task_has_its_own(&w, &m, memory, share);
        opened += m.count > 0;
        same += m.count == free;
        moved[m.count]++;
    }
    printf("opened %zu: by 1, 2, 3 moves %zu %zu %zu; as few as by any sequence %zu\n", opened, moved[1], moved[2], moved[3], same - moved[0]);
    assert_true(opened > 300 && moved[2] > 30 && moved[3] > 0);
}

/* The packer's chains (decision 0024), with each device as a node of one GPU: never fewer moves than here. */
static void no_more_moves_than_the_packer_makes(void **state)
{
    struct rng r = rng_start("plan/moves packer");
    size_t both = 0;
    for (int i = 0; i < 1000; i++) {
        struct world w = random_world(&r);
        struct fg_error err;
        uint32_t type, task, nodes[DEVICES];
        struct fg_pack *p = fg_pack_create(&(struct fg_pack_options){.policy = FG_PACK_FASTGPU});
        for (size_t d = 0; d < w.device_count; d++) {
            w.devices[d].may_open = w.devices[d].may_take = true;
            assert_ok(fg_pack_add_node(p, &(struct fg_pack_node){.cpu_milli = 1, .memory_bytes = 1, .gpus = 1, .gpu_memory_bytes = 16 * GB}, &nodes[d], &err), err);
        }
        for (size_t k = 0; k < w.lease_count; k++) {
            const struct fg_moves_lease *l = &w.leases[k];
            assert_ok(fg_pack_type_of(p, &(struct fg_pack_type){.gpus = 1, .gpu_milli = l->share_permille, .gpu_memory_bytes = l->memory_bytes}, &type, &err), err);
            assert_ok(fg_pack_restore(p, type, nodes[l->device], 1, &task, &err), err);
            fg_pack_pin(p, task, !l->movable);
        }
        struct fg_pack_chain chain;
        struct fg_moves m = {.count = UINT32_MAX};
        assert_ok(fg_pack_type_of(p, &(struct fg_pack_type){.gpus = 1, .gpu_milli = 1000, .gpu_memory_bytes = 16 * GB}, &type, &err), err);
        struct fg_pack_choice now;
        if (!fg_pack_best(p, type, &now) && fg_pack_open(p, type, FG_PACK_NONE, FG_MOVES_MAX, &chain)) {
            assert_true(find(&w, 16, 1000, &m) && m.count <= chain.count);
            both++;
        }
        fg_pack_destroy(p);
    }
    printf("%zu opened by the packer\n", both);
    assert_true(both > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_move_opens_a_device_and_the_cheaper_task_goes),
        cmocka_unit_test(with_room_as_it_is_nothing_moves),
        cmocka_unit_test(two_leave_one_device_for_two_others),
        cmocka_unit_test(where_the_other_has_no_room_one_of_it_goes_first),
        cmocka_unit_test(who_cannot_be_moved_and_what_takes_nothing_are_left_alone),
        cmocka_unit_test(room_is_of_memory_and_share_alike),
        cmocka_unit_test(of_random_machines_the_fewest_and_of_those_the_cheapest),
        cmocka_unit_test(no_more_moves_than_the_packer_makes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
