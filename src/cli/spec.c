/* spec.c - options to a task spec. What FILE.json says comes first, options change single fields of it. */
#include "cli/spec.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/units.h"
#include "cli/api.h"
#include "cli/snapshot.h"

#define AUTO_FILES 1000
#define AUTO_BYTES (UINT64_C(100) << 20)

const struct cli_option cli_spec_options[] = {
    {"mem", 0, CLI_BYTES, "SIZE", "Memory of the slice (1GB, 512MiB). Default: proposed from earlier runs."},
    {"share", 0, CLI_SHARE, "PERCENT", "Compute share of the device, 0.1 to 100. Default: proposed by class."},
    {"share-max", 0, CLI_SHARE, "PERCENT", "Elastic: up to this much of the device while a share of it is idle, at no cost."},
    {"cpus", 0, CLI_TEXT, "CORES", "Cores of its machine's processor beside the device, 4 or 0.5. Default: no limit, and not counted."},
    {"host-memory", 0, CLI_BYTES, "SIZE", "Memory of the host beside the device. Default: by its part of the device, and not counted."},
    {"device-kind", 0, CLI_TEXT, "KIND", "Only devices of this kind (fgpu devices)."},
    {"env", 'e', CLI_LIST, "NAME=VALUE", "Environment variable; NAME alone takes it from here. May be repeated."},
    {"env-file", 0, CLI_PATH, "FILE", "Environment variables, one NAME=VALUE a line."},
    {"workdir", 0, CLI_PATH, "DIR", "Start in a copy of this folder."},
    {"no-workdir", 0, CLI_FLAG, NULL, "Start in an empty folder."},
    {"output", 0, CLI_LIST, "PATTERN",
     "Keep files of the working folder that match, besides $FGPU_OUTPUT_DIR. May be repeated."},
    {"name", 0, CLI_TEXT, "NAME", "A name of your own."},
    {"label", 0, CLI_LIST, "KEY=VALUE", "A label of your own. May be repeated."},
    {"class", 0, CLI_CHOICE, "interactive|batch|training|large", "Override the class that FastGPU would choose."},
    {"priority", 0, CLI_CHOICE, "low|normal|high", "Priority in the queue."},
    {"deadline", 0, CLI_DURATION, "TIME", "It should have ended this long from now; refused when that cannot be."},
    {"preemptible", 0, CLI_FLAG, NULL, "A task of higher priority may take its place; it is queued again."},
    {"spot", 0, CLI_FLAG, NULL, "At the spot price; any task that is not spot may take its place."},
    {"array", 0, CLI_TEXT, "FIRST-LAST", "That many tasks at once, each with its index in $FGPU_ARRAY_INDEX (submit only)."},
    {"gang", 0, CLI_FLAG, NULL, "The tasks of --array start together or not at all."},
    {"time-limit", 0, CLI_DURATION, "TIME", "Stop it after this run time (90s, 5m, 2h)."},
    {"queue-limit", 0, CLI_DURATION, "TIME", "Give up when it has not started after this time."},
    {"startup-limit", 0, CLI_DURATION, "TIME", "Give up when its process does not run after this time."},
    {"max-cost", 0, CLI_MONEY, "USD", "Stop it when it has cost this much."},
    {"retries", 0, CLI_INTEGER, "N", "Run it again up to N times after a cause of --retry-on."},
    {"retry-on", 0, CLI_TEXT, "infra,oom,error", "Causes that use a retry. Default: infra."},
    {"hold", 0, CLI_FLAG, NULL, "Wait in the queue until released."},
    {"idempotency-key", 0, CLI_TEXT, "KEY", "The same key again gives the first task instead of a second."},
    {"file", 'f', CLI_PATH, "FILE", "Task spec as JSON; - is standard input. Options change single fields of it."},
    {"dry-run", 0, CLI_FLAG, NULL, "Only say what it would be given and what it would cost."},
    {"output-dir", 'o', CLI_PATH, "DIR", "Write the output files below DIR (run only)."},
    {NULL},
};

static int read_stdin(struct fg_str *out, struct fg_error *err)
{
    ssize_t n;
    while ((n = read(STDIN_FILENO, fg_str_reserve(out, 65536), 65536)) > 0)
        out->len += (size_t)n;
    return n < 0 ? fg_fail(err, FG_E_IO, "standard input: %m") : 0;
}

