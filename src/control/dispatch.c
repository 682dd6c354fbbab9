/* dispatch.c - give the heads of the queue what is free.
 *
 *   reserve_refresh -> walk: tasks of the first lines -> fg_place -> grants
 *                                                           |
 *                       reserve_for, preempt_for <- plan.head, a task that found no room and nothing is held for
 *
 * plan_due is set by whatever could change a plan: a task entered a line that is not known to be blocked, a lease was
 * given back, a machine came. A round costs nothing when nothing is free, O(lines in the window) when nothing fits, and a
 * plan else; how many tasks wait in a line, or behind the window, and how many devices there are, never matters: what
 * planning goes by (plan_devices, and rooms, the same in an order) is brought up to date where a lease or a machine
 * came or went. */
#include <stdio.h>
#include <string.h>

#include "control/core_private.h"

#define ESTIMATE_AGE 64
#define ROUNDS_MAX 1000                  /* of one dispatch; what is left is for the next turn */

bool core_device_usable(const struct device *d) { return d->d.healthy && d->node->n.connected && !d->node->n.lost && !core_is_drained(d); }

uint64_t core_memory_for_tasks(const struct fg_core *core, const struct device *d)
{
    uint64_t reserve = (uint64_t)FG_MAX(core->config.min_memory_reserve_bytes, 0);
    return d->d.memory_bytes > reserve ? d->d.memory_bytes - reserve : 0;
}

static struct fg_plan_device plan_of(const struct fg_core *core, const struct device *d, bool empty)
{
    uint64_t memory = core_memory_for_tasks(core, d), used = empty ? 0 : core_memory_held(d);
    struct fg_price price = core_price(core, d->d.kind);
    struct fg_plan_device plan = {
        .id = d->d.id, .kind = d->d.kind, .memory_bytes = memory,
        .memory_free_bytes = memory > used ? memory - used : 0,
        .share_free_permille = empty ? 1000 : 1000 - core_share_held(d),
        .price_nanousd_per_s = price.nanousd_per_s, .spot_nanousd_per_s = price.spot_nanousd_per_s, .usable = empty || core_device_usable(d)};
    core_plan_host(core, d, empty, &plan);
    return plan;
}

struct fg_plan_device *core_plan_device(const struct fg_core *core, fg_device_id id)
{
    size_t lo = 0, hi = core->plan_devices.count;    /* they are in id order */
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (core->plan_devices.items[mid].id < id)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < core->plan_devices.count && core->plan_devices.items[lo].id == id ? &core->plan_devices.items[lo] : NULL;
}

/* A word of what it could hold when it is empty, for a sum over all. */
static uint64_t capacity_of(const struct fg_plan_device *d)
{
    uint64_t word = d->id;
    const uint64_t parts[] = {d->memory_bytes, d->cores, d->host_memory_bytes};
    for (size_t i = 0; i < FG_COUNT(parts); i++)
        word = (word ^ parts[i]) * UINT64_C(0x9e3779b97f4a7c15);
    for (const char *c = d->kind; *c; c++)
        word = (word ^ (unsigned char)*c) * UINT64_C(0x100000001b3);
    return d->usable ? word ^ word >> 32 : 0;
}

/* False: it does not stand among them and cannot be added behind them, so all are to be listed anew. */
static bool update(struct fg_core *core, fg_device_id id)
{
    struct fg_plan_device *plan = core_plan_device(core, id), now = plan_of(core, core_device(core, id), false);
    size_t n = core->plan_devices.count;
    if (!plan && n && core->plan_devices.items[n - 1].id > id)
        return false;
    core->places += capacity_of(&now) - (plan ? capacity_of(plan) : 0);
    if (plan)
        *plan = now;
    else
        fg_vec_push(&core->plan_devices, now);
    fg_rooms_set(core->rooms, plan ? (size_t)(plan - core->plan_devices.items) : n, &now);
    return true;
}

/* What is free of a processor is what is free beside each device of its machine. */
void core_plan_changed(struct fg_core *core, fg_device_id id)
{
    const struct device *d = core_device(core, id);
    if (d && d->node && d->node->host == id)
        core_plan_node_changed(core, d->node);
    else if (core->plan_fresh)
        fg_vec_push(&core->plan_dirty, id);
}

