/* verify.c - every invariant of the core, counted anew and compared; and the hash by which two states are told apart. */
#include <string.h>

#include "control/core_private.h"

/* --- verify --- */

struct sums { uint64_t memory, memory_parked, memory_borrowed; uint32_t share, share_parked, share_borrowed, lent; size_t leases, elastic, parked, called; };

static void verify_parking(const struct fg_core *core, const struct entry *e, struct sums *sums)
{
    const struct fg_lease *l = &e->t.lease;
    struct sums *s = &sums[l->device - 1];
    bool parked = l->parking != FG_PARKING_NONE;
    s->memory_parked += parked ? l->memory_bytes : 0;
    s->share_parked += parked ? l->share_permille : 0;
    s->memory_borrowed += l->borrowed ? l->memory_bytes : 0;
    s->share_borrowed += l->borrowed ? l->share_permille : 0;
    s->parked += parked;
    s->called += l->parking == FG_PARKING_CALLED;
    core_assert(l->parking <= FG_PARKING_CALLED && (!parked || e->t.state == FG_STATE_RUNNING) && parked == (l->parked_ns != 0));
    core_assert(!l->borrowed || e->t.spec.spot || e->t.spec.preemptible);
    if (!l->moving_to)
        return;
    const struct device *to = core_device(core, l->moving_to);
    core_assert(to && fg_id_eq(to->d.node, l->node) && l->moving_to != l->device);
    sums[l->moving_to - 1].memory += l->memory_bytes;
    sums[l->moving_to - 1].share += l->share_permille;
}

/* Nobody is promised what is not there; what was borrowed may be over it for as long as it takes to go. */
static void verify_places(const struct device *d, const struct sums *s)
{
    core_assert(d->memory_parked_bytes == s->memory_parked && d->share_parked_permille == s->share_parked);
    core_assert(d->memory_borrowed_bytes == s->memory_borrowed && d->share_borrowed_permille == s->share_borrowed);
    core_assert(d->parked == s->parked && d->called == s->called);
    core_assert(d->share_used_permille - d->share_borrowed_permille <= 1000);
    core_assert(!d->share_lent_permille || d->share_used_permille + d->share_lent_permille <= 1000);
}

static void verify_task(const struct fg_core *core, const struct entry *e, struct fg_core_counts *counts, struct sums *sums)
{
    const struct fg_task *t = &e->t;
    core_assert(table_find(core, t->id) == e);
    core_assert((t->state == FG_STATE_STARTING || t->state == FG_STATE_RUNNING) == t->lease_live && e->linked == t->lease_live);
    core_assert((e->size != 0) == core_queueable(e) && (e->line != NULL) == core_queueable(e));
    core_assert(!e->line || (fg_id_eq(e->line->account->tenant, t->tenant) && e->line->priority == t->spec.priority &&
                             e->line->class == t->class));
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
    if (t->lease.host)
        sums[t->lease.host - 1].memory += t->lease.host_bytes;
    sums[t->lease.device - 1].lent += t->lease.lent_permille;
    sums[t->lease.device - 1].leases++;
    sums[t->lease.device - 1].elastic += core_elastic(e);
    verify_parking(core, e, sums);
    core_assert(!t->lease.lent_permille || (t->state == FG_STATE_RUNNING &&
                t->lease.share_permille + t->lease.lent_permille <= t->spec.need.share_max_permille));
}

