/* place.c - in order, each task to its cheapest device with room that is not held for another.
 *
 * A queue is mostly many tasks of few kinds. Tasks that ask the same are one group: its costs on each model of device are
 * worked out once, and since room only shrinks within a plan, a group that found none stays blocked. The devices stand in
 * an order (rooms.h), so a round costs what it looks at and places, whatever else there is. */
#include "plan/place.h"

#include <string.h>

#include "base/mem.h"
#include "model/price.h"
#include "plan/place_private.h"

static const char *task_name(const struct fg_spec *spec)
{
    return spec->model ? spec->model : spec->program ? spec->program : "";
}

static uint32_t mix(uint32_t hash, uint64_t v) { return (uint32_t)((hash ^ v ^ v >> 32) * 0x9e3779b97f4a7c15u >> 29); }

static uint32_t hash_task(const struct fg_plan_task *t)
{
    uint32_t hash = mix(mix(mix(t->need.share_permille, t->need.memory_bytes), (uint64_t)t->spec->limits.run_ns), t->spec->type + 8u * t->spec->spot);
    if (fg_asks_host(&t->need))
        hash = mix(mix(hash, t->need.cpus_milli + t->need.share_guessed), t->need.host_bytes);
    for (const char *c = task_name(t->spec); *c; c++)
        hash = (hash ^ (unsigned char)*c) * 16777619u;
    return hash;
}

static bool same_group(const struct fg_plan_task *a, const struct fg_plan_task *b)
{
    return a->need.memory_bytes == b->need.memory_bytes && a->need.share_permille == b->need.share_permille &&
           a->need.cpus_milli == b->need.cpus_milli && a->need.host_bytes == b->need.host_bytes && a->need.share_guessed == b->need.share_guessed &&
           a->spec->limits.run_ns == b->spec->limits.run_ns && a->spec->type == b->spec->type && a->spec->spot == b->spec->spot &&
           strcmp(a->need.device_kind, b->need.device_kind) == 0 && strcmp(task_name(a->spec), task_name(b->spec)) == 0;
}

/* What was free beside a device is not noted: who asks for it too is said to lack room. */
static bool was_free(const struct round *r, const struct fg_need *need)
{
    for (size_t i = 0; i < r->taken.count && !fg_asks_host(need); i++) {
        const struct taken *t = &r->taken.items[i];
        if (need->memory_bytes <= t->memory_bytes && need->share_permille <= t->share_permille &&
            fg_could_hold(&r->rooms->models.items[t->model].like, need))
            return true;
    }
    return false;
}

/* Why its tasks will wait, once they must: known from the snapshot alone. A device that had room for it as the round began
 * can only have been filled by tasks before it. A device that is away may come back, so what only it can hold is not
 * invalid. */