static int read_spec_file(const char *path, json_t **ret, struct fg_error *err)
{
    FG_AUTO_STR struct fg_str text = {0};
    int rc = fg_streq(path, "-") ? read_stdin(&text, err) : fg_read_file(path, 64 << 20, &text, err);
    if (rc < 0 && err && err->code == FG_E_NOT_FOUND)
        err->code = FG_E_INVALID;
    if (rc < 0)
        return -1;
    if (!(*ret = fg_json_parse(fg_str_cstr(&text), text.len, err)))
        return fg_fail_prefix(err, "%s", path);
    return json_is_object(*ret) ? 0 : fg_fail(err, FG_E_INVALID, "%s: a task spec is a JSON object", path);
}

/* The object below spec[key], made when it is not there. */
static json_t *below(json_t *spec, const char *key)
{
    json_t *inner = json_object_get(spec, key);
    if (!json_is_object(inner)) {
        inner = json_object();
        json_object_set_new(spec, key, inner);
    }
    return inner;
}

static void set_text(json_t *obj, const char *field, const char *value)
{
    if (value)
        json_object_set_new(obj, field, json_string(value));
}

static int set_pair(json_t *map, const char *pair, const char *option, bool inherit, struct fg_error *err)
{
    const char *equals = strchr(pair, '='), *value = equals ? equals + 1 : inherit ? getenv(pair) : NULL;
    if (equals == pair || (!equals && !inherit)) {
        fg_fail(err, FG_E_INVALID, "--%s: '%s' is not NAME=VALUE", option, pair);
        return fg_fail_at(err, "--%s", option);
    }
    if (!value)
        return fg_fail(err, FG_E_INVALID, "--%s: the variable '%s' is not set here", option, pair);
    FG_AUTO_FREE char *name = fg_strndup(pair, equals ? (size_t)(equals - pair) : strlen(pair));
    if (json_object_set_new(map, name, json_string(value)) < 0)
        return fg_fail(err, FG_E_INVALID, "--%s: '%s' is not UTF-8", option, name);
    return 0;
}

static int set_pairs(json_t *spec, const char *field, const struct cli_args *args, const char *option, bool inherit,
                     struct fg_error *err)
{
    const char *pair;
    size_t at = 0;
    while ((pair = cli_each(args, option, &at)))
        if (set_pair(below(spec, field), pair, option, inherit, err) < 0)
            return -1;
    return 0;
}

static int read_env_file(json_t *spec, const char *path, struct fg_error *err)
{
    FG_AUTO_STR struct fg_str text = {0};
    if (!path)
        return 0;
    if (fg_read_file(path, 1 << 20, &text, err) < 0) {
        err->code = err->code == FG_E_NOT_FOUND ? FG_E_INVALID : err->code;
        return fg_fail_prefix(err, "--env-file");
    }
    for (const char *p = fg_str_cstr(&text); *p;) {
        size_t n = strcspn(p, "\n");
        FG_AUTO_FREE char *line = fg_strndup(p, n > 0 && p[n - 1] == '\r' ? n - 1 : n);
        if (*line && *line != '#' && set_pair(below(spec, "env"), line, "env-file", false, err) < 0)
            return -1;
        p += n + (p[n] == '\n');
    }
    return 0;
}

static void set_list(json_t *spec, const char *field, const struct cli_args *args, const char *option)
{
    const char *value;
    size_t at = 0;
    FG_AUTO_JSON json_t *list = json_array();
    while ((value = cli_each(args, option, &at)))
        json_array_append_new(list, json_string(value));
    if (json_array_size(list) > 0)
        json_object_set(spec, field, list);
}

static void set_retry_on(json_t *spec, const char *causes)
{
    FG_AUTO_FREE char *copy = fg_strdup(causes);
    char *save = NULL;
    if (!causes)
        return;
    json_object_set_new(spec, "retry_on", json_array());
    for (char *cause = strtok_r(copy, ", ", &save); cause; cause = strtok_r(NULL, ", ", &save))
        json_array_append_new(json_object_get(spec, "retry_on"), json_string(cause));
}

