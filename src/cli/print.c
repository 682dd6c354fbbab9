/* print.c - everything that goes to stdout or stderr of a verb goes through here. */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <stdarg.h>
#include "cli/cli.h"

static void put_stderr(const char *head, const char *text)
{
    FG_AUTO_STR struct fg_str line = {0};
    fg_str_adds(&line, head);
    cli_clean(&line, text, strlen(text));
    fg_str_adds(&line, "\n");
    (void)fg_write_all(STDERR_FILENO, line.data, line.len);
}

void cli_print_error(const struct fg_error *err)
{
    const char *text = *err->text ? err->text : fg_error_info(err->code)->title;
    /* Most texts name the option themselves; the pointer is for places inside a document. */
    FG_AUTO_FREE char *at =
        *err->pointer && !strstr(text, err->pointer) ? fg_asprintf("%s (at %s)", text, err->pointer) : fg_strdup(text);
    put_stderr("fgpu: ", at);
    if (*err->hint)
        put_stderr("hint: ", err->hint);
}

void cli_note(const struct cli *cli, const char *fmt, ...)
{
    FG_AUTO_STR struct fg_str text = {0};
    if (cli->quiet)
        return;
    va_list ap;
    va_start(ap, fmt);
    fg_str_addv(&text, fmt, ap);
    va_end(ap);
    put_stderr("", fg_str_cstr(&text));
}

int cli_put(const struct fg_str *text, struct fg_error *err)
{
    if (text->len == 0 || fg_write_all(STDOUT_FILENO, text->data, text->len) == 0)
        return 0;
    if (errno == EPIPE) /* whoever read had enough: not worth a message */
        exit(141);
    return fg_fail(err, FG_E_IO, "write to standard output: %m");
}

int cli_put_line(struct fg_error *err, const char *fmt, ...)
{
    FG_AUTO_STR struct fg_str raw = {0}, line = {0};
    va_list ap;
    va_start(ap, fmt);
    fg_str_addv(&raw, fmt, ap);
    va_end(ap);
    cli_clean(&line, fg_str_cstr(&raw), raw.len);
    fg_str_adds(&line, "\n");
    return cli_put(&line, err);
}

int cli_put_json(const json_t *j, struct fg_error *err)
{
    FG_AUTO_STR struct fg_str line = {0};
    fg_json_dump(j, &line);
    fg_str_adds(&line, "\n");
    return cli_put(&line, err);
}

int cli_put_json_list(const json_t *obj, const char *list, struct fg_error *err)
{
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(obj, list), i, item) if (cli_put_json(item, err) < 0) return -1;
    return 0;
}

int cli_put_table(const struct cli *cli, struct cli_table *t, struct fg_error *err)
{
    FG_AUTO_STR struct fg_str out = {0};
    cli_table_print(t, cli->color, &out);
    cli_table_fini(t);
    return cli_put(&out, err);
}

char *cli_member(const json_t *obj, const char *key, const char *fallback)
{
    const json_t *v = json_object_get(obj, key);
    if (json_is_string(v))
        return fg_strndup(json_string_value(v), json_string_length(v));
    if (!v || json_is_null(v))
        return fg_strdup(fallback);
    struct fg_str text = {0};
    fg_json_dump(v, &text);
    return fg_str_take(&text);
}
