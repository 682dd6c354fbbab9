/* change.c - fgpu cancel, hold, release, retry: one POST per task. */
#include <string.h>

#include "cli/api.h"
#include "cli/task.h"

static const struct cli_option no_options[] = {{NULL}};

/* Every id is tried; the first error is kept for the exit status, the others are printed as they come. */
static int change_all(struct cli *cli, const struct cli_args *args, const char *what, struct fg_error *err)
{
    struct fg_error first = {0};
    for (size_t i = 0; i < args->names.count; i++) {
        FG_AUTO_FREE char *id = NULL;
        FG_AUTO_JSON json_t *task = NULL;
        struct fg_error e = {0};
        int rc = cli_task_id(cli, args->names.items[i], &id, &e);
        if (rc == 0) {
            FG_AUTO_FREE char *path = fg_asprintf("/v1/tasks/%s/%s", id, what);
            rc = cli_post(cli, path, NULL, &task, &e);
        }
        if (rc == 0) {
            const char *state = fg_json_str(task, "state", "");
            const char *shown = fg_json_bool(task, "cancel_requested", false) ? "being canceled" : state;
            const char *of = fg_json_str(task, "id", id);
            rc = cli->json    ? cli_put_json(task, &e)
                 : cli->quiet ? cli_put_line(&e, "%s", of)
                              : cli_put_line(&e, "%s %s", of, shown);
        }
        if (rc < 0 && first.code)
            cli_print_error(&first);
        if (rc < 0)
            first = e;
    }
    if (!first.code)
        return 0;
    *err = first;
    return -1;
}

static int run_cancel(struct cli *cli, const struct cli_args *args, struct fg_error *err)
{
    return change_all(cli, args, "cancel", err);
}
static int run_hold(struct cli *cli, const struct cli_args *args, struct fg_error *err)
{
    return change_all(cli, args, "hold", err);
}
static int run_release(struct cli *cli, const struct cli_args *args, struct fg_error *err)
{
    return change_all(cli, args, "release", err);
}
static int run_retry(struct cli *cli, const struct cli_args *args, struct fg_error *err)
{
    return change_all(cli, args, "retry", err);
}

const struct cli_verb cli_verb_cancel = {
    "cancel", "ID...", "cancel tasks", "A task that has ended stays as it is.", no_options, 1, -1, false, run_cancel,
};
const struct cli_verb cli_verb_hold = {
    "hold", "ID...", "keep queued tasks waiting until they are released", NULL, no_options, 1, -1, false, run_hold};
const struct cli_verb cli_verb_release = {"release", "ID...", "let held tasks go", NULL, no_options, 1,
                                          -1,        false,   run_release};
const struct cli_verb cli_verb_retry = {
    "retry", "ID...",   "submit ended tasks again, as new tasks with the same spec", NULL, no_options, 1, -1,
    false,   run_retry,
};
