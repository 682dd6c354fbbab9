/* run.c - fgpu run: submit, show the output as it comes, print the result, end as the task ended.
 *
 * Ctrl-C once leaves the task running and says how to find it again; a second one within two seconds cancels it. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/api.h"
#include "cli/logs.h"
#include "cli/spec.h"
#include "cli/submit.h"
#include "cli/task.h"

static volatile sig_atomic_t interrupts;
static void on_interrupt(int signal) { interrupts++; }

/* From here on the task is the server's, and Ctrl-C is not the end of it. No SA_RESTART: waits must notice. */
static void catch_interrupts(void)
{
    struct sigaction action = {.sa_handler = on_interrupt};
    sigaction(SIGINT, &action, NULL);
}

static int detach(struct cli *cli, const char *id, struct fg_error *err)
{
    struct timespec left = {2, 0};
    fprintf(stderr, "\n%s goes on without us.\n", id);
    fprintf(stderr, "  fgpu logs -f %s    follows it\n  fgpu cancel %s     ends it; so does Ctrl-C again, now\n", id,
            id);
    while (interrupts < 2 && nanosleep(&left, &left) < 0 && errno == EINTR)
        ;
    if (interrupts < 2)
        return CLI_INTERRUPTED;
    FG_AUTO_FREE char *path = fg_asprintf("/v1/tasks/%s/cancel", id);
    if (cli_post(cli, path, NULL, NULL, err) < 0)
        return -1;
    fprintf(stderr, "%s is being canceled\n", id);
    return CLI_INTERRUPTED;
}

/* The body of /result has not all of a task; what a person reads at the end has. */
static void print_summary(struct cli *cli, const char *id, const json_t *body)
{
    FG_AUTO_JSON json_t *task = NULL;
    FG_AUTO_STR struct fg_str text = {0};
    struct cli_task view;
    if (cli->quiet)
        return;
    cli_task_read(cli_task_get(cli, id, &task, NULL) == 0 ? task : body, &view);
    cli_add_summary(&text, &view);
    (void)fg_write_all(STDERR_FILENO, text.data, text.len);
}

static int finish(struct cli *cli, const struct cli_args *args, const char *id, bool command, const json_t *body,
                  struct fg_error *err)
{
    bool well = fg_streq(fg_json_str(body, "state", ""), "succeeded");
    const json_t *result = json_object_get(body, "result");
    /* What a command printed was its result. */
    int rc = cli->json ? cli_put_json(body, err) : command ? 0 : cli_put_result(cli, result, err);
    if (rc < 0)
        return -1;
    print_summary(cli, id, body);
    if (cli_save_outputs(cli, body, cli_text(args, "output-dir"), err) < 0)
        return -1;
    return well ? 0 : fg_error_info(FG_E_TASK_FAILED)->exit_code;
}

static int follow(struct cli *cli, const struct cli_args *args, const char *id, bool command, struct fg_error *err)
{
    FG_AUTO_JSON json_t *body = NULL;
    struct cli_logs logs = {.cli = cli, .id = id, .tail = -1, .follow = true, .stop = &interrupts};
    /* A model's worker prints nothing of interest while all goes well; its last lines are in the error otherwise. */
    int rc = command && !cli->json ? cli_logs(&logs, err) : 0;
    if (rc == 0 && !interrupts)
        rc = cli_task_wait(cli, id, -1, &interrupts, &body, err);
    if (interrupts)
        return detach(cli, id, err);
    return rc < 0 ? -1 : finish(cli, args, id, command, body, err);
}

static int run_run(struct cli *cli, const struct cli_args *args, struct fg_error *err)
{
    FG_AUTO_JSON json_t *task = NULL;
    if (cli_flag(args, "dry-run"))
        return cli_quote(cli, args, err);
    if (cli_submit(cli, args, &task, err) < 0)
        return -1;
    catch_interrupts();
    const char *id = fg_json_str(task, "id", "?");
    if (isatty(STDERR_FILENO))
        cli_note(cli, "%s submitted; Ctrl-C leaves it running", id);
    return follow(cli, args, id, fg_streq(fg_json_str(task, "task_type", ""), "command"), err);
}

const struct cli_verb cli_verb_run = {
    "run",
    "[options] MODEL FILE\n[options] -- COMMAND [ARGS]\n-f FILE.json",
    "submit a task, follow it, print its result",
    CLI_SPEC_TEXT
    "\nThe exit status is 0 when the task succeeded and 1 when it did not; where it stands, why, its times, slice and "
    "cost go to standard error. Ctrl-C leaves the task running, twice cancels it.",
    cli_spec_options,
    0,
    2,
    true,
    run_run,
};
