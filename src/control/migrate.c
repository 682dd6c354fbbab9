/* migrate.c - running tasks are moved to other devices of their machine, where that opens one for a task that would wait longer
 * than it takes (decision 0058); and off devices that an operator has drained.
 *
 *     head of the line -> fg_moves_find on machines whose agents can move -> a chain: its moves, the device that it opens
 *                           |
 *          lease.moving: a place is held there, too; the agent parks the task and brings it back there (parking.c) -> lease.moved
 *
 * A chain is soft, as what is held for the head is: after a restart the moves under way go on, and what is left of it is decided
 * anew. It is made only where
 *
 *     wait - time > PATIENCE  and  (wait - time) x share of the head > sum of standing still x share of those who move
 *
 * wait: until what runs leaves room for the head, where what has run for so long is believed to run as long again, or to the median of
 * its like, or to its limit; time: the moves, one after the other. One chain at a time on a
 * machine, and after it none until what its tasks stood still is a PAUSE-th of what its devices have done since: 1 % of their time.
 * What of a chain can go at once, does: a move goes when there is room and no earlier one has still to go to the same device. */
#include <stdio.h>
#include <string.h>

#include "base/units.h"
#include "control/core_private.h"

#define PATIENCE_NS  (5 * FG_NS_PER_S)
#define LOOK_NS      FG_NS_PER_S         /* between two looks for the same line */
#define NODES_LOOKED 64u
#define PAUSE        100
#define GIVE_UP_NS   (600 * FG_NS_PER_S) /* on a chain */
#define RETRY_NS     (60 * FG_NS_PER_S)  /* until one that could not be moved is asked again, twice as long each time */
#define FIXED_NS     (2 * FG_NS_PER_S)   /* of a move, beside its bytes: its work drains, the driver is told */
#define FIRST_RATE   (FG_NS_PER_S / 1024)    /* ns a MiB, out and back, before any was seen: 1 s a GiB */

/* --- what a move takes --- */

/* Seen so far, of a kind of device; a new one counts a quarter. */
static struct move_rate *rate_of(const struct fg_core *core, const char *kind)
{
    for (size_t i = 0; i < core->move_rates.count; i++)
        if (strcmp(core->move_rates.items[i].kind, kind) == 0)
            return &core->move_rates.items[i];
    return NULL;
}

static void learn_rate(struct fg_core *core, const char *kind, uint64_t bytes, int64_t took_ns)
{
    struct move_rate *r = rate_of(core, kind);
    int64_t seen = FG_MAX(took_ns - FIXED_NS, 0) / (int64_t)FG_MAX(bytes >> 20, UINT64_C(1));
    if (r) {
        r->ns_per_mib += (seen - r->ns_per_mib) / 4;
        return;
    }
    r = fg_vec_add(&core->move_rates);
    snprintf(r->kind, sizeof r->kind, "%s", kind);
    r->ns_per_mib = seen;
}

/* Of the most that it was seen to hold; of one that is parked the way back alone. */
static int64_t move_ns(const struct fg_core *core, const struct entry *e)
{
    const struct fg_lease *l = &e->t.lease;
    const struct move_rate *r = rate_of(core, core_device(core, l->device)->d.kind);
    uint64_t peak = (uint64_t)FG_MAX(e->t.usage.memory_peak_bytes, 0), bytes = peak ? FG_MIN(peak, l->memory_bytes) : l->memory_bytes;
    int64_t copies = (int64_t)(bytes >> 20) * (r ? r->ns_per_mib : FIRST_RATE);
    return FIXED_NS + (l->parking == FG_PARKING_PARKED ? copies / 2 : copies);
}

static uint64_t stands_still_us(const struct fg_core *core, const struct entry *e)
{
    return e->t.lease.parking == FG_PARKING_PARKED ? 0 : (uint64_t)(move_ns(core, e) / 1000) * e->t.lease.share_permille / 1000;
}

/* --- who may be moved --- */

void core_movers_count(struct fg_core *core, struct node *n)
{
    core->movers -= n->movers;
    n->movers = 0;
    for (const struct device *d = NULL; (d = core_next_device(core, n, d));)
        n->movers += d->d.moves;
    core->movers += n->movers;
}

