/* parking.c - the places of tasks whose device memory was put aside while they are idle: lent, called back, moved. Decision 0026.
 *
 *     |<------------ promised: leases that are not borrowed, parked ones too ------------>|          |
 *     |<-- there: leases that are not parked -->|<- borrowed ->|                          |  free    |   a device
 *
 * Two sums are kept, of memory and of share alike. Promised never exceeds a device, so whoever is parked has a place to come
 * back to. There never exceeds it by a grant. A task that is to stay needs both; one that may be asked to go (spot or preemptible,
 * in no gang) is given what is there alone: then its lease is borrowed.
 *
 *     NONE --parked--> PARKED --called--> CALLED --resumed--> NONE        an owner, as its agent says
 *                        |                  |
 *                        +---- moving ------+----> a place is held on both devices until the agent says where it is (moved)
 *
 * Who makes room for an owner that called is its agent, which knows what is borrowed: it needs no server for that, so the promise
 * holds while the server is away. Here it is only kept in the books: the agent's reports come in the order in which things were. */
#include <limits.h>
#include <string.h>

#include "control/core_private.h"

static uint64_t promised_memory(const struct device *d) { return d->memory_used_bytes - d->memory_borrowed_bytes; }
static uint64_t there_memory(const struct device *d) { return d->memory_used_bytes - d->memory_parked_bytes; }
static uint32_t promised_share(const struct device *d) { return d->share_used_permille - d->share_borrowed_permille; }
static uint32_t there_share(const struct device *d) { return d->share_used_permille - d->share_parked_permille; }

uint64_t core_memory_held(const struct device *d) { return FG_MAX(promised_memory(d), there_memory(d)); }
uint32_t core_share_held(const struct device *d) { return FG_MIN(FG_MAX(promised_share(d), there_share(d)) + core_share_beside(d), 1000u); }

/* Whether its end makes core_memory_held smaller: it is in the larger one of the two sums. */
bool core_end_helps(const struct fg_core *core, const struct entry *e)
{
    const struct device *d = core_device(core, e->t.lease.device);
    return promised_memory(d) >= there_memory(d) ? !e->t.lease.borrowed : e->t.lease.parking == FG_PARKING_NONE;
}

static void add(uint64_t *memory, uint32_t *share, const struct fg_lease *l, int by)
{
    *memory += by > 0 ? l->memory_bytes : -l->memory_bytes;
    *share += by > 0 ? l->share_permille : -l->share_permille;
}

void core_parking_link(struct fg_core *core, struct entry *e, int by)
{
    const struct fg_lease *l = &e->t.lease;
    struct device *d = core_device(core, l->device), *to = core_device(core, l->moving_to);
    bool parked = l->parking != FG_PARKING_NONE;
    if (l->borrowed)
        add(&d->memory_borrowed_bytes, &d->share_borrowed_permille, l, by);
    if (parked)
        add(&d->memory_parked_bytes, &d->share_parked_permille, l, by);
    d->node->moving += (size_t)(to ? by : 0);
    d->parked += (size_t)(parked ? by : 0);
    d->called += (size_t)(l->parking == FG_PARKING_CALLED ? by : 0);
    core->parked_live += (size_t)(parked ? by : 0);
    if (!to)
        return;
    add(&to->memory_used_bytes, &to->share_used_permille, l, by);
    core_plan_changed(core, to->d.id);
}

/* --- events --- */

/* Share that is lent to elastic tasks is not taken back for a move. */
static bool has_room(const struct device *d, uint64_t memory, const struct fg_lease *l)
{
    uint32_t lent = d->share_lent_permille, share = lent ? d->share_used_permille + lent : core_share_held(d);
    return core_memory_held(d) <= memory && l->memory_bytes <= memory - core_memory_held(d) && share + l->share_permille <= 1000;
}

