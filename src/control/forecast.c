/* forecast.c - when a waiting task will start, and what on each device would start it. Reads only.
 *
 *     start = T0 + W / C       T0 when what runs leaves room for it, if nobody were before it (fg_reserve on expected ends)
 *                              W  device time that those before it are expected to take
 *                              C  devices that could hold it
 *     80 % band: of T0 from the 10th and 90th percentiles of what runs; of W from the spread of its tasks, independent:
 *     half widths add as squares. Run times are log-normal, as estimate.h has them. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/units.h"
#include "control/core_private.h"

#define Z90 1.2816                       /* of the normal distribution: 10 % lie beyond */
#define Z95 1.645

static double sigma_of(int64_t p50_ns, int64_t p95_ns)
{
    return p50_ns > 0 && p95_ns > p50_ns ? log((double)p95_ns / (double)p50_ns) / Z95 : 0;
}

/* When what runs ends, at so many sigmas from its median; what is late ends a quarter of its median from now. */
static int64_t end_at(const struct entry *e, double z, int64_t now_ns)
{
    int64_t from = e->t.state == FG_STATE_RUNNING ? e->t.started_ns : e->t.placed_ns;
    double span = (double)e->p50_ns * exp(z * sigma_of(e->p50_ns, e->p95_ns));
    int64_t end = span > 4e18 ? INT64_MAX / 2 : from + (int64_t)span;
    return e->killing ? now_ns : end > now_ns ? end : now_ns + e->p50_ns / 4;
}

/* The end of one whose place is promised to another gives back what it holds of the processor alone. */
static struct fg_plan_lease end_of(const struct fg_core *core, const struct entry *e, double z, int64_t now_ns)
{
    const struct fg_lease *l = &e->t.lease;
    bool helps = core_end_helps(core, e);
    int64_t end = end_at(e, z, now_ns);
    return (struct fg_plan_lease){l->device, helps ? l->memory_bytes : 0, helps ? l->share_permille : 0, end, end, l->host, l->cpus_milli, l->host_bytes};
}

static void list_ends(struct fg_core *core, const struct fg_need *need, double z, int64_t now_ns)
{
    core->some.leases.count = 0;
    core_list_machines(core, need, &core->some, end_of, z, now_ns);
    for (size_t i = 0; i < core->some.devices.count; i++) {
        const struct device *d = core_device(core, core->some.devices.items[i].id);
        for (const struct entry *e = core_listed(core, d) ? NULL : d->first; e; e = e->device_next)
            if (core_end_helps(core, e))
                fg_vec_push(&core->some.leases, end_of(core, e, z, now_ns));
    }
}

static bool room_at(struct fg_core *core, const struct fg_plan_task *task, double z, int64_t now_ns, int64_t *ret)
{
    struct fg_snapshot snap = {.devices = core->some.devices.items, .device_count = core->some.devices.count, .now_ns = now_ns};
    struct fg_reservation r;
    list_ends(core, &task->need, z, now_ns);
    if (!fg_reserve(&snap, task, core->some.leases.items, core->some.leases.count, &r))
        return false;
    *ret = r.start_ns;
    fg_reservation_fini(&r);
    return true;
}

struct work { double mean_us, var; };

static void add_line(struct fg_core *core, struct line *l, double tasks, struct work *w)
{
    double each = (double)queue_charge(core, l), sigma = sigma_of(l->estimate.p50_ns, l->estimate.p95_ns);
    w->mean_us += tasks * each;
    w->var += tasks * each * each * (exp(sigma * sigma) - 1);
}

/* part of what a tenant has waiting in a priority: its first lines stand for all. */
static void add_tenant(struct fg_core *core, const struct account *a, int priority, size_t tasks, struct work *w)
{
    struct work some = {0, 0};
    size_t seen = 0, lines = 0;
    for (struct line *l = account_line_after(a, priority, NULL); l && lines < 64; l = account_line_after(a, priority, &l->head), lines++) {
        add_line(core, l, (double)line_size(l), &some);
        seen += line_size(l);
    }
    double part = seen ? (double)tasks / (double)seen : 0;
    w->mean_us += some.mean_us * part;
    w->var += some.var * part;
}

