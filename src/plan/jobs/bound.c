/* bound.c - what a set of jobs must cost at least.
 *
 * Cut time into windows w. Job j may spend y[j][k][w] seconds on kind k in w, no more in all than its part len[j][w] of w
 * between arrival and deadline; its steps must be done; GPUs x seconds on k in w are limited by cap[k][w]. That relaxes
 * every schedule. For any prices u[k][w] >= 0 of GPU seconds and m[j] >= 0 of a step,
 *     L = sum_j ( m[j] work[j] - sum_w len[j][w] max(0, max_k (m[j] rate[j][k] - g[j] (p[k] + u[k][w]))) ) - sum u cap
 * is below its optimum, and is the optimum at the best u and m. For given u the best m[j] is found exactly: the bracket is
 * concave in m, and its slope is work less what is done at that price. The best u is ascend.c's (decision 0043). */
#include <string.h>

#include "plan/ascend.h"
#include "plan/jobs/private.h"

#define NEVER_S 1e12                     /* a deadline that is none */

struct bound {
    const struct fg_jobs_kind *kinds;
    uint32_t kind_count, windows, count;
    const struct fg_job *jobs;
    double *edge;                        /* [windows + 1] */
    double *cap;                         /* [windows][kinds] */
    const double *u;
};
struct span { uint32_t from, to; };      /* the windows in which a job may run */

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

struct bracket { double value, steps; }; /* at a price of a step: the bracket of L, and the steps worth doing */

static struct bracket at_price(const struct bound *b, const struct fg_job *j, double m, const struct span *s)
{
    struct bracket r = {m * j->work, 0};
    uint32_t k;
    for (uint32_t w = s->from; w < s->to; w++) {
        double each = worth(b, j, w, m, &k);
        if (each > 0)
            r.value -= part(b, j, w) * each, r.steps += part(b, j, w) * j->rate[k];
    }
    return r;
}

static struct span span_of(const struct bound *b, const struct fg_job *j)
{
    struct span s = {0, b->windows};
    while (s.from + 1 < s.to && b->edge[s.from + 1] <= j->arrival_s)
        s.from++;
    while (s.to > s.from + 1 && b->edge[s.to - 1] >= j->deadline_s)
        s.to--;
    return s;
}

static void add_use(const struct bound *b, const struct fg_job *j, double m, double share, double *used)
{
    struct span s = span_of(b, j);
    uint32_t k;
    for (uint32_t w = s.from; w < s.to && share > 0; w++)
        if (worth(b, j, w, m, &k) > 0)
            used[w * b->kind_count + k] += share * j->gpus * part(b, j, w);
}

/* The best of the bracket over m >= 0; adds what the job uses then. The bracket is concave and made of lines: where the lines of two
 * prices around the best one meet, it is either as high as they are, or the point is a closer one. */
static double job_bound(const struct bound *b, const struct fg_job *j, double *used)
{
    struct span s = span_of(b, j);
    double low = 0, high = 1e-9, best = 0;
    struct bracket at_low = {0, 0}, at_high = at_price(b, j, high, &s);
    for (int x = 0; x < 200 && at_high.steps < j->work; x++) {
        low = high, at_low = at_high, high *= 4;
        at_high = at_price(b, j, high, &s);
    }
    for (int x = 0; x < 100; x++) {
        double up = j->work - at_low.steps, down = at_high.steps - j->work;
        double m = up + down > 0 ? (at_high.value - at_low.value + up * low + down * high) / (up + down) : low;
        double top = at_low.value + up * (m - low);
        best = fmax(at_low.value, at_high.value);
        if (!(m > low && m < high))
            break;
        struct bracket at = at_price(b, j, m, &s);
        best = fmax(best, at.value);
        if (at.value >= top - 1e-13 * fabs(top))
            break;
        if (at.steps < j->work)
            low = m, at_low = at;
        else
            high = m, at_high = at;
    }
    double over = at_high.steps - j->work, share = over > 0 ? (j->work - at_low.steps) / (at_high.steps - at_low.steps) : 1;
    add_use(b, j, low, 1 - share, used);                 /* at the kink: part of one, part of the other */
    add_use(b, j, high, share, used);
    return best;
}

