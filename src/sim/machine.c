/* machine.c - a machine: its agent, and the attempts that its supervisors keep alive whether or not the agent is.
 *
 * What a real agent must do and this one does: write an attempt down before starting it; start nothing twice; repeat
 * reports until they are acked; count its lease from when it sent what the server answered; kill at the lease's end
 * even while the agent is down (supervisors); after a reboot report what ran as lost. */
#include <stdio.h>
#include <string.h>

#include "sim/sim_private.h"

static struct attempt *find(struct machine *m, uint64_t epoch)
{
    for (size_t i = 0; i < m->attempts.count; i++)
        if (m->attempts.items[i]->epoch == epoch)
            return m->attempts.items[i];
    return NULL;
}

static void drop(struct machine *m, struct attempt *a)
{
    for (size_t i = 0; i < m->attempts.count; i++)
        if (m->attempts.items[i] == a) {
            memmove(&m->attempts.items[i], &m->attempts.items[i + 1], (--m->attempts.count - i) * sizeof a);
            free(a);
            return;
        }
}

/* --- reports --- */

static struct msg *report(const struct machine *m, const struct attempt *a, enum fg_report_kind kind)
{
    struct msg *msg = fg_alloc(sizeof *msg);
    *msg = (struct msg){.kind = MSG_REPORT, .connection = m->connection, .task = a->task, .attempt = a->number,
                        .epoch = a->epoch, .report = kind, .usage = a->usage, .outcome = a->outcome};
    if (kind == FG_REPORT_STARTED)
        msg->usage.seq = 0;
    return msg;
}

static void send_report(struct world *w, int index, const struct attempt *a, enum fg_report_kind kind)
{
    struct machine *m = &w->machines[index];
    if (m->on && m->agent_up && m->connection)
        net_to_server(w, index, report(m, a, kind));
}

/* All that is not acked, some of it twice, in no order: it all has been said before. */
static void repeat_reports(struct world *w, int index)
{
    struct machine *m = &w->machines[index];
    FG_VEC(struct msg *) all = {0};
    for (size_t i = 0; i < m->attempts.count; i++) {
        const struct attempt *a = m->attempts.items[i];
        for (int copies = chance(w, 200) ? 2 : 1; copies > 0; copies--) {
            if (a->started_sent && !a->started_acked)
                fg_vec_push(&all, report(m, a, FG_REPORT_STARTED));
            if (a->usage.seq > a->usage_acked && a->stage == STAGE_RUNNING)
                fg_vec_push(&all, report(m, a, FG_REPORT_USAGE));
            if (a->stage == STAGE_ENDED && (!a->ended_acked || chance(w, 100)))
                fg_vec_push(&all, report(m, a, FG_REPORT_FINISHED));
        }
    }
    for (size_t i = all.count; i > 1; i--) {
        size_t j = rnd(w, i);
        struct msg *swap = all.items[i - 1];
        all.items[i - 1] = all.items[j];
        all.items[j] = swap;
    }
    for (size_t i = 0; i < all.count; i++)
        net_to_server(w, index, all.items[i]);
    fg_vec_fini(&all);
}

/* --- attempts --- */

static void end(struct world *w, int index, struct attempt *a, const struct fg_outcome *outcome)
{
    if (a->stage == STAGE_ENDED)
        return;
    if (a->stage == STAGE_RUNNING) {
        oracle_process(w, index, a, false);
        a->usage.wall_ns = w->now - a->started_ns;
    }
    a->stage = STAGE_ENDED;
    a->outcome = *outcome;
    a->usage.seq++;
    a->outcome.usage = a->usage;
    a->outcome.run_ns = a->started_ns ? a->usage.wall_ns : 0;
    trace(w, "machine %d: %s/%u ended %s", index, short_id(a->task), a->number, fg_state_name(outcome->state));
    send_report(w, index, a, FG_REPORT_FINISHED);
}

