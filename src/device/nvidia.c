/* nvidia.c - NVIDIA devices. Inventory, health and truth come from NVML (nvml.h), limits from the best rung of the ladder
 * (ladder.h); what no driver limits is kept by the front ends in the task's process (src/shim/cuda, src/shim/nvml), which
 * the sandbox puts in the driver's place:
 *
 *     /run/fgpu/cuda/libcuda.so.1, libnvidia-ml.so.1     ours, first in LD_LIBRARY_PATH
 *     /run/fgpu/cuda/driver/...                           the driver's, their dependency by $ORIGIN
 *
 * A device is named by its UUID; so is the lease. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "device/cpu.h"
#include "device/ladder.h"
#include "device/leased.h"
#include "device/checkpoint.h"
#include "device/nvml.h"
#include "device/reclaimer.h"
#include "fgpu/device.h"

#define THERE     FG_VGPU_FOLDER "/cuda"
#define PROCESSES 1024

static const struct { const char *name, *built; } libraries[] = {{"libcuda.so.1", "cuda"}, {"libnvidia-ml.so.1", "nvml"}};

struct gpu {
    struct fg_nvml_gpu seen;
    struct fg_ladder ladder;
    struct fg_health health;
    bool listed;                         /* at the last look */
};
struct state {
    struct fg_leased l;
    struct fg_nvml *nvml;
    char *driver[FG_COUNT(libraries)];   /* where the driver's are, NULL: not found */
    char why_no_limits[160];
    struct fg_reclaim_params reclaim;
    struct fg_reclaimer *reclaimer;      /* NULL: nobody is parked */
    bool moves, moves_running;           /* who is parked may come back on another device of the kind; who runs may be moved there */
    FG_VEC(struct gpu) gpus;
};
_Static_assert(offsetof(struct state, l) == 0, "what fg_leased_sample and others take");

static void nvidia_close(void *state)
{
    struct state *s = state;
    if (!s)
        return;
    fg_reclaimer_stop(s->reclaimer);
    for (size_t i = 0; i < FG_COUNT(libraries); i++)
        free(s->driver[i]);
    fg_vec_fini(&s->gpus);
    fg_leased_close(&s->l);
    fg_nvml_close(s->nvml);
    free(s);
}

/* Whether the driver would keep a cgroup's limits for us: it goes by cgroup v2, and only root may ask. */
static bool driver_limits(const struct state *s, char why[160])
{
    if (!fg_nvml_can_limit(s->nvml))
        return snprintf(why, 160, "driver %s keeps no memory limits (615 and later do)", fg_nvml_driver(s->nvml)), false;
    if (geteuid() != 0)
        return snprintf(why, 160, "only root may set the driver's memory limits"), false;
    FG_AUTO_FREE char *group = fg_cpu_v2_group(s->l.host, "");
    if (!group)
        return snprintf(why, 160, "the driver's memory limits want cgroup v2"), false;
    return *why = '\0', true;
}

/* --- idle memory (reclaim.h) --- */

static bool free_bytes(void *state, const char *device, uint64_t *ret)
{
    struct fg_error ignored;
    return fg_nvml_free(((struct state *)state)->nvml, device, ret, &ignored) == 0;
}

/* Where the program is, in an installation and in the build tree. */
static char *checkpoint_program(const struct state *s)
{
    static const char *const places[] = {".", "../device"};
    for (size_t i = 0; i < FG_COUNT(places) && s->l.shims; i++) {
        char *path = fg_asprintf("%s/%s/" FG_CHECKPOINT_PROGRAM, s->l.shims, places[i]);
        if (access(path, X_OK) == 0)
            return path;
        free(path);
    }
    return NULL;
}

static void start_reclaimer(struct state *s)
{
    struct fg_error err = {0};
    FG_AUTO_FREE char *program = checkpoint_program(s);
    struct fg_reclaimer_config config = {.params = s->reclaim, .leases = s->l.leases, .program = program, .driver = s->driver[0],
                                         .free_bytes = free_bytes, .arg = s};
    if (s->reclaimer || !s->l.leases)
        return;
    if (!program || !s->driver[0])
        fg_log_warn("idle device memory is not reclaimed: %s", program ? "the driver's libcuda.so.1 was not found" : FG_CHECKPOINT_PROGRAM " is not installed");
    else if (fg_reclaimer_start(&s->reclaimer, &config, &err) != 0)
        fg_log_warn("%s", err.text);
}

