/* assign.h - give each task to one agent at least total cost, no agent beyond its capacity: the generalized
 * assignment problem with several resources, and a bound that no assignment can beat.
 *
 *     minimise   sum_j cost[j][i(j)]      over assignments i(j) of task j to an agent, or to nobody at its price
 *     subject to sum_{j on i} need[j][i][r] <= capacity[i][r]          for every agent i and resource r
 *
 * Costs and needs are told by class of tasks and kind of agents, since a queue is many tasks of few classes and a
 * cluster many vGPUs of few kinds; without the maps every task is its own class and every agent its own kind.
 * Pure: no I/O, no clock of its own, no global state. Any thread, one call per problem. Method and measurements:
 * docs/decisions/0020-assignment-solver.md. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

#define FG_ASSIGN_NEVER INT64_MAX    /* as a cost: this class may not run on this kind */
#define FG_ASSIGN_NOBODY UINT32_MAX  /* as an agent: the task is not assigned */
#define FG_ASSIGN_RESOURCES_MAX 4u

struct fg_assign_problem {
    uint32_t agents, tasks;
    uint32_t kinds, classes;         /* columns and rows of the tables; may be 0 where the map is NULL */
    uint32_t resources;              /* 1..FG_ASSIGN_RESOURCES_MAX */
    const uint32_t *agent_kind;      /* [agents]; NULL: agent i is kind i */
    const uint32_t *task_class;      /* [tasks]; NULL: task j is class j */
    const int64_t *cost;             /* [classes][kinds]; any sign, or FG_ASSIGN_NEVER */
    const int64_t *need;             /* [classes][kinds][resources], >= 0 */
    const int64_t *capacity;         /* [agents][resources], >= 0 */
    const int64_t *nobody_cost;      /* [classes], what a task left unassigned costs; NULL: more than any assignment */
    const uint32_t *group;           /* [tasks] or NULL; tasks with the same group > 0 are assigned all or none */
};

struct fg_assign_options {
    uint64_t seed;
    int64_t time_limit_ns;           /* 0: none; then max_iterations must be given */
    uint64_t max_iterations;         /* moves tried, 0: none; a run limited by it alone depends on nothing but the seed */
    int64_t gap_ppm;                 /* stop once cost <= bound * (1 + gap_ppm / 1e6); 0: only when proven */
    int64_t (*now_ns)(void *arg);    /* monotonic; NULL only without a time limit */
    void *now_arg;
    const volatile bool *interrupt;  /* NULL, or set from outside to stop at the best so far */
    const uint32_t *start;           /* [tasks] an assignment to begin from (a plan to repair), or NULL */
    void (*progress)(void *arg, int64_t cost, int64_t lower_bound); /* NULL, or called at every new best */
    void *progress_arg;
    uint64_t wide_cells;             /* tables with more cells are passed over as seldom as can be; 0: 2 million */
};

enum fg_assign_why {
    FG_ASSIGN_TOO_LARGE = 1,         /* fits no agent it may run on, even an empty one */
    FG_ASSIGN_NOT_ALLOWED,           /* may run on no agent at all */
    FG_ASSIGN_NO_ROOM,               /* the capacity is worth more to others, or no way to fit it was found */
    FG_ASSIGN_GROUP                  /* its group was not placed as a whole */
};
const char *fg_assign_why_text(enum fg_assign_why why);
struct fg_assign_left { uint32_t task; enum fg_assign_why why; };

struct fg_assign_result {
    uint32_t *agent;                 /* [tasks], or FG_ASSIGN_NOBODY */
    struct fg_assign_left *left;     /* every unassigned task, in order */
    uint32_t left_count;
    int64_t cost;                    /* of the assigned tasks */
    int64_t cost_nobody;             /* of the unassigned ones, as nobody_cost has it */
    int64_t lower_bound;             /* of cost + cost_nobody, certified in integers */
    double gap;                      /* (cost + cost_nobody - lower_bound) / |lower_bound|; 0 when proven optimal */
    uint64_t iterations;
    int64_t bound_ns, start_ns;      /* when the first bound and the first assignment stood (by now_ns) */
};

/* Fill *ret for the problem. Tasks that fit nowhere are listed in left: that is not an error. *ret is the caller's;
 * free with fg_assign_result_fini(). Returns 0, or -1 with *err set (FG_E_INVALID: a negative need or capacity, an
 * index out of its table, sums beyond 2^62, no limit given); then *ret is untouched. */
int fg_assign_solve(const struct fg_assign_problem *p, const struct fg_assign_options *o, struct fg_assign_result *ret,
                    struct fg_error *err);
void fg_assign_result_fini(struct fg_assign_result *r);
/* -1 with the first thing wrong with the problem; 0 when solve would take it. */
int fg_assign_check(const struct fg_assign_problem *p, struct fg_error *err);
