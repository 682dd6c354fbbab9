/* estimate.c - from cells to a time and a slice.
 *
 * At share s every level speaks in ln(time at s) = ln(work) + ln(1/s). From the prior down to the most exact level:
 *     mu    = (n mu_level + k mu_above) / (n + k)
 *     var   = (m2_level + k var_above) / (n + k)
 * k attempts' worth of trust goes to the level above. A level without attempts leaves things as they are; but a name that was
 * seen on other kinds only gets what completion says of it on this one (complete.h), in place of its type's mean. */
#include "plan/estimate.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/units.h"
#include "plan/history.h"

#define TRUST_ABOVE 2.0                  /* k */
#define TRUST_HALF 4                     /* attempts at which confidence is half of its level's most */
#define FEW_RUNS 5
#define MEMORY_FLOOR (UINT64_C(128) << 20)
#define MEMORY_STEP (UINT64_C(1) << 20)
#define TIME_MAX_NS (INT64_C(10) * 365 * 86400 * FG_NS_PER_S)

/* Before anything was seen: the mean run time, how wide, and the memory proposed. */
static const struct { double mean_ns, sigma; uint64_t memory_bytes; } priors[FG_TASK_TYPE_COUNT] = {
    [FG_TASK_COMMAND] = {60e9, 1.5, UINT64_C(1) << 30},
    [FG_TASK_IMAGE_CLASSIFICATION] = {5e9, 1.0, UINT64_C(1) << 30},
};
/* The most confidence a level can give, permille; by enum fg_cell_level. */
static const uint16_t level_confidence[] = {1000, 700, 400};
static const uint32_t class_share[FG_CLASS_COUNT + 1] = {
    [FG_CLASS_INTERACTIVE] = 250, [FG_CLASS_BATCH] = 250, [FG_CLASS_TRAINING] = 500, [FG_CLASS_LARGE] = 1000, [FG_CLASS_AUTO] = 250,
};

static int64_t to_time(double log_ns, int64_t most)
{
    double ns = exp(FG_MIN(log_ns, 50.0));
    return ns >= (double)most ? most : FG_MAX(llround(ns), 1LL);
}

/* No task outlives its run limit; so neither does its estimate. */
static void fill_times(struct fg_estimate *ret, double mu, double var, int64_t run_limit_ns)
{
    int64_t most = run_limit_ns > 0 ? FG_MIN(run_limit_ns, TIME_MAX_NS) : TIME_MAX_NS;
    ret->mean_ns = to_time(mu + var / 2, most);
    ret->p50_ns = to_time(mu, most);
    ret->p95_ns = to_time(mu + 1.645 * sqrt(var), most);
}

#define POINTS_MOST 400
#define COMPLETED_CONFIDENCE 600.0

/* A name never seen on this kind, but on others. */
static void complete(const struct fg_history *h, const struct fg_spec *spec, const char *device_kind, double per_share, double *mu, double *var,
                     struct fg_estimate *ret)
{
    FG_AUTO_FREE struct fg_point *points = fg_realloc(NULL, POINTS_MOST, sizeof *points);
    struct fg_point at = fg_history_point(spec, device_kind);
    size_t own, n = fg_history_points(h, spec, points, POINTS_MOST, &own);
    double mean, variance;
    if (!own || !fg_complete(&at, points, n, &mean, &variance))
        return;
    *mu = mean + per_share;
    *var = variance;
    /* permille: the share of e-fold certainty, so that a sigma of 0.1 counts and one of 1 hardly does */
    ret->confidence_permille = (uint16_t)(COMPLETED_CONFIDENCE * exp(-sqrt(variance)));
}

void fg_estimate(const struct fg_history *h, const struct fg_spec *spec, const char *device_kind, uint32_t share_permille,
                 struct fg_estimate *ret)
{
    double sigma = priors[spec->type].sigma, var = sigma * sigma;
    double mu = log(priors[spec->type].mean_ns) - var / 2;
    double per_share = -log(FG_MAX(FG_MIN(share_permille, 1000u), 1u) / 1000.0);
    char key[FG_CELL_KEY];
    *ret = (struct fg_estimate){0};
    for (int level = FG_CELL_TYPE; level >= FG_CELL_SHARE; level--) {
        const struct fg_cell *c = fg_history_find(h, fg_cell_key(key, (enum fg_cell_level)level, spec, device_kind, share_permille));
        if (level == FG_CELL_KIND && (!c || c->n == 0))
            complete(h, spec, device_kind, per_share, &mu, &var, ret);
        if (!c || c->n == 0)
            continue;
        double n = c->n;
        mu = (n * (c->mu + per_share) + TRUST_ABOVE * mu) / (n + TRUST_ABOVE);
        var = (c->m2 + TRUST_ABOVE * var) / (n + TRUST_ABOVE);
        ret->samples = c->n;
        ret->memory_peak_bytes = c->peak_bytes;
        ret->confidence_permille = (uint16_t)((uint64_t)level_confidence[level] * c->n / ((uint64_t)c->n + TRUST_HALF));
    }
    fill_times(ret, mu, var, spec->limits.run_ns);
}

static uint64_t propose_memory(const struct fg_history *h, const struct fg_spec *spec)
{
    char key[FG_CELL_KEY];
    const struct fg_cell *c = fg_history_find(h, fg_cell_key(key, FG_CELL_MEMORY, spec, "", 0));
    uint64_t prior = priors[spec->type].memory_bytes;
    if (!c)
        return prior;
    uint64_t want = c->peak_bytes ? c->peak_bytes + c->peak_bytes / 4 : prior;
    want = FG_MAX(want, c->oom_bytes * 2);               /* what was not enough is doubled */
    want = FG_MAX(want, c->n < FEW_RUNS ? prior : MEMORY_FLOOR); /* one small run says little about the next */
    return (want + MEMORY_STEP - 1) / MEMORY_STEP * MEMORY_STEP;
}

void fg_propose_need(const struct fg_history *h, const struct fg_spec *spec, enum fg_class class, struct fg_need *ret)
{
    *ret = spec->need;
    if (ret->memory_bytes == 0)
        ret->memory_bytes = propose_memory(h, spec);
    if (ret->share_permille == 0)
        ret->share_permille = class_share[FG_MIN((unsigned)class, (unsigned)FG_CLASS_AUTO)];
}
