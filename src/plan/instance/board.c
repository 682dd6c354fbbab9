/* board.c - a plan being made valid and better: tasks by vGPU, each vGPU's turns worked out by model.c.
 *
 * The assignment solver knows sums; what it does not know is tried here on the real schedule: order within a vGPU, who may
 * run beside whom, how much they slow each other, groups. First valid, then cheaper, then earlier at the same cost. */
#include <string.h>

#include "base/units.h"
#include "plan/instance/private.h"

#define GRACE_NS (FG_NS_PER_S / 10)
#define LONG_LANE 2000u

#define MS INT64_C(1000000)

struct outcome { int64_t cost, ends; bool valid; };   /* ends in ms: a million tasks of a hundred years have room in the sum */

/* The lane's tasks, less one, plus another (NOBODY: none). */
static struct outcome evaluate(struct board *b, uint32_t vgpu, uint32_t less, uint32_t more)
{
    const struct lane *l = &b->lanes[vgpu];
    b->turns.count = 0;
    for (uint32_t x = 0; x < l->count; x++)
        if (l->tasks[x] != less)
            fg_vec_push(&b->turns, (struct fg_turn){.task = l->tasks[x]});
    if (more != FG_ASSIGN_NOBODY)
        fg_vec_push(&b->turns, (struct fg_turn){.task = more});
    struct outcome o = {.valid = fg_instance_turns(b->in, vgpu, b->turns.items, b->turns.count)};
    for (size_t x = 0; x < b->turns.count; x++)
        o.cost = add_cost(o.cost, b->turns.items[x].cost_nanousd), o.ends += b->turns.items[x].end_ns / MS;
    b->evaluations++;
    return o;
}

static void settle(struct board *b, uint32_t vgpu)
{
    struct outcome o = evaluate(b, vgpu, FG_ASSIGN_NOBODY, FG_ASSIGN_NOBODY);
    struct lane *l = &b->lanes[vgpu];
    l->cost = o.cost, l->ends = o.ends, l->valid = o.valid;
}

static void put(struct board *b, uint32_t task, uint32_t vgpu)
{
    struct lane *l = &b->lanes[vgpu];
    if (l->count == l->cap)
        l->tasks = fg_realloc(l->tasks, l->cap = 2 * l->cap + 4, sizeof *l->tasks);
    l->tasks[l->count++] = task;
    b->vgpu[task] = vgpu;
}

static void take(struct board *b, uint32_t task)
{
    struct lane *l = &b->lanes[b->vgpu[task]];
    uint32_t x = 0;
    while (l->tasks[x] != task)
        x++;
    memmove(&l->tasks[x], &l->tasks[x + 1], (--l->count - x) * sizeof *l->tasks);
    b->vgpu[task] = FG_ASSIGN_NOBODY;
}

/* Whether the search is to end: interrupted, or this long after its time. */
static bool late(const struct board *b, int64_t grace_ns)
{
    return (b->o->interrupt && *b->o->interrupt) || (b->until_ns && b->o->now_ns(b->o->now_arg) >= b->until_ns + grace_ns);
}

bool board_late(const struct board *b) { return late(b, 0); }
void board_take(struct board *b, uint32_t task) { take(b, task); }
void board_settle(struct board *b, uint32_t vgpu) { settle(b, vgpu); }

void board_remove(struct board *b, uint32_t task)
{
    uint32_t vgpu = b->vgpu[task];
    take(b, task);
    settle(b, vgpu);
}

void board_add(struct board *b, uint32_t task, uint32_t vgpu)
{
    put(b, task, vgpu);
    settle(b, vgpu);
}

void board_init(struct board *b, const struct fg_instance *in, const uint32_t *vgpu, const bool *never, const struct fg_assign_options *o,
                int64_t until_ns)
{
    *b = (struct board){.in = in, .never = never, .o = o, .until_ns = until_ns};
    b->vgpu = fg_alloc(in->tasks.count * sizeof *b->vgpu);
    b->why = fg_alloc(in->tasks.count + 1);
    b->lanes = fg_alloc(in->vgpus.count * sizeof *b->lanes);
    for (uint32_t j = 0; j < in->tasks.count; j++)
        if (vgpu[j] == FG_ASSIGN_NOBODY)
            b->vgpu[j] = FG_ASSIGN_NOBODY;
        else
            put(b, j, vgpu[j]);
    for (uint32_t v = 0; v < in->vgpus.count; v++)
        settle(b, v);
}

void board_fini(struct board *b)
{
    for (size_t v = 0; v < b->in->vgpus.count; v++)
        free(b->lanes[v].tasks);
    free(b->lanes), free(b->vgpu), free(b->why);
    fg_vec_fini(&b->turns);
}

