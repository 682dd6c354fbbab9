/* rooms.c - the devices of each model, fullest first, in treaps that know the most that is free below each node. */
#include "plan/rooms.h"

#include <string.h>

#include "base/mem.h"
#include "model/price.h"
#include "plan/rooms_private.h"

/* --- the order --- */

static uint32_t weight_of(uint32_t node) { return (node * 0x9e3779b1u ^ node >> 7) * 0x85ebca6bu; }

static bool comes_before(const struct room *a, const struct room *b)
{
    return a->used_permille != b->used_permille ? a->used_permille > b->used_permille : a->id < b->id;
}

static struct room *room_of(const struct fg_rooms *x, uint32_t node) { return &x->rooms.items[node - 1]; }

/* Nobody searches among the full ones for a part beside them. */
static void pull(const struct fg_rooms *x, struct room *r)
{
    const struct room_machine *m = x->beside && r->tree != ROOM_FULL ? rooms_machine(x, r) : NULL;
    r->most_memory = r->memory_bytes;
    r->most_share = r->share_permille;
    r->most_host_milli = m ? m->milli : 0;
    r->most_host_bytes = m ? m->bytes : 0;
    for (int side = 0; side < 2; side++) {
        uint32_t child = side ? r->right : r->left;
        if (!child)
            continue;
        const struct room *c = room_of(x, child);
        r->most_memory = FG_MAX(r->most_memory, c->most_memory);
        r->most_share = FG_MAX(r->most_share, c->most_share);
        r->most_host_milli = FG_MAX(r->most_host_milli, c->most_host_milli);
        r->most_host_bytes = FG_MAX(r->most_host_bytes, c->most_host_bytes);
    }
}

static void split(const struct fg_rooms *x, uint32_t root, const struct room *key, uint32_t *ret_less, uint32_t *ret_more)
{
    if (!root) {
        *ret_less = *ret_more = 0;
        return;
    }
    struct room *r = room_of(x, root);
    if (comes_before(r, key)) {
        split(x, r->right, key, &r->right, ret_more);
        *ret_less = root;
    } else {
        split(x, r->left, key, ret_less, &r->left);
        *ret_more = root;
    }
    pull(x, r);
}

static uint32_t merge(const struct fg_rooms *x, uint32_t less, uint32_t more)
{
    if (!less || !more)
        return less ? less : more;
    if (weight_of(less) > weight_of(more)) {
        struct room *r = room_of(x, less);
        r->right = merge(x, r->right, more);
        pull(x, r);
        return less;
    }
    struct room *r = room_of(x, more);
    r->left = merge(x, less, r->left);
    pull(x, r);
    return more;
}

static uint32_t insert(const struct fg_rooms *x, uint32_t root, uint32_t node)
{
    struct room *own = room_of(x, node);
    if (!root || weight_of(node) > weight_of(root)) {
        split(x, root, own, &own->left, &own->right);
        pull(x, own);
        return node;
    }
    struct room *r = room_of(x, root);
    if (comes_before(own, r))
        r->left = insert(x, r->left, node);
    else
        r->right = insert(x, r->right, node);
    pull(x, r);
    return root;
}

static uint32_t cut(const struct fg_rooms *x, uint32_t root, uint32_t node)
{
    struct room *r = room_of(x, root), *own = room_of(x, node);
    if (root == node)
        return merge(x, r->left, r->right);
    if (comes_before(own, r))
        r->left = cut(x, r->left, node);
    else
        r->right = cut(x, r->right, node);
    pull(x, r);
    return root;
}

static uint32_t memory_used_permille(const struct fg_rooms *x, const struct room *r)
{
    return 1000 - fg_price_permille(r->memory_bytes, x->models.items[r->model].like.memory_bytes, 0);
}

static void count_open(struct fg_rooms *x, const struct room *r, int by)
{
    struct room_model *m = &x->models.items[r->model];
    m->memory += by > 0 ? r->memory_bytes : -r->memory_bytes;
    m->share += by > 0 ? r->share_permille : 0 - (uint64_t)r->share_permille;
    m->open += (size_t)by;
}

