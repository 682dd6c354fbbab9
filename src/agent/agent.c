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

#define AUDIT_MS 500
#define PARKING_MS 50

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
    devices_tick(a);
}

static void on_audit(uv_timer_t *timer) { audit_tick(timer->data); }

static void on_parking(uv_timer_t *timer) { parking_tick(timer->data); }

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

static void open_loop(struct agent *a)
{
    uv_loop_init(&a->loop);
    uv_poll_init(&a->loop, &a->inotify_poll, a->inotify);
    uv_timer_init(&a->loop, &a->tick);
    uv_timer_init(&a->loop, &a->audit);
    uv_timer_init(&a->loop, &a->parking);
    uv_timer_init(&a->loop, &a->link.retry);
    uv_signal_init(&a->loop, &a->sigterm);
    uv_signal_init(&a->loop, &a->sigint);
    a->inotify_poll.data = a->tick.data = a->audit.data = a->parking.data = a->link.retry.data = a->sigterm.data = a->sigint.data = a;
    uv_poll_start(&a->inotify_poll, UV_READABLE, on_inotify);
    uv_timer_start(&a->tick, on_tick, 1000, 1000);
    uv_signal_start(&a->sigterm, on_stop, SIGTERM);
    uv_signal_start(&a->sigint, on_stop, SIGINT);
    if (audit_needed(a))
        uv_timer_start(&a->audit, on_audit, AUDIT_MS, AUDIT_MS);
    if (parking_needed(a))
        uv_timer_start(&a->parking, on_parking, PARKING_MS, PARKING_MS);
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
    return devices_open(a, err);
}

static void close_all(struct agent *a)
{
    while (a->attempts.count)
        attempt_destroy(a->attempts.items[0]);
    fg_vec_fini(&a->attempts);
    pull_drop_all(a);
    devices_close(a);
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
    devices_drop_orphans(&a);
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
