/* oracle.c - the promises, checked from outside: from what is on disk, what was answered, and which processes really
 * run where. It knows the state table, and nothing of the core's memory until the world has come to rest. */
#include <string.h>

#include "sim/sim_private.h"

static uint32_t *slot_of(const struct oracle *o, fg_id id)
{
    for (size_t i = fg_id_hash(id) & (o->slot_count - 1);; i = (i + 1) & (o->slot_count - 1))
        if (!o->slots[i] || fg_id_eq(o->tasks.items[o->slots[i] - 1].id, id))
            return &o->slots[i];
}

struct watched *oracle_task(struct oracle *o, fg_id id)
{
    if ((o->tasks.count + 1) * 2 > o->slot_count) {
        free(o->slots);
        o->slot_count = o->slot_count ? o->slot_count * 2 : 256;
        o->slots = fg_alloc(o->slot_count * sizeof *o->slots);
        for (size_t i = 0; i < o->tasks.count; i++)
            *slot_of(o, o->tasks.items[i].id) = (uint32_t)i + 1;
    }
    uint32_t *slot = slot_of(o, id);
    if (!*slot) {
        fg_vec_push(&o->tasks, (struct watched){.id = id, .attempts_allowed = UINT32_MAX});
        *slot = (uint32_t)o->tasks.count;
    }
    return &o->tasks.items[*slot - 1];
}

void oracle_acked(struct world *w, fg_id submitted, fg_id canceled)
{
    if (!fg_id_is_none(submitted))
        oracle_task(&w->oracle, submitted)->submit_acked = true;
    if (!fg_id_is_none(canceled))
        oracle_task(&w->oracle, canceled)->cancel_acked = true;
}

/* --- the log --- */

/* A permille of n cores is n thousandths of a core. */
static bool beyond(const struct oracle *o, fg_device_id d)
{
    uint64_t units = o->units[d] ? o->units[d] : 1;
    return o->leased[d].memory > o->memory[d] || o->leased[d].share * units + o->leased[d].host_milli > 1000 * units;
}

static fg_id *drained_node(struct oracle *o, fg_id node);

static void granted(struct world *w, struct watched *t, const struct fg_lease *l)
{
    struct oracle *o = &w->oracle;
    if (l->epoch <= o->last_epoch)
        broken(w, "epoch %llu after %llu", (unsigned long long)l->epoch, (unsigned long long)o->last_epoch);
    o->last_epoch = l->epoch;
    if (t->lease_epoch)
        broken(w, "%s has two live leases", short_id(t->id));
    t->lease_epoch = l->epoch;
    t->lease = *l;
    o->leased[l->device].memory += l->memory_bytes;
    o->leased[l->device].share += l->share_permille;
    if (l->host) {
        o->leased[l->host].memory += l->host_bytes;
        o->leased[l->host].host_milli += l->cpus_milli;
    }
    if (beyond(o, l->device) || (l->host && beyond(o, l->host)))
        broken(w, "device %u or what is beside it is leased beyond its capacity", l->device);
    fg_id *node = drained_node(o, o->node[l->device]);
    if (o->drained[l->device] || (node && !fg_id_is_none(*node)))
        broken(w, "device %u is leased while it is drained", l->device);
}

/* Where the node stands among those that are drained, or a free place. */
static fg_id *drained_node(struct oracle *o, fg_id node)
{
    fg_id *free = NULL;
    for (size_t i = 0; i < FG_COUNT(o->drained_nodes); i++) {
        if (fg_id_eq(o->drained_nodes[i], node))
            return &o->drained_nodes[i];
        free = fg_id_is_none(o->drained_nodes[i]) ? &o->drained_nodes[i] : free;
    }
    return free;
}

static void drained(struct oracle *o, const struct fg_event *ev)
{
    bool on = ev->kind == FG_EV_NODE_DRAINED;
    if (ev->drained.device)
        o->drained[ev->drained.device] = on;
    else
        *drained_node(o, ev->drained.node) = on ? ev->drained.node : FG_ID_NONE;
}

static void joined(struct oracle *o, const struct fg_event *ev)
{
    for (size_t i = 0; i < ev->joined.count; i++) {
        o->memory[ev->joined.devices[i].id] = ev->joined.devices[i].memory_bytes;
        o->units[ev->joined.devices[i].id] = ev->joined.devices[i].units;
        o->node[ev->joined.devices[i].id] = ev->joined.node.id;
    }
}