int core_parking_check(const struct fg_core *core, const struct entry *e, const struct fg_event *ev, struct fg_error *err)
{
    const struct fg_lease *l = &e->t.lease;
    const struct device *to = core_device(core, ev->parked.device);
    if (!e->t.lease_live || l->epoch != ev->parked.epoch)
        return fg_fail(err, FG_E_INTERNAL, "it holds no lease of epoch %llu", (unsigned long long)ev->parked.epoch);
    switch (ev->kind) {
    case FG_EV_LEASE_PARKED: return l->parking != FG_PARKING_PARKED ? 0 : fg_fail(err, FG_E_INTERNAL, "it is parked");
    case FG_EV_LEASE_CALLED: return l->parking == FG_PARKING_PARKED ? 0 : fg_fail(err, FG_E_INTERNAL, "it is not parked");
    case FG_EV_LEASE_RESUMED: return l->parking != FG_PARKING_NONE ? 0 : fg_fail(err, FG_E_INTERNAL, "it is on its device");
    case FG_EV_LEASE_MOVING:
        if (e->t.state != FG_STATE_RUNNING || l->moving_to || l->lent_permille || !to || to->d.id == l->device || !fg_id_eq(to->d.node, l->node))
            return fg_fail(err, FG_E_INTERNAL, "it cannot move to device %u", ev->parked.device);
        return has_room(to, to->d.memory_bytes, l) ? 0 : fg_fail(err, FG_E_INTERNAL, "device %u has no room for it", ev->parked.device);
    default:
        return l->moving_to && (ev->parked.device == l->moving_to || ev->parked.device == l->device)
                   ? 0 : fg_fail(err, FG_E_INTERNAL, "it does not move to device %u", ev->parked.device);
    }
}

/* The sums are taken off, the lease is changed, the sums are added again: as if it ended and came back in one. */
void core_parking_apply(struct fg_core *core, struct entry *e, const struct fg_event *ev)
{
    struct fg_lease *l = &e->t.lease;
    core_lease_unlink(core, e);
    switch (ev->kind) {
    case FG_EV_LEASE_PARKED:
        l->parking = FG_PARKING_PARKED;
        l->parked_bytes = ev->parked.bytes;
        l->parked_ns = l->parked_ns ? l->parked_ns : ev->time_ns;
        break;
    case FG_EV_LEASE_CALLED: l->parking = FG_PARKING_CALLED; break;
    case FG_EV_LEASE_RESUMED:
        l->parked_us += FG_MAX(ev->time_ns - l->parked_ns, 0) / 1000;
        l->parked_ns = 0;
        l->parking = FG_PARKING_NONE;
        break;
    case FG_EV_LEASE_MOVING:
        l->moving_to = ev->parked.device;
        l->moved_for = ev->parked.whom;
        break;
    default:
        l->moved_from = ev->parked.device == l->moving_to ? l->device : l->moved_from;
        l->device = ev->parked.device;
        l->moving_to = 0;
    }
    core_lease_link(core, e);
    core_room(core);
}

/* --- what agents say --- */

static void emit(struct fg_core *core, struct entry *e, enum fg_event_kind kind, fg_device_id device, uint64_t bytes, int64_t now_ns,
                 struct fg_effects *fx)
{
    core_emit_task(core, fx, now_ns, e, e->t.attempt, (struct fg_event){.kind = kind, .parked = {.epoch = e->t.lease.epoch, .device = device, .bytes = bytes}});
}

/* The fullest device of its kind and size on its machine that has room for it to stay, then the lowest id; not one that is held
 * for the head of the line. NULL: none. */
struct device *core_place_to_move(const struct fg_core *core, const struct entry *e)
{
    const struct fg_lease *l = &e->t.lease;
    const struct device *own = core_device(core, l->device);
    struct device *best = NULL;
    for (struct device *d = NULL; (d = core_next_device(core, own->node, d));) {
        if (d == own || strcmp(d->d.kind, own->d.kind) != 0 || d->d.memory_bytes != own->d.memory_bytes || !core_device_usable(d) ||
            core_is_reserved(core, d->d.id, INT_MAX) || !has_room(d, core_memory_for_tasks(core, d), l))
            continue;
        if (!best || core_memory_held(d) > core_memory_held(best) || (core_memory_held(d) == core_memory_held(best) && d->d.id < best->d.id))
            best = d;
    }
    return best;
}

