/* pack.c - packing: no node beyond what it has, the same answer whichever way a state came about, chains that can be made. */
#include "plan/pack.h"

#include "base/vec.h"
#include "random.h"
#include "unit.h"

struct entry { uint32_t task, type, node, gpus; };
/* An independent book of what runs where, checked after every step. */
struct book {
    struct fg_pack *pack;
    struct fg_pack_node nodes[64];
    uint32_t node_count;
    FG_VEC(struct entry) entries;
};

static struct fg_pack *make(enum fg_pack_policy policy)
{
    return fg_pack_create(&(struct fg_pack_options){.policy = policy, .seed = 1});
}

static uint32_t add(struct fg_pack *p, int64_t cpu, uint64_t memory, uint32_t gpus, uint32_t kind)
{
    uint32_t at;
    struct fg_error err = {0};
    assert_ok(fg_pack_add_node(p, &(struct fg_pack_node){cpu, memory, gpus, kind, 0}, &at, &err), err);
    return at;
}

static uint32_t type(struct fg_pack *p, int64_t cpu, uint64_t memory, uint32_t gpus, uint32_t milli, uint64_t kinds)
{
    uint32_t at;
    struct fg_error err = {0};
    assert_ok(fg_pack_type_of(p, &(struct fg_pack_type){cpu, memory, gpus, milli, 0, kinds}, &at, &err), err);
    return at;
}

static uint32_t place(struct fg_pack *p, uint32_t type)
{
    struct fg_pack_choice c;
    return fg_pack_best(p, type, &c) ? fg_pack_place(p, type, &c) : FG_PACK_NONE;
}

static void check_book(const struct book *b)
{
    for (uint32_t n = 0; n < b->node_count; n++) {
        int64_t cpu = b->nodes[n].cpu_milli, cpu_free;
        uint64_t memory = b->nodes[n].memory_bytes, memory_free, gpu_memory[FG_PACK_GPUS_MAX], gpu_memory_free[FG_PACK_GPUS_MAX];
        uint32_t milli[FG_PACK_GPUS_MAX] = {0}, milli_free[FG_PACK_GPUS_MAX];
        for (uint32_t g = 0; g < b->nodes[n].gpus; g++)
            gpu_memory[g] = 0;
        for (size_t i = 0; i < b->entries.count; i++) {
            const struct entry *e = &b->entries.items[i];
            const struct fg_pack_type *t = fg_pack_type_at(b->pack, e->type);
            if (e->node != n)
                continue;
            assert_true(t->kinds == 0 || (t->kinds >> b->nodes[n].kind & 1));
            assert_int_equal(__builtin_popcount(e->gpus), t->gpus);
            assert_true(e->gpus >> b->nodes[n].gpus == 0);
            assert_true(t->memory_bytes <= memory);
            cpu -= t->cpu_milli;
            memory -= t->memory_bytes;
            for (uint32_t g = 0; g < b->nodes[n].gpus; g++)
                if (e->gpus >> g & 1) {
                    milli[g] += t->gpu_milli;
                    gpu_memory[g] += t->gpu_memory_bytes;
                }
        }
        assert_true(cpu >= 0);
        assert_true(fg_pack_free(b->pack, n, &cpu_free, &memory_free, milli_free, gpu_memory_free));
        assert_int_equal(cpu, cpu_free);
        assert_int_equal(memory, memory_free);
        for (uint32_t g = 0; g < b->nodes[n].gpus; g++) {
            assert_true(milli[g] <= FG_PACK_DEVICE);
            assert_int_equal(FG_PACK_DEVICE - milli[g], milli_free[g]);
            if (b->nodes[n].gpu_memory_bytes > 0) {
                assert_true(gpu_memory[g] <= b->nodes[n].gpu_memory_bytes);
                assert_int_equal(b->nodes[n].gpu_memory_bytes - gpu_memory[g], gpu_memory_free[g]);
            }
        }
    }
}

