/* node_messages.c - what agents say, as inputs of the core, and what the core decided, as messages to agents. */
#include <fcntl.h>
#include <string.h>
#include "base/io.h"
#include "base/log.h"
#include "base/units.h"
#include "control/catalogue.h"
#include "control/log_files.h"
#include "control/nodes.h"
#include "control/stream.h"
#include "store/blob.h"

/* --- hello --- */

/* Attempts that go on: known, and under the same lease. The log goes on where our file ends. */
static void send_welcome(struct fg_agent *agent, const struct fg_msg_hello *hello)
{
    struct fg_server *s = agent->server;
    struct fg_msg msg = {.kind = FG_MSG_WELCOME,
                         .welcome = {.lease_s = fg_config_int(s->config, "lease_s"), .heartbeat_s = fg_config_int(s->config, "heartbeat_s")}};
    for (size_t i = 0; i < hello->attempts.count; i++) {
        const struct fg_msg_attempt *a = &hello->attempts.items[i];
        const struct fg_task *task = fg_core_task(s->core, a->task);
        if (!task || task->attempt != a->attempt || task->lease.epoch != a->epoch)
            continue;
        struct fg_msg_attempt keep = *a;
        keep.log_offset = fg_log_size(s->logs, a->task, a->attempt);
        fg_vec_push(&msg.welcome.keep, keep);
    }
    fg_agent_send(agent, &msg);
    fg_vec_fini(&msg.welcome.keep);
}

static int on_hello(struct fg_agent *agent, struct fg_msg_hello *hello, struct fg_error *err)
{
    struct fg_server *s = agent->server;
    if (!fg_id_is_none(agent->node))
        return fg_fail(err, FG_E_MALFORMED, "a second hello");
    if (fg_id_is_none(hello->node.id))
        return fg_fail(err, FG_E_MALFORMED, "hello without a node id");
    struct fg_agent *before = fg_agent_of(s, hello->node.id);
    if (before) {                        /* its old connection: the agent restarted faster than we noticed */
        before->node = FG_ID_NONE;
        fg_agent_close(before, NULL);
    }
    FG_VEC(struct fg_attempt_at_node) attempts = {0};
    for (size_t i = 0; i < hello->attempts.count; i++) {
        const struct fg_msg_attempt *a = &hello->attempts.items[i];
        fg_vec_push(&attempts, (struct fg_attempt_at_node){a->task, a->attempt, a->epoch, a->finished});
    }
    struct fg_input in = {.kind = FG_IN_NODE_HELLO,
                          .hello = {&hello->node, hello->devices.items, hello->devices.count, attempts.items, attempts.count}};
    agent->node = hello->node.id;
    int rc = fg_turn_input(s, &in, err);
    fg_vec_fini(&attempts);
    if (rc)
        return -1;
    char id[FG_ID_TEXT];
    fg_log_info("agent %s (%s) connected: %zu device(s), %zu attempt(s)", fg_id_format(id, "nod", agent->node),
                hello->node.name, hello->devices.count, hello->attempts.count);
    send_welcome(agent, hello);
    return 0;
}

/* --- reports --- */

/* What the attempt left belongs to the task's tenant from now on: then it may be downloaded, and named by other tasks. */
static void own_outputs(struct fg_server *s, const struct fg_task *task, const struct fg_outcome *outcome)
{
    FG_AUTO_JSON json_t *outputs = outcome->outputs ? json_loads(outcome->outputs, 0, NULL) : NULL;
    size_t i;
    json_t *item;
    json_array_foreach(outputs, i, item) {
        const char *sha256 = fg_json_str(item, "blob", "");
        if (fg_starts_with(sha256, "blob:"))
            sha256 += 5;
        struct fg_error err;
        FG_AUTO_FD int fd = -1;
        char digest[65];
        uint64_t size;
        if (!fg_is_sha256(sha256) || fg_store_blob_owned(s->store, sha256, task->tenant, &size))
            continue;
        memcpy(digest, sha256, sizeof digest);
        if (fg_blob_open(s->blob_dir, digest, &fd, &size, &err))
            fg_log_warn("output %.12s: %s", digest, err.text);
        else
            fg_turn_own(s, digest, task->tenant, size);
    }
}

