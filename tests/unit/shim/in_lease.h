/* in_lease.h - the lease "unit" of a stand-in device, in whose vGPU this process is: what the front ends' tests share. */
#pragma once
#include <dlfcn.h>
#include <sys/stat.h>

#include "unit.h"
#include "vgpu/ledger.h"
#include "vgpu/server.h"

#define MIB (UINT64_C(1) << 20)

static struct fg_vgpu_server *server;
static void *shim;                /* what dlopen gave */
static char folder[512], lease_env[256];

static inline void *symbol(const char *name)
{
    void *found = dlsym(shim, name);
    if (!found)
        fail_msg("%s: %s", name, dlerror());
    return found;
}

/* A function of the stand-in. */
#define FAKE(name) ((__typeof__(name) *)symbol(#name))

static inline struct fg_lease_stats stats(void)
{
    struct fg_lease_stats now;
    struct fg_error err;
    assert_ok(fg_vgpu_server_stats(server, "unit", &now, &err), err);
    return now;
}

static inline uint64_t used(void) { return stats().used_bytes; }

static inline int open_lease(uint64_t quota, uint32_t share_permille, enum fg_share_mode mode)
{
    struct fg_lease_spec spec = {.id = "unit", .device = "stand-in", .memory_bytes = quota, .share_permille = share_permille, .mode = mode};
    struct fg_error err;
    if (fg_vgpu_server_create(&server, &(struct fg_vgpu_server_config){0}, &err) < 0 ||
        fg_vgpu_server_device(server, "stand-in", 64 * quota, &err) < 0 || fg_vgpu_server_open(server, &spec, NULL, &err) < 0 ||
        fg_vgpu_server_env(server, "unit", lease_env, sizeof lease_env, &err) < 0)
        return -1;
    return setenv(FG_LEASE_ENV, lease_env, 1);
}

static inline void set_quota(uint64_t quota)
{
    struct fg_lease_spec spec = stats().spec;
    struct fg_error err;
    spec.memory_bytes = quota;
    assert_ok(fg_vgpu_server_set(server, &spec, &err), err);
}

/* In the folder: a link to target, or with NULL a folder. */
static inline void link_to(const char *name, const char *target)
{
    char path[600];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_int_equal(target ? symlink(target, path) : mkdir(path, 0700), 0);
}
