/* exact.c - a small plan to the end: of all ways to deal the tasks out the one that plans most of them, at least cost.
 *
 *     own[k][S]  = cost and ends of a vGPU of kind k that runs the tasks S and no others, if that breaks no rule
 *     all[v][S]  = least over T, part of S, of all[v-1][S - T] + own[kind of v][T]
 *
 * 2^n turns worked out a kind, 3^n sums a vGPU. The schedule itself is asked, so whatever slows, waits or excludes is in it,
 * and what comes out is a proof. Groups and the plan's budget choose among the sets S at the end (decision 0061). */
#include <string.h>

#include "plan/instance/private.h"

enum { TASKS_MOST = 14, TURNS_MOST = 1 << 17, SUMS_MOST = 30000000, LOOK_EVERY = 1 << 12 };

struct sum { int64_t cost, ends; };      /* cost INT64_MAX: no valid way */
struct exact {
    struct board *b;
    const uint32_t *kind_of;
    uint32_t n, sets, task[TASKS_MOST];
    struct sum *own, *all, *next;        /* own: [kinds][sets] */
    uint16_t *choice;                    /* [vGPUs][sets]: what the vGPU runs where those up to it run the set */
    uint64_t steps;
};

static bool less(struct sum x, struct sum y) { return x.cost != y.cost ? x.cost < y.cost : x.ends < y.ends; }

/* Whether it is small enough to be done within the limits. */
static bool fits(struct exact *e, uint32_t kinds)
{
    const struct board *b = e->b;
    uint64_t sums = b->in->vgpus.count;
    for (uint32_t j = 0; j < b->in->tasks.count; j++) {
        if (b->never[j])
            continue;
        if (e->n == TASKS_MOST || (sums *= 3) > SUMS_MOST)
            return false;
        e->task[e->n++] = j;
    }
    e->sets = 1u << e->n;
    uint64_t turns = (uint64_t)e->sets * kinds;
    return turns <= TURNS_MOST && (b->o->max_iterations == 0 || b->evaluations + turns <= b->o->max_iterations);
}

static bool stopped(struct exact *e) { return ++e->steps % LOOK_EVERY == 0 && board_late(e->b); }

/* own[] of one kind, as one vGPU of it has it. */
static bool fill_own(struct exact *e, uint32_t vgpu, struct sum *own)
{
    struct board *b = e->b;
    for (uint32_t set = 0; set < e->sets; set++) {
        struct fg_turn turns[TASKS_MOST];
        size_t n = 0;
        if (stopped(e))
            return false;
        for (uint32_t x = 0; x < e->n; x++)
            if (set >> x & 1)
                turns[n++] = (struct fg_turn){.task = e->task[x]};
        own[set] = (struct sum){0};
        bool valid = fg_instance_turns(b->in, vgpu, turns, n);
        for (size_t x = 0; x < n; x++)
            own[set].cost = add_cost(own[set].cost, turns[x].cost_nanousd), own[set].ends += turns[x].end_ns / 1000;
        if (!valid)
            own[set].cost = INT64_MAX;
        b->evaluations++;
    }
    return true;
}

/* all[] with one more vGPU. */
static bool add_vgpu(struct exact *e, const struct sum *own, uint16_t *choice)
{
    for (uint32_t set = 0; set < e->sets; set++) {
        struct sum best = {INT64_MAX, INT64_MAX};
        for (uint32_t part = set;; part = (part - 1) & set) {
            const struct sum *x = &own[part], *y = &e->all[set ^ part];
            if (x->cost != INT64_MAX && y->cost != INT64_MAX) {
                struct sum both = {add_cost(x->cost, y->cost), x->ends + y->ends};
                if (less(both, best))
                    best = both, choice[set] = (uint16_t)part;
            }
            if (part == 0)
                break;
        }
        e->next[set] = best;
        if (stopped(e))
            return false;
    }
    struct sum *was = e->all;
    e->all = e->next, e->next = was;
    return true;
}

