/* server.c - the shell around the core, as serve.c is: inputs in, one batch per turn to the disk in order, actions after
 * the commit through the connection they were decided for, everything dropped and loaded anew when a commit fails.
 *
 * While the disk takes no writes: submits are refused, reports are left for later, hellos that say nothing new and
 * heartbeats go on, so that leases live. */
#include <stdio.h>
#include <string.h>

#include "sim/sim_private.h"

static void start_commit(struct world *w);

/* --- loading --- */

static int load_rows(struct world *w, struct fg_core *core, struct fg_error *err)
{
    for (size_t i = 0; i < w->disk.rows.count; i++) {
        const struct row *row = &w->disk.rows.items[i];
        if (row->settled)
            continue;
        struct fg_task task = {.id = row->id, .tenant = row->tenant};
        if (fg_task_decode(row->doc, strlen(row->doc), &task, err) < 0)
            return -1;
        task.spec.json = fg_strdup(row->spec);
        if (fg_core_load_task(core, &task, err) < 0)
            return -1;
    }
    for (size_t i = 0; i < w->disk.aux.count; i++)
        if (fg_core_load_aux(core, w->disk.aux.items[i].key, w->disk.aux.items[i].doc, err) < 0)
            return -1;
    return 0;
}

static int load_log(struct world *w, struct fg_core *core, struct fg_error *err)
{
    for (size_t i = 0; i < w->disk.log.count; i++) {
        const struct record *r = &w->disk.log.items[i];
        struct fg_event ev = {.seq = r->seq, .time_ns = r->time_ns, .kind = r->kind, .task = r->task, .tenant = r->tenant, .attempt = r->attempt};
        if (fg_event_decode(r->body, strlen(r->body), &ev, err) < 0)
            return -1;
        int rc = fg_core_apply(core, &ev, err);
        fg_event_fini(&ev);
        if (rc < 0)
            return -1;
    }
    return 0;
}

struct fg_core *server_rebuild(struct world *w, bool replay)
{
    static const struct fg_price prices[] = {{"", 1000000, 300000}, {"card-a", 7000000, 0}, {"card-b", 20000000, 9000000}};
    const struct fg_core_config config = {.lease_ns = LEASE_NS, .lease_margin_ns = MARGIN_NS, .window = 1000,
                                          .prices = prices, .price_count = FG_COUNT(prices), .half_life_ns = 3600 * SEC, .improve_iterations = 2000};
    struct fg_error err = {0};
    struct fg_core *core = fg_core_create(&config);
    if ((replay ? load_log : load_rows)(w, core, &err) < 0)
        broken(w, "%s: %s", replay ? "replay" : "load", err.text);
    fg_core_loaded(core, w->disk.log.count);
    return core;
}

static void load(struct world *w)
{
    w->server.core = server_rebuild(w, false);
    fg_core_verify(w->server.core);
    if (rnd(w, 1 + w->disk.log.count / 100) != 0)
        return;
    w->result->replays++;
    struct fg_core *replayed = server_rebuild(w, true);
    fg_core_verify(replayed);
    if (fg_core_hash(replayed) != fg_core_hash(w->server.core))
        broken(w, "the log of %zu events replays to another state than the rows have", w->disk.log.count);
    fg_core_destroy(replayed);
}

/* --- turns --- */

static void take_row(void *arg, const struct fg_task *task, const char *key, const char *doc)
{
    struct batch *b = arg;
    if (!task) {
        fg_vec_push(&b->aux, (struct aux){fg_strdup(key), fg_strdup(doc)});
        return;
    }
    struct fg_str text = {0};
    fg_task_encode(task, &text);
    fg_vec_push(&b->rows, (struct row){.id = task->id, .tenant = task->tenant, .doc = fg_str_take(&text),
                .spec = fg_strdup(task->spec.json), .idempotency = fg_strdup(task->idempotency), .settled = task->settled});
}

