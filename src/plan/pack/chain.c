/* chain.c - moves of running tasks that make room for one that needs whole GPUs and fits nowhere.
 *
 *     node a:  [x][..........]      x goes to b and the task has its GPUs on a;
 *     node b:  [z][..]              where b has no room for x, z leaves it first for c: a chain
 *
 * Fewest moves first. All nodes of a chain differ, so every step is looked up in the state as it is, and only what was found is
 * tried out, move by move, and taken back. That a type has nowhere to go is remembered until room appears: in a full cluster
 * most searches end there, and a start makes no room (decision 0054). Where one eviction is not enough (two shares on a GPU, a node of
 * small tasks), the GPUs with the fewest tasks are emptied together, each task into room that is free. */
#include "plan/pack/private.h"

#include <string.h>

#define DEPTH_MOST 3u                    /* nodes of a chain */

struct step { uint32_t node, task; };    /* task leaves node; FG_PACK_NONE at the end: node has room */
struct path { struct step steps[DEPTH_MOST + 1]; uint32_t count; };

static bool avoided(const struct path *path, uint32_t node)
{
    for (uint32_t i = 0; i < path->count; i++)
        if (path->steps[i].node == node)
            return true;
    return false;
}

static uint32_t best_except(struct fg_pack *p, uint32_t type, const struct path *path)
{
    const struct pk_row *r = pk_row_of(p, type);
    int64_t best = PK_NEVER;
    uint32_t at = FG_PACK_NONE;
    for (uint32_t b = 0; b * PK_BLOCK < p->nodes.count; b++) {
        if (r->block[b] <= best)
            continue;
        for (uint32_t i = b * PK_BLOCK; i < (b + 1) * PK_BLOCK; i++)
            if (r->key[i] > best && !avoided(path, i)) {
                best = r->key[i];
                at = i;
            }
    }
    return at;
}

/* Whether the type fits its node once the task is gone. */
static bool fits_without(const struct fg_pack *p, const struct pk_node *n, const struct fg_pack_type *t, const struct pk_task *gone)
{
    const struct fg_pack_type *g = &p->types.items[gone->type].need;
    if (n->room.cpu + g->cpu_milli < t->cpu_milli || n->room.memory + (int64_t)g->memory_bytes < (int64_t)t->memory_bytes)
        return false;
    uint32_t found = 0;
    for (uint32_t i = 0; i < n->room.gpus && found < t->gpus; i++) {
        bool here = gone->gpus >> i & 1;
        if (n->room.milli[i] + (here ? g->gpu_milli : 0) >= t->gpu_milli &&
            (n->whole.gpu_memory_bytes == 0 || n->gpu_memory[i] + (here ? g->gpu_memory_bytes : 0) >= t->gpu_memory_bytes))
            found++;
    }
    return found >= t->gpus;
}

static bool open_to(const struct pk_node *n, const struct fg_pack_type *t)
{
    return !n->closed && pk_fits_whole(&n->whole, t);
}

static bool find(struct fg_pack *p, uint32_t type, uint32_t moves, struct path *path, uint32_t only);

/* Whether a task of the type has somewhere to go with so many moves and no fewer, on the state as it is. What has nowhere to go
 * with at most m moves has none after a start either: in a chain that moves the newcomer away, its place would have been free
 * before. So `beyond` stands until room appears; that there is a chain, only until anything changes. */
static bool can_go(struct fg_pack *p, uint32_t type, uint32_t moves)
{
    struct pk_type *t = &p->types.items[type];
    if (t->beyond_at != p->generation)
        t->beyond_at = p->generation, t->beyond = 0, t->sure_at = 0;
    if (t->sure_at != p->log_at + 1) {
        while (t->beyond <= moves) {
            struct path none = {.count = 0};
            if (find(p, type, t->beyond, &none, FG_PACK_NONE))
                break;
            t = &p->types.items[type];
            t->beyond++;
        }
        t->sure_at = t->beyond <= moves ? p->log_at + 1 : 0;
    }
    return t->beyond == moves;
}

/* Per type whether can_go with so many moves: what find asks of every task. */
static const bool *movable(struct fg_pack *p, uint32_t moves)
{
    struct pk_movable *m = &p->movable[moves];
    if (m->at == p->log_at + 1)
        return m->types.items;
    fg_vec_reserve(&m->types, p->types.count);
    for (uint32_t t = 0; t < p->types.count; t++)
        m->types.items[t] = p->types.items[t].tasks > 0 && can_go(p, t, moves);
    m->at = p->log_at + 1;
    return m->types.items;
}

static bool leads_on(struct fg_pack *p, uint32_t task, const struct fg_pack_type *t, uint32_t moves, struct path *path)
{
    const struct pk_task *k = &p->tasks.items[task];
    const struct pk_node *n = &p->nodes.items[k->node];
    if (k->pinned || !open_to(n, t) || avoided(path, k->node) || !fits_without(p, n, t, k))
        return false;
    path->steps[path->count++] = (struct step){k->node, task};
    if (find(p, k->type, moves - 1, path, FG_PACK_NONE))
        return true;
    path->count--;
    return false;
}

