/* row.c - a type's keys on all nodes, brought up to date when asked, and the greatest of them. */
#include "plan/pack/private.h"

#include <string.h>

#define UNKNOWN (PK_NEVER + 1)           /* of an empty node's key */
#define AHEAD 4u                         /* changes */
#define STALE INT64_MAX                  /* of a block: to be worked out */

void pk_row_drop(struct fg_pack *p, struct pk_type *t)
{
    if (!t->row)
        return;
    free(t->row->key);
    free(t->row->version);
    free(t->row->block);
    fg_vec_fini(&t->row->empty);
    fg_vec_fini(&t->row->charged);
    free(t->row);
    t->row = NULL;
    p->rows--;
}

static void drop_oldest(struct fg_pack *p)
{
    struct pk_type *oldest = NULL;
    for (size_t i = 0; i < p->types.count; i++) {
        struct pk_type *t = &p->types.items[i];
        if (t->row && (!oldest || t->row->used < oldest->row->used))
            oldest = t;
    }
    pk_row_drop(p, oldest);
}

static void grow(struct pk_row *r, uint32_t nodes)
{
    uint32_t room = FG_MAX(nodes, r->nodes * 2);
    room = (room + PK_BLOCK - 1) / PK_BLOCK * PK_BLOCK;
    r->key = fg_realloc(r->key, room, sizeof *r->key);
    r->version = fg_realloc(r->version, room, sizeof *r->version);
    r->block = fg_realloc(r->block, room / PK_BLOCK, sizeof *r->block);
    for (uint32_t i = r->nodes; i < room; i++) {
        r->key[i] = PK_NEVER;
        r->version[i] = 0;
    }
    for (uint32_t b = r->nodes / PK_BLOCK; b < room / PK_BLOCK; b++)
        r->block[b] = PK_NEVER;
    r->nodes = room;
}

/* Empty nodes of one shape have one key but for the index: when a type comes for the first time most nodes are. */
static int64_t key_on(struct fg_pack *p, struct pk_row *r, uint32_t type, uint32_t node)
{
    uint32_t gpus;
    const struct pk_node *n = &p->nodes.items[node];
    if (n->tasks > 0 || n->closed)
        return pk_score(p, type, node, &gpus);
    while (r->empty.count <= n->shape)
        fg_vec_push(&r->empty, UNKNOWN);
    int64_t *key = &r->empty.items[n->shape];
    if (*key == UNKNOWN)
        *key = pk_score(p, type, node, &gpus);
    return *key == PK_NEVER ? PK_NEVER : (*key & ~(int64_t)PK_INDEX_MOST) | pk_rank(p, node);
}

static void renew(struct fg_pack *p, struct pk_row *r, uint32_t type, uint32_t node)
{
    uint32_t version = p->nodes.items[node].version;
    if (r->version[node] == version)
        return;
    int64_t old = r->key[node], key = key_on(p, r, type, node), *block = &r->block[node / PK_BLOCK];
    r->version[node] = version;
    r->key[node] = key;
    if (*block == STALE)
        return;
    if (key >= *block)
        *block = key;
    else if (old == *block)
        *block = STALE, r->stale = true;
}

/* The greatest key of every block that lost it: once per catching up, however much changed. */
static void renew_blocks(struct pk_row *r)
{
    for (uint32_t b = 0; r->stale && b < r->nodes / PK_BLOCK; b++) {
        if (r->block[b] != STALE)
            continue;
        int64_t most = PK_NEVER;
        for (uint32_t i = b * PK_BLOCK; i < (b + 1) * PK_BLOCK; i++)
            most = FG_MAX(most, r->key[i]);
        r->block[b] = most;
    }
    r->stale = false;
}

/* After a new epoch every key is wrong; after more changes than the log holds, any may be. */
static void renew_all(struct fg_pack *p, struct pk_row *r, uint32_t type)
{
    if (r->epoch != p->epoch) {
        memset(r->version, 0, r->nodes * sizeof *r->version);
        r->empty.count = 0;
    }
    r->epoch = p->epoch;
    for (uint32_t i = 0; i < p->nodes.count; i++)
        renew(p, r, type, i);
}

