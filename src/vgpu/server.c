/* server.c - leases: made, admitted, changed, shown, closed. The threads are in server_loop.c. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "vgpu/server_private.h"

#define FLAGS_SETTABLE (FG_LIMIT_LATENCY | FG_LIMIT_FAIL_CLOSED | FG_LIMIT_UNGATED | FG_LIMIT_BORROWED)
#define UNBOUND_NS     (UINT64_C(1) << 43)

struct device *fg_vgpu_device_by_name(struct fg_vgpu_server *server, const char *name)
{
    for (size_t i = 0; i < server->devices.count; i++)
        if (!strcmp(server->devices.items[i]->name, name))
            return server->devices.items[i];
    return NULL;
}

struct lease *fg_vgpu_lease_by_id(struct fg_vgpu_server *server, const char *id, struct fg_error *err)
{
    for (size_t i = 0; i < server->leases.count; i++)
        if (!strcmp(server->leases.items[i]->spec.id, id))
            return server->leases.items[i];
    fg_fail(err, FG_E_NOT_FOUND, "there is no lease '%s'", id);
    return NULL;
}

/* Text that fits a field of the page and stands on one line. */
static int name_ok(const char *name)
{
    size_t n = strnlen(name, 64);
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)name[i] < ' ' || name[i] == 127)
            return 0;
    return n > 0 && n < 64;
}

int fg_vgpu_server_create(struct fg_vgpu_server **ret, const struct fg_vgpu_server_config *config, struct fg_error *err)
{
    struct fg_vgpu_server *server = fg_alloc(sizeof *server);
    if (config)
        server->config = *config;
    if (!server->config.vanish_ns)
        server->config.vanish_ns = 1000000000;
    if (server->config.claims_folder &&
        fg_claims_open(&server->claims, server->config.claims_folder, server->config.claims_scope, err) != 0) {
        free(server);
        return -1;
    }
    pthread_mutex_init(&server->mutex, NULL);
    server->pid_ns = fg_process_own_ns();
    server->epoll = epoll_create1(EPOLL_CLOEXEC);
    server->nudge = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN};
    int failed = server->epoll < 0 || server->nudge < 0 || epoll_ctl(server->epoll, EPOLL_CTL_ADD, server->nudge, &event) != 0;
    if (!failed && !(failed = pthread_create(&server->loop, NULL, fg_vgpu_loop, server) != 0))
        server->started = 1;
    if (!failed && !(failed = pthread_create(&server->reaper, NULL, fg_vgpu_reaper, server) != 0))
        server->started = 2;
    if (failed) {
        fg_fail(err, FG_E_INTERNAL, "start the share arbiter: %m");
        fg_vgpu_server_destroy(server);
        return -1;
    }
    *ret = server;
    return 0;
}

