/* ascend.c - the highest point of a concave function that is known by values and slopes only: a proximal bundle method.
 *
 * Every point that was asked gives a plane above the function. From the best point so far, the centre, the next one is where
 *     the lowest plane - |x - centre|^2 / (2 step)                 |x|^2 = sum metric[i] x[i]^2,  x >= 0
 * is highest: x = max(0, centre + step x slope / metric), slope a mix of the planes' slopes whose weights are found by shifting
 * weight between two planes at a time. A point that rises a tenth of what the planes promised becomes the centre; any other makes
 * the planes better. When they promise nothing more, it is done. Kiwiel 1990 has the method and why it converges. */
#include "plan/ascend.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "base/mem.h"

#define PLANES 48u
#define POINTS_MOST 400
#define SHIFT_WORK 1000000u              /* coordinates looked at to find the mix for a point */
#define ENOUGH 1e-7                      /* of the value: what is promised at the end */

struct bundle {
    uint32_t n, count;
    const double *metric;
    double *slopes;                      /* [PLANES][n] */
    double over[PLANES], weight[PLANES]; /* how far a plane is above the centre's value, at the centre */
    double *centre, *x, *mix, *slope;    /* [n] */
    double value, step;
};

/* x for the weights, and how high each plane is there above the centre's value. */
static void place(struct bundle *b, double *ret_height)
{
    for (uint32_t i = 0; i < b->n; i++)
        b->x[i] = b->metric[i] > 0 ? fmax(0, b->centre[i] + b->step * b->mix[i] / b->metric[i]) : 0;
    for (uint32_t p = 0; p < b->count; p++) {
        const double *s = b->slopes + (size_t)p * b->n;
        ret_height[p] = b->over[p];
        for (uint32_t i = 0; i < b->n; i++)
            ret_height[p] += s[i] * (b->x[i] - b->centre[i]);
    }
}

/* Move weight from the highest plane that has some to the lowest: the mix then is the planes' minimum. */
static bool shift(struct bundle *b, const double *height)
{
    uint32_t low = 0, high = PLANES;
    double curve = 0, gap;
    for (uint32_t p = 0; p < b->count; p++) {
        low = height[p] < height[low] ? p : low;
        high = b->weight[p] > 0 && (high == PLANES || height[p] > height[high]) ? p : high;
    }
    gap = height[high] - height[low];
    if (low == high || gap <= 1e-3 * ENOUGH * fabs(b->value))
        return false;
    const double *to = b->slopes + (size_t)low * b->n, *from = b->slopes + (size_t)high * b->n;
    for (uint32_t i = 0; i < b->n; i++)
        curve += b->metric[i] > 0 ? b->step * (to[i] - from[i]) * (to[i] - from[i]) / b->metric[i] : 0;
    double part = curve > 0 ? fmin(b->weight[high], gap / curve) : b->weight[high];
    b->weight[high] -= part, b->weight[low] += part;
    for (uint32_t i = 0; i < b->n; i++)
        b->mix[i] += part * (to[i] - from[i]);
    return true;
}

/* The next point, into x; returns how far the planes let it rise. */
static double next_point(struct bundle *b)
{
    double height[PLANES], rise = INFINITY;
    memset(b->mix, 0, b->n * sizeof *b->mix);
    for (uint32_t p = 0; p < b->count; p++)
        for (uint32_t i = 0; i < b->n; i++)
            b->mix[i] += b->weight[p] * b->slopes[(size_t)p * b->n + i];
    place(b, height);
    for (uint32_t s = 0; s < FG_MIN(SHIFT_WORK / (b->n * b->count), 1000u) + 100 && shift(b, height); s++)
        place(b, height);
    for (uint32_t p = 0; p < b->count; p++)
        rise = fmin(rise, height[p]);
    return rise;
}

/* Room for one more: planes that carry no weight go, the highest first; if all do, two lightest become one. */
static uint32_t slot(struct bundle *b)
{
    uint32_t worst = 0, second = 0;
    if (b->count < PLANES)
        return b->count++;
    for (uint32_t p = 1; p < PLANES; p++)
        if (b->weight[p] < b->weight[worst] || (b->weight[p] == b->weight[worst] && b->over[p] > b->over[worst]))
            worst = p;
    if (b->weight[worst] <= 0)
        return worst;
    second = worst == 0;
    for (uint32_t p = 0; p < PLANES; p++)
        if (p != worst && b->weight[p] < b->weight[second])
            second = p;
    double all = b->weight[worst] + b->weight[second], part = b->weight[worst] / all;
    for (uint32_t i = 0; i < b->n; i++)
        b->slopes[(size_t)second * b->n + i] += part * (b->slopes[(size_t)worst * b->n + i] - b->slopes[(size_t)second * b->n + i]);
    b->over[second] += part * (b->over[worst] - b->over[second]);
    b->weight[second] = all, b->weight[worst] = 0;
    return worst;
}

/* The plane of the point x with this value, as seen from the centre. The first has all of the weight. */
static void add_plane(struct bundle *b, double value)
{
    uint32_t at = slot(b);
    double over = value - b->value;
    for (uint32_t i = 0; i < b->n; i++)
        over += b->slope[i] * (b->centre[i] - b->x[i]);
    memcpy(b->slopes + (size_t)at * b->n, b->slope, b->n * sizeof *b->slope);
    b->over[at] = fmax(0, over);
    b->weight[at] = b->count == 1;
}

static void move_centre(struct bundle *b, double value)
{
    for (uint32_t p = 0; p < b->count; p++) {
        const double *s = b->slopes + (size_t)p * b->n;
        b->over[p] += b->value - value;
        for (uint32_t i = 0; i < b->n; i++)
            b->over[p] += s[i] * (b->x[i] - b->centre[i]);
        b->over[p] = fmax(0, b->over[p]);
    }
    memcpy(b->centre, b->x, b->n * sizeof *b->x);
    b->value = value;
}

double fg_ascend(fg_concave *f, void *arg, uint32_t n, const double *metric, double step, double enough, double *ret_x)
{
    struct bundle b = {.n = n, .metric = metric, .step = step};
    FG_AUTO_FREE double *all = fg_alloc(((size_t)PLANES + 4) * n * sizeof *all);
    b.slopes = all, b.centre = all + (size_t)PLANES * n, b.x = b.centre + n, b.mix = b.x + n, b.slope = b.mix + n;
    b.value = f(arg, b.x, b.slope);
    add_plane(&b, b.value);
    for (int point = 0, vain = 0; point < POINTS_MOST && b.value < enough; point++) {
        double promised = next_point(&b);
        if (promised <= ENOUGH * fabs(b.value)) {        /* with a longer step, too? */
            if (vain++ == 6)
                break;
            b.step *= 8;
            continue;
        }
        double value = f(arg, b.x, b.slope), rise = value - b.value;
        add_plane(&b, value);
        if (rise >= 0.1 * promised) {
            move_centre(&b, value);
            b.step *= rise > 0.5 * promised ? 2 : 1;
            vain = 0;
        } else if (rise < -promised) {
            b.step *= 0.7;
        }
    }
    if (ret_x)
        memcpy(ret_x, b.centre, n * sizeof *ret_x);
    return b.value;
}