static void random_nodes(struct book *b, struct rng *r, uint32_t count)
{
    struct fg_error err = {0};
    for (b->node_count = 0; b->node_count < count; b->node_count++) {
        uint32_t at;
        b->nodes[b->node_count] = (struct fg_pack_node){.cpu_milli = (int64_t)(1 + rng_below(r, 12)) * 8000, .memory_bytes = (1 + rng_below(r, 16)) << 34,
            .gpus = (uint32_t[]){0, 1, 2, 4, 8}[rng_below(r, 5)], .kind = (uint32_t)rng_below(r, 3), .gpu_memory_bytes = rng_below(r, 2) * (24ull << 30)};
        assert_ok(fg_pack_add_node(b->pack, &b->nodes[b->node_count], &at, &err), err);
        assert_int_equal(at, b->node_count);
    }
}

static uint32_t random_type(struct fg_pack *p, struct rng *r)
{
    struct fg_error err = {0};
    uint32_t at, gpus = (uint32_t[]){0, 1, 1, 1, 1, 2, 4, 8}[rng_below(r, 8)];
    struct fg_pack_type t = {.cpu_milli = (int64_t)rng_below(r, 12) * 1000, .memory_bytes = rng_below(r, 8) << 32, .gpus = gpus,
                             .gpu_milli = gpus == 0 ? 0 : gpus > 1 || rng_below(r, 2) ? 1000 : (uint32_t)(100 * (1 + rng_below(r, 9))),
                             .gpu_memory_bytes = gpus ? rng_below(r, 3) << 33 : 0, .kinds = rng_below(r, 3) ? 0 : 1 + rng_below(r, 7)};
    assert_ok(fg_pack_type_of(p, &t, &at, &err), err);
    return at;
}

static void enter(struct book *b, uint32_t task)
{
    struct fg_pack_task t = fg_pack_task_at(b->pack, task);
    fg_vec_push(&b->entries, ((struct entry){task, t.type, t.node, t.gpus}));
}

static void random_step(struct book *b, struct rng *r)
{
    struct fg_pack_choice c;
    struct fg_pack_chain chain;
    uint32_t t = random_type(b->pack, r);
    fg_pack_expect(b->pack, t, 1);
    if (b->entries.count > 0 && rng_below(r, 3) == 0) {
        size_t i = rng_below(r, b->entries.count);
        fg_pack_unplace(b->pack, b->entries.items[i].task);
        b->entries.items[i] = b->entries.items[--b->entries.count];
    } else if (fg_pack_best(b->pack, t, &c)) {
        enter(b, fg_pack_place(b->pack, t, &c));
    } else if (fg_pack_open(b->pack, t, FG_PACK_NONE, 1 + (uint32_t)rng_below(r, 4), &chain)) {
        check_book(b);                           /* looking for a chain left all in place */
        uint32_t task = fg_pack_apply(b->pack, t, &chain);
        for (size_t i = 0; i < b->entries.count; i++) {
            struct fg_pack_task now = fg_pack_task_at(b->pack, b->entries.items[i].task);
            b->entries.items[i].node = now.node;
            b->entries.items[i].gpus = now.gpus;
        }
        enter(b, task);
    }
}

static void no_node_ever_gives_more_than_it_has(void **state)
{
    struct rng r = rng_start("no_node_ever_gives_more_than_it_has");
    for (int policy = FG_PACK_FASTGPU; policy <= FG_PACK_FIRSTFIT; policy++) {
        struct book b = {.pack = make((enum fg_pack_policy)policy)};
        random_nodes(&b, &r, 24);
        for (int i = 0; i < 600; i++) {
            random_step(&b, &r);
            check_book(&b);
        }
        assert_int_equal(fg_pack_totals(b.pack).tasks, b.entries.count);
        fg_pack_destroy(b.pack);
        fg_vec_fini(&b.entries);
    }
}

