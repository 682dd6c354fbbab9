/* share.c - least cost with two jobs on a GPU where that saves, no deadline missed.
 *
 * 1. What a step of each type is worth comes from the fluid problem over the work at hand (cover.c): at its prices no single
 *    and no pair earns more than it costs, and those that earn it all are the ones to run.
 * 2. A job whose deadline asks for more speed than its cheapest way gives has a higher worth: the slope, at the rate it
 *    needs from now on, of the lower hull of its ways to run; a way is (rate, price less what the one beside it is worth).
 * 3. Jobs in order of need take the single or pair that earns most of its cost, the own steps at one's worth and the other's
 *    at its type's; one that finds none that earns about its cost waits, unless it has little time.
 * 4. Slots exchange members, and who waits takes a place, for as long as that earns more (a fifth of the saving).
 * All members must stay able to end in time alone on their fastest kind; who has no time left for less takes that. */
#include <string.h>

#include "plan/jobs/private.h"

#define SPARE_ROUNDS 1.5
#define LOSS_FREE 0.1                    /* of its cost that a slot may fail to earn: exact matches are rare */
#define NEED_EASY 0.5                    /* share of the time left that a job needs on its fastest kind, from which it takes more loss */
#define LOSS_PRESSED 4.0                 /* more of it for each share beyond */
#define POLISH_PASSES 3

enum { MUST_RUN, BY_NEED };

struct share {
    const struct fg_jobs_now *now;
    uint32_t types, *type_of;            /* dense numbers of the types at hand; by job */
    uint32_t *sample;                    /* a job of each type */
    double *value;                       /* by type, of a step */
    double *rates;                       /* [types][types][kinds][2]; 0: not together */
    uint32_t *fast;                      /* by job: its fastest kind */
    double *worth;                       /* by job, of a step */
    bool *taken;
    uint32_t *line, *first;              /* jobs by type, most needy first */
    uint32_t room[FG_JOBS_KINDS_MOST];
};

static double *pair_at(const struct share *s, uint32_t a, uint32_t b, uint32_t k)
{
    return &s->rates[(((size_t)a * s->types + b) * s->now->kind_count + k) * 2];
}

/* Whether job may spend a round at this rate. */
static bool may(const struct share *s, uint32_t job, double rate)
{
    const struct fg_job *j = &s->now->jobs[job];
    double until = j->deadline_s - s->now->now_s, round = s->now->round_s;
    if (rate > 0 && (j->left / rate <= fmin(round, until) || rate >= j->rate[s->fast[job]]))
        return true;                                     /* it ends within the round, or loses nothing */
    return rate > 0 && until - round - (j->left - round * rate) / j->rate[s->fast[job]] >= SPARE_ROUNDS * round - 1e-6;
}

static void solve_values(struct share *s)
{
    const struct fg_jobs_now *now = s->now;
    FG_AUTO_FREE double *work = fg_alloc((s->types + 1) * sizeof *work);
    FG_AUTO_FREE struct fg_cover_column *columns = fg_realloc(NULL, ((size_t)s->types * s->types + s->types) * now->kind_count + 1, sizeof *columns);
    size_t n = 0;
    for (uint32_t x = 0; x < now->job_count; x++)
        if (now->jobs[x].gpus == 1)
            work[s->type_of[x]] += now->jobs[x].left;
    for (uint32_t k = 0; k < now->kind_count; k++)
        for (uint32_t a = 0; a < s->types; a++) {
            const struct fg_job *ja = &now->jobs[s->sample[a]];
            if (ja->rate[k] > 0)
                columns[n++] = (struct fg_cover_column){a, FG_JOBS_ALONE, ja->rate[k], 0, now->kinds[k].price_per_s};
            for (uint32_t b = a; b < s->types; b++) {
                double *r = pair_at(s, a, b, k);
                if (r[0] > 0 || r[1] > 0)
                    columns[n++] = (struct fg_cover_column){a, b, r[0], r[1], now->kinds[k].price_per_s};
            }
        }
    fg_cover_solve(work, s->types, columns, n, s->value);
}