/* What a program wrote stands in our answers as it is: so it must be JSON. What is none becomes a string, or nothing. */
static void clean_outcome(struct fg_outcome *outcome)
{
    FG_AUTO_JSON json_t *result = outcome->result ? fg_json_parse(outcome->result, strlen(outcome->result), NULL) : NULL;
    FG_AUTO_JSON json_t *outputs = outcome->outputs ? fg_json_parse(outcome->outputs, strlen(outcome->outputs), NULL) : NULL;
    if (outcome->result && !result) {
        struct fg_str quoted = {0};
        fg_json_quote(&quoted, outcome->result, strlen(outcome->result));
        free(outcome->result);
        outcome->result = fg_str_take(&quoted);
    }
    if (outcome->outputs && !json_is_array(outputs))
        free(fg_take_ptr(outcome->outputs));
}

static int on_report(struct fg_agent *agent, struct fg_msg_report *report, struct fg_error *err)
{
    struct fg_server *s = agent->server;
    const struct fg_task *task = fg_core_task(s->core, report->task);
    if (report->kind == FG_REPORT_FINISHED)
        clean_outcome(&report->outcome);
    if (report->kind == FG_REPORT_FINISHED && task && task->lease.epoch == report->epoch)
        own_outputs(s, task, &report->outcome);
    struct fg_input in = {.kind = FG_IN_REPORT, .task = report->task,
                          .report = {.node = agent->node, .attempt = report->attempt, .epoch = report->epoch,
                                     .kind = (enum fg_report_kind)report->kind, .pull_ns = report->pull_ns,
                                     .usage = report->usage, .outcome = &report->outcome,
                                     .parking = {.parking = report->parking.parking, .bytes = report->parking.bytes, .moved = report->parking.moved}}};
    memcpy(in.report.parking.device, report->parking.device, sizeof in.report.parking.device);
    return fg_turn_input(s, &in, err);
}

/* --- logs --- */

static int on_log(struct fg_agent *agent, const struct fg_msg *msg, struct fg_error *err)
{
    struct fg_server *s = agent->server;
    const struct fg_msg_ref *ref = &msg->ref;
    const struct fg_task *task = fg_core_task(s->core, ref->task);
    if (!task || ref->attempt == 0 || ref->attempt > task->attempt)
        return 0;                        /* of a task that is over for us: its log was complete then */
    uint64_t size;
    bool ask;
    enum fg_log_append did = fg_log_append(s->logs, ref->task, ref->attempt, ref->offset, msg->payload, msg->payload_len,
                                           fg_server_now(s), &size, &ask);
    if (did == FG_LOG_APPENDED)
        fg_streams_logged(s, ref->task, ref->attempt);
    if (ask) {
        struct fg_msg at = {.kind = FG_MSG_LOG_AT, .ref = {.task = ref->task, .attempt = ref->attempt, .offset = size}};
        fg_agent_send(agent, &at);
    }
    return 0;
}

int fg_agent_message(struct fg_agent *agent, struct fg_msg *msg, struct fg_error *err)
{
    struct fg_server *s = agent->server;
    if (!s->core) {
        *err = s->down;
        return -1;
    }
    if (msg->kind != FG_MSG_HELLO && fg_id_is_none(agent->node))
        return fg_fail(err, FG_E_MALFORMED, "it did not say hello first");
    switch (msg->kind) {
    case FG_MSG_HELLO: return on_hello(agent, &msg->hello, err);
    case FG_MSG_REPORT: return on_report(agent, &msg->report, err);
    case FG_MSG_LOG: return on_log(agent, msg, err);
    case FG_MSG_BLOB_GET: return fg_agent_blob_get(agent, &msg->blob, err);
    case FG_MSG_BLOB_PUT: return fg_agent_blob_put(agent, msg, err);
    case FG_MSG_ALIVE: {
        struct fg_input in = {.kind = FG_IN_NODE_ALIVE, .node = {agent->node}};
        fg_agent_send(agent, &(struct fg_msg){.kind = FG_MSG_ALIVE});
        return fg_turn_input(s, &in, err);
    }
    default: return fg_fail(err, FG_E_MALFORMED, "message %d is not for a server", (int)msg->kind);
    }
}

/* --- actions --- */

