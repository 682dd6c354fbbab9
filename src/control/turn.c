/* turn.c - a turn of the loop: what came in since the last one becomes one batch of the store, and its effects are
 * performed once the batch is on disk.
 *
 *     open --fg_turn_end--> committing --done--> publish, wake, answer, act, evict
 *                                     \--failed-> fg_server_lose; those who wait get 507
 *
 * While one batch commits the next may queue behind it (the writer merges what waits), so nothing is ever delayed to
 * make a batch larger. A turn that changed nothing but has waiting calls or actions rides with the newest batch that
 * is on its way, since what it answers may rest on that one's events. */
#include <string.h>
#include "base/log.h"
#include "control/metrics.h"
#include "control/nodes.h"
#include "control/server.h"
#include "control/stream.h"

struct fg_turn {
    struct fg_link link;                 /* in server->committing */
    struct fg_server *server;
    struct fg_link calls;
    /* With the connection the node had when it was decided: through another one it would contradict what that one's
     * hello decided. */
    FG_VEC(struct decided { struct fg_action action; uint64_t connection; }) actions;
    FG_VEC(struct fg_store_aux) aux;     /* while open: rows of the shell's own */
    FG_VEC(struct fg_store_own) owns;
    FG_VEC(fg_id) changed;               /* tasks whose rows are in the batch, in id order */
    FG_VEC(fg_id) settled;
    int64_t handed_ns;
};

static struct fg_turn *turn_open(struct fg_server *s)
{
    if (!s->turn) {
        s->turn = fg_alloc(sizeof *s->turn);
        s->turn->server = s;
        fg_list_init(&s->turn->calls);
    }
    return s->turn;
}

static void turn_free(struct fg_turn *t)
{
    for (size_t i = 0; i < t->aux.count; i++) {
        free(t->aux.items[i].key);
        free(t->aux.items[i].doc);
    }
    fg_vec_fini(&t->aux);
    fg_vec_fini(&t->owns);
    fg_vec_fini(&t->actions);
    fg_vec_fini(&t->changed);
    fg_vec_fini(&t->settled);
    free(t);
}

static void take_actions(struct fg_server *s)
{
    for (size_t i = 0; i < s->fx.actions.count; i++) {
        const struct fg_action *action = &s->fx.actions.items[i];
        fg_vec_push(&s->turn->actions, (struct decided){*action, fg_nodes_connection(s, action->node)});
    }
    s->fx.actions.count = 0;
}

int fg_turn_input(struct fg_server *s, const struct fg_input *in, struct fg_error *err)
{
    if (!s->core) {
        if (err)
            *err = s->down;
        return -1;
    }
    turn_open(s);
    if (fg_core_handle(s->core, in, fg_server_now(s), &s->fx, err))
        return -1;
    take_actions(s);
    return 0;
}

void fg_turn_aux(struct fg_server *s, const char *key, const char *doc)
{
    fg_vec_push(&turn_open(s)->aux, (struct fg_store_aux){fg_strdup(key), fg_strdup(doc)});
}

void fg_turn_own(struct fg_server *s, const char sha256[65], fg_id tenant, uint64_t size)
{
    struct fg_store_own *own = fg_vec_add(&turn_open(s)->owns);
    *own = (struct fg_store_own){.tenant = tenant, .size = size, .time_ns = fg_server_now(s)};
    memcpy(own->sha256, sha256, sizeof own->sha256);
}

void fg_turn_wait(struct fg_call *call, fg_call_fn *resume)
{
    call->resume = resume;
    fg_list_push(&turn_open(call->server)->calls, &call->link);
}

static int id_order(const void *a, const void *b)
{
    return fg_id_cmp(*(const fg_id *)a, *(const fg_id *)b);
}

bool fg_turn_pending(const struct fg_server *s, fg_id task)
{
    for (size_t i = s->fx.events.count; i-- > 0;)
        if (fg_id_eq(s->fx.events.items[i].task, task))
            return true;
    fg_list_each(l, &s->committing) {
        struct fg_turn *t = fg_link_of(l, struct fg_turn, link);
        if (t->changed.count && bsearch(&task, t->changed.items, t->changed.count, sizeof task, id_order))
            return true;
    }
    return false;
}

