/* task_view.c - a task's members, in one order and always all of them: what is not known yet is null. */
#include "control/task_view.h"
#include <string.h>
#include "control/json_out.h"
#include "meter/meter.h"

void fg_out_error(struct fg_str *out, const char *key, const struct fg_error *err)
{
    const struct fg_error_info *info = fg_error_info(err->code);
    fg_out_open(out, key, '{');
    fg_out_text(out, "code", info->name);
    fg_out_int(out, "status", info->http_status);
    fg_out_text(out, "title", info->title);
    fg_out_text(out, "detail", err->text);
    fg_out_text(out, "pointer", *err->pointer ? err->pointer : NULL);
    fg_out_text(out, "hint", *err->hint ? err->hint : NULL);
    fg_out_close(out, '}');
}

/* What is asked for, or held, of the machine's processor. */
static void put_beside(struct fg_str *out, uint32_t cpus_milli, uint64_t host_bytes)
{
    fg_out_cores(out, "cpus", cpus_milli);
    if (host_bytes)
        fg_out_int(out, "host_memory_bytes", (int64_t)host_bytes);
    else
        fg_out_null(out, "host_memory_bytes");
}

void fg_out_need(struct fg_str *out, const char *key, const struct fg_need *need)
{
    fg_out_open(out, key, '{');
    if (need->memory_bytes)
        fg_out_int(out, "memory_bytes", (int64_t)need->memory_bytes);
    else
        fg_out_null(out, "memory_bytes");
    fg_out_percent(out, "share_percent", need->share_permille);
    fg_out_percent(out, "share_max_percent", need->share_max_permille);
    fg_out_text(out, "device_kind", *need->device_kind ? need->device_kind : NULL);
    put_beside(out, need->cpus_milli, need->host_bytes);
    fg_out_close(out, '}');
}

void fg_out_cost(struct fg_str *out, const char *key, int64_t nanousd, const char *lines)
{
    fg_out_open(out, key, '{');
    fg_out_money(out, "amount", nanousd);
    fg_out_text(out, "currency", "USD");
    fg_out_raw(out, "lines", lines ? lines : "[]");
    fg_out_close(out, '}');
}

/* --- cost --- */

struct last_lines { char *text; uint64_t seq; size_t events; };

static int take_lines(void *arg, const struct fg_store_event *ev, struct fg_error *err)
{
    struct last_lines *last = arg;
    last->seq = ev->seq;
    last->events++;
    if (ev->kind != FG_EV_TASK_SETTLED)
        return 0;
    FG_AUTO_JSON json_t *body = json_loads(ev->body, 0, NULL);
    const json_t *lines = json_object_get(body, "lines");
    struct fg_str out = {0};
    if (json_is_string(lines))
        fg_str_adds(&out, json_string_value(lines));
    else if (lines)
        fg_json_dump(lines, &out);
    free(last->text);
    last->text = fg_str_take(&out);
    return 0;
}

static char *lines_from_log(struct fg_server *s, const struct fg_task *task)
{
    struct last_lines last = {0};
    do
        last.events = 0;
    while (!fg_store_events(s->store, task->tenant, task->id, last.seq, 1000, take_lines, &last, NULL) && last.events && !last.text);
    return last.text;
}

/* The priced lines of a settled task. They follow from the task, except where an earlier attempt was charged too or the
 * device is gone: then the event that closed the account tells. */
static char *cost_lines(struct fg_server *s, const struct fg_task *task)
{
    struct fg_line lines[FG_PHASE_COUNT];
    size_t n = 0;
    const struct fg_device *device = s->core ? fg_core_device(s->core, task->lease.device) : NULL;
    int64_t sum = -1;
    if (device || !task->lease.device)
        sum = fg_meter_task(task, device ? device->memory_bytes : 0, lines, &n);
    if (sum == task->cost_nanousd) {
        struct fg_str out = {0};
        fg_lines_encode(lines, n, &out);
        return fg_str_take(&out);
    }
    return lines_from_log(s, task);
}

