/* up.c - fgpu up: server and agent of this machine together, and what a newcomer needs to know of them. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/units.h"
#include "cli/api.h"
#include "cli/pidfile.h"
#include "cli/watch.h"

#define READY_MS  15000
#define LOG_LINES 8

static volatile sig_atomic_t child_pid;
static void pass_on(int signal)
{
    if (child_pid > 0)
        kill(child_pid, SIGTERM);
}

static int64_t now_ms(void)
{
    struct fg_clock clock;
    fg_clock_init_real(&clock);
    return fg_boot(&clock) / 1000000;
}

/* --- failure: the last lines of the logs say more than we can --- */

static void print_tail(const char *data_dir, const char *name)
{
    FG_AUTO_FREE char *path = fg_asprintf("%s/%s.log", data_dir, name);
    FG_AUTO_STR struct fg_str text = {0}, line = {0};
    if (fg_read_file(path, 64 << 20, &text, NULL) < 0 || text.len == 0)
        return;
    size_t at = text.len - (text.data[text.len - 1] == '\n'), lines = 0;
    while (at > 0 && !(text.data[at - 1] == '\n' && ++lines == LOG_LINES))
        at--;
    fprintf(stderr, "--- %s\n", path);
    for (const char *p = text.data + at; *p; p += strcspn(p, "\n") + (p[strcspn(p, "\n")] == '\n')) {
        fg_str_clear(&line);
        cli_clean(&line, p, strcspn(p, "\n"));
        fprintf(stderr, "%s\n", fg_str_cstr(&line));
    }
}

static int fail_start(const char *data_dir, enum fg_error_code code, const char *what, struct fg_error *err)
{
    static const char *const logs[] = {"up", "serve", "agent"};
    for (size_t i = 0; i < FG_COUNT(logs); i++)
        print_tail(data_dir, logs[i]);
    fg_fail(err, code, "%s", what);
    return fg_fail_hint(err, "The logs are in %s; 'fgpu doctor' checks this machine.", data_dir);
}

/* --- readiness --- */

static bool any_connected(const json_t *devices)
{
    size_t i;
    const json_t *d;
    json_array_foreach(devices, i, d)
        if (fg_json_bool(d, "connected", false))
            return true;
    return false;
}

/* Server up and this machine's agent connected: 1 with the devices. 0: not yet. A disk that is too full for submits is no
 * reason to stop: reads go on, and tasks that run must be found again. */
static int ask_ready(struct cli *cli, const char *data_dir, json_t **ret_devices)
{
    FG_AUTO_FREE char *url = cli_watch_url(data_dir);
    FG_AUTO_JSON json_t *devices = NULL;
    struct fg_error err;
    if (!url || cli_api_use(cli, url, &err) < 0 || cli_get(cli, "/v1/devices", &devices, &err) < 0)
        return 0;
    if (!any_connected(json_object_get(devices, "devices")))
        return 0;
    *ret_devices = fg_take_ptr(devices);
    return 1;
}

/* watcher 0: it runs already, not as our child. */
static int await_ready(struct cli *cli, const char *data_dir, pid_t *watcher, json_t **ret_devices,
                       struct fg_error *err)
{
    int64_t until = now_ms() + READY_MS;
    while (!ask_ready(cli, data_dir, ret_devices)) {
        int status = 0;
        if (*watcher > 0 && waitpid(*watcher, &status, WNOHANG) == *watcher) {
            if (!WIFEXITED(status) || WEXITSTATUS(status) != CLI_WATCH_TAKEN)
                return fail_start(data_dir, FG_E_UNAVAILABLE, "FastGPU did not start", err);
            *watcher = 0; /* somebody else was faster; theirs will do */
        }
        if (now_ms() >= until)
            return fail_start(data_dir, FG_E_TIMEOUT, "FastGPU was not ready within 15 s", err);
        nanosleep(&(struct timespec){0, 20000000}, NULL);
    }
    return 0;
}

/* --- the banner --- */

static void add_device(struct fg_str *out, const json_t *d)
{
    char memory[32];
    const json_t *level = json_object_get(d, "enforcement");
    FG_AUTO_FREE char *name = cli_member(d, "name", "?"), *kind = cli_member(d, "kind", "?"),
                      *why = cli_member(level, "why", "");
    FG_AUTO_FREE char *memory_level = cli_member(level, "memory", "?"), *share_level = cli_member(level, "share", "?");
    FG_AUTO_STR struct fg_str line = {0};
    fg_format_bytes(memory, sizeof memory, (uint64_t)fg_json_int(d, "memory_bytes", 0));
    fg_str_addf(&line, "%s (%s), %s; limits: memory %s, share %s", name, kind, memory, memory_level, share_level);
    fg_str_adds(out, "  device  ");
    cli_clean(out, line.data, line.len);
    if (*why) {
        fg_str_adds(out, "\n          ");
        cli_clean(out, why, strlen(why));
    }
    fg_str_adds(out, "\n");
}