static void judge(const struct round *r, struct group *g)
{
    const struct fg_need *need = &g->task->need;
    bool usable = false, ever = false, now = round_any_room(r, need) || was_free(r, need);
    for (size_t m = 0; m < r->rooms->models.count; m++) {
        const struct room_model *model = &r->rooms->models.items[m];
        usable |= model->usable > 0;
        ever |= model->count > 0 && fg_could_hold(&model->like, need);
    }
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

static int by_offer(const void *a, const void *b, void *offers)
{
    const struct offer *x = (const struct offer *)offers + *(const uint32_t *)a, *y = (const struct offer *)offers + *(const uint32_t *)b;
    return x->weighed != y->weighed ? (x->weighed < y->weighed ? -1 : 1) : x->time_ns < y->time_ns ? -1 : x->time_ns > y->time_ns;
}

/* What a part of a processor costs depends on how large that is. It does not decide between machines: each is weighed with the least
 * that such a part, or such a place on a processor, costs on any. */
static void weigh(struct round *r, const struct group *g)
{
    struct fg_plan_task alone = *g->task;
    int64_t least[2] = {INT64_MAX, INT64_MAX};
    alone.need.cpus_milli = 0;
    alone.need.host_bytes = 0;
    for (int pass = 0; pass < 2; pass++)
        for (size_t k = 0; k < g->order_count; k++) {
            uint32_t m = r->orders.items[g->order + k];
            const struct fg_plan_device *like = &r->rooms->models.items[m].like;
            struct offer *o = &r->offers.items[g->offers + m];
            int64_t own = like->is_host ? 0 : fg_expected_cost_of(like, &alone, o->time_ns);
            if (pass == 0)
                least[like->is_host] = FG_MIN(least[like->is_host], o->cost - own);
            else
                o->weighed = own + least[like->is_host];
        }
}

static void price_group(struct round *r, struct group *g)
{
    struct fg_estimate e = {0};
    const char *kind = NULL;             /* that e is of: models of one kind mostly follow each other */
    g->priced = true;
    g->offers = r->offers.count;
    g->order = r->orders.count;
    g->least_cost = INT64_MAX;
    for (size_t m = 0; m < r->rooms->models.count; m++) {
        const struct room_model *model = &r->rooms->models.items[m];
        struct offer offer = {-1, -1, 0, 0};
        if (model->usable && fg_could_hold(&model->like, &g->task->need)) {
            if (!kind || strcmp(kind, model->like.kind) != 0)
                fg_estimate(r->snap->history, g->task->spec, kind = model->like.kind, g->task->need.share_permille, &e);
            int64_t cost = fg_expected_cost_of(&model->like, g->task, e.mean_ns);
            offer = (struct offer){cost, cost, e.mean_ns, e.p95_ns};
            g->least_cost = FG_MIN(g->least_cost, offer.cost);
            fg_vec_push(&r->orders, (uint32_t)m);
        }
        fg_vec_push(&r->offers, offer);
    }
    g->order_count = r->orders.count - g->order;
    if (fg_asks_host(&g->task->need))
        weigh(r, g);
    if (g->order_count > 1)
        qsort_r(&r->orders.items[g->order], g->order_count, sizeof *r->orders.items, by_offer, &r->offers.items[g->offers]);
}

/* What was free there as the round began, unless somewhere else at least as much was. */
static void note_taken(struct round *r, const struct room *room)
{
    for (size_t i = 0; i < r->taken.count; i++) {
        struct taken *t = &r->taken.items[i];
        if (t->model != room->model)
            continue;
        if (t->memory_bytes >= room->memory_bytes && t->share_permille >= room->share_permille)
            return;
        if (t->memory_bytes <= room->memory_bytes && t->share_permille <= room->share_permille) {
            t->memory_bytes = room->memory_bytes;
            t->share_permille = room->share_permille;
            return;
        }
    }
    fg_vec_push(&r->taken, (struct taken){room->model, room->share_permille, room->memory_bytes});
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
    struct room *room = room_at(r, c->best);
    struct fg_ask ask = fg_ask_of(d, &t->need);
    struct fg_placement p = {
        .task = t->id, .device = d->id, .share_permille = ask.share_permille, .memory_bytes = ask.memory_bytes,
        .cpus_milli = ask.host_milli, .host_bytes = ask.host_bytes,
        .placed = {.rule = (uint16_t)c->rule, .expected_ns = best->time_ns, .expected_cost_nanousd = best->cost}};
    tell_other(r, g, c->second, &p.placed.second_device, &p.placed.runner_up_cost_nanousd);
    tell_other(r, g, c->third, &p.placed.third_device, &p.placed.third_cost_nanousd);
    fg_vec_push(&r->plan.placements, p);
    fg_vec_push(&r->done, (struct done){.task = task, .device = c->best, .group = (uint32_t)(g - r->groups.items), .ask = ask,
                .pinned = room->reservation || t->together > 1 || t->deadline_ns || fg_asks_host(&t->need)});
    note_taken(r, room);
    rooms_take(r->rooms, c->best, &ask, -1);
    round_take_spare(r, t, best, &r->done.items[r->done.count - 1]);
    r->plan.cost_nanousd = add_money(r->plan.cost_nanousd, best->cost);
    r->plan.bound_nanousd = add_money(r->plan.bound_nanousd, g->least_cost);
}

static bool place_one(struct round *r, struct group *g, size_t task)
{
    const struct fg_plan_task *t = &r->snap->tasks[task];
    if (!g->priced && !round_any_room(r, &t->need))    /* a house that is full is answered by integers alone */
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
    while (r->done.count > keep) {
        const struct done *last = &r->done.items[--r->done.count];
        round_give_spare(r, last);
        rooms_take(r->rooms, last->device, &last->ask, 1);
    }
    r->plan.placements.count = keep;
    r->plan.cost_nanousd = cost;
    r->plan.bound_nanousd = bound;
}

/* Tasks [first, first + n): all or none. */
static bool place_all(struct round *r, struct group *g, size_t first, size_t n)
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

static bool place_together(struct round *r, struct group *g, size_t first, size_t n)
{
    bool done = false;
    for (int side = SIDE_ANY; side <= (n > 1 && fg_asks_host(&g->task->need) ? SIDE_ON : SIDE_ANY) && !done; side++) {
        r->side = (enum side)side;
        done = place_all(r, g, first, n);
    }
    r->side = SIDE_ANY;
    return done;
}

/* A blocked task becomes a head of the line of its own when what is held already is of no use to it. */
static bool wants_reservation(const struct round *r, const struct group *g, const struct fg_plan_task *t)
{
    const struct fg_snapshot *snap = r->snap;
    if (!snap->reserve || t->no_reserve || g->reason == FG_REASON_INVALID || full(snap, t->rank))
        return false;
    for (size_t k = 0; k < r->held.count; k++)
        if (round_held_rank(r, r->held.items[k], &t->need) >= t->rank && fg_could_hold(&snap->devices[r->held.items[k]], &t->need))
            return false;
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
        judge(r, g);
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

static void begin(struct round *r, const struct fg_snapshot *snap)
{
    *r = (struct round){.snap = snap, .slot_count = 16, .rooms = snap->rooms ? snap->rooms : fg_rooms_create()};
    while (r->slot_count <= snap->task_count * 2)
        r->slot_count *= 2;
    r->slots = fg_alloc(r->slot_count * sizeof *r->slots);
    for (size_t i = 0; !snap->rooms && i < snap->device_count; i++)
        fg_rooms_set(r->rooms, i, &snap->devices[i]);
    rooms_learn(r->rooms, snap->demand);
    for (size_t i = 0; i < snap->task_count && !r->rooms->beside; i++)
        if (fg_asks_host(&snap->tasks[i].need))
            rooms_look_beside(r->rooms);
    rooms_pack_learn(r->rooms, snap->demand);
    round_hold(r);
}

static void end(struct round *r)
{
    round_let_go(r);
    if (!r->snap->rooms)
        fg_rooms_destroy(r->rooms);
    fg_vec_fini(&r->groups);
    fg_vec_fini(&r->held);
    fg_vec_fini(&r->taken);
    fg_vec_fini(&r->offers);
    fg_vec_fini(&r->orders);
    fg_vec_fini(&r->done);
    free(r->slots);
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
    if (snap->rooms && fg_rooms_count(snap->rooms) != snap->device_count)
        return fg_fail(err, FG_E_INVALID, "%zu rooms of %zu devices", fg_rooms_count(snap->rooms), snap->device_count);
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
