/* bound.c - prices of capacity, and the bound that they certify.
 *
 * For any prices u >= 0 per kind and resource,
 *     L(u) = sum over classes c of count[c] x min over kinds k of (cost[c][k] + sum_r u[k][r] need[c][k][r])
 *            - sum over k, r of u[k][r] x capacity[k][r]
 * is a lower bound: a feasible assignment pays its cost, plus u x what it uses, less u x what there is, which is <= 0.
 * The best u gives the bound of the linear relaxation. Agents of a kind share their price, for L is concave and
 * symmetric in them. First prices come from a smoothed L (soft.c), which kinds that are nearly alike cannot make run in
 * circles; then a deflected subgradient (Camerini, Fratta, Maffioli 1975) with Polyak's step in capacity-scaled prices.
 * Both work on a short list of kinds per class that is renewed from the full table. */
#include <math.h>
#include <string.h>

#include "plan/assign/dual.h"

/* Kinds per class in the lists: a class of many tasks spreads over many kinds, and few classes leave room for it. */
static bool is_dense(const struct work *w) { return (double)w->classes * w->kinds > 2e6; }
static uint32_t list_most(const struct work *w) { return is_dense(w) ? 24 : FG_MAX(24u, 60000u / FG_MAX(w->classes, 1u)); }

/* The kinds of class c that are cheapest at prices u, at most `most` of them, unordered; nobody is always among them. */
static uint32_t cheapest(const struct work *w, uint32_t c, const double *u, uint32_t most, double *row, double *key, struct entry *out)
{
    uint32_t found = 0, R = w->resources, kinds = w->kinds - 1;
    const int64_t *cost = &w->p->cost[(size_t)c * kinds], *need = &w->p->need[(size_t)c * kinds * R];
    double worst = INFINITY;
    uint32_t at_worst = 0;
    if (R == 1)                                          /* the whole table passes here: a loop without branches */
        for (uint32_t k = 0; k < kinds; k++)
            row[k] = (double)cost[k] + u[k] * (double)need[k];
    for (uint32_t k = 0; k < kinds; k++) {
        double v = row[k];
        if (R > 1) {
            v = (double)cost[k];
            for (uint32_t r = 0; r < R; r++)
                v += u[k * R + r] * (double)need[k * R + r];
        }
        if (v >= worst || !cell_open(w, c, k))
            continue;
        uint32_t slot = found < most - 1 ? found++ : at_worst;
        out[slot].kind = k;
        key[slot] = v;
        if (found == most - 1) {
            worst = key[0], at_worst = 0;
            for (uint32_t s = 1; s < found; s++)
                if (key[s] > worst)
                    worst = key[s], at_worst = s;
        }
    }
    key[found] = (double)w->nobody[c];
    out[found++].kind = w->kinds - 1;
    for (uint32_t s = 0; s < found; s++) {
        out[s].cost = (double)cell_cost(w, c, out[s].kind);
        for (uint32_t r = 0; r < RMAX; r++)
            out[s].need[r] = r < R ? (double)cell_need(w, c, out[s].kind, r) : 0;
    }
    return found;
}

static void list_make(struct dual *d, uint32_t most)
{
    struct work *w = d->w;
    FG_AUTO_FREE double *row = fg_realloc(NULL, 2 * (size_t)w->kinds + 2, sizeof *row);
    double *key = row + w->kinds + 1;
    uint32_t at = 0;
    most = FG_MIN(most, w->kinds);
    if (!d->list)
        d->list = fg_realloc(NULL, (size_t)w->classes * most, sizeof *d->list);
    for (uint32_t c = 0; c < w->classes; c++) {
        d->first[c] = at;
        at += cheapest(w, c, d->best_u, most, row, key, &d->list[at]);
    }
    d->first[w->classes] = at;
    free(d->slim);
    d->slim = NULL;
    if (w->resources == 1 && w->cost_most < 1 << 24) {   /* whole numbers that a float holds */
        d->slim = fg_realloc(NULL, at, sizeof *d->slim);
        for (uint32_t x = 0; x < at; x++)
            d->slim[x] = (struct slim){(float)d->list[x].cost, (float)d->list[x].need[0], d->list[x].kind};
    }
}