/* A chain of exactly so many moves for the type, through nodes that are not in path; appended to it. Goes through all tasks in the
 * order of memory: most are of a type that has nowhere to go. */
static bool find(struct fg_pack *p, uint32_t type, uint32_t moves, struct path *path, uint32_t only)
{
    const struct fg_pack_type t = p->types.items[type].need;
    if (moves == 0) {
        uint32_t node = best_except(p, type, path);
        if (node != FG_PACK_NONE)
            path->steps[path->count++] = (struct step){node, FG_PACK_NONE};
        return node != FG_PACK_NONE;
    }
    const bool *can = movable(p, moves - 1);
    for (uint32_t k = 0; k < p->tasks.count; k++) {
        uint32_t node = p->tasks.items[k].node;
        if (node != FG_PACK_NONE && can[p->tasks.items[k].type] && (only == FG_PACK_NONE || node == only) && leads_on(p, k, &t, moves, path))
            return true;
    }
    return false;
}

/* --- trying out --- */

static bool move(struct fg_pack *p, struct fg_pack_chain *c, uint32_t task, uint32_t node, struct fg_pack_choice *back)
{
    struct pk_task k = p->tasks.items[task];
    struct fg_pack_choice to;
    if (c->count == FG_PACK_MOVES_MAX || !fg_pack_best_on(p, k.type, node, &to))
        return false;
    to.rule = FG_PACK_GIVEN;
    back[c->count] = (struct fg_pack_choice){.node = k.node, .gpus = k.gpus};
    c->moves[c->count++] = (struct fg_pack_move){task, to};
    pk_relocate(p, task, &to);
    return true;
}

static void take_back(struct fg_pack *p, const struct fg_pack_chain *c, const struct fg_pack_choice *back)
{
    for (uint32_t i = c->count; i-- > 0;)
        pk_relocate(p, c->moves[i].task, &back[i]);
}

static bool try_path(struct fg_pack *p, uint32_t type, const struct path *path, struct fg_pack_chain *ret)
{
    struct fg_pack_choice back[FG_PACK_MOVES_MAX];
    struct fg_pack_chain c = {.count = 0};
    bool ok = true;
    for (uint32_t i = path->count - 1; ok && i-- > 0;)
        ok = move(p, &c, path->steps[i].task, path->steps[i + 1].node, back);
    ok = ok && fg_pack_best_on(p, type, path->steps[0].node, &c.choice);
    take_back(p, &c, back);
    c.choice.rule = FG_PACK_GIVEN;
    if (ok)
        *ret = c;
    return ok;
}

/* --- several evictions from one node --- */

struct evict { uint32_t tasks[FG_PACK_MOVES_MAX], count; };

static bool evicts(const struct evict *e, uint32_t task)
{
    for (uint32_t i = 0; i < e->count; i++)
        if (e->tasks[i] == task)
            return true;
    return false;
}

static bool evict(struct fg_pack *p, struct evict *e, uint32_t task, uint32_t most, struct pk_room *room)
{
    const struct pk_task *k = &p->tasks.items[task];
    if (k->pinned || e->count == most || !can_go(p, k->type, 0))
        return false;
    const struct fg_pack_type *t = &p->types.items[k->type].need;
    e->tasks[e->count++] = task;
    room->cpu += t->cpu_milli;
    room->memory += (int64_t)t->memory_bytes;
    for (uint32_t g = 0; g < room->gpus; g++)
        if (k->gpus >> g & 1)
            room->milli[g] = (uint16_t)(room->milli[g] + t->gpu_milli);
    return true;
}

/* Evict what runs on the GPU. */
static bool empty_gpu(struct fg_pack *p, uint32_t node, uint32_t gpu, uint32_t most, struct evict *e, struct pk_room *room)
{
    for (uint32_t k = p->nodes.items[node].first_task; k != FG_PACK_NONE; k = p->tasks.items[k].next)
        if (p->tasks.items[k].gpus >> gpu & 1 && !evicts(e, k) && !evict(p, e, k, most, room))
            return false;
    return true;
}

/* The GPU that is not free yet and has the fewest tasks; FG_PACK_GPUS_MAX: none is left. */
static uint32_t next_gpu(const struct fg_pack *p, uint32_t node, const struct pk_room *room)
{
    uint32_t tasks[FG_PACK_GPUS_MAX] = {0}, best = FG_PACK_GPUS_MAX;
    for (uint32_t k = p->nodes.items[node].first_task; k != FG_PACK_NONE; k = p->tasks.items[k].next)
        for (uint32_t g = 0; g < room->gpus; g++)
            tasks[g] += p->tasks.items[k].gpus >> g & 1;
    for (uint32_t g = 0; g < room->gpus; g++)
        if (room->milli[g] < FG_PACK_DEVICE && (best == FG_PACK_GPUS_MAX || tasks[g] < tasks[best]))
            best = g;
    return best;
}