static struct work work_before(struct fg_core *core, const struct entry *e, int64_t now_ns)
{
    struct work w = {0, 0};
    struct fg_order key = entry_order(e);
    const struct account *own = e->line->account;
    int priority = (int)e->t.spec.priority;
    size_t lines = 0;
    double seen = 0, before = (double)queue_before_own(own, priority, &key);
    for (struct line *l = account_line_after(own, priority, NULL); l && lines < 64 && fg_order_cmp(&l->head, &key) < 0;
         l = account_line_after(own, priority, &l->head), lines++) {
        size_t tasks = line_before(l, &key);
        add_line(core, l, (double)tasks, &w);
        seen += (double)tasks;
    }
    if (seen > 0)                        /* the first lines stand for all */
        w = (struct work){w.mean_us * before / seen, w.var * before / seen};
    struct fg_fair mine = account_fair(core, e->line->account, now_ns);
    mine.used_us = fg_usage_add(mine.used_us, (uint64_t)w.mean_us);
    for (size_t i = 0; i < core->accounts.count; i++) {
        struct account *a = core->accounts.items[i];
        for (int p = priority + 1; p < FG_PRIORITY_COUNT; p++)
            if (a->waiting[p])
                add_tenant(core, a, p, a->waiting[p], &w);
        if (a == own || !a->waiting[priority])
            continue;
        struct fg_fair other = account_fair(core, a, now_ns);
        struct work each = {0, 0};
        add_tenant(core, a, priority, 1, &each);
        add_tenant(core, a, priority, fg_fair_ahead(&mine, &other, a->waiting[priority], (uint64_t)each.mean_us), &w);
    }
    return w;
}

static void task_of(struct fg_core *core, struct entry *e, struct fg_plan_task *ret)
{
    *ret = (struct fg_plan_task){.id = e->t.id, .spec = &e->t.spec, .rank = core_rank(e), .group = core_group(e)};
    ret->together = e->line && !fg_id_is_none(e->line->gang) ? (uint32_t)line_size(e->line) : 1;
    core_need(core, e, &ret->need);
}

bool fg_core_forecast(const struct fg_core *reader, fg_id id, int64_t now_ns, struct fg_forecast *ret)
{
    struct fg_core *core = (struct fg_core *)reader;     /* scratch and caches only */
    struct entry *e = table_find(core, id);
    struct fg_plan_task task;
    int64_t low, middle, high;
    if (!e || !e->line)
        return false;
    core_plan_devices(core, false);
    task_of(core, e, &task);
    size_t capable = 0;
    for (size_t i = 0; i < core->plan_devices.count; i++)
        capable += core->plan_devices.items[i].usable && fg_could_hold(&core->plan_devices.items[i], &task.need);
    core_some_devices(core, &task, &core->some);
    if (!capable || !room_at(core, &task, -Z90, now_ns, &low) || !room_at(core, &task, 0, now_ns, &middle) || !room_at(core, &task, Z90, now_ns, &high))
        return false;
    struct work w = work_before(core, e, now_ns);
    double mean = w.mean_us * 1000 / (double)capable, spread = Z90 * sqrt(w.var) * 1000 / (double)capable;
    double p50 = (double)(middle - now_ns) + mean;
    double p10 = p50 - hypot((double)(middle - low), spread), p90 = p50 + hypot((double)(high - middle), spread);
    const double most = 3e18;            /* a hundred years: nothing is said beyond */
    *ret = (struct fg_forecast){now_ns + (int64_t)fmin(fmax(p10, 0), most), now_ns + (int64_t)fmin(p50, most), now_ns + (int64_t)fmin(p90, most)};
    return true;
}

/* --- per device --- */

/* What an end on the machine gives back that the device lacks. */
static void give_back(struct fg_plan_device *plan, const struct fg_plan_lease *end)
{
    bool on = end->device == plan->id, host = plan->host && (end->host == plan->host || end->device == plan->host);
    uint64_t bytes = end->device == plan->host ? end->memory_bytes : end->host_bytes;
    uint32_t milli = end->device == plan->host ? end->share_permille * plan->cores : end->host_milli;
    plan->memory_free_bytes += on ? end->memory_bytes : plan->is_host && host ? bytes : 0;
    plan->host_free_bytes += host ? bytes : 0;
    plan->host_free_milli += host ? milli : 0;
    if (on && !plan->is_host)
        plan->share_free_permille += end->share_permille;
    else if (plan->is_host)
        plan->share_free_permille = plan->host_free_milli / FG_MAX(plan->cores, 1u);
}

