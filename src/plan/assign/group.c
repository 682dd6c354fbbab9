/* group.c - tasks that go together or not at all.
 *
 * The search leaves groups out: as long as everything finds a place, nothing is lost. What it leaves incomplete is
 * taken out whole here; then the room that came free goes to single tasks first, in order, and to whole groups after.
 * The bound is of the problem without groups, so it stays a bound. */
#include <string.h>

#include "plan/assign/private.h"

struct refill {
    struct work *w;
    int64_t *room;
    uint32_t *order;                /* tasks by group, then by number */
};

static void change(struct refill *f, uint32_t j, uint32_t agent)
{
    struct work *w = f->w;
    uint32_t c = w->class_of[j], R = w->resources, from = w->best[j];
    for (uint32_t r = 0; r < R; r++) {
        f->room[(size_t)from * R + r] += cell_need(w, c, w->kind_of[from], r);
        f->room[(size_t)agent * R + r] -= cell_need(w, c, w->kind_of[agent], r);
    }
    w->best_cost += cell_cost(w, c, w->kind_of[agent]) - cell_cost(w, c, w->kind_of[from]);
    w->best[j] = agent;
}

/* The agent with room where j costs least and less than nobody, or nobody. */
static uint32_t cheapest_agent(const struct refill *f, uint32_t j, bool must)
{
    const struct work *w = f->w;
    uint32_t c = w->class_of[j], R = w->resources, best = w->agents - 1;
    int64_t least = must ? INT64_MAX : w->nobody[c];
    for (uint32_t i = 0; i + 1 < w->agents; i++) {
        uint32_t k = w->kind_of[i], r = 0;
        if (!cell_open(w, c, k) || cell_cost(w, c, k) >= least)
            continue;
        while (r < R && cell_need(w, c, k, r) <= f->room[(size_t)i * R + r])
            r++;
        if (r == R)
            best = i, least = cell_cost(w, c, k);
    }
    return best;
}

/* The tasks order[from..to) are one group: place it whole, at no more than leaving it, or undo. */
static void place_group(struct refill *f, uint32_t from, uint32_t to)
{
    struct work *w = f->w;
    int64_t before = w->best_cost;
    uint32_t x = from;
    for (; x < to; x++) {
        uint32_t i = cheapest_agent(f, f->order[x], true);
        if (i + 1 == w->agents)
            break;
        change(f, f->order[x], i);
    }
    if (x < to || w->best_cost > before)
        while (x > from)
            change(f, f->order[--x], w->agents - 1);
}

struct member { uint32_t group, task; };
static int by_group(const void *a, const void *b)
{
    const struct member *x = a, *y = b;
    return x->group != y->group ? (x->group > y->group) - (x->group < y->group) : (x->task > y->task) - (x->task < y->task);
}

void fg_assign_groups(struct work *w)
{
    const uint32_t *group = w->p->group;
    uint32_t R = w->resources, n = w->tasks, nobody = w->agents - 1, singles = 0;
    FG_AUTO_FREE int64_t *room = fg_realloc(NULL, (size_t)w->agents * R, sizeof *room);
    FG_AUTO_FREE struct member *members = fg_realloc(NULL, n, sizeof *members);
    FG_AUTO_FREE uint32_t *order = fg_realloc(NULL, n, sizeof *order);
    FG_AUTO_FREE bool *broken = fg_alloc(n * sizeof *broken);      /* by place in order */
    struct refill f = {w, room, order};
    memcpy(room, w->capacity, (size_t)w->agents * R * sizeof *room);
    for (uint32_t j = 0; j < n; j++) {
        members[j] = (struct member){group[j], j};
        for (uint32_t r = 0; r < R; r++)
            room[(size_t)w->best[j] * R + r] -= cell_need(w, w->class_of[j], w->kind_of[w->best[j]], r);
    }
    qsort(members, n, sizeof *members, by_group);
    for (uint32_t x = 0; x < n; x++)
        order[x] = members[x].task;
    while (singles < n && members[singles].group == 0)
        singles++;
    for (uint32_t from = singles, to; from < n; from = to) {
        bool whole = true;
        for (to = from; to < n && members[to].group == members[from].group; to++)
            whole &= w->best[order[to]] != nobody;
        for (uint32_t x = from; x < to && !whole; x++)
            broken[x] = true, change(&f, order[x], nobody);
    }
    for (uint32_t x = 0; x < singles; x++)
        if (w->best[order[x]] == nobody)
            change(&f, order[x], cheapest_agent(&f, order[x], false));
    for (uint32_t from = singles, to; from < n; from = to) {
        for (to = from; to < n && members[to].group == members[from].group; to++)
            ;
        if (broken[from])
            place_group(&f, from, to);
    }
}