static void put_cost(struct fg_str *out, struct fg_server *s, const struct fg_task *task)
{
    FG_AUTO_FREE char *lines = task->settled ? cost_lines(s, task) : NULL;
    fg_out_cost(out, "cost", task->cost_nanousd, lines);
}

/* --- parts --- */

static void put_slice(struct fg_str *out, const struct fg_task *task)
{
    if (!task->lease.device) {
        fg_out_null(out, "slice");
        return;
    }
    fg_out_open(out, "slice", '{');
    fg_out_int(out, "memory_bytes", (int64_t)task->lease.memory_bytes);
    fg_out_percent(out, "share_percent", task->lease.share_permille);
    fg_out_close(out, '}');
}

static void put_node(struct fg_str *out, struct fg_server *s, fg_id id)
{
    const struct fg_node *nodes[256];
    size_t n = s->core ? fg_core_nodes(s->core, nodes, FG_COUNT(nodes)) : 0;
    const char *name = NULL;
    for (size_t i = 0; i < n && !name; i++)
        if (fg_id_eq(nodes[i]->id, id))
            name = nodes[i]->name;
    fg_out_id(out, "node", "nod", id);
    fg_out_text(out, "node_name", name);
}

static void put_device_id(struct fg_str *out, const char *key, fg_device_id id)
{
    if (id)
        fg_out_int(out, key, id);
    else
        fg_out_null(out, key);
}

static void put_placement(struct fg_str *out, struct fg_server *s, const struct fg_task *task)
{
    const struct fg_lease *lease = &task->lease;
    if (!lease->device || task->state == FG_STATE_QUEUED) {
        fg_out_null(out, "placement");
        return;
    }
    const struct fg_device *device = s->core ? fg_core_device(s->core, lease->device) : NULL;
    fg_out_open(out, "placement", '{');
    put_node(out, s, lease->node);
    fg_out_int(out, "device", lease->device);
    fg_out_text(out, "device_name", device ? device->name : NULL);
    fg_out_text(out, "device_kind", device ? device->kind : NULL);
    fg_out_int(out, "memory_bytes", (int64_t)lease->memory_bytes);
    fg_out_percent(out, "share_percent", lease->share_permille);
    fg_out_tenths(out, "share_lent_percent", lease->lent_permille);
    put_beside(out, lease->cpus_milli, lease->host_bytes);
    int64_t parked_ns = lease->parked_us * 1000 + (lease->parked_ns ? FG_MAX(fg_server_now(s) - lease->parked_ns, 0) : 0);
    fg_out_text(out, "parking", fg_parking_name((enum fg_parking)lease->parking));
    fg_out_seconds(out, "parked_s", parked_ns);
    fg_out_bool(out, "borrowed", lease->borrowed);
    put_device_id(out, "moving_to", task->lease_live ? lease->moving_to : 0);
    put_device_id(out, "moved_from", lease->moved_from);
    fg_out_id(out, "moved_for", "tsk", lease->moved_for);
    fg_out_open(out, "enforcement", '{');
    enum fg_level level = FG_MIN(lease->memory_level, lease->share_level);
    fg_out_text(out, "memory", fg_level_name(lease->memory_level));
    fg_out_text(out, "share", fg_level_name(lease->share_level));
    fg_out_text(out, "level", fg_level_name(level));
    fg_out_close(out, '}');
    fg_out_int(out, "rule", task->placed.rule);
    fg_out_text(out, "rule_text", fg_rule_text((enum fg_rule)task->placed.rule));
    fg_out_seconds(out, "expected_s", task->placed.expected_ns);
    fg_out_money(out, "expected_cost", task->placed.expected_cost_nanousd);
    fg_out_close(out, '}');
}

