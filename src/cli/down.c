/* down.c - fgpu down: stop what fgpu up started on a data folder. */
#include <signal.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "cli/api.h"
#include "cli/pidfile.h"
#include "cli/watch.h"

#define STOP_MS 40000 /* the watcher gives each daemon 15 s */
#define KILL_MS 20000

static int64_t now_ms(void)
{
    struct fg_clock clock;
    fg_clock_init_real(&clock);
    return fg_boot(&clock) / 1000000;
}

/* Tasks with a process, by id; NULL when the server cannot be asked. */
static json_t *live_tasks(struct cli *cli)
{
    static const char *const paths[] = {"/v1/tasks?state=starting&limit=1000", "/v1/tasks?state=running&limit=1000"};
    json_t *ids = json_array();
    for (size_t i = 0; i < FG_COUNT(paths); i++) {
        FG_AUTO_JSON json_t *page = NULL;
        size_t k;
        json_t *task;
        if (cli_get(cli, paths[i], &page, NULL) < 0) {
            json_decref(ids);
            return NULL;
        }
        json_array_foreach(json_object_get(page, "tasks"), k, task)
            json_array_append_new(ids, json_string(fg_json_str(task, "id", "")));
    }
    return ids;
}

static bool any_of(const json_t *ids, const json_t *live)
{
    size_t i, k;
    const json_t *id, *other;
    json_array_foreach(ids, i, id)
        json_array_foreach(live, k, other)
            if (json_equal(id, other))
                return true;
    return false;
}

/* Cancel what runs now and wait for its end. The server places nothing meanwhile, so that nobody takes a freed place; a key that
 * may not pause it cancels all the same, and a task of another tenant may. */
static void kill_tasks(struct cli *cli)
{
    int64_t until = now_ms() + KILL_MS;
    FG_AUTO_JSON json_t *pause = json_pack("{s:i}", "seconds", (KILL_MS + STOP_MS) / 1000);
    cli_post(cli, "/v1/pause", pause, NULL, NULL);
    FG_AUTO_JSON json_t *ids = live_tasks(cli);
    size_t i;
    json_t *id;
    json_array_foreach(ids, i, id)
    {
        FG_AUTO_FREE char *path = fg_asprintf("/v1/tasks/%s/cancel", json_string_value(id));
        cli_post(cli, path, NULL, NULL, NULL);
    }
    while (now_ms() < until) {
        FG_AUTO_JSON json_t *live = live_tasks(cli);
        if (!any_of(ids, live))
            return;
        nanosleep(&(struct timespec){0, 50000000}, NULL);
    }
}

static int stop(const char *data_dir, pid_t pid, struct fg_error *err)
{
    int64_t until = now_ms() + STOP_MS;
    if (kill(pid, SIGTERM) < 0)
        return fg_fail(err, FG_E_FORBIDDEN, "stop process %d: %m", (int)pid);
    while (cli_pid_holder(data_dir) == pid) {
        if (now_ms() >= until)
            return fg_fail(err, FG_E_TIMEOUT, "process %d has not stopped within 40 s", (int)pid);
        nanosleep(&(struct timespec){0, 10000000}, NULL);
    }
    return 0;
}

static int run_down(struct cli *cli, const struct cli_args *args, struct fg_error *err)
{
    struct fg_config *config;
    if (cli_settings(cli, args, &config, err) < 0)
        return -1;
    FG_AUTO_FREE char *data_dir = cli_data_dir(config);
    fg_config_destroy(config);
    pid_t pid = cli_pid_holder(data_dir);
    if (pid == 0) {
        cli_note(cli, "nothing runs on %s", data_dir);
        return 0;
    }
    FG_AUTO_FREE char *url = cli_watch_url(data_dir);
    if (url && cli_api_use(cli, url, err) < 0)
        return -1;
    if (url && cli_flag(args, "kill"))
        kill_tasks(cli);
    FG_AUTO_JSON json_t *left = url ? live_tasks(cli) : NULL;
    if (stop(data_dir, pid, err) < 0)
        return -1;
    size_t n = json_array_size(left);
    if (!left)
        cli_note(cli, "stopped; how many tasks run could not be asked");
    else if (n == 0)
        cli_note(cli, "stopped; no task runs");
    else
        cli_note(cli,
                 "stopped; %zu task%s on until the next 'fgpu up' finds %s again ('fgpu down --kill' ends tasks, too)",
                 n, n == 1 ? " goes" : "s go", n == 1 ? "it" : "them");
    return 0;
}

static const struct cli_option options[] = {
    {"kill", 0, CLI_FLAG, NULL, "Cancel your tasks that run, first. None that waits is started meanwhile."},
    CLI_SETTING_OPTIONS,
    {NULL},
};
const struct cli_verb cli_verb_down = {
    "down",
    "[options]",
    "stop what 'fgpu up' started",
    "Tasks that run go on under their supervisors; the next 'fgpu up' finds them again. Nothing running is no error.",
    options,
    0,
    0,
    false,
    run_down,
};