/* The same for one resource, over lists of a third of the size. */
static double evaluate_one(struct dual *d)
{
    const struct work *w = d->w;
    double sum = 0;
    for (uint32_t c = 0; c < w->classes; c++) {
        const struct slim *e = &d->slim[d->first[c]], *end = &d->slim[d->first[c + 1]], *least = e;
        double min = INFINITY;
        for (; e < end; e++) {
            double v = (double)e->cost + d->u[e->kind] * (double)e->need;
            least = v < min ? e : least;
            min = v < min ? v : min;
        }
        sum += w->class_count[c] * min;
        d->used[least->kind] += w->class_count[c] * (double)least->need;
    }
    for (uint32_t x = 0; x < d->dim; x++)
        sum -= d->u[x] * d->capacity[x];
    return sum;
}

/* L at u over the lists, and what is used of each resource then. */
static double evaluate(struct dual *d)
{
    const struct work *w = d->w;
    uint32_t R = w->resources;
    double sum = 0;
    memset(d->used, 0, (d->dim + R) * sizeof *d->used);
    if (d->slim)
        return evaluate_one(d);
    for (uint32_t c = 0; c < w->classes; c++) {
        const struct entry *e = &d->list[d->first[c]], *end = &d->list[d->first[c + 1]], *least = e;
        double min = INFINITY;
        for (; e < end; e++) {
            double v = e->cost + d->u[e->kind * R] * e->need[0];
            for (uint32_t r = 1; r < R; r++)
                v += d->u[e->kind * R + r] * e->need[r];
            if (v < min)
                min = v, least = e;
        }
        double count = w->class_count[c];
        sum += count * min;
        for (uint32_t r = 0; r < R; r++)
            d->used[least->kind * R + r] += count * least->need[r];
    }
    for (uint32_t x = 0; x < d->dim; x++)
        sum -= d->u[x] * d->capacity[x];
    return sum;
}

/* One round of subgradient steps from best_u. Returns how much the value rose. */
static double ascend(struct dual *d, uint32_t steps, double *theta)
{
    struct work *w = d->w;
    memcpy(d->u, d->best_u, (d->dim + w->resources) * sizeof *d->u);
    double best = evaluate(d), before = best, target = best + fabs(best) * 0.02 + 1;
    memset(d->dir, 0, d->dim * sizeof *d->dir);
    uint32_t stale = 0;
    d->value = best;
    double value = best;
    for (uint32_t s = 0; s < steps; s++) {
        double norm = 0, dot = 0, dnorm = 0;
        for (uint32_t x = 0; x < d->dim; x++) {
            double g = (d->used[x] - d->capacity[x]) / d->capacity[x];
            if (d->u[x] <= 0 && g < 0)
                g = 0;
            d->used[x] = g;
            dot += g * d->dir[x];
            dnorm += d->dir[x] * d->dir[x];
        }
        double beta = dot < 0 && dnorm > 0 ? -1.5 * dot / dnorm : 0;
        if (dot >= 0 && dnorm > 0) beta = 0.3;
        for (uint32_t x = 0; x < d->dim; x++) {
            d->dir[x] = d->used[x] + beta * d->dir[x];
            norm += d->dir[x] * d->dir[x];
        }
        if (norm < 1e-18)
            break;
        double step = *theta * (target - value) / norm;
        for (uint32_t x = 0; x < d->dim; x++) {
            double u = d->u[x] + step * d->dir[x] / d->capacity[x];
            d->u[x] = u > 0 ? u : 0;
        }
        value = evaluate(d);
        if (value > best) {
            if (value > best + 1e-6 * fabs(best))
                stale = 0;
            best = value;
            memcpy(d->best_u, d->u, d->dim * sizeof *d->u);
            if (value > target - 0.3 * fabs(target - before))
                target = value + fabs(value) * 0.01 + 1;
        } else if (++stale >= 12) {
            *theta *= 0.6;
            stale = 0;
            memcpy(d->u, d->best_u, d->dim * sizeof *d->u);
            value = evaluate(d);
            memset(d->dir, 0, d->dim * sizeof *d->dir);
        }
        if ((s & 15) == 15 && work_done(w))
            break;
    }
    d->value = best;
    return best - before;
}

