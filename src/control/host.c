/* host.c - what tasks hold of their machine's processor beside their devices. Decision 0056.
 *
 *     cpu0   |<-- shares of tasks whose device it is -->|<-- parts beside other devices (host_milli) -->|   cores x 1000 milli
 *
 * A part is in the lease (host, cpus_milli, host_bytes) and in the books of the processor: its bytes in the same sum as the memory
 * of the tasks there, its cores in thousandths beside their shares. So neither kind of task can take what the other was given.
 * It is given back with the lease, and a move or a parked memory on the same machine leaves it as it is. */
#include <string.h>

#include "base/units.h"
#include "control/core_private.h"
#include "model/price.h"

/* The first healthy one that says how many cores it has. */
void core_find_host(struct fg_core *core, struct node *n)
{
    n->host = 0;
    for (const struct device *d = NULL; (d = core_next_device(core, n, d));)
        if (d->d.healthy && d->d.units && strcmp(d->d.backend, "cpu") == 0 && (!n->host || d->d.id < n->host))
            n->host = d->d.id;
}

struct device *core_host_of(const struct fg_core *core, const struct device *d) { return d->node ? core_device(core, d->node->host) : NULL; }

uint32_t core_share_beside(const struct device *d)
{
    uint32_t cores = FG_MAX(d->d.units, 1u);
    return (uint32_t)FG_MIN((d->host_milli + cores - 1) / cores, (uint64_t)1000);
}

/* Thousandths of a core that are nobody's, those that are lent to elastic tasks among them. */
static uint64_t free_milli(const struct device *d)
{
    uint64_t all = (uint64_t)d->d.units * 1000, shares = (uint64_t)FG_MIN(d->share_used_permille, 1000u) * d->d.units;
    return all - shares > d->host_milli ? all - shares - d->host_milli : 0;
}

void core_plan_host(const struct fg_core *core, const struct device *d, bool empty, struct fg_plan_device *ret)
{
    const struct device *host = core_host_of(core, d);
    if (!host)
        return;
    struct fg_price price = core_price(core, host->d.kind);
    uint64_t memory = core_memory_for_tasks(core, host), used = empty ? 0 : core_device_usable(host) ? core_memory_held(host) : memory;
    ret->machine = d->node->number;
    ret->host = host->d.id;
    ret->is_host = host == d;
    ret->cores = host->d.units;
    ret->host_kind = host->d.kind;
    ret->host_memory_bytes = memory;
    ret->host_free_bytes = memory > used ? memory - used : 0;
    ret->host_free_milli = (uint32_t)(empty ? (uint64_t)host->d.units * 1000 : core_device_usable(host) ? free_milli(host) : 0);
    ret->host_price_nanousd_per_s = price.nanousd_per_s;
    ret->host_spot_nanousd_per_s = price.spot_nanousd_per_s;
}

bool core_could_hold(const struct fg_core *core, const struct device *d, const struct fg_need *need)
{
    struct fg_plan_device plan = {.kind = d->d.kind, .memory_bytes = core_memory_for_tasks(core, d)};
    core_plan_host(core, d, true, &plan);
    return fg_could_hold(&plan, need);
}

uint64_t core_memory_beside(const struct fg_core *core, const struct fg_need *need)
{
    const struct device *largest = core_largest(core, need->device_kind);
    struct fg_need rest = *need;
    uint64_t most = 0;
    rest.memory_bytes = 0;
    if (!largest || core_could_hold(core, largest, need))
        return need->memory_bytes;
    for (size_t i = 0; i < core->devices.count; i++) {
        const struct device *d = &core->devices.items[i];
        uint64_t memory = d->d.id ? core_memory_for_tasks(core, d) : 0, other = d->d.id && core_host_of(core, d) == d ? need->host_bytes : 0;
        if (memory > other && memory - other > most && core_could_hold(core, d, &rest))
            most = memory - other;
    }
    return most ? FG_MIN(need->memory_bytes, most) : need->memory_bytes;
}

/* --- leases --- */

