/* state.c - keeping an assignment's rooms, sums and sorted holdings true through moves. */
#include "plan/assign/state.h"

#include <stdlib.h>
#include <string.h>

#define SORTED_ONCE 256u                 /* tasks of an agent */

struct state *state_create(struct work *w)
{
    struct state *s = fg_alloc(sizeof *s);
    size_t n = FG_MAX(w->tasks, 1u), R = w->resources, prices = (size_t)w->kinds * R;
    s->w = w;
    s->weight = fg_alloc(prices * sizeof *s->weight);
    double mean = 0;
    for (size_t x = 0; x < prices - R; x++)
        mean += w->price[x] / (double)prices;
    for (size_t x = 0; x < prices - R; x++)
        s->weight[x] = FG_MAX(w->price[x], 1e-4 * mean + 1e-12);
    s->over_weight = fg_alloc(prices * sizeof *s->over_weight);
    double need[RMAX] = {0};
    for (uint32_t c = 0; c < w->classes; c++)
        for (uint32_t r = 0; r < R; r++)
            need[r] += (double)w->options[w->option_first[c]].need[r] / w->classes;
    for (size_t x = 0; x < prices - R; x++)
        s->over_weight[x] = FG_MAX(s->weight[x], w->unit / FG_MAX(need[x % R], 1.0));
    s->agent = fg_alloc(n * sizeof *s->agent);
    s->option = fg_alloc(n * sizeof *s->option);
    s->other = fg_alloc(n * sizeof *s->other);
    s->room = fg_alloc(w->agents * R * sizeof *s->room);
    s->agents = fg_alloc(w->agents * sizeof *s->agents);
    return s;
}

void state_destroy(struct state *s)
{
    if (!s)
        return;
    for (uint32_t i = 0; i < s->w->agents; i++)
        free(s->agents[i].held);
    free(s->weight), free(s->over_weight), free(s->agent), free(s->option), free(s->other), free(s->room), free(s->agents);
    free(s);
}

/* The agent's holdings in place `at`, and the sums. */
static void hold(struct state *s, uint32_t task, uint32_t to, const struct option *o, uint32_t at)
{
    struct agent_state *a = &s->agents[to];
    if (a->count == a->cap)
        a->held = fg_realloc(a->held, a->cap = 2 * a->cap + 8, sizeof *a->held);
    memmove(&a->held[at + 1], &a->held[at], (a->count++ - at) * sizeof *a->held);
    a->held[at] = (struct holding){state_size(s, o), task, o->reduced};
    for (uint32_t r = 0; r < s->w->resources; r++) {
        int64_t *room = &s->room[(size_t)to * s->w->resources + r];
        s->over += *room >= 0 && *room < o->need[r];
        *room -= o->need[r];
    }
    s->agent[task] = to;
    s->option[task] = o;
    s->total += o->cost;
}

static void put(struct state *s, uint32_t task, uint32_t to, const struct option *o)
{
    hold(s, task, to, o, state_find(&s->agents[to], state_size(s, o)));
}

static void take(struct state *s, uint32_t task)
{
    uint32_t from = s->agent[task];
    const struct option *o = s->option[task];
    struct agent_state *a = &s->agents[from];
    uint32_t at = state_find(a, state_size(s, o));
    while (a->held[at].task != task)
        at++;
    memmove(&a->held[at], &a->held[at + 1], (--a->count - at) * sizeof *a->held);
    for (uint32_t r = 0; r < s->w->resources; r++) {
        int64_t *room = &s->room[(size_t)from * s->w->resources + r];
        s->over -= *room < 0 && *room + o->need[r] >= 0;
        *room += o->need[r];
    }
    s->total -= o->cost;
}

void state_move(struct state *s, uint32_t task, uint32_t to, const struct option *option)
{
    take(s, task);
    put(s, task, to, option);
}

/* The option of the class for this kind; one that is not listed (an assignment from elsewhere) is made. */
static const struct option *option_of(struct state *s, uint32_t task, uint32_t kind)
{
    const struct work *w = s->w;
    uint32_t c = w->class_of[task], R = w->resources;
    for (uint32_t x = w->option_first[c]; x < w->option_first[c + 1]; x++)
        if (w->options[x].kind == kind)
            return &w->options[x];
    const struct option *least = &w->options[w->option_first[c]];
    struct option *o = &s->other[task];
    *o = (struct option){.cost = cell_cost(w, c, kind), .kind = kind};
    double v = (double)(o->cost - least->cost);
    for (uint32_t r = 0; r < R; r++) {
        o->need[r] = cell_need(w, c, kind, r);
        v += w->price[kind * R + r] * (double)o->need[r] - w->price[least->kind * R + r] * (double)least->need[r];
    }
    o->reduced = (float)v;
    return o;
}

/* As one after the other would stand: by size, of equals the last first. */
static int by_size(const void *pa, const void *pb)
{
    const struct holding *a = pa, *b = pb;
    return a->size != b->size ? (a->size > b->size) - (a->size < b->size) : (a->task < b->task) - (a->task > b->task);
}

/* Many on one agent are sorted once: each put in its place would move half of those before it. */
void state_set(struct state *s, const uint32_t *agent)
{
    const struct work *w = s->w;
    FG_AUTO_FREE uint32_t *count = fg_alloc(w->agents * sizeof *count);
    for (uint32_t j = 0; j < w->tasks; j++)
        count[agent[j]]++;
    memcpy(s->room, w->capacity, (size_t)w->agents * w->resources * sizeof *s->room);
    for (uint32_t i = 0; i < w->agents; i++)
        s->agents[i].count = 0;
    s->total = 0;
    s->over = 0;
    for (uint32_t j = 0; j < w->tasks; j++) {
        const struct option *o = option_of(s, j, w->kind_of[agent[j]]);
        if (count[agent[j]] < SORTED_ONCE)
            put(s, j, agent[j], o);
        else
            hold(s, j, agent[j], o, s->agents[agent[j]].count);
    }
    for (uint32_t i = 0; i < w->agents; i++)
        if (count[i] >= SORTED_ONCE)
            qsort(s->agents[i].held, count[i], sizeof *s->agents[i].held, by_size);
}