static void released(struct world *w, struct watched *t, uint64_t epoch)
{
    struct oracle *o = &w->oracle;
    if (t->lease_epoch != epoch)
        broken(w, "%s released epoch %llu, holds %llu", short_id(t->id), (unsigned long long)epoch, (unsigned long long)t->lease_epoch);
    o->leased[t->lease.device].memory -= t->lease.memory_bytes;
    o->leased[t->lease.device].share -= t->lease.share_permille + t->lease.lent_permille;
    if (t->lease.host) {
        o->leased[t->lease.host].memory -= t->lease.host_bytes;
        o->leased[t->lease.host].host_milli -= t->lease.cpus_milli;
    }
    t->lease_epoch = 0;
    if (t->live)
        broken(w, "the lease of %s is released while it runs", short_id(t->id));
}

/* Lent to those who asked, never more than is there; what is its own it keeps. */
static void resized(struct world *w, struct watched *t, uint64_t epoch, uint32_t lent)
{
    uint32_t *share = &w->oracle.leased[t->lease.device].share;
    if (t->lease_epoch != epoch)
        broken(w, "%s is resized by epoch %llu, holds %llu", short_id(t->id), (unsigned long long)epoch, (unsigned long long)t->lease_epoch);
    if (t->lease.share_permille + lent > FG_MAX(t->share_max, t->lease.share_permille))
        broken(w, "%s is lent %u permille, asked for %u in all", short_id(t->id), lent, t->share_max);
    *share += lent - t->lease.lent_permille;
    if (beyond(&w->oracle, t->lease.device))
        broken(w, "device %u is lent beyond its capacity", t->lease.device);
    t->lease.lent_permille = lent;
    w->result->resized++;
}

static void task_event(struct world *w, const struct fg_event *ev)
{
    struct watched *t = oracle_task(&w->oracle, ev->task);
    enum fg_state next = FG_STATE_QUEUED;
    if (ev->kind == FG_EV_TASK_SUBMITTED) {
        if (t->known)
            broken(w, "%s is submitted twice", short_id(t->id));
        t->known = true;
        t->share_max = ev->submitted.spec.need.share_max_permille;
    } else if (!t->known || !fg_state_move(t->state, ev->kind, &next)) {
        broken(w, "%s of %s in state %s", fg_event_name(ev->kind), short_id(t->id), fg_state_name(t->state));
    }
    if (t->settled)
        broken(w, "%s of %s after it was settled", fg_event_name(ev->kind), short_id(t->id));
    switch (ev->kind) {
    case FG_EV_TASK_FINISHED:
        next = ev->finished.state;
        if (t->live)
            broken(w, "%s is %s while it runs", short_id(t->id), fg_state_name(next));
        break;
    case FG_EV_TASK_QUEUED:
        t->attempt = ev->attempt;
        t->usage_seq = 0;
        t->cost_nanousd += ev->queued.cost_nanousd;
        if (ev->queued.reason == FG_REASON_PREEMPTED) {
            t->attempts_allowed += t->attempts_allowed != UINT32_MAX;
            if (!t->may_go)
                broken(w, "%s was preempted and had not allowed it", short_id(t->id));
            if (ev->queued.uses_retry || ev->queued.cost_nanousd)
                broken(w, "%s was preempted at its own cost", short_id(t->id));
            w->result->preempted++;
        }
        if (ev->attempt > t->attempts_allowed)
            broken(w, "attempt %u of %s, %u were asked for", ev->attempt, short_id(t->id), t->attempts_allowed);
        break;
    case FG_EV_USAGE_RECORDED:
        if (ev->usage.seq <= t->usage_seq)
            broken(w, "usage %u of %s after %u", ev->usage.seq, short_id(t->id), t->usage_seq);
        t->usage_seq = ev->usage.seq;
        break;
    case FG_EV_LEASE_GRANTED: granted(w, t, &ev->lease); break;
    case FG_EV_LEASE_RESIZED: resized(w, t, ev->resized.epoch, ev->resized.lent_permille); break;
    case FG_EV_LEASE_RELEASED: released(w, t, ev->released.epoch); break;
    case FG_EV_TASK_SETTLED:
        t->settled = true;
        if (ev->settled.cost_nanousd < t->cost_nanousd || t->lease_epoch)
            broken(w, "%s is settled for less than was taken before, or with a lease", short_id(t->id));
        t->cost_nanousd = ev->settled.cost_nanousd;
        break;
    default: break;
    }
    if (fg_state_is_terminal(t->state) && next != t->state)
        broken(w, "%s went from %s to %s", short_id(t->id), fg_state_name(t->state), fg_state_name(next));
    t->state = next;
}

void oracle_event(struct world *w, const struct fg_event *ev)
{
    if (ev->seq != ++w->oracle.last_seq)
        broken(w, "event %llu where %llu was due", (unsigned long long)ev->seq, (unsigned long long)w->oracle.last_seq);
    if (ev->kind == FG_EV_NODE_JOINED)
        joined(&w->oracle, ev);
    else if (ev->kind == FG_EV_NODE_DRAINED || ev->kind == FG_EV_NODE_RESUMED)
        drained(&w->oracle, ev);
    else if (ev->kind != FG_EV_NODE_LOST && ev->kind != FG_EV_TENANT_WEIGHTED && ev->kind != FG_EV_PRICE_SET)
        task_event(w, ev);
}