/* A machine may come back with less than it had; then what was leased before may be more than it has. */
static void verify_devices(const struct fg_core *core, const struct sums *sums)
{
    size_t linked = 0, leases = 0;
    for (size_t i = 0; i < core->devices.count; i++) {
        const struct device *d = &core->devices.items[i];
        core_assert(d->memory_used_bytes == sums[i].memory && d->share_used_permille == sums[i].share && d->leases == sums[i].leases);
        core_assert(d->share_lent_permille == sums[i].lent && d->elastic == sums[i].elastic);
        verify_places(d, &sums[i]);
        core_assert(!d->d.id || core_is_drained(d) == fg_core_drain(core, d->d.node, d->d.id, NULL));
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
    core_verify_hosts(core);
}

/* What planning goes by is what is there: brought up to date, nothing is left that a fresh look would change. */
static void verify_plan_devices(struct fg_core *core)
{
    if (!core->plan_fresh)
        return;
    core_plan_devices(core, false);
    size_t n = core->plan_devices.count;
    core_assert(fg_rooms_count(core->rooms) == n && fg_rooms_sound(core->rooms));
    for (size_t i = 0; i < n; i++)
        core_assert(fg_rooms_same(core->rooms, i, &core->plan_devices.items[i]));
    FG_AUTO_FREE struct fg_plan_device *kept = fg_alloc((n + 1) * sizeof *kept);
    memcpy(kept, core->plan_devices.items, n * sizeof *kept);
    core->plan_fresh = false;
    core_plan_devices(core, false);
    core_assert(core->plan_devices.count == n);
    for (size_t i = 0; i < n; i++) {
        const struct fg_plan_device *x = &kept[i], *y = &core->plan_devices.items[i];
        core_assert(x->id == y->id && x->memory_bytes == y->memory_bytes && x->memory_free_bytes == y->memory_free_bytes &&
                    x->share_free_permille == y->share_free_permille && x->host == y->host && x->host_free_bytes == y->host_free_bytes &&
                    x->host_free_milli == y->host_free_milli && x->usable == y->usable && x->kind == y->kind);
    }
}

/* Of each tenant: lines by their first tasks, tasks within, and how many there are; of all: a walk meets each once. */
static void verify_line(const struct line *l, size_t *ret_tasks)
{
    const struct entry *last = NULL;
    struct fg_order key, first = entry_order(line_first(l));
    core_assert(fg_order_cmp(&first, &l->head) == 0);
    for (struct entry *e = line_first(l); e; e = line_after(l, &key)) {
        key = entry_order(e);
        core_assert(e->line == l && (!last || line_before(l, &key) > 0));
        last = e;
        ++*ret_tasks;
    }
}

static void verify_queue(const struct fg_core *core)
{
    size_t tasks = 0, lines = 0, walked = 0;
    for (size_t i = 0; i < core->accounts.count; i++) {
        const struct account *a = core->accounts.items[i];
        core_assert(i == 0 || fg_id_cmp(core->accounts.items[i - 1]->tenant, a->tenant) < 0);
        for (int p = 0; p < FG_PRIORITY_COUNT; p++) {
            size_t before = tasks, own = 0;
            for (struct line *l = account_line_after(a, p, NULL); l; l = account_line_after(a, p, &l->head), own++) {
                core_assert(l->account == a && (int)l->priority == p);
                verify_line(l, &tasks);
            }
            core_assert(own == a->line_count[p] && tasks - before == a->waiting[p]);
            lines += own;
        }
    }
    core_assert(lines == core->line_count && tasks == core->waiting);
    struct walk w;
    walk_begin(&w, (struct fg_core *)core, 0);
    while (walk_next(&w))
        walked++;
    walk_end(&w);
    core_assert(walked == tasks);
}

/* A head waits, and what is held for it is held for no other. */
static void verify_reservations(const struct fg_core *core)
{
    for (size_t i = 0; i < core->reservation_count; i++) {
        const struct fg_reservation *r = &core->reservations[i];
        core_assert(r->count > 0 && r->latest_ns >= 0);
        for (size_t k = 0; k < r->count; k++)
            for (size_t other = i + 1; other < core->reservation_count; other++)
                for (size_t j = 0; j < core->reservations[other].count; j++)
                    core_assert(core->reservations[other].parts[j].device != r->parts[k].device);
    }
}

/* A chain is on one machine, and no machine has two. */
static void verify_moves(const struct fg_core *core)
{
    size_t movers = 0;
    for (size_t i = 0; i < core->nodes.count; i++) {
        size_t moving = 0;
        for (const struct entry *e = core->nodes.items[i]->leases; e; e = e->lease_next)
            moving += e->t.lease.moving_to != 0;
        core_assert(moving == core->nodes.items[i]->moving);
        movers += core->nodes.items[i]->movers;
    }
    core_assert(movers == core->movers);
    for (size_t i = 0; i < core->chains.count; i++) {
        const struct chain *c = core->chains.items[i];
        core_assert(c->count > 0 && c->count <= FG_MOVES_MAX && core_device(core, c->device)->node == c->node);
        for (size_t k = i + 1; k < core->chains.count; k++)
            core_assert(core->chains.items[k]->node != c->node && !fg_id_eq(core->chains.items[k]->group, c->group));
    }
}

static void verify_accounts(const struct fg_core *core, struct entry **all, size_t n)
{
    for (size_t i = 0; i < core->accounts.count; i++) {
        const struct account *a = core->accounts.items[i];
        uint64_t permille = 0, expected = 0;
        size_t live = 0;
        for (size_t k = 0; k < n; k++)
            if (all[k]->linked && fg_id_eq(all[k]->t.tenant, a->tenant)) {
                live++;
                permille += all[k]->held_permille;
                expected += fg_usage_of(all[k]->held_permille, all[k]->expected_ns);
            }
        core_assert(live == a->live && permille == a->live_permille && expected == a->live_expected_us);
        core_assert(a->weight >= 1 && a->weight <= FG_WEIGHT_MAX);
    }
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
    verify_queue(core);
    verify_plan_devices((struct fg_core *)core);
    verify_reservations(core);
    verify_moves(core);
    verify_accounts(core, all, n);
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
    for (size_t i = 0; i < core->accounts.count; i++) {
        const struct account *a = core->accounts.items[i];
        if (account_is_plain(a))
            continue;
        h = fold_id(h, a->tenant);
        h = fold(h, &a->used_us, sizeof a->used_us);
        h = fold(h, &a->used_at_ns, sizeof a->used_at_ns);
        h = fold(h, &a->weight, sizeof a->weight);
    }
    for (size_t i = 0; i < core->prices.count; i++) {
        const struct price *p = &core->prices.items[i];
        if (p->unset)
            continue;
        h = fold(h, p->is.kind, strlen(p->is.kind));
        h = fold(h, &p->is.nanousd_per_s, sizeof p->is.nanousd_per_s);
        h = fold(h, &p->is.spot_nanousd_per_s, sizeof p->is.spot_nanousd_per_s);
    }
    for (size_t i = 0; i < core->drains.count; i++) {
        const struct drain *d = &core->drains.items[i];
        if (d->over)
            continue;
        h = fold(fold_id(h, d->node), &d->device, sizeof d->device);
        h = fold(fold(h, &d->since_ns, sizeof d->since_ns), d->reason, strlen(d->reason));
        h = fold(h, &d->now, sizeof d->now);
    }
    h = fold(h, &core->next_epoch, sizeof core->next_epoch);
    return fold(h, &core->last_seq, sizeof core->last_seq);
}
