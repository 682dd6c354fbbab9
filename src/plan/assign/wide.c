/* wide.c - one pass over a wide table: every row checked, valued at the prices, its cheap cells listed, the bound certified.
 *
 * A table of 10^7 costs and needs is 160 MB: reading it once takes as long as all else in a first plan. So the pass does at once what
 * check.c, bound.c and their callers do one after the other. Values are computed in doubles that hold integers: prices are
 * multiples of 2^-shift, costs are scaled by 2^shift, and all stays below 2^53, so the sums are exact and the bound is proven. */
#include "plan/assign/wide.h"

#include <math.h>
#include <string.h>

enum { GROUP = 32, CELLS_LEAST = 6, PROBES = 32, FAR_KEPT = 8 };
#define PLAIN 0x1p50                    /* largest cost x scale and price x need */

typedef double d4 __attribute__((vector_size(32), aligned(8), may_alias));
typedef uint64_t u4 __attribute__((vector_size(32), aligned(8), may_alias));
typedef int64_t i4 __attribute__((vector_size(32), aligned(8), may_alias));

struct kernel {
    uint32_t kinds;
    const double *q;                    /* price x scale, whole numbers */
    const int64_t *largest;             /* by kind: what one agent of it can hold; -1: there is none */
    double scale;
    int64_t cost_most, need_most;
};
struct seen { i4 bad; d4 low, high; };

/* Macros, since a function of its own would take vectors as arguments, which differ between the clones.
 * Whole numbers of at most 2^51 to doubles: their bits are the mantissa's. */
#define TO_DOUBLE(x) ((d4)((u4)(x) + 0x4338000000000000u) - 0x1.8p52)
#define CHOOSE(mask, a, b) ((d4)(((mask) & (i4)(a)) | (~(mask) & (i4)(b))))
#define LEAST(a, b) CHOOSE((a) < (b), a, b)
#define MOST(a, b) CHOOSE((a) < (b), b, a)
/* Four cells: their checks go to s, their values to `at` and v[x], the least to min. */
#define FOUR(cost, need, price, most) do { \
        i4 never = (cost) == FG_ASSIGN_NEVER, open = ~never & ((need) <= (most)); \
        s.bad |= ((need) < 0) | ((cost) < -k->cost_most) | (~never & (((cost) > k->cost_most) | ((need) > k->need_most))); \
        d4 c = TO_DOUBLE(cost), at = c * k->scale + (price) * TO_DOUBLE(need), low = CHOOSE(never, s.low, c), high = CHOOSE(never, s.high, c); \
        s.low = LEAST(s.low, low); \
        s.high = MOST(s.high, high); \
        at = CHOOSE(open, at, none); \
        *(d4 *)&v[x] = at; \
        min = LEAST(min, at); \
    } while (0)

/* Values of a row to v[], padded to whole groups, and the least of each group: cells b + y, b + y + 4, b + y + 8, ... */
WORK_CLONES
static void row_values(const struct kernel *k, const int64_t *cost, const int64_t *need, double *v, double *group, struct seen *seen)
{
    const d4 none = {INFINITY, INFINITY, INFINITY, INFINITY};
    struct seen s = *seen;
    for (uint32_t b = 0; b < k->kinds; b += GROUP) {
        d4 min = none;
        uint32_t x = b, end = FG_MIN(b + GROUP, k->kinds);
        for (; x + 4 <= end; x += 4) {
            i4 p = *(const i4 *)&cost[x], a = *(const i4 *)&need[x], most = *(const i4 *)&k->largest[x];
            FOUR(p, a, *(const d4 *)&k->q[x], most);
        }
        if (x < b + GROUP) {
            i4 p = {INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX}, a = {0}, most = {0};
            d4 q = {0};
            for (uint32_t y = 0; x + y < end; y++)
                p[y] = cost[x + y], a[y] = need[x + y], most[y] = k->largest[x + y], q[y] = k->q[x + y];
            FOUR(p, a, q, most);
            for (x += 4; x < b + GROUP; x += 4)
                *(d4 *)&v[x] = none;
        }
        *(d4 *)&group[b / 8] = min;
    }
    *seen = s;
}

/* The cells of the row with values up to most, in no order. */
static uint32_t up_to(const double *v, const double *group, uint32_t kinds, double most, uint32_t *out)
{
    uint32_t n = 0, groups = (kinds + GROUP - 1) / GROUP * 4;
    for (uint32_t g = 0; g < groups; g++) {
        if (!(group[g] <= most))
            continue;
        uint32_t x = g / 4 * GROUP + g % 4;
        for (uint32_t y = 0; y < 8; y++) {
            out[n] = x + 4 * y;
            n += v[x + 4 * y] <= most;
        }
    }
    return n;
}

/* Of the n cells at out keep `keep`, one by chance from each of as many runs: among cells that are alike, every task has others. */
static uint32_t thin(struct wide *d, uint32_t *out, uint32_t n, uint32_t keep)
{
    if (n <= keep)
        return n;
    for (uint32_t x = 0; x < keep; x++) {
        uint32_t from = (uint32_t)((uint64_t)x * n / keep), to = (uint32_t)(((uint64_t)x + 1) * n / keep);
        out[x] = out[from + random_scale((uint32_t)(random_next(d->w->random) >> 32), to - from)];
    }
    return keep;
}

