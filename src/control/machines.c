/* machines.c - nodes by id, devices by theirs, and the devices of a node. */
#include "control/core_private.h"

struct node *core_node(const struct fg_core *core, fg_id id)
{
    size_t lo = 0, hi = core->nodes.count;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        int order = fg_id_cmp(core->nodes.items[mid]->n.id, id);
        if (order == 0)
            return core->nodes.items[mid];
        if (order < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

struct node *core_node_add(struct fg_core *core, fg_id id)
{
    struct node *n = fg_alloc(sizeof *n);
    n->n.id = n->timer.id = id;
    n->timer.kind = TIMER_NODE;
    n->number = (uint32_t)core->nodes.count + 1;
    size_t at = core->nodes.count;
    fg_vec_push(&core->nodes, n);
    for (; at > 0 && fg_id_cmp(core->nodes.items[at - 1]->n.id, id) > 0; at--)
        core->nodes.items[at] = core->nodes.items[at - 1];
    core->nodes.items[at] = n;
    return n;
}

struct device *core_device(const struct fg_core *core, fg_device_id id)
{
    return id && id <= core->devices.count && core->devices.items[id - 1].d.id ? &core->devices.items[id - 1] : NULL;
}

struct device *core_device_slot(struct fg_core *core, fg_device_id id)
{
    if (core->devices.cap < id)          /* they may move, and what planning goes by points to the names of kinds in them */
        core->plan_fresh = false;
    while (core->devices.count < id)
        (void)fg_vec_add(&core->devices);
    return &core->devices.items[id - 1];
}

void core_device_at(struct device *d, struct node *n)
{
    core_assert(!d->node || d->node == n);
    if (d->node)
        return;
    d->node = n;
    d->next = n->first;
    n->first = d->d.id;
}

struct device *core_next_device(const struct fg_core *core, const struct node *n, const struct device *last)
{
    return core_device(core, last ? last->next : n->first);
}
