/* cost.c - least cost, no deadline missed.
 *
 * A job alone is best run on the kinds of its hull: the cheapest per step for as long as the next faster one can still
 * finish the rest in time, then that one, and so on; waiting is free while the cheapest can still do it all. So each round
 *   - `ok(k, next)`: after a round on k the rest fits before the deadline on next, with a round to spare;
 *   - a job's choice is the first kind of its hull that is ok with the next of its hull;
 *   - jobs that must run now (no time to spare on their fastest kind) come first, least slack first, and may use any kind;
 *   - then those whose wait would cost money, dearest first: the next kind's price for the same steps, less this one's;
 *   - then the rest, least slack on their cheapest kind first, so that no GPU stands idle which somebody can use well. */
#include "plan/jobs/private.h"

#define SPARE_ROUNDS 1.0

void fg_jobs_hull(const struct fg_jobs_now *now, const struct fg_job *job, struct fg_hull *ret)
{
    double rate[FG_JOBS_KINDS_MOST + 1] = {0}, price[FG_JOBS_KINDS_MOST + 1] = {0};
    uint32_t order[FG_JOBS_KINDS_MOST], n = 0, top = 0, kinds[FG_JOBS_KINDS_MOST + 1] = {0};
    for (uint32_t k = 0; k < now->kind_count; k++) {
        if (!runs_on(now, job, k))
            continue;
        uint32_t x = n++;
        for (; x > 0 && job->rate[order[x - 1]] > job->rate[k]; x--)
            order[x] = order[x - 1];
        order[x] = k;
    }
    for (uint32_t x = 0; x < n; x++) {                   /* entry 0 is idle: no steps, no price */
        double r = job->rate[order[x]], p = now->kinds[order[x]].price_per_s;
        while (top > 0 && (price[top] >= p || (price[top] - price[top - 1]) * (r - rate[top]) >= (p - price[top]) * (rate[top] - rate[top - 1])))
            top--;
        if (top == 0 || r > rate[top])
            top++, rate[top] = r, price[top] = p, kinds[top] = order[x];
    }
    ret->count = top;
    for (uint32_t x = 0; x < top; x++)
        ret->kind[x] = kinds[x + 1];
}

/* Whether, after a round on k, next can still do the rest in time. */
static bool ok(const struct fg_jobs_now *now, const struct fg_job *j, uint32_t k, uint32_t next)
{
    double until = j->deadline_s - now->now_s, round = now->round_s;
    if (time_on(j, k) <= fmin(round, until))
        return true;
    double spare = k == next ? 0 : SPARE_ROUNDS * round;
    return until - round - (j->left - round * j->rate[k]) / j->rate[next] >= spare - 1e-6;
}

struct wish { uint32_t kinds[FG_JOBS_KINDS_MOST], count; bool must; };
enum { MUST_RUN, COSTS_TO_WAIT, WAITS_FOR_NOTHING, NO_DEADLINE };

/* The kinds it would take, best first, and its turn. */
static struct fg_turns wish_of(const struct fg_jobs_now *now, uint32_t job, const struct fg_hull *h, struct wish *ret)
{
    const struct fg_job *j = &now->jobs[job];
    uint32_t fast = h->kind[h->count - 1], first = 0;
    double until = j->deadline_s - now->now_s, slack_fast = until - time_on(j, fast), slack_cheap = until - time_on(j, h->kind[0]);
    while (first + 1 < h->count && !ok(now, j, h->kind[first], h->kind[first + 1]))
        first++;
    for (uint32_t x = first; x < h->count; x++)
        ret->kinds[ret->count++] = h->kind[x];
    ret->must = slack_fast < (1 + SPARE_ROUNDS) * now->round_s;
    if (ret->must)
        return (struct fg_turns){MUST_RUN, slack_fast, job};
    if (isinf(slack_cheap))
        return (struct fg_turns){NO_DEADLINE, j->arrival_s, job};
    if (slack_cheap >= now->round_s)
        return (struct fg_turns){WAITS_FOR_NOTHING, slack_cheap, job};
    uint32_t k = h->kind[first], next = h->kind[FG_MIN(first + 1, h->count - 1)];
    return (struct fg_turns){COSTS_TO_WAIT, -(j->gpus * (now->kinds[next].price_per_s * j->rate[k] / j->rate[next] - now->kinds[k].price_per_s)), job};
}

/* The kind it gets of what is left; kind_count: none. One that must run takes a slow one rather than none. */
static uint32_t kind_for(const struct fg_jobs_now *now, const struct fg_job *j, const struct wish *w, const uint32_t *room)
{
    for (uint32_t x = 0; x < (w->must ? w->count : 1u); x++)
        if (j->gpus <= room[w->kinds[x]])
            return w->kinds[x];
    return w->must ? fg_jobs_fastest_free(now, j, room) : now->kind_count;
}

size_t fg_jobs_cost(const struct fg_jobs_now *now, struct fg_jobs_slot *slots)
{
    uint32_t room[FG_JOBS_KINDS_MOST], count = 0;
    FG_AUTO_FREE struct fg_turns *turns = fg_realloc(NULL, now->job_count + 1, sizeof *turns);
    FG_AUTO_FREE struct wish *wishes = fg_alloc((now->job_count + 1) * sizeof *wishes);
    size_t n = 0;
    for (uint32_t k = 0; k < now->kind_count; k++)
        room[k] = now->kinds[k].gpus;
    for (uint32_t x = 0; x < now->job_count; x++) {
        struct fg_hull h;
        fg_jobs_hull(now, &now->jobs[x], &h);
        if (h.count > 0)                                 /* else it can run nowhere, ever */
            turns[count++] = wish_of(now, x, &h, &wishes[x]);
    }
    fg_jobs_sort(turns, count);
    for (uint32_t x = 0; x < count; x++) {
        const struct fg_job *j = &now->jobs[turns[x].job];
        uint32_t k = kind_for(now, j, &wishes[turns[x].job], room);
        if (k == now->kind_count)
            continue;
        room[k] -= j->gpus;
        slots[n++] = (struct fg_jobs_slot){turns[x].job, FG_JOBS_ALONE, k};
    }
    return n;
}
