/* dive.c - prices of tasks from the agents' knapsacks, and plans rounded from them. */
#include "plan/assign/dive.h"

#include <math.h>
#include <string.h>

#include "plan/assign/knapsack.h"
#include "plan/assign/tune.h"

struct dive {
    struct work *w;
    uint32_t agents, tasks;
    struct item *items;             /* of agent i: items[first[i] .. first[i] + whole[i]) */
    struct item *live;              /* of those the ones that are open and fit: live[first[i] .. first[i] + count[i]) */
    uint32_t *first, *whole, *count;
    uint32_t *open, opened;         /* the tasks that are on no agent yet */
    uint32_t busy;                  /* agents with live items */
    int32_t *capacity, *room;       /* in DP units */
    int64_t *unit;                  /* size of a DP unit, by agent */
    int64_t *base;                  /* by task: its least cost; prices, items and values count from there, so that floats do */
    double *price, *best, *root;    /* by task: lambda */
    double *gap;                    /* by task: 1 - sum of means */
    uint32_t *agent;                /* by task, UINT32_MAX: open */
    struct knapsack knapsack;
    double fixed_cost, value, theta;
    uint32_t root_steps;
};

#define OPEN UINT32_MAX
#define WORK_OF_A_CHAIN 12288u      /* table cells filled in the time of one chain: both count as one iteration */

static int32_t units(const struct dive *d, uint32_t agent, int64_t need) { return (int32_t)((need + d->unit[agent] - 1) / d->unit[agent]); }

/* The first options of each task, by agent. */
static void list_items(struct dive *d)
{
    const struct work *w = d->w;
    for (int pass = 0; pass < 2; pass++) {
        for (uint32_t j = 0; j < d->tasks; j++) {
            uint32_t c = w->class_of[j], n = 0;
            for (uint32_t x = w->option_first[c]; x < w->option_first[c + 1] && n < TUNE_DIVE_OPTIONS; x++) {
                const struct option *o = &w->options[x];
                if (o->kind + 1 == w->kinds)
                    continue;
                n++;
                uint32_t i = w->kind_agents[w->kind_first[o->kind]];
                if (!pass)
                    d->first[i + 2]++;
                else
                    d->items[d->first[i + 1]++] = (struct item){.task = j, .size = units(d, i, o->need[0]), .cost = (float)(o->cost - d->base[j])};
            }
        }
        for (uint32_t i = 0; !pass && i < d->agents; i++)
            d->first[i + 2] += d->first[i + 1];
        if (!pass)
            d->items = fg_alloc(2 * ((size_t)d->first[d->agents + 1] + 1) * sizeof *d->items);
    }
    d->live = d->items + d->first[d->agents] + 1;
    for (uint32_t i = 0; i < d->agents; i++)
        d->whole[i] = d->first[i + 1] - d->first[i];
}

static bool applies(const struct work *w)
{
    if (w->tasks > TUNE_DIVE_TASKS)
        return false;                                    /* one round would take longer than chains need to gain as much */
    if (w->resources != 1 || w->kinds != w->agents)
        return false;
    for (uint32_t k = 0; k < w->kinds; k++)
        if (w->kind_first[k + 1] - w->kind_first[k] != 1)
            return false;
    return true;
}