static void enter(struct fg_rooms *x, size_t at)
{
    struct room *r = &x->rooms.items[at];
    if (r->machine)
        rooms_pack_touch(x, r->machine - 1);
    uint32_t share = 1000 - FG_MIN(r->share_permille, 1000u), memory = memory_used_permille(x, r);
    r->used_permille = FG_MAX(share, memory);
    r->tree = ROOM_NOWHERE;
    if (!r->usable || r->lifted)
        return;
    r->tree = !r->memory_bytes || !r->share_permille ? ROOM_FULL : share >= memory ? ROOM_SHARE : ROOM_MEMORY;
    uint32_t *root = &x->models.items[r->model].root[r->tree];
    *root = insert(x, *root, (uint32_t)at + 1);
    if (r->tree != ROOM_FULL) {
        x->memory += r->memory_bytes;
        x->share += r->share_permille;
        x->open++;
        count_open(x, r, 1);
    }
}

static void leave(struct fg_rooms *x, size_t at)
{
    struct room *r = &x->rooms.items[at];
    if (r->tree == ROOM_NOWHERE)
        return;
    uint32_t *root = &x->models.items[r->model].root[r->tree];
    *root = cut(x, *root, (uint32_t)at + 1);
    if (r->tree != ROOM_FULL) {
        x->memory -= r->memory_bytes;
        x->share -= r->share_permille;
        x->open--;
        count_open(x, r, -1);
    }
    r->left = r->right = 0;
    r->tree = ROOM_NOWHERE;
}

void rooms_put(struct fg_rooms *x, size_t at, uint64_t memory_bytes, uint32_t share_permille)
{
    leave(x, at);
    x->rooms.items[at].memory_bytes = memory_bytes;
    x->rooms.items[at].share_permille = share_permille;
    enter(x, at);
}

/* Its place in the order is as it was; false: nothing above it changes. */
static bool refresh_below(const struct fg_rooms *x, uint32_t root, uint32_t node)
{
    struct room *r = room_of(x, root), was = *r, *own = room_of(x, node);
    if (root != node && !refresh_below(x, comes_before(own, r) ? r->left : r->right, node))
        return false;
    pull(x, r);
    return r->most_host_milli != was.most_host_milli || r->most_host_bytes != was.most_host_bytes;
}

void rooms_refresh(struct fg_rooms *x, size_t at)
{
    const struct room *r = &x->rooms.items[at];
    if (x->beside && r->tree < ROOM_FULL)
        refresh_below(x, x->models.items[r->model].root[r->tree], (uint32_t)at + 1);
}

void rooms_lift(struct fg_rooms *x, size_t at, bool out)
{
    leave(x, at);
    x->rooms.items[at].lifted = out;
    enter(x, at);
}

/* --- looking --- */

struct look { const struct fg_rooms *x; const struct fg_ask *ask; bool beside; uint32_t *found; size_t count, max; };

static void look_below(struct look *l, uint32_t node)
{
    while (node && l->count < l->max) {
        const struct room *r = room_of(l->x, node);
        if (l->ask->memory_bytes > r->most_memory || l->ask->share_permille > r->most_share)
            return;
        if (l->beside && (l->ask->host_milli > r->most_host_milli || l->ask->host_bytes > r->most_host_bytes))
            return;
        look_below(l, r->left);
        if (l->count < l->max && room_fits(l->x, r, l->ask))
            l->found[l->count++] = node - 1;
        node = r->right;
    }
}

size_t rooms_first(const struct fg_rooms *x, uint32_t model, enum room_tree tree, const struct fg_ask *ask, uint32_t *ret, size_t max)
{
    struct look l = {x, ask, x->beside && tree != ROOM_FULL && (ask->host_milli || ask->host_bytes), ret, 0, max};
    look_below(&l, x->models.items[model].root[tree]);
    return l.count;
}

/* --- models --- */

/* The memory of machines that are alike differs by what their firmware took: five leading bits tell which cost the same. */
static uint64_t class_of(uint64_t bytes)
{
    uint64_t step = bytes > 31 ? (UINT64_C(1) << (63 - __builtin_clzll(bytes))) / 16 : 1;
    return (bytes + step - 1) / step * step;
}

