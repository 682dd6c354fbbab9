/* score.c - a type on a node: the best of its GPUs, and the key by which nodes are compared.
 *
 *     key = score << 40 | tightness (16 bits) << 24 | 2^24 - 1 - index     greater is better, so one comparison breaks all ties */
#include "plan/pack/private.h"

#include <math.h>

#define TIGHT_MOST 0xffffu
#define QUANTUM 40                       /* thousandths of a GPU */
#define PRICE_MOST INT64_C(3000)         /* thousandths: three times as scarce as all is scarce enough */
#define STRANDED_PERMILLE 300            /* how much of what is stranded counts against value */

int64_t pk_key_score(const struct fg_pack *p, int64_t key) { return (key >> 40) * (p->options.policy == FG_PACK_FASTGPU ? QUANTUM : 1); }

uint64_t pk_lot(uint64_t seed, uint64_t version, uint64_t node)
{
    uint64_t z = (seed * 0x9e3779b97f4a7c15u) ^ (version << 32 | node);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* Of what the worth depends on; the order of the GPUs is no part of it. Never 0. */
static uint64_t digest(const struct pk_room *r, uint32_t epoch)
{
    uint64_t gpus = 0;
    for (uint32_t g = 0; g < r->gpus; g++)
        gpus += (r->milli[g] + 1) * (uint64_t)(r->milli[g] + 1) * UINT64_C(0xd6e8feb86659fd93) >> 7;
    uint64_t z = pk_lot((uint64_t)r->cpu, gpus >> 32, gpus & UINT32_MAX) + (uint64_t)r->memory;
    return pk_lot(z, epoch, r->kind | r->gpus << 8) | 1;
}

/* What the free GPUs of a node are worth: value.c where GPUs are what is short, fill.c where the host is. Many nodes are alike, and what
 * is tried for one type is often what another one left: a third to two thirds were worked out before. */
static int64_t worth(struct fg_pack *p, const struct pk_room *room)
{
    if (!p->known)
        p->known = fg_alloc(PK_KNOWN * sizeof *p->known);
    uint64_t key = digest(room, p->epoch);
    struct pk_known *known = &p->known[key >> 32 & (PK_KNOWN - 1)];
    if (known->room == key)
        return known->worth;
    double by_gpu = p->fill.gpu_bound > 0 ? p->fill.gpu_bound * (double)pk_value(&p->value, room) : 0;
    *known = (struct pk_known){key, (int64_t)(by_gpu + (double)(pk_fill_at(&p->fill, room) * PK_VALUE_UNIT))};
    return known->worth;
}

static int64_t value_now(struct fg_pack *p, struct pk_node *n)
{
    if (n->value_epoch != p->epoch) {
        n->value = p->options.policy == FG_PACK_FGD ? (int64_t)(pk_fragment(&p->by_count, &n->room) * PK_VALUE_UNIT) : worth(p, &n->room);
        n->value_epoch = p->epoch;
    }
    return n->value;
}

/* GPUs of this kind of node that go without processor if tasks like this fill it: thousandths. */
static int64_t stranded(const struct pk_node *n, const struct fg_pack_type *t)
{
    if (n->whole.gpus == 0 || n->whole.cpu_milli == 0)
        return 0;
    int64_t by_cpu = t->cpu_milli * n->whole.gpus * FG_PACK_DEVICE / n->whole.cpu_milli;
    return FG_MAX((int64_t)0, by_cpu - (int64_t)(t->gpus * t->gpu_milli));
}

int64_t pk_charge(const struct fg_pack *p, uint32_t shape, const struct fg_pack_type *t)
{
    if (p->options.policy != FG_PACK_FASTGPU)
        return 0;
    double price = (double)FG_MIN(p->shapes.items[shape].price, PRICE_MOST) * t->gpus * t->gpu_milli / FG_PACK_DEVICE;
    return (int64_t)(p->fill.gpu_bound * price / QUANTUM + 0.5);
}

/* Value lost, rounded down to a quantum: finer steps spread tasks over nodes that are as good. The price is in quanta of its own, so
 * that a new one shifts keys (row.c). */
static int64_t fastgpu_score(struct fg_pack *p, struct pk_node *n, const struct fg_pack_type *t, const struct pk_room *after)
{
    int64_t change = worth(p, after) - value_now(p, n), quantum = QUANTUM * PK_VALUE_UNIT;
    int64_t score = change - (int64_t)(p->fill.gpu_bound * STRANDED_PERMILLE / 1000 * (double)stranded(n, t) * PK_VALUE_UNIT);
    return (score - (score < 0 ? quantum - 1 : 0)) / quantum - pk_charge(p, n->shape, t);
}

static int64_t score_of(struct fg_pack *p, struct pk_node *n, const struct fg_pack_type *t, const struct pk_room *after)
{
    if (p->options.policy == FG_PACK_FASTGPU)
        return fastgpu_score(p, n, t, after);
    if (p->options.policy != FG_PACK_FGD)
        return 0;
    double change = (double)value_now(p, n) / PK_VALUE_UNIT - pk_fragment(&p->by_count, after);
    return (int64_t)(100 / (1 + exp(-change / 1000)));   /* the authors' scale and truncation: ties are part of it */
}

/* The fuller the node would be, the higher. */
static int64_t tightness(const struct fg_pack *p, const struct pk_room *after)
{
    uint32_t gpu = 0;
    if (p->options.policy == FG_PACK_FIRSTFIT || p->options.policy == FG_PACK_FGD)
        return 0;
    for (uint32_t g = 0; g < after->gpus; g++)
        gpu += after->milli[g];
    double left = (double)after->cpu / (double)FG_MAX(p->cpu_most, 1) + (double)gpu / (FG_PACK_DEVICE * 8.0);
    return FG_MAX((int64_t)0, (int64_t)(TIGHT_MOST - left * (TIGHT_MOST / 4.0)));
}

int64_t pk_rank(const struct fg_pack *p, uint32_t node)
{
    if (p->options.random_ties)
        return 0;                        /* drawn anew by every decision */
    return PK_INDEX_MOST - FG_MIN(node, PK_INDEX_MOST);
}

static int64_t key_of(const struct fg_pack *p, uint32_t node, int64_t score, int64_t tight)
{
    return score * (INT64_C(1) << 40) + (tight << 24) + pk_rank(p, node);
}

static int64_t key_with(struct fg_pack *p, uint32_t node, const struct fg_pack_type *t, uint32_t gpus)
{
    struct pk_node *n = &p->nodes.items[node];
    struct pk_room after = pk_room_after(n, t, gpus);
    return key_of(p, node, score_of(p, n, t, &after), tightness(p, &after));
}

static bool gpu_fits(const struct pk_node *n, const struct fg_pack_type *t, uint32_t g)
{
    return n->room.milli[g] >= t->gpu_milli && (n->whole.gpu_memory_bytes == 0 || n->gpu_memory[g] >= t->gpu_memory_bytes);
}

/* A share tries every GPU that differs from those before it; equal keys go to the fullest GPU. */
static int64_t best_share(struct fg_pack *p, uint32_t node, const struct fg_pack_type *t, uint32_t *ret_gpus)
{
    const struct pk_node *n = &p->nodes.items[node];
    int64_t best = PK_NEVER;
    uint32_t at = 0;
    for (uint32_t g = 0; g < n->room.gpus; g++) {
        bool seen = !gpu_fits(n, t, g);
        for (uint32_t b = 0; b < g && !seen; b++)
            seen = n->room.milli[b] == n->room.milli[g] && n->gpu_memory[b] == n->gpu_memory[g];
        if (seen)
            continue;
        int64_t key = key_with(p, node, t, 1u << g);
        if (key > best || (key == best && n->room.milli[g] < n->room.milli[at])) {
            best = key;
            at = g;
        }
    }
    *ret_gpus = 1u << at;
    return best;
}

int64_t pk_score(struct fg_pack *p, uint32_t type, uint32_t node, uint32_t *ret_gpus)
{
    const struct fg_pack_type *t = &p->types.items[type].need;
    const struct pk_node *n = &p->nodes.items[node];
    *ret_gpus = 0;
    if (n->closed || t->cpu_milli > n->room.cpu || (int64_t)t->memory_bytes > n->room.memory || t->gpus > n->room.gpus ||
        (t->kinds && !(t->kinds >> n->room.kind & 1)))
        return PK_NEVER;
    if (t->gpus == 1 && t->gpu_milli < FG_PACK_DEVICE)
        return best_share(p, node, t, ret_gpus);
    uint32_t gpus = 0, missing = t->gpus;
    for (uint32_t g = 0; g < n->room.gpus && missing > 0; g++)
        if (gpu_fits(n, t, g)) {
            gpus |= 1u << g;
            missing--;
        }
    if (missing > 0)
        return PK_NEVER;
    *ret_gpus = gpus;
    return key_with(p, node, t, gpus);
}