/* What is remembered per type and node must equal what a state made anew works out. */
static void the_answer_depends_on_the_state_and_not_on_how_it_came_about(void **state)
{
    struct rng r = rng_start("the_answer_depends_on_the_state");
    struct fg_error err = {0};
    for (int round = 0; round < 20; round++) {
        struct book b = {.pack = make(round % 2 ? FG_PACK_FGD : FG_PACK_FASTGPU)}, fresh = {.pack = make(round % 2 ? FG_PACK_FGD : FG_PACK_FASTGPU)};
        random_nodes(&b, &r, 40);
        uint32_t types[8], other, task;
        for (int i = 0; i < 8; i++) {
            types[i] = random_type(b.pack, &r);
            fg_pack_expect(b.pack, types[i], 1000000);   /* so that what is typical does not change below */
        }
        fg_pack_price(b.pack, 0);                        /* what is typical is settled now */
        for (int i = 0; i < 150; i++)
            random_step(&b, &r);
        for (uint32_t n = 0; n < b.node_count; n++)
            assert_ok(fg_pack_add_node(fresh.pack, &b.nodes[n], &other, &err), err);
        for (int i = 0; i < 8; i++) {
            assert_ok(fg_pack_type_of(fresh.pack, fg_pack_type_at(b.pack, types[i]), &other, &err), err);
            fg_pack_expect(fresh.pack, other, 1000000);
        }
        for (size_t i = 0; i < b.entries.count; i++) {
            const struct entry *e = &b.entries.items[i];
            assert_ok(fg_pack_type_of(fresh.pack, fg_pack_type_at(b.pack, e->type), &other, &err), err);
            assert_ok(fg_pack_restore(fresh.pack, other, e->node, e->gpus, &task, &err), err);
        }
        for (int i = 0; i < 8; i++) {
            struct fg_pack_choice x, y;
            assert_ok(fg_pack_type_of(fresh.pack, fg_pack_type_at(b.pack, types[i]), &other, &err), err);
            bool fits = fg_pack_best(b.pack, types[i], &x);
            assert_int_equal(fits, fg_pack_best(fresh.pack, other, &y));
            if (fits) {
                assert_int_equal(x.node, y.node);
                assert_int_equal(x.gpus, y.gpus);
                assert_int_equal(x.rule, y.rule);
            }
        }
        fg_pack_destroy(b.pack);
        fg_pack_destroy(fresh.pack);
        fg_vec_fini(&b.entries);
    }
}

/* Only the last rule looks at the index, so the best score is the same however the nodes are numbered. */
static void renumbering_the_nodes_changes_no_score(void **state)
{
    struct rng r = rng_start("renumbering_the_nodes_changes_no_score");
    struct fg_error err = {0};
    for (int round = 0; round < 20; round++) {
        struct book b = {.pack = make(FG_PACK_FASTGPU)};
        struct fg_pack *turned = make(FG_PACK_FASTGPU);
        uint32_t types[8], other, task;
        random_nodes(&b, &r, 32);
        for (uint32_t n = b.node_count; n-- > 0;)
            assert_ok(fg_pack_add_node(turned, &b.nodes[n], &other, &err), err);
        for (int i = 0; i < 8; i++) {
            types[i] = random_type(b.pack, &r);
            assert_ok(fg_pack_type_of(turned, fg_pack_type_at(b.pack, types[i]), &other, &err), err);
            fg_pack_expect(b.pack, types[i], 1000000);
            fg_pack_expect(turned, other, 1000000);
        }
        fg_pack_price(b.pack, 0);
        for (int i = 0; i < 120; i++)
            random_step(&b, &r);
        for (size_t i = 0; i < b.entries.count; i++) {
            const struct entry *e = &b.entries.items[i];
            assert_ok(fg_pack_type_of(turned, fg_pack_type_at(b.pack, e->type), &other, &err), err);
            assert_ok(fg_pack_restore(turned, other, b.node_count - 1 - e->node, e->gpus, &task, &err), err);
        }
        for (int i = 0; i < 8; i++) {
            struct fg_pack_choice x, y;
            assert_ok(fg_pack_type_of(turned, fg_pack_type_at(b.pack, types[i]), &other, &err), err);
            bool fits = fg_pack_best(b.pack, types[i], &x);
            assert_int_equal(fits, fg_pack_best(turned, other, &y));
            if (fits) {
                assert_int_equal(x.score, y.score);
            }
        }
        fg_pack_destroy(b.pack);
        fg_pack_destroy(turned);
        fg_vec_fini(&b.entries);
    }
}

/* 12 cores and one GPU are typical; a node with 8 cores per GPU would strand GPUs, one with 52 cores per GPU does not. */
static void processor_heavy_tasks_go_where_processor_is_plenty(void **state)
{
    struct fg_pack *p = make(FG_PACK_FASTGPU);
    uint32_t tight = add(p, 64000, 1ull << 38, 8, 0), roomy = add(p, 104000, 1ull << 38, 2, 0);
    uint32_t usual = type(p, 8000, 1ull << 33, 1, 1000, 0), heavy = type(p, 16000, 1ull << 33, 1, 1000, 0);
    struct fg_pack_choice c;
    fg_pack_expect(p, usual, 100);
    assert_true(fg_pack_best(p, heavy, &c));
    assert_int_equal(c.node, roomy);
    assert_int_equal(c.rule, FG_PACK_VALUE);
    (void)tight;
    fg_pack_destroy(p);
}

