/* admin_routes.c - devices, nodes, usage, health and the page at /. */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "base/units.h"
#include "control/auth.h"
#include "control/drain_out.h"
#include "control/json_out.h"
#include "control/routes.h"
#include "openapi.h"

#define VIEWS_MAX 4096

/* --- devices --- */

/* Other tenants' slices are shown as sizes: that a device is used is no secret, by what it is. */
static void put_vgpus(struct fg_str *out, const struct fg_call *call, fg_device_id device)
{
    static const struct fg_task *tasks[VIEWS_MAX];
    size_t n = fg_core_device_tasks(call->server->core, device, tasks, VIEWS_MAX);
    fg_out_open(out, "vgpus", '[');
    for (size_t i = 0; i < FG_MIN(n, (size_t)VIEWS_MAX); i++) {
        const struct fg_task *t = tasks[i];
        bool own = fg_id_eq(t->tenant, call->tenant);
        fg_out_open(out, NULL, '{');
        fg_out_id(out, "task", "tsk", own ? t->id : FG_ID_NONE);
        fg_out_text(out, "name", own ? t->spec.name : NULL);
        fg_out_text(out, "state", fg_state_name(t->state));
        fg_out_int(out, "memory_bytes", (int64_t)t->lease.memory_bytes);
        fg_out_percent(out, "share_percent", t->lease.share_permille);
        fg_out_tenths(out, "share_lent_percent", t->lease.lent_permille);
        fg_out_text(out, "parking", fg_parking_name((enum fg_parking)t->lease.parking));
        fg_out_bool(out, "borrowed", t->lease.borrowed);
        fg_out_close(out, '}');
    }
    fg_out_close(out, ']');
}

static void put_device(struct fg_str *out, const struct fg_call *call, const struct fg_device_view *view)
{
    const struct fg_device *d = view->device;
    fg_out_open(out, NULL, '{');
    fg_out_int(out, "id", d->id);
    fg_out_text(out, "name", d->name);
    fg_out_text(out, "kind", d->kind);
    fg_out_text(out, "backend", d->backend);
    fg_out_id(out, "node", "nod", d->node);
    fg_out_text(out, "node_name", view->node ? view->node->name : NULL);
    fg_out_bool(out, "connected", view->node && view->node->connected);
    fg_out_bool(out, "healthy", d->healthy);
    fg_out_bool(out, "moves", d->moves);
    fg_out_drained(out, call->server, d->node, d->id);
    fg_out_int(out, "units", d->units);
    fg_str_addf(out, ",\"gflops\":%.3f", d->gflops);
    fg_out_int(out, "memory_bytes", (int64_t)d->memory_bytes);
    fg_out_int(out, "memory_free_bytes", (int64_t)view->memory_free_bytes);
    fg_out_int(out, "memory_parked_bytes", (int64_t)view->memory_parked_bytes);
    fg_out_int(out, "memory_borrowed_bytes", (int64_t)view->memory_borrowed_bytes);
    fg_out_tenths(out, "share_free_percent", view->share_free_permille);
    fg_out_tenths(out, "share_lent_percent", view->share_lent_permille);
    fg_out_money(out, "price_usd_per_s", view->price_nanousd_per_s);
    fg_out_money(out, "price_usd_per_hour", fg_price_hour(view->price_nanousd_per_s));
    fg_out_open(out, "enforcement", '{');
    fg_out_text(out, "memory", fg_level_name(d->memory_level));
    fg_out_text(out, "share", fg_level_name(d->share_level));
    fg_out_text(out, "level", fg_level_name(FG_MIN(d->memory_level, d->share_level)));
    fg_out_text(out, "why", *d->level_why ? d->level_why : NULL);
    fg_out_close(out, '}');
    put_vgpus(out, call, d->id);
    fg_out_int(out, "tasks_there", (int64_t)fg_core_tasks_at(call->server->core, d->node, d->id, NULL, 0));
    fg_out_close(out, '}');
}

/* While there is no core, who is here is not known: that is said, not guessed. */
static bool no_core(struct fg_call *call)
{
    if (call->server->core)
        return false;
    struct fg_error err = call->server->down;
    err.code = FG_E_UNAVAILABLE;
    fg_answer_fail(call, &err);
    return true;
}

void fg_route_devices(struct fg_http_request *req, void *arg)
{
    struct fg_call *call = fg_call_of(req);
    static struct fg_device_view views[VIEWS_MAX];
    if (no_core(call))
        return;
    size_t n = fg_core_devices(call->server->core, views, VIEWS_MAX);
    FG_AUTO_STR struct fg_str out = {0};
    fg_out_open(&out, NULL, '{');
    fg_out_open(&out, "devices", '[');
    for (size_t i = 0; i < FG_MIN(n, (size_t)VIEWS_MAX); i++)
        put_device(&out, call, &views[i]);
    fg_out_close(&out, ']');
    fg_out_close(&out, '}');
    fg_answer_json(call, 200, &out, NULL);
}

