/* place.c - in order, each task to its cheapest device with room that is not held for another.
 *
 * A queue is mostly many tasks of few kinds. Tasks that ask the same are one group: its costs on each device are
 * worked out once, and since room only shrinks within a plan, a group that found none stays blocked. So a round over
 * a thousand waiting tasks is a thousand lookups, and a full house costs no estimates at all. */
#include "plan/place.h"

#include <string.h>

#include "base/mem.h"
#include "model/price.h"
#include "plan/place_private.h"

int64_t fg_expected_cost(const struct fg_plan_device *device, const struct fg_need *need, int64_t time_ns)
{
    uint32_t permille = fg_price_permille(need->memory_bytes, device->memory_bytes, need->share_permille);
    return fg_price_of(time_ns, permille, device->price_nanousd_per_s);
}

int64_t fg_expected_cost_of(const struct fg_plan_device *device, const struct fg_plan_task *task, int64_t time_ns)
{
    uint32_t permille = fg_price_permille(task->need.memory_bytes, device->memory_bytes, task->need.share_permille);
    bool spot = task->spec->spot && device->spot_nanousd_per_s > 0;
    return fg_price_of(time_ns, permille, spot ? device->spot_nanousd_per_s : device->price_nanousd_per_s);
}

bool fg_could_hold(const struct fg_plan_device *d, const struct fg_need *need)
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
    uint32_t hash = mix(mix(mix(t->need.share_permille, t->need.memory_bytes), (uint64_t)t->spec->limits.run_ns), t->spec->type + 8u * t->spec->spot);
    for (const char *c = task_name(t->spec); *c; c++)
        hash = (hash ^ (unsigned char)*c) * 16777619u;
    return hash;
}

static bool same_group(const struct fg_plan_task *a, const struct fg_plan_task *b)
{
    return a->need.memory_bytes == b->need.memory_bytes && a->need.share_permille == b->need.share_permille &&
           a->spec->limits.run_ns == b->spec->limits.run_ns && a->spec->type == b->spec->type && a->spec->spot == b->spec->spot &&
           strcmp(a->need.device_kind, b->need.device_kind) == 0 && strcmp(task_name(a->spec), task_name(b->spec)) == 0;
}

/* Devices with room for the group, and, the first time, why its tasks will wait, once they must: known from the snapshot
 * alone. A device that has room for it as the round begins can only have been filled by tasks before it. A device that
 * is away may come back, so what only it can hold is not invalid. */
void round_judge(struct round *r, struct group *g)
{
    const struct fg_need *need = &g->task->need;
    bool usable = false, ever = false, now = false;
    g->fits.count = 0;
    g->heaped = false;
    g->fits_version = r->rooms_version;
    for (size_t i = 0; i < r->snap->device_count; i++) {
        const struct fg_plan_device *d = &r->snap->devices[i];
        bool holds = fg_could_hold(d, need);
        usable |= d->usable;
        ever |= holds;
        if (!d->usable || !holds)
            continue;
        now |= need->memory_bytes <= d->memory_free_bytes && need->share_permille <= d->share_free_permille;
        if (need->memory_bytes <= r->rooms[i].memory_bytes && need->share_permille <= r->rooms[i].share_permille)
            fg_vec_push(&g->fits, (struct fit){(uint32_t)i, r->rooms[i].used_permille});
    }
    if (g->judged)
        return;
    g->judged = true;
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
    g->reason = FG_REASON_WAITING_CAPACITY;
    return g;
}

static void price_group(struct round *r, struct group *g)
{
    struct fg_estimate e = {0};
    const char *kind = NULL;             /* that e is of: models of one kind mostly follow each other */
    g->priced = true;
    g->offers = r->offers.count;
    g->least_cost = INT64_MAX;
    for (size_t m = 0; m < r->all_models.count; m++) {
        const struct fg_plan_device *d = &r->snap->devices[r->all_models.items[m].first];
        struct offer offer = {-1, 0, 0};
        if (r->all_models.items[m].usable && fg_could_hold(d, &g->task->need)) {
            if (!kind || strcmp(kind, d->kind) != 0)
                fg_estimate(r->snap->history, g->task->spec, kind = d->kind, g->task->need.share_permille, &e);
            offer = (struct offer){fg_expected_cost_of(d, g->task, e.mean_ns), e.mean_ns, e.p95_ns};
            g->least_cost = FG_MIN(g->least_cost, offer.cost);
        }
        fg_vec_push(&r->offers, offer);
    }
}

