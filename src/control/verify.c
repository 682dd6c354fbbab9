/* verify.c - every invariant of the core, counted anew and compared; and the hash by which two states are told apart. */
#include <string.h>

#include "control/core_private.h"

/* --- verify --- */

struct sums { uint64_t memory; uint32_t share; size_t leases; };

static void verify_task(const struct fg_core *core, const struct entry *e, struct fg_core_counts *counts, struct sums *sums)
{
    const struct fg_task *t = &e->t;
    core_assert(table_find(core, t->id) == e);
    core_assert((t->state == FG_STATE_STARTING || t->state == FG_STATE_RUNNING) == t->lease_live && e->linked == t->lease_live);
    core_assert((e->size != 0) == core_queueable(e));
    core_assert((queue_place(core, e) != 0) == (e->size != 0));
    core_assert(e->timer.place == 0 || core->timers.items[e->timer.place - 1] == &e->timer);
    core_assert(e->timer.place == 0 ? fg_state_is_terminal(t->state) || timer_task_due(core, e) == INT64_MAX
                                    : e->timer.due_ns == timer_task_due(core, e));
    core_assert(t->settled == fg_state_is_terminal(t->state));
    core_assert(!t->held || t->state == FG_STATE_QUEUED || fg_state_is_terminal(t->state));
    core_assert(t->cost_nanousd >= 0 && t->attempt >= 1 && t->retries_left <= t->spec.retries);
    core_assert(!t->idempotency || table_find_key(core, t->tenant, t->idempotency, strcspn(t->idempotency, "\n")) == e);
    counts->queued += t->state == FG_STATE_QUEUED;
    counts->starting += t->state == FG_STATE_STARTING;
    counts->running += t->state == FG_STATE_RUNNING;
    counts->held += t->state == FG_STATE_QUEUED && t->held;
    if (!t->lease_live)
        return;
    const struct device *d = core_device(core, t->lease.device);
    core_assert(d && fg_id_eq(d->d.node, t->lease.node) && t->lease.epoch < core->next_epoch && t->lease.epoch > 0);
    sums[t->lease.device - 1].memory += t->lease.memory_bytes;
    sums[t->lease.device - 1].share += t->lease.share_permille;
    sums[t->lease.device - 1].leases++;
}

/* A machine may come back with less than it had; then what was leased before may be more than it has. */
static void verify_devices(const struct fg_core *core, const struct sums *sums)
{
    size_t linked = 0, leases = 0;
    for (size_t i = 0; i < core->devices.count; i++) {
        const struct device *d = &core->devices.items[i];
        core_assert(d->memory_used_bytes == sums[i].memory && d->share_used_permille == sums[i].share && d->leases == sums[i].leases);
        core_assert(d->share_used_permille <= 1000);
        core_assert(!d->d.id || (d->d.id == i + 1 && d->node && fg_id_eq(d->node->n.id, d->d.node)));
        leases += d->leases;
    }
    for (size_t i = 0; i < core->nodes.count; i++) {
        const struct node *n = core->nodes.items[i];
        core_assert(i == 0 || fg_id_cmp(core->nodes.items[i - 1]->n.id, n->n.id) < 0);
        core_assert(!(n->n.lost && (n->n.connected || n->leases)));
        for (const struct entry *e = n->leases; e; e = e->lease_next, linked++)
            core_assert(e->t.lease_live && fg_id_eq(e->t.lease.node, n->n.id) && (!e->lease_next || e->lease_next->lease_prev == e));
    }
    core_assert(linked == leases);
}

struct order { const struct entry *last; size_t count; };
static void in_order(void *arg, struct entry *e)
{
    struct order *o = arg;
    core_assert(!o->last || o->last->t.spec.priority > e->t.spec.priority ||
                (o->last->t.spec.priority == e->t.spec.priority && fg_id_cmp(o->last->t.id, e->t.id) < 0));
    o->last = e;
    o->count++;
}

void fg_core_verify(const struct fg_core *core)
{
    struct fg_core_counts counts = {0};
    FG_AUTO_FREE struct sums *sums = fg_alloc((core->devices.count + 1) * sizeof *sums);
    size_t n;
    FG_AUTO_FREE struct entry **all = table_sorted(core, &n);
    core_assert(n == core->tasks.count);
    for (size_t i = 0; i < n; i++)
        verify_task(core, all[i], &counts, sums);
    verify_devices(core, sums);
    core_assert(counts.queued == core->counts.queued && counts.starting == core->counts.starting);
    core_assert(counts.running == core->counts.running && counts.held == core->counts.held);
    struct order order = {0};
    queue_head(core, SIZE_MAX, in_order, &order);
    core_assert(order.count == queue_size(core));
    for (size_t i = 1; i < core->timers.count; i++)
        core_assert(core->timers.items[(i - 1) / 2]->due_ns <= core->timers.items[i]->due_ns);
}

/* --- hash --- */

static uint64_t fold(uint64_t h, const void *bytes, size_t n)
{
    const unsigned char *p = bytes;
    for (size_t i = 0; i < n; i++)
        h = (h ^ p[i]) * 0x100000001b3u;
    return h;
}
static uint64_t fold_id(uint64_t h, fg_id id) { return fold(fold(h, &id.hi, sizeof id.hi), &id.lo, sizeof id.lo); }

/* Without what is soft: the moved deadline of the lease. */
static uint64_t fold_task(uint64_t h, const struct fg_task *t, struct fg_str *text)
{
    struct fg_task hard = *t;
    hard.lease.deadline_ns = 0;
    fg_str_clear(text);
    fg_task_encode(&hard, text);
    return fold(fold_id(fold_id(h, t->id), t->tenant), text->data, text->len);
}

/* Settled tasks may or may not have left memory yet: they are not part of the state. */
uint64_t fg_core_hash(const struct fg_core *core)
{
    uint64_t h = 0xcbf29ce484222325u;
    size_t n;
    FG_AUTO_STR struct fg_str text = {0};
    FG_AUTO_FREE struct entry **all = table_sorted(core, &n);
    for (size_t i = 0; i < n; i++)
        if (!all[i]->t.settled)
            h = fold_task(h, &all[i]->t, &text);
    for (size_t i = 0; i < core->nodes.count; i++) {
        struct fg_event ev = {.kind = FG_EV_NODE_JOINED, .joined = {.node = core->nodes.items[i]->n}};
        ev.joined.node.connected = false;
        ev.joined.node.seen_ns = core->nodes.items[i]->joined_ns;
        fg_str_clear(&text);
        fg_event_encode(&ev, &text);
        h = fold(h, text.data, text.len);
    }
    for (size_t i = 0; i < core->devices.count; i++) {
        struct fg_event ev = {.kind = FG_EV_NODE_JOINED, .joined = {.devices = &core->devices.items[i].d, .count = 1}};
        fg_str_clear(&text);
        fg_event_encode(&ev, &text);
        h = fold(h, text.data, text.len);
    }
    h = fold(h, &core->next_epoch, sizeof core->next_epoch);
    return fold(h, &core->last_seq, sizeof core->last_seq);
}