static int machine_of(const struct world *w, fg_id node)
{
    for (int i = 0; i < w->machine_count; i++)
        if (fg_id_eq(w->machines[i].node.id, node))
            return i;
    return -1;
}

static void forget_connections(struct world *w)
{
    for (int i = 0; i < w->machine_count; i++) {
        net_break(w, i, true, false);
        w->machines[i].link.dead_to_server = FG_MAX(w->machines[i].link.dead_to_server, w->server.connections[i]);
        w->server.connections[i] = 0;
    }
}

static void drop_memory(struct world *w)
{
    for (size_t i = 0; i < w->server.waiting.count; i++)
        batch_destroy(w->server.waiting.items[i]);
    w->server.waiting.count = w->server.committing = 0;
    fg_core_destroy(w->server.core);
    w->server.core = NULL;
    w->server.life++;
    forget_connections(w);
}

static void write_failed(struct world *w)
{
    trace(w, "server: write failed, loading anew");
    drop_memory(w);
    w->server.degraded = true;
    w->server.refuse_until_ns = w->now + 15 * SEC;
    load(w);
}

/* Hand what was decided to the disk. */
static void queue_batch(struct world *w, struct fg_effects *fx, const struct fg_input *in, size_t n)
{
    struct batch *b = fg_alloc(sizeof *b);
    for (size_t i = 0; i < n; i++)
        if (in[i].kind == FG_IN_SUBMIT)
            fg_vec_push(&b->submitted, in[i].task);
        else if (in[i].kind == FG_IN_CANCEL)
            b->canceled = in[i].task;
    for (size_t i = 0; i < fx->events.count; i++) {
        w->result->nodes_lost += fx->events.items[i].kind == FG_EV_NODE_LOST;
        fg_vec_push(&b->events, fx->events.items[i]);
    }
    fx->events.count = 0;                /* moved */
    for (size_t i = 0; i < fx->actions.count; i++) {
        int machine = machine_of(w, fx->actions.items[i].node);
        fg_vec_push(&b->sends, (struct send){fx->actions.items[i], machine < 0 ? 0 : w->server.connections[machine]});
    }
    fg_core_changes(w->server.core, take_row, b);
    fg_vec_push(&w->server.waiting, b);
    start_commit(w);
}

/* Inputs that come in one turn; only submits come in numbers, and when the first is refused so are all. */
static int turn_all(struct world *w, const struct fg_input *in, size_t n, struct fg_error *err)
{
    struct fg_effects fx = {0};
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++) {
        rc = fg_core_handle(w->server.core, &in[i], w->now, &fx, err);
        if (rc < 0 && (fx.events.count || fx.actions.count))
            broken(w, "a refused input had effects");
    }
    if (rc == 0 && !w->server.degraded && fg_core_dispatch(w->server.core, w->now, &fx, err) < 0)
        broken(w, "dispatch: %s", err->text);
    bool awaited = in->kind == FG_IN_SUBMIT || in->kind == FG_IN_CANCEL;
    if (rc == 0 && w->server.degraded && fx.events.count)
        write_failed(w);
    else if (rc == 0 && (fx.events.count || fx.actions.count || awaited))
        queue_batch(w, &fx, in, n);
    fg_effects_fini(&fx);
    if (++w->server.turns % 64 == 0)
        fg_core_verify(w->server.core);
    return rc;
}

static int turn(struct world *w, const struct fg_input *in, struct fg_error *err) { return turn_all(w, in, 1, err); }

/* --- commits --- */

