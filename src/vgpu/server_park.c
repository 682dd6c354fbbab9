/* server_park.c - leases whose device memory is with others: closed, put aside, asked back, moved (decision 0026).
 *
 *     park 1         aside                       back                     park 0
 *     closed ------> its place may be leased --> it is held again ------> open        back waits for room; move_to holds a place on
 *                                            `-> move_to, moved ------^               another device, moved makes that its own
 */
#include <stdio.h>
#include <string.h>

#include "vgpu/server_private.h"

int fg_vgpu_server_park(struct fg_vgpu_server *server, const char *id, int parked, struct fg_error *err)
{
    pthread_mutex_lock(&server->mutex);
    struct lease *lease = fg_vgpu_lease_by_id(server, id, err);
    int result = lease ? 0 : -1;
    if (lease && parked && lease->spec.flags & FG_LIMIT_UNGATED)
        result = fg_fail(err, FG_E_UNSUPPORTED, "the lease '%s' is not gated, so nothing would hold its submits back", id);
    if (result == 0 && lease->parked != parked) {
        lease->parked = parked;
        lease->aside = lease->aside && parked;
        fg_vgpu_arbitrate(lease);
        fg_vgpu_publish(lease);
        fg_vgpu_wake(server);
    }
    pthread_mutex_unlock(&server->mutex);
    return result;
}

/* A lease that is parked, or NULL with *err. */
static struct lease *parked_lease(struct fg_vgpu_server *server, const char *id, struct fg_error *err)
{
    struct lease *lease = fg_vgpu_lease_by_id(server, id, err);
    if (lease && !lease->parked) {
        fg_fail(err, FG_E_INVALID, "the lease '%s' is not parked", id);
        return NULL;
    }
    return lease;
}

int fg_vgpu_server_aside(struct fg_vgpu_server *server, const char *id, struct fg_error *err)
{
    pthread_mutex_lock(&server->mutex);
    struct lease *lease = parked_lease(server, id, err);
    if (lease) {
        lease->aside = 1;
        fg_vgpu_claim_again(server, lease->device);
    }
    pthread_mutex_unlock(&server->mutex);
    return lease ? 0 : -1;
}

int fg_vgpu_server_back(struct fg_vgpu_server *server, const char *id, struct fg_lease_missing *ret, struct fg_error *err)
{
    *ret = (struct fg_lease_missing){0};
    pthread_mutex_lock(&server->mutex);
    struct lease *lease = parked_lease(server, id, err);
    int result = lease ? 0 : -1;
    if (lease && lease->aside) {
        struct held held = fg_vgpu_held(server, lease->device, lease);
        uint64_t memory = held.memory_bytes + lease->spec.memory_bytes;
        uint32_t share = held.share_permille + lease->spec.share_permille;
        ret->memory_bytes = memory > lease->device->memory_bytes ? memory - lease->device->memory_bytes : 0;
        ret->share_permille = share > 1000 ? share - 1000 : 0;
        result = fg_vgpu_admit(server, &lease->spec, lease->device, lease, err);
        lease->aside = result != 0;
    }
    if (result == 0)
        fg_vgpu_claim_again(server, lease->device);
    pthread_mutex_unlock(&server->mutex);
    return result;
}

int fg_vgpu_server_move_to(struct fg_vgpu_server *server, const char *id, const char *name, struct fg_error *err)
{
    int result = -1;
    pthread_mutex_lock(&server->mutex);
    struct lease *lease = fg_vgpu_lease_by_id(server, id, err);
    struct device *to = lease && name ? fg_vgpu_device_by_name(server, name) : NULL, *before = lease ? lease->to : NULL;
    if (lease && name && !to)
        fg_fail(err, FG_E_NOT_FOUND, "there is no device '%s'", name);
    else if (lease && to == lease->device)
        fg_fail(err, FG_E_INVALID, "the lease '%s' is on '%s'", id, name);
    else if (lease) {
        lease->to = NULL;
        result = to ? fg_vgpu_admit(server, &lease->spec, to, lease, err) : 0;
        if (result == 0 && to)
            result = fg_vgpu_claim(server, to, lease, &lease->spec, err);
        lease->to = result == 0 ? to : NULL;
        if (before)
            fg_vgpu_claim_again(server, before);
    }
    pthread_mutex_unlock(&server->mutex);
    return result;
}

int fg_vgpu_server_moved(struct fg_vgpu_server *server, const char *id, struct fg_error *err)
{
    pthread_mutex_lock(&server->mutex);
    struct lease *lease = parked_lease(server, id, err);
    int result = lease && lease->to ? 0 : lease ? fg_fail(err, FG_E_INVALID, "the lease '%s' does not move", id) : -1;
    if (result == 0) {
        struct device *from = lease->device;
        lease->device = lease->to;
        lease->to = NULL;
        lease->aside = 0;
        snprintf(lease->spec.device, sizeof lease->spec.device, "%s", lease->device->name);
        memcpy(lease->limits->device, lease->spec.device, sizeof lease->limits->device);
        fg_vgpu_publish(lease);
        fg_vgpu_claim_again(server, from);
        fg_vgpu_claim_again(server, lease->device);
    }
    pthread_mutex_unlock(&server->mutex);
    return result;
}
