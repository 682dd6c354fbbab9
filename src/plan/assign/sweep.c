/* sweep.c - every task in turn moved to where it costs least, one other making room for it if need be.
 *
 *     j goes to i                          where it fits, or
 *     j goes to i, k goes from i to i'     where k leaves enough, and i' is the cheapest place that had room for k, or
 *     j goes to i, k goes to where j was   where both fit then
 *
 * What k's leaving costs is looked up once for all tasks at the start of a sweep and checked again when used, so that a sweep takes
 * tasks x options x tasks per agent looks of a few ns: far fewer than the chains that it saves (chain.c), where tasks are many. */
#include "plan/assign/search.h"

/* Looks for one task at one agent's tasks, and at those that could come: beyond, where few agents hold thousands, some by chance. */
#define LOOKS_HELD 64u
#define LOOKS_GUESTS 1024u

struct leave { int64_t delta; uint32_t to; const struct option *option; };
#define UNKNOWN INT64_MIN
struct guest { uint32_t task; const struct option *option; };
struct sweep {
    struct state *s;
    const struct guest *guests;     /* by kind: who may go there, guests[first[kind] .. first[kind + 1]] */
    const uint32_t *first;
    const struct option **mine;     /* by kind: the option of the task at hand, or NULL */
    struct leave *leave;            /* by task: its cheapest move to where there is room; delta INT64_MAX: none, INT64_MIN: not known */
};

static bool fits(const struct state *s, const struct option *o, uint32_t agent, const struct option *gone)
{
    uint32_t R = s->w->resources, r = 0;
    const int64_t *room = &s->room[(size_t)agent * R];
    while (r < R && o->need[r] <= room[r] + (gone ? gone->need[r] : 0))
        r++;
    return r == R;
}

/* One agent of the option's kind: the only one mostly, else any. */
static uint32_t agent_of(const struct work *w, const struct option *o, uint64_t bits)
{
    uint32_t first = w->kind_first[o->kind], n = w->kind_first[o->kind + 1] - first;
    return w->kind_agents[n == 1 ? first : first + random_scale((uint32_t)bits, n)];
}

static struct leave cheapest_leave(const struct state *s, uint32_t j, uint64_t bits)
{
    const struct work *w = s->w;
    uint32_t c = w->class_of[j];
    struct leave best = {.delta = INT64_MAX};
    for (const struct option *o = &w->options[w->option_first[c]], *end = &w->options[w->option_first[c + 1]]; o < end; o++) {
        int64_t delta = o->cost - s->option[j]->cost;
        if (delta >= best.delta)
            continue;
        uint32_t i = agent_of(w, o, bits);
        if (i != s->agent[j] && fits(s, o, i, NULL))
            best = (struct leave){delta, i, o};
    }
    return best;
}

/* What was found for a task: it goes to `to`, and `other`, unless ALONE, leaves as told. */
struct found { int64_t delta; const struct option *option; uint32_t to, other; struct leave leave; };
#define ALONE UINT32_MAX

/* Shifts, and those that send one other on. */
static void look_ahead(struct sweep *w, uint32_t j, uint32_t i, const struct option *o, uint64_t bits, struct found *f)
{
    struct state *s = w->s;
    int64_t delta = o->cost - s->option[j]->cost;
    if (fits(s, o, i, NULL)) {
        if (delta < f->delta)
            *f = (struct found){delta, o, i, ALONE, {0}};
        return;
    }
    const struct agent_state *a = &s->agents[i];
    uint32_t looks = FG_MIN(a->count, LOOKS_HELD), at = looks < a->count ? random_scale((uint32_t)bits, a->count) : 0;
    for (uint32_t x = 0; x < looks; x++, at = at + 1 < a->count ? at + 1 : 0) {
        uint32_t k = a->held[at].task;
        struct leave *l = &w->leave[k];
        if ((l->delta != UNKNOWN && l->delta >= f->delta - delta) || !fits(s, o, i, s->option[k]))
            continue;
        if (l->delta == UNKNOWN || l->to == i || !fits(s, l->option, l->to, NULL))
            *l = cheapest_leave(s, k, bits);
        if (l->delta < f->delta - delta)
            *f = (struct found){delta + l->delta, o, i, k, *l};
    }
}

