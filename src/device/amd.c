/* amd.c - AMD devices. Inventory by ROCm SMI (rsmi.h); memory by the kernel where it has the controller dmem (dmem.h), else by
 * the front end in the task's process (src/shim/hip); the share by the front end and the arbiter. Audits go by what the
 * kernel's DRM driver counts for each process (look.h). */
#include <glob.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "device/cpu.h"
#include "device/dmem.h"
#include "device/ladder.h"
#include "device/leased.h"
#include "device/rsmi.h"
#include "fgpu/device.h"

#define THERE    FG_VGPU_FOLDER "/hip"
#define GPUS_MAX 32

static const char *const sonames[] = {"libamdhip64.so.5", "libamdhip64.so.6", "libamdhip64.so.7"};

struct gpu {
    struct fg_rsmi_gpu seen;
    struct fg_ladder ladder;
    struct fg_health health;
    bool listed;
    char region[96];                     /* of the kernel's account; "": it keeps none */
};
struct state {
    struct fg_leased l;
    struct fg_rsmi *rsmi;
    FG_VEC(struct gpu) gpus;
};
_Static_assert(offsetof(struct state, l) == 0, "what fg_leased_sample and others take");

static void amd_close(void *state)
{
    struct state *s = state;
    if (!s)
        return;
    fg_vec_fini(&s->gpus);
    fg_leased_close(&s->l);
    fg_rsmi_close(s->rsmi);
    free(s);
}

static int amd_open(const struct fg_backend_options *o, void **ret, struct fg_error *err)
{
    struct fg_rsmi *rsmi;
    if (fg_rsmi_open(&rsmi, NULL, err) != 0)
        return -1;
    struct state *s = fg_alloc(sizeof *s);
    *s = (struct state){.rsmi = rsmi};
    FG_AUTO_FREE char *scope = fg_asprintf("%s-amd", o->scope);
    if (fg_leased_open(&s->l, o, "GPU", "amd", err) != 0 || fg_leased_begin(&s->l, o, scope, true, err) != 0) {
        amd_close(s);
        return -1;
    }
    *ret = s;
    return 0;
}

static struct gpu *gpu_as(struct state *s, const char *id)
{
    for (size_t i = 0; i < s->gpus.count; i++)
        if (strcmp(s->gpus.items[i].seen.id, id) == 0)
            return &s->gpus.items[i];
    return NULL;
}

static struct gpu *find(struct state *s, const char *device, struct fg_error *err)
{
    struct gpu *g = gpu_as(s, device);
    if (!g)
        fg_fail(err, FG_E_NOT_FOUND, "no device '%s' in the amd backend", device);
    return g;
}

/* One of our front ends, by the newest name that is installed; NULL: none. */
static bool has_front_end(const struct state *s)
{
    for (size_t i = 0; i < FG_COUNT(sonames); i++) {
        FG_AUTO_FREE char *path = fg_leased_front_end(&s->l, "hip", "hip", sonames[i]);
        if (path)
            return true;
    }
    return false;
}

static bool kernel_limits(struct state *s, struct gpu *g, char why[160])
{
    FG_AUTO_FREE char *mount = NULL, *group = fg_cpu_v2_folder(s->l.host, "", &mount);
    if (!group)
        return snprintf(why, 160, "there is no cgroup v2 that could be written"), false;
    if (fg_dmem_open(mount, group, g->seen.pci, g->region, why))
        return true;
    return g->region[0] = '\0', false;
}

static void fill(struct state *s, struct gpu *g, struct fg_device *d)
{
    char why[200] = "", no_limits[160] = "";
    bool limits = kernel_limits(s, g, no_limits), front = has_front_end(s);
    struct fg_ladder_probe probe = {.driver_limits = limits, .why_no_limits = no_limits, .can_look = s->l.can_look, .tells_processes = true};
    *d = (struct fg_device){.memory_bytes = g->seen.total_bytes};
    snprintf(d->name, sizeof d->name, "%s", g->seen.id);
    snprintf(d->kind, sizeof d->kind, "%s", g->seen.name);
    snprintf(d->backend, sizeof d->backend, "amd");
    fg_ladder_step(&g->ladder, &probe, d->level_why);
    d->memory_level = g->ladder.memory;
    d->share_level = g->ladder.share;
    d->healthy = fg_health_step(&g->health, g->seen.lost || !g->listed, g->seen.ecc_uncorrected, 0, why) && front;
    if (!d->healthy)
        snprintf(d->level_why, sizeof d->level_why, "%s", front ? why : "our libamdhip64 is not installed with fgpu");
}

