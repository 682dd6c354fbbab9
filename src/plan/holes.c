/* holes.c - see holes.h. The dual, max sum weight x price so that the best set is worth at most 1, is climbed with the best set's excess
 * as a penalty (ascend.c): the penalty of a GPU each is more than any mix saves. The best set is a knapsack by thousandths. */
#include "plan/holes.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "plan/ascend.h"

struct mix { const uint32_t *size; const double *weight; uint32_t count; double gpus; };

/* worth[f]: the best set that fits f. last[f]: the share that is put in last, or count. */
static void fill(const struct mix *m, const double *price, double *worth, uint8_t *last)
{
    worth[0] = 0, last[0] = (uint8_t)m->count;
    for (uint32_t f = 1; f <= FG_HOLES_DEVICE; f++) {
        worth[f] = worth[f - 1], last[f] = (uint8_t)m->count;
        for (uint32_t i = 0; i < m->count; i++)
            if (m->size[i] <= f && worth[f - m->size[i]] + price[i] > worth[f])
                worth[f] = worth[f - m->size[i]] + price[i], last[f] = (uint8_t)i;
    }
}

static double saved(void *arg, const double *price, double *ret_slope)
{
    const struct mix *m = arg;
    double worth[FG_HOLES_DEVICE + 1], sum = 0;
    uint8_t last[FG_HOLES_DEVICE + 1];
    fill(m, price, worth, last);
    double beyond = worth[FG_HOLES_DEVICE] - 1;
    for (uint32_t i = 0; i < m->count; i++)
        sum += m->weight[i] * price[i], ret_slope[i] = m->weight[i];
    for (uint32_t f = FG_HOLES_DEVICE; beyond > 0 && f > 0;) {
        uint32_t i = last[f];
        if (i < m->count)
            ret_slope[i] -= m->gpus;
        f -= i < m->count ? m->size[i] : 1;
    }
    return sum - m->gpus * fmax(0, beyond);
}

double fg_holes_price(const uint32_t *size, const double *weight, uint32_t count, struct fg_holes *ret)
{
    struct mix m = {size, weight, FG_MIN(count, FG_HOLES_SIZES_MOST), 0};
    double price[FG_HOLES_SIZES_MOST] = {0}, sum = 0;
    uint8_t last[FG_HOLES_DEVICE + 1];
    for (uint32_t i = 0; i < m.count; i++)
        m.gpus += weight[i];
    if (m.count > 0)
        fg_ascend(saved, &m, m.count, weight, 0.5, INFINITY, price);
    fill(&m, price, ret->worth, last);
    double most = ret->worth[FG_HOLES_DEVICE];
    for (uint32_t f = 0; most > 0 && f <= FG_HOLES_DEVICE; f++)
        ret->worth[f] /= most;
    for (uint32_t i = 0; most > 0 && i < m.count; i++)
        sum += m.weight[i] * ret->worth[m.size[i]];
    return sum;
}