/* L at these prices of GPU seconds; its slope: what is used beyond what there is. */
static double lagrangian(void *arg, const double *u, double *ret_slope)
{
    struct bound *b = arg;
    double sum = 0;
    b->u = u;
    memset(ret_slope, 0, (size_t)b->windows * b->kind_count * sizeof *ret_slope);
    for (uint32_t x = 0; x < b->count; x++)
        sum += job_bound(b, &b->jobs[x], ret_slope);
    for (size_t x = 0; x < (size_t)b->windows * b->kind_count; x++) {
        ret_slope[x] -= b->cap[x];
        sum -= u[x] * b->cap[x];
    }
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
        all[n++] = j->arrival_s;
        if (j->deadline_s < NEVER_S)
            all[n++] = j->deadline_s;
        last = fmax(last, j->deadline_s);
    }
    qsort(all, n, sizeof *all, by_size);
    for (uint32_t w = 0; w <= b->windows; w++)
        b->edge[w] = w == 0 ? 0 : w < b->windows ? all[(size_t)w * n / b->windows] : last;
    for (uint32_t w = 0; w < b->windows; w++)
        for (uint32_t k = 0; k < b->kind_count; k++)
            b->cap[w * b->kind_count + k] = b->kinds[k].gpus * (b->edge[w + 1] - b->edge[w]);
}

/* What a schedule in which every job runs where it is dearest would cost: nothing that can be done costs more. */
static double dearest(const struct bound *b)
{
    double sum = 0;
    for (uint32_t x = 0; x < b->count; x++) {
        double most = 0;
        for (uint32_t k = 0; k < b->kind_count; k++)
            if (b->jobs[x].rate[k] > 0)
                most = fmax(most, b->kinds[k].price_per_s / b->jobs[x].rate[k]);
        sum += most * b->jobs[x].gpus * b->jobs[x].work;
    }
    return sum;
}

/* No deadline, or one that it cannot make even alone: late enough not to matter. */
static void ease_deadline(const struct bound *b, struct fg_job *j)
{
    double fastest = 0;
    for (uint32_t k = 0; k < b->kind_count; k++)
        fastest = fmax(fastest, j->rate[k]);
    if (isinf(j->deadline_s) || (j->deadline_s - j->arrival_s) * fastest < j->work * (1 + 1e-9))
        j->deadline_s = NEVER_S;
}

double fg_jobs_bound(const struct fg_jobs_kind *kinds, uint32_t kind_count, const struct fg_job *jobs, uint32_t count, uint32_t windows)
{
    struct bound b = {.kinds = kinds, .kind_count = kind_count, .count = count, .windows = FG_MAX(windows, 1u)};
    if (count == 0)
        return 0;
    FG_AUTO_FREE struct fg_job *timed = fg_realloc(NULL, count, sizeof *timed);
    size_t cells = (size_t)b.windows * kind_count;
    double price = 0;
    memcpy(timed, jobs, count * sizeof *timed);
    b.jobs = timed;
    FG_AUTO_FREE double *all = fg_alloc((b.windows + 1 + 3 * cells) * sizeof *all);
    b.edge = all, b.cap = all + b.windows + 1;
    for (uint32_t x = 0; x < count; x++)
        ease_deadline(&b, &timed[x]);
    cut(&b);
    for (uint32_t k = 0; k < kind_count; k++)
        price += kinds[k].price_per_s / kind_count;
    double most = dearest(&b);
    double best = windows > 1 ? fg_ascend(lagrangian, &b, (uint32_t)cells, b.cap, price, most, NULL)
                              : lagrangian(&b, b.cap + cells, b.cap + 2 * cells);
    return fmin(best, most) * (1 - 1e-9);                /* rounding in the sums */
}
