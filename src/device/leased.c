/* leased.c - see leased.h. */
#include "device/leased.h"

#include <glob.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "device/cpu.h"

#define GIB         (UINT64_C(1) << 30)

/* Other users' processes show their maps to who has CAP_SYS_PTRACE; one's own children, in whatever namespace, to their owner. */
static bool can_look(void)
{
    FG_AUTO_STR struct fg_str status = {0};
    const char *at = fg_read_file("/proc/self/status", 65536, &status, NULL) == 0 ? strstr(fg_str_cstr(&status), "\nCapEff:") : NULL;
    if (!at || access("/proc/self/maps", R_OK) != 0)
        return false;
    return geteuid() != 0 || strtoull(at + 8, NULL, 16) >> 19 & 1;
}

int fg_leased_open(struct fg_leased *l, const struct fg_backend_options *o, const char *prefix, const char *word, struct fg_error *err)
{
    struct fg_device cpu = {.name = ""};
    size_t n = 0;
    FG_AUTO_FREE char *scope = fg_asprintf("%s-%s", o->scope, word);
    struct fg_backend_options host = {.scope = scope, .memory_reserve_bytes = o->memory_reserve_bytes, .cgroup_root = o->cgroup_root};
    *l = (struct fg_leased){.prefix = prefix, .shims = o->shims ? fg_strdup(o->shims) : NULL, .can_look = can_look()};
    int rc = fg_cpu_backend.open(&host, &l->host, err);
    if (rc == 0)
        rc = fg_cpu_backend.list(l->host, &cpu, 1, &n, err);
    l->host_bytes = cpu.memory_bytes;
    if (rc != 0)
        fg_leased_close(l);
    return rc;
}

int fg_leased_begin(struct fg_leased *l, const struct fg_backend_options *o, const char *scope, bool claims, struct fg_error *err)
{
    return o->folder ? fg_leases_open(&l->leases, scope, o->folder, claims, err) : 0;
}

void fg_leased_close(struct fg_leased *l)
{
    fg_leases_close(l->leases);
    if (l->host)
        fg_cpu_backend.close(l->host);
    fg_leased_audit_fini(l);
    free(l->shims);
    *l = (struct fg_leased){0};
}

/* --- a vGPU --- */

int fg_leased_check(const struct fg_leased *l, const char *device, const char *name, struct fg_error *err)
{
    if (strncmp(device, l->prefix, strlen(l->prefix)) != 0)
        return fg_fail(err, FG_E_NOT_FOUND, "no device '%s' in this backend", device);
    if (name && (!*name || *name == '.' || strchr(name, '/') || strlen(name) > 63))
        return fg_fail(err, FG_E_INVALID, "'%s' cannot name a vGPU", name);
    return 0;
}

int fg_leased_create(struct fg_leased *l, const char *device, const char *name, const struct fg_vgpu_limits *limits, uint64_t host_bytes,
                     struct fg_error *err)
{
    if (fg_leased_check(l, device, name, err) != 0 || fg_cpu_host_part(l->host, name, host_bytes, limits, err) != 0)
        return -1;
    int rc = fg_leases_make(l->leases, device, name, limits->memory_bytes, limits->share_permille, limits->borrowed, err);
    if (rc != 0 && err && err->code == FG_E_CONFLICT)
        err->code = FG_E_UNAVAILABLE;    /* a slice has it, or a task that is just leaving */
    return rc;
}

int fg_leased_resize(struct fg_leased *l, const char *device, const char *name, const struct fg_vgpu_limits *limits, uint64_t host_bytes, struct fg_error *err)
{
    if (fg_leased_check(l, device, name, err) != 0 || fg_leases_set(l->leases, name, limits->memory_bytes, limits->share_permille, err) != 0)
        return -1;
    return fg_cpu_host_part(l->host, name, host_bytes, limits, err);
}

void fg_leased_add_nodes(struct fg_vgpu_entry *e, const char *const *patterns, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        glob_t found;
        if (glob(patterns[i], 0, NULL, &found) != 0)
            continue;
        for (size_t k = 0; k < found.gl_pathc; k++) {
            struct stat st;
            if (stat(found.gl_pathv[k], &st) != 0)
                continue;
            fg_vec_push(&e->binds, fg_asprintf("dev:%s", found.gl_pathv[k]));
            if (!(st.st_mode & 02) && st.st_mode & 020)
                fg_vec_push(&e->groups, st.st_gid);
        }
        globfree(&found);
    }
}

void fg_leased_add_facts(struct fg_vgpu_entry *e, const char *const *patterns, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        glob_t found;
        if (glob(patterns[i], 0, NULL, &found) != 0)
            continue;
        for (size_t k = 0; k < found.gl_pathc; k++)
            fg_vec_push(&e->binds, fg_asprintf("at:%s", found.gl_pathv[k]));
        globfree(&found);
    }
}

/* Where a library of this name is, by the folders that distributions and vendors use. */
static char *find_library(const char *name)
{
    static const char *const folders[] = {"/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib",
                                          "/opt/rocm/lib", "/opt/rocm-*/lib", "/usr/lib/wsl/lib"};
    for (size_t i = 0; i < FG_COUNT(folders); i++) {
        glob_t found;
        FG_AUTO_FREE char *pattern = fg_path_join(folders[i], name);
        if (glob(pattern, 0, NULL, &found) != 0)
            continue;
        char *path = fg_strdup(found.gl_pathv[found.gl_pathc - 1]);
        globfree(&found);
        return path;
    }
    return NULL;
}