static void ended(struct world *w, int index, uint64_t epoch, void *data)
{
    struct attempt *a = find(&w->machines[index], epoch);
    if (a && a->stage == STAGE_RUNNING && w->now >= a->ends_ns)
        end(w, index, a, &a->planned);
}

static void killed(struct world *w, int index, uint64_t epoch, void *data)
{
    struct attempt *a = find(&w->machines[index], epoch);
    if (!a || a->stage == STAGE_ENDED)
        return;
    struct fg_outcome outcome = {.state = FG_STATE_FAILED, .reason = a->kill_reason, .exit_code = -1, .signal = 9};
    if (a->kill_reason == FG_REASON_NONE)
        outcome.state = FG_STATE_CANCELED;
    end(w, index, a, &outcome);
}

static void sample(struct world *w, int index, uint64_t epoch, void *data)
{
    struct machine *m = &w->machines[index];
    struct attempt *a = find(m, epoch);
    if (!a || a->stage != STAGE_RUNNING)
        return;
    if (m->agent_up) {
        a->usage.seq++;
        a->usage.wall_ns = w->now - a->started_ns;
        a->usage.device_ns = a->usage.wall_ns * (a->lease.share_permille + a->lease.lent_permille) / 1000;
        a->usage.memory_peak_bytes = a->lease.memory_bytes / 2 + rnd(w, a->lease.memory_bytes / 2);
        send_report(w, index, a, FG_REPORT_USAGE);
    }
    at(w, w->now + 5 * SEC, sample, index, epoch, NULL);
}

static void pulled(struct world *w, int index, uint64_t epoch, void *data)
{
    struct machine *m = &w->machines[index];
    struct attempt *a = find(m, epoch);
    if (!a || a->stage != STAGE_PULLING || a->killing)
        return;
    if (!m->agent_up) {                  /* its next agent goes on */
        at(w, w->now + SEC, pulled, index, epoch, NULL);
        return;
    }
    if (chance(w, 20)) {
        end(w, index, a, &(struct fg_outcome){.state = FG_STATE_FAILED, .reason = FG_REASON_INPUT_MISSING, .exit_code = -1,
                                              .detail = (char *)"an input is not there"});
        return;
    }
    a->stage = STAGE_RUNNING;
    a->started_ns = w->now;
    a->ends_ns = w->now + a->run_ns;
    oracle_process(w, index, a, true);
    a->started_sent = true;
    send_report(w, index, a, FG_REPORT_STARTED);
    at(w, a->ends_ns, ended, index, epoch, NULL);
    at(w, w->now + 5 * SEC, sample, index, epoch, NULL);
}

/* How it will go, if it is let. */
static void foresee(struct world *w, struct attempt *a)
{
    uint64_t dice = rnd(w, 1000);
    a->planned = (struct fg_outcome){.state = FG_STATE_FAILED, .exit_code = 1};
    a->run_ns = chance(w, 100) ? between(w, 20 * SEC, 200 * SEC) : between(w, 50 * MS, 12 * SEC);
    if (dice < 750)
        a->planned = (struct fg_outcome){.state = FG_STATE_SUCCEEDED, .result = (char *)"{\"ok\":true}"};
    else if (dice < 860)
        a->planned.reason = FG_REASON_USER_ERROR;
    else if (dice < 940)
        a->planned.reason = chance(w, 500) ? FG_REASON_OOM_HOST : FG_REASON_OOM_VRAM;
    else
        a->planned.reason = chance(w, 500) ? FG_REASON_DEVICE_FAULT : FG_REASON_INTERNAL;
    if (a->limits.run_ns > 0 && a->run_ns > a->limits.run_ns && chance(w, 800)) {   /* else a supervisor that sleeps */
        a->run_ns = a->limits.run_ns;
        a->planned = (struct fg_outcome){.state = FG_STATE_FAILED, .reason = FG_REASON_TIME_LIMIT, .exit_code = -1, .signal = 9};
    }
}