struct dive *dive_create(struct work *w)
{
    if (!applies(w))
        return NULL;
    struct dive *d = fg_alloc(sizeof *d);
    d->w = w;
    d->agents = w->agents - 1;
    d->tasks = w->tasks;
    d->first = fg_alloc((3 * (size_t)d->agents + 2) * sizeof *d->first);
    d->whole = d->first + d->agents + 2, d->count = d->whole + d->agents;
    d->capacity = fg_alloc(2 * d->agents * sizeof *d->capacity);
    d->room = d->capacity + d->agents;
    d->unit = fg_alloc((d->agents + (size_t)d->tasks) * sizeof *d->unit);
    d->base = d->unit + d->agents;
    d->price = fg_alloc(4 * (size_t)d->tasks * sizeof *d->price);
    d->best = d->price + d->tasks, d->root = d->best + d->tasks, d->gap = d->root + d->tasks;
    d->agent = fg_alloc(2 * (size_t)d->tasks * sizeof *d->agent);
    d->open = d->agent + d->tasks;
    int32_t most = 0;
    uint32_t longest = 0;
    for (uint32_t i = 0; i < d->agents; i++) {
        d->unit[i] = w->capacity[i] / 4096 + 1;
        d->capacity[i] = (int32_t)(w->capacity[i] / d->unit[i]);
        most = FG_MAX(most, d->capacity[i]);
    }
    for (uint32_t j = 0; j < d->tasks; j++) {
        const struct option *o = &w->options[w->option_first[w->class_of[j]]], *end = &w->options[w->option_first[w->class_of[j] + 1]];
        d->base[j] = INT64_MAX;
        for (const struct option *x = o; x < end; x++)
            d->base[j] = FG_MIN(d->base[j], x->cost);
        d->best[j] = (double)(o->cost - d->base[j]) + w->price[o->kind] * (double)o->need[0];
    }
    list_items(d);
    double cells = 1;
    for (uint32_t i = 0; i < d->agents; i++) {
        cells += (double)d->whole[i] * d->capacity[i];
        longest = FG_MAX(longest, d->whole[i]);
    }
    d->knapsack.table = fg_realloc(NULL, ((size_t)longest + 1) * ((size_t)most + 1), sizeof *d->knapsack.table);
    d->knapsack.core = fg_realloc(NULL, (size_t)longest + 1, sizeof *d->knapsack.core);
    d->theta = 1;
    d->root_steps = (uint32_t)fmin(fmax(TUNE_ROOT_CELLS / cells, TUNE_ROOT / 5.0), TUNE_ROOT);
    return d;
}

void dive_destroy(struct dive *d)
{
    if (!d)
        return;
    free(d->first), free(d->capacity), free(d->unit), free(d->price), free(d->agent), free(d->items), free(d->knapsack.table), free(d->knapsack.core);
    free(d);
}

/* Solve the knapsacks at d->price; update means by alpha. */
static double evaluate(struct dive *d, float alpha)
{
    double sum = d->fixed_cost;
    struct knapsack *k = &d->knapsack;
    k->work = 0;
    k->cells_most = TUNE_CELLS / FG_MAX(d->busy, 1);
    for (uint32_t x = 0; x < d->opened; x++) {
        uint32_t j = d->open[x];
        sum += d->price[j], d->gap[j] = 1;
    }
    for (uint32_t i = 0; i < d->agents; i++) {
        struct item *items = &d->live[d->first[i]], *end = items + d->count[i];
        if (items == end)
            continue;
        for (struct item *it = items; it < end; it++)
            it->worth = (float)d->price[it->task] - it->cost;
        sum -= knapsack_solve(k, items, d->count[i], d->room[i]);
        for (struct item *it = items; it < end; it++) {
            it->mean += alpha * (it->share - it->mean);
            d->gap[it->task] -= (double)it->mean;
        }
    }
    d->w->iterations += 1 + k->work / WORK_OF_A_CHAIN;
    return sum;
}

static void copy_open(const struct dive *d, double *to, const double *from)
{
    for (uint32_t x = 0; x < d->opened; x++)
        to[d->open[x]] = from[d->open[x]];
}

static void ascend(struct dive *d, uint32_t steps, float alpha, bool fresh)
{
    double target = (double)d->w->best_cost;
    copy_open(d, d->price, d->best);
    d->value = evaluate(d, fresh ? 1 : alpha);
    uint32_t stale = 0;
    for (uint32_t s = 0; s < steps && !work_done(d->w); s++) {
        double norm = 0;
        for (uint32_t x = 0; x < d->opened; x++)
            norm += d->gap[d->open[x]] * d->gap[d->open[x]];
        if (norm < 1e-9)
            break;
        double step = d->theta * FG_MAX(target - d->value, 1e-4 * fabs(target)) / norm;
        for (uint32_t x = 0; x < d->opened; x++)
            d->price[d->open[x]] = d->best[d->open[x]] + step * d->gap[d->open[x]];
        double value = evaluate(d, alpha);
        if (value > d->value) {
            d->value = value;
            copy_open(d, d->best, d->price);
            d->theta = FG_MIN(2.0, d->theta * 1.1);
            stale = 0;
        } else if (++stale >= 5) {
            d->theta = FG_MAX(0.002, d->theta * 0.75);
            stale = 0;
        }
    }
}

/* Make of items[0 .. n) of agent i its live ones: those whose task is open and that fit. */
static void make_live(struct dive *d, uint32_t i, const struct item *items, uint32_t n)
{
    struct item *live = &d->live[d->first[i]];
    uint32_t kept = 0;
    for (uint32_t x = 0; x < n; x++)
        if (d->agent[items[x].task] == OPEN && items[x].size <= d->room[i])
            live[kept++] = items[x];
    d->count[i] = kept;
    d->busy += kept > 0;
}

