/* report.c - what the server is told: hello, started, usage, finished. Started and finished are said again until the server
 * acknowledges that they are on its disk; usage is cumulative, so the next one makes up for a lost one. The number of a
 * report grows over restarts of the agent: it stands in the attempt's folder. */
#include <string.h>

#include "agent/internal.h"
#include "base/io.h"
#include "base/log.h"
#include "base/units.h"

static uint32_t next_seq(struct attempt *t)
{
    char text[16] = "";
    if (!t->seq) {
        if (pread(attempt_lease_fd(t), text, sizeof text - 1, LEASE_SEQ_AT) > 0)
            t->seq = (uint32_t)strtoul(text, NULL, 10);
        if (t->ending.rebooted)          /* the file may have lost its last numbers with the power */
            t->seq += 1000000;
    }
    int n = snprintf(text, sizeof text, "%010u\n", ++t->seq);
    if (pwrite(attempt_lease_fd(t), text, (size_t)n, LEASE_SEQ_AT) != n)
        fg_log_warn("%s: keep the number of its report: %m", t->name);
    return t->seq;
}

static struct fg_msg head(struct attempt *t, int kind)
{
    return (struct fg_msg){.kind = FG_MSG_REPORT, .report = {.task = t->task, .attempt = t->number, .epoch = t->epoch, .kind = kind}};
}

void report_started(struct attempt *t)
{
    if (!t->agent->link.welcomed)
        return;
    struct fg_msg msg = head(t, 0);
    msg.report.pull_ns = t->pull_ns;
    msg.report.usage.seq = next_seq(t);
    t->said_ns = agent_now(t->agent);
    link_send(t->agent, &msg);
}

static void take(struct attempt *t, const struct fg_usage *u)
{
    t->usage.device_ns = FG_MAX(t->usage.device_ns, u->device_ns);
    t->usage.memory_peak_bytes = FG_MAX(t->usage.memory_peak_bytes, u->memory_peak_bytes);
    t->usage.throttled_ns = FG_MAX(t->usage.throttled_ns, u->throttled_ns);
    t->usage.denied = FG_MAX(t->usage.denied, u->denied);
}

static void sample(struct attempt *t)
{
    struct fg_usage u;
    struct agent *a = t->agent;
    const struct backend *b = devices_backend(a, t->device);
    if (t->vgpu && b->ops->sample(b->state, t->device, t->name, &u, NULL) == 0)
        take(t, &u);
    if (t->started_ns && !t->ending.status)
        t->usage.wall_ns = agent_now(a) - t->started_ns;
}

void report_usage(struct attempt *t)
{
    sample(t);
    if (!t->agent->link.welcomed || !t->started_ns)
        return;
    struct fg_msg msg = head(t, 1);
    t->usage.seq = next_seq(t);
    msg.report.usage = t->usage;
    link_send(t->agent, &msg);
}

/* What the supervisor copied of the vGPU's own counters. */
static void take_kept(struct attempt *t, const struct fg_device_backend *ops)
{
    struct fg_usage u;
    FG_AUTO_FREE char *path = attempt_path(t, "counters");
    FG_AUTO_STR struct fg_str bytes = {0};
    if (fg_read_file(path, 1 << 20, &bytes, NULL) == 0 && ops->last_use(bytes.data, bytes.len, &u) == 0)
        take(t, &u);
    t->ending.device_denied = t->usage.denied;
    t->ending.device_limit_bytes = t->limits.memory_bytes;
}

/* The counters at the end: the vGPU's, and where it has none those of the supervisor. */
void report_last_usage(struct attempt *t)
{
    const struct ending *e = &t->ending;
    const struct fg_device_backend *ops = devices_backend(t->agent, t->device)->ops;
    sample(t);
    if (ops->last_use)
        take_kept(t, ops);
    if (!e->status)
        return;
    if (!ops->last_use) {                /* what the supervisor counted is of the host */
        t->usage.device_ns = FG_MAX(t->usage.device_ns, e->cpu_ns);
        t->usage.memory_peak_bytes = FG_MAX(t->usage.memory_peak_bytes, e->peak_bytes);
        t->usage.denied = FG_MAX(t->usage.denied, e->oom_kills);
    }
    t->usage.wall_ns = e->started_ns && e->ended_ns > e->started_ns ? e->ended_ns - e->started_ns : 0;
}