static bool can_move(const struct fg_core *core, const struct entry *e, int64_t now_ns)
{
    const struct fg_lease *l = &e->t.lease;
    const struct device *d = core_device(core, l->device);
    return e->t.state == FG_STATE_RUNNING && d->d.moves && d->node->n.connected && !d->node->n.lost && !l->moving_to && !l->borrowed &&
           l->parking <= FG_PARKING_PARKED && !e->killing && !e->t.cancel_requested && now_ns >= e->no_move_ns;
}

/* --- a chain --- */

static struct entry *mover(const struct fg_core *core, const struct chain *c, uint32_t i)
{
    struct entry *e = table_find(core, c->moves[i].task);
    return e && e->t.lease_live && e->t.lease.epoch == c->moves[i].epoch ? e : NULL;
}

static bool is_done(const struct fg_core *core, const struct chain *c, uint32_t i)
{
    const struct entry *e = mover(core, c, i);
    return !e || (e->t.lease.device == c->moves[i].to && !e->t.lease.moving_to);
}

static struct chain *chain_for(const struct fg_core *core, fg_id group)
{
    for (size_t i = 0; i < core->chains.count; i++)
        if (fg_id_eq(core->chains.items[i]->group, group))
            return core->chains.items[i];
    return NULL;
}

static struct chain *chain_at(const struct fg_core *core, const struct node *n)
{
    for (size_t i = 0; i < core->chains.count; i++)
        if (core->chains.items[i]->node == n)
            return core->chains.items[i];
    return NULL;
}

/* What its head holds goes with a chain that failed: it is promised anew. */
static void end_chain(struct fg_core *core, struct chain *c, bool opened, int64_t now_ns)
{
    c->node->move_after_ns = now_ns + (int64_t)c->stood_us * 1000 * PAUSE / (int64_t)FG_MAX(c->node->movers, (size_t)1);
    for (size_t i = 0; !opened && i < core->reservation_count; i++)
        if (fg_id_eq(core->reservations[i].group, c->group)) {
            reserve_drop(core, i);
            break;
        }
    for (size_t i = 0; i < core->chains.count; i++)
        if (core->chains.items[i] == c) {
            core->chains.items[i] = core->chains.items[--core->chains.count];
            break;
        }
    free(c);
}

/* Begins move i if it may. False: it cannot any more. */
static bool begin(struct fg_core *core, struct chain *c, uint32_t i, bool others_on_their_way, int64_t now_ns, struct fg_effects *fx)
{
    struct entry *e = mover(core, c, i);
    struct device *to = core_device(core, c->moves[i].to);
    if (!can_move(core, e, now_ns) || !core_device_usable(to))
        return false;
    if (core_move(core, e, to, c->group, now_ns, fx)) {
        c->moves[i].begun = true;
        return true;
    }
    return others_on_their_way;
}

/* 1: all is done; -1: it cannot be done; 0: it is under way. */
static int advance(struct fg_core *core, struct chain *c, int64_t now_ns, struct fg_effects *fx)
{
    bool on_their_way = false;
    if (!core_waiting(core, c->group) || now_ns - c->began_ns > GIVE_UP_NS)
        return -1;
    for (uint32_t i = 0; i < c->count; i++) {
        const struct entry *e = mover(core, c, i);
        bool waits = false;
        if (is_done(core, c, i))
            continue;
        if (c->moves[i].begun && !e->t.lease.moving_to)
            return -1;                   /* it stayed where it was */
        for (uint32_t k = 0; k < i; k++)
            waits |= c->moves[k].to == c->moves[i].to && !is_done(core, c, k);
        if (!c->moves[i].begun && !waits && !begin(core, c, i, on_their_way, now_ns, fx))
            return -1;
        on_their_way = true;
    }
    return on_their_way ? 0 : 1;
}

static void step(struct fg_core *core, struct chain *c, int64_t now_ns, struct fg_effects *fx)
{
    int how = advance(core, c, now_ns, fx);
    if (how)
        end_chain(core, c, how > 0, now_ns);
}

void core_chains_step(struct fg_core *core, int64_t now_ns, struct fg_effects *fx)
{
    for (size_t i = core->chains.count; i > 0; i--)
        step(core, core->chains.items[i - 1], now_ns, fx);
}

