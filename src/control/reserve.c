/* reserve.c - what is held for the heads of the line.
 *
 * A head keeps its reservation, and with it the first place in its priority, until it starts or leaves the queue, a head
 * of a higher rank needs the place, or a device of it goes away. Its start was promised when it was made: after that
 * moment nobody else starts there. Reservations are soft: after a restart the same task is the head again, by the order
 * of the queue, and is promised anew. */
#include "base/units.h"
#include "control/core_private.h"

#define SCAN 1024u                       /* devices among which a place is sought */
#define SCAN_BESIDE 256u                 /* where all that runs on their machines must be looked at, too */
#define OVERRUN_NS (30 * FG_NS_PER_S)    /* a task at its run limit is stopped within this */

fg_id core_group(const struct entry *e)
{
    return e->line && !fg_id_is_none(e->line->gang) ? e->line->head.id : e->t.id;
}
int core_rank(const struct entry *e) { return e->t.spec.spot ? 0 : 1 + (int)e->t.spec.priority; }

static int64_t after(int64_t start_ns, int64_t span_ns)
{
    int64_t sum;
    return __builtin_add_overflow(start_ns, span_ns, &sum) ? INT64_MAX : sum;
}

int64_t core_end_latest(const struct entry *e, int64_t now_ns)
{
    const struct fg_task *t = &e->t;
    if (e->killing)
        return after(now_ns, OVERRUN_NS);
    int64_t from = t->state == FG_STATE_RUNNING ? t->started_ns : after(t->placed_ns, t->spec.limits.startup_ns);
    return t->spec.limits.run_ns > 0 ? FG_MAX(now_ns, after(after(from, t->spec.limits.run_ns), OVERRUN_NS)) : INT64_MAX;
}

/* As the 95th percentile says; one that ran longer is believed to go on to its limit. */
int64_t core_end_expected(const struct entry *e, int64_t now_ns)
{
    const struct fg_task *t = &e->t;
    if (e->killing)
        return now_ns;
    int64_t end = after(t->state == FG_STATE_RUNNING ? t->started_ns : t->placed_ns, e->p95_ns);
    return end >= now_ns ? end : core_end_latest(e, now_ns);
}

/* The end of one whose place is promised to another gives back what it holds of the processor alone. */
struct fg_plan_lease core_plan_lease(const struct fg_core *core, const struct entry *e, int64_t end_ns, int64_t latest_ns)
{
    const struct fg_lease *l = &e->t.lease;
    bool helps = core_end_helps(core, e);
    return (struct fg_plan_lease){.device = l->device, .memory_bytes = helps ? l->memory_bytes : 0, .share_permille = helps ? l->share_permille : 0,
                                  .end_ns = end_ns, .latest_ns = latest_ns, .host = l->host, .host_milli = l->cpus_milli, .host_bytes = l->host_bytes};
}

static struct fg_plan_lease lease_of(const struct fg_core *core, const struct entry *e, double z, int64_t now_ns)
{
    return core_plan_lease(core, e, core_end_expected(e, now_ns), core_end_latest(e, now_ns));
}

bool core_is_reserved(const struct fg_core *core, fg_device_id device, int most)
{
    for (size_t i = 0; i < core->reservation_count; i++)
        for (size_t k = 0; k < core->reservations[i].count; k++)
            if (core->reservations[i].parts[k].device == device && core->reservations[i].rank <= most)
                return true;
    return false;
}

/* The processor that it would hold a part of beside the device takes tasks, too. */
static bool has_processor(const struct fg_core *core, const struct fg_plan_device *d, const struct fg_need *need)
{
    const struct device *host = fg_asks_host(need) ? core_device(core, d->host) : NULL;
    return !fg_asks_host(need) || (host && core_device_usable(host));
}

/* Usable devices that could hold it, from one that changes with each lease on, so that no corner of a large cluster is
 * favoured: the first of SCAN of them to have room has it hardly later than the first of all. */
void core_some_devices(struct fg_core *core, const struct fg_plan_task *task, struct some_devices *ret)
{
    size_t n = core->plan_devices.count, most = FG_MAX((size_t)(fg_asks_host(&task->need) ? SCAN_BESIDE : SCAN), (size_t)task->together * 2);
    ret->devices.count = 0;
    for (size_t k = 0; k < n && ret->devices.count < most; k++) {
        const struct fg_plan_device *d = &core->plan_devices.items[(k + core->next_epoch) % n];
        if (d->usable && fg_could_hold(d, &task->need) && has_processor(core, d, &task->need))
            fg_vec_push(&ret->devices, *d);
    }
}

/* What lease_of reads of it, on its way from memory while others are read. */
static void fetch(const struct entry *e)
{
    if (!e)
        return;
    __builtin_prefetch(&e->t.state);
    __builtin_prefetch(&e->t.spec.limits);
    __builtin_prefetch(&e->t.lease);
    __builtin_prefetch(&e->t.started_ns);
    __builtin_prefetch(&e->device_next);
    __builtin_prefetch(&e->killing);
}

