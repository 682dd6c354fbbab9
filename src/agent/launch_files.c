/* launch_files.c - see launch_files.h. As root the sandbox runs as a user of its own, who may not walk into the data
 * folder: then the folders it needs are staged (supervisor_child.c), and the options name where they stand. */
#include "agent/launch_files.h"

#include <string.h>
#include <sys/stat.h>

#include "agent/launch_keys.h"
#include "agent/sandbox.h"
#include "base/io.h"
#include "base/json.h"
#include "base/units.h"
#include "model/task_spec.h"

#define FG_STRING_(x) #x
#define FG_STRING(x) FG_STRING_(x)
#define PATH_INSIDE "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_Static_assert(FG_SUP_FD_HELD_IN == FG_VGPU_HELD_FD, "what the device backends name");
struct orders { struct fg_str launch, args; bool staged; int stages; };

static void put(struct fg_str *out, const char *key, const char *value)
{
    fg_str_addf(out, "%s=%s", key, value);
    fg_str_add(out, "", 1);
}

static void put_number(struct fg_str *out, const char *key, long long value)
{
    fg_str_addf(out, "%s=%lld", key, value);
    fg_str_add(out, "", 1);
}

static void put_words_of(struct fg_str *out, const char *const *words, size_t n)
{
    for (size_t i = 0; i < n; i++)
        fg_str_add(out, words[i], strlen(words[i]) + 1);
}

/* how: bubblewrap's word for the kind of bind. */
static void show_as(struct orders *o, const char *how, const char *from, const char *to)
{
    char stage[32];
    snprintf(stage, sizeof stage, FG_SUP_STAGE "%d", o->stages);
    if (o->staged) {
        o->stages++;
        put(&o->launch, "stage", from);
    }
    put_words_of(&o->args, (const char *const[]){how, o->staged ? stage : from, to}, 3);
}

static void show_at(struct orders *o, bool writable, const char *from, const char *to)
{
    show_as(o, writable ? "--bind" : "--ro-bind", from, to);
}

/* As in fg_vgpu_entry: "ro:FROM:TO", "rw:FROM:TO", "dev:PATH", "at:PATH", "ln:TARGET:PATH". */
static void put_bind(struct orders *o, const char *bind)
{
    FG_AUTO_FREE char *how = fg_strdup(bind);
    char *from = strchr(how, ':');
    if (!from)
        return;
    *from++ = '\0';
    if (strcmp(how, "dev") == 0 || strcmp(how, "at") == 0) {       /* a path of PCI devices has colons in it */
        show_as(o, *how == 'd' ? "--dev-bind" : "--ro-bind", from, from);
        return;
    }
    char *to = strchr(from, ':');
    if (!to)
        return;
    *to++ = '\0';
    if (strcmp(how, "ln") == 0)
        put_words_of(&o->args, (const char *const[]){"--symlink", from, to}, 3);
    else
        show_at(o, strcmp(how, "rw") == 0, from, to);
}

static int64_t seconds_of(const json_t *value, struct fg_error *err)
{
    int64_t ns = -1;
    if (json_is_string(value))
        return fg_parse_duration(json_string_value(value), &ns, err) == 0 ? ns : -1;
    return json_is_number(value) ? (int64_t)(json_number_value(value) * 1e9) : -1;
}

int launch_run_limit(const json_t *spec, int64_t *ret_ns, struct fg_error *err)
{
    const json_t *value = json_object_get(json_object_get(spec, "limits"), "run");
    if (value) {
        *ret_ns = seconds_of(value, err);
        return *ret_ns > 0 ? 0 : fg_fail(err, FG_E_INVALID, "limits.run is no time");
    }
    for (size_t i = 0; i < fg_task_field_count; i++)
        if (strcmp(fg_task_fields[i].path, "limits.run") == 0)
            return fg_parse_duration(fg_task_fields[i].fallback, ret_ns, err);
    return fg_fail(err, FG_E_INTERNAL, "limits.run has no default");
}

