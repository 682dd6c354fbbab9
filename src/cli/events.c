/* events.c - fgpu events: what happened, to one task or to all. */
#include <string.h>

#include "cli/api.h"
#include "cli/task.h"

#define DATA_WIDTH 100 /* bytes of an event's data that people see; --json shows all */

static const struct cli_option options[] = {
    {"follow", 'f', CLI_FLAG, NULL, "Go on as things happen; with an ID until the task has ended."},
    {"after", 0, CLI_INTEGER, "SEQ", "Only events after this one."},
    {NULL},
};

/* time, kind and task, then whatever else the event says, compact. */
static int put_event(struct cli *cli, const json_t *event, struct fg_error *err)
{
    if (cli->json)
        return cli_put_json(event, err);
    FG_AUTO_FREE char *time = cli_member(event, "time", "-"), *kind = cli_member(event, "event", "?");
    FG_AUTO_FREE char *task = cli_member(event, "task", "-"), *data = cli_member(event, "data", "");
    bool cut = strlen(data) > DATA_WIDTH;
    return cli_put_line(err, "%s  %-21s %s  %.*s%s", time, kind, task, DATA_WIDTH, data, cut ? "..." : "");
}

struct following {
    struct cli *cli;
    bool one;
};

static int on_event(void *arg, const struct fg_sse_event *ev, struct fg_error *err)
{
    struct following *f = arg;
    if (fg_streq(ev->event, "done"))
        return f->one;
    FG_AUTO_JSON json_t *event = fg_json_parse(ev->data, ev->data_len, err);
    if (!event)
        return -1;
    return put_event(f->cli, event, err);
}

static int list(struct cli *cli, const char *path, struct fg_error *err)
{
    FG_AUTO_JSON json_t *body = NULL;
    size_t i;
    json_t *event;
    if (cli_get(cli, path, &body, err) < 0)
        return -1;
    json_array_foreach(json_object_get(body, "events"), i, event) if (put_event(cli, event, err) < 0) return -1;
    return 0;
}

static int run_events(struct cli *cli, const struct cli_args *args, struct fg_error *err)
{
    FG_AUTO_FREE char *id = NULL;
    FG_AUTO_STR struct fg_str path = {0};
    bool follow = cli_flag(args, "follow");
    if (args->names.count > 0 && cli_task_id(cli, args->names.items[0], &id, err) < 0)
        return -1;
    fg_str_addf(&path, "/v1/%s%s%s", id ? "tasks/" : "events", id ? id : "", id ? "/events" : "");
    fg_str_addf(&path, "?after=%ld%s", cli_integer(args, "after", 0), follow ? "&follow=true" : "");
    if (!follow)
        return list(cli, path.data, err);
    struct following f = {cli, id != NULL};
    return cli_follow(cli, path.data, on_event, &f, NULL, err);
}

const struct cli_verb cli_verb_events = {
    "events", "[ID] [options]", "print what happened, oldest first", NULL, options, 0, 1, false, run_events,
};
