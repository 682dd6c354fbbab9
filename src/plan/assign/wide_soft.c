/* wide_soft.c - prices for a wide table: of a sample of its rows first, of the short lists of all rows after.
 *
 * As in soft.c a class spreads over its kinds by exp(-v / t). A sample of S rows says something of every kind only while a row spreads over
 * many of them: the temperature falls until a row counts as fewer than ENOUGH x kinds / S kinds, and the lists go on from there. */
#include <math.h>
#include <string.h>

#include "plan/assign/wide.h"

enum { SAMPLE = 200, REFINED = 500, REFINE_STEPS = 40, COARSE = 40, LANES = 8, STEPS_MOST = 40, SETTLE = 4 };
#define FAR_BANDS 6
#define ENOUGH 6.0
#define COOLING 0.7
#define DAMPING 0.7
#define STEP_MOST 3.0                   /* of t, in the cost of a mean need */
#define MEMORY 0.8                      /* of the step before */
#define HOTTER 3.0                      /* refining begins at so many times the sample's last temperature */
#define SIZES_PER_OCTAVE 3
#define COLDER 0.3                      /* and ends at this */
#define CLOSED 1e30f

typedef float f8 __attribute__((vector_size(32), aligned(4), may_alias));
typedef int32_t m8 __attribute__((vector_size(32), aligned(4), may_alias));

/* Demand by kind at some prices, and how it answers to them (times the temperature): to the kind's own price, and to all prices rising by
 * the same factor. That second one is a step of its own: it moves no demand between kinds, only within rows to smaller needs, and
 * single prices that each count on sending demand elsewhere would take hundreds of steps to rise together. */
struct response { float *used, *own, *common; double spread; };

struct sample {
    uint32_t rows, width;               /* width: kinds, to whole vectors */
    float *cost, *need;                 /* [rows][width] */
    float *nobody, *weight;             /* [rows] */
    float *price, *v;                   /* [width] */
    struct response now;
    double equal;                       /* how many kinds a row counts as: 1 / sum of p squared */
};

/* exp_minus on eight, as a macro: vectors as arguments would differ between the clones. */
#define EXP_MINUS(e, x) do { \
        f8 y = (x) * -1.442695f, low = {-120, -120, -120, -120, -120, -120, -120, -120}; \
        m8 under = y < low; \
        y = (f8)((under & (m8)low) | (~under & (m8)y)); \
        m8 whole = __builtin_convertvector(y, m8) - 1; \
        f8 f = y - __builtin_convertvector(whole, f8); \
        e = (f8)((whole + 127) << 23) * (1 + f * (0.6951786f + f * (0.2276112f + f * 0.0772102f))); \
    } while (0)

static void clear(struct response *r, uint32_t width)
{
    memset(r->used, 0, 3 * (size_t)width * sizeof *r->used);
    r->own = r->used + width, r->common = r->own + width, r->spread = 0;
}

