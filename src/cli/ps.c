/* ps.c - fgpu ps: the user's tasks, newest first. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/api.h"
#include "cli/task.h"

static const struct cli_option options[] = {
    {"all", 'a', CLI_FLAG, NULL, "Ended tasks, too."},
    {"state", 0, CLI_CHOICE, "queued|starting|running|succeeded|failed|canceled|expired", "Only tasks in this state."},
    {"label", 0, CLI_TEXT, "KEY=VALUE", "Only tasks with this label."},
    {"name", 0, CLI_TEXT, "NAME", "Only tasks with this name."},
    {"number", 'n', CLI_INTEGER, "N", "At most N tasks. Default: 50."},
    {"watch", 'w', CLI_FLAG, NULL, "Print the table anew each second, until interrupted."},
    {NULL},
};

/* One page of tasks, appended to all; the next page's cursor is the caller's to free, NULL after the last. */
static int fetch_page(struct cli *cli, const struct cli_args *args, const char *state, size_t limit, char **cursor,
                      json_t *all, struct fg_error *err)
{
    FG_AUTO_STR struct fg_str path = {0};
    FG_AUTO_JSON json_t *page = NULL;
    char number[16];
    snprintf(number, sizeof number, "%zu", limit);
    fg_str_adds(&path, "/v1/tasks");
    cli_query(&path, "limit", number);
    cli_query(&path, "state", state);
    cli_query(&path, "label", cli_text(args, "label"));
    cli_query(&path, "name", cli_text(args, "name"));
    cli_query(&path, "cursor", *cursor);
    if (cli_get(cli, path.data, &page, err) < 0)
        return -1;
    json_array_extend(all, json_object_get(page, "tasks"));
    free(*cursor);
    *cursor = fg_strdup(fg_json_str(page, "next_cursor", NULL));
    return 0;
}

static int fetch(struct cli *cli, const struct cli_args *args, const char *state, size_t most, json_t *all,
                 struct fg_error *err)
{
    char *cursor = NULL;
    int rc = 0;
    do
        rc = fetch_page(cli, args, state, FG_MIN(most - json_array_size(all), 1000), &cursor, all, err);
    while (rc == 0 && cursor && json_array_size(all) < most);
    free(cursor);
    return rc;
}

static int newest_first(const void *a, const void *b)
{
    return strcmp(fg_json_str(*(json_t *const *)b, "id", ""), fg_json_str(*(json_t *const *)a, "id", ""));
}

/* The server lists by one state; what is not ended is in one of three. Ids are ordered by time. */
static int fetch_live(struct cli *cli, const struct cli_args *args, size_t most, json_t *all, struct fg_error *err)
{
    static const char *const live[] = {"queued", "starting", "running"};
    FG_VEC(json_t *) tasks = {0};
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < FG_COUNT(live); i++) {
        FG_AUTO_JSON json_t *some = json_array();
        size_t k;
        json_t *task;
        rc = fetch(cli, args, live[i], most, some, err);
        json_array_foreach(some, k, task) fg_vec_push(&tasks, json_incref(task));
    }
    if (tasks.count > 0)
        qsort(tasks.items, tasks.count, sizeof *tasks.items, newest_first);
    for (size_t i = 0; i < tasks.count; i++) {
        bool again =
            i > 0 && newest_first(&tasks.items[i - 1], &tasks.items[i]) == 0; /* it moved on between the lists */
        if (!again && json_array_size(all) < most)
            json_array_append(all, tasks.items[i]);
    }
    for (size_t i = 0; i < tasks.count; i++)
        json_decref(tasks.items[i]);
    fg_vec_fini(&tasks);
    return rc;
}

static void add_row(struct cli_table *t, const json_t *task)
{
    struct cli_task v;
    FG_AUTO_STR struct fg_str slice = {0};
    char wait[32], run[32];
    cli_task_read(task, &v);
    cli_add_slice(&slice, &v);
    cli_table_cell(t, CLI_NO_TINT, "%s", v.id);
    cli_table_cell(t, CLI_NO_TINT, "%s", *v.name ? v.name : "-");
    cli_table_cell(t, CLI_NO_TINT, "%s", *v.model ? v.model : v.type);
    cli_table_cell(t, cli_state_tint(v.state), "%s", v.state);
    cli_table_cell(t, CLI_NO_TINT, "%s", *v.reason ? v.reason : "-");
    cli_table_cell(t, CLI_NO_TINT, "%s", slice.data);
    cli_table_cell(t, CLI_NO_TINT, "%s", cli_duration(wait, sizeof wait, v.queue_ns));
    cli_table_cell(t, CLI_NO_TINT, "%s", cli_duration(run, sizeof run, v.run_ns));
    cli_table_cell(t, CLI_NO_TINT, "%s", *v.cost ? v.cost : "-");
}

static int print_tasks(struct cli *cli, const json_t *tasks, struct fg_error *err)
{
    struct cli_table t;
    size_t i;
    json_t *task;
    int rc = 0;
    if (!cli->json && !cli->quiet) {
        cli_table_init(&t, "ID|NAME|TYPE|STATE|REASON|SLICE|>WAIT|>RUN|>COST");
        json_array_foreach(tasks, i, task) add_row(&t, task);
        return cli_put_table(cli, &t, err);
    }
    json_array_foreach(tasks, i, task) if (rc == 0) rc =
        cli->json ? cli_put_json(task, err) : cli_put_line(err, "%s", fg_json_str(task, "id", ""));
    return rc;
}

static int list_once(struct cli *cli, const struct cli_args *args, struct fg_error *err)
{
    const char *state = cli_text(args, "state");
    long most = cli_integer(args, "number", 50);
    FG_AUTO_JSON json_t *tasks = json_array();
    if (most == 0)
        return print_tasks(cli, tasks, err);
    bool live = !state && !cli_flag(args, "all");
    if ((live ? fetch_live(cli, args, (size_t)most, tasks, err) : fetch(cli, args, state, (size_t)most, tasks, err)) <
            0 ||
        print_tasks(cli, tasks, err) < 0)
        return -1;
    if (json_array_size(tasks) == 0 && live && !cli->json)
        cli_note(cli, "nothing waits or runs; 'fgpu ps -a' shows what ended");
    return 0;
}

static int run_ps(struct cli *cli, const struct cli_args *args, struct fg_error *err)
{
    static const struct fg_str clear = {"\033[H\033[2J", 7, 0};
    if (!cli_flag(args, "watch"))
        return list_once(cli, args, err);
    for (;;) {
        if (cli->color && cli_put(&clear, err) < 0)
            return -1;
        if (list_once(cli, args, err) < 0)
            return -1;
        nanosleep(&(struct timespec){1, 0}, NULL);
    }
}

const struct cli_verb cli_verb_ps = {
    "ps",
    "[options]",
    "list tasks that wait or run, newest first",
    "Columns: the slice a task asked for or got, how long it waited, how long it ran, what it cost in USD.",
    options,
    0,
    0,
    false,
    run_ps,
};
