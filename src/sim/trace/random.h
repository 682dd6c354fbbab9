/* random.h - numbers from a seed: the same on every machine. splitmix64 (Steele, Lea, Flood 2014). */
#pragma once
#include <math.h>
#include <stdint.h>

struct fg_random { uint64_t state; };

static inline uint64_t fg_random_next(struct fg_random *r)
{
    uint64_t z = (r->state += 0x9e3779b97f4a7c15u);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}
/* 0..n-1, all as likely; n > 0 */
static inline uint64_t fg_random_below(struct fg_random *r, uint64_t n)
{
    uint64_t least = (0 - n) % n, x;
    do
        x = fg_random_next(r);
    while (x < least);
    return x % n;
}
/* within (0, 1] */
static inline double fg_random_unit(struct fg_random *r) { return (double)((fg_random_next(r) >> 11) + 1) * 0x1p-53; }
static inline double fg_random_exponential(struct fg_random *r, double mean) { return -mean * log(fg_random_unit(r)); }
