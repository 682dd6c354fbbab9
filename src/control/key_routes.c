/* key_routes.c - make, list and revoke keys. Nobody makes a key that may do more than the one it is made with, and only an
 * unrestricted key of the first tenant reaches over tenants. */
#include <string.h>
#include "base/units.h"
#include "control/auth.h"
#include "control/json_out.h"
#include "control/routes.h"

struct wish { char name[100], tenant[100], scopes[400]; int64_t expires_s; };

static int invalid(struct fg_error *err, const char *pointer, const char *text)
{
    fg_fail(err, FG_E_INVALID, "%s", text);
    return fg_fail_at(err, "%s", pointer);
}

static int read_name(const json_t *body, const char *member, const char *fallback, char ret[100], struct fg_error *err)
{
    const json_t *value = json_object_get(body, member);
    char pointer[32];
    snprintf(pointer, sizeof pointer, "/%s", member);
    if (value && !json_is_string(value))
        return invalid(err, pointer, "this is not a string");
    const char *text = value ? json_string_value(value) : fallback;
    size_t n = strlen(text);
    if (n == 0 || n > 99)
        return invalid(err, pointer, "a name has 1 to 99 bytes");
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)text[i] < ' ')
            return invalid(err, pointer, "a name has no control characters");
    memcpy(ret, text, n + 1);
    return 0;
}

static int add_scope(const struct fg_call *call, const char *name, struct wish *wish, struct fg_error *err)
{
    uint32_t bits = fg_scope_by_name(name);
    if (!bits) {
        fg_fail(err, FG_E_INVALID, "there is no scope '%.60s'", name);
        fg_fail_at(err, "/scopes");
#define X(NAME, text) text " "
        return fg_fail_hint(err, "%s", "* " FG_SCOPE_LIST(X));
#undef X
    }
    if (bits & ~call->scopes) {
        fg_fail(err, FG_E_FORBIDDEN, "this key lacks %s itself", name);
        return fg_fail_at(err, "/scopes");
    }
    size_t len = strlen(wish->scopes);
    if (len + strlen(name) + 2 > sizeof wish->scopes)
        return invalid(err, "/scopes", "too many scopes");
    snprintf(wish->scopes + len, sizeof wish->scopes - len, "%s%s", len ? " " : "", name);
    return 0;
}

/* Without "scopes" a key may do what a user of tasks needs. */
static int read_scopes(const struct fg_call *call, const json_t *body, struct wish *wish, struct fg_error *err)
{
    static const char *const usual[] = {"tasks:read", "tasks:write", "blobs:read", "blobs:write", "devices:read"};
    const json_t *scopes = json_object_get(body, "scopes");
    if (!scopes) {
        for (size_t i = 0; i < FG_COUNT(usual); i++)
            if (fg_scope_by_name(usual[i]) & call->scopes && add_scope(call, usual[i], wish, err))
                return -1;
        return 0;
    }
    if (!json_is_array(scopes) || json_array_size(scopes) == 0 || json_array_size(scopes) > FG_SCOPE_COUNT + 1)
        return invalid(err, "/scopes", "scopes is not an array of scopes");
    size_t i;
    json_t *item;
    json_array_foreach(scopes, i, item)
        if (add_scope(call, json_is_string(item) ? json_string_value(item) : "", wish, err))
            return -1;
    return 0;
}

static int read_wish(const struct fg_call *call, const json_t *body, struct wish *wish, struct fg_error *err)
{
    const json_t *expires = json_object_get(body, "expires_s");
    if (fg_json_known(body, "name|tenant|scopes|expires_s", err) || read_name(body, "name", "key", wish->name, err) ||
        read_scopes(call, body, wish, err))
        return -1;
    if (expires && (!json_is_integer(expires) || json_integer_value(expires) < 1 || json_integer_value(expires) > INT64_C(3153600000)))
        return invalid(err, "/expires_s", "expires_s is not a whole number of seconds from 1 to 3153600000");
    wish->expires_s = expires ? json_integer_value(expires) : 0;
    if (!json_object_get(body, "tenant"))
        return 0;
    if (fg_call_rules_all(call))
        return read_name(body, "tenant", "", wish->tenant, err);
    fg_fail(err, FG_E_FORBIDDEN, "this key makes keys of its own tenant only");
    return fg_fail_at(err, "/tenant");
}

