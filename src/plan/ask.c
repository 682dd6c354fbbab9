/* ask.c - what a need comes to on one device: what it takes there and beside it, and what that costs. */
#include <string.h>

#include "model/price.h"
#include "plan/place.h"

/* Rounded up; more than the whole where the cores are not there. */
static uint32_t permille_of(uint32_t milli, uint32_t cores) { return cores ? (uint32_t)(((uint64_t)milli + cores - 1) / cores) : 1001; }

struct fg_ask fg_ask_of(const struct fg_plan_device *d, const struct fg_need *need)
{
    if (!d->is_host)
        return (struct fg_ask){need->memory_bytes, need->host_bytes, need->share_permille, need->cpus_milli};
    uint32_t share = need->cpus_milli ? permille_of(need->cpus_milli, d->cores) : 0;
    uint32_t least = share && need->share_guessed ? share : need->share_permille;
    return (struct fg_ask){.memory_bytes = need->memory_bytes + need->host_bytes, .share_permille = FG_MAX(least, share)};
}

bool fg_has_room(const struct fg_plan_device *d, const struct fg_ask *ask)
{
    return ask->memory_bytes <= d->memory_free_bytes && ask->share_permille <= d->share_free_permille &&
           ask->host_milli <= d->host_free_milli && ask->host_bytes <= d->host_free_bytes;
}

bool fg_could_hold(const struct fg_plan_device *d, const struct fg_need *need)
{
    struct fg_ask ask = fg_ask_of(d, need);
    return (!need->device_kind[0] || strcmp(need->device_kind, d->kind) == 0) && ask.memory_bytes <= d->memory_bytes &&
           ask.share_permille <= 1000 && ask.host_milli <= (uint64_t)d->cores * 1000 && ask.host_bytes <= d->host_memory_bytes;
}

static int64_t add(int64_t a, int64_t b)
{
    int64_t sum;
    return __builtin_add_overflow(a, b, &sum) ? INT64_MAX : sum;
}

/* Each part is rounded for itself, as the meter does. */
static int64_t cost(const struct fg_plan_device *d, const struct fg_need *need, int64_t time_ns, int64_t price, int64_t host_price)
{
    struct fg_ask ask = fg_ask_of(d, need);
    int64_t own = fg_price_of(time_ns, fg_price_permille(ask.memory_bytes, d->memory_bytes, ask.share_permille), price);
    if (!ask.host_milli && !ask.host_bytes)
        return own;
    return add(own, fg_price_of(time_ns, fg_price_host_permille(ask.host_bytes, d->host_memory_bytes, ask.host_milli, d->cores), host_price));
}

int64_t fg_expected_cost_of(const struct fg_plan_device *d, const struct fg_plan_task *task, int64_t time_ns)
{
    bool spot = task->spec->spot;
    return cost(d, &task->need, time_ns, spot && d->spot_nanousd_per_s > 0 ? d->spot_nanousd_per_s : d->price_nanousd_per_s,
                spot && d->host_spot_nanousd_per_s > 0 ? d->host_spot_nanousd_per_s : d->host_price_nanousd_per_s);
}
