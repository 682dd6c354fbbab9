/* preempt.c - the head of the line takes the place of those that may be asked to go.
 *
 * Only when it would wait for longer than PATIENCE: a task that ends by itself in a moment is not killed. Those chosen
 * are killed for reason preempted, which queues them again with attempt + 1 and costs them no retry; their device is held
 * for the head meanwhile. Of a gang all go, since the rest could not go on. Which kills were sent is soft: after a restart
 * the head is the head again and asks again. */
#include "base/units.h"
#include "control/core_private.h"
#include "plan/preempt.h"

#define PATIENCE_NS (5 * FG_NS_PER_S)

/* In a borrowed place all are as spot tasks. */
static int rank_of(const struct entry *e) { return e->t.lease.borrowed ? 0 : core_rank(e); }

static bool may_go(const struct fg_core *core, const struct entry *e, int rank)
{
    return (e->t.spec.preemptible || e->t.spec.spot) && rank_of(e) < rank && core_end_helps(core, e) && !e->killing && !e->t.cancel_requested;
}

void core_make_go(struct fg_core *core, struct entry *e, int64_t now_ns, struct fg_effects *fx)
{
    const struct gang *g = e->t.spec.gang ? gang_of(core, e->t.spec.array) : NULL;
    for (struct entry *one = g ? g->first : e; one; one = g ? one->gang_next : NULL)
        if (one->t.lease_live && !one->killing && !one->t.cancel_requested) {
            core_kill(core, one, FG_REASON_PREEMPTED, now_ns, fx);
            core->plan_stats.preempted++;
        }
}

static void hold_part(struct fg_reservation *r, fg_device_id device, bool beside)
{
    size_t k = 0;
    while (k < r->count && r->parts[k].device != device)
        k++;
    if (k == r->count)
        r->parts[r->count++] = (struct fg_reserved){.device = device, .beside = beside};
    r->parts[k].tasks++;
}

/* The places that are made are what is held for it from now on. */
void core_hold_places(struct fg_core *core, struct fg_reservation *r, const struct fg_need *need, const fg_device_id *devices, uint32_t n, int64_t now_ns)
{
    r->parts = fg_realloc(r->parts, 2 * (size_t)n, sizeof *r->parts);
    r->count = 0;
    r->start_ns = now_ns;
    r->latest_ns = now_ns;
    for (uint32_t i = 0; i < n; i++) {
        const struct device *host = core_host_of(core, core_device(core, devices[i]));
        hold_part(r, devices[i], false);
        if (fg_asks_host(need) && host && host->d.id != devices[i])
            hold_part(r, host->d.id, true);
    }
    for (size_t k = 0; k < r->count; k++) {
        const struct device *d = core_device(core, r->parts[k].device);
        for (const struct entry *e = d->first; e; e = e->device_next)
            r->latest_ns = e->killing ? FG_MAX(r->latest_ns, core_end_latest(e, now_ns)) : r->latest_ns;
        for (const struct entry *e = d->beside; e; e = e->host_next)
            r->latest_ns = e->killing ? FG_MAX(r->latest_ns, core_end_latest(e, now_ns)) : r->latest_ns;
    }
}

/* What those leave of a processor. */
static void leave_host(const struct device *host, uint64_t *bytes, uint64_t *milli)
{
    *bytes = *milli = 0;
    for (const struct entry *e = host->first; e; e = e->device_next)
        if (e->killing) {
            *bytes += e->t.lease.memory_bytes;
            *milli += (uint64_t)e->t.lease.share_permille * host->d.units;
        }
    for (const struct entry *e = host->beside; e; e = e->host_next)
        if (e->killing) {
            *bytes += e->t.lease.host_bytes;
            *milli += e->t.lease.cpus_milli;
        }
}