static bool same_host(const struct fg_plan_device *a, const struct fg_plan_device *b)
{
    return a->is_host == b->is_host && a->cores == b->cores && class_of(a->host_memory_bytes) == class_of(b->host_memory_bytes) &&
           a->host_price_nanousd_per_s == b->host_price_nanousd_per_s && a->host_spot_nanousd_per_s == b->host_spot_nanousd_per_s &&
           fg_streq(a->host_kind ? a->host_kind : "", b->host_kind ? b->host_kind : "");
}

static bool is_like(const struct fg_plan_device *a, const struct fg_plan_device *b)
{
    return same_host(a, b) && a->memory_bytes == b->memory_bytes && a->price_nanousd_per_s == b->price_nanousd_per_s &&
           a->spot_nanousd_per_s == b->spot_nanousd_per_s && strcmp(a->kind, b->kind) == 0;
}

static uint64_t hash_of(const struct fg_plan_device *d)
{
    uint64_t hash = d->memory_bytes * 0x9e3779b97f4a7c15u ^ (uint64_t)d->price_nanousd_per_s;
    hash = (hash ^ hash >> 29) * 0xbf58476d1ce4e5b9u ^ (uint64_t)d->spot_nanousd_per_s;
    hash = (hash ^ hash >> 29) * 0xbf58476d1ce4e5b9u ^ (class_of(d->host_memory_bytes) + d->cores);
    for (const char *c = d->kind; *c; c++)
        hash = (hash ^ (unsigned char)*c) * 0x100000001b3u;
    return hash ^ hash >> 32;
}

static void fill_slots(struct fg_rooms *x)
{
    free(x->slots);
    x->slots = fg_alloc((x->slot_mask + 1) * sizeof *x->slots);
    for (size_t m = 0; m < x->models.count; m++) {
        size_t at = hash_of(&x->models.items[m].like) & x->slot_mask;
        while (x->slots[at])
            at = (at + 1) & x->slot_mask;
        x->slots[at] = (uint32_t)m + 1;
    }
}

static void grow_slots(struct fg_rooms *x)
{
    x->slot_mask = x->slot_mask * 2 + 1;
    fill_slots(x);
}

/* Two models may be alike afterwards: each keeps its devices, and only the first is found for those to come. */
void fg_rooms_price(struct fg_rooms *x, const struct fg_price *price)
{
    for (size_t m = 0; m < x->models.count; m++) {
        struct fg_plan_device *like = &x->models.items[m].like;
        if (like->host_kind && strcmp(like->host_kind, price->kind) == 0) {
            like->host_price_nanousd_per_s = price->nanousd_per_s;
            like->host_spot_nanousd_per_s = price->spot_nanousd_per_s;
        }
        if (strcmp(like->kind, price->kind) != 0)
            continue;
        like->price_nanousd_per_s = price->nanousd_per_s;
        like->spot_nanousd_per_s = price->spot_nanousd_per_s;
    }
    fill_slots(x);
}

void fg_rooms_price_at(const struct fg_rooms *x, size_t at, struct fg_plan_device *d)
{
    const struct fg_plan_device *like = &x->models.items[x->rooms.items[at].model].like;
    d->price_nanousd_per_s = like->price_nanousd_per_s;
    d->spot_nanousd_per_s = like->spot_nanousd_per_s;
    d->host_price_nanousd_per_s = like->host_price_nanousd_per_s;
    d->host_spot_nanousd_per_s = like->host_spot_nanousd_per_s;
}