void core_plan_node_changed(struct fg_core *core, const struct node *n)
{
    for (const struct device *d = NULL; core->plan_fresh && (d = core_next_device(core, n, d));)
        fg_vec_push(&core->plan_dirty, d->d.id);
}

/* As things are, only those that changed since are looked at. */
void core_plan_devices(struct fg_core *core, bool empty)
{
    bool fresh = core->plan_fresh && !empty;
    for (size_t i = 0; fresh && i < core->plan_dirty.count; i++)
        fresh = update(core, core->plan_dirty.items[i]);
    core->plan_dirty.count = 0;
    if (fresh)
        return;
    core->plan_devices.count = 0;
    for (size_t i = 0; i < core->devices.count; i++)
        if (core->devices.items[i].d.id)
            fg_vec_push(&core->plan_devices, plan_of(core, &core->devices.items[i], empty));
    core->plan_fresh = !empty;
    core->places = empty ? core->places : 0;
    for (size_t i = 0; core->plan_fresh && i < core->plan_devices.count; i++) {
        core->places += capacity_of(&core->plan_devices.items[i]);
        fg_rooms_set(core->rooms, i, &core->plan_devices.items[i]);
    }
    if (core->plan_fresh)
        fg_rooms_cut(core->rooms, core->plan_devices.count);
}

/* Room is where it was, so no device moves in the order of rooms. "" concerns all kinds that have no price of their own. */
void core_plan_prices(struct fg_core *core, const char *kind)
{
    core_largest(core, "");              /* the list of kinds is as things are */
    for (size_t i = 0; core->plan_fresh && i < core->kinds.count; i++) {
        struct fg_price price = core_price(core, core->kinds.items[i].name);
        if (!kind[0] || strcmp(kind, price.kind) == 0)
            fg_rooms_price(core->rooms, &price);
    }
    for (size_t i = 0; core->plan_fresh && i < core->plan_devices.count; i++)
        fg_rooms_price_at(core->rooms, i, &core->plan_devices.items[i]);
}

/* fg_propose_need, unless it would say what it said last: it goes by type, name, class and what was asked. */
static const struct fg_need *propose(struct fg_core *core, const struct fg_spec *spec, enum fg_class class)
{
    __auto_type last = &core->proposed;
    const char *name = spec->model ? spec->model : spec->program ? spec->program : "";
    const struct fg_need *asked = &spec->need;
    bool same = last->version == core->history_version && last->type == spec->type && last->class == class &&
                strcmp(last->name, name) == 0 && last->asked.memory_bytes == asked->memory_bytes &&
                last->asked.share_permille == asked->share_permille && last->asked.cpus_milli == asked->cpus_milli && last->asked.host_bytes == asked->host_bytes;
    if (same)
        return &last->need;
    fg_propose_need(core->history, spec, class, &last->need);
    last->version = snprintf(last->name, sizeof last->name, "%s", name) < (int)sizeof last->name ? core->history_version : 0;
    last->type = spec->type;
    last->class = class;
    last->asked = *asked;
    return &last->need;
}

/* What the estimate proposes is never more than the largest device: a guess must not keep a task waiting for ever.
 * Memory that was asked for does not change with what history learns. */
void core_complete(struct fg_core *core, const struct fg_spec *spec, enum fg_class class, struct fg_need *ret)
{
    const struct fg_need *asked = &spec->need, *proposed = propose(core, spec, class);
    uint64_t largest = core_largest_memory(core, asked->device_kind);
    *ret = *asked;
    ret->memory_bytes = asked->memory_bytes || !largest ? proposed->memory_bytes : FG_MIN(proposed->memory_bytes, largest);
    ret->share_permille = proposed->share_permille;
    ret->share_guessed = !asked->share_permille;
    if (fg_asks_host(ret) && !asked->memory_bytes)
        ret->memory_bytes = core_memory_beside(core, ret);
}

void core_line_need(struct fg_core *core, struct line *l, struct fg_need *ret)
{
    if (l->need_version == 0 || (!l->asked.memory_bytes && l->need_version != core->history_version)) {
        uint64_t memory = l->need.memory_bytes;      /* all that a proposal may change */
        core_complete(core, &line_first(l)->t.spec, l->class, &l->need);
        l->need_version = core->history_version;
        l->nowhere_at = l->need.memory_bytes < memory ? 0 : l->nowhere_at;
    }
    *ret = l->need;
}

