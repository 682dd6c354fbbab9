/* churn.h - a cluster that is always full and never still: the tasks of an openb trace with exponential run times, and a queue that
 * never runs dry. Tasks are drawn from the list, each as likely; `waiting` of them always wait; time is in mean run times.
 * Counted from the start number warm_up on, until `starts` more. A long queue takes up wasteful tasks while it is counted, which
 * holds more GPUs for a time than any policy can for ever: decision 0055, bound and allocation_late. */
#pragma once
#include "sim/trace/openb.h"

struct fg_churn_options {
    enum fg_pack_policy policy;
    uint64_t seed;
    uint32_t waiting;                    /* K; also the window of the backfill */
    uint32_t warm_up, starts;
    uint32_t moves_permille;             /* of starts; 0: no migration */
    uint32_t big_gpus;
    double hold_after, age_weight, patience; /* plan/backfill.h */
};
struct fg_churn {
    double allocation;                   /* % of the GPUs, mean over time */
    double allocation_late;              /* likewise, while the last quarter of the starts was made */
    double bound;                        /* % that no policy holds for ever: the list's mix of shares needs so many GPUs (plan/holes.h) */
    double wait, wait_big, wait_share, wait_p99;  /* mean: of all; of tasks with >= big_gpus; of shares; 99th percentile of all */
    uint32_t started, started_big;
    uint32_t migrations, holds;
    double migrations_percent;           /* of the starts */
    double time;                         /* that was counted */
};
int fg_churn_run(const struct fg_openb *trace, const struct fg_churn_options *options, struct fg_churn *ret, struct fg_error *err);