void core_moved(struct fg_core *core, struct entry *e, bool there, int64_t now_ns)
{
    const struct device *d = core_device(core, e->t.lease.device);
    struct chain *c = chain_at(core, d->node);
    int64_t took = e->moving_since_ns ? now_ns - e->moving_since_ns : 0;
    if (c)
        c->stood_us += (uint64_t)FG_MAX(took, 0) / 1000 * e->t.lease.share_permille / 1000;
    if (!there)
        e->no_move_ns = now_ns + (RETRY_NS << FG_MIN(e->moves_failed++, 6u));
    else if (took > 0 && e->t.lease.parked_bytes)
        learn_rate(core, d->d.kind, e->t.lease.parked_bytes, took);
    e->moving_since_ns = 0;
}

/* --- a search --- */

#define DEVICES_MOST 32u
#define LEASES_MOST  512u
struct machine {
    struct fg_moves_device devices[DEVICES_MOST];
    fg_device_id ids[DEVICES_MOST];
    struct fg_moves_lease leases[LEASES_MOST];
    struct entry *entries[LEASES_MOST];
    size_t device_count, lease_count;
};
struct found { struct node *node; struct fg_moves moves; fg_device_id device, to[FG_MOVES_MAX]; struct entry *entries[FG_MOVES_MAX]; };

static bool held_for_another(const struct fg_core *core, fg_device_id device, fg_id group)
{
    for (size_t i = 0; i < core->reservation_count; i++)
        for (size_t k = 0; k < core->reservations[i].count; k++)
            if (core->reservations[i].parts[k].device == device && !fg_id_eq(core->reservations[i].group, group))
                return true;
    return false;
}

static void add_device(const struct fg_core *core, struct machine *m, const struct device *d, const struct fg_plan_task *task, fg_id group, int64_t now_ns)
{
    uint64_t memory = core_memory_for_tasks(core, d), held = core_memory_held(d);
    /* where others are in the places of parked ones the two sums of parking.c differ: left alone */
    bool open = core_device_usable(d) && !d->memory_borrowed_bytes && !held_for_another(core, d->d.id, group);
    m->ids[m->device_count] = d->d.id;
    m->devices[m->device_count] = (struct fg_moves_device){memory > held ? memory - held : 0, 1000 - core_share_held(d), open && task->need.memory_bytes <= memory, open};
    for (struct entry *e = d->first; e && m->lease_count < LEASES_MOST; e = e->device_next) {
        m->entries[m->lease_count] = e;
        m->leases[m->lease_count++] = (struct fg_moves_lease){
            .device = (uint32_t)m->device_count, .memory_bytes = e->t.lease.memory_bytes, .share_permille = e->t.lease.share_permille,
            .cost = stands_still_us(core, e) + 1, .movable = can_move(core, e, now_ns)};
    }
    m->device_count++;
}

static bool alike(const struct device *a, const struct device *b)
{
    return strcmp(a->d.kind, b->d.kind) == 0 && a->d.memory_bytes == b->d.memory_bytes;
}

/* What it asks of the processor beside its device is there: a move on the machine changes nothing of that. */
static bool has_beside(const struct fg_core *core, const struct device *d, const struct fg_need *need, fg_id group)
{
    struct fg_plan_device plan = {.id = d->d.id};
    core_plan_host(core, d, false, &plan);
    return !fg_asks_host(need) || (plan.host && !plan.is_host && plan.host_free_milli >= need->cpus_milli && plan.host_free_bytes >= need->host_bytes &&
                                   !held_for_another(core, plan.host, group));
}

/* The machine's devices that are like this one; false: together they have not enough, or some device has room by itself. */
static bool list_machine(const struct fg_core *core, const struct node *n, const struct device *like, const struct fg_plan_task *task, fg_id group,
                         int64_t now_ns, struct machine *m)
{
    uint64_t memory = 0, share = 0;
    m->device_count = m->lease_count = 0;
    for (const struct device *d = NULL; (d = core_next_device(core, n, d)) && m->device_count < DEVICES_MOST;)
        if (alike(d, like))
            add_device(core, m, d, task, group, now_ns);
    for (size_t i = 0; i < m->device_count; i++) {
        memory += m->devices[i].may_take ? m->devices[i].memory_free_bytes : 0;
        share += m->devices[i].may_take ? m->devices[i].share_free_permille : 0;
    }
    return memory >= task->need.memory_bytes && share >= task->need.share_permille;
}

