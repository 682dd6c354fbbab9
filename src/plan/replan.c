/* replan.c - local repair. Tasks are in a list per class; of a kind the agents with room are found from where the last one was found.
 *
 *   arrival   the cheapest kind with room; else one task of an agent it wants is led elsewhere, where that costs less than waiting
 *   ending    the room goes to the task that gains most of LOOK of each class that may run there: one from each end of its list
 *   price     dearer: the class's tasks on the kind look for better; cheaper: its other tasks look whether this is better */
#include "plan/replan.h"

#include <string.h>

#include "base/mem.h"
#include "base/vec.h"

enum { LOOK = 2, EJECT_AGENTS = 8, EJECT_TASKS = 8, AGENTS_LOOKED = 256 };
struct seat { uint32_t class, agent, at, in_agent; };    /* at: place in its class's list; in_agent: in its agent's */
struct list { uint32_t *items; size_t count, cap; };
struct fg_replan {
    uint32_t agents, kinds, classes, R;
    uint32_t *kind_of, *kind_first, *kind_agents, *from;
    int64_t *cost, *need, *room, *nobody;
    FG_VEC(struct seat) seats;
    FG_VEC(uint32_t) unused;
    struct list *of_class, *of_agent;
    int64_t total;
    uint64_t moves;
};
#define FREE UINT32_MAX                                  /* as a class: the number is not in use */

static int64_t cost_at(const struct fg_replan *r, uint32_t class, uint32_t agent)
{
    return agent == FG_ASSIGN_NOBODY ? r->nobody[class] : r->cost[(size_t)class * r->kinds + r->kind_of[agent]];
}
static const int64_t *need_at(const struct fg_replan *r, uint32_t class, uint32_t kind) { return &r->need[((size_t)class * r->kinds + kind) * r->R]; }

/* Room for the class, once a task of the class `less` on the same kind has left (less FREE: nobody leaves). */
static bool fits(const struct fg_replan *r, uint32_t class, uint32_t agent, uint32_t less)
{
    const int64_t *need = need_at(r, class, r->kind_of[agent]), *back = less == FREE ? NULL : need_at(r, less, r->kind_of[agent]);
    for (uint32_t x = 0; x < r->R; x++)
        if (need[x] > r->room[(size_t)agent * r->R + x] + (back ? back[x] : 0))
            return false;
    return true;
}

static void list_remove(struct fg_replan *r, struct list *l, uint32_t at, bool of_agent)
{
    uint32_t last = l->items[--l->count];
    l->items[at] = last;
    *(of_agent ? &r->seats.items[last].in_agent : &r->seats.items[last].at) = at;
}

static void move(struct fg_replan *r, uint32_t task, uint32_t to)
{
    struct seat *s = &r->seats.items[task];
    uint32_t from = s->agent;
    r->total += cost_at(r, s->class, to) - cost_at(r, s->class, from);
    for (int side = 0; side < 2; side++) {
        uint32_t agent = side ? to : from;
        for (uint32_t x = 0; agent != FG_ASSIGN_NOBODY && x < r->R; x++)
            r->room[(size_t)agent * r->R + x] += (side ? -1 : 1) * need_at(r, s->class, r->kind_of[agent])[x];
    }
    if (from != FG_ASSIGN_NOBODY)
        list_remove(r, &r->of_agent[from], s->in_agent, true);
    s->agent = to;
    if (to != FG_ASSIGN_NOBODY) {
        s->in_agent = (uint32_t)r->of_agent[to].count;
        fg_vec_push(&r->of_agent[to], task);
    }
    r->moves++;
}

/* An agent of the kind with room, or NOBODY after AGENTS_LOOKED. */
static uint32_t agent_of(struct fg_replan *r, uint32_t class, uint32_t kind)
{
    uint32_t first = r->kind_first[kind], n = r->kind_first[kind + 1] - first;
    for (uint32_t x = 0; x < n && x < AGENTS_LOOKED; x++) {
        uint32_t turn = (r->from[kind] + x) % n, agent = r->kind_agents[first + turn];
        if (fits(r, class, agent, FREE)) {
            r->from[kind] = turn;
            return agent;
        }
    }
    if (n)
        r->from[kind] = (r->from[kind] + AGENTS_LOOKED) % n;
    return FG_ASSIGN_NOBODY;
}

/* The cheapest agent with room that costs less than `below`. */
static uint32_t cheapest(struct fg_replan *r, uint32_t class, int64_t below)
{
    uint32_t best = FG_ASSIGN_NOBODY;
    for (uint32_t k = 0; k < r->kinds; k++) {
        int64_t cost = r->cost[(size_t)class * r->kinds + k];
        uint32_t agent = cost < below ? agent_of(r, class, k) : FG_ASSIGN_NOBODY;
        if (agent != FG_ASSIGN_NOBODY)
            best = agent, below = cost;
    }
    return best;
}

