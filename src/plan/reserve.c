/* reserve.c - rooms grow as leases end, in order of their predicted ends, until the head of the line fits. */
#include "plan/reserve.h"


struct space {                           /* a device that may be used; fits 0 and no memory: not to be used */
    uint64_t memory_bytes;
    uint32_t share_permille, fits;
    uint32_t host;                       /* index + 1 of the processor that limits it; 0: none does */
    int64_t latest_ns;
};
struct host {                            /* a machine's processor */
    struct fg_plan_device is;            /* free is what was free at first */
    uint64_t bytes;
    uint32_t milli;
    uint64_t beside, fits;               /* of the devices beside it, and those that it leaves of them */
    uint32_t own;                        /* index + 1 of its own space; 0: it is none that may be used */
    uint32_t held;                       /* tasks that are to hold a part of it */
    int64_t latest_ns;
};

static bool ends_before(const struct fg_plan_lease *x, const struct fg_plan_lease *y)
{
    if (x->end_ns != y->end_ns)
        return x->end_ns < y->end_ns;
    return x->device != y->device ? x->device < y->device : x->latest_ns < y->latest_ns;
}

/* Mostly a few ends make room: a heap of them all, the first at the top, costs less than their order. */
static void sink(struct fg_plan_lease *heap, size_t count, size_t i)
{
    struct fg_plan_lease one = heap[i];
    for (size_t child; (child = 2 * i + 1) < count; i = child) {
        if (child + 1 < count && ends_before(&heap[child + 1], &heap[child]))
            child++;
        if (!ends_before(&heap[child], &one))
            break;
        heap[i] = heap[child];
    }
    heap[i] = one;
}

/* Moved behind those that are left. */
static struct fg_plan_lease *take_first(struct fg_plan_lease *heap, size_t left)
{
    struct fg_plan_lease first = heap[0];
    heap[0] = heap[left - 1];
    heap[left - 1] = first;
    sink(heap, left - 1, 0);
    return &heap[left - 1];
}

static uint64_t times(uint64_t there, uint64_t each, uint64_t most) { return each ? FG_MIN(there / each, most) : most; }

static bool taken(const struct fg_snapshot *snap, fg_device_id device)
{
    for (size_t i = 0; i < snap->reservation_count; i++)
        for (size_t k = 0; k < snap->reservations[i].count; k++)
            if (snap->reservations[i].parts[k].device == device)
                return true;
    return false;
}

/* Devices by id: a hash of those that may be used or whose ends matter, since they are few of all. */
struct place { fg_device_id id; uint32_t space, host; };       /* id 0: empty; indices + 1, 0: none */
struct search {
    const struct fg_snapshot *snap;
    const struct fg_need *need;
    uint32_t want;
    struct space *spaces;                /* by device index */
    FG_VEC(struct host) hosts;
    struct place *places;
    uint32_t mask;
    uint64_t fit, fit_on;                /* sums over devices; who asks for parts of processors may be beside them or on them, not both */
};

static struct place *place_of(const struct search *s, fg_device_id id)
{
    uint32_t at = id * 0x9e3779b1u >> 7 & s->mask;
    while (s->places[at].id && s->places[at].id != id)
        at = (at + 1) & s->mask;
    return &s->places[at];
}

static struct host *host_of(const struct search *s, const struct space *space) { return space->host ? &s->hosts.items[space->host - 1] : NULL; }

static uint64_t fits_on(const struct search *s, size_t i)
{
    const struct fg_plan_device *d = &s->snap->devices[i];
    const struct space *space = &s->spaces[i];
    struct fg_ask ask = fg_ask_of(d, s->need);
    return FG_MIN(times(space->memory_bytes, ask.memory_bytes, s->want), times(space->share_permille, ask.share_permille, s->want));
}

/* Count anew what fits on the device, and with it on its machine. */
static void count(struct search *s, size_t i)
{
    struct space *space = &s->spaces[i];
    struct host *h = host_of(s, space);
    uint32_t was = space->fits;
    space->fits = (uint32_t)fits_on(s, i);
    if (h && h->own != i + 1)
        h->beside += space->fits - (uint64_t)was;
    else if (h && fg_asks_host(s->need))
        s->fit_on += space->fits - (uint64_t)was;
    else
        s->fit += space->fits - (uint64_t)was;
}

static void count_host(struct search *s, struct host *h)
{
    uint64_t was = h->fits, most = FG_MIN(times(h->milli, s->need->cpus_milli, s->want), times(h->bytes, s->need->host_bytes, s->want));
    h->fits = FG_MIN(most, h->beside);
    s->fit += h->fits - was;
}

