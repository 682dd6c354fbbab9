/* pack.c - nodes, types and tasks: the state and its changes. */
#include "plan/pack/private.h"

#include <stdio.h>
#include <string.h>

#define CPU_MOST    (INT64_C(1) << 40)   /* milli-cores */
#define AMOUNT_MOST (INT64_C(1) << 53)   /* bytes: exact as a double, far above any machine */

const char *fg_pack_policy_text(enum fg_pack_policy policy)
{
    static const char *const texts[] = {"fastgpu", "fgd", "bestfit", "firstfit"};
    return texts[policy];
}

struct fg_pack *fg_pack_create(const struct fg_pack_options *options)
{
    struct fg_pack *p = fg_alloc(sizeof *p);
    p->options = *options;
    p->log = fg_alloc(PK_LOG * sizeof *p->log);
    p->free_task = FG_PACK_NONE;
    p->generation = 1;
    p->epoch = 1;
    return p;
}

void fg_pack_destroy(struct fg_pack *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->types.count; i++)
        pk_row_drop(p, &p->types.items[i]);
    fg_vec_fini(&p->nodes);
    fg_vec_fini(&p->shapes);
    fg_vec_fini(&p->shape_of);
    fg_vec_fini(&p->shift);
    fg_vec_fini(&p->types);
    fg_vec_fini(&p->tasks);
    pk_value_fini(&p->value);
    pk_fill_fini(&p->fill);
    pk_typicals_fini(&p->by_count);
    for (uint32_t m = 0; m < PK_CHAIN; m++)
        fg_vec_fini(&p->movable[m].types);
    free(p->type_slots);
    free(p->log);
    free(p->known);
    free(p);
}

/* What is free of the shape has changed: a level more or less changes the prices. */
void pk_supply(struct fg_pack *p, uint32_t shape, int64_t free_milli)
{
    struct pk_shape *s = &p->shapes.items[shape];
    s->free_milli += (uint64_t)free_milli;
    uint32_t level = pk_level(s);
    p->levels += level != s->level;
    s->level = level;
}

void pk_touch(struct fg_pack *p, uint32_t node)
{
    struct pk_node *n = &p->nodes.items[node];
    n->version++;
    n->value_epoch = 0;
    p->log[p->log_at++ % PK_LOG] = node;
}

/* --- nodes --- */

static uint32_t shape_of(struct fg_pack *p, const struct fg_pack_node *node)
{
    for (size_t i = 0; i < p->shapes.count; i++)
        if (memcmp(&p->shapes.items[i].whole, node, sizeof *node) == 0)
            return (uint32_t)i;
    fg_vec_push(&p->shapes, ((struct pk_shape){.whole = *node, .price = 0}));
    return (uint32_t)p->shapes.count - 1;
}

static int check_node(const struct fg_pack_node *n, struct fg_error *err)
{
    if (n->cpu_milli < 0 || n->cpu_milli > CPU_MOST || n->memory_bytes > (uint64_t)AMOUNT_MOST ||
        n->gpu_memory_bytes > (uint64_t)AMOUNT_MOST)
        return fg_fail(err, FG_E_INVALID, "a node's processor or memory is negative or beyond 2^40 milli-cores or 2^53 bytes");
    if (n->gpus > FG_PACK_GPUS_MAX)
        return fg_fail(err, FG_E_INVALID, "a node has %u GPUs, more than %u", n->gpus, FG_PACK_GPUS_MAX);
    if (n->kind >= FG_PACK_KINDS_MAX)
        return fg_fail(err, FG_E_INVALID, "GPU kind %u is not below %u", n->kind, FG_PACK_KINDS_MAX);
    return 0;
}

