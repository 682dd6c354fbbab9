/* wide.h - tables of millions of cells with one resource: each pass over them is counted.
 *
 *     sample of rows -> prices -> ONE pass: checks, values, short lists, bound -> first plan -> prices on the lists -> pass
 *
 * docs/decisions/0051-wide-tables.md has the times. */
#pragma once
#include "plan/assign/private.h"

/* A kind that a class may use. */
struct cell { double cost, need; uint32_t kind; float above; };   /* above the row's least, at the prices of the pass */
struct wide {
    struct work *w;
    uint32_t kinds;                 /* without nobody */
    double *price;                  /* [kinds], >= 0 */
    double *capacity;               /* [kinds] */
    double *least;                  /* [classes]: the row's least value at the prices of the last pass; INFINITY: no kind is open */
    struct cell *cells;             /* of class c: cells[first[c] .. first[c + 1]] */
    uint32_t *first;
    double band, far;               /* values above the least that lists hold, and hold some of */
    double cost_hint;               /* largest |cost| seen in the sample */
    double need_mean;
};

/* Set price from whole rows of a sample of the classes. */
void wide_sample(struct wide *d);
/* Let demand settle on the lists, as the temperature falls from t0 to t1. */
void wide_soften(struct wide *d, double t0, double t1, uint32_t steps);
/* Raise the bound on the lists by subgradient steps. */
void wide_ascend(struct wide *d, uint32_t steps);
/* One pass: lists of about `want` cells a class, at most CELLS_MOST, and the certified bound at the prices; w's costs' range where
 * `first`. False: a cell that is not plain (out of range, or too large for exact sums), which is for others to look at. */
#define CELLS_MOST 48u
bool wide_pass(struct wide *d, uint32_t want, bool first, int64_t *ret_bound);
/* A valid plan from the lists. */
void wide_greedy(struct wide *d, uint32_t *agent);
