/* submit.c - fgpu submit and quote. */
#include "cli/submit.h"

#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/id.h"
#include "base/units.h"
#include "cli/api.h"
#include "cli/spec.h"
#include "cli/task.h"

static char *fresh_key(void)
{
    struct fg_clock clock;
    struct fg_id_gen gen = {0};
    char text[FG_ID_TEXT];
    fg_clock_init_real(&clock);
    return fg_strdup(fg_id_format(text, "cli", fg_id_new(&gen, fg_now(&clock))));
}

static int post_task(struct cli *cli, const char *path, const json_t *spec, const char *key, json_t **ret,
                     struct fg_error *err)
{
    struct cli_request req = {.method = "POST", .path = path, .body = spec, .idempotency_key = key};
    return cli_call(cli, &req, ret, err);
}

int cli_submit(struct cli *cli, const struct cli_args *args, json_t **ret_task, struct fg_error *err)
{
    FG_AUTO_JSON json_t *spec = NULL;
    const char *key = cli_text(args, "idempotency-key");
    if (cli_spec(cli, args, &spec, err) < 0)
        return -1;
    FG_AUTO_FREE char *own = key ? NULL : fresh_key();
    return post_task(cli, "/v1/tasks", spec, key ? key : own, ret_task, err);
}

static void add_quote(struct fg_str *out, const json_t *q)
{
    const json_t *need = json_object_get(q, "need"), *expected = json_object_get(q, "expected"),
                 *cost = json_object_get(q, "cost");
    FG_AUTO_FREE char *device = cli_member(q, "device_name", "none that is connected"),
                      *share = cli_member(need, "share_percent", "?");
    FG_AUTO_FREE char *kind = cli_member(q, "device_kind", ""),
                      *confidence = cli_member(expected, "confidence_percent", "0");
    char memory[32], p50[32], p95[32];
    fg_format_bytes(memory, sizeof memory, (uint64_t)fg_json_int(need, "memory_bytes", 0));
    cli_duration(p50, sizeof p50, cli_seconds(expected, "p50_s"));
    cli_duration(p95, sizeof p95, cli_seconds(expected, "p95_s"));
    fg_str_addf(out, "%-8s%s: %s\n", "class", fg_json_str(q, "class", "?"), fg_json_str(q, "class_rule", ""));
    fg_str_addf(out, "%-8s%s %s %%\n", "slice", memory, share);
    fg_str_addf(out, "%-8s%s%s%s\n", "device", device, *kind ? ", " : "", kind);
    long long runs = fg_json_int(expected, "samples", 0);
    fg_str_addf(out, "%-8s%s, in 95 of 100 cases within %s (%lld earlier run%s, confidence %s %%)\n", "time", p50, p95, runs,
                runs == 1 ? "" : "s", confidence);
    fg_str_addf(out, "%-8s%s USD, in 95 of 100 cases at most %s USD\n", "cost", fg_json_str(cost, "p50", "?"),
                fg_json_str(cost, "p95", "?"));
}

int cli_quote(struct cli *cli, const struct cli_args *args, struct fg_error *err)
{
    FG_AUTO_JSON json_t *spec = NULL, *quote = NULL;
    FG_AUTO_STR struct fg_str out = {0};
    if (cli_spec(cli, args, &spec, err) < 0 || post_task(cli, "/v1/tasks?dry_run=true", spec, NULL, &quote, err) < 0)
        return -1;
    if (cli->json)
        return cli_put_json(quote, err);
    add_quote(&out, quote);
    return cli_put(&out, err);
}

static int run_quote(struct cli *cli, const struct cli_args *args, struct fg_error *err)
{
    return cli_quote(cli, args, err);
}

const struct cli_verb cli_verb_quote = {
    "quote",
    "[options] MODEL FILE\n[options] -- COMMAND [ARGS]",
    "say what a task would be given and cost, without running it",
    "The same as 'fgpu submit --dry-run'. Inputs are uploaded, for the server checks them.",
    cli_spec_options,
    0,
    2,
    true,
    run_quote,
};

/* Of an array one a line. */
static int put_ids(const json_t *task, struct fg_error *err)
{
    const json_t *tasks = json_object_get(task, "tasks");
    if (!json_is_array(tasks))
        return cli_put_line(err, "%s", fg_json_str(task, "id", "?"));
    for (size_t i = 0; i < json_array_size(tasks); i++)
        if (cli_put_line(err, "%s", json_string_value(json_array_get(tasks, i))) < 0)
            return -1;
    return 0;
}

static int run_submit(struct cli *cli, const struct cli_args *args, struct fg_error *err)
{
    FG_AUTO_JSON json_t *task = NULL;
    if (cli_flag(args, "dry-run"))
        return cli_quote(cli, args, err);
    if (cli_submit(cli, args, &task, err) < 0)
        return -1;
    return cli->json ? cli_put_json(task, err) : put_ids(task, err);
}

const struct cli_verb cli_verb_submit = {
    "submit",
    "[options] MODEL FILE\n[options] -- COMMAND [ARGS]\n-f FILE.json",
    "submit a task and print its id",
    CLI_SPEC_TEXT,
    cli_spec_options,
    0,
    2,
    true,
    run_submit,
};
