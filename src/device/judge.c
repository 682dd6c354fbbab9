/* judge.c - see judge.h. */
#include "device/judge.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/units.h"

#define OVERHEAD_BYTES (UINT64_C(256) << 20)

static enum fg_verdict offender(char *text, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static enum fg_verdict offender(char *text, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, 200, fmt, ap);
    va_end(ap);
    return FG_OFFENDER;
}

/* Rule 6: has it been odd for so long that it cannot be starting any more? */
static bool stays_odd(const struct fg_look *l, pid_t pid, int64_t now_ns, struct fg_suspect *odd)
{
    if (odd->pid != pid)
        *odd = (struct fg_suspect){pid, now_ns, l->cpu_ns, now_ns, l->cpu_ns};
    if (!l->sleeps || l->cpu_ns != odd->moved_cpu_ns) {
        odd->moved_ns = now_ns;
        odd->moved_cpu_ns = l->cpu_ns;
    }
    int64_t wall = now_ns - odd->since_ns;
    bool busy = l->cpu_ns - odd->since_cpu_ns >= FG_JUDGE_GRACE_CPU_NS, idle = now_ns - odd->moved_ns >= FG_JUDGE_IDLE_NS;
    return wall >= FG_JUDGE_PATIENCE_NS || (wall >= FG_JUDGE_GRACE_NS && (busy || idle));
}

enum fg_verdict fg_judge_process(const struct fg_look *l, pid_t outer, bool member, int64_t now_ns, struct fg_suspect *odd, char *text)
{
    int pid = (int)l->inner_pid;
    bool driver = *l->driver != 0, node = *l->node != 0;
    if (member || l->counters)                                                  /* 1 */
        return FG_IN_ORDER;
    if (!driver && !node && !l->hidden)                                         /* 2 */
        return FG_IN_ORDER;
    if (driver && !l->loader)                                                   /* 3 */
        return offender(text, "process %d (%s) loaded the driver %s by itself, past the layer that keeps the limits", pid, l->name, l->driver);
    if (driver && !l->layer && !l->env_on)                                      /* 4 */
        return offender(text, "process %d (%s) uses the driver %s without the layer that keeps the limits: OPENCL_LAYERS was taken "
                              "out of its environment", pid, l->name, l->driver);
    if (driver && l->env_lease)                                                 /* 5 */
        return offender(text, "process %d (%s) uses the driver %s with a lease of its own: FGPU_LEASE was set", pid, l->name, l->driver);
    if (!stays_odd(l, outer, now_ns, odd))                                      /* 6 */
        return FG_SUSPECT;
    if (l->hidden)
        return offender(text, "a process (%s) cannot be looked at", l->name);
    return offender(text, "process %d (%s) has %s open and is not in the books of its vGPU", pid, l->name, driver ? l->driver : l->node);
}

bool fg_judge_truth(const struct fg_truth *before, const struct fg_truth *now, char *text)
{
    char holds[32], booked[32], quota[32];
    if (!now->known)
        return false;
    uint64_t overhead = OVERHEAD_BYTES * now->processes + now->quota_bytes / 8;
    if (now->memory_bytes > now->used_bytes + overhead && now->memory_bytes > now->quota_bytes + overhead) {
        snprintf(text, 200, "its processes hold %s of the device by the kernel's count, of %s that it may; its books say %s",
                 fg_format_bytes(holds, sizeof holds, now->memory_bytes), fg_format_bytes(quota, sizeof quota, now->quota_bytes),
                 fg_format_bytes(booked, sizeof booked, now->used_bytes));
        return true;
    }
    int64_t span = now->at_ns - before->at_ns;
    if (!before->known || span < INT64_C(1000000000) || now->engine_ns < before->engine_ns || now->charged_ns < before->charged_ns)
        return false;
    uint64_t worked = now->engine_ns - before->engine_ns, charged = now->charged_ns - before->charged_ns;
    if (worked <= charged + (uint64_t)span / 5)
        return false;
    snprintf(text, 200, "the device worked %llu ms for it in %llu ms by the kernel's count; its books say %llu ms",
             (unsigned long long)(worked / 1000000), (unsigned long long)span / 1000000, (unsigned long long)(charged / 1000000));
    return true;
}
