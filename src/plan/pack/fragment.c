/* fragment.c - fragmentation as FGD's authors count it (Weng et al., ATC'23): of the free thousandths those that a typical type
 * could not use, expected over the types' frequencies. A type that needs no GPU, or does not fit, makes all of them useless. */
#include "plan/pack/private.h"

void pk_typicals_make(struct pk_typicals *ret, const struct pk_class *classes, size_t n)
{
    ret->sizes.count = ret->items.count = 0;
    for (size_t i = 0; i < n; i++) {
        const struct pk_class *c = &classes[i];
        if (i == 0 || c->gpus != c[-1].gpus || c->milli != c[-1].milli)
            fg_vec_push(&ret->sizes, ((struct pk_size){c->gpus, c->milli, (uint32_t)i, 0}));
        ret->sizes.items[ret->sizes.count - 1].count++;
        fg_vec_push(&ret->items, *c);
    }
}

void pk_typicals_fini(struct pk_typicals *t)
{
    fg_vec_fini(&t->items);
    fg_vec_fini(&t->sizes);
}

static uint32_t usable(const struct pk_room *r, const struct pk_size *s)
{
    uint32_t sum = 0, gpus = 0;
    for (uint32_t g = 0; g < r->gpus; g++)
        if (r->milli[g] >= s->milli) {
            sum += r->milli[g];
            gpus++;
        }
    return s->gpus > 0 && gpus >= s->gpus ? sum : 0;
}

double pk_fragment(const struct pk_typicals *typicals, const struct pk_room *r)
{
    uint32_t all = 0;
    double use = 0;
    for (uint32_t g = 0; g < r->gpus; g++)
        all += r->milli[g];
    for (size_t s = 0; all > 0 && s < typicals->sizes.count; s++) {
        const struct pk_size *size = &typicals->sizes.items[s];
        uint32_t most = usable(r, size);
        for (uint32_t i = size->first; most > 0 && i < size->first + size->count; i++) {
            const struct pk_class *c = &typicals->items.items[i];
            if (c->cpu <= r->cpu && c->kinds >> r->kind & 1)
                use += c->weight * most;
        }
    }
    return all - use;
}

double fg_pack_fragmentation(struct fg_pack *p)
{
    double sum = 0;
    pk_learn(p);
    for (size_t i = 0; i < p->nodes.count; i++)
        sum += pk_fragment(&p->by_count, &p->nodes.items[i].room);
    return sum;
}
