/* chain.h - find and apply one chain of moves (chain.c has the picture). */
#pragma once
#include "plan/assign/state.h"

#define CHAIN_MOST 10u              /* moves in one chain */
struct chain_step { uint32_t task, to; const struct option *option; };
struct chain {
    struct state *s;
    uint32_t *seen, stamp;          /* by agent: stamp when it has already exchanged in this chain */
    double *room_cost;              /* by agent: what its free room or overload costs now */
    double strict;                  /* price of overload in multiples of the price of capacity */
    double gain;                    /* how much one departure may earn, for cutting */
    double budget, hole;
    uint32_t start, visits, length;
    const struct option *first_option;
    struct chain_step steps[CHAIN_MOST];
};
void chain_init(struct chain *c, struct state *s, double gain);
void chain_fini(struct chain *c);
/* Set strict and the room costs, from the state as it is: needed before the first chain and after every state_set. */
void chain_strict(struct chain *c, double strict);
/* Look for a chain that begins with task and costs at most budget, counting at most most_gain for its leaving.
 * At true, chain_apply makes it so. */
bool chain_find(struct chain *c, uint32_t task, double budget, double most_gain, uint32_t visits);
void chain_apply(struct chain *c);
