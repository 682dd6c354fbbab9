/* knapsack.c - one agent's tasks at the prices of tasks.
 *
 *     items by falling worth per size:   taken taken taken | break | what still fits of the rest
 *
 * The sum up to the break and a fraction of the item at it is the linear bound; with what fits of the rest instead, a set. An item that is
 * worth more than the difference of the two, beyond its size at the ratio of the break, is in every best set, and one that
 * lacks as much in none. A table over rooms decides the others, the core. At prices near the best ones that is most of them, since tasks are then worth to their
 * agents about what they take: so the table has a limit, and beyond it the linear answer is given, whose bound is valid as well. */
#include "plan/assign/knapsack.h"

#include <stdbool.h>
#include <string.h>

#include "plan/assign/private.h"

#define SORTED 32u                  /* looking at an item costs about as much as so many cells of the table */

typedef float lanes __attribute__((vector_size(32), aligned(4), may_alias));
typedef int32_t masks __attribute__((vector_size(32)));

/* g[x] = min(f[x], f[x - size] - worth) for x up to room, a row of the table from the one before. */
WORK_CLONES
static void relax(const float *restrict f, float *restrict g, int32_t size, float worth, int32_t room)
{
    int32_t x = size;
    memcpy(g, f, (size_t)size * sizeof *f);
    for (; x + 7 <= room; x += 8) {
        lanes a = *(const lanes *)&f[x], b = *(const lanes *)&f[x - size] - worth;
        masks less = b < a;
        *(lanes *)&g[x] = (lanes)(((masks)b & less) | ((masks)a & ~less));
    }
    for (; x <= room; x++) {
        float a = f[x], b = f[x - size] - worth;
        g[x] = b < a ? b : a;
    }
}

/* Nearly in order mostly, from the prices before. */
static void sort_items(struct item *items, uint32_t n)
{
    for (uint32_t x = 0; x < n; x++) {
        struct item it = items[x];
        uint32_t y = x;
        it.ratio = it.worth / ((float)it.size + 1e-6f);      /* a size may be 0 */
        for (; y > 0 && items[y - 1].ratio < it.ratio; y--)
            items[y] = items[y - 1];
        items[y] = it;
    }
}

/* The best set of the n items in the core. */
static float fill_core(struct knapsack *k, struct item *items, uint32_t n, int32_t room)
{
    size_t row = (size_t)room + 1;
    float *f = k->table;
    uint32_t fit = 0;
    for (uint32_t x = 0; x < n; x++) {
        items[k->core[x]].share = 0;
        if (items[k->core[x]].size <= room)
            k->core[fit++] = k->core[x];
    }
    memset(f, 0, row * sizeof *f);
    for (uint32_t x = 0; x < fit; x++, f += row)
        relax(f, f + row, items[k->core[x]].size, items[k->core[x]].worth, room);
    k->work += fit * row;
    float worth = -f[room];
    for (int32_t at = room; fit-- > 0;) {
        struct item *it = &items[k->core[fit]];
        f -= row;
        it->share = (f + row)[at] < f[at];
        at -= it->share > 0 ? it->size : 0;
    }
    return worth;
}

double knapsack_solve(struct knapsack *k, struct item *items, uint32_t n, int32_t room)
{
    uint32_t at = 0, cores = 0;
    int32_t left = room;
    float taken = 0, fixed = 0;
    sort_items(items, n);
    k->work += SORTED * n;
    for (uint32_t x = 0; x < n; x++)
        items[x].share = 0;
    for (; at < n && items[at].worth > 0 && items[at].size <= left; at++)
        left -= items[at].size, taken += items[at].worth, items[at].share = 1;
    if (at == n || items[at].worth <= 0)
        return (double)taken;
    const float ratio = items[at].ratio, split = (float)left / (float)items[at].size, most = taken + (float)left * ratio;
    float set = taken;
    for (uint32_t x = at; x < n && items[x].worth > 0; x++)
        if (items[x].size <= left)
            left -= items[x].size, set += items[x].worth, items[x].share = 1;
    if (most - set <= 1e-6f * most)
        return (double)set;
    float gap = (most - set) * 1.001f + 2e-6f * most;    /* sums of floats: what is decided by less is left open */
    for (uint32_t x = 0; x < n && items[x].worth > 0; x++) {
        float beyond = items[x].worth - ratio * (float)items[x].size;
        if (beyond > gap)
            room -= items[x].size, fixed += items[x].worth;
        else if (beyond >= -gap)
            k->core[cores++] = x;
        else
            items[x].share = 0;
    }
    if ((double)cores * room > k->cells_most) {
        for (uint32_t x = 0; x < n; x++)
            items[x].share = x < at ? 1 : 0;
        items[at].share = split;
        return (double)most;
    }
    return (double)(fixed + fill_core(k, items, cores, room));
}
