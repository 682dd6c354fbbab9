/* slice.c - fgpu slice -- PROGRAM: a lease from the arbiter, the layer in the program's environment, and then nothing
 * but passing signals on and the exit status back. What the program holds on the device is released by the arbiter. */
#include "cli/slice.h"

#include "cli/slice_audit.h"
#include "cli/slice_cuda.h"
#include "cli/slice_devices.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/units.h"
#include "vgpu/page.h"

#define LAYER          "libfgpu_opencl.so"
#define LAYERS_ENV     "OPENCL_LAYERS"
#define EXIT_NOT_RUN   126
#define EXIT_NOT_FOUND 127
#define STATS_MS       10000

/* --- the layer --- */

/* Ours next to the driver, before the layers that the user has. */
static char *layers_with(const char *layer)
{
    const char *others = getenv(LAYERS_ENV);
    size_t n = strlen(layer);
    for (const char *p = others; p && *p; p += strcspn(p, ":"), p += *p == ':')
        if (strcspn(p, ":") == n && strncmp(p, layer, n) == 0)
            return fg_strdup(others);
    return others && *others ? fg_asprintf("%s:%s", layer, others) : fg_strdup(layer);
}

/* --- the slice --- */

struct run {
    struct cli *cli;
    char *folder, *command;
    char *layers;       /* of OpenCL; NULL: its front end is not installed */
    char *library_path; /* of a slice of CUDA */
    const char *name; /* the first word of the command */
    int fd;           /* to the arbiter, held; -1: it is gone and no other could be had */
    struct slice_files files;
    char id[64];
    int64_t began_ms;
    bool fail_closed, audited;
    char lease[128]; /* the value of FGPU_LEASE */
    struct slice_cuda cuda;
    struct slice_audit audit;
};

static int64_t now_ms(void) { return fg_boot_ns() / 1000000; }

/* The command on one line, for ls. */
static char *one_line(char **command)
{
    FG_AUTO_STR struct fg_str text = {0};
    for (; *command && text.len < 200; command++) {
        fg_str_adds(&text, text.len ? " " : "");
        cli_clean(&text, *command, strnlen(*command, 100));
    }
    return fg_str_take(&text);
}

static json_t *request_of(const struct cli_args *args, const struct run *r, struct fg_error *err)
{
    const char *gpu = cli_text(args, "gpu"), *share = cli_text(args, "share"), *mode = cli_text(args, "mode");
    const char *device = cli_text(args, "device");
    uint64_t bytes = 0;
    uint32_t permille = 1000;
    bool alone = fg_streq(mode, "exclusive");
    if (!gpu || (!share && !alone)) {
        fg_fail(err, FG_E_INVALID, "%s is missing", gpu ? "--share" : "--gpu");
        fg_fail_hint(err, "For example: fgpu slice --gpu 2GB --share 25 -- python3 train.py");
        return NULL;
    }
    if (fg_parse_bytes(gpu, &bytes, err) < 0 || (share && fg_parse_share(share, &permille, err) < 0))
        return NULL;
    if (bytes == 0 || bytes > FG_MEMORY_MAX) {
        fg_fail(err, FG_E_INVALID, "--gpu: a memory quota is more than nothing and at most 2 TiB, not '%s'", gpu);
        return NULL;
    }
    return json_pack("{s:s, s:s, s:I, s:i, s:s, s:b, s:b, s:b, s:s}", "op", "open", "device", device ? device : "",
                     "memory_bytes", (json_int_t)bytes, "share_permille", (int)permille, "mode",
                     mode ? mode : "weighted", "fail_closed", cli_flag(args, "fail-closed"), "latency",
                     cli_flag(args, "latency"), "audited", access("/proc/self/maps", R_OK) == 0, "command", r->command);
}

/* The front end that keeps the limits of this device. In a slice of CUDA OpenCL's is a guest, in one of OpenCL it must be there. */
static int put_in_front(struct run *r, const char *device, struct fg_error *err)
{
    if (!slice_device_is_nvidia(device)) {
        FG_AUTO_FREE char *layer = slice_part(LAYER, err);
        return layer ? 0 : -1;
    }
    if (slice_cuda_open(&r->cuda, r->folder, device, err) < 0)
        return -1;
    r->library_path = slice_cuda_library_path(&r->cuda);
    return 0;
}

