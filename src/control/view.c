/* view.c - reading the state, for routes. Nothing here changes it. */
#include "control/core_private.h"

#include <string.h>

const struct fg_task *fg_core_task(const struct fg_core *core, fg_id task)
{
    const struct entry *e = table_find(core, task);
    return e ? &e->t : NULL;
}

bool fg_core_idempotent(const struct fg_core *core, fg_id tenant, const char *key, fg_id *ret_task)
{
    const struct entry *e = table_find_key(core, tenant, key, strcspn(key, "\n"));
    if (e)
        *ret_task = e->t.id;
    return e != NULL;
}

void fg_core_counts(const struct fg_core *core, struct fg_core_counts *ret)
{
    *ret = core->counts;
    ret->tasks = core->tasks.count;
    ret->events = core->last_seq;
}

size_t fg_core_position(const struct fg_core *core, fg_id task, int64_t now_ns)
{
    const struct entry *e = table_find(core, task);
    return e ? queue_place(core, e, now_ns) : 0;
}

size_t fg_core_devices(const struct fg_core *core, struct fg_device_view *views, size_t max)
{
    size_t n = 0;
    for (size_t i = 0; i < core->devices.count; i++) {
        const struct device *d = &core->devices.items[i];
        if (!d->d.id)
            continue;
        uint64_t memory = core_memory_for_tasks(core, d);
        if (n < max)
            views[n] = (struct fg_device_view){
                .device = &d->d, .node = &d->node->n,
                .memory_free_bytes = memory > core_memory_held(d) ? memory - core_memory_held(d) : 0,
                .memory_parked_bytes = d->memory_parked_bytes, .memory_borrowed_bytes = d->memory_borrowed_bytes,
                .share_free_permille = 1000 - core_share_held(d), .share_lent_permille = d->share_lent_permille,
                .price_nanousd_per_s = core_price(core, d->d.kind).nanousd_per_s, .leases = d->leases};
        n++;
    }
    return n;
}

size_t fg_core_nodes(const struct fg_core *core, const struct fg_node **nodes, size_t max)
{
    for (size_t i = 0; i < core->nodes.count && i < max; i++)
        nodes[i] = &core->nodes.items[i]->n;
    return core->nodes.count;
}

/* In the order they were granted. */
static int by_epoch(const void *a, const void *b)
{
    uint64_t x = (*(const struct fg_task *const *)a)->lease.epoch, y = (*(const struct fg_task *const *)b)->lease.epoch;
    return x < y ? -1 : x > y;
}

size_t fg_core_device_tasks(const struct fg_core *core, fg_device_id device, const struct fg_task **tasks, size_t max)
{
    const struct device *d = core_device(core, device);
    size_t n = 0;
    for (const struct entry *e = d ? d->first : NULL; e; e = e->device_next, n++)
        if (n < max)
            tasks[n] = &e->t;
    qsort(tasks, FG_MIN(n, max), sizeof *tasks, by_epoch);
    return n;
}

const struct fg_device *fg_core_device(const struct fg_core *core, fg_device_id device)
{
    const struct device *d = core_device(core, device);
    return d ? &d->d : NULL;
}
