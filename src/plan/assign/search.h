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
};

/* Try `attempts` chains while the temperature falls from t0 to t1. strict is the price of overload, in multiples of
 * the price of capacity; it is steered so that about a share `want` of the assignments passed is feasible (0: kept). */
struct anneal { double t0, t1; uint64_t attempts; double strict, want; };
void search_anneal(struct search *q, const struct anneal *a);

/* Options by rising reduced cost, first agent with room: a first valid assignment. */
void fg_assign_greedy(struct work *w, uint32_t *agent);