/* L at the prices u rounded to multiples of 2^-shift, in integers; rounding u loses nothing of the proof. */
static int64_t certify(const struct work *w, const double *u)
{
    uint32_t R = w->resources, K = w->kinds - 1;
    double largest = 1;
    for (uint32_t k = 0; k < K; k++)
        for (uint32_t r = 0; r < R; r++)
            largest = FG_MAX(largest, u[k * R + r] * (double)w->kind_largest[k * R + r]);
    for (uint32_t c = 0; c < w->classes; c++)
        largest = FG_MAX(largest, fabs((double)w->nobody[c]));
    largest = FG_MAX(largest, (double)w->cost_most);
    int shift = (int)floor(log2(0x1p60 / (largest * (R + 2))));
    shift = FG_MAX(0, FG_MIN(shift, 24));
    FG_AUTO_FREE int64_t *q = fg_realloc(NULL, (size_t)w->kinds * R, sizeof *q);
    __int128 sum = 0;
    for (uint32_t x = 0; x < K * R; x++) {
        q[x] = llround(ldexp(u[x], shift));
        sum -= (__int128)q[x] * w->kind_capacity[x];
    }
    for (uint32_t c = 0; c < w->classes; c++) {
        int64_t min = (int64_t)((uint64_t)w->nobody[c] << shift);
        const int64_t *cost = &w->p->cost[(size_t)c * K], *need = &w->p->need[(size_t)c * K * R];
        for (uint32_t k = 0; R == 1 && k < K; k++) {     /* the same without a call for each cell */
            bool open = cost[k] != FG_ASSIGN_NEVER && need[k] <= w->kind_largest[k] && w->kind_first[k + 1] > w->kind_first[k];
            int64_t v = open ? (int64_t)((uint64_t)cost[k] << shift) + q[k] * need[k] : INT64_MAX;
            min = FG_MIN(min, v);
        }
        for (uint32_t k = 0; R > 1 && k < K; k++) {
            if (!cell_open(w, c, k))
                continue;
            int64_t v = (int64_t)((uint64_t)cell_cost(w, c, k) << shift);
            for (uint32_t r = 0; r < R; r++)
                v += q[k * R + r] * cell_need(w, c, k, r);
            min = FG_MIN(min, v);
        }
        sum += (__int128)min * w->class_count[c];
    }
    __int128 unit = (__int128)1 << shift;
    __int128 whole = sum / unit + (sum % unit > 0);      /* costs are whole: round up */
    return (int64_t)whole;
}

/* What a uniform price t per capacity-share leaves demanded of everything, less what there is, in shares. */
static double excess_demand(const struct work *w, const double *scale, double t, uint32_t stride)
{
    uint32_t R = w->resources, seen = 0;
    double demand = 0;
    for (uint32_t c = 0; c < w->classes; c += stride) {
        double min = (double)w->nobody[c], load = 0;
        for (uint32_t k = 0; k + 1 < w->kinds; k++) {
            if (!cell_open(w, c, k))
                continue;
            double size = 0;
            for (uint32_t r = 0; r < R; r++)
                size += scale[k * R + r] * (double)cell_need(w, c, k, r);
            double v = (double)cell_cost(w, c, k) + t * size;
            if (v < min)
                min = v, load = size;
        }
        demand += load * w->class_count[c];
        seen += w->class_count[c];
    }
    return demand * w->tasks / FG_MAX(seen, 1u) - (double)(w->kinds - 1) * R;
}

/* Prices to begin with: u = t / capacity of the kind, t by bisection, so that demand is about what there is. Without
 * them the first short lists would hold the kinds that are cheap when capacity is free, which are the wrong ones. */
static void uniform_prices(struct dual *d)
{
    struct work *w = d->w;
    FG_AUTO_FREE double *scale = fg_realloc(NULL, d->dim + 1, sizeof *scale);
    for (uint32_t x = 0; x < d->dim; x++)
        scale[x] = 1 / d->capacity[x];
    double cells = (double)w->classes * w->kinds;
    uint32_t stride = cells > 4e4 ? (uint32_t)(cells / 4e4) + 1 : 1;
    double low = 0, high = 1;
    for (int x = 0; x < 60 && excess_demand(w, scale, high, stride) > 0; x++)
        low = high, high *= 4;
    if (low > 0 || excess_demand(w, scale, 0, stride) > 0)
        for (int x = 0; x < 12; x++) {
            double mid = (low + high) / 2;
            *(excess_demand(w, scale, mid, stride) > 0 ? &low : &high) = mid;
        }
    else
        high = 0;
    for (uint32_t x = 0; x < d->dim; x++)
        d->best_u[x] = high * scale[x];
}

void fg_assign_prices(struct work *w)
{
    uint32_t R = w->resources;
    struct dual *d = w->dual = fg_alloc(sizeof *d);
    d->w = w;
    d->dim = (w->kinds - 1) * R;
    size_t room = d->dim + R;
    d->first = fg_realloc(NULL, w->classes + 1, sizeof *d->first);
    d->capacity = fg_realloc(NULL, room * 5, sizeof *d->capacity);
    d->u = d->capacity + room, d->best_u = d->u + room, d->used = d->best_u + room, d->dir = d->used + room;
    memset(d->u, 0, 2 * room * sizeof *d->u);
    for (uint32_t x = 0; x < d->dim; x++)
        d->capacity[x] = FG_MAX(1.0, (double)w->kind_capacity[x]);
    w->price = fg_alloc(room * sizeof *w->price);
    if (is_dense(w))
        uniform_prices(d);                               /* a sample alone would be too small to tell so many kinds apart */
    dual_soft_sample(d, is_dense(w));
    list_make(d, list_most(w));
    memcpy(w->price, d->best_u, d->dim * sizeof *d->u);
}

