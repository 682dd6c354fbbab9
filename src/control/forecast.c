/* forecast.c - when a waiting task will start, and what on each device would start it. Reads only.
 *
 * The start is played ahead (plan/foresee.h) with the devices, what runs on them and the queue in the order of a walk. Of what lies
 * beyond the walk it is known how much device time it is expected to take. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/units.h"
#include "control/core_private.h"
#include "plan/foresee.h"

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

static struct fg_plan_lease end_of(const struct fg_core *core, const struct entry *e, double z, int64_t now_ns)
{
    int64_t end = end_at(e, z, now_ns);
    return core_plan_lease(core, e, end, end);
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

static double line_work(struct fg_core *core, struct line *l) { return (double)queue_charge(core, l); }

/* part of what a tenant has waiting in a priority: its first lines stand for all. */
static double tenant_work(struct fg_core *core, const struct account *a, int priority, size_t tasks)
{
    double some = 0;
    size_t seen = 0, lines = 0;
    for (struct line *l = account_line_after(a, priority, NULL); l && lines < 64; l = account_line_after(a, priority, &l->head), lines++) {
        some += line_work(core, l) * (double)line_size(l);
        seen += line_size(l);
    }
    return seen ? some * (double)tasks / (double)seen : 0;
}

/* Device time that those before it are expected to take, microseconds. */
static double work_before(struct fg_core *core, const struct entry *e, int64_t now_ns)
{
    double w = 0;
    struct fg_order key = entry_order(e);
    const struct account *own = e->line->account;
    int priority = (int)e->t.spec.priority;
    size_t lines = 0;
    double seen = 0, before = (double)queue_before_own(own, priority, &key);
    for (struct line *l = account_line_after(own, priority, NULL); l && lines < 64 && fg_order_cmp(&l->head, &key) < 0;
         l = account_line_after(own, priority, &l->head), lines++) {
        size_t tasks = line_before(l, &key);
        w += line_work(core, l) * (double)tasks;
        seen += (double)tasks;
    }
    if (seen > 0)                        /* the first lines stand for all */
        w *= before / seen;
    struct fg_fair mine = account_fair(core, e->line->account, now_ns);
    mine.used_us = fg_usage_add(mine.used_us, (uint64_t)w);
    for (size_t i = 0; i < core->accounts.count; i++) {
        struct account *a = core->accounts.items[i];
        for (int p = priority + 1; p < FG_PRIORITY_COUNT; p++)
            if (a->waiting[p])
                w += tenant_work(core, a, p, a->waiting[p]);
        if (a == own || !a->waiting[priority])
            continue;
        struct fg_fair other = account_fair(core, a, now_ns);
        uint64_t each = (uint64_t)tenant_work(core, a, priority, 1);
        w += tenant_work(core, a, priority, fg_fair_ahead(&mine, &other, a->waiting[priority], each));
    }
    return w;
}

static void task_of(struct fg_core *core, struct entry *e, struct fg_plan_task *ret)
{
    *ret = (struct fg_plan_task){.id = e->t.id, .spec = &e->t.spec, .rank = core_rank(e), .group = core_group(e)};
    ret->together = e->line && !fg_id_is_none(e->line->gang) ? (uint32_t)line_size(e->line) : 1;
    core_need(core, e, &ret->need);
}

/* --- the start --- */

enum { P10 = 0, P50 = FG_FORESEE_RUNS / 2, P90 = FG_FORESEE_RUNS - 1 };   /* of the sorted starts */

#define WALK_MOST 2048u                  /* tasks of the queue that are looked at one by one */
#define LINES_MOST 400u                  /* each is looked at whenever something ends */
#define WALK_BEHIND 256u                 /* behind the one that is asked for: they may start beside those before it */

struct ahead {
    struct fg_core *core;
    const struct entry *target;
    const struct fg_plan_device *sample; /* one of those that are played */
    struct fg_foresee in;
    FG_VEC(struct fg_foresee_device) devices;
    FG_VEC(struct fg_foresee_lease) leases;
    FG_VEC(struct fg_foresee_line) lines;
    FG_VEC(uint32_t) order;
    FG_VEC(const char *) kinds;
    FG_VEC(struct fg_foresee_tenant) tenants;
    FG_VEC(const struct account *) accounts;
};

