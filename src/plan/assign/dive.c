/* dive.c - prices of tasks from the agents' knapsacks, and plans rounded from them. */
#include "plan/assign/dive.h"

#include <math.h>
#include <string.h>

#include "plan/assign/tune.h"

struct item { uint32_t task; int32_t size; float cost; float mean; bool in; };
struct dive {
    struct work *w;
    uint32_t agents, tasks;
    struct item *items;
    uint32_t *first;                /* [agents + 1] */
    int32_t *capacity, *room;       /* in DP units */
    int64_t *unit;                  /* size of a DP unit, by agent */
    double *price, *best, *root;    /* by task: lambda */
    double *gap;                    /* by task: 1 - sum of means */
    uint32_t *agent;                /* by task, UINT32_MAX: open */
    float *table;
    double fixed_cost, value, theta;
    uint32_t root_steps;
};

#define OPEN UINT32_MAX
#define WORK_OF_A_CHAIN 12288u      /* table cells filled in the time of one chain: both count as one iteration */

struct dive *dive_create(struct work *w)
{
    const uint32_t per = TUNE_DIVE_OPTIONS;
    if (w->tasks > TUNE_DIVE_TASKS)
        return NULL;                                     /* one round would take longer than chains need to gain as much */
    if (w->resources != 1 || w->kinds != w->agents)
        return NULL;
    for (uint32_t k = 0; k < w->kinds; k++)
        if (w->kind_first[k + 1] - w->kind_first[k] != 1)
            return NULL;
    struct dive *d = fg_alloc(sizeof *d);
    d->w = w;
    d->agents = w->agents - 1;
    d->tasks = w->tasks;
    d->first = fg_alloc((d->agents + 2) * sizeof *d->first);
    d->capacity = fg_alloc(2 * d->agents * sizeof *d->capacity);
    d->room = d->capacity + d->agents;
    d->unit = fg_alloc(d->agents * sizeof *d->unit);
    d->price = fg_alloc(4 * d->tasks * sizeof *d->price);
    d->best = d->price + d->tasks, d->root = d->best + d->tasks, d->gap = d->root + d->tasks;
    d->agent = fg_alloc(d->tasks * sizeof *d->agent);
    int32_t most = 0;
    for (uint32_t i = 0; i < d->agents; i++) {
        d->unit[i] = w->capacity[i] / 4096 + 1;
        d->capacity[i] = (int32_t)(w->capacity[i] / d->unit[i]);
        most = FG_MAX(most, d->capacity[i]);
    }
    for (int pass = 0; pass < 2; pass++) {
        for (uint32_t j = 0; j < d->tasks; j++) {
            uint32_t c = w->class_of[j], n = 0;
            for (uint32_t x = w->option_first[c]; x < w->option_first[c + 1] && n < per; x++) {
                const struct option *o = &w->options[x];
                if (o->kind + 1 == w->kinds)
                    continue;
                n++;
                uint32_t i = w->kind_agents[w->kind_first[o->kind]];
                if (!pass)
                    d->first[i + 2]++;
                else
                    d->items[d->first[i + 1]++] = (struct item){j, (int32_t)((o->need[0] + d->unit[i] - 1) / d->unit[i]), (float)o->cost, 0, false};
            }
        }
        if (!pass) {
            for (uint32_t i = 0; i < d->agents; i++)
                d->first[i + 2] += d->first[i + 1];
            d->items = fg_alloc((d->first[d->agents + 1] + 1) * sizeof *d->items);
        }
    }
    uint32_t longest = 0;
    for (uint32_t i = 0; i < d->agents; i++)
        longest = FG_MAX(longest, d->first[i + 1] - d->first[i]);
    d->table = fg_alloc(((size_t)longest + 1) * ((size_t)most + 1) * sizeof *d->table);
    for (uint32_t j = 0; j < d->tasks; j++) {
        const struct option *o = &w->options[w->option_first[w->class_of[j]]];
        d->best[j] = (double)o->cost + w->price[o->kind] * (double)o->need[0];
    }
    d->theta = 1;
    double cells = 1;
    for (uint32_t i = 0; i < d->agents; i++)
        cells += (double)(d->first[i + 1] - d->first[i]) * d->capacity[i];
    d->root_steps = (uint32_t)fmin(fmax(TUNE_ROOT_CELLS / cells, TUNE_ROOT / 2.0), TUNE_ROOT);
    return d;
}