void core_need(struct fg_core *core, struct entry *e, struct fg_need *ret)
{
    if (e->line)
        core_line_need(core, e->line, ret);
    else
        core_complete(core, &e->t.spec, e->t.class, ret);
}

void core_ask_for(struct fg_core *core, struct entry *e, int64_t now_ns)
{
    struct fg_need need;
    core_complete(core, &e->t.spec, e->t.class, &need);
    fg_demand_add(core->demand, &need, now_ns);
}

/* On the kind it asks for, or that of the first device. Asked anew after ESTIMATE_AGE lessons of the history: one run more
 * or less changes little, and a queue of a thousand lines is not gone through for each end. */
const struct fg_estimate *core_line_estimate(struct fg_core *core, struct line *l)
{
    const char *kind = l->asked.device_kind;
    struct fg_need need;
    if (l->estimate_version && core->history_version - l->estimate_version < ESTIMATE_AGE)
        return &l->estimate;
    for (size_t i = 0; !kind[0] && i < core->devices.count; i++)
        if (core->devices.items[i].d.id)
            kind = core->devices.items[i].d.kind;
    core_line_need(core, l, &need);
    fg_estimate(core->history, &line_first(l)->t.spec, kind, need.share_permille, &l->estimate);
    l->estimate_version = core->history_version;
    return &l->estimate;
}

/* --- a round --- */

struct round_state {
    struct fg_core *core;
    int64_t now_ns;
    struct fg_rooms_free free;
    bool some_fit, cut;
    size_t lines;
};

static struct fg_plan_task plan_task(struct round_state *r, struct entry *e, bool fits)
{
    struct fg_core *core = r->core;
    struct fg_order order = entry_order(e);
    struct line *l = e->line;
    struct fg_plan_task task = {
        .id = e->t.id, .spec = &e->t.spec, .deadline_ns = order.deadline_ns == FG_NO_DEADLINE ? 0 : order.deadline_ns, .group = core_group(e),
        .rank = core_rank(e), .blocked = !fits || l->blocked_at == core->room_version, .no_reserve = l->no_reserve_at == core->room_version};
    core_line_need(core, l, &task.need);
    task.no_reserve |= l->nowhere_at && l->nowhere_at == core->places;
    return task;
}

static void push(struct round_state *r, struct entry *e, const struct fg_plan_task *task)
{
    fg_vec_push(&r->core->plan_tasks, *task);
    fg_vec_push(&r->core->plan_entries, e);
    r->some_fit = r->some_fit || !task->blocked;
}

/* All that wait of a gang, one after the other. */
static void push_gang(struct round_state *r, struct line *l, bool fits)
{
    size_t n = line_size(l);
    struct entry *e = line_first(l);
    for (size_t i = 0; i < n; i++) {
        struct fg_plan_task task = plan_task(r, e, fits);
        struct fg_order key = entry_order(e);
        task.together = i == 0 ? (uint32_t)n : 1;
        push(r, e, &task);
        e = line_after(l, &key);
    }
}

/* Heads come first in their priority, whatever their tenants have used since. */
static void push_heads(struct round_state *r, int priority)
{
    for (size_t i = 0; i < r->core->reservation_count; i++) {
        struct entry *e = core_waiting(r->core, r->core->reservations[i].group);
        if ((int)e->t.spec.priority != priority)
            continue;
        bool fits = fg_rooms_most(r->core->rooms, &e->line->need) > 0;
        struct fg_plan_task task = plan_task(r, e, fits);
        if (fg_id_is_none(e->line->gang))
            push(r, e, &task);
        else
            push_gang(r, e->line, fits);
    }
}

/* One task of a line that nothing is free for, as many as might start of the others. */
static void look_at(struct round_state *r, struct walk *w)
{
    struct fg_core *core = r->core;
    struct line *l = w->line;
    struct fg_need need;
    if (l->seen_at != core->walks) {
        l->seen_at = core->walks;
        l->taken = 0;
        r->lines++;
    }
    if (reserve_find(core, w->entry))
        return;
    core_line_need(core, l, &need);
    size_t most = fg_rooms_most(r->core->rooms, &need);
    w->takes = most > 0 && l->blocked_at != core->room_version;
    if (!fg_id_is_none(l->gang)) {
        w->drop = true;
        if (line_ready(l))
            push_gang(r, l, most >= line_size(l));
        return;
    }
    struct fg_plan_task task = plan_task(r, w->entry, most > 0);
    push(r, w->entry, &task);
    w->drop = !w->takes || ++l->taken >= most;
}

