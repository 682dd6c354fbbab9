/* packed.c - machines as the packer sees them (pack.h), for tasks that ask for a part of the processor beside a device.
 *
 *     machine -- node of the packer: what is free of its processor and of each of its devices
 *     need    -- type of the packer, with the models of device that cost the task the same as its kinds
 *
 * Which of two machines loses least value depends on all that is free there, so the fullest device of a model says little; the packer
 * keeps a score of each type on each machine and works out anew what changed. Machines of more than 16 devices or of several models
 * are not in it: they are found in the order of rooms, as are those without a processor that is known, which such tasks cannot use. */
#include <string.h>

#include "base/mem.h"
#include "plan/pack/private.h"
#include "plan/rooms_private.h"

#define TYPES_MOST 2048u                 /* then it is made anew: types of needs that nobody has any more */
#define FIRST_LEARNED 32u

struct parts { uint32_t room[FG_PACK_GPUS_MAX]; uint32_t count; };

/* Its devices by id, but for the processor; false: it cannot be in the packer. */
static bool parts_of(const struct fg_rooms *x, const struct room_machine *m, struct parts *ret)
{
    ret->count = 0;
    if (!m->own)
        return false;
    for (uint32_t at = m->first; at; at = x->rooms.items[at - 1].next) {
        uint32_t i = ret->count;
        if (at == m->own)
            continue;
        if (i == FG_PACK_GPUS_MAX || x->rooms.items[at - 1].model >= FG_PACK_KINDS_MAX ||
            (i && x->rooms.items[at - 1].model != x->rooms.items[ret->room[0]].model))
            return false;
        for (; i > 0 && x->rooms.items[ret->room[i - 1]].id > x->rooms.items[at - 1].id; i--)
            ret->room[i] = ret->room[i - 1];
        ret->room[i] = at - 1;
        ret->count++;
    }
    return true;
}

static struct fg_pack_node whole_of(const struct fg_rooms *x, const struct room_machine *m, const struct parts *parts)
{
    const struct fg_plan_device *host = &x->models.items[x->rooms.items[m->own - 1].model].like;
    struct fg_pack_node n = {.cpu_milli = (int64_t)host->cores * 1000, .memory_bytes = host->memory_bytes, .gpus = parts->count};
    if (parts->count) {
        n.kind = x->rooms.items[parts->room[0]].model;
        n.gpu_memory_bytes = x->models.items[n.kind].like.memory_bytes;
    }
    return n;
}

static bool same_whole(const struct fg_pack_node *a, const struct fg_pack_node *b)
{
    return a->cpu_milli == b->cpu_milli && a->memory_bytes == b->memory_bytes && a->gpus == b->gpus && a->kind == b->kind &&
           a->gpu_memory_bytes == b->gpu_memory_bytes;
}

static bool is_free(const struct room *r) { return r->usable && !r->lifted; }

static void fill_node(struct fg_rooms *x, const struct room_machine *m, const struct parts *parts)
{
    struct pk_node *n = &x->pack->nodes.items[m->packed - 1];
    bool empty = m->milli == n->whole.cpu_milli && m->bytes == n->whole.memory_bytes;
    int64_t more = 0;
    n->room.cpu = m->milli;
    n->room.memory = (int64_t)m->bytes;
    for (uint32_t g = 0; g < parts->count; g++) {
        const struct room *r = &x->rooms.items[parts->room[g]];
        uint16_t free = is_free(r) ? (uint16_t)r->share_permille : 0;
        more += free - n->room.milli[g];
        n->room.milli[g] = free;
        n->gpu_memory[g] = is_free(r) ? r->memory_bytes : 0;
        empty = empty && n->room.milli[g] == FG_PACK_DEVICE && n->gpu_memory[g] == n->whole.gpu_memory_bytes;
    }
    n->tasks = empty ? 0 : 1;            /* empty ones of a shape share a score */
    n->closed = !is_free(&x->rooms.items[m->own - 1]) && !x->rooms.items[m->own - 1].usable;
    pk_supply(x->pack, n->shape, more);
    pk_touch(x->pack, m->packed - 1);
}