void fg_route_nodes(struct fg_http_request *req, void *arg)
{
    struct fg_call *call = fg_call_of(req);
    static const struct fg_node *nodes[VIEWS_MAX];
    if (no_core(call))
        return;
    size_t n = fg_core_nodes(call->server->core, nodes, VIEWS_MAX);
    FG_AUTO_STR struct fg_str out = {0};
    fg_out_open(&out, NULL, '{');
    fg_out_open(&out, "nodes", '[');
    for (size_t i = 0; i < FG_MIN(n, (size_t)VIEWS_MAX); i++) {
        fg_out_open(&out, NULL, '{');
        fg_out_id(&out, "id", "nod", nodes[i]->id);
        fg_out_text(&out, "name", nodes[i]->name);
        fg_out_bool(&out, "connected", nodes[i]->connected);
        fg_out_bool(&out, "lost", nodes[i]->lost);
        fg_out_time(&out, "seen", nodes[i]->seen_ns);
        fg_out_drained(&out, call->server, nodes[i]->id, 0);
        fg_out_int(&out, "tasks_there", (int64_t)fg_core_tasks_at(call->server->core, nodes[i]->id, 0, NULL, 0));
        fg_out_close(&out, '}');
    }
    fg_out_close(&out, ']');
    fg_out_close(&out, '}');
    fg_answer_json(call, 200, &out, NULL);
}

/* --- usage --- */

struct sums { struct fg_str out; int64_t tasks, cost_nanousd, run_ns, device_ns; };

static int64_t add(int64_t a, int64_t b)
{
    int64_t sum;
    return __builtin_add_overflow(a, b, &sum) ? INT64_MAX : sum;
}

static void take_sum(void *arg, const struct fg_store_sum *sum)
{
    struct sums *sums = arg;
    fg_out_open(&sums->out, NULL, '{');
    fg_out_text(&sums->out, "task_type", fg_task_type_name((enum fg_task_type)sum->type));
    fg_out_text(&sums->out, "model", *sum->model ? sum->model : NULL);
    fg_out_text(&sums->out, "state", fg_state_name((enum fg_state)sum->state));
    fg_out_int(&sums->out, "tasks", sum->tasks);
    fg_out_seconds(&sums->out, "run_s", sum->run_ns);
    fg_out_seconds(&sums->out, "device_s", sum->device_ns);
    fg_out_money(&sums->out, "cost", sum->cost_nanousd);
    fg_out_close(&sums->out, '}');
    sums->tasks += sum->tasks;
    sums->cost_nanousd = add(sums->cost_nanousd, sum->cost_nanousd);
    sums->run_ns = add(sums->run_ns, sum->run_ns);
    sums->device_ns = add(sums->device_ns, sum->device_ns);
}

/* "2026-11-22", "2026-11-22T10:00:00Z" or seconds since 1970. */
static int read_time(struct fg_http_request *req, const char *name, int64_t *ret_ns, struct fg_error *err)
{
    const char *text = fg_http_query(req, name);
    int64_t seconds;
    if (!text)
        return 0;
    struct tm tm = {0};
    const char *rest = strptime(text, "%Y-%m-%d", &tm);
    if (rest && *rest == 'T')
        rest = strptime(rest, "T%H:%M:%S", &tm);
    if (rest && *rest == '.')
        rest += 1 + strspn(rest + 1, "0123456789");
    if (rest && (!*rest || !strcmp(rest, "Z")))
        seconds = timegm(&tm);
    else if (fg_parse_int(text, 0, INT64_C(9000000000), &seconds, err)) {
        fg_fail(err, FG_E_INVALID, "'%.60s' is not a time", text);
        fg_fail_at(err, "?%s", name);
        return fg_fail_hint(err, "2026-11-22, 2026-11-22T10:00:00Z (UTC), or seconds since 1970");
    }
    *ret_ns = seconds * FG_NS_PER_S;
    return 0;
}

void fg_route_usage(struct fg_http_request *req, void *arg)
{
    struct fg_call *call = fg_call_of(req);
    struct fg_error err;
    struct sums sums = {0};
    int64_t from = 0, to = fg_server_now(call->server);
    fg_out_open(&sums.out, NULL, '{');
    fg_out_open(&sums.out, "usage", '[');
    if (read_time(req, "from", &from, &err) || read_time(req, "to", &to, &err) ||
        fg_store_usage(call->server->store, call->tenant, from, to, take_sum, &sums, &err)) {
        fg_answer_fail(call, &err);
    } else {
        fg_out_close(&sums.out, ']');
        fg_out_time(&sums.out, "from", from);
        fg_out_time(&sums.out, "to", to);
        fg_out_int(&sums.out, "tasks", sums.tasks);
        fg_out_seconds(&sums.out, "run_s", sums.run_ns);
        fg_out_seconds(&sums.out, "device_s", sums.device_ns);
        fg_out_money(&sums.out, "cost", sums.cost_nanousd);
        fg_out_text(&sums.out, "currency", "USD");
        fg_out_close(&sums.out, '}');
        fg_answer_json(call, 200, &sums.out, NULL);
    }
    fg_str_fini(&sums.out);
}

