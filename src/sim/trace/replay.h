/* replay.h - the packing experiment of FGD's authors (ATC'23) on an openb trace.
 *
 * The task list is shuffled with the seed and drawn from again, each task as likely, until the GPUs asked for are 130 % of the
 * cluster's; a longer list is cut at random. Tasks arrive one by one at an empty cluster and never leave; one that fits nowhere is
 * dropped. What the policies know: the task list as typical tasks (as the authors give it to FGD), or with learn_from_arrivals
 * only what has arrived, as a server does. */
#pragma once
#include "sim/trace/openb.h"

#define FG_REPLAY_PERCENT 130

struct fg_replay_options {
    enum fg_pack_policy policy;
    uint64_t seed;
    bool random_ties, learn_from_arrivals;
    uint32_t moves_most;                 /* migrations that one task may cause; 0: none */
    int64_t (*now_ns)(void *arg);        /* NULL: decisions are not timed */
    void *now_arg;
    /* NULL, or told of every step: arrival number (from 0), its place in the trace's tasks, where it is now (node
     * FG_PACK_NONE: dropped); moved: it ran already and another one needed its place. */
    void (*step)(void *arg, uint32_t arrival, uint32_t task, const struct fg_pack_choice *at, bool moved);
    void *step_arg;
};
struct fg_replay {
    double allocation[FG_REPLAY_PERCENT + 1];    /* % of the cluster's GPUs once [p] % of it have been asked for; [0]: before */
    double fragmentation[FG_REPLAY_PERCENT + 1]; /* % of the cluster's GPUs free and useless to typical tasks, as FGD counts */
    uint32_t arrived, placed, dropped, migrations;
    uint32_t impossible;                 /* tasks of the list that would fit no node were it empty */
    uint64_t state_bytes;
    double seconds, p50_us, p99_us;      /* of all decisions, of one; 0 without clock */
};
/* FG_E_INVALID: the trace asks for no GPU, or has none. */
int fg_replay_run(const struct fg_openb *trace, const struct fg_replay_options *options, struct fg_replay *ret, struct fg_error *err);
