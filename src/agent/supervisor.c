/* supervisor.c - owns one attempt from fork to exit status. A static program that knows only libc, started by the agent
 * from a sealed memory file; it outlives the agent and needs nothing from it but files in the attempt's folder:
 *
 *   launch  (read)    NUL separated: "key=value"..., "args", the sandbox's options, "argv", the sandbox and the command
 *   lease   (read)    boot-time ns until which the attempt may live; the agent moves it on
 *   kill    (read)    the reason, written before the agent sends SIGTERM
 *   log     (written) output as records of wire/logfile.h; tail: its last bytes; both only when there is output
 *   run.json, status.json (written) who runs; how it ended, fsynced
 *   counters (written) what the vGPU's held descriptor says at the end, should no agent be there to read it
 *
 * What ends a task: itself, the run limit, the lease, the agent. The last three: SIGTERM to the task's session, five
 * seconds, then SIGKILL to all that is in its cgroup. status.json is written when nothing of it is alive any more. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "agent/supervisor.h"
#include "wire/logfile.h"

#define CHUNK 65536
#define TAIL 16384
#define NS 1000000000LL

struct launch launch = {.uid = -1, .gid = -1, .log_limit = 64 << 20, .grace_ns = 5 * NS};
static struct { int fd; long long at, left, dropped; bool full; } out_log = {.fd = -1};
static struct { char data[TAIL]; size_t n; } tail;
static char chunk[CHUNK], words[4096];
static size_t words_len;
static char boot_id[40], stopped[40];
static pid_t bwrap_pid, init_pid;
static int bwrap_fd = -1, status_fd = -1;
static long long started_ns, run_deadline, lease_deadline, grace_deadline;

static long long boot_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_BOOTTIME, &t);
    return t.tv_sec * NS + t.tv_nsec;
}

/* --- output --- */

static void tail_add(const char *data, size_t n)
{
    if (n >= TAIL) {
        memcpy(tail.data, data + n - TAIL, TAIL);
        tail.n = TAIL;
        return;
    }
    if (tail.n + n > TAIL) {
        size_t cut = tail.n + n - TAIL;
        memmove(tail.data, tail.data + cut, tail.n - cut);
        tail.n -= cut;
    }
    memcpy(tail.data + tail.n, data, n);
    tail.n += n;
}

/* One record, whole or not at all: a short write is cut off again. What does not fit the limit is counted. */
static void log_put(enum fg_log_source source, const char *data, size_t n, bool always)
{
    unsigned char head[FG_LOG_HEAD];
    struct timespec t;
    if (out_log.fd < 0)
        out_log.fd = open("log", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    clock_gettime(CLOCK_REALTIME, &t);
    if (!always && (out_log.full || (long long)(n + FG_LOG_HEAD) > out_log.left)) {
        out_log.full = true;
        out_log.dropped += (long long)n;
        return;
    }
    fg_log_head_encode(head, source, t.tv_sec * NS + t.tv_nsec, (uint32_t)n);
    struct iovec v[2] = {{head, FG_LOG_HEAD}, {(void *)data, n}};
    ssize_t put = pwritev(out_log.fd, v, 2, out_log.at);
    if (put != (ssize_t)(n + FG_LOG_HEAD)) {
        if (ftruncate(out_log.fd, out_log.at) == 0 || put < 0)
            out_log.dropped += (long long)n;
        return;
    }
    out_log.at += put;
    out_log.left -= put;
}

static void say(const char *fmt, ...)
{
    char text[200];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    log_put(FG_LOG_SYSTEM, text, (size_t)(n < (int)sizeof text ? n : (int)sizeof text - 1), true);
}

/* One read of a pipe into the log; closes it at its end. */
static void copy_output(struct pollfd *p, enum fg_log_source source)
{
    ssize_t n = read(p->fd, chunk, sizeof chunk);
    if (n > 0) {
        tail_add(chunk, (size_t)n);
        log_put(source, chunk, (size_t)n, false);
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        close(p->fd);
        p->fd = -1;
    }
}

/* --- files for the agent --- */

static void write_file(const char *path, const char *text, size_t n)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    if (write(fd, text, n) != (ssize_t)n)
        unlink(path);
    close(fd);
}

