/* cpu.c - the host processor as a device. A vGPU is a cgroup: memory by the memory controller, share of all cores by
 * CPU bandwidth. Where there is no writable cgroup the device is still there, and says that nobody enforces the share
 * and that the agent only audits the memory. */
#include "fgpu/device.h"

#include <dirent.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "device/cgroup.h"
#include "device/cpu.h"

#define PIDS_MAX "4096"

struct cpu_state {
    struct fg_cgroups cg;
    uint64_t memory_bytes;
    unsigned units;
};

void fg_vgpu_entry_fini(struct fg_vgpu_entry *e)
{
    for (size_t i = 0; i < e->join_files.count; i++)
        free(e->join_files.items[i]);
    for (size_t i = 0; i < e->env.count; i++)
        free(e->env.items[i]);
    for (size_t i = 0; i < e->binds.count; i++)
        free(e->binds.items[i]);
    fg_vec_fini(&e->join_files);
    fg_vec_fini(&e->env);
    fg_vec_fini(&e->binds);
    fg_vec_fini(&e->groups);
    if (e->held_fd > 0)
        close(e->held_fd);
    free(e->kill_file);
    free(e->oom_file);
    free(e->peak_file);
    free(e->cpu_file);
    free(e->freeze_file);
    *e = (struct fg_vgpu_entry){0};
}

/* quota = period x cores x share. The kernel takes no quota under 1 ms, so the period grows for small shares; a short
 * one keeps the pauses of a throttled program short. 50 ms is ten of the kernel's 5 ms slices. */
void fg_cpu_bandwidth_milli(unsigned cores, uint64_t milli, int64_t *ret_quota_us, int64_t *ret_period_us)
{
    int64_t period = 50000, part = (int64_t)FG_MIN(milli, (uint64_t)cores * 1000);
    *ret_quota_us = -1;
    *ret_period_us = period;
    if (milli >= (uint64_t)cores * 1000)
        return;
    while (period < 1000000 && period * part / 1000 < 2000)
        period *= 2;
    period = FG_MIN(period, 1000000);
    *ret_period_us = period;
    *ret_quota_us = FG_MAX(period * part / 1000, 1000);
}

void fg_cpu_bandwidth(unsigned cores, uint32_t share_permille, int64_t *ret_quota_us, int64_t *ret_period_us)
{
    fg_cpu_bandwidth_milli(cores, (uint64_t)cores * share_permille, ret_quota_us, ret_period_us);
}