int fg_pack_add_node(struct fg_pack *p, const struct fg_pack_node *node, uint32_t *ret_index, struct fg_error *err)
{
    if (check_node(node, err) < 0)
        return -1;
    uint32_t at = (uint32_t)p->nodes.count;
    struct pk_node *n = fg_vec_add(&p->nodes);
    fg_vec_add(&p->shape_of);
    *n = (struct pk_node){.whole = *node, .first_task = FG_PACK_NONE};
    n->room = (struct pk_room){.cpu = node->cpu_milli, .memory = (int64_t)node->memory_bytes, .gpus = node->gpus, .kind = node->kind};
    for (uint32_t g = 0; g < node->gpus; g++) {
        n->room.milli[g] = FG_PACK_DEVICE;
        n->gpu_memory[g] = node->gpu_memory_bytes;
    }
    struct fg_pack_node plain;           /* compared as bytes */
    memset(&plain, 0, sizeof plain);
    plain.cpu_milli = node->cpu_milli, plain.memory_bytes = node->memory_bytes;
    plain.gpus = node->gpus, plain.kind = node->kind, plain.gpu_memory_bytes = node->gpu_memory_bytes;
    n->shape = shape_of(p, &plain);
    p->shape_of.items[at] = n->shape;
    p->shapes.items[n->shape].nodes++;
    pk_supply(p, n->shape, (int64_t)node->gpus * FG_PACK_DEVICE);
    p->cpu_most = FG_MAX(p->cpu_most, node->cpu_milli);
    p->totals.gpu_milli += (uint64_t)node->gpus * FG_PACK_DEVICE;
    p->totals.gpu_milli_free += (uint64_t)node->gpus * FG_PACK_DEVICE;
    p->totals.cpu_milli += (uint64_t)node->cpu_milli;
    p->totals.cpu_milli_free += (uint64_t)node->cpu_milli;
    p->learned_at = 0;                   /* supply has changed */
    p->generation++;
    pk_touch(p, at);
    *ret_index = at;
    return 0;
}

void fg_pack_close_node(struct fg_pack *p, uint32_t node, bool closed)
{
    if (p->nodes.items[node].closed == closed)
        return;
    p->nodes.items[node].closed = closed;
    p->generation++;
    pk_touch(p, node);
}

bool fg_pack_free(const struct fg_pack *p, uint32_t node, int64_t *cpu_milli, uint64_t *memory_bytes, uint32_t *gpu_milli,
                  uint64_t *gpu_memory_bytes)
{
    if (node >= p->nodes.count)
        return false;
    const struct pk_node *n = &p->nodes.items[node];
    *cpu_milli = n->room.cpu;
    *memory_bytes = (uint64_t)n->room.memory;
    for (uint32_t g = 0; g < FG_PACK_GPUS_MAX; g++) {
        if (gpu_milli)
            gpu_milli[g] = n->room.milli[g];
        if (gpu_memory_bytes)
            gpu_memory_bytes[g] = n->gpu_memory[g];
    }
    return true;
}

uint32_t fg_pack_node_count(const struct fg_pack *p) { return (uint32_t)p->nodes.count; }

/* --- types --- */

static uint64_t type_hash(const struct fg_pack_type *t)
{
    uint64_t h = 0, parts[] = {(uint64_t)t->cpu_milli, t->memory_bytes, t->gpus, t->gpu_milli, t->gpu_memory_bytes, t->kinds};
    for (size_t i = 0; i < FG_COUNT(parts); i++) {
        h = (h ^ parts[i]) * 0x9e3779b97f4a7c15u;
        h ^= h >> 29;
    }
    return h;
}

static bool type_eq(const struct fg_pack_type *a, const struct fg_pack_type *b)
{
    return a->cpu_milli == b->cpu_milli && a->memory_bytes == b->memory_bytes && a->gpus == b->gpus && a->gpu_milli == b->gpu_milli &&
           a->gpu_memory_bytes == b->gpu_memory_bytes && a->kinds == b->kinds;
}

static int check_type(const struct fg_pack_type *t, struct fg_error *err)
{
    if (t->cpu_milli < 0 || t->cpu_milli > CPU_MOST || t->memory_bytes > (uint64_t)AMOUNT_MOST || t->gpu_memory_bytes > (uint64_t)AMOUNT_MOST)
        return fg_fail(err, FG_E_INVALID, "a task's processor or memory is negative or beyond 2^40 milli-cores or 2^53 bytes");
    if (t->gpus == 0 && t->gpu_milli > 0)
        return fg_fail(err, FG_E_INVALID, "a task without GPU wants %u thousandths of one", t->gpu_milli);
    if (t->gpus > 0 && (t->gpu_milli == 0 || t->gpu_milli > FG_PACK_DEVICE))
        return fg_fail(err, FG_E_INVALID, "%u thousandths of a GPU is not within 1..1000", t->gpu_milli);
    if (t->gpus > 1 && t->gpu_milli < FG_PACK_DEVICE)
        return fg_fail(err, FG_E_INVALID, "a share of %u thousandths of each of %u GPUs: shares are of one GPU", t->gpu_milli, t->gpus);
    return 0;
}