/* Whether every group and gang is in the set whole or not at all; one with a member that can never run is not. */
static bool whole(const struct exact *e, uint32_t set)
{
    const struct fg_instance *in = e->b->in;
    for (uint32_t x = 0; x < e->n; x++) {
        const struct fg_instance_task *t = &in->tasks.items[e->task[x]];
        if (!(set >> x & 1) || !(t->group || t->gang))
            continue;
        for (uint32_t j = 0, y = 0; j < in->tasks.count; j++) {
            bool in_set = y < e->n && e->task[y] == j && (set >> y & 1);
            y += y < e->n && e->task[y] == j;
            if (!in_set && in->tasks.items[j].group == t->group && in->tasks.items[j].gang == t->gang)
                return false;
        }
    }
    return true;
}

/* The set with the most tasks, then the least cost, then the earliest ends. */
static uint32_t choose(const struct exact *e)
{
    int64_t budget = e->b->in->budget_nanousd;
    uint32_t best = 0;
    for (uint32_t set = 1; set < e->sets; set++) {
        int more = __builtin_popcount(set) - __builtin_popcount(best);
        if (e->all[set].cost == INT64_MAX || (budget >= 0 && e->all[set].cost > budget) || more < 0)
            continue;
        if ((more > 0 || less(e->all[set], e->all[best])) && whole(e, set))
            best = set;
    }
    return best;
}

/* Why a task is not in the set: whether there would be room, were it not for the budget. */
static uint8_t why_not(const struct exact *e, uint32_t best, uint32_t x)
{
    for (uint32_t set = 0; set < e->sets; set++)
        if ((set & (best | 1u << x)) == (best | 1u << x) && e->all[set].cost != INT64_MAX && whole(e, set))
            return LEFT_BUDGET;
    return LEFT_NO_ROOM;
}

static void show(struct exact *e, uint32_t best)
{
    struct board *b = e->b;
    for (uint32_t x = 0; x < e->n; x++) {
        if (b->vgpu[e->task[x]] != FG_ASSIGN_NOBODY)
            board_remove(b, e->task[x]);
        if (!(best >> x & 1))
            b->why[e->task[x]] = why_not(e, best, x);
    }
    for (uint32_t v = (uint32_t)b->in->vgpus.count, set = best; v-- > 0;) {
        uint32_t part = e->choice[(size_t)v * e->sets + set];
        for (uint32_t x = 0; x < e->n; x++)
            if (part >> x & 1)
                board_add(b, e->task[x], v);
        set ^= part;
    }
}

bool board_exact(struct board *b, const uint32_t *kind_of, uint32_t kinds)
{
    struct exact e = {.b = b, .kind_of = kind_of};
    uint32_t vgpus = (uint32_t)b->in->vgpus.count;
    if (!fits(&e, kinds))
        return false;
    FG_AUTO_FREE bool *known = fg_alloc(kinds * sizeof *known);
    e.own = fg_alloc((size_t)kinds * e.sets * sizeof *e.own);
    e.all = fg_alloc(e.sets * sizeof *e.all), e.next = fg_alloc(e.sets * sizeof *e.next);
    e.choice = fg_alloc((size_t)vgpus * e.sets * sizeof *e.choice);
    for (uint32_t set = 1; set < e.sets; set++)
        e.all[set].cost = INT64_MAX;
    bool done = true;
    for (uint32_t v = 0; done && v < vgpus; v++) {
        struct sum *own = &e.own[(size_t)kind_of[v] * e.sets];
        done = known[kind_of[v]] || fill_own(&e, v, own);
        known[kind_of[v]] = true;
        done = done && add_vgpu(&e, own, &e.choice[(size_t)v * e.sets]);
    }
    if (done)
        show(&e, choose(&e));
    free(e.own), free(e.all), free(e.next), free(e.choice);
    return done;
}
