/* doctor.c - fgpu doctor: what this machine can enforce and why, and whether FastGPU could work here. */
#include <errno.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "agent/agent.h"
#include "api_config.h"
#include "base/units.h"
#include "cli/api.h"
#include "cli/pidfile.h"
#include "cli/watch.h"
#include "store/store.h"

struct report {
    struct cli *cli;
    struct fg_str text;
    json_t *findings; /* [{check, ok, text, fix}] */
    json_t *machine;  /* {"machine": what the agent said} */
    bool fit;
};

/* ok -1: neither good nor bad, only told. */
static void find(struct report *r, const char *check, int ok, const char *fix, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
static void find(struct report *r, const char *check, int ok, const char *fix, const char *fmt, ...)
{
    FG_AUTO_STR struct fg_str line = {0};
    va_list ap;
    va_start(ap, fmt);
    fg_str_addv(&line, fmt, ap);
    va_end(ap);
    r->fit &= ok != 0;
    fg_str_addf(&r->text, "%-5s %-10s ", ok > 0 ? "ok" : ok == 0 ? "FAIL" : "note", check);
    cli_clean(&r->text, fg_str_cstr(&line), line.len);
    fg_str_adds(&r->text, "\n");
    if (ok <= 0 && fix && *fix) {
        fg_str_addf(&r->text, "%-16s fix: ", "");
        cli_clean(&r->text, fix, strlen(fix));
        fg_str_adds(&r->text, "\n");
    }
    json_array_append_new(r->findings, json_pack("{s:s, s:b, s:s, s:s*}", "check", check, "ok", ok != 0, "text",
                                                 fg_str_cstr(&line), "fix", ok <= 0 && fix && *fix ? fix : NULL));
}

/* --- the machine: what the agent finds --- */

static void check_device(struct report *r, const json_t *d, bool root)
{
    char memory[32];
    const char *by_memory = fg_json_str(d, "memory_level", "none"), *by_share = fg_json_str(d, "share_level", "none");
    const char *why = fg_json_str(d, "why", "");
    if (!fg_json_bool(d, "offered", true)) {
        find(r, "device", -1, "", "%s (%s) is not offered: %s", fg_json_str(d, "name", "?"), fg_json_str(d, "kind", "?"), why);
        return;
    }
    bool weak = fg_streq(by_memory, "none") || fg_streq(by_share, "none");
    fg_format_bytes(memory, sizeof memory, (uint64_t)fg_json_int(d, "memory_bytes", 0));
    find(r, "device", weak ? -1 : 1, root ? "" : "Run 'fgpu up' as root, or delegate a cgroup to this user.",
         "%s (%s), %lld units, %s; memory limited by: %s, share by: %s%s%s", fg_json_str(d, "name", "?"),
         fg_json_str(d, "kind", "?"), (long long)fg_json_int(d, "units", 0), memory, by_memory, by_share,
         *why ? "; " : "", why);
}

static void check_sandbox(struct report *r, const json_t *box)
{
    bool works = fg_json_bool(box, "works", false);
    const char *why = fg_json_str(box, "why", ""), *program = fg_json_str(box, "program", "");
    find(r, "sandbox", works, fg_json_str(box, "hint", ""), "%s%s%s", *program ? program : "bubblewrap",
         works ? " works" : ": ", works ? "" : why);
    find(r, "seccomp", fg_json_bool(box, "seccomp", false) ? 1 : -1, "", "system calls are %sfiltered",
         fg_json_bool(box, "seccomp", false) ? "" : "not ");
    bool own = fg_json_bool(box, "own_users", false);
    find(r, "users", own ? 1 : -1, "Run 'fgpu up' as root.",
         own ? "each task has a user of its own" : "tasks run as the agent's user");
}

static void check_workers(struct report *r, const json_t *workers)
{
    const char *python = fg_json_str(workers, "python", "?"), *models = fg_json_str(workers, "models_dir", "");
    if (fg_json_bool(workers, "ready", false))
        find(r, "models", 1, NULL, "workers of %s run in %s", models, python);
    else if (!*models)
        find(r, "models", -1, "Set models_dir.", "no catalogue of models was found; commands run without it");
    else
        find(r, "models", -1, "models/setup makes it; or set worker_python.",
             "no Python for model workers at %s; commands run without it", python);
}

static void check_machine(struct report *r, const struct fg_config *config)
{
    FG_AUTO_STR struct fg_str json = {0};
    struct fg_error err = {0};
    bool able = false;
    size_t i;
    json_t *d;
    if (fg_agent_doctor(config, &json, &able, &err) < 0) {
        find(r, "machine", 0, err.hint, "%s", err.text);
        return;
    }
    FG_AUTO_JSON json_t *doc = fg_json_parse(fg_str_cstr(&json), json.len, NULL);
    const json_t *devices = json_object_get(doc, "devices");
    if (json_array_size(devices) == 0)
        find(r, "device", 0, NULL, "no device was found");
    json_array_foreach(devices, i, d) check_device(r, d, fg_json_bool(doc, "root", false));
    json_array_foreach(json_object_get(doc, "missing"), i, d)
        find(r, fg_json_str(d, "backend", "?"), -1, fg_json_str(d, "hint", ""), "%s", fg_json_str(d, "why", ""));
    check_sandbox(r, json_object_get(doc, "sandbox"));
    check_workers(r, json_object_get(doc, "workers"));
    if (!able && r->fit)
        find(r, "machine", 0, NULL, "no task could run here");
    json_object_set(r->machine, "machine", doc);
}

/* --- the data folder and the store --- */

static void check_folder(struct report *r, const struct fg_config *config, const char *dir)
{
    struct statvfs fs;
    char free_text[32], floor_text[32];
    uint64_t floor = (uint64_t)fg_config_int(config, "min_free_bytes");
    FG_AUTO_FREE char *there = fg_strdup(dir); /* or the nearest folder above: to look is not to make it */
    while (access(there, F_OK) < 0 && strrchr(there, '/') > there)
        *strrchr(there, '/') = 0;
    if (access(there, W_OK) < 0) {
        find(r, "data", 0, "Give another folder with --data-dir, or make it writable.", "%s cannot be written: %s",
             there, strerror(errno));
        return;
    }
    if (statvfs(there, &fs) < 0) {
        find(r, "data", 0, NULL, "%s: %s", dir, strerror(errno));
        return;
    }
    uint64_t left = (uint64_t)fs.f_bavail * fs.f_frsize;
    fg_format_bytes(free_text, sizeof free_text, left);
    fg_format_bytes(floor_text, sizeof floor_text, floor);
    find(r, "data", left >= floor, "Free some disk space, or lower min_free_bytes.", "%s, %s free, at least %s needed",
         dir, free_text, floor_text);
}

static void check_store(struct report *r, const char *dir)
{
    FG_AUTO_FREE char *path = fg_path_join(dir, "fgpu.db");
    struct fg_error err = {0};
    int version = 0;
    if (access(path, F_OK) < 0)
        find(r, "store", -1, NULL, "none yet; the first 'fgpu up' makes it");
    else if (fg_store_check(path, &version, &err) == 0)
        find(r, "store", 1, NULL, "%s is whole, schema %d", path, version);
    else
        find(r, "store", 0, *err.hint ? err.hint : "Restore it from a copy, or move it away to start anew.", "%s",
             err.text);
}

static void check_server(struct report *r, const char *dir)
{
    FG_AUTO_FREE char *url = cli_watch_url(dir);
    FG_AUTO_JSON json_t *body = NULL;
    struct fg_error err = {0};
    pid_t pid = cli_pid_holder(dir);
    if (!url) {
        find(r, "server", -1, "fgpu up --detach", pid > 0 ? "starting, watched by process %d" : "not running%.0d",
             (int)pid);
        return;
    }
    bool ready = cli_api_use(r->cli, url, &err) == 0 && cli_get(r->cli, "/readyz", &body, &err) == 0;
    bool known = ready && cli_get(r->cli, "/v1/devices", NULL, &err) == 0;
    if (known)
        find(r, "server", 1, NULL, "ready at %s; the key of %s opens it", url,
             cli_api_key_origin(r->cli) ? cli_api_key_origin(r->cli) : "nobody");
    else
        find(r, "server", 0, *err.hint ? err.hint : "fgpu down; fgpu up --detach", "%s: %s", url, err.text);
}

static void add_settings(struct report *r, const struct fg_config *config, json_t *rows)
{
    static const char *const keys[] = {
#define X(key, ...) key,
        FG_SETTING_LIST(X)
#undef X
    };
    struct cli_table t;
    cli_table_init(&t, "SETTING|VALUE|FROM");
    for (size_t i = 0; i < FG_COUNT(keys); i++) {
        const char *value = fg_config_str(config, keys[i]), *origin = fg_config_origin(config, keys[i]);
        cli_table_cell(&t, CLI_NO_TINT, "%s", keys[i]);
        cli_table_cell(&t, CLI_NO_TINT, "%s", *value ? value : "-");
        cli_table_cell(&t, CLI_NO_TINT, "%s", origin);
        json_array_append_new(rows, json_pack("{s:s, s:s, s:s}", "key", keys[i], "value", value, "from", origin));
    }
    fg_str_adds(&r->text, "\n");
    cli_table_print(&t, r->cli->color, &r->text);
    cli_table_fini(&t);
}

static int run_doctor(struct cli *cli, const struct cli_args *args, struct fg_error *err)
{
    struct fg_config *config;
    struct report r = {.cli = cli, .findings = json_array(), .machine = json_object(), .fit = true};
    FG_AUTO_JSON json_t *settings = json_array();
    if (cli_settings(cli, args, &config, err) < 0) {
        json_decref(r.findings);
        json_decref(r.machine);
        return -1;
    }
    FG_AUTO_FREE char *dir = cli_data_dir(config);
    find(&r, "version", 1, NULL, "fgpu %s", FGPU_VERSION);
    check_folder(&r, config, dir);
    check_store(&r, dir);
    check_server(&r, dir);
    check_machine(&r, config);
    if (cli_flag(args, "settings"))
        add_settings(&r, config, settings);
    fg_config_destroy(config);
    FG_AUTO_JSON json_t *doc = json_pack("{s:b, s:o, s:O}", "fit", r.fit, "findings", r.findings, "settings", settings);
    json_object_update(doc, r.machine);
    json_decref(r.machine);
    int rc = cli->json ? cli_put_json(doc, err) : cli_put(&r.text, err);
    fg_str_fini(&r.text);
    if (rc < 0)
        return -1;
    return r.fit ? 0 : fg_error_info(FG_E_UNSUPPORTED)->exit_code;
}

static const struct cli_option options[] = {
    {"settings", 0, CLI_FLAG, NULL, "Every setting, too, with its value and where that came from."},
    CLI_SETTING_OPTIONS,
    {NULL},
};
const struct cli_verb cli_verb_doctor = {
    "doctor",
    "[options]",
    "check this machine: what it can enforce and why not more, data folder, store, server",
    "Every finding comes with its fix. Exit status 0 when tasks could run here, else 5.",
    options,
    0,
    0,
    false,
    run_doctor,
};
