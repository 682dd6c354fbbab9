/* tenant_routes.c - tenants in the queue: what they have used, what waits, and their weight in fair share. A tenant sees
 * itself; an unrestricted key of the first tenant sees and weighs all. */
#include "base/units.h"
#include "control/auth.h"
#include "control/json_out.h"
#include "control/routes.h"

#define TENANTS_MAX 1000

static void put_tenant(struct fg_str *out, const struct fg_tenant_view *v)
{
    fg_out_open(out, NULL, '{');
    fg_out_id(out, "id", "ten", v->tenant);
    fg_out_int(out, "weight", v->weight);
    fg_str_addf(out, ",\"used_device_s\":%.3f", (double)v->used_us / 1e6);
    fg_str_addf(out, ",\"expected_device_s\":%.3f", (double)v->expected_us / 1e6);
    fg_out_int(out, "waiting", (int64_t)v->waiting);
    fg_out_int(out, "live", (int64_t)v->live);
    fg_out_close(out, '}');
}

static struct fg_tenant_view view_of(struct fg_server *s, fg_id tenant)
{
    FG_AUTO_FREE struct fg_tenant_view *all = NULL;
    size_t n = fg_core_tenants(s->core, 0, NULL, 0);
    all = fg_alloc((n + 1) * sizeof *all);
    n = fg_core_tenants(s->core, fg_server_now(s), all, n);
    for (size_t i = 0; i < n; i++)
        if (fg_id_eq(all[i].tenant, tenant))
            return all[i];
    return (struct fg_tenant_view){.tenant = tenant, .weight = 1};
}

static void list(struct fg_call *call, struct fg_str *out)
{
    struct fg_server *s = call->server;
    static struct fg_tenant_view views[TENANTS_MAX];
    fg_out_open(out, NULL, '{');
    fg_out_open(out, "tenants", '[');
    if (fg_call_rules_all(call)) {
        size_t n = fg_core_tenants(s->core, fg_server_now(s), views, TENANTS_MAX);
        for (size_t i = 0; i < FG_MIN(n, (size_t)TENANTS_MAX); i++)
            put_tenant(out, &views[i]);
    } else {
        struct fg_tenant_view own = view_of(s, call->tenant);
        put_tenant(out, &own);
    }
    fg_out_close(out, ']');
    fg_out_close(out, '}');
}

void fg_route_tenants(struct fg_http_request *req, void *arg)
{
    struct fg_call *call = fg_call_of(req);
    FG_AUTO_STR struct fg_str out = {0};
    if (!call->server->core) {
        fg_answer_fail(call, &call->server->down);
        return;
    }
    list(call, &out);
    fg_answer_json(call, 200, &out, NULL);
}

static void count_key(void *arg, const struct fg_store_key *key) { ++*(size_t *)arg; }

static int read_weight(const struct fg_call *call, int64_t *ret, struct fg_error *err)
{
    size_t len;
    const char *text = fg_http_body(call->req, &len);
    FG_AUTO_JSON json_t *body = fg_json_parse(text, len, err);
    if (!body || fg_json_known(body, "weight", err))
        return -1;
    const json_t *weight = json_object_get(body, "weight");
    *ret = json_integer_value(weight);
    if (json_is_integer(weight) && *ret >= 1 && *ret <= FG_WEIGHT_MAX)
        return 0;
    fg_fail(err, FG_E_INVALID, "weight is not a whole number from 1 to %u", FG_WEIGHT_MAX);
    return fg_fail_at(err, "/weight");
}

static void answer_weight(struct fg_call *call, const struct fg_error *err)
{
    FG_AUTO_STR struct fg_str out = {0};
    if (err || !call->server->core) {
        fg_answer_fail(call, err ? err : &call->server->down);
        return;
    }
    struct fg_tenant_view v = view_of(call->server, call->task);     /* the id in the path */
    put_tenant(&out, &v);
    fg_answer_json(call, 200, &out, NULL);
}

static int put_weight(struct fg_call *call, struct fg_error *err)
{
    struct fg_server *s = call->server;
    size_t keys = 0;
    int64_t weight;
    fg_id tenant;
    if (!fg_call_rules_all(call))
        return fg_fail(err, FG_E_FORBIDDEN, "only an unrestricted key of the first tenant weighs tenants");
    if (!fg_id_parse(fg_http_param(call->req, "id"), "ten", &tenant) || fg_id_is_none(tenant) ||
        fg_store_key_list(s->store, tenant, count_key, &keys, err) || !keys)
        return fg_fail(err, FG_E_NOT_FOUND, "there is no such tenant");
    if (fg_server_writable(s, err) || read_weight(call, &weight, err))
        return -1;
    struct fg_input in = {.kind = FG_IN_WEIGHT, .weight = {tenant, (uint32_t)weight}};
    if (fg_turn_input(s, &in, err))
        return -1;
    call->task = tenant;
    fg_turn_wait(call, answer_weight);
    return 0;
}

void fg_route_tenant_put(struct fg_http_request *req, void *arg)
{
    struct fg_error err;
    if (put_weight(fg_call_of(req), &err))
        fg_answer_fail(fg_call_of(req), &err);
}
