/* show.c - tasks for people: one line of a table, one screen of a summary, results and outputs. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/units.h"
#include "cli/api.h"
#include "cli/task.h"

enum cli_tint cli_state_tint(const char *state)
{
    static const struct {
        const char *state;
        enum cli_tint tint;
    } tints[] = {
        {"running", CLI_GREEN}, {"starting", CLI_GREEN}, {"failed", CLI_RED},
        {"expired", CLI_RED},   {"queued", CLI_YELLOW},  {"canceled", CLI_DIM},
    };
    for (size_t i = 0; i < FG_COUNT(tints); i++)
        if (fg_streq(tints[i].state, state))
            return tints[i].tint;
    return CLI_NO_TINT;
}

char *cli_duration(char *buf, size_t n, int64_t ns)
{
    if (ns >= 0)
        return fg_format_duration(buf, n, ns);
    snprintf(buf, n, "-");
    return buf;
}

static void add_percent(struct fg_str *out, const char *before, int64_t permille)
{
    fg_str_addf(out, "%s%lld", before, (long long)permille / 10);
    if (permille % 10)
        fg_str_addf(out, ".%lld", (long long)permille % 10);
}

void cli_add_slice(struct fg_str *out, const struct cli_task *t)
{
    char memory[32];
    size_t before = out->len;
    if (*t->device)
        fg_str_addf(out, "%s", t->device);
    if (t->memory_bytes > 0)
        fg_str_addf(out, "%s%s", out->len > before ? " " : "",
                    fg_format_bytes(memory, sizeof memory, (uint64_t)t->memory_bytes));
    if (t->share_permille > 0)
        add_percent(out, out->len > before ? " " : "", t->share_permille);
    if (t->share_permille > 0 && t->lent_permille > 0)
        add_percent(out, " + ", t->lent_permille);
    if (t->share_permille > 0)
        fg_str_adds(out, t->lent_permille > 0 ? " % lent" : " %");
    if (t->cpus_milli > 0)
        fg_str_addf(out, ", %g cores", (double)t->cpus_milli / 1000);
    if (t->host_bytes > 0)
        fg_str_addf(out, ", %s of the host", fg_format_bytes(memory, sizeof memory, (uint64_t)t->host_bytes));
    if (*t->parking)
        fg_str_addf(out, ", %s", t->parking);
    if (t->borrowed)
        fg_str_adds(out, ", borrowed");
    if (out->len == before)
        fg_str_adds(out, "-");
}

static void add_line(struct fg_str *out, const char *head, const char *text)
{
    fg_str_addf(out, "%-8s", head);
    cli_clean(out, text, strlen(text));
    fg_str_adds(out, "\n");
}

static void add_state(struct fg_str *out, const struct cli_task *t)
{
    FG_AUTO_STR struct fg_str line = {0};
    fg_str_adds(&line, t->state);
    if (*t->reason && !fg_streq(t->state, "succeeded"))
        fg_str_addf(&line, ": %s", t->reason);
    if (t->signal > 0)
        fg_str_addf(&line, " (killed by signal %lld)", (long long)t->signal);
    else if (t->exit_code > 0)
        fg_str_addf(&line, " (exit code %lld)", (long long)t->exit_code);
    fg_str_addf(out, "%s %s\n", t->id, line.data);
}

static void add_times(struct fg_str *out, const struct cli_task *t)
{
    FG_AUTO_STR struct fg_str line = {0};
    const struct {
        const char *name;
        int64_t ns;
    } phases[] = {{"queue", t->queue_ns}, {"pull", t->pull_ns}, {"load", t->load_ns}, {"run", t->run_ns}};
    char text[32];
    for (size_t i = 0; i < FG_COUNT(phases); i++)
        if (phases[i].ns >= 0)
            fg_str_addf(&line, "%s%s %s", line.len ? ", " : "", phases[i].name,
                        fg_format_duration(text, sizeof text, phases[i].ns));
    if (line.len)
        add_line(out, "time", line.data);
}

static void add_memory(struct fg_str *line, const struct cli_task *t)
{
    char peak[32];
    if (t->peak_bytes > 0)
        fg_str_addf(line, ", peak %s", fg_format_bytes(peak, sizeof peak, (uint64_t)t->peak_bytes));
}

/* Hints say ID where they mean the task at hand. */
char *cli_hint(const char *hint, const char *id)
{
    struct fg_str out = {0};
    for (const char *p = hint; *p;) {
        bool word = fg_starts_with(p, "ID") && (p == hint || p[-1] == ' ') && !(p[2] >= 'A' && p[2] <= 'Z');
        if (word)
            fg_str_adds(&out, id);
        else
            fg_str_add(&out, p, 1);
        p += word ? 2 : 1;
    }
    return fg_str_take(&out);
}

