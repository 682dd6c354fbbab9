/* prices.c - fgpu prices: what device kinds cost an hour, and setting it while the server runs. */
#include <string.h>

#include "cli/api.h"

static const struct cli_option no_options[] = {{NULL}};

static int show(struct cli *cli, const json_t *body, struct fg_error *err)
{
    struct cli_table t;
    size_t i;
    const json_t *p;
    if (cli->json)
        return cli_put_json_list(body, "prices", err);
    cli_table_init(&t, "KIND|>USD/HOUR|>SPOT|FROM");
    json_array_foreach(json_object_get(body, "prices"), i, p)
    {
        const char *kind = fg_json_str(p, "kind", "");
        FG_AUTO_FREE char *hour = cli_member(p, "usd_per_hour", "-"), *spot = cli_member(p, "spot_usd_per_hour", "-");
        cli_table_cell(&t, CLI_NO_TINT, "%s", *kind ? kind : "(all others)");
        cli_table_cell(&t, CLI_NO_TINT, "%s", hour);
        cli_table_cell(&t, CLI_NO_TINT, "%s", spot);
        cli_table_cell(&t, CLI_NO_TINT, "%s", fg_json_str(p, "source", "?"));
    }
    return cli_put_table(cli, &t, err);
}

static int run_list(struct cli *cli, const struct cli_args *args, struct fg_error *err)
{
    FG_AUTO_JSON json_t *body = NULL;
    return cli_get(cli, "/v1/prices", &body, err) < 0 ? -1 : show(cli, body, err);
}

const struct cli_verb cli_verb_prices_list = {
    "prices list", "", "list what a whole device of each kind costs an hour",
    "From: settings, or set while the server runs. A kind without a price of its own has that of all others.",
    no_options, 0, 0, false, run_list,
};

static const struct cli_option set_options[] = {
    {"usd-per-hour", 0, CLI_TEXT, "USD", "Of a whole device, for instance 2.40."},
    {"spot-usd-per-hour", 0, CLI_TEXT, "USD", "For spot tasks. Not given: the same as the others."},
    {"from-settings", 0, CLI_FLAG, NULL, "As the settings say, from now on."},
    {NULL},
};

static int run_set(struct cli *cli, const struct cli_args *args, struct fg_error *err)
{
    FG_AUTO_JSON json_t *answer = NULL, *body = NULL;
    const char *kind = args->names.items[0], *hour = cli_text(args, "usd-per-hour"), *spot = cli_text(args, "spot-usd-per-hour");
    bool settings = cli_flag(args, "from-settings");
    if (settings == (hour != NULL) || (settings && spot))
        return fg_fail(err, FG_E_INVALID, "either --usd-per-hour USD or --from-settings");
    body = json_pack("{s:s,s:s?,s:s?}", "kind", fg_streq(kind, "other") ? "" : kind, "usd_per_hour", hour, "spot_usd_per_hour", spot);
    if (!body)
        return fg_fail(err, FG_E_INVALID, "the kind or a price is no UTF-8 text");
    struct cli_request req = {.method = "PUT", .path = "/v1/prices", .body = body};
    return cli_call(cli, &req, &answer, err) < 0 ? -1 : show(cli, answer, err);
}

const struct cli_verb cli_verb_prices_set = {
    "prices set", "KIND", "set what a whole device of a kind costs an hour, from now on",
    "KIND as fgpu devices shows it, or other for all that have no price of their own. Quotes, placements and leases granted from now on go by it; "
    "what runs is charged at the price it was started at. Wants an unrestricted key of the first tenant.",
    set_options, 1, 1, false, run_set,
};