static int open_slice(struct run *r, const struct cli_args *args, struct fg_error *err)
{
    char memory[32];
    FG_AUTO_JSON json_t *answer = NULL;
    FG_AUTO_JSON json_t *request = request_of(args, r, err);
    if (!request || slice_ask(r->folder, true, request, NULL, &answer, &r->files, &r->fd, err) < 0)
        return -1;
    if (r->files.limits < 0)
        return fg_fail(err, FG_E_INTERNAL, "the slice arbiter gave no lease");
    snprintf(r->id, sizeof r->id, "%s", fg_json_str(answer, "id", "?"));
    snprintf(r->lease, sizeof r->lease, "/proc/%d/fd/%d:/proc/%d/fd/%d", (int)getpid(), r->files.limits, (int)getpid(),
             r->files.counters);
    const char *device = fg_json_str(answer, "device", "");
    if (put_in_front(r, device, err) < 0)
        return -1;
    r->audited = slice_audit_init(&r->audit, r->lease, &r->files, r->cuda.nvml ? &r->cuda : NULL);
    cli_note(
        r->cli, "slice %s: %s (%s), %s memory, %g %% %s; %s",
        r->id, fg_json_str(answer, "device", "?"), fg_json_str(answer, "kind", "?"),
        fg_format_bytes(memory, sizeof memory, (uint64_t)fg_json_int(answer, "memory_bytes", 0)),
        (double)fg_json_int(answer, "share_permille", 0) / 10, fg_json_str(answer, "mode", "?"),
        r->audited ? "audited: a layer inside the program keeps the limits, and a process that goes around it is stopped"
                   : "cooperative: a layer inside the program keeps the limits, and this machine does not let us see "
                     "whether a process goes around it");
    return 0;
}

/* The arbiter is gone: hand the lease to a new one. */
static void come_back(struct run *r)
{
    struct fg_error err = {0};
    FG_AUTO_JSON json_t *answer = NULL;
    FG_AUTO_JSON json_t *request = json_pack("{s:s, s:s, s:I, s:b}", "op", "adopt", "command", r->command, "age_ms",
                                             (json_int_t)(now_ms() - r->began_ms), "audited", r->audited);
    struct slice_files again = SLICE_NO_FILES;
    close(fg_take_fd(r->fd));
    if (slice_ask(r->folder, true, request, &r->files, &answer, &again, &r->fd, &err) == 0) {
        int claim = r->files.claim; /* the new arbiter's in its place; the lease's files are the same */
        r->files.claim = again.claim;
        again.claim = claim;
        slice_close_files(&again);
        return;
    }
    cli_note(
        r->cli,
        "slice %s: its arbiter is gone (%s); the program goes on, its memory quota holds, its work on the device %s",
        r->id, err.text, r->fail_closed ? "is refused" : "is no longer arbitrated");
}

/* --- the program --- */

static volatile pid_t program;

/* What the terminal sends, the program got already: it is in the same group. */
static void pass_on(int sig, siginfo_t *info, void *context)
{
    int saved = errno;
    if (info->si_code != SI_KERNEL && program > 0)
        kill(program, sig);
    errno = saved;
}

static const int passed[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH, SIGALRM};

static void block(sigset_t *before)
{
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < FG_COUNT(passed); i++)
        sigaddset(&set, passed[i]);
    sigprocmask(SIG_BLOCK, &set, before);
}

/* A signal that was ignored when we came (nohup) stays so, for the program, too. */
static void catch_signals(void)
{
    struct sigaction now, action = {.sa_sigaction = pass_on, .sa_flags = SA_SIGINFO | SA_RESTART};
    for (size_t i = 0; i < FG_COUNT(passed); i++)
        if (sigaction(passed[i], NULL, &now) == 0 && now.sa_handler != SIG_IGN)
            sigaction(passed[i], &action, NULL);
}

/* In the child: never returns. Its errno goes up the pipe when it could not become the program. */
static void become(const struct run *r, char **command, pid_t parent, const sigset_t *mask, int report)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* without its slice nobody passes signals on: it ends with it */
    if (getppid() != parent)
        _exit(EXIT_NOT_RUN);
    setenv(FG_LEASE_ENV, r->lease, 1);
    if (r->layers)
        setenv(LAYERS_ENV, r->layers, 1);
    if (r->library_path)
        setenv("LD_LIBRARY_PATH", r->library_path, 1);
    signal(SIGPIPE, SIG_DFL);
    sigprocmask(SIG_SETMASK, mask, NULL);
    execvp(command[0], command);
    int why = errno;
    (void)fg_write_all(report, &why, sizeof why);
    _exit(EXIT_NOT_RUN);
}