static void set_share(json_t *spec, const char *field, const char *share)
{
    uint32_t permille;
    if (share && fg_parse_share(share, &permille, NULL) == 0)
        json_object_set_new(below(spec, "resources"), field, permille % 10 ? json_real(permille / 10.0) : json_integer(permille / 10));
}

static void set_resources(json_t *spec, const struct cli_args *args)
{
    const char *mem = cli_text(args, "mem"), *kind = cli_text(args, "device-kind");
    if (mem)
        set_text(below(spec, "resources"), "memory", mem);
    if (kind)
        set_text(below(spec, "resources"), "device_kind", kind);
    if (cli_text(args, "cpus"))
        set_text(below(spec, "resources"), "cpus", cli_text(args, "cpus"));
    if (cli_text(args, "host-memory"))
        set_text(below(spec, "resources"), "host_memory", cli_text(args, "host-memory"));
    set_share(spec, "share", cli_text(args, "share"));
    set_share(spec, "share_max", cli_text(args, "share-max"));
}

static void set_limits(json_t *spec, const struct cli_args *args)
{
    static const struct {
        const char *option, *field;
    } limits[] = {
        {"time-limit", "run"}, {"queue-limit", "queue"}, {"startup-limit", "startup"}, {"max-cost", "max_cost"},
        {"deadline", "deadline"}};
    for (size_t i = 0; i < FG_COUNT(limits); i++)
        if (cli_text(args, limits[i].option))
            set_text(below(spec, "limits"), limits[i].field, cli_text(args, limits[i].option));
}

static int set_options(json_t *spec, const struct cli_args *args, struct fg_error *err)
{
    set_resources(spec, args);
    set_limits(spec, args);
    set_text(spec, "name", cli_text(args, "name"));
    set_text(spec, "class", cli_text(args, "class"));
    set_text(spec, "priority", cli_text(args, "priority"));
    set_list(spec, "outputs", args, "output");
    set_retry_on(spec, cli_text(args, "retry-on"));
    if (cli_text(args, "retries"))
        json_object_set_new(spec, "retries", json_integer(cli_integer(args, "retries", 0)));
    set_text(spec, "array", cli_text(args, "array"));
    static const char *const flags[] = {"hold", "preemptible", "spot", "gang"};
    for (size_t i = 0; i < FG_COUNT(flags); i++)
        if (cli_flag(args, flags[i]))
            json_object_set_new(spec, flags[i], json_true());
    if (read_env_file(spec, cli_text(args, "env-file"), err) < 0 || set_pairs(spec, "env", args, "env", true, err) < 0)
        return -1;
    return set_pairs(spec, "labels", args, "label", false, err);
}

static int set_command(json_t *spec, const struct cli_args *args, struct fg_error *err)
{
    if (args->names.count > 0)
        return fg_fail(err, FG_E_INVALID, "a task has a model or a command after '--', not both");
    if (args->command_count == 0)
        return fg_fail(err, FG_E_INVALID, "no command stands after '--'");
    json_t *command = json_array();
    for (size_t i = 0; i < args->command_count; i++)
        if (json_array_append_new(command, json_string(args->command[i])) < 0) {
            json_decref(command);
            return fg_fail(err, FG_E_INVALID, "argument %zu of the command is not UTF-8", i);
        }
    json_object_set_new(spec, "command", command);
    set_text(spec, "task_type", "command");
    return 0;
}

/* MODEL FILE: the input is a local file, or a blob that is there already. */
static int set_model(struct cli *cli, json_t *spec, const struct cli_args *args, struct fg_error *err)
{
    char sha256[65];
    const char *file = args->names.count > 1 ? args->names.items[1] : NULL;
    set_text(spec, "model_name", args->names.items[0]);
    if (!json_object_get(spec, "task_type"))
        set_text(spec, "task_type", "image_classification");
    if (!file)
        return 0;
    if (fg_starts_with(file, "blob:")) {
        set_text(spec, "input_data", file);
        return 0;
    }
    if (cli_blob_put_file(cli, file, sha256, NULL, err) < 0)
        return -1;
    json_object_set_new(spec, "input_data", json_sprintf("blob:%s", sha256));
    return 0;
}