/* How many ends there make room, and when the last of them is expected. */
static size_t ends_needed(const struct fg_core *core, const struct device *d, const struct fg_plan_device *plan, const struct fg_need *need,
                          int64_t now_ns, int64_t *ret_ns)
{
    struct fg_plan_lease ends[256];
    struct fg_plan_device then = *plan;
    struct fg_ask ask = fg_ask_of(plan, need);
    size_t n = 0, taken = 0;
    for (const struct entry *e = d->node->leases; e && n < FG_COUNT(ends); e = e->lease_next) {
        struct fg_plan_lease end = end_of(core, e, 0, now_ns);
        bool host = plan->host && (end.device == plan->host || end.host == plan->host) && (plan->is_host || ask.host_milli || ask.host_bytes);
        size_t at = n;
        if (end.device != plan->id && !host)
            continue;
        end.memory_bytes = e->t.lease.memory_bytes;
        end.share_permille = e->t.lease.share_permille;
        for (; at > 0 && ends[at - 1].end_ns > end.end_ns; at--)
            ends[at] = ends[at - 1];
        ends[at] = end;
        n++;
    }
    *ret_ns = now_ns;
    while (taken < n && !fg_has_room(&then, &ask)) {
        give_back(&then, &ends[taken]);
        *ret_ns = ends[taken++].end_ns;
    }
    return fg_has_room(&then, &ask) ? taken : 0;
}

static void tell_when(struct fg_core *core, const struct fg_need *need, int64_t now_ns, struct fg_block *b)
{
    const struct device *d = core_device(core, b->device);
    const struct fg_plan_device *plan = core_plan_device(core, b->device);
    char text[32];
    if (!d || !plan || !plan->usable || b->reason != FG_REASON_WAITING_CAPACITY)
        return;
    size_t n = ends_needed(core, d, plan, need, now_ns, &b->free_ns);
    if (!n) {
        b->free_ns = 0;
        return;
    }
    size_t len = strlen(b->text);
    snprintf(b->text + len, sizeof b->text - len, "; free when %zu task%s there ha%s ended, in about %s", n, n == 1 ? "" : "s",
             n == 1 ? "s" : "ve", fg_format_duration(text, sizeof text, (b->free_ns - now_ns + FG_NS_PER_S / 2) / FG_NS_PER_S * FG_NS_PER_S));
}

/* A device with room that is kept for a head of the line. */
static size_t tell_held(struct fg_core *core, const struct entry *e, const struct fg_plan_task *task, int64_t now_ns, struct fg_block *blocks, size_t max)
{
    size_t n = 0;
    for (size_t i = 0; i < core->reservation_count; i++)
        for (size_t k = 0; k < core->reservations[i].count && n < max; k++) {
            const struct fg_reservation *r = &core->reservations[i];
            const struct device *d = core_device(core, r->parts[k].device);
            char id[FG_ID_TEXT], text[32];
            const struct fg_plan_device *plan = core_plan_device(core, d->d.id);
            struct fg_ask ask = fg_ask_of(plan, &task->need);
            if (fg_id_eq(r->group, core_group(e)) || r->rank < task->rank || !fg_has_room(plan, &ask) ||
                (task->need.device_kind[0] && !fg_streq(task->need.device_kind, d->d.kind)))
                continue;
            blocks[n] = (struct fg_block){.task = e->t.id, .device = r->parts[k].device, .reason = FG_REASON_WAITING_PRIORITY, .free_ns = r->start_ns};
            snprintf(blocks[n++].text, sizeof blocks->text, "it has room, but is held for %s, which starts %s%s",
                     fg_id_format(id, "tsk", r->group), r->start_ns > now_ns ? "in about " : "next",
                     r->start_ns > now_ns ? fg_format_duration(text, sizeof text, r->start_ns - now_ns) : "");
        }
    return n;
}

size_t core_tell_devices(struct fg_core *core, struct entry *e, int64_t now_ns, struct fg_block *blocks, size_t max)
{
    struct fg_plan_task task;
    core_plan_devices(core, false);
    task_of(core, e, &task);
    struct fg_snapshot snap = {.tasks = &task, .task_count = 1, .devices = core->plan_devices.items,
                               .device_count = core->plan_devices.count, .history = core->history};
    size_t n = fg_explain(&snap, &task, blocks, max);
    for (size_t i = 0; i < n; i++) {
        tell_when(core, &task.need, now_ns, &blocks[i]);
        core_tell_chain(core, e, now_ns, &blocks[i]);
        core_tell_drain(core, &blocks[i]);
    }
    return n + (e->line ? tell_held(core, e, &task, now_ns, blocks + n, max - n) : 0);
}
