/* jobs.h - replay of job traces through the policies of plan/jobs.h: rounds of a cluster on a clock of its own, from a
 * file's bytes to waits, completion times, cost and misses. Deterministic. Methods and definitions: docs/scheduler.md. */
#pragma once
#include "base/error.h"
#include "base/vec.h"
#include "plan/jobs.h"

/* A cluster, the jobs that come to it, and how they get on beside each other. */
struct fg_job_trace {
    FG_VEC(struct fg_job) jobs;          /* by arrival */
    struct fg_jobs_kind kinds[FG_JOBS_KINDS_MOST];
    char kind_names[FG_JOBS_KINDS_MOST][16];
    int64_t price_nanousd_per_h[FG_JOBS_KINDS_MOST];
    uint32_t kind_count;
    double round_s, restart_s;           /* restart: time lost by a job that did not run in the round before */
    FG_VEC(char *) types;
    uint32_t left_out, narrowed;         /* lines of jobs without length or GPU; jobs that ask for more GPUs than there are, and got all */
    double *pair_rates;                  /* [types][types][kinds][2], or NULL; 0: not together */
};
void fg_job_trace_fini(struct fg_job_trace *t);

/* Shockwave's text: tab-separated, each job's length on one kind of GPU in the last but one column. */
int fg_read_shockwave(const char *text, size_t length, uint32_t gpus, struct fg_job_trace *ret, struct fg_error *err);
/* Philly's CSV: timestamp, duration, num_gpus, gpu_time, cluster. cluster NULL: all; most 0: all. One kind of GPU. */
int fg_read_philly(const char *text, size_t length, const char *cluster, uint32_t most, uint32_t gpus, struct fg_job_trace *ret, struct fg_error *err);
/* Gavel's throughput table, and jobs drawn as its generator does, from the seed. */
struct fg_gavel_draw {
    uint64_t seed;
    uint32_t jobs, gpus[3];              /* V100, P100, K80 */
    double load;                         /* GPU time of the cheapest kinds that meet the deadlines, of all there is while jobs arrive */
    bool deadlines;
};
int fg_read_gavel(const char *text, size_t length, const struct fg_gavel_draw *draw, struct fg_job_trace *ret, struct fg_error *err);

struct fg_job_end { double start_s, end_s, jct_s; int64_t cost_nanousd; uint32_t moves; };
struct fg_job_run {
    struct fg_job_end *ends;             /* by job */
    double makespan_s, mean_jct_s, median_jct_s, p99_jct_s, mean_wait_s, p99_wait_s;
    double worst_unfairness, unfair_share; /* completion / (alone x jobs per GPU); share of the jobs above 1.05 */
    int64_t cost_nanousd;
    uint32_t missed, moves, shared_rounds;
    double seconds;                      /* of the replay, filled by the caller */
};
/* Replay under a policy. -1 FG_E_INVALID where a job can never run. */
int fg_replay_jobs(const struct fg_job_trace *t, enum fg_jobs_policy policy, struct fg_job_run *ret, struct fg_error *err);
void fg_job_run_fini(struct fg_job_run *run);
/* What the trace must cost at least without sharing, and as a fluid with it, deadlines and capacity aside; nano-dollars. */
int64_t fg_job_trace_bound(const struct fg_job_trace *t, uint32_t windows);
int64_t fg_job_trace_fluid(const struct fg_job_trace *t);