/* Its room is taken before the task can fill the disk. */
static void reserve_status(void)
{
    status_fd = open("status.json", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (status_fd >= 0)
        fallocate(status_fd, FALLOC_FL_KEEP_SIZE, 0, 4096);
}

/* Read only when we are gone, and half of it is no JSON: no rename is needed, so one journal commit carries it. */
static bool write_status(const char *text, size_t n)
{
    if (status_fd < 0)
        reserve_status();
    return pwrite(status_fd, text, n, 0) == (ssize_t)n && fsync(status_fd) == 0 && fsync(FG_SUP_FD_DIR) == 0;
}


static long long own_start_time(void)
{
    char text[1024];
    slurp("/proc/self/stat", text, sizeof text);
    char *p = strrchr(text, ')');
    for (int field = 2; p && field < 22; field++)
        p = strchr(p + 1, ' ');
    return p ? atoll(p + 1) : 0;
}

/* The agent reads it when it is closed, and half of it is no JSON. */
static void write_run(void)
{
    char text[300];
    int n = snprintf(text, sizeof text, "{\"pid\":%d,\"start\":%lld,\"boot_id\":\"%s\",\"child\":%d,\"started_ns\":%lld}\n", getpid(),
                     own_start_time(), boot_id, bwrap_pid, started_ns);
    write_file("run.json", text, (size_t)n);
}

/* A counter file: one integer, or the line that begins with key. */
static long long counter(const char *path, const char *key)
{
    char text[8192];
    if (!path || slurp(path, text, sizeof text) <= 0)
        return -1;
    char *at = *key ? strstr(text, key) : text;
    return at ? atoll(at + strlen(key)) : -1;
}

/* --- start --- */

static void read_lease(void)
{
    char text[64];
    if (slurp("lease", text, sizeof text) > 0)
        lease_deadline = atoll(text);
}

/* Fork the child; 0 once it has become the sandbox, -1 with *f when it could not. */
static int start(struct pollfd pipes[3], struct fail *f)
{
    int fail_pipe[2], p[3][2];
    pid_t parent = getpid();
    bool ok = pipe2(fail_pipe, O_CLOEXEC) == 0;
    for (int i = 0; i < 3; i++)
        ok = ok && pipe2(p[i], O_CLOEXEC | (i < 2 ? O_NONBLOCK : 0)) == 0;
    /* The task may open /dev/stdout again: its end blocks and is its own. */
    for (int i = 0; ok && i < 2; i++) {
        fcntl(p[i][1], F_SETFL, O_WRONLY);
        ok = launch.uid < 0 || fchown(p[i][1], (uid_t)launch.uid, (gid_t)launch.gid) == 0;
    }
    bwrap_pid = ok ? fork() : -1;
    if (bwrap_pid == 0)
        run_sandbox((int[3]){p[0][1], p[1][1], p[2][1]}, fail_pipe[1], parent);
    if (bwrap_pid < 0) {
        *f = (struct fail){errno, "fork"};
        bwrap_pid = 0;
        return -1;
    }
    close(fail_pipe[1]);
    for (int i = 0; i < 3; i++) {
        close(p[i][1]);
        pipes[i] = (struct pollfd){p[i][0], POLLIN, 0};
    }
    bwrap_fd = (int)syscall(SYS_pidfd_open, bwrap_pid, 0);
    ssize_t n = read(fail_pipe[0], f, sizeof *f);
    close(fail_pipe[0]);
    started_ns = boot_now();
    return n == sizeof *f || bwrap_fd < 0 ? -1 : 0;
}

/* --- ending it --- */

static void kill_all(void)
{
    int fd = launch.kill_file ? open(launch.kill_file, O_WRONLY | O_CLOEXEC) : -1;
    bool done = fd >= 0 && write(fd, "1", 1) == 1;
    if (fd >= 0)
        close(fd);
    if (bwrap_pid > 0)
        syscall(SYS_pidfd_send_signal, bwrap_fd, SIGKILL, NULL, 0);
    if (done || !launch.joins)
        return;
    char *save = NULL;
    if (slurp(launch.join[0], chunk, sizeof chunk) > 0)
        for (char *w = strtok_r(chunk, "\n", &save); w; w = strtok_r(NULL, "\n", &save))
            kill((pid_t)atol(w), SIGKILL);
}

/* Ask the task to end. Its session's leader is the sandbox's init, which ignores SIGTERM. Offenders get no grace. */
static void stop(const char *reason)
{
    if (*stopped)
        return;
    snprintf(stopped, sizeof stopped, "%s", reason);
    say("stopped: %s", reason);
    bool offender = strcmp(reason, "oom_host") == 0 || strcmp(reason, "limit_bypassed") == 0;
    bool gentle = init_pid > 0 && !offender && getpgid(init_pid) == init_pid;
    if (gentle && kill(-init_pid, SIGTERM) == 0)
        grace_deadline = boot_now() + launch.grace_ns;
    else
        kill_all();
}

static void check_deadlines(void)
{
    long long now = boot_now();
    if (lease_deadline && now >= lease_deadline)
        read_lease();
    if (run_deadline && now >= run_deadline)
        stop("time_limit");
    if (lease_deadline && now >= lease_deadline)
        stop("node_lost");
    if (grace_deadline && now >= grace_deadline) {
        kill_all();
        grace_deadline = now + NS / 10;
    }
}

static int poll_timeout(void)
{
    long long at = INT64_MAX, now = boot_now();
    if (grace_deadline)
        at = grace_deadline;
    else if (!*stopped) {
        at = run_deadline && run_deadline < at ? run_deadline : at;
        at = lease_deadline && lease_deadline < at ? lease_deadline : at;
    }
    if (at == INT64_MAX)
        return -1;
    long long ms = (at - now) / 1000000 + 1;
    return ms < 0 ? 0 : ms > 60000 ? 60000 : (int)ms;
}

static void read_words(struct pollfd *p)
{
    ssize_t n = read(p->fd, words + words_len, sizeof words - 1 - words_len);
    if (n <= 0) {
        close(p->fd);
        p->fd = -1;
        return;
    }
    words_len += (size_t)n;
    char *at = strstr(words, "\"child-pid\": ");
    init_pid = at ? (pid_t)atol(at + 13) : 0;
}

static void on_signal(int fd)
{
    struct signalfd_siginfo info;
    char reason[40];
    if (read(fd, &info, sizeof info) != sizeof info)
        return;
    if (slurp("kill", reason, sizeof reason) <= 0 || strspn(reason, "abcdefghijklmnopqrstuvwxyz_") != strlen(reason))
        snprintf(reason, sizeof reason, "node_lost");
    stop(reason);
}

/* Copy output and keep the deadlines until the sandbox's outer process is gone. */
static void watch(struct pollfd pipes[3], int signals)
{
    for (;;) {
        struct pollfd p[5] = {pipes[0], pipes[1], pipes[2], {signals, POLLIN, 0}, {bwrap_fd, POLLIN, 0}};
        if (poll(p, 5, poll_timeout()) > 0) {
            for (int i = 0; i < 2; i++)
                if (p[i].revents)
                    copy_output(&pipes[i], i ? FG_LOG_STDERR : FG_LOG_STDOUT);
            if (p[2].revents)
                read_words(&pipes[2]);
            if (p[3].revents)
                on_signal(signals);
            if (p[4].revents)
                return;
            /* Past the limit a flood is only drained, and slowly: it must not cost a core that nobody is charged for. */
            if (out_log.full && (p[0].revents || p[1].revents))
                nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        }
        check_deadlines();
    }
}

/* Everything the task started is our child now (we are its reaper): kill, and wait until there is none. */
static bool reap(int *ret_status)
{
    for (int idle = 0; idle < 5000;) {
        int st;
        pid_t pid = waitpid(-1, &st, WNOHANG);
        if (pid < 0)
            return true;
        if (pid == bwrap_pid)
            *ret_status = st;
        if (pid > 0)
            continue;
        if (idle % 100 == 0)
            kill_all();
        nanosleep(&(struct timespec){.tv_nsec = idle++ < 20 ? 100000 : 1000000}, NULL);
    }
    return false;
}

static void keep_counters(void)
{
    long long at = 0;
    ssize_t n;
    int fd = fcntl(FG_SUP_FD_HELD, F_GETFD) >= 0 ? open("counters", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;
    while (fd >= 0 && (n = pread(FG_SUP_FD_HELD, chunk, sizeof chunk, at)) > 0 && write(fd, chunk, (size_t)n) == n)
        at += n;
    if (fd >= 0)
        close(fd);
}

static void finish(struct pollfd pipes[3], const struct fail *f)
{
    int st = 0;
    long long ended = boot_now();
    bool gone = reap(&st);
    for (int i = 0; i < 2; i++)
        for (int n = 0; pipes[i].fd >= 0 && n < 64 && poll(&pipes[i], 1, 0) > 0; n++)
            copy_output(&pipes[i], i ? FG_LOG_STDERR : FG_LOG_STDOUT);
    while (pipes[2].fd >= 0 && poll(&pipes[2], 1, 0) > 0)
        read_words(&pipes[2]);
    if (out_log.dropped)
        say("%lld bytes of output were dropped: only the first %lld are kept", out_log.dropped, launch.log_limit);
    if (tail.n)
        write_file("tail", tail.data, tail.n);
    keep_counters();

    const char *code = strstr(words, "\"exit-code\": ");
    struct rusage ru;
    getrusage(RUSAGE_CHILDREN, &ru);
    long long cpu = counter(launch.cpu_file, ""), peak = counter(launch.peak_file, ""), oom = counter(launch.oom_file, "oom_kill ");
    long long usec = cpu <= 0 ? counter(launch.cpu_file, "usage_usec ") : -1;
    if (usec > 0)
        cpu = usec * 1000;
    if (cpu <= 0)
        cpu = (ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) * NS + (ru.ru_utime.tv_usec + ru.ru_stime.tv_usec) * 1000LL;
    char text[1024];
    int n = snprintf(text, sizeof text,
                     "{\"exec\":%s,\"exit_code\":%ld,\"sandbox_status\":%d,\"stopped\":\"%s\",\"oom_kills\":%lld,\"started_ns\":%lld,"
                     "\"ended_ns\":%lld,\"cpu_ns\":%lld,\"peak_bytes\":%lld,\"dropped_bytes\":%lld,\"leftover\":%s,\"errno\":%d,"
                     "\"step\":\"%s\"}\n",
                     code ? "true" : "false", code ? atol(code + 13) : -1L, st, stopped, oom > 0 ? oom : 0, started_ns, ended, cpu,
                     peak > 0 ? peak : ru.ru_maxrss * 1024LL, out_log.dropped, gone ? "false" : "true", f->error, f->step);
    while (!write_status(text, (size_t)n))
        nanosleep(&(struct timespec){.tv_sec = 1}, NULL);
}

int main(void)
{
    sigset_t blocked;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    sigaddset(&blocked, SIGINT);
    sigaddset(&blocked, SIGHUP);
    sigprocmask(SIG_SETMASK, &blocked, NULL);
    int signals = signalfd(-1, &blocked, SFD_CLOEXEC);
    fcntl(FG_SUP_FD_DIR, F_SETFD, FD_CLOEXEC);
    fcntl(FG_SUP_FD_SECCOMP, F_SETFD, FD_CLOEXEC);
    fcntl(FG_SUP_FD_LOCK, F_SETFD, FD_CLOEXEC);
    fcntl(FG_SUP_FD_HELD, F_SETFD, FD_CLOEXEC);
    if (fchdir(FG_SUP_FD_DIR) != 0 || read_launch() != 0 || signals < 0)
        return 1;
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    slurp("/proc/sys/kernel/random/boot_id", boot_id, sizeof boot_id);
    boot_id[strcspn(boot_id, "\n")] = '\0';
    unlink("log");                       /* of a start that did not come to anything */
    out_log.left = launch.log_limit;
    reserve_status();
    read_lease();

    struct pollfd pipes[3] = {{.fd = -1}, {.fd = -1}, {.fd = -1}};
    struct fail f = {0};
    if (start(pipes, &f) == 0) {
        run_deadline = launch.run_ns ? started_ns + launch.run_ns : 0;
        write_run();
        watch(pipes, signals);
    }
    finish(pipes, &f);
    return 0;
}
