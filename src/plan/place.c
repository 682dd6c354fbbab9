/* place.c - the first planner: in order, each task to its cheapest device with room.
 *
 * A queue is mostly many tasks of few kinds. Tasks that ask the same are one group: its costs on each device are
 * worked out once, and since room only shrinks within a plan, a group that found none stays blocked. So a round over
 * a thousand waiting tasks is a thousand lookups, and a full house costs no estimates at all. */
#include "plan/place.h"

#include <string.h>

#include "base/mem.h"
#include "model/price.h"

struct group {
    const struct fg_plan_task *task;     /* the first of it */
    uint32_t hash;
    bool blocked, priced;
    enum fg_reason reason;               /* of its tasks that are not placed */
    size_t offers;                       /* where its offers begin, one per device, once priced */
    int64_t least_cost;                  /* over all devices that could ever hold it */
};
struct offer { int64_t cost, time_ns; }; /* cost -1: the device can never hold it */
struct room { uint64_t memory_bytes; uint32_t share_permille, used_permille; };

struct round {
    const struct fg_snapshot *snap;
    struct room *rooms;                  /* what is left, by device index */
    size_t *kinds;                       /* the first device of the same kind, by device index */
    int64_t *times;                      /* of the group being priced, by first device of a kind; 0: not asked yet */
    FG_VEC(struct group) groups;
    FG_VEC(struct offer) offers;
    uint32_t *slots;                     /* group index + 1, 0 empty; a power of two, more than twice the tasks */
    size_t slot_count;
    struct fg_plan plan;
};

int64_t fg_expected_cost(const struct fg_plan_device *device, const struct fg_need *need, int64_t time_ns)
{
    uint32_t permille = fg_price_permille(need->memory_bytes, device->memory_bytes, need->share_permille);
    return fg_price_of(time_ns, permille, device->price_nanousd_per_s);
}

/* Whether the device, empty and usable, could hold it. */
static bool could_hold(const struct fg_plan_device *d, const struct fg_need *need)
{
    return (!need->device_kind[0] || strcmp(need->device_kind, d->kind) == 0) && need->memory_bytes <= d->memory_bytes &&
           need->share_permille <= 1000;
}

static const char *task_name(const struct fg_spec *spec)
{
    return spec->model ? spec->model : spec->program ? spec->program : "";
}

static uint32_t mix(uint32_t hash, uint64_t v) { return (uint32_t)((hash ^ v ^ v >> 32) * 0x9e3779b97f4a7c15u >> 29); }

static uint32_t hash_task(const struct fg_plan_task *t)
{
    uint32_t hash = mix(mix(mix(t->need.share_permille, t->need.memory_bytes), (uint64_t)t->spec->limits.run_ns), t->spec->type);
    for (const char *c = task_name(t->spec); *c; c++)
        hash = (hash ^ (unsigned char)*c) * 16777619u;
    return hash;
}

static bool same_group(const struct fg_plan_task *a, const struct fg_plan_task *b)
{
    return a->need.memory_bytes == b->need.memory_bytes && a->need.share_permille == b->need.share_permille &&
           a->spec->limits.run_ns == b->spec->limits.run_ns && a->spec->type == b->spec->type &&
           strcmp(a->need.device_kind, b->need.device_kind) == 0 && strcmp(task_name(a->spec), task_name(b->spec)) == 0;
}

/* Why tasks of this group will wait, once they must: known from the snapshot alone. A device that has room for it as
 * the round begins can only have been filled by tasks before it. A device that is away may come back, so what only it
 * can hold is not invalid. */
static void judge_group(const struct round *r, struct group *g)
{
    const struct fg_need *need = &g->task->need;
    bool usable = false, ever = false, now = false;
    for (size_t i = 0; i < r->snap->device_count; i++) {
        const struct fg_plan_device *d = &r->snap->devices[i];
        bool holds = could_hold(d, need);
        usable |= d->usable;
        ever |= holds;
        now |= d->usable && holds && need->memory_bytes <= d->memory_free_bytes && need->share_permille <= d->share_free_permille;
    }
    g->blocked = !now;
    g->reason = now ? FG_REASON_WAITING_PRIORITY : usable && !ever ? FG_REASON_INVALID : FG_REASON_WAITING_CAPACITY;
}

