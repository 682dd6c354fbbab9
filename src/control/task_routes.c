/* task_routes.c - what changes tasks: submit, batch, cancel, hold, release, retry. Each feeds the core at once and is
 * answered when the turn is on disk. */
#include <string.h>
#include "base/io.h"
#include "control/json_out.h"
#include "control/routes.h"
#include "control/submit.h"
#include "control/task_view.h"

#define BATCH_MAX 1000

/* An answer that is made when the input is taken and sent when it is on disk. */
struct prepared { int status; struct fg_str body; char *extra; };

static void prepared_drop(void *state)
{
    struct prepared *p = state;
    fg_str_fini(&p->body);
    free(p->extra);
    free(p);
}

static struct prepared *prepare(struct fg_call *call, int status)
{
    struct prepared *p = fg_alloc(sizeof *p);
    p->status = status;
    call->state = p;
    call->drop = prepared_drop;
    return p;
}

static void send_prepared(struct fg_call *call, const struct fg_error *err)
{
    const struct prepared *p = call->state;
    if (err)
        fg_answer_fail(call, err);
    else
        fg_answer_json(call, p->status, &p->body, p->extra);
}

/* --- submit --- */

static char *location(fg_id task)
{
    char id[FG_ID_TEXT];
    return fg_asprintf("Location: /v1/tasks/%s\n", fg_id_format(id, "tsk", task));
}

/* The task as it stands: 201 (a new one) or 200 (a repeat's) when it has ended, else 202. */
static void answer_task(struct fg_call *call, int ended_status)
{
    struct fg_error err;
    struct fg_found found;
    if (fg_find_task(call->server, call->task, call->tenant, &found, &err)) {
        fg_answer_fail(call, &err);
        return;
    }
    FG_AUTO_STR struct fg_str out = {0};
    FG_AUTO_FREE char *extra = location(call->task);
    fg_out_task(&out, NULL, call->server, &found);
    fg_answer_json(call, fg_state_is_terminal(found.task->state) ? ended_status : 202, &out, extra);
    fg_found_fini(&found);
}

static void waited(struct fg_call *call, const struct fg_error *err) { answer_task(call, 201); }
static void repeat_waited(struct fg_call *call, const struct fg_error *err) { answer_task(call, 200); }

/* Go on waiting, now for the task's end; it may have ended already. An end that is not on disk yet will wake us. */
static void wait_for_end(struct fg_call *call, fg_call_fn *resume)
{
    struct fg_found found;
    bool ended = !fg_find_task(call->server, call->task, call->tenant, &found, NULL) && fg_state_is_terminal(found.task->state) &&
                 !fg_turn_pending(call->server, call->task);
    fg_found_fini(&found);
    if (ended || !call->deadline_ns)
        resume(call, NULL);
    else
        fg_wait_task(call, call->task, call->deadline_ns, resume);
}

/* On disk. */
static void submitted(struct fg_call *call, const struct fg_error *err)
{
    if (err || !call->deadline_ns)
        send_prepared(call, err);
    else
        wait_for_end(call, waited);
}

/* The first one's commit is behind us. */
static void repeated(struct fg_call *call, const struct fg_error *err)
{
    if (err)
        fg_answer_fail(call, err);
    else
        wait_for_end(call, repeat_waited);
}

/* Take the spec in and have the call answered once it is on disk. */
static int enter(struct fg_call *call, struct fg_spec *spec, const char *key, const char hash[65], int status, struct fg_error *err)
{
    struct fg_server *s = call->server;
    if (fg_submit_enter(s, call->tenant, spec, key, hash, &call->task, err))
        return -1;
    struct fg_found found = {.task = fg_core_task(s->core, call->task), .asked_spec = true};
    struct prepared *p = prepare(call, status);
    p->extra = location(call->task);
    if (!found.task->spec.json)
        found.spec = fg_strdup(spec->json);
    fg_out_task(&p->body, NULL, s, &found);
    free(found.spec);
    fg_turn_wait(call, submitted);
    return 0;
}

/* An array: the ids of its tasks, the first one's as id. It is not waited for. */
static int enter_array(struct fg_call *call, const struct fg_spec *spec, const char *key, const char hash[65], struct fg_error *err)
{
    FG_AUTO_FREE fg_id *tasks = fg_alloc(spec->array_size * sizeof *tasks);
    if (fg_submit_array(call->server, call->tenant, spec, key, hash, tasks, err))
        return -1;
    call->task = tasks[0];
    call->deadline_ns = 0;
    struct prepared *p = prepare(call, 202);
    p->extra = location(call->task);
    fg_out_open(&p->body, NULL, '{');
    fg_out_id(&p->body, "id", "tsk", tasks[0]);
    fg_out_text(&p->body, "state", fg_state_name(FG_STATE_QUEUED));
    fg_out_int(&p->body, "size", spec->array_size);
    fg_out_bool(&p->body, "gang", spec->gang);
    fg_out_open(&p->body, "tasks", '[');
    for (uint32_t i = 0; i < spec->array_size; i++)
        fg_out_id(&p->body, NULL, "tsk", tasks[i]);
    fg_out_close(&p->body, ']');
    fg_out_close(&p->body, '}');
    fg_turn_wait(call, submitted);
    return 0;
}

