/* why_route.c - why a task waits, when it should start, and why it ran where it did. */
#include <stdio.h>
#include <string.h>
#include "base/units.h"
#include "control/json_out.h"
#include "control/routes.h"
#include "control/task_view.h"

#define BLOCKS_MAX 1024

static void put_block(struct fg_str *out, struct fg_server *s, const struct fg_block *block)
{
    const struct fg_device *device = block->device ? fg_core_device(s->core, block->device) : NULL;
    fg_out_open(out, NULL, '{');
    if (block->device)
        fg_out_int(out, "device", block->device);
    else
        fg_out_null(out, "device");
    fg_out_text(out, "device_name", device ? device->name : NULL);
    fg_out_text(out, "device_kind", device ? device->kind : NULL);
    fg_out_text(out, "reason", fg_reason_name(block->reason));
    fg_out_int(out, "memory_missing_bytes", (int64_t)block->memory_missing_bytes);
    fg_out_percent(out, "share_missing_percent", block->share_missing_permille);
    fg_out_cores(out, "cpus_missing", block->cpus_missing_milli);
    fg_out_int(out, "host_memory_missing_bytes", (int64_t)block->host_missing_bytes);
    fg_out_time(out, "free", block->free_ns);
    fg_out_text(out, "text", block->text);
    fg_out_close(out, '}');
}

static void put_forecast(struct fg_str *out, struct fg_server *s, const struct fg_task *task, int64_t now)
{
    struct fg_forecast f;
    if (!fg_core_forecast(s->core, task->id, now, &f)) {
        fg_out_null(out, "start");
        return;
    }
    fg_out_open(out, "start", '{');
    fg_out_seconds(out, "in_s", f.p50_ns - now);
    fg_out_seconds(out, "p10_s", f.p10_ns - now);
    fg_out_seconds(out, "p90_s", f.p90_ns - now);
    fg_out_time(out, "at", f.p50_ns);
    fg_out_close(out, '}');
}

/* What is held for it as the head of the line. */
static void put_reservation(struct fg_str *out, struct fg_server *s, const struct fg_task *task)
{
    const struct fg_reservation *r = fg_core_reservation(s->core, task->id);
    if (!r) {
        fg_out_null(out, "reservation");
        return;
    }
    const struct fg_device *device = fg_core_device(s->core, r->parts[0].device);
    fg_out_open(out, "reservation", '{');
    fg_out_text(out, "device_name", device ? device->name : NULL);
    fg_out_int(out, "devices", (int64_t)r->count);
    fg_out_time(out, "start", r->start_ns);
    fg_out_time(out, "latest", r->latest_ns == INT64_MAX ? 0 : r->latest_ns);
    fg_out_close(out, '}');
}

/* It is of the process, so the core does not know of it. */
static void put_pause(struct fg_str *out, struct fg_server *s, const struct fg_task *task, int64_t now)
{
    struct fg_block b = {.task = task->id, .reason = FG_REASON_PAUSED, .free_ns = s->paused_until_ns};
    char left[32];
    if (now >= s->paused_until_ns)
        return;
    snprintf(b.text, sizeof b.text, "placing is paused for %s more, as before a stop", fg_format_duration(left, sizeof left, s->paused_until_ns - now));
    put_block(out, s, &b);
}

static void put_blocks(struct fg_str *out, struct fg_server *s, const struct fg_task *task)
{
    static struct fg_block blocks[BLOCKS_MAX];
    int64_t now = fg_server_now(s);
    size_t n = fg_core_why(s->core, task->id, now, blocks, BLOCKS_MAX);
    size_t position = fg_core_position(s->core, task->id, now);
    if (position)
        fg_out_int(out, "position", (int64_t)position);
    else
        fg_out_null(out, "position");
    put_forecast(out, s, task, now);
    put_reservation(out, s, task);
    fg_out_open(out, "blocks", '[');
    put_pause(out, s, task, now);
    for (size_t i = 0; i < n; i++)
        put_block(out, s, &blocks[i]);
    fg_out_close(out, ']');
}

static void put_other(struct fg_str *out, struct fg_server *s, fg_device_id id, int64_t cost)
{
    const struct fg_device *device = s->core && id ? fg_core_device(s->core, id) : NULL;
    if (!id)
        return;
    fg_out_open(out, NULL, '{');
    fg_out_int(out, "device", id);
    fg_out_text(out, "device_name", device ? device->name : NULL);
    fg_out_money(out, "expected_cost", cost);
    fg_out_close(out, '}');
}

