/* agent.c - the agent's process: what it opens at start, its timers, and how it leaves. */
#include "agent/agent.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/resource.h>

#include "agent/internal.h"
#include "agent/sandbox.h"
#include "base/io.h"
#include "base/log.h"
#include "base/units.h"

#define MAX_DEVICES 64
#define AUDIT_MS 500

/* --- loop callbacks --- */

static void on_inotify(uv_poll_t *poll, int status, int events)
{
    struct agent *a = poll->data;
    char buf[16384] __attribute__((aligned(__alignof__(struct inotify_event))));
    (void)status;
    (void)events;
    ssize_t n = read(a->inotify, buf, sizeof buf);
    for (ssize_t at = 0; at < n;) {
        const struct inotify_event *e = (const void *)(buf + at);
        at += (ssize_t)sizeof *e + e->len;
        for (size_t i = 0; e->len && i < a->attempts.count; i++)
            if (a->attempts.items[i]->watch == e->wd) {
                launch_event(a->attempts.items[i], e->name);
                break;
            }
    }
}

static void on_tick(uv_timer_t *timer)
{
    struct agent *a = timer->data;
    link_tick(a);
    runner_tick(a);
}

static void on_audit(uv_timer_t *timer) { audit_tick(timer->data); }

static void close_handle(uv_handle_t *handle, void *arg)
{
    (void)arg;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

static void on_stop(uv_signal_t *signal, int number)
{
    struct agent *a = signal->data;
    (void)number;
    if (a->stopping)
        return;
    a->stopping = true;
    fg_log_info("stopping; %zu attempt(s) go on without an agent", a->attempts.count);
    link_close(a);
    uv_stop(&a->loop);
}

/* --- opening --- */

static int lock_folder(struct agent *a, struct fg_error *err)
{
    FG_AUTO_FREE char *path = fg_path_join(a->set.root, "lock");
    a->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (a->lock_fd < 0)
        return fg_fail(err, FG_E_IO, "open '%s': %m", path);
    /* The one before may be on its last turn. */
    for (int i = 0; flock(a->lock_fd, LOCK_EX | LOCK_NB) != 0; i++) {
        if (i == 20)
            return fg_fail(err, FG_E_CONFLICT, "another agent runs on '%s'", a->set.root);
        usleep(50000);
    }
    return 0;
}

/* Each attempt takes four descriptors here. */
static void raise_file_limit(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
}

static int open_devices(struct agent *a, struct fg_error *err)
{
    struct fg_device list[MAX_DEVICES];
    size_t n = 0;
    struct fg_backend_options options = {a->set.scope, a->set.memory_reserve_bytes, a->set.cgroup_root};
    a->backend = &fg_cpu_backend;
    if (a->backend->open(&options, &a->devices, err) != 0 || a->backend->list(a->devices, list, MAX_DEVICES, &n, err) != 0)
        return -1;
    for (size_t i = 0; i < n; i++) {
        fg_vec_push(&a->device_list, list[i]);
        fg_log_info("device %s: %llu MiB, %u units, memory by %s, share by %s%s%s", list[i].name,
                    (unsigned long long)(list[i].memory_bytes >> 20), list[i].units, fg_level_name(list[i].memory_level),
                    fg_level_name(list[i].share_level), *list[i].level_why ? ": " : "", list[i].level_why);
    }
    return 0;
}

static void open_loop(struct agent *a)
{
    uv_loop_init(&a->loop);
    uv_poll_init(&a->loop, &a->inotify_poll, a->inotify);
    uv_timer_init(&a->loop, &a->tick);
    uv_timer_init(&a->loop, &a->audit);
    uv_timer_init(&a->loop, &a->link.retry);
    uv_signal_init(&a->loop, &a->sigterm);
    uv_signal_init(&a->loop, &a->sigint);
    a->inotify_poll.data = a->tick.data = a->audit.data = a->link.retry.data = a->sigterm.data = a->sigint.data = a;
    uv_poll_start(&a->inotify_poll, UV_READABLE, on_inotify);
    uv_timer_start(&a->tick, on_tick, 1000, 1000);
    uv_signal_start(&a->sigterm, on_stop, SIGTERM);
    uv_signal_start(&a->sigint, on_stop, SIGINT);
    for (size_t i = 0; i < a->device_list.count; i++)
        if (a->device_list.items[i].memory_level == FG_LEVEL_AUDITED && !uv_is_active((uv_handle_t *)&a->audit))
            uv_timer_start(&a->audit, on_audit, AUDIT_MS, AUDIT_MS);
}

static int open_all(struct agent *a, struct fg_error *err)
{
    if (settings_init(&a->set, a->config, true, err) != 0 || lock_folder(a, err) != 0)
        return -1;
    const char *hide[] = {a->set.data, a->set.config_folder};
    sandbox_base(&a->sandbox_base, hide, FG_COUNT(hide));
    a->lease_ns = a->set.lease_s * FG_NS_PER_S;
    a->heartbeat_ns = a->set.heartbeat_s * FG_NS_PER_S;
    a->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (a->inotify < 0)
        return fg_fail(err, FG_E_IO, "inotify: %m");
    if ((a->supervisor_fd = launch_supervisor(err)) < 0 || (a->seccomp_fd = sandbox_filter(err)) < 0)
        return -1;
    if (!a->set.bwrap)
        fg_log_error("bubblewrap is not installed: tasks will fail, none runs outside a sandbox");
    return open_devices(a, err);
}

struct orphans { struct agent *agent; const char *device; };

static void drop_orphan(void *arg, const char *name)
{
    const struct orphans *o = arg;
    struct agent *a = o->agent;
    struct fg_error err;
    for (size_t i = 0; i < a->attempts.count; i++)
        if (strcmp(a->attempts.items[i]->name, name) == 0)
            return;
    a->backend->kill(a->devices, o->device, name, NULL);
    int rc = -1;
    for (int i = 0; i < 20 && rc != 0; i++) {
        rc = a->backend->destroy(a->devices, o->device, name, &err);
        if (rc != 0)
            usleep(10000);
    }
    if (rc == 0)
        fg_log_info("vGPU %s was nobody's and is gone", name);
    else
        fg_log_warn("vGPU %s is nobody's and stays: %s", name, err.text);
}

static void close_all(struct agent *a)
{
    while (a->attempts.count)
        attempt_destroy(a->attempts.items[0]);
    fg_vec_fini(&a->attempts);
    pull_drop_all(a);
    fg_vec_fini(&a->device_list);
    if (a->backend)
        a->backend->close(a->devices);
    fg_str_fini(&a->sandbox_base);
    fg_str_fini(&a->link.in);
    fg_str_fini(&a->link.out);
    const int fds[] = {a->inotify, a->supervisor_fd, a->seccomp_fd, a->lock_fd};
    for (size_t i = 0; i < FG_COUNT(fds); i++)
        if (fds[i] >= 0)
            close(fds[i]);
    settings_fini(&a->set);
}

int fg_agent_main(const struct fg_config *config, struct fg_error *err)
{
    struct agent a = {.config = config, .inotify = -1, .supervisor_fd = -1, .seccomp_fd = -1, .lock_fd = -1, .link = {.fd = -1}};
    fg_clock_init_real(&a.clock);
    signal(SIGPIPE, SIG_IGN);
    raise_file_limit();
    if (open_all(&a, err) != 0) {
        close_all(&a);
        return -1;
    }
    open_loop(&a);
    attempt_scan(&a);
    for (size_t i = 0; i < a.device_list.count; i++)
        a.backend->names(a.devices, a.device_list.items[i].name, drop_orphan, &(struct orphans){&a, a.device_list.items[i].name}, NULL);
    link_open(&a);
    uv_run(&a.loop, UV_RUN_DEFAULT);
    for (size_t i = 0; i < a.attempts.count; i++)
        pull_stop(a.attempts.items[i]);
    while (a.jobs)                       /* what is on the pool comes back; the runner takes no further step */
        uv_run(&a.loop, UV_RUN_ONCE);
    while (a.attempts.count)             /* their handles close with the loop */
        attempt_destroy(a.attempts.items[0]);
    uv_walk(&a.loop, close_handle, NULL);
    uv_run(&a.loop, UV_RUN_DEFAULT);
    uv_loop_close(&a.loop);
    close_all(&a);
    return 0;
}
