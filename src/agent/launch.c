/* launch.c - one supervisor per attempt: make its vGPU, write its files, start it from a sealed memory file, find it again
 * after a restart, know at once when it ends (pidfd) and what it writes (inotify). */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "agent/internal.h"
#include "agent/launch_files.h"
#include "agent/launch_keys.h"
#include "base/io.h"
#include "base/json.h"
#include "base/log.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif
extern const unsigned char fg_supervisor_image[], fg_supervisor_image_end[];

static int high(int fd)
{
    int dup = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 16);
    if (fd >= 0)
        close(fd);
    return dup;
}

int launch_supervisor(struct fg_error *err)
{
    size_t n = (size_t)(fg_supervisor_image_end - fg_supervisor_image);
    char link[40];
    FG_AUTO_FD int fd = memfd_create("fgpu-supervisor", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
    if (fd < 0 && errno == EINVAL)       /* before Linux 6.3 all of them are executable */
        fd = memfd_create("fgpu-supervisor", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || fg_write_all(fd, fg_supervisor_image, n) != 0 || fchmod(fd, 0500) != 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) != 0)
        return fg_fail(err, FG_E_INTERNAL, "load the supervisor: %m");
    /* What is open for writing is not executed: keep only a descriptor that reads. */
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    int image = high(open(link, O_RDONLY | O_CLOEXEC));       /* not where the child's own go */
    return image >= 0 ? image : fg_fail(err, FG_E_INTERNAL, "open the supervisor: %m");
}

/* --- starting --- */

/* Descriptors for the child, all at 16 and above, so that none stands where another is put. Closed with the array. */
struct child_fds { int dir, filter, lock, null, held; };

static int open_fds(struct attempt *t, int held, struct child_fds *fds, struct fg_error *err)
{
    char link[40];
    FG_AUTO_FREE char *lock = attempt_path(t, "launch");
    /* Opened anew: bubblewrap reads the filter to its end, and an end is shared with who shares the open file. */
    snprintf(link, sizeof link, "/proc/self/fd/%d", t->agent->seccomp_fd);
    *fds = (struct child_fds){high(open(t->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC)), high(open(link, O_RDONLY | O_CLOEXEC)),
                              high(open(lock, O_RDWR | O_CLOEXEC)), high(open("/dev/null", O_RDWR | O_CLOEXEC)),
                              held > 0 ? fcntl(held, F_DUPFD_CLOEXEC, 16) : -1};
    if (fds->dir < 0 || fds->filter < 0 || fds->lock < 0 || fds->null < 0 || (held > 0 && fds->held < 0))
        return fg_fail(err, FG_E_IO, "open what the supervisor of %s needs: %m", t->name);
    if (flock(fds->lock, LOCK_EX | LOCK_NB) != 0)
        return fg_fail(err, FG_E_CONFLICT, "%s already has a supervisor", t->name);
    return 0;
}

static void close_fds(const struct child_fds *fds)
{
    const int all[] = {fds->dir, fds->filter, fds->lock, fds->null, fds->held};
    for (size_t i = 0; i < FG_COUNT(all); i++)
        if (all[i] >= 0)
            close(all[i]);
}

static int spawn(struct attempt *t, const struct child_fds *fds, struct fg_error *err)
{
    char image[40], *argv[] = {"fgpu-supervisor", t->name, NULL}, *env[] = {NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t none, standard;
    snprintf(image, sizeof image, "/proc/self/fd/%d", t->agent->supervisor_fd);
    posix_spawn_file_actions_init(&actions);
    for (int fd = 0; fd <= 2; fd++)
        posix_spawn_file_actions_adddup2(&actions, fds->null, fd);
    posix_spawn_file_actions_adddup2(&actions, fds->dir, FG_SUP_FD_DIR);
    posix_spawn_file_actions_adddup2(&actions, fds->filter, FG_SUP_FD_SECCOMP);
    posix_spawn_file_actions_adddup2(&actions, fds->lock, FG_SUP_FD_LOCK);
    if (fds->held >= 0)
        posix_spawn_file_actions_adddup2(&actions, fds->held, FG_SUP_FD_HELD);
    sigemptyset(&none);
    sigemptyset(&standard);
    sigaddset(&standard, SIGPIPE);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &standard);
    int rc = posix_spawn(&t->supervisor, image, &actions, &attr, argv, env);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&actions);
    if (rc != 0) {
        t->supervisor = 0;
        errno = rc;
        return fg_fail(err, FG_E_INTERNAL, "start the supervisor: %m");
    }
    return 0;
}