static bool is_first_of_its_like(const struct fg_core *core, const struct node *n, const struct device *like)
{
    const struct device *d = NULL;
    while ((d = core_next_device(core, n, d)) && d != like)
        if (alike(d, like))
            return false;
    return true;
}

static void take_if_better(const struct machine *m, struct node *n, const struct fg_moves *moves, struct found *best)
{
    if (best->node && (moves->count > best->moves.count || (moves->count == best->moves.count && moves->cost >= best->moves.cost)))
        return;
    best->node = n;
    best->moves = *moves;
    best->device = m->ids[moves->device];
    for (uint32_t i = 0; i < moves->count; i++) {
        best->entries[i] = m->entries[moves->moves[i].lease];
        best->to[i] = m->ids[moves->moves[i].to];
    }
}

static void look_at(struct fg_core *core, struct node *n, const struct fg_plan_task *task, fg_id group, int64_t now_ns, struct found *best)
{
    static struct machine m;             /* one thread, and not kept: as the other scratch of planning */
    struct fg_moves moves;
    for (const struct device *d = NULL; (d = core_next_device(core, n, d));)
        if (d->d.moves && (!task->need.device_kind[0] || strcmp(task->need.device_kind, d->d.kind) == 0) && is_first_of_its_like(core, n, d) &&
            has_beside(core, d, &task->need, group) && list_machine(core, n, d, task, group, now_ns, &m) &&
            fg_moves_find(m.devices, m.device_count, m.leases, m.lease_count, task->need.memory_bytes, task->need.share_permille, &moves) && moves.count)
            take_if_better(&m, n, &moves, best);
}

/* From a machine that changes with each lease on, so that the same is not always asked. */
static bool search(struct fg_core *core, const struct fg_plan_task *task, fg_id group, int64_t now_ns, struct found *best)
{
    size_t looked = 0, count = core->nodes.count;
    for (size_t k = 0; k < count && looked < NODES_LOOKED; k++) {
        struct node *n = core->nodes.items[(k + core->next_epoch) % count];
        if (n->movers < 2 || !n->n.connected || n->n.lost || n->moving || now_ns < n->move_after_ns || chain_at(core, n))
            continue;
        look_at(core, n, task, group, now_ns, best);
        looked++;
    }
    return best->node != NULL;
}

/* --- the decision --- */

static int64_t end_of(const struct entry *e, int64_t now_ns)
{
    int64_t from = e->t.state == FG_STATE_RUNNING ? e->t.started_ns : e->t.placed_ns, ran = FG_MAX(now_ns - from, 0), end;
    if (e->killing)
        return now_ns;
    if (__builtin_add_overflow(from, e->p50_ns, &end))
        end = INT64_MAX;
    return FG_MIN(FG_MAX(end, now_ns + ran), core_end_latest(e, now_ns));
}

static struct fg_plan_lease lease_of(const struct fg_core *core, const struct entry *e, double z, int64_t now_ns)
{
    return core_plan_lease(core, e, end_of(e, now_ns), core_end_latest(e, now_ns));
}

/* INT64_MAX: no end of what runs makes room. */
static int64_t wait_of(struct fg_core *core, const struct fg_plan_task *task, int64_t now_ns)
{
    struct fg_reservation r;
    core_plan_devices(core, false);
    core_some_devices(core, task, &core->some);
    core->some.leases.count = 0;
    core_list_machines(core, &task->need, &core->some, lease_of, 0, now_ns);
    for (size_t i = 0; i < core->some.devices.count; i++) {
        const struct device *d = core_device(core, core->some.devices.items[i].id);
        for (const struct entry *e = core_listed(core, d) ? NULL : d->first; e; e = e->device_next)
            fg_vec_push(&core->some.leases, lease_of(core, e, 0, now_ns));
    }
    struct fg_snapshot snap = {.devices = core->some.devices.items, .device_count = core->some.devices.count, .now_ns = now_ns};
    if (!fg_reserve(&snap, task, core->some.leases.items, core->some.leases.count, &r))
        return INT64_MAX;
    int64_t wait = r.start_ns - now_ns;
    fg_reservation_fini(&r);
    return wait;
}

