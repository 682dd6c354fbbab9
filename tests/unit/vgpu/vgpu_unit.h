/* vgpu_unit.h - a server with one device and leases on it, for the tests of the engine. */
#pragma once
#include "unit.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include "random.h"
#include "vgpu/gate.h"
#include "vgpu/ledger.h"
#include "vgpu/server.h"

#define GIB (UINT64_C(1) << 30)
#define MS  1000000ll

static struct fg_vgpu_server *unit_server;
static struct fg_error unit_err;

static inline void unit_server_start(const struct fg_vgpu_server_config *config)
{
    assert_ok(fg_vgpu_server_create(&unit_server, config, &unit_err), unit_err);
    assert_ok(fg_vgpu_server_device(unit_server, "gpu0", 64 * GIB, &unit_err), unit_err);
}

static inline void unit_server_stop(void)
{
    fg_vgpu_server_destroy(unit_server);
    unit_server = NULL;
}

static inline struct fg_lease_spec unit_spec(const char *id, uint64_t memory, uint32_t share, uint32_t flags)
{
    struct fg_lease_spec spec = {.memory_bytes = memory, .share_permille = share, .flags = flags};
    snprintf(spec.id, sizeof spec.id, "%s", id);
    snprintf(spec.device, sizeof spec.device, "gpu0");
    return spec;
}

/* Open a lease; env[] is how it is found. */
static inline void unit_open(const char *id, uint64_t memory, uint32_t share, uint32_t flags, char env[256])
{
    struct fg_lease_spec spec = unit_spec(id, memory, share, flags);
    assert_ok(fg_vgpu_server_open(unit_server, &spec, NULL, &unit_err), unit_err);
    assert_ok(fg_vgpu_server_env(unit_server, id, env, 256, &unit_err), unit_err);
}

static inline void opening_is_refused(struct fg_lease_spec spec, enum fg_error_code code, const char *part)
{
    assert_fails(fg_vgpu_server_open(unit_server, &spec, NULL, &unit_err), unit_err, code);
    assert_has(unit_err.text, part);
}

static inline struct fg_lease_stats unit_stats(const char *id)
{
    struct fg_lease_stats stats;
    assert_ok(fg_vgpu_server_stats(unit_server, id, &stats, &unit_err), unit_err);
    return stats;
}

static inline void unit_sleep_ms(unsigned ms) { usleep(ms * 1000); }

/* Wait for the condition; how long a machine under load takes is no matter of a test, so the limit is generous. */
#define unit_comes(condition)                                                                                          \
    ({                                                                                                                 \
        int64_t until_ = fg_boot_ns() + 60000 * MS;                                                                    \
        while (!(condition) && fg_boot_ns() < until_)                                                                  \
            usleep(500);                                                                                               \
        (condition);                                                                                                   \
    })

/* A child process that does not run the parent's exit handlers, and does not outlive it. */
static inline pid_t unit_fork(void (*body)(void *), void *arg)
{
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        body(arg);
        _exit(0);
    }
    assert_true(pid > 0);
    return pid;
}

static inline int unit_wait(pid_t pid)
{
    int status = -1;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
