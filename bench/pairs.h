/* pairs.h - what a front end adds to a call: short samples with and without it take turns in one run, on one core, so that what
 * else the machine does meets both alike. Of the differences the median and the quartiles are told. */
#pragma once
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define PAIRS_ROUNDS 801u

/* n calls of one kind. how: the caller's own word, the driver's functions or the front end's. */
typedef void pairs_run(const void *how, long n);

static inline double pairs_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static inline double pairs_sample(pairs_run *run, const void *how, long n)
{
    double began = pairs_now();
    run(how, n);
    return (pairs_now() - began) / (double)n;
}

static int pairs_order(const void *a, const void *b) { return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b); }

/* Stay on the core we are on; a helper thread that was started before keeps all of them. */
static inline void pairs_pin(void)
{
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET((unsigned)sched_getcpu(), &one);
    sched_setaffinity(0, sizeof one, &one);
}

static inline void pairs_print(const char *what, pairs_run *run, const void *direct, const void *wrapped, long n)
{
    static double added[PAIRS_ROUNDS], bare[PAIRS_ROUNDS];
    run(direct, n);
    run(wrapped, n);
    for (unsigned i = 0; i < PAIRS_ROUNDS; i++) {
        double with = i % 2 ? pairs_sample(run, wrapped, n) : 0;
        bare[i] = pairs_sample(run, direct, n);
        added[i] = (i % 2 ? with : pairs_sample(run, wrapped, n)) - bare[i];
    }
    qsort(added, PAIRS_ROUNDS, sizeof *added, pairs_order);
    qsort(bare, PAIRS_ROUNDS, sizeof *bare, pairs_order);
    printf("%-34s added %6.1f ns, quartiles %.1f to %.1f (without it %.1f)\n", what, added[PAIRS_ROUNDS / 2], added[PAIRS_ROUNDS / 4],
           added[PAIRS_ROUNDS * 3 / 4], bare[PAIRS_ROUNDS / 2]);
    fflush(stdout);
}