static int amd_list(void *state, struct fg_device *devices, size_t max, size_t *ret_count, struct fg_error *err)
{
    struct state *s = state;
    struct fg_rsmi_gpu seen[GPUS_MAX];
    size_t count = 0;
    if (fg_rsmi_gpus(s->rsmi, seen, GPUS_MAX, &count, err) != 0)
        return -1;
    for (size_t i = 0; i < s->gpus.count; i++)
        s->gpus.items[i].listed = false;
    for (size_t i = 0; i < count; i++) {
        struct gpu *g = gpu_as(s, seen[i].id);
        if (!g) {
            g = fg_vec_add(&s->gpus);
            *g = (struct gpu){.listed = false};
        }
        g->seen = seen[i];
        g->listed = true;
    }
    *ret_count = 0;
    for (size_t i = 0; i < s->gpus.count && *ret_count < max; i++) {
        struct fg_device *d = &devices[(*ret_count)++];
        fill(s, &s->gpus.items[i], d);
        if (s->l.leases && fg_leases_device(s->l.leases, d->name, d->name, d->memory_bytes, err) != 0)
            return -1;
    }
    return 0;
}

/* --- a vGPU --- */

static int kernel_limit(struct state *s, const struct gpu *g, const char *name, uint64_t bytes, struct fg_error *err)
{
    if (g->ladder.memory != FG_LEVEL_KERNEL)
        return 0;
    FG_AUTO_FREE char *mount = NULL, *folder = fg_cpu_v2_folder(s->l.host, name, &mount);
    return folder ? fg_dmem_set(folder, g->region, bytes, err) : fg_fail(err, FG_E_INTERNAL, "vGPU '%s' has no cgroup", name);
}

static int amd_create(void *state, const char *device, const char *name, const struct fg_vgpu_limits *limits, struct fg_error *err)
{
    struct state *s = state;
    struct gpu *g = find(s, device, err);
    if (!g || fg_leased_create(&s->l, device, name, limits, fg_leased_host_bytes(&s->l, g->seen.total_bytes, limits), err) != 0)
        return -1;
    return kernel_limit(s, g, name, limits->memory_bytes, err);
}

static int amd_resize(void *state, const char *device, const char *name, const struct fg_vgpu_limits *limits, struct fg_error *err)
{
    struct state *s = state;
    struct gpu *g = find(s, device, err);
    if (!g || fg_leased_resize(&s->l, device, name, limits, fg_leased_host_bytes(&s->l, g->seen.total_bytes, limits), err) != 0)
        return -1;
    return kernel_limit(s, g, name, limits->memory_bytes, err);
}

static int amd_entry(void *state, const char *device, const char *name, struct fg_vgpu_entry *ret, struct fg_error *err)
{
    struct state *s = state;
    const struct gpu *g = find(s, device, err);
    if (!g || fg_leased_entry(&s->l, device, name, ret, err) != 0)
        return -1;
    static const char *const facts[] = {"/sys/dev/char", "/sys/class/drm", "/sys/class/kfd", "/sys/bus/pci/devices", "/sys/devices/pci*",
                                        "/sys/devices/virtual/kfd", "/sys/module/amdgpu"};
    static const char *const kfd[] = {"/dev/kfd"};
    glob_t found;
    FG_AUTO_FREE char *render = fg_asprintf("/sys/bus/pci/devices/%s/drm/renderD*", g->seen.pci);
    if (glob(render, 0, NULL, &found) == 0) {
        FG_AUTO_FREE char *node = fg_asprintf("/dev/dri/%s", strrchr(found.gl_pathv[0], '/') + 1);
        const char *nodes[] = {node};
        fg_leased_add_nodes(ret, nodes, 1);
        globfree(&found);
    }
    fg_leased_add_nodes(ret, kfd, 1);
    fg_leased_add_facts(ret, facts, FG_COUNT(facts));
    for (size_t i = 0; i < FG_COUNT(sonames); i++) {
        FG_AUTO_FREE char *ours = fg_leased_front_end(&s->l, "hip", "hip", sonames[i]);
        if (ours)
            fg_leased_add_front_end(ret, ours, "hip", sonames[i], NULL);
    }
    fg_vec_push(&ret->env, fg_strdup("LD_LIBRARY_PATH=" THERE));
    fg_vec_push(&ret->env, fg_asprintf("ROCR_VISIBLE_DEVICES=%s", device));
    return 0;
}

static int amd_audit(void *state, const char *device, const char *name, const int32_t *pids, size_t count, struct fg_vgpu_offence *ret)
{
    return fg_leased_audit(&((struct state *)state)->l, name, &(struct fg_look_for){.nodes = true}, &(struct fg_truth){.known = false}, pids,
                           count, ret);
}

const struct fg_device_backend fg_amd_backend = {
    .abi = FG_DEVICE_ABI,
    .name = "amd",
    .open = amd_open,
    .list = amd_list,
    .create = amd_create,
    .entry = amd_entry,
    .resize = amd_resize,
    .sample = fg_leased_sample,
    .kill = fg_leased_kill,
    .destroy = fg_leased_destroy,
    .names = fg_leased_names,
    .adopt = fg_leased_adopt,
    .audit = amd_audit,
    .last_use = fg_leased_last_use,
    .close = amd_close,
};