static void number_types(struct share *s)
{
    const struct fg_jobs_now *now = s->now;
    for (uint32_t x = 0; x < now->job_count; x++) {
        uint32_t t = 0;
        while (t < s->types && now->jobs[s->sample[t]].type != now->jobs[x].type)
            t++;
        if (t == s->types)
            s->sample[s->types++] = x;
        s->type_of[x] = t;
    }
    s->rates = fg_alloc((size_t)s->types * s->types * now->kind_count * 2 * sizeof *s->rates);
    for (uint32_t a = 0; now->pair && a < s->types; a++)
        for (uint32_t b = 0; b < s->types; b++)
            for (uint32_t k = 0; k < now->kind_count; k++)
                if (!now->pair(now->pair_arg, now->jobs[s->sample[a]].type, now->jobs[s->sample[b]].type, k, pair_at(s, a, b, k)))
                    pair_at(s, a, b, k)[0] = pair_at(s, a, b, k)[1] = 0;
}

/* The neediest job of the type that is free, is not `but`, has one GPU and may spend a round at the rate. */
static uint32_t partner(const struct share *s, uint32_t type, uint32_t but, double rate)
{
    for (uint32_t x = s->first[type]; x < s->first[type + 1]; x++) {
        uint32_t j = s->line[x];
        if (!s->taken[j] && j != but && s->now->jobs[j].gpus == 1 && may(s, j, rate))
            return j;
    }
    return FG_JOBS_ALONE;
}

struct offer { double earns; struct fg_jobs_slot slot; bool any; };

static void consider(struct offer *best, double earns, uint32_t job, uint32_t beside, uint32_t kind)
{
    if (!best->any || earns > best->earns)
        *best = (struct offer){earns, {job, beside, kind}, true};
}

/* What earns the largest part of its cost, beyond it: -1 nothing, 0 all of it. */
static struct offer best_slot(const struct share *s, uint32_t job, bool must)
{
    const struct fg_jobs_now *now = s->now;
    const struct fg_job *j = &now->jobs[job];
    struct offer best = {0};
    uint32_t a = s->type_of[job];
    for (uint32_t k = 0; k < now->kind_count; k++) {
        if (s->room[k] < j->gpus || !runs_on(now, j, k))
            continue;
        double price = now->kinds[k].price_per_s;
        if (may(s, job, j->rate[k]) || must)
            consider(&best, may(s, job, j->rate[k]) ? s->worth[job] * j->rate[k] / price - 1 : -20 + 10 * j->rate[k] / j->rate[s->fast[job]],
                     job, FG_JOBS_ALONE, k);
        for (uint32_t b = 0; j->gpus == 1 && b < s->types; b++) {
            const double *r = pair_at(s, a, b, k);
            if ((r[0] <= 0 && r[1] <= 0) || !may(s, job, r[0]))
                continue;
            uint32_t other = partner(s, b, job, r[1]);
            if (other != FG_JOBS_ALONE)
                consider(&best, (s->worth[job] * r[0] + s->value[b] * r[1]) / price - 1, job, other, k);
        }
    }
    return best;
}

/* The slope of the lower hull of the job's ways to run, from idle, at the rate that its deadline asks for. */
static double worth_of(const struct share *s, uint32_t job, double rate)
{
    const struct fg_jobs_now *now = s->now;
    const struct fg_job *j = &now->jobs[job];
    uint32_t a = s->type_of[job];
    double at = 0, cost = 0, slope = s->value[a];
    while (at < rate) {
        double least = INFINITY, next = 0, next_cost = 0;
        for (uint32_t k = 0; k < now->kind_count; k++)
            for (uint32_t b = 0; b <= s->types; b++) {
                const double *r = b < s->types ? pair_at(s, a, b, k) : &j->rate[k];
                double price = now->kinds[k].price_per_s - (b < s->types ? s->value[b] * r[1] : 0);
                if (r[0] > at && (j->gpus == 1 || b == s->types) && (price - cost) / (r[0] - at) < least)
                    least = (price - cost) / (r[0] - at), next = r[0], next_cost = price;
            }
        if (isinf(least))
            break;
        slope = fmax(slope, least), at = next, cost = next_cost;
    }
    return slope;
}