/* Of a gang that starts for the first time all are granted in one transaction. */
void oracle_batch(struct world *w, const struct batch *b)
{
    for (size_t i = 0; i < b->events.count; i++) {
        const struct fg_event *ev = &b->events.items[i];
        const struct watched *t = ev->kind == FG_EV_LEASE_GRANTED && ev->attempt == 1 ? oracle_task(&w->oracle, ev->task) : NULL;
        if (!t || fg_id_is_none(t->gang))
            continue;
        uint32_t together = 0;
        for (size_t k = 0; k < b->events.count; k++) {
            const struct fg_event *other = &b->events.items[k];
            together += other->kind == FG_EV_LEASE_GRANTED && other->attempt == 1 && fg_id_eq(oracle_task(&w->oracle, other->task)->gang, t->gang);
        }
        if (together != t->gang_size)
            broken(w, "%u of the %u of gang %s were started", together, t->gang_size, short_id(t->gang));
        w->result->gang_starts++;
    }
}

/* --- the machines --- */

void oracle_process(struct world *w, int machine, const struct attempt *a, bool starts)
{
    struct watched *t = oracle_task(&w->oracle, a->task);
    const struct machine *m = &w->machines[machine];
    __auto_type used = &w->oracle.used[machine][a->device];
    t->live += starts ? 1 : -1;
    used->memory += starts ? a->lease.memory_bytes : -a->lease.memory_bytes;
    uint32_t share = a->lease.share_permille + a->lease.lent_permille;
    used->share += starts ? share : -share;
    if (!starts)
        return;
    trace(w, "machine %d: %s/%u runs, epoch %llu", machine, short_id(a->task), a->number, (unsigned long long)a->epoch);
    if (t->live > 1)
        broken(w, "%s has %d live attempts", short_id(t->id), t->live);
    if (a->epoch <= t->last_started_epoch)
        broken(w, "%s/%u was started twice, or after a later attempt", short_id(t->id), a->number);
    t->last_started_epoch = a->epoch;
    if (!t->known || t->state != FG_STATE_STARTING || t->lease_epoch != a->epoch)
        broken(w, "%s/%u runs, but the disk says %s", short_id(t->id), a->number, t->known ? fg_state_name(t->state) : "nothing");
    if (used->memory > m->devices[a->device].memory_bytes || used->share > 1000)
        broken(w, "machine %d device %zu runs more than it has", machine, a->device);
}

void oracle_resize(struct world *w, int machine, struct attempt *a, uint32_t lent_permille)
{
    uint32_t *share = &w->oracle.used[machine][a->device].share;
    *share += lent_permille - a->lease.lent_permille;
    a->lease.lent_permille = lent_permille;
    if (*share > 1000)
        broken(w, "machine %d device %zu is told to run more than it has", machine, a->device);
}

/* --- the end --- */

/* Its first processor is what tasks hold parts of beside its other devices. */
static struct fg_plan_device empty_device(const struct machine *m, size_t at)
{
    const struct fg_device *d = &m->devices[at];
    struct fg_plan_device plan = {.kind = d->kind, .memory_bytes = d->memory_bytes};
    size_t host = 0;
    while (host < m->device_count && strcmp(m->devices[host].backend, "cpu") != 0)
        host++;
    if (host == m->device_count)
        return plan;
    plan.is_host = host == at;
    plan.cores = m->devices[host].units;
    plan.host_memory_bytes = m->devices[host].memory_bytes;
    return plan;
}

/* Nothing is free for it on devices that run nothing: there is none that could hold it. */
static bool fits_nowhere(const struct world *w, const struct fg_task *t)
{
    for (int i = 0; i < w->machine_count; i++)
        for (size_t j = 0; j < w->machines[i].device_count; j++) {
            struct fg_plan_device d = empty_device(&w->machines[i], j);
            if (fg_could_hold(&d, &t->spec.need))
                return false;
        }
    return true;
}

/* How many of its gang wait with it, and whether one of them is held. */
static uint64_t waiting_of_gang(const struct world *w, const struct watched *t, bool *ret_held)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < t->gang_size; i++) {
        const struct fg_task *other = fg_core_task(w->server.core, (fg_id){t->gang.hi, t->gang.lo + i});
        n += other && other->state == FG_STATE_QUEUED;
        *ret_held = *ret_held || (other && other->held);
    }
    return n;
}

