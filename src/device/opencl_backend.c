/* opencl_backend.c - OpenCL devices, cut into vGPUs by the layer inside the task's process (src/shim/opencl), arbitrated by the
 * engine's server in the agent (leases.h), looked after by audits (look.h, judge.h). Decision 0022. What the task's processes
 * do on the host is held by a cgroup of the cpu backend. */
#include "device/opencl_backend.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "device/cpu.h"
#include "device/leased.h"

#define VENDORS     "/etc/OpenCL/vendors"
#define LAYER       "libfgpu_opencl.so"
#define LAYER_THERE FG_VGPU_FOLDER "/" LAYER
#define DRIVERS_MAX 32
#define GIB         (UINT64_C(1) << 30)

struct opencl_state {
    struct fg_leased l;
    struct fg_opencl_list found;
    struct fg_error none;                /* why there is no device; code NONE when there is */
    char *mode, *vendors;
    bool layer;
    char *drivers[DRIVERS_MAX];
    size_t driver_count;
};
_Static_assert(offsetof(struct opencl_state, l) == 0, "what fg_leased_sample and others take");

/* --- what is there --- */

size_t fg_opencl_drivers(const char *vendors, char **ret, size_t max)
{
    size_t n = 0;
    DIR *dir = opendir(vendors);
    for (struct dirent *d; dir && n < max && (d = readdir(dir));) {
        size_t len = strlen(d->d_name);
        if (len < 4 || strcmp(d->d_name + len - 4, ".icd") != 0)
            continue;
        FG_AUTO_FREE char *path = fg_path_join(vendors, d->d_name);
        FG_AUTO_STR struct fg_str text = {0};
        if (fg_read_file(path, 4096, &text, NULL) != 0)
            continue;
        char *line = fg_str_take(&text);
        line[strcspn(line, "\r\n")] = '\0';
        char *slash = strrchr(line, '/'), *name = slash ? slash + 1 : line, *so = strstr(name, ".so");
        if (so) {
            so[3] = '\0';
            ret[n++] = fg_strdup(name);
        }
        free(line);
    }
    if (dir)
        closedir(dir);
    return n;
}

bool fg_opencl_offer(const struct fg_opencl_device *found, const char *mode, bool layer, bool look, uint64_t host_bytes, struct fg_device *ret,
                     char why[200])
{
    struct fg_device d = {.memory_bytes = found->memory_bytes, .units = found->units, .healthy = true};
    snprintf(d.name, sizeof d.name, "%s", found->name);
    snprintf(d.kind, sizeof d.kind, "%s", found->kind);
    snprintf(d.backend, sizeof d.backend, "opencl");
    if (found->type == FG_OPENCL_CPU)
        d.memory_bytes = FG_MIN(d.memory_bytes, host_bytes);
    d.memory_level = d.share_level = look ? FG_LEVEL_AUDITED : FG_LEVEL_COOPERATIVE;
    snprintf(d.level_why, sizeof d.level_why, "%s",
             look ? "a layer inside the program keeps the limits; who goes around it is stopped within a second"
                  : "a layer inside the program keeps the limits, and the agent cannot check it: it lacks CAP_SYS_PTRACE");
    bool wanted = strcmp(mode, "all") == 0 || (strcmp(mode, "gpu") == 0 && (found->type == FG_OPENCL_GPU || found->type == FG_OPENCL_ACCELERATOR));
    why[0] = '\0';
    if (!layer)
        snprintf(why, 200, LAYER " is not installed with fgpu");
    else if (!wanted && strcmp(mode, "none") == 0)
        snprintf(why, 200, "opencl is set to none");
    else if (!wanted)
        snprintf(why, 200, "it is the host processor, which cpu0 offers already; opencl=all offers it as well");
    *ret = d;
    return !*why;
}

static void find_devices(struct opencl_state *s, bool doctor)
{
    struct stat st;
    bool files = stat(s->vendors, &st) == 0 && (!S_ISDIR(st.st_mode) || s->driver_count > 0);
    if (strcmp(s->mode, "none") == 0 && !doctor)
        return;                          /* doctor lists them anyway */
    if (!files && !getenv("OCL_ICD_VENDORS")) {
        fg_fail(&s->none, FG_E_UNSUPPORTED, "no OpenCL driver is installed in %s", s->vendors);
        fg_fail_hint(&s->none, "A GPU's OpenCL comes with its driver.");
    } else if (fg_opencl_list(NULL, &s->found, &s->none) == 0)
        s->none = (struct fg_error){0};
}

