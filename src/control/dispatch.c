/* dispatch.c - give the head of the queue what is free.
 *
 * plan_due is set by whatever could change a plan: a task entered the window, a lease was given back, a machine came.
 * A round costs O(devices) when nothing is free, O(window x devices) when nothing in the window fits, and a plan else;
 * the length of the queue behind the window never matters. */
#include <stdio.h>
#include <string.h>

#include "control/core_private.h"

bool core_device_usable(const struct device *d) { return d->d.healthy && d->node->n.connected && !d->node->n.lost; }

int64_t core_price(const struct fg_core *core, const char *kind)
{
    int64_t fallback = 0;
    for (size_t i = 0; i < core->config.price_count; i++) {
        if (strcmp(core->config.prices[i].kind, kind) == 0)
            return core->config.prices[i].nanousd_per_s;
        if (core->config.prices[i].kind[0] == 0)
            fallback = core->config.prices[i].nanousd_per_s;
    }
    return fallback;
}

uint64_t core_memory_for_tasks(const struct fg_core *core, const struct device *d)
{
    uint64_t reserve = (uint64_t)FG_MAX(core->config.min_memory_reserve_bytes, 0);
    return d->d.memory_bytes > reserve ? d->d.memory_bytes - reserve : 0;
}

void core_plan_devices(struct fg_core *core, bool empty)
{
    core->plan_devices.count = 0;
    for (size_t i = 0; i < core->devices.count; i++) {
        const struct device *d = &core->devices.items[i];
        if (!d->d.id)
            continue;
        uint64_t memory = core_memory_for_tasks(core, d), used = empty ? 0 : d->memory_used_bytes;
        fg_vec_push(&core->plan_devices, (struct fg_plan_device){
            .id = d->d.id, .kind = d->d.kind, .memory_bytes = memory,
            .memory_free_bytes = memory > used ? memory - used : 0,
            .share_free_permille = empty ? 1000 : 1000 - d->share_used_permille,
            .price_nanousd_per_s = core_price(core, d->d.kind), .usable = empty || core_device_usable(d)});
    }
}

/* fg_propose_need, unless it would say what it said last: it goes by type, name, class and what was asked. */
static const struct fg_need *propose(struct fg_core *core, const struct fg_task *t)
{
    __auto_type last = &core->proposed;
    const char *name = t->spec.model ? t->spec.model : t->spec.program ? t->spec.program : "";
    const struct fg_need *asked = &t->spec.need;
    bool same = last->version == core->history_version && last->type == t->spec.type && last->class == t->class &&
                strcmp(last->name, name) == 0 && last->asked.memory_bytes == asked->memory_bytes &&
                last->asked.share_permille == asked->share_permille;
    if (same)
        return &last->need;
    fg_propose_need(core->history, &t->spec, t->class, &last->need);
    last->version = snprintf(last->name, sizeof last->name, "%s", name) < (int)sizeof last->name ? core->history_version : 0;
    last->type = t->spec.type;
    last->class = t->class;
    last->asked = *asked;
    return &last->need;
}

/* What the estimate proposes is never more than the largest device: a guess must not keep a task waiting for ever.
 * Memory that was asked for does not change with what history learns. */
void core_need(struct fg_core *core, struct entry *e, struct fg_need *ret)
{
    const struct fg_need *asked = &e->t.spec.need;
    if (e->need_version == 0 || (!asked->memory_bytes && e->need_version != core->history_version)) {
        const struct fg_need *need = propose(core, &e->t);
        uint64_t largest = core_largest_memory(core, asked->device_kind);
        e->need_memory_bytes = asked->memory_bytes || !largest ? need->memory_bytes : FG_MIN(need->memory_bytes, largest);
        e->need_share_permille = need->share_permille;
        e->need_version = core->history_version;
    }
    *ret = e->t.spec.need;
    ret->memory_bytes = e->need_memory_bytes;
    ret->share_permille = e->need_share_permille;
}

static bool any_room(const struct fg_core *core)
{
    for (size_t i = 0; i < core->plan_devices.count; i++) {
        const struct fg_plan_device *d = &core->plan_devices.items[i];
        if (d->usable && d->memory_free_bytes && d->share_free_permille)
            return true;
    }
    return false;
}

static bool has_room(const struct fg_core *core, const struct fg_need *need)
{
    for (size_t i = 0; i < core->plan_devices.count; i++) {
        const struct fg_plan_device *d = &core->plan_devices.items[i];
        if (d->usable && d->memory_free_bytes >= need->memory_bytes && d->share_free_permille >= need->share_permille &&
            (!need->device_kind[0] || strcmp(need->device_kind, d->kind) == 0))
            return true;
    }
    return false;
}

struct window { struct fg_core *core; bool some_fit; };

static void look_at(void *arg, struct entry *e)
{
    struct window *w = arg;
    struct fg_plan_task *task = fg_vec_add(&w->core->plan_tasks);
    task->id = e->t.id;
    task->spec = &e->t.spec;
    core_need(w->core, e, &task->need);
    w->some_fit = w->some_fit || has_room(w->core, &task->need);
}

static void grant(struct fg_core *core, const struct fg_placement *p, int64_t now_ns, struct fg_effects *fx)
{
    struct entry *e = table_find(core, p->task);
    const struct device *d = core_device(core, p->device);
    core_assert(e && e->size && d && core_device_usable(d));
    struct fg_lease lease = {
        .device = p->device, .node = d->d.node, .epoch = core->next_epoch,
        .memory_bytes = p->memory_bytes, .share_permille = p->share_permille,
        .granted_ns = now_ns, .deadline_ns = now_ns + core->config.lease_ns,
        .price_nanousd_per_s = core_price(core, d->d.kind),
        .memory_level = d->d.memory_level, .share_level = d->d.share_level};
    core_emit_task(core, fx, now_ns, e, e->t.attempt, (struct fg_event){.kind = FG_EV_TASK_PLACED,
                   .placed = {.placed = p->placed, .device = p->device}});
    core_emit_task(core, fx, now_ns, e, e->t.attempt, (struct fg_event){.kind = FG_EV_LEASE_GRANTED, .lease = lease});
    core_act(fx, FG_ACT_START, e, FG_REASON_NONE);
}

static int round_of(struct fg_core *core, int64_t now_ns, struct fg_effects *fx, struct fg_error *err)
{
    core_plan_devices(core, false);
    if (!queue_size(core) || !any_room(core))
        return 0;
    struct window w = {.core = core};
    core->plan_tasks.count = 0;
    queue_head(core, core->config.window, look_at, &w);
    if (!w.some_fit)
        return 0;
    struct fg_snapshot snap = {
        .tasks = core->plan_tasks.items, .task_count = core->plan_tasks.count,
        .devices = core->plan_devices.items, .device_count = core->plan_devices.count, .history = core->history};
    struct fg_plan plan = {0};
    if (fg_place(&snap, &plan, err) < 0)
        return -1;
    for (size_t i = 0; i < plan.placements.count; i++)
        grant(core, &plan.placements.items[i], now_ns, fx);
    fg_plan_fini(&plan);
    return 0;
}

/* Placing tasks may let others into the window: then plan again. */
int fg_core_dispatch(struct fg_core *core, int64_t now_ns, struct fg_effects *fx, struct fg_error *err)
{
    while (core->plan_due) {
        core->plan_due = false;
        if (round_of(core, now_ns, fx, err) < 0) {
            core->plan_due = true;
            return -1;
        }
    }
    return 0;
}
