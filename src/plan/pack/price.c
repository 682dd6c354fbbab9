/* price.c - what a kind of node is worth beyond its free GPUs: how much is asked of it by those who cannot go elsewhere.
 *
 *     price(k) = sum over types t that may run on k of  demand(t) / supply of all kinds t may run on     [1000: fully asked for]
 *
 * in GPUs, with all demand scaled to the supply. Supply is what is still free: a kind that fills up becomes dearer, so that something
 * is left of each for those bound to it (decision 0060). A type bound to one kind loads that kind alone; one that may run anywhere
 * loads all kinds alike. The duals of the transport problem of types and kinds, tried first, say nothing about kinds that are
 * not scarce yet: decision 0024. */
#include "plan/pack/private.h"

#define NEVER_GONE 0.05                  /* of a kind that is full: things end, and fragments remain */

static double gpus_of(const struct pk_shape *s) { return (double)s->nodes * s->whole.gpus; }
/* What is free of it, in levels, so that prices follow the state and do not flutter with every task. */
static double supply_of(const struct pk_shape *s) { return gpus_of(s) * ((double)s->level / PK_LEVELS + NEVER_GONE); }

uint32_t pk_level(const struct pk_shape *s)
{
    uint64_t all = (uint64_t)s->nodes * s->whole.gpus * FG_PACK_DEVICE;
    return all ? (uint32_t)((s->free_milli * PK_LEVELS + all - 1) / all) : 0;
}

static void spread(struct fg_pack *p, const struct pk_type *t, double demand, double *load)
{
    double supply = 0;
    for (size_t s = 0; s < p->shapes.count; s++)
        if (pk_fits_whole(&p->shapes.items[s].whole, &t->need))
            supply += supply_of(&p->shapes.items[s]);
    for (size_t s = 0; s < p->shapes.count; s++)
        if (supply > 0 && pk_fits_whole(&p->shapes.items[s].whole, &t->need))
            load[s] += demand / supply;
}

void pk_price(struct fg_pack *p)
{
    double *load = fg_alloc(FG_MAX(p->shapes.count, (size_t)1) * sizeof *load), demand = 0, supply = 0;
    for (size_t i = 0; i < p->types.count; i++) {
        const struct pk_type *t = &p->types.items[i];
        double gpus = (double)t->count * t->need.gpus * pk_part(p, &t->need) / FG_PACK_DEVICE;
        demand += gpus;
        if (gpus > 0)
            spread(p, t, gpus, load);
    }
    for (size_t s = 0; s < p->shapes.count; s++)
        supply += supply_of(&p->shapes.items[s]);
    for (size_t s = 0; s < p->shapes.count; s++)
        p->shapes.items[s].price = demand > 0 ? (int64_t)(1000 * load[s] * supply / demand) : 0;
    free(load);
    p->priced = p->levels;
}

int64_t fg_pack_price(struct fg_pack *p, uint32_t node)
{
    pk_learn(p);
    if (p->priced != p->levels)
        pk_price(p);                     /* no decision is asked for: what will be filled is not worked out */
    return p->shapes.items[p->nodes.items[node].shape].price;
}
