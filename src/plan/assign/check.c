/* check.c - what a problem must be before anything is computed of it: sums that cannot overflow, indices that exist. */
#include "plan/assign/private.h"

static int check_shape(const struct fg_assign_problem *p, struct fg_error *err)
{
    if (!p->agents || !p->tasks)
        return fg_fail(err, FG_E_INVALID, "an assignment needs at least one agent and one task, not %u and %u", p->agents, p->tasks);
    if (p->agents > INT32_MAX || p->tasks > INT32_MAX)
        return fg_fail(err, FG_E_INVALID, "%u agents and %u tasks are too many", p->agents, p->tasks);
    if (!p->resources || p->resources > FG_ASSIGN_RESOURCES_MAX)
        return fg_fail(err, FG_E_INVALID, "resources is %u; allowed is 1 to %u", p->resources, FG_ASSIGN_RESOURCES_MAX);
    if (!p->cost || !p->need || !p->capacity)
        return fg_fail(err, FG_E_INVALID, "the tables cost, need and capacity must be given");
    if ((p->agent_kind && !p->kinds) || (p->task_class && !p->classes))
        return fg_fail(err, FG_E_INVALID, "a map without its count of kinds or classes");
    if (p->kinds > INT32_MAX || p->classes > INT32_MAX)
        return fg_fail(err, FG_E_INVALID, "%u kinds and %u classes are too many", p->kinds, p->classes);
    for (uint32_t i = 0; p->agent_kind && i < p->agents; i++)
        if (p->agent_kind[i] >= p->kinds)
            return fg_fail(err, FG_E_INVALID, "agent %u is of kind %u; there are %u", i, p->agent_kind[i], p->kinds);
    for (uint32_t j = 0; p->task_class && j < p->tasks; j++)
        if (p->task_class[j] >= p->classes)
            return fg_fail(err, FG_E_INVALID, "task %u is of class %u; there are %u", j, p->task_class[j], p->classes);
    return 0;
}

/* Costs: |value| x tasks must stay below 2^60; with nobody's default on top, 2^62 (solve.c). */
static int check_costs(const struct fg_assign_problem *p, uint32_t kinds, uint32_t classes, struct fg_error *err)
{
    int64_t most = ((int64_t)1 << 60) / p->tasks;
    for (size_t x = 0; x < (size_t)kinds * classes; x++)
        if (p->cost[x] != FG_ASSIGN_NEVER && (p->cost[x] > most || p->cost[x] < -most))
            return fg_fail(err, FG_E_INVALID, "the cost %lld of class %zu on kind %zu: sums over %u tasks would overflow",
                           (long long)p->cost[x], x / kinds, x % kinds, p->tasks);
    return 0;
}

static int check_sizes(const struct fg_assign_problem *p, uint32_t kinds, uint32_t classes, struct fg_error *err)
{
    int64_t most = ((int64_t)1 << 60) / p->tasks;
    uint32_t R = p->resources;
    for (size_t x = 0; x < (size_t)kinds * classes * R; x++)
        if (p->need[x] < 0 || (p->need[x] > most && p->cost[x / R] != FG_ASSIGN_NEVER))
            return fg_fail(err, FG_E_INVALID, "the need %lld of class %zu on kind %zu is %s", (long long)p->need[x], x / R / kinds,
                           x / R % kinds, p->need[x] < 0 ? "negative" : "so large that sums would overflow");
    return 0;
}

int fg_assign_check_head(const struct fg_assign_problem *p, struct fg_error *err)
{
    if (check_shape(p, err) < 0)
        return -1;
    int64_t most = ((int64_t)1 << 60) / p->tasks, room = ((int64_t)1 << 60) / p->agents;
    uint32_t classes = p->task_class ? p->classes : p->tasks, R = p->resources;
    if ((!p->agent_kind && p->kinds && p->kinds != p->agents) || (!p->task_class && p->classes && p->classes != p->tasks))
        return fg_fail(err, FG_E_INVALID, "without a map, kinds must equal agents and classes tasks (or be 0)");
    for (uint32_t c = 0; p->nobody_cost && c < classes; c++)
        if (p->nobody_cost[c] > most || p->nobody_cost[c] < -most)
            return fg_fail(err, FG_E_INVALID, "the cost %lld of leaving class %u unassigned: sums over %u tasks would overflow",
                           (long long)p->nobody_cost[c], c, p->tasks);
    for (size_t x = 0; x < (size_t)p->agents * R; x++)
        if (p->capacity[x] < 0 || p->capacity[x] > room)
            return fg_fail(err, FG_E_INVALID, "the capacity %lld of agent %zu is %s", (long long)p->capacity[x], x / R,
                           p->capacity[x] < 0 ? "negative" : "so large that sums would overflow");
    return 0;
}

int fg_assign_check(const struct fg_assign_problem *p, struct fg_error *err)
{
    if (fg_assign_check_head(p, err) < 0)
        return -1;
    uint32_t kinds = p->agent_kind ? p->kinds : p->agents, classes = p->task_class ? p->classes : p->tasks;
    return check_costs(p, kinds, classes, err) < 0 ? -1 : check_sizes(p, kinds, classes, err);
}