static void a_kind_that_some_are_bound_to_is_spared(void **state)
{
    struct fg_pack *p = make(FG_PACK_FASTGPU);
    add(p, 96000, 1ull << 38, 8, 0);                                     /* index 0: what bestfit or index would take */
    uint32_t plenty = add(p, 96000, 1ull << 38, 8, 1);
    uint32_t bound = type(p, 8000, 1ull << 33, 1, 1000, 1), any = type(p, 8000, 1ull << 33, 1, 1000, 0);
    struct fg_pack_choice c;
    fg_pack_expect(p, bound, 10);
    fg_pack_expect(p, any, 10);
    assert_true(fg_pack_price(p, 0) > fg_pack_price(p, plenty));
    assert_true(fg_pack_best(p, any, &c));
    assert_int_equal(c.node, plenty);
    fg_pack_destroy(p);
}

/* Two kinds, of each of which some tasks may use no other: whichever is the fuller one is the dearer one, however few ask for it. */
static void a_kind_that_fills_up_becomes_dearer(void **state)
{
    struct fg_pack *p = make(FG_PACK_FASTGPU);
    uint32_t a = add(p, 96000, 1ull << 38, 8, 0), b = add(p, 96000, 1ull << 38, 8, 1), filler = type(p, 1000, 1ull << 30, 1, 1000, 1);
    fg_pack_expect(p, type(p, 8000, 1ull << 33, 1, 1000, 1), 10);
    fg_pack_expect(p, type(p, 8000, 1ull << 33, 1, 1000, 2), 12);
    assert_true(fg_pack_price(p, a) < fg_pack_price(p, b));
    for (int i = 0; i < 6; i++)
        assert_true(place(p, filler) != FG_PACK_NONE);
    assert_true(fg_pack_price(p, a) > fg_pack_price(p, b));
    for (uint32_t task = 0; task < 6; task++)
        fg_pack_unplace(p, task);
    assert_true(fg_pack_price(p, a) < fg_pack_price(p, b));
    fg_pack_destroy(p);
}

static void a_share_goes_to_the_gpu_that_is_left_fuller(void **state)
{
    struct fg_pack *p = make(FG_PACK_BESTFIT);
    add(p, 96000, 1ull << 38, 4, 0);
    uint32_t big = type(p, 1000, 0, 1, 600, 0), small = type(p, 1000, 0, 1, 300, 0);
    struct fg_pack_choice c;
    place(p, big);
    assert_true(fg_pack_best(p, small, &c));
    assert_int_equal(c.gpus, 1);
    assert_int_equal(c.rule, FG_PACK_ONLY);
    fg_pack_destroy(p);
}

/* Two nodes of two GPUs with one task each that takes one: a task for two GPUs needs one of them to move to the other. */
static void a_chain_opens_a_whole_node_with_one_move(void **state)
{
    struct fg_pack *p = make(FG_PACK_FIRSTFIT);
    struct fg_pack_chain chain;
    struct fg_error err = {0};
    uint32_t a = add(p, 32000, 1ull << 36, 2, 0), b = add(p, 32000, 1ull << 36, 2, 0), first, second;
    uint32_t one = type(p, 4000, 1ull << 30, 1, 1000, 0), two = type(p, 8000, 1ull << 30, 2, 1000, 0);
    assert_ok(fg_pack_restore(p, one, a, 1, &first, &err), err);
    assert_ok(fg_pack_restore(p, one, b, 1, &second, &err), err);
    assert_int_equal(place(p, two), FG_PACK_NONE);
    assert_false(fg_pack_open(p, one, FG_PACK_NONE, 0, &chain));
    assert_true(fg_pack_open(p, two, FG_PACK_NONE, 1, &chain));
    assert_int_equal(chain.count, 1);
    assert_int_equal(fg_pack_task_at(p, first).node, a);                 /* nothing has moved yet */
    assert_int_equal(fg_pack_task_at(p, second).node, b);
    uint32_t task = fg_pack_apply(p, two, &chain);
    assert_int_equal(fg_pack_task_at(p, first).node, fg_pack_task_at(p, second).node);
    assert_true(fg_pack_task_at(p, task).node != fg_pack_task_at(p, first).node);
    fg_pack_destroy(p);
}

