/* jobs.h - which jobs run in the next round, on which kind of GPU, alone or beside whom: policies for long jobs that may be
 * stopped and moved between rounds. Snapshot in, decision out; pure, no clock, no random numbers. Any thread.
 *
 * A job of `work` steps runs at rate[k] steps a second on its `gpus` GPUs of kind k; beside another on the same GPU at the
 * rates the caller's pair function tells. Costs are price x time of the GPUs held. docs/scheduler.md, "Jobs". */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FG_JOBS_KINDS_MOST 8u
#define FG_JOBS_ALONE UINT32_MAX

struct fg_jobs_kind { uint32_t gpus; double price_per_s; };  /* US dollars; converted to integers where they are booked */
struct fg_job {
    uint32_t type;                       /* for the pair function */
    uint32_t gpus;
    double arrival_s, deadline_s;        /* deadline INFINITY: none */
    double work, left;                   /* steps */
    double rate[FG_JOBS_KINDS_MOST];     /* steps/s alone; 0: not on this kind */
    int32_t kind;                        /* where it ran in the last round, -1: nowhere */
};
/* Steps/s of two jobs of these types on one GPU; false: they do not fit together. */
typedef bool fg_jobs_pair(void *arg, uint32_t a, uint32_t b, uint32_t kind, double ret_rate[2]);
struct fg_jobs_now {
    double now_s, round_s;
    const struct fg_jobs_kind *kinds;
    uint32_t kind_count;
    const struct fg_job *jobs;           /* arrived and not ended */
    uint32_t job_count, seen;            /* seen: how many ever arrived */
    fg_jobs_pair *pair;                  /* NULL: no sharing */
    void *pair_arg;
};
struct fg_jobs_slot { uint32_t job, beside, kind; };   /* beside: FG_JOBS_ALONE, or the other job on the same GPU */

enum fg_jobs_policy {
    FG_JOBS_FIFO,                        /* in order of arrival, each on its fastest kind with room */
    FG_JOBS_SHORTEST,                    /* the shortest first */
    FG_JOBS_CHEAPEST,                    /* in order of arrival, each only on the kind where it costs least */
    FG_JOBS_BALANCED,                    /* makespan, then fairness, then mean completion time: see balanced.c */
    FG_JOBS_COST,                        /* least cost with no deadline missed: see cost.c */
    FG_JOBS_SHARE,                       /* the same, and pairs where they save: see share.c */
    FG_JOBS_POLICY_COUNT
};
const char *fg_jobs_policy_name(enum fg_jobs_policy policy);
/* Fill slots[job_count]; returns how many. The caller's memory. */
size_t fg_jobs_decide(enum fg_jobs_policy policy, const struct fg_jobs_now *now, struct fg_jobs_slot *slots);

/* What running all the jobs must cost at least, in dollars, alone on their GPUs, stopped and moved as one likes, ended by
 * their deadlines, with no more GPUs than there are. windows: how finely time is cut (capacity holds in each); 1 is none. */
double fg_jobs_bound(const struct fg_jobs_kind *kinds, uint32_t kind_count, const struct fg_job *jobs, uint32_t count, uint32_t windows);

/* The fluid problem of sharing: hours of every single and pair such that each class's work is done, at least cost.
 *     minimise sum price[c] y[c]   subject to   sum over columns c with class a of rate[c][a] y[c] >= work[a],  y >= 0
 * Fills value[] (the dual: what a step of each class is worth; no column earns more than it costs). Returns the least cost. */
struct fg_cover_column { uint32_t a, b; double rate_a, rate_b, price; };   /* b: FG_JOBS_ALONE */
double fg_cover_solve(const double *work, uint32_t classes, const struct fg_cover_column *columns, size_t count, double *value);
