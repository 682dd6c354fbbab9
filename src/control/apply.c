/* apply.c - one event changes the state. Nothing else does, so a log replayed gives the state back.
 *
 * Every kind has a check (is it legal now? on no, nothing changes) and a change. The state table of api/states.toml is
 * asked first; the checks here add what a table of states cannot say: attempts, epochs, room on the device. */
#include <string.h>

#include "control/core_private.h"

struct entry *core_entry_create(struct fg_task *task)
{
    struct entry *e = fg_alloc(sizeof *e);
    e->t = *task;
    *task = (struct fg_task){0};
    e->timer.kind = TIMER_TASK;
    e->timer.id = e->t.id;
    return e;
}

void core_entry_destroy(struct entry *e)
{
    fg_task_fini(&e->t);
    free(e);
}

void core_touch(struct fg_core *core, struct entry *e)
{
    if (!e->changed)
        fg_vec_push(&core->changed, e);
    e->changed = true;
}

void core_room(struct fg_core *core)
{
    core->room_version++;
    core->plan_due = true;
}

void core_count(struct fg_core *core, const struct entry *e, int by)
{
    size_t *of_state = e->t.state == FG_STATE_QUEUED     ? &core->counts.queued
                       : e->t.state == FG_STATE_STARTING ? &core->counts.starting
                       : e->t.state == FG_STATE_RUNNING  ? &core->counts.running
                                                         : NULL;
    if (of_state)
        *of_state += (size_t)by;
    if (e->t.state == FG_STATE_QUEUED && e->t.held)
        core->counts.held += (size_t)by;
}

bool core_queueable(const struct entry *e) { return e->t.state == FG_STATE_QUEUED && e->t.queued_ns && !e->t.held; }

/* The times are for forecasts only. */
static void foresee(const struct fg_core *core, struct entry *e, const struct device *d)
{
    struct fg_estimate estimate;
    fg_estimate(core->history, &e->t.spec, d->d.kind, e->t.lease.share_permille, &estimate);
    e->expected_ns = e->t.placed.expected_ns ? e->t.placed.expected_ns : estimate.mean_ns;
    e->p50_ns = estimate.p50_ns;
    e->p95_ns = estimate.p95_ns;
}

void core_lease_link(struct fg_core *core, struct entry *e)
{
    struct device *d = core_device(core, e->t.lease.device);
    core_assert(!e->linked && d && d->node && fg_id_eq(d->node->n.id, e->t.lease.node));
    e->linked = true;
    e->lease_prev = e->device_prev = NULL;
    e->lease_next = d->node->leases;
    if (e->lease_next)
        e->lease_next->lease_prev = e;
    d->node->leases = e;
    e->device_next = d->first;
    if (e->device_next)
        e->device_next->device_prev = e;
    d->first = e;
    d->memory_used_bytes += e->t.lease.memory_bytes;
    d->share_used_permille += e->t.lease.share_permille;
    d->share_lent_permille += e->t.lease.lent_permille;
    d->leases++;
    d->elastic += core_elastic(e);
    core_parking_link(core, e, 1);
    core_host_link(core, e, 1);
    core_lend_later(core, d, e->t.lease.granted_ns);
    core->preemptible_live += e->t.spec.preemptible || e->t.spec.spot;
    foresee(core, e, d);
    account_link(core, e, true);
}

void core_lease_unlink(struct fg_core *core, struct entry *e)
{
    struct device *d = core_device(core, e->t.lease.device);
    core_assert(e->linked && d->memory_used_bytes >= e->t.lease.memory_bytes && d->share_used_permille >= e->t.lease.share_permille);
    e->linked = false;
    if (e->lease_prev)
        e->lease_prev->lease_next = e->lease_next;
    else
        d->node->leases = e->lease_next;
    if (e->lease_next)
        e->lease_next->lease_prev = e->lease_prev;
    if (e->device_prev)
        e->device_prev->device_next = e->device_next;
    else
        d->first = e->device_next;
    if (e->device_next)
        e->device_next->device_prev = e->device_prev;
    e->lease_prev = e->lease_next = e->device_prev = e->device_next = NULL;
    d->memory_used_bytes -= e->t.lease.memory_bytes;
    d->share_used_permille -= e->t.lease.share_permille;
    d->share_lent_permille -= e->t.lease.lent_permille;
    d->leases--;
    d->elastic -= core_elastic(e);
    core_parking_link(core, e, -1);
    core_host_link(core, e, -1);
    core->preemptible_live -= e->t.spec.preemptible || e->t.spec.spot;
    account_link(core, e, false);
}

