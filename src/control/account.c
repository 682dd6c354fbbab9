/* account.c - tenants as the queue sees them, and gangs.
 *
 * What a tenant has used is hard state: it grows when a lease is released, by the time the event has, so that a replay
 * and the stored rows agree. What its live leases have used so far and are expected to use yet is added when it is asked
 * for, in O(1), from sums over them: else a tenant could fill the cluster with long tasks before the first is counted. */
#include <string.h>

#include "control/core_private.h"
#include "model/price.h"

static size_t place_of(const struct fg_core *core, fg_id tenant)
{
    size_t lo = 0, hi = core->accounts.count;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (fg_id_cmp(core->accounts.items[mid]->tenant, tenant) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

struct account *account_find(const struct fg_core *core, fg_id tenant)
{
    size_t at = place_of(core, tenant);
    return at < core->accounts.count && fg_id_eq(core->accounts.items[at]->tenant, tenant) ? core->accounts.items[at] : NULL;
}

struct account *account_of(struct fg_core *core, fg_id tenant)
{
    struct account *a = account_find(core, tenant);
    if (a)
        return a;
    a = fg_alloc(sizeof *a);
    a->tenant = tenant;
    a->weight = 1;
    size_t at = place_of(core, tenant);
    fg_vec_push(&core->accounts, a);
    for (size_t i = core->accounts.count - 1; i > at; i--)
        core->accounts.items[i] = core->accounts.items[i - 1];
    core->accounts.items[at] = a;
    return a;
}

bool account_is_plain(const struct account *a) { return a->used_us == 0 && a->used_at_ns == 0 && a->weight == 1; }

static uint64_t used_until(const struct fg_core *core, const struct account *a, int64_t now_ns)
{
    uint64_t used = fg_usage_decayed(a->used_us, now_ns - a->used_at_ns, core->config.half_life_ns);
    __int128 live = ((__int128)a->live_permille * now_ns - a->live_started) / 1000000;
    return fg_usage_add(used, live < 0 ? 0 : live > UINT64_MAX ? UINT64_MAX : (uint64_t)live);
}

uint64_t account_used(const struct fg_core *core, const struct account *a, int64_t now_ns)
{
    return fg_usage_add(used_until(core, a, now_ns), a->live_expected_us);
}

struct fg_fair account_fair(const struct fg_core *core, struct account *a, int64_t now_ns)
{
    return (struct fg_fair){a->tenant, account_used(core, a, now_ns), a->weight, a};
}

static uint32_t permille_of(const struct fg_core *core, const struct fg_lease *lease)
{
    const struct device *d = core_device(core, lease->device);
    return FG_MAX(fg_price_permille(lease->memory_bytes, d ? d->d.memory_bytes : 0, lease->share_permille), lease->host_permille);
}

void account_link(struct fg_core *core, struct entry *e, bool link)
{
    struct account *a = account_of(core, e->t.tenant);
    if (link)
        e->held_permille = permille_of(core, &e->t.lease);
    uint64_t expected = fg_usage_of(e->held_permille, e->expected_ns);
    __int128 started = (__int128)e->held_permille * e->t.lease.granted_ns;
    a->live += link ? 1 : (size_t)-1;
    a->live_permille += link ? e->held_permille : 0 - (uint64_t)e->held_permille;
    a->live_expected_us += link ? expected : 0 - expected;
    a->live_started += link ? started : -started;
}

void account_fold(struct fg_core *core, const struct entry *e, int64_t now_ns)
{
    struct account *a = account_of(core, e->t.tenant);
    uint64_t held = fg_usage_of(permille_of(core, &e->t.lease), now_ns - e->t.lease.granted_ns);
    a->used_us = fg_usage_add(fg_usage_decayed(a->used_us, now_ns - a->used_at_ns, core->config.half_life_ns), held);
    a->used_at_ns = now_ns;
    a->changed = true;
}

size_t fg_core_tenants(const struct fg_core *core, int64_t now_ns, struct fg_tenant_view *views, size_t max)
{
    for (size_t i = 0; i < core->accounts.count && i < max; i++) {
        const struct account *a = core->accounts.items[i];
        views[i] = (struct fg_tenant_view){.tenant = a->tenant, .weight = a->weight, .used_us = used_until(core, a, now_ns),
                                           .expected_us = a->live_expected_us, .live = a->live};
        for (int p = 0; p < FG_PRIORITY_COUNT; p++)
            views[i].waiting += a->waiting[p];
    }
    return core->accounts.count;
}

/* --- gangs --- */

static size_t gang_place(const struct fg_core *core, fg_id id)
{
    size_t lo = 0, hi = core->gangs.count;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (fg_id_cmp(core->gangs.items[mid].id, id) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

struct gang *gang_of(const struct fg_core *core, fg_id id)
{
    size_t at = gang_place(core, id);
    return at < core->gangs.count && fg_id_eq(core->gangs.items[at].id, id) ? &core->gangs.items[at] : NULL;
}

void gang_join(struct fg_core *core, struct entry *e)
{
    if (!e->t.spec.gang)
        return;
    struct gang *g = gang_of(core, e->t.spec.array);
    if (!g) {
        size_t at = gang_place(core, e->t.spec.array);
        (void)fg_vec_add(&core->gangs);
        g = &core->gangs.items[at];
        memmove(g + 1, g, (core->gangs.count - 1 - at) * sizeof *g);
        *g = (struct gang){.id = e->t.spec.array};
    }
    e->gang_prev = NULL;
    e->gang_next = g->first;
    if (g->first)
        g->first->gang_prev = e;
    g->first = e;
    g->count++;
}

void gang_leave(struct fg_core *core, struct entry *e)
{
    struct gang *g = e->t.spec.gang ? gang_of(core, e->t.spec.array) : NULL;
    if (!g)
        return;
    if (e->gang_prev)
        e->gang_prev->gang_next = e->gang_next;
    else
        g->first = e->gang_next;
    if (e->gang_next)
        e->gang_next->gang_prev = e->gang_prev;
    e->gang_prev = e->gang_next = NULL;
    if (--g->count == 0) {
        size_t at = (size_t)(g - core->gangs.items);
        memmove(g, g + 1, (core->gangs.count - 1 - at) * sizeof *g);
        core->gangs.count--;
    }
}
