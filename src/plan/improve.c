/* improve.c - the tasks that a round placed, on the same devices, at less cost: the assignment problem of assign.h.
 *
 * Greedy serves in order, so an early task may sit on the one cheap device that a later one needed more. Which tasks are
 * placed was decided by the order of the queue and stays; where is decided anew for all of them together. What stands on
 * a reserved device, belongs to a gang or has a deadline is pinned: its place depends on more than cost. */
#include <string.h>

#include "plan/assign.h"
#include "plan/place_private.h"

#define CELLS_MAX 200000u                /* classes x devices: beyond it the round would wait for the plan */
#define TASKS_MAX 5000u

struct problem {
    struct fg_assign_problem p;
    uint32_t *task_class, *start, *device_of;    /* device_of: agent -> device index */
    uint32_t *class_of, *agent_of;               /* group -> class + 1; device -> agent + 1 */
    uint32_t *group_of;                          /* class -> group */
    int64_t *cost, *need, *capacity;
    uint32_t *done_of;                           /* task of the problem -> index in done */
    int64_t pinned_bound;
};

static void fini(struct problem *b)
{
    void *all[] = {b->task_class, b->start, b->device_of, b->class_of, b->agent_of, b->group_of, b->cost, b->need, b->capacity, b->done_of};
    for (size_t i = 0; i < FG_COUNT(all); i++)
        free(all[i]);
}

static void list_tasks(const struct round *r, struct problem *b)
{
    b->class_of = fg_alloc((r->groups.count + 1) * sizeof *b->class_of);
    b->group_of = fg_alloc((r->groups.count + 1) * sizeof *b->group_of);
    b->task_class = fg_alloc((r->done.count + 1) * sizeof *b->task_class);
    b->done_of = fg_alloc((r->done.count + 1) * sizeof *b->done_of);
    for (size_t i = 0; i < r->done.count; i++) {
        const struct done *d = &r->done.items[i];
        if (d->pinned) {
            b->pinned_bound += r->groups.items[d->group].least_cost;
            continue;
        }
        if (!b->class_of[d->group]) {
            b->group_of[b->p.classes] = d->group;
            b->class_of[d->group] = ++b->p.classes;
        }
        b->task_class[b->p.tasks] = b->class_of[d->group] - 1;
        b->done_of[b->p.tasks++] = (uint32_t)i;
    }
}

/* Devices with what was free on them before the tasks that may move were placed. */
static void list_devices(const struct round *r, struct problem *b)
{
    size_t n = r->snap->device_count;
    b->agent_of = fg_alloc((n + 1) * sizeof *b->agent_of);
    b->device_of = fg_alloc((n + 1) * sizeof *b->device_of);
    b->capacity = fg_alloc((n + 1) * 2 * sizeof *b->capacity);
    FG_AUTO_FREE bool *holds = fg_alloc((n + 1) * sizeof *holds);
    for (uint32_t j = 0; j < b->p.tasks; j++)
        holds[r->done.items[b->done_of[j]].device] = true;
    for (size_t i = 0; i < n; i++) {
        const struct room *room = room_at(r, i);
        if (!room->usable || room->reservation || (!holds[i] && !(room->memory_bytes && room->share_permille)))
            continue;
        b->device_of[b->p.agents] = (uint32_t)i;
        b->agent_of[i] = ++b->p.agents;
        b->capacity[2 * (b->p.agents - 1)] = (int64_t)room->memory_bytes;
        b->capacity[2 * (b->p.agents - 1) + 1] = room->share_permille;
    }
    b->start = fg_alloc((b->p.tasks + 1) * sizeof *b->start);
    for (uint32_t j = 0; j < b->p.tasks; j++) {
        const struct done *d = &r->done.items[b->done_of[j]];
        const struct fg_need *need = &r->snap->tasks[d->task].need;
        b->start[j] = b->agent_of[d->device] - 1;
        b->capacity[2 * b->start[j]] += (int64_t)need->memory_bytes;
        b->capacity[2 * b->start[j] + 1] += need->share_permille;
    }
}

