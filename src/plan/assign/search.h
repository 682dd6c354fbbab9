/* search.h - the improvement loop's own state. */
#pragma once
#include "plan/assign/chain.h"

struct search {
    struct work *w;
    struct state *s;
    struct chain chain;
    float log_table[4096];          /* -ln((i + 1/2) / 4096): a chain may cost temperature x a random entry */
    uint32_t *current;              /* what dives over a part start from */
    int64_t current_cost;
    uint32_t stale;                 /* dives over a part since current became cheaper */
    uint32_t *focus, focus_count;   /* the tasks that chains and sweeps begin with; none: all */
    struct guest *guests;           /* by kind: who may go there, guests[guest_first[kind] .. guest_first[kind + 1]] (sweep.c) */
    uint32_t *guest_first;
};

/* Try `attempts` chains while the temperature falls from t0 to t1. strict is the price of overload, in multiples of
 * the price of capacity; it is steered so that about a share `want` of the assignments passed is feasible (0: kept). */
struct anneal { double t0, t1; uint64_t attempts; double strict, want; };
void search_anneal(struct search *q, const struct anneal *a);

/* Move tasks to cheaper places, one other making room at most, until few more find one (sweep.c). */
void search_sweep(struct search *q);

/* Options by rising reduced cost, first agent with room: a first valid assignment. */
void fg_assign_greedy(struct work *w, uint32_t *agent);
/* An agent of the kind with room for the need, or UINT32_MAX. Agents that were found full are passed over by from[kind]. */
uint32_t assign_agent_with_room(const struct work *w, uint32_t kind, const int64_t *need, const int64_t *room, uint32_t *from);
/* The kind with room that is cheapest at the prices, of all kinds: where the short list had none. The agent in *ret_agent. refused: NULL, or
 * with one resource the least need for which each kind had no room, kept here. */
uint32_t assign_any_kind(const struct work *w, uint32_t c, const int64_t *room, uint32_t *from, int64_t *refused, uint32_t *ret_agent);
