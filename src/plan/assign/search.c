/* search.c - from the first assignment to the best that time allows.
 *
 *     greedy -> chains, cooled -> prices of tasks -> { dive -> chains, cool } until done
 *
 * The first dives go over all agents; later ones keep the current assignment but for a few agents or some tasks, drawn
 * at random, and dive over those (docs/decisions/0059-dives-over-parts.md). Where the knapsacks do not apply (several resources, many agents of one kind) the chains are
 * alone, cooled again and again, each time longer. Every loop counts work, never time, so that a run limited by
 * iterations depends on the seed alone. */
#include "plan/assign/search.h"

#include <math.h>
#include <string.h>

#include "plan/assign/dive.h"
#include "plan/assign/tune.h"

/* A task to begin a chain with, and the most that leaving its place may earn: for the unassigned that sum is set by
 * nobody's price, which would let any detour pass, so their budgets are drawn from small to large. */
static uint32_t pick(struct search *q, uint64_t bits, double *most_gain)
{
    struct work *w = q->w;
    const struct agent_state *nobody = &q->s->agents[w->agents - 1];
    *most_gain = INFINITY;
    if (!nobody->count || (bits >> 32 & 3))
        return q->focus_count ? q->focus[random_scale((uint32_t)bits, q->focus_count)] : random_scale((uint32_t)bits, w->tasks);
    *most_gain = w->unit * (double)(1u << (bits >> 36 & 7));
    return nobody->held[random_scale((uint32_t)random_next(w->random), nobody->count)].task;
}

void search_anneal(struct search *q, const struct anneal *a)
{
    struct work *w = q->w;
    struct state *s = q->s;
    enum { BATCH = 256, STEER = 200 };
    uint64_t found = 0, feasible = 0;
    chain_strict(&q->chain, a->strict);
    for (uint64_t x = 0; x < a->attempts && !work_done(w); x += BATCH) {
        double t = a->t0 * pow(a->t1 / a->t0, (double)x / (double)a->attempts);
        for (uint32_t y = 0; y < BATCH; y++) {
            uint64_t bits = random_next(w->random);
            double most_gain;
            uint32_t task = pick(q, bits, &most_gain);
            if (!chain_find(&q->chain, task, t * (double)q->log_table[bits >> 52], most_gain, TUNE_VISITS))
                continue;
            chain_apply(&q->chain);
            found++;
            feasible += s->over == 0;
            if (s->over == 0 && s->total < w->best_cost)
                work_offer(w, s->agent, s->total);
        }
        w->iterations += BATCH;
        if (found >= STEER && a->want > 0) {
            double factor = (double)feasible > a->want * (double)found ? 0.95 : 1.05;
            chain_strict(&q->chain, fmin(fmax(q->chain.strict * factor, 0.05), 1e6));
            found = feasible = 0;
        }
    }
}

/* Try to lead one task away from agent i at a price of at most `level`. */
static bool relieve(struct search *q, uint32_t i, double level)
{
    const struct agent_state *a = &q->s->agents[i];
    uint32_t n = a->count, turn = n ? random_scale((uint32_t)random_next(q->w->random), n) : 0;
    for (uint32_t x = 0; x < n; x++, turn = turn + 1 < n ? turn + 1 : 0) {
        q->w->iterations++;
        if (chain_find(&q->chain, a->held[turn].task, 0, level, 4 * TUNE_VISITS)) {
            chain_apply(&q->chain);
            return true;
        }
    }
    return false;
}

/* End overloads, and find places for the unassigned, at rising prices; keep the outcome if it is the best. */
static void search_repair(struct search *q)
{
    struct state *s = q->s;
    uint32_t nobody = q->w->agents - 1;
    double level = q->w->unit / 4;
    chain_strict(&q->chain, 1e4);
    for (int x = 0; x < 9 && (s->over || s->agents[nobody].count) && !work_done(q->w); x++, level *= 2)
        for (uint32_t i = 0; i <= nobody; i++)
            for (uint32_t y = s->agents[i].count; y && (i == nobody ? s->agents[i].count > 0 : state_over(s, i)); y--)
                if (!relieve(q, i, level))       /* counted: a chain may lead back to an agent and so go on for ever */
                    break;
    if (s->over == 0)
        work_offer(q->w, s->agent, s->total);
}

/* Open a few agents that have something to exchange: each next one is among the better options of a task on those
 * before it. */