static int nvidia_open(const struct fg_backend_options *o, void **ret, struct fg_error *err)
{
    struct fg_nvml *nvml;
    if (fg_nvml_open(&nvml, NULL, err) != 0)
        return -1;
    struct state *s = fg_alloc(sizeof *s);
    *s = (struct state){.nvml = nvml};
    FG_AUTO_FREE char *scope = fg_asprintf("%s-nvidia", o->scope);
    if (fg_leased_open(&s->l, o, "", "nvidia", err) != 0 || fg_leased_begin(&s->l, o, scope, true, err) != 0) {
        nvidia_close(s);
        return -1;
    }
    for (size_t i = 0; i < FG_COUNT(libraries); i++)
        s->driver[i] = fg_nvml_library(nvml, libraries[i].name);
    driver_limits(s, s->why_no_limits);
    s->reclaim = (struct fg_reclaim_params){.idle_ns = o->reclaim_idle_s * INT64_C(1000000000),
                                            .when = o->reclaim_always ? FG_RECLAIM_ALWAYS : FG_RECLAIM_WANTED};
    s->moves_running = o->reclaim_move_running;
    s->moves = (s->reclaim.idle_ns && o->reclaim_move) || s->moves_running;
    if (s->reclaim.idle_ns || s->moves)
        start_reclaimer(s);
    *ret = s;
    return 0;
}

/* --- what is there, and how it is --- */

static struct gpu *gpu_as(struct state *s, const char *uuid)
{
    for (size_t i = 0; i < s->gpus.count; i++)
        if (strcmp(s->gpus.items[i].seen.uuid, uuid) == 0)
            return &s->gpus.items[i];
    return NULL;
}

static int look_at_gpus(struct state *s, struct fg_error *err)
{
    static struct fg_nvml_gpu seen[FG_NVML_GPUS];
    struct fg_nvml_fault fault;
    size_t count = 0;
    if (fg_nvml_gpus(s->nvml, seen, FG_NVML_GPUS, &count, err) != 0)
        return -1;
    for (size_t i = 0; i < s->gpus.count; i++)
        s->gpus.items[i].listed = false;
    for (size_t i = 0; i < count; i++) {
        struct gpu *g = gpu_as(s, seen[i].uuid);
        if (!g) {
            g = fg_vec_add(&s->gpus);
            *g = (struct gpu){.listed = false};
        }
        g->seen = seen[i];
        g->listed = true;
    }
    while (fg_nvml_fault(s->nvml, &fault)) {
        struct gpu *g = gpu_as(s, fault.uuid);
        fg_log_warn("device %s: Xid %llu%s", fault.uuid, (unsigned long long)fault.xid,
                    fg_health_xid_is_devices(fault.xid) ? ": no more tasks go there" : " by a program");
        if (g)
            fg_health_xid(&g->health, fault.xid);
    }
    return 0;
}

static const char *missing_part(const struct state *s)
{
    static char text[160];
    for (size_t i = 0; i < FG_COUNT(libraries); i++) {
        FG_AUTO_FREE char *ours = fg_leased_front_end(&s->l, "cuda", libraries[i].built, libraries[i].name);
        if (!ours)
            return snprintf(text, sizeof text, "our %s is not installed with fgpu", libraries[i].name), text;
        if (!s->driver[i])
            return snprintf(text, sizeof text, "the driver's %s was not found beside its management library", libraries[i].name), text;
    }
    return NULL;
}

