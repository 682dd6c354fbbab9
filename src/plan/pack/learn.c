/* learn.c - the typical types: what has arrived, or is expected, as value.c and fragment.c count with it. */
#include "plan/pack/private.h"

#define COVER 0.95                       /* fgd: classes by frequency until this part of the tasks is covered */
#define FILLERS_MOST 512u               /* classes that fill nodes, the most frequent */
#define FIRST_LEARNED 32u                /* arrivals before the first prices */
#define COUNT_MOST (UINT64_C(1) << 40)

void fg_pack_expect(struct fg_pack *p, uint32_t type, uint64_t count)
{
    count = FG_MIN(count, COUNT_MOST - FG_MIN(COUNT_MOST, p->types.items[type].count));
    p->types.items[type].count += count;
    p->expected += count;
}

static int compare(int64_t a, int64_t b) { return a < b ? -1 : a > b; }

static int by_need(const void *pa, const void *pb)
{
    const struct pk_class *a = pa, *b = pb;
    int order = compare(a->gpus, b->gpus);
    order = order ? order : compare(a->milli, b->milli);
    order = order ? order : compare(a->cpu, b->cpu);
    order = order ? order : compare(a->memory, b->memory);
    return order ? order : a->kinds < b->kinds ? -1 : a->kinds > b->kinds;
}

static int by_weight(const void *pa, const void *pb)
{
    const struct pk_class *a = pa, *b = pb;
    return a->weight != b->weight ? (a->weight > b->weight ? -1 : 1) : by_need(pa, pb);
}

static size_t merge(struct pk_class *c, size_t n)
{
    size_t kept = 0;
    qsort(c, n, sizeof *c, by_need);
    for (size_t i = 0; i < n; i++) {
        if (kept > 0 && by_need(&c[kept - 1], &c[i]) == 0)
            c[kept - 1].weight += c[i].weight;
        else
            c[kept++] = c[i];
    }
    return kept;
}

/* Keep the heaviest until cover of the weight is reached, at most `most`, weights adding up to 1, sorted by need; how many. */
static size_t keep(struct pk_class *c, size_t n, double cover, size_t most)
{
    double all = 0, sum = 0;
    size_t kept = 0;
    qsort(c, n, sizeof *c, by_weight);
    for (size_t i = 0; i < n; i++)
        all += c[i].weight;
    while (kept < n && kept < most && sum < cover * all)
        sum += c[kept++].weight;
    for (size_t i = 0; i < kept; i++)
        c[i].weight /= sum;
    qsort(c, kept, sizeof *c, by_need);
    return kept;
}

/* Of a GPU: the larger part of share and of memory, where that is counted, of the largest GPU that it may run on. */
uint32_t pk_part(const struct fg_pack *p, const struct fg_pack_type *t)
{
    uint64_t largest = 0;
    for (size_t s = 0; t->gpu_memory_bytes && s < p->shapes.count; s++)
        if (p->shapes.items[s].nodes > 0 && pk_fits_whole(&p->shapes.items[s].whole, t))
            largest = FG_MAX(largest, p->shapes.items[s].whole.gpu_memory_bytes);
    uint64_t memory = largest ? (t->gpu_memory_bytes * FG_PACK_DEVICE + largest - 1) / largest : 0;
    return (uint32_t)FG_MAX(FG_MIN(memory, (uint64_t)FG_PACK_DEVICE), (uint64_t)t->gpu_milli);
}

/* The types that were told of; alone: with those that need no GPU. FGD's authors have them without memory. */
static size_t classes_of(const struct fg_pack *p, bool alone, bool memory, struct pk_class *c)
{
    size_t n = 0;
    for (size_t i = 0; i < p->types.count; i++) {
        const struct pk_type *t = &p->types.items[i];
        if (t->count == 0 || (t->need.gpus == 0 && !alone))
            continue;
        c[n++] = (struct pk_class){.cpu = t->need.cpu_milli, .memory = memory ? (int64_t)t->need.memory_bytes : 0, .gpus = t->need.gpus,
                                   .milli = pk_part(p, &t->need), .kinds = t->need.kinds ? t->need.kinds : UINT64_MAX,
                                   .weight = (double)t->count};
    }
    return merge(c, n);
}

void pk_learn(struct fg_pack *p)
{
    if (p->expected == 0 || (p->learned_at > 0 && p->expected < p->learned_at + p->learned_at / 8 + FIRST_LEARNED))
        return;
    p->learned_at = p->expected;
    p->epoch++;
    struct pk_class *c = fg_alloc(p->types.count * sizeof *c);
    size_t n = keep(c, classes_of(p, true, false, c), COVER, PK_TYPICAL_MOST);
    pk_typicals_make(&p->by_count, c, n);
    n = keep(c, classes_of(p, false, true, c), 1, PK_TYPICAL_MOST);
    pk_value_make(&p->value, c, n);
    free(c);
    pk_price(p);
}

/* What a node will be filled with is worked out when a decision first needs it, and when half as much again has come. */
void pk_ready(struct fg_pack *p)
{
    uint64_t learned_at = p->learned_at;
    pk_learn(p);
    if (p->options.policy != FG_PACK_FASTGPU || p->expected == 0)
        return;
    if (p->filled_at == 0 || learned_at == 0 || (p->learned_at != learned_at && p->learned_at > p->filled_at + p->filled_at / 2)) {
        struct pk_class *c = fg_alloc(p->types.count * sizeof *c);
        pk_fill_make(&p->fill, p, c, keep(c, classes_of(p, true, true, c), 1, FILLERS_MOST));
        free(c);
        p->filled_at = p->learned_at;
        p->epoch++;
    }
    if (p->priced != p->levels)
        pk_price(p);
}
