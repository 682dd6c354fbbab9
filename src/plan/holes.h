/* holes.h - what the free part of a GPU is worth to the shares that come.
 *
 *     worth[f]   the part of a GPU's work that a hole of f thousandths can do: 0..1, worth[1000] = 1
 *     loss       worth[f] - worth[m] - worth[f - m], of a share of m in a hole of f: never negative
 *
 * Prices of shares such that no set of shares that fits one GPU is worth more than 1, and those that come are worth most: the dual
 * of the fluid problem "fewest GPUs for this mix". A hole is worth the best set that fits it. Pure. Decision 0055. */
#pragma once
#include <stdint.h>

#define FG_HOLES_DEVICE 1000u
#define FG_HOLES_SIZES_MOST 64u
struct fg_holes { double worth[FG_HOLES_DEVICE + 1]; };

/* Shares of size[i] thousandths (1..1000, all different) come weight[i] > 0 times. Of more than FG_HOLES_SIZES_MOST sizes the
 * first ones count. Returns the GPUs that the mix needs at least, weights as they are. */
double fg_holes_price(const uint32_t *size, const double *weight, uint32_t count, struct fg_holes *ret);
static inline double fg_holes_loss(const struct fg_holes *h, uint32_t hole, uint32_t share)
{
    return h->worth[hole] - h->worth[share] - h->worth[hole - share];
}