static void put_vgpu(struct orders *o, const struct fg_vgpu_entry *entry)
{
    const struct { const char *key, *value; } files[] = {{"kill_file", entry->kill_file}, {"oom_file", entry->oom_file},
                                                         {"peak_file", entry->peak_file}, {"cpu_file", entry->cpu_file}};
    for (size_t i = 0; i < entry->join_files.count; i++)
        put(&o->launch, "join", entry->join_files.items[i]);
    for (size_t i = 0; i < FG_COUNT(files); i++)
        if (files[i].value)
            put(&o->launch, files[i].key, files[i].value);
    for (size_t i = 0; i < entry->env.count; i++) {
        FG_AUTO_FREE char *name = fg_strdup(entry->env.items[i]);
        char *value = strchr(name, '=');
        if (value) {
            *value = '\0';
            sandbox_env(&o->args, name, value + 1);
        }
    }
    for (size_t i = 0; i < entry->groups.count; i++)
        put_number(&o->launch, "group", entry->groups.items[i]);
    if (entry->held_fd > 0)
        put_words_of(&o->args, (const char *const[]){"--sync-fd", FG_STRING(FG_SUP_FD_HELD_IN)}, 2);
    if (!entry->binds.count)
        return;
    /* A file system of its own: what is in it cannot be moved away and replaced. */
    put_words_of(&o->args, (const char *const[]){"--tmpfs", FG_VGPU_FOLDER}, 2);
    for (size_t i = 0; i < entry->binds.count; i++)
        put_bind(o, entry->binds.items[i]);
    put_words_of(&o->args, (const char *const[]){"--remount-ro", FG_VGPU_FOLDER}, 2);
}

static void put_environment(struct orders *o, const struct attempt *t)
{
    char id[FG_ID_TEXT], number[16], share[16], memory[24];
    snprintf(number, sizeof number, "%u", t->number);
    snprintf(share, sizeof share, "%u", t->limits.share_permille);
    snprintf(memory, sizeof memory, "%llu", (unsigned long long)t->limits.memory_bytes);
    const char *const vars[][2] = {{"PATH", PATH_INSIDE}, {"HOME", "/work"}, {"USER", "fgpu"}, {"LOGNAME", "fgpu"},
        {"TMPDIR", "/tmp"}, {"LANG", "C.UTF-8"}, {"FGPU_OUTPUT_DIR", "/out"}, {"FGPU_TASK_ID", fg_id_format(id, "tsk", t->task)},
        {"FGPU_ATTEMPT", number}, {"FGPU_SHARE", share}, {"FGPU_MEMORY_BYTES", memory}};
    for (size_t i = 0; i < FG_COUNT(vars); i++)
        sandbox_env(&o->args, vars[i][0], vars[i][1]);
    const char *name;
    json_t *value;
    json_object_foreach(json_object_get(t->spec, "env"), name, value)
        if (json_is_string(value) && *name && !strchr(name, '='))
            sandbox_env(&o->args, name, json_string_value(value));
}

/* --- what runs --- */

typedef FG_VEC(char *) words;

static int command_words(const struct attempt *t, words *out, struct fg_error *err)
{
    size_t i;
    json_t *word;
    json_array_foreach(json_object_get(t->spec, "command"), i, word)
        if (json_is_string(word))
            fg_vec_push(out, fg_strdup(json_string_value(word)));
    return out->count ? 0 : fg_fail(err, FG_E_INVALID, "the task has no command");
}

/* A folder shows inside where it is outside, unless it is there already. */
static void show(struct orders *o, const char *folder)
{
    if (!fg_starts_with(folder, "/usr/"))
        show_at(o, false, folder, folder);
}