static void committed(struct world *w, const struct batch *b)
{
    FG_VEC(fg_id) settled = {0};
    for (size_t i = 0; i < b->events.count; i++) {
        oracle_event(w, &b->events.items[i]);
        if (b->events.items[i].kind == FG_EV_TASK_SETTLED)
            fg_vec_push(&settled, b->events.items[i].task);
    }
    oracle_batch(w, b);
    for (size_t i = 0; i < b->submitted.count; i++)
        oracle_acked(w, b->submitted.items[i], FG_ID_NONE);
    oracle_acked(w, FG_ID_NONE, b->canceled);
    for (size_t i = 0; i < b->sends.count; i++) {
        int machine = machine_of(w, b->sends.items[i].action.node);
        uint64_t connection = b->sends.items[i].connection;
        if (machine < 0 || !connection || connection != w->server.connections[machine])
            continue;
        struct msg *msg = fg_alloc(sizeof *msg);
        *msg = (struct msg){.kind = MSG_ACTION, .connection = connection, .action = b->sends.items[i].action};
        const struct fg_task *t = fg_core_task(w->server.core, msg->action.task);
        const struct fg_device *d = fg_core_device(w->server.core, msg->action.kind == FG_ACT_MOVE ? msg->action.lease.moving_to : msg->action.lease.device);
        if (t)
            msg->limits = t->spec.limits;
        snprintf(msg->device, sizeof msg->device, "%s", d ? d->name : "");
        net_to_agent(w, machine, msg);
    }
    fg_core_evict(w->server.core, settled.items, settled.count);
    fg_vec_fini(&settled);
}

static void commit_done(struct world *w, int who, uint64_t life, void *data)
{
    struct server *s = &w->server;
    if (life != s->life)
        return;
    if (w->disk.full) {
        write_failed(w);
        return;
    }
    size_t n = s->committing;
    for (size_t i = 0; i < n; i++)
        disk_commit(&w->disk, s->waiting.items[i]);
    for (size_t i = 0; i < n; i++) {
        committed(w, s->waiting.items[i]);
        batch_destroy(s->waiting.items[i]);
    }
    memmove(s->waiting.items, s->waiting.items + n, (s->waiting.count - n) * sizeof *s->waiting.items);
    s->waiting.count -= n;
    s->committing = 0;
    start_commit(w);
}

/* All that waits goes into one transaction. Some disks are slow, some very. */
static void start_commit(struct world *w)
{
    struct server *s = &w->server;
    if (s->committing || s->waiting.count == 0)
        return;
    int64_t span = between(w, MS / 5, 8 * MS);
    if (!w->calm && chance(w, w->climate.slow_write))
        span = chance(w, w->climate.very_slow_write) ? between(w, LEASE_NS, 2 * LEASE_NS) : between(w, 50 * MS, 3 * SEC);
    s->committing = s->waiting.count;
    at(w, w->now + span, commit_done, 0, s->life, NULL);
}

/* --- what arrives --- */

void server_gone(struct world *w, int machine, uint64_t connection)
{
    struct fg_error err;
    if (!w->server.up || !connection || w->server.connections[machine] != connection)
        return;
    trace(w, "server: machine %d is gone", machine);
    w->server.connections[machine] = 0;
    struct fg_input in = {.kind = FG_IN_NODE_GONE, .node = {.node = w->machines[machine].node.id}};
    turn(w, &in, &err);
}

static void answer_alive(struct world *w, int machine, const struct msg *msg)
{
    struct msg *reply = fg_alloc(sizeof *reply);
    *reply = (struct msg){.kind = MSG_WELCOME, .connection = msg->connection, .sent_ns = msg->sent_ns};
    net_to_agent(w, machine, reply);
}

static void hello(struct world *w, int machine, const struct msg *msg)
{
    const struct machine *m = &w->machines[machine];
    struct fg_error err;
    if (w->server.connections[machine] > msg->connection)
        return;
    if (w->now < w->server.refuse_until_ns) {
        net_break(w, machine, true, false);
        return;
    }
    server_gone(w, machine, w->server.connections[machine]);
    w->server.connections[machine] = msg->connection;
    struct fg_input in = {.kind = FG_IN_NODE_HELLO, .hello = {.node = &m->node, .devices = m->devices, .device_count = m->device_count,
                          .attempts = msg->attempts.items, .attempt_count = msg->attempts.count}};
    if (turn(w, &in, &err) < 0)
        broken(w, "hello refused: %s", err.text);
    else if (w->server.connections[machine] == msg->connection)
        answer_alive(w, machine, msg);
}

