/* metrics.c - fgpu usage and metrics: what was used and charged, and the numbers for Prometheus. */
#include <string.h>

#include "cli/api.h"
#include "cli/task.h"

static const struct cli_option no_options[] = {{NULL}};
static const struct cli_option usage_options[] = {
    {"from", 0, CLI_TEXT, "TIME", "Only tasks submitted from this time on (2026-11-22T00:00:00Z)."},
    {"to", 0, CLI_TEXT, "TIME", "Only tasks submitted before this time."},
    {NULL},
};

static void add_row(struct cli_table *t, const json_t *row)
{
    FG_AUTO_FREE char *type = cli_member(row, "task_type", "-"), *model = cli_member(row, "model", "-");
    FG_AUTO_FREE char *state = cli_member(row, "state", "-"), *cost = cli_member(row, "cost", "-");
    char run[32], device[32];
    cli_table_cell(t, CLI_NO_TINT, "%s", type);
    cli_table_cell(t, CLI_NO_TINT, "%s", model);
    cli_table_cell(t, cli_state_tint(state), "%s", state);
    cli_table_cell(t, CLI_NO_TINT, "%lld", (long long)fg_json_int(row, "tasks", 0));
    cli_table_cell(t, CLI_NO_TINT, "%s", cli_duration(run, sizeof run, cli_seconds(row, "run_s")));
    cli_table_cell(t, CLI_NO_TINT, "%s", cli_duration(device, sizeof device, cli_seconds(row, "device_s")));
    cli_table_cell(t, CLI_NO_TINT, "%s", cost);
}

static int run_usage(struct cli *cli, const struct cli_args *args, struct fg_error *err)
{
    FG_AUTO_STR struct fg_str path = {0};
    FG_AUTO_JSON json_t *usage = NULL;
    struct cli_table t;
    size_t i;
    json_t *row;
    fg_str_adds(&path, "/v1/usage");
    cli_query(&path, "from", cli_text(args, "from"));
    cli_query(&path, "to", cli_text(args, "to"));
    if (cli_get(cli, path.data, &usage, err) < 0)
        return -1;
    if (cli->json)
        return cli_put_json(usage, err);
    cli_table_init(&t, "TYPE|MODEL|STATE|>TASKS|>RUN|>DEVICE TIME|>COST USD");
    json_array_foreach(json_object_get(usage, "usage"), i, row)
        add_row(&t, row);
    if (cli_put_table(cli, &t, err) < 0)
        return -1;
    return cli_put_line(err, "%lld tasks, %s USD", (long long)fg_json_int(usage, "tasks", 0),
                        fg_json_str(usage, "cost", "?"));
}

const struct cli_verb cli_verb_usage = {
    "usage", "[options]", "show charged time and cost by model and state", NULL, usage_options, 0, 0, false, run_usage};

static int run_metrics(struct cli *cli, const struct cli_args *args, struct fg_error *err)
{
    struct cli_request req = {.method = "GET", .path = "/metrics", .accept = "text/plain"};
    struct fg_client_answer a;
    int rc = cli_send(cli, &req, &a, err);
    if (rc == 0)
        rc = cli_put(&a.body, err);
    fg_client_answer_fini(&a);
    return rc;
}

const struct cli_verb cli_verb_metrics = {
    "metrics", "", "print the server's metrics in Prometheus' text format", NULL, no_options, 0, 0, false, run_metrics};
