/* watch.c - one loop over signals and deadlines.
 *
 *   serve --ready (server.json)--> agent
 *   either dies --backoff 0.1 s, doubled up to 5 s--> again;  dies 3 times before it was ever ready --> give up
 *   SIGTERM, SIGINT --> agent down, serve down, exit 0
 *
 * Running tasks are not its business: they have supervisors of their own. */
#include "cli/watch.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "cli/pidfile.h"

#define BACKOFF_MIN_MS 100
#define BACKOFF_MAX_MS 5000
#define HEALTHY_MS     10000 /* alive for so long: the next death starts the backoff anew */
#define STOP_MS        15000
#define LOG_MAX        (16 << 20)

struct child {
    const char *name;
    pid_t pid;                    /* 0: not running */
    int64_t started_ms, again_ms; /* again 0: not to be started yet */
    int64_t backoff_ms;
    int deaths; /* since it was last healthy */
};
struct watcher {
    const struct cli_watch *watch;
    struct child serve, agent;
    sigset_t signals, before;
    bool was_ready;
    char *listen; /* "listen=127.0.0.1:4711" of the first server: those after it are found at the same place */
};

static int64_t now_ms(void)
{
    struct fg_clock clock;
    fg_clock_init_real(&clock);
    return fg_boot(&clock) / 1000000;
}

char *cli_watch_url(const char *data_dir)
{
    FG_AUTO_FREE char *path = fg_path_join(data_dir, "server.json");
    FG_AUTO_STR struct fg_str text = {0};
    if (fg_read_file(path, 65536, &text, NULL) < 0)
        return NULL;
    FG_AUTO_JSON json_t *j = fg_json_parse(fg_str_cstr(&text), text.len, NULL);
    int64_t pid = fg_json_int(j, "pid", 0);
    if (pid <= 0 || kill((pid_t)pid, 0) < 0) /* left behind by a server that was killed */
        return NULL;
    return fg_strdup(fg_json_str(j, "url", NULL));
}

/* stdout and stderr to DATA/NAME.log; what grew too large is kept once, as NAME.log.1. */
static int open_log(const char *data_dir, const char *name)
{
    FG_AUTO_FREE char *path = fg_asprintf("%s/%s.log", data_dir, name), *old = fg_asprintf("%s.1", path);
    struct stat st;
    if (stat(path, &st) == 0 && st.st_size > LOG_MAX)
        rename(path, old);
    return open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

/* In the child: never returns. */
static void exec_child(const struct watcher *w, const char *name)
{
    FG_VEC(char *) argv = {0};
    FG_AUTO_FD int log = open_log(w->watch->data_dir, name), null = open("/dev/null", O_RDWR | O_CLOEXEC);
    setpgid(0, 0); /* Ctrl-C is for the watcher, which stops things in order */
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    dup2(null, STDIN_FILENO);
    dup2(log >= 0 ? log : null, STDOUT_FILENO);
    dup2(log >= 0 ? log : null, STDERR_FILENO);
    sigprocmask(SIG_SETMASK, &w->before, NULL);
    signal(SIGPIPE, SIG_DFL);
    fg_vec_push(&argv, (char *)"fgpu");
    fg_vec_push(&argv, (char *)name);
    if (w->watch->config_file) {
        fg_vec_push(&argv, (char *)"--config");
        fg_vec_push(&argv, (char *)w->watch->config_file);
    }
    for (size_t i = 0; i < w->watch->flags->items.count; i++) {
        fg_vec_push(&argv, (char *)"--set");
        fg_vec_push(&argv, w->watch->flags->items.items[i]);
    }
    if (w->listen) {
        fg_vec_push(&argv, (char *)"--set");
        fg_vec_push(&argv, w->listen);
    }
    fg_vec_push(&argv, NULL);
    execv("/proc/self/exe", argv.items);
    dprintf(STDERR_FILENO, "fgpu: start %s: %s\n", name, strerror(errno));
    _exit(127);
}

static void start_child(struct watcher *w, struct child *c)
{
    pid_t parent = getpid(), pid = fork();
    if (pid == 0) {
        if (getppid() != parent)
            _exit(1);
        exec_child(w, c->name);
    }
    c->again_ms = 0;
    c->started_ms = now_ms();
    if (pid < 0) {
        fg_log_error("start %s: %m", c->name);
        c->again_ms = c->started_ms + BACKOFF_MAX_MS;
        return;
    }
    c->pid = pid;
    fg_log_info("%s started, pid %d", c->name, (int)pid);
}

static void child_died(struct child *c, int status)
{
    int64_t now = now_ms();
    bool healthy = now - c->started_ms >= HEALTHY_MS;
    c->pid = 0;
    c->deaths = healthy ? 1 : c->deaths + 1;
    c->backoff_ms = healthy || c->backoff_ms == 0 ? BACKOFF_MIN_MS : FG_MIN(c->backoff_ms * 2, BACKOFF_MAX_MS);
    c->again_ms = now + c->backoff_ms;
    if (WIFSIGNALED(status))
        fg_log_warn("%s was killed by signal %d; it starts again in %lld ms", c->name, WTERMSIG(status),
                    (long long)c->backoff_ms);
    else
        fg_log_warn("%s ended with status %d; it starts again in %lld ms", c->name, WEXITSTATUS(status),
                    (long long)c->backoff_ms);
}

static void reap(struct watcher *w)
{
    int status;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
        if (pid == w->serve.pid)
            child_died(&w->serve, status);
        else if (pid == w->agent.pid)
            child_died(&w->agent, status);
    }
}

