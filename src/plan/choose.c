/* choose.c - the best device for a task by the numbered rules, and the two next best. */
#include <string.h>

#include "plan/place_private.h"

static bool in_time(const struct round *r, const struct fg_plan_task *t, const struct offer *o)
{
    return t->deadline_ns == 0 || o->time_ns <= t->deadline_ns - r->snap->now_ns;
}

/* The rules, in order: the first that tells a from b decides, and *rule says which. True: a is better. */
static bool fit_is_better(const struct round *r, const struct group *g, const struct fg_plan_task *t, struct fit a, struct fit b, enum fg_rule *rule)
{
    const struct offer *x = offer_of(r, g, a.device), *y = offer_of(r, g, b.device);
    if (in_time(r, t, x) != in_time(r, t, y))
        return *rule = FG_RULE_DEADLINE, in_time(r, t, x);
    if (x->cost != y->cost)
        return *rule = FG_RULE_LEAST_COST, x->cost < y->cost;
    if (x->time_ns != y->time_ns)
        return *rule = FG_RULE_FINISH_FIRST, x->time_ns < y->time_ns;
    if (a.used_permille != b.used_permille)
        return *rule = FG_RULE_PACK, a.used_permille > b.used_permille;
    return *rule = FG_RULE_INDEX, r->snap->devices[a.device].id < r->snap->devices[b.device].id;
}

/* As full as they are now. */
static bool is_better(const struct round *r, const struct group *g, const struct fg_plan_task *t, size_t a, size_t b, enum fg_rule *rule)
{
    return fit_is_better(r, g, t, (struct fit){(uint32_t)a, r->rooms[a].used_permille}, (struct fit){(uint32_t)b, r->rooms[b].used_permille}, rule);
}

fg_id round_group_of(const struct fg_plan_task *t) { return fg_id_is_none(t->group) ? t->id : t->group; }

static bool has_room(const struct round *r, size_t device, const struct fg_need *need)
{
    const struct room *room = &r->rooms[device];
    return need->memory_bytes <= room->memory_bytes && need->share_permille <= room->share_permille &&
           r->snap->devices[device].usable;
}

static bool fits_spare(const struct room *room, const struct fg_need *need)
{
    return need->memory_bytes <= room->spare_memory_bytes && need->share_permille <= room->spare_share_permille;
}

/* On a device that is held for another: it will have ended by then, or what it takes is not needed then. */
static bool may_use(const struct round *r, size_t device, const struct fg_plan_task *t, const struct offer *offer)
{
    const struct room *room = &r->rooms[device];
    if (!room->reservation)
        return true;
    const struct fg_reservation *held = &r->snap->reservations[room->reservation - 1];
    if (fg_id_eq(held->group, round_group_of(t)) || t->rank > held->rank)
        return true;
    bool passed = r->snap->now_ns >= held->start_ns;
    return !passed && (offer->p95_ns <= held->start_ns - r->snap->now_ns || fits_spare(room, &t->need));
}

static void consider(const struct round *r, const struct group *g, const struct fg_plan_task *t, size_t i, struct choice *c)
{
    enum fg_rule rule;
    if (c->best == SIZE_MAX || is_better(r, g, t, i, c->best, &rule)) {
        c->third = c->second;
        c->second = c->best;
        c->best = i;
    } else if (c->second == SIZE_MAX || is_better(r, g, t, i, c->second, &rule)) {
        c->third = c->second;
        c->second = i;
    } else if (c->third == SIZE_MAX || is_better(r, g, t, i, c->third, &rule)) {
        c->third = i;
    }
}

static void tell_rule(const struct round *r, const struct group *g, const struct fg_plan_task *t, struct choice *c)
{
    if (c->second != SIZE_MAX)
        is_better(r, g, t, c->best, c->second, &c->rule);
}

/* --- many devices: the best of them from a heap ---
 *
 * Within a round what a device costs a group stays, and only two things change: it gets fuller, which makes it better by
 * rule 4, until it has no room, which takes it out. The heap goes by how full a device was when it was pushed; one that
 * changed is pushed once more, and what comes to the top out of date or without room is dropped. Reserved devices depend
 * on the task and are looked at one by one. */

#define HEAP_FROM 64u                    /* devices with room: fewer are gone through */
#define LOOK 64u                         /* places at the top of the heap among which the next best are sought */

