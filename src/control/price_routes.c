/* price_routes.c - what device kinds cost an hour: read by who may see devices, set by an unrestricted key of the first tenant. */
#include <string.h>

#include "base/units.h"
#include "control/auth.h"
#include "control/json_out.h"
#include "control/routes.h"

#define PRICES_MAX 1100u
#define HOUR_MOST (INT64_C(3600000000) * FG_NANOUSD_PER_USD)

static void put_price(struct fg_str *out, const struct fg_price_view *v)
{
    fg_out_open(out, NULL, '{');
    fg_out_text(out, "kind", v->price.kind);
    fg_out_money(out, "usd_per_hour", fg_price_hour(v->price.nanousd_per_s));
    if (v->price.spot_nanousd_per_s)
        fg_out_money(out, "spot_usd_per_hour", fg_price_hour(v->price.spot_nanousd_per_s));
    else
        fg_out_null(out, "spot_usd_per_hour");
    fg_out_text(out, "source", v->set ? "set" : "settings");
    fg_out_close(out, '}');
}

static void answer_prices(struct fg_call *call, const struct fg_error *err)
{
    static struct fg_price_view views[PRICES_MAX];
    FG_AUTO_STR struct fg_str out = {0};
    if (err || !call->server->core) {
        fg_answer_fail(call, err ? err : &call->server->down);
        return;
    }
    size_t n = fg_core_prices(call->server->core, views, PRICES_MAX);
    fg_out_open(&out, NULL, '{');
    fg_out_open(&out, "prices", '[');
    for (size_t i = 0; i < FG_MIN(n, (size_t)PRICES_MAX); i++)
        put_price(&out, &views[i]);
    fg_out_close(&out, ']');
    fg_out_close(&out, '}');
    fg_answer_json(call, 200, &out, NULL);
}

void fg_route_prices(struct fg_http_request *req, void *arg) { answer_prices(fg_call_of(req), NULL); }

/* "2.40" an hour; *given false: null, or not there. */
static int read_hour(const json_t *body, const char *key, int64_t *ret_per_s, bool *given, struct fg_error *err)
{
    const json_t *v = json_object_get(body, key);
    int64_t hour;
    *given = v && !json_is_null(v);
    if (!*given)
        return 0;
    if (!json_is_string(v)) {
        fg_fail(err, FG_E_INVALID, "%s is not a string such as \"2.40\"", key);
        return fg_fail_at(err, "/%s", key);
    }
    if (fg_parse_money(json_string_value(v), &hour, err) < 0 ||
        (hour > HOUR_MOST && fg_fail(err, FG_E_INVALID, "more than a million dollars a second") < 0)) {
        fg_fail_prefix(err, "%s", key);
        return fg_fail_at(err, "/%s", key);
    }
    *ret_per_s = fg_price_second(hour);
    return 0;
}

static int read_wish(const struct fg_call *call, struct fg_input *in, struct fg_error *err)
{
    size_t len;
    const char *text = fg_http_body(call->req, &len);
    FG_AUTO_JSON json_t *body = fg_json_parse(text, len, err);
    if (!body || fg_json_known(body, "kind|usd_per_hour|spot_usd_per_hour", err))
        return -1;
    struct fg_price *p = &in->price.price;
    const char *kind = fg_json_str(body, "kind", NULL);
    bool given, spot;
    if (!kind || strlen(kind) >= sizeof p->kind) {
        fg_fail(err, FG_E_INVALID, "kind is not a string of less than %zu bytes", sizeof p->kind);
        return fg_fail_at(err, "/kind");
    }
    memcpy(p->kind, kind, strlen(kind) + 1);
    if (read_hour(body, "usd_per_hour", &p->nanousd_per_s, &given, err) < 0 || read_hour(body, "spot_usd_per_hour", &p->spot_nanousd_per_s, &spot, err) < 0)
        return -1;
    in->price.unset = !given;
    if (given || !spot)
        return 0;
    fg_fail(err, FG_E_INVALID, "a spot price goes with usd_per_hour");
    return fg_fail_at(err, "/spot_usd_per_hour");
}

static int put(struct fg_call *call, struct fg_error *err)
{
    struct fg_server *s = call->server;
    struct fg_input in = {.kind = FG_IN_PRICE, .price = {.tenant = call->tenant}};
    if (!fg_call_rules_all(call))
        return fg_fail(err, FG_E_FORBIDDEN, "only an unrestricted key of the first tenant sets prices");
    if (fg_server_writable(s, err) || read_wish(call, &in, err) || fg_turn_input(s, &in, err))
        return -1;
    fg_turn_wait(call, answer_prices);
    return 0;
}

void fg_route_price_put(struct fg_http_request *req, void *arg)
{
    struct fg_error err;
    if (put(fg_call_of(req), &err))
        fg_answer_fail(fg_call_of(req), &err);
}