static bool is_worth_it(struct fg_core *core, const struct found *f, const struct fg_plan_task *task, int64_t now_ns, int64_t *ret_time_ns)
{
    int64_t time = 0, wait = wait_of(core, task, now_ns);
    uint64_t still_us = 0;
    for (uint32_t i = 0; i < f->moves.count; i++) {
        time += move_ns(core, f->entries[i]);
        still_us += stands_still_us(core, f->entries[i]);
    }
    wait = FG_MIN(wait, INT64_MAX / 4096);
    *ret_time_ns = time;
    return wait - time > PATIENCE_NS && (uint64_t)((wait - time) / 1000) * task->need.share_permille / 1000 > still_us;
}

bool core_open_for(struct fg_core *core, size_t index, const struct fg_plan_task *task, int64_t now_ns, struct fg_effects *fx)
{
    fg_id group = core->reservations[index].group;
    struct entry *e = core_waiting(core, group);
    struct found f = {0};
    int64_t time;
    if (chain_for(core, group))
        return true;
    if (!core->movers || !e || task->together > 1 || now_ns < e->line->moves_look_ns)
        return false;
    e->line->moves_look_ns = now_ns + LOOK_NS;
    if (!search(core, task, group, now_ns, &f) || !is_worth_it(core, &f, task, now_ns, &time))
        return false;
    struct chain *c = fg_alloc(sizeof *c);
    *c = (struct chain){.group = group, .node = f.node, .device = f.device, .count = f.moves.count, .began_ns = now_ns, .ready_ns = now_ns + time};
    for (uint32_t i = 0; i < c->count; i++)
        c->moves[i] = (struct chain_move){.task = f.entries[i]->t.id, .epoch = f.entries[i]->t.lease.epoch, .to = f.to[i]};
    fg_vec_push(&core->chains, c);
    core_hold_places(core, &core->reservations[index], &task->need, &f.device, 1, now_ns);
    core->reservations[index].start_ns = c->ready_ns;
    core->reservations[index].latest_ns = FG_MAX(core->reservations[index].latest_ns, c->ready_ns);
    core->plan_stats.chains++;
    step(core, c, now_ns, fx);
    return true;
}

/* --- drained devices --- */

/* One at a time on a machine, each into room that is there. */
void core_leave_drained(struct fg_core *core, const struct node *n, int64_t now_ns, struct fg_effects *fx)
{
    if (n->movers < 2 || n->moving)
        return;
    for (struct entry *e = n->leases; e; e = e->lease_next) {
        const struct device *d = core_device(core, e->t.lease.device);
        struct device *to = core_is_drained(d) && can_move(core, e, now_ns) ? core_place_to_move(core, e) : NULL;
        if (to && core_move(core, e, to, FG_ID_NONE, now_ns, fx))
            return;
    }
}

/* --- reading --- */

void core_tell_chain(const struct fg_core *core, const struct entry *e, int64_t now_ns, struct fg_block *b)
{
    const struct chain *c = chain_for(core, core_group(e));
    uint32_t done = 0;
    char text[32];
    if (!c || c->device != b->device)
        return;
    for (uint32_t i = 0; i < c->count; i++)
        done += is_done(core, c, i);
    b->reason = FG_REASON_WAITING_MOVE;
    b->free_ns = FG_MAX(c->ready_ns, now_ns);
    snprintf(b->text, sizeof b->text, "room is made for it: %u of %u running task%s moved to other devices of the machine%s%s", done, c->count,
             c->count == 1 ? " has" : "s have", c->ready_ns > now_ns ? "; free in about " : "",
             c->ready_ns > now_ns ? fg_format_duration(text, sizeof text, (c->ready_ns - now_ns + FG_NS_PER_S / 2) / FG_NS_PER_S * FG_NS_PER_S) : "");
}

void core_chains_fini(struct fg_core *core)
{
    for (size_t i = 0; i < core->chains.count; i++)
        free(core->chains.items[i]);
    fg_vec_fini(&core->chains);
    fg_vec_fini(&core->move_rates);
}
