/* hold.c - what is held for heads of the line, in a round: who may use it meanwhile, and what of it is spare.
 *
 * Where the processor of a machine is held, for a task on it or beside another device, whoever asks for a part of it beside a
 * device must leave it alone too: so all devices of that machine are lifted out of the order. */
#include <limits.h>

#include "plan/place_private.h"

/* The room of the processor that a need on the device takes a part of, or NULL. */
static struct room *beside(const struct round *r, const struct room *room, const struct fg_ask *ask)
{
    const struct room_machine *m = ask->host_milli || ask->host_bytes ? rooms_machine(r->rooms, room) : NULL;
    return m && m->own ? room_at(r, m->own - 1) : NULL;
}

static struct fg_ask ask_on(const struct round *r, const struct room *room, const struct fg_need *need)
{
    return fg_ask_of(&r->rooms->models.items[room->model].like, need);
}

static uint32_t host_permille(const struct round *r, const struct room *own, const struct fg_ask *ask)
{
    uint32_t cores = FG_MAX(r->rooms->models.items[own->model].like.cores, 1u);
    return (ask->host_milli + cores - 1) / cores;
}

static const struct fg_reservation *held_for(const struct round *r, const struct room *room)
{
    return room && room->reservation ? &r->snap->reservations[room->reservation - 1] : NULL;
}

int round_held_rank(const struct round *r, size_t device, const struct fg_need *need)
{
    const struct room *room = room_at(r, device);
    struct fg_ask ask = ask_on(r, room, need);
    const struct fg_reservation *held = held_for(r, room), *host = held_for(r, beside(r, room, &ask));
    return FG_MAX(held ? held->rank : INT_MIN, host ? host->rank : INT_MIN);
}

/* Whether it may be there only in what the head leaves: it is another's, no higher one's, and goes on beyond the start. */
static bool in_spare_only(const struct round *r, const struct fg_reservation *held, const struct fg_plan_task *t, const struct offer *offer)
{
    return held && !fg_id_eq(held->group, round_group_of(t)) && t->rank <= held->rank && offer->p95_ns > held->start_ns - r->snap->now_ns;
}

static bool may_take(const struct round *r, const struct room *room, uint64_t bytes, uint32_t permille, const struct fg_plan_task *t,
                     const struct offer *offer)
{
    const struct fg_reservation *held = held_for(r, room);
    if (!held || fg_id_eq(held->group, round_group_of(t)) || t->rank > held->rank)
        return true;
    if (r->snap->now_ns >= held->start_ns)
        return false;
    return !in_spare_only(r, held, t, offer) || (bytes <= room->spare_memory_bytes && permille <= room->spare_share_permille);
}

/* On a device that is held for another: it will have ended by then, or what it takes is not needed then. */
bool round_may_use(const struct round *r, size_t device, const struct fg_plan_task *t, const struct offer *offer)
{
    const struct room *room = room_at(r, device);
    struct fg_ask ask = ask_on(r, room, &t->need);
    const struct room *own = beside(r, room, &ask);
    return may_take(r, room, ask.memory_bytes, ask.share_permille, t, offer) &&
           (!own || may_take(r, own, ask.host_bytes, host_permille(r, own, &ask), t, offer));
}

static void spare(struct room *room, uint64_t bytes, uint32_t permille, int by)
{
    room->spare_memory_bytes += by > 0 ? bytes : -bytes;
    room->spare_share_permille += by > 0 ? permille : -permille;
}

static void change_spare(struct round *r, const struct done *done, int by)
{
    struct room *room = room_at(r, done->device), *own = beside(r, room, &done->ask);
    if (done->on_spare)
        spare(room, done->ask.memory_bytes, done->ask.share_permille, by);
    if (done->beside_spare)
        spare(own, done->ask.host_bytes, host_permille(r, own, &done->ask), by);
}

void round_take_spare(struct round *r, const struct fg_plan_task *t, const struct offer *offer, struct done *done)
{
    const struct room *room = room_at(r, done->device);
    done->on_spare = in_spare_only(r, held_for(r, room), t, offer);
    done->beside_spare = in_spare_only(r, held_for(r, beside(r, room, &done->ask)), t, offer);
    change_spare(r, done, -1);
}

void round_give_spare(struct round *r, const struct done *done) { change_spare(r, done, 1); }

/* Its index; device_count: there is none. They mostly stand by id. */
static size_t find_device(const struct fg_snapshot *snap, fg_device_id id)
{
    size_t lo = 0, hi = snap->device_count;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (snap->devices[mid].id < id)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo < snap->device_count && snap->devices[lo].id == id)
        return lo;
    for (lo = 0; lo < snap->device_count && snap->devices[lo].id != id;)
        lo++;
    return lo;
}

static void lift(struct round *r, size_t i)
{
    if (room_at(r, i)->lifted)
        return;
    fg_vec_push(&r->held, i);
    rooms_lift(r->rooms, i, true);
}

static void hold(struct round *r, uint32_t reservation, const struct fg_reserved *part)
{
    size_t i = find_device(r->snap, part->device);
    if (i == r->snap->device_count)
        return;
    struct room *room = room_at(r, i);
    room->reservation = reservation;
    room->spare_memory_bytes = part->spare_memory_bytes;
    room->spare_share_permille = part->spare_share_permille;
    lift(r, i);
    const struct room_machine *m = rooms_machine(r->rooms, room);
    for (uint32_t at = r->rooms->beside && m && m->own == i + 1 ? m->first : 0; at; at = room_at(r, at - 1)->next)
        lift(r, at - 1);
}

void round_hold(struct round *r)
{
    for (size_t i = 0; i < r->snap->reservation_count; i++)
        for (size_t k = 0; k < r->snap->reservations[i].count; k++)
            hold(r, (uint32_t)i + 1, &r->snap->reservations[i].parts[k]);
}

void round_let_go(struct round *r)
{
    for (size_t k = 0; k < r->held.count; k++) {
        room_at(r, r->held.items[k])->reservation = 0;
        rooms_lift(r->rooms, r->held.items[k], false);
    }
}