static void what_is_pinned_or_closed_is_left_out_of_chains(void **state)
{
    struct fg_pack *p = make(FG_PACK_FIRSTFIT);
    struct fg_pack_chain chain;
    struct fg_error err = {0};
    uint32_t a = add(p, 32000, 1ull << 36, 2, 0), b = add(p, 32000, 1ull << 36, 2, 0), first, second;
    uint32_t one = type(p, 4000, 1ull << 30, 1, 1000, 0), two = type(p, 8000, 1ull << 30, 2, 1000, 0);
    assert_ok(fg_pack_restore(p, one, a, 1, &first, &err), err);
    assert_ok(fg_pack_restore(p, one, b, 1, &second, &err), err);
    fg_pack_pin(p, first, true);
    assert_true(fg_pack_open(p, two, FG_PACK_NONE, 3, &chain));
    assert_int_equal(chain.moves[0].task, second);
    fg_pack_pin(p, second, true);
    assert_false(fg_pack_open(p, two, FG_PACK_NONE, 3, &chain));
    fg_pack_pin(p, second, false);
    fg_pack_close_node(p, a, true);
    assert_false(fg_pack_open(p, two, FG_PACK_NONE, 3, &chain));
    fg_pack_destroy(p);
}

/* The same nodes and tasks in a state that has not searched for anything. */
static struct fg_pack *made_anew(const struct book *b)
{
    struct fg_pack *p = make(FG_PACK_FASTGPU);
    struct fg_error err = {0};
    uint32_t at, type;
    for (uint32_t n = 0; n < b->node_count; n++)
        assert_ok(fg_pack_add_node(p, &b->nodes[n], &at, &err), err);
    for (size_t i = 0; i < b->entries.count; i++) {
        const struct entry *e = &b->entries.items[i];
        assert_ok(fg_pack_type_of(p, fg_pack_type_at(b->pack, e->type), &type, &err), err);
        assert_ok(fg_pack_restore(p, type, e->node, e->gpus, &at, &err), err);
    }
    return p;
}

/* Which of several chains of three is tried, and may then fail, depends on the order of the tasks; of one move it does not. */
static bool opens_anew(const struct book *b, uint32_t type)
{
    struct fg_pack *p = made_anew(b);
    struct fg_pack_chain chain;
    struct fg_error err = {0};
    uint32_t at;
    assert_ok(fg_pack_type_of(p, fg_pack_type_at(b->pack, type), &at, &err), err);
    bool opens = fg_pack_open(p, at, FG_PACK_NONE, 1, &chain);
    fg_pack_destroy(p);
    return opens;
}

/* What a search found hopeless is remembered while tasks start: that must hide no chain. */
static void a_chain_is_found_after_any_history_as_in_a_state_made_anew(void **state)
{
    struct rng r = rng_start("a_chain_is_found_after_any_history");
    struct fg_pack_chain chain;
    int found = 0, none = 0;
    for (int x = 0; x < 12; x++) {
        struct book b = {.pack = make(FG_PACK_FASTGPU)};
        uint32_t types[10];
        random_nodes(&b, &r, 12);
        for (int t = 0; t < 10; t++)
            types[t] = random_type(b.pack, &r);
        for (int i = 0; i < 300; i++) {
            uint32_t t = types[rng_below(&r, 10)], task = place(b.pack, t);
            const struct fg_pack_type *need = fg_pack_type_at(b.pack, t);
            if (task != FG_PACK_NONE) {
                enter(&b, task);
            } else if (need->gpus > 0 && need->gpu_milli == FG_PACK_DEVICE) {
                bool opens = fg_pack_open(b.pack, t, FG_PACK_NONE, 1, &chain);
                assert_int_equal(opens, opens_anew(&b, t));
                *(opens ? &found : &none) += 1;
            }
            if (rng_below(&r, 8) == 0 && b.entries.count > 0) {
                size_t gone = rng_below(&r, b.entries.count);
                fg_pack_unplace(b.pack, b.entries.items[gone].task);
                b.entries.items[gone] = b.entries.items[--b.entries.count];
            }
        }
        fg_pack_destroy(b.pack);
        fg_vec_fini(&b.entries);
    }
    assert_true(found >= 5 && none >= 100);
}

