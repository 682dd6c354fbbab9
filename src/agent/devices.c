/* devices.c - the backends of this machine: what they offer, whose a device is, and vGPUs that were left over. */
#include <string.h>
#include <unistd.h>

#include "agent/internal.h"
#include "base/log.h"
#include "base/units.h"

#define MAX_DEVICES 64

static const struct fg_device_backend *const backends[] = {&fg_cpu_backend, &fg_nvidia_backend, &fg_amd_backend, &fg_opencl_backend};

struct fg_backend_options devices_options(const struct settings *set, bool make)
{
    return (struct fg_backend_options){.scope = set->scope, .memory_reserve_bytes = set->memory_reserve_bytes, .cgroup_root = set->cgroup_root,
                                       .folder = make ? set->root : NULL, .shims = set->shims, .opencl = set->opencl,
                                       .reclaim_idle_s = set->reclaim_idle_s, .reclaim_always = set->reclaim_always,
                                       .reclaim_move = set->reclaim_move, .reclaim_move_running = set->reclaim_move_running};
}

/* The same device through two drivers would be given out twice: who comes first has it. */
static bool is_listed(const struct agent *a, const struct fg_device *d)
{
    for (size_t i = 0; i < a->device_list.count; i++) {
        const struct fg_device *other = &a->device_list.items[i];
        if (strcmp(other->name, d->name) == 0 || (strcmp(other->kind, d->kind) == 0 && strcmp(other->backend, d->backend) != 0))
            return true;
    }
    return false;
}

static int open_backend(struct agent *a, const struct fg_device_backend *ops, struct fg_error *err)
{
    struct fg_device list[MAX_DEVICES];
    size_t n = 0;
    struct backend b = {ops, NULL};
    struct fg_backend_options options = devices_options(&a->set, true);
    if (ops->open(&options, &b.state, err) != 0)
        return -1;
    fg_vec_push(&a->backends, b);
    if (ops->list(b.state, list, MAX_DEVICES, &n, err) != 0)
        return -1;
    for (size_t i = 0; i < n; i++) {
        if (is_listed(a, &list[i]))
            continue;
        fg_vec_push(&a->device_list, list[i]);
        fg_log_info("device %s: %llu MiB, %u units, memory by %s, share by %s%s%s", list[i].name,
                    (unsigned long long)(list[i].memory_bytes >> 20), list[i].units, fg_level_name(list[i].memory_level),
                    fg_level_name(list[i].share_level), *list[i].level_why ? ": " : "", list[i].level_why);
    }
    return 0;
}

/* Take over what a look found of one device. True: the server should know. */
static bool renew(struct agent *a, const struct fg_device *d)
{
    for (size_t i = 0; i < a->device_list.count; i++) {
        struct fg_device *old = &a->device_list.items[i];
        if (strcmp(old->name, d->name) != 0)
            continue;
        bool same = old->healthy == d->healthy && old->moves == d->moves && old->memory_level == d->memory_level && old->share_level == d->share_level;
        if (old->healthy != d->healthy)
            fg_log_warn("device %s %s%s", d->name, d->healthy ? "is well again" : "takes no more tasks: ", d->healthy ? "" : d->level_why);
        *old = *d;
        return !same;
    }
    return false;                        /* plugged in while the agent ran: after its restart */
}

void devices_tick(struct agent *a)
{
    static struct fg_device list[MAX_DEVICES];
    struct fg_error err;
    bool changed = false;
    if (agent_now(a) - a->devices_seen_ns < a->set.device_check_s * FG_NS_PER_S)
        return;
    a->devices_seen_ns = agent_now(a);
    for (size_t i = 0; i < a->backends.count; i++) {
        size_t n = 0;
        if (a->backends.items[i].ops->list(a->backends.items[i].state, list, MAX_DEVICES, &n, &err) != 0)
            fg_log_warn("the devices of %s cannot be looked at: %s", a->backends.items[i].ops->name, err.text);
        for (size_t d = 0; d < n; d++)
            changed |= renew(a, &list[d]);
    }
    if (changed)
        link_close(a);                   /* the next hello tells */
}

/* The host processor must be there; what another backend cannot do is said, and the machine goes on without it. */
int devices_open(struct agent *a, struct fg_error *err)
{
    for (size_t i = 0; i < FG_COUNT(backends); i++) {
        if (open_backend(a, backends[i], err) == 0)
            continue;
        if (i == 0 || err->code == FG_E_INVALID)
            return -1;
        if (err->code != FG_E_UNSUPPORTED) /* a machine without such devices is no news */
            fg_log_warn("no devices of %s: %s", backends[i]->name, err->text);
    }
    return 0;
}

void devices_close(struct agent *a)
{
    for (size_t i = 0; i < a->backends.count; i++)
        a->backends.items[i].ops->close(a->backends.items[i].state);
    fg_vec_fini(&a->backends);
    fg_vec_fini(&a->device_list);
}

const struct backend *devices_backend(const struct agent *a, const char *device)
{
    const char *backend = NULL;
    for (size_t i = 0; i < a->device_list.count; i++)
        if (strcmp(a->device_list.items[i].name, device) == 0)
            backend = a->device_list.items[i].backend;
    for (size_t i = 0; i < a->backends.count; i++) {
        const char *name = a->backends.items[i].ops->name;
        if (backend ? strcmp(name, backend) == 0 : strncmp(device, name, strlen(name)) == 0)
            return &a->backends.items[i];
    }
    return &a->backends.items[0];
}

struct orphans { struct agent *agent; const struct backend *backend; const char *device; };

static void drop_orphan(void *arg, const char *name)
{
    const struct orphans *o = arg;
    struct agent *a = o->agent;
    const struct backend *b = o->backend;
    struct fg_error err;
    for (size_t i = 0; i < a->attempts.count; i++)
        if (strcmp(a->attempts.items[i]->name, name) == 0)
            return;
    b->ops->kill(b->state, o->device, name, NULL);
    int rc = -1;
    for (int i = 0; i < 20 && rc != 0; i++) {
        rc = b->ops->destroy(b->state, o->device, name, &err);
        if (rc != 0)
            usleep(10000);
    }
    if (rc == 0)
        fg_log_info("vGPU %s was nobody's and is gone", name);
    else
        fg_log_warn("vGPU %s is nobody's and stays: %s", name, err.text);
}

void devices_drop_orphans(struct agent *a)
{
    for (size_t i = 0; i < a->device_list.count; i++) {
        const char *device = a->device_list.items[i].name;
        struct orphans o = {a, devices_backend(a, device), device};
        o.backend->ops->names(o.backend->state, device, drop_orphan, &o, NULL);
    }
}