static void grow_slots(struct fg_pack *p)
{
    uint32_t n = p->type_slot_count ? p->type_slot_count * 2 : 256;
    free(p->type_slots);
    p->type_slots = fg_alloc(n * sizeof *p->type_slots);
    p->type_slot_count = n;
    for (uint32_t i = 0; i < p->types.count; i++) {
        uint32_t at = (uint32_t)type_hash(&p->types.items[i].need) & (n - 1);
        while (p->type_slots[at])
            at = (at + 1) & (n - 1);
        p->type_slots[at] = i + 1;
    }
}

int fg_pack_type_of(struct fg_pack *p, const struct fg_pack_type *type, uint32_t *ret_type, struct fg_error *err)
{
    if (check_type(type, err) < 0)
        return -1;
    if (p->types.count * 2 >= p->type_slot_count)
        grow_slots(p);
    uint32_t at = (uint32_t)type_hash(type) & (p->type_slot_count - 1);
    for (; p->type_slots[at]; at = (at + 1) & (p->type_slot_count - 1)) {
        *ret_type = p->type_slots[at] - 1;
        if (type_eq(&p->types.items[*ret_type].need, type))
            return 0;
    }
    fg_vec_push(&p->types, ((struct pk_type){.need = *type}));
    *ret_type = (uint32_t)p->types.count - 1;
    p->type_slots[at] = *ret_type + 1;
    return 0;
}

const struct fg_pack_type *fg_pack_type_at(const struct fg_pack *p, uint32_t type) { return &p->types.items[type].need; }

bool pk_fits_whole(const struct fg_pack_node *n, const struct fg_pack_type *t)
{
    return t->cpu_milli <= n->cpu_milli && t->memory_bytes <= n->memory_bytes && t->gpus <= n->gpus &&
           (t->kinds == 0 || t->kinds >> n->kind & 1) && (n->gpu_memory_bytes == 0 || t->gpu_memory_bytes <= n->gpu_memory_bytes);
}

bool fg_pack_possible(const struct fg_pack *p, uint32_t type)
{
    for (size_t i = 0; i < p->shapes.count; i++)
        if (p->shapes.items[i].nodes > 0 && pk_fits_whole(&p->shapes.items[i].whole, &p->types.items[type].need))
            return true;
    return false;
}

/* --- tasks --- */

struct pk_room pk_room_after(const struct pk_node *n, const struct fg_pack_type *t, uint32_t gpus)
{
    struct pk_room r = n->room;
    r.cpu -= t->cpu_milli;
    r.memory -= (int64_t)t->memory_bytes;
    for (uint32_t g = 0; gpus; g++, gpus >>= 1)
        if (gpus & 1)
            r.milli[g] = (uint16_t)(r.milli[g] - t->gpu_milli);
    return r;
}

/* Whether exactly these GPUs of the node can take the type. */
static bool fits_at(const struct pk_node *n, const struct fg_pack_type *t, uint32_t gpus)
{
    if (t->cpu_milli > n->room.cpu || (int64_t)t->memory_bytes > n->room.memory ||
        (t->kinds && !(t->kinds >> n->room.kind & 1)) || (uint32_t)__builtin_popcount(gpus) != t->gpus || gpus >> n->room.gpus)
        return false;
    for (uint32_t g = 0; g < n->room.gpus; g++)
        if (gpus >> g & 1 && (n->room.milli[g] < t->gpu_milli || (n->whole.gpu_memory_bytes && n->gpu_memory[g] < t->gpu_memory_bytes)))
            return false;
    return true;
}

/* sign -1: the task takes its need from the node; +1: it gives it back. */
static void charge(struct fg_pack *p, uint32_t node, const struct fg_pack_type *t, uint32_t gpus, int sign)
{
    struct pk_node *n = &p->nodes.items[node];
    n->room.cpu += sign * t->cpu_milli;
    n->room.memory += sign * (int64_t)t->memory_bytes;
    for (uint32_t g = 0; g < n->room.gpus; g++) {
        if (!(gpus >> g & 1))
            continue;
        n->room.milli[g] = (uint16_t)(n->room.milli[g] + sign * (int)t->gpu_milli);
        if (n->whole.gpu_memory_bytes)
            n->gpu_memory[g] += (uint64_t)sign * t->gpu_memory_bytes;
    }
    p->totals.cpu_milli_free += (uint64_t)sign * (uint64_t)t->cpu_milli;
    p->totals.gpu_milli_free += (uint64_t)sign * t->gpus * t->gpu_milli;
    pk_supply(p, n->shape, (int64_t)sign * t->gpus * t->gpu_milli);
    pk_touch(p, node);
}

