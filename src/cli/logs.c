/* logs.c - fgpu logs, and the part of fgpu run that shows output. */
#include "cli/logs.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/api.h"
#include "cli/task.h"

static int put_bytes(struct cli_logs *l, int fd, const char *data, size_t n, struct fg_error *err)
{
    FG_AUTO_STR struct fg_str safe = {0};
    if (l->tty[fd]) {
        cli_filter(&l->filters[fd], data, n, &safe);
        data = safe.data;
        n = safe.len;
    }
    if (n == 0 || fg_write_all(fd, data, n) == 0)
        return 0;
    if (errno == EPIPE)
        exit(141);
    return fg_fail(err, FG_E_IO, "write output: %m");
}

static int put_base64(struct cli_logs *l, int fd, const json_t *coded, struct fg_error *err)
{
    FG_AUTO_STR struct fg_str bytes = {0};
    size_t n = json_string_length(coded), got = 0;
    if (sodium_base642bin((unsigned char *)fg_str_reserve(&bytes, n), n, json_string_value(coded), n, NULL, &got, NULL,
                          sodium_base64_VARIANT_ORIGINAL) != 0)
        return fg_fail(err, FG_E_MALFORMED, "the server sent a log record whose base64 is damaged");
    return put_bytes(l, fd, bytes.data, got, err);
}

/* What FastGPU has to say comes between the task's own lines: marked, and on a line of its own. */
static int put_system(struct cli_logs *l, const char *text, struct fg_error *err)
{
    FG_AUTO_STR struct fg_str line = {0};
    fg_str_addf(&line, "fgpu: %s%s", text, *text && text[strlen(text) - 1] == '\n' ? "" : "\n");
    return put_bytes(l, STDERR_FILENO, line.data, line.len, err);
}

/* One record: {"src": "stdout", "t": TIME, "attempt": 1, "line": "..."}; "base64" instead where the bytes are no text.
 */
static int put_record(struct cli_logs *l, const json_t *record, struct fg_error *err)
{
    const char *source = fg_json_str(record, "src", "stdout");
    int fd = fg_streq(source, "stdout") ? STDOUT_FILENO : STDERR_FILENO;
    const json_t *text = json_object_get(record, "line"), *coded = json_object_get(record, "base64");
    if (l->cli->json)
        return cli_put_json(record, err);
    if (json_is_string(coded))
        return put_base64(l, fd, coded, err);
    if (!json_is_string(text))
        return fg_fail(err, FG_E_MALFORMED, "the server sent a log record without text");
    if (fg_streq(source, "system"))
        return put_system(l, json_string_value(text), err);
    return put_bytes(l, fd, json_string_value(text), json_string_length(text), err);
}

static int on_event(void *arg, const struct fg_sse_event *ev, struct fg_error *err)
{
    struct cli_logs *l = arg;
    if (fg_streq(ev->event, "done"))
        return 1;
    if (!fg_streq(ev->event, "log"))
        return 0;
    FG_AUTO_JSON json_t *record = fg_json_parse(ev->data, ev->data_len, err);
    return record ? put_record(l, record, err) : -1;
}

static int on_line(void *arg, const char *line, size_t n, struct fg_error *err)
{
    FG_AUTO_JSON json_t *record = n > 0 ? fg_json_parse(line, n, err) : NULL;
    return n == 0 ? 0 : record ? put_record(arg, record, err) : -1;
}

static void add_number(struct fg_str *path, const char *key, long value)
{
    char text[24];
    snprintf(text, sizeof text, "%ld", value);
    cli_query(path, key, text);
}

static int fetch(struct cli_logs *l, const char *path, struct fg_error *err)
{
    struct fg_client_request request = {
        .path = path, .headers = "Accept: application/x-ndjson", .take = FG_TAKE_LINES, .line = on_line, .line_arg = l};
    struct fg_client_answer a;
    const char *url;
    if (cli_api_url(l->cli, &url, err) < 0)
        return -1;
    int rc = fg_client_send(cli_api_client(l->cli), &request, &a, err);
    fg_client_answer_fini(&a);
    return rc;
}

int cli_logs(struct cli_logs *logs, struct fg_error *err)
{
    FG_AUTO_STR struct fg_str path = {0};
    fg_str_addf(&path, "/v1/tasks/%s/logs", logs->id);
    cli_query(&path, "source", logs->source);
    if (logs->tail >= 0)
        add_number(&path, "tail", logs->tail);
    if (logs->attempt > 0)
        add_number(&path, "attempt", logs->attempt);
    for (int fd = STDOUT_FILENO; fd <= STDERR_FILENO; fd++) {
        logs->tty[fd] = isatty(fd);
        logs->filters[fd] = (struct cli_filter){.color = logs->cli->color};
    }
    int rc =
        logs->follow ? cli_follow(logs->cli, path.data, on_event, logs, logs->stop, err) : fetch(logs, path.data, err);
    for (int fd = STDOUT_FILENO; fd <= STDERR_FILENO; fd++) {
        FG_AUTO_STR struct fg_str rest = {0};
        cli_filter_end(&logs->filters[fd], &rest);
        if (logs->tty[fd] && rest.len > 0)
            (void)fg_write_all(fd, rest.data, rest.len);
    }
    return rc < 0 ? -1 : 0;
}

static const struct cli_option options[] = {
    {"follow", 'f', CLI_FLAG, NULL, "Go on until the task has ended."},
    {"source", 0, CLI_CHOICE, "stdout|stderr|system", "Only this source; system is what FastGPU itself has to say."},
    {"tail", 0, CLI_INTEGER, "N", "Only the last N lines."},
    {"attempt", 0, CLI_INTEGER, "N", "Of this attempt. Default: the last."},
    {NULL},
};

static int run_logs(struct cli *cli, const struct cli_args *args, struct fg_error *err)
{
    FG_AUTO_FREE char *id = NULL;
    if (cli_task_id(cli, args->names.items[0], &id, err) < 0)
        return -1;
    struct cli_logs logs = {.cli = cli,
                            .id = id,
                            .source = cli_text(args, "source"),
                            .tail = cli_integer(args, "tail", -1),
                            .attempt = cli_integer(args, "attempt", 0),
                            .follow = cli_flag(args, "follow")};
    return cli_logs(&logs, err);
}

const struct cli_verb cli_verb_logs = {
    "logs",
    "ID [options]",
    "print what a task printed: its stdout to stdout, its stderr to stderr",
    "Bytes pass as they are, except to a terminal: there control sequences other than colours are taken out.",
    options,
    1,
    1,
    false,
    run_logs,
};
