/* chain.c - ejection chains and cyclic exchanges, found by depth-first search under a budget.
 *
 *     task j0 leaves agent i0, which has a hole;   j0 goes to i1, k1 must leave;   k1 goes to i2, k2 must leave; ...
 *     until the last one fits: where there is room (chain), or in the hole of i0 (cycle).
 *
 * With the terms of state.h, leaving earns reduced[j0] and at best the whole room of i0; every step costs
 *     reduced of the arrival - reduced of who leaves + u x (growth of the agent's room)
 * and a chain is followed only while its sum is within the budget. That loses nothing: an exchange of total d <= budget
 * has a starting point from which no part sum passes it (rotate a cycle to begin after its largest part sum). */
#include <math.h>
#include <string.h>

#include "plan/assign/chain.h"

/* What agent i's room costs once o has come and `leaves` has left (either may be NULL): u x what is free, q u x what is beyond. */
static inline double room_cost(const struct chain *c, uint32_t i, const struct option *o, const struct option *leaves)
{
    const struct state *s = c->s;
    uint32_t R = s->w->resources;
    const int64_t *room = &s->room[(size_t)i * R];
    const double *v = &s->weight[s->w->kind_of[i] * R], *over = &s->over_weight[s->w->kind_of[i] * R];
    double cost = 0;
    for (uint32_t r = 0; r < R; r++) {
        int64_t x = room[r] - (o ? o->need[r] : 0) + (leaves ? leaves->need[r] : 0);
        cost += x >= 0 ? v[r] * (double)x : -c->strict * over[r] * (double)x;
    }
    return cost;
}

static void step(struct chain *c, uint32_t depth, uint32_t task, uint32_t to, const struct option *o)
{
    c->steps[depth] = (struct chain_step){task, to, o};
    c->length = depth + 1;
}

static bool extend(struct chain *c, uint32_t depth, uint32_t j, double sum);

/* Put j on agent i by option o and send one of the agent's tasks on. */
static bool eject(struct chain *c, uint32_t depth, uint32_t j, uint32_t i, const struct option *o, double sum)
{
    struct state *s = c->s;
    const struct agent_state *a = &s->agents[i];
    double size = state_size(s, o), room = state_room_size(s, i), spare = c->budget + c->gain - sum + c->room_cost[i];
    double least = size - room - spare / c->strict - 1e-9 * fabs(size), most = size - room + spare;
    uint32_t lo = state_find(a, least), n = 0;
    while (lo + n < a->count && a->held[lo + n].size <= most)
        n++;
    if (!n)
        return false;
    uint32_t turn = random_scale((uint32_t)random_next(c->s->w->random), n);
    c->seen[i] = c->stamp;
    for (uint32_t x = 0; x < n; x++, turn = turn + 1 < n ? turn + 1 : 0) {
        const struct holding *h = &a->held[lo + turn];
        double next = sum - h->reduced - c->room_cost[i] + room_cost(c, i, o, s->option[h->task]);
        if (next > c->budget)
            continue;
        step(c, depth, j, i, o);
        if (extend(c, depth + 1, h->task, next))
            return true;
        if (c->visits == 0)
            break;
    }
    c->seen[i] = 0;
    return false;
}

static bool try_agent(struct chain *c, uint32_t depth, uint32_t j, uint32_t i, const struct option *o, double sum)
{
    struct state *s = c->s;
    if (i == c->start || c->seen[i] == c->stamp) {
        if (i != c->start || depth == 0)
            return false;
        double end = sum + room_cost(c, i, o, c->first_option);
        if (end > c->budget)
            return false;
        step(c, depth, j, i, o);
        return true;
    }
    double end = sum + c->hole - c->room_cost[i] + room_cost(c, i, o, NULL);
    if (end <= c->budget) {
        step(c, depth, j, i, o);
        return true;
    }
    return depth + 1 < CHAIN_MOST && i + 1 < s->w->agents && eject(c, depth, j, i, o, sum);
}

/* Find a home for j, which is nowhere, with the part sum so far. */
static bool extend(struct chain *c, uint32_t depth, uint32_t j, double sum)
{
    struct work *w = c->s->w;
    if (c->visits == 0)
        return false;
    c->visits--;
    uint32_t class = w->class_of[j], first = w->option_first[class], count = w->option_first[class + 1] - first;
    /* options lie by rising reduced cost: only a prefix is affordable */
    uint32_t can = 0;
    while (can < count && sum + w->options[first + can].reduced <= c->budget + c->gain)
        can++;
    if (!can)
        return false;
    uint32_t turn = random_scale((uint32_t)random_next(w->random), can);
    for (uint32_t x = 0; x < can; x++, turn = turn + 1 < can ? turn + 1 : 0) {
        const struct option *o = &w->options[first + turn];
        const uint32_t *agents = &w->kind_agents[w->kind_first[o->kind]];
        uint32_t n = w->kind_first[o->kind + 1] - w->kind_first[o->kind];
        if (n == 1) {
            if (try_agent(c, depth, j, agents[0], o, sum + o->reduced))
                return true;
            continue;
        }
        if (w->kind_of[c->start] == o->kind && try_agent(c, depth, j, c->start, o, sum + o->reduced))
            return true;
        for (uint32_t t = 0; t < 3; t++)
            if (try_agent(c, depth, j, agents[random_scale((uint32_t)random_next(w->random), n)], o, sum + o->reduced))
                return true;
    }
    return false;
}

bool chain_find(struct chain *c, uint32_t task, double budget, double most_gain, uint32_t visits)
{
    struct state *s = c->s;
    c->start = s->agent[task];
    c->first_option = s->option[task];
    c->budget = budget;
    c->visits = visits;
    c->length = 0;
    if (++c->stamp == 0) {
        memset(c->seen, 0, s->w->agents * sizeof *c->seen);
        c->stamp = 1;
    }
    bool nobody = c->start + 1 == s->w->agents;
    c->hole = nobody ? 0 : room_cost(c, c->start, NULL, c->first_option);
    /* An agent that is overloaded gains by the leaving as a badly placed task does; one with room hopes to fill it. */
    double room = c->room_cost[c->start], relief = s->over && state_over(s, c->start) ? room : 0;
    double sum = -fmin(c->first_option->reduced + relief, most_gain) - (room - relief);
    return extend(c, 0, task, sum);
}

void chain_apply(struct chain *c)
{
    for (uint32_t x = 0; x < c->length; x++)
        state_move(c->s, c->steps[x].task, c->steps[x].to, c->steps[x].option);
    for (uint32_t x = 0; x < c->length; x++)
        c->room_cost[c->steps[x].to] = room_cost(c, c->steps[x].to, NULL, NULL);
    if (c->start + 1 < c->s->w->agents)
        c->room_cost[c->start] = room_cost(c, c->start, NULL, NULL);
}

void chain_strict(struct chain *c, double strict)
{
    c->strict = strict;
    for (uint32_t i = 0; i + 1 < c->s->w->agents; i++)
        c->room_cost[i] = room_cost(c, i, NULL, NULL);
}

void chain_init(struct chain *c, struct state *s, double gain)
{
    *c = (struct chain){.s = s, .gain = gain};
    c->seen = fg_alloc(s->w->agents * sizeof *c->seen);
    c->room_cost = fg_alloc(s->w->agents * sizeof *c->room_cost);
}

void chain_fini(struct chain *c)
{
    free(c->seen);
    free(c->room_cost);
}
