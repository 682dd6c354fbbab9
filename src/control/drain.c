/* drain.c - machines and devices that an operator takes out of use: nothing new is placed there, what runs goes on.
 *
 * A drain is of a machine or of one of its devices, and stands until it is lifted, whatever its agent says meanwhile: it is
 * the operator's word, not a state of health. Planning sees such a device as it sees one that is away. With `now` those
 * that may be asked to go (spot, preemptible) are; which kills were sent is soft, so they are sent again at each hello. */
#include <stdio.h>
#include <string.h>

#include "base/units.h"
#include "control/core_private.h"

static int order(const struct drain *d, fg_id node, fg_device_id device)
{
    int by_node = fg_id_cmp(d->node, node);
    return by_node ? by_node : d->device < device ? -1 : d->device > device;
}

/* Where it stands, or where it would. */
static size_t place_of(const struct fg_core *core, fg_id node, fg_device_id device)
{
    size_t lo = 0, hi = core->drains.count;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (order(&core->drains.items[mid], node, device) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static struct drain *find(const struct fg_core *core, fg_id node, fg_device_id device)
{
    size_t at = place_of(core, node, device);
    struct drain *d = at < core->drains.count ? &core->drains.items[at] : NULL;
    return d && order(d, node, device) == 0 ? d : NULL;
}

static const struct drain *standing(const struct fg_core *core, fg_id node, fg_device_id device)
{
    const struct drain *d = find(core, node, device);
    return d && !d->over ? d : NULL;
}

bool core_is_drained(const struct device *d) { return d->drained || d->node->drained; }

/* What planning and others ask of each device is kept beside it. */
static void mark(struct fg_core *core, const struct drain *d)
{
    struct node *n = core_node(core, d->node);
    struct device *device = core_device(core, d->device);
    if (d->device && device)
        device->drained = !d->over;
    else if (!d->device && n)
        n->drained = !d->over;
    if (n)
        core_plan_node_changed(core, n);
}

void core_drains_mark(struct fg_core *core)
{
    for (size_t i = 0; i < core->drains.count; i++)
        mark(core, &core->drains.items[i]);
}

/* --- the operator's word --- */

static bool is_at(const struct fg_core *core, const struct entry *e, fg_device_id device)
{
    return !device || e->t.lease.device == device || e->t.lease.host == device || e->t.lease.moving_to == device;
}

/* A kill may end others of its gang on this machine, never an entry: entries stay until they are settled. */
static void ask_to_go(struct fg_core *core, const struct node *n, fg_device_id device, int64_t now_ns, struct fg_effects *fx)
{
    for (struct entry *e = n->leases; e; e = e->lease_next)
        if (is_at(core, e, device) && (e->t.spec.spot || e->t.spec.preemptible) && !e->killing && !e->t.cancel_requested)
            core_make_go(core, e, now_ns, fx);
}

void core_drain_hello(struct fg_core *core, const struct node *n, int64_t now_ns, struct fg_effects *fx)
{
    for (size_t i = place_of(core, n->n.id, 0); i < core->drains.count && fg_id_eq(core->drains.items[i].node, n->n.id); i++)
        if (core->drains.items[i].now && !core->drains.items[i].over)
            ask_to_go(core, n, core->drains.items[i].device, now_ns, fx);
}

static int check(const struct fg_core *core, fg_id node, fg_device_id device, struct fg_error *err)
{
    const struct device *d = core_device(core, device);
    if (!core_node(core, node))
        return fg_fail(err, FG_E_NOT_FOUND, "there is no such machine");
    return !device || (d && fg_id_eq(d->d.node, node)) ? 0 : fg_fail(err, FG_E_NOT_FOUND, "there is no such device");
}

int core_drain(struct fg_core *core, const struct fg_input *in, int64_t now_ns, struct fg_effects *fx, struct fg_error *err)
{
    fg_id node = in->drain.node;
    fg_device_id device = in->drain.device;
    const char *reason = in->drain.reason ? in->drain.reason : "";
    if (check(core, node, device, err) < 0)
        return -1;
    if (strlen(reason) >= FG_DRAIN_REASON) {
        fg_fail(err, FG_E_INVALID, "the reason is longer than %u bytes", FG_DRAIN_REASON - 1);
        return fg_fail_at(err, "/reason");
    }
    const struct drain *d = standing(core, node, device);
    struct fg_event ev = {.kind = in->drain.resume ? FG_EV_NODE_RESUMED : FG_EV_NODE_DRAINED, .tenant = in->drain.tenant,
                          .drained = {.node = node, .device = device}};
    if (!in->drain.resume) {             /* asked again it is as old as it was, and what was asked to go does */
        ev.drained.since_ns = d ? d->since_ns : now_ns;
        ev.drained.now = in->drain.now || (d && d->now);
        snprintf(ev.drained.reason, sizeof ev.drained.reason, "%s", *reason || !d ? reason : d->reason);
    }
    if (in->drain.resume ? d != NULL : !d || d->now != ev.drained.now || strcmp(d->reason, ev.drained.reason) != 0)
        core_emit(core, fx, now_ns, &ev);
    if (in->drain.resume)
        return 0;
    if (ev.drained.now)
        ask_to_go(core, core_node(core, node), device, now_ns, fx);
    core_parking_hello(core, core_node(core, node), now_ns, fx);
    return 0;
}

/* --- the event --- */

static struct drain *slot(struct fg_core *core, fg_id node, fg_device_id device)
{
    size_t at = place_of(core, node, device);
    if (find(core, node, device))
        return &core->drains.items[at];
    fg_vec_add(&core->drains);
    for (size_t i = core->drains.count - 1; i > at; i--)
        core->drains.items[i] = core->drains.items[i - 1];
    core->drains.items[at] = (struct drain){.node = node, .device = device};
    return &core->drains.items[at];
}

static struct drain *take(struct fg_core *core, const struct fg_event *ev)
{
    struct drain *d = slot(core, ev->drained.node, ev->drained.device);
    d->since_ns = ev->drained.since_ns;
    d->now = ev->drained.now;
    d->over = ev->kind == FG_EV_NODE_RESUMED;
    memcpy(d->reason, ev->drained.reason, sizeof d->reason);
    return d;
}

int core_drained(struct fg_core *core, const struct fg_event *ev, struct fg_error *err)
{
    if (check(core, ev->drained.node, ev->drained.device, err) < 0)
        return -1;
    if (ev->kind == FG_EV_NODE_RESUMED && !standing(core, ev->drained.node, ev->drained.device))
        return fg_fail(err, FG_E_INTERNAL, "it is not drained");
    struct drain *d = take(core, ev);
    d->changed = core->drains_changed = true;
    mark(core, d);
    core_room(core);                     /* there is more, or what is held there is to be held elsewhere */
    return 0;
}

/* --- rows --- */

static void put_row(const struct drain *d, fg_core_row_fn *fn, void *arg)
{
    FG_AUTO_STR struct fg_str key = {0}, doc = {0};
    char id[FG_ID_TEXT];
    struct fg_event ev = {.kind = FG_EV_NODE_DRAINED,
                          .drained = {.node = d->node, .device = d->device, .since_ns = d->since_ns, .now = d->now}};
    memcpy(ev.drained.reason, d->reason, sizeof ev.drained.reason);
    fg_event_encode(&ev, &doc);
    fg_str_addf(&key, "drain:%s:%u", fg_id_format(id, "nod", d->node), d->device);
    fn(arg, NULL, fg_str_cstr(&key), d->over ? NULL : fg_str_cstr(&doc));
}

void core_drain_rows(struct fg_core *core, fg_core_row_fn *fn, void *arg)
{
    size_t kept = 0;
    for (size_t i = 0; core->drains_changed && i < core->drains.count; i++) {
        struct drain *d = &core->drains.items[i];
        if (d->changed)
            put_row(d, fn, arg);
        d->changed = false;
        if (!d->over)
            core->drains.items[kept++] = *d;
    }
    if (core->drains_changed)
        core->drains.count = kept;
    core->drains_changed = false;
}

/* Its machine may come later than it. */
int core_load_drain(struct fg_core *core, const char *doc, struct fg_error *err)
{
    struct fg_event ev = {.kind = FG_EV_NODE_DRAINED};
    if (fg_event_decode(doc, strlen(doc), &ev, err) < 0)
        return -1;
    if (fg_id_is_none(ev.drained.node))
        return fg_fail(err, FG_E_INTERNAL, "no machine");
    take(core, &ev);
    return 0;
}

/* --- reading --- */

bool fg_core_drain(const struct fg_core *core, fg_id node, fg_device_id device, struct fg_drain_view *ret)
{
    const struct drain *own = device ? standing(core, node, device) : NULL, *d = own ? own : standing(core, node, 0);
    if (d && ret)
        *ret = (struct fg_drain_view){.since_ns = d->since_ns, .reason = d->reason, .now = d->now, .whole_node = !d->device};
    return d != NULL;
}

size_t fg_core_tasks_at(const struct fg_core *core, fg_id node, fg_device_id device, struct fg_staying *tasks, size_t max)
{
    const struct node *n = core_node(core, node);
    size_t count = 0;
    for (const struct entry *e = n ? n->leases : NULL; e; e = e->lease_next) {
        if (!is_at(core, e, device))
            continue;
        if (count < max)
            tasks[count] = (struct fg_staying){&e->t, e->killing || e->t.cancel_requested};
        count++;
    }
    return count;
}

/* As much as fits, no character cut in two. */
static int cut(const char *text, int most)
{
    int n = (int)strnlen(text, (size_t)most + 1);
    if (n > most)
        for (n = most; n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80;)
            n--;
    return n;
}

void core_tell_drain(const struct fg_core *core, struct fg_block *b)
{
    const struct device *d = core_device(core, b->device);
    struct fg_drain_view v;
    char since[32];
    if (!d || b->reason == FG_REASON_INVALID || !fg_core_drain(core, d->d.node, d->d.id, &v))
        return;
    fg_format_time(since, sizeof since, v.since_ns);
    b->reason = FG_REASON_DRAINED;
    b->free_ns = 0;
    snprintf(b->text, sizeof b->text, "drained since %.19sZ%s%.*s: fgpu %s resume %.*s%s%.*s", since, *v.reason ? ", for " : "", cut(v.reason, 50), v.reason,
             v.whole_node ? "nodes" : "devices", cut(d->node->n.name, 40), d->node->n.name, v.whole_node ? "" : "/", v.whole_node ? 0 : cut(d->d.name, 44), d->d.name);
}