/* Stop everybody's use of the lease, and let its files go. Mutex held. */
static void end_lease(struct fg_vgpu_server *server, struct lease *lease)
{
    if (lease->limits) {
        fg_put(&lease->limits->flags, lease->spec.flags | FG_LIMIT_CLOSED);
        fg_put(&lease->limits->allow_ns, 0);
        fg_add(&lease->limits->generation, 1);
        fg_add(&lease->limits->grant_seq, 1);
        syscall(SYS_futex, &lease->limits->grant_seq, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
    }
    if (lease->place >= 0) {
        fg_arbiter_remove(&lease->device->arbiter, lease->place);
        lease->device->by_place[lease->place] = NULL;
    }
    for (unsigned i = 0; i < FG_SLOTS; i++)
        fg_vgpu_unwatch(server, &lease->watches[i]);
    if (lease->limits)
        munmap(lease->limits, 4096);
    if (lease->counters)
        munmap(lease->counters, sizeof *lease->counters);
    if (lease->limits_fd >= 0)
        close(lease->limits_fd);
    if (lease->counters_fd >= 0)
        close(lease->counters_fd);
    free(lease);
}

void fg_vgpu_server_destroy(struct fg_vgpu_server *server)
{
    if (!server)
        return;
    pthread_mutex_lock(&server->mutex);
    server->stopping = 1;
    pthread_mutex_unlock(&server->mutex);
    eventfd_t one = 1;
    if (server->nudge >= 0 && write(server->nudge, &one, sizeof one) < 0)
        one = 0; /* full: it is awake anyway */
    fg_vgpu_wake(server);
    if (server->started > 0)
        pthread_join(server->loop, NULL);
    if (server->started > 1)
        pthread_join(server->reaper, NULL);
    for (size_t i = 0; i < server->leases.count; i++)
        end_lease(server, server->leases.items[i]);
    for (size_t i = 0; i < server->devices.count; i++)
        free(server->devices.items[i]);
    fg_vec_fini(&server->leases);
    fg_vec_fini(&server->devices);
    if (server->epoll >= 0)
        close(server->epoll);
    if (server->nudge >= 0)
        close(server->nudge);
    pthread_mutex_destroy(&server->mutex);
    fg_claims_close(server->claims);
    free(server);
}

void fg_vgpu_server_leave(struct fg_vgpu_server *server)
{
    if (!server)
        return;
    pthread_mutex_lock(&server->mutex);
    for (size_t i = 0; i < server->leases.count; i++) { /* nothing is written to what is not mapped; the loop must not look either */
        struct lease *lease = server->leases.items[i];
        munmap(lease->limits, 4096);
        lease->limits = NULL;
        end_lease(server, lease);
    }
    server->leases.count = 0;
    pthread_mutex_unlock(&server->mutex);
    fg_vgpu_server_destroy(server);
}

int fg_vgpu_server_device(struct fg_vgpu_server *server, const char *name, uint64_t memory_bytes, struct fg_error *err)
{
    if (!name_ok(name))
        return fg_fail(err, FG_E_INVALID, "a device's name has 1 to 63 printable characters");
    if (!memory_bytes)
        return fg_fail(err, FG_E_INVALID, "device '%s' has no memory to lease", name);
    pthread_mutex_lock(&server->mutex);
    struct device *device = fg_vgpu_device_by_name(server, name);
    if (!device) {
        device = fg_alloc(sizeof *device);
        snprintf(device->name, sizeof device->name, "%s", name);
        device->guest.place = -1;
        fg_arbiter_init(&device->arbiter, &server->config.arbiter, fg_boot_ns());
        fg_vec_push(&server->devices, device);
    }
    device->memory_bytes = memory_bytes;
    pthread_mutex_unlock(&server->mutex);
    return 0;
}

/* Does the spec make sense by itself? */
static int check_spec(const struct fg_lease_spec *spec, const struct device *device, struct fg_error *err)
{
    if (spec->memory_bytes < 1 || spec->memory_bytes > FG_MEMORY_MAX)
        return fg_fail(err, FG_E_INVALID, "a memory quota is 1 byte to 2 TiB, not %llu bytes", (unsigned long long)spec->memory_bytes);
    if (spec->memory_bytes > device->memory_bytes)
        return fg_fail(err, FG_E_INVALID, "the quota of %llu bytes is larger than device '%s' (%llu bytes)",
                       (unsigned long long)spec->memory_bytes, device->name, (unsigned long long)device->memory_bytes);
    if (spec->share_permille < 1 || spec->share_permille > 1000)
        return fg_fail(err, FG_E_INVALID, "a share is 1 to 1000 permille, not %u", spec->share_permille);
    if ((unsigned)spec->mode > FG_SHARE_EXCLUSIVE)
        return fg_fail(err, FG_E_INVALID, "mode %d is none of weighted, capped, exclusive", (int)spec->mode);
    if (spec->flags & ~(uint32_t)FLAGS_SETTABLE)
        return fg_fail(err, FG_E_INVALID, "flags 0x%x are not for a caller to set", spec->flags & ~(uint32_t)FLAGS_SETTABLE);
    return 0;
}

struct held fg_vgpu_held(const struct fg_vgpu_server *server, const struct device *device, const struct lease *self)
{
    struct held held = {0};
    for (size_t i = 0; i < server->leases.count; i++) {
        const struct lease *lease = server->leases.items[i];
        if (lease == self || (lease->to != device && (lease->device != device || lease->aside)))
            continue;
        held.leases++;
        held.memory_bytes += lease->spec.memory_bytes;
        held.share_permille += lease->spec.share_permille;
        if (lease->spec.mode == FG_SHARE_EXCLUSIVE)
            held.alone = lease;
    }
    return held;
}

int fg_vgpu_admit(struct fg_vgpu_server *server, const struct fg_lease_spec *spec, const struct device *device, const struct lease *self,
                  struct fg_error *err)
{
    struct held held = fg_vgpu_held(server, device, self);
    if (held.alone)
        return fg_fail(err, FG_E_CONFLICT, "device '%s' is held alone by lease '%s'", device->name, held.alone->spec.id);
    if (held.leases && spec->mode == FG_SHARE_EXCLUSIVE)
        return fg_fail(err, FG_E_CONFLICT, "device '%s' cannot be held alone: %u other leases are on it", device->name, held.leases);
    if (held.memory_bytes + spec->memory_bytes > device->memory_bytes)
        return fg_fail(err, FG_E_CONFLICT, "device '%s' has %llu bytes left to lease, not %llu", device->name,
                       (unsigned long long)(device->memory_bytes - FG_MIN(held.memory_bytes, device->memory_bytes)), (unsigned long long)spec->memory_bytes);
    if (held.share_permille + spec->share_permille > 1000)
        return fg_fail(err, FG_E_CONFLICT, "device '%s' has %u permille of its compute left to lease, not %u", device->name,
                       1000 - FG_MIN(held.share_permille, 1000u), spec->share_permille);
    if (held.leases + 2 >= FG_ARBITER_MAX) /* one place is for the guest */
        return fg_fail(err, FG_E_CONFLICT, "device '%s' has %u leases already", device->name, held.leases);
    return 0;
}

void fg_vgpu_publish(struct lease *lease)
{
    struct fg_limits *limits = lease->limits;
    fg_put(&limits->memory_bytes, lease->spec.memory_bytes);
    fg_put(&limits->share_permille, lease->spec.share_permille);
    fg_put(&limits->mode, lease->spec.mode);
    if (lease->spec.flags & FG_LIMIT_UNGATED) {
        fg_put(&limits->inflight_ns, UNBOUND_NS);
        fg_put(&limits->drain_ns, 0);
        fg_put(&limits->allow_ns, UINT64_MAX);
    } else if (fg_get(&limits->flags) & FG_LIMIT_UNGATED) {
        fg_put(&limits->allow_ns, 0);
    }
    if (lease->parked)
        fg_put(&limits->allow_ns, 0);
    fg_put(&limits->flags, lease->spec.flags | (lease->parked ? FG_LIMIT_PARKED : 0));
    fg_add(&limits->generation, 1);
    fg_add(&limits->grant_seq, 1);
    syscall(SYS_futex, &limits->grant_seq, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

void fg_vgpu_arbitrate(struct lease *lease)
{
    struct fg_arbiter *arbiter = &lease->device->arbiter;
    int latency = (lease->spec.flags & FG_LIMIT_LATENCY) != 0;
    if (lease->spec.flags & FG_LIMIT_UNGATED || lease->parked) {
        if (lease->place >= 0) {
            fg_arbiter_remove(arbiter, lease->place);
            lease->device->by_place[lease->place] = NULL;
        }
        lease->place = -1;
    } else if (lease->place >= 0) {
        fg_arbiter_set(arbiter, lease->place, lease->spec.share_permille, lease->spec.mode, latency);
    } else {
        lease->place = fg_arbiter_add(arbiter, lease->serial, lease->spec.share_permille, lease->spec.mode, latency,
                                      fg_get(&lease->counters->charged_ns));
        lease->device->by_place[lease->place] = lease;
    }
}

static struct lease *new_lease(struct fg_vgpu_server *server, struct device *device, const struct fg_lease_spec *spec)
{
    struct lease *lease = fg_alloc(sizeof *lease);
    lease->serial = ++server->serial;
    lease->spec = *spec;
    lease->device = device;
    lease->place = lease->limits_fd = lease->counters_fd = -1;
    for (unsigned i = 0; i < FG_SLOTS; i++)
        lease->watches[i].pidfd = -1;
    if (!lease->spec.id[0])
        snprintf(lease->spec.id, sizeof lease->spec.id, "s%llu", (unsigned long long)lease->serial);
    return lease;
}

static void begin_lease(struct fg_vgpu_server *server, struct lease *lease, char *ret_id)
{
    fg_vgpu_arbitrate(lease);
    fg_vgpu_publish(lease);
    fg_vec_push(&server->leases, lease);
    fg_vgpu_claim_again(server, lease->device); /* what is adopted runs already: it is claimed, not asked for */
    if (ret_id)
        memcpy(ret_id, lease->spec.id, sizeof lease->spec.id);
    fg_vgpu_wake(server);
}

/* The device of a spec whose names are in order and whose id is new. */
static struct device *device_for(struct fg_vgpu_server *server, const struct fg_lease_spec *spec, struct fg_error *err)
{
    if ((spec->id[0] && !name_ok(spec->id)) || !name_ok(spec->device)) {
        fg_fail(err, FG_E_INVALID, "ids and device names have 1 to 63 printable characters");
        return NULL;
    }
    if (spec->id[0] && fg_vgpu_lease_by_id(server, spec->id, NULL)) {
        fg_fail(err, FG_E_CONFLICT, "the lease '%s' exists", spec->id);
        return NULL;
    }
    struct device *device = fg_vgpu_device_by_name(server, spec->device);
    if (!device)
        fg_fail(err, FG_E_NOT_FOUND, "there is no device '%s'", spec->device);
    return device;
}

static int open_locked(struct fg_vgpu_server *server, const struct fg_lease_spec *spec, int limits_fd, char *ret_id, struct fg_error *err)
{
    struct device *device = device_for(server, spec, err);
    if (!device || check_spec(spec, device, err) != 0 || fg_vgpu_admit(server, spec, device, NULL, err) != 0 ||
        fg_vgpu_claim(server, device, NULL, spec, err) != 0)
        return -1;
    struct lease *lease = new_lease(server, device, spec);
    if (fg_vgpu_files_make(server, lease, limits_fd, err) != 0) {
        end_lease(server, lease);
        fg_vgpu_claim_again(server, device);
        return -1;
    }
    begin_lease(server, lease, ret_id);
    return 0;
}

int fg_vgpu_server_open(struct fg_vgpu_server *server, const struct fg_lease_spec *spec, char *ret_id, struct fg_error *err)
{
    pthread_mutex_lock(&server->mutex);
    int result = open_locked(server, spec, -1, ret_id, err);
    pthread_mutex_unlock(&server->mutex);
    return result;
}

int fg_vgpu_server_open_at(struct fg_vgpu_server *server, const struct fg_lease_spec *spec, int limits_fd, struct fg_error *err)
{
    pthread_mutex_lock(&server->mutex);
    int result = open_locked(server, spec, limits_fd, NULL, err);
    pthread_mutex_unlock(&server->mutex);
    return result;
}

static bool has_borrowers(const struct fg_vgpu_server *server, const struct device *device)
{
    for (size_t i = 0; i < server->leases.count; i++)
        if (server->leases.items[i]->device == device && server->leases.items[i]->spec.flags & FG_LIMIT_BORROWED)
            return true;
    return false;
}

static int adopt_locked(struct fg_vgpu_server *server, struct lease *lease, char *ret_id, struct fg_error *err)
{
    if (fg_vgpu_files_adopt(lease, err) != 0)
        return -1;
    const struct fg_limits *limits = lease->limits;
    struct fg_lease_spec *spec = &lease->spec;
    *spec = (struct fg_lease_spec){.memory_bytes = limits->memory_bytes, .share_permille = limits->share_permille,
                                   .mode = limits->mode, .flags = limits->flags & FLAGS_SETTABLE};
    memcpy(spec->id, limits->id, sizeof spec->id);
    memcpy(spec->device, limits->device, sizeof spec->device);
    lease->device = device_for(server, spec, err);
    lease->parked = lease->aside = (limits->flags & FG_LIMIT_PARKED) != 0;
    /* where places are lent, who runs runs: an owner who is back may have found his borrower not quite gone */
    bool lent = lease->device && (lease->parked || spec->flags & FG_LIMIT_BORROWED || has_borrowers(server, lease->device));
    if (!lease->device || check_spec(spec, lease->device, err) != 0 ||
        (!lent && fg_vgpu_admit(server, spec, lease->device, NULL, err) != 0))
        return -1;
    lease->limits->arbiter_pid = getpid();
    begin_lease(server, lease, ret_id);
    return 0;
}

int fg_vgpu_server_adopt(struct fg_vgpu_server *server, int limits_fd, int counters_fd, char *ret_id, struct fg_error *err)
{
    pthread_mutex_lock(&server->mutex);
    struct lease *lease = new_lease(server, NULL, &(struct fg_lease_spec){0});
    lease->limits_fd = fcntl(limits_fd, F_DUPFD_CLOEXEC, 3);
    lease->counters_fd = fcntl(counters_fd, F_DUPFD_CLOEXEC, 3);
    int result = adopt_locked(server, lease, ret_id, err);
    if (result != 0) {
        if (lease->limits)
            munmap(lease->limits, 4096);
        lease->limits = NULL; /* refused, not over: whoever runs on it goes on */
        end_lease(server, lease);
    }
    pthread_mutex_unlock(&server->mutex);
    return result;
}

int fg_vgpu_server_set(struct fg_vgpu_server *server, const struct fg_lease_spec *spec, struct fg_error *err)
{
    pthread_mutex_lock(&server->mutex);
    struct lease *lease = fg_vgpu_lease_by_id(server, spec->id, err);
    int result = -1;
    if (lease && check_spec(spec, lease->device, err) == 0 && fg_vgpu_admit(server, spec, lease->device, lease, err) == 0 &&
        fg_vgpu_claim(server, lease->device, lease, spec, err) == 0) {
        lease->spec.memory_bytes = spec->memory_bytes;
        lease->spec.share_permille = spec->share_permille;
        lease->spec.mode = spec->mode;
        lease->spec.flags = spec->flags;
        fg_vgpu_arbitrate(lease);
        fg_vgpu_publish(lease);
        fg_vgpu_wake(server);
        result = 0;
    }
    pthread_mutex_unlock(&server->mutex);
    return result;
}

int fg_vgpu_server_close(struct fg_vgpu_server *server, const char *id, struct fg_error *err)
{
    int result = -1;
    pthread_mutex_lock(&server->mutex);
    struct lease *lease = fg_vgpu_lease_by_id(server, id, err);
    for (size_t i = 0; lease && i < server->leases.count; i++) {
        if (server->leases.items[i] != lease)
            continue;
        memmove(&server->leases.items[i], &server->leases.items[i + 1], (--server->leases.count - i) * sizeof lease);
        struct device *device = lease->device, *to = lease->to;
        end_lease(server, lease);
        fg_vgpu_claim_again(server, device);
        if (to)
            fg_vgpu_claim_again(server, to);
        fg_vgpu_wake(server);
        result = 0;
        break;
    }
    pthread_mutex_unlock(&server->mutex);
    return result;
}

int fg_vgpu_server_fds(struct fg_vgpu_server *server, const char *id, int *ret_limits_fd, int *ret_counters_fd, struct fg_error *err)
{
    pthread_mutex_lock(&server->mutex);
    struct lease *lease = fg_vgpu_lease_by_id(server, id, err);
    if (lease) {
        *ret_limits_fd = lease->limits_fd;
        *ret_counters_fd = lease->counters_fd;
    }
    pthread_mutex_unlock(&server->mutex);
    return lease ? 0 : -1;
}

int fg_vgpu_server_env(struct fg_vgpu_server *server, const char *id, char *buf, size_t size, struct fg_error *err)
{
    int limits, counters;
    if (fg_vgpu_server_fds(server, id, &limits, &counters, err) != 0)
        return -1;
    int n = snprintf(buf, size, "/proc/%d/fd/%d:/proc/%d/fd/%d", getpid(), limits, getpid(), counters);
    return n >= 0 && (size_t)n < size ? 0 : fg_fail(err, FG_E_INVALID, "the buffer for " FG_LEASE_ENV " is too small");
}
