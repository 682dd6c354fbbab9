/* backfill.c - the window: what fits starts, the largest first; a big task gets a node, by moves where they are allowed. */
#include "plan/backfill.h"

#include "random.h"
#include "unit.h"

struct log { uint64_t started[4000]; uint32_t task[4000]; uint32_t starts, moves; };

static void on_start(void *arg, uint64_t id, uint32_t task, const struct fg_pack_choice *at)
{
    struct log *l = arg;
    assert_true(l->starts < 4000);
    l->task[l->starts] = task;
    l->started[l->starts++] = id;
}

static void on_move(void *arg, uint32_t task, const struct fg_pack_choice *to) { ((struct log *)arg)->moves++; }

struct bench { struct fg_pack *pack; struct fg_backfill *backfill; struct log log; };

static void set_up_all(struct bench *b, uint32_t nodes, uint32_t gpus, uint32_t moves_permille, double patience)
{
    struct fg_error err = {0};
    uint32_t at;
    memset(b, 0, sizeof *b);
    b->pack = fg_pack_create(&(struct fg_pack_options){.policy = FG_PACK_FASTGPU});
    for (uint32_t n = 0; n < nodes; n++)
        assert_ok(fg_pack_add_node(b->pack, &(struct fg_pack_node){96000, 1ull << 38, gpus, 0, 0}, &at, &err), err);
    struct fg_backfill_options o = {.big_gpus = 4, .holds_most = 2, .moves_permille = moves_permille, .hold_after = 1, .age_weight = 50, .patience = patience,
                                    .started = on_start, .moved = on_move, .arg = &b->log};
    b->backfill = fg_backfill_create(b->pack, &o);
}

static void set_up(struct bench *b, uint32_t nodes, uint32_t gpus, uint32_t moves_permille) { set_up_all(b, nodes, gpus, moves_permille, 0); }
static void set_up_patient(struct bench *b, uint32_t nodes, uint32_t gpus, double patience) { set_up_all(b, nodes, gpus, 0, patience); }

static void tear_down(struct bench *b)
{
    fg_backfill_destroy(b->backfill);
    fg_pack_destroy(b->pack);
}

static uint32_t type(struct bench *b, uint32_t gpus, uint32_t milli)
{
    struct fg_error err = {0};
    uint32_t at;
    assert_ok(fg_pack_type_of(b->pack, &(struct fg_pack_type){1000, 1ull << 30, gpus, milli, 0, 0}, &at, &err), err);
    fg_pack_expect(b->pack, at, 1);
    return at;
}

static void the_largest_that_fits_starts_and_nobody_waits_behind_a_head_that_does_not(void **state)
{
    struct bench b;
    set_up(&b, 1, 2, 0);
    uint32_t one = type(&b, 1, 1000), share = type(&b, 1, 400), two = type(&b, 2, 1000);
    fg_backfill_submit(b.backfill, one, 1, 0);
    fg_backfill_submit(b.backfill, one, 2, 0);
    fg_backfill_submit(b.backfill, two, 3, 0);
    fg_backfill_submit(b.backfill, share, 4, 0);
    fg_backfill_submit(b.backfill, one, 5, 0);
    assert_int_equal(b.log.starts, 2);
    assert_int_equal(fg_backfill_counts(b.backfill).waiting, 3);
    fg_backfill_ended(b.backfill, b.log.task[0], 0.1);
    assert_int_equal(b.log.starts, 3);
    assert_int_equal(b.log.started[2], 5);
    tear_down(&b);
}

/* Two nodes of four GPUs, all taken by tasks of one; a task of four has waited. One of node a ends, and then, whatever ends on
 * the other node, something of the held node moves into its place. */
static void a_big_task_that_waited_gets_a_node_by_moves(void **state)
{
    struct bench b;
    set_up(&b, 2, 4, 1000);
    uint32_t one = type(&b, 1, 1000), four = type(&b, 4, 1000);
    for (uint64_t i = 0; i < 8; i++)
        fg_backfill_submit(b.backfill, one, i, 0);
    fg_backfill_submit(b.backfill, four, 100, 0);
    for (uint64_t i = 0; i < 50; i++)
        fg_backfill_submit(b.backfill, one, 200 + i, 0);
    assert_int_equal(b.log.starts, 8);
    bool over[64] = {false};
    uint32_t ended = 0, last = 0;
    for (; ended < 8 && b.log.started[b.log.starts - 1] != 100; ended++) {
        for (last = b.log.starts - 1; over[last]; last--)        /* the youngest that runs, wherever it is */
            ;
        over[last] = true;
        fg_backfill_ended(b.backfill, b.log.task[last], 2);
    }
    assert_int_equal(b.log.started[b.log.starts - 1], 100);
    assert_true(b.log.moves >= 1 && b.log.moves <= 4);
    assert_true(ended <= 8);
    assert_int_equal(fg_backfill_counts(b.backfill).holds, 1);
    tear_down(&b);
}

