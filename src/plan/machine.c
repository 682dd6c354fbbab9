/* machine.c - what is free on the processors of machines, beside their devices.
 *
 *     machine -- own     the room of its processor, where tasks are that ask for it as their device
 *             \- first   its devices, each with the most that is free beside those below it in its tree
 *
 * A part that is taken is taken from all of these; nothing is kept in the trees until a task asks for such a part. */
#include "base/mem.h"
#include "plan/rooms_private.h"

static struct room_machine *machine_of(struct fg_rooms *x, const struct room *r) { return r->machine ? &x->machines.items[r->machine - 1] : NULL; }

static void tell_devices(struct fg_rooms *x, const struct room_machine *m)
{
    for (uint32_t i = x->beside ? m->first : 0; i; i = x->rooms.items[i - 1].next)
        rooms_refresh(x, i - 1);
}

static void set(struct fg_rooms *x, struct room_machine *m, uint32_t milli, uint64_t bytes)
{
    x->host_milli += milli - (uint64_t)m->milli;
    x->host_bytes += bytes - m->bytes;
    m->milli = milli;
    m->bytes = bytes;
    rooms_pack_touch(x, (uint32_t)(m - x->machines.items));
}

static uint32_t cores_of(const struct fg_rooms *x, const struct room *r)
{
    const struct fg_plan_device *like = &x->models.items[r->model].like;
    return like->is_host ? like->cores : 0;
}

void rooms_change(struct fg_rooms *x, size_t at, uint64_t memory_bytes, uint32_t share_permille)
{
    struct room *r = &x->rooms.items[at];
    struct room_machine *m = machine_of(x, r);
    uint32_t cores = cores_of(x, r), was = r->share_permille;
    rooms_put(x, at, memory_bytes, share_permille);
    if (!cores || !m)
        return;
    set(x, m, m->milli + share_permille * cores - was * cores, memory_bytes);
    tell_devices(x, m);
}

void rooms_take(struct fg_rooms *x, size_t at, const struct fg_ask *ask, int by)
{
    struct room *r = &x->rooms.items[at];
    struct room_machine *m = machine_of(x, r);
    rooms_change(x, at, by < 0 ? r->memory_bytes - ask->memory_bytes : r->memory_bytes + ask->memory_bytes,
                 by < 0 ? r->share_permille - ask->share_permille : r->share_permille + ask->share_permille);
    if (!m || (!ask->host_milli && !ask->host_bytes))
        return;
    set(x, m, by < 0 ? m->milli - ask->host_milli : m->milli + ask->host_milli, by < 0 ? m->bytes - ask->host_bytes : m->bytes + ask->host_bytes);
    if (m->own)
        rooms_put(x, m->own - 1, m->bytes, m->milli / FG_MAX(cores_of(x, &x->rooms.items[m->own - 1]), 1u));
    tell_devices(x, m);
}

/* Devices leave and come back as they are: each node is pulled on the way. */
void rooms_look_beside(struct fg_rooms *x)
{
    if (x->beside)
        return;
    x->beside = true;
    for (size_t i = 0; i < x->rooms.count; i++)
        if (x->rooms.items[i].machine)
            rooms_put(x, i, x->rooms.items[i].memory_bytes, x->rooms.items[i].share_permille);
}

void rooms_join(struct fg_rooms *x, size_t at, const struct fg_plan_device *d)
{
    struct room *r = &x->rooms.items[at];
    r->machine = d->machine;
    r->next = 0;
    if (!d->machine)
        return;
    while (x->machines.count < d->machine)
        (void)fg_vec_add(&x->machines);
    struct room_machine *m = &x->machines.items[d->machine - 1];
    bool changed = m->milli != d->host_free_milli || m->bytes != d->host_free_bytes;
    set(x, m, d->host_free_milli, d->host_free_bytes);
    r->next = m->first;
    m->first = (uint32_t)at + 1;
    if (d->is_host)
        m->own = (uint32_t)at + 1;
    if (changed)
        tell_devices(x, m);
}

void rooms_part(struct fg_rooms *x, size_t at)
{
    struct room *r = &x->rooms.items[at];
    struct room_machine *m = machine_of(x, r);
    if (!m)
        return;
    uint32_t *link = &m->first;
    while (*link != (uint32_t)at + 1)
        link = &x->rooms.items[*link - 1].next;
    *link = r->next;
    m->own = m->own == (uint32_t)at + 1 ? 0 : m->own;
    if (!m->first)
        set(x, m, 0, 0);
    r->machine = r->next = 0;
    rooms_pack_touch(x, (uint32_t)(m - x->machines.items));
}
