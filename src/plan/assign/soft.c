/* soft.c - first prices, from demand that does not jump.
 *
 * In L(u) every class takes its one cheapest kind, so of two kinds that are nearly alike one gets all and the other
 * nothing, and steps along the subgradient lead to and fro between them. Here a class spreads over its kinds k by
 *     p[k] = exp(-v[k] / t) / sum exp(-v / t)       v[k] = cost + u x need
 * which is the gradient of L with min replaced by its smooth form; the temperature t falls. Each price moves by a Newton
 * step of its own: (demand - capacity) / (n p (1 - p) need^2 / t), no further than a few t at once. Any u >= 0 gives a
 * bound, so nothing here needs a proof. */
#include <math.h>
#include <string.h>

#include "plan/assign/dual.h"

enum { SAMPLE_CELLS = 60000, SAMPLE_STEPS = 40, ROUGH_STEPS = 12, LIST_STEPS = 30 };
#define STEP_MOST 3.0                   /* of t, in the cost of a mean need */
#define DAMPING 0.7
#define ROUGH_HOT 0.3                   /* of the spread of costs */
#define ROUGH_COLD 0.05

struct rows {
    struct entry *list;
    uint32_t *first, *class_of;         /* rows + 1; rows */
    uint32_t count;
    double weight;                      /* of each, since a sample stands for all */
};

/* Demand at best_u and temperature t, and its slope. */
static void demand(const struct dual *d, const struct rows *rows, double t, float *v, double *used, double *slope)
{
    uint32_t R = d->w->resources;
    const double *u = d->best_u;
    memset(used, 0, (d->dim + R) * sizeof *used);
    memset(slope, 0, (d->dim + R) * sizeof *slope);
    for (uint32_t x = 0; x < rows->count; x++) {
        const struct entry *e = &rows->list[rows->first[x]];
        uint32_t n = rows->first[x + 1] - rows->first[x];
        double min = INFINITY;
        float sum = 0;
        for (uint32_t y = 0; y < n; y++) {
            double at = e[y].cost;
            for (uint32_t r = 0; r < R; r++)
                at += u[e[y].kind * R + r] * e[y].need[r];
            min = at < min ? at : min;
        }
        for (uint32_t y = 0; y < n; y++) {
            double at = e[y].cost - min;
            for (uint32_t r = 0; r < R; r++)
                at += u[e[y].kind * R + r] * e[y].need[r];
            sum += v[y] = exp_minus((float)(at / t));
        }
        double count = rows->weight * d->w->class_count[rows->class_of[x]];
        for (uint32_t y = 0; y < n; y++) {
            double p = (double)(v[y] / sum);
            if (p < 1e-6)
                continue;
            for (uint32_t r = 0; r < R; r++) {
                used[e[y].kind * R + r] += count * p * e[y].need[r];
                slope[e[y].kind * R + r] += count * p * (1 - p) * e[y].need[r] * e[y].need[r] / t;
            }
        }
    }
}

static void soften(struct dual *d, const struct rows *rows, double t0, double t1, uint32_t steps)
{
    uint32_t R = d->w->resources;
    size_t room = d->dim + R;
    double need = 0, cells = 0;
    FG_AUTO_FREE double *used = fg_realloc(NULL, 2 * room, sizeof *used);
    FG_AUTO_FREE float *v = fg_realloc(NULL, d->w->kinds + 1, sizeof *v);
    double *slope = used + room;
    for (uint32_t y = 0; y < rows->first[rows->count]; y++)
        for (uint32_t r = 0; r < R; r++)
            need += rows->list[y].need[r], cells += rows->list[y].need[r] > 0;
    need = FG_MAX(need / FG_MAX(cells, 1), 1e-9);
    for (uint32_t s = 0; s < steps; s++) {
        double t = t0 * pow(t1 / t0, (double)s / FG_MAX(steps - 1.0, 1.0)), most = STEP_MOST * t / need;
        demand(d, rows, t, v, used, slope);
        for (uint32_t x = 0; x < d->dim; x++) {
            double g = used[x] - d->capacity[x], step = DAMPING * g / FG_MAX(slope[x], 1e-30);
            d->best_u[x] = FG_MAX(0, d->best_u[x] + FG_MAX(-most, FG_MIN(most, step)));
        }
    }
}