char *fg_leased_front_end(const struct fg_leased *l, const char *folder, const char *built, const char *name)
{
    const char *folders[] = {folder, built};
    for (size_t i = 0; l->shims && i < FG_COUNT(folders); i++) {
        char *path = fg_asprintf("%s/%s/%s", l->shims, folders[i], name);
        if (access(path, R_OK) == 0)
            return path;
        free(path);
    }
    return NULL;
}

bool fg_leased_add_front_end(struct fg_vgpu_entry *e, const char *ours, const char *folder, const char *name, const char *driver)
{
    FG_AUTO_FREE char *theirs = driver ? fg_strdup(driver) : find_library(name);
    if (!theirs)
        return false;
    fg_vec_push(&e->binds, fg_asprintf("ro:%s:" FG_VGPU_FOLDER "/%s/%s", ours, folder, name));
    fg_vec_push(&e->binds, fg_asprintf("ro:%s:" FG_VGPU_FOLDER "/%s/driver/%s", theirs, folder, name));
    return true;
}

uint64_t fg_leased_host_bytes(const struct fg_leased *l, uint64_t device_bytes, const struct fg_vgpu_limits *limits)
{
    if (limits->host_bytes)
        return limits->host_bytes;
    double part = (double)limits->memory_bytes / (double)FG_MAX(device_bytes, 1);
    part = FG_MIN(FG_MAX(part, fg_own_permille(limits) / 1000.0), 1.0);
    return FG_MIN(FG_MAX(GIB, (uint64_t)(part * (double)l->host_bytes)), FG_MAX(l->host_bytes, GIB));
}

int fg_leased_entry(struct fg_leased *l, const char *device, const char *name, struct fg_vgpu_entry *ret, struct fg_error *err)
{
    struct fg_vgpu_entry e = {0};
    if (fg_leased_check(l, device, name, err) != 0 || fg_cpu_backend.entry(l->host, "cpu0", name, &e, err) != 0)
        return -1;
    e.held_fd = fg_leases_counters(l->leases, name);
    if (e.held_fd < 0) {
        fg_vgpu_entry_fini(&e);
        return fg_fail(err, FG_E_NOT_FOUND, "there is no vGPU '%s' on '%s'", name, device);
    }
    FG_AUTO_FREE char *limits = fg_leases_limits(l->leases, name);
    fg_vec_push(&e.binds, fg_asprintf("ro:%s:" FG_VGPU_FOLDER "/lease.limits", limits));
    fg_vec_push(&e.binds, fg_strdup("ln:" FG_VGPU_HELD ":" FG_VGPU_FOLDER "/lease.counters"));
    *ret = e;
    return 0;
}

static void to_usage(const struct fg_lease_use *use, struct fg_usage *ret)
{
    *ret = (struct fg_usage){.device_ns = use->device_ns, .memory_peak_bytes = use->peak_bytes, .throttled_ns = use->throttle_ns,
                             .denied = use->denied};
}

int fg_leased_sample(void *state, const char *device, const char *name, struct fg_usage *ret, struct fg_error *err)
{
    struct fg_leased *l = state;
    struct fg_lease_use use;
    if (fg_leased_check(l, device, name, err) != 0)
        return -1;
    if (!fg_leases_use(l->leases, name, &use))
        return fg_fail(err, FG_E_NOT_FOUND, "there is no vGPU '%s'", name);
    to_usage(&use, ret);
    return 0;
}

int fg_leased_last_use(const void *counters, size_t size, struct fg_usage *ret)
{
    struct fg_lease_use use;
    if (!fg_leases_sum(counters, size, &use))
        return -1;
    to_usage(&use, ret);
    return 0;
}

int fg_leased_kill(void *state, const char *device, const char *name, struct fg_error *err)
{
    struct fg_leased *l = state;
    return fg_leased_check(l, device, name, err) != 0 ? -1 : fg_cpu_backend.kill(l->host, "cpu0", name, err);
}

/* The lease goes when no process is left that could go on without it. */
int fg_leased_destroy(void *state, const char *device, const char *name, struct fg_error *err)
{
    struct fg_leased *l = state;
    if (fg_leased_check(l, device, name, err) != 0 || fg_cpu_backend.destroy(l->host, "cpu0", name, err) != 0)
        return -1;
    fg_leases_end(l->leases, name);
    fg_leased_audit_forget(l, name);
    return 0;
}

int fg_leased_names(void *state, const char *device, void (*fn)(void *arg, const char *name), void *arg, struct fg_error *err)
{
    struct fg_leased *l = state;
    if (fg_leased_check(l, device, NULL, err) != 0)
        return -1;
    fg_leases_names(l->leases, fn, arg);
    return fg_cpu_backend.names(l->host, "cpu0", fn, arg, err);
}

int fg_leased_adopt(void *state, const char *device, const char *name, int held_fd, struct fg_error *err)
{
    struct fg_leased *l = state;
    if (fg_leased_check(l, device, name, err) != 0)
        return -1;
    return held_fd < 0 ? fg_fail(err, FG_E_NOT_FOUND, "the counters of %s are gone", name) : fg_leases_adopt(l->leases, name, held_fd, err);
}