uint32_t round_used_permille(const struct fg_plan_device *d, const struct room *room)
{
    uint32_t memory = 1000 - fg_price_permille(room->memory_bytes, d->memory_bytes, 0);
    return FG_MAX(1000 - FG_MIN(room->share_permille, 1000u), memory);
}

static int64_t add_money(int64_t a, int64_t b)
{
    int64_t sum;
    return __builtin_add_overflow(a, b, &sum) ? INT64_MAX : sum;
}

static void tell_other(const struct round *r, const struct group *g, size_t device, fg_device_id *ret_device, int64_t *ret_cost)
{
    if (device == SIZE_MAX)
        return;
    *ret_device = r->snap->devices[device].id;
    *ret_cost = offer_of(r, g, device)->cost;
}

static void take(struct round *r, const struct group *g, size_t task, const struct choice *c)
{
    const struct fg_plan_task *t = &r->snap->tasks[task];
    const struct offer *best = offer_of(r, g, c->best);
    const struct fg_plan_device *d = &r->snap->devices[c->best];
    struct room *room = &r->rooms[c->best];
    struct fg_placement p = {
        .task = t->id, .device = d->id, .share_permille = t->need.share_permille, .memory_bytes = t->need.memory_bytes,
        .placed = {.rule = (uint16_t)c->rule, .expected_ns = best->time_ns, .expected_cost_nanousd = best->cost}};
    tell_other(r, g, c->second, &p.placed.second_device, &p.placed.runner_up_cost_nanousd);
    tell_other(r, g, c->third, &p.placed.third_device, &p.placed.third_cost_nanousd);
    fg_vec_push(&r->plan.placements, p);
    const struct fg_reservation *held = room->reservation ? &r->snap->reservations[room->reservation - 1] : NULL;
    bool on_spare = held && !fg_id_eq(held->group, round_group_of(t)) && t->rank <= held->rank && best->p95_ns > held->start_ns - r->snap->now_ns;
    fg_vec_push(&r->done, (struct done){.task = task, .device = c->best, .group = (uint32_t)(g - r->groups.items),
                .on_spare = on_spare, .pinned = room->reservation || t->together > 1 || t->deadline_ns, .before = *room});
    room->memory_bytes -= t->need.memory_bytes;
    room->share_permille -= t->need.share_permille;
    room->used_permille = round_used_permille(d, room);
    if (on_spare) {
        room->spare_memory_bytes -= t->need.memory_bytes;
        room->spare_share_permille -= t->need.share_permille;
    }
    r->plan.cost_nanousd = add_money(r->plan.cost_nanousd, best->cost);
    r->plan.bound_nanousd = add_money(r->plan.bound_nanousd, g->least_cost);
}

static bool place_one(struct round *r, struct group *g, size_t task)
{
    const struct fg_plan_task *t = &r->snap->tasks[task];
    if (g->fits_version != r->rooms_version)
        round_judge(r, g);
    if (g->fits.count == 0 && !g->heaped)              /* before anything is priced: a house that is full is answered by integers alone */
        return false;
    if (!g->priced)
        price_group(r, g);
    struct choice c = round_choose(r, g, t);
    if (c.best == SIZE_MAX)
        return false;
    take(r, g, task, &c);
    return true;
}

/* Back to what stood before: a gang did not fit as a whole. */
static void undo(struct round *r, size_t keep, int64_t cost, int64_t bound)
{
    r->rooms_version += r->done.count > keep;
    while (r->done.count > keep) {
        const struct done *last = &r->done.items[--r->done.count];
        r->rooms[last->device] = last->before;
    }
    r->plan.placements.count = keep;
    r->plan.cost_nanousd = cost;
    r->plan.bound_nanousd = bound;
}