void core_host_lease(struct fg_core *core, const struct fg_placement *p, bool spot, int64_t now_ns, struct fg_lease *lease, struct fg_effects *fx)
{
    struct device *host = core_host_of(core, core_device(core, p->device));
    if (!p->cpus_milli && !p->host_bytes)
        return;
    core_assert(host);
    struct fg_price price = core_price(core, host->d.kind);
    uint32_t before = core_share_beside(host), cores = FG_MAX(host->d.units, 1u);
    core_take_back(core, host, (uint32_t)((host->host_milli + p->cpus_milli + cores - 1) / cores) - before, now_ns, fx);
    lease->host = host->d.id;
    lease->cpus_milli = p->cpus_milli;
    lease->host_bytes = p->host_bytes;
    lease->host_permille = fg_price_host_permille(p->host_bytes, host->d.memory_bytes, p->cpus_milli, host->d.units);
    lease->host_price_nanousd_per_s = spot && price.spot_nanousd_per_s > 0 ? price.spot_nanousd_per_s : price.nanousd_per_s;
}

int core_host_check(const struct fg_core *core, const struct fg_lease *l, struct fg_error *err)
{
    const struct device *host = core_device(core, l->host);
    if (!l->host)
        return l->cpus_milli || l->host_bytes ? fg_fail(err, FG_E_INTERNAL, "a part of no processor") : 0;
    if (!host || host->d.id == l->device || !fg_id_eq(host->d.node, l->node))
        return fg_fail(err, FG_E_INTERNAL, "a part of device %u, which is not beside it", l->host);
    uint64_t memory = core_memory_held(host), lent = (uint64_t)host->share_lent_permille * host->d.units;
    if (l->host_bytes > host->d.memory_bytes || memory > host->d.memory_bytes - l->host_bytes || lent + l->cpus_milli > free_milli(host))
        return fg_fail(err, FG_E_INTERNAL, "device %u has no room for the part beside the lease", l->host);
    return 0;
}

void core_host_link(struct fg_core *core, struct entry *e, int by)
{
    const struct fg_lease *l = &e->t.lease;
    struct device *host = core_device(core, l->host);
    core_plan_changed(core, l->device);
    if (!host)
        return;
    core_plan_changed(core, l->host);
    host->host_milli += by > 0 ? l->cpus_milli : 0 - (uint64_t)l->cpus_milli;
    host->memory_used_bytes += by > 0 ? l->host_bytes : 0 - l->host_bytes;
    if (by > 0) {
        e->host_prev = NULL;
        e->host_next = host->beside;
        if (host->beside)
            host->beside->host_prev = e;
        host->beside = e;
        return;
    }
    if (e->host_prev)
        e->host_prev->host_next = e->host_next;
    else
        host->beside = e->host_next;
    if (e->host_next)
        e->host_next->host_prev = e->host_prev;
    e->host_prev = e->host_next = NULL;
    core_lend_later(core, host, l->granted_ns);
}

/* --- what ends there --- */

/* Whether the leases of the whole machine matter to the need, not those of the device alone. */
static bool whole(const struct fg_core *core, const struct device *d, const struct fg_need *need)
{
    const struct device *host = core_host_of(core, d);
    return host && (fg_asks_host(need) || host->beside);
}

bool core_list_machines(struct fg_core *core, const struct fg_need *need, struct some_devices *list, core_lease_fn *make, double z, int64_t now_ns)
{
    bool all = true;
    core->machine_marks++;
    for (size_t i = 0; i < list->devices.count; i++) {
        const struct device *d = core_device(core, list->devices.items[i].id);
        struct node *n = d->node;
        if (!whole(core, d, need)) {
            all = false;
            continue;
        }
        if (n->mark == core->machine_marks)
            continue;
        n->mark = core->machine_marks;
        for (const struct entry *e = n->leases; e; e = e->lease_next)
            fg_vec_push(&list->leases, make(core, e, z, now_ns));
    }
    return all;
}

/* For the devices that core_list_machines left to the caller. */
bool core_listed(const struct fg_core *core, const struct device *d) { return d->node->mark == core->machine_marks; }

void core_verify_hosts(const struct fg_core *core)
{
    for (size_t i = 0; i < core->devices.count; i++) {
        const struct device *d = &core->devices.items[i];
        uint64_t milli = 0;
        for (const struct entry *e = d->beside; e; e = e->host_next) {
            core_assert(e->linked && e->t.lease.host == d->d.id && (!e->host_next || e->host_next->host_prev == e));
            core_assert(fg_id_eq(e->t.lease.node, d->d.node) && e->t.lease.device != d->d.id);
            milli += e->t.lease.cpus_milli;
        }
        core_assert(milli == d->host_milli);
    }
}
