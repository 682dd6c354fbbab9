/* drain_routes.c - machines and devices out of use and into it again, by an unrestricted key of the first tenant. */
#include <string.h>

#include "base/units.h"
#include "control/auth.h"
#include "control/drain_out.h"
#include "control/json_out.h"
#include "control/routes.h"

#define STAYING_MAX 4096u

void fg_out_drained(struct fg_str *out, const struct fg_server *s, fg_id node, fg_device_id device)
{
    struct fg_drain_view v;
    if (!fg_core_drain(s->core, node, device, &v)) {
        fg_out_null(out, "drained");
        return;
    }
    fg_out_open(out, "drained", '{');
    fg_out_time(out, "since", v.since_ns);
    fg_out_text(out, "reason", *v.reason ? v.reason : NULL);
    fg_out_bool(out, "now", v.now);
    fg_out_bool(out, "whole_node", v.whole_node);
    fg_out_close(out, '}');
}

static const struct fg_node *node_of(const struct fg_server *s, fg_id id)
{
    static const struct fg_node *nodes[4096];
    size_t n = FG_MIN(fg_core_nodes(s->core, nodes, FG_COUNT(nodes)), FG_COUNT(nodes));
    for (size_t i = 0; i < n; i++)
        if (fg_id_eq(nodes[i]->id, id))
            return nodes[i];
    return NULL;
}

/* What the path names. A device is named by its number, a machine by its id. */
static int read_place(struct fg_call *call, struct fg_input *in, struct fg_error *err)
{
    const char *id = fg_http_param(call->req, "id");
    int64_t number;
    if (fg_id_parse(id, "nod", &in->drain.node))
        return 0;
    const struct fg_device *d = fg_parse_int(id, 1, UINT32_MAX, &number, err) == 0 ? fg_core_device(call->server->core, (fg_device_id)number) : NULL;
    if (!d)
        return fg_fail(err, FG_E_NOT_FOUND, "there is no such machine or device");
    in->drain.node = d->node;
    in->drain.device = d->id;
    return 0;
}

static void put_staying(struct fg_str *out, const struct fg_staying *t, const struct fg_server *s)
{
    const struct fg_device *d = fg_core_device(s->core, t->task->lease.device);
    fg_out_open(out, NULL, '{');
    fg_out_id(out, "id", "tsk", t->task->id);
    fg_out_id(out, "tenant", "ten", t->task->tenant);
    fg_out_text(out, "name", t->task->spec.name);
    fg_out_text(out, "state", fg_state_name(t->task->state));
    fg_out_text(out, "device_name", d ? d->name : NULL);
    fg_out_bool(out, "may_go", t->task->spec.spot || t->task->spec.preemptible);
    fg_out_bool(out, "going", t->going);
    fg_out_close(out, '}');
}

static void answer(struct fg_call *call, const struct fg_error *err)
{
    static struct fg_staying tasks[STAYING_MAX];
    struct fg_server *s = call->server;
    struct fg_input in = {0};
    struct fg_error own;
    FG_AUTO_STR struct fg_str out = {0};
    if (err || !s->core || read_place(call, &in, &own) < 0) {
        fg_answer_fail(call, err ? err : s->core ? &own : &s->down);
        return;
    }
    const struct fg_node *node = node_of(s, in.drain.node);
    const struct fg_device *device = fg_core_device(s->core, in.drain.device);
    fg_out_open(&out, NULL, '{');
    fg_out_id(&out, "node", "nod", in.drain.node);
    fg_out_text(&out, "node_name", node ? node->name : NULL);
    fg_out_text(&out, "device_name", device ? device->name : NULL);
    fg_out_drained(&out, s, in.drain.node, in.drain.device);
    size_t n = fg_core_tasks_at(s->core, in.drain.node, in.drain.device, tasks, STAYING_MAX);
    fg_out_int(&out, "tasks_there", (int64_t)n);
    fg_out_open(&out, "tasks", '[');
    for (size_t i = 0; i < FG_MIN(n, (size_t)STAYING_MAX); i++)
        put_staying(&out, &tasks[i], s);
    fg_out_close(&out, ']');
    fg_out_close(&out, '}');
    fg_answer_json(call, 200, &out, NULL);
}

/* The texts in it are the body's. */
static int read_wish(const json_t *body, struct fg_input *in, struct fg_error *err)
{
    if (!body || fg_json_known(body, "reason|now", err))
        return -1;
    const json_t *reason = json_object_get(body, "reason"), *now = json_object_get(body, "now");
    if (reason && !json_is_null(reason) && !json_is_string(reason)) {
        fg_fail(err, FG_E_INVALID, "reason is not a string");
        return fg_fail_at(err, "/reason");
    }
    if (now && !json_is_boolean(now)) {
        fg_fail(err, FG_E_INVALID, "now is not true or false");
        return fg_fail_at(err, "/now");
    }
    in->drain.reason = json_string_value(reason);
    in->drain.now = json_is_true(now);
    return 0;
}

static int change(struct fg_call *call, bool resume, struct fg_error *err)
{
    struct fg_server *s = call->server;
    size_t len = 0;
    const char *text = resume ? NULL : fg_http_body(call->req, &len);
    struct fg_input in = {.kind = FG_IN_DRAIN, .drain = {.tenant = call->tenant, .resume = resume}};
    if (!fg_call_rules_all(call))
        return fg_fail(err, FG_E_FORBIDDEN, "only an unrestricted key of the first tenant drains machines and devices");
    if (fg_server_writable(s, err))
        return -1;
    if (!s->core) {
        *err = s->down;
        return -1;
    }
    FG_AUTO_JSON json_t *body = resume ? NULL : fg_json_parse(text, len, err);
    if (read_place(call, &in, err) < 0 || (!resume && read_wish(body, &in, err) < 0) || fg_turn_input(s, &in, err))
        return -1;
    fg_turn_wait(call, answer);
    return 0;
}

static void take(struct fg_http_request *req, bool resume)
{
    struct fg_error err;
    if (change(fg_call_of(req), resume, &err))
        fg_answer_fail(fg_call_of(req), &err);
}

void fg_route_node_drain(struct fg_http_request *req, void *arg) { take(req, false); }
void fg_route_node_resume(struct fg_http_request *req, void *arg) { take(req, true); }
void fg_route_device_drain(struct fg_http_request *req, void *arg) { take(req, false); }
void fg_route_device_resume(struct fg_http_request *req, void *arg) { take(req, true); }