static int quote(struct fg_call *call, const json_t *body, struct fg_error *err)
{
    FG_AUTO_STR struct fg_str out = {0};
    struct fg_spec spec;
    if (fg_submit_check(call->server, call->tenant, body, &spec, err))
        return -1;
    int rc = fg_submit_quote(call->server, &spec, &out, err);
    fg_spec_fini(&spec);
    if (!rc)
        fg_answer_json(call, 200, &out, NULL);
    return rc;
}

static int submit(struct fg_call *call, struct fg_error *err)
{
    struct fg_server *s = call->server;
    size_t len;
    const char *text = fg_http_body(call->req, &len), *key, *dry = fg_http_query(call->req, "dry_run");
    char hash[65];
    if (fg_server_writable(s, err) || fg_submit_key(call->req, &key, err) || fg_wait_asked(call, &call->deadline_ns, err))
        return -1;
    fg_sha256_hex(text, len, hash);
    bool dry_run = dry && strcmp(dry, "false") && strcmp(dry, "0");
    int before = dry_run ? 0 : fg_submit_repeated(s, call->tenant, key, hash, &call->task, err);
    if (before < 0)
        return -1;
    if (before) {
        fg_turn_wait(call, repeated);
        return 0;
    }
    FG_AUTO_JSON json_t *body = fg_json_parse(text, len, err);
    if (!body)
        return -1;
    if (dry_run)
        return quote(call, body, err);
    struct fg_spec spec;
    if (fg_submit_check(s, call->tenant, body, &spec, err))
        return -1;
    int rc = spec.array_size ? enter_array(call, &spec, key, hash, err) : enter(call, &spec, key, hash, 202, err);
    fg_spec_fini(&spec);
    return rc;
}

void fg_route_task_submit(struct fg_http_request *req, void *arg)
{
    struct fg_error err;
    if (submit(fg_call_of(req), &err))
        fg_answer_fail(fg_call_of(req), &err);
}

/* --- batch --- */

/* One item; the key of item N is KEY#N, so that a batch that is sent again gives the same tasks. */
static int batch_item(struct fg_call *call, const json_t *item, const char *key, size_t index, fg_id *ret_task, struct fg_error *err)
{
    FG_AUTO_FREE char *item_key = key ? fg_asprintf("%s#%zu", key, index) : NULL;
    struct fg_spec spec;
    char hash[65] = "";
    if (fg_submit_check(call->server, call->tenant, item, &spec, err))
        return -1;
    if (spec.array_size) {
        fg_spec_fini(&spec);
        fg_fail(err, FG_E_INVALID, "an array is a request of its own, not an item of a batch");
        return fg_fail_at(err, "/array");
    }
    if (key)
        fg_sha256_hex(spec.json, strlen(spec.json), hash);
    int rc = fg_submit_repeated(call->server, call->tenant, item_key, hash, ret_task, err);
    if (rc == 0)
        rc = fg_submit_enter(call->server, call->tenant, &spec, item_key, hash, ret_task, err);
    fg_spec_fini(&spec);
    return rc < 0 ? -1 : 0;
}

static int batch(struct fg_call *call, struct fg_error *err)
{
    size_t len, i;
    const char *text = fg_http_body(call->req, &len), *key;
    if (fg_server_writable(call->server, err) || fg_submit_key(call->req, &key, err))
        return -1;
    FG_AUTO_JSON json_t *body = fg_json_parse(text, len, err);
    if (!body || fg_json_known(body, "tasks", err))
        return -1;
    const json_t *items = json_object_get(body, "tasks");
    if (!json_is_array(items) || json_array_size(items) == 0 || json_array_size(items) > BATCH_MAX) {
        fg_fail(err, FG_E_INVALID, "tasks is not an array of 1 to %d tasks", BATCH_MAX);
        return fg_fail_at(err, "/tasks");
    }
    struct prepared *p = prepare(call, 200);
    fg_out_open(&p->body, NULL, '{');
    fg_out_open(&p->body, "tasks", '[');
    json_t *item;
    json_array_foreach(items, i, item) {
        fg_id task;
        struct fg_error why = {0};
        fg_out_open(&p->body, NULL, '{');
        if (batch_item(call, item, key, i, &task, &why))
            fg_out_error(&p->body, "error", &why);
        else
            fg_out_id(&p->body, "id", "tsk", task);
        fg_out_close(&p->body, '}');
    }
    fg_out_close(&p->body, ']');
    fg_out_close(&p->body, '}');
    fg_turn_wait(call, send_prepared);
    return 0;
}

