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

struct space { uint64_t memory_bytes; uint32_t share_permille; uint64_t host_bytes, host_milli; };

static bool fits(const struct space *s, const struct fg_ask *ask)
{
    return ask->memory_bytes <= s->memory_bytes && ask->share_permille <= s->share_permille && ask->host_bytes <= s->host_bytes &&
           ask->host_milli <= s->host_milli;
}

/* What the end of v gives the device d; nothing: it is elsewhere. */
static struct space gives(const struct fg_plan_device *d, const struct fg_plan_victim *v)
{
    struct space s = {0};
    if (v->device == d->id)
        s = (struct space){v->memory_bytes, v->share_permille, 0, 0};
    if (d->host && v->device == d->host && !d->is_host)
        s.host_bytes = v->memory_bytes, s.host_milli = (uint64_t)v->share_permille * d->cores;
    else if (d->host && v->host == d->host && d->is_host)
        s.memory_bytes = v->host_bytes, s.share_permille = v->host_milli / FG_MAX(d->cores, 1u);
    else if (d->host && v->host == d->host)
        s.host_bytes = v->host_bytes, s.host_milli = v->host_milli;
    return s;
}

static struct space plus(struct space a, struct space b, bool minus)
{
    if (minus)
        return (struct space){a.memory_bytes - b.memory_bytes, a.share_permille - b.share_permille, a.host_bytes - b.host_bytes, a.host_milli - b.host_milli};
    return (struct space){a.memory_bytes + b.memory_bytes, a.share_permille + b.share_permille, a.host_bytes + b.host_bytes, a.host_milli + b.host_milli};
}

/* Some good: it gives what is still missing. */
static bool helps(const struct space *s, const struct space *more, const struct fg_ask *ask)
{
    return (more->memory_bytes && s->memory_bytes < ask->memory_bytes) || (more->share_permille && s->share_permille < ask->share_permille) ||
           (more->host_bytes && s->host_bytes < ask->host_bytes) || (more->host_milli && s->host_milli < ask->host_milli);
}

/* v lists victims that may help on a device, in order: those on it first. Take them until need fits; then let go those that were
 * not needed, the most worthy first. taken: room for n, which of them stayed. */
static struct offer try_device(const struct fg_snapshot *snap, const struct fg_plan_task *task, const struct fg_plan_device *d,
                               struct fg_plan_victim **v, size_t n, const struct space *space, bool *taken)
{
    struct offer offer = {0};
    struct space s = *space;
    struct fg_ask ask = fg_ask_of(d, &task->need);
    for (size_t i = 0; i < n; i++) {
        struct space more = gives(d, v[i]);
        taken[i] = !v[i]->chosen && v[i]->rank < task->rank && !fits(&s, &ask) && helps(&s, &more, &ask);
        if (taken[i])
            s = plus(s, more, false);
    }
    if (!fits(&s, &ask))
        return offer;
    offer.possible = true;
    for (size_t i = n; i > 0; i--) {
        if (!taken[i - 1])
            continue;
        struct space without = plus(s, gives(d, v[i - 1]), true);
        if (fits(&without, &ask)) {
            s = without;
            taken[i - 1] = false;
            continue;
        }
        offer.rank = FG_MAX(offer.rank, v[i - 1]->rank + 1);
        offer.lost += (__int128)v[i - 1]->share_permille * FG_MAX(snap->now_ns - v[i - 1]->started_ns, 0);
    }
    return offer;
}

static bool is_better(const struct offer *a, const struct offer *b)
{
    return a->possible && (!b->possible || a->rank < b->rank || (a->rank == b->rank && a->lost < b->lost));
}

/* Which victims may help on each device. */
struct search {
    const struct fg_snapshot *snap;
    const struct fg_plan_task *task;
    struct fg_plan_victim *victims;      /* in order by device */
    size_t count;
    size_t *first;                       /* by device index: where its own begin */
    struct fg_plan_victim **beside;      /* those that hold a part of a processor, in order by that */
    size_t beside_count;
    struct fg_plan_victim **list;        /* of the device that is looked at */
    bool *taken;
};

static int by_host(const void *a, const void *b)
{
    const struct fg_plan_victim *x = *(struct fg_plan_victim *const *)a, *y = *(struct fg_plan_victim *const *)b;
    return x->host != y->host ? (x->host < y->host ? -1 : 1) : by_worth(x, y);
}

static void list_beside(struct search *s)
{
    for (size_t v = 0; v < s->count; v++)
        if (s->victims[v].host)
            s->beside[s->beside_count++] = &s->victims[v];
    if (s->beside_count > 1)
        qsort(s->beside, s->beside_count, sizeof *s->beside, by_host);
}