static void put_times(struct fg_str *out, const struct fg_task *task)
{
    fg_out_open(out, "times", '{');
    fg_out_time(out, "submitted", task->submitted_ns);
    fg_out_time(out, "queued", task->queued_ns);
    fg_out_time(out, "placed", task->placed_ns);
    fg_out_time(out, "started", task->started_ns);
    fg_out_time(out, "finished", task->finished_ns);
    fg_out_close(out, '}');
}

/* Phases that are over; of the one that goes on, its length so far. */
static void put_timings(struct fg_str *out, struct fg_server *s, const struct fg_task *task)
{
    bool ended = fg_state_is_terminal(task->state);
    int64_t now = fg_server_now(s);
    int64_t queue_end = task->placed_ns ? task->placed_ns : ended ? task->finished_ns : now;
    bool ran = ended && task->started_ns;
    fg_out_open(out, "timings", '{');
    fg_out_seconds(out, "queue_s", FG_MAX(queue_end - task->submitted_ns, 0));
    fg_out_seconds(out, "pull_s", ran ? task->outcome.pull_ns : -1);
    fg_out_seconds(out, "load_s", ran ? task->outcome.load_ns : -1);
    fg_out_seconds(out, "run_s", ran ? task->outcome.run_ns
                                     : task->state == FG_STATE_RUNNING && task->started_ns ? now - task->started_ns : -1);
    fg_out_close(out, '}');
}

static void put_usage(struct fg_str *out, const struct fg_task *task)
{
    const struct fg_usage *usage = &task->usage;
    fg_out_open(out, "usage", '{');
    fg_out_seconds(out, "device_s", usage->device_ns);
    fg_out_seconds(out, "wall_s", usage->wall_ns);
    fg_out_int(out, "memory_peak_bytes", (int64_t)usage->memory_peak_bytes);
    fg_out_seconds(out, "throttled_s", usage->throttled_ns);
    fg_out_int(out, "denied", (int64_t)usage->denied);
    fg_out_close(out, '}');
}

/* Labels never change, but they stand in the spec only, and the core keeps no specs of waiting tasks: what was told
 * lately is kept, so that a client that polls costs no read. One slot for each hash value. */
#define LABEL_SLOTS 1024
struct label_slot { fg_id task; char *json; };

void fg_labels_destroy(struct label_slot *slots)
{
    for (size_t i = 0; slots && i < LABEL_SLOTS; i++)
        free(slots[i].json);
    free(slots);
}

/* Looking for the word is cheaper than parsing, and most tasks have no labels. */
static char *read_labels(const char *spec)
{
    FG_AUTO_JSON json_t *object = strstr(spec, "\"labels\"") ? json_loads(spec, 0, NULL) : NULL;
    const json_t *labels = json_object_get(object, "labels");
    struct fg_str out = {0};
    if (labels)
        fg_json_dump(labels, &out);
    else
        fg_str_add(&out, "{}", 2);
    return fg_str_take(&out);
}

static void put_labels(struct fg_str *out, struct fg_server *s, struct fg_found *f)
{
    if (!s->labels)
        s->labels = fg_alloc(LABEL_SLOTS * sizeof *s->labels);
    struct label_slot *slot = &s->labels[fg_id_hash(f->task->id) % LABEL_SLOTS];
    if (!slot->json || !fg_id_eq(slot->task, f->task->id)) {
        free(slot->json);
        slot->json = read_labels(fg_found_spec(s, f));
        slot->task = f->task->id;
    }
    fg_out_raw(out, "labels", slot->json);
}

static void put_queue(struct fg_str *out, const struct fg_task *task)
{
    const struct fg_spec *spec = &task->spec;
    fg_out_time(out, "deadline", spec->limits.deadline_ns ? task->submitted_ns + spec->limits.deadline_ns : 0);
    fg_out_bool(out, "preemptible", spec->preemptible || spec->spot);
    fg_out_bool(out, "spot", spec->spot);
    if (!spec->array_size) {
        fg_out_null(out, "array");
        return;
    }
    fg_out_open(out, "array", '{');
    fg_out_id(out, "id", "tsk", spec->array);
    fg_out_int(out, "index", spec->array_index);
    fg_out_int(out, "size", spec->array_size);
    fg_out_bool(out, "gang", spec->gang);
    fg_out_close(out, '}');
}

