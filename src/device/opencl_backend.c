/* opencl_backend.c - OpenCL devices, cut into vGPUs by the layer inside the task's process (src/shim/opencl), arbitrated by the
 * engine's server in the agent (leases.h), looked after by audits (look.h, judge.h). Decision 0022. What the task's processes
 * do on the host is held by a cgroup of the cpu backend. */
#include "device/opencl_backend.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "device/cpu.h"
#include "device/opencl_state.h"

#define LAYER_THERE FG_VGPU_FOLDER "/" LAYER
#define VENDORS     "/etc/OpenCL/vendors"
#define GIB         (UINT64_C(1) << 30)

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

/* Other users' processes show their maps to who has CAP_SYS_PTRACE; one's own children, in whatever namespace, to their owner. */
static bool can_look(void)
{
    FG_AUTO_STR struct fg_str status = {0};
    const char *at = fg_read_file("/proc/self/status", 65536, &status, NULL) == 0 ? strstr(fg_str_cstr(&status), "\nCapEff:") : NULL;
    if (!at || access("/proc/self/maps", R_OK) != 0)
        return false;
    return geteuid() != 0 || strtoull(at + 8, NULL, 16) >> 19 & 1;
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

static void find_devices(struct opencl_state *s)
{
    struct stat st;
    bool files = stat(s->vendors, &st) == 0 && (!S_ISDIR(st.st_mode) || s->driver_count > 0);
    if (strcmp(s->mode, "none") == 0 && s->leases)
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
        if (fg_opencl_offer(&s->found.devices[i], s->mode, s->layer, s->can_look, s->host_bytes, &d, why))
            return true;
    return false;
}

static void opencl_close(void *state);

static int opencl_open(const struct fg_backend_options *o, void **ret, struct fg_error *err)
{
    struct opencl_state *s = fg_alloc(sizeof *s);
    struct fg_device cpu = {.name = ""};
    size_t n = 0;
    FG_AUTO_FREE char *scope = fg_asprintf("%s-ocl", o->scope);
    struct fg_backend_options host = {.scope = scope, .memory_reserve_bytes = o->memory_reserve_bytes, .cgroup_root = o->cgroup_root};
    const char *vendors = getenv("OCL_ICD_VENDORS");
    s->mode = fg_strdup(o->opencl ? o->opencl : "gpu");
    s->shims = fg_strdup(o->shims);
    s->vendors = fg_strdup(vendors && *vendors == '/' ? vendors : VENDORS);
    s->driver_count = fg_opencl_drivers(s->vendors, s->drivers, DRIVERS_MAX);
    FG_AUTO_FREE char *layer = s->shims ? fg_path_join(s->shims, LAYER) : NULL;
    s->layer = layer && access(layer, R_OK) == 0;
    s->can_look = can_look();
    /* before the leases' threads begin: it forks */
    int rc = strcmp(s->mode, "none") == 0 || strcmp(s->mode, "gpu") == 0 || strcmp(s->mode, "all") == 0
                 ? 0 : fg_fail(err, FG_E_INVALID, "opencl is none, gpu or all, not '%.20s'", s->mode);
    if (rc == 0 && o->folder && strcmp(s->mode, "none") == 0)
        fg_fail(&s->none, FG_E_UNSUPPORTED, "opencl is set to none");
    else if (rc == 0)
        find_devices(s);
    if (rc == 0)
        rc = fg_cpu_backend.open(&host, &s->host, err);
    if (rc == 0)
        rc = fg_cpu_backend.list(s->host, &cpu, 1, &n, err);
    s->host_bytes = cpu.memory_bytes;
    if (rc == 0 && o->folder)
        rc = fg_leases_open(&s->leases, o->scope, o->folder, offers_any(s), err);
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
    fg_leases_close(s->leases);
    if (s->host)
        fg_cpu_backend.close(s->host);
    for (size_t i = 0; i < s->driver_count; i++)
        free(s->drivers[i]);
    opencl_audit_fini(s);
    free(s->mode);
    free(s->shims);
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
        bool offered = fg_opencl_offer(&s->found.devices[i], s->mode, s->layer, s->can_look, s->host_bytes, d, why);
        if (!offered && s->leases)
            continue;
        if (!offered) {                  /* doctor: there, and why it is not to be had */
            d->healthy = false;
            snprintf(d->level_why, sizeof d->level_why, "%s", why);
            d->memory_level = d->share_level = FG_LEVEL_NONE;
        }
        char key[128];
        fg_opencl_key(&s->found, &s->found.devices[i], key, sizeof key);
        if (s->leases && fg_leases_device(s->leases, d->name, key, d->memory_bytes, err) != 0)
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

static int check_name(const char *device, const char *name, struct fg_error *err)
{
    if (strncmp(device, "opencl", 6) != 0)
        return fg_fail(err, FG_E_NOT_FOUND, "no device '%s' in the opencl backend", device);
    if (name && (!*name || *name == '.' || strchr(name, '/') || strlen(name) > 63))
        return fg_fail(err, FG_E_INVALID, "'%s' cannot name a vGPU", name);
    return 0;
}

const struct fg_opencl_device *opencl_found(const struct opencl_state *s, const char *device)
{
    for (size_t i = 0; i < s->found.count; i++)
        if (strcmp(s->found.devices[i].name, device) == 0)
            return &s->found.devices[i];
    return NULL;
}

uint64_t fg_opencl_host_bytes(const struct fg_opencl_device *device, const struct fg_vgpu_limits *limits, uint64_t host_bytes)
{
    double part = (double)limits->memory_bytes / (double)FG_MAX(device->memory_bytes, 1);
    part = FG_MIN(FG_MAX(part, limits->share_permille / 1000.0), 1.0);
    uint64_t bytes = FG_MAX(GIB, (uint64_t)(part * (double)host_bytes));
    return FG_MIN(bytes + (device->type == FG_OPENCL_CPU ? limits->memory_bytes : 0), FG_MAX(host_bytes, GIB));
}

static int host_part(const struct opencl_state *s, const char *device, const char *name, const struct fg_vgpu_limits *limits, struct fg_error *err)
{
    const struct fg_opencl_device *d = opencl_found(s, device);
    if (!d)
        return fg_fail(err, FG_E_NOT_FOUND, "device '%s' is not there any more", device);
    return fg_cpu_host_part(s->host, name, fg_opencl_host_bytes(d, limits, s->host_bytes), limits->share_permille, err);
}

static int opencl_create(void *state, const char *device, const char *name, const struct fg_vgpu_limits *limits, struct fg_error *err)
{
    struct opencl_state *s = state;
    if (check_name(device, name, err) != 0 || host_part(s, device, name, limits, err) != 0)
        return -1;
    int rc = fg_leases_make(s->leases, device, name, limits->memory_bytes, limits->share_permille, err);
    if (rc != 0 && err && err->code == FG_E_CONFLICT)
        err->code = FG_E_UNAVAILABLE;    /* a slice has it, or a task that is just leaving */
    return rc;
}

static int opencl_resize(void *state, const char *device, const char *name, const struct fg_vgpu_limits *limits, struct fg_error *err)
{
    struct opencl_state *s = state;
    if (check_name(device, name, err) != 0 || fg_leases_set(s->leases, name, limits->memory_bytes, limits->share_permille, err) != 0)
        return -1;
    return host_part(s, device, name, limits, err);
}

/* Device files and what drivers read about them. Which file is which device of OpenCL cannot be told here: all of the vendor's. */
static void add_nodes(struct fg_vgpu_entry *e, const struct fg_opencl_device *d)
{
    bool nvidia = strcasestr(d->platform, "nvidia") != NULL;
    static const char *const of_nvidia[] = {"/dev/nvidia[0-9]*", "/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools"};
    static const char *const of_others[] = {"/dev/dri/renderD*", "/dev/kfd", "/dev/dxg"};
    static const char *const facts[] = {"/sys/dev/char", "/sys/class/drm", "/sys/class/kfd", "/sys/bus/pci/devices", "/sys/devices/pci*",
                                        "/sys/devices/virtual/kfd", "/sys/module/nvidia", "/sys/module/amdgpu"};
    const char *const *nodes = nvidia ? of_nvidia : of_others;
    size_t count = nvidia ? FG_COUNT(of_nvidia) : FG_COUNT(of_others);
    for (size_t i = 0; i < count + FG_COUNT(facts); i++) {
        glob_t found;
        bool node = i < count;
        if (glob(node ? nodes[i] : facts[i - count], 0, NULL, &found) != 0)
            continue;
        for (size_t k = 0; k < found.gl_pathc; k++) {
            const char *path = found.gl_pathv[k];
            struct stat st;
            if (stat(path, &st) != 0)
                continue;
            fg_vec_push(&e->binds, fg_asprintf("%s:%s", node ? "dev" : "at", path));
            if (node && !(st.st_mode & 02) && st.st_mode & 020)
                fg_vec_push(&e->groups, st.st_gid);
        }
        globfree(&found);
    }
}

static int opencl_entry(void *state, const char *device, const char *name, struct fg_vgpu_entry *ret, struct fg_error *err)
{
    struct opencl_state *s = state;
    const struct fg_opencl_device *d = opencl_found(s, device);
    struct fg_vgpu_entry e = {0};
    if (check_name(device, name, err) != 0 || fg_cpu_backend.entry(s->host, "cpu0", name, &e, err) != 0)
        return -1;
    e.held_fd = fg_leases_counters(s->leases, name);
    if (e.held_fd < 0 || !d) {
        fg_vgpu_entry_fini(&e);
        return fg_fail(err, FG_E_NOT_FOUND, "there is no vGPU '%s' on '%s'", name, device);
    }
    FG_AUTO_FREE char *limits = fg_leases_limits(s->leases, name);
    fg_vec_push(&e.binds, fg_asprintf("ro:%s:" FG_VGPU_FOLDER "/lease.limits", limits));
    fg_vec_push(&e.binds, fg_strdup("ln:" FG_VGPU_HELD ":" FG_VGPU_FOLDER "/lease.counters"));
    fg_vec_push(&e.binds, fg_asprintf("ro:%s/" LAYER ":" LAYER_THERE, s->shims));
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

static void to_usage(const struct fg_lease_use *use, struct fg_usage *ret)
{
    *ret = (struct fg_usage){.device_ns = use->device_ns, .memory_peak_bytes = use->peak_bytes, .throttled_ns = use->throttle_ns,
                             .denied = use->denied};
}

static int opencl_sample(void *state, const char *device, const char *name, struct fg_usage *ret, struct fg_error *err)
{
    struct opencl_state *s = state;
    struct fg_lease_use use;
    if (check_name(device, name, err) != 0)
        return -1;
    if (!fg_leases_use(s->leases, name, &use))
        return fg_fail(err, FG_E_NOT_FOUND, "there is no vGPU '%s'", name);
    to_usage(&use, ret);
    return 0;
}

static int opencl_last_use(const void *counters, size_t size, struct fg_usage *ret)
{
    struct fg_lease_use use;
    if (!fg_leases_sum(counters, size, &use))
        return -1;
    to_usage(&use, ret);
    return 0;
}

static int opencl_kill(void *state, const char *device, const char *name, struct fg_error *err)
{
    struct opencl_state *s = state;
    return check_name(device, name, err) != 0 ? -1 : fg_cpu_backend.kill(s->host, "cpu0", name, err);
}

/* The lease goes when no process is left that could go on without it. */
static int opencl_destroy(void *state, const char *device, const char *name, struct fg_error *err)
{
    struct opencl_state *s = state;
    if (check_name(device, name, err) != 0 || fg_cpu_backend.destroy(s->host, "cpu0", name, err) != 0)
        return -1;
    fg_leases_end(s->leases, name);
    opencl_audit_forget(s, name);
    return 0;
}

static int opencl_names(void *state, const char *device, void (*fn)(void *arg, const char *name), void *arg, struct fg_error *err)
{
    struct opencl_state *s = state;
    if (check_name(device, NULL, err) != 0)
        return -1;
    fg_leases_names(s->leases, fn, arg);
    return fg_cpu_backend.names(s->host, "cpu0", fn, arg, err);
}

static int opencl_adopt(void *state, const char *device, const char *name, int held_fd, struct fg_error *err)
{
    struct opencl_state *s = state;
    if (check_name(device, name, err) != 0)
        return -1;
    return held_fd < 0 ? fg_fail(err, FG_E_NOT_FOUND, "the counters of %s are gone", name) : fg_leases_adopt(s->leases, name, held_fd, err);
}

const struct fg_device_backend fg_opencl_backend = {
    .abi = FG_DEVICE_ABI,
    .name = "opencl",
    .open = opencl_open,
    .list = opencl_list,
    .create = opencl_create,
    .entry = opencl_entry,
    .resize = opencl_resize,
    .sample = opencl_sample,
    .kill = opencl_kill,
    .destroy = opencl_destroy,
    .names = opencl_names,
    .adopt = opencl_adopt,
    .audit = opencl_audit,
    .last_use = opencl_last_use,
    .close = opencl_close,
};
