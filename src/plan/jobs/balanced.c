/* balanced.c - short makespan, fair ends and short mean completion in one order.
 *
 * Rules, tried from the top; a job takes the first that fits it, and its place among those of the same rule:
 *   1 brief      as 3, and it takes less than a hundredth of the time that all work takes over all GPUs: the whole hardly notices,
 *                and it would otherwise wait for all of it. Least slack first.
 *   2 critical   it could end no sooner than all work spread over all GPUs, alone from now on: waiting would lengthen the whole.
 *                Least slack first.
 *   3 unfair     one more wait of a few rounds would bring it past the fair end: the time it takes alone, times how many
 *                jobs there are to each GPU. Least slack first.
 *   4 the rest   shortest remaining time first, which is the best for the mean.
 * A job that ran last round goes before an equal one that did not: a start costs time. */
#include "plan/jobs/private.h"

#define UNFAIR 1.05                      /* past the fair end by so much counts as unfair */
#define UNFAIR_ROUNDS 5                  /* how early rules 1 and 3 act */
#define BRIEF 0.01                       /* of the time that all work takes over all GPUs */
#define CRITICAL 1.0                     /* of the time that all work takes over all GPUs */

#define RAN_S 1e-3                       /* what running already is worth */

enum { BRIEF_JOB, CRITICAL_JOB, UNFAIR_JOB, OTHER_JOB };

/* spread: what all work takes over all GPUs; share: jobs to each GPU. */
static struct fg_turns turn_of(const struct fg_jobs_now *now, uint32_t job, double spread, double share)
{
    const struct fg_job *j = &now->jobs[job];
    uint32_t k = fg_jobs_fastest(now, j);
    double left = time_on(j, k), ran = j->kind >= 0 ? RAN_S : 0;
    double fair_slack = j->arrival_s + UNFAIR * share * j->work / j->rate[k] - now->now_s - left;
    bool unfair = fair_slack >= 0 && fair_slack < UNFAIR_ROUNDS * now->round_s;
    if (unfair && left < BRIEF * spread)
        return (struct fg_turns){BRIEF_JOB, fair_slack - ran, job};
    if (left >= CRITICAL * spread)
        return (struct fg_turns){CRITICAL_JOB, -left - ran, job};
    if (unfair)
        return (struct fg_turns){UNFAIR_JOB, fair_slack - ran, job};
    return (struct fg_turns){OTHER_JOB, left - ran, job};
}

size_t fg_jobs_balanced(const struct fg_jobs_now *now, struct fg_jobs_slot *slots)
{
    uint32_t room[FG_JOBS_KINDS_MOST], gpus = 0, count = 0;
    double spread = 0;
    FG_AUTO_FREE struct fg_turns *turns = fg_realloc(NULL, now->job_count + 1, sizeof *turns);
    for (uint32_t k = 0; k < now->kind_count; k++)
        gpus += room[k] = now->kinds[k].gpus;
    for (uint32_t x = 0; x < now->job_count; x++) {
        const struct fg_job *j = &now->jobs[x];
        if (!runs_on(now, j, fg_jobs_fastest(now, j)))
            continue;                                    /* nowhere, ever */
        turns[count++].job = x;
        spread += time_on(j, fg_jobs_fastest(now, j)) * j->gpus / gpus;
    }
    double share = FG_MAX(1.0, (double)now->seen / FG_MAX(gpus, 1u));
    for (uint32_t x = 0; x < count; x++)
        turns[x] = turn_of(now, turns[x].job, spread, share);
    fg_jobs_sort(turns, count);
    size_t n = 0;
    for (uint32_t x = 0; x < count; x++) {
        const struct fg_job *j = &now->jobs[turns[x].job];
        uint32_t best = fg_jobs_fastest_free(now, j, room);
        if (best == now->kind_count)
            continue;
        room[best] -= j->gpus;
        slots[n++] = (struct fg_jobs_slot){turns[x].job, FG_JOBS_ALONE, best};
    }
    return n;
}