static void a_held_node_empties_by_itself_where_nothing_may_move(void **state)
{
    struct bench b;
    set_up(&b, 1, 4, 0);
    uint32_t one = type(&b, 1, 1000), four = type(&b, 4, 1000);
    for (uint64_t i = 0; i < 4; i++)
        fg_backfill_submit(b.backfill, one, i, 0);
    fg_backfill_submit(b.backfill, four, 100, 0);
    for (uint64_t i = 0; i < 10; i++)
        fg_backfill_submit(b.backfill, one, 200 + i, 0);
    fg_backfill_ended(b.backfill, b.log.task[0], 2);         /* its place is taken, then the node is held */
    assert_int_equal(b.log.starts, 5);
    for (int i = 1; i < 5; i++)
        fg_backfill_ended(b.backfill, b.log.task[i], 2 + i);
    assert_int_equal(b.log.starts, 6);
    assert_int_equal(b.log.started[5], 100);
    assert_int_equal(b.log.moves, 0);
    fg_backfill_ended(b.backfill, b.log.task[5], 9);         /* the hold is over: others start again */
    assert_int_equal(b.log.starts, 10);
    tear_down(&b);
}

/* A GPU of 650 + 350 and one of 650; 700s and 350s come as often. Of 350 free beside the 650, a share of 200 would spoil the place of a
 * 350: it waits, if many do, until it has waited long. One that fills it starts at once. */
static void a_share_lets_a_hole_be_for_one_that_fills_it_but_not_for_ever(void **state)
{
    struct bench b;
    set_up_patient(&b, 1, 1, 10);
    uint32_t most = type(&b, 1, 650), rest = type(&b, 1, 350), poor = type(&b, 1, 200), whole = type(&b, 1, 1000);
    fg_pack_expect(b.pack, most, 1000);
    fg_pack_expect(b.pack, rest, 1000);
    fg_backfill_submit(b.backfill, most, 1, 0);
    fg_backfill_submit(b.backfill, rest, 2, 0);
    assert_int_equal(b.log.starts, 2);
    for (uint64_t i = 0; i < 80; i++)
        fg_backfill_submit(b.backfill, whole, 100 + i, 0);
    fg_backfill_submit(b.backfill, poor, 3, 0);
    fg_backfill_ended(b.backfill, b.log.task[1], 0.1);       /* 350 free: the 200 lets it be */
    assert_int_equal(b.log.starts, 2);
    fg_backfill_submit(b.backfill, rest, 4, 0.1);            /* this one fills it */
    assert_int_equal(b.log.starts, 3);
    assert_int_equal(b.log.started[2], 4);
    fg_backfill_ended(b.backfill, b.log.task[2], 50);        /* long enough */
    assert_int_equal(b.log.starts, 4);
    assert_int_equal(b.log.started[3], 3);
    tear_down(&b);
}

static void check_everyone_starts(struct rng *rng, double patience)
{
    struct rng r = *rng;
    struct bench b;
    static bool seen[2000], ended[4000];
    set_up_all(&b, 6, 8, 20, patience);
    memset(seen, 0, sizeof seen);
    memset(ended, 0, sizeof ended);
    uint32_t types[] = {type(&b, 0, 0), type(&b, 1, 300), type(&b, 1, 700), type(&b, 1, 1000), type(&b, 2, 1000), type(&b, 4, 1000), type(&b, 8, 1000)};
    double now = 0;
    uint32_t open = 0;
    for (uint64_t id = 0; id < 2000 || open < b.log.starts;) {
        now += 0.01;
        if (id < 2000 && rng_below(&r, 2)) {
            fg_backfill_submit(b.backfill, types[rng_below(&r, 7)], id++, now);
            continue;
        }
        uint32_t at = b.log.starts ? (uint32_t)rng_below(&r, b.log.starts) : 0;
        for (uint32_t i = 0; i < b.log.starts && ended[at]; i++)
            at = (at + 1) % b.log.starts;
        if (b.log.starts > 0 && !ended[at]) {
            ended[at] = true;
            open++;
            fg_backfill_ended(b.backfill, b.log.task[at], now);
        }
    }
    assert_int_equal(b.log.starts, 2000);
    for (uint32_t i = 0; i < b.log.starts; i++) {
        assert_false(seen[b.log.started[i]]);
        seen[b.log.started[i]] = true;
    }
    assert_int_equal(fg_backfill_counts(b.backfill).waiting, 0);
    assert_int_equal(fg_pack_totals(b.pack).tasks, 0);
    tear_down(&b);
}

static void everyone_starts_once_and_in_the_end_all_have(void **state)
{
    struct rng r = rng_start("everyone_starts_once");
    check_everyone_starts(&r, 0);
    check_everyone_starts(&r, 10);
    check_everyone_starts(&r, 1e6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_largest_that_fits_starts_and_nobody_waits_behind_a_head_that_does_not),
        cmocka_unit_test(a_big_task_that_waited_gets_a_node_by_moves),
        cmocka_unit_test(a_held_node_empties_by_itself_where_nothing_may_move),
        cmocka_unit_test(a_share_lets_a_hole_be_for_one_that_fills_it_but_not_for_ever),
        cmocka_unit_test(everyone_starts_once_and_in_the_end_all_have),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
