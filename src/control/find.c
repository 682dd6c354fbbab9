/* find.c - a task as its owner may see it: from the core while it is live, from the store once it is settled or while
 * there is no core. Nothing is told that is not on disk. */
#include <string.h>
#include "control/server.h"

static int no_task(struct fg_error *err)
{
    fg_fail(err, FG_E_NOT_FOUND, "there is no such task");
    return fg_fail_hint(err, "`fgpu ps` lists your tasks");
}

static int take_row(void *arg, const struct fg_store_task *row, struct fg_error *err)
{
    struct fg_found *f = arg;
    if (fg_task_decode(row->doc, strlen(row->doc), &f->loaded, err))
        return -1;
    f->loaded.id = row->id;
    f->loaded.tenant = row->tenant;
    f->task = &f->loaded;
    f->spec = fg_strdup(row->spec);
    f->asked_spec = row->spec != NULL;
    return 0;
}

int fg_find_stored(struct fg_server *s, fg_id id, fg_id tenant, struct fg_found *ret, struct fg_error *err)
{
    *ret = (struct fg_found){0};
    if (fg_store_task_get(s->store, id, take_row, ret, err))
        return err && err->code == FG_E_NOT_FOUND ? no_task(err) : -1;
    if (!fg_id_is_none(tenant) && !fg_id_eq(ret->task->tenant, tenant)) {
        fg_found_fini(ret);
        return no_task(err);
    }
    return 0;
}

int fg_find_task(struct fg_server *s, fg_id id, fg_id tenant, struct fg_found *ret, struct fg_error *err)
{
    const struct fg_task *task = s->core ? fg_core_task(s->core, id) : NULL;
    if (!task)
        return fg_find_stored(s, id, tenant, ret, err);
    *ret = (struct fg_found){.task = task};
    return fg_id_is_none(tenant) || fg_id_eq(task->tenant, tenant) ? 0 : no_task(err);
}

static int take_spec(void *arg, const struct fg_store_task *row, struct fg_error *err)
{
    *(char **)arg = fg_strdup(row->spec);
    return 0;
}

const char *fg_found_spec(struct fg_server *s, struct fg_found *f)
{
    if (f->task->spec.json)
        return f->task->spec.json;
    if (!f->asked_spec)
        fg_store_task_get(s->store, f->task->id, take_spec, &f->spec, NULL);
    f->asked_spec = true;
    return f->spec ? f->spec : "";
}

void fg_found_fini(struct fg_found *f)
{
    fg_task_fini(&f->loaded);
    free(f->spec);
    *f = (struct fg_found){0};
}

/* --- for the routes --- */

int fg_call_task_id(struct fg_call *call, fg_id *ret)
{
    if (fg_id_parse(fg_http_param(call->req, "id"), "tsk", ret))
        return 0;
    struct fg_error err;
    no_task(&err);
    fg_answer_fail(call, &err);
    return -1;
}

/* What was on its way is on disk now, or lost: either way the handler sees the truth. */
static void run_again(struct fg_call *call, const struct fg_error *err)
{
    fg_http_request_route(call->req)->handler(call->req, call->server);
}

int fg_call_task(struct fg_call *call, struct fg_found *ret)
{
    struct fg_error err;
    fg_id id;
    if (fg_call_task_id(call, &id))
        return -1;
    if (fg_find_task(call->server, id, call->tenant, ret, &err)) {
        fg_answer_fail(call, &err);
        return -1;
    }
    if (!fg_turn_pending(call->server, id))
        return 0;
    fg_found_fini(ret);
    fg_turn_wait(call, run_again);
    return -1;
}