/* What one row demands at the prices and temperature 1 / cold. */
WORK_CLONES
static float row_demand(struct sample *s, uint32_t row, float cold)
{
    const float *cost = &s->cost[(size_t)row * s->width], *need = &s->need[(size_t)row * s->width];
    float least = s->nobody[row], sum, squares = 0, weight = s->weight[row], mean = 0, second = 0;
    f8 min = {CLOSED, CLOSED, CLOSED, CLOSED, CLOSED, CLOSED, CLOSED, CLOSED}, total = {0}, square = {0}, first = {0}, two = {0};
    for (uint32_t x = 0; x < s->width; x += LANES) {
        f8 v = *(const f8 *)&cost[x] + *(const f8 *)&s->price[x] * *(const f8 *)&need[x];
        m8 less = v < min;
        *(f8 *)&s->v[x] = v;
        min = (f8)((less & (m8)v) | (~less & (m8)min));
    }
    for (int y = 0; y < LANES; y++)
        least = min[y] < least ? min[y] : least;
    for (uint32_t x = 0; x < s->width; x += LANES) {
        f8 e;
        EXP_MINUS(e, (*(f8 *)&s->v[x] - least) * cold);
        *(f8 *)&s->v[x] = e;
        total += e;
    }
    sum = exp_minus(fminf((s->nobody[row] - least) * cold, 100));
    for (int y = 0; y < LANES; y++)
        sum += total[y];
    for (uint32_t x = 0; x < s->width; x += LANES) {
        f8 p = *(f8 *)&s->v[x] / sum, paid = *(const f8 *)&need[x] * *(const f8 *)&s->price[x];
        *(f8 *)&s->v[x] = p;
        square += p * p;
        first += p * paid;
        two += p * paid * paid;
    }
    for (int y = 0; y < LANES; y++)
        squares += square[y], mean += first[y], second += two[y];
    for (uint32_t x = 0; x < s->width; x += LANES) {
        f8 p = *(f8 *)&s->v[x], a = *(const f8 *)&need[x], pa = p * a * weight;
        *(f8 *)&s->now.used[x] += pa;
        *(f8 *)&s->now.own[x] += pa * (1 - p) * a;
        *(f8 *)&s->now.common[x] += pa * (a * *(const f8 *)&s->price[x] - mean);
    }
    s->now.spread += (double)weight * (double)(second - mean * mean);
    return squares;
}

/* Of every so many-th row of the sample. */
static void demand(struct sample *s, double t, uint32_t stride)
{
    double squares = 0, rows = 0;
    clear(&s->now, s->width);
    for (uint32_t x = 0; x < s->rows; x += stride, rows++)
        squares += (double)row_demand(s, x, (float)(1 / t));
    s->equal = rows / FG_MAX(squares, 1e-9);
}

static void set_prices(struct sample *s, const struct wide *d)
{
    for (uint32_t k = 0; k < s->width; k++)
        s->price[k] = k < d->kinds ? (float)d->price[k] : 0;
}

/* Both kinds of step; the single prices answer what the common one is expected to leave. A price among a hundred alike counts on those to
 * take what it sends away, and so moves by a hundredth of what all of them need: with speed, zero at first, steps that
 * point the same way add up (heavy ball). NULL: no memory. */
static void newton(struct wide *d, const struct response *r, double t, float *speed)
{
    double most = STEP_MOST * t / d->need_mean, over = 0;
    for (uint32_t k = 0; k < d->kinds; k++)
        over += d->price[k] * ((double)r->used[k] - d->capacity[k]);
    double rise = r->spread > 0 ? DAMPING * over * t / r->spread : 0;
    rise = FG_MAX(-0.3, FG_MIN(0.5, rise));
    for (uint32_t k = 0; k < d->kinds; k++) {
        double left = (double)r->used[k] - rise * (double)r->common[k] / t - d->capacity[k];
        double step = DAMPING * left * t / FG_MAX((double)r->own[k], 1e-30);
        step = FG_MAX(-most, FG_MIN(most, step));
        if (speed)
            step = speed[k] = (float)(MEMORY * (double)speed[k] + step);
        d->price[k] = FG_MAX(0, d->price[k] * (1 + rise) + step);
    }
}

