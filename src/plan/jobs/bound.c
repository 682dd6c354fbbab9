/* bound.c - what a set of jobs must cost at least.
 *
 * Cut time into windows w. Job j may spend y[j][k][w] seconds on kind k in w, no more in all than its part len[j][w] of w
 * between arrival and deadline; its steps must be done; GPUs x seconds on k in w are limited by cap[k][w]. That relaxes
 * every schedule. For any prices u[k][w] >= 0 of GPU seconds and m[j] >= 0 of a step,
 *     L = sum_j ( m[j] work[j] - sum_w len[j][w] max(0, max_k (m[j] rate[j][k] - g[j] (p[k] + u[k][w]))) ) - sum u cap
 * is below its optimum, and is the optimum at the best u and m. For given u the best m[j] is found exactly: the bracket is
 * concave in m, and its slope is work less what is done at that price. u is raised by subgradient steps. */
#include <string.h>

#include "plan/jobs/private.h"

struct bound {
    const struct fg_jobs_kind *kinds;
    uint32_t kind_count, windows, count;
    const struct fg_job *jobs;
    double *edge;                        /* [windows + 1] */
    double *u, *cap, *used, *best;       /* [windows][kinds] */
};

static double part(const struct bound *b, const struct fg_job *j, uint32_t w)
{
    return fmax(0, fmin(j->deadline_s, b->edge[w + 1]) - fmax(j->arrival_s, b->edge[w]));
}

/* What one second in w is worth at price m of a step, and on which kind; 0 and kind_count: nothing is worth it. */
static double worth(const struct bound *b, const struct fg_job *j, uint32_t w, double m, uint32_t *ret_kind)
{
    double best = 0;
    *ret_kind = b->kind_count;
    for (uint32_t k = 0; k < b->kind_count; k++) {
        double v = m * j->rate[k] - j->gpus * (b->kinds[k].price_per_s + b->u[w * b->kind_count + k]);
        if (v > best)
            best = v, *ret_kind = k;
    }
    return best;
}

static double done_at(const struct bound *b, const struct fg_job *j, double m, uint32_t from, uint32_t to)
{
    double steps = 0;
    uint32_t k;
    for (uint32_t w = from; w < to; w++)
        if (worth(b, j, w, m, &k) > 0)
            steps += part(b, j, w) * j->rate[k];
    return steps;
}

/* The best of the bracket over m >= 0; adds what the job uses then. */
static double job_bound(const struct bound *b, const struct fg_job *j, double *used)
{
    uint32_t from = 0, to = b->windows, k;
    double low = 0, high = 1e-9;
    while (from + 1 < to && b->edge[from + 1] <= j->arrival_s)
        from++;
    while (to > from + 1 && b->edge[to - 1] >= j->deadline_s)
        to--;
    for (int x = 0; x < 200 && done_at(b, j, high, from, to) < j->work; x++)
        low = high, high *= 2;
    for (int x = 0; x < 60; x++) {
        double mid = (low + high) / 2;
        *(done_at(b, j, mid, from, to) < j->work ? &low : &high) = mid;
    }
    double v = low * j->work, over = done_at(b, j, high, from, to), under = done_at(b, j, low, from, to);
    double share = over > under ? (j->work - under) / (over - under) : 0;  /* at the kink: part of one, part of the other */
    for (uint32_t w = from; w < to; w++) {
        double at = worth(b, j, w, low, &k);
        v -= part(b, j, w) * at;
        if (used && k < b->kind_count)
            used[w * b->kind_count + k] += (1 - share) * j->gpus * part(b, j, w);
        if (used && worth(b, j, w, high, &k) > 0)
            used[w * b->kind_count + k] += share * j->gpus * part(b, j, w);
    }
    return v;
}