static void open_some(struct search *q, bool *open)
{
    const struct work *w = q->w;
    uint32_t n = w->agents - 1, most = FG_MIN((uint32_t)TUNE_DIVE_AGENTS, n), at = random_scale((uint32_t)random_next(q->w->random), n);
    uint32_t want = most / 2 + random_scale((uint32_t)random_next(q->w->random), most - most / 2) + 1, count = 1;
    memset(open, 0, w->agents * sizeof *open);
    open[at] = true;
    for (uint32_t tries = 0; count < want && tries < 50 * want; tries++) {
        uint32_t j = random_scale((uint32_t)random_next(q->w->random), w->tasks);
        if (!open[q->current[j]] || q->current[j] == n)
            continue;
        uint32_t c = w->class_of[j], first = w->option_first[c], options = FG_MIN(w->option_first[c + 1] - first, 4u);
        at = w->kind_agents[w->kind_first[w->options[first + random_scale((uint32_t)random_next(q->w->random), options)].kind]];
        count += at < n && !open[at];
        open[at] = true;
    }
    open[n] = false;
}

static void keep_current(struct search *q, const uint32_t *agent, int64_t cost)
{
    memcpy(q->current, agent, q->w->tasks * sizeof *agent);
    if (cost < q->current_cost)
        q->stale = 0;
    q->current_cost = cost;
}

/* What a dive over a part places anew, into focus: all tasks of a few agents, or some tasks of all agents, 25 to 400. Which of the two finds more, and
 * how many, differs between instances, so both are drawn. */
static void free_some(struct search *q, const uint32_t *agent, bool *freed)
{
    struct work *w = q->w;
    uint64_t bits = random_next(w->random);
    uint32_t want = FG_MIN(25u << random_scale((uint32_t)bits, 5), w->tasks / 2 + 1), chance = (uint32_t)((uint64_t)want * UINT32_MAX / w->tasks);
    bool agents = bits >> 63;
    FG_AUTO_FREE bool *open = fg_alloc(w->agents * sizeof *open);
    if (agents)
        open_some(q, open);
    q->focus_count = 0;
    for (uint32_t j = 0; j < w->tasks; j++) {
        freed[j] = agent[j] + 1 == w->agents || (agents ? open[agent[j]] : (uint32_t)(random_next(w->random) >> 32) < chance);
        if (freed[j])
            q->focus[q->focus_count++] = j;
    }
}

/* One dive and what chains make of it. The first go over all agents, the later over some. */
static void dive_once(struct search *q, struct dive *d, bool part, uint32_t *agent, bool *freed)
{
    struct work *w = q->w;
    struct state *s = q->s;
    double heat = w->unit * TUNE_POLISH_HEAT;
    if (part) {
        memcpy(agent, q->current, w->tasks * sizeof *agent);
        free_some(q, agent, freed);
        heat *= 0.5 * (double)(1u << (random_next(w->random) >> 62));
    }
    dive_run(d, agent, part ? freed : NULL);
    state_set(s, agent);
    if (s->over == 0)
        work_offer(w, s->agent, s->total);
    uint64_t tasks = part && q->focus_count ? q->focus_count : w->tasks;
    search_anneal(q, &(struct anneal){heat, heat / 5, TUNE_POLISH * tasks, 5, 0.3});
    search_repair(q);
    if (s->over == 0)
        search_sweep(q);
    q->focus_count = 0;
    q->stale += part && (s->over > 0 || s->total >= q->current_cost);
    if (s->over == 0 && s->total <= q->current_cost)
        keep_current(q, s->agent, s->total);
}