static bool must_run(const struct share *s, uint32_t job)
{
    const struct fg_job *j = &s->now->jobs[job];
    return j->deadline_s - s->now->now_s - time_on(j, s->fast[job]) < (1 + SPARE_ROUNDS) * s->now->round_s;
}

static void line_up(struct share *s, struct fg_turns *turns)
{
    const struct fg_jobs_now *now = s->now;
    s->line = fg_realloc(NULL, now->job_count + 1, sizeof *s->line);
    s->first = fg_alloc((s->types + 2) * sizeof *s->first);
    for (uint32_t x = 0; x < now->job_count; x++) {
        const struct fg_job *j = &now->jobs[x];
        double until = j->deadline_s - now->now_s, usable = fmax(until - SPARE_ROUNDS * now->round_s, now->round_s);
        s->fast[x] = fg_jobs_fastest(now, j);
        s->worth[x] = worth_of(s, x, isinf(until) ? 0 : fmin(j->left / usable, j->rate[s->fast[x]]));
        double need = isinf(until) ? 0 : until <= 0 ? 2 : time_on(j, s->fast[x]) / until;
        turns[x] = must_run(s, x) ? (struct fg_turns){MUST_RUN, until - time_on(j, s->fast[x]), x} : (struct fg_turns){BY_NEED, -need, x};
        s->first[s->type_of[x] + 2]++;
    }
    fg_jobs_sort(turns, now->job_count);
    for (uint32_t t = 0; t < s->types; t++)
        s->first[t + 2] += s->first[t + 1];
    for (uint32_t x = 0; x < now->job_count; x++)
        s->line[s->first[s->type_of[turns[x].job] + 1]++] = turns[x].job;
}

/* What of its cost a slot may fail to earn: little for who has time, much for who would lose it by waiting. */
static double allowed_loss(const struct share *s, uint32_t job)
{
    const struct fg_job *j = &s->now->jobs[job];
    double need = time_on(j, s->fast[job]) / fmax(j->deadline_s - s->now->now_s, 1);
    return LOSS_FREE + LOSS_PRESSED * fmax(0, need - NEED_EASY);
}

/* What two jobs (or one and nobody) earn on kind in a second; -INFINITY where one may not spend a round so. */
static double earning(const struct share *s, uint32_t a, uint32_t b, uint32_t kind)
{
    const struct fg_job *jobs = s->now->jobs;
    if (a == FG_JOBS_ALONE)
        return b == FG_JOBS_ALONE ? 0 : earning(s, b, a, kind);
    if (b == FG_JOBS_ALONE)
        return may(s, a, jobs[a].rate[kind]) ? s->worth[a] * jobs[a].rate[kind] : -INFINITY;
    const double *r = pair_at(s, s->type_of[a], s->type_of[b], kind);
    if ((r[0] <= 0 && r[1] <= 0) || jobs[a].gpus > 1 || jobs[b].gpus > 1 || !may(s, a, r[0]) || !may(s, b, r[1]))
        return -INFINITY;
    return s->worth[a] * r[0] + s->worth[b] * r[1];
}

