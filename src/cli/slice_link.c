/* slice_link.c - how a slice finds, starts and talks to the arbiter. */
#include "cli/slice.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "vgpu/page.h"

#define ANSWER_MS 10000
#define START_MS  30000 /* drivers are loaded and asked */
#define TRIES     50
#define TRY_MS    100

/* --- where --- */

/* The folder, made when it is missing, if it is this user's own. */
static char *own_folder(const char *parent, struct fg_error *err)
{
    FG_AUTO_FREE char *path = fg_path_join(parent, "fastgpu");
    struct stat st;
    if (fg_mkdir_p(path, 0700, err) < 0)
        return NULL;
    if (stat(path, &st) == 0 && st.st_uid == geteuid() && !(st.st_mode & 022))
        return fg_take_ptr(path);
    fg_fail(err, FG_E_FORBIDDEN, "'%s' belongs to or can be written by others", path);
    return NULL;
}

char *slice_folder(const struct cli *cli, struct fg_error *err)
{
    const char *run = getenv("XDG_RUNTIME_DIR");
    char *folder = run && *run == '/' ? own_folder(run, NULL) : NULL;
    if (folder)
        return folder;
    if (geteuid() == 0)
        return own_folder("/run", err);
    struct fg_config *config;
    if (fg_config_load(cli->config_file, NULL, 0, &config, err) < 0)
        return NULL;
    FG_AUTO_FREE char *data = cli_data_dir(config);
    fg_config_destroy(config);
    return fg_mkdir_p(data, 0700, err) < 0 ? NULL : fg_take_ptr(data);
}

char *slice_socket_path(const char *folder) { return fg_path_join(folder, "arbiter.sock"); }

int slice_lock(const char *folder, bool wait)
{
    FG_AUTO_FREE char *path = fg_path_join(folder, "slice.lock");
    FG_AUTO_FD int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    int rc;
    while ((rc = fd < 0 ? -1 : flock(fd, LOCK_EX | (wait ? 0 : LOCK_NB))) < 0 && errno == EINTR)
        ;
    return rc < 0 ? -1 : fg_take_fd(fd);
}

/* --- messages --- */

json_t *slice_error(const struct fg_error *err)
{
    return json_pack("{s:{s:s, s:s, s:s}}", "error", "code", fg_error_info(err->code)->name, "text", err->text, "hint",
                     err->hint);
}

int slice_send(int fd, const json_t *message, const struct slice_files *files, struct fg_error *err)
{
    FG_AUTO_STR struct fg_str text = {0};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(struct slice_files))];
    } control = {0};
    fg_json_dump(message, &text);
    struct iovec iov = {text.data, text.len};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    if (files && files->limits >= 0) {
        msg.msg_control = control.bytes;
        msg.msg_controllen = sizeof control.bytes;
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN((files->claim >= 0 ? 3 : 2) * sizeof(int));
        msg.msg_controllen = CMSG_SPACE((files->claim >= 0 ? 3 : 2) * sizeof(int));
        memcpy(CMSG_DATA(c), (int[]){files->limits, files->counters, files->claim}, (files->claim >= 0 ? 3 : 2) * sizeof(int));
    }
    while (sendmsg(fd, &msg, MSG_NOSIGNAL) < 0)
        if (errno != EINTR)
            return fg_fail(err, FG_E_UNREACHABLE, "tell the slice arbiter: %m");
    return 0;
}

void slice_close_files(struct slice_files *files)
{
    int *all[] = {&files->limits, &files->counters, &files->claim};
    for (size_t i = 0; i < FG_COUNT(all); i++)
        if (*all[i] >= 0)
            close(fg_take_fd(*all[i]));
}

/* Three descriptors, two where nothing is claimed, or none: what else came is closed. */
static struct slice_files take_files(struct msghdr *msg)
{
    struct slice_files files = SLICE_NO_FILES;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
            if (n == 2 || n == 3)
                *(i == 0 ? &files.limits : i == 1 ? &files.counters : &files.claim) = fd;
            else
                close(fd);
        }
    }
    return files;
}

static int read_error(const json_t *message, struct fg_error *err)
{
    const json_t *e = json_object_get(message, "error");
    const char *hint = fg_json_str(e, "hint", "");
    if (!e)
        return 0;
    fg_fail(err, fg_error_code_by_name(fg_json_str(e, "code", "")), "%s",
            fg_json_str(e, "text", "no reason was given"));
    return *hint ? fg_fail_hint(err, "%s", hint) : -1;
}

int slice_receive(int fd, int timeout_ms, json_t **ret, struct slice_files *ret_files, struct fg_error *err)
{
    FG_AUTO_FREE char *text = fg_alloc(SLICE_PACKET);
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(8 * sizeof(int))];
    } control;
    struct iovec iov = {text, SLICE_PACKET};
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    int n;
    while ((n = poll(&ready, 1, timeout_ms)) < 0 && errno == EINTR)
        ;
    if (n == 0)
        return fg_fail(err, FG_E_TIMEOUT, "the slice arbiter does not answer");
    ssize_t got = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
    if (got <= 0)
        return fg_fail(err, FG_E_UNREACHABLE, "the slice arbiter is gone");
    struct slice_files files = take_files(&msg);
    FG_AUTO_JSON json_t *message = msg.msg_flags & MSG_TRUNC ? NULL : fg_json_parse(text, (size_t)got, NULL);
    int rc = json_is_object(message) ? read_error(message, err)
                                     : fg_fail(err, FG_E_MALFORMED, "a message between slice and arbiter is broken");
    if (rc == 0 && ret_files)
        *ret_files = files;
    else
        slice_close_files(&files);
    if (rc == 0)
        *ret = fg_take_ptr(message);
    return rc;
}

