/* lease.c - machines come, are heard of, go silent and are lost; leases live and die with them.
 *
 *        hello                  alive                 gone                    deadline + margin
 *   ------+----------------------+---------------------+-------------------------------+-------->
 *         deadline = now + lease deadline = now+lease   leases go on until deadline     node.lost, attempts end
 *
 * The agent lets no attempt live longer than lease after the sending of the last message that we answered. That moment
 * is never later than the one we took for it, so when a node counts as lost its attempts are dead, and they may run
 * elsewhere. After a restart we do not know when we last answered: each node gets a whole lease from the first tick. */
#include <stdio.h>
#include <string.h>

#include "control/core_private.h"

/* Live leases of a node, by task id, the caller's to free: ending one changes the list. */
static int by_task(const void *a, const void *b)
{
    return fg_id_cmp((*(struct entry *const *)a)->t.id, (*(struct entry *const *)b)->t.id);
}
static struct entry **leases_of(const struct node *n, size_t *ret_count)
{
    size_t count = 0;
    for (struct entry *e = n->leases; e; e = e->lease_next)
        count++;
    struct entry **all = fg_alloc((count + 1) * sizeof *all);
    *ret_count = 0;
    for (struct entry *e = n->leases; e; e = e->lease_next)
        all[(*ret_count)++] = e;
    qsort(all, count, sizeof *all, by_task);
    return all;
}

static void move_deadlines(struct fg_core *core, struct node *n, int64_t now_ns)
{
    n->n.seen_ns = now_ns;
    n->deadline_ns = now_ns + core->config.lease_ns;
    for (struct entry *e = n->leases; e; e = e->lease_next)
        e->t.lease.deadline_ns = n->deadline_ns;
    timer_of_node(core, n);
}

/* --- hello --- */

static const struct device *device_named(const struct fg_core *core, const struct node *n, const char *name)
{
    const struct device *d = NULL;
    while (n && (d = core_next_device(core, n, d)) && strcmp(d->d.name, name) != 0)
        ;
    return d;
}

static bool same_device(const struct fg_device *a, const struct fg_device *b)
{
    return strcmp(a->name, b->name) == 0 && strcmp(a->kind, b->kind) == 0 && strcmp(a->backend, b->backend) == 0 &&
           strcmp(a->level_why, b->level_why) == 0 && a->memory_bytes == b->memory_bytes && a->units == b->units &&
           a->gflops == b->gflops && a->memory_level == b->memory_level && a->share_level == b->share_level &&
           a->healthy == b->healthy && a->moves == b->moves;
}

/* A reconnect that says nothing new is not worth an event (and needs no disk: a full one does not end leases). */
static bool says_nothing_new(const struct fg_core *core, const struct node *n, const struct fg_input *in)
{
    size_t healthy = 0, named = 0;
    if (!n || n->n.lost || strcmp(n->n.name, in->hello.node->name) != 0 || strcmp(n->n.boot_id, in->hello.node->boot_id) != 0)
        return false;
    for (const struct device *d = NULL; (d = core_next_device(core, n, d));)
        healthy += d->d.healthy;
    for (size_t i = 0; i < in->hello.device_count; i++) {
        const struct device *d = device_named(core, n, in->hello.devices[i].name);
        if (!d || !same_device(&d->d, &in->hello.devices[i]))
            return false;
        named += in->hello.devices[i].healthy;
    }
    return healthy == named;
}

static void emit_joined(struct fg_core *core, const struct node *n, const struct fg_input *in, int64_t now_ns, struct fg_effects *fx)
{
    size_t count = in->hello.device_count;
    fg_device_id next = (fg_device_id)core->devices.count + 1;
    struct fg_event ev = {.kind = FG_EV_NODE_JOINED, .joined = {.node = *in->hello.node, .count = count}};
    ev.joined.node.connected = ev.joined.node.lost = false;
    ev.joined.node.seen_ns = 0;
    ev.joined.devices = count ? fg_alloc(count * sizeof(struct fg_device)) : NULL;
    for (size_t i = 0; i < count; i++) {
        struct fg_device *d = &ev.joined.devices[i];
        *d = in->hello.devices[i];
        const struct device *known = device_named(core, n, d->name);
        d->id = known ? known->d.id : next++;
        d->node = in->hello.node->id;
    }
    core_emit(core, fx, now_ns, &ev);
}

static int check_hello(const struct fg_input *in, struct fg_error *err)
{
    const struct fg_device *d = in->hello.devices;
    if (!in->hello.node || fg_id_is_none(in->hello.node->id))
        return fg_fail(err, FG_E_INVALID, "a hello without a node id");
    for (size_t i = 0; i < in->hello.device_count; i++)
        for (size_t j = 0; j < i; j++)
            if (strcmp(d[i].name, d[j].name) == 0)
                return fg_fail(err, FG_E_INVALID, "node '%s' names device '%s' twice", in->hello.node->name, d[i].name);
    return 0;
}

/* What the agent has and we did not give it, or took back, must end there. */
static void meet_attempt(struct fg_core *core, const struct node *n, const struct fg_attempt_at_node *a, int64_t now_ns,
                         struct fg_effects *fx)
{
    struct entry *e = table_find(core, a->task);
    if (e && e->t.lease_live && e->t.attempt == a->attempt && e->t.lease.epoch == a->epoch && fg_id_eq(e->t.lease.node, n->n.id)) {
        e->hello_mark = core->hello_mark;
        if (!a->finished && (e->t.cancel_requested || e->killing))
            core_kill(core, e, FG_REASON_NONE, now_ns, fx);
        return;
    }
    struct fg_action act = {.kind = FG_ACT_KILL, .node = n->n.id, .task = a->task, .attempt = a->attempt, .epoch = a->epoch};
    if (!a->finished)
        fg_vec_push(&fx->actions, act);
    act.kind = FG_ACT_FORGET;
    fg_vec_push(&fx->actions, act);
}