static uint64_t memory_total(void)
{
    FG_AUTO_STR struct fg_str text = {0};
    if (fg_read_file("/proc/meminfo", 65536, &text, NULL) == 0) {
        const char *line = strstr(fg_str_cstr(&text), "MemTotal:");
        if (line)
            return strtoull(line + 9, NULL, 10) * 1024;
    }
    return (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
}

static unsigned usable_cores(void)
{
    cpu_set_t *set = CPU_ALLOC(8192);
    int n = set && sched_getaffinity(0, CPU_ALLOC_SIZE(8192), set) == 0 ? CPU_COUNT_S(CPU_ALLOC_SIZE(8192), set) : 0;
    CPU_FREE(set);
    return n > 0 ? (unsigned)n : 1;
}

/* A share is a promise against the machine's other programs too, each of which weighs 1024 (v2: 100) by default: all
 * vGPUs together weigh eight times their cores. Quotas keep each at its share, so this takes from nobody more than was sold. */
static void weigh_group(const struct cpu_state *s)
{
    const struct fg_cgroup_tree *t = s->cg.of[FG_CG_CPU];
    if (!t)
        return;
    char text[24];
    bool v2 = t->version == 2;
    snprintf(text, sizeof text, "%u", v2 ? FG_MIN(10000u, 800u * s->units) : FG_MIN(262144u, 8192u * s->units));
    FG_AUTO_FREE char *path = fg_path_join(t->group, v2 ? "cpu.weight" : "cpu.shares");
    fg_write_existing(path, text, NULL);     /* a fake tree has none */
}

int fg_cpu_open_at(const struct fg_backend_options *options, const struct fg_cgroup_source *source, void **ret, struct fg_error *err)
{
    struct cpu_state *s = fg_alloc(sizeof *s);
    uint64_t total = memory_total();
    if (total <= options->memory_reserve_bytes) {
        free(s);
        return fg_fail(err, FG_E_INVALID, "memory_reserve_bytes leaves nothing of this machine's %llu bytes", (unsigned long long)total);
    }
    s->memory_bytes = total - options->memory_reserve_bytes;
    s->units = usable_cores();
    fg_cgroups_open(source, options->scope, &s->cg);
    weigh_group(s);
    *ret = s;
    return 0;
}

static int cpu_open(const struct fg_backend_options *options, void **ret, struct fg_error *err)
{
    const char *root = options->cgroup_root && *options->cgroup_root ? options->cgroup_root : NULL;
    return fg_cpu_open_at(options, &(struct fg_cgroup_source){.under = root}, ret, err);
}

static int cpu_list(void *state, struct fg_device *devices, size_t max, size_t *ret_count, struct fg_error *err)
{
    const struct cpu_state *s = state;
    if (!max)
        return fg_fail(err, FG_E_INVALID, "no room for the device cpu0");
    struct fg_device d = {.memory_bytes = s->memory_bytes, .units = s->units, .healthy = true};
    snprintf(d.name, sizeof d.name, "cpu0");
    snprintf(d.kind, sizeof d.kind, "cpu");
    snprintf(d.backend, sizeof d.backend, "cpu");
    d.memory_level = s->cg.of[FG_CG_MEMORY] ? FG_LEVEL_KERNEL : FG_LEVEL_AUDITED;
    d.share_level = s->cg.of[FG_CG_CPU] ? FG_LEVEL_KERNEL : FG_LEVEL_NONE;
    snprintf(d.level_why, sizeof d.level_why, "%s", s->cg.why);
    devices[0] = d;
    *ret_count = 1;
    return 0;
}

static int check_name(const char *device, const char *name, struct fg_error *err)
{
    if (strcmp(device, "cpu0") != 0)
        return fg_fail(err, FG_E_NOT_FOUND, "no device '%s' in the cpu backend", device);
    if (name && (!*name || *name == '.' || strchr(name, '/') || strlen(name) > 200))
        return fg_fail(err, FG_E_INVALID, "'%s' cannot name a vGPU", name);
    return 0;
}

static int put(const struct fg_cgroup_tree *tree, const char *name, const char *file, const char *text, struct fg_error *err)
{
    FG_AUTO_FREE char *path = fg_cgroup_path(tree, name, file);
    return fg_write_existing(path, text, err);
}

static bool has(const struct fg_cgroup_tree *tree, const char *name, const char *file)
{
    FG_AUTO_FREE char *path = fg_cgroup_path(tree, name, file);
    return access(path, F_OK) == 0;
}

static int set_memory(const struct fg_cgroup_tree *t, const char *name, uint64_t bytes, struct fg_error *err)
{
    char text[32];
    snprintf(text, sizeof text, "%llu", (unsigned long long)bytes);
    if (t->version == 2) {
        if (has(t, name, "memory.swap.max") && put(t, name, "memory.swap.max", "0", err) != 0)
            return -1;
        return put(t, name, "memory.max", text, err);
    }
    /* memory + swap may never be the smaller one: it moves first when the limit grows, last when it shrinks. */
    bool swap = has(t, name, "memory.memsw.limit_in_bytes");
    uint64_t now = UINT64_MAX;
    fg_cgroup_read(t, name, "memory.limit_in_bytes", NULL, &now);
    if (swap && bytes > now && put(t, name, "memory.memsw.limit_in_bytes", text, err) != 0)
        return -1;
    if (put(t, name, "memory.limit_in_bytes", text, err) != 0)
        return -1;
    return swap && bytes <= now ? put(t, name, "memory.memsw.limit_in_bytes", text, err) : 0;
}

static int set_quota(const struct cpu_state *s, const char *name, uint64_t milli, struct fg_error *err)
{
    const struct fg_cgroup_tree *t = s->cg.of[FG_CG_CPU];
    int64_t quota, period;
    char text[64];
    fg_cpu_bandwidth_milli(s->units, milli, &quota, &period);
    if (t->version == 2) {
        snprintf(text, sizeof text, quota < 0 ? "max %lld" : "%2$lld %1$lld", (long long)period, (long long)quota);
        return put(t, name, "cpu.max", text, err);
    }
    snprintf(text, sizeof text, "%lld", (long long)period);
    if (put(t, name, "cpu.cfs_quota_us", "-1", err) != 0 || put(t, name, "cpu.cfs_period_us", text, err) != 0)
        return -1;
    snprintf(text, sizeof text, "%lld", (long long)quota);
    return put(t, name, "cpu.cfs_quota_us", text, err);
}

static int set_weight(const struct cpu_state *s, const char *name, uint64_t milli, struct fg_error *err)
{
    const struct fg_cgroup_tree *t = s->cg.of[FG_CG_CPU];
    int64_t weight = (int64_t)milli;
    char text[64];
    if (t->version == 2) {
        snprintf(text, sizeof text, "%lld", (long long)FG_MAX(1, FG_MIN(10000, weight / 10)));
        return has(t, name, "cpu.weight") ? put(t, name, "cpu.weight", text, err) : 0;
    }
    snprintf(text, sizeof text, "%lld", (long long)FG_MAX(2, weight * 1024 / 1000));
    return put(t, name, "cpu.shares", text, err);
}

static int set_limits(const struct cpu_state *s, const char *name, uint64_t memory_bytes, uint64_t quota_milli, uint64_t weight_milli,
                      struct fg_error *err)
{
    if (s->cg.of[FG_CG_MEMORY] && set_memory(s->cg.of[FG_CG_MEMORY], name, memory_bytes, err) != 0)
        return -1;
    if (!s->cg.of[FG_CG_CPU])
        return 0;
    return set_quota(s, name, quota_milli, err) != 0 ? -1 : set_weight(s, name, weight_milli, err);
}

static int make_group(const struct cpu_state *s, const char *name, struct fg_error *err)
{
    if (fg_cgroups_make(&s->cg, name, err) != 0)
        return -1;
    return s->cg.of[FG_CG_PIDS] ? put(s->cg.of[FG_CG_PIDS], name, "pids.max", PIDS_MAX, err) : 0;
}

int fg_cpu_host_part(void *state, const char *name, uint64_t memory_bytes, const struct fg_vgpu_limits *limits, struct fg_error *err)
{
    const struct cpu_state *s = state;
    uint64_t quota = limits->cpus_milli ? limits->cpus_milli : (uint64_t)s->units * 1000;
    uint64_t weight = limits->cpus_milli ? limits->cpus_milli : (uint64_t)s->units * limits->share_permille;
    return make_group(s, name, err) != 0 ? -1 : set_limits(s, name, memory_bytes, quota, weight, err);
}

char *fg_cpu_v2_group(void *state, const char *name)
{
    const struct fg_cgroup_tree *t = ((const struct cpu_state *)state)->cg.v2;
    if (!t)
        return NULL;
    const char *root = strcmp(t->root, "/") == 0 ? "" : t->root, *below = t->group + strlen(t->mount);
    return fg_asprintf("%s%s%s%s", root, below, *name ? "/" : "", name);
}

char *fg_cpu_v2_folder(void *state, const char *name, char **ret_mount)
{
    const struct fg_cgroup_tree *t = ((const struct cpu_state *)state)->cg.v2;
    if (!t)
        return NULL;
    *ret_mount = fg_strdup(t->mount);
    return *name ? fg_cgroup_path(t, name, NULL) : fg_strdup(t->group);
}

static int cpu_resize(void *state, const char *device, const char *name, const struct fg_vgpu_limits *limits, struct fg_error *err)
{
    struct cpu_state *s = state;
    if (check_name(device, name, err) != 0)
        return -1;
    if (limits->share_permille < 1 || limits->share_permille > 1000 || !limits->memory_bytes)
        return fg_fail(err, FG_E_INVALID, "a vGPU needs memory and a share of 1 to 1000 permille");
    uint64_t milli = (uint64_t)s->units * limits->share_permille;
    return set_limits(s, name, limits->memory_bytes, milli, milli, err);
}

static int cpu_create(void *state, const char *device, const char *name, const struct fg_vgpu_limits *limits, struct fg_error *err)
{
    struct cpu_state *s = state;
    if (check_name(device, name, err) != 0 || make_group(s, name, err) != 0)
        return -1;
    return cpu_resize(state, device, name, limits, err);
}

static char *file_of(const struct fg_cgroup_tree *tree, const char *name, const char *v1, const char *v2)
{
    const char *file = !tree ? NULL : tree->version == 2 ? v2 : v1;
    return file && has(tree, name, file) ? fg_cgroup_path(tree, name, file) : NULL;
}

static int cpu_entry(void *state, const char *device, const char *name, struct fg_vgpu_entry *ret, struct fg_error *err)
{
    const struct fg_cgroups *cg = &((struct cpu_state *)state)->cg;
    if (check_name(device, name, err) != 0)
        return -1;
    struct fg_vgpu_entry e = {0};
    for (size_t i = 0; i < cg->count; i++)
        fg_vec_push(&e.join_files, fg_cgroup_path(&cg->trees[i], name, "cgroup.procs"));
    e.kill_file = file_of(cg->v2, name, NULL, "cgroup.kill");
    e.oom_file = file_of(cg->of[FG_CG_MEMORY], name, "memory.oom_control", "memory.events");
    e.peak_file = file_of(cg->of[FG_CG_MEMORY], name, "memory.max_usage_in_bytes", "memory.peak");
    e.cpu_file = file_of(cg->of[FG_CG_CPUACCT], name, "cpuacct.usage", "cpu.stat");
    e.freeze_file = file_of(cg->of[FG_CG_FREEZER], name, "freezer.state", "cgroup.freeze");
    *ret = e;
    return 0;
}

static int cpu_sample(void *state, const char *device, const char *name, struct fg_usage *ret, struct fg_error *err)
{
    const struct fg_cgroups *cg = &((struct cpu_state *)state)->cg;
    if (check_name(device, name, err) != 0)
        return -1;
    const struct fg_cgroup_tree *mem = cg->of[FG_CG_MEMORY], *cpu = cg->of[FG_CG_CPU], *acct = cg->of[FG_CG_CPUACCT];
    struct fg_usage u = {0};
    uint64_t v = 0;
    if (acct && acct->version == 1 && fg_cgroup_read(acct, name, "cpuacct.usage", NULL, &v))
        u.device_ns = (int64_t)v;
    else if (acct && acct->version == 2 && fg_cgroup_read(acct, name, "cpu.stat", "usage_usec", &v))
        u.device_ns = (int64_t)v * 1000;
    if (cpu && fg_cgroup_read(cpu, name, "cpu.stat", cpu->version == 2 ? "throttled_usec" : "throttled_time", &v))
        u.throttled_ns = cpu->version == 2 ? (int64_t)v * 1000 : (int64_t)v;
    if (mem && (fg_cgroup_read(mem, name, mem->version == 2 ? "memory.peak" : "memory.max_usage_in_bytes", NULL, &v) ||
                fg_cgroup_read(mem, name, "memory.current", NULL, &v)))
        u.memory_peak_bytes = v;
    if (mem && fg_cgroup_read(mem, name, mem->version == 2 ? "memory.events" : "memory.oom_control", "oom_kill", &v))
        u.denied = v;
    *ret = u;
    return 0;
}

static int cpu_kill(void *state, const char *device, const char *name, struct fg_error *err)
{
    return check_name(device, name, err) != 0 ? -1 : fg_cgroups_kill(&((struct cpu_state *)state)->cg, name, err);
}

static int cpu_destroy(void *state, const char *device, const char *name, struct fg_error *err)
{
    return check_name(device, name, err) != 0 ? -1 : fg_cgroups_remove(&((struct cpu_state *)state)->cg, name, err);
}

static int cpu_names(void *state, const char *device, void (*fn)(void *arg, const char *name), void *arg, struct fg_error *err)
{
    const struct fg_cgroups *cg = &((struct cpu_state *)state)->cg;
    if (check_name(device, NULL, err) != 0)
        return -1;
    /* A name that lives in several hierarchies may be told more than once. */
    for (size_t i = 0; i < cg->count; i++) {
        DIR *dir = opendir(cg->trees[i].group);
        for (struct dirent *d; dir && (d = readdir(dir));)
            if (d->d_type == DT_DIR && d->d_name[0] != '.')
                fn(arg, d->d_name);
        if (dir)
            closedir(dir);
    }
    return 0;
}

static void cpu_close(void *state)
{
    if (!state)
        return;
    fg_cgroups_close(&((struct cpu_state *)state)->cg);
    free(state);
}

const struct fg_device_backend fg_cpu_backend = {
    .abi = FG_DEVICE_ABI,
    .name = "cpu",
    .open = cpu_open,
    .list = cpu_list,
    .create = cpu_create,
    .entry = cpu_entry,
    .resize = cpu_resize,
    .sample = cpu_sample,
    .kill = cpu_kill,
    .destroy = cpu_destroy,
    .names = cpu_names,
    .close = cpu_close,
};