static void fill(struct state *s, struct gpu *g, struct fg_device *d)
{
    struct fg_nvml_process one[1];
    struct fg_error ignored;
    char why[200] = "";
    size_t n;
    const char *missing = missing_part(s);
    bool limits = driver_limits(s, s->why_no_limits) && !g->seen.mig; /* the driver limits whole devices */
    struct fg_ladder_probe probe = {.driver_limits = limits, .why_no_limits = s->why_no_limits, .can_look = s->l.can_look, .instance = g->seen.mig,
                                    .tells_processes = fg_nvml_processes(s->nvml, g->seen.uuid, one, 1, &n, &ignored) == 0};
    *d = (struct fg_device){.memory_bytes = g->seen.total_bytes - FG_MIN(g->seen.reserved_bytes, g->seen.total_bytes), .units = g->seen.units};
    snprintf(d->name, sizeof d->name, "%.63s", g->seen.uuid);
    snprintf(d->kind, sizeof d->kind, "%s", g->seen.name);
    snprintf(d->backend, sizeof d->backend, "nvidia");
    fg_ladder_step(&g->ladder, &probe, d->level_why);
    d->memory_level = g->ladder.memory;
    d->share_level = g->ladder.share;
    d->healthy = fg_health_step(&g->health, g->seen.lost || !g->listed, g->seen.ecc_uncorrected, g->seen.throttle, why) && !missing;
    d->moves = s->moves_running && !g->seen.mig && s->reclaimer && fg_reclaimer_moves(s->reclaimer);
    fg_reclaimer_drain(s->reclaimer, d->name, !d->healthy);
    if (!d->healthy)
        snprintf(d->level_why, sizeof d->level_why, "%s", missing ? missing : why);
}

static int nvidia_list(void *state, struct fg_device *devices, size_t max, size_t *ret_count, struct fg_error *err)
{
    struct state *s = state;
    if (look_at_gpus(s, err) != 0)
        return -1;
    *ret_count = 0;
    for (size_t i = 0; i < s->gpus.count && *ret_count < max; i++) {
        struct gpu *g = &s->gpus.items[i];
        if (g->seen.cut)
            continue;                    /* its instances are the devices */
        struct fg_device *d = &devices[(*ret_count)++];
        fill(s, g, d);
        if (s->l.leases && fg_leases_device(s->l.leases, d->name, d->name, d->memory_bytes, err) != 0)
            return -1;
    }
    return 0;
}

/* --- a vGPU --- */

static int driver_limit(struct state *s, const struct gpu *g, const char *name, uint64_t bytes, struct fg_error *err)
{
    if (g->ladder.memory != FG_LEVEL_KERNEL)
        return 0;
    FG_AUTO_FREE char *group = fg_cpu_v2_group(s->l.host, name);
    return group ? fg_nvml_limit(s->nvml, g->seen.uuid, group, bytes, err) : fg_fail(err, FG_E_INTERNAL, "vGPU '%s' has no cgroup", name);
}

static struct gpu *find(struct state *s, const char *device, struct fg_error *err)
{
    struct gpu *g = gpu_as(s, device);
    if (!g)
        fg_fail(err, FG_E_NOT_FOUND, "no device '%s' in the nvidia backend", device);
    return g;
}

/* What is parked lies in the host's memory, and counts as the task's there. */
static uint64_t host_bytes(const struct state *s, const struct gpu *g, const struct fg_vgpu_limits *limits)
{
    return fg_leased_host_bytes(&s->l, g->seen.total_bytes, limits) + (s->reclaim.idle_ns || s->moves ? limits->memory_bytes : 0);
}

static int nvidia_create(void *state, const char *device, const char *name, const struct fg_vgpu_limits *limits, struct fg_error *err)
{
    struct state *s = state;
    struct gpu *g = find(s, device, err);
    if (!g || fg_leased_create(&s->l, device, name, limits, host_bytes(s, g, limits), err) != 0)
        return -1;
    return driver_limit(s, g, name, limits->memory_bytes, err);
}

static int nvidia_resize(void *state, const char *device, const char *name, const struct fg_vgpu_limits *limits, struct fg_error *err)
{
    struct state *s = state;
    struct gpu *g = find(s, device, err);
    if (!g || fg_leased_resize(&s->l, device, name, limits, host_bytes(s, g, limits), err) != 0)
        return -1;
    return driver_limit(s, g, name, limits->memory_bytes, err);
}

/* A device that what is parked on g may come back on: of its kind and size, whole, and another. */
static bool is_alike(const struct gpu *g, const struct gpu *other)
{
    return g != other && !g->seen.mig && !other->seen.mig && !other->seen.cut && strcmp(g->seen.name, other->seen.name) == 0 &&
           g->seen.total_bytes == other->seen.total_bytes;
}