/* Its log goes first: once the end is on the server's disk, the agent's copy of the log may go. */
void report_finished(struct attempt *t)
{
    logship_some(t);
    if (!t->agent->link.welcomed || t->finished_acked || !logship_complete(t))
        return;
    if (t->started_ns && !t->started_acked && !t->said_ns)
        report_started(t);
    struct fg_msg msg = head(t, 2);
    if (!t->outcome.usage.seq)
        t->outcome.usage.seq = next_seq(t);
    msg.report.usage = t->outcome.usage;
    msg.report.outcome = t->outcome;     /* borrowed: the message is not fini'd */
    t->said_ns = agent_now(t->agent);
    t->finished_said = true;
    link_send(t->agent, &msg);
}

void report_ack(struct agent *a, const struct fg_msg_ref *ref)
{
    struct attempt *t = attempt_find(a, ref->task, ref->attempt);
    if (t && ref->kind == 0)
        t->started_acked = true;
    if (t && ref->kind == 3)
        t->parking_acked++;
    if (t && ref->kind == 2)
        t->finished_acked = t->started_acked = true;
}

void report_again(struct agent *a, int64_t older_than_ns)
{
    for (size_t i = 0; i < a->attempts.count; i++) {
        struct attempt *t = a->attempts.items[i];
        if (t->phase == PHASE_DONE && !t->finished_acked && (!t->finished_said || t->said_ns <= older_than_ns))
            report_finished(t);
        else if (t->phase >= PHASE_RUN && t->phase < PHASE_DONE && t->started_ns && !t->started_acked && t->said_ns <= older_than_ns)
            report_started(t);
    }
}

void report_hello(struct agent *a)
{
    struct fg_msg msg = {.kind = FG_MSG_HELLO, .hello = {.node = {.id = a->set.node}}};
    snprintf(msg.hello.node.name, sizeof msg.hello.node.name, "%s", a->set.host);
    snprintf(msg.hello.node.boot_id, sizeof msg.hello.node.boot_id, "%s", a->set.boot_id);
    for (size_t i = 0; i < a->device_list.count; i++)
        fg_vec_push(&msg.hello.devices, a->device_list.items[i]);
    for (size_t i = 0; i < a->attempts.count; i++) {
        const struct attempt *t = a->attempts.items[i];
        fg_vec_push(&msg.hello.attempts, (struct fg_msg_attempt){.task = t->task, .attempt = t->number, .epoch = t->epoch,
                                                                 .finished = t->phase == PHASE_DONE});
    }
    a->link.alive_sent_ns = agent_now(a);
    link_send(a, &msg);
    fg_msg_fini(&msg);
}

void report_welcome(struct agent *a, const struct fg_msg_welcome *msg)
{
    a->lease_ns = FG_MAX(1, msg->lease_s) * FG_NS_PER_S;
    a->heartbeat_ns = FG_MAX(1, msg->heartbeat_s) * FG_NS_PER_S;
    a->lease_deadline = a->link.alive_sent_ns + a->lease_ns;     /* it holds from our hello on */
    for (size_t i = 0; i < a->attempts.count; i++) {
        struct attempt *t = a->attempts.items[i];
        t->log_known = t->finished_said = false;
        for (size_t j = 0; j < msg->keep.count; j++)
            if (fg_id_eq(msg->keep.items[j].task, t->task) && msg->keep.items[j].attempt == t->number) {
                t->log_known = true;
                t->log_sent = msg->keep.items[j].log_offset;
            }
        launch_lease(t);
    }
    pull_reconnected(a);
    outputs_reconnected(a);
    logship_all(a);
    parking_welcome(a);
    report_again(a, INT64_MAX);
}