/* Those on the processor, unless it is the device itself, and those elsewhere that hold a part of it. */
static void add_beside(struct search *s, size_t *n, const struct fg_plan_device *d)
{
    size_t lo = 0, hi = s->count;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (s->victims[mid].device < d->host)
            lo = mid + 1;
        else
            hi = mid;
    }
    for (; !d->is_host && lo < s->count && s->victims[lo].device == d->host; lo++)
        s->list[(*n)++] = &s->victims[lo];
    for (lo = 0, hi = s->beside_count; lo < hi;) {
        size_t mid = (lo + hi) / 2;
        if (s->beside[mid]->host < d->host)
            lo = mid + 1;
        else
            hi = mid;
    }
    for (; lo < s->beside_count && s->beside[lo]->host == d->host; lo++)
        if (s->beside[lo]->device != d->id)
            s->list[(*n)++] = s->beside[lo];
}

/* Its own, and where a processor may be short those who hold a part of that, in the same order. */
static size_t list_of(struct search *s, size_t device)
{
    const struct fg_plan_device *d = &s->snap->devices[device];
    size_t n = 0;
    for (size_t v = s->first[device]; v < s->count && s->victims[v].device == d->id; v++)
        s->list[n++] = &s->victims[v];
    if (d->host && (d->is_host || fg_asks_host(&s->task->need)))
        add_beside(s, &n, d);
    return n;
}

static void take(struct search *s, struct space *spaces, size_t device, size_t n)
{
    const struct fg_plan_device *d = &s->snap->devices[device];
    struct fg_ask ask = fg_ask_of(d, &s->task->need);
    struct fg_plan_victim placed = {.device = d->id, .memory_bytes = ask.memory_bytes, .share_permille = ask.share_permille,
                                    .host = ask.host_milli || ask.host_bytes ? d->host : 0, .host_milli = ask.host_milli, .host_bytes = ask.host_bytes};
    for (size_t i = 0; i < n; i++)
        s->list[i]->chosen |= s->taken[i];
    for (size_t i = 0; i < s->snap->device_count; i++) {
        const struct fg_plan_device *other = &s->snap->devices[i];
        if (i != device && (!d->host || other->host != d->host))
            continue;
        for (size_t k = 0; k < n; k++)
            if (s->taken[k])
                spaces[i] = plus(spaces[i], gives(other, s->list[k]), false);
        struct space gone = gives(other, &placed);
        spaces[i] = (struct space){spaces[i].memory_bytes - FG_MIN(gone.memory_bytes, spaces[i].memory_bytes),
                                   spaces[i].share_permille - FG_MIN(gone.share_permille, spaces[i].share_permille),
                                   spaces[i].host_bytes - FG_MIN(gone.host_bytes, spaces[i].host_bytes),
                                   spaces[i].host_milli - FG_MIN(gone.host_milli, spaces[i].host_milli)};
    }
}

static bool place_one(struct search *s, struct space *spaces, fg_device_id *ret)
{
    struct offer best = {0};
    size_t at = 0;
    for (size_t i = 0; i < s->snap->device_count; i++) {
        const struct fg_plan_device *d = &s->snap->devices[i];
        if (!d->usable || !fg_could_hold(d, &s->task->need))
            continue;
        struct offer offer = try_device(s->snap, s->task, d, s->list, list_of(s, i), &spaces[i], s->taken);
        if (is_better(&offer, &best)) {
            best = offer;
            at = i;
        }
    }
    if (!best.possible)
        return false;
    size_t n = list_of(s, at);
    try_device(s->snap, s->task, &s->snap->devices[at], s->list, n, &spaces[at], s->taken);
    take(s, spaces, at, n);
    *ret = s->snap->devices[at].id;
    return true;
}

bool fg_preempt(const struct fg_snapshot *snap, const struct fg_plan_task *task, struct fg_plan_victim *victims, size_t count,
                fg_device_id *ret_devices)
{
    FG_AUTO_FREE struct space *spaces = fg_alloc((snap->device_count + 1) * sizeof *spaces);
    FG_AUTO_FREE size_t *first = fg_alloc((snap->device_count + 1) * sizeof *first);
    FG_AUTO_FREE struct fg_plan_victim **list = fg_alloc((count + 1) * sizeof *list);
    FG_AUTO_FREE bool *taken = fg_alloc((count + 1) * sizeof *taken);
    FG_AUTO_FREE struct fg_plan_victim **beside = fg_alloc((count + 1) * sizeof *beside);
    struct search s = {.snap = snap, .task = task, .victims = victims, .count = count, .first = first, .list = list, .taken = taken, .beside = beside};
    if (count > 1)
        qsort(victims, count, sizeof *victims, by_worth);
    list_beside(&s);
    for (size_t i = 0, v = 0; i < snap->device_count; i++) {     /* devices are in id order, as are the victims now */
        const struct fg_plan_device *d = &snap->devices[i];
        spaces[i] = (struct space){d->memory_free_bytes, d->share_free_permille, d->host_free_bytes, d->host_free_milli};
        while (v < count && victims[v].device < d->id)
            v++;
        first[i] = v;
    }
    for (uint32_t k = 0; k < FG_MAX(task->together, 1u); k++)
        if (!place_one(&s, spaces, &ret_devices[k]))
            return false;
    return true;
}