static void turn_fail_calls(struct fg_turn *t, const struct fg_error *why)
{
    for (struct fg_link *l; (l = fg_list_pop(&t->calls));) {
        struct fg_call *call = fg_link_of(l, struct fg_call, link);
        call->resume(call, why);
    }
}

void fg_turn_abandon(struct fg_server *s, const struct fg_error *why)
{
    struct fg_turn *t = fg_take_ptr(s->turn);
    fg_effects_clear(&s->fx);
    if (!t)
        return;
    turn_fail_calls(t, why);
    turn_free(t);
}

/* --- the batch --- */

struct batch_maker { struct fg_turn *turn; struct fg_store_batch *batch; size_t next_event; struct fg_str text; };

/* What was just encoded, in memory of its own size: 20,000 rows a second are not grown step by step. */
static char *text_of(struct batch_maker *m)
{
    return fg_strndup(fg_str_cstr(&m->text), m->text.len);
}

/* The submit of task in this turn, or NULL when it is not new. Rows come in id order and ids grow with time, so that one
 * pass over the events serves all rows. */
static const struct fg_event *next_submitted(struct fg_server *s, struct batch_maker *m, fg_id task)
{
    for (; m->next_event < s->fx.events.count; m->next_event++) {
        const struct fg_event *ev = &s->fx.events.items[m->next_event];
        int order = ev->kind == FG_EV_TASK_SUBMITTED ? fg_id_cmp(ev->task, task) : -1;
        if (order >= 0)
            return order == 0 ? ev : NULL;
    }
    return NULL;
}

static void row_new(struct fg_store_task *row, const struct fg_event *ev)
{
    row->spec = fg_strdup(ev->submitted.spec.json);
    const char *idempotency = ev->submitted.idempotency;
    const char *newline = idempotency ? strrchr(idempotency, '\n') : NULL;
    if (!newline)
        return;
    row->idempotency_key = fg_strndup(idempotency, (size_t)(newline - idempotency));
    row->idempotency_body = fg_strdup(newline + 1);
}

static void row_add(void *arg, const struct fg_task *task, const char *aux_key, const char *aux_doc)
{
    struct batch_maker *m = arg;
    struct fg_server *s = m->turn->server;
    if (!task) {
        fg_vec_push(&m->batch->aux, (struct fg_store_aux){fg_strdup(aux_key), fg_strdup(aux_doc)});
        return;
    }
    struct fg_store_task *row = fg_vec_add(&m->batch->tasks);
    fg_str_clear(&m->text);
    fg_task_encode(task, &m->text);
    *row = (struct fg_store_task){
        .id = task->id, .tenant = task->tenant, .state = (int)task->state, .settled = task->settled,
        .submitted_ns = task->submitted_ns, .finished_ns = task->finished_ns, .type = (int)task->spec.type,
        .cost_nanousd = task->cost_nanousd, .run_ns = task->outcome.run_ns, .device_ns = task->usage.device_ns, .name = fg_strdup(task->spec.name), .model = fg_strdup(task->spec.model),
        .doc = text_of(m)};
    const struct fg_event *ev = next_submitted(s, m, task->id);
    if (ev)
        row_new(row, ev);
    fg_vec_push(&m->turn->changed, task->id);
    if (task->settled)
        fg_vec_push(&m->turn->settled, task->id);
}

static void batch_events(struct fg_server *s, struct batch_maker *m)
{
    struct fg_store_batch *batch = m->batch;
    fg_vec_reserve(&batch->events, s->fx.events.count);
    for (size_t i = 0; i < s->fx.events.count; i++) {
        const struct fg_event *ev = &s->fx.events.items[i];
        fg_str_clear(&m->text);
        fg_event_encode(ev, &m->text);
        fg_vec_push(&batch->events, (struct fg_store_event){
            .seq = ev->seq, .time_ns = ev->time_ns, .task = ev->task, .tenant = ev->tenant,
            .attempt = ev->attempt, .kind = (int)ev->kind, .body = text_of(m)});
    }
}