static void shares_alone_open_nothing(void **state)
{
    struct fg_pack *p = make(FG_PACK_FASTGPU);
    struct fg_pack_chain chain;
    add(p, 32000, 1ull << 36, 1, 0);
    uint32_t share = type(p, 1000, 0, 1, 600, 0);
    place(p, share);
    assert_false(fg_pack_open(p, share, FG_PACK_NONE, 3, &chain));
    fg_pack_destroy(p);
}

static void a_closed_node_gets_nothing_new(void **state)
{
    struct fg_pack *p = make(FG_PACK_FASTGPU);
    uint32_t t = type(p, 1000, 0, 1, 1000, 0);
    struct fg_pack_choice c;
    assert_false(fg_pack_best(p, t, &c));
    assert_false(fg_pack_possible(p, t));
    uint32_t a = add(p, 32000, 1ull << 36, 2, 0);
    assert_true(fg_pack_best(p, t, &c));
    assert_true(fg_pack_possible(p, t));
    fg_pack_close_node(p, a, true);
    assert_false(fg_pack_best(p, t, &c));
    fg_pack_destroy(p);
}

static void what_makes_no_sense_is_refused(void **state)
{
    struct fg_pack *p = make(FG_PACK_FASTGPU);
    struct fg_error err;
    uint32_t at, a = add(p, 32000, 1ull << 36, 2, 0), t = type(p, 1000, 0, 1, 1000, 0);
    assert_fails(fg_pack_add_node(p, &(struct fg_pack_node){-1, 0, 1, 0, 0}, &at, &err), err, FG_E_INVALID);
    assert_fails(fg_pack_add_node(p, &(struct fg_pack_node){1, 0, 17, 0, 0}, &at, &err), err, FG_E_INVALID);
    assert_fails(fg_pack_add_node(p, &(struct fg_pack_node){1, UINT64_MAX, 1, 0, 0}, &at, &err), err, FG_E_INVALID);
    assert_fails(fg_pack_add_node(p, &(struct fg_pack_node){1, 0, 1, 64, 0}, &at, &err), err, FG_E_INVALID);
    assert_fails(fg_pack_type_of(p, &(struct fg_pack_type){-5, 0, 0, 0, 0, 0}, &at, &err), err, FG_E_INVALID);
    assert_fails(fg_pack_type_of(p, &(struct fg_pack_type){1, 0, 1, 0, 0, 0}, &at, &err), err, FG_E_INVALID);
    assert_fails(fg_pack_type_of(p, &(struct fg_pack_type){1, 0, 1, 1001, 0, 0}, &at, &err), err, FG_E_INVALID);
    assert_fails(fg_pack_type_of(p, &(struct fg_pack_type){1, 0, 2, 500, 0, 0}, &at, &err), err, FG_E_INVALID);
    assert_fails(fg_pack_restore(p, t, a, 4, &at, &err), err, FG_E_INVALID);
    assert_fails(fg_pack_restore(p, t, a, 3, &at, &err), err, FG_E_INVALID);
    assert_fails(fg_pack_restore(p, t, 7, 1, &at, &err), err, FG_E_INVALID);
    fg_pack_destroy(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_node_ever_gives_more_than_it_has),
        cmocka_unit_test(the_answer_depends_on_the_state_and_not_on_how_it_came_about),
        cmocka_unit_test(renumbering_the_nodes_changes_no_score),
        cmocka_unit_test(processor_heavy_tasks_go_where_processor_is_plenty),
        cmocka_unit_test(a_kind_that_some_are_bound_to_is_spared),
        cmocka_unit_test(a_kind_that_fills_up_becomes_dearer),
        cmocka_unit_test(a_share_goes_to_the_gpu_that_is_left_fuller),
        cmocka_unit_test(a_chain_opens_a_whole_node_with_one_move),
        cmocka_unit_test(what_is_pinned_or_closed_is_left_out_of_chains),
        cmocka_unit_test(a_chain_is_found_after_any_history_as_in_a_state_made_anew),
        cmocka_unit_test(shares_alone_open_nothing),
        cmocka_unit_test(a_closed_node_gets_nothing_new),
        cmocka_unit_test(what_makes_no_sense_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