static void fill_tables(const struct round *r, struct problem *b)
{
    size_t cells = (size_t)b->p.classes * b->p.agents;
    b->cost = fg_alloc((cells + 1) * sizeof *b->cost);
    b->need = fg_alloc((cells + 1) * 2 * sizeof *b->need);
    for (uint32_t c = 0; c < b->p.classes; c++) {
        const struct group *g = &r->groups.items[b->group_of[c]];
        for (uint32_t a = 0; a < b->p.agents; a++) {
            size_t at = (size_t)c * b->p.agents + a;
            int64_t cost = offer_of(r, g, b->device_of[a])->cost;
            b->cost[at] = cost < 0 ? FG_ASSIGN_NEVER : cost;
            b->need[2 * at] = (int64_t)g->task->need.memory_bytes;
            b->need[2 * at + 1] = g->task->need.share_permille;
        }
    }
    b->p.kinds = b->p.agents;
    b->p.resources = 2;
    b->p.task_class = b->task_class;
    b->p.cost = b->cost;
    b->p.need = b->need;
    b->p.capacity = b->capacity;
}

static void move(struct round *r, size_t done, size_t to)
{
    struct done *d = &r->done.items[done];
    struct fg_placement *p = &r->plan.placements.items[done];
    const struct offer *offer = offer_of(r, &r->groups.items[d->group], to);
    if (d->device == to)
        return;
    p->placed = (struct fg_placed){
        .rule = FG_RULE_WHOLE_PLAN, .expected_ns = offer->time_ns, .expected_cost_nanousd = offer->cost,
        .runner_up_cost_nanousd = p->placed.expected_cost_nanousd, .second_device = p->device,
        .third_cost_nanousd = p->placed.runner_up_cost_nanousd, .third_device = p->placed.second_device};
    if (p->placed.third_device == r->snap->devices[to].id)
        p->placed.third_device = 0, p->placed.third_cost_nanousd = 0;
    p->device = r->snap->devices[to].id;
    d->device = to;
}

static void adopt(struct round *r, struct problem *b, const struct fg_assign_result *result)
{
    r->plan.cost_nanousd = 0;
    for (uint32_t j = 0; j < b->p.tasks; j++) {
        const struct fg_need *need = &r->snap->tasks[r->done.items[b->done_of[j]].task].need;
        move(r, b->done_of[j], b->device_of[result->agent[j]]);
        b->capacity[2 * result->agent[j]] -= (int64_t)need->memory_bytes;
        b->capacity[2 * result->agent[j] + 1] -= need->share_permille;
    }
    for (uint32_t a = 0; a < b->p.agents; a++)
        rooms_change(r->rooms, b->device_of[a], (uint64_t)b->capacity[2 * a], (uint32_t)b->capacity[2 * a + 1]);
    for (size_t i = 0; i < r->plan.placements.count; i++)
        r->plan.cost_nanousd += r->plan.placements.items[i].placed.expected_cost_nanousd;
}

/* What the solver refuses (sums beyond its integers) stays as it is: the greedy plan is a plan. */
static bool solve(struct round *r, struct problem *b)
{
    struct fg_assign_options options = {.seed = r->snap->seed, .max_iterations = r->snap->improve_iterations, .start = b->start};
    struct fg_assign_result result;
    struct fg_error err;
    int64_t before = 0;
    for (uint32_t j = 0; j < b->p.tasks; j++)
        before += r->plan.placements.items[b->done_of[j]].placed.expected_cost_nanousd;
    if (fg_assign_solve(&b->p, &options, &result, &err) < 0)
        return false;
    bool better = result.left_count == 0 && result.cost < before;
    r->plan.iterations = FG_MAX(result.iterations, 1u);
    r->plan.bound_nanousd = FG_MAX(r->plan.bound_nanousd, b->pinned_bound + FG_MIN(result.lower_bound, before));
    if (better)
        adopt(r, b, &result);
    fg_assign_result_fini(&result);
    return better;
}

bool round_improve(struct round *r)
{
    struct problem b = {0};
    if (r->done.count < 2 || r->done.count > TASKS_MAX || r->plan.cost_nanousd <= r->plan.bound_nanousd || r->plan.cost_nanousd == INT64_MAX)
        return false;
    list_tasks(r, &b);
    bool better = false;
    if (b.p.tasks >= 2 && (uint64_t)b.p.classes * r->rooms->open <= CELLS_MAX) {     /* else all of them are not gone through */
        list_devices(r, &b);
        if (b.p.agents >= 2 && (uint64_t)b.p.classes * b.p.agents <= CELLS_MAX) {
            fill_tables(r, &b);
            better = solve(r, &b);
        }
    }
    fini(&b);
    return better;
}