static double evaluate(struct bound *b)
{
    double sum = 0;
    size_t cells = (size_t)b->windows * b->kind_count;
    memset(b->used, 0, cells * sizeof *b->used);
    for (uint32_t x = 0; x < b->count; x++)
        sum += job_bound(b, &b->jobs[x], b->used);
    for (size_t x = 0; x < cells; x++)
        sum -= b->u[x] * b->cap[x];
    return sum;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Windows hold as many arrivals and deadlines each; the last ends with the last deadline. */
static void cut(struct bound *b)
{
    FG_AUTO_FREE double *all = fg_realloc(NULL, 2 * (size_t)b->count + 1, sizeof *all);
    size_t n = 0;
    double last = 0;
    for (uint32_t x = 0; x < b->count; x++) {
        const struct fg_job *j = &b->jobs[x];
        double slowest = 0;
        for (uint32_t k = 0; k < b->kind_count; k++)
            slowest = fmax(slowest, j->rate[k] > 0 ? j->work / j->rate[k] : 0);
        all[n++] = j->arrival_s;
        if (!isinf(j->deadline_s))
            all[n++] = j->deadline_s;
        last = fmax(last, isinf(j->deadline_s) ? j->arrival_s + slowest : j->deadline_s);
    }
    qsort(all, n, sizeof *all, by_size);
    for (uint32_t w = 0; w < b->windows; w++)
        b->edge[w] = w == 0 ? 0 : all[(size_t)w * n / b->windows];
    b->edge[b->windows] = INFINITY;
    for (uint32_t w = 0; w < b->windows; w++)
        for (uint32_t k = 0; k < b->kind_count; k++)
            b->cap[w * b->kind_count + k] = b->kinds[k].gpus * (fmin(b->edge[w + 1], fmax(last, b->edge[w])) - b->edge[w]);
    b->edge[b->windows] = last + 1;
}

double fg_jobs_bound(const struct fg_jobs_kind *kinds, uint32_t kind_count, const struct fg_job *jobs, uint32_t count, uint32_t windows)
{
    struct bound b = {.kinds = kinds, .kind_count = kind_count, .jobs = jobs, .count = count, .windows = FG_MAX(windows, 1u)};
    if (count == 0)
        return 0;
    FG_AUTO_FREE struct fg_job *timed = fg_realloc(NULL, count, sizeof *timed);
    size_t cells = (size_t)b.windows * kind_count;
    double theta = 1, best;
    memcpy(timed, jobs, count * sizeof *timed);
    for (uint32_t x = 0; x < count; x++)                 /* no deadline: late enough not to matter */
        if (isinf(timed[x].deadline_s))
            timed[x].deadline_s = 1e15;
    b.jobs = timed;
    b.edge = fg_alloc((b.windows + 1 + 4 * cells) * sizeof *b.edge);
    b.u = b.edge + b.windows + 1, b.cap = b.u + cells, b.used = b.cap + cells, b.best = b.used + cells;
    cut(&b);
    best = evaluate(&b);
    for (int step = 0, stale = 0; windows > 1 && step < 150; step++) {
        double norm = 0;
        for (size_t x = 0; x < cells; x++) {
            double g = (b.used[x] - b.cap[x]) / fmax(b.cap[x], 1);
            b.used[x] = g < 0 && b.u[x] <= 0 ? 0 : g;
            norm += b.used[x] * b.used[x];
        }
        if (norm < 1e-12)
            break;
        double length = theta * 0.01 * best / norm;
        for (size_t x = 0; x < cells; x++)
            b.u[x] = fmax(0, b.u[x] + length * b.used[x] / fmax(b.cap[x], 1));
        double value = evaluate(&b);
        if (value > best) {
            best = value, stale = 0, theta = fmin(2 * theta, 64);   /* of few jobs the first bound is far off: longer steps */
            memcpy(b.best, b.u, cells * sizeof *b.u);
        } else if (++stale >= 5) {
            theta *= 0.5, stale = 0;
            memcpy(b.u, b.best, cells * sizeof *b.u);
            evaluate(&b);
        }
    }
    free(b.edge);
    return best * (1 - 1e-9);                            /* rounding in the sums */
}