/* Of a long lane, or where time is up, all go that come too late. Returns whether any did. */
static bool cut_off(struct board *b, uint32_t vgpu)
{
    struct lane *l = &b->lanes[vgpu];
    uint32_t kept = 0, count = l->count;
    if (count < LONG_LANE && !late(b, 0))
        return false;
    evaluate(b, vgpu, FG_ASSIGN_NOBODY, FG_ASSIGN_NOBODY);
    for (size_t x = 0; x < b->turns.count; x++) {
        const struct fg_turn *t = &b->turns.items[x];
        if (t->end_ns <= last_end(b->in, t->task))
            l->tasks[kept++] = t->task;
        else
            b->vgpu[t->task] = FG_ASSIGN_NOBODY;
    }
    l->count = kept;
    settle(b, vgpu);
    return kept < count;
}

/* Of an overfull lane the longest goes among those up to the first that comes too late (Moore, Hodgson 1968). */
static void thin_out(struct board *b, uint32_t vgpu)
{
    while (!b->lanes[vgpu].valid) {
        if (cut_off(b, vgpu))
            continue;
        uint32_t worst = FG_ASSIGN_NOBODY;
        int64_t longest = -1;
        evaluate(b, vgpu, FG_ASSIGN_NOBODY, FG_ASSIGN_NOBODY);
        for (size_t x = 0; x < b->turns.count; x++) {
            const struct fg_turn *t = &b->turns.items[x];
            const struct fg_instance_task *task = &b->in->tasks.items[t->task];
            bool late = t->end_ns > last_end(b->in, t->task) || (t->start_ns > 0 && (task->gang || b->in->at_once)) ||
                        (task->budget_nanousd >= 0 && t->cost_nanousd > task->budget_nanousd) || t->end_ns == 0;
            if (t->end_ns - t->start_ns > longest)
                longest = t->end_ns - t->start_ns, worst = t->task;
            if (late) {
                if (t->end_ns == 0 || task->budget_nanousd >= 0)
                    worst = t->task;
                break;
            }
        }
        board_remove(b, worst);
    }
}

/* Of two that start at once, none waits for the other to end. */
static bool full(const struct board *b, uint32_t vgpu)
{
    uint32_t capacity = b->in->vgpus.items[vgpu].capacity;
    return b->in->at_once && capacity && b->lanes[vgpu].count >= capacity;
}

/* The cheapest vGPU that takes the task as things stand. */
static bool insert(struct board *b, uint32_t task, uint32_t but)
{
    uint32_t best = FG_ASSIGN_NOBODY;
    int64_t least = INT64_MAX, ends = INT64_MAX;
    for (uint32_t v = 0; v < b->in->vgpus.count; v++) {
        if (v == but || full(b, v))
            continue;
        struct fg_pair p = fg_instance_pair(b->in, task, v);
        if (p.block != FG_PAIR_OK || p.cost_nanousd > least)
            continue;
        struct outcome o = evaluate(b, v, FG_ASSIGN_NOBODY, task);
        int64_t more = o.cost - b->lanes[v].cost, later = o.ends - b->lanes[v].ends;
        if (o.valid && (more < least || (more == least && later < ends)))
            best = v, least = more, ends = later;
    }
    if (best != FG_ASSIGN_NOBODY)
        board_add(b, task, best);
    return best != FG_ASSIGN_NOBODY;
}

/* Make room by leading one other task elsewhere. */
static bool insert_by_ejection(struct board *b, uint32_t task)
{
    for (uint32_t v = 0; v < b->in->vgpus.count && b->evaluations < 2000000; v++) {
        if (fg_instance_pair(b->in, task, v).block != FG_PAIR_OK)
            continue;
        for (uint32_t x = 0; x < b->lanes[v].count; x++) {
            uint32_t other = b->lanes[v].tasks[x];
            if (late(b, 0))
                return false;
            if (!evaluate(b, v, other, task).valid)
                continue;
            board_remove(b, other);
            board_add(b, task, v);
            if (insert(b, other, v))
                return true;
            board_remove(b, task);
            board_add(b, other, v);
        }
    }
    return false;
}

/* Members of a group (or gang) that is not complete leave; returns whether any did. */
static bool break_groups(struct board *b)
{
    const struct fg_instance *in = b->in;
    FG_AUTO_FREE uint8_t *bad = fg_alloc(in->groups.names.count + in->gangs.names.count + 2);
    uint8_t *bad_gang = bad + in->groups.names.count + 1;
    bool any = false;
    for (uint32_t j = 0; j < in->tasks.count; j++)
        if (b->vgpu[j] == FG_ASSIGN_NOBODY)
            bad[in->tasks.items[j].group] = 1, bad_gang[in->tasks.items[j].gang] = 1;
    for (uint32_t j = 0; j < in->tasks.count; j++) {
        const struct fg_instance_task *t = &in->tasks.items[j];
        if (b->vgpu[j] == FG_ASSIGN_NOBODY || !((t->group && bad[t->group]) || (t->gang && bad_gang[t->gang])))
            continue;
        board_remove(b, j);
        any = true;
    }
    return any;
}

