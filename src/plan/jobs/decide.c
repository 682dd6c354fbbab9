/* decide.c - the plain policies, which the others are measured against, and what all share. */
#include "plan/jobs/private.h"

static const char *const names[FG_JOBS_POLICY_COUNT] = {"fifo", "shortest", "cheapest", "balanced", "cost", "share"};
const char *fg_jobs_policy_name(enum fg_jobs_policy policy) { return policy < FG_JOBS_POLICY_COUNT ? names[policy] : ""; }

static int by_key(const void *a, const void *b)
{
    const struct fg_turns *x = a, *y = b;
    if (x->rule != y->rule)
        return x->rule < y->rule ? -1 : 1;
    return x->key != y->key ? (x->key < y->key ? -1 : 1) : (x->job > y->job) - (x->job < y->job);
}
void fg_jobs_sort(struct fg_turns *turns, size_t n) { qsort(turns, n, sizeof *turns, by_key); }

uint32_t fg_jobs_fastest(const struct fg_jobs_now *now, const struct fg_job *job)
{
    uint32_t best = 0;
    for (uint32_t k = 1; k < now->kind_count; k++)
        if (runs_on(now, job, k) && (!runs_on(now, job, best) || job->rate[k] > job->rate[best]))
            best = k;
    return best;
}

static uint32_t cheapest(const struct fg_jobs_now *now, const struct fg_job *job)
{
    uint32_t best = fg_jobs_fastest(now, job);
    for (uint32_t k = 0; k < now->kind_count; k++)
        if (runs_on(now, job, k) && now->kinds[k].price_per_s * job->rate[best] < now->kinds[best].price_per_s * job->rate[k])
            best = k;
    return best;
}

uint32_t fg_jobs_fastest_free(const struct fg_jobs_now *now, const struct fg_job *j, const uint32_t *room)
{
    uint32_t best = now->kind_count;
    for (uint32_t k = 0; k < now->kind_count; k++)
        if (j->rate[k] > 0 && j->gpus <= room[k] && (best == now->kind_count || j->rate[k] > j->rate[best]))
            best = k;
    return best;
}

static size_t plain(enum fg_jobs_policy policy, const struct fg_jobs_now *now, struct fg_jobs_slot *slots)
{
    uint32_t room[FG_JOBS_KINDS_MOST];
    FG_AUTO_FREE struct fg_turns *turns = fg_realloc(NULL, now->job_count + 1, sizeof *turns);
    size_t n = 0;
    for (uint32_t k = 0; k < now->kind_count; k++)
        room[k] = now->kinds[k].gpus;
    for (uint32_t x = 0; x < now->job_count; x++) {
        const struct fg_job *j = &now->jobs[x];
        turns[x] = (struct fg_turns){0, policy == FG_JOBS_SHORTEST ? time_on(j, fg_jobs_fastest(now, j)) : j->arrival_s, x};
    }
    fg_jobs_sort(turns, now->job_count);
    for (uint32_t x = 0; x < now->job_count; x++) {
        const struct fg_job *j = &now->jobs[turns[x].job];
        uint32_t k = policy == FG_JOBS_CHEAPEST ? cheapest(now, j) : fg_jobs_fastest_free(now, j, room);
        if (k == now->kind_count || j->gpus > room[k]) {
            if (policy == FG_JOBS_FIFO && runs_on(now, j, fg_jobs_fastest(now, j)))
                break;                                   /* strictly in order */
            continue;
        }
        room[k] -= j->gpus;
        slots[n++] = (struct fg_jobs_slot){turns[x].job, FG_JOBS_ALONE, k};
    }
    return n;
}

size_t fg_jobs_decide(enum fg_jobs_policy policy, const struct fg_jobs_now *now, struct fg_jobs_slot *slots)
{
    switch (policy) {
    case FG_JOBS_BALANCED: return fg_jobs_balanced(now, slots);
    case FG_JOBS_COST: return fg_jobs_cost(now, slots);
    case FG_JOBS_SHARE: return fg_jobs_share(now, slots);
    default: return plain(policy, now, slots);
    }
}