/* Who leaves the node so that the type fits: its emptiest GPUs, then those with the most processor. False: too many, or held. */
static bool choose_evicted(struct fg_pack *p, uint32_t node, const struct fg_pack_type *t, uint32_t most, struct evict *e)
{
    struct pk_room room = p->nodes.items[node].room;
    e->count = 0;
    for (;;) {
        uint32_t full = 0;
        for (uint32_t g = 0; g < room.gpus; g++)
            full += room.milli[g] == FG_PACK_DEVICE;
        if (full >= t->gpus)
            break;
        uint32_t g = next_gpu(p, node, &room);
        if (g == FG_PACK_GPUS_MAX || !empty_gpu(p, node, g, most, e, &room))
            return false;
    }
    while (room.cpu < t->cpu_milli || room.memory < (int64_t)t->memory_bytes) {
        uint32_t most_cpu = FG_PACK_NONE;
        for (uint32_t k = p->nodes.items[node].first_task; k != FG_PACK_NONE; k = p->tasks.items[k].next)
            if (!evicts(e, k) && !p->tasks.items[k].pinned && can_go(p, p->tasks.items[k].type, 0) &&
                (most_cpu == FG_PACK_NONE || p->types.items[p->tasks.items[k].type].need.cpu_milli >
                                                 p->types.items[p->tasks.items[most_cpu].type].need.cpu_milli))
                most_cpu = k;
        if (most_cpu == FG_PACK_NONE || !evict(p, e, most_cpu, most, &room))
            return false;
    }
    return true;
}

static bool try_evict(struct fg_pack *p, uint32_t type, uint32_t node, const struct evict *e, struct fg_pack_chain *ret)
{
    struct fg_pack_choice back[FG_PACK_MOVES_MAX];
    struct fg_pack_chain c = {.count = 0};
    struct path here = {.count = 1, .steps = {{node, FG_PACK_NONE}}};
    bool ok = true;
    for (uint32_t i = 0; ok && i < e->count; i++) {
        uint32_t to = best_except(p, p->tasks.items[e->tasks[i]].type, &here);
        ok = to != FG_PACK_NONE && move(p, &c, e->tasks[i], to, back);
    }
    ok = ok && fg_pack_best_on(p, type, node, &c.choice);
    take_back(p, &c, back);
    c.choice.rule = FG_PACK_GIVEN;
    if (ok)
        *ret = c;
    return ok;
}

static bool empty_together(struct fg_pack *p, uint32_t type, uint32_t only, uint32_t moves, struct fg_pack_chain *ret)
{
    const struct fg_pack_type t = p->types.items[type].need;
    uint32_t from = only == FG_PACK_NONE ? 0 : only, to = only == FG_PACK_NONE ? (uint32_t)p->nodes.count : only + 1;
    struct evict e;
    for (uint32_t i = from; i < to; i++)
        if (open_to(&p->nodes.items[i], &t) && choose_evicted(p, i, &t, moves, &e) && e.count > 0 && try_evict(p, type, i, &e, ret))
            return true;
    return false;
}

static bool open_with(struct fg_pack *p, uint32_t type, uint32_t node, uint32_t moves, struct fg_pack_chain *ret)
{
    struct path path = {.count = 0};
    if (moves <= DEPTH_MOST && (node != FG_PACK_NONE || can_go(p, type, moves)) && find(p, type, moves, &path, node) &&
        try_path(p, type, &path, ret))
        return true;
    return moves > 1 && empty_together(p, type, node, moves, ret);
}

bool fg_pack_open(struct fg_pack *p, uint32_t type, uint32_t node, uint32_t most, struct fg_pack_chain *ret)
{
    struct pk_type *t = &p->types.items[type];
    most = FG_MIN(most, FG_PACK_MOVES_MAX);
    if (t->need.gpus == 0 || t->need.gpu_milli < FG_PACK_DEVICE ||
        (node == FG_PACK_NONE && t->no_chain_at == p->generation && most <= t->no_chain_most))
        return false;
    pk_ready(p);
    for (uint32_t moves = 1; moves <= most; moves++)
        if (open_with(p, type, node, moves, ret))
            return true;
    if (node == FG_PACK_NONE) {              /* nor will there be, until room appears */
        t->no_chain_at = p->generation;
        t->no_chain_most = most;
    }
    return false;
}

uint32_t fg_pack_apply(struct fg_pack *p, uint32_t type, const struct fg_pack_chain *chain)
{
    for (uint32_t i = 0; i < chain->count; i++)
        pk_relocate(p, chain->moves[i].task, &chain->moves[i].to);
    p->generation++;
    return fg_pack_place(p, type, &chain->choice);
}
