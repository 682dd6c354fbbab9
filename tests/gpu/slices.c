/* slices.c - run programs in slices of one device, side by side.
 * usage: slices share=PERMILLE[,PERMILLE...] [memory=BYTES] [mode=weighted|capped|exclusive] [later=MS:PERMILLE] [kill=MS]
 *               [out=PREFIX] -- PROGRAM ARG... [++ PROGRAM ARG...]...
 * Slice i runs the i-th program (the last one again where there are fewer); its output goes to PREFIX.i. later: the first
 * slice's share from then on; kill: the first program is killed then; both from the first slice's first job on, since a
 * driver may take seconds to come up. One line of JSON for each slice at the end. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "vgpu/server.h"

enum { MOST = 16 };
static struct slice { char id[16]; pid_t pid; int status; struct fg_lease_spec spec; } slices[MOST];
static unsigned slice_count;
static struct fg_vgpu_server *server;
static uint64_t memory = UINT64_C(1) << 30;
static enum fg_share_mode mode;
static unsigned later_ms, later_share, kill_ms;
static const char *out;

static int die(const struct fg_error *err)
{
    fprintf(stderr, "slices: %s\n", err->text);
    return 125;
}

static const char *setting(const char *arg, const char *name)
{
    size_t length = strlen(name);
    return !strncmp(arg, name, length) && arg[length] == '=' ? arg + length + 1 : NULL;
}

/* Returns the place of the first program, or -1. */
static int parse(char **argv)
{
    static const char *const modes[] = {"weighted", "capped", "exclusive"};
    const char *value;
    int i;
    for (i = 1; argv[i] && strcmp(argv[i], "--") != 0; i++) {
        if ((value = setting(argv[i], "share"))) {
            char *end = (char *)(uintptr_t)value;
            while (*end && slice_count < MOST) {
                slices[slice_count++].spec.share_permille = (uint32_t)strtoul(end, &end, 10);
                end += *end == ',';
            }
        } else if ((value = setting(argv[i], "memory"))) {
            memory = strtoull(value, NULL, 10);
        } else if ((value = setting(argv[i], "mode"))) {
            for (unsigned m = 0; m < 3; m++)
                mode = strcmp(value, modes[m]) ? mode : (enum fg_share_mode)m;
        } else if ((value = setting(argv[i], "later"))) {
            if (sscanf(value, "%u:%u", &later_ms, &later_share) != 2)
                return -1;
        } else if ((value = setting(argv[i], "kill"))) {
            kill_ms = (unsigned)atoi(value);
        } else if ((value = setting(argv[i], "out"))) {
            out = value;
        } else {
            return -1;
        }
    }
    return slice_count && argv[i] && argv[i + 1] ? i + 1 : -1;
}

static void start(unsigned i, char **program)
{
    char lease[256], path[512];
    struct fg_error err;
    if (fg_vgpu_server_env(server, slices[i].id, lease, sizeof lease, &err) < 0)
        exit(die(&err));
    slices[i].pid = fork();
    if (slices[i].pid)
        return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setenv(FG_LEASE_ENV, lease, 1);
    if (out) {
        snprintf(path, sizeof path, "%s.%u", out, i);
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        if (fd < 0 || dup2(fd, 1) < 0)
            _exit(126);
    }
    execvp(program[0], program);
    _exit(127);
}

/* Since the first slice's first job; 0 before. */
static unsigned now_ms(void)
{
    static struct timespec first;
    struct timespec now;
    struct fg_lease_stats stats;
    struct fg_error err;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (!first.tv_sec && fg_vgpu_server_stats(server, slices[0].id, &stats, &err) == 0 && stats.submitted)
        first = now;
    if (!first.tv_sec)
        return 0;
    return (unsigned)((now.tv_sec - first.tv_sec) * 1000 + (now.tv_nsec - first.tv_nsec) / 1000000);
}

static void wait_for_all(void)
{
    unsigned left = slice_count;
    while (left) {
        int status;
        pid_t pid = waitpid(-1, &status, WNOHANG);
        for (unsigned i = 0; pid > 0 && i < slice_count; i++)
            if (slices[i].pid == pid) {
                slices[i].status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
                left--;
            }
        if (kill_ms && now_ms() >= kill_ms) {
            kill(slices[0].pid, SIGKILL);
            kill_ms = 0;
        }
        if (later_ms && now_ms() >= later_ms) {
            struct fg_error err;
            slices[0].spec.share_permille = later_share;
            if (fg_vgpu_server_set(server, &slices[0].spec, &err) < 0)
                exit(die(&err));
            later_ms = 0;
        }
        if (pid <= 0)
            usleep(2000);
    }
}

static int report(void)
{
    int worst = 0;
    for (unsigned i = 0; i < slice_count; i++) {
        struct fg_lease_stats s = {0};
        struct fg_error err;
        for (int k = 0; k < 200; k++) { /* reaped within 100 ms; 2 s on a loaded machine */
            if (fg_vgpu_server_stats(server, slices[i].id, &s, &err) < 0)
                return die(&err);
            if (!s.processes)
                break;
            usleep(10000);
        }
        printf("{\"slice\":%u,\"status\":%d,\"used\":%lu,\"peak\":%lu,\"denied\":%lu,\"device_ns\":%lu,\"submitted\":%lu,\"ungated\":%lu,\"processes\":%u}\n", i,
               slices[i].status, (unsigned long)s.used_bytes, (unsigned long)s.peak_bytes, (unsigned long)s.denied, (unsigned long)s.device_ns,
               (unsigned long)s.submitted, (unsigned long)s.ungated, s.processes);
        worst = slices[i].status > worst ? slices[i].status : worst;
    }
    return worst;
}

int main(int argc, char **argv)
{
    int at = parse(argv);
    struct fg_error err;
    if (at < 0) {
        fprintf(stderr, "usage: see the head of slices.c\n");
        return 2;
    }
    if (fg_vgpu_server_create(&server, &(struct fg_vgpu_server_config){0}, &err) < 0 || fg_vgpu_server_device(server, "gpu", FG_MEMORY_MAX, &err) < 0)
        return die(&err);
    for (unsigned i = 0; i < slice_count; i++) {
        snprintf(slices[i].id, sizeof slices[i].id, "slice%u", i);
        struct fg_lease_spec spec = {.device = "gpu", .memory_bytes = memory, .share_permille = slices[i].spec.share_permille, .mode = mode};
        snprintf(spec.id, sizeof spec.id, "%s", slices[i].id);
        slices[i].spec = spec;
        if (fg_vgpu_server_open(server, &slices[i].spec, NULL, &err) < 0)
            return die(&err);
    }
    char **program = &argv[at];
    for (unsigned i = 0; i < slice_count; i++) {
        char **next = program;
        while (*next && strcmp(*next, "++") != 0)
            next++;
        char **after = *next ? next + 1 : NULL;
        *next = NULL;
        start(i, program);
        if (after)
            program = after;
    }
    wait_for_all();
    int status = report();
    fg_vgpu_server_destroy(server);
    return status;
}
