/* audit.c - what the kernel does not limit is looked at twice a second, and who is over is stopped:
 *
 *   memory of the host, where there is no cgroup for it: the proportional sizes of the attempt's processes, summed, so that
 *   shared pages count once
 *   devices whose limits are kept inside the task's process: the backend compares its books with what the kernel says */
#include <stdio.h>
#include <string.h>

#include "agent/internal.h"
#include "base/io.h"
#include "base/log.h"
#include "base/units.h"
#include "device/look.h"

#define MAX_PIDS 8192

static uint64_t memory_of(pid_t pid)
{
    char path[48];
    FG_AUTO_STR struct fg_str text = {0};
    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", pid);
    const char *line = fg_read_file(path, 65536, &text, NULL) == 0 ? strstr(fg_str_cstr(&text), "\nPss:") : NULL;
    return line ? strtoull(line + 5, NULL, 10) * 1024 : 0;
}

/* User and system time of a process and of its children that ended, in ns. */
static int64_t cpu_of(pid_t pid)
{
    char path[48];
    unsigned long long user = 0, system = 0, child_user = 0, child_system = 0;
    FG_AUTO_STR struct fg_str text = {0};
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    const char *p = fg_read_file(path, 4096, &text, NULL) == 0 ? strrchr(fg_str_cstr(&text), ')') : NULL;
    if (p)
        sscanf(p + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %llu %llu", &user, &system, &child_user, &child_system);
    return (int64_t)(user + system + child_user + child_system) * (INT64_C(1000000000) / sysconf(_SC_CLK_TCK));
}

static void stop(struct attempt *t, enum fg_reason reason, const char *why)
{
    if (why)
        fg_log_warn("%s is stopped: %s", t->name, why);
    t->audited_out = true;
    launch_stop(t, fg_reason_name(reason), why);
}

static void audit_memory(struct attempt *t, const pid_t *pids, size_t n)
{
    uint64_t memory = 0;
    int64_t cpu = 0;
    for (size_t i = 0; i < n; i++) {
        memory += memory_of(pids[i]);
        cpu += cpu_of(pids[i]);
    }
    t->usage.memory_peak_bytes = FG_MAX(t->usage.memory_peak_bytes, memory);
    t->usage.device_ns = FG_MAX(t->usage.device_ns, cpu);
    if (memory <= t->limits.memory_bytes)
        return;
    t->usage.denied++;
    stop(t, FG_REASON_OOM_HOST, NULL);
}

static void audit_books(struct attempt *t, const struct backend *b, const pid_t *pids, size_t n)
{
    struct fg_vgpu_offence offence;
    if (b->ops->audit(b->state, t->device, t->name, pids, n, &offence) > 0)
        stop(t, offence.fault ? FG_REASON_DEVICE_FAULT : FG_REASON_LIMIT_BYPASSED, offence.text);
}

static const struct fg_device *device_of(const struct agent *a, const char *name)
{
    for (size_t i = 0; i < a->device_list.count; i++)
        if (strcmp(a->device_list.items[i].name, name) == 0)
            return &a->device_list.items[i];
    return NULL;
}

static void audit(struct attempt *t)
{
    static pid_t pids[MAX_PIDS];
    const struct backend *b = devices_backend(t->agent, t->device);
    const struct fg_device *d = device_of(t->agent, t->device);
    bool memory = !b->ops->audit && d && d->memory_level == FG_LEVEL_AUDITED;
    if (!b->ops->audit && !memory)
        return;
    size_t n = fg_look_tree(NULL, t->sandbox, pids, MAX_PIDS);
    if (memory)
        audit_memory(t, pids, n);
    else
        audit_books(t, b, pids, n);
}

bool audit_needed(const struct agent *a)
{
    for (size_t i = 0; i < a->device_list.count; i++)
        if (a->device_list.items[i].memory_level == FG_LEVEL_AUDITED)
            return true;
    return false;
}

/* A crowd of processes takes its time to look at: then it is looked at less often, so that a tenth of one core is the most. */
void audit_tick(struct agent *a)
{
    int64_t began = agent_now(a);
    if (began < a->audit_not_before)
        return;
    for (size_t i = 0; i < a->attempts.count; i++) {
        struct attempt *t = a->attempts.items[i];
        if (t->phase == PHASE_RUN && t->sandbox > 0 && !t->audited_out)
            audit(t);
    }
    a->audit_not_before = agent_now(a) + 9 * (agent_now(a) - began) - FG_NS_PER_S / 4;
}