/* The driver opens the other device in the task's process, so its file must be there from the start. */
static void add_alike(const struct state *s, const struct gpu *g, struct fg_vgpu_entry *e)
{
    for (size_t i = 0; s->moves && i < s->gpus.count; i++) {
        char path[32];
        const char *const node = path;
        snprintf(path, sizeof path, "/dev/nvidia%u", s->gpus.items[i].seen.minor);
        if (is_alike(g, &s->gpus.items[i]))
            fg_leased_add_nodes(e, &node, 1);
    }
}

static int nvidia_entry(void *state, const char *device, const char *name, struct fg_vgpu_entry *ret, struct fg_error *err)
{
    struct state *s = state;
    const struct gpu *g = find(s, device, err);
    if (!g || fg_leased_entry(&s->l, device, name, ret, err) != 0)
        return -1;
    char own[32];
    snprintf(own, sizeof own, "/dev/nvidia%u", g->seen.minor);
    const char *nodes[] = {own, "/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidia-caps/nvidia-cap*"};
    static const char *const facts[] = {"/sys/bus/pci/devices", "/sys/devices/pci*", "/sys/module/nvidia"};
    fg_leased_add_nodes(ret, nodes, g->seen.mig ? FG_COUNT(nodes) : FG_COUNT(nodes) - 1);
    add_alike(s, g, ret);
    fg_leased_add_facts(ret, facts, FG_COUNT(facts));
    for (size_t i = 0; i < FG_COUNT(libraries); i++) {
        FG_AUTO_FREE char *ours = fg_leased_front_end(&s->l, "cuda", libraries[i].built, libraries[i].name);
        if (!ours || !s->driver[i] || !fg_leased_add_front_end(ret, ours, "cuda", libraries[i].name, s->driver[i]))
            continue;
        /* some open it by the name that it is linked by */
        fg_vec_push(&ret->binds, fg_asprintf("ro:%s:" THERE "/%.*s", ours, (int)(strlen(libraries[i].name) - 2), libraries[i].name));
    }
    fg_vec_push(&ret->env, fg_strdup("LD_LIBRARY_PATH=" THERE));
    fg_vec_push(&ret->env, fg_asprintf("CUDA_VISIBLE_DEVICES=%s", device));
    fg_vec_push(&ret->env, fg_strdup("CUDA_CACHE_PATH=/tmp/cuda"));
    return 0;
}

static int nvidia_adopt(void *state, const char *device, const char *name, int held_fd, struct fg_error *err)
{
    struct state *s = state;
    struct fg_lease_use use;
    if (fg_leased_adopt(&s->l, device, name, held_fd, err) != 0)
        return -1;
    if (fg_leases_use(s->l.leases, name, &use) && use.parked)
        start_reclaimer(s);              /* also when the option is off now */
    return 0;
}

static bool nvidia_parking(void *state, const char *device, const char *name, struct fg_vgpu_parking *ret)
{
    struct state *s = state;
    if (s->reclaimer)
        return fg_reclaimer_parking(s->reclaimer, name, ret);
    *ret = (struct fg_vgpu_parking){.state = FG_PARKING_NONE};
    snprintf(ret->device, sizeof ret->device, "%s", device);
    return true;
}

/* The driver's limit for its cgroup is there before its memory is. */
static int nvidia_move(void *state, const char *device, const char *name, const char *to, struct fg_error *err)
{
    struct state *s = state;
    struct fg_lease_use use;
    const struct gpu *from = find(s, device, err), *other = to ? find(s, to, err) : NULL;
    if (!from || (to && !other))
        return -1;
    if (to && (!s->moves || !s->reclaimer || !is_alike(from, other)))
        return fg_fail(err, FG_E_UNSUPPORTED, "vGPU '%s' cannot be moved to '%s': %s", name, to,
                       s->moves ? "another kind of device" : "reclaim.move is off");
    if (!s->reclaimer)
        return 0;
    if (to && fg_leases_use(s->l.leases, name, &use) && driver_limit(s, other, name, use.memory_bytes, err) != 0)
        return -1;
    return fg_reclaimer_move(s->reclaimer, name, to, err);
}

/* --- audit --- */

static const struct fg_nvml_process *held_by(const struct fg_nvml_process *list, size_t n, int32_t pid)
{
    for (size_t i = 0; i < n; i++)
        if ((int32_t)list[i].pid == pid)
            return &list[i];
    return NULL;
}