/* What being placed anywhere rather than at one's best costs on average: where temperatures begin. */
static double spread(const struct dual *d, const struct rows *rows)
{
    double sum = 0, count = 0;
    for (uint32_t x = 0; x < rows->count; x++) {
        const struct entry *e = &rows->list[rows->first[x]];
        uint32_t n = rows->first[x + 1] - rows->first[x];
        double min = INFINITY;
        for (uint32_t y = 0; y < n; y++)
            min = e[y].cost < min ? e[y].cost : min;
        for (uint32_t y = 0; y < n; y++)
            if (e[y].kind + 1 < d->w->kinds)
                sum += e[y].cost - min, count++;
    }
    return FG_MAX(sum / FG_MAX(count, 1), 1e-6 * (double)d->w->cost_span + 1e-9);
}

/* L at best_u over the rows alone. */
static double hard_value(const struct dual *d, const struct rows *rows)
{
    uint32_t R = d->w->resources;
    double sum = 0;
    for (uint32_t x = 0; x < rows->count; x++) {
        double min = INFINITY;
        for (uint32_t y = rows->first[x]; y < rows->first[x + 1]; y++) {
            double at = rows->list[y].cost;
            for (uint32_t r = 0; r < R; r++)
                at += d->best_u[rows->list[y].kind * R + r] * rows->list[y].need[r];
            min = at < min ? at : min;
        }
        sum += rows->weight * d->w->class_count[rows->class_of[x]] * min;
    }
    for (uint32_t x = 0; x < d->dim; x++)
        sum -= d->best_u[x] * d->capacity[x];
    return sum;
}

/* From the prices at hand, at temperatures where a sample does not yet tell single kinds apart. */
static void soften_rough(struct dual *d, const struct rows *rows, double t)
{
    FG_AUTO_FREE double *before = fg_realloc(NULL, d->dim + 1, sizeof *before);
    double value = hard_value(d, rows);
    memcpy(before, d->best_u, d->dim * sizeof *before);
    soften(d, rows, ROUGH_HOT * t, ROUGH_COLD * t, ROUGH_STEPS);
    if (hard_value(d, rows) < value)
        memcpy(d->best_u, before, d->dim * sizeof *before);
}

void dual_soft_sample(struct dual *d, bool rough)
{
    const struct work *w = d->w;
    uint32_t most = FG_MAX(SAMPLE_CELLS / w->kinds, 60u), stride = (w->classes + most - 1) / most, R = w->resources;
    struct rows rows = {0};
    uint32_t n = (w->classes + stride - 1) / stride, at = 0, seen = 0;
    rows.list = fg_realloc(NULL, (size_t)n * w->kinds, sizeof *rows.list);
    rows.first = fg_realloc(NULL, n + 1, sizeof *rows.first);
    rows.class_of = fg_realloc(NULL, n, sizeof *rows.class_of);
    for (uint32_t c = 0; c < w->classes; c += stride) {
        rows.first[rows.count] = at;
        rows.class_of[rows.count++] = c;
        seen += w->class_count[c];
        for (uint32_t k = 0; k < w->kinds; k++) {
            if (k + 1 < w->kinds && !cell_open(w, c, k))
                continue;
            struct entry *e = &rows.list[at++];
            *e = (struct entry){.cost = (double)cell_cost(w, c, k), .kind = k};
            for (uint32_t r = 0; r < R; r++)
                e->need[r] = (double)cell_need(w, c, k, r);
        }
    }
    rows.first[rows.count] = at;
    rows.weight = (double)w->tasks / FG_MAX(seen, 1u);
    double t = spread(d, &rows);
    if (rough)
        soften_rough(d, &rows, t);
    else
        soften(d, &rows, 0.5 * t, 0.01 * t, SAMPLE_STEPS);
    free(rows.list), free(rows.first), free(rows.class_of);
}

void dual_soft_lists(struct dual *d)
{
    FG_AUTO_FREE uint32_t *class_of = fg_realloc(NULL, d->w->classes, sizeof *class_of);
    for (uint32_t c = 0; c < d->w->classes; c++)
        class_of[c] = c;
    struct rows rows = {d->list, d->first, class_of, d->w->classes, 1};
    double t = spread(d, &rows);
    /* Classes of many tasks need it to settle: they would move as a whole in what follows. */
    double long_run = fmin(fmax(8e6 / FG_MAX(rows.first[rows.count], 1u), LIST_STEPS), 400);
    uint32_t steps = d->w->classes > d->w->tasks / 4 ? LIST_STEPS : (uint32_t)long_run;
    soften(d, &rows, 0.1 * t, 0.003 * t, steps);
    soften(d, &rows, 0.003 * t, 0.0003 * t, steps / 2);
}