static struct group *find_group(struct round *r, const struct fg_plan_task *t)
{
    uint32_t hash = hash_task(t);
    size_t at = hash & (r->slot_count - 1);
    for (; r->slots[at]; at = (at + 1) & (r->slot_count - 1)) {
        struct group *g = &r->groups.items[r->slots[at] - 1];
        if (g->hash == hash && same_group(g->task, t))
            return g;
    }
    struct group *g = fg_vec_add(&r->groups);
    r->slots[at] = (uint32_t)r->groups.count;
    g->task = t;
    g->hash = hash;
    judge_group(r, g);
    return g;
}

static int64_t time_on(struct round *r, const struct group *g, size_t device)
{
    int64_t *time_ns = &r->times[r->kinds[device]];
    struct fg_estimate estimate;
    if (*time_ns == 0) {
        fg_estimate(r->snap->history, g->task->spec, r->snap->devices[device].kind, g->task->need.share_permille, &estimate);
        *time_ns = estimate.mean_ns;
    }
    return *time_ns;
}

static void price_group(struct round *r, struct group *g)
{
    g->priced = true;
    g->offers = r->offers.count;
    g->least_cost = INT64_MAX;
    memset(r->times, 0, r->snap->device_count * sizeof *r->times);
    for (size_t i = 0; i < r->snap->device_count; i++) {
        const struct fg_plan_device *d = &r->snap->devices[i];
        struct offer offer = {-1, 0};
        if (d->usable && could_hold(d, &g->task->need)) {
            offer.time_ns = time_on(r, g, i);
            offer.cost = fg_expected_cost(d, &g->task->need, offer.time_ns);
            g->least_cost = FG_MIN(g->least_cost, offer.cost);
        }
        fg_vec_push(&r->offers, offer);
    }
}

/* The rules, in order: the first that tells a from b decides, and *rule says which. True: a is better. */
static bool is_better(const struct round *r, const struct group *g, size_t a, size_t b, enum fg_rule *rule)
{
    const struct offer *x = &r->offers.items[g->offers + a], *y = &r->offers.items[g->offers + b];
    if (x->cost != y->cost)
        return *rule = FG_RULE_LEAST_COST, x->cost < y->cost;
    if (x->time_ns != y->time_ns)
        return *rule = FG_RULE_FINISH_FIRST, x->time_ns < y->time_ns;
    if (r->rooms[a].used_permille != r->rooms[b].used_permille)
        return *rule = FG_RULE_PACK, r->rooms[a].used_permille > r->rooms[b].used_permille;
    return *rule = FG_RULE_INDEX, r->snap->devices[a].id < r->snap->devices[b].id;
}

static bool has_room(const struct round *r, size_t device, const struct fg_need *need)
{
    const struct room *room = &r->rooms[device];
    return need->memory_bytes <= room->memory_bytes && need->share_permille <= room->share_permille &&
           r->snap->devices[device].usable;
}

/* Before anything is priced: a house that is full is answered by integers alone. */
static bool has_room_anywhere(const struct round *r, const struct fg_need *need)
{
    for (size_t i = 0; i < r->snap->device_count; i++)
        if (has_room(r, i, need))
            return true;
    return false;
}

struct choice { size_t best, second; enum fg_rule rule; };  /* SIZE_MAX: none */

static struct choice choose(const struct round *r, const struct group *g)
{
    struct choice c = {SIZE_MAX, SIZE_MAX, FG_RULE_ONLY_FIT};
    const struct fg_need *need = &g->task->need;
    enum fg_rule rule;
    for (size_t i = 0; i < r->snap->device_count; i++) {
        if (r->offers.items[g->offers + i].cost < 0 || !has_room(r, i, need))
            continue;
        if (c.best == SIZE_MAX) {
            c.best = i;
        } else if (is_better(r, g, i, c.best, &rule)) {
            c.second = c.best;
            c.best = i;
        } else if (c.second == SIZE_MAX || is_better(r, g, i, c.second, &rule)) {
            c.second = i;
        }
    }
    if (c.second != SIZE_MAX)
        is_better(r, g, c.best, c.second, &c.rule);
    return c;
}