static int worker_words(const struct attempt *t, struct orders *o, words *out, struct fg_error *err)
{
    const struct settings *set = &t->agent->set;
    const json_t *model = json_object_get(t->spec, "model");
    if (!set->models)
        return fg_fail(err, FG_E_NOT_FOUND, "no model workers are installed on this machine (models_dir)");
    if (access(set->python, X_OK) != 0)
        return fg_fail(err, FG_E_NOT_FOUND, "the model workers' Python '%s' is not there; run models/setup", set->python);
    FG_AUTO_FREE char *venv = fg_strdup(set->python), *program = fg_path_join(set->models, "worker.py");
    for (int up = 0; up < 2 && strrchr(venv, '/'); up++)           /* VENV/bin/python3 */
        *strrchr(venv, '/') = '\0';
    if (*venv && strcmp(venv, "/usr") != 0)
        show(o, venv);
    show(o, set->models);
    show_at(o, false, t->weights, "/weights");
    const char *const args[] = {set->python, program, "--once", "request.json", "/out/result.json",
        "--architecture", fg_json_str(model, "architecture", ""), "--weights", "/weights", "--format",
        fg_json_str(model, "format", fg_json_str(json_object_get(model, "source"), "format", "torch")),
        "--task-type", fg_json_str(t->spec, "task_type", "")};
    for (size_t i = 0; i < FG_COUNT(args); i++)
        fg_vec_push(out, fg_strdup(args[i]));
    const char *name = fg_json_str(model, "name", NULL);
    if (name) {
        fg_vec_push(out, fg_strdup("--model"));
        fg_vec_push(out, fg_strdup(name));
    }
    return 0;
}

static void put_words(struct orders *o, const struct attempt *t, const words *command)
{
    char args[12], status[12], filter[12];
    snprintf(args, sizeof args, "%d", FG_SUP_FD_ARGS);
    snprintf(status, sizeof status, "%d", FG_SUP_FD_STATUS);
    snprintf(filter, sizeof filter, "%d", FG_SUP_FD_FILTER);
    fg_str_add(&o->launch, "args", 5);
    fg_str_add(&o->launch, o->args.data, o->args.len);
    const char *const first[] = {"argv", t->agent->set.bwrap, "--args", args, "--json-status-fd", status, "--seccomp", filter, "--"};
    for (size_t i = 0; i < FG_COUNT(first); i++)
        fg_str_add(&o->launch, first[i], strlen(first[i]) + 1);
    for (size_t i = 0; i < command->count; i++)
        fg_str_add(&o->launch, command->items[i], strlen(command->items[i]) + 1);
}

static void put_folders(struct orders *o, const struct attempt *t)
{
    FG_AUTO_FREE char *work = attempt_path(t, "work"), *out = attempt_path(t, "out");
    show_at(o, true, work, "/work");
    show_at(o, true, out, "/out");
}

/* When all is bound: the root itself, a file system of the sandbox's own, takes no files either. */
static void put_last(struct orders *o)
{
    const char *const args[] = {"--chdir", "/work", "--remount-ro", "/"};
    for (size_t i = 0; i < FG_COUNT(args); i++)
        fg_str_add(&o->args, args[i], strlen(args[i]) + 1);
}

int launch_write_file(struct attempt *t, const struct fg_vgpu_entry *entry, struct fg_error *err)
{
    const struct settings *set = &t->agent->set;
    struct orders o = {.staged = set->own_users};
    words command = {0};
    int64_t run_ns = 0;
    bool model = !fg_streq(fg_json_str(t->spec, "task_type", "command"), "command");
    int rc = launch_run_limit(t->spec, &run_ns, err);

    fg_str_add(&o.args, t->agent->sandbox_base.data, t->agent->sandbox_base.len);
    put_vgpu(&o, entry);
    put_folders(&o, t);
    put_environment(&o, t);
    if (rc == 0)
        rc = model ? worker_words(t, &o, &command, err) : command_words(t, &command, err);
    put_number(&o.launch, "log_limit", (long long)set->log_limit_bytes);
    put_number(&o.launch, "run_ns", run_ns);
    put_number(&o.launch, "pull_ns", t->pull_ns);
    if (set->own_users) {
        put_number(&o.launch, "uid", attempt_user(t, set));
        put_number(&o.launch, "gid", attempt_user(t, set));
    }
    put_last(&o);
    put_words(&o, t, &command);
    if (rc == 0)
        rc = attempt_write(t, "launch", o.launch.data, o.launch.len, err);
    for (size_t i = 0; i < command.count; i++)
        free(command.items[i]);
    fg_vec_fini(&command);
    fg_str_fini(&o.launch);
    fg_str_fini(&o.args);
    return rc;
}
