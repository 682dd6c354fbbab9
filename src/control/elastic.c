/* elastic.c - the idle share of a device is lent to tasks that can use more than their own, and taken back.
 *
 *     |<-- own shares: promised, planned with, paid -->|<-- lent -->|<-- idle -->|   1000 permille of a device
 *
 * Planning knows own shares only, so what is lent is free to it, and nobody waits for a borrower: grant takes back what
 * is missing before it grants, and the agent is told in that order. Lending is for what has been idle for LEND_AFTER, so
 * that a stream of short tasks next to a borrower costs it one message a second, and their starts mostly none.
 * A borrower has lent only while it runs: the agent resizes nothing else, and what ends gives back with its lease. */
#include "base/units.h"
#include "control/core_private.h"

#define LEND_AFTER FG_NS_PER_S

bool core_elastic(const struct entry *e) { return e->t.spec.need.share_max_permille > e->t.lease.share_permille; }

void core_lend_later(struct fg_core *core, struct device *d, int64_t now_ns)
{
    if (!d->elastic || d->lend_at_ns)
        return;
    d->lend_at_ns = now_ns + LEND_AFTER;
    fg_vec_push(&core->lend_due, d->d.id);
}

/* What it is lent when all borrowers are brought up to the same share, as far as each may go: the smallest gain first. */
static uint32_t lent_at(const struct entry *e, uint32_t level)
{
    if (!core_elastic(e) || e->t.state != FG_STATE_RUNNING || e->t.lease.parking != FG_PARKING_NONE || e->t.lease.moving_to || e->killing || e->t.cancel_requested)
        return 0;
    uint32_t own = e->t.lease.share_permille, up_to = FG_MIN(level, e->t.spec.need.share_max_permille);
    return up_to > own ? up_to - own : 0;
}

/* The highest level for which idle is enough. */
static uint32_t level_of(const struct device *d, uint32_t idle)
{
    uint32_t lo = 0, hi = 1000;
    while (lo < hi) {
        uint32_t mid = (lo + hi + 1) / 2;
        uint64_t sum = 0;
        for (const struct entry *e = d->first; e; e = e->device_next)
            sum += lent_at(e, mid);
        if (sum <= idle)
            lo = mid;
        else
            hi = mid - 1;
    }
    return lo;
}

void core_resize(struct fg_core *core, struct entry *e, uint32_t lent, int64_t now_ns, struct fg_effects *fx)
{
    core_emit_task(core, fx, now_ns, e, e->t.attempt, (struct fg_event){.kind = FG_EV_LEASE_RESIZED,
                   .resized = {.epoch = e->t.lease.epoch, .lent_permille = lent}});
    core_act(fx, FG_ACT_RESIZE, e, FG_REASON_NONE);
}

static void lower(struct fg_core *core, struct device *d, uint32_t level, int64_t now_ns, struct fg_effects *fx)
{
    for (struct entry *e = d->first; e; e = e->device_next)
        if (e->t.lease.lent_permille > lent_at(e, level))
            core_resize(core, e, lent_at(e, level), now_ns, fx);
}

/* Of all own shares, those of parked leases too: what is lent of their places is not counted on here. */
static uint32_t idle_share(const struct device *d, uint32_t more)
{
    uint32_t used = d->share_used_permille + core_share_beside(d) + more;
    return used < 1000 ? 1000 - used : 0;
}

void core_take_back(struct fg_core *core, struct device *d, uint32_t share_permille, int64_t now_ns, struct fg_effects *fx)
{
    uint32_t idle = idle_share(d, share_permille);
    if (d->share_lent_permille > idle)
        lower(core, d, level_of(d, idle), now_ns, fx);
}

/* First what goes down, then what goes up: at no moment more than the device has. */
static void lend(struct fg_core *core, struct device *d, int64_t now_ns, struct fg_effects *fx)
{
    uint32_t level = level_of(d, idle_share(d, 0));
    lower(core, d, level, now_ns, fx);
    for (struct entry *e = d->first; e; e = e->device_next)
        if (e->t.lease.lent_permille < lent_at(e, level))
            core_resize(core, e, lent_at(e, level), now_ns, fx);
}

/* A machine that is away is not told: its hello asks again. */
void core_lend(struct fg_core *core, int64_t now_ns, struct fg_effects *fx)
{
    size_t kept = 0;
    for (size_t i = 0; i < core->lend_due.count; i++) {
        struct device *d = core_device(core, core->lend_due.items[i]);
        if (d->lend_at_ns > now_ns) {
            core->lend_due.items[kept++] = d->d.id;
            continue;
        }
        d->lend_at_ns = 0;
        if (core_device_usable(d))
            lend(core, d, now_ns, fx);
    }
    core->lend_due.count = kept;
}

/* What its agent heard of sizes is not known: all are told to be down to their own before any is told more. */
void core_lend_hello(struct fg_core *core, const struct node *n, int64_t now_ns, struct fg_effects *fx)
{
    for (int lent = 0; lent <= 1; lent++)
        for (struct entry *e = n->leases; e; e = e->lease_next) {
            if (!core_elastic(e) || e->t.state != FG_STATE_RUNNING || (lent && !e->t.lease.lent_permille))
                continue;
            core_act(fx, FG_ACT_RESIZE, e, FG_REASON_NONE);
            if (!lent)
                fx->actions.items[fx->actions.count - 1].lease.lent_permille = 0;
            core_lend_later(core, core_device(core, e->t.lease.device), now_ns);
        }
}

uint32_t core_mean_share(const struct fg_task *t, int64_t now_ns)
{
    const struct fg_lease *l = &t->lease;
    int64_t ran_us = (now_ns - t->started_ns) / 1000;
    if ((!l->lent_us && !l->lent_permille) || !t->started_ns || ran_us <= 0)
        return l->share_permille;
    int64_t lent_us = l->lent_us + (int64_t)l->lent_permille * ((now_ns - l->resized_ns) / 1000);
    return FG_MIN(1000u, l->share_permille + (uint32_t)(FG_MAX(lent_us, 0) / ran_us));
}