void cli_add_summary(struct fg_str *out, const struct cli_task *t)
{
    FG_AUTO_STR struct fg_str slice = {0}, level = {0};
    add_state(out, t);
    if (*t->detail)
        add_line(out, "why", t->detail);
    FG_AUTO_FREE char *hint = cli_hint(t->hint, t->id);
    if (*hint && !fg_streq(t->state, "succeeded"))
        add_line(out, "hint", hint);
    add_times(out, t);
    if (*t->device || t->memory_bytes > 0) {
        cli_add_slice(&slice, t);
        add_memory(&slice, t);
        add_line(out, "slice", slice.data);
    }
    if (*t->memory_level) {
        fg_str_addf(&level, "memory %s, share %s", t->memory_level, t->share_level);
        add_line(out, "limits", level.data);
    }
    if (*t->cost) {
        FG_AUTO_FREE char *cost = fg_asprintf("%s USD", t->cost);
        add_line(out, "cost", cost);
    }
}

static int put_labels(const json_t *labels, struct fg_error *err)
{
    size_t i;
    json_t *row;
    json_array_foreach(labels, i, row)
    {
        double p = json_number_value(json_object_get(row, "probability"));
        FG_AUTO_FREE char *label = cli_member(row, "label", "?");
        if (cli_put_line(err, "%6.2f%%  %s", p * 100, label) < 0)
            return -1;
    }
    return 0;
}

int cli_put_result(struct cli *cli, const json_t *result, struct fg_error *err)
{
    const json_t *labels = json_object_get(result, "labels");
    if (!result || json_is_null(result))
        return 0;
    if (json_is_array(labels))
        return put_labels(labels, err);
    return cli_put_json(result, err);
}

/* The task chose the path: it may not lead out of dir, nor through a link that was there. */
static int save_one(struct cli *cli, int dirfd, const json_t *row, struct fg_error *err)
{
    const char *path = fg_json_str(row, "path", ""), *blob = fg_json_str(row, "blob", ""), *slash = strrchr(path, '/');
    if (fg_starts_with(blob, "blob:"))
        blob += 5;
    if (!*path || !fg_is_sha256(blob))
        return fg_fail(err, FG_E_MALFORMED, "the server's list of outputs is damaged");
    FG_AUTO_FREE char *folder = slash ? fg_strndup(path, (size_t)(slash - path)) : NULL;
    if (folder && fg_mkdir_beneath(dirfd, folder, 0777) < 0)
        return fg_fail(err, FG_E_IO, "make folder '%s': %m", folder);
    FG_AUTO_FD int fd = fg_open_beneath(dirfd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0)
        return fg_fail(err, FG_E_IO, "write '%s': %m", path);
    return cli_blob_get(cli, blob, fd, err) < 0 ? fg_fail_prefix(err, "output '%s'", path) : 0;
}

static void note_output(struct cli *cli, const json_t *row, const char *dir)
{
    char size[32];
    FG_AUTO_FREE char *path = cli_member(row, "path", "?");
    fg_format_bytes(size, sizeof size, (uint64_t)fg_json_int(row, "size", 0));
    cli_note(cli, "%-8s%s%s%s (%s)", "output", dir ? dir : "", dir ? "/" : "", path, size);
}

int cli_save_outputs(struct cli *cli, const json_t *body, const char *dir, struct fg_error *err)
{
    size_t i;
    json_t *row;
    const json_t *outputs = json_object_get(body, "outputs");
    FG_AUTO_FD int dirfd = -1;
    if (dir && fg_mkdir_p(dir, 0777, err) < 0)
        return -1;
    if (dir && (dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
        return fg_fail(err, FG_E_IO, "folder '%s': %m", dir);
    json_array_foreach(outputs, i, row)
    {
        if (dir && save_one(cli, dirfd, row, err) < 0)
            return -1;
        note_output(cli, row, dir);
    }
    return 0;
}