static void name_process(int32_t pid, char *ret, size_t size)
{
    FG_AUTO_STR struct fg_str comm = {0};
    FG_AUTO_FREE char *path = fg_asprintf("/proc/%d/comm", (int)pid);
    bool known = fg_read_file(path, 64, &comm, NULL) == 0;
    snprintf(ret, size, "%.*s", known ? (int)strcspn(fg_str_cstr(&comm), "\n") : 1, known ? fg_str_cstr(&comm) : "?");
}

/* Where tasks see the files of other devices, one of its processes may be there by itself; NULL: none is. While it is brought
 * back it is where the driver has it. */
static const struct gpu *strays(struct state *s, const char *device, const char *name, const int32_t *pids, size_t count, int32_t *ret_pid)
{
    static struct fg_nvml_process list[PROCESSES];
    const struct gpu *own = gpu_as(s, device);
    struct fg_error ignored;
    size_t n;
    if (!s->moves || !own || (s->reclaimer && fg_reclaimer_state(s->reclaimer, name) != FG_RECLAIM_RUNNING))
        return NULL;
    for (size_t i = 0; i < s->gpus.count; i++) {
        const struct gpu *g = &s->gpus.items[i];
        if (!is_alike(own, g) || fg_nvml_processes(s->nvml, g->seen.uuid, list, PROCESSES, &n, &ignored) != 0)
            continue;
        for (size_t k = 0; k < count; k++)
            if (held_by(list, n, pids[k]))
                return *ret_pid = pids[k], g;
    }
    return NULL;
}

/* What the driver says that this vGPU's processes hold; a holder who is not in the books goes around the front end, for its
 * first call there is before its first byte. */
static int nvidia_audit(void *state, const char *device, const char *name, const int32_t *pids, size_t count, struct fg_vgpu_offence *ret)
{
    static struct fg_nvml_process list[PROCESSES];
    struct state *s = state;
    struct fg_truth truth = {.known = false};
    struct fg_error ignored;
    size_t n = 0;
    *ret = (struct fg_vgpu_offence){.pid = 0};
    if (fg_reclaimer_lost(s->reclaimer, name, ret->text))
        return ret->fault = true, 1;
    const struct gpu *other = strays(s, device, name, pids, count, &ret->pid);
    if (other) {
        snprintf(ret->text, sizeof ret->text, "process %d uses device %.60s, which is not its own, the driver says", (int)ret->pid, other->seen.uuid);
        return 1;
    }
    if (fg_nvml_processes(s->nvml, device, list, PROCESSES, &n, &ignored) == 0) {
        for (size_t i = 0; i < count; i++) {
            const struct fg_nvml_process *p = held_by(list, n, pids[i]);
            if (!p)
                continue;
            if (!fg_leased_is_member(&s->l, name, pids[i])) {
                char comm[32];
                name_process(pids[i], comm, sizeof comm);
                *ret = (struct fg_vgpu_offence){.pid = pids[i]};
                snprintf(ret->text, sizeof ret->text, "process %d (%s) uses the device past the front end that keeps the limits, the driver says",
                         (int)pids[i], comm);
                return 1;
            }
            truth.known |= p->used_bytes != UINT64_MAX;
            truth.memory_bytes += p->used_bytes != UINT64_MAX ? p->used_bytes : 0;
            truth.processes++;
        }
    }
    return fg_leased_audit(&s->l, name, &(struct fg_look_for){.nodes = true}, &truth, pids, count, ret);
}

const struct fg_device_backend fg_nvidia_backend = {
    .abi = FG_DEVICE_ABI,
    .name = "nvidia",
    .open = nvidia_open,
    .list = nvidia_list,
    .create = nvidia_create,
    .entry = nvidia_entry,
    .resize = nvidia_resize,
    .sample = fg_leased_sample,
    .kill = fg_leased_kill,
    .destroy = fg_leased_destroy,
    .names = fg_leased_names,
    .adopt = nvidia_adopt,
    .audit = nvidia_audit,
    .parking = nvidia_parking,
    .move = nvidia_move,
    .last_use = fg_leased_last_use,
    .close = nvidia_close,
};
