/* report.c - what agents say about attempts, and how an attempt ends.
 *
 * A report counts when it is of the live lease of its task: same node, attempt and epoch. Any other is of the past: the
 * agent is told to kill what may still run of it (not after its end) and to forget it; its ack stops repeats.
 *
 * The end of an attempt, by the first rule that fits:
 *   1 its owner asked to cancel            -> canceled
 *   2 we had it killed for a limit         -> failed with that limit as the reason, unless it was done before
 *   3 its place was taken                  -> queued again, attempt + 1; costs no retry
 *   4 it failed by a cause in retry_on and retries are left -> queued again, attempt + 1
 *   5 else                                 -> as the agent says
 * The charge of an attempt is taken when it ends; what ended through our fault is free (meter). */
#include "control/core_private.h"
#include "meter/meter.h"

static uint8_t retry_cause(enum fg_reason reason)
{
    switch (reason) {
    case FG_REASON_NODE_LOST:
    case FG_REASON_DEVICE_FAULT:
    case FG_REASON_INTERNAL: return FG_RETRY_INFRA;
    case FG_REASON_OOM_HOST:
    case FG_REASON_OOM_VRAM: return FG_RETRY_OOM;
    case FG_REASON_USER_ERROR: return FG_RETRY_ERROR;
    default: return 0;
    }
}

static uint64_t device_memory(const struct fg_core *core, const struct fg_task *t)
{
    const struct device *d = core_device(core, t->lease.device);
    return d ? d->d.memory_bytes : 0;
}

/* What the attempt that ends with outcome costs, by the meter, before any event says so. */
static int64_t attempt_cost(const struct fg_core *core, const struct fg_task *t, const struct fg_outcome *outcome)
{
    struct fg_line lines[FG_PHASE_COUNT];
    size_t n;
    struct fg_task as_ended = *t;        /* borrows; only read */
    as_ended.state = outcome->state;
    as_ended.reason = outcome->reason;
    as_ended.outcome = *outcome;
    return fg_meter_task(&as_ended, device_memory(core, t), lines, &n);
}

/* Not again: out of memory on the whole of the largest device, and what would start with its max_cost spent. */
static bool retries(const struct fg_core *core, const struct fg_task *t, const struct fg_outcome *outcome)
{
    uint8_t cause = retry_cause(outcome->reason);
    if (outcome->state == FG_STATE_FAILED && outcome->reason == FG_REASON_PREEMPTED)
        return true;
    int64_t max_cost = t->spec.limits.max_cost_nanousd;
    if (outcome->state != FG_STATE_FAILED || t->retries_left == 0 || !(t->spec.retry_on & cause))
        return false;
    if (max_cost > 0 && attempt_cost(core, t, outcome) >= max_cost - t->cost_nanousd)
        return false;
    if (outcome->reason == FG_REASON_OOM_HOST && t->lease.host_bytes)
        return core_device(core, t->lease.host) && t->lease.host_bytes < core_largest_memory(core, core_device(core, t->lease.host)->d.kind);
    return cause != FG_RETRY_OOM || t->lease.memory_bytes < core_largest_memory(core, t->spec.need.device_kind);
}

static void release(struct fg_core *core, struct entry *e, uint32_t attempt, int64_t now_ns, struct fg_effects *fx)
{
    if (e->t.lease_live)
        core_emit_task(core, fx, now_ns, e, attempt, (struct fg_event){.kind = FG_EV_LEASE_RELEASED,
                       .released = {.epoch = e->t.lease.epoch}});
}

static void queue_again(struct fg_core *core, struct entry *e, const struct fg_outcome *outcome, int64_t now_ns, struct fg_effects *fx)
{
    uint32_t ended = e->t.attempt;
    int64_t cost = attempt_cost(core, &e->t, outcome);
    if (outcome->usage.seq > e->t.usage.seq)
        core_emit_task(core, fx, now_ns, e, ended, (struct fg_event){.kind = FG_EV_USAGE_RECORDED, .usage = outcome->usage});
    core_emit_task(core, fx, now_ns, e, ended + 1, (struct fg_event){.kind = FG_EV_TASK_QUEUED,
                   .queued = {.reason = outcome->reason, .uses_retry = outcome->reason != FG_REASON_PREEMPTED, .cost_nanousd = cost}});
    release(core, e, ended, now_ns, fx);
}

static void finish(struct fg_core *core, struct entry *e, struct fg_outcome *outcome, int64_t now_ns, struct fg_effects *fx)
{
    struct fg_event ev = {.kind = FG_EV_TASK_FINISHED, .finished = *outcome};
    *outcome = (struct fg_outcome){0};
    core_emit_task(core, fx, now_ns, e, e->t.attempt, ev);
    release(core, e, e->t.attempt, now_ns, fx);

    struct fg_line lines[FG_PHASE_COUNT];
    size_t n;
    int64_t cost = fg_meter_task(&e->t, device_memory(core, &e->t), lines, &n), total;
    FG_AUTO_STR struct fg_str text = {0};
    fg_lines_encode(lines, n, &text);
    if (__builtin_add_overflow(cost, e->t.cost_nanousd, &total))
        total = INT64_MAX;
    core_emit_task(core, fx, now_ns, e, e->t.attempt, (struct fg_event){.kind = FG_EV_TASK_SETTLED,
                   .settled = {.cost_nanousd = total, .lines = fg_str_take(&text)}});
}