static uint32_t model_of(struct fg_rooms *x, const struct fg_plan_device *d)
{
    if (x->models.count * 2 >= x->slot_mask)
        grow_slots(x);
    size_t at = hash_of(d) & x->slot_mask;
    for (; x->slots[at]; at = (at + 1) & x->slot_mask)
        if (is_like(&x->models.items[x->slots[at] - 1].like, d))
            return x->slots[at] - 1;
    struct room_model *m = fg_vec_add(&x->models);
    m->like = (struct fg_plan_device){.kind = fg_strdup(d->kind), .memory_bytes = d->memory_bytes, .price_nanousd_per_s = d->price_nanousd_per_s,
                                      .spot_nanousd_per_s = d->spot_nanousd_per_s, .is_host = d->is_host, .cores = d->cores,
                                      .host_kind = d->host_kind ? fg_strdup(d->host_kind) : NULL, .host_memory_bytes = class_of(d->host_memory_bytes),
                                      .host_price_nanousd_per_s = d->host_price_nanousd_per_s, .host_spot_nanousd_per_s = d->host_spot_nanousd_per_s};
    x->slots[at] = (uint32_t)x->models.count;
    return x->slots[at] - 1;
}

/* --- the whole --- */

/* Made anew by what came since, not by the clock, so that the same tasks and devices give the same market. */
void rooms_learn(struct fg_rooms *x, const struct fg_demand *demand)
{
    size_t devices = x->rooms.count, was = x->market_devices;
    uint64_t arrived = demand ? fg_demand_arrived(demand) : 0;
    if (!arrived || (arrived < x->market_next && x->models.count == x->market_models && devices <= was + was / 8 && devices >= was - was / 8))
        return;
    FG_AUTO_FREE const struct fg_plan_device **like = fg_alloc((x->models.count + 1) * sizeof *like);
    FG_AUTO_FREE size_t *count = fg_alloc((x->models.count + 1) * sizeof *count);
    for (size_t m = 0; m < x->models.count; m++) {
        like[m] = &x->models.items[m].like;
        count[m] = x->models.items[m].usable;
    }
    fg_market_destroy(x->market);
    x->market = fg_market_create(demand, like, count, x->models.count);
    x->market_next = arrived + arrived / 8 + 32;
    x->market_models = x->models.count;
    x->market_devices = devices;
}

struct fg_rooms *fg_rooms_create(void)
{
    struct fg_rooms *x = fg_alloc(sizeof *x);
    x->slot_mask = 7;
    grow_slots(x);
    return x;
}

void fg_rooms_destroy(struct fg_rooms *x)
{
    if (!x)
        return;
    for (size_t m = 0; m < x->models.count; m++) {
        free((char *)x->models.items[m].like.kind);
        free((char *)x->models.items[m].like.host_kind);
    }
    fg_vec_fini(&x->machines);
    fg_market_destroy(x->market);
    rooms_pack_drop(x);
    fg_vec_fini(&x->pack_dirty);
    fg_vec_fini(&x->machine_at);
    fg_vec_fini(&x->models);
    fg_vec_fini(&x->rooms);
    free(x->slots);
    free(x);
}

static void count_in(struct fg_rooms *x, const struct room *r, size_t by)
{
    x->models.items[r->model].count += by;
    x->models.items[r->model].usable += r->usable ? by : 0;
}

bool fg_rooms_same(const struct fg_rooms *x, size_t at, const struct fg_plan_device *d)
{
    const struct room *r = at < x->rooms.count ? &x->rooms.items[at] : NULL;
    const struct room_machine *m = r ? rooms_machine(x, r) : NULL;
    return r && r->machine == d->machine && (!m || (m->milli == d->host_free_milli && m->bytes == d->host_free_bytes)) &&
           r->id == d->id && r->memory_bytes == d->memory_free_bytes && r->share_permille == d->share_free_permille &&
           r->usable == d->usable && is_like(&x->models.items[r->model].like, d);
}

void fg_rooms_set(struct fg_rooms *x, size_t at, const struct fg_plan_device *d)
{
    if (at < x->rooms.count) {
        if (fg_rooms_same(x, at, d))
            return;
        leave(x, at);
        rooms_part(x, at);
        count_in(x, &x->rooms.items[at], (size_t)-1);
    } else {
        fg_vec_push(&x->rooms, (struct room){.tree = ROOM_NOWHERE});
    }
    uint32_t model = model_of(x, d);
    struct room *r = &x->rooms.items[at];
    *r = (struct room){.memory_bytes = d->memory_free_bytes, .share_permille = d->share_free_permille, .model = model, .id = d->id,
                       .usable = d->usable, .tree = ROOM_NOWHERE};
    rooms_join(x, at, d);
    r = &x->rooms.items[at];
    count_in(x, r, 1);
    enter(x, at);
}