void dive_destroy(struct dive *d)
{
    if (!d)
        return;
    free(d->first), free(d->capacity), free(d->unit), free(d->price), free(d->agent), free(d->items), free(d->table);
    free(d);
}

typedef float lanes __attribute__((vector_size(32), aligned(4), may_alias));
typedef int32_t masks __attribute__((vector_size(32)));

/* g[x] = min(f[x], f[x - size] + v) for x up to room, a row of the table from the one before. */
WORK_CLONES
static void relax(const float *restrict f, float *restrict g, int32_t size, float v, int32_t room)
{
    int32_t x = size;
    memcpy(g, f, (size_t)size * sizeof *f);
    for (; x + 7 <= room; x += 8) {
        lanes a = *(const lanes *)&f[x], b = *(const lanes *)&f[x - size] + v;
        masks less = b < a;
        *(lanes *)&g[x] = (lanes)(((masks)b & less) | ((masks)a & ~less));
    }
    for (; x <= room; x++) {
        float a = f[x], b = f[x - size] + v;
        g[x] = b < a ? b : a;
    }
}

/* The cheapest set of open items for agent i at the prices; marks them in. */
static double knapsack(struct dive *d, uint32_t i, uint64_t *work)
{
    int32_t room = d->room[i];
    size_t row = (size_t)room + 1;
    float *f = d->table;
    memset(f, 0, row * sizeof *f);
    struct item *items = &d->items[d->first[i]];
    uint32_t n = d->first[i + 1] - d->first[i];
    for (uint32_t x = 0; x < n; x++) {
        struct item *it = &items[x];
        float v = it->cost - (float)d->price[it->task];
        it->in = d->agent[it->task] == OPEN && it->size <= room && v < 0;
        if (it->in) {
            relax(f, f + row, it->size, v, room);
            f += row;
            *work += row;
        }
    }
    double value = (double)f[room];
    int32_t at = room;
    for (uint32_t x = n; x-- > 0;) {
        if (!items[x].in)
            continue;
        f -= row;
        items[x].in = (f + row)[at] < f[at];
        if (items[x].in)
            at -= items[x].size;
    }
    return value;
}

/* Solve the knapsacks at d->price; update means by alpha. */
static double evaluate(struct dive *d, float alpha)
{
    double sum = d->fixed_cost;
    uint64_t work = 0;
    for (uint32_t j = 0; j < d->tasks; j++) {
        d->gap[j] = 0;
        if (d->agent[j] == OPEN)
            sum += d->price[j], d->gap[j] = 1;
    }
    for (uint32_t i = 0; i < d->agents; i++) {
        sum += knapsack(d, i, &work);
        for (uint32_t x = d->first[i]; x < d->first[i + 1]; x++) {
            struct item *it = &d->items[x];
            it->mean += alpha * ((it->in ? 1.0f : 0.0f) - it->mean);
            if (d->agent[it->task] == OPEN)
                d->gap[it->task] -= (double)it->mean;
        }
    }
    d->w->iterations += 1 + work / WORK_OF_A_CHAIN;
    return sum;
}