void core_end_attempt(struct fg_core *core, struct entry *e, struct fg_outcome *outcome, int64_t now_ns, struct fg_effects *fx)
{
    if (e->t.cancel_requested) {
        outcome->state = FG_STATE_CANCELED;
        outcome->reason = FG_REASON_NONE;
    } else if (e->killing && outcome->state != FG_STATE_SUCCEEDED) {
        outcome->state = FG_STATE_FAILED;
        outcome->reason = e->kill_reason;
    }
    if (retries(core, &e->t, outcome))
        queue_again(core, e, outcome, now_ns, fx);
    else
        finish(core, e, outcome, now_ns, fx);
    fg_outcome_fini(outcome);
}

static void end_one(struct fg_core *core, struct entry *e, enum fg_state state, enum fg_reason reason, const char *detail,
                    int64_t now_ns, struct fg_effects *fx)
{
    struct fg_outcome outcome = {.state = state, .reason = reason, .exit_code = -1, .detail = fg_strdup(detail)};
    finish(core, e, &outcome, now_ns, fx);
}

/* A gang that has not started can then never be whole: all of it ends. */
void core_end_queued(struct fg_core *core, struct entry *e, enum fg_state state, enum fg_reason reason, const char *detail,
                     int64_t now_ns, struct fg_effects *fx)
{
    fg_id array = e->t.spec.gang && e->t.attempt == 1 ? e->t.spec.array : FG_ID_NONE;
    end_one(core, e, state, reason, detail, now_ns, fx);
    for (struct gang *g; !fg_id_is_none(array) && (g = gang_of(core, array)) && g->first->t.state == FG_STATE_QUEUED;)
        end_one(core, g->first, state, reason, "its gang cannot be whole any more: one of it ended before the start", now_ns, fx);
}

static void answer(struct fg_effects *fx, const struct fg_input *in, enum fg_action_kind kind)
{
    fg_vec_push(&fx->actions, (struct fg_action){.kind = kind, .node = in->report.node, .task = in->task,
                .attempt = in->report.attempt, .epoch = in->report.epoch, .reason = FG_REASON_NONE,
                .report = in->report.kind, .report_seq = in->report.usage.seq});
}

static void started(struct fg_core *core, struct entry *e, const struct fg_input *in, int64_t now_ns, struct fg_effects *fx)
{
    if (e->t.state == FG_STATE_STARTING)
        core_emit_task(core, fx, now_ns, e, e->t.attempt,
                       (struct fg_event){.kind = FG_EV_TASK_STARTED, .started = {.pull_ns = in->report.pull_ns}});
}

static void used(struct fg_core *core, struct entry *e, const struct fg_input *in, int64_t now_ns, struct fg_effects *fx)
{
    const struct fg_usage *usage = &in->report.usage;
    if (usage->seq <= e->t.usage.seq)
        return;
    core_emit_task(core, fx, now_ns, e, e->t.attempt, (struct fg_event){.kind = FG_EV_USAGE_RECORDED, .usage = *usage});
    int64_t limit_at = e->t.state == FG_STATE_RUNNING ? core_cost_limit_at(core, e) : INT64_MAX;
    if (limit_at != INT64_MAX && usage->wall_ns >= limit_at - e->t.started_ns && !e->killing)
        core_kill(core, e, FG_REASON_MAX_COST, now_ns, fx);
}

int core_report(struct fg_core *core, const struct fg_input *in, int64_t now_ns, struct fg_effects *fx, struct fg_error *err)
{
    enum fg_report_kind kind = in->report.kind;
    struct entry *e = table_find(core, in->task);
    if (kind == FG_REPORT_FINISHED && !in->report.outcome)
        return fg_fail(err, FG_E_INVALID, "a finished report without an outcome");
    bool current = e && e->t.lease_live && e->t.attempt == in->report.attempt && e->t.lease.epoch == in->report.epoch &&
                   fg_id_eq(e->t.lease.node, in->report.node);
    if (current && kind == FG_REPORT_STARTED)
        started(core, e, in, now_ns, fx);
    if (current && kind == FG_REPORT_USAGE)
        used(core, e, in, now_ns, fx);
    if (current && kind == FG_REPORT_PARKING)
        core_parking_said(core, e, in, now_ns, fx);
    if (current && kind == FG_REPORT_FINISHED) {
        struct fg_outcome outcome;
        fg_outcome_copy(&outcome, in->report.outcome);
        if (!fg_state_is_terminal(outcome.state)) {
            outcome.state = FG_STATE_FAILED;
            outcome.reason = FG_REASON_INTERNAL;
        }
        core_end_attempt(core, e, &outcome, now_ns, fx);
    }
    if (!current && kind != FG_REPORT_FINISHED)
        answer(fx, in, FG_ACT_KILL);
    answer(fx, in, FG_ACT_ACK);
    if (!current || kind == FG_REPORT_FINISHED)
        answer(fx, in, FG_ACT_FORGET);
    return 0;
}