/* Its index is not used again: machines that change their devices are few. */
static void drop_node(struct fg_rooms *x, struct room_machine *m)
{
    struct pk_node *n = &x->pack->nodes.items[m->packed - 1];
    int64_t gone = 0;
    for (uint32_t g = 0; g < n->whole.gpus; g++)
        gone -= n->room.milli[g];
    n->closed = true;
    x->pack->shapes.items[n->shape].nodes--;
    pk_supply(x->pack, n->shape, gone);
    pk_touch(x->pack, m->packed - 1);
    m->packed = 0;
}

static void sync_machine(struct fg_rooms *x, struct room_machine *m)
{
    struct parts parts;
    struct fg_error err;
    bool fits = parts_of(x, m, &parts);
    struct fg_pack_node whole = fits ? whole_of(x, m, &parts) : (struct fg_pack_node){0};
    x->unpacked -= m->unpacked;
    m->unpacked = m->own && !fits;
    x->unpacked += m->unpacked;
    if (m->packed && (!fits || !same_whole(&whole, &x->pack->nodes.items[m->packed - 1].whole)))
        drop_node(x, m);
    if (!fits)
        return;
    if (!m->packed) {
        uint32_t at;
        if (fg_pack_add_node(x->pack, &whole, &at, &err) < 0) {
            m->unpacked = true;
            x->unpacked++;
            return;
        }
        m->packed = at + 1;
        while (x->machine_at.count <= at)
            fg_vec_push(&x->machine_at, 0);
        x->machine_at.items[at] = (uint32_t)(m - x->machines.items);
    }
    fill_node(x, m, &parts);
}

void rooms_pack_touch(struct fg_rooms *x, uint32_t machine)
{
    struct room_machine *m = &x->machines.items[machine];
    if (!x->pack || m->dirty)
        return;
    m->dirty = true;
    fg_vec_push(&x->pack_dirty, machine);
}

static void catch_up(struct fg_rooms *x)
{
    for (size_t i = 0; i < x->pack_dirty.count; i++) {
        struct room_machine *m = &x->machines.items[x->pack_dirty.items[i]];
        m->dirty = false;
        sync_machine(x, m);
    }
    x->pack_dirty.count = 0;
}

void rooms_pack_drop(struct fg_rooms *x)
{
    fg_pack_destroy(x->pack);
    x->pack = NULL;
    x->unpacked = 0;
    x->pack_dirty.count = 0;
    for (size_t i = 0; i < x->machines.count; i++)
        x->machines.items[i].packed = x->machines.items[i].unpacked = x->machines.items[i].dirty = 0;
}

/* --- what is typical --- */

static void expect(struct fg_rooms *x, const struct fg_need *need, uint64_t count)
{
    struct fg_pack_type type = {.cpu_milli = need->cpus_milli, .memory_bytes = need->host_bytes, .gpus = 1, .gpu_milli = FG_MAX(need->share_permille, 1u),
                                .gpu_memory_bytes = need->memory_bytes};
    struct fg_error err;
    uint32_t at;
    for (size_t m = 0; m < x->models.count && m < FG_PACK_KINDS_MAX; m++)
        if (!x->models.items[m].like.is_host && fg_could_hold(&x->models.items[m].like, need))
            type.kinds |= UINT64_C(1) << m;
    if (type.kinds && count && fg_pack_type_of(x->pack, &type, &at, &err) == 0)
        fg_pack_expect(x->pack, at, count);
}

static int by_first_device(const void *a, const void *b, void *rooms)
{
    const struct fg_rooms *x = rooms;
    const struct room_machine *p = &x->machines.items[*(const uint32_t *)a], *q = &x->machines.items[*(const uint32_t *)b];
    fg_device_id i = p->own ? x->rooms.items[p->own - 1].id : 0, k = q->own ? x->rooms.items[q->own - 1].id : 0;
    return i < k ? -1 : i > k;
}