/* --- its end, its files --- */

/* The sentence that was written beside the reason it was stopped for (launch_stop). */
static void read_why(struct attempt *t)
{
    FG_AUTO_FREE char *path = attempt_path(t, "why");
    FG_AUTO_STR struct fg_str text = {0};
    size_t n = strlen(t->ending.stopped);
    if (!n || fg_read_file(path, 4096, &text, NULL) != 0 || text.len <= n || text.data[n] != '\n' ||
        memcmp(text.data, t->ending.stopped, n) != 0)
        return;
    free(t->ending.why);
    t->ending.why = fg_strdup(text.data + n + 1);
}

static void read_status(struct attempt *t)
{
    FG_AUTO_FREE char *path = attempt_path(t, "status.json"), *tail = attempt_path(t, "tail");
    FG_AUTO_STR struct fg_str text = {0};
    struct fg_error err;
    struct fg_str last = {0};
    if (fg_read_file(path, 65536, &text, &err) == 0 && text.len && ending_parse(&t->ending, text.data, text.len, &err) != 0)
        fg_log_error("%s: %s", t->name, err.text);
    if (t->ending.leftover)
        fg_log_error("%s: processes of it did not go away when they were killed", t->name);
    if (fg_read_file(tail, 65536, &last, NULL) == 0) {
        free(t->ending.tail);
        t->ending.tail = fg_str_take(&last);
    }
    fg_str_fini(&last);
    read_why(t);
    if (t->ending.status && !t->started_ns)
        t->started_ns = t->ending.started_ns;
}

static void on_poll_closed(uv_handle_t *handle) { free(handle); }

static void forget_pid(struct attempt *t)
{
    if (t->poll) {
        uv_poll_stop(t->poll);
        uv_close((uv_handle_t *)fg_take_ptr(t->poll), on_poll_closed);
    }
    if (t->pidfd >= 0)
        close(fg_take_fd(t->pidfd));
}

static void ended(struct attempt *t)
{
    forget_pid(t);
    t->supervisor = 0;
    read_status(t);
    runner_ended(t);
}

static void on_gone(uv_poll_t *poll, int status, int events)
{
    struct attempt *t = poll->data;
    siginfo_t info;
    (void)status;
    (void)events;
    waitid(P_PIDFD, (id_t)t->pidfd, &info, WEXITED | WNOHANG);      /* ours to reap unless an earlier agent started it */
    ended(t);
}

static int attach(struct attempt *t, pid_t pid)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (fd < 0)
        return -1;
    t->supervisor = pid;
    t->pidfd = fd;
    t->poll = fg_alloc(sizeof *t->poll);
    uv_poll_init(&t->agent->loop, t->poll, fd);
    t->poll->data = t;
    uv_poll_start(t->poll, UV_READABLE, on_gone);
    return 0;
}

/* Field 22 of /proc/PID/stat: with the pid it names one process of this boot. */
static int64_t start_time(pid_t pid)
{
    char path[40];
    FG_AUTO_STR struct fg_str text = {0};
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    if (fg_read_file(path, 4096, &text, NULL) != 0)
        return -1;
    const char *p = strrchr(fg_str_cstr(&text), ')');
    for (int field = 2; p && field < 22; field++)
        p = strchr(p + 1, ' ');
    return p ? strtoll(p + 1, NULL, 10) : -1;
}

/* An earlier agent started it: its vGPU is taken over, with what the supervisor held for it. */
static void adopt_vgpu(struct attempt *t)
{
    struct fg_error err;
    char path[64];
    const struct backend *b = devices_backend(t->agent, t->device);
    if (!b->ops->adopt)
        return;
    snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)t->supervisor, FG_SUP_FD_HELD);
    FG_AUTO_FD int held = open(path, O_RDWR | O_CLOEXEC);
    if (b->ops->adopt(b->state, t->device, t->name, held, &err) == 0)
        return;
    fg_log_error("%s: take over its vGPU: %s", t->name, err.text);
    launch_stop(t, fg_reason_name(FG_REASON_INTERNAL), "its vGPU could not be taken over when the agent was started again");
}

