/* server_stats.c - what the counters of leases say, and whose processes they are. */
#include "vgpu/server_private.h"

static size_t processes_of(const struct lease *lease, struct fg_lease_process *ret, size_t max)
{
    size_t count = 0;
    for (unsigned i = 0; i < FG_SLOTS; i++) {
        const struct watch *watch = &lease->watches[i];
        if (watch->pidfd < 0 || watch->owner != fg_get(&lease->counters->slots[i].owner))
            continue;
        if (count < max)
            ret[count] = (struct fg_lease_process){watch->pid, fg_ledger_slot_used(lease->counters, i),
                                                   fg_get(&lease->counters->slots[i].device_ns)};
        count++;
    }
    return count;
}

size_t fg_vgpu_server_processes(struct fg_vgpu_server *server, const char *id, struct fg_lease_process *ret, size_t max)
{
    pthread_mutex_lock(&server->mutex);
    struct lease *lease = fg_vgpu_lease_by_id(server, id, NULL);
    size_t count = lease ? processes_of(lease, ret, max) : 0;
    pthread_mutex_unlock(&server->mutex);
    return count;
}

static void stats_of(const struct lease *lease, struct fg_lease_stats *ret)
{
    const struct fg_counters *counters = lease->counters;
    struct fg_arbiter_input in = fg_vgpu_input(lease);
    *ret = (struct fg_lease_stats){.spec = lease->spec, .used_bytes = fg_ledger_used(counters), .peak_bytes = fg_get(&counters->peak_bytes),
                                   .denied = fg_get(&counters->gone_denied), .device_ns = fg_get(&counters->gone_device_ns),
                                   .charged_ns = in.charged_ns, .throttle_ns = fg_get(&counters->gone_throttle_ns),
                                   .submitted = fg_get(&counters->gone_settled), .ungated = fg_get(&counters->gone_ungated),
                                   .processes = in.processes, .waiting = in.waiting, .inflight = in.inflight,
                                   .unseen = lease->unseen, .parked = lease->parked, .aside = lease->aside, .bell = fg_get(&counters->bell),
                                   .corrupt = lease->corrupt || fg_counters_check(counters, sizeof *counters) != FG_LEASE_OK};
    for (unsigned i = 0; i < FG_SLOTS; i++) {
        const struct fg_slot *slot = &counters->slots[i];
        if (fg_owner_state(fg_get(&slot->owner)) == FG_SLOT_FREE)
            continue;
        ret->denied += fg_get(&slot->denied);
        ret->device_ns += fg_get(&slot->device_ns);
        ret->throttle_ns += fg_get(&slot->throttle_ns);
        ret->submitted += fg_get(&slot->settled) + fg_inflight_jobs(fg_get(&slot->inflight));
        ret->ungated += fg_get(&slot->ungated);
        ret->held |= fg_owner_state(fg_get(&slot->owner)) == FG_SLOT_LIVE ? fg_get(&slot->held) : 0;
    }
}

int fg_vgpu_server_stats(struct fg_vgpu_server *server, const char *id, struct fg_lease_stats *ret, struct fg_error *err)
{
    pthread_mutex_lock(&server->mutex);
    struct lease *lease = fg_vgpu_lease_by_id(server, id, err);
    if (lease)
        stats_of(lease, ret);
    pthread_mutex_unlock(&server->mutex);
    return lease ? 0 : -1;
}

size_t fg_vgpu_server_list(struct fg_vgpu_server *server, struct fg_lease_stats *ret, size_t max)
{
    pthread_mutex_lock(&server->mutex);
    size_t count = server->leases.count;
    for (size_t i = 0; i < count && i < max; i++)
        stats_of(server->leases.items[i], &ret[i]);
    pthread_mutex_unlock(&server->mutex);
    return count;
}