static bool goes_up(const struct round *r, const struct group *g, struct fit a, struct fit b)
{
    enum fg_rule rule;
    return fit_is_better(r, g, g->task, a, b, &rule);
}

static void heap_push(const struct round *r, struct group *g, struct fit fit)
{
    fg_vec_push(&g->fits, fit);
    size_t i = g->fits.count - 1;
    for (; i > 0 && goes_up(r, g, fit, g->fits.items[(i - 1) / 2]); i = (i - 1) / 2)
        g->fits.items[i] = g->fits.items[(i - 1) / 2];
    g->fits.items[i] = fit;
}

static void heap_sink(const struct round *r, struct group *g, size_t i)
{
    struct fit fit = g->fits.items[i];
    for (size_t child; (child = 2 * i + 1) < g->fits.count; i = child) {
        if (child + 1 < g->fits.count && goes_up(r, g, g->fits.items[child + 1], g->fits.items[child]))
            child++;
        if (!goes_up(r, g, g->fits.items[child], fit))
            break;
        g->fits.items[i] = g->fits.items[child];
    }
    g->fits.items[i] = fit;
}

static struct fit fit_now(const struct round *r, size_t device) { return (struct fit){(uint32_t)device, r->rooms[device].used_permille}; }

static void heap_make(const struct round *r, struct group *g)
{
    size_t kept = 0;
    for (size_t k = 0; k < g->fits.count; k++)
        if (!r->rooms[g->fits.items[k].device].reservation)
            g->fits.items[kept++] = fit_now(r, g->fits.items[k].device);
    g->fits.count = kept;
    g->heaped = true;
    g->seen = r->done.count;
    for (size_t i = kept / 2; i > 0; i--)
        heap_sink(r, g, i - 1);
}

static void consider_new(const struct round *r, const struct group *g, const struct fg_plan_task *t, size_t i, struct choice *c)
{
    if (i != c->best && i != c->second && i != c->third && has_room(r, i, &t->need) && may_use(r, i, t, offer_of(r, g, i)))
        consider(r, g, t, i, c);
}

static bool is_old(const struct round *r, struct fit fit, const struct fg_need *need)
{
    return fit.used_permille != r->rooms[fit.device].used_permille || !has_room(r, fit.device, need);
}

static struct choice choose_from_heap(struct round *r, struct group *g, const struct fg_plan_task *t)
{
    struct choice c = {SIZE_MAX, SIZE_MAX, SIZE_MAX, FG_RULE_ONLY_FIT};
    if (!g->heaped)
        heap_make(r, g);
    for (; g->seen < r->done.count; g->seen++) {
        size_t device = r->done.items[g->seen].device;
        if (!r->rooms[device].reservation && has_room(r, device, &t->need))
            heap_push(r, g, fit_now(r, device));
    }
    while (g->fits.count && is_old(r, g->fits.items[0], &t->need)) {
        g->fits.items[0] = g->fits.items[--g->fits.count];
        if (g->fits.count)
            heap_sink(r, g, 0);
    }
    for (size_t k = 0; k < g->fits.count && k < LOOK; k++)
        consider_new(r, g, t, g->fits.items[k].device, &c);
    for (size_t k = 0; k < r->held.count; k++)
        consider_new(r, g, t, r->held.items[k], &c);
    tell_rule(r, g, t, &c);
    return c;
}

/* What has no room any more leaves the list: the order in it does not matter, since the rules tell any two apart. */
struct choice round_choose(struct round *r, struct group *g, const struct fg_plan_task *t)
{
    struct choice c = {SIZE_MAX, SIZE_MAX, SIZE_MAX, FG_RULE_ONLY_FIT};
    if (t->deadline_ns == 0 && g->task->deadline_ns == 0 && (g->heaped || g->fits.count > HEAP_FROM))
        return choose_from_heap(r, g, t);
    if (g->heaped)                       /* a deadline sees the devices in another order */
        round_judge(r, g);
    for (size_t k = 0; k < g->fits.count;) {
        size_t i = g->fits.items[k].device;
        if (!has_room(r, i, &t->need)) {
            g->fits.items[k] = g->fits.items[--g->fits.count];
            continue;
        }
        if (may_use(r, i, t, offer_of(r, g, i)))
            consider(r, g, t, i, &c);
        k++;
    }
    tell_rule(r, g, t, &c);
    return c;
}