size_t fg_rooms_count(const struct fg_rooms *x) { return x->rooms.count; }

void fg_rooms_cut(struct fg_rooms *x, size_t count)
{
    while (x->rooms.count > count) {
        leave(x, x->rooms.count - 1);
        rooms_part(x, x->rooms.count - 1);
        count_in(x, &x->rooms.items[x->rooms.count - 1], (size_t)-1);
        x->rooms.count--;
    }
}

void fg_rooms_free(const struct fg_rooms *x, struct fg_rooms_free *ret)
{
    *ret = (struct fg_rooms_free){.memory = x->memory, .share = x->share};
    for (size_t m = 0; m < x->models.count; m++)
        for (int tree = ROOM_SHARE; tree < ROOM_FULL; tree++)
            if (x->models.items[m].root[tree]) {
                const struct room *r = room_of(x, x->models.items[m].root[tree]);
                ret->largest_memory = FG_MAX(ret->largest_memory, r->most_memory);
                ret->largest_share = FG_MAX(ret->largest_share, r->most_share);
            }
}

/* Of one model: none, where no device has enough of either. */
static void add_most(const struct fg_rooms *x, const struct room_model *m, const struct fg_ask *ask, uint64_t *memory, uint64_t *share, bool *any)
{
    for (int tree = ROOM_SHARE; tree < ROOM_FULL; tree++) {
        const struct room *r = m->root[tree] ? room_of(x, m->root[tree]) : NULL;
        if (!r || ask->memory_bytes > r->most_memory || ask->share_permille > r->most_share)
            continue;
        *any = true;
        *memory += ask->memory_bytes ? m->memory / ask->memory_bytes : UINT32_MAX;
        *share += ask->share_permille ? m->share / ask->share_permille : UINT32_MAX;
        return;
    }
}

size_t fg_rooms_most(const struct fg_rooms *x, const struct fg_need *need)
{
    uint64_t by_memory = 0, by_share = 0, beside = UINT64_MAX;
    bool any = false, on = false;
    for (size_t i = 0; i < x->models.count; i++) {
        const struct room_model *m = &x->models.items[i];
        if (!m->open || !fg_could_hold(&m->like, need))
            continue;
        struct fg_ask ask = fg_ask_of(&m->like, need);
        add_most(x, m, &ask, &by_memory, &by_share, &any);
        on = on || m->like.is_host;
    }
    if (!on && need->cpus_milli)         /* on a processor itself a task of the same need takes something else */
        beside = x->host_milli / need->cpus_milli;
    if (!on && need->host_bytes)
        beside = FG_MIN(beside, x->host_bytes / need->host_bytes);
    return any ? (size_t)FG_MIN(FG_MIN(by_memory, by_share), beside) : 0;
}

static bool is_sound(const struct fg_rooms *x, uint32_t node, const struct room *after, const struct room *before, size_t *count)
{
    if (!node)
        return true;
    struct room *r = room_of(x, node), seen = *r;
    *count += 1;
    if ((after && !comes_before(after, r)) || (before && !comes_before(r, before)))
        return false;
    pull(x, &seen);
    if (x->beside && (seen.most_host_milli != r->most_host_milli || seen.most_host_bytes != r->most_host_bytes))
        return false;
    return seen.most_memory == r->most_memory && seen.most_share == r->most_share && is_sound(x, r->left, after, r, count) &&
           is_sound(x, r->right, r, before, count);
}

bool fg_rooms_sound(const struct fg_rooms *x)
{
    size_t stand = 0, should = 0;
    for (size_t m = 0; m < x->models.count; m++)
        for (int tree = 0; tree < ROOM_TREES; tree++)
            if (!is_sound(x, x->models.items[m].root[tree], NULL, NULL, &stand))
                return false;
    for (size_t i = 0; i < x->rooms.count; i++) {
        should += x->rooms.items[i].usable;
        if (x->rooms.items[i].lifted || x->rooms.items[i].reservation)
            return false;
    }
    return stand == should;
}