static bool offers_any(const struct opencl_state *s)
{
    struct fg_device d;
    char why[200];
    for (size_t i = 0; i < s->found.count; i++)
        if (fg_opencl_offer(&s->found.devices[i], s->mode, s->layer, s->l.can_look, s->l.host_bytes, &d, why))
            return true;
    return false;
}

static void opencl_close(void *state);

static int opencl_open(const struct fg_backend_options *o, void **ret, struct fg_error *err)
{
    struct opencl_state *s = fg_alloc(sizeof *s);
    const char *vendors = getenv("OCL_ICD_VENDORS");
    *s = (struct opencl_state){.mode = fg_strdup(o->opencl ? o->opencl : "gpu")};
    s->vendors = fg_strdup(vendors && *vendors == '/' ? vendors : VENDORS);
    s->driver_count = fg_opencl_drivers(s->vendors, s->drivers, DRIVERS_MAX);
    FG_AUTO_FREE char *layer = o->shims ? fg_path_join(o->shims, LAYER) : NULL;
    s->layer = layer && access(layer, R_OK) == 0;
    int rc = strcmp(s->mode, "none") == 0 || strcmp(s->mode, "gpu") == 0 || strcmp(s->mode, "all") == 0
                 ? 0 : fg_fail(err, FG_E_INVALID, "opencl is none, gpu or all, not '%.20s'", s->mode);
    if (rc == 0)
        rc = fg_leased_open(&s->l, o, "opencl", "ocl", err);
    if (rc == 0 && o->folder && strcmp(s->mode, "none") == 0)
        fg_fail(&s->none, FG_E_UNSUPPORTED, "opencl is set to none");
    else if (rc == 0)
        find_devices(s, o->folder == NULL);
    if (rc == 0)
        rc = fg_leased_begin(&s->l, o, o->scope, offers_any(s), err);
    if (rc != 0) {
        opencl_close(s);
        return -1;
    }
    *ret = s;
    return 0;
}

static void opencl_close(void *state)
{
    struct opencl_state *s = state;
    if (!s)
        return;
    fg_leased_close(&s->l);
    for (size_t i = 0; i < s->driver_count; i++)
        free(s->drivers[i]);
    free(s->mode);
    free(s->vendors);
    free(s);
}

static int opencl_list(void *state, struct fg_device *devices, size_t max, size_t *ret_count, struct fg_error *err)
{
    struct opencl_state *s = state;
    char why[200];
    *ret_count = 0;
    for (size_t i = 0; i < s->found.count && *ret_count < max; i++) {
        struct fg_device *d = &devices[*ret_count];
        bool offered = fg_opencl_offer(&s->found.devices[i], s->mode, s->layer, s->l.can_look, s->l.host_bytes, d, why);
        if (!offered && s->l.leases)
            continue;
        if (!offered) {                  /* doctor: there, and why it is not to be had */
            d->healthy = false;
            snprintf(d->level_why, sizeof d->level_why, "%s", why);
            d->memory_level = d->share_level = FG_LEVEL_NONE;
        }
        char key[128];
        fg_opencl_key(&s->found, &s->found.devices[i], key, sizeof key);
        if (s->l.leases && fg_leases_device(s->l.leases, d->name, key, d->memory_bytes, err) != 0)
            return -1;
        ++*ret_count;
    }
    return 0;
}

const char *fg_opencl_why(const void *state, const char **ret_hint)
{
    const struct opencl_state *s = state;
    *ret_hint = s->none.hint;
    return s->none.code ? s->none.text : s->found.why;
}

/* --- a vGPU --- */

static const struct fg_opencl_device *opencl_found(const struct opencl_state *s, const char *device)
{
    for (size_t i = 0; i < s->found.count; i++)
        if (strcmp(s->found.devices[i].name, device) == 0)
            return &s->found.devices[i];
    return NULL;
}

uint64_t fg_opencl_host_bytes(const struct fg_opencl_device *device, const struct fg_vgpu_limits *limits, uint64_t host_bytes)
{
    double part = (double)limits->memory_bytes / (double)FG_MAX(device->memory_bytes, 1);
    part = FG_MIN(FG_MAX(part, fg_own_permille(limits) / 1000.0), 1.0);
    uint64_t bytes = limits->host_bytes ? limits->host_bytes : FG_MAX(GIB, (uint64_t)(part * (double)host_bytes));
    return FG_MIN(bytes + (device->type == FG_OPENCL_CPU ? limits->memory_bytes : 0), FG_MAX(host_bytes, GIB));
}

