/* slice_run.c - run a program in a vGPU, for tests of front ends: no agent, no command line tool, just the server's header.
 * usage: slice_run [memory=BYTES] [share=PERMILLE] [mode=weighted|capped|exclusive] [flags=N] [stats=FILE] -- PROGRAM ARG...
 * Exits as the program did. stats: one JSON object, written after the program has ended and been reaped. */
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "vgpu/server.h"

extern char **environ;

static int die(const struct fg_error *err)
{
    fprintf(stderr, "slice_run: %s\n", err->text);
    return 125;
}

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static const char *setting(const char *arg, const char *name)
{
    size_t length = strlen(name);
    return !strncmp(arg, name, length) && arg[length] == '=' ? arg + length + 1 : NULL;
}

static int parse(char **argv, struct fg_lease_spec *spec, const char **ret_stats)
{
    static const char *const modes[] = {"weighted", "capped", "exclusive"};
    const char *value;
    int i;
    for (i = 1; argv[i] && strcmp(argv[i], "--") != 0; i++) {
        if ((value = setting(argv[i], "memory")))
            spec->memory_bytes = strtoull(value, NULL, 10);
        else if ((value = setting(argv[i], "share")))
            spec->share_permille = (uint32_t)strtoul(value, NULL, 10);
        else if ((value = setting(argv[i], "flags")))
            spec->flags = (uint32_t)strtoul(value, NULL, 10);
        else if ((value = setting(argv[i], "stats")))
            *ret_stats = value;
        else if ((value = setting(argv[i], "mode")))
            for (unsigned m = 0; m < 3; m++)
                spec->mode = strcmp(value, modes[m]) ? spec->mode : (enum fg_share_mode)m;
        else
            return -1;
    }
    return argv[i] && argv[i + 1] ? i + 1 : -1;
}

static void write_stats(const char *path, const struct fg_lease_stats *s, int64_t wall_ns)
{
    FILE *file = fopen(path, "w");
    if (!file)
        return;
    fprintf(file, "{\"used\":%lu,\"peak\":%lu,\"denied\":%lu,\"device_ns\":%lu,\"throttle_ns\":%lu,\"submitted\":%lu,\"ungated\":%lu,"
            "\"processes\":%u,\"inflight\":%u,\"wall_ns\":%ld}\n", (unsigned long)s->used_bytes, (unsigned long)s->peak_bytes,
            (unsigned long)s->denied, (unsigned long)s->device_ns, (unsigned long)s->throttle_ns, (unsigned long)s->submitted,
            (unsigned long)s->ungated, s->processes, s->inflight, (long)wall_ns);
    fclose(file);
}

/* Returns the exit status as a shell would show it. */
static int run(char **argv)
{
    pid_t pid;
    int status;
    if (posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ) != 0 || waitpid(pid, &status, 0) != pid) {
        fprintf(stderr, "slice_run: cannot run %s\n", argv[0]);
        return 127;
    }
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

int main(int argc, char **argv)
{
    struct fg_lease_spec spec = {.id = "test", .device = "opencl-test", .memory_bytes = 64 << 20, .share_permille = 1000};
    const char *stats_path = NULL;
    int program = parse(argv, &spec, &stats_path);
    if (program < 0) {
        fprintf(stderr, "usage: slice_run [memory=BYTES] [share=PERMILLE] [mode=MODE] [flags=N] [stats=FILE] -- PROGRAM ARG...\n");
        return 2;
    }
    struct fg_vgpu_server *server = NULL;
    struct fg_error err;
    char lease[256];
    if (fg_vgpu_server_create(&server, &(struct fg_vgpu_server_config){0}, &err) < 0 ||
        fg_vgpu_server_device(server, spec.device, FG_MEMORY_MAX, &err) < 0 || fg_vgpu_server_open(server, &spec, NULL, &err) < 0 ||
        fg_vgpu_server_env(server, spec.id, lease, sizeof lease, &err) < 0)
        return die(&err);
    setenv(FG_LEASE_ENV, lease, 1);
    int64_t began = now_ns();
    int status = run(&argv[program]);
    int64_t wall = now_ns() - began;
    struct fg_lease_stats stats;
    for (int i = 0; i < 200; i++) { /* reaped within 100 ms; 2 s on a loaded machine */
        if (fg_vgpu_server_stats(server, spec.id, &stats, &err) < 0)
            return die(&err);
        if (!stats.processes)
            break;
        usleep(10000);
    }
    if (stats_path)
        write_stats(stats_path, &stats, wall);
    fg_vgpu_server_destroy(server);
    return status;
}