static void put_end(struct fg_str *out, const struct fg_task *task)
{
    bool ended = fg_state_is_terminal(task->state);
    const struct fg_outcome *o = &task->outcome;
    if (ended && o->exit_code >= 0)
        fg_out_int(out, "exit_code", o->exit_code);
    else
        fg_out_null(out, "exit_code");
    if (ended && o->signal)
        fg_out_int(out, "signal", o->signal);
    else
        fg_out_null(out, "signal");
    fg_out_text(out, "detail", ended ? o->detail : NULL);
    fg_out_raw(out, "outputs", ended && o->outputs ? o->outputs : "[]");
}

void fg_out_task(struct fg_str *out, const char *key, struct fg_server *s, struct fg_found *f)
{
    const struct fg_task *task = f->task;
    fg_out_open(out, key, '{');
    fg_out_id(out, "id", "tsk", task->id);
    fg_out_text(out, "state", fg_state_name(task->state));
    fg_out_text(out, "reason", task->reason == FG_REASON_NONE ? NULL : fg_reason_name(task->reason));
    fg_out_text(out, "reason_text", task->reason == FG_REASON_NONE ? NULL : fg_reason_doc(task->reason));
    const char *hint = fg_reason_hint(task->reason);
    fg_out_text(out, "hint", *hint ? hint : NULL);
    fg_out_text(out, "name", task->spec.name);
    fg_out_text(out, "task_type", fg_task_type_name(task->spec.type));
    fg_out_text(out, "model_name", task->spec.model);
    fg_out_text(out, "class", task->class == FG_CLASS_AUTO ? NULL : fg_class_name(task->class));
    fg_out_text(out, "class_rule", task->class_rule ? fg_class_rule_text((enum fg_class_rule)task->class_rule) : NULL);
    fg_out_text(out, "priority", fg_priority_name(task->spec.priority));
    put_queue(out, task);
    fg_out_int(out, "attempt", task->attempt);
    fg_out_bool(out, "held", task->held);
    fg_out_bool(out, "cancel_requested", task->cancel_requested);
    put_labels(out, s, f);
    fg_out_need(out, "need", &task->spec.need);
    put_slice(out, task);
    put_placement(out, s, task);
    put_times(out, task);
    put_timings(out, s, task);
    put_usage(out, task);
    put_cost(out, s, task);
    put_end(out, task);
    fg_out_close(out, '}');
}

void fg_out_result(struct fg_str *out, struct fg_server *s, struct fg_found *f)
{
    const struct fg_task *task = f->task;
    const struct fg_outcome *o = &task->outcome;
    fg_out_open(out, NULL, '{');
    fg_out_id(out, "id", "tsk", task->id);
    fg_out_text(out, "state", fg_state_name(task->state));
    if (task->state == FG_STATE_SUCCEEDED) {
        fg_out_raw(out, "result", o->result);
    } else {
        const char *hint = fg_reason_hint(task->reason);
        fg_out_open(out, "error", '{');
        fg_out_text(out, "reason", fg_reason_name(task->reason));
        fg_out_text(out, "message", o->detail ? o->detail : fg_reason_doc(task->reason));
        fg_out_text(out, "hint", *hint ? hint : NULL);
        fg_out_text(out, "log_tail", o->log_tail);
        fg_out_close(out, '}');
    }
    put_end(out, task);
    put_placement(out, s, task);
    put_timings(out, s, task);
    put_usage(out, task);
    put_cost(out, s, task);
    fg_out_close(out, '}');
}
