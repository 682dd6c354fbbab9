/* core.c - the inputs that users make (submit, cancel, hold, release), and how a decision becomes an event.
 *
 * A decision builds its event, core_emit applies it to the state and appends it to the effects. What apply refuses here
 * is a bug of the decision, so it stops the process: nothing of this turn has reached the disk or an agent. */
#include <stdio.h>
#include <string.h>

#include "control/core_private.h"

void core_broken(const char *what, const char *file, int line)
{
    fprintf(stderr, "fastgpu: core: invariant broken: %s (%s:%d)\n", what, file, line);
    abort();
}

struct fg_core *fg_core_create(const struct fg_core_config *config)
{
    struct fg_core *core = fg_alloc(sizeof *core);
    core->config = *config;
    if (core->config.window == 0)
        core->config.window = 1000;
    struct fg_price *prices = fg_alloc((config->price_count + 1) * sizeof *prices);
    if (config->price_count)
        memcpy(prices, config->prices, config->price_count * sizeof *prices);
    core->config.prices = prices;
    core->next_epoch = 1;
    core->history = fg_history_create();
    core->demand = fg_demand_create(config->half_life_ns);
    core->history_version = 1;
    core->room_version = 1;
    core->rooms = fg_rooms_create();
    return core;
}

void fg_core_destroy(struct fg_core *core)
{
    if (!core)
        return;
    table_fini(core);
    for (size_t i = 0; i < core->nodes.count; i++)
        free(core->nodes.items[i]);
    fg_vec_fini(&core->nodes);
    fg_vec_fini(&core->devices);
    fg_vec_fini(&core->timers);
    fg_vec_fini(&core->changed);
    fg_vec_fini(&core->changed_nodes);
    fg_vec_fini(&core->plan_tasks);
    fg_vec_fini(&core->plan_entries);
    fg_vec_fini(&core->plan_devices);
    fg_rooms_destroy(core->rooms);
    fg_vec_fini(&core->some.devices);
    fg_vec_fini(&core->some.leases);
    fg_vec_fini(&core->plan_dirty);
    fg_vec_fini(&core->lend_due);
    fg_vec_fini(&core->kinds);
    for (size_t i = 0; i < core->accounts.count; i++)
        free(core->accounts.items[i]);
    fg_vec_fini(&core->accounts);
    fg_vec_fini(&core->gangs);
    lines_fini(core);
    for (size_t i = 0; i < core->reservation_count; i++)
        fg_reservation_fini(&core->reservations[i]);
    fg_history_destroy(core->history);
    fg_demand_destroy(core->demand);
    free((void *)core->config.prices);
    fg_vec_fini(&core->prices);
    fg_vec_fini(&core->drains);
    core_chains_fini(core);
    free(core);
}

void fg_effects_clear(struct fg_effects *fx)
{
    for (size_t i = 0; i < fx->events.count; i++)
        fg_event_fini(&fx->events.items[i]);
    fx->events.count = fx->actions.count = 0;
}

void fg_effects_fini(struct fg_effects *fx)
{
    fg_effects_clear(fx);
    fg_vec_fini(&fx->events);
    fg_vec_fini(&fx->actions);
}

void core_emit(struct fg_core *core, struct fg_effects *fx, int64_t now_ns, struct fg_event *ev)
{
    struct fg_error err;
    ev->seq = core->last_seq + 1;
    ev->time_ns = now_ns;
    if (fg_core_apply(core, ev, &err) < 0)
        core_broken(err.text, fg_event_name(ev->kind), 0);
    fg_vec_push(&fx->events, *ev);
}

void core_emit_task(struct fg_core *core, struct fg_effects *fx, int64_t now_ns, const struct entry *e, uint32_t attempt,
                    struct fg_event ev)
{
    ev.task = e->t.id;
    ev.tenant = e->t.tenant;
    ev.attempt = attempt;
    core_emit(core, fx, now_ns, &ev);
}

void core_act(struct fg_effects *fx, enum fg_action_kind kind, const struct entry *e, enum fg_reason reason)
{
    fg_vec_push(&fx->actions, (struct fg_action){.kind = kind, .node = e->t.lease.node, .task = e->t.id,
                .attempt = e->t.attempt, .epoch = e->t.lease.epoch, .lease = e->t.lease, .reason = reason});
}

/* "key\nbody-hash": the key was used before when its part up to the line end is known. */
static int check_idempotency(const struct fg_core *core, const struct fg_input *in, struct fg_error *err)
{
    const char *idem = in->submit.idempotency;
    const struct entry *first = idem ? table_find_key(core, in->submit.tenant, idem, strcspn(idem, "\n")) : NULL;
    if (!first)
        return 0;
    if (fg_streq(first->t.idempotency, idem))
        return fg_fail(err, FG_E_CONFLICT, "this idempotency key was used before");
    fg_fail(err, FG_E_IDEMPOTENCY_MISMATCH, "this idempotency key was used before with another body");
    return fg_fail_hint(err, "Use a fresh key for another task, or send the same body again.");
}

/* Of an array the first speaks for all. */
static int check_deadline(struct fg_core *core, const struct fg_input *in, int64_t now_ns, struct fg_error *err)
{
    const struct fg_spec *spec = in->submit.spec;
    enum fg_class_rule rule;
    struct fg_need need;
    if (spec->limits.deadline_ns <= 0 || (spec->array_size && !fg_id_eq(spec->array, in->task)))
        return 0;
    core_complete(core, spec, core_classify(core, spec, &rule), &need);
    return core_check_deadline(core, in->submit.tenant, spec, &need, spec->array_size, now_ns, err);
}

