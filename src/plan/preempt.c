/* preempt.c - for each task of the gang in turn the device on which least is lost. */
#include "plan/preempt.h"

#include <string.h>

struct offer { bool possible; int rank; __int128 lost; };

static int by_worth(const void *a, const void *b)
{
    const struct fg_plan_victim *x = a, *y = b;
    if (x->device != y->device)
        return x->device < y->device ? -1 : 1;
    if (x->rank != y->rank)
        return x->rank < y->rank ? -1 : 1;
    if (x->started_ns != y->started_ns)
        return x->started_ns > y->started_ns ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

struct space { uint64_t memory_bytes; uint32_t share_permille; };

static bool fits(const struct space *s, const struct fg_need *need)
{
    return need->memory_bytes <= s->memory_bytes && need->share_permille <= s->share_permille;
}

/* Take victims of a device, in order, until need fits; then let go those that were not needed, the most worthy first.
 * mark: choose them; else only say what it would cost. */
static struct offer try_device(const struct fg_snapshot *snap, const struct fg_plan_task *task, struct fg_plan_victim *v, size_t n,
                               struct space *space, bool mark)
{
    struct offer offer = {0};
    struct space s = *space;
    size_t taken = 0;
    for (; taken < n && !fits(&s, &task->need); taken++)
        if (!v[taken].chosen && v[taken].rank < task->rank) {
            s.memory_bytes += v[taken].memory_bytes;
            s.share_permille += v[taken].share_permille;
        }
    if (!fits(&s, &task->need))
        return offer;
    offer.possible = true;
    for (size_t i = taken; i > 0; i--) {
        struct fg_plan_victim *one = &v[i - 1];
        struct space without = {s.memory_bytes - one->memory_bytes, s.share_permille - one->share_permille};
        if (one->chosen || one->rank >= task->rank)
            continue;
        if (fits(&without, &task->need)) {
            s = without;
            continue;
        }
        offer.rank = FG_MAX(offer.rank, one->rank + 1);
        offer.lost += (__int128)one->share_permille * FG_MAX(snap->now_ns - one->started_ns, 0);
        one->chosen = mark || one->chosen;
    }
    if (mark)
        *space = (struct space){s.memory_bytes - task->need.memory_bytes, s.share_permille - task->need.share_permille};
    return offer;
}

static bool is_better(const struct offer *a, const struct offer *b)
{
    return a->possible && (!b->possible || a->rank < b->rank || (a->rank == b->rank && a->lost < b->lost));
}

static size_t range_of(const struct fg_plan_victim *v, size_t count, size_t from, fg_device_id device)
{
    size_t n = 0;
    while (from + n < count && v[from + n].device == device)
        n++;
    return n;
}

bool fg_preempt(const struct fg_snapshot *snap, const struct fg_plan_task *task, struct fg_plan_victim *victims, size_t count,
                fg_device_id *ret_devices)
{
    FG_AUTO_FREE struct space *spaces = fg_alloc((snap->device_count + 1) * sizeof *spaces);
    FG_AUTO_FREE size_t *first = fg_alloc((snap->device_count + 1) * sizeof *first);
    if (count > 1)
        qsort(victims, count, sizeof *victims, by_worth);
    for (size_t i = 0, v = 0; i < snap->device_count; i++) {     /* devices are in id order, as are the victims now */
        const struct fg_plan_device *d = &snap->devices[i];
        spaces[i] = (struct space){d->memory_free_bytes, d->share_free_permille};
        while (v < count && victims[v].device < d->id)
            v++;
        first[i] = v;
    }
    for (uint32_t k = 0; k < FG_MAX(task->together, 1u); k++) {
        struct offer best = {0};
        size_t at = 0;
        for (size_t i = 0; i < snap->device_count; i++) {
            const struct fg_plan_device *d = &snap->devices[i];
            if (!d->usable || !fg_could_hold(d, &task->need))
                continue;
            size_t n = range_of(victims, count, first[i], d->id);
            struct offer offer = try_device(snap, task, victims + first[i], n, &spaces[i], false);
            if (is_better(&offer, &best)) {
                best = offer;
                at = i;
            }
        }
        if (!best.possible)
            return false;
        try_device(snap, task, victims + first[at], range_of(victims, count, first[at], snap->devices[at].id), &spaces[at], true);
        ret_devices[k] = snap->devices[at].id;
    }
    return true;
}