static const struct fg_opencl_device *need(const struct opencl_state *s, const char *device, struct fg_error *err)
{
    const struct fg_opencl_device *d = opencl_found(s, device);
    if (!d && fg_leased_check(&s->l, device, NULL, err) == 0)
        fg_fail(err, FG_E_NOT_FOUND, "device '%s' is not there any more", device);
    return d;
}

static int opencl_create(void *state, const char *device, const char *name, const struct fg_vgpu_limits *limits, struct fg_error *err)
{
    struct opencl_state *s = state;
    const struct fg_opencl_device *d = need(s, device, err);
    return d ? fg_leased_create(&s->l, device, name, limits, fg_opencl_host_bytes(d, limits, s->l.host_bytes), err) : -1;
}

static int opencl_resize(void *state, const char *device, const char *name, const struct fg_vgpu_limits *limits, struct fg_error *err)
{
    struct opencl_state *s = state;
    const struct fg_opencl_device *d = need(s, device, err);
    return d ? fg_leased_resize(&s->l, device, name, limits, fg_opencl_host_bytes(d, limits, s->l.host_bytes), err) : -1;
}

/* Device files and what drivers read about them. Which file is which device of OpenCL cannot be told here: all of the vendor's. */
static void add_nodes(struct fg_vgpu_entry *e, const struct fg_opencl_device *d)
{
    bool nvidia = strcasestr(d->platform, "nvidia") != NULL;
    static const char *const of_nvidia[] = {"/dev/nvidia[0-9]*", "/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools"};
    static const char *const of_others[] = {"/dev/dri/renderD*", "/dev/kfd", "/dev/dxg"};
    static const char *const facts[] = {"/sys/dev/char", "/sys/class/drm", "/sys/class/kfd", "/sys/bus/pci/devices", "/sys/devices/pci*",
                                        "/sys/devices/virtual/kfd", "/sys/module/nvidia", "/sys/module/amdgpu"};
    fg_leased_add_nodes(e, nvidia ? of_nvidia : of_others, nvidia ? FG_COUNT(of_nvidia) : FG_COUNT(of_others));
    fg_leased_add_facts(e, facts, FG_COUNT(facts));
}

static int opencl_entry(void *state, const char *device, const char *name, struct fg_vgpu_entry *ret, struct fg_error *err)
{
    struct opencl_state *s = state;
    const struct fg_opencl_device *d = need(s, device, err);
    struct fg_vgpu_entry e = {0};
    if (!d || fg_leased_entry(&s->l, device, name, &e, err) != 0)
        return -1;
    fg_vec_push(&e.binds, fg_asprintf("ro:%s/" LAYER ":" LAYER_THERE, s->l.shims));
    fg_vec_push(&e.env, fg_strdup("OPENCL_LAYERS=" LAYER_THERE));
    fg_vec_push(&e.env, fg_strdup("POCL_CACHE_DIR=/tmp/pocl"));
    fg_vec_push(&e.env, fg_strdup("CUDA_CACHE_PATH=/tmp/cuda"));
    if (strcmp(s->vendors, VENDORS) != 0) {
        fg_vec_push(&e.binds, fg_asprintf("ro:%s:" FG_VGPU_FOLDER "/vendors", s->vendors));
        fg_vec_push(&e.env, fg_strdup("OCL_ICD_VENDORS=" FG_VGPU_FOLDER "/vendors"));
    }
    if (d->type != FG_OPENCL_CPU)
        add_nodes(&e, d);
    *ret = e;
    return 0;
}

/* Device files say something only where the device is not the processor. */
static int opencl_audit(void *state, const char *device, const char *name, const int32_t *pids, size_t count, struct fg_vgpu_offence *ret)
{
    struct opencl_state *s = state;
    const struct fg_opencl_device *d = opencl_found(s, device);
    struct fg_look_for f = {.drivers = (const char *const *)s->drivers, .driver_count = s->driver_count, .layer = LAYER, .loader = "libOpenCL",
                            .env_on = "OPENCL_LAYERS=", .nodes = d && d->type != FG_OPENCL_CPU};
    return fg_leased_audit(&s->l, name, &f, &(struct fg_truth){.known = false}, pids, count, ret);
}

const struct fg_device_backend fg_opencl_backend = {
    .abi = FG_DEVICE_ABI,
    .name = "opencl",
    .open = opencl_open,
    .list = opencl_list,
    .create = opencl_create,
    .entry = opencl_entry,
    .resize = opencl_resize,
    .sample = fg_leased_sample,
    .kill = fg_leased_kill,
    .destroy = fg_leased_destroy,
    .names = fg_leased_names,
    .adopt = fg_leased_adopt,
    .audit = opencl_audit,
    .last_use = fg_leased_last_use,
    .close = opencl_close,
};
