/* keys.c - fgpu keys: make, list and revoke API keys. */
#include <string.h>

#include "base/units.h"
#include "cli/api.h"

static const struct cli_option no_options[] = {{NULL}};

static int run_list(struct cli *cli, const struct cli_args *args, struct fg_error *err)
{
    static const char *const keys[] = {"id", "name", "tenant", "scopes", "created", "expires", "revoked"};
    FG_AUTO_JSON json_t *body = NULL;
    struct cli_table t;
    size_t i;
    json_t *k;
    if (cli_get(cli, "/v1/keys", &body, err) < 0)
        return -1;
    if (cli->json)
        return cli_put_json_list(body, "keys", err);
    cli_table_init(&t, "ID|NAME|TENANT|SCOPES|CREATED|EXPIRES|REVOKED");
    json_array_foreach(json_object_get(body, "keys"), i, k)
    {
        for (size_t m = 0; m < FG_COUNT(keys); m++) {
            FG_AUTO_FREE char *text = cli_member(k, keys[m], "-");
            cli_table_cell(&t, CLI_NO_TINT, "%s", text);
        }
    }
    return cli_put_table(cli, &t, err);
}

const struct cli_verb cli_verb_keys_list = {
    "keys list", "", "list API keys, without their secrets", NULL, no_options, 0, 0, false, run_list,
};

static const struct cli_option create_options[] = {
    {"tenant", 0, CLI_TEXT, "NAME", "Whose key it is. Default: yours."},
    {"scope", 0, CLI_LIST, "SCOPE",
     "What it may do: tasks:read, tasks:write, blobs:read, ..., or *; may be repeated. Default: tasks and blobs."},
    {"expires", 0, CLI_DURATION, "TIME", "When it ends to be valid (30d). Default: never."},
    {NULL},
};

static json_t *create_body(const struct cli_args *args)
{
    json_t *body = json_object(), *scopes = json_array();
    const char *scope, *tenant = cli_text(args, "tenant"), *expires = cli_text(args, "expires");
    size_t at = 0;
    int64_t ns;
    json_object_set_new(body, "name", json_string(args->names.items[0]));
    if (tenant)
        json_object_set_new(body, "tenant", json_string(tenant));
    while ((scope = cli_each(args, "scope", &at)))
        json_array_append_new(scopes, json_string(scope));
    if (json_array_size(scopes) > 0)
        json_object_set(body, "scopes", scopes);
    json_decref(scopes);
    if (expires && fg_parse_duration(expires, &ns, NULL) == 0)
        json_object_set_new(body, "expires_s", json_integer(ns / FG_NS_PER_S));
    return body;
}

static int run_create(struct cli *cli, const struct cli_args *args, struct fg_error *err)
{
    FG_AUTO_JSON json_t *body = create_body(args), *answer = NULL;
    if (cli_post(cli, "/v1/keys", body, &answer, err) < 0)
        return -1;
    if (cli->json)
        return cli_put_json(answer, err);
    cli_note(cli, "%s: the key is shown this once", fg_json_str(answer, "id", "key"));
    return cli_put_line(err, "%s", fg_json_str(answer, "key", "?"));
}

const struct cli_verb cli_verb_keys_create = {
    "keys create", "NAME [options]", "make an API key; its secret is printed once", NULL, create_options, 1, 1,
    false,         run_create,
};

static int run_revoke(struct cli *cli, const struct cli_args *args, struct fg_error *err)
{
    for (size_t i = 0; i < args->names.count; i++) {
        FG_AUTO_STR struct fg_str path = {0};
        fg_str_adds(&path, "/v1/keys/");
        fg_client_escape(&path, args->names.items[i]);
        struct cli_request req = {.method = "DELETE", .path = path.data};
        if (cli_call(cli, &req, NULL, err) < 0)
            return -1;
        cli_note(cli, "%s revoked", args->names.items[i]);
    }
    return 0;
}

const struct cli_verb cli_verb_keys_revoke = {
    "keys revoke", "ID...", "revoke API keys; what they started goes on", NULL, no_options, 1, -1, false, run_revoke,
};