void server_receive(struct world *w, int machine, struct msg *msg)
{
    struct fg_error err = {0};
    struct fg_input in = {.kind = FG_IN_NODE_ALIVE, .node = {.node = w->machines[machine].node.id}};
    if (!w->server.up)
        return;
    if (msg->kind == MSG_HELLO) {
        w->server.heard_ns[machine] = w->now;
        hello(w, machine, msg);
        return;
    }
    if (w->server.connections[machine] != msg->connection)
        return;
    w->server.heard_ns[machine] = w->now;
    if (msg->kind == MSG_ALIVE) {
        turn(w, &in, &err);
        answer_alive(w, machine, msg);
    } else if (!w->server.degraded) {
        in = (struct fg_input){.kind = FG_IN_REPORT, .task = msg->task, .report = {.node = w->machines[machine].node.id,
             .attempt = msg->attempt, .epoch = msg->epoch, .kind = msg->report, .usage = msg->usage, .parking = msg->parking,
             .outcome = msg->report == FG_REPORT_FINISHED ? &msg->outcome : NULL}};
        if (turn(w, &in, &err) < 0)
            broken(w, "report refused: %s", err.text);
    }
}

int server_ask_all(struct world *w, const struct fg_input *in, size_t n, struct fg_error *err)
{
    if (!w->server.up)
        return fg_fail(err, FG_E_UNREACHABLE, "down");
    if (w->server.degraded)
        return fg_fail(err, FG_E_STORAGE_FULL, "disk full");
    return turn_all(w, in, n, err);
}

int server_ask(struct world *w, const struct fg_input *in, struct fg_error *err) { return server_ask_all(w, in, 1, err); }

/* --- its life --- */

static void tick(struct world *w, int who, uint64_t life, void *data)
{
    struct server *s = &w->server;
    struct fg_error err;
    if (life != s->life || !s->up)
        return;
    for (int i = 0; i < w->machine_count; i++)
        if (s->connections[i] && w->now - s->heard_ns[i] > SILENCE_NS)
            server_gone(w, i, s->connections[i]);
    if (s->degraded && !w->disk.full) {
        trace(w, "server: writes again");
        s->degraded = false;
        forget_connections(w);           /* agents repeat what they were not acked */
        for (int i = 0; i < w->machine_count; i++)
            turn(w, &(struct fg_input){.kind = FG_IN_NODE_GONE, .node = {.node = w->machines[i].node.id}}, &err);
    }
    if (!s->degraded)
        turn(w, &(struct fg_input){.kind = FG_IN_TICK}, &err);
    int64_t next = FG_MIN(w->now + SEC, FG_MAX(fg_core_next_deadline(s->core), w->now + MS));
    at(w, next, tick, 0, s->life, NULL);
}

void server_start(struct world *w)
{
    w->server.up = true;
    w->server.degraded = false;
    w->server.life++;
    load(w);
    trace(w, "server: up with %zu events", w->disk.log.count);
    at(w, w->now + MS, tick, 0, w->server.life, NULL);
}

static void restart(struct world *w, int who, uint64_t what, void *data) { server_start(w); }

/* What was being written is on disk or not: nobody knows which before looking. */
void server_crash(struct world *w, int64_t down_ns)
{
    struct server *s = &w->server;
    if (!s->up)
        return;
    trace(w, "server: dies for %.1f s", (double)down_ns / 1e9);
    w->result->crashes++;
    if (s->committing && !w->disk.full && chance(w, 500)) {
        for (size_t i = 0; i < s->committing; i++) {
            disk_commit(&w->disk, s->waiting.items[i]);
            for (size_t j = 0; j < s->waiting.items[i]->events.count; j++)
                oracle_event(w, &s->waiting.items[i]->events.items[j]);
            oracle_batch(w, s->waiting.items[i]);
        }
    }
    drop_memory(w);
    s->up = false;
    at(w, w->now + down_ns, restart, 0, 0, NULL);
}