static struct fg_plan_device host_device(const struct fg_plan_device *d)
{
    return (struct fg_plan_device){.id = d->host, .memory_bytes = d->host_memory_bytes, .memory_free_bytes = d->host_free_bytes, .is_host = true,
                                   .cores = d->cores, .host_free_milli = d->host_free_milli, .usable = d->usable};
}

/* Index + 1. */
static uint32_t find_host(struct search *s, const struct fg_plan_device *d)
{
    struct place *p = place_of(s, d->host);
    p->id = d->host;
    if (!p->host) {
        fg_vec_push(&s->hosts, ((struct host){.is = host_device(d), .bytes = d->host_free_bytes, .milli = d->host_free_milli, .latest_ns = s->snap->now_ns}));
        p->host = (uint32_t)s->hosts.count;
    }
    return p->host;
}

static void begin(struct search *s)
{
    bool asks = fg_asks_host(s->need);
    for (s->mask = 15; s->mask < s->snap->device_count * (asks ? 4 : 2); s->mask = s->mask * 2 + 1)
        ;
    s->spaces = fg_alloc((s->snap->device_count + 1) * sizeof *s->spaces);
    s->places = fg_alloc(((size_t)s->mask + 1) * sizeof *s->places);
    for (size_t i = 0; i < s->snap->device_count; i++) {
        const struct fg_plan_device *d = &s->snap->devices[i];
        if (!d->usable || !fg_could_hold(d, s->need) || taken(s->snap, d->id) || (asks && d->host && taken(s->snap, d->host)))
            continue;
        struct place *p = place_of(s, d->id);
        p->id = d->id;
        p->space = (uint32_t)i + 1;
        s->spaces[i] = (struct space){.memory_bytes = d->memory_free_bytes, .share_permille = d->share_free_permille, .latest_ns = s->snap->now_ns};
        if (d->host && (asks || d->is_host))
            s->spaces[i].host = find_host(s, d);
        if (d->is_host && d->host)
            s->hosts.items[s->spaces[i].host - 1].own = (uint32_t)i + 1;
        count(s, i);
    }
    for (size_t i = 0; i < s->hosts.count; i++)
        count_host(s, &s->hosts.items[i]);
}

/* So much less is held of a processor; its own space is what is free there. */
static void free_host(struct search *s, struct host *h, uint64_t bytes, uint32_t milli, int64_t latest_ns)
{
    h->bytes = FG_MIN(h->bytes + bytes, h->is.memory_bytes);
    h->milli = FG_MIN(h->milli + milli, h->is.cores * 1000);
    h->latest_ns = FG_MAX(h->latest_ns, latest_ns);
    if (h->own) {
        struct space *own = &s->spaces[h->own - 1];
        own->memory_bytes = h->bytes;
        own->share_permille = h->milli / FG_MAX(h->is.cores, 1u);
        own->latest_ns = h->latest_ns;
        count(s, h->own - 1);
    }
    count_host(s, h);
}

static void end_of(struct search *s, const struct fg_plan_lease *l)
{
    const struct place *p = place_of(s, l->device), *beside = l->host ? place_of(s, l->host) : p;
    if (p->host) {
        struct host *h = &s->hosts.items[p->host - 1];
        free_host(s, h, l->memory_bytes, l->share_permille * h->is.cores, l->latest_ns);
    } else if (p->space) {
        struct space *space = &s->spaces[p->space - 1];
        space->memory_bytes = FG_MIN(space->memory_bytes + l->memory_bytes, s->snap->devices[p->space - 1].memory_bytes);
        space->share_permille = FG_MIN(space->share_permille + l->share_permille, 1000u);
        space->latest_ns = FG_MAX(space->latest_ns, l->latest_ns);
        count(s, p->space - 1);
        if (space->host)
            count_host(s, host_of(s, space));
    }
    if (l->host && beside->host)
        free_host(s, &s->hosts.items[beside->host - 1], l->host_bytes, l->host_milli, l->latest_ns);
}

static bool enough(const struct search *s) { return FG_MAX(s->fit, s->fit_on) >= s->want; }

static void choose_side(struct search *s)
{
    for (size_t i = 0; i < s->snap->device_count && fg_asks_host(s->need); i++) {
        const struct host *h = host_of(s, &s->spaces[i]);
        if (h && (h->own == i + 1) == (s->fit >= s->want))
            s->spaces[i].fits = 0;
    }
}