/* A new price shifts the keys of its shape's nodes by whole quanta of score: nothing is worked out anew. */
static void reprice(struct fg_pack *p, struct pk_row *r, uint32_t type)
{
    bool changed = false;
    p->shift.count = 0;
    for (size_t s = 0; s < p->shapes.count; s++) {
        int64_t charge = pk_charge(p, (uint32_t)s, &p->types.items[type].need), shift = 0;
        if (s < r->charged.count) {
            shift = (r->charged.items[s] - charge) * (INT64_C(1) << 40);
            r->charged.items[s] = charge;
        } else {
            fg_vec_push(&r->charged, charge);
        }
        changed |= shift != 0;
        if (s < r->empty.count && r->empty.items[s] != UNKNOWN && r->empty.items[s] != PK_NEVER)
            r->empty.items[s] += shift;
        fg_vec_push(&p->shift, shift);
    }
    r->priced = p->priced;
    for (uint32_t i = 0; changed && i < p->nodes.count; i++)
        if (r->key[i] != PK_NEVER)
            r->key[i] += p->shift.items[p->shape_of.items[i]];
    for (uint32_t b = 0; changed && b < r->nodes / PK_BLOCK; b++)
        r->block[b] = STALE;
    r->stale |= changed;
}

/* Changed nodes lie anywhere: what renew reads of a later one is on its way while this one is worked on. */
static void fetch(const struct fg_pack *p, const struct pk_row *r, uint32_t node)
{
    const struct pk_node *n = &p->nodes.items[node];
    __builtin_prefetch(&r->version[node]);
    __builtin_prefetch(&r->key[node], 1);
    __builtin_prefetch(n);
    __builtin_prefetch(&n->version);
}

const struct pk_row *pk_row_of(struct fg_pack *p, uint32_t type)
{
    struct pk_type *t = &p->types.items[type];
    if (!t->row) {
        if (p->rows == PK_ROWS_MAX)
            drop_oldest(p);
        t->row = fg_alloc(sizeof *t->row);
        p->rows++;
    }
    struct pk_row *r = t->row;
    r->used = ++p->clock;
    if (r->nodes < p->nodes.count)
        grow(r, (uint32_t)p->nodes.count);
    if (r->epoch != p->epoch || r->priced != p->priced || r->charged.count < p->shapes.count)
        reprice(p, r, type);
    if (r->epoch != p->epoch || p->log_at - r->seen > PK_LOG)
        renew_all(p, r, type);
    else
        for (uint64_t i = r->seen; i < p->log_at; i++) {
            if (i + AHEAD < p->log_at)
                fetch(p, r, p->log[(i + AHEAD) % PK_LOG]);
            renew(p, r, type, p->log[i % PK_LOG]);
        }
    renew_blocks(r);
    r->seen = p->log_at;
    return r;
}

static enum fg_pack_rule rule_of(int64_t key, int64_t second)
{
    if (second == PK_NEVER)
        return FG_PACK_ONLY;
    if (key >> 40 != second >> 40)
        return FG_PACK_VALUE;
    return key >> 24 != second >> 24 ? FG_PACK_TIGHT : FG_PACK_INDEX;
}

/* Any of the nodes with this key, by lot: the regression test for ties. */
static uint32_t draw(struct fg_pack *p, const struct pk_row *r, int64_t key)
{
    uint64_t equal = 0;
    for (uint32_t i = 0; i < p->nodes.count; i++)
        equal += r->key[i] == key;
    uint64_t left = pk_lot(p->options.seed, p->clock, 0) % equal;
    for (uint32_t i = 0;; i++)
        if (r->key[i] == key && left-- == 0)
            return i;
}

bool fg_pack_best(struct fg_pack *p, uint32_t type, struct fg_pack_choice *ret)
{
    pk_ready(p);
    const struct pk_row *r = pk_row_of(p, type);
    uint32_t blocks = ((uint32_t)p->nodes.count + PK_BLOCK - 1) / PK_BLOCK, at = 0, node = FG_PACK_NONE;
    int64_t best = PK_NEVER, second = PK_NEVER;
    for (uint32_t b = 0; b < blocks; b++) {
        if (r->block[b] > best) {
            second = best;
            best = r->block[b];
            at = b;
        } else if (r->block[b] > second) {
            second = r->block[b];
        }
    }
    if (best == PK_NEVER)
        return false;
    for (uint32_t i = at * PK_BLOCK; i < (at + 1) * PK_BLOCK; i++) {
        if (r->key[i] == best && node == FG_PACK_NONE)
            node = i;
        else if (r->key[i] > second)
            second = r->key[i];
    }
    if (p->options.random_ties)
        node = draw(p, r, best);
    *ret = (struct fg_pack_choice){.node = node, .score = pk_key_score(p, best), .rule = rule_of(best, second)};
    pk_score(p, type, node, &ret->gpus);
    return true;
}

bool fg_pack_best_on(struct fg_pack *p, uint32_t type, uint32_t node, struct fg_pack_choice *ret)
{
    uint32_t gpus;
    pk_ready(p);
    int64_t key = node < p->nodes.count ? pk_score(p, type, node, &gpus) : PK_NEVER;
    if (key == PK_NEVER)
        return false;
    *ret = (struct fg_pack_choice){.node = node, .gpus = gpus, .score = pk_key_score(p, key), .rule = FG_PACK_ONLY};
    return true;
}