/* --- when it is on disk --- */

static void turn_perform(struct fg_turn *t)
{
    struct fg_server *s = t->server;
    for (struct fg_link *l; (l = fg_list_pop(&t->calls));) {
        struct fg_call *call = fg_link_of(l, struct fg_call, link);
        call->resume(call, NULL);
    }
    for (size_t i = 0; i < t->actions.count; i++)
        fg_nodes_perform(s, &t->actions.items[i].action, t->actions.items[i].connection);
    if (s->core && t->settled.count)
        fg_core_evict(s->core, t->settled.items, t->settled.count);
}

static void turn_publish(struct fg_server *s, const struct fg_store_batch *batch)
{
    for (size_t i = 0; i < batch->events.count; i++)
        fg_metrics_event(s, &batch->events.items[i]);
    fg_streams_publish(s, batch);
    for (size_t i = 0; i < batch->events.count; i++)
        if (batch->events.items[i].kind == FG_EV_TASK_FINISHED)
            fg_wait_wake(s, batch->events.items[i].task);
}

static void turn_done(void *arg, struct fg_store_batch *batch, const struct fg_error *err)
{
    struct fg_turn *t = arg;
    struct fg_server *s = t->server;
    fg_link_leave(&t->link);
    if (err) {
        fg_server_lose(s, err);
        turn_fail_calls(t, &s->down);
    } else {
        fg_metrics_commit(s, fg_server_now(s) - t->handed_ns);
        turn_publish(s, batch);
        turn_perform(t);
    }
    fg_store_batch_destroy(batch);
    turn_free(t);
}

/* Nothing to write: go with the newest batch under way, or at once when the disk has all. */
static void turn_ride(struct fg_server *s, struct fg_turn *t)
{
    if (fg_list_empty(&s->committing)) {
        turn_perform(t);
    } else {
        struct fg_turn *newest = fg_link_of(s->committing.prev, struct fg_turn, link);
        fg_list_splice(&newest->calls, &t->calls);
        for (size_t i = 0; i < t->actions.count; i++)
            fg_vec_push(&newest->actions, t->actions.items[i]);
    }
    turn_free(t);
}

static void arm_tick(struct fg_server *s, int64_t now)
{
    int64_t due = fg_core_next_deadline(s->core);
    int64_t in_ms = due == INT64_MAX || now < s->paused_until_ns ? 1000 : due <= now ? 0 : (due - now) / 1000000 + 1;
    uv_timer_start(&s->tick, s->tick.timer_cb, (uint64_t)FG_MIN(in_ms, 1000), 0);
}

void fg_turn_end(struct fg_server *s)
{
    if (!s->turn)
        return;
    if (!s->core) {
        fg_turn_abandon(s, &s->down);
        return;
    }
    struct fg_error err;
    int64_t now = fg_server_now(s);
    if (now >= s->paused_until_ns && fg_core_dispatch(s->core, now, &s->fx, &err))
        fg_log_error("planning: %s", err.text);
    take_actions(s);
    struct fg_turn *t = fg_take_ptr(s->turn);
    struct fg_store_batch *batch = fg_store_batch_create();
    struct batch_maker maker = {.turn = t, .batch = batch};
    batch_events(s, &maker);
    fg_core_changes(s->core, row_add, &maker);
    fg_str_fini(&maker.text);
    for (size_t i = 0; i < t->aux.count; i++)
        fg_vec_push(&batch->aux, t->aux.items[i]);
    t->aux.count = 0;
    for (size_t i = 0; i < t->owns.count; i++)
        fg_vec_push(&batch->owns, t->owns.items[i]);
    fg_effects_clear(&s->fx);
    arm_tick(s, now);
    if (!batch->events.count && !batch->tasks.count && !batch->aux.count && !batch->owns.count) {
        fg_store_batch_destroy(batch);
        turn_ride(s, t);
        return;
    }
    t->handed_ns = now;
    batch->done = turn_done;
    batch->arg = t;
    fg_list_push(&s->committing, &t->link);
    fg_store_write(s->store, batch);
}
