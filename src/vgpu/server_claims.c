/* server_claims.c - a server among the other arbiters of its machine: what they gave away is not given again, and while they use
 * a device, so much of its time is theirs.
 *
 * Memory and share are settled at admission, over all arbiters (claims.h). Time is not: each arbiter gives windows to its own
 * vGPUs alone, and windows of two arbiters may overlap. So the others' share enters our arbiter as a guest, one more vGPU that
 * always wants the device; its windows pass with nobody of ours running. Who is alone in using the device has no guest. */
#include <stdio.h>
#include <string.h>

#include "vgpu/server_private.h"

#define GUEST_ID UINT64_MAX

int fg_vgpu_server_device_key(struct fg_vgpu_server *server, const char *name, const char *key, struct fg_error *err)
{
    int result = fg_fail(NULL, FG_E_NOT_FOUND, "no device");
    pthread_mutex_lock(&server->mutex);
    for (size_t i = 0; i < server->devices.count; i++)
        if (!strcmp(server->devices.items[i]->name, name)) {
            snprintf(server->devices.items[i]->key, sizeof server->devices.items[i]->key, "%s", key);
            result = 0;
        }
    pthread_mutex_unlock(&server->mutex);
    return result == 0 ? 0 : fg_fail(err, FG_E_NOT_FOUND, "there is no device '%s'", name);
}

static int others_of(struct fg_vgpu_server *server, const struct device *device, struct fg_claim_sum *ret, struct fg_error *err)
{
    *ret = (struct fg_claim_sum){0};
    return server->claims && device->key[0] ? fg_claims_others(server->claims, device->key, fg_boot_ns(), ret, err) : 0;
}

int fg_vgpu_server_others(struct fg_vgpu_server *server, const char *name, struct fg_claim_sum *ret, struct fg_error *err)
{
    int result = 0;
    *ret = (struct fg_claim_sum){0};
    pthread_mutex_lock(&server->mutex);
    for (size_t i = 0; i < server->devices.count && result == 0; i++)
        if (!strcmp(server->devices.items[i]->name, name))
            result = others_of(server, server->devices.items[i], ret, err);
    pthread_mutex_unlock(&server->mutex);
    return result;
}

int fg_vgpu_server_claims_fd(const struct fg_vgpu_server *server) { return server->claims ? fg_claims_fd(server->claims) : -1; }

/* --- admission --- */

static void add_spec(struct fg_claim *sum, const struct fg_lease_spec *spec)
{
    sum->leases++;
    sum->memory_bytes += spec->memory_bytes;
    sum->share_permille += spec->share_permille;
    sum->alone |= spec->mode == FG_SHARE_EXCLUSIVE;
}

/* Two sums, of what is promised (all but what is borrowed) and of what is there (all but what is aside): the others are told the
 * larger, so that a place that we lend among ourselves is none for them. more: one more lease as well, or NULL. */
static struct fg_claim sum_but(const struct fg_vgpu_server *server, const struct device *device, const struct lease *self,
                               const struct fg_lease_spec *more)
{
    struct fg_claim promised = {0}, there = {0};
    for (size_t i = 0; i < server->leases.count; i++) {
        const struct lease *lease = server->leases.items[i];
        if (lease == self || (lease->device != device && lease->to != device))
            continue;
        if (!(lease->spec.flags & FG_LIMIT_BORROWED))
            add_spec(&promised, &lease->spec);
        if (!lease->aside || lease->to == device)
            add_spec(&there, &lease->spec);
    }
    if (more && !(more->flags & FG_LIMIT_BORROWED))
        add_spec(&promised, more);
    if (more)
        add_spec(&there, more);
    return (struct fg_claim){.leases = FG_MAX(promised.leases, there.leases), .memory_bytes = FG_MAX(promised.memory_bytes, there.memory_bytes),
                             .share_permille = FG_MAX(promised.share_permille, there.share_permille), .alone = promised.alone || there.alone};
}

void fg_vgpu_claim_again(struct fg_vgpu_server *server, struct device *device)
{
    struct fg_claim now = sum_but(server, device, NULL, NULL);
    if (server->claims && device->key[0])
        fg_claims_set(server->claims, device->key, &now, NULL);
}