/* What is lent of the share there, or of the share that it leaves, is taken back. */
bool core_move(struct fg_core *core, struct entry *e, struct device *to, fg_id whom, int64_t now_ns, struct fg_effects *fx)
{
    const struct fg_lease *l = &e->t.lease;
    uint64_t memory = core_memory_for_tasks(core, to);
    if (core_memory_held(to) + l->memory_bytes > memory || core_share_held(to) + l->share_permille > 1000)
        return false;
    core_take_back(core, to, l->share_permille, now_ns, fx);
    if (l->lent_permille)
        core_resize(core, e, 0, now_ns, fx);
    if (!has_room(to, memory, l))
        return false;
    core_emit_task(core, fx, now_ns, e, e->t.attempt,
                   (struct fg_event){.kind = FG_EV_LEASE_MOVING, .parked = {.epoch = l->epoch, .device = to->d.id, .whom = whom}});
    e->moving_since_ns = now_ns;
    core->plan_stats.moves++;
    core_act(fx, FG_ACT_MOVE, e, FG_REASON_NONE);
    return true;
}

static void move(struct fg_core *core, struct entry *e, int64_t now_ns, struct fg_effects *fx)
{
    struct device *to = e->killing || e->t.cancel_requested || e->t.lease.moving_to ? NULL : core_place_to_move(core, e);
    if (to)
        core_move(core, e, to, FG_ID_NONE, now_ns, fx);
}

/* An owner is back, and a task that is to stay was given what his borrowers left meanwhile: then more of them go, the youngest first. */
static void shed(struct fg_core *core, const struct device *d, int64_t now_ns, struct fg_effects *fx)
{
    uint64_t memory = there_memory(d);
    uint32_t share = there_share(d);
    for (const struct entry *e = d->first; e; e = e->device_next)
        if (e->killing && e->t.lease.parking == FG_PARKING_NONE) {
            memory -= e->t.lease.memory_bytes;
            share -= e->t.lease.share_permille;
        }
    while (memory > d->d.memory_bytes || share > 1000) {
        struct entry *last = NULL;
        for (struct entry *e = d->first; e; e = e->device_next)
            if (e->t.lease.borrowed && e->t.lease.parking == FG_PARKING_NONE && !e->killing && (!last || e->t.lease.epoch > last->t.lease.epoch))
                last = e;
        if (!last)
            return;
        memory -= last->t.lease.memory_bytes;
        share -= last->t.lease.share_permille;
        core_kill(core, last, FG_REASON_PREEMPTED, now_ns, fx);
        core->plan_stats.preempted++;
    }
}

static bool drained(const struct fg_core *core, const struct entry *e)
{
    const struct device *d = core_device(core, e->t.lease.device);
    return !d->d.healthy || core_is_drained(d);
}

/* A device that it is not known to be on, or to move to, is not believed: the move was of a lease before this one. */
void core_parking_said(struct fg_core *core, struct entry *e, const struct fg_input *in, int64_t now_ns, struct fg_effects *fx)
{
    const struct fg_parking_report *said = &in->report.parking;
    const struct fg_lease *l = &e->t.lease;
    const struct device *to = core_device(core, l->moving_to);
    if (e->t.state != FG_STATE_RUNNING)
        return;
    if (to && (strcmp(to->d.name, said->device) == 0 || said->moved)) {
        bool there = strcmp(to->d.name, said->device) == 0;      /* or it stays where it was */
        emit(core, e, FG_EV_LEASE_MOVED, there ? to->d.id : l->device, 0, now_ns, fx);
        core_moved(core, e, there, now_ns);
    }
    if (said->parking == FG_PARKING_PARKED && l->parking != FG_PARKING_PARKED)
        emit(core, e, FG_EV_LEASE_PARKED, l->device, said->bytes, now_ns, fx);
    else if (said->parking == FG_PARKING_NONE && l->parking != FG_PARKING_NONE) {
        emit(core, e, FG_EV_LEASE_RESUMED, l->device, 0, now_ns, fx);
        shed(core, core_device(core, l->device), now_ns, fx);
    } else if (said->parking >= FG_PARKING_CALLED && l->parking == FG_PARKING_NONE) /* its being parked was not heard of */
        emit(core, e, FG_EV_LEASE_PARKED, l->device, said->bytes, now_ns, fx);
    if (said->parking >= FG_PARKING_CALLED && l->parking == FG_PARKING_PARKED)
        emit(core, e, FG_EV_LEASE_CALLED, l->device, 0, now_ns, fx);
    if (l->parking != FG_PARKING_NONE && !said->moved && (said->parking == FG_PARKING_LACKS || drained(core, e)))
        move(core, e, now_ns, fx);
    core_chains_step(core, now_ns, fx);
    core_leave_drained(core, core_device(core, l->device)->node, now_ns, fx);
}

