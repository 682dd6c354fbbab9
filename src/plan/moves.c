/* moves.c - see moves.h. A search by depth, one more move at a time, with the goals of a chain as a stack:
 *
 *     goals[0]   room for the task on device d
 *     goals[k]   room for lease x on device b: when it is there, x moves, and the goal beneath it is looked at again
 *
 * A goal without room takes one of its device's leases away, by a goal of that one's own on another device. */
#include "plan/moves.h"

#include "base/mem.h"

#define STEPS_MAX 50000u                 /* some 2 ms; a machine of 8 devices and 30 tasks takes a tenth */

struct goal { uint32_t device, lease; uint64_t memory_bytes; uint32_t share_permille; };
struct search {
    struct fg_moves_device *devices;     /* as they are after the moves so far */
    size_t device_count;
    const struct fg_moves_lease *leases;
    size_t lease_count;
    bool *used;                          /* moved, or about to be */
    struct goal goals[FG_MOVES_MAX + 1];
    uint32_t goal_count, most;
    struct fg_moves now, best;
    bool found;
    size_t steps;
};

static void look(struct search *s);

static bool has_room(const struct fg_moves_device *d, uint64_t memory, uint32_t share)
{
    return d->memory_free_bytes >= memory && d->share_free_permille >= share;
}

static bool is_goal(const struct search *s, uint32_t device)
{
    for (uint32_t i = 0; i < s->goal_count; i++)
        if (s->goals[i].device == device)
            return true;
    return false;
}

static void relocate(struct search *s, const struct fg_moves_lease *l, uint32_t from, uint32_t to)
{
    s->devices[from].memory_free_bytes += l->memory_bytes;
    s->devices[from].share_free_permille += l->share_permille;
    s->devices[to].memory_free_bytes -= l->memory_bytes;
    s->devices[to].share_free_permille -= l->share_permille;
}

/* The goal on top has room: it is reached, or its lease moves there. */
static void reach(struct search *s)
{
    struct goal top = s->goals[--s->goal_count];
    if (s->goal_count == 0) {
        if (!s->found || s->now.cost < s->best.cost) {
            s->best = s->now;
            s->best.device = top.device;
        }
        s->found = true;
    } else {
        const struct fg_moves_lease *l = &s->leases[top.lease];
        relocate(s, l, l->device, top.device);
        s->now.moves[s->now.count].lease = top.lease;
        s->now.moves[s->now.count++].to = top.device;
        look(s);
        s->now.count--;
        relocate(s, l, top.device, l->device);
    }
    s->goals[s->goal_count++] = top;
}

/* Of leases that are alike the cheapest stands for all. */
static bool is_like_another(const struct search *s, uint32_t lease)
{
    const struct fg_moves_lease *l = &s->leases[lease];
    for (uint32_t i = 0; i < s->lease_count; i++) {
        const struct fg_moves_lease *o = &s->leases[i];
        if (i != lease && !s->used[i] && o->movable && o->device == l->device && o->memory_bytes == l->memory_bytes && o->share_permille == l->share_permille &&
            (o->cost < l->cost || (o->cost == l->cost && i < lease)))
            return true;
    }
    return false;
}

static void send_to(struct search *s, uint32_t lease, uint32_t device)
{
    const struct fg_moves_lease *l = &s->leases[lease];
    s->goals[s->goal_count++] = (struct goal){device, lease, l->memory_bytes, l->share_permille};
    look(s);
    s->goal_count--;
}

/* One with room stands for all that have as much: the rest of the search sees only what is free. */
static bool is_like_before(const struct search *s, uint32_t device, const struct fg_moves_lease *l)
{
    const struct fg_moves_device *d = &s->devices[device];
    for (uint32_t b = 0; b < device && has_room(d, l->memory_bytes, l->share_permille); b++)
        if (s->devices[b].may_take && !is_goal(s, b) && s->devices[b].memory_free_bytes == d->memory_free_bytes &&
            s->devices[b].share_free_permille == d->share_free_permille)
            return true;
    return false;
}

static void evict(struct search *s, uint32_t lease, uint32_t left)
{
    const struct fg_moves_lease *l = &s->leases[lease];
    s->used[lease] = true;
    s->now.cost += l->cost;
    for (uint32_t b = 0; b < s->device_count; b++)
        if (s->devices[b].may_take && !is_goal(s, b) && (left > 1 || has_room(&s->devices[b], l->memory_bytes, l->share_permille)) &&
            !is_like_before(s, b, l))
            send_to(s, lease, b);
    s->now.cost -= l->cost;
    s->used[lease] = false;
}

static void look(struct search *s)
{
    const struct goal g = s->goals[s->goal_count - 1];
    const struct fg_moves_device *d = &s->devices[g.device];
    if (++s->steps > STEPS_MAX)
        return;
    if (has_room(d, g.memory_bytes, g.share_permille)) {
        reach(s);
        return;
    }
    uint32_t left = s->most - s->now.count - (s->goal_count - 1);        /* those of the goals above the first are spoken for */
    for (uint32_t k = 0; left > 0 && k < s->lease_count; k++) {
        const struct fg_moves_lease *l = &s->leases[k];
        if (l->device != g.device || !l->movable || s->used[k] || (s->found && s->now.cost + l->cost >= s->best.cost))
            continue;
        if (left == 1 && (d->memory_free_bytes + l->memory_bytes < g.memory_bytes || d->share_free_permille + l->share_permille < g.share_permille))
            continue;
        if (!is_like_another(s, k))
            evict(s, k, left);
    }
}

bool fg_moves_find(const struct fg_moves_device *devices, size_t device_count, const struct fg_moves_lease *leases, size_t lease_count,
                   uint64_t memory_bytes, uint32_t share_permille, struct fg_moves *ret)
{
    FG_AUTO_FREE struct fg_moves_device *state = fg_alloc((device_count + 1) * sizeof *state);
    FG_AUTO_FREE bool *used = fg_alloc((lease_count + 1) * sizeof *used);
    struct search s = {.devices = state, .device_count = device_count, .leases = leases, .lease_count = lease_count, .used = used};
    for (size_t i = 0; i < device_count; i++)
        state[i] = devices[i];
    for (s.most = 0; !s.found && s.most <= FG_MOVES_MAX; s.most++)
        for (uint32_t i = 0; i < device_count; i++) {
            if (!devices[i].may_open)
                continue;
            s.goals[0] = (struct goal){i, 0, memory_bytes, share_permille};
            s.goal_count = 1;
            look(&s);
        }
    if (s.found)
        *ret = s.best;
    return s.found;
}