/* Several devices side by side: one list after the other would wait for memory at each step. */
static void list_leases(struct fg_core *core, const struct fg_need *need, struct some_devices *list, int64_t now_ns)
{
    enum { SIDE = 8 };
    const struct entry *at[SIDE];
    list->leases.count = 0;
    if (core_list_machines(core, need, list, lease_of, 0, now_ns))
        return;
    for (size_t i = 0; i < list->devices.count; i += SIDE) {
        size_t n = FG_MIN((size_t)SIDE, list->devices.count - i), left = n;
        for (size_t k = 0; k < n; k++) {
            const struct device *d = core_device(core, list->devices.items[i + k].id);
            fetch(at[k] = core_listed(core, d) ? NULL : d->first);
        }
        while (left > 0) {
            left = 0;
            for (size_t k = 0; k < n; k++)
                if (at[k]) {
                    fg_vec_push(&list->leases, lease_of(core, at[k], 0, now_ns));
                    fetch(at[k] = at[k]->device_next);
                    left++;
                }
        }
    }
}

const struct fg_reservation *reserve_find(const struct fg_core *core, const struct entry *e)
{
    for (size_t i = 0; i < core->reservation_count; i++)
        if (fg_id_eq(core->reservations[i].group, core_group(e)))
            return &core->reservations[i];
    return NULL;
}

const struct fg_reservation *fg_core_reservation(const struct fg_core *core, fg_id task)
{
    const struct entry *e = table_find(core, task);
    return e && e->line ? reserve_find(core, e) : NULL;
}

/* What was held may be used by others again. */
void reserve_drop(struct fg_core *core, size_t index)
{
    fg_reservation_fini(&core->reservations[index]);
    for (size_t i = index + 1; i < core->reservation_count; i++)
        core->reservations[i - 1] = core->reservations[i];
    core->reservations[--core->reservation_count] = (struct fg_reservation){0};
    core->room_version++;
    core->plan_due = true;
}

struct entry *core_waiting(const struct fg_core *core, fg_id group)
{
    struct entry *e = table_find(core, group);
    return e && e->line && fg_id_eq(core_group(e), group) ? e : NULL;
}

/* The tasks it is for still wait, ask no more than it holds, and its devices are there. */
static bool stands(const struct fg_core *core, const struct fg_reservation *r)
{
    for (size_t k = 0; k < r->count; k++) {
        const struct device *d = core_device(core, r->parts[k].device);
        if (!d || !core_device_usable(d))
            return false;
    }
    const struct entry *e = core_waiting(core, r->group);
    return e && line_ready(e->line);
}

static void count_spare(struct fg_core *core, struct fg_reservation *r, int64_t now_ns)
{
    struct fg_need need;
    core_line_need(core, core_waiting(core, r->group)->line, &need);
    for (size_t k = 0; k < r->count; k++) {
        const struct device *d = core_device(core, r->parts[k].device);
        const struct fg_plan_device *plan = core_plan_device(core, r->parts[k].device);
        core->some.leases.count = 0;
        for (const struct entry *other = d->first; other; other = other->device_next)
            fg_vec_push(&core->some.leases, lease_of(core, other, 0, now_ns));
        for (const struct entry *other = d->beside; other; other = other->host_next)
            fg_vec_push(&core->some.leases, lease_of(core, other, 0, now_ns));
        fg_reserve_spare(plan, &need, core->some.leases.items, core->some.leases.count, r->start_ns, &r->parts[k]);
    }
}

void reserve_refresh(struct fg_core *core, int64_t now_ns)
{
    for (size_t i = core->reservation_count; i > 0; i--)
        if (stands(core, &core->reservations[i - 1]))
            count_spare(core, &core->reservations[i - 1], now_ns);
        else
            reserve_drop(core, i - 1);
}

static bool overlap(const struct fg_reservation *a, const struct fg_reservation *b)
{
    for (size_t i = 0; i < a->count; i++)
        for (size_t k = 0; k < b->count; k++)
            if (a->parts[i].device == b->parts[k].device)
                return true;
    return false;
}

/* Those of no lower rank keep what they have. */
static size_t higher_first(struct fg_core *core, int rank)
{
    size_t n = 0;
    for (size_t i = 0; i < core->reservation_count; i++)
        if (core->reservations[i].rank >= rank) {
            struct fg_reservation swap = core->reservations[n];
            core->reservations[n++] = core->reservations[i];
            core->reservations[i] = swap;
        }
    return n;
}

/* What a lower head holds gives way, where it is in the way: that one is promised anew. */
bool reserve_for(struct fg_core *core, const struct fg_plan_task *task, struct line *l, int64_t now_ns)
{
    struct fg_reservation made;
    size_t keep = higher_first(core, task->rank);
    core_plan_devices(core, false);
    core_some_devices(core, task, &core->some);
    l->nowhere_at = core->some.devices.count ? 0 : core->places;
    list_leases(core, &task->need, &core->some, now_ns);
    struct fg_snapshot snap = {.devices = core->some.devices.items, .device_count = core->some.devices.count, .now_ns = now_ns,
                               .reservations = core->reservations, .reservation_count = keep};
    if (keep == FG_RESERVATIONS_MAX || !fg_reserve(&snap, task, core->some.leases.items, core->some.leases.count, &made)) {
        l->no_reserve_at = core->room_version;
        return false;
    }
    made.rank = task->rank;
    for (size_t i = core->reservation_count; i > keep; i--)
        if (overlap(&made, &core->reservations[i - 1]))
            reserve_drop(core, i - 1);
    if (core->reservation_count == FG_RESERVATIONS_MAX)
        reserve_drop(core, core->reservation_count - 1);
    core->reservations[core->reservation_count++] = made;
    core->plan_stats.reserved++;
    return true;
}