/* Supervisors: no attempt outlives the lease, agent or not. */
static void fence(struct world *w, int index, uint64_t what, void *data)
{
    struct machine *m = &w->machines[index];
    if (w->now < m->lease_until_ns) {
        at(w, m->lease_until_ns, fence, index, 0, NULL);
        return;
    }
    for (size_t i = 0; i < m->attempts.count; i++)
        end(w, index, m->attempts.items[i], &(struct fg_outcome){.state = FG_STATE_FAILED, .reason = FG_REASON_NODE_LOST,
                                                                 .exit_code = -1, .signal = 9});
    at(w, w->now + SEC, fence, index, 0, NULL);
}

/* --- what the server says --- */

static void start(struct world *w, int index, const struct msg *msg)
{
    const struct fg_action *act = &msg->action;
    struct machine *m = &w->machines[index];
    if (find(m, act->epoch) || w->now >= m->lease_until_ns)
        return;
    struct attempt *a = fg_alloc(sizeof *a);
    *a = (struct attempt){.task = act->task, .number = act->attempt, .epoch = act->epoch, .lease = act->lease};
    a->limits = msg->limits;
    while (a->device + 1 < m->device_count && strcmp(m->devices[a->device].name, msg->device) != 0)
        a->device++;
    foresee(w, a);
    fg_vec_push(&m->attempts, a);
    at(w, w->now + (chance(w, 30) ? between(w, SEC, 90 * SEC) : between(w, MS, 300 * MS)), pulled, index, a->epoch, NULL);
}

static void act(struct world *w, int index, const struct msg *msg)
{
    const struct fg_action *action = &msg->action;
    struct machine *m = &w->machines[index];
    struct attempt *a = find(m, action->epoch);
    if (action->kind == FG_ACT_START) {
        start(w, index, msg);
    } else if (!a) {
        return;
    } else if (action->kind == FG_ACT_KILL && a->stage != STAGE_ENDED && !a->killing) {
        a->killing = true;
        a->kill_reason = action->reason;
        at(w, w->now + between(w, MS, 400 * MS), killed, index, a->epoch, NULL);
    } else if (action->kind == FG_ACT_ACK) {
        a->started_acked |= action->report == FG_REPORT_STARTED;
        a->ended_acked |= action->report == FG_REPORT_FINISHED;
        if (action->report == FG_REPORT_USAGE)
            a->usage_acked = FG_MAX(a->usage_acked, action->report_seq);
    } else if (action->kind == FG_ACT_RESIZE && a->stage == STAGE_RUNNING) {
        oracle_resize(w, index, a, action->lease.lent_permille);
    } else if (action->kind == FG_ACT_FORGET) {
        killed(w, index, a->epoch, NULL);
        drop(m, a);
    }
}

void machine_receive(struct world *w, int index, struct msg *msg)
{
    struct machine *m = &w->machines[index];
    m->heard_ns = w->now;
    if (msg->kind == MSG_ACTION)
        act(w, index, msg);
    else
        m->lease_until_ns = FG_MAX(m->lease_until_ns, msg->sent_ns + LEASE_NS);
}

/* --- the agent's life --- */

void machine_connect(struct world *w, int index)
{
    struct machine *m = &w->machines[index];
    struct msg *msg = fg_alloc(sizeof *msg);
    m->connection = ++w->connections;
    m->heard_ns = w->now;
    *msg = (struct msg){.kind = MSG_HELLO, .connection = m->connection, .sent_ns = w->now};
    for (size_t i = 0; i < m->attempts.count; i++) {
        const struct attempt *a = m->attempts.items[i];
        fg_vec_push(&msg->attempts, (struct fg_attempt_at_node){a->task, a->number, a->epoch, a->stage == STAGE_ENDED});
    }
    net_to_server(w, index, msg);
    repeat_reports(w, index);
}

