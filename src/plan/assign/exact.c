/* exact.c - small problems to the end: depth-first over the tasks, cut by the prices.
 *
 * In 1/65536 of a cost and in integers, so that the outcome is a proof: with prices U, a complete assignment costs
 * L(U) + sum of reduced + U x room, the last >= 0 (private.h, bound.c). A branch whose sum of reduced alone reaches what
 * is known is cut. Tasks with the most to lose come first. */
#include <math.h>
#include <string.h>

#include "plan/assign/private.h"
#include "plan/assign/tune.h"

enum { SHIFT = 16, TASKS_MOST = 64, AGENTS_MOST = 20, NODES_MOST = 400000 };

struct way { int64_t reduced; uint32_t agent; const struct option *option; };
struct exact {
    struct work *w;
    int64_t bound, budget;          /* L(U); the largest sum of reduced that would be an improvement */
    uint32_t order[TASKS_MOST], agent[TASKS_MOST];
    uint32_t first[TASKS_MOST + 1];
    struct way *ways;               /* of order[x], cheapest first */
    int64_t room[(AGENTS_MOST + 1) * RMAX];
    uint64_t nodes;
};

static void set_budget(struct exact *e) { e->budget = (e->w->best_cost - 1) * ((int64_t)1 << SHIFT) - e->bound; }

static void descend(struct exact *e, uint32_t x, int64_t sum, int64_t cost)
{
    struct work *w = e->w;
    uint32_t R = w->resources;
    if (x == w->tasks) {
        work_offer(w, e->agent, cost);
        set_budget(e);
        return;
    }
    for (const struct way *y = &e->ways[e->first[x]], *end = &e->ways[e->first[x + 1]]; y < end; y++) {
        if (sum + y->reduced > e->budget || e->nodes >= NODES_MOST)
            return;
        int64_t *room = &e->room[y->agent * R];
        uint32_t r = 0;
        while (r < R && y->option->need[r] <= room[r])
            r++;
        if (r < R)
            continue;
        e->nodes++;
        for (r = 0; r < R; r++)
            room[r] -= y->option->need[r];
        e->agent[e->order[x]] = y->agent;
        descend(e, x + 1, sum + y->reduced, cost + y->option->cost);
        for (r = 0; r < R; r++)
            room[r] += y->option->need[r];
    }
}

static int by_reduced(const void *a, const void *b)
{
    const struct way *x = a, *y = b;
    return x->reduced != y->reduced ? (x->reduced > y->reduced) - (x->reduced < y->reduced) : (x->agent > y->agent) - (x->agent < y->agent);
}

/* The ways of task j at ways[at]; returns how many. The least priced cost goes to *least. */
static uint32_t list_ways(struct exact *e, uint32_t j, const int64_t *price, uint32_t at, int64_t *least)
{
    const struct work *w = e->w;
    uint32_t c = w->class_of[j], n = 0, R = w->resources;
    *least = INT64_MAX;
    for (uint32_t x = w->option_first[c]; x < w->option_first[c + 1]; x++) {
        const struct option *o = &w->options[x];
        int64_t v = o->cost * ((int64_t)1 << SHIFT);
        for (uint32_t r = 0; r < R; r++)
            v += price[o->kind * R + r] * o->need[r];
        *least = FG_MIN(*least, v);
        for (uint32_t y = w->kind_first[o->kind]; y < w->kind_first[o->kind + 1]; y++)
            e->ways[at + n++] = (struct way){v, w->kind_agents[y], o};
    }
    for (uint32_t x = 0; x < n; x++)
        e->ways[at + x].reduced -= *least;
    qsort(&e->ways[at], n, sizeof *e->ways, by_reduced);
    return n;
}

static bool small_enough(const struct work *w)
{
    double most = (double)w->cost_most, used = 0;
    for (uint32_t c = 0; c < w->classes; c++)
        most = FG_MAX(most, fabs((double)w->nobody[c]));
    for (uint32_t x = 0; x < (w->kinds - 1) * w->resources; x++)
        used += w->price[x] * (double)w->kind_capacity[x];
    /* A proof needs every option, so the lists must not have been cut. */
    return w->kinds <= TUNE_OPTIONS && w->tasks <= TASKS_MOST && w->agents <= AGENTS_MOST + 1 && ldexp((most + used + 1) * (w->tasks + 1), SHIFT) < 0x1p60;
}

struct turn { int64_t regret; uint32_t task; };
static int by_regret(const void *a, const void *b)
{
    const struct turn *x = a, *y = b;
    return x->regret != y->regret ? (x->regret < y->regret) - (x->regret > y->regret) : (x->task > y->task) - (x->task < y->task);
}

void fg_assign_exact(struct work *w)
{
    struct exact e = {.w = w};
    uint32_t n = w->tasks, R = w->resources, at = 0;
    if (!small_enough(w))
        return;
    int64_t price[(AGENTS_MOST + 1) * RMAX] = {0}, least;
    struct turn turns[TASKS_MOST];
    e.ways = fg_realloc(NULL, (size_t)n * w->agents, sizeof *e.ways);
    for (uint32_t x = 0; x < (w->kinds - 1) * R; x++) {
        price[x] = llround(ldexp(w->price[x], SHIFT));
        e.bound -= price[x] * w->kind_capacity[x];
    }
    for (uint32_t j = 0; j < n; j++) {
        uint32_t ways = list_ways(&e, j, price, 0, &least);
        turns[j] = (struct turn){ways > 1 ? e.ways[1].reduced : INT64_MAX, j};
        e.bound += least;
    }
    qsort(turns, n, sizeof *turns, by_regret);
    for (uint32_t x = 0; x < n; x++) {
        e.order[x] = turns[x].task;
        e.first[x] = at;
        at += list_ways(&e, turns[x].task, price, at, &least);
    }
    e.first[n] = at;
    memcpy(e.room, w->capacity, (size_t)w->agents * R * sizeof *e.room);
    set_budget(&e);
    descend(&e, 0, 0, 0);
    w->iterations += e.nodes / 64 + 1;               /* a node is quick beside a chain */
    if (e.nodes < NODES_MOST) {                      /* nothing cheaper exists */
        w->bound = FG_MAX(w->bound, w->best_cost);
        w->good_enough = FG_MAX(w->good_enough, w->bound);
    }
    free(e.ways);
}