static uint32_t kind_number(struct ahead *a, const char *kind)
{
    for (uint32_t x = 0; x < a->kinds.count; x++)
        if (strcmp(a->kinds.items[x], kind) == 0)
            return x + 1;
    fg_vec_push(&a->kinds, kind);
    return (uint32_t)a->kinds.count;
}

/* Like names, like numbers. */
static uint32_t name_number(const char *name)
{
    uint32_t hash = 2166136261u;
    for (; *name; name++)
        hash = (hash ^ (unsigned char)*name) * 16777619u;
    return hash;
}

static uint32_t tenant_number(struct ahead *a, struct account *account, int64_t now_ns)
{
    for (uint32_t x = 0; x < a->accounts.count; x++)
        if (a->accounts.items[x] == account)
            return x;
    struct fg_fair fair = account_fair(a->core, account, now_ns);
    fg_vec_push(&a->accounts, account);
    fg_vec_push(&a->tenants, (struct fg_foresee_tenant){(double)fair.used_us, FG_MAX((double)fair.weight, 1)});
    return (uint32_t)a->accounts.count - 1;
}

/* With the leases there. */
static void add_device(struct ahead *a, const struct fg_plan_device *d, int64_t now_ns)
{
    uint32_t at = (uint32_t)a->devices.count;
    a->sample = a->sample ? a->sample : d;
    fg_vec_push(&a->devices, (struct fg_foresee_device){d->memory_bytes, d->memory_free_bytes, d->share_free_permille, kind_number(a, d->kind)});
    for (const struct entry *e = core_device(a->core, d->id)->first; e; e = e->device_next) {
        int64_t from = e->t.state == FG_STATE_RUNNING ? e->t.started_ns : e->t.placed_ns;
        struct fg_foresee_lease l = {at, e->t.lease.memory_bytes, e->t.lease.share_permille, FG_MAX(now_ns - from, 0), e->p50_ns, e->p95_ns};
        if (e->killing)
            l.age_ns = 0, l.p50_ns = l.p95_ns = 1;
        if (core_end_helps(a->core, e))
            fg_vec_push(&a->leases, l);
    }
}

/* One in so many, of those that could hold the target where there are too many. */
static void add_devices(struct ahead *a, const struct fg_plan_task *task, int64_t now_ns)
{
    struct fg_core *core = a->core;
    size_t all = core->plan_devices.count, capable = 0, usable = 0, seen = 0;
    for (size_t i = 0; i < all; i++) {
        const struct fg_plan_device *d = &core->plan_devices.items[i];
        usable += d->usable;
        capable += d->usable && fg_could_hold(d, &task->need);
    }
    bool any = usable <= FG_FORESEE_DEVICES || capable == usable;
    a->in.scale = (uint32_t)FG_MAX(((any ? usable : capable) + FG_FORESEE_DEVICES - 1) / FG_FORESEE_DEVICES, (size_t)1);
    for (size_t i = 0; capable && i < all; i++) {
        const struct fg_plan_device *d = &core->plan_devices.items[i];
        if (d->usable && (any || fg_could_hold(d, &task->need)) && seen++ % a->in.scale == 0)
            add_device(a, d, now_ns);
    }
}

static void add_line(struct ahead *a, struct line *l, int64_t now_ns)
{
    const struct fg_estimate *est = core_line_estimate(a->core, l);
    struct fg_need need;
    core_line_need(a->core, l, &need);
    struct fg_ask ask = fg_ask_of(a->sample, &need);
    uint32_t together = fg_id_is_none(l->gang) ? 1 : (uint32_t)line_size(l);
    l->seen_at = a->core->walks, l->taken = a->lines.count;
    fg_vec_push(&a->lines, (struct fg_foresee_line){.memory_bytes = ask.memory_bytes, .share_permille = ask.share_permille, .rank = core_rank(line_first(l)),
        .kind = need.device_kind[0] ? kind_number(a, need.device_kind) : 0, .together = together, .p50_ns = est->p50_ns, .p95_ns = est->p95_ns,
        .work = line_work(a->core, l) * together, .samples = est->samples, .family = name_number(l->name ? l->name : ""),
        .tenant = tenant_number(a, l->account, now_ns), .priority = (uint32_t)l->priority});
}

/* One task, or a gang. */
static void add_entry(struct ahead *a, struct line *l, const struct entry *e, int64_t now_ns)
{
    if (l->seen_at != a->core->walks)
        add_line(a, l, now_ns);
    if (e == a->target || (l == a->target->line && !fg_id_is_none(l->gang)))
        a->in.target = a->order.count;
    fg_vec_push(&a->order, (uint32_t)l->taken);
}