static void beat(struct world *w, int index, uint64_t what, void *data)
{
    struct machine *m = &w->machines[index];
    at(w, w->now + HEARTBEAT_NS - 100 * MS + between(w, 0, 200 * MS), beat, index, 0, NULL);
    if (!m->on || !m->agent_up)
        return;
    if (m->connection && w->now - m->heard_ns > SILENCE_NS)
        m->connection = 0;
    if (m->connection) {
        struct msg *msg = fg_alloc(sizeof *msg);
        *msg = (struct msg){.kind = MSG_ALIVE, .connection = m->connection, .sent_ns = w->now};
        net_to_server(w, index, msg);
    } else if (w->server.up && !m->link.cut) {
        machine_connect(w, index);
    }
}

static void agent_up(struct world *w, int index, uint64_t boots, void *data)
{
    struct machine *m = &w->machines[index];
    if (m->boots != boots || m->agent_up)
        return;
    trace(w, "machine %d: agent is up", index);
    m->on = m->agent_up = true;
}

static void agent_down(struct world *w, int index, int64_t down_ns)
{
    struct machine *m = &w->machines[index];
    net_break(w, index, false, true);
    m->agent_up = false;
    m->connection = 0;
    at(w, w->now + down_ns, agent_up, index, m->boots, NULL);
}

void machine_restart_agent(struct world *w, int index, int64_t down_ns)
{
    if (!w->machines[index].agent_up)
        return;
    trace(w, "machine %d: agent dies for %.1f s", index, (double)down_ns / 1e9);
    agent_down(w, index, down_ns);
}

/* Disks survive. Of what ran some machines know nothing any more, if the server knows that it ran. */
void machine_reboot(struct world *w, int index, int64_t down_ns)
{
    struct machine *m = &w->machines[index];
    if (!m->on)
        return;
    trace(w, "machine %d: reboots for %.1f s", index, (double)down_ns / 1e9);
    w->result->reboots++;
    m->boots++;
    snprintf(m->node.boot_id, sizeof m->node.boot_id, "boot-%u", m->boots);
    agent_down(w, index, down_ns);
    m->on = false;
    for (size_t i = m->attempts.count; i > 0; i--) {
        struct attempt *a = m->attempts.items[i - 1];
        bool forgets = a->stage == STAGE_RUNNING && a->started_acked && chance(w, 500);
        end(w, index, a, &(struct fg_outcome){.state = FG_STATE_FAILED, .reason = FG_REASON_NODE_LOST, .exit_code = -1});
        if (forgets)
            drop(m, a);
    }
}

void machine_init(struct world *w, int index)
{
    static const char *const kinds[] = {"cpu", "card-a", "card-b"};
    struct machine *m = &w->machines[index];
    m->node.id = (fg_id){0x0100, (uint64_t)index + 1};
    snprintf(m->node.name, sizeof m->node.name, "machine-%d", index);
    snprintf(m->node.boot_id, sizeof m->node.boot_id, "boot-0");
    m->device_count = 1 + rnd(w, DEVICES_MAX);
    for (size_t i = 0; i < m->device_count; i++) {
        struct fg_device *d = &m->devices[i];
        *d = (struct fg_device){.memory_bytes = (uint64_t)between(w, 8, 64) << 30, .units = 4, .healthy = true,
                                .memory_level = FG_LEVEL_KERNEL, .share_level = FG_LEVEL_KERNEL};
        snprintf(d->name, sizeof d->name, "dev%zu", i);
        snprintf(d->kind, sizeof d->kind, "%s", kinds[rnd(w, FG_COUNT(kinds))]);
        snprintf(d->backend, sizeof d->backend, "%s", strcmp(d->kind, "cpu") == 0 ? "cpu" : "opencl");
    }
    m->on = m->agent_up = true;
    at(w, w->now + between(w, 0, HEARTBEAT_NS), beat, index, 0, NULL);
    at(w, w->now + SEC, fence, index, 0, NULL);
}

void machine_fini(struct machine *m)
{
    for (size_t i = 0; i < m->attempts.count; i++)
        free(m->attempts.items[i]);
    fg_vec_fini(&m->attempts);
}