/* Exchanges with those that may come to where j is. */
static void look_back(struct sweep *w, uint32_t j, uint64_t bits, struct found *f)
{
    struct state *s = w->s;
    uint32_t here = s->agent[j], kind = s->option[j]->kind;
    int64_t cost = s->option[j]->cost;
    uint32_t n = w->first[kind + 1] - w->first[kind], looks = FG_MIN(n, LOOKS_GUESTS), at = looks < n ? random_scale((uint32_t)bits, n) : 0;
    for (uint32_t x = 0; x < looks; x++, at = at + 1 < n ? at + 1 : 0) {
        const struct guest *g = &w->guests[w->first[kind] + at];
        const struct option *now = s->option[g->task], *o = w->mine[now->kind];
        uint32_t i = s->agent[g->task];
        if (!o || i == here || o->cost - cost + g->option->cost - now->cost >= f->delta || !fits(s, o, i, now) || !fits(s, g->option, here, s->option[j]))
            continue;
        *f = (struct found){o->cost - cost + g->option->cost - now->cost, o, i, g->task, {0, here, g->option}};
    }
}

/* The best move for j; true when one lowered the cost. */
static bool improve(struct sweep *w, uint32_t j, uint64_t bits)
{
    struct state *s = w->s;
    const struct work *p = s->w;
    uint32_t c = p->class_of[j];
    const struct option *from = &p->options[p->option_first[c]], *end = &p->options[p->option_first[c + 1]];
    struct found f = {0};
    for (const struct option *o = from; o < end; o++) {
        uint32_t i = agent_of(p, o, bits);
        w->mine[o->kind] = o;
        if (i != s->agent[j])
            look_ahead(w, j, i, o, bits, &f);
    }
    look_back(w, j, bits, &f);
    for (const struct option *o = from; o < end; o++)
        w->mine[o->kind] = NULL;
    if (!f.option)
        return false;
    if (f.other != ALONE) {
        state_move(s, f.other, f.leave.to, f.leave.option);
        w->leave[f.other].delta = UNKNOWN;
    }
    state_move(s, j, f.to, f.option);
    w->leave[j].delta = UNKNOWN;
    return true;
}

static void list_guests(struct search *q)
{
    const struct work *p = q->w;
    uint32_t *first = q->guest_first = fg_alloc((p->kinds + 2) * sizeof *first);
    for (int pass = 0; pass < 2; pass++) {
        for (uint32_t j = 0; j < p->tasks; j++)
            for (uint32_t c = p->class_of[j], x = p->option_first[c]; x < p->option_first[c + 1]; x++)
                if (p->options[x].kind + 1 == p->kinds)
                    continue;
                else if (pass == 0)
                    first[p->options[x].kind + 2]++;
                else
                    q->guests[first[p->options[x].kind + 1]++] = (struct guest){j, &p->options[x]};
        for (uint32_t k = 0; pass == 0 && k < p->kinds; k++)
            first[k + 2] += first[k + 1];
        if (pass == 0)
            q->guests = fg_realloc(NULL, (size_t)first[p->kinds + 1] + 1, sizeof *q->guests);
    }
}

void search_sweep(struct search *q)
{
    struct work *w = q->w;
    if (!q->guests)
        list_guests(q);
    struct sweep s = {.s = q->s, .guests = q->guests, .first = q->guest_first, .leave = fg_realloc(NULL, w->tasks, sizeof *s.leave)};
    uint32_t n = q->focus_count ? q->focus_count : w->tasks;
    uint64_t moved = n;
    s.mine = fg_alloc(w->kinds * sizeof *s.mine);
    while (moved > n / 500 && !work_done(w)) {
        moved = 0;
        for (uint32_t j = 0; j < w->tasks; j++)
            s.leave[j].delta = UNKNOWN;
        for (uint32_t x = 0; x < n && (x % 256 || !work_done(w)); x++)
            moved += improve(&s, q->focus_count ? q->focus[x] : x, random_next(w->random) >> 32);
        w->iterations += n / 8 + 1;                      /* a task's turn is about an eighth of a chain */
        if (q->s->over == 0)
            work_offer(w, q->s->agent, q->s->total);
    }
    free(s.leave), free(s.mine);
}