/* Tasks [first, first + n): all or none. */
static bool place_together(struct round *r, struct group *g, size_t first, size_t n)
{
    size_t keep = r->done.count;
    int64_t cost = r->plan.cost_nanousd, bound = r->plan.bound_nanousd;
    for (size_t i = 0; i < n; i++)
        if (!place_one(r, g, first + i)) {
            undo(r, keep, cost, bound);
            return false;
        }
    return true;
}

static bool full(const struct fg_snapshot *snap, int rank)
{
    size_t n = 0;
    for (size_t i = 0; i < snap->reservation_count; i++)
        n += snap->reservations[i].rank >= rank;
    return n >= FG_RESERVATIONS_MAX;
}

/* A blocked task becomes a head of the line of its own when what is held already is of no use to it. */
static bool wants_reservation(const struct round *r, const struct group *g, const struct fg_plan_task *t)
{
    const struct fg_snapshot *snap = r->snap;
    if (!snap->reserve || t->no_reserve || g->reason == FG_REASON_INVALID || full(snap, t->rank))
        return false;
    for (size_t k = 0; k < r->held.count; k++) {
        size_t i = r->held.items[k];
        if (snap->reservations[r->rooms[i].reservation - 1].rank >= t->rank && fg_could_hold(&snap->devices[i], &t->need))
            return false;
    }
    return true;
}

static bool holds_reservation(const struct round *r, const struct fg_plan_task *t)
{
    for (size_t i = 0; i < r->snap->reservation_count; i++)
        if (fg_id_eq(r->snap->reservations[i].group, round_group_of(t)))
            return true;
    return false;
}

/* What one was refused its equals behind it are refused too, but for a head, who may use what is held for it, and for a
 * gang, whose refusal is of many at once. */
static void serve(struct round *r, size_t first, size_t n)
{
    const struct fg_plan_task *t = &r->snap->tasks[first];
    struct group *g = find_group(r, t);
    bool head = holds_reservation(r, t);
    if (!t->blocked && !g->judged)
        round_judge(r, g);
    if ((head || !g->blocked) && !t->blocked && place_together(r, g, first, n))
        return;
    g->blocked = g->blocked || (n == 1 && !head);
    if (!head && wants_reservation(r, g, t)) {
        r->plan.head = first;
        return;
    }
    for (size_t i = 0; i < n; i++)
        fg_vec_push(&r->plan.waiting, (struct fg_id_reason){r->snap->tasks[first + i].id, g->reason});
}

static void hold(struct round *r, uint32_t reservation, const struct fg_reserved *part)
{
    for (size_t i = 0; i < r->snap->device_count; i++)
        if (r->snap->devices[i].id == part->device) {
            fg_vec_push(&r->held, i);
            r->rooms[i].reservation = reservation;
            r->rooms[i].spare_memory_bytes = part->spare_memory_bytes;
            r->rooms[i].spare_share_permille = part->spare_share_permille;
        }
}

static bool same_model(const struct fg_plan_device *a, const struct fg_plan_device *b)
{
    return a->memory_bytes == b->memory_bytes && a->price_nanousd_per_s == b->price_nanousd_per_s &&
           a->spot_nanousd_per_s == b->spot_nanousd_per_s && (a->kind == b->kind || strcmp(a->kind, b->kind) == 0);
}

static void find_models(struct round *r)
{
    size_t n = r->snap->device_count, mask = 15;
    while (mask <= n * 2)
        mask = mask * 2 + 1;
    FG_AUTO_FREE uint32_t *slots = fg_alloc((mask + 1) * sizeof *slots);     /* model + 1 */
    for (size_t i = 0; i < n; i++) {
        const struct fg_plan_device *d = &r->snap->devices[i];
        uint32_t hash = mix(mix(mix(0, d->memory_bytes), (uint64_t)d->price_nanousd_per_s), (uint64_t)d->spot_nanousd_per_s);
        for (const char *c = d->kind; *c; c++)
            hash = (hash ^ (unsigned char)*c) * 16777619u;
        size_t at = hash & mask;
        while (slots[at] && !same_model(d, &r->snap->devices[r->all_models.items[slots[at] - 1].first]))
            at = (at + 1) & mask;
        if (!slots[at]) {
            fg_vec_push(&r->all_models, (struct model){i, false});
            slots[at] = (uint32_t)r->all_models.count;
        }
        r->models[i] = slots[at] - 1;
        r->all_models.items[slots[at] - 1].usable |= d->usable;
    }
}

