/* kinds.c - the largest device of each kind. Each submit asks for it, and devices are many and rarely change: so it is
 * kept, and found anew after a machine joined. Of equal ones it is the lowest id. */
#include <stdio.h>
#include <string.h>

#include "control/core_private.h"

static void take(struct fg_core *core, const char *name, const struct device *d)
{
    struct kind *k = NULL;
    for (size_t i = 0; i < core->kinds.count && !k; i++)
        k = strcmp(core->kinds.items[i].name, name) == 0 ? &core->kinds.items[i] : NULL;
    if (!k) {
        k = fg_vec_add(&core->kinds);
        snprintf(k->name, sizeof k->name, "%s", name);
    }
    if (!k->largest || d->d.memory_bytes > core_device(core, k->largest)->d.memory_bytes)
        k->largest = d->d.id;
}

const struct device *core_largest(const struct fg_core *reader, const char *name)
{
    struct fg_core *core = (struct fg_core *)reader;     /* a cache: no part of the state */
    if (!core->kinds_fresh) {
        core->kinds.count = 0;
        for (size_t i = 0; i < core->devices.count; i++)
            if (core->devices.items[i].d.id) {
                take(core, "", &core->devices.items[i]);
                take(core, core->devices.items[i].d.kind, &core->devices.items[i]);
            }
        core->kinds_fresh = true;
    }
    for (size_t i = 0; i < core->kinds.count; i++)
        if (strcmp(core->kinds.items[i].name, name) == 0)
            return core_device(core, core->kinds.items[i].largest);
    return NULL;
}

uint64_t core_largest_memory(const struct fg_core *core, const char *name)
{
    const struct device *d = core_largest(core, name);
    return d ? core_memory_for_tasks(core, d) : 0;
}