static int submit(struct fg_core *core, const struct fg_input *in, int64_t now_ns, struct fg_effects *fx, struct fg_error *err)
{
    if (table_find(core, in->task))
        return fg_fail(err, FG_E_CONFLICT, "a task with this id is there already");
    if (check_idempotency(core, in, err) < 0 || check_deadline(core, in, now_ns, err) < 0)
        return -1;
    struct fg_event ev = {.kind = FG_EV_TASK_SUBMITTED, .task = in->task, .tenant = in->submit.tenant, .attempt = 1};
    fg_spec_copy(&ev.submitted.spec, in->submit.spec);
    ev.submitted.idempotency = fg_strdup(in->submit.idempotency);
    core_emit(core, fx, now_ns, &ev);

    struct entry *e = table_find(core, in->task);
    enum fg_reason reason = e->t.held ? FG_REASON_HELD : FG_REASON_WAITING_CAPACITY;
    core_emit_task(core, fx, now_ns, e, 1, (struct fg_event){.kind = FG_EV_TASK_QUEUED, .queued = {.reason = reason}});
    enum fg_class_rule rule;
    enum fg_class class = core_classify(core, &e->t.spec, &rule);
    core_emit_task(core, fx, now_ns, e, 1, (struct fg_event){.kind = FG_EV_TASK_CLASSIFIED,
                   .classified = {.class = class, .rule = (uint16_t)rule}});
    return 0;
}

/* The task of an input from a user, or NULL with *err. */
static struct entry *asked_task(const struct fg_core *core, const struct fg_input *in, struct fg_error *err)
{
    struct entry *e = table_find(core, in->task);
    if (!e)
        fg_fail(err, FG_E_NOT_FOUND, "no such task");
    return e;
}

/* Asking twice is fine: the agent is told again. */
static int cancel(struct fg_core *core, const struct fg_input *in, int64_t now_ns, struct fg_effects *fx, struct fg_error *err)
{
    struct entry *e = asked_task(core, in, err);
    if (!e)
        return -1;
    if (fg_state_is_terminal(e->t.state))
        return fg_fail(err, FG_E_CONFLICT, "the task has ended (%s)", fg_state_name(e->t.state));
    if (e->t.state == FG_STATE_QUEUED) {
        core_end_queued(core, e, FG_STATE_CANCELED, FG_REASON_NONE, "canceled while it waited", now_ns, fx);
        return 0;
    }
    if (!e->t.cancel_requested)
        core_emit_task(core, fx, now_ns, e, e->t.attempt, (struct fg_event){.kind = FG_EV_TASK_CANCEL_REQUESTED});
    core_kill(core, e, FG_REASON_NONE, now_ns, fx);
    return 0;
}

static int hold(struct fg_core *core, const struct fg_input *in, bool held, int64_t now_ns, struct fg_effects *fx, struct fg_error *err)
{
    struct entry *e = asked_task(core, in, err);
    if (!e)
        return -1;
    if (e->t.state != FG_STATE_QUEUED)
        return fg_fail(err, FG_E_CONFLICT, "only a queued task can be held or released; this one is %s",
                       fg_state_name(e->t.state));
    if (e->t.held != held)
        core_emit_task(core, fx, now_ns, e, e->t.attempt,
                       (struct fg_event){.kind = held ? FG_EV_TASK_HELD : FG_EV_TASK_RELEASED});
    return 0;
}

static int weigh(struct fg_core *core, const struct fg_input *in, int64_t now_ns, struct fg_effects *fx, struct fg_error *err)
{
    const struct account *a = account_find(core, in->weight.tenant);
    if (fg_id_is_none(in->weight.tenant))
        return fg_fail(err, FG_E_INVALID, "no tenant is named");
    if (in->weight.weight < 1 || in->weight.weight > FG_WEIGHT_MAX) {
        fg_fail(err, FG_E_INVALID, "a weight is 1 to %u", FG_WEIGHT_MAX);
        return fg_fail_at(err, "/weight");
    }
    if ((a ? a->weight : 1) != in->weight.weight)
        core_emit(core, fx, now_ns, &(struct fg_event){.kind = FG_EV_TENANT_WEIGHTED, .tenant = in->weight.tenant,
                                                       .weighted = {.weight = in->weight.weight}});
    return 0;
}

int fg_core_handle(struct fg_core *core, const struct fg_input *in, int64_t now_ns, struct fg_effects *fx, struct fg_error *err)
{
    switch (in->kind) {
    case FG_IN_SUBMIT: return submit(core, in, now_ns, fx, err);
    case FG_IN_CANCEL: return cancel(core, in, now_ns, fx, err);
    case FG_IN_HOLD: return hold(core, in, true, now_ns, fx, err);
    case FG_IN_RELEASE: return hold(core, in, false, now_ns, fx, err);
    case FG_IN_WEIGHT: return weigh(core, in, now_ns, fx, err);
    case FG_IN_PRICE: return core_set_price(core, in, now_ns, fx, err);
    case FG_IN_DRAIN: return core_drain(core, in, now_ns, fx, err);
    case FG_IN_NODE_HELLO: return core_hello(core, in, now_ns, fx, err);
    case FG_IN_NODE_GONE: core_gone(core, in->node.node); return 0;
    case FG_IN_NODE_ALIVE: core_alive(core, in->node.node, now_ns); return 0;
    case FG_IN_REPORT: return core_report(core, in, now_ns, fx, err);
    case FG_IN_TICK: core_tick(core, now_ns, fx); return 0;
    }
    return fg_fail(err, FG_E_INTERNAL, "unknown input %d", (int)in->kind);
}