/* --- changes; legality was checked --- */

static void learn(struct fg_core *core, const struct entry *e, const struct fg_outcome *outcome, int64_t now_ns)
{
    const struct device *d = core_device(core, e->t.lease.device);
    if (!e->t.lease_live || !d)
        return;
    fg_history_observe(core->history, &e->t.spec, d->d.kind, core_mean_share(&e->t, now_ns), outcome);
    core->history_version++;
}

static void submitted(struct fg_core *core, const struct fg_event *ev)
{
    struct fg_task t = {.id = ev->task, .tenant = ev->tenant, .state = FG_STATE_QUEUED, .class = FG_CLASS_BATCH,
                        .attempt = ev->attempt, .submitted_ns = ev->time_ns,
                        .retries_left = ev->submitted.spec.retries, .held = ev->submitted.spec.hold,
                        .idempotency = fg_strdup(ev->submitted.idempotency)};
    fg_spec_copy(&t.spec, &ev->submitted.spec);
    struct entry *e = core_entry_create(&t);
    table_add(core, e);
    gang_join(core, e);
    core_count(core, e, +1);
    core_touch(core, e);
}

/* The memory that killed it is doubled, as far as there is a device that large: that beside the device, if it asked for some. */
static void grow_need(struct fg_core *core, struct fg_task *t)
{
    const struct device *host = core_device(core, t->lease.host);
    if (t->reason == FG_REASON_OOM_HOST && t->lease.host_bytes && host) {
        t->spec.need.host_bytes = FG_MAX(t->spec.need.host_bytes, FG_MIN(t->lease.host_bytes * 2, core_largest_memory(core, host->d.kind)));
        return;
    }
    uint64_t doubled = t->lease.memory_bytes * 2, largest = core_largest_memory(core, t->spec.need.device_kind);
    t->spec.need.memory_bytes = FG_MAX(t->spec.need.memory_bytes, FG_MIN(doubled, largest));
}

static void queued(struct fg_core *core, struct entry *e, const struct fg_event *ev)
{
    struct fg_task *t = &e->t;
    t->reason = ev->queued.reason;
    if (t->state != FG_STATE_QUEUED) {
        if (t->reason == FG_REASON_OOM_HOST || t->reason == FG_REASON_OOM_VRAM) {
            struct fg_outcome ended = {.state = FG_STATE_FAILED, .reason = t->reason, .usage = t->usage};
            learn(core, e, &ended, ev->time_ns);
            grow_need(core, t);
        }
        t->retries_left -= ev->queued.uses_retry;
        t->cost_nanousd += ev->queued.cost_nanousd;
        t->usage = (struct fg_usage){0};
        t->placed_ns = t->started_ns = 0;
    }
    t->state = FG_STATE_QUEUED;
    t->attempt = ev->attempt;
    t->queued_ns = ev->time_ns;
    e->killing = false;
}

static void granted(struct fg_core *core, struct entry *e, const struct fg_event *ev)
{
    e->t.lease = ev->lease;
    e->t.lease_live = true;
    e->no_move_ns = e->moving_since_ns = e->moves_failed = 0;
    core_lease_link(core, e);
    struct node *n = core_node(core, ev->lease.node);
    n->deadline_ns = FG_MAX(n->deadline_ns, ev->lease.deadline_ns);
    core->next_epoch = ev->lease.epoch + 1;
    core->counters_changed = true;
}

static void finished(struct fg_core *core, struct entry *e, const struct fg_event *ev)
{
    struct fg_task *t = &e->t;
    if (t->lease_live)
        learn(core, e, &ev->finished, ev->time_ns);
    t->state = ev->finished.state;
    t->reason = ev->finished.reason;
    t->finished_ns = ev->time_ns;
    fg_outcome_fini(&t->outcome);
    fg_outcome_copy(&t->outcome, &ev->finished);
    if (ev->finished.usage.seq > t->usage.seq)
        t->usage = ev->finished.usage;
    e->killing = false;
}

static void resized(struct fg_core *core, struct entry *e, const struct fg_event *ev)
{
    struct fg_lease *l = &e->t.lease;
    struct device *d = core_device(core, l->device);
    l->lent_us += (int64_t)l->lent_permille * ((ev->time_ns - l->resized_ns) / 1000);
    d->share_lent_permille += ev->resized.lent_permille - l->lent_permille;
    l->lent_permille = ev->resized.lent_permille;
    l->resized_ns = ev->time_ns;
}

