/* tenants.c - fgpu tenants: what tenants use of the devices, and their weights in fair share. */
#include <string.h>

#include "cli/api.h"

static const struct cli_option no_options[] = {{NULL}};

static int run_list(struct cli *cli, const struct cli_args *args, struct fg_error *err)
{
    static const char *const members[] = {"id", "weight", "used_device_s", "expected_device_s", "waiting", "live"};
    FG_AUTO_JSON json_t *body = NULL;
    struct cli_table t;
    size_t i;
    json_t *tenant;
    if (cli_get(cli, "/v1/tenants", &body, err) < 0)
        return -1;
    if (cli->json)
        return cli_put_json_list(body, "tenants", err);
    cli_table_init(&t, "ID|>WEIGHT|>USED DEVICE-S|>EXPECTED|>WAITING|>RUNNING");
    json_array_foreach(json_object_get(body, "tenants"), i, tenant)
    {
        for (size_t m = 0; m < FG_COUNT(members); m++) {
            FG_AUTO_FREE char *text = cli_member(tenant, members[m], "-");
            cli_table_cell(&t, CLI_NO_TINT, "%s", text);
        }
    }
    return cli_put_table(cli, &t, err);
}

const struct cli_verb cli_verb_tenants_list = {
    "tenants list",
    "",
    "list tenants with what they have used and their weight",
    "Used is device time until now, and halves every fair_share.half_life_s. Expected is what the tasks that run are expected to use in all. "
    "Whose sum is least for its weight goes first.",
    no_options,
    0,
    0,
    false,
    run_list,
};

static const struct cli_option set_options[] = {
    {"weight", 0, CLI_INTEGER, "N", "Its weight in fair share, 1 to 1000. New tenants have 1."},
    {NULL},
};

static int run_set(struct cli *cli, const struct cli_args *args, struct fg_error *err)
{
    FG_AUTO_JSON json_t *answer = NULL, *body = NULL;
    if (!cli_text(args, "weight"))
        return fg_fail(err, FG_E_INVALID, "--weight N is missing");
    body = json_pack("{s:I}", "weight", (json_int_t)cli_integer(args, "weight", 1));
    FG_AUTO_FREE char *path = fg_asprintf("/v1/tenants/%s", args->names.items[0]);
    struct cli_request req = {.method = "PUT", .path = path, .body = body};
    if (cli_call(cli, &req, &answer, err) < 0)
        return -1;
    return cli->json ? cli_put_json(answer, err)
                     : cli_put_line(err, "%s has weight %lld", fg_json_str(answer, "id", "?"), (long long)fg_json_int(answer, "weight", 0));
}

const struct cli_verb cli_verb_tenants_set = {
    "tenants set", "TENANT", "set a tenant's weight in fair share", "Wants an unrestricted key of the first tenant.", set_options, 1, 1, false, run_set,
};