static void prepare_host(const struct device *host, struct fg_plan_device *plan)
{
    uint64_t bytes, milli;
    leave_host(host, &bytes, &milli);
    plan->host_free_bytes = FG_MIN(plan->host_free_bytes + bytes, plan->host_memory_bytes);
    plan->host_free_milli = (uint32_t)FG_MIN(plan->host_free_milli + milli, (uint64_t)plan->cores * 1000);
    if (plan->is_host) {
        plan->memory_free_bytes = plan->host_free_bytes;
        plan->share_free_permille = plan->host_free_milli / plan->cores;
    }
}

/* As if those that were asked to go had gone; what is held for another is not to be had. */
static void prepare(struct fg_core *core, size_t index, const struct fg_need *need)
{
    bool asks = fg_asks_host(need);
    core->plan_fresh = false;            /* it is spoilt here */
    for (size_t i = 0; i < core->plan_devices.count; i++) {
        struct fg_plan_device *plan = &core->plan_devices.items[i];
        for (const struct entry *e = core_device(core, plan->id)->first; e; e = e->device_next)
            if (e->killing && core_end_helps(core, e)) {
                plan->memory_free_bytes = FG_MIN(plan->memory_free_bytes + e->t.lease.memory_bytes, plan->memory_bytes);
                plan->share_free_permille = FG_MIN(plan->share_free_permille + e->t.lease.share_permille, 1000u);
            }
        if (plan->host && (asks || plan->is_host) && core_device_usable(core_device(core, plan->host)))
            prepare_host(core_device(core, plan->host), plan);
        for (size_t r = 0; r < core->reservation_count; r++)
            for (size_t k = 0; r != index && k < core->reservations[r].count; k++)
                plan->usable = plan->usable && core->reservations[r].parts[k].device != plan->id &&
                               (!asks || !plan->host || core->reservations[r].parts[k].device != plan->host);
    }
}

/* Soon enough by itself, or just asked for. */
static bool is_patient(const struct fg_reservation *r, int64_t now_ns)
{
    int64_t wait = r->start_ns - now_ns;
    return wait >= -PATIENCE_NS && wait < PATIENCE_NS;
}

struct asked { FG_VEC(struct fg_plan_victim) victims; FG_VEC(struct entry *) entries; };

static void list_victims(struct fg_core *core, int rank, struct asked *a)
{
    for (size_t i = 0; i < core->devices.count; i++)
        for (struct entry *e = core->devices.items[i].first; e; e = e->device_next)
            if (may_go(core, e, rank)) {
                fg_vec_push(&a->victims, (struct fg_plan_victim){
                    .device = e->t.lease.device, .index = (uint32_t)a->entries.count, .memory_bytes = e->t.lease.memory_bytes,
                    .share_permille = e->t.lease.share_permille, .host = e->t.lease.host, .host_milli = e->t.lease.cpus_milli,
                    .host_bytes = e->t.lease.host_bytes, .rank = rank_of(e), .started_ns = e->t.lease.granted_ns});
                fg_vec_push(&a->entries, e);
            }
}

void preempt_for(struct fg_core *core, size_t index, const struct fg_plan_task *task, int64_t now_ns, struct fg_effects *fx)
{
    struct fg_reservation *r = &core->reservations[index];
    struct asked asked = {0};
    uint32_t n = FG_MAX(task->together, 1u);
    if (!core->preemptible_live || task->rank == 0 || is_patient(r, now_ns))
        return;
    prepare(core, index, &task->need);
    list_victims(core, task->rank, &asked);
    struct fg_snapshot snap = {.devices = core->plan_devices.items, .device_count = core->plan_devices.count, .now_ns = now_ns};
    FG_AUTO_FREE fg_device_id *devices = fg_alloc(n * sizeof *devices);
    if (asked.victims.count && fg_preempt(&snap, task, asked.victims.items, asked.victims.count, devices)) {
        for (size_t i = 0; i < asked.victims.count; i++)
            if (asked.victims.items[i].chosen)
                core_make_go(core, asked.entries.items[asked.victims.items[i].index], now_ns, fx);
        core_hold_places(core, r, &task->need, devices, n, now_ns);
    }
    fg_vec_fini(&asked.victims);
    fg_vec_fini(&asked.entries);
}