/* A device that takes no more tasks is left by those that can leave it; a move that was asked for is asked for again. */
void core_parking_hello(struct fg_core *core, const struct node *n, int64_t now_ns, struct fg_effects *fx)
{
    for (struct entry *e = n->leases, *next; e; e = next) {
        next = e->lease_next;            /* an event links it anew, at the head */
        if (e->t.lease.moving_to)
            core_act(fx, FG_ACT_MOVE, e, FG_REASON_NONE);
        else if (e->t.lease.parking != FG_PARKING_NONE && drained(core, e))
            move(core, e, now_ns, fx);
    }
    core_leave_drained(core, n, now_ns, fx);
}

/* --- what is lent --- */

/* Places of parked tasks, none of whom has called. On a device that is held for a head of the line, too: who borrows goes for him
 * as a spot task does, unless he is one himself. */
static void list_places(struct fg_core *core, struct some_devices *ret)
{
    ret->devices.count = 0;
    for (size_t i = 0; i < core->plan_devices.count; i++) {
        struct fg_plan_device plan = core->plan_devices.items[i];
        const struct device *d = core_device(core, plan.id);
        if (!plan.usable || !d->parked || d->called || core_is_reserved(core, plan.id, 0))
            continue;
        uint32_t share = there_share(d) + d->share_lent_permille;
        plan.memory_free_bytes = plan.memory_bytes > there_memory(d) ? plan.memory_bytes - there_memory(d) : 0;
        plan.share_free_permille = share < 1000 ? 1000 - share : 0;
        fg_vec_push(&ret->devices, plan);
    }
}

/* One of each line was collected by the round; when it is served, its equals are next. */
int core_lend_places(struct fg_core *core, int64_t now_ns, struct fg_effects *fx, struct fg_error *err)
{
    FG_VEC(struct fg_plan_task) tasks = {0};
    struct fg_plan plan = {0};
    if (!core->parked_live)
        return 0;
    core_plan_devices(core, false);
    list_places(core, &core->some);
    for (size_t i = 0; core->some.devices.count && i < core->plan_tasks.count; i++) {
        const struct entry *e = core->plan_entries.items[i];
        struct fg_plan_task task = core->plan_tasks.items[i];
        if (!e->size || !fg_id_is_none(e->line->gang) || (!e->t.spec.spot && !e->t.spec.preemptible))
            continue;
        task.blocked = false;
        fg_vec_push(&tasks, task);
    }
    struct fg_snapshot snap = {.tasks = tasks.items, .task_count = tasks.count, .devices = core->some.devices.items,
                               .device_count = core->some.devices.count, .history = core->history, .now_ns = now_ns, .seed = core->next_epoch};
    int rc = tasks.count ? fg_place(&snap, &plan, err) : 0;
    for (size_t i = 0; rc == 0 && i < plan.placements.count; i++) {
        core_grant(core, &plan.placements.items[i], true, now_ns, fx);
        core->plan_stats.borrowed++;
        core->plan_due = true;
    }
    fg_plan_fini(&plan);
    fg_vec_fini(&tasks);
    return rc;
}