static void begin(struct round *r, const struct fg_snapshot *snap)
{
    *r = (struct round){.snap = snap, .slot_count = 16, .rooms_version = 1};
    while (r->slot_count <= snap->task_count * 2)
        r->slot_count *= 2;
    r->slots = fg_alloc(r->slot_count * sizeof *r->slots);
    r->rooms = fg_alloc((snap->device_count + 1) * sizeof *r->rooms);
    r->models = fg_alloc((snap->device_count + 1) * sizeof *r->models);
    for (size_t i = 0; i < snap->device_count; i++) {
        const struct fg_plan_device *d = &snap->devices[i];
        r->rooms[i] = (struct room){d->memory_free_bytes, d->share_free_permille, 0, 0, 0, 0};
        r->rooms[i].used_permille = round_used_permille(d, &r->rooms[i]);
    }
    find_models(r);
    for (size_t i = 0; i < snap->reservation_count; i++)
        for (size_t k = 0; k < snap->reservations[i].count; k++)
            hold(r, (uint32_t)i + 1, &snap->reservations[i].parts[k]);
}

static void end(struct round *r)
{
    for (size_t i = 0; i < r->groups.count; i++)
        fg_vec_fini(&r->groups.items[i].fits);
    fg_vec_fini(&r->groups);
    fg_vec_fini(&r->all_models);
    fg_vec_fini(&r->held);
    fg_vec_fini(&r->offers);
    fg_vec_fini(&r->done);
    free(r->slots);
    free(r->rooms);
    free(r->models);
}

/* From task first on; what is placed before it stays. */
static void go_through(struct round *r)
{
    size_t n;
    for (size_t i = 0; i < r->snap->task_count && r->plan.head == SIZE_MAX; i += n) {
        n = FG_MIN((size_t)FG_MAX(r->snap->tasks[i].together, 1u), r->snap->task_count - i);
        serve(r, i, n);
    }
}

/* The solver made room: those that waited once more, in order. No reservation is made in the name of one that is seen
 * again, and what it was refused before does not count. */
static void second_chance(struct round *r)
{
    __auto_type waiting = r->plan.waiting;
    r->plan.waiting.items = NULL;
    r->plan.waiting.count = r->plan.waiting.cap = 0;
    r->rooms_version++;
    for (size_t i = 0; i < r->groups.count; i++)
        r->groups.items[i].blocked = false;
    size_t at = 0, n;
    for (size_t w = 0; w < waiting.count; w += n) {
        while (!fg_id_eq(r->snap->tasks[at].id, waiting.items[w].task))
            at++;
        n = FG_MAX(r->snap->tasks[at].together, 1u);
        struct group *g = find_group(r, &r->snap->tasks[at]);
        if (g->blocked || r->snap->tasks[at].blocked || !place_together(r, g, at, n)) {
            g->blocked = g->blocked || n == 1;
            for (size_t i = 0; i < n; i++)
                fg_vec_push(&r->plan.waiting, waiting.items[w + i]);
        }
    }
    free(waiting.items);
}

int fg_place(const struct fg_snapshot *snap, struct fg_plan *ret_plan, struct fg_error *err)
{
    struct round r;
    if (snap->task_count >= UINT32_MAX / 2)
        return fg_fail(err, FG_E_INVALID, "a plan for %zu tasks at once is more than it can count", snap->task_count);
    begin(&r, snap);
    r.plan.head = SIZE_MAX;
    go_through(&r);
    if (snap->improve_iterations && round_improve(&r) && r.plan.head == SIZE_MAX && r.plan.waiting.count)
        second_chance(&r);
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
