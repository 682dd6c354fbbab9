/* task.c - who owns what in a task, and its stored document: {"state":"running",...,"want":{spec},"lease":{...}}. */
#include "model/task.h"

#include "base/mem.h"
#include "model/codec.h"
#include "model/fields.h"

static const char *const types[] = {"command", "image_classification"};
_Static_assert(FG_COUNT(types) == FG_TASK_TYPE_COUNT, "a name for each type");

const char *fg_task_type_name(enum fg_task_type type) { return (size_t)type < FG_COUNT(types) ? types[type] : "?"; }

int fg_task_type_by_name(const char *name)
{
    for (int i = 0; i < FG_TASK_TYPE_COUNT; i++)
        if (strcmp(types[i], name) == 0)
            return i;
    return -1;
}

static const char *const parkings[] = {"none", "parked", "called", "lacks"};
_Static_assert(FG_COUNT(parkings) == FG_PARKING_COUNT, "a name for each");

const char *fg_parking_name(enum fg_parking parking) { return (size_t)parking < FG_COUNT(parkings) ? parkings[parking] : "?"; }

int fg_parking_by_name(const char *name)
{
    for (int i = 0; i < FG_PARKING_COUNT; i++)
        if (strcmp(parkings[i], name) == 0)
            return i;
    return -1;
}

void fg_spec_defaults(struct fg_spec *ret_spec)
{
    *ret_spec = (struct fg_spec){
        .class = FG_CLASS_AUTO, .priority = FG_PRIORITY_NORMAL, .retry_on = FG_RETRY_INFRA,
        .limits = {.startup_ns = FG_DEFAULT_STARTUP_NS, .run_ns = FG_DEFAULT_RUN_NS},
    };
}

void fg_spec_fini(struct fg_spec *spec)
{
    if (!spec)
        return;
    free(spec->name);
    free(spec->model);
    free(spec->program);
    free(spec->json);
    *spec = (struct fg_spec){0};
}

/* dst is overwritten, not freed: it is the caller's fresh memory. */
void fg_spec_copy(struct fg_spec *dst, const struct fg_spec *src)
{
    *dst = *src;
    dst->name = fg_strdup(src->name);
    dst->model = fg_strdup(src->model);
    dst->program = fg_strdup(src->program);
    dst->json = fg_strdup(src->json);
}

void fg_outcome_fini(struct fg_outcome *o)
{
    if (!o)
        return;
    free(o->detail);
    free(o->result);
    free(o->outputs);
    free(o->log_tail);
    *o = (struct fg_outcome){0};
}

void fg_outcome_copy(struct fg_outcome *dst, const struct fg_outcome *src)
{
    *dst = *src;
    dst->detail = fg_strdup(src->detail);
    dst->result = fg_strdup(src->result);
    dst->outputs = fg_strdup(src->outputs);
    dst->log_tail = fg_strdup(src->log_tail);
}

void fg_task_fini(struct fg_task *task)
{
    if (!task)
        return;
    fg_spec_fini(&task->spec);
    fg_outcome_fini(&task->outcome);
    free(task->idempotency);
    *task = (struct fg_task){0};
}

void fg_task_encode(const struct fg_task *src, struct fg_str *out)
{
    fg_str_reserve(out, 512);
    fg_open_object(out);
    FG_TASK_FIELDS(FG_PUT)
    fg_put_spec(out, FG_KEY("want"), &src->spec);
    fg_put_placed(out, FG_KEY("placed"), &src->placed);
    fg_put_lease(out, FG_KEY("lease"), &src->lease);
    fg_put_usage(out, FG_KEY("usage"), &src->usage);
    fg_put_outcome(out, FG_KEY("outcome"), &src->outcome);
    fg_close_object(out);
}

static int decode_members(const struct fg_getter *g, struct fg_task *dst)
{
    FG_TASK_FIELDS(FG_GET)
    if (fg_get_spec(g, "want", &dst->spec) < 0 || fg_get_placed(g, "placed", &dst->placed) < 0 ||
        fg_get_lease(g, "lease", &dst->lease) < 0 || fg_get_usage(g, "usage", &dst->usage) < 0)
        return -1;
    return fg_get_outcome(g, "outcome", &dst->outcome);
}

int fg_task_decode(const char *json, size_t len, struct fg_task *ret_task, struct fg_error *err)
{
    FG_AUTO_JSON json_t *doc = NULL;
    struct fg_scan scan;
    struct fg_getter g = {.what = "task", .err = err, .scan = &scan};
    if (fg_scan(&scan, json, len)) {
        g.end = scan.count;
    } else {
        g.object = doc = fg_json_parse(json, len, err);
        if (!doc)
            return fg_fail_prefix(err, "stored task");
        if (!json_is_object(doc))
            return fg_fail(err, FG_E_INTERNAL, "stored task: not an object");
    }
    struct fg_task task = {.id = ret_task->id, .tenant = ret_task->tenant, .class = FG_CLASS_BATCH};
    fg_spec_defaults(&task.spec);
    if (decode_members(&g, &task) < 0) {
        fg_task_fini(&task);
        return -1;
    }
    task.spec.json = fg_take_ptr(ret_task->spec.json);
    fg_task_fini(ret_task);
    *ret_task = task;
    return 0;
}
