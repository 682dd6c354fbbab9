/* knapsack.h - the best set of items for one room, or nearly. */
#pragma once
#include <stdint.h>

/* worth is set by the caller; share is the answer: 1 taken, 0 not, between for the one item that the linear bound splits. */
struct item { uint32_t task; int32_t size; float cost, mean, worth, ratio, share; };
struct knapsack {
    float *table;                   /* (items + 1) x (room + 1), of the largest */
    uint32_t *core;                 /* items */
    double cells_most;              /* a table larger than that is not filled */
    uint64_t work;                  /* cells filled and the like, counted up */
};
/* Sort the items by falling worth per size, set their shares, and return what the shares are worth: the largest sum of worths whose sizes
 * fit the room, or, where that would take too large a table, the linear bound on it. */
double knapsack_solve(struct knapsack *k, struct item *items, uint32_t n, int32_t room);