/* Returns its pidfd, or -1 with *err; *ret_status is what to exit with then. */
static int start_program(const struct run *r, char **command, int *ret_status, struct fg_error *err)
{
    int fds[2], why = 0;
    sigset_t before;
    *ret_status = EXIT_NOT_RUN;
    if (pipe2(fds, O_CLOEXEC) < 0)
        return fg_fail(err, FG_E_INTERNAL, "start '%s': %m", command[0]);
    block(&before);
    prctl(PR_SET_CHILD_SUBREAPER, 1); /* what the program leaves behind stays among our descendants, for the audit */
    pid_t parent = getpid(), pid = fork();
    if (pid == 0)
        become(r, command, parent, &before, fds[1]);
    program = pid;
    catch_signals();
    sigprocmask(SIG_SETMASK, &before, NULL);
    close(fds[1]);
    ssize_t got = 0;
    while (pid > 0 && (got = read(fds[0], &why, sizeof why)) < 0 && errno == EINTR)
        ;
    close(fds[0]);
    if (pid < 0)
        return fg_fail(err, FG_E_INTERNAL, "start '%s': %m", command[0]);
    if (got == (ssize_t)sizeof why) {
        *ret_status = why == ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_RUN;
        errno = why;
        return fg_fail(err, FG_E_NOT_FOUND, "start '%s': %m", command[0]);
    }
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    return pidfd >= 0 ? pidfd : fg_fail(err, FG_E_INTERNAL, "watch '%s': %m", command[0]);
}

/* What the audit stopped is said even to who asked for quiet. */
static void say_stopped(void *arg, bool stopped, const char *text)
{
    const struct run *r = arg;
    fprintf(stderr, "fgpu: slice %s: %s: %s\n", r->id, stopped ? "stopped" : "cannot be stopped", text);
}

/* Processes whose parents ended are ours: their ends are nobody else's to see. */
static void reap_adopted(void)
{
    siginfo_t ended = {0};
    while (waitid(P_ALL, 0, &ended, WEXITED | WNOHANG | WNOWAIT) == 0 && ended.si_pid > 0 && ended.si_pid != program) {
        waitpid(ended.si_pid, NULL, WNOHANG);
        ended.si_pid = 0;
    }
}