static int fits_beside(const struct device *device, const struct fg_claim *want, const struct fg_claim_sum *others, struct fg_error *err)
{
    const struct fg_claim *theirs = &others->all;
    if (theirs->alone)
        return fg_fail(err, FG_E_CONFLICT, "device '%s' is held alone by user %u", device->name, (unsigned)others->most);
    if (want->alone && others->holders)
        return fg_fail(err, FG_E_CONFLICT, "device '%s' cannot be held alone: user %u has leases on it", device->name, (unsigned)others->most);
    if (want->memory_bytes + theirs->memory_bytes > device->memory_bytes)
        return fg_fail(err, FG_E_CONFLICT, "device '%s' has not that much memory left: other users have %llu bytes of it", device->name,
                       (unsigned long long)theirs->memory_bytes);
    if (want->share_permille + theirs->share_permille > 1000)
        return fg_fail(err, FG_E_CONFLICT, "device '%s' has not that much compute left: other users have %u permille of it", device->name,
                       theirs->share_permille);
    return 0;
}

int fg_vgpu_claim(struct fg_vgpu_server *server, struct device *device, const struct lease *self, const struct fg_lease_spec *spec,
                  struct fg_error *err)
{
    struct fg_claim_sum others;
    struct fg_claim want = sum_but(server, device, self, spec);
    if (!server->claims || !device->key[0])
        return 0;
    /* said first, looked then: of two at once at least one sees the other */
    if (fg_claims_set(server->claims, device->key, &want, err) == 0 && others_of(server, device, &others, err) == 0 &&
        fits_beside(device, &want, &others, err) == 0)
        return 0;
    fg_vgpu_claim_again(server, device);
    return -1;
}

/* --- the guest --- */

static void set_guest(struct fg_vgpu_server *server, struct device *device, uint32_t permille)
{
    struct guest *guest = &device->guest;
    if (permille == guest->share_permille)
        return;
    if (guest->place >= 0 && permille)
        fg_arbiter_set(&device->arbiter, guest->place, permille, FG_SHARE_WEIGHTED, 0);
    else if (guest->place >= 0)
        fg_arbiter_remove(&device->arbiter, guest->place);
    else
        guest->place = fg_arbiter_add(&device->arbiter, GUEST_ID, permille, FG_SHARE_WEIGHTED, 0, guest->charged_ns);
    if (!permille)
        guest->place = -1;
    if (guest->place >= 0)
        device->arbiter.vgpus[guest->place].outside = 1;
    guest->share_permille = guest->place >= 0 ? permille : 0;
    guest->end_ns = 0;
    fg_vgpu_wake(server);
}

struct fg_arbiter_input fg_guest_input(struct guest *guest, int64_t now_ns)
{
    if (guest->end_ns <= now_ns)
        guest->end_ns = 0;
    return (struct fg_arbiter_input){.charged_ns = guest->charged_ns, .processes = 1, .waiting = 1, .inflight = guest->end_ns != 0,
                                     .inflight_ns = guest->end_ns ? (uint64_t)(guest->end_ns - now_ns) : 0};
}

void fg_guest_grant(struct device *device, const struct fg_arbiter_grant *grant, int64_t now_ns)
{
    struct guest *guest = &device->guest;
    if (!guest->end_ns && grant->allow_ns > guest->charged_ns) {
        guest->charged_ns += device->arbiter.params.window_ns;
        guest->end_ns = now_ns + (int64_t)device->arbiter.params.window_ns;
    }
    if (guest->end_ns)
        device->next_ns = FG_MIN(device->next_ns, guest->end_ns);
}

void fg_vgpu_claims_look(struct fg_vgpu_server *server)
{
    int64_t now = fg_boot_ns();
    for (size_t d = 0; d < server->devices.count && server->claims; d++) {
        struct device *device = server->devices.items[d];
        struct fg_claim_sum others = {0};
        uint64_t charged = 0;
        bool busy = false, any = false;
        for (size_t i = 0; i < server->leases.count; i++) {
            const struct lease *lease = server->leases.items[i];
            if (lease->device != device || lease->place < 0)
                continue;
            struct fg_arbiter_input in = fg_vgpu_input(lease);
            any = true;
            busy |= in.waiting || in.inflight;
            charged += in.charged_ns;
        }
        if (busy || charged != device->charged_ns)
            fg_claims_busy(server->claims, device->key, now);
        device->charged_ns = charged;
        if (any)
            others_of(server, device, &others, NULL);
        set_guest(server, device, others.active_permille);
    }
}
