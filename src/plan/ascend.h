/* ascend.h - the highest point of a concave function that is known by values and slopes only. Pure; any thread. */
#pragma once
#include <stdint.h>

/* Value at x[n] >= 0 of a concave function, and a slope there, into ret_slope: the plane through it is nowhere below the function. */
typedef double fg_concave(void *arg, const double *x, double *ret_slope);
/* The most it reaches over x >= 0, to about 1e-7 of it; or some value of at least `enough`. Starts at 0; ret_x[n], or NULL: where.
 * metric: how far apart points are, by coordinate (0: it stays 0); step: for a slope as large as the metric, how far to go at first. */
double fg_ascend(fg_concave *f, void *arg, uint32_t n, const double *metric, double step, double enough, double *ret_x);
