/* reserve.c - rooms grow as leases end, in order of their predicted ends, until the head of the line fits. */
#include "plan/reserve.h"


struct space { uint64_t memory_bytes; uint32_t share_permille; uint32_t fits; int64_t latest_ns; };

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

static uint32_t how_many(const struct space *s, const struct fg_need *need, uint32_t most)
{
    uint64_t by_memory = need->memory_bytes ? s->memory_bytes / need->memory_bytes : most;
    uint64_t by_share = need->share_permille ? s->share_permille / need->share_permille : most;
    return (uint32_t)FG_MIN(FG_MIN(by_memory, by_share), (uint64_t)most);
}

static bool taken(const struct fg_snapshot *snap, fg_device_id device)
{
    for (size_t i = 0; i < snap->reservation_count; i++)
        for (size_t k = 0; k < snap->reservations[i].count; k++)
            if (snap->reservations[i].parts[k].device == device)
                return true;
    return false;
}

/* Devices by id: a hash of those that may be used, since they are few of all. */
struct place { fg_device_id id; uint32_t index; };       /* id 0: empty */
struct search {
    const struct fg_snapshot *snap;
    const struct fg_need *need;
    uint32_t want;
    struct space *spaces;                /* by device index; fits 0 and no memory: not to be used */
    struct place *places;
    uint32_t mask;
    uint64_t fit;                        /* sum over devices */
};

static struct place *place_of(const struct search *s, fg_device_id id)
{
    uint32_t at = id * 0x9e3779b1u >> 7 & s->mask;
    while (s->places[at].id && s->places[at].id != id)
        at = (at + 1) & s->mask;
    return &s->places[at];
}

static void begin(struct search *s)
{
    for (s->mask = 15; s->mask < s->snap->device_count * 2; s->mask = s->mask * 2 + 1)
        ;
    s->spaces = fg_alloc((s->snap->device_count + 1) * sizeof *s->spaces);
    s->places = fg_alloc(((size_t)s->mask + 1) * sizeof *s->places);
    for (size_t i = 0; i < s->snap->device_count; i++) {
        const struct fg_plan_device *d = &s->snap->devices[i];
        if (!d->usable || !fg_could_hold(d, s->need) || taken(s->snap, d->id))
            continue;
        *place_of(s, d->id) = (struct place){d->id, (uint32_t)i};
        s->spaces[i] = (struct space){d->memory_free_bytes, d->share_free_permille, 0, s->snap->now_ns};
        s->spaces[i].fits = how_many(&s->spaces[i], s->need, s->want);
        s->fit += s->spaces[i].fits;
    }
}

static void end_of(struct search *s, const struct fg_plan_lease *l)
{
    const struct place *p = place_of(s, l->device);
    if (!p->id)
        return;
    struct space *space = &s->spaces[p->index];
    space->memory_bytes = FG_MIN(space->memory_bytes + l->memory_bytes, s->snap->devices[p->index].memory_bytes);
    space->share_permille = FG_MIN(space->share_permille + l->share_permille, 1000u);
    space->latest_ns = FG_MAX(space->latest_ns, l->latest_ns);
    s->fit -= space->fits;
    space->fits = how_many(space, s->need, s->want);
    s->fit += space->fits;
}

/* Those with the most room first need fewest devices; equal ones by index. */
static void choose_parts(struct search *s, struct fg_reservation *ret)
{
    FG_VEC(struct fg_reserved) parts = {0};
    for (uint32_t left = s->want; left > 0;) {
        size_t best = SIZE_MAX;
        for (size_t i = 0; i < s->snap->device_count; i++)
            if (s->spaces[i].fits && (best == SIZE_MAX || s->spaces[i].fits > s->spaces[best].fits))
                best = i;
        uint32_t n = FG_MIN(s->spaces[best].fits, left);
        fg_vec_push(&parts, (struct fg_reserved){.device = s->snap->devices[best].id, .tasks = n});
        ret->latest_ns = FG_MAX(ret->latest_ns, s->spaces[best].latest_ns);
        s->spaces[best].fits = 0;
        left -= n;
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
    for (size_t i = count / 2; s.fit < s.want && i > 0; i--)
        sink(leases, count, i - 1);
    for (size_t left = count; s.fit < s.want && left > 0; left--) {
        const struct fg_plan_lease *next = take_first(leases, left);
        end_of(&s, next);
        ret->start_ns = FG_MAX(snap->now_ns, next->end_ns);
    }
    bool found = s.fit >= s.want;
    if (found)
        choose_parts(&s, ret);
    for (size_t k = 0; found && k < ret->count; k++)
        fg_reserve_spare(&snap->devices[place_of(&s, ret->parts[k].device)->index], &task->need, leases, count, ret->start_ns, &ret->parts[k]);
    free(s.spaces);
    free(s.places);
    return found;
}

void fg_reserve_spare(const struct fg_plan_device *device, const struct fg_need *need, const struct fg_plan_lease *leases, size_t count,
                      int64_t start_ns, struct fg_reserved *part)
{
    uint64_t memory = device->memory_free_bytes, held = need->memory_bytes * part->tasks;
    uint32_t share = device->share_free_permille, held_share = need->share_permille * part->tasks;
    for (size_t i = 0; i < count; i++)
        if (leases[i].device == part->device && leases[i].end_ns <= start_ns) {
            memory += leases[i].memory_bytes;
            share += leases[i].share_permille;
        }
    memory = FG_MIN(memory, device->memory_bytes);
    share = FG_MIN(share, 1000u);
    part->spare_memory_bytes = memory > held ? memory - held : 0;
    part->spare_share_permille = share > held_share ? share - held_share : 0;
}

void fg_reservation_fini(struct fg_reservation *r)
{
    if (!r)
        return;
    free(r->parts);
    *r = (struct fg_reservation){0};
}