static void end_lost(struct fg_core *core, struct entry *e, const char *detail, int64_t now_ns, struct fg_effects *fx)
{
    struct fg_outcome outcome = {.state = FG_STATE_FAILED, .reason = FG_REASON_NODE_LOST, .exit_code = -1,
                                 .usage = e->t.usage, .detail = fg_strdup(detail)};
    core_end_attempt(core, e, &outcome, now_ns, fx);
}

/* What we gave it and it does not have: a start that did not arrive is sent again; one that ran is gone. The kill and
 * forget are for a start still on its way through an older connection. */
static void miss_attempt(struct fg_core *core, struct entry *e, int64_t now_ns, struct fg_effects *fx)
{
    bool unwanted = e->t.cancel_requested || e->killing;
    if (e->t.state == FG_STATE_STARTING && !unwanted) {
        core_act(fx, FG_ACT_START, e, FG_REASON_NONE);
        return;
    }
    core_act(fx, FG_ACT_KILL, e, e->kill_reason);
    core_act(fx, FG_ACT_FORGET, e, FG_REASON_NONE);
    end_lost(core, e, unwanted ? "stopped before its machine knew of it" : "its machine came back without it", now_ns, fx);
}

int core_hello(struct fg_core *core, const struct fg_input *in, int64_t now_ns, struct fg_effects *fx, struct fg_error *err)
{
    if (check_hello(in, err) < 0)
        return -1;
    struct node *n = core_node(core, in->hello.node->id);
    if (!says_nothing_new(core, n, in))
        emit_joined(core, n, in, now_ns, fx);
    n = core_node(core, in->hello.node->id);
    n->n.connected = true;
    core_plan_node_changed(core, n);
    core_room(core);
    move_deadlines(core, n, now_ns);

    core->hello_mark++;
    for (size_t i = 0; i < in->hello.attempt_count; i++)
        meet_attempt(core, n, &in->hello.attempts[i], now_ns, fx);
    core_lend_hello(core, n, now_ns, fx);
    size_t count;
    FG_AUTO_FREE struct entry **leases = leases_of(n, &count);
    for (size_t i = 0; i < count; i++)
        if (leases[i]->hello_mark != core->hello_mark)
            miss_attempt(core, leases[i], now_ns, fx);
    core_drain_hello(core, n, now_ns, fx);
    core_parking_hello(core, n, now_ns, fx);
    return 0;
}

/* --- the rest of a node's life --- */

void core_gone(struct fg_core *core, fg_id id)
{
    struct node *n = core_node(core, id);
    if (!n)
        return;
    n->n.connected = false;
    core_plan_node_changed(core, n);
    timer_of_node(core, n);
}

void core_alive(struct fg_core *core, fg_id id, int64_t now_ns)
{
    struct node *n = core_node(core, id);
    if (n && n->n.connected)
        move_deadlines(core, n, now_ns);
    if ((core->preemptible_live || core->movers) && core->reservation_count)     /* a head may have waited long enough */
        core->plan_due = true;
}

static void node_due(struct fg_core *core, struct node *n, int64_t now_ns, struct fg_effects *fx)
{
    if (n->deadline_ns == 0) {           /* the first tick after a restart */
        n->deadline_ns = now_ns + core->config.lease_ns;
        timer_of_node(core, n);
        return;
    }
    core_emit(core, fx, now_ns, &(struct fg_event){.kind = FG_EV_NODE_LOST, .lost = {.node = n->n.id}});
    char detail[160];
    snprintf(detail, sizeof detail, "machine %s did not come back within its lease", n->n.name);
    size_t count;
    FG_AUTO_FREE struct entry **leases = leases_of(n, &count);
    for (size_t i = 0; i < count; i++)
        end_lost(core, leases[i], detail, now_ns, fx);
}

static void task_due(struct fg_core *core, struct entry *e, int64_t now_ns, struct fg_effects *fx)
{
    if (e->t.state == FG_STATE_QUEUED)
        core_end_queued(core, e, FG_STATE_EXPIRED, FG_REASON_QUEUE_LIMIT, "it waited longer than its queue limit", now_ns, fx);
    else if (e->killing)
        core_kill(core, e, e->kill_reason, now_ns, fx);
    else if (e->t.state == FG_STATE_STARTING)
        core_kill(core, e, FG_REASON_STARTUP_LIMIT, now_ns, fx);
    else
        core_kill(core, e, core_cost_limit_at(core, e) <= now_ns ? FG_REASON_MAX_COST : FG_REASON_TIME_LIMIT, now_ns, fx);
}

/* Each step moves its deadline into the future or takes it away, so this ends. */
void core_tick(struct fg_core *core, int64_t now_ns, struct fg_effects *fx)
{
    for (struct timer *due; (due = timer_first(core)) && due->due_ns <= now_ns;) {
        if (due->kind == TIMER_NODE)
            node_due(core, core_node(core, due->id), now_ns, fx);
        else
            task_due(core, table_find(core, due->id), now_ns, fx);
    }
}
