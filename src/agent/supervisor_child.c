/* supervisor_child.c - what the supervisor's child does before it becomes the sandbox. The order counts: cgroups while it is
 * still root, private mounts, its own user, no way back, exec. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/own_mounts.h"
#include "agent/supervisor.h"

ssize_t slurp(const char *path, char *buf, size_t n)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, buf, n - 1);
    if (fd >= 0)
        close(fd);
    buf[got > 0 ? got : 0] = '\0';
    return got;
}

static void take_key(const char *key, char *value)
{
    const struct { const char *name; const char **at; } texts[] = {{"kill_file", &launch.kill_file}, {"oom_file", &launch.oom_file},
                                                                   {"peak_file", &launch.peak_file}, {"cpu_file", &launch.cpu_file}};
    const struct { const char *name; long long *at; } numbers[] = {{"uid", &launch.uid}, {"gid", &launch.gid},
        {"log_limit", &launch.log_limit}, {"run_ns", &launch.run_ns}, {"grace_ns", &launch.grace_ns}};
    if (strcmp(key, "join") == 0 && launch.joins < MAX_LIST)
        launch.join[launch.joins++] = value;
    if (strcmp(key, "stage") == 0 && launch.stages < MAX_LIST)
        launch.stage[launch.stages++] = value;
    if (strcmp(key, "group") == 0 && launch.groups < MAX_LIST)
        launch.group[launch.groups++] = (gid_t)atoll(value);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (strcmp(key, texts[i].name) == 0)
            *texts[i].at = value;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (strcmp(key, numbers[i].name) == 0)
            *numbers[i].at = atoll(value);
}

int read_launch(void)
{
    int fd = open("launch", O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0)
        return -1;
    char *text = malloc((size_t)st.st_size + 1);
    ssize_t n = text ? read(fd, text, (size_t)st.st_size) : -1;
    close(fd);
    if (n != st.st_size)
        return -1;
    text[n] = '\0';
    char *end = text + n, *p = text;
    for (char *next; p < end && strcmp(p, "args") != 0; p = next) {
        char *value = strchr(p, '=');
        next = p + strlen(p) + 1;
        if (value) {
            *value = '\0';
            take_key(p, value + 1);
        }
    }
    launch.args = p += p < end ? strlen(p) + 1 : 0;
    while (p < end && strcmp(p, "argv") != 0)
        p += strlen(p) + 1;
    launch.args_len = (size_t)(p - launch.args);
    size_t count = 0;
    for (char *q = p; q < end; q += strlen(q) + 1)
        count++;
    launch.argv = calloc(count + 1, sizeof *launch.argv);
    if (!launch.argv || count < 2)
        return -1;
    size_t i = 0;
    for (char *q = p + strlen(p) + 1; q < end; q += strlen(q) + 1)
        launch.argv[i++] = q;
    return 0;
}

static void give_up(int fd, const char *step, const char *what)
{
    struct fail f = {.error = errno};
    snprintf(f.step, sizeof f.step, "%s%s%s", step, *what ? " " : "", what);
    if (write(fd, &f, sizeof f) < 0)
        _exit(126);
    _exit(127);
}

/* Another user cannot walk into the data folder (below /root, say). So each folder it needs is bound where it can: a
 * small file system over /tmp that only this process and the sandbox it becomes see. */