/* --- finding and starting --- */

static int try_connect(const char *folder, struct fg_error *err)
{
    FG_AUTO_FREE char *path = slice_socket_path(folder);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) {
        fg_fail(err, FG_E_INVALID, "'%s' is too long for a socket", path);
        return fg_fail_hint(err, "Set XDG_RUNTIME_DIR to a shorter folder.");
    }
    strcpy(address.sun_path, path);
    FG_AUTO_FD int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        return fg_take_fd(fd);
    if (fd >= 0 && (errno == ENOENT || errno == ECONNREFUSED))
        return fg_fail(err, FG_E_NOT_FOUND, "no slice is running");
    return fg_fail(err, FG_E_UNREACHABLE, "connect to '%s': %m", path);
}

/* Never returns. The arbiter outlives its starter and belongs to no terminal. */
static void exec_arbiter(const char *folder, int ready)
{
    sigset_t none;
    int null = open("/dev/null", O_RDWR);
    setsid();
    if (fork() != 0)
        _exit(0);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    for (int sig = 1; sig < 32; sig++)
        signal(sig, SIG_DFL);
    int kept = fcntl(ready, F_DUPFD, 10);
    for (int fd = 0; fd < 3; fd++)
        dup2(null, fd);
    dup2(kept, SLICE_READY_FD);
    close_range(SLICE_READY_FD + 1, ~0u, 0);
    unsetenv(FG_LEASE_ENV);
    unsetenv("OPENCL_LAYERS");
    if (chdir("/") == 0)
        execl("/proc/self/exe", "fgpu", "slice-arbiter", folder, (char *)NULL);
    _exit(127);
}

/* The one line of a new arbiter: {} or {"error": ...}; nothing when it died. */
static int read_ready(int fd, struct fg_error *err)
{
    FG_AUTO_STR struct fg_str text = {0};
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    for (;;) {
        int n = poll(&ready, 1, START_MS);
        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            return fg_fail(err, FG_E_TIMEOUT, "the slice arbiter did not start within %d s", START_MS / 1000);
        ssize_t got = read(fd, fg_str_reserve(&text, 4096), 4096);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        text.len += (size_t)got;
    }
    FG_AUTO_JSON json_t *message = fg_json_parse(text.len ? text.data : "", text.len, NULL);
    return message ? read_error(message, err) : fg_fail(err, FG_E_INTERNAL, "the slice arbiter died at its start");
}

static int start_arbiter(const char *folder, struct fg_error *err)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0)
        return fg_fail(err, FG_E_INTERNAL, "start the slice arbiter: %m");
    pid_t pid = fork();
    if (pid == 0)
        exec_arbiter(folder, fds[1]);
    close(fds[1]);
    int rc = pid < 0 ? fg_fail(err, FG_E_INTERNAL, "start the slice arbiter: %m") : read_ready(fds[0], err);
    close(fds[0]);
    while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    return rc;
}

int slice_connect(const char *folder, bool start, struct fg_error *err)
{
    struct fg_error why = {0};
    int fd = try_connect(folder, &why);
    if (fd >= 0 || !start || why.code != FG_E_NOT_FOUND) {
        if (fd < 0 && err)
            *err = why;
        return fd;
    }
    FG_AUTO_FD int lock = slice_lock(folder, true);
    if (lock < 0)
        return fg_fail(err, FG_E_IO, "lock '%s/slice.lock': %m", folder);
    if ((fd = try_connect(folder, &why)) >= 0)
        return fd;
    return start_arbiter(folder, err) < 0 ? -1 : try_connect(folder, err);
}

static bool again(const struct fg_error *why) { return why->code == FG_E_UNREACHABLE || why->code == FG_E_UNAVAILABLE; }

int slice_ask(const char *folder, bool start, const json_t *request, const struct slice_files *files, json_t **ret,
              struct slice_files *ret_files, int *ret_fd, struct fg_error *err)
{
    struct fg_error why = {0};
    for (int i = 0; i < TRIES; i++) {
        FG_AUTO_FD int fd = slice_connect(folder, start, &why);
        if (fd >= 0 && slice_send(fd, request, files, &why) == 0 &&
            slice_receive(fd, ANSWER_MS, ret, ret_files, &why) == 0) {
            if (ret_fd)
                *ret_fd = fg_take_fd(fd);
            return 0;
        }
        if (!again(&why))
            break;
        nanosleep(&(struct timespec){0, TRY_MS * 1000000}, NULL);
    }
    if (err)
        *err = why;
    return -1;
}

static const char *const modes[] = {
    [FG_SHARE_WEIGHTED] = "weighted", [FG_SHARE_CAPPED] = "capped", [FG_SHARE_EXCLUSIVE] = "exclusive"};

int slice_mode_by_name(const char *name)
{
    for (size_t i = 0; i < FG_COUNT(modes); i++)
        if (fg_streq(modes[i], name))
            return (int)i;
    return -1;
}

const char *slice_mode_name(int mode) { return mode >= 0 && (size_t)mode < FG_COUNT(modes) ? modes[mode] : "?"; }