/* Lead one task away from an agent that `task` wants, where both together cost less than `task` does now. */
static void eject(struct fg_replan *r, uint32_t task)
{
    uint32_t class = r->seats.items[task].class;
    for (uint32_t k = 0; k < r->kinds; k++) {
        int64_t cost = r->cost[(size_t)class * r->kinds + k], gain = cost == FG_ASSIGN_NEVER ? 0 : r->nobody[class] - cost;
        uint32_t first = r->kind_first[k], n = r->kind_first[k + 1] - first;
        if (gain <= 0)
            continue;
        for (uint32_t x = 0; x < n && x < EJECT_AGENTS; x++) {
            uint32_t agent = r->kind_agents[first + (r->from[k] + x) % n];
            for (size_t y = 0; y < r->of_agent[agent].count && y < EJECT_TASKS; y++) {
                uint32_t other = r->of_agent[agent].items[y], oc = r->seats.items[other].class;
                if (!fits(r, class, agent, oc))
                    continue;
                int64_t now = cost_at(r, oc, agent);
                uint32_t to = cheapest(r, oc, now + gain);
                if (to == FG_ASSIGN_NOBODY || to == agent)
                    continue;
                move(r, other, to);
                move(r, task, agent);
                return;
            }
        }
    }
}

uint32_t fg_replan_add(struct fg_replan *r, uint32_t class)
{
    uint32_t task;
    if (r->unused.count)
        task = r->unused.items[--r->unused.count];
    else
        task = (uint32_t)r->seats.count, (void)fg_vec_add(&r->seats);
    r->seats.items[task] = (struct seat){.class = class, .agent = FG_ASSIGN_NOBODY, .at = (uint32_t)r->of_class[class].count};
    fg_vec_push(&r->of_class[class], task);
    r->total += r->nobody[class];
    uint32_t agent = cheapest(r, class, r->nobody[class]);
    if (agent != FG_ASSIGN_NOBODY)
        move(r, task, agent);
    else
        eject(r, task);
    return task;
}

/* Give the agent's free room to whom it helps most, again and again. */
static void fill(struct fg_replan *r, uint32_t agent)
{
    for (int round = 0; round < 4; round++) {
        uint32_t best = FG_ASSIGN_NOBODY;
        int64_t most = 0;
        for (uint32_t c = 0; c < r->classes; c++) {
            const struct list *l = &r->of_class[c];
            int64_t here = cost_at(r, c, agent);
            if (l->count == 0 || here == FG_ASSIGN_NEVER || !fits(r, c, agent, FREE))
                continue;
            for (size_t x = 0; x < LOOK && x < l->count; x++) {
                uint32_t task = l->items[x % 2 ? l->count - 1 - x / 2 : x / 2];
                int64_t gain = cost_at(r, c, r->seats.items[task].agent) - here;
                if (gain > most && r->seats.items[task].agent != agent)
                    best = task, most = gain;
            }
        }
        if (best == FG_ASSIGN_NOBODY)
            return;
        move(r, best, agent);
    }
}

void fg_replan_remove(struct fg_replan *r, uint32_t task)
{
    uint32_t class = r->seats.items[task].class, agent = r->seats.items[task].agent;
    if (agent != FG_ASSIGN_NOBODY)
        move(r, task, FG_ASSIGN_NOBODY);
    list_remove(r, &r->of_class[class], r->seats.items[task].at, false);
    r->total -= r->nobody[class];
    r->seats.items[task].class = FREE;
    fg_vec_push(&r->unused, task);
    if (agent != FG_ASSIGN_NOBODY)
        fill(r, agent);
}

void fg_replan_price(struct fg_replan *r, uint32_t class, uint32_t kind, int64_t cost)
{
    int64_t *cell = &r->cost[(size_t)class * r->kinds + kind], before = *cell;
    struct list *l = &r->of_class[class];
    for (size_t x = 0; x < l->count; x++) {
        uint32_t agent = r->seats.items[l->items[x]].agent;
        if (agent != FG_ASSIGN_NOBODY && r->kind_of[agent] == kind && cost != FG_ASSIGN_NEVER)
            r->total += cost - before;
        else if (agent != FG_ASSIGN_NOBODY && r->kind_of[agent] == kind)
            move(r, l->items[x], FG_ASSIGN_NOBODY);
    }
    *cell = cost;
    for (size_t x = 0; x < l->count; x++) {
        uint32_t task = l->items[x], agent = r->seats.items[task].agent;
        bool here = agent != FG_ASSIGN_NOBODY && r->kind_of[agent] == kind;
        if (here ? cost <= before : cost >= before && agent != FG_ASSIGN_NOBODY)
            continue;
        uint32_t to = cheapest(r, class, cost_at(r, class, agent));
        if (to != FG_ASSIGN_NOBODY)
            move(r, task, to);
    }
}

