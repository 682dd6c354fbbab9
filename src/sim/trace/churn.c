/* churn.c - see churn.h. */
#include "sim/trace/churn.h"

#include <stdlib.h>

#include "plan/backfill.h"
#include "plan/holes.h"
#include "sim/trace/random.h"

#define HOLDS_MOST 16u

struct ending { double at; uint32_t task; };
struct arrival { double since; uint32_t type; };

struct world {
    const struct fg_openb *trace;
    const struct fg_churn_options *options;
    struct fg_pack *pack;
    struct fg_backfill *backfill;
    struct fg_random draws, times;       /* apart, so that policies meet the same tasks */
    uint32_t *types;                     /* [trace tasks] those that fit some node */
    uint32_t type_count;
    FG_VEC(struct arrival) arrivals;     /* by id */
    FG_VEC(struct ending) endings;       /* a heap, the next one first */
    FG_VEC(double) waits;
    double now, area;                    /* GPU thousandths x time */
    double waited, waited_big, waited_share;
    uint32_t shares;
    uint64_t moves_before, holds_before;
    double began, late_began, late_area;
    bool counting;
    struct fg_churn *ret;
};

static void push_ending(struct world *w, struct ending e)
{
    fg_vec_push(&w->endings, e);
    size_t i = w->endings.count - 1;
    for (; i > 0 && w->endings.items[(i - 1) / 2].at > e.at; i = (i - 1) / 2)
        w->endings.items[i] = w->endings.items[(i - 1) / 2];
    w->endings.items[i] = e;
}

static struct ending pop_ending(struct world *w)
{
    struct ending *v = w->endings.items, first = v[0], last = v[--w->endings.count];
    size_t n = w->endings.count, i = 0;
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        child += child + 1 < n && v[child + 1].at < v[child].at;
        if (v[child].at >= last.at)
            break;
        v[i] = v[child];
    }
    v[i] = last;
    return first;
}

static void on_start(void *arg, uint64_t id, uint32_t task, const struct fg_pack_choice *at)
{
    struct world *w = arg;
    const struct arrival *a = &w->arrivals.items[id];
    const struct fg_pack_type *t = fg_pack_type_at(w->pack, a->type);
    double wait = w->now - a->since;
    push_ending(w, (struct ending){w->now + fg_random_exponential(&w->times, 1), task});
    if (!w->counting)
        return;
    w->ret->started++;
    w->waited += wait;
    fg_vec_push(&w->waits, wait);
    if (t->gpus >= w->options->big_gpus) {
        w->ret->started_big++;
        w->waited_big += wait;
    } else if (t->gpus == 1 && t->gpu_milli < FG_PACK_DEVICE) {
        w->shares++;
        w->waited_share += wait;
    }
}

static void on_move(void *arg, uint32_t task, const struct fg_pack_choice *to) { }

/* New tasks until so many wait. */
static void top_up(struct world *w)
{
    while (fg_backfill_counts(w->backfill).waiting < w->options->waiting) {
        uint32_t type = w->types[fg_random_below(&w->draws, w->type_count)];
        fg_pack_expect(w->pack, type, 1);
        fg_vec_push(&w->arrivals, ((struct arrival){w->now, type}));
        fg_backfill_submit(w->backfill, type, w->arrivals.count - 1, w->now);
    }
}

static void pass_time(struct world *w, double to)
{
    struct fg_pack_totals t = fg_pack_totals(w->pack);
    if (w->counting && w->late_began == 0 && w->ret->started >= w->options->starts - w->options->starts / 4) {
        w->late_began = w->now;
        w->late_area = w->area;
    }
    if (w->counting)
        w->area += (double)(t.gpu_milli - t.gpu_milli_free) * (to - w->now);
    w->now = to;
}