/* The plan: all that was placed in the same round. */
static void put_plan(struct fg_str *out, const struct fg_placed *placed)
{
    int64_t cost = placed->plan_cost_nanousd, bound = placed->plan_bound_nanousd;
    fg_out_open(out, "plan", '{');
    fg_out_money(out, "cost", cost);
    fg_out_money(out, "lower_bound", bound);
    fg_str_addf(out, ",\"gap_percent\":%.3f", bound > 0 ? 100.0 * (double)(cost - bound) / (double)bound : 0.0);
    fg_out_close(out, '}');
}

/* " to make room for tsk_..." */
static const char *for_whom(const struct fg_lease *l, char *buf, size_t n)
{
    char id[FG_ID_TEXT];
    buf[0] = 0;
    if (!fg_id_is_none(l->moved_for))
        snprintf(buf, n, ", to make room for %s", fg_id_format(id, "tsk", l->moved_for));
    return buf;
}

static const char *name_of(const struct fg_server *s, fg_device_id id)
{
    const struct fg_device *d = s->core ? fg_core_device(s->core, id) : NULL;
    return d ? d->name : "another device";
}

/* What is unusual about its place; NULL: nothing. */
static const char *place_text(const struct fg_server *s, const struct fg_task *task, char *buf, size_t n)
{
    const struct fg_lease *l = &task->lease;
    char whom[80];
    if (!task->lease_live)
        return NULL;
    if (l->moving_to) {
        snprintf(buf, n, "it is being moved to %s, another device of its machine%s; its calls wait meanwhile", name_of(s, l->moving_to),
                 for_whom(l, whom, sizeof whom));
        return buf;
    }
    if (l->parking == FG_PARKING_PARKED)
        return "it is idle, so its device memory is in the host's memory and its place may be lent; its next call brings it back";
    if (l->parking == FG_PARKING_CALLED)
        return "it called and its device memory is being brought back; who borrowed its place goes first";
    if (l->borrowed)
        return "it runs in the place of idle tasks, and is stopped and queued again when one of them wants it back";
    if (!l->moved_from)
        return NULL;
    snprintf(buf, n, "it was moved here from %s%s", name_of(s, l->moved_from), for_whom(l, whom, sizeof whom));
    return buf;
}

static void put_decision(struct fg_str *out, struct fg_server *s, const struct fg_task *task)
{
    const struct fg_placed *placed = &task->placed;
    if (!placed->rule) {
        fg_out_null(out, "decision");
        return;
    }
    fg_out_open(out, "decision", '{');
    fg_out_int(out, "rule", placed->rule);
    fg_out_text(out, "rule_text", fg_rule_text((enum fg_rule)placed->rule));
    fg_out_seconds(out, "expected_s", placed->expected_ns);
    fg_out_money(out, "expected_cost", placed->expected_cost_nanousd);
    if (placed->second_device || placed->runner_up_cost_nanousd)
        fg_out_money(out, "runner_up_cost", placed->runner_up_cost_nanousd);
    else
        fg_out_null(out, "runner_up_cost");
    fg_out_open(out, "alternatives", '[');
    put_other(out, s, placed->second_device, placed->runner_up_cost_nanousd);
    put_other(out, s, placed->third_device, placed->third_cost_nanousd);
    fg_out_close(out, ']');
    put_plan(out, placed);
    fg_out_close(out, '}');
}

void fg_route_task_why(struct fg_http_request *req, void *arg)
{
    struct fg_call *call = fg_call_of(req);
    struct fg_server *s = call->server;
    struct fg_found found;
    if (fg_call_task(call, &found))
        return;
    const struct fg_task *task = found.task;
    const char *hint = fg_reason_hint(task->reason);
    char place[240];
    FG_AUTO_STR struct fg_str out = {0};
    fg_out_open(&out, NULL, '{');
    fg_out_id(&out, "id", "tsk", task->id);
    fg_out_text(&out, "state", fg_state_name(task->state));
    fg_out_text(&out, "reason", task->reason == FG_REASON_NONE ? NULL : fg_reason_name(task->reason));
    fg_out_text(&out, "reason_text", task->reason == FG_REASON_NONE ? NULL : fg_reason_doc(task->reason));
    fg_out_text(&out, "hint", *hint ? hint : NULL);
    fg_out_text(&out, "detail", fg_state_is_terminal(task->state) ? task->outcome.detail : place_text(s, task, place, sizeof place));
    fg_out_text(&out, "class", task->class == FG_CLASS_AUTO ? NULL : fg_class_name(task->class));
    fg_out_text(&out, "class_rule", task->class_rule ? fg_class_rule_text((enum fg_class_rule)task->class_rule) : NULL);
    fg_out_need(&out, "need", &task->spec.need);
    if (task->state == FG_STATE_QUEUED && s->core)
        put_blocks(&out, s, task);
    put_decision(&out, s, task);
    fg_out_close(&out, '}');
    fg_answer_json(call, 200, &out, NULL);
    fg_found_fini(&found);
}