/* --- a pause before a stop --- */

#define PAUSE_MAX_S 60                   /* no longer: who asked for it may have gone */

static int read_pause(struct fg_call *call, int64_t *ret, struct fg_error *err)
{
    size_t len;
    const char *text = fg_http_body(call->req, &len);
    FG_AUTO_JSON json_t *body = fg_json_parse(text, len, err);
    if (!fg_call_rules_all(call))
        return fg_fail(err, FG_E_FORBIDDEN, "only an unrestricted key of the first tenant pauses the server");
    if (!body || fg_json_known(body, "seconds", err))
        return -1;
    const json_t *seconds = json_object_get(body, "seconds");
    *ret = json_integer_value(seconds);
    if (json_is_integer(seconds) && *ret >= 0 && *ret <= PAUSE_MAX_S)
        return 0;
    fg_fail(err, FG_E_INVALID, "seconds is not a whole number from 0 to %d", PAUSE_MAX_S);
    return fg_fail_at(err, "/seconds");
}

/* It is of the process, not of the log: nothing that is decided in it needs to be known by the next one. */
void fg_route_pause(struct fg_http_request *req, void *arg)
{
    struct fg_call *call = fg_call_of(req);
    FG_AUTO_STR struct fg_str out = {0};
    struct fg_error err;
    int64_t seconds = 0;
    if (read_pause(call, &seconds, &err)) {
        fg_answer_fail(call, &err);
        return;
    }
    call->server->paused_until_ns = seconds ? fg_server_now(call->server) + seconds * FG_NS_PER_S : 0;
    fg_out_open(&out, NULL, '{');
    fg_out_int(&out, "seconds", seconds);
    fg_out_close(&out, '}');
    fg_answer_json(call, 200, &out, NULL);
}

/* --- health, description, front page --- */

void fg_route_healthz(struct fg_http_request *req, void *arg)
{
    fg_http_answer(req, 200, "application/json", "{\"status\":\"ok\"}", 15, NULL);
}

void fg_route_readyz(struct fg_http_request *req, void *arg)
{
    struct fg_call *call = fg_call_of(req);
    struct fg_error err;
    FG_AUTO_STR struct fg_str out = {0};
    bool ready = fg_server_writable(call->server, &err) == 0;
    fg_out_open(&out, NULL, '{');
    fg_out_text(&out, "status", ready ? "ready" : "not ready");
    fg_out_text(&out, "code", ready ? NULL : fg_error_info(err.code)->name);
    fg_out_text(&out, "detail", ready ? NULL : err.text);
    fg_out_text(&out, "hint", ready || !*err.hint ? NULL : err.hint);
    fg_out_close(&out, '}');
    fg_answer_json(call, ready ? 200 : 503, &out, ready ? NULL : "Retry-After: 1\n");
}

void fg_route_openapi(struct fg_http_request *req, void *arg)
{
    fg_http_answer(req, 200, "application/json", (const char *)fg_openapi_json, fg_openapi_json_len, "Cache-Control: public, max-age=300\n");
}

static const char page[] =
    "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'><title>FastGPU</title>"
    "<style>body{font:16px/1.5 system-ui,sans-serif;max-width:42em;margin:3em auto;padding:0 1em;color:#222;background:#fff}"
    "code,pre{background:#f2f2f2;padding:.1em .3em;border-radius:3px}pre{padding:.7em}"
    "@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}code,pre{background:#2a2a2a}a{color:#8bf}}</style>"
    "<h1>FastGPU</h1><p>This server takes deep-learning tasks, gives each a slice of a device, runs it there, and returns and bills the result."
    "<ul><li><a href=/openapi.json>/openapi.json</a>: the whole API"
    "<li><code>/v1/tasks</code>, <code>/v1/devices</code>, <code>/v1/models</code>: with <code>Authorization: Bearer KEY</code>"
    "<li><code>/metrics</code>: for Prometheus, with a key"
    "<li><a href=/healthz>/healthz</a>, <a href=/readyz>/readyz</a></ul>"
    "<p>The key is in the credentials file that <code>fgpu up</code> named when it started. From a shell:"
    "<pre>fgpu run -- echo hello\nfgpu ps\nfgpu why TASK</pre></html>\n";

void fg_route_root(struct fg_http_request *req, void *arg)
{
    fg_http_answer(req, 200, "text/html; charset=utf-8", page, sizeof page - 1,
                   "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'\nCache-Control: public, max-age=300\n");
}