static int print_banner(struct cli *cli, const char *data_dir, const json_t *devices, struct fg_error *err)
{
    FG_AUTO_STR struct fg_str out = {0};
    struct fg_error not_ready;
    const char *url, *key, *origin;
    size_t i;
    json_t *d;
    if (cli_api_url(cli, &url, err) < 0)
        return -1;
    key = cli_api_key(cli);
    origin = cli_api_key_origin(cli);
    if (cli->json) {
        FG_AUTO_JSON json_t *j =
            json_pack("{s:s, s:s*, s:s*, s:s, s:i, s:O}", "url", url, "key", key, "key_from", origin, "data_dir",
                      data_dir, "pid", (int)cli_pid_holder(data_dir), "devices", json_object_get(devices, "devices"));
        return cli_put_json(j, err);
    }
    fg_str_addf(&out, "FastGPU %s  %s\n", FGPU_VERSION, url);
    fg_str_addf(&out, "  key     %s%s%s%s\n", key ? key : "none", origin ? "  (saved in " : "", origin ? origin : "",
                origin ? ")" : "");
    fg_str_addf(&out, "  data    %s\n", data_dir);
    json_array_foreach(json_object_get(devices, "devices"), i, d)
        add_device(&out, d);
    if (cli_get(cli, "/readyz", NULL, &not_ready) < 0) {
        fg_str_adds(&out, "  notice  ");
        cli_clean(&out, not_ready.text, strlen(not_ready.text));
        fg_str_addf(&out, "\n          %s\n", not_ready.hint);
    }
    fg_str_adds(&out, "  next    fgpu run -- COMMAND, fgpu models, fgpu ps; fgpu down stops it\n");
    return cli->quiet ? cli_put_line(err, "%s", url) : cli_put(&out, err);
}

/* --- the verb --- */

static void forward_signals(pid_t watcher)
{
    struct sigaction action = {.sa_handler = pass_on};
    child_pid = watcher;
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
}

static int stay(pid_t watcher, struct fg_error *err)
{
    int status = 0;
    while (waitpid(watcher, &status, 0) < 0 && errno == EINTR)
        ;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    return fg_fail(err, FG_E_UNAVAILABLE, "the watcher ended unexpectedly");
}

/* Start unless it runs, wait until it can be used, say so. */
static int bring_up(struct cli *cli, const struct cli_args *args, const char *data_dir, const struct cli_flags *flags,
                    struct fg_error *err)
{
    FG_AUTO_JSON json_t *devices = NULL;
    bool detach = cli_flag(args, "detach");
    struct cli_watch watch = {data_dir, cli->config_file, flags, detach};
    pid_t watcher = 0, holder = cli_pid_holder(data_dir);
    if (holder > 0 && !detach) {
        fg_fail(err, FG_E_CONFLICT, "it already runs on '%s', as process %d", data_dir, (int)holder);
        return fg_fail_hint(err, "'fgpu up --detach' shows it, 'fgpu down' stops it.");
    }
    if (holder == 0 && (watcher = cli_watch_start(&watch, err)) < 0)
        return -1;
    if (!detach)
        forward_signals(watcher);
    if (await_ready(cli, data_dir, &watcher, &devices, err) < 0) {
        if (watcher > 0)
            kill(watcher, SIGTERM);
        return -1;
    }
    if (print_banner(cli, data_dir, devices, err) < 0)
        return -1;
    if (detach)
        return 0;
    return watcher > 0 ? stay(watcher, err)
                       : fg_fail(err, FG_E_CONFLICT, "another 'fgpu up' was faster on '%s'", data_dir);
}

static int run_up(struct cli *cli, const struct cli_args *args, struct fg_error *err)
{
    struct fg_config *config;
    struct cli_flags flags;
    if (cli_settings(cli, args, &config, err) < 0)
        return -1;
    FG_AUTO_FREE char *data_dir = cli_data_dir(config);
    fg_config_destroy(config);
    if (cli_flags(args, &flags, err) < 0)
        return -1;
    /* Spelled out, so that the daemons and we cannot mean different folders. */
    fg_vec_push(&flags.items, fg_asprintf("data_dir=%s", data_dir));
    int rc = fg_mkdir_p(data_dir, 0700, err);
    if (rc == 0)
        rc = bring_up(cli, args, data_dir, &flags, err);
    cli_flags_fini(&flags);
    return rc;
}

static const struct cli_option options[] = {
    {"detach", 'd', CLI_FLAG, NULL, "Return once it is ready; it goes on in the background."},
    CLI_SETTING_OPTIONS,
    {NULL},
};
const struct cli_verb cli_verb_up = {
    "up",
    "[options]",
    "start server and agent on this machine, and watch over them",
    "Prints address, key, devices and who enforces their limits. With --detach it may be repeated: what runs is shown. "
    "Without, "
    "Ctrl-C stops server and agent. Tasks that run go on and are found again by the next 'fgpu up'; 'fgpu down --kill' "
    "ends them.",
    options,
    0,
    0,
    false,
    run_up,
};
