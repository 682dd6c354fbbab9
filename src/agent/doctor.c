/* doctor.c - what this machine can enforce, found out by trying: a cgroup is made, a sandbox is run. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <string.h>
#include <sys/wait.h>

#include "agent/agent.h"
#include "agent/internal.h"
#include "agent/own_mounts.h"
#include "agent/sandbox.h"
#include "device/opencl_backend.h"
#include "base/io.h"
#include "base/json.h"

/* Run `true` in the sandbox; what bubblewrap says goes to *says. 0 when it worked. */
static int try_sandbox(const struct settings *set, struct fg_str *says)
{
    FG_AUTO_STR struct fg_str options = {0};
    FG_VEC(char *) argv = {0};
    int out[2], status = -1;
    sandbox_base(&options, NULL, 0);
    fg_vec_push(&argv, set->bwrap);
    for (size_t at = 0; at < options.len; at += strlen(options.data + at) + 1)
        fg_vec_push(&argv, options.data + at);
    char *rest[] = {"--", "true", NULL};
    for (size_t i = 0; i < FG_COUNT(rest); i++)
        fg_vec_push(&argv, rest[i]);
    pid_t pid = pipe2(out, O_CLOEXEC) == 0 ? fork() : -1;
    if (pid == 0) {
        uid_t user = set->first_uid;
        const char *step = set->own_users ? own_mounts() : NULL;
        if (step)
            dprintf(out[1], "%s: %s", step, strerror(errno));
        else if (set->own_users && (setgroups(0, NULL) != 0 || setresgid(user, user, user) != 0 || setresuid(user, user, user) != 0))
            dprintf(out[1], "become user %u: %s", (unsigned)user, strerror(errno));
        else if (chdir("/") == 0 && dup2(out[1], 1) == 1 && dup2(out[1], 2) == 2)
            execv(set->bwrap, argv.items);
        _exit(127);
    }
    fg_vec_fini(&argv);
    if (pid < 0)
        return -1;
    close(out[1]);
    char piece[512];
    for (ssize_t n; says->len < 4096 && (n = read(out[0], piece, sizeof piece)) > 0;)
        fg_str_add(says, piece, (size_t)n);
    close(out[0]);
    waitpid(pid, &status, 0);
    if (says->len)
        says->data[strcspn(says->data, "\n")] = '\0';
    return status == 0 ? 0 : -1;
}

static json_t *sandbox_report(const struct settings *set, bool *ret_ok)
{
    FG_AUTO_STR struct fg_str says = {0};
    *ret_ok = set->bwrap && try_sandbox(set, &says) == 0;
    const char *why = *ret_ok ? "" : !set->bwrap ? "bubblewrap is not installed" : says.len ? says.data : "bubblewrap failed";
    const char *hint = *ret_ok ? "" : !set->bwrap ? "apt-get install bubblewrap"
                                                  : "allow user namespaces: sysctl kernel.unprivileged_userns_clone=1, or "
                                                    "kernel.apparmor_restrict_unprivileged_userns=0, user.max_user_namespaces > 0";
    struct fg_error err;
    int filter = sandbox_filter(&err);
    if (filter >= 0)
        close(filter);
    return json_pack("{s:b,s:s,s:s,s:s,s:b,s:b,s:b}", "works", *ret_ok, "program", set->bwrap ? set->bwrap : "", "why", why, "hint", hint,
                     "seccomp", filter >= 0, "own_users", set->own_users, "network", 0);
}

/* healthy false: there, but not offered; why says why. */
static void add_device(json_t *out, const struct fg_device *d)
{
    json_array_append_new(out, json_pack("{s:s,s:s,s:s,s:I,s:i,s:s,s:s,s:b,s:s}", "name", d->name, "kind", d->kind, "backend", d->backend,
                                         "memory_bytes", (json_int_t)d->memory_bytes, "units", (int)d->units, "memory_level",
                                         fg_level_name(d->memory_level), "share_level", fg_level_name(d->share_level), "offered",
                                         d->healthy, "why", d->level_why));
}

static int report_backend(const struct settings *set, const struct fg_device_backend *b, json_t *out, json_t *missing, struct fg_error *err)
{
    const char *hint = "";
    struct fg_device list[64];
    size_t n = 0;
    void *state = NULL;
    struct fg_backend_options options = devices_options(set, false);
    if (b->open(&options, &state, err) != 0)
        return -1;
    int rc = b->list(state, list, FG_COUNT(list), &n, err);
    for (size_t i = 0; rc == 0 && i < n; i++)
        add_device(out, &list[i]);
    const char *why = b == &fg_opencl_backend ? fg_opencl_why(state, &hint) : "";
    if (*why)
        json_array_append_new(missing, json_pack("{s:s,s:s,s:s}", "backend", b->name, "why", why, "hint", hint));
    b->close(state);
    return rc;
}

/* {"devices": [...], "missing": [...]}; NULL with *err. */
static json_t *device_report(const struct settings *set, struct fg_error *err)
{
    json_t *out = json_array(), *missing = json_array();
    int rc = report_backend(set, &fg_cpu_backend, out, missing, err);
    static const struct fg_device_backend *const drivers[] = {&fg_nvidia_backend, &fg_amd_backend};
    for (size_t i = 0; rc == 0 && i < FG_COUNT(drivers); i++)
        if (report_backend(set, drivers[i], out, missing, err) != 0)
            rc = err->code == FG_E_UNSUPPORTED ? 0 : -1; /* no such driver here */
    if (rc == 0)
        rc = report_backend(set, &fg_opencl_backend, out, missing, err);
    json_t *both = json_pack("{s:o,s:o}", "devices", out, "missing", missing);
    if (rc == 0)
        return both;
    json_decref(both);
    return NULL;
}

int fg_agent_doctor(const struct fg_config *config, struct fg_str *out, bool *ret_able, struct fg_error *err)
{
    struct settings set;
    bool sandbox_ok = false;
    int rc = settings_init(&set, config, false, err);
    FG_AUTO_JSON json_t *devices = rc == 0 ? device_report(&set, err) : NULL;
    if (devices) {
        bool python = access(set.python, X_OK) == 0;
        FG_AUTO_JSON json_t *doc = json_pack("{s:o,s:{s:b,s:s,s:s},s:s,s:b}", "sandbox", sandbox_report(&set, &sandbox_ok), "workers",
                                             "ready", python && set.models, "python", set.python, "models_dir",
                                             set.models ? set.models : "", "data_dir", set.data, "root", geteuid() == 0);
        json_object_update_missing(doc, devices);
        fg_json_dump(doc, out);
        *ret_able = sandbox_ok;
    }
    settings_fini(&set);
    return devices ? 0 : -1;
}
