/* state.h - an assignment being changed.
 *
 * Seen through the prices u, a feasible assignment costs
 *     constant + sum over tasks of reduced[task] + sum over agents of u x room
 * where reduced is what its option costs above its class's cheapest at these prices. All terms are >= 0, so what an
 * assignment loses against the bound lies open by task and agent, and a chain of moves is cut where its part of the
 * sum has grown too far. The tasks of an agent lie by size = u x need: who could make room for a task is a range. */
#pragma once
#include "plan/assign/private.h"

struct holding { double size; uint32_t task; float reduced; };
struct agent_state { struct holding *held; uint32_t count, cap; };

struct state {
    struct work *w;
    double *weight;                 /* [kinds][resources]: u, or a trifle where u is 0, so that sizes still order */
    double *over_weight;            /* [kinds][resources]: what overload is priced by: u, or enough to matter where u is 0 */
    uint32_t *agent;                /* by task */
    const struct option **option;   /* by task: where it is now */
    int64_t *room;                  /* by agent x resource: capacity less load */
    struct agent_state *agents;
    uint32_t over;                  /* agent x resource pairs with room < 0 */
    int64_t total;                  /* sum of costs */
    struct option *other;           /* by task: storage for an option that is not in its class's list */
};

struct state *state_create(struct work *w);
void state_destroy(struct state *s);
void state_set(struct state *s, const uint32_t *agent);
void state_move(struct state *s, uint32_t task, uint32_t to, const struct option *option);

static inline double state_size(const struct state *s, const struct option *o)
{
    const double *v = &s->weight[o->kind * s->w->resources];
    double size = v[0] * (double)o->need[0];
    for (uint32_t r = 1; r < s->w->resources; r++)
        size += v[r] * (double)o->need[r];
    return size;
}
static inline double state_room_size(const struct state *s, uint32_t agent)
{
    uint32_t R = s->w->resources;
    const double *v = &s->weight[s->w->kind_of[agent] * R];
    const int64_t *room = &s->room[(size_t)agent * R];
    double size = v[0] * (double)room[0];
    for (uint32_t r = 1; r < R; r++)
        size += v[r] * (double)room[r];
    return size;
}
static inline bool state_over(const struct state *s, uint32_t agent)
{
    for (uint32_t r = 0; r < s->w->resources; r++)
        if (s->room[(size_t)agent * s->w->resources + r] < 0)
            return true;
    return false;
}
/* The first of the agent's holdings with size >= least. */
static inline uint32_t state_find(const struct agent_state *a, double least)
{
    uint32_t lo = 0, hi = a->count;
    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2;
        if (a->held[mid].size < least)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}