static void returned(struct fg_core *core, struct entry *e, int64_t now_ns)
{
    account_fold(core, e, now_ns);
    core_lease_unlink(core, e);
    struct fg_lease *l = &e->t.lease;
    l->parked_us += l->parked_ns ? FG_MAX(now_ns - l->parked_ns, 0) / 1000 : 0;
    l->parked_ns = 0;
    l->parking = FG_PARKING_NONE;
    l->moving_to = 0;
    e->t.lease_live = false;
    l->lent_permille = 0;
    core_lend_later(core, core_device(core, l->device), now_ns);
    core_room(core);
}

static void task_change(struct fg_core *core, struct entry *e, const struct fg_event *ev)
{
    struct fg_task *t = &e->t;
    switch (ev->kind) {
    case FG_EV_TASK_QUEUED: queued(core, e, ev); break;
    case FG_EV_TASK_CLASSIFIED:
        t->class = ev->classified.class;
        t->class_rule = ev->classified.rule;
        if (t->attempt == 1)
            core_ask_for(core, e, ev->time_ns);
        break;
    case FG_EV_TASK_PLACED:
        t->state = FG_STATE_STARTING;
        t->reason = FG_REASON_NONE;
        t->placed_ns = ev->time_ns;
        t->placed = ev->placed.placed;
        break;
    case FG_EV_LEASE_GRANTED: granted(core, e, ev); break;
    case FG_EV_TASK_STARTED:
        t->state = FG_STATE_RUNNING;
        t->started_ns = ev->time_ns;
        core_lend_later(core, core_device(core, t->lease.device), ev->time_ns);
        break;
    case FG_EV_TASK_CANCEL_REQUESTED: t->cancel_requested = true; break;
    case FG_EV_TASK_HELD:
        t->held = true;
        t->reason = FG_REASON_HELD;
        break;
    case FG_EV_TASK_RELEASED:
        t->held = false;
        t->reason = FG_REASON_WAITING_CAPACITY;
        break;
    case FG_EV_USAGE_RECORDED: t->usage = ev->usage; break;
    case FG_EV_TASK_FINISHED: finished(core, e, ev); break;
    case FG_EV_LEASE_RESIZED: resized(core, e, ev); break;
    case FG_EV_LEASE_PARKED:
    case FG_EV_LEASE_CALLED:
    case FG_EV_LEASE_RESUMED:
    case FG_EV_LEASE_MOVING:
    case FG_EV_LEASE_MOVED: core_parking_apply(core, e, ev); break;
    case FG_EV_LEASE_RELEASED: returned(core, e, ev->time_ns); break;
    case FG_EV_TASK_SETTLED:
        t->settled = true;
        t->cost_nanousd = ev->settled.cost_nanousd;
        break;
    default: core_assert(!"an event of a task");
    }
}

/* Its class is part of what its line is known by, so it changes lines with it. */
static void apply_task(struct fg_core *core, struct entry *e, const struct fg_event *ev)
{
    core_count(core, e, -1);
    if (e->line && ev->kind == FG_EV_TASK_CLASSIFIED && ev->classified.class != e->t.class)
        queue_remove(core, e);
    task_change(core, e, ev);
    core_count(core, e, +1);
    if (e->line && !core_queueable(e))
        queue_remove(core, e);
    else if (!e->line && core_queueable(e))
        queue_add(core, e);
    if (fg_state_is_terminal(e->t.state) && ev->kind == FG_EV_TASK_FINISHED)
        gang_leave(core, e);
    timer_of_task(core, e);
    core_touch(core, e);
}

static void touch_node(struct fg_core *core, struct node *n)
{
    if (!n->changed)
        fg_vec_push(&core->changed_nodes, n);
    n->changed = true;
}

/* A device that its node no longer names stays known, since leases and history speak of it, but takes nothing. */
static void joined(struct fg_core *core, const struct fg_event *ev)
{
    struct node *n = core_node(core, ev->joined.node.id);
    if (!n)
        n = core_node_add(core, ev->joined.node.id);
    memcpy(n->n.name, ev->joined.node.name, sizeof n->n.name);
    memcpy(n->n.boot_id, ev->joined.node.boot_id, sizeof n->n.boot_id);
    n->n.lost = false;
    n->n.seen_ns = n->joined_ns = ev->time_ns;
    touch_node(core, n);
    for (struct device *d = NULL; (d = core_next_device(core, n, d));) {
        d->changed = d->changed || d->d.healthy;
        d->d.healthy = false;
    }
    for (size_t i = 0; i < ev->joined.count; i++) {
        struct device *d = core_device_slot(core, ev->joined.devices[i].id);
        d->d = ev->joined.devices[i];
        d->d.node = n->n.id;
        core_device_at(d, n);
        d->changed = true;
    }
    core_find_host(core, n);
    timer_of_node(core, n);
    core->counters_changed = true;
    core->kinds_fresh = false;
    core_movers_count(core, n);
    core_plan_node_changed(core, n);
    core_room(core);
}