void fg_route_task_batch(struct fg_http_request *req, void *arg)
{
    struct fg_error err;
    if (batch(fg_call_of(req), &err))
        fg_answer_fail(fg_call_of(req), &err);
}

/* --- cancel, hold, release --- */

static void changed(struct fg_call *call, const struct fg_error *err)
{
    bool cancel = !strcmp(fg_http_request_route(call->req)->name, "task_cancel");
    struct fg_found found;
    struct fg_error why;
    if (err || fg_find_task(call->server, call->task, call->tenant, &found, &why)) {
        fg_answer_fail(call, err ? err : &why);
        return;
    }
    FG_AUTO_STR struct fg_str out = {0};
    fg_out_task(&out, NULL, call->server, &found);
    fg_answer_json(call, cancel && !fg_state_is_terminal(found.task->state) ? 202 : 200, &out, NULL);
    fg_found_fini(&found);
}

/* The core decides on live tasks; one that has ended is as it is: fine to cancel, a conflict for the others. */
static int change(struct fg_call *call, const struct fg_found *found, enum fg_input_kind kind, struct fg_error *err)
{
    struct fg_input in = {.kind = kind, .task = call->task};
    if (!call->server->core) {
        *err = call->server->down;
        return -1;
    }
    if (!fg_state_is_terminal(found->task->state))
        return fg_turn_input(call->server, &in, err);
    if (kind == FG_IN_CANCEL)
        return 0;
    fg_fail(err, FG_E_CONFLICT, "the task has ended (%s)", fg_state_name(found->task->state));
    return fg_fail_hint(err, "only a queued task can be held or released; `fgpu retry` runs it again");
}

static void change_route(struct fg_http_request *req, enum fg_input_kind kind)
{
    struct fg_call *call = fg_call_of(req);
    struct fg_error err;
    struct fg_found found;
    if (fg_call_task_id(call, &call->task))
        return;
    if (fg_find_task(call->server, call->task, call->tenant, &found, &err)) {
        fg_answer_fail(call, &err);
        return;
    }
    int rc = change(call, &found, kind, &err);
    fg_found_fini(&found);
    if (rc)
        fg_answer_fail(call, &err);
    else
        fg_turn_wait(call, changed);
}

void fg_route_task_cancel(struct fg_http_request *req, void *arg) { change_route(req, FG_IN_CANCEL); }
void fg_route_task_hold(struct fg_http_request *req, void *arg) { change_route(req, FG_IN_HOLD); }
void fg_route_task_release(struct fg_http_request *req, void *arg) { change_route(req, FG_IN_RELEASE); }

/* --- retry --- */

static int retry(struct fg_call *call, struct fg_found *found, struct fg_error *err)
{
    struct fg_server *s = call->server;
    const char *spec_text = fg_found_spec(s, found), *key;
    struct fg_spec spec;
    char hash[65];
    if (!fg_state_is_terminal(found->task->state)) {
        fg_fail(err, FG_E_CONFLICT, "the task has not ended (%s)", fg_state_name(found->task->state));
        return fg_fail_hint(err, "cancel it first, or wait for its end");
    }
    if (fg_server_writable(s, err) || fg_submit_key(call->req, &key, err))
        return -1;
    FG_AUTO_STR struct fg_str request = {0};     /* what makes two retries the same: the same task again */
    fg_str_addf(&request, "retry %s", fg_http_param(call->req, "id"));
    fg_sha256_hex(fg_str_cstr(&request), request.len, hash);
    int before = fg_submit_repeated(s, call->tenant, key, hash, &call->task, err);
    if (before < 0)
        return -1;
    if (before) {
        fg_turn_wait(call, repeated);
        return 0;
    }
    FG_AUTO_JSON json_t *object = fg_json_parse(spec_text, strlen(spec_text), err);
    json_object_del(object, "hold");     /* who retries wants it to run: it was released the first time, too */
    if (!object || fg_submit_check(s, call->tenant, object, &spec, err))
        return -1;
    int rc = enter(call, &spec, key, hash, 201, err);
    fg_spec_fini(&spec);
    return rc;
}

void fg_route_task_retry(struct fg_http_request *req, void *arg)
{
    struct fg_call *call = fg_call_of(req);
    struct fg_error err;
    struct fg_found found;
    if (fg_call_task(call, &found))
        return;
    int rc = retry(call, &found, &err);
    fg_found_fini(&found);
    if (rc)
        fg_answer_fail(call, &err);
}