static void link_task(struct fg_pack *p, uint32_t task, const struct fg_pack_choice *c)
{
    struct pk_node *n = &p->nodes.items[c->node];
    struct pk_task *k = &p->tasks.items[task];
    k->node = c->node;
    k->gpus = c->gpus;
    k->next = n->first_task;
    k->prev = FG_PACK_NONE;
    if (n->first_task != FG_PACK_NONE)
        p->tasks.items[n->first_task].prev = task;
    n->first_task = task;
    n->tasks++;
    charge(p, c->node, &p->types.items[k->type].need, c->gpus, -1);
}

static void unlink_task(struct fg_pack *p, uint32_t task)
{
    struct pk_task *k = &p->tasks.items[task];
    struct pk_node *n = &p->nodes.items[k->node];
    if (k->prev != FG_PACK_NONE)
        p->tasks.items[k->prev].next = k->next;
    else
        n->first_task = k->next;
    if (k->next != FG_PACK_NONE)
        p->tasks.items[k->next].prev = k->prev;
    n->tasks--;
    charge(p, k->node, &p->types.items[k->type].need, k->gpus, 1);
}

void pk_relocate(struct fg_pack *p, uint32_t task, const struct fg_pack_choice *to)
{
    unlink_task(p, task);
    link_task(p, task, to);
}

uint32_t fg_pack_place(struct fg_pack *p, uint32_t type, const struct fg_pack_choice *c)
{
    struct pk_type *t = &p->types.items[type];
    if (c->node >= p->nodes.count || !fits_at(&p->nodes.items[c->node], &t->need, c->gpus)) {
        fprintf(stderr, "fg_pack_place: type %u does not fit node %u, GPUs %#x\n", type, c->node, c->gpus);
        abort();
    }
    uint32_t at = p->free_task;
    if (at != FG_PACK_NONE)
        p->free_task = p->tasks.items[at].next;
    else {
        at = (uint32_t)p->tasks.count;
        fg_vec_add(&p->tasks);
    }
    p->tasks.items[at] = (struct pk_task){.type = type};
    t->tasks++;
    p->task_count++;
    link_task(p, at, c);
    return at;
}

int fg_pack_restore(struct fg_pack *p, uint32_t type, uint32_t node, uint32_t gpus, uint32_t *ret_task, struct fg_error *err)
{
    if (node >= p->nodes.count || !fits_at(&p->nodes.items[node], &p->types.items[type].need, gpus))
        return fg_fail(err, FG_E_INVALID, "the task does not fit GPUs %#x of node %u", gpus, node);
    *ret_task = fg_pack_place(p, type, &(struct fg_pack_choice){.node = node, .gpus = gpus, .rule = FG_PACK_GIVEN});
    return 0;
}

void fg_pack_unplace(struct fg_pack *p, uint32_t task)
{
    if (fg_pack_task_at(p, task).node == FG_PACK_NONE) {
        fprintf(stderr, "fg_pack_unplace: there is no task %u\n", task);
        abort();
    }
    struct pk_task *k = &p->tasks.items[task];
    unlink_task(p, task);
    p->types.items[k->type].tasks--;
    p->task_count--;
    p->generation++;
    *k = (struct pk_task){.node = FG_PACK_NONE, .next = p->free_task};
    p->free_task = task;
}

struct fg_pack_task fg_pack_task_at(const struct fg_pack *p, uint32_t task)
{
    if (task >= p->tasks.count)
        return (struct fg_pack_task){.node = FG_PACK_NONE};
    const struct pk_task *k = &p->tasks.items[task];
    return (struct fg_pack_task){k->type, k->node, k->gpus};
}

void fg_pack_pin(struct fg_pack *p, uint32_t task, bool pinned)
{
    p->tasks.items[task].pinned = pinned;
    p->generation++;
}

struct fg_pack_totals fg_pack_totals(const struct fg_pack *p)
{
    struct fg_pack_totals t = p->totals;
    t.tasks = p->task_count;
    t.memory_used_bytes = sizeof *p + p->nodes.cap * sizeof *p->nodes.items + p->types.cap * sizeof *p->types.items +
                          p->tasks.cap * sizeof *p->tasks.items + PK_LOG * sizeof *p->log + p->type_slot_count * sizeof *p->type_slots;
    for (size_t i = 0; i < p->types.count; i++)
        if (p->types.items[i].row)
            t.memory_used_bytes += (uint64_t)p->types.items[i].row->nodes * (sizeof(int64_t) + sizeof(uint32_t));
    return t;
}