void fg_assign_bound(struct work *w)
{
    struct dual *d = w->dual;
    double theta = 1;
    if (!is_dense(w))
        dual_soft_lists(d);
    /* Long lists are stepped over less often, so that a first answer comes in time. */
    double entries = (double)w->classes * FG_MIN(w->kinds, list_most(w));
    uint32_t steps = (uint32_t)fmin(fmax(1e7 / entries, 40), 250), rounds = 4;
    for (uint32_t round = 0; round < rounds; round++) {
        if (round)
            list_make(d, list_most(w));
        double rose = ascend(d, round ? steps * 3 / 5 : steps, &theta);
        if (round && rose < 1e-7 * fabs(d->value))
            break;
    }
    memcpy(w->price, d->best_u, d->dim * sizeof *d->u);
    w->bound = certify(w, w->price);
    free(d->list);
    free(d->slim);
    free(d->first);
    free(d->capacity);
    free(d);
    w->dual = NULL;
}

static int by_reduced(const void *a, const void *b)
{
    const struct option *x = a, *y = b;
    return x->reduced != y->reduced ? (x->reduced < y->reduced ? -1 : 1) : (x->kind > y->kind) - (x->kind < y->kind);
}

/* Options of the lists at hand, for the first assignment: no pass over the table. Lists are short and nearly in order. */
void fg_assign_options_of_lists(struct work *w)
{
    const struct dual *d = w->dual;
    uint32_t R = w->resources;
    w->options = fg_realloc(NULL, d->first[w->classes], sizeof *w->options);
    w->option_first = fg_realloc(NULL, w->classes + 1, sizeof *w->option_first);
    memcpy(w->option_first, d->first, (w->classes + 1) * sizeof *d->first);
    for (uint32_t c = 0; c < w->classes; c++) {
        struct option *o = &w->options[d->first[c]];
        double least = INFINITY;
        uint32_t n = d->first[c + 1] - d->first[c];
        for (int pass = 0; pass < 2; pass++)
            for (uint32_t x = 0; x < n; x++) {
                const struct entry *e = &d->list[d->first[c] + x];
                double v = e->cost;
                for (uint32_t r = 0; r < R; r++)
                    v += w->price[e->kind * R + r] * e->need[r];
                if (pass == 0) {
                    least = FG_MIN(least, v);
                    continue;
                }
                o[x] = (struct option){.cost = cell_cost(w, c, e->kind), .kind = e->kind, .reduced = (float)(v - least)};
                for (uint32_t r = 0; r < R; r++)
                    o[x].need[r] = cell_need(w, c, e->kind, r);
            }
        qsort(o, n, sizeof *o, by_reduced);
    }
}

void fg_assign_options_make(struct work *w, uint32_t most)
{
    uint32_t R = w->resources, at = 0;
    most = FG_MIN(most, w->kinds);
    FG_AUTO_FREE double *row = fg_realloc(NULL, 2 * (size_t)w->kinds + 2, sizeof *row);
    double *key = row + w->kinds + 1;
    FG_AUTO_FREE struct entry *found = fg_realloc(NULL, most + 1, sizeof *found);
    free(w->options);
    free(w->option_first);
    w->options = fg_realloc(NULL, (size_t)w->classes * most, sizeof *w->options);
    w->option_first = fg_realloc(NULL, w->classes + 1, sizeof *w->option_first);
    for (uint32_t c = 0; c < w->classes; c++) {
        w->option_first[c] = at;
        uint32_t n = cheapest(w, c, w->price, most, row, key, found);
        double least = INFINITY;
        for (uint32_t s = 0; s < n; s++)
            least = FG_MIN(least, key[s]);
        for (uint32_t s = 0; s < n; s++, at++) {
            struct option *o = &w->options[at];
            *o = (struct option){.cost = cell_cost(w, c, found[s].kind), .kind = found[s].kind, .reduced = (float)(key[s] - least)};
            for (uint32_t r = 0; r < R; r++)
                o->need[r] = cell_need(w, c, found[s].kind, r);
        }
        qsort(&w->options[w->option_first[c]], n, sizeof *w->options, by_reduced);
    }
    w->option_first[w->classes] = at;
}