static uint32_t used_permille(const struct fg_plan_device *d, const struct room *room)
{
    uint32_t memory = 1000 - fg_price_permille(room->memory_bytes, d->memory_bytes, 0);
    return FG_MAX(1000 - FG_MIN(room->share_permille, 1000u), memory);
}

static int64_t add_money(int64_t a, int64_t b)
{
    int64_t sum;
    return __builtin_add_overflow(a, b, &sum) ? INT64_MAX : sum;
}

static void take(struct round *r, const struct group *g, const struct fg_plan_task *t, const struct choice *c)
{
    const struct offer *best = &r->offers.items[g->offers + c->best];
    const struct fg_plan_device *d = &r->snap->devices[c->best];
    struct room *room = &r->rooms[c->best];
    fg_vec_push(&r->plan.placements, (struct fg_placement){
        .task = t->id, .device = d->id, .share_permille = t->need.share_permille, .memory_bytes = t->need.memory_bytes,
        .placed = {.rule = (uint16_t)c->rule, .expected_ns = best->time_ns, .expected_cost_nanousd = best->cost,
                   .runner_up_cost_nanousd = c->second == SIZE_MAX ? 0 : r->offers.items[g->offers + c->second].cost}});
    room->memory_bytes -= t->need.memory_bytes;
    room->share_permille -= t->need.share_permille;
    room->used_permille = used_permille(d, room);
    r->plan.cost_nanousd = add_money(r->plan.cost_nanousd, best->cost);
    r->plan.bound_nanousd = add_money(r->plan.bound_nanousd, g->least_cost);
}

static void serve(struct round *r, const struct fg_plan_task *t)
{
    struct group *g = find_group(r, t);
    if (!g->blocked && has_room_anywhere(r, &t->need)) {
        if (!g->priced)
            price_group(r, g);
        struct choice c = choose(r, g);
        if (c.best != SIZE_MAX) {
            take(r, g, t, &c);
            return;
        }
    }
    g->blocked = true;
    fg_vec_push(&r->plan.waiting, (struct fg_id_reason){t->id, g->reason});
}

static void begin(struct round *r, const struct fg_snapshot *snap)
{
    *r = (struct round){.snap = snap, .slot_count = 16};
    while (r->slot_count <= snap->task_count * 2)
        r->slot_count *= 2;
    r->slots = fg_alloc(r->slot_count * sizeof *r->slots);
    r->rooms = fg_alloc((snap->device_count + 1) * sizeof *r->rooms);
    r->kinds = fg_alloc((snap->device_count + 1) * sizeof *r->kinds);
    r->times = fg_alloc((snap->device_count + 1) * sizeof *r->times);
    for (size_t i = 0; i < snap->device_count; i++) {
        const struct fg_plan_device *d = &snap->devices[i];
        r->rooms[i] = (struct room){d->memory_free_bytes, d->share_free_permille, 0};
        r->rooms[i].used_permille = used_permille(d, &r->rooms[i]);
        while (strcmp(snap->devices[r->kinds[i]].kind, d->kind) != 0)
            r->kinds[i]++;
    }
}

static void end(struct round *r)
{
    fg_vec_fini(&r->groups);
    fg_vec_fini(&r->offers);
    free(r->slots);
    free(r->rooms);
    free(r->kinds);
    free(r->times);
}

int fg_place(const struct fg_snapshot *snap, struct fg_plan *ret_plan, struct fg_error *err)
{
    struct round r;
    if (snap->task_count >= UINT32_MAX / 2)
        return fg_fail(err, FG_E_INVALID, "a plan for %zu tasks at once is more than it can count", snap->task_count);
    begin(&r, snap);
    for (size_t i = 0; i < snap->task_count; i++)
        serve(&r, &snap->tasks[i]);
    end(&r);
    *ret_plan = r.plan;
    return 0;
}

void fg_plan_fini(struct fg_plan *plan)
{
    if (!plan)
        return;
    fg_vec_fini(&plan->placements);
    fg_vec_fini(&plan->waiting);
    *plan = (struct fg_plan){0};
}