/* Made anew by what came since, not by the clock, as the market is; in the order of devices, which breaks ties. */
void rooms_pack_learn(struct fg_rooms *x, const struct fg_demand *demand)
{
    uint64_t arrived = demand && x->beside ? fg_demand_arrived(demand) : 0;
    if (!arrived || (x->pack && arrived < x->pack_next && x->pack_models == x->models.count && x->pack->types.count < TYPES_MOST))
        return;
    rooms_pack_drop(x);
    x->pack = fg_pack_create(&(struct fg_pack_options){.policy = FG_PACK_FASTGPU});
    x->pack_next = arrived + arrived / 8 + FIRST_LEARNED;
    x->pack_models = x->models.count;
    FG_AUTO_FREE uint32_t *order = fg_alloc((x->machines.count + 1) * sizeof *order);
    for (uint32_t i = 0; i < x->machines.count; i++)
        order[i] = i;
    if (x->machines.count > 1)
        qsort_r(order, x->machines.count, sizeof *order, by_first_device, x);
    for (size_t i = 0; i < x->machines.count; i++)
        sync_machine(x, &x->machines.items[order[i]]);
    for (size_t i = 0; i < fg_demand_count(demand); i++) {
        uint64_t count;
        const struct fg_need *need = fg_demand_at(demand, i, &count);
        expect(x, need, count);
    }
}

/* --- looking --- */

/* The three greatest keys are in the three blocks with the greatest ones. */
static size_t best_nodes(struct fg_rooms *x, uint32_t type, uint32_t *ret, size_t max)
{
    enum { MOST = 3 };
    pk_ready(x->pack);
    const struct pk_row *r = pk_row_of(x->pack, type);
    uint32_t blocks = ((uint32_t)x->pack->nodes.count + PK_BLOCK - 1) / PK_BLOCK, block[MOST] = {0};
    int64_t top[MOST] = {PK_NEVER, PK_NEVER, PK_NEVER}, key[MOST] = {PK_NEVER, PK_NEVER, PK_NEVER};
    size_t n = 0;
    for (uint32_t b = 0; b < blocks; b++)
        for (size_t i = 0; i < MOST; i++)
            if (r->block[b] > top[i]) {
                memmove(&top[i + 1], &top[i], (MOST - 1 - i) * sizeof *top);
                memmove(&block[i + 1], &block[i], (MOST - 1 - i) * sizeof *block);
                top[i] = r->block[b];
                block[i] = b;
                break;
            }
    for (size_t k = 0; k < MOST && top[k] != PK_NEVER; k++)
        for (uint32_t at = block[k] * PK_BLOCK; at < (block[k] + 1) * PK_BLOCK; at++)
            for (size_t i = 0; i < MOST; i++)
                if (r->key[at] > key[i]) {
                    memmove(&key[i + 1], &key[i], (MOST - 1 - i) * sizeof *key);
                    key[i] = r->key[at];
                    break;
                }
    for (; n < FG_MIN(max, (size_t)MOST) && key[n] != PK_NEVER; n++)
        ret[n] = (uint32_t)(PK_INDEX_MOST - (key[n] & PK_INDEX_MOST));
    return n;
}

size_t rooms_pack_first(struct fg_rooms *x, const struct fg_need *need, uint64_t kinds, uint32_t *ret, size_t max)
{
    struct fg_pack_type type = {.cpu_milli = need->cpus_milli, .memory_bytes = need->host_bytes};
    struct fg_error err;
    uint32_t at, nodes[3], gpus;
    size_t found = 0;
    if (kinds) {
        type.gpus = 1;
        type.gpu_milli = FG_MAX(need->share_permille, 1u);
        type.gpu_memory_bytes = need->memory_bytes;
        type.kinds = kinds;
    } else {
        type.memory_bytes += need->memory_bytes;
    }
    catch_up(x);
    if (!x->pack->nodes.count || fg_pack_type_of(x->pack, &type, &at, &err) < 0)
        return 0;
    size_t n = best_nodes(x, at, nodes, FG_MIN(max, FG_COUNT(nodes)));
    for (size_t i = 0; i < n; i++) {
        const struct room_machine *m = &x->machines.items[x->machine_at.items[nodes[i]]];
        struct parts parts;
        uint32_t room = m->own - 1;
        if (pk_score(x->pack, at, nodes[i], &gpus) == PK_NEVER)
            continue;
        if (kinds && parts_of(x, m, &parts))
            room = parts.room[__builtin_ctz(gpus)];
        struct fg_ask ask = fg_ask_of(&x->models.items[x->rooms.items[room].model].like, need);
        if (is_free(&x->rooms.items[room]) && room_fits(x, &x->rooms.items[room], &ask))
            ret[found++] = room;
    }
    return found;
}