/* All of a gang at once, on devices that run nothing. */
static bool gang_fits_nowhere(const struct world *w, const struct watched *t, const struct fg_task *task)
{
    uint64_t room = 0;
    bool held = false;
    uint64_t want = waiting_of_gang(w, t, &held);
    const struct fg_need *need = &task->spec.need;
    uint64_t on = 0;                     /* the processors themselves, for those who ask for parts of them */
    for (int i = 0; i < w->machine_count; i++) {
        uint64_t beside = 0, most = UINT64_MAX;
        for (size_t j = 0; j < w->machines[i].device_count; j++) {
            struct fg_plan_device d = empty_device(&w->machines[i], j);
            struct fg_ask ask = fg_ask_of(&d, need);
            if (!fg_could_hold(&d, need))
                continue;
            uint64_t fits = FG_MIN(d.memory_bytes / ask.memory_bytes, (uint64_t)(1000 / ask.share_permille));
            *(d.is_host && fg_asks_host(need) ? &on : &beside) += fits;
            most = need->cpus_milli ? FG_MIN(most, d.cores * 1000u / need->cpus_milli) : most;
            most = need->host_bytes ? FG_MIN(most, d.host_memory_bytes / need->host_bytes) : most;
        }
        room += FG_MIN(beside, most);
    }
    return held || FG_MAX(room, on) < want;
}

static void final_task(struct world *w, const struct watched *t)
{
    const struct row *row = disk_row(&w->disk, t->id);
    const struct fg_task *in_core = fg_core_task(w->server.core, t->id);
    w->result->tasks += t->submit_acked;
    if (t->submit_acked && (!t->known || !row))
        broken(w, "%s was acknowledged and is lost", short_id(t->id));
    if (!t->known || !row)
        return;
    if (t->live)
        broken(w, "%s still runs", short_id(t->id));
    if (fg_state_is_terminal(t->state)) {
        w->result->terminal += t->submit_acked;
        if (!t->settled || !row->settled)
            broken(w, "%s ended and was not settled", short_id(t->id));
        struct fg_task stored = {.id = t->id};
        struct fg_error err;
        if (fg_task_decode(row->doc, strlen(row->doc), &stored, &err) < 0 || stored.state != t->state ||
            stored.cost_nanousd != t->cost_nanousd || !stored.settled)
            broken(w, "the row of %s is not what its events say", short_id(t->id));
        fg_task_fini(&stored);
        return;
    }
    w->result->waiting += t->submit_acked;
    if (t->cancel_acked)
        broken(w, "%s was canceled and is %s", short_id(t->id), fg_state_name(t->state));
    if (!in_core || in_core->state != FG_STATE_QUEUED || !(in_core->held || (fg_id_is_none(t->gang) ? fits_nowhere(w, in_core) : gang_fits_nowhere(w, t, in_core))))
        broken(w, "%s (%llu MiB, kind '%s') waits without a reason", short_id(t->id),
               in_core ? (unsigned long long)in_core->spec.need.memory_bytes >> 20 : 0, in_core ? in_core->spec.need.device_kind : "?");
}

/* A core replayed from the log must also write the same aux rows as years of small changes did. */
struct compare { struct world *w; size_t rows; };
static void compare_aux(void *arg, const struct fg_task *task, const char *key, const char *doc)
{
    struct compare *c = arg;
    if (task || !doc)
        return;
    c->rows++;
    for (size_t i = 0; i < c->w->disk.aux.count; i++)
        if (strcmp(c->w->disk.aux.items[i].key, key) == 0) {
            if (strcmp(c->w->disk.aux.items[i].doc, doc) != 0)
                broken(c->w, "row '%s' is %s on disk and %s by the log", key, c->w->disk.aux.items[i].doc, doc);
            return;
        }
    broken(c->w, "row '%s' is not on disk", key);
}

void oracle_final(struct world *w)
{
    for (size_t i = 0; i < w->oracle.tasks.count; i++)
        final_task(w, &w->oracle.tasks.items[i]);
    fg_core_verify(w->server.core);
    struct fg_core *replayed = server_rebuild(w, true), *loaded = server_rebuild(w, false);
    uint64_t live = fg_core_hash(w->server.core);
    if (fg_core_hash(replayed) != live || fg_core_hash(loaded) != live)
        broken(w, "live, replayed and loaded states differ");
    struct compare c = {w, 0};
    fg_core_changes(replayed, compare_aux, &c);
    if (c.rows != w->disk.aux.count)
        broken(w, "%zu aux rows on disk, %zu by the log", w->disk.aux.count, c.rows);
    fg_core_destroy(replayed);
    fg_core_destroy(loaded);
}

void oracle_fini(struct oracle *o)
{
    fg_vec_fini(&o->tasks);
    free(o->slots);
}