static void stage(int fail_fd)
{
    int fds[MAX_LIST];
    char name[32], link[40];
    const char *step = own_mounts();
    if (step)
        give_up(fail_fd, step, "");
    /* The sandbox is made by reading the list of mounts once for each of its own: a dozen of the host's less is 0.6 ms less. */
    umount2("/sys/fs/cgroup", MNT_DETACH);
    /* Opened in the new mounts, since only those can be bound, and before /tmp hides what may lie below it. */
    for (int i = 0; i < launch.stages; i++)
        if ((fds[i] = open(launch.stage[i], O_PATH | O_CLOEXEC)) < 0)
            give_up(fail_fd, "open", launch.stage[i]);
    if (mount("fgpu", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=64k") != 0)
        give_up(fail_fd, "private /tmp", "");
    for (int i = 0; i < launch.stages; i++) {
        struct stat st;
        snprintf(name, sizeof name, FG_SUP_STAGE "%d", i);
        snprintf(link, sizeof link, "/proc/self/fd/%d", fds[i]);
        bool made = fstat(fds[i], &st) == 0 &&
                    (S_ISDIR(st.st_mode) ? mkdir(name, 0755) : mknod(name, S_IFREG | 0644, 0)) == 0;
        if (!made || mount(link, name, NULL, MS_BIND | MS_REC, NULL) != 0)
            give_up(fail_fd, "bind", launch.stage[i]);
    }
}

/* The options as a file: an environment is in them, and a command line can be read by all. */
static int options_file(void)
{
    int fd = memfd_create("args", MFD_CLOEXEC);
    bool ok = fd >= 0 && write(fd, launch.args, launch.args_len) == (ssize_t)launch.args_len && lseek(fd, 0, SEEK_SET) == 0;
    return ok ? fd : -1;
}

/* Up and out of the way of the numbers that the sandbox's arguments name. */
static int high(int fd) { return fcntl(fd, F_DUPFD_CLOEXEC, 16); }

static void put_fd(int fd, int at, int fail_fd)
{
    if (dup2(fd, at) < 0)                /* dup2 clears close-on-exec */
        give_up(fail_fd, "descriptor", "");
}

static void become_user(int fail_fd)
{
    if (launch.uid < 0)
        return;
    gid_t gid = (gid_t)launch.gid;
    uid_t uid = (uid_t)launch.uid;
    if (setgroups((size_t)launch.groups, launch.group) != 0 || setresgid(gid, gid, gid) != 0 || setresuid(uid, uid, uid) != 0)
        give_up(fail_fd, "become the task's own user", "");
}

void run_sandbox(const int pipes[3], int fail_pipe, pid_t parent)
{
    int fail_fd = high(fail_pipe), out = high(pipes[0]), err = high(pipes[1]), status = high(pipes[2]);
    int args = high(options_file()), null = high(open("/dev/null", O_RDONLY | O_CLOEXEC));
    for (int i = 0; i < launch.joins; i++) {
        int fd = open(launch.join[i], O_WRONLY | O_CLOEXEC);
        if (fd < 0 || write(fd, "0", 1) != 1)
            give_up(fail_fd, "join", launch.join[i]);
        close(fd);
    }
    int adj = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (adj >= 0 && write(adj, "300", 3) == 3)
        close(adj);
    if (args < 0 || null < 0)
        give_up(fail_fd, "options", "");
    if (launch.stages)
        stage(fail_fd);
    struct rlimit files, core = {0, 0};
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max = files.rlim_max < 65536 ? files.rlim_max : 65536;
    setrlimit(RLIMIT_NOFILE, &files);
    setrlimit(RLIMIT_CORE, &core);
    become_user(fail_fd);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
        give_up(fail_fd, "no_new_privs", "");
    if (getppid() != parent)
        _exit(127);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    put_fd(args, FG_SUP_FD_ARGS, fail_fd);
    put_fd(status, FG_SUP_FD_STATUS, fail_fd);
    put_fd(FG_SUP_FD_SECCOMP, FG_SUP_FD_FILTER, fail_fd);
    if (fcntl(FG_SUP_FD_HELD, F_GETFD) >= 0)
        put_fd(FG_SUP_FD_HELD, FG_SUP_FD_HELD_IN, fail_fd);
    put_fd(null, 0, fail_fd);
    put_fd(out, 1, fail_fd);
    put_fd(err, 2, fail_fd);
    char *env[] = {"PATH=/usr/bin:/bin", NULL};
    umask(022);
    if (chdir("/") != 0)
        give_up(fail_fd, "chdir", "/");
    execve(launch.argv[0], launch.argv, env);
    give_up(fail_fd, "start", launch.argv[0]);
}