static void send_start(struct fg_server *s, struct fg_agent *agent, const struct fg_action *action)
{
    struct fg_error err;
    struct fg_found found;
    const struct fg_device *device = fg_core_device(s->core, action->lease.device);
    if (fg_find_task(s, action->task, FG_ID_NONE, &found, &err)) {
        fg_log_error("start: %s", err.text);
        return;
    }
    const char *spec = fg_found_spec(s, &found);
    struct fg_msg msg = {.kind = FG_MSG_START,
                         .start = {.task = action->task, .tenant = found.task->tenant, .attempt = action->attempt,
                                   .lease = action->lease, .spec = fg_json_parse(spec, strlen(spec), &err)}};
    snprintf(msg.start.device_name, sizeof msg.start.device_name, "%s", device ? device->name : "");
    if (!msg.start.spec)
        fg_log_error("start: the stored spec cannot be read: %s", err.text);
    else {
        if (found.task->spec.model)
            fg_catalogue_attach(s, found.task->spec.model, msg.start.spec);
        fg_agent_send(agent, &msg);
    }
    fg_msg_fini(&msg);
    fg_found_fini(&found);
}

/* The end is in the store; the log must be on disk too before the agent may drop its copy. */
struct forget_job { uv_work_t work; struct fg_server *server; struct fg_agent *agent; struct fg_action action; char *path; };

static void forget_sync(uv_work_t *work)
{
    struct forget_job *job = fg_link_of(work, struct forget_job, work);
    FG_AUTO_FD int fd = open(job->path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && fsync(fd))
        abort();                         /* as in the store: what an fsync error lost cannot be known */
}

static void forget_send(uv_work_t *work, int status)
{
    struct forget_job *job = fg_link_of(work, struct forget_job, work);
    const struct fg_action *a = &job->action;
    struct fg_msg msg = {.kind = FG_MSG_FORGET, .ref = {.task = a->task, .attempt = a->attempt}};
    if (status == 0)
        fg_agent_send(job->agent, &msg);
    fg_log_close(job->server->logs, a->task, a->attempt);
    fg_agent_job_done(job->agent);
    free(job->path);
    free(job);
}

static void send_forget(struct fg_server *s, struct fg_agent *agent, const struct fg_action *action)
{
    if (fg_log_incomplete(s->logs, action->task, action->attempt))
        return;                          /* a full disk: the agent keeps it, and is told at a later hello */
    struct forget_job *job = fg_alloc(sizeof *job);
    *job = (struct forget_job){.server = s, .agent = agent, .action = *action,
                               .path = fg_log_path(s->logs, action->task, action->attempt)};
    agent->jobs++;
    uv_queue_work(&s->loop, &job->work, forget_sync, forget_send);
}

void fg_nodes_perform(struct fg_server *s, const struct fg_action *action, uint64_t connection)
{
    struct fg_agent *agent = s->core ? fg_agent_of(s, action->node) : NULL;
    if (!agent || agent->number != connection)
        return;
    struct fg_msg msg = {.ref = {.task = action->task, .attempt = action->attempt}};
    switch (action->kind) {
    case FG_ACT_START:
        send_start(s, agent, action);
        return;
    case FG_ACT_FORGET:
        send_forget(s, agent, action);
        return;
    case FG_ACT_KILL:
        msg.kind = FG_MSG_KILL;
        msg.ref.reason = action->reason;
        break;
    case FG_ACT_RESIZE:
        msg = (struct fg_msg){.kind = FG_MSG_RESIZE, .resize = {
            .task = action->task, .attempt = action->attempt, .memory_bytes = action->lease.memory_bytes,
            .share_permille = action->lease.share_permille + action->lease.lent_permille}};
        break;
    case FG_ACT_MOVE: {
        const struct fg_device *to = fg_core_device(s->core, action->lease.moving_to);
        msg = (struct fg_msg){.kind = FG_MSG_MOVE, .move = {.task = action->task, .attempt = action->attempt}};
        snprintf(msg.move.device_name, sizeof msg.move.device_name, "%s", to ? to->name : "");
        break;
    }
    case FG_ACT_ACK:
        msg.kind = FG_MSG_ACK;
        msg.ref.kind = (int)action->report;
        msg.ref.seq = action->report_seq;
        break;
    }
    fg_agent_send(agent, &msg);
}