static int create(struct fg_call *call, struct fg_str *out, struct fg_error *err)
{
    struct fg_server *s = call->server;
    struct wish wish = {0};
    size_t len;
    const char *text = fg_http_body(call->req, &len);
    FG_AUTO_JSON json_t *body = fg_json_parse(text, len, err);
    if (!body || fg_server_writable(s, err) || read_wish(call, body, &wish, err))
        return -1;
    fg_id tenant = call->tenant, id;
    int64_t now = fg_server_now(s), expires = wish.expires_s ? now + wish.expires_s * FG_NS_PER_S : 0;
    char key[FG_KEY_TEXT];
    if (*wish.tenant && fg_store_tenant_ensure(s->store, wish.tenant, fg_id_new(&s->ids, now), &tenant, err))
        return -1;
    if (fg_auth_mint(s, wish.name, tenant, wish.scopes, expires, key, &id, err))
        return -1;
    fg_out_open(out, NULL, '{');
    fg_out_id(out, "id", "key", id);
    fg_out_text(out, "name", wish.name);
    fg_out_id(out, "tenant", "ten", tenant);
    fg_out_text(out, "scopes", wish.scopes);
    fg_out_time(out, "created", now);
    fg_out_time(out, "expires", expires);
    fg_out_text(out, "key", key);
    fg_out_close(out, '}');
    return 0;
}

void fg_route_keys_create(struct fg_http_request *req, void *arg)
{
    struct fg_call *call = fg_call_of(req);
    struct fg_error err;
    FG_AUTO_STR struct fg_str out = {0};
    if (create(call, &out, &err))
        fg_answer_fail(call, &err);
    else
        fg_answer_json(call, 201, &out, NULL);
}

static void take_key(void *arg, const struct fg_store_key *key)
{
    struct fg_str *out = arg;
    fg_out_open(out, NULL, '{');
    fg_out_id(out, "id", "key", key->id);
    fg_out_text(out, "name", key->name);
    fg_out_id(out, "tenant", "ten", key->tenant);
    fg_out_text(out, "scopes", key->scopes);
    fg_out_time(out, "created", key->created_ns);
    fg_out_time(out, "expires", key->expires_ns);
    fg_out_time(out, "revoked", key->revoked_ns);
    fg_out_close(out, '}');
}

void fg_route_keys_list(struct fg_http_request *req, void *arg)
{
    struct fg_call *call = fg_call_of(req);
    struct fg_error err;
    FG_AUTO_STR struct fg_str out = {0};
    fg_out_open(&out, NULL, '{');
    fg_out_open(&out, "keys", '[');
    if (fg_store_key_list(call->server->store, fg_call_rules_all(call) ? FG_ID_NONE : call->tenant, take_key, &out, &err)) {
        fg_answer_fail(call, &err);
        return;
    }
    fg_out_close(&out, ']');
    fg_out_close(&out, '}');
    fg_answer_json(call, 200, &out, NULL);
}

static int revoke_key(struct fg_call *call, struct fg_error *err)
{
    struct fg_server *s = call->server;
    struct fg_store_key key;
    fg_id id;
    if (!fg_id_parse(fg_http_param(call->req, "id"), "key", &id) || fg_store_key_get(s->store, id, &key, NULL) ||
        (!fg_id_eq(key.tenant, call->tenant) && !fg_call_rules_all(call))) {
        fg_fail(err, FG_E_NOT_FOUND, "there is no such key");
        return fg_fail_hint(err, "`fgpu keys` lists them");
    }
    if (!key.revoked_ns && fg_store_key_revoke(s->store, id, fg_server_now(s), err))
        return -1;
    fg_auth_forget(s, id);
    return 0;
}

void fg_route_key_revoke(struct fg_http_request *req, void *arg)
{
    struct fg_call *call = fg_call_of(req);
    struct fg_error err;
    if (revoke_key(call, &err))
        fg_answer_fail(call, &err);
    else
        fg_http_answer(req, 204, "application/json", "", 0, NULL);
}