static void search_dives(struct search *q, struct dive *d)
{
    struct work *w = q->w;
    FG_AUTO_FREE uint32_t *agent = fg_realloc(NULL, w->tasks, sizeof *agent);
    FG_AUTO_FREE bool *freed = fg_alloc(w->tasks * sizeof *freed);
    uint64_t began = w->iterations, chains = 0, full = 0;
    double attempts = fmin((double)TUNE_LONG * w->tasks, fmax(TUNE_LONG_ALL, TUNE_FIRST * (double)w->tasks));
    keep_current(q, w->best, w->best_cost);
    uint32_t round = 0, cooling = 0;
    dive_root(d);
    while (!work_done(w)) {
        uint64_t before = w->iterations;
        int64_t known = w->best_cost;
        if (chains * TUNE_CHAIN_SHARE >= before - began || round == 0) {
            bool part = round > 0 && q->stale < TUNE_STALE && (round >= TUNE_DIVES_FULL || full > TUNE_DIVES_COST);
            if (!part && q->stale >= TUNE_STALE)
                q->current_cost = INT64_MAX, q->stale = 0; /* nothing more to find around here: begin elsewhere */
            dive_once(q, d, part, agent, freed);
            round++;
            full += part ? 0 : w->iterations - before;
        } else {
            state_set(q->s, w->best);
            double heat = w->tasks <= 100 && cooling++ % 3 == 2 ? 10 : TUNE_LONG_HEAT; /* small ones have the time */
            search_anneal(q, &(struct anneal){w->unit * heat, w->unit * 0.1, (uint64_t)attempts, TUNE_LONG_STRICT, 0.3});
            search_repair(q);
            attempts *= 1.5;
            chains += w->iterations - before;
        }
        if (w->best_cost < known)
            keep_current(q, w->best, w->best_cost);
    }
}

static void search_chains(struct search *q)
{
    struct work *w = q->w;
    double attempts = 20.0 * w->tasks;
    for (uint32_t round = 0; !work_done(w); round++, attempts *= 1.5) {
        double heat = w->unit * (round % 3 == 2 ? 10 : 1.5);   /* now and then far from where the prices lead */
        search_anneal(q, &(struct anneal){heat, w->unit * 0.1, (uint64_t)attempts, 2, 0.2});
        search_repair(q);
        state_set(q->s, w->best);
        search_anneal(q, &(struct anneal){w->unit * 0.5, w->unit * 0.1, (uint64_t)attempts / 4, 1000, 0});
    }
}

static double unit_of(const struct work *w)
{
    double unit = 0;
    bool priced = w->p->nobody_cost != NULL;             /* else nobody's price says nothing about choices */
    for (uint32_t c = 0; c < w->classes; c++)
        if (w->option_first[c + 1] - w->option_first[c] > (priced ? 1 : 2))
            unit += (double)w->options[w->option_first[c] + 1].reduced * w->class_count[c] / w->tasks;
    double span = (double)w->cost_span;
    return FG_MAX(unit > 0 ? unit : 0.05 * span, 1e-3 * span) + 1e-9;
}

void fg_assign_search(struct work *w)
{
    struct search *q = fg_alloc(sizeof *q);
    FG_AUTO_FREE uint32_t *agent = fg_realloc(NULL, w->tasks, sizeof *agent);
    if (!w->wide)
        fg_assign_options_make(w, TUNE_OPTIONS);
    q->w = w;
    w->unit = unit_of(w);
    for (uint32_t i = 0; i < FG_COUNT(q->log_table); i++)
        q->log_table[i] = -logf(((float)i + 0.5f) / FG_COUNT(q->log_table));
    q->current = fg_realloc(NULL, w->tasks, sizeof *q->current);
    q->focus = fg_realloc(NULL, w->tasks, sizeof *q->focus);
    q->current_cost = INT64_MAX;
    q->s = state_create(w);
    if (w->o->start) {
        for (uint32_t j = 0; j < w->tasks; j++)
            agent[j] = w->o->start[j] == FG_ASSIGN_NOBODY ? w->agents - 1 : w->o->start[j];
        state_set(q->s, agent);
        if (q->s->over == 0)
            work_offer(w, agent, q->s->total);
    }
    if (!w->wide) {
        fg_assign_greedy(w, agent);
        state_set(q->s, agent);
        work_offer(w, agent, q->s->total);
    }
    chain_init(&q->chain, q->s, TUNE_GAIN * w->unit);
    state_set(q->s, w->best);
    search_sweep(q);
    search_anneal(q, &(struct anneal){w->unit, w->unit / 5, (uint64_t)TUNE_FIRST * w->tasks, 1000, 0});
    if (!work_done(w) && !w->wide)                       /* a proof needs every option */
        fg_assign_exact(w);
    struct dive *d = work_done(w) ? NULL : dive_create(w);
    if (d)
        search_dives(q, d);
    else
        search_chains(q);
    dive_destroy(d);
    chain_fini(&q->chain);
    state_destroy(q->s);
    free(q->current), free(q->focus), free(q->guests), free(q->guest_first);
    free(q);
}
