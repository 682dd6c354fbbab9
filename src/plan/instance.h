/* instance.h - tasks, vGPUs and prices from a file, and the plan of least cost for them: what `fgpu plan FILE.yaml` does.
 *
 *     minimise  sum_i price(v) x hold(i, v) x time(i, v)     over which vGPU v each task i runs on, and in which order
 *
 * time(i, v): as written (the same everywhere, or by kind), or work / (speed of v x share of i); slower beside others
 * when interference is given. hold: 1 on a vGPU of one task at a time, else max(memory share, compute share).
 * A vGPU runs at most `capacity` tasks at a time, by earliest deadline; the others wait their turn. The whole model, with
 * formulas and an example by hand: docs/scheduler.md. Pure: bytes in, plan out; a clock is lent. Any thread. */
#pragma once
#include "base/vec.h"
#include "plan/assign.h"

#define FG_INSTANCE_TIME_MOST (INT64_C(10) * 365 * 86400 * 1000000000)  /* of one task: ten years */
#define FG_INSTANCE_END_MOST (INT64_C(100) * 365 * 86400 * 1000000000)  /* no task may end later, whatever waits before it: a hundred years */
#define FG_INSTANCE_COST_MOST INT64_C(1000000000000000000)               /* of a plan: a billion dollars */
#define FG_INSTANCE_TASKS_MOST 1000000u
#define FG_INSTANCE_VGPUS_MOST 100000u

enum fg_isolation { FG_SHARED, FG_TENANT_ONLY, FG_ALONE };
enum fg_cost_model { FG_COST_WRITTEN, FG_COST_FIXED, FG_COST_WORK };

struct fg_instance_task {
    char *id;
    uint32_t line;
    uint64_t memory_bytes;
    int64_t time_ns;                     /* 0: not given */
    double work_gflop;                   /* 0: not given */
    uint32_t times;                      /* index + 1 into instance.times, the time by kind; 0: not given */
    uint32_t kinds;                      /* index + 1 into instance.kind_sets; 0: any */
    uint32_t share_permille;
    int64_t deadline_ns;                 /* from the start of the plan; 0: none */
    int64_t budget_nanousd;              /* -1: none */
    uint32_t group, gang;                /* 0: none; groups are placed whole or not, gangs also start together, at once */
    uint32_t tenant, type;               /* 0: not named */
    enum fg_isolation isolation;
    bool spot;                           /* may be interrupted */
    uint32_t count;
};
struct fg_instance_vgpu {
    char *id;
    uint32_t line;
    uint64_t memory_bytes;
    double gflops;                       /* 0: not given */
    uint32_t kind;
    int64_t price_nanousd_per_h, spot_nanousd_per_h; /* spot -1: none */
    double interruptions_per_h;          /* of spot */
    uint32_t capacity;                   /* tasks at a time; 0: as many as memory and share allow */
    uint32_t count;
};
struct fg_slowdown { uint32_t a, b; double factor; };
struct fg_names { FG_VEC(char *) names; uint32_t *slots; size_t slot_count; };  /* name 0 is none */

struct fg_instance {
    FG_VEC(struct fg_instance_task) tasks;
    FG_VEC(struct fg_instance_vgpu) vgpus;
    FG_VEC(struct fg_slowdown) slowdowns;
    FG_VEC(int64_t *) times;             /* each [kinds.names.count], 0: not told */
    FG_VEC(uint8_t *) kind_sets;         /* each [kinds.names.count] */
    struct fg_names kinds, tenants, types, groups, gangs;
    enum fg_cost_model cost_model;
    double reference_gflops;             /* what a time is turned into work by, and back; 0: not given */
    double slowdown;                     /* of two tasks for which none is told; >= 1 */
    bool at_once;                        /* everything starts at the start: nothing waits its turn */
    int64_t horizon_ns;                  /* 0: none */
    int64_t budget_nanousd;              /* -1: none */
};
/* Returns 0, or -1 with *err: what, in which line, and the remedy as hint; then *ret is untouched. */
int fg_instance_parse(const char *text, size_t length, struct fg_instance *ret, struct fg_error *err);
/* Take another cost model than the file's. FG_E_INVALID where it lacks something for it. */
int fg_instance_model(struct fg_instance *in, enum fg_cost_model model, struct fg_error *err);
void fg_instance_fini(struct fg_instance *in);

/* --- pairs: what one task costs on one vGPU --- */
enum fg_pair_block { FG_PAIR_OK, FG_PAIR_KIND, FG_PAIR_MEMORY, FG_PAIR_NO_TIME, FG_PAIR_TOO_LONG, FG_PAIR_DEADLINE, FG_PAIR_BUDGET };
struct fg_pair {
    int64_t time_ns, cost_nanousd;       /* alone on it */
    uint32_t hold_ppm;                   /* of the vGPU's price */
    bool spot;
    enum fg_pair_block block;
};
struct fg_pair fg_instance_pair(const struct fg_instance *in, uint32_t task, uint32_t vgpu);

/* --- one vGPU's turn --- */
struct fg_turn { uint32_t task; int64_t start_ns, end_ns, cost_nanousd; };
/* When the n tasks in turns[] run on the vGPU, in order of start: by earliest deadline, then shortest, then as given.
 * false: one would pass its deadline or the horizon, or a gang would not start at once; the turns are filled all the same.
 * What would end after FG_INSTANCE_END_MOST, and all behind it, ends a nanosecond later than that. */
bool fg_instance_turns(const struct fg_instance *in, uint32_t vgpu, struct fg_turn *turns, size_t n);

struct fg_instance_left { uint32_t task; char text[200]; };
struct fg_instance_plan {
    uint32_t *vgpu;                      /* by task, or FG_ASSIGN_NOBODY */
    int64_t *start_ns, *end_ns, *task_cost_nanousd; /* by task */
    bool *spot;                          /* by task */
    FG_VEC(struct fg_instance_left) left;/* every task not planned, with the reason */
    int64_t cost_nanousd;
    int64_t bound_nanousd;               /* no plan for the same tasks costs less */
    double gap;
    int64_t makespan_ns;
    uint64_t iterations;
    int64_t bound_ns, first_ns;          /* when bound and first plan stood */
};
/* options as of the assignment solver; start is not used. Returns 0, or -1 with *err (FG_E_INVALID: the plan would cost more than
 * FG_INSTANCE_COST_MOST); then *ret is untouched. */
int fg_instance_solve(const struct fg_instance *in, const struct fg_assign_options *o, struct fg_instance_plan *ret, struct fg_error *err);
void fg_instance_plan_fini(struct fg_instance_plan *p);