static void lost(struct fg_core *core, const struct fg_event *ev)
{
    struct node *n = core_node(core, ev->lost.node);
    n->n.lost = true;
    n->n.connected = false;
    core_plan_node_changed(core, n);
    n->joined_ns = ev->time_ns;
    touch_node(core, n);
    timer_of_node(core, n);
}

/* --- checks --- */

static int check_lease(const struct fg_core *core, const struct entry *e, const struct fg_event *ev, struct fg_error *err)
{
    const struct fg_lease *l = &ev->lease;
    const struct device *d = core_device(core, l->device);
    if (e->t.lease_live)
        return fg_fail(err, FG_E_INTERNAL, "a second live lease");
    if (!d || !fg_id_eq(d->d.node, l->node))
        return fg_fail(err, FG_E_INTERNAL, "lease on unknown device %u", l->device);
    if (l->epoch < core->next_epoch)
        return fg_fail(err, FG_E_INTERNAL, "epoch %llu was given before", (unsigned long long)l->epoch);
    /* what is borrowed is only there, what is not is promised as well */
    uint64_t memory = l->borrowed ? d->memory_used_bytes - d->memory_parked_bytes : core_memory_held(d);
    uint32_t share = l->borrowed ? d->share_used_permille - d->share_parked_permille : core_share_held(d);
    if (l->memory_bytes > d->d.memory_bytes || memory > d->d.memory_bytes - l->memory_bytes ||
        l->share_permille < 1 || l->share_permille > 1000 || l->lent_permille || l->parking || l->moving_to ||
        (l->borrowed && !e->t.spec.spot && !e->t.spec.preemptible) ||
        share + d->share_lent_permille > 1000 - l->share_permille)
        return fg_fail(err, FG_E_INTERNAL, "device %u has no room for the lease", l->device);
    return core_host_check(core, l, err);
}

static int check_resized(const struct fg_core *core, const struct entry *e, const struct fg_event *ev, struct fg_error *err)
{
    const struct fg_lease *l = &e->t.lease;
    const struct device *d = core_device(core, l->device);
    uint32_t lent = ev->resized.lent_permille, most = e->t.spec.need.share_max_permille;
    if (!e->t.lease_live || l->epoch != ev->resized.epoch)
        return fg_fail(err, FG_E_INTERNAL, "it holds no lease of epoch %llu", (unsigned long long)ev->resized.epoch);
    if (lent > 1000 || l->share_permille + lent > FG_MAX(most, l->share_permille) ||
        (lent > l->lent_permille && d->share_used_permille + core_share_beside(d) + d->share_lent_permille - l->lent_permille + lent > 1000))
        return fg_fail(err, FG_E_INTERNAL, "%u permille cannot be lent", lent);
    return 0;
}

static int check_body(const struct fg_core *core, const struct entry *e, const struct fg_event *ev, struct fg_error *err)
{
    switch (ev->kind) {
    case FG_EV_TASK_QUEUED:
        if (ev->queued.uses_retry && e->t.retries_left == 0)
            return fg_fail(err, FG_E_INTERNAL, "no retry is left");
        return 0;
    case FG_EV_TASK_PLACED:
        return core_queueable(e) && !e->t.lease_live ? 0 : fg_fail(err, FG_E_INTERNAL, "it is not in the queue");
    case FG_EV_LEASE_GRANTED: return check_lease(core, e, ev, err);
    case FG_EV_TASK_STARTED:
        return e->t.lease_live ? 0 : fg_fail(err, FG_E_INTERNAL, "it has no lease");
    case FG_EV_TASK_FINISHED:
        return fg_state_is_terminal(ev->finished.state) ? 0 : fg_fail(err, FG_E_INTERNAL, "no terminal state");
    case FG_EV_LEASE_RESIZED: return check_resized(core, e, ev, err);
    case FG_EV_LEASE_PARKED:
    case FG_EV_LEASE_CALLED:
    case FG_EV_LEASE_RESUMED:
    case FG_EV_LEASE_MOVING:
    case FG_EV_LEASE_MOVED: return core_parking_check(core, e, ev, err);
    case FG_EV_LEASE_RELEASED:
        return e->t.lease_live && e->t.lease.epoch == ev->released.epoch
                   ? 0 : fg_fail(err, FG_E_INTERNAL, "it holds no lease of epoch %llu", (unsigned long long)ev->released.epoch);
    case FG_EV_TASK_SETTLED:
        return !e->t.settled && !e->t.lease_live ? 0 : fg_fail(err, FG_E_INTERNAL, "settled before, or still holding a lease");
    default: return 0;
    }
}