static void stop_child(struct watcher *w, struct child *c)
{
    int status;
    int64_t until = now_ms() + STOP_MS;
    if (c->pid <= 0)
        return;
    kill(c->pid, SIGTERM);
    while (waitpid(c->pid, &status, WNOHANG) == 0) {
        if (now_ms() >= until) {
            fg_log_warn("%s does not stop; killed", c->name);
            kill(c->pid, SIGKILL);
            until = INT64_MAX;
        }
        sigtimedwait(&w->signals, NULL, &(struct timespec){0, 20000000});
    }
    c->pid = 0;
}

/* Start what is due. The agent waits for the server's first readiness: it would only find no socket. */
static void start_due(struct watcher *w)
{
    FG_AUTO_FREE char *url = w->was_ready ? NULL : cli_watch_url(w->watch->data_dir);
    int64_t now = now_ms();
    if (url) {
        w->was_ready = true;
        w->listen = fg_asprintf("listen=%s", strstr(url, "://") ? strstr(url, "://") + 3 : url);
        fg_log_info("serve is ready at %s after %lld ms", url, (long long)(now - w->serve.started_ms));
        w->agent.again_ms = now;
    }
    if (w->serve.pid == 0 && w->serve.again_ms > 0 && now >= w->serve.again_ms)
        start_child(w, &w->serve);
    if (w->agent.pid == 0 && w->agent.again_ms > 0 && now >= w->agent.again_ms)
        start_child(w, &w->agent);
}

/* Before it ever worked a quick end is a mistake of the settings, which trying again does not mend. */
static bool hopeless(const struct watcher *w) { return !w->was_ready && w->serve.pid == 0 && w->serve.deaths >= 3; }

static int run(struct watcher *w)
{
    w->serve.again_ms = 1;
    for (;;) {
        start_due(w);
        if (hopeless(w)) {
            fg_log_error("serve died %d times before it was ready; giving up", w->serve.deaths);
            return 1;
        }
        bool busy = !w->was_ready || w->serve.again_ms > 0 || w->agent.again_ms > 0;
        struct timespec pause = {busy ? 0 : 3600, busy ? 10000000 : 0};
        int got = sigtimedwait(&w->signals, NULL, &pause);
        if (got == SIGTERM || got == SIGINT || got == SIGHUP) {
            fg_log_info("signal %d: stopping", got);
            return 0;
        }
        if (got == SIGCHLD)
            reap(w);
    }
}

static int watcher_main(const struct cli_watch *watch)
{
    struct watcher w = {.watch = watch, .serve = {.name = "serve"}, .agent = {.name = "agent"}};
    struct fg_error err = {0};
    int lock = -1, taken = cli_pid_take(watch->data_dir, &lock, &err);
    if (taken != 0)
        return taken > 0 ? CLI_WATCH_TAKEN : (fg_log_error("%s", err.text), 1);
    sigemptyset(&w.signals);
    sigaddset(&w.signals, SIGCHLD);
    sigaddset(&w.signals, SIGTERM);
    sigaddset(&w.signals, SIGINT);
    sigaddset(&w.signals, SIGHUP);
    sigprocmask(SIG_BLOCK, &w.signals, &w.before);
    int status = run(&w);
    stop_child(&w, &w.agent);
    stop_child(&w, &w.serve);
    free(w.listen);
    return status;
}

int cli_watch_start(const struct cli_watch *watch, struct fg_error *err)
{
    pid_t parent = getpid(), pid = fork();
    if (pid < 0)
        return fg_fail(err, FG_E_IO, "fork: %m");
    if (pid > 0)
        return pid;
    int log = open_log(watch->data_dir, "up"), null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (watch->detached)
        setsid();
    else
        prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (!watch->detached && getppid() != parent)
        _exit(1);
    dup2(null, STDIN_FILENO);
    dup2(null, STDOUT_FILENO);
    dup2(log >= 0 ? log : null, STDERR_FILENO);
    if (watch->detached && chdir(watch->data_dir) < 0) /* not to keep the user's folder busy */
        _exit(1);
    fg_log_setup("up", FG_LOG_INFO);
    _exit(watcher_main(watch));
}