/* Every so many-th class, in the order given or (NULL) by number. */
static void take_rows(struct wide *d, struct sample *s, uint32_t most, const uint32_t *order)
{
    const struct work *w = d->w;
    uint32_t stride = (w->classes + most - 1) / most, K = d->kinds;
    double seen = 0, needs = 0, cells = 0;
    s->rows = (w->classes + stride - 1) / stride;
    s->width = (K + LANES - 1) / LANES * LANES;
    s->cost = fg_realloc(NULL, 2 * (size_t)s->rows * s->width + 2 * s->rows + 5 * (size_t)s->width, sizeof *s->cost);
    s->need = s->cost + (size_t)s->rows * s->width, s->nobody = s->need + (size_t)s->rows * s->width, s->weight = s->nobody + s->rows;
    s->price = s->weight + s->rows, s->v = s->price + s->width, s->now.used = s->v + s->width;
    for (uint32_t x = 0; x < s->rows; x++) {
        uint32_t at = FG_MIN(x * stride + (order ? stride / 2 : 0), w->classes - 1), c = order ? order[at] : at;
        s->weight[x] = (float)w->class_count[c];
        s->nobody[x] = (float)w->nobody[c];
        float *cost = &s->cost[(size_t)x * s->width], *need = &s->need[(size_t)x * s->width];
        for (uint32_t k = 0; k < s->width; k++) {
            bool open = k < K && cell_open(w, c, k);
            cost[k] = open ? (float)cell_cost(w, c, k) : CLOSED;
            need[k] = open ? (float)cell_need(w, c, k, 0) : 0;
            if (open)
                d->cost_hint = FG_MAX(d->cost_hint, fabs((double)cost[k])), needs += (double)need[k], cells++;
        }
        seen += w->class_count[c];
    }
    d->need_mean = FG_MAX(needs / FG_MAX(cells, 1), 1e-9);
    for (uint32_t x = 0; x < s->rows; x++) {
        s->weight[x] *= (float)(w->tasks / FG_MAX(seen, 1));
        if (!w->p->nobody_cost)
            s->nobody[x] = (float)(d->cost_hint * w->tasks);
    }
}

/* One price per share of capacity for all, so that demand is about what there is. */
static void common_price(struct wide *d, struct sample *s, double t)
{
    uint32_t stride = s->rows >= 4 * COARSE ? s->rows / COARSE : 1;
    double low = 0, high = 0, tau = t * d->kinds / d->w->tasks;
    for (int x = 0; x < 40; x++) {
        double over = 0, capacity = 0, at = high > 0 ? (low + high) / 2 : x ? tau : 0;
        for (uint32_t k = 0; k < d->kinds; k++)
            d->price[k] = at / d->capacity[k], capacity += 1;
        set_prices(s, d);
        demand(s, t, stride);
        for (uint32_t k = 0; k < d->kinds; k++)
            over += stride * (double)s->now.used[k] / d->capacity[k];
        if (x == 0 && over <= capacity)
            return;
        if (over > capacity)
            low = at, tau = at > 0 ? at * 4 : tau;
        else
            high = at;
        if (high > 0 && (high - low) < 0.05 * high)
            break;
    }
}

void wide_sample(struct wide *d)
{
    struct sample s;
    take_rows(d, &s, SAMPLE, NULL);
    double sum = 0, count = 0;
    for (uint32_t x = 0; x < s.rows; x++) {
        float min = CLOSED;
        for (uint32_t k = 0; k < d->kinds; k++)
            min = fminf(min, s.cost[(size_t)x * s.width + k]);
        for (uint32_t k = 0; k < d->kinds; k++)
            if (s.cost[(size_t)x * s.width + k] < CLOSED)
                sum += (double)(s.cost[(size_t)x * s.width + k] - min), count++;
    }
    double spread = FG_MAX(sum / FG_MAX(count, 1), 1e-6 * d->cost_hint + 1e-9), t = 0.5 * spread, enough = ENOUGH * d->kinds / s.rows;
    common_price(d, &s, t);
    for (int x = 0, still = 0; x < STEPS_MOST && still < SETTLE; x++) {
        double before = s.equal;
        set_prices(&s, d);
        demand(&s, t, 1);
        newton(d, &s.now, t, NULL);
        if (s.equal < enough || (s.equal < d->kinds / 8.0 && s.equal > 0.98 * before)) /* few enough, or alike: the temperature tells them apart no more */
            still++;
        else
            t *= COOLING;
    }
    d->band = t, d->far = FAR_BANDS * t;
    free(s.cost);
}

/* Classes by what they need, and those that need about the same by what they cost: of that order a sample takes some of each. By chance
 * alone, 500 rows of needs from 1 to 32 demand 4 % too much or too little, and all prices follow. */
