/* private.h - what the policies share. */
#pragma once
#include <math.h>

#include "base/mem.h"
#include "plan/jobs.h"

/* A job's kinds worth using, from the cheapest per step to the fastest: the lower hull of (rate, price a second), from idle. */
struct fg_hull { uint32_t kind[FG_JOBS_KINDS_MOST], count; };
void fg_jobs_hull(const struct fg_jobs_now *now, const struct fg_job *job, struct fg_hull *ret);
/* Seconds that job would take from now on kind. */
static inline double time_on(const struct fg_job *j, uint32_t kind) { return j->rate[kind] > 0 ? j->left / j->rate[kind] : INFINITY; }
/* Whether the kind, with nobody else there, could run the job. */
static inline bool runs_on(const struct fg_jobs_now *now, const struct fg_job *j, uint32_t kind)
{
    return j->rate[kind] > 0 && j->gpus <= now->kinds[kind].gpus;
}
/* Of the kinds that could run it; 0 where none can. */
uint32_t fg_jobs_fastest(const struct fg_jobs_now *now, const struct fg_job *job);
/* Of those with room for it now; kind_count where none has. */
uint32_t fg_jobs_fastest_free(const struct fg_jobs_now *now, const struct fg_job *job, const uint32_t *room);

struct fg_turns { int rule; double key; uint32_t job; };
/* By rising rule, those of one rule by rising key, equal ones by number. */
void fg_jobs_sort(struct fg_turns *turns, size_t n);

size_t fg_jobs_balanced(const struct fg_jobs_now *now, struct fg_jobs_slot *slots);
size_t fg_jobs_cost(const struct fg_jobs_now *now, struct fg_jobs_slot *slots);
size_t fg_jobs_share(const struct fg_jobs_now *now, struct fg_jobs_slot *slots);
