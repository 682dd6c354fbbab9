/* audit.c - where the kernel does not limit memory: twice a second the memory of each attempt's processes is summed, and
 * who is over its limit is stopped. The sum is of proportional sizes, so that shared pages count once. */
#include <stdio.h>
#include <string.h>

#include "agent/internal.h"
#include "base/io.h"

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

/* The tree below pid, itself first: the pid namespace keeps every descendant in it. */
static size_t list_tree(pid_t root, pid_t *pids)
{
    size_t n = 0;
    pids[n++] = root;
    for (size_t i = 0; i < n; i++) {
        char path[64];
        FG_AUTO_STR struct fg_str text = {0};
        snprintf(path, sizeof path, "/proc/%d/task/%d/children", pids[i], pids[i]);
        if (fg_read_file(path, 1 << 20, &text, NULL) != 0)
            continue;
        char *save = NULL;
        for (char *w = text.len ? strtok_r(text.data, " \n", &save) : NULL; w && n < MAX_PIDS; w = strtok_r(NULL, " \n", &save))
            pids[n++] = (pid_t)strtol(w, NULL, 10);
    }
    return n;
}

static void audit(struct attempt *t)
{
    static pid_t pids[MAX_PIDS];
    uint64_t memory = 0;
    int64_t cpu = 0;
    size_t n = list_tree(t->sandbox, pids);
    for (size_t i = 0; i < n; i++) {
        memory += memory_of(pids[i]);
        cpu += cpu_of(pids[i]);
    }
    t->usage.memory_peak_bytes = FG_MAX(t->usage.memory_peak_bytes, memory);
    t->usage.device_ns = FG_MAX(t->usage.device_ns, cpu);
    if (memory <= t->limits.memory_bytes)
        return;
    t->usage.denied++;
    launch_stop(t, fg_reason_name(FG_REASON_OOM_HOST));
}

void audit_tick(struct agent *a)
{
    for (size_t i = 0; i < a->attempts.count; i++) {
        struct attempt *t = a->attempts.items[i];
        for (size_t d = 0; t->phase == PHASE_RUN && t->sandbox > 0 && d < a->device_list.count; d++)
            if (strcmp(a->device_list.items[d].name, t->device) == 0 && a->device_list.items[d].memory_level == FG_LEVEL_AUDITED)
                audit(t);
    }
}