/* Until the program ends. Returns its status as a shell has it. */
static int follow(struct run *r, int pidfd)
{
    int status = 0;
    for (;;) {
        struct pollfd fds[] = {{.fd = pidfd, .events = POLLIN}, {.fd = r->fd, .events = POLLIN}};
        int wait = r->audited ? slice_audit_run(&r->audit, say_stopped, r) : -1;
        reap_adopted();
        if (poll(fds, 2, wait) < 0)
            continue; /* a signal was passed on */
        if (fds[0].revents)
            break;
        if (fds[1].revents)
            come_back(r); /* the arbiter never speaks unasked */
    }
    while (waitpid(program, &status, 0) < 0 && errno == EINTR)
        ;
    program = 0;
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* What the slice used, as `fgpu slice ls --json` shows it, now that its program has ended. */
static int write_stats(struct run *r, const char *path, struct fg_error *err)
{
    FG_AUTO_JSON json_t *answer = NULL;
    FG_AUTO_JSON json_t *request = json_pack("{s:s}", "op", "show");
    FG_AUTO_STR struct fg_str text = {0};
    if (r->fd < 0)
        return fg_fail(err, FG_E_UNREACHABLE, "the slice's arbiter is gone, and with it what --stats would tell");
    if (slice_send(r->fd, request, NULL, err) < 0 || slice_receive(r->fd, STATS_MS, &answer, NULL, err) < 0)
        return -1;
    fg_json_dump(answer, &text);
    fg_str_adds(&text, "\n");
    return fg_write_file_atomic(path, text.data, text.len, 0644, err);
}

static int run_in(struct run *r, const struct cli_args *args, struct fg_error *err)
{
    int status;
    struct fg_error ignored;
    FG_AUTO_FREE char *layer = slice_part(LAYER, &ignored);
    if (!(r->folder = slice_folder(r->cli, err)))
        return -1;
    r->layers = layer ? layers_with(layer) : NULL;
    r->command = one_line(args->command);
    if (open_slice(r, args, err) < 0)
        return -1;
    FG_AUTO_FD int pidfd = start_program(r, args->command, &status, err);
    const char *stats = cli_text(args, "stats");
    if (pidfd >= 0)
        status = follow(r, pidfd);
    if (pidfd < 0 || (stats && write_stats(r, stats, err) < 0))
        cli_print_error(err);
    return status;
}

static int run_slice(struct cli *cli, const struct cli_args *args, struct fg_error *err)
{
    struct run r = {
        .cli = cli, .fd = -1, .files = SLICE_NO_FILES, .cuda = SLICE_NO_CUDA, .began_ms = now_ms(), .fail_closed = cli_flag(args, "fail-closed")};
    if (args->command_count == 0) {
        fg_fail(err, FG_E_INVALID, "no program was given");
        return fg_fail_hint(err, "For example: fgpu slice --gpu 2GB --share 25 -- python3 train.py");
    }
    if (getenv(FG_LEASE_ENV)) {
        fg_fail(err, FG_E_CONFLICT, "this is inside a slice already, and slices do not nest");
        return fg_fail_hint(err, "'fgpu slice set' changes a slice while it runs.");
    }
    int rc = run_in(&r, args, err);
    if (r.fd >= 0)
        close(r.fd);
    slice_close_files(&r.files);
    slice_audit_fini(&r.audit);
    slice_cuda_close(&r.cuda);
    free(r.folder);
    free(r.command);
    free(r.layers);
    free(r.library_path);
    return rc;
}

static const struct cli_option options[] = {
    {"gpu", 0, CLI_BYTES, "SIZE", "Memory on the device that the program may hold, like 2GB or 512MiB."},
    {"share", 0, CLI_SHARE, "PERCENT", "Share of the device's time. May be left out with --mode exclusive."},
    {"mode", 0, CLI_CHOICE, "weighted|capped|exclusive",
     "weighted (the default): the share at least, and what others leave idle; capped: never more than the share; "
     "exclusive: the device alone."},
    {"device", 0, CLI_TEXT, "N|NAME",
     "Number, name or part of the kind of the device, or the beginning of a GPU's UUID. Default: a GPU, the one with most "
     "memory free."},
    {"latency", 0, CLI_FLAG, NULL, "Answer fast: use the next window whenever the share is not used up."},
    {"fail-closed", 0, CLI_FLAG, NULL,
     "Should the arbiter vanish for good, refuse work on the device instead of letting it pass."},
    {"stats", 0, CLI_PATH, "FILE", "Write there what the slice used, as JSON, when the program has ended."},
    {NULL},
};
const struct cli_verb cli_verb_slice_run = {
    "slice run",
    "--gpu SIZE --share PERCENT [options] -- PROGRAM [ARGUMENTS]",
    "run any CUDA or OpenCL program in a slice of a device; needs no server; 'run' may be left out",
    "The program sees a device of SIZE, gets the share of its time that it is due, and is not changed. The slices of "
    "one user on one device know each other: together they never get more memory or share than there is.\n"
    "The exit status is the program's, 128 and the signal's number when a signal ended it, 127 when it was not found "
    "and 126 when it could not be started. Signals are passed on. Before the program starts: 2 usage, 4 no such "
    "device, 5 refused.\n"
    "A layer inside the program keeps the limits. A process that goes around it, by a cleaned environment or by loading "
    "a driver itself, is stopped and named.",
    options,
    0,
    0,
    true,
    run_slice,
};

static int run_arbiter(struct cli *cli, const struct cli_args *args, struct fg_error *err)
{
    return slice_arbiter_main(args->names.items[0], err);
}

static const struct cli_option no_options[] = {{NULL}};
/* Not for people, so in no group: the first slice starts it. */
const struct cli_verb cli_verb_slice_arbiter = {
    "slice-arbiter", "FOLDER",    "arbitrate this user's slices until the last has ended", NULL, no_options, 1, 1,
    false,           run_arbiter,
};