/* In the order of service: heads first in their priority. */
static void add_queue(struct ahead *a, int64_t now_ns)
{
    struct walk w;
    struct fg_core *core = a->core;
    int priority = FG_PRIORITY_COUNT;
    core->walks++;
    a->in.target = SIZE_MAX;
    walk_begin(&w, core, now_ns);
    while (walk_next(&w) && a->lines.count < LINES_MOST && a->order.count < (a->in.target == SIZE_MAX ? WALK_MOST : a->in.target + 1 + FG_MAX(a->in.target, WALK_BEHIND * a->in.scale))) {
        while (priority > w.priority) {
            priority--;
            for (size_t i = 0; i < core->reservation_count; i++) {
                const struct entry *head = core_waiting(core, core->reservations[i].group);
                if ((int)head->t.spec.priority == priority)
                    add_entry(a, head->line, head, now_ns);
            }
        }
        w.takes = true;
        w.drop = !fg_id_is_none(w.line->gang);
        if (line_ready(w.line) && !reserve_find(core, w.entry))
            add_entry(a, w.line, w.entry, now_ns);
    }
    walk_end(&w);
}

/* What is held beside devices is not played: for one that asks for it, the start is no earlier than what runs leaves it room. */
static bool wait_for_machine(struct ahead *a, const struct fg_plan_task *task, int64_t now_ns, int64_t starts[FG_FORESEE_RUNS])
{
    static const double z[] = {-Z90, 0, Z90};
    static const size_t at[] = {P10, P50, P90};
    if (!fg_asks_host(&task->need))
        return true;
    core_some_devices(a->core, task, &a->core->some);
    for (size_t x = 0; x < FG_COUNT(z); x++) {
        int64_t room;
        if (!room_at(a->core, task, z[x], now_ns, &room))
            return false;
        starts[at[x]] = FG_MAX(starts[at[x]], room - now_ns);
        if (x > 0)
            starts[at[x]] = FG_MAX(starts[at[x]], starts[at[x - 1]]);
    }
    return true;
}

bool fg_core_forecast(const struct fg_core *reader, fg_id id, int64_t now_ns, struct fg_forecast *ret)
{
    struct ahead a = {.core = (struct fg_core *)reader};  /* scratch and caches only */
    struct fg_plan_task task;
    int64_t starts[FG_FORESEE_RUNS];
    if (!(a.target = table_find(a.core, id)) || !a.target->line || !line_ready(a.target->line))
        return false;
    core_plan_devices(a.core, false);
    task_of(a.core, (struct entry *)a.target, &task);
    add_devices(&a, &task, now_ns);
    if (a.sample)
        add_queue(&a, now_ns);
    if (a.sample && a.in.target == SIZE_MAX) {                       /* behind what was walked, which stands for what is before it */
        for (size_t x = 0; x < a.order.count; x++)
            a.in.work_listed += a.lines.items[a.order.items[x]].work;
        a.in.work_before = work_before(a.core, a.target, now_ns);
        add_entry(&a, a.target->line, a.target, now_ns);
    }
    a.in.devices = a.devices.items, a.in.leases = a.leases.items, a.in.lines = a.lines.items, a.in.tenants = a.tenants.items, a.in.order = a.order.items;
    a.in.device_count = a.devices.count, a.in.lease_count = a.leases.count, a.in.line_count = a.lines.count;
    a.in.tenant_count = a.tenants.count, a.in.order_count = a.order.count;
    bool told = a.sample && fg_foresee(&a.in, starts) && wait_for_machine(&a, &task, now_ns, starts);
    if (told)
        *ret = (struct fg_forecast){now_ns + starts[P10], now_ns + starts[P50], now_ns + starts[P90]};
    fg_vec_fini(&a.devices);
    fg_vec_fini(&a.leases);
    fg_vec_fini(&a.lines);
    fg_vec_fini(&a.order);
    fg_vec_fini(&a.kinds);
    fg_vec_fini(&a.tenants);
    fg_vec_fini(&a.accounts);
    return told;
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
             n == 1 ? "s" : "ve", fg_format_duration(text, sizeof text, FG_MAX((b->free_ns - now_ns + FG_NS_PER_S / 2) / FG_NS_PER_S, 1) * FG_NS_PER_S));
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
