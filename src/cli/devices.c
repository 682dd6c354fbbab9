/* devices.c - fgpu devices and nodes. */
#include <string.h>

#include "base/units.h"
#include "cli/api.h"

static const struct cli_option no_options[] = {{NULL}};

static void cell_bytes(struct cli_table *t, const json_t *obj, const char *key)
{
    char text[32];
    int64_t n = fg_json_int(obj, key, -1);
    cli_table_cell(t, CLI_NO_TINT, "%s", n >= 0 ? fg_format_bytes(text, sizeof text, (uint64_t)n) : "-");
}

/* Free for who is to stay, and what is parked or borrowed of the rest. */
static void cell_free(struct cli_table *t, const json_t *d)
{
    char memory[32], parked[32], borrowed[32];
    int64_t p = fg_json_int(d, "memory_parked_bytes", 0), b = fg_json_int(d, "memory_borrowed_bytes", 0);
    fg_format_bytes(memory, sizeof memory, (uint64_t)fg_json_int(d, "memory_free_bytes", 0));
    fg_format_bytes(parked, sizeof parked, (uint64_t)p);
    fg_format_bytes(borrowed, sizeof borrowed, (uint64_t)b);
    cli_table_cell(t, CLI_NO_TINT, "%s%s%s%s%s%s%s", memory, p || b ? " (" : "", p ? parked : "", p ? " parked" : "", p && b ? ", " : "",
                   b ? borrowed : "", p && b ? " borrowed)" : b ? " borrowed)" : p ? ")" : "");
}

static void cell_member(struct cli_table *t, const json_t *obj, const char *key)
{
    FG_AUTO_FREE char *text = cli_member(obj, key, "-");
    cli_table_cell(t, CLI_NO_TINT, "%s", text);
}

/* How much of "25.0" or "12.5" is worth showing. */
static int whole(const char *percent) { return (int)strcspn(percent, ".") + (strstr(percent, ".0") ? 0 : 2); }

/* "drained", "draining (2 tasks)": what is asked of it first, then what is the matter with it. */
static void cell_state(struct cli_table *t, const json_t *obj, bool well, const char *good, const char *bad)
{
    const json_t *drained = json_object_get(obj, "drained");
    int64_t there = fg_json_int(obj, "tasks_there", 0);
    if (!json_is_object(drained))
        cli_table_cell(t, well ? CLI_GREEN : CLI_RED, "%s", well ? good : bad);
    else if (there)
        cli_table_cell(t, CLI_YELLOW, "draining (%lld task%s)%s%s", (long long)there, there == 1 ? "" : "s", well ? "" : ", ", well ? "" : bad);
    else
        cli_table_cell(t, CLI_YELLOW, "drained%s%s", well ? "" : ", ", well ? "" : bad);
}

static int run_devices(struct cli *cli, const struct cli_args *args, struct fg_error *err)
{
    FG_AUTO_JSON json_t *body = NULL;
    struct cli_table t;
    size_t i;
    json_t *d;
    if (cli_get(cli, "/v1/devices", &body, err) < 0)
        return -1;
    if (cli->json)
        return cli_put_json_list(body, "devices", err);
    cli_table_init(&t, "DEVICE|KIND|NODE|>MEMORY|>FREE|>SHARE FREE|>TASKS|STATE|LIMITS|>USD/HOUR");
    json_array_foreach(json_object_get(body, "devices"), i, d)
    {
        const json_t *level = json_object_get(d, "enforcement");
        FG_AUTO_FREE char *share = cli_member(d, "share_free_percent", "0"),
                          *memory_level = cli_member(level, "memory", "?");
        FG_AUTO_FREE char *share_level = cli_member(level, "share", "?");
        cell_member(&t, d, "name");
        cell_member(&t, d, "kind");
        cell_member(&t, d, "node_name");
        cell_bytes(&t, d, "memory_bytes");
        cell_free(&t, d);
        FG_AUTO_FREE char *lent = cli_member(d, "share_lent_percent", "0.0");
        cli_table_cell(&t, CLI_NO_TINT, "%.*s %%%s%.*s%s", whole(share), share, fg_streq(lent, "0.0") ? "" : " (",
                       fg_streq(lent, "0.0") ? 0 : whole(lent), lent, fg_streq(lent, "0.0") ? "" : " lent)");
        cli_table_cell(&t, CLI_NO_TINT, "%zu", json_array_size(json_object_get(d, "vgpus")));
        cell_state(&t, d, fg_json_bool(d, "healthy", false) && fg_json_bool(d, "connected", false), "ready",
                   fg_json_bool(d, "connected", false) ? "unhealthy" : "away");
        cli_table_cell(&t, CLI_NO_TINT, "memory %s, share %s", memory_level, share_level);
        cell_member(&t, d, "price_usd_per_hour");
    }
    return cli_put_table(cli, &t, err);
}

const struct cli_verb cli_verb_devices_list = {
    "devices list", "",         "list devices with capacity, what is free, price, and how limits are enforced",
    NULL,      no_options, 0,
    0,         false,      run_devices,
};

static int run_nodes(struct cli *cli, const struct cli_args *args, struct fg_error *err)
{
    FG_AUTO_JSON json_t *body = NULL;
    struct cli_table t;
    size_t i;
    json_t *n;
    if (cli_get(cli, "/v1/nodes", &body, err) < 0)
        return -1;
    if (cli->json)
        return cli_put_json_list(body, "nodes", err);
    cli_table_init(&t, "NODE|NAME|STATE|SEEN|DRAINED SINCE|REASON");
    json_array_foreach(json_object_get(body, "nodes"), i, n)
    {
        cell_member(&t, n, "id");
        cell_member(&t, n, "name");
        cell_state(&t, n, fg_json_bool(n, "connected", false), "connected", "away");
        cell_member(&t, n, "seen");
        cell_member(&t, json_object_get(n, "drained"), "since");
        cell_member(&t, json_object_get(n, "drained"), "reason");
    }
    return cli_put_table(cli, &t, err);
}

const struct cli_verb cli_verb_nodes_list = {
    "nodes list", "", "list machines and whether their agents are connected", NULL, no_options, 0, 0, false, run_nodes,
};