static void ascend(struct dive *d, uint32_t steps, double target, float alpha, bool fresh)
{
    memcpy(d->price, d->best, d->tasks * sizeof *d->price);
    d->value = evaluate(d, fresh ? 1 : alpha);
    uint32_t stale = 0;
    for (uint32_t s = 0; s < steps && !work_done(d->w); s++) {
        double norm = 0;
        for (uint32_t j = 0; j < d->tasks; j++)
            norm += d->gap[j] * d->gap[j];
        if (norm < 1e-9)
            break;
        double step = d->theta * FG_MAX(target - d->value, 1e-4 * fabs(target)) / norm;
        for (uint32_t j = 0; j < d->tasks; j++)
            d->price[j] = d->best[j] + step * d->gap[j];
        double value = evaluate(d, alpha);
        if (value > d->value) {
            d->value = value;
            memcpy(d->best, d->price, d->tasks * sizeof *d->price);
            d->theta = FG_MIN(2.0, d->theta * 1.1);
            stale = 0;
        } else if (++stale >= 5) {
            d->theta = FG_MAX(0.002, d->theta * 0.75);
            stale = 0;
        }
    }
}

static void reset(struct dive *d)
{
    memcpy(d->room, d->capacity, d->agents * sizeof *d->room);
    for (uint32_t j = 0; j < d->tasks; j++)
        d->agent[j] = OPEN;
    d->fixed_cost = 0;
}

void dive_root(struct dive *d)
{
    reset(d);
    ascend(d, d->root_steps, (double)d->w->best_cost, 0.08f, true);
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
        for (uint32_t x = d->first[i]; x < d->first[i + 1]; x++) {
            struct item *it = &d->items[x];
            if (d->agent[it->task] == OPEN && it->size <= d->room[i] && it->mean > 0)
                all[n++] = (struct choice){it->mean + noise * (float)(random_next(d->w->random) >> 40) * 0x1p-24f, x, i};
        }
    qsort(all, n, sizeof *all, by_key);
    for (uint32_t x = 0; x < n && (all[x].key >= sure || done < least); x++) {
        struct item *it = &d->items[all[x].item];
        if (d->agent[it->task] != OPEN || it->size > d->room[all[x].agent])
            continue;
        d->agent[it->task] = all[x].agent;
        d->room[all[x].agent] -= it->size;
        d->fixed_cost += (double)it->cost;
        done++;
    }
    return done;
}

void dive_run(struct dive *d, uint32_t *agent, const bool *opened)
{
    reset(d);
    uint32_t open = d->tasks;
    if (opened)
        for (uint32_t j = 0; j < d->tasks; j++)
            if (agent[j] < d->agents && !opened[agent[j]]) {
                uint32_t i = d->agent[j] = agent[j], c = d->w->class_of[j];
                d->room[i] -= (int32_t)((cell_need(d->w, c, d->w->kind_of[i], 0) + d->unit[i] - 1) / d->unit[i]);
                d->fixed_cost += (double)cell_cost(d->w, c, d->w->kind_of[i]);
                open--;
            }
    for (uint32_t i = 0; i < d->agents; i++)
        d->room[i] = FG_MAX(d->room[i], 0);
    memcpy(d->best, d->root, d->tasks * sizeof *d->best);
    FG_AUTO_FREE struct choice *all = fg_realloc(NULL, d->first[d->agents] + 1, sizeof *all);
    FG_AUTO_FREE struct item *keep = fg_realloc(NULL, d->first[d->agents] + 1, sizeof *keep);
    memcpy(keep, d->items, d->first[d->agents] * sizeof *keep);
    double theta = d->theta;
    d->theta = 0.3;
    if (opened)
        ascend(d, TUNE_DIVE_STEPS, (double)d->w->best_cost, 0.15f, false);
    while (open) {
        uint32_t n = fix(d, TUNE_DIVE_SURE, (uint32_t)(open * TUNE_DIVE_SHARE) + 1, (float)TUNE_DIVE_NOISE, all);
        if (!n)
            break;
        open -= n;
        if (open)
            ascend(d, TUNE_DIVE_STEPS, (double)d->w->best_cost, 0.15f, false);
    }
    for (uint32_t j = 0; j < d->tasks; j++)
        agent[j] = d->agent[j] == OPEN ? d->w->agents - 1 : d->agent[j];
    memcpy(d->items, keep, d->first[d->agents] * sizeof *keep);
    d->theta = theta;
}