/* After some tasks found an agent. */
static void compact(struct dive *d)
{
    uint32_t n = 0;
    d->busy = 0;
    for (uint32_t i = 0; i < d->agents; i++)
        make_live(d, i, &d->live[d->first[i]], d->count[i]);
    for (uint32_t x = 0; x < d->opened; x++)
        if (d->agent[d->open[x]] == OPEN)
            d->open[n++] = d->open[x];
    d->opened = n;
}

/* Begin with the tasks on agents as they are told by kept, and the others open. */
static void begin(struct dive *d, const uint32_t *agent, const bool *freed)
{
    const struct work *w = d->w;
    memcpy(d->room, d->capacity, d->agents * sizeof *d->room);
    d->fixed_cost = 0;
    d->opened = d->busy = 0;
    for (uint32_t j = 0; j < d->tasks; j++) {
        uint32_t i = freed && !freed[j] && agent[j] < d->agents ? agent[j] : OPEN;
        d->agent[j] = i;
        d->fixed_cost += (double)d->base[j];
        if (i == OPEN) {
            d->open[d->opened++] = j;
            continue;
        }
        d->room[i] -= units(d, i, cell_need(w, w->class_of[j], w->kind_of[i], 0));
        d->fixed_cost += (double)(cell_cost(w, w->class_of[j], w->kind_of[i]) - d->base[j]);
    }
    for (uint32_t i = 0; i < d->agents; i++) {
        d->room[i] = FG_MAX(d->room[i], 0);
        make_live(d, i, &d->items[d->first[i]], d->whole[i]);
    }
}

void dive_root(struct dive *d)
{
    begin(d, NULL, NULL);
    ascend(d, d->root_steps, 0.08f, true);
    for (uint32_t i = 0; i < d->agents; i++)
        memcpy(&d->items[d->first[i]], &d->live[d->first[i]], (d->whole[i] = d->count[i]) * sizeof *d->items);
    memcpy(d->root, d->best, d->tasks * sizeof *d->best);
}

struct choice { float key; uint32_t item, agent; };
static int by_key(const void *a, const void *b)
{
    const struct choice *x = a, *y = b;
    return x->key != y->key ? (x->key > y->key ? -1 : 1) : (x->item > y->item) - (x->item < y->item);
}

/* Fix the surest open tasks: all with mean >= sure, and at least `least`. Returns how many. */
static uint32_t fix(struct dive *d, float sure, uint32_t least, float noise, struct choice *all)
{
    uint32_t n = 0, done = 0;
    for (uint32_t i = 0; i < d->agents; i++)
        for (uint32_t x = d->first[i]; x < d->first[i] + d->count[i]; x++)
            if (d->live[x].mean > 0)
                all[n++] = (struct choice){d->live[x].mean + noise * (float)(random_next(d->w->random) >> 40) * 0x1p-24f, x, i};
    qsort(all, n, sizeof *all, by_key);
    for (uint32_t x = 0; x < n && (all[x].key >= sure || done < least); x++) {
        struct item *it = &d->live[all[x].item];
        if (d->agent[it->task] != OPEN || it->size > d->room[all[x].agent])
            continue;
        d->agent[it->task] = all[x].agent;
        d->room[all[x].agent] -= it->size;
        d->fixed_cost += (double)it->cost;
        done++;
    }
    return done;
}

void dive_run(struct dive *d, uint32_t *agent, const bool *freed)
{
    FG_AUTO_FREE struct choice *all = fg_realloc(NULL, (size_t)d->first[d->agents] + 1, sizeof *all);
    double theta = d->theta;
    begin(d, agent, freed);
    copy_open(d, d->best, d->root);
    d->theta = 0.3;
    if (freed)
        ascend(d, TUNE_DIVE_STEPS, 0.15f, false);
    while (d->opened && fix(d, TUNE_DIVE_SURE, (uint32_t)(d->opened * TUNE_DIVE_SHARE) + 1, (float)TUNE_DIVE_NOISE, all)) {
        compact(d);
        if (d->opened)
            ascend(d, TUNE_DIVE_STEPS, 0.15f, false);
    }
    for (uint32_t j = 0; j < d->tasks; j++)
        agent[j] = d->agent[j] == OPEN ? d->w->agents - 1 : d->agent[j];
    d->theta = theta;
}