static void begin_counting(struct world *w)
{
    struct fg_backfill_counts c = fg_backfill_counts(w->backfill);
    w->counting = true;
    w->began = w->now;
    w->moves_before = c.moves;
    w->holds_before = c.holds;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* In the long run each type starts as often as it comes: what runs is the mix of the list, and that needs so many GPUs for each. */
static double bound_of(const struct world *w)
{
    uint32_t size[FG_PACK_DEVICE], n = 0;
    double come[FG_PACK_DEVICE + 1] = {0}, weight[FG_PACK_DEVICE], asked = 0;
    struct fg_holes unused;
    for (uint32_t i = 0; i < w->type_count; i++) {
        const struct fg_pack_type *t = fg_pack_type_at(w->pack, w->types[i]);
        come[t->gpu_milli] += t->gpus;
        asked += (double)t->gpus * t->gpu_milli / FG_PACK_DEVICE;
    }
    for (uint32_t m = FG_PACK_DEVICE - 1; m > 0; m--)    /* the largest first: more sizes than can be priced are the small ones */
        if (come[m] > 0) {
            size[n] = m;
            weight[n++] = come[m];
        }
    double need = come[FG_PACK_DEVICE] + (n ? fg_holes_price(size, weight, n, &unused) : 0);
    return need > 0 ? FG_MIN(100.0, 100 * asked / need) : 100;
}

static void sum_up(struct world *w)
{
    struct fg_churn *r = w->ret;
    struct fg_backfill_counts c = fg_backfill_counts(w->backfill);
    size_t n = w->waits.count;
    r->time = w->now - w->began;
    r->allocation = r->time > 0 ? 100 * w->area / r->time / (double)fg_pack_totals(w->pack).gpu_milli : 0;
    double late = w->now - w->late_began;
    r->allocation_late = late > 0 ? 100 * (w->area - w->late_area) / late / (double)fg_pack_totals(w->pack).gpu_milli : 0;
    r->bound = bound_of(w);
    r->wait = r->started ? w->waited / r->started : 0;
    r->wait_big = r->started_big ? w->waited_big / r->started_big : 0;
    r->wait_share = w->shares ? w->waited_share / w->shares : 0;
    r->migrations = (uint32_t)(c.moves - w->moves_before);
    r->holds = (uint32_t)(c.holds - w->holds_before);
    r->migrations_percent = r->started ? 100.0 * r->migrations / r->started : 0;
    qsort(w->waits.items, n, sizeof *w->waits.items, by_size);
    r->wait_p99 = n ? w->waits.items[n - 1 - n / 100] : 0;
}

static int make(struct world *w, struct fg_error *err)
{
    for (size_t i = 0; i < w->trace->nodes.count; i++) {
        uint32_t index;
        if (fg_pack_add_node(w->pack, &w->trace->nodes.items[i].is, &index, err) < 0)
            return fg_fail_prefix(err, "node %s", w->trace->nodes.items[i].name);
    }
    w->types = fg_alloc(w->trace->tasks.count * sizeof *w->types);
    for (size_t i = 0; i < w->trace->tasks.count; i++) {
        uint32_t type;
        if (fg_pack_type_of(w->pack, &w->trace->tasks.items[i].need, &type, err) < 0)
            return fg_fail_prefix(err, "task %s", w->trace->tasks.items[i].name);
        if (fg_pack_possible(w->pack, type))
            w->types[w->type_count++] = type;
    }
    if (w->type_count == 0 || fg_pack_totals(w->pack).gpu_milli == 0)
        return fg_fail(err, FG_E_INVALID, "no task fits any node, or no node has a GPU");
    return 0;
}

int fg_churn_run(const struct fg_openb *trace, const struct fg_churn_options *o, struct fg_churn *ret, struct fg_error *err)
{
    struct fg_churn out = {0};
    struct world w = {.trace = trace, .options = o, .draws = {o->seed}, .times = {~o->seed}, .ret = &out,
                      .pack = fg_pack_create(&(struct fg_pack_options){.policy = o->policy, .seed = o->seed})};
    int rc = make(&w, err);
    struct fg_backfill_options b = {.big_gpus = o->big_gpus, .holds_most = HOLDS_MOST, .moves_permille = o->moves_permille,
                                    .hold_after = o->hold_after, .age_weight = o->age_weight, .patience = o->patience, .started = on_start, .moved = on_move, .arg = &w};
    w.backfill = fg_backfill_create(w.pack, &b);
    if (rc == 0)
        top_up(&w);
    while (rc == 0 && out.started < o->starts) {
        if (!w.counting && fg_backfill_counts(w.backfill).starts >= o->warm_up)
            begin_counting(&w);
        struct ending e = pop_ending(&w);
        pass_time(&w, e.at);
        fg_backfill_ended(w.backfill, e.task, w.now);
        top_up(&w);
    }
    if (rc == 0) {
        sum_up(&w);
        *ret = out;
    }
    fg_backfill_destroy(w.backfill);
    fg_pack_destroy(w.pack);
    free(w.types);
    fg_vec_fini(&w.arrivals);
    fg_vec_fini(&w.endings);
    fg_vec_fini(&w.waits);
    return rc;
}