/* A task queued again counts on; the lease it then gives back is of the attempt before. */
static bool attempt_fits(const struct entry *e, const struct fg_event *ev)
{
    uint32_t a = e->t.attempt;
    if (ev->kind == FG_EV_TASK_QUEUED)
        return ev->attempt == (e->t.state == FG_STATE_QUEUED ? a : a + 1);
    if (ev->kind == FG_EV_LEASE_RELEASED && e->t.state == FG_STATE_QUEUED)
        return ev->attempt + 1 == a;
    return ev->attempt == a;
}

static int check_task(const struct fg_core *core, const struct entry *e, const struct fg_event *ev, struct fg_error *err)
{
    enum fg_state next;
    if (!e)
        return fg_fail(err, FG_E_INTERNAL, "the task is not known");
    if (!fg_state_move(e->t.state, ev->kind, &next))
        return fg_fail(err, FG_E_INTERNAL, "not legal in state %s", fg_state_name(e->t.state));
    if (!attempt_fits(e, ev))
        return fg_fail(err, FG_E_INTERNAL, "attempt %u after %u", ev->attempt, e->t.attempt);
    return check_body(core, e, ev, err);
}

static int check_node(const struct fg_core *core, const struct fg_event *ev, struct fg_error *err)
{
    if (ev->kind == FG_EV_NODE_LOST)
        return core_node(core, ev->lost.node) ? 0 : fg_fail(err, FG_E_INTERNAL, "the node is not known");
    for (size_t i = 0; i < ev->joined.count; i++) {
        const struct fg_device *now = &ev->joined.devices[i];
        const struct device *known = core_device(core, now->id);
        if (now->id == 0 || (known && !fg_id_eq(known->d.node, ev->joined.node.id)))
            return fg_fail(err, FG_E_INTERNAL, "device id %u", now->id);
    }
    return 0;
}

static int apply(struct fg_core *core, const struct fg_event *ev, struct fg_error *err)
{
    if (ev->seq != core->last_seq + 1)
        return fg_fail(err, FG_E_INTERNAL, "after event %llu", (unsigned long long)core->last_seq);
    if (ev->kind == FG_EV_TENANT_WEIGHTED) {
        if (ev->weighted.weight < 1 || ev->weighted.weight > FG_WEIGHT_MAX || fg_id_is_none(ev->tenant))
            return fg_fail(err, FG_E_INTERNAL, "weight %u", ev->weighted.weight);
        struct account *a = account_of(core, ev->tenant);
        a->weight = ev->weighted.weight;
        a->changed = core->plan_due = true;
    } else if (ev->kind == FG_EV_PRICE_SET) {
        if (core_priced(core, ev, err) < 0)
            return -1;
    } else if (ev->kind == FG_EV_NODE_DRAINED || ev->kind == FG_EV_NODE_RESUMED) {
        if (core_drained(core, ev, err) < 0)
            return -1;
    } else if (ev->kind == FG_EV_NODE_JOINED || ev->kind == FG_EV_NODE_LOST) {
        if (check_node(core, ev, err) < 0)
            return -1;
        (ev->kind == FG_EV_NODE_JOINED ? joined : lost)(core, ev);
    } else {
        struct entry *e = table_find(core, ev->task);
        if (ev->kind == FG_EV_TASK_SUBMITTED) {
            if (e)
                return fg_fail(err, FG_E_INTERNAL, "the task is there already");
            submitted(core, ev);
        } else {
            if (check_task(core, e, ev, err) < 0)
                return -1;
            apply_task(core, e, ev);
        }
    }
    core->last_seq = ev->seq;
    return 0;
}

int fg_core_apply(struct fg_core *core, const struct fg_event *ev, struct fg_error *err)
{
    char id[FG_ID_TEXT];
    if (apply(core, ev, err) == 0)
        return 0;
    return fg_fail_prefix(err, "event %llu (%s of %s)", (unsigned long long)ev->seq, fg_event_name(ev->kind),
                          fg_id_format(id, "tsk", ev->task));
}