static uint32_t left_at(const struct search *s, size_t i)
{
    const struct space *space = &s->spaces[i];
    const struct host *h = host_of(s, space);
    return h && h->own != i + 1 ? FG_MIN(space->fits, (uint32_t)h->fits - h->held) : space->fits;
}

/* Those with the most room first need fewest devices; equal ones by index. */
static void choose_parts(struct search *s, struct fg_reservation *ret)
{
    FG_VEC(struct fg_reserved) parts = {0};
    choose_side(s);
    for (uint32_t left = s->want; left > 0;) {
        size_t best = SIZE_MAX;
        for (size_t i = 0; i < s->snap->device_count; i++)
            if (left_at(s, i) && (best == SIZE_MAX || left_at(s, i) > left_at(s, best)))
                best = i;
        uint32_t n = FG_MIN(left_at(s, best), left);
        struct host *h = host_of(s, &s->spaces[best]);
        fg_vec_push(&parts, (struct fg_reserved){.device = s->snap->devices[best].id, .tasks = n});
        ret->latest_ns = FG_MAX(ret->latest_ns, s->spaces[best].latest_ns);
        s->spaces[best].fits = 0;
        if (h && h->own != best + 1)
            h->held += n;
        left -= n;
    }
    for (size_t i = 0; i < s->hosts.count; i++)
        if (s->hosts.items[i].held) {
            fg_vec_push(&parts, (struct fg_reserved){.device = s->hosts.items[i].is.id, .tasks = s->hosts.items[i].held, .beside = true});
            ret->latest_ns = FG_MAX(ret->latest_ns, s->hosts.items[i].latest_ns);
        }
    ret->parts = parts.items;
    ret->count = parts.count;
}

bool fg_reserve(const struct fg_snapshot *snap, const struct fg_plan_task *task, struct fg_plan_lease *leases, size_t count,
                struct fg_reservation *ret)
{
    struct search s = {.snap = snap, .need = &task->need, .want = FG_MAX(task->together, 1u)};
    *ret = (struct fg_reservation){.group = fg_id_is_none(task->group) ? task->id : task->group, .start_ns = snap->now_ns};
    begin(&s);
    for (size_t i = count / 2; !enough(&s) && i > 0; i--)
        sink(leases, count, i - 1);
    for (size_t left = count; !enough(&s) && left > 0; left--) {
        const struct fg_plan_lease *next = take_first(leases, left);
        end_of(&s, next);
        ret->start_ns = FG_MAX(snap->now_ns, next->end_ns);
    }
    bool found = enough(&s);
    if (found)
        choose_parts(&s, ret);
    for (size_t k = 0; found && k < ret->count; k++) {
        const struct place *p = place_of(&s, ret->parts[k].device);
        const struct fg_plan_device *d = ret->parts[k].beside ? &s.hosts.items[p->host - 1].is : &snap->devices[p->space - 1];
        fg_reserve_spare(d, &task->need, leases, count, ret->start_ns, &ret->parts[k]);
    }
    fg_vec_fini(&s.hosts);
    free(s.spaces);
    free(s.places);
    return found;
}

/* A processor is counted in thousandths of a core: unit of them are a permille. */
void fg_reserve_spare(const struct fg_plan_device *device, const struct fg_need *need, const struct fg_plan_lease *leases, size_t count,
                      int64_t start_ns, struct fg_reserved *part)
{
    struct fg_ask ask = fg_ask_of(device, need);
    uint64_t unit = device->is_host && device->cores ? device->cores : 1;
    uint64_t memory = device->memory_free_bytes, held = (part->beside ? need->host_bytes : ask.memory_bytes) * part->tasks;
    uint64_t share = unit > 1 || device->is_host ? device->host_free_milli : device->share_free_permille;
    uint64_t held_share = (part->beside ? need->cpus_milli : ask.share_permille * unit) * part->tasks;
    for (size_t i = 0; i < count; i++) {
        if (leases[i].end_ns > start_ns)
            continue;
        if (leases[i].device == part->device) {
            memory += leases[i].memory_bytes;
            share += leases[i].share_permille * unit;
        } else if (leases[i].host == part->device) {
            memory += leases[i].host_bytes;
            share += leases[i].host_milli;
        }
    }
    memory = FG_MIN(memory, device->memory_bytes);
    share = FG_MIN(share, 1000 * unit);
    part->spare_memory_bytes = memory > held ? memory - held : 0;
    part->spare_share_permille = (uint32_t)(share > held_share ? (share - held_share) / unit : 0);
}

void fg_reservation_fini(struct fg_reservation *r)
{
    if (!r)
        return;
    free(r->parts);
    *r = (struct fg_reservation){0};
}