struct place { int32_t size; float cost; uint32_t class; };
static int by_place(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    if (x->size != y->size)
        return x->size < y->size ? -1 : 1;
    return x->cost != y->cost ? (x->cost < y->cost ? -1 : 1) : (x->class > y->class) - (x->class < y->class);
}

static uint32_t *order_classes(const struct wide *d)
{
    const struct work *w = d->w;
    uint32_t *order = fg_realloc(NULL, w->classes, sizeof *order);
    FG_AUTO_FREE struct place *place = fg_realloc(NULL, w->classes, sizeof *place);
    for (uint32_t c = 0; c < w->classes; c++) {
        const struct cell *e = &d->cells[d->first[c]], *end = &d->cells[d->first[c + 1]];
        double need = 0, cost = 0, n = (double)FG_MAX(end - e, 1);
        for (; e < end; e++)
            need += e->need, cost += e->cost;
        place[c] = (struct place){(int32_t)(SIZES_PER_OCTAVE * log2(need / n + 1)), (float)(cost / n), c};
    }
    qsort(place, w->classes, sizeof *place, by_place);
    for (uint32_t c = 0; c < w->classes; c++)
        order[c] = place[c].class;
    return order;
}

double wide_refine(struct wide *d, double t)
{
    struct sample s;
    FG_AUTO_FREE uint32_t *order = order_classes(d);
    take_rows(d, &s, REFINED, order);
    FG_AUTO_FREE float *speed = fg_alloc(d->kinds * sizeof *speed);
    for (uint32_t x = 0; x < REFINE_STEPS && !work_done(d->w); x++) {
        double now = t * HOTTER * pow(COLDER / HOTTER, (double)x / (REFINE_STEPS - 1));
        set_prices(&s, d);
        demand(&s, now, 1);
        newton(d, &s.now, now, speed);
    }
    free(s.cost);
    return t * COLDER;
}

/* The same on the lists. */
static void list_demand(struct wide *d, double t, struct response *r)
{
    const struct work *w = d->w;
    float v[CELLS_MOST], cold = (float)(1 / t);
    clear(r, d->kinds);
    for (uint32_t c = 0; c < w->classes; c++) {
        const struct cell *e = &d->cells[d->first[c]];
        uint32_t n = d->first[c + 1] - d->first[c];
        double min = (double)w->nobody[c], at[CELLS_MOST], paid[CELLS_MOST], mean = 0, second = 0;
        for (uint32_t y = 0; y < n; y++) {
            paid[y] = d->price[e[y].kind] * e[y].need;
            at[y] = e[y].cost + paid[y];
            min = at[y] < min ? at[y] : min;
        }
        float sum = exp_minus(fminf((float)((double)w->nobody[c] - min) * cold, 100)), count = (float)w->class_count[c];
        for (uint32_t y = 0; y < n; y++)
            sum += v[y] = exp_minus((float)(at[y] - min) * cold);
        for (uint32_t y = 0; y < n; y++) {
            v[y] /= sum;
            mean += (double)v[y] * paid[y], second += (double)v[y] * paid[y] * paid[y];
        }
        for (uint32_t y = 0; y < n; y++) {
            float a = (float)e[y].need, pa = v[y] * count * a;
            r->used[e[y].kind] += pa;
            r->own[e[y].kind] += pa * (1 - v[y]) * a;
            r->common[e[y].kind] += pa * (float)(paid[y] - mean);
        }
        r->spread += (double)count * (second - mean * mean);
    }
}

void wide_soften(struct wide *d, double t0, double t1, uint32_t steps)
{
    FG_AUTO_FREE float *used = fg_realloc(NULL, 3 * (size_t)d->kinds, sizeof *used);
    struct response r = {.used = used};
    for (uint32_t s = 0; s < steps && !work_done(d->w); s++) {
        double t = t0 * pow(t1 / t0, (double)s / FG_MAX(steps - 1.0, 1.0));
        list_demand(d, t, &r);
        newton(d, &r, t, NULL);
    }
}
