/* replay.c - see replay.h. */
#include "sim/trace/replay.h"

#include <stdlib.h>

#include "sim/trace/random.h"

#define ARRIVALS_MOST (1u << 24)

struct run {
    const struct fg_openb *trace;
    const struct fg_replay_options *options;
    struct fg_replay *ret;
    struct fg_pack *pack;
    uint32_t *types;                     /* [trace tasks] */
    FG_VEC(uint32_t) order;              /* arrivals, as places in the trace's tasks */
    uint32_t *placed;                    /* [arrivals] the pack's task */
    FG_VEC(uint32_t) arrival_of;         /* [pack's tasks] */
    FG_VEC(int64_t) taken_ns;
    uint64_t capacity, asked;            /* GPU thousandths */
    int percent;                         /* written last */
};

static uint64_t gpus_of(const struct fg_openb_task *t) { return (uint64_t)t->need.gpus * t->need.gpu_milli; }

static int add_nodes(struct run *r, struct fg_error *err)
{
    for (size_t i = 0; i < r->trace->nodes.count; i++) {
        uint32_t index;
        if (fg_pack_add_node(r->pack, &r->trace->nodes.items[i].is, &index, err) < 0)
            return fg_fail_prefix(err, "node %s", r->trace->nodes.items[i].name);
    }
    r->capacity = fg_pack_totals(r->pack).gpu_milli;
    return r->capacity > 0 ? 0 : fg_fail(err, FG_E_INVALID, "no node has a GPU");
}

static int add_types(struct run *r, struct fg_error *err)
{
    uint64_t sum = 0;
    r->types = fg_alloc(r->trace->tasks.count * sizeof *r->types);
    for (size_t i = 0; i < r->trace->tasks.count; i++) {
        const struct fg_openb_task *t = &r->trace->tasks.items[i];
        if (fg_pack_type_of(r->pack, &t->need, &r->types[i], err) < 0)
            return fg_fail_prefix(err, "task %s", t->name);
        if (!r->options->learn_from_arrivals)
            fg_pack_expect(r->pack, r->types[i], 1);
        r->ret->impossible += !fg_pack_possible(r->pack, r->types[i]);
        sum += gpus_of(t);
    }
    return sum > 0 ? 0 : fg_fail(err, FG_E_INVALID, "no task asks for a GPU");
}

static int draw_order(struct run *r, struct fg_error *err)
{
    struct fg_random random = {r->options->seed};
    uint64_t sum = 0, want = r->capacity * FG_REPLAY_PERCENT / 100;
    size_t n = r->trace->tasks.count;
    for (size_t i = 0; i < n; i++) {
        fg_vec_push(&r->order, (uint32_t)i);
        sum += gpus_of(&r->trace->tasks.items[i]);
    }
    for (size_t i = n; i-- > 1;) {
        size_t j = fg_random_below(&random, i + 1);
        uint32_t other = r->order.items[j];
        r->order.items[j] = r->order.items[i];
        r->order.items[i] = other;
    }
    while (sum > want)                   /* the order is random: the last ones are any */
        sum -= gpus_of(&r->trace->tasks.items[r->order.items[--r->order.count]]);
    while (sum < want) {
        uint32_t drawn = (uint32_t)fg_random_below(&random, n);
        if (r->order.count == ARRIVALS_MOST)
            return fg_fail(err, FG_E_INVALID, "the tasks ask for so little that more than %u would have to arrive", ARRIVALS_MOST);
        fg_vec_push(&r->order, drawn);
        sum += gpus_of(&r->trace->tasks.items[drawn]);
    }
    return 0;
}

static void tell(struct run *r, uint32_t arrival, const struct fg_pack_choice *at, bool moved)
{
    if (r->options->step)
        r->options->step(r->options->step_arg, arrival, r->order.items[arrival], at, moved);
}

static void keep(struct run *r, uint32_t arrival, uint32_t task, const struct fg_pack_choice *at)
{
    fg_vec_reserve(&r->arrival_of, (size_t)task + 1);
    r->arrival_of.items[task] = arrival;
    r->placed[arrival] = task;
    r->ret->placed++;
    tell(r, arrival, at, false);
}