uint32_t fg_replan_agent(const struct fg_replan *r, uint32_t task) { return r->seats.items[task].agent; }
int64_t fg_replan_cost(const struct fg_replan *r) { return r->total; }
uint64_t fg_replan_moves(const struct fg_replan *r) { return r->moves; }

static void *copy(const void *from, size_t count, size_t size) { return memcpy(fg_realloc(NULL, count, size), from, count * size); }

static void index_agents(struct fg_replan *r)
{
    FG_AUTO_FREE uint32_t *filled = fg_alloc((r->kinds + 1) * sizeof *filled);
    for (uint32_t i = 0; i < r->agents; i++)
        r->kind_first[r->kind_of[i] + 1]++;
    for (uint32_t k = 0; k < r->kinds; k++)
        r->kind_first[k + 1] += r->kind_first[k];
    for (uint32_t i = 0; i < r->agents; i++)
        r->kind_agents[r->kind_first[r->kind_of[i]] + filled[r->kind_of[i]]++] = i;
}

int fg_replan_create(const struct fg_assign_problem *p, const uint32_t *assignment, struct fg_replan **ret, struct fg_error *err)
{
    if (fg_assign_check(p, err) < 0)
        return -1;
    if (!p->nobody_cost || p->group)
        return fg_fail(err, FG_E_INVALID, "a plan to be kept needs what waiting costs, and no groups");
    struct fg_replan *r = fg_alloc(sizeof *r);
    r->agents = p->agents, r->R = p->resources;
    r->kinds = p->agent_kind ? p->kinds : p->agents, r->classes = p->task_class ? p->classes : p->tasks;
    size_t cells = (size_t)r->kinds * r->classes;
    r->kind_of = fg_realloc(NULL, r->agents, sizeof *r->kind_of), r->kind_agents = fg_realloc(NULL, r->agents, sizeof *r->kind_agents);
    r->kind_first = fg_alloc((r->kinds + 1) * sizeof *r->kind_first), r->from = fg_alloc(r->kinds * sizeof *r->from);
    for (uint32_t i = 0; i < r->agents; i++)
        r->kind_of[i] = p->agent_kind ? p->agent_kind[i] : i;
    index_agents(r);
    r->cost = copy(p->cost, cells, sizeof *r->cost), r->need = copy(p->need, cells * r->R, sizeof *r->need);
    r->room = copy(p->capacity, (size_t)r->agents * r->R, sizeof *r->room), r->nobody = copy(p->nobody_cost, r->classes, sizeof *r->nobody);
    r->of_class = fg_alloc(r->classes * sizeof *r->of_class), r->of_agent = fg_alloc(r->agents * sizeof *r->of_agent);
    for (uint32_t j = 0; j < p->tasks; j++) {
        uint32_t class = p->task_class ? p->task_class[j] : j, agent = assignment ? assignment[j] : FG_ASSIGN_NOBODY;
        if (agent != FG_ASSIGN_NOBODY && (agent >= r->agents || cost_at(r, class, agent) == FG_ASSIGN_NEVER || !fits(r, class, agent, FREE))) {
            fg_replan_destroy(r);
            return fg_fail(err, FG_E_INVALID, "the assignment has task %u where it cannot be", j);
        }
        fg_vec_push(&r->seats, (struct seat){.class = class, .agent = FG_ASSIGN_NOBODY, .at = (uint32_t)r->of_class[class].count});
        fg_vec_push(&r->of_class[class], j);
        r->total += r->nobody[class];
        if (agent != FG_ASSIGN_NOBODY)
            move(r, j, agent);
    }
    r->moves = 0;
    *ret = r;
    return 0;
}

void fg_replan_destroy(struct fg_replan *r)
{
    if (!r)
        return;
    for (uint32_t c = 0; c < r->classes; c++)
        free(r->of_class[c].items);
    for (uint32_t i = 0; i < r->agents; i++)
        free(r->of_agent[i].items);
    free(r->kind_of), free(r->kind_first), free(r->kind_agents), free(r->from), free(r->cost), free(r->need), free(r->room), free(r->nobody);
    free(r->of_class), free(r->of_agent);
    fg_vec_fini(&r->seats);
    fg_vec_fini(&r->unused);
    free(r);
}