/* What is nowhere yet goes to room that is free; what finds none, to room that is made. Making room may take long and ends
 * with the time limit; room that is there is looked for a little longer, so that a short limit leaves few behind. */
static void place_rest(struct board *b)
{
    FG_AUTO_FREE uint8_t *homeless = fg_alloc(b->in->tasks.count + 1);
    int64_t grace_ns = FG_MAX(b->o->time_limit_ns / 4, GRACE_NS);
    for (uint32_t j = 0; j < b->in->tasks.count; j++) {
        if (b->vgpu[j] != FG_ASSIGN_NOBODY || b->never[j])
            continue;
        b->why[j] = late(b, grace_ns) ? LEFT_TIME : LEFT_NO_ROOM;
        homeless[j] = b->why[j] == LEFT_NO_ROOM && !insert(b, j, FG_ASSIGN_NOBODY);
    }
    for (uint32_t j = 0; j < b->in->tasks.count; j++)
        if (homeless[j] && !late(b, 0))
            insert_by_ejection(b, j);
}

void board_repair(struct board *b)
{
    for (uint32_t v = 0; v < b->in->vgpus.count; v++)
        thin_out(b, v);
    place_rest(b);
    if (break_groups(b)) {
        place_rest(b);                                   /* what they held may be enough for others, or for them another way */
        break_groups(b);
    }
}

/* Strictly cheaper, or as cheap and earlier. */
static bool better(int64_t cost, int64_t ends) { return cost < 0 || (cost == 0 && ends < 0); }

static bool try_shift(struct board *b, uint32_t j)
{
    uint32_t from = b->vgpu[j];
    struct outcome without = evaluate(b, from, j, FG_ASSIGN_NOBODY);
    int64_t saved = b->lanes[from].cost - without.cost, sooner = b->lanes[from].ends - without.ends;
    bool empty_seen = false;
    for (uint32_t v = 0; without.valid && v < b->in->vgpus.count; v++) {
        struct fg_pair p = fg_instance_pair(b->in, j, v);
        bool alike = v > 0 && b->lanes[v].count == 0 && empty_seen && b->in->vgpus.items[v].line == b->in->vgpus.items[v - 1].line;
        empty_seen = b->lanes[v].count == 0;
        if (v == from || alike || p.block != FG_PAIR_OK || p.cost_nanousd > saved)
            continue;
        struct outcome o = evaluate(b, v, FG_ASSIGN_NOBODY, j);
        if (!o.valid || !better(o.cost - b->lanes[v].cost - saved, o.ends - b->lanes[v].ends - sooner))
            continue;
        board_remove(b, j);
        board_add(b, j, v);
        return true;
    }
    return false;
}

static bool try_swap(struct board *b, uint32_t j, uint32_t k)
{
    uint32_t v = b->vgpu[j], u = b->vgpu[k];
    if (u == FG_ASSIGN_NOBODY || u == v || fg_instance_pair(b->in, j, u).block != FG_PAIR_OK ||
        fg_instance_pair(b->in, k, v).block != FG_PAIR_OK)
        return false;
    struct outcome a = evaluate(b, v, j, k), c = evaluate(b, u, k, j);
    if (!a.valid || !c.valid || !better(a.cost + c.cost - b->lanes[v].cost - b->lanes[u].cost,
                                        a.ends + c.ends - b->lanes[v].ends - b->lanes[u].ends))
        return false;
    take(b, j), take(b, k);
    put(b, j, u), put(b, k, v);
    settle(b, u), settle(b, v);
    return true;
}

static bool over(const struct board *b) { return late(b, 0) || (b->o->max_iterations && b->evaluations > b->o->max_iterations); }

void board_improve(struct board *b)
{
    uint32_t n = (uint32_t)b->in->tasks.count;
    for (bool gained = true; gained;) {
        gained = false;
        for (uint32_t j = 0; j < n; j++)
            while (b->vgpu[j] != FG_ASSIGN_NOBODY && !over(b) && try_shift(b, j))
                gained = true;
        for (uint32_t j = 0; j < n; j++)
            for (uint32_t k = j + 1; k < n && b->vgpu[j] != FG_ASSIGN_NOBODY; k++) {
                if (over(b))
                    return;
                gained |= try_swap(b, j, k);
            }
    }
}