static bool migrate(struct run *r, uint32_t type, uint32_t arrival)
{
    struct fg_pack_chain chain;
    if (!fg_pack_open(r->pack, type, FG_PACK_NONE, r->options->moves_most, &chain))
        return false;
    for (uint32_t i = 0; i < chain.count; i++)
        tell(r, r->arrival_of.items[chain.moves[i].task], &chain.moves[i].to, true);
    r->ret->migrations += chain.count;
    keep(r, arrival, fg_pack_apply(r->pack, type, &chain), &chain.choice);
    return true;
}

static void arrive(struct run *r, uint32_t arrival)
{
    const struct fg_replay_options *o = r->options;
    uint32_t type = r->types[r->order.items[arrival]];
    struct fg_pack_choice choice;
    if (o->learn_from_arrivals)
        fg_pack_expect(r->pack, type, 1);
    int64_t began = o->now_ns ? o->now_ns(o->now_arg) : 0;
    bool fits = fg_pack_best(r->pack, type, &choice);
    uint32_t task = fits ? fg_pack_place(r->pack, type, &choice) : FG_PACK_NONE;
    if (o->now_ns)
        fg_vec_push(&r->taken_ns, o->now_ns(o->now_arg) - began);
    r->ret->arrived++;
    if (fits) {
        keep(r, arrival, task, &choice);
    } else if (!migrate(r, type, arrival)) {
        r->ret->dropped++;
        tell(r, arrival, &(struct fg_pack_choice){.node = FG_PACK_NONE}, false);
    }
}

static void record(struct run *r)
{
    struct fg_pack_totals t = fg_pack_totals(r->pack);
    if (r->asked * 100 < (uint64_t)(r->percent + 1) * r->capacity)
        return;
    double allocation = 100 * (double)(t.gpu_milli - t.gpu_milli_free) / (double)r->capacity;
    double fragmentation = 100 * fg_pack_fragmentation(r->pack) / (double)r->capacity;
    while (r->percent < FG_REPLAY_PERCENT && r->asked * 100 >= (uint64_t)(r->percent + 1) * r->capacity) {
        r->percent++;
        r->ret->allocation[r->percent] = allocation;
        r->ret->fragmentation[r->percent] = fragmentation;
    }
}

static int by_time(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static void sum_up(struct run *r)
{
    int64_t sum = 0;
    size_t n = r->taken_ns.count;
    while (r->percent < FG_REPLAY_PERCENT) {     /* a list cut at random ends a little below */
        r->percent++;
        r->ret->allocation[r->percent] = r->ret->allocation[r->percent - 1];
        r->ret->fragmentation[r->percent] = r->ret->fragmentation[r->percent - 1];
    }
    r->ret->state_bytes = fg_pack_totals(r->pack).memory_used_bytes;
    if (n == 0)
        return;
    qsort(r->taken_ns.items, n, sizeof *r->taken_ns.items, by_time);
    for (size_t i = 0; i < n; i++)
        sum += r->taken_ns.items[i];
    r->ret->seconds = (double)sum * 1e-9;
    r->ret->p50_us = (double)r->taken_ns.items[n / 2] * 1e-3;
    r->ret->p99_us = (double)r->taken_ns.items[n - 1 - n / 100] * 1e-3;
}

int fg_replay_run(const struct fg_openb *trace, const struct fg_replay_options *options, struct fg_replay *ret, struct fg_error *err)
{
    struct fg_replay out = {0};
    struct fg_pack_options pack = {.policy = options->policy, .random_ties = options->random_ties, .seed = options->seed};
    struct run r = {.trace = trace, .options = options, .ret = &out, .pack = fg_pack_create(&pack)};
    int rc = -1;
    if (add_nodes(&r, err) == 0 && add_types(&r, err) == 0 && draw_order(&r, err) == 0) {
        r.placed = fg_alloc(r.order.count * sizeof *r.placed);
        r.ret->fragmentation[0] = 100 * fg_pack_fragmentation(r.pack) / (double)r.capacity;
        for (uint32_t i = 0; i < r.order.count; i++) {
            arrive(&r, i);
            r.asked += gpus_of(&trace->tasks.items[r.order.items[i]]);
            record(&r);
        }
        sum_up(&r);
        *ret = out;
        rc = 0;
    }
    fg_pack_destroy(r.pack);
    free(r.types);
    free(r.placed);
    fg_vec_fini(&r.order);
    fg_vec_fini(&r.arrival_of);
    fg_vec_fini(&r.taken_ns);
    return rc;
}