/* Whether a word of the command, or what follows "=" in it, is a file or folder below the current one. */
static bool names_files_here(const struct cli_args *args)
{
    for (size_t i = 0; i < args->command_count; i++) {
        const char *word = args->command[i], *equals = strchr(word, '=');
        if (*word && *word != '/' && access(word, F_OK) == 0)
            return true;
        if (equals && equals[1] && equals[1] != '/' && access(equals + 1, F_OK) == 0)
            return true;
    }
    return false;
}

/* The current folder cannot be copied unasked, as err says. A command that names nothing of it can do without. */
static int do_without(struct cli *cli, const struct cli_args *args, struct fg_error *err)
{
    if (!names_files_here(args)) {
        cli_note(cli, "starting in an empty folder: %s (--workdir DIR copies one)", err->text);
        return 0;
    }
    fg_fail_prefix(err, "the current folder is not copied unasked");
    return fg_fail_hint(err, "--workdir DIR copies a folder all the same, --no-workdir starts with an empty one.");
}

/* Copying somebody's whole home or disk because a command was typed there would be a nasty surprise. */
static int check_current(const char *here, struct fg_error *err)
{
    FG_AUTO_FREE char *home = getenv("HOME") ? realpath(getenv("HOME"), NULL) : NULL;
    if (fg_streq(here, "/"))
        return fg_fail(err, FG_E_INVALID, "this is the whole machine");
    return fg_streq(here, home) ? fg_fail(err, FG_E_INVALID, "'%s' is your home", here) : 0;
}

static int upload(struct cli *cli, json_t *spec, const char *root, const struct cli_folder *folder,
                  struct fg_error *err)
{
    char sha256[65], size[32];
    if (folder->files.count == 0 && folder->dirs.count == 0)
        return 0;
    if (isatty(STDERR_FILENO) && (folder->files.count > 50 || folder->bytes > 8 << 20))
        cli_note(cli, "copying %s: %zu files, %s", root, folder->files.count,
                 fg_format_bytes(size, sizeof size, folder->bytes));
    if (cli_folder_upload(cli, root, folder, sha256, err) < 0)
        return -1;
    json_object_set_new(spec, "workdir", json_sprintf("blob:%s", sha256));
    return 0;
}

static int set_workdir(struct cli *cli, json_t *spec, const struct cli_args *args, struct fg_error *err)
{
    const char *named = cli_text(args, "workdir");
    struct cli_folder folder;
    FG_AUTO_FREE char *here = getcwd(NULL, 0);
    if (cli_flag(args, "no-workdir"))
        return named ? fg_fail(err, FG_E_INVALID, "--workdir and --no-workdir contradict each other") : 0;
    if (!here)
        return fg_fail(err, FG_E_IO, "current folder: %m");
    if (!named && check_current(here, err) < 0)
        return do_without(cli, args, err);
    if (cli_folder_scan(named ? named : here, named ? 0 : AUTO_FILES, named ? 0 : AUTO_BYTES, &folder, err) < 0)
        return !named && err->code == FG_E_TOO_LARGE ? do_without(cli, args, err) : -1;
    int rc = upload(cli, spec, named ? named : here, &folder, err);
    cli_folder_fini(&folder);
    return rc;
}

int cli_spec(struct cli *cli, const struct cli_args *args, json_t **ret_spec, struct fg_error *err)
{
    FG_AUTO_JSON json_t *spec = NULL;
    const char *file = cli_text(args, "file");
    if (!file && !args->dashes && args->names.count == 0) {
        fg_fail(err, FG_E_INVALID, "nothing to run");
        return fg_fail_hint(err, "fgpu run MODEL FILE, or fgpu run -- COMMAND ARGS");
    }
    if (file && read_spec_file(file, &spec, err) < 0)
        return -1;
    if (!spec)
        spec = json_object();
    if (set_options(spec, args, err) < 0)
        return -1;
    if (args->dashes && set_command(spec, args, err) < 0)
        return -1;
    if (args->names.count > 0 && set_model(cli, spec, args, err) < 0)
        return -1;
    bool command = fg_streq(fg_json_str(spec, "task_type", NULL), "command");
    bool asked = cli_text(args, "workdir") || args->dashes; /* a spec of a file says itself whether it has one */
    if (command && asked && set_workdir(cli, spec, args, err) < 0)
        return -1;
    *ret_spec = json_incref(spec);
    return 0;
}