/* Cells by chance from all over the row that are beyond the band, but within one several times as wide. */
static uint32_t probe(struct wide *d, const double *v, double band, double far, uint32_t *out)
{
    uint32_t n = 0, probes = FG_MIN((uint32_t)PROBES, d->kinds);
    uint64_t bits = random_next(d->w->random);
    for (uint32_t x = 0; x < probes; x++, bits = bits >> 16 | bits << 48) {
        uint32_t from = (uint32_t)((uint64_t)x * d->kinds / probes), to = (uint32_t)(((uint64_t)x + 1) * d->kinds / probes);
        uint32_t k = from + (((uint32_t)bits & 0xffff) * (to - from) >> 16);
        out[n] = k;
        n += n < FAR_KEPT && v[k] > band && v[k] <= far;
    }
    d->far = FG_MIN(PLAIN, FG_MAX(d->band, d->far * (n >= FAR_KEPT ? 0.99 : 1.01)));
    return n;
}

/* A list: the cells within the band, and a few beyond, since a whole kind of agents that are alike may be full, and the next one is what
 * then matters. The bands are steered so that they hold about so many. */
static uint32_t list_row(struct wide *d, const double *v, const double *group, double least, double scale, uint32_t want, uint32_t *out)
{
    double band = d->band * scale;
    uint32_t n = up_to(v, group, d->kinds, least + band, out);
    for (int x = 0; n < FG_MIN((uint32_t)CELLS_LEAST, d->kinds) && x < 60; x++) {
        band = band * 2 + 1;
        n = up_to(v, group, d->kinds, least + band, out);
    }
    d->band = FG_MIN(PLAIN, d->band * (n > want ? 0.995 : 1.005));  /* short rows never hold enough */
    n = thin(d, out, n, CELLS_MOST - FAR_KEPT);
    return n + probe(d, v, least + band, least + d->far * scale, out + n);
}

/* The prices as whole multiples of 1 / scale; the largest scale that keeps sums exact. */
static double quantize(struct wide *d, double *q)
{
    double largest = 0;
    for (uint32_t k = 0; k < d->kinds; k++) {
        double need = FG_MAX(1.0, (double)d->w->kind_largest[k]);
        d->price[k] = d->price[k] > 0 ? FG_MIN(d->price[k], PLAIN / 4 / need) : 0;
        largest = FG_MAX(largest, d->price[k] * need);
    }
    int shift = (int)floor(log2(PLAIN / (4 * d->cost_hint + largest + 1)));
    shift = FG_MAX(0, FG_MIN(shift, 20));
    for (uint32_t k = 0; k < d->kinds; k++) {
        q[k] = nearbyint(ldexp(d->price[k], shift));
        d->price[k] = ldexp(q[k], -shift);
    }
    return ldexp(1, shift);
}

static int64_t bound_of(const struct wide *d, const double *q, double scale)
{
    const struct work *w = d->w;
    __int128 sum = 0, unit = (__int128)scale;
    for (uint32_t k = 0; k < d->kinds; k++)
        sum -= (__int128)q[k] * w->kind_capacity[k];
    for (uint32_t c = 0; c < w->classes; c++) {
        __int128 min = (__int128)w->nobody[c] * unit;
        if (d->least[c] < INFINITY && (__int128)d->least[c] < min)
            min = (__int128)d->least[c];
        sum += min * w->class_count[c];
    }
    return (int64_t)(sum / unit + (sum % unit > 0));
}

bool wide_pass(struct wide *d, uint32_t want, bool first, int64_t *ret_bound)
{
    struct work *w = d->w;
    uint32_t K = d->kinds, room = (K / GROUP + 1) * GROUP, at = 0;
    FG_AUTO_FREE double *q = fg_realloc(NULL, (size_t)K + room + room / 8, sizeof *q);
    FG_AUTO_FREE int64_t *largest = fg_realloc(NULL, K, sizeof *largest);
    FG_AUTO_FREE uint32_t *out = fg_realloc(NULL, room + 8, sizeof *out);
    double *v = q + K, *group = v + room, scale = quantize(d, q);
    int64_t most = ((int64_t)1 << 60) / w->tasks;
    struct kernel k = {K, q, largest, scale, FG_MIN(most, (int64_t)(PLAIN / scale)), FG_MIN(most, (int64_t)PLAIN)};
    struct seen seen = {{0}, {INFINITY, INFINITY, INFINITY, INFINITY}, {-INFINITY, -INFINITY, -INFINITY, -INFINITY}};
    for (uint32_t x = 0; x < K; x++)
        largest[x] = w->kind_first[x + 1] > w->kind_first[x] ? w->kind_largest[x] : -1;
    for (uint32_t c = 0; c < w->classes; c++) {
        const int64_t *cost = &w->p->cost[(size_t)c * K], *need = &w->p->need[(size_t)c * K];
        row_values(&k, cost, need, v, group, &seen);
        double least = INFINITY;
        for (uint32_t g = 0; g < (K + GROUP - 1) / GROUP * 4; g++)
            least = group[g] < least ? group[g] : least;
        d->least[c] = least;
        d->first[c] = at;
        uint32_t n = least < INFINITY ? list_row(d, v, group, least, scale, want, out) : 0;
        for (uint32_t x = 0; x < n; x++)
            d->cells[at++] = (struct cell){(double)cost[out[x]], (double)need[out[x]], out[x], (float)((v[out[x]] - least) / scale)};
    }
    d->first[w->classes] = at;
    if (seen.bad[0] | seen.bad[1] | seen.bad[2] | seen.bad[3])
        return false;
    if (first) {
        double low = INFINITY, high = -INFINITY;
        for (int x = 0; x < 4; x++)
            low = FG_MIN(low, seen.low[x]), high = FG_MAX(high, seen.high[x]);
        work_costs(w, low <= high ? (int64_t)low : INT64_MAX, low <= high ? (int64_t)high : INT64_MIN);
    }
    *ret_bound = bound_of(d, q, scale);
    return true;
}