/* Exchange members of two slots where both together earn more. */
static bool exchange(const struct share *s, struct fg_jobs_slot *x, struct fg_jobs_slot *y)
{
    uint32_t a = x->job, b = x->beside, c = y->job, d = y->beside;
    const uint32_t ways[4][4] = {{a, c, b, d}, {a, d, c, b}, {c, b, a, d}, {c, d, a, b}};
    double best = earning(s, a, b, x->kind) + earning(s, c, d, y->kind);
    int way = -1;
    if (isinf(best) || s->now->jobs[a].gpus > 1 || s->now->jobs[c].gpus > 1)
        return false;
    best += 1e-9 * fabs(best);
    for (int w = 0; w < 4; w++) {
        double v = earning(s, ways[w][0], ways[w][1], x->kind) + earning(s, ways[w][2], ways[w][3], y->kind);
        if (v > best && (ways[w][0] != FG_JOBS_ALONE || ways[w][1] != FG_JOBS_ALONE) && (ways[w][2] != FG_JOBS_ALONE || ways[w][3] != FG_JOBS_ALONE))
            best = v, way = w;
    }
    if (way < 0)
        return false;
    for (int z = 0; z < 2; z++) {
        struct fg_jobs_slot *slot = z ? y : x;
        uint32_t p = ways[way][2 * z], q = ways[way][2 * z + 1];
        slot->job = p == FG_JOBS_ALONE ? q : p, slot->beside = p == FG_JOBS_ALONE ? p : q;
    }
    return true;
}

/* Let one who waits take a place in a slot, in nobody's or another's stead, where that earns more. */
static bool replace(const struct share *s, struct fg_jobs_slot *x, uint32_t w)
{
    double now = earning(s, x->job, x->beside, x->kind);
    if (isinf(now) || must_run(s, x->job))
        return false;
    double beside = earning(s, x->job, w, x->kind);
    bool free_beside = x->beside == FG_JOBS_ALONE || !must_run(s, x->beside);
    if (!free_beside || beside <= now * (1 + 1e-9))
        return false;
    if (x->beside != FG_JOBS_ALONE)
        s->taken[x->beside] = false;
    x->beside = w;
    s->taken[w] = true;
    return true;
}

static void polish(const struct share *s, struct fg_jobs_slot *slots, size_t n)
{
    bool gained = true;
    for (int pass = 0; gained && pass < POLISH_PASSES; pass++) {
        gained = false;
        for (size_t x = 0; x < n; x++)
            for (size_t y = x + 1; y < n; y++)
                gained |= exchange(s, &slots[x], &slots[y]);
        for (uint32_t w = 0; w < s->now->job_count; w++)
            for (size_t x = 0; x < n && !s->taken[w]; x++)
                gained |= replace(s, &slots[x], w);
    }
}

size_t fg_jobs_share(const struct fg_jobs_now *now, struct fg_jobs_slot *slots)
{
    size_t n = 0, count = now->job_count + 1;
    FG_AUTO_FREE uint32_t *numbers = fg_alloc(3 * count * sizeof *numbers);
    FG_AUTO_FREE double *reals = fg_alloc(2 * count * sizeof *reals);
    FG_AUTO_FREE bool *taken = fg_alloc(count);
    FG_AUTO_FREE struct fg_turns *turns = fg_realloc(NULL, count, sizeof *turns);
    struct share s = {.now = now, .type_of = numbers, .sample = numbers + count, .fast = numbers + 2 * count,
                      .value = reals, .worth = reals + count, .taken = taken};
    for (uint32_t k = 0; k < now->kind_count; k++)
        s.room[k] = now->kinds[k].gpus;
    number_types(&s);
    solve_values(&s);
    line_up(&s, turns);
    for (uint32_t x = 0; x < now->job_count; x++) {
        uint32_t job = turns[x].job;
        const struct fg_job *j = &now->jobs[job];
        if (taken[job])
            continue;
        bool must = must_run(&s, job);
        struct offer o = best_slot(&s, job, must);
        if (!o.any || (!must && o.earns < -allowed_loss(&s, job)))
            continue;
        s.room[o.slot.kind] -= j->gpus;
        taken[job] = true;
        if (o.slot.beside != FG_JOBS_ALONE)
            taken[o.slot.beside] = true;
        slots[n++] = o.slot;
    }
    polish(&s, slots, n);
    free(s.rates), free(s.line), free(s.first);
    return n;
}
