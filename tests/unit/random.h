/* random.h - numbers for property tests, from one seed, printed. The seed is the test's own, the same on every run, so that a
 * change is judged by what it changed; FGPU_SEED=N draws others, FGPU_SEED=random new ones each time (`make nightly`). */
#pragma once
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct rng { uint64_t state; };

/* splitmix64 (Steele, Lea, Flood 2014) */
static inline uint64_t rng_next(struct rng *r)
{
    uint64_t z = (r->state += 0x9e3779b97f4a7c15u);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}
/* 0..n-1 */
static inline uint64_t rng_below(struct rng *r, uint64_t n) { return rng_next(r) % n; }
/* Often small, sometimes any 63 bits: where codecs and sums go wrong. */
static inline int64_t rng_size(struct rng *r) { return (int64_t)(rng_next(r) >> (1 + rng_below(r, 63))); }

static inline struct rng rng_start(const char *test)
{
    const char *given = getenv("FGPU_SEED");
    uint64_t seed = 14695981039346656037u;               /* FNV-1a of the name */
    for (const char *c = test; *c; c++)
        seed = (seed ^ (uint8_t)*c) * 1099511628211u;
    if (given && strcmp(given, "random") == 0) {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        seed = (uint64_t)now.tv_sec * 1000000007u ^ (uint64_t)now.tv_nsec;
    } else if (given)
        seed = strtoull(given, NULL, 0);
    printf("%s: FGPU_SEED=%llu\n", test, (unsigned long long)seed);
    fflush(stdout);
    return (struct rng){seed};
}
