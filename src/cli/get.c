/* get.c - fgpu get, wait and result: a task as it stands, its end, what it made. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/units.h"
#include "cli/api.h"
#include "cli/task.h"

static const struct cli_option no_options[] = {{NULL}};

static int run_get(struct cli *cli, const struct cli_args *args, struct fg_error *err)
{
    FG_AUTO_FREE char *id = NULL;
    FG_AUTO_JSON json_t *task = NULL;
    FG_AUTO_STR struct fg_str text = {0};
    struct cli_task view;
    if (cli_task_id(cli, args->names.items[0], &id, err) < 0)
        return -1;
    if (cli->quiet)
        return cli_put_line(err, "%s", id);
    if (cli_task_get(cli, id, &task, err) < 0)
        return -1;
    if (cli->json)
        return cli_put_json(task, err);
    cli_task_read(task, &view);
    cli_add_summary(&text, &view);
    FG_AUTO_FREE char *class = cli_member(task, "class", "-"), *rule = cli_member(task, "class_rule", "");
    FG_AUTO_FREE char *submitted = cli_member(json_object_get(task, "times"), "submitted", "-");
    fg_str_addf(&text, "%-8s%s%s%s%s%s", "type", view.type, *view.model ? " " : "", view.model,
                *view.name ? ", name " : "", view.name);
    fg_str_addf(&text, "\n%-8s%s%s%s\n%-8s%s, attempt %lld\n", "class", class, *rule ? ": " : "", rule, "since",
                submitted, (long long)view.attempt);
    if (cli_put(&text, err) < 0)
        return -1;
    return cli_save_outputs(cli, task, NULL, err);
}

const struct cli_verb cli_verb_get = {
    "get", "ID",    "show a task: state and reason, times, slice, enforcement, cost", NULL, no_options, 1, 1,
    false, run_get,
};

/* One line per task, as it ends. */
static int put_end(struct cli *cli, const json_t *body, struct fg_error *err)
{
    struct cli_task t;
    cli_task_read(body, &t);
    if (cli->json)
        return cli_put_json(body, err);
    if (cli->quiet)
        return cli_put_line(err, "%s", t.id);
    bool well = fg_streq(t.state, "succeeded") || !*t.reason;
    return cli_put_line(err, "%s %s%s%s", t.id, t.state, well ? "" : ": ", well ? "" : t.reason);
}

static const struct cli_option wait_options[] = {
    {"timeout", 0, CLI_DURATION, "TIME", "Give up after this time (90s, 5m), with exit status 6."},
    {NULL},
};

static int64_t timeout_of(const struct cli_args *args)
{
    int64_t ns = -1;
    const char *text = cli_text(args, "timeout");
    if (text)
        fg_parse_duration(text, &ns, NULL);
    return ns;
}

static int64_t boot_ns(void)
{
    struct fg_clock clock;
    fg_clock_init_real(&clock);
    return fg_boot(&clock);
}

static int run_wait(struct cli *cli, const struct cli_args *args, struct fg_error *err)
{
    int64_t timeout = timeout_of(args), start = boot_ns();
    int status = 0;
    for (size_t i = 0; i < args->names.count; i++) {
        FG_AUTO_FREE char *id = NULL;
        FG_AUTO_JSON json_t *body = NULL;
        int64_t left = timeout < 0 ? -1 : FG_MAX(timeout - (boot_ns() - start), 1);
        if (cli_task_id(cli, args->names.items[i], &id, err) < 0 ||
            cli_task_wait(cli, id, left, NULL, &body, err) < 0 || put_end(cli, body, err) < 0)
            return -1;
        if (!fg_streq(fg_json_str(body, "state", ""), "succeeded"))
            status = 1;
    }
    return status;
}

const struct cli_verb cli_verb_wait = {
    "wait",
    "ID...",
    "wait until tasks have ended",
    "Exit status 1 when one of them did not succeed.",
    wait_options,
    1,
    -1,
    false,
    run_wait,
};

static const struct cli_option result_options[] = {
    {"output-dir", 'o', CLI_PATH, "DIR", "Write the output files below DIR."},
    {"timeout", 0, CLI_DURATION, "TIME", "Give up after this time (90s, 5m), with exit status 6."},
    {NULL},
};

static int fail_task(const json_t *body, struct fg_error *err)
{
    struct cli_task t;
    cli_task_read(body, &t);
    fg_fail(err, FG_E_TASK_FAILED, "%s %s%s%s%s%s", t.id, t.state, *t.reason ? ": " : "", t.reason,
            *t.detail ? ": " : "", t.detail);
    FG_AUTO_FREE char *hint = cli_hint(t.hint, t.id);
    return fg_fail_hint(err, "%s", hint);
}

static int run_result(struct cli *cli, const struct cli_args *args, struct fg_error *err)
{
    FG_AUTO_FREE char *id = NULL;
    FG_AUTO_JSON json_t *body = NULL;
    if (cli_task_id(cli, args->names.items[0], &id, err) < 0 ||
        cli_task_wait(cli, id, timeout_of(args), NULL, &body, err) < 0)
        return -1;
    if ((cli->json ? cli_put_json(body, err) : cli_put_result(cli, json_object_get(body, "result"), err)) < 0)
        return -1;
    if (cli_save_outputs(cli, body, cli_text(args, "output-dir"), err) < 0)
        return -1;
    return fg_streq(fg_json_str(body, "state", ""), "succeeded") ? 0 : fail_task(body, err);
}

const struct cli_verb cli_verb_result = {
    "result",
    "ID",
    "print a task's result, waiting for it",
    "Output files are listed on standard error.",
    result_options,
    1,
    1,
    false,
    run_result,
};