static void read_run(struct attempt *t)
{
    FG_AUTO_FREE char *path = attempt_path(t, "run.json");
    FG_AUTO_STR struct fg_str text = {0};
    if ((t->started_ns && t->pidfd >= 0) || fg_read_file(path, 4096, &text, NULL) != 0)
        return;
    FG_AUTO_JSON json_t *doc = fg_json_parse(fg_str_cstr(&text), text.len, NULL);
    pid_t pid = (pid_t)fg_json_int(doc, "pid", 0);
    if (pid <= 0 || !fg_streq(fg_json_str(doc, "boot_id", ""), t->agent->set.boot_id))
        return;
    if (t->pidfd < 0 && t->phase == PHASE_RUN && start_time(pid) == fg_json_int(doc, "start", -2) && attach(t, pid) == 0)
        adopt_vgpu(t);
    if (t->pidfd >= 0 && t->kill_wanted)
        launch_stop(t, fg_reason_name(t->kill_reason), NULL);
    t->sandbox = (pid_t)fg_json_int(doc, "child", 0);
    if (t->sandbox > 0 && !t->started_ns) {
        t->started_ns = fg_json_int(doc, "started_ns", agent_now(t->agent));
        report_started(t);
    }
}

void launch_event(struct attempt *t, const char *file)
{
    if (strcmp(file, "run.json") == 0)
        read_run(t);
    else if (strcmp(file, "log") == 0)
        logship_some(t);
}

static void watch_folder(struct attempt *t)
{
    t->watch = inotify_add_watch(t->agent->inotify, t->dir, IN_CLOSE_WRITE | IN_MODIFY | IN_ONLYDIR);
    if (t->watch < 0)
        fg_log_warn("watch '%s': %m; its output comes each second", t->dir);
}

void launch_release(struct attempt *t)
{
    forget_pid(t);
    if (t->watch >= 0)
        inotify_rm_watch(t->agent->inotify, fg_take_fd(t->watch));
}

void launch_lease(struct attempt *t)
{
    char text[32];
    int n = snprintf(text, sizeof text, "%020lld\n", (long long)t->agent->lease_deadline);
    if (t->phase != PHASE_RUN)
        return;
    /* In place and of one length: the supervisor never reads half of it. */
    if (pwrite(attempt_lease_fd(t), text, (size_t)n, 0) != n)
        fg_log_warn("%s: move its lease on: %m", t->name);
}

int launch_start(struct attempt *t, struct fg_error *err)
{
    struct fg_vgpu_entry entry = {0};
    struct child_fds fds = {-1, -1, -1, -1, -1};
    const struct backend *b = devices_backend(t->agent, t->device);
    if (!t->agent->set.bwrap) {
        fg_fail(err, FG_E_UNSUPPORTED, "the sandbox is missing: install bubblewrap on the agent's machine");
        return -1;
    }
    t->vgpu = true;
    t->phase = PHASE_RUN;
    launch_lease(t);
    int rc = b->ops->create(b->state, t->device, t->name, &t->limits, err);
    if (rc == 0)
        rc = b->ops->entry(b->state, t->device, t->name, &entry, err);
    if (rc == 0)
        rc = launch_write_file(t, &entry, err);
    if (rc == 0) {
        watch_folder(t);
        rc = open_fds(t, entry.held_fd, &fds, err);
    }
    if (rc == 0)
        rc = spawn(t, &fds, err);
    close_fds(&fds);
    fg_vgpu_entry_fini(&entry);
    if (rc == 0 && attach(t, t->supervisor) != 0)
        rc = fg_fail(err, FG_E_INTERNAL, "watch the supervisor: %m");
    return rc;
}

/* --- after a restart --- */

static bool supervisor_lives(const struct attempt *t)
{
    FG_AUTO_FREE char *path = attempt_path(t, "launch");
    FG_AUTO_FD int fd = open(path, O_RDWR | O_CLOEXEC);
    return fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
}

bool launch_adopt(struct attempt *t)
{
    if (t->watch < 0)
        watch_folder(t);                 /* before the look: a run.json that comes between is seen twice, not never */
    if (!supervisor_lives(t)) {
        read_status(t);
        return false;
    }
    t->phase = PHASE_RUN;
    read_run(t);
    return true;
}

void launch_stop(struct attempt *t, const char *reason, const char *why)
{
    struct fg_error err;
    if (strcmp(reason, "none") == 0)
        reason = "canceled";
    FG_AUTO_FREE char *text = why ? fg_asprintf("%s\n%s", reason, why) : NULL;
    if (text && attempt_write(t, "why", text, strlen(text), &err) != 0)
        fg_log_warn("%s", err.text);
    if (attempt_write(t, "kill", reason, strlen(reason), &err) != 0)
        fg_log_warn("%s", err.text);
    if (t->pidfd >= 0 && syscall(SYS_pidfd_send_signal, t->pidfd, SIGTERM, NULL, 0) != 0 && errno != ESRCH)
        fg_log_warn("stop %s: %m", t->name);
}