static void collect(struct round_state *r)
{
    struct fg_core *core = r->core;
    struct walk w;
    size_t most = core->config.window * 4;
    int priority = FG_PRIORITY_COUNT;
    core->walks++;
    core->plan_tasks.count = core->plan_entries.count = 0;
    walk_begin(&w, core, r->now_ns);
    while (walk_next(&w)) {
        while (priority > w.priority)
            push_heads(r, --priority);
        bool fresh = w.line->seen_at != core->walks;
        if (core->plan_tasks.count >= most || (fresh && r->lines >= core->config.window)) {
            r->cut = core->plan_tasks.count >= most;
            break;
        }
        look_at(r, &w);
    }
    while (priority > 0 && !r->cut)
        push_heads(r, --priority);
    walk_end(&w);
}

void core_grant(struct fg_core *core, const struct fg_placement *p, bool borrowed, int64_t now_ns, struct fg_effects *fx)
{
    struct entry *e = table_find(core, p->task);
    struct device *d = core_device(core, p->device);
    core_assert(e && e->size && d && core_device_usable(d));
    core_take_back(core, d, p->share_permille, now_ns, fx);
    struct fg_price price = core_price(core, d->d.kind);
    bool spot = e->t.spec.spot && price.spot_nanousd_per_s > 0;
    struct fg_lease lease = {
        .device = p->device, .node = d->d.node, .epoch = core->next_epoch,
        .memory_bytes = p->memory_bytes, .share_permille = p->share_permille, .borrowed = borrowed,
        .granted_ns = now_ns, .deadline_ns = now_ns + core->config.lease_ns,
        .price_nanousd_per_s = spot ? price.spot_nanousd_per_s : price.nanousd_per_s,
        .memory_level = d->d.memory_level, .share_level = d->d.share_level};
    core_host_lease(core, p, e->t.spec.spot, now_ns, &lease, fx);
    core_emit_task(core, fx, now_ns, e, e->t.attempt, (struct fg_event){.kind = FG_EV_TASK_PLACED,
                   .placed = {.placed = p->placed, .device = p->device}});
    core_emit_task(core, fx, now_ns, e, e->t.attempt, (struct fg_event){.kind = FG_EV_LEASE_GRANTED, .lease = lease});
    core_act(fx, FG_ACT_START, e, FG_REASON_NONE);
}

static void count_plan(struct fg_core *core, const struct fg_plan *plan)
{
    struct fg_plan_stats *s = &core->plan_stats;
    if (plan->placements.count == 0)
        return;
    s->rounds++;
    s->placed += plan->placements.count;
    s->improved += plan->iterations > 0;
    s->cost_nanousd += plan->cost_nanousd;
    s->bound_nanousd += plan->bound_nanousd;
    s->last_cost_nanousd = plan->cost_nanousd;
    s->last_bound_nanousd = plan->bound_nanousd;
}

/* What was looked at and not placed waits for room: until there is more, its equals need not ask. */
static void carry_out(struct fg_core *core, struct fg_plan *plan, uint64_t version, int64_t now_ns, struct fg_effects *fx)
{
    size_t seen = FG_MIN(plan->head, core->plan_tasks.count);
    count_plan(core, plan);
    for (size_t i = 0, w = 0; i < seen && w < plan->waiting.count; i++)
        if (fg_id_eq(core->plan_tasks.items[i].id, plan->waiting.items[w].task)) {
            core->plan_entries.items[i]->line->blocked_at = version;
            w++;
        }
    for (size_t i = 0; i < plan->placements.count; i++) {
        struct fg_placement *p = &plan->placements.items[i];
        p->placed.plan_cost_nanousd = plan->cost_nanousd;
        p->placed.plan_bound_nanousd = plan->bound_nanousd;
        core_grant(core, p, false, now_ns, fx);
    }
}

/* The first that found nothing: hold a place for it, and plan on. */
static void make_head(struct fg_core *core, const struct fg_plan_task *task, int64_t now_ns, struct fg_effects *fx)
{
    struct entry *e = table_find(core, task->id);
    if (reserve_for(core, task, e->line, now_ns) && !core_open_for(core, core->reservation_count - 1, task, now_ns, fx))
        preempt_for(core, core->reservation_count - 1, task, now_ns, fx);
    core->plan_due = true;
}

/* Heads for whom others may be moved, or whose time has passed and who may displace others. */
static void press_on(struct round_state *r, struct fg_effects *fx)
{
    struct fg_core *core = r->core;
    for (size_t i = 0; (core->preemptible_live || core->movers) && i < core->reservation_count; i++) {
        struct entry *e = core_waiting(core, core->reservations[i].group);
        if (!e)
            continue;
        struct fg_plan_task task = plan_task(r, e, false);
        task.together = fg_id_is_none(e->line->gang) ? 1 : (uint32_t)line_size(e->line);
        if (core_open_for(core, i, &task, r->now_ns, fx) || core->reservations[i].start_ns >= r->now_ns || !core->preemptible_live)
            continue;
        core_plan_devices(core, false);
        preempt_for(core, i, &task, r->now_ns, fx);
    }
}

/* What was decided before goes on: chains of moves, and tasks leave drained devices. */
static void go_on(struct fg_core *core, int64_t now_ns, struct fg_effects *fx)
{
    core_chains_step(core, now_ns, fx);
    for (size_t i = 0; core->movers && i < core->drains.count; i++) {
        const struct node *n = core_node(core, core->drains.items[i].node);
        if (n && !core->drains.items[i].over)
            core_leave_drained(core, n, now_ns, fx);
    }
}

static int round_of(struct fg_core *core, int64_t now_ns, struct fg_effects *fx, struct fg_error *err)
{
    struct round_state r = {.core = core, .now_ns = now_ns};
    bool makes_room = core->preemptible_live || core->parked_live || core->movers;
    go_on(core, now_ns, fx);
    core_plan_devices(core, false);
    reserve_refresh(core, now_ns);
    fg_rooms_free(core->rooms, &r.free);
    if (!queue_size(core) || (!r.free.memory && !makes_room))
        return 0;
    collect(&r);
    if (!r.some_fit && !makes_room)
        return 0;
    struct fg_snapshot snap = {
        .tasks = core->plan_tasks.items, .task_count = core->plan_tasks.count, .now_ns = now_ns,
        .reservations = core->reservations, .reservation_count = core->reservation_count, .reserve = true,
        .devices = core->plan_devices.items, .device_count = core->plan_devices.count, .rooms = core->rooms, .history = core->history,
        .demand = core->demand,
        .seed = core->next_epoch, .improve_iterations = core->config.improve_iterations};
    struct fg_plan plan = {0};
    if (fg_place(&snap, &plan, err) < 0)
        return -1;
    struct fg_plan_task head = plan.head == SIZE_MAX ? (struct fg_plan_task){0} : core->plan_tasks.items[plan.head];
    carry_out(core, &plan, core->room_version, now_ns, fx);
    int lent = core_lend_places(core, now_ns, fx, err);
    if (plan.head != SIZE_MAX && core_queueable(table_find(core, head.id)))
        make_head(core, &head, now_ns, fx);
    else
        press_on(&r, fx);
    core->plan_due = core->plan_due || (r.cut && plan.placements.count);
    fg_plan_fini(&plan);
    return lent;
}

/* Placing tasks may let others into the window, and a head of the line changes what is free for those behind it: then
 * plan again. */
int fg_core_dispatch(struct fg_core *core, int64_t now_ns, struct fg_effects *fx, struct fg_error *err)
{
    for (int rounds = 0; core->plan_due && rounds < ROUNDS_MAX; rounds++) {
        core->plan_due = false;
        if (round_of(core, now_ns, fx, err) < 0) {
            core->plan_due = true;
            return -1;
        }
    }
    core_lend(core, now_ns, fx);
    return 0;
}

void fg_core_plan_stats(const struct fg_core *core, struct fg_plan_stats *ret) { *ret = core->plan_stats; }
