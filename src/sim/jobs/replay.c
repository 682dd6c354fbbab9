/* replay.c - rounds: jobs that arrived, one decision, progress, ends. */
#include <math.h>
#include <string.h>

#include "base/units.h"
#include "sim/jobs/jobs.h"

#define UNFAIR 1.05
#define ROUNDS_MOST 20000000u

struct replay {
    const struct fg_job_trace *t;
    struct fg_job_run *run;
    FG_VEC(struct fg_job) active;
    FG_VEC(uint32_t) number;             /* of each active job in the trace */
    struct fg_jobs_slot *slots;
    bool *ended;
    double now;
    uint32_t arrived;
};

static bool pair_rates(void *arg, uint32_t a, uint32_t b, uint32_t kind, double ret[2])
{
    const struct fg_job_trace *t = arg;
    const double *r = &t->pair_rates[(((size_t)a * t->types.count + b) * t->kind_count + kind) * 2];
    ret[0] = r[0], ret[1] = r[1];
    return r[0] > 0 || r[1] > 0;
}

/* One job's round at a rate. Returns how long it held its GPUs. */
static double progress(struct replay *p, uint32_t x, uint32_t kind, double rate)
{
    struct fg_job *j = &p->active.items[x];
    struct fg_job_end *end = &p->run->ends[p->number.items[x]];
    double round = p->t->round_s, lost = j->kind < 0 && p->now > 0 ? p->t->restart_s : 0;
    if (isnan(end->start_s))
        end->start_s = p->now;
    else if (j->kind != (int32_t)kind)
        end->moves++, p->run->moves++;
    j->kind = (int32_t)kind;
    double need = rate > 0 ? lost + j->left / rate : INFINITY;
    if (need <= round * (1 + 1e-12)) {
        end->end_s = p->now + need;
        p->ended[x] = true;
        return need;
    }
    j->left -= rate * (round - lost);
    return round;
}

static int64_t cost_of(const struct fg_job_trace *t, uint32_t kind, double seconds, uint32_t gpus)
{
    int64_t v = 0;
    fg_mul_div(t->price_nanousd_per_h[kind], llround(seconds * 1e3) * gpus, INT64_C(3600000), &v);
    return v;
}

static void run_slot(struct replay *p, const struct fg_jobs_slot *s)
{
    struct fg_job *j = &p->active.items[s->job];
    int64_t cost;
    if (s->beside == FG_JOBS_ALONE) {
        cost = cost_of(p->t, s->kind, progress(p, s->job, s->kind, j->rate[s->kind]), j->gpus);
        p->run->ends[p->number.items[s->job]].cost_nanousd += cost;
    } else {
        double r[2];
        pair_rates((void *)p->t, j->type, p->active.items[s->beside].type, s->kind, r);
        double a = progress(p, s->job, s->kind, r[0]), b = progress(p, s->beside, s->kind, r[1]);
        cost = cost_of(p->t, s->kind, fmax(a, b), 1);    /* the GPU is held until the later one is done with the round */
        p->run->ends[p->number.items[s->job]].cost_nanousd += cost / 2;
        p->run->ends[p->number.items[s->beside]].cost_nanousd += cost - cost / 2;
        p->run->shared_rounds++;
    }
    p->run->cost_nanousd += cost;
}

static void one_round(struct replay *p, enum fg_jobs_policy policy)
{
    const struct fg_job_trace *t = p->t;
    struct fg_jobs_now now = {.now_s = p->now, .round_s = t->round_s, .kinds = t->kinds, .kind_count = t->kind_count,
                              .jobs = p->active.items, .job_count = (uint32_t)p->active.count, .seen = p->arrived,
                              .pair = t->pair_rates ? pair_rates : NULL, .pair_arg = (void *)t};
    size_t n = fg_jobs_decide(policy, &now, p->slots);
    FG_AUTO_FREE bool *ran = fg_alloc(p->active.count + 1);
    for (size_t x = 0; x < n; x++) {
        run_slot(p, &p->slots[x]);
        ran[p->slots[x].job] = true;
        if (p->slots[x].beside != FG_JOBS_ALONE)
            ran[p->slots[x].beside] = true;
    }
    size_t kept = 0;
    for (size_t x = 0; x < p->active.count; x++) {
        if (p->ended[x])
            continue;
        p->active.items[kept] = p->active.items[x];
        if (!ran[x])
            p->active.items[kept].kind = -1;
        p->number.items[kept++] = p->number.items[x];
    }
    p->active.count = p->number.count = kept;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void summarise(const struct fg_job_trace *t, struct fg_job_run *run)
{
    size_t n = t->jobs.count;
    uint32_t gpus = 0, unfair = 0;
    FG_AUTO_FREE double *jct = fg_realloc(NULL, 2 * n + 1, sizeof *jct);
    double *wait = jct + n;
    for (uint32_t k = 0; k < t->kind_count; k++)
        gpus += t->kinds[k].gpus;
    double share = fmax(1, (double)n / gpus);
    for (size_t x = 0; x < n; x++) {
        const struct fg_job *j = &t->jobs.items[x];
        double best = 0;
        for (uint32_t k = 0; k < t->kind_count; k++)
            best = fmax(best, j->rate[k]);
        jct[x] = run->ends[x].jct_s = run->ends[x].end_s - j->arrival_s, wait[x] = run->ends[x].start_s - j->arrival_s;
        run->mean_jct_s += jct[x] / (double)n, run->mean_wait_s += wait[x] / (double)n;
        run->makespan_s = fmax(run->makespan_s, run->ends[x].end_s);
        run->missed += run->ends[x].end_s > j->deadline_s + 1e-6;
        double rho = jct[x] / (j->work / best * share);
        run->worst_unfairness = fmax(run->worst_unfairness, rho);
        unfair += rho > UNFAIR;
    }
    run->unfair_share = (double)unfair / (double)n;
    qsort(jct, n, sizeof *jct, by_size);
    qsort(wait, n, sizeof *wait, by_size);
    run->median_jct_s = jct[n / 2], run->p99_jct_s = jct[n - 1 - n / 100], run->p99_wait_s = wait[n - 1 - n / 100];
}

static int check_runnable(const struct fg_job_trace *t, struct fg_error *err)
{
    for (size_t x = 0; x < t->jobs.count; x++) {
        bool can = false;
        for (uint32_t k = 0; k < t->kind_count; k++)
            can |= t->jobs.items[x].rate[k] > 0 && t->jobs.items[x].gpus <= t->kinds[k].gpus;
        if (!can)
            return fg_fail(err, FG_E_INVALID, "job %zu needs %u GPUs of one kind, more than the cluster has", x + 1, t->jobs.items[x].gpus);
    }
    return t->jobs.count ? 0 : fg_fail(err, FG_E_INVALID, "the trace has no jobs");
}

int fg_replay_jobs(const struct fg_job_trace *t, enum fg_jobs_policy policy, struct fg_job_run *ret, struct fg_error *err)
{
    struct fg_job_run run = {0};
    struct replay p = {.t = t, .run = &run};
    size_t n = t->jobs.count;
    uint32_t rounds = 0;
    if (check_runnable(t, err) < 0)
        return -1;
    run.ends = fg_alloc(n * sizeof *run.ends);
    p.slots = fg_alloc((n + 1) * sizeof *p.slots);
    p.ended = fg_alloc(n + 1);
    for (size_t x = 0; x < n; x++)
        run.ends[x].start_s = NAN;
    for (; (p.active.count || p.arrived < n) && rounds < ROUNDS_MOST; rounds++) {
        if (p.active.count == 0) {                       /* nobody here: to the round after the next arrival */
            double gap = ceil((t->jobs.items[p.arrived].arrival_s - p.now) / t->round_s);
            p.now += fmax(0, gap) * t->round_s;
        }
        while (p.arrived < n && t->jobs.items[p.arrived].arrival_s <= p.now) {
            fg_vec_push(&p.active, t->jobs.items[p.arrived]);
            fg_vec_push(&p.number, p.arrived);
            p.arrived++;
        }
        memset(p.ended, 0, p.active.count + 1);
        one_round(&p, policy);
        p.now += t->round_s;
    }
    bool done = p.active.count == 0 && p.arrived == n;
    if (done)
        summarise(t, &run);
    fg_vec_fini(&p.active);
    fg_vec_fini(&p.number);
    free(p.slots), free(p.ended);
    if (!done) {
        fg_job_run_fini(&run);
        return fg_fail(err, FG_E_INVALID, "the jobs did not end within %u rounds under policy %s", ROUNDS_MOST, fg_jobs_policy_name(policy));
    }
    *ret = run;
    return 0;
}

void fg_job_run_fini(struct fg_job_run *run)
{
    free(run->ends);
    *run = (struct fg_job_run){0};
}

int64_t fg_job_trace_bound(const struct fg_job_trace *t, uint32_t windows)
{
    double usd = fg_jobs_bound(t->kinds, t->kind_count, t->jobs.items, (uint32_t)t->jobs.count, windows);
    return (int64_t)floor(usd * (double)FG_NANOUSD_PER_USD);
}

int64_t fg_job_trace_fluid(const struct fg_job_trace *t)
{
    uint32_t types = (uint32_t)t->types.count;
    size_t n = 0;
    if (!t->pair_rates)
        return 0;
    FG_AUTO_FREE double *work = fg_alloc((2 * types + 1) * sizeof *work);
    FG_AUTO_FREE const struct fg_job **sample = fg_alloc((types + 1) * sizeof *sample);
    FG_AUTO_FREE struct fg_cover_column *columns = fg_realloc(NULL, ((size_t)types * types + types) * t->kind_count + 1, sizeof *columns);
    for (size_t x = 0; x < t->jobs.count; x++) {
        work[t->jobs.items[x].type] += t->jobs.items[x].work;
        sample[t->jobs.items[x].type] = &t->jobs.items[x];
    }
    for (uint32_t k = 0; k < t->kind_count; k++)
        for (uint32_t a = 0; a < types; a++) {
            if (!sample[a])
                continue;
            if (sample[a]->rate[k] > 0)
                columns[n++] = (struct fg_cover_column){a, FG_JOBS_ALONE, sample[a]->rate[k], 0, t->kinds[k].price_per_s};
            for (uint32_t b = a; b < types; b++) {
                double r[2];
                if (sample[b] && pair_rates((void *)t, a, b, k, r))
                    columns[n++] = (struct fg_cover_column){a, b, r[0], r[1], t->kinds[k].price_per_s};
            }
        }
    return (int64_t)(fg_cover_solve(work, types, columns, n, work + types) * (double)FG_NANOUSD_PER_USD);
}

void fg_job_trace_fini(struct fg_job_trace *t)
{
    for (size_t x = 0; x < t->types.count; x++)
        free(t->types.items[x]);
    fg_vec_fini(&t->types);
    fg_vec_fini(&t->jobs);
    free(t->pair_rates);
    *t = (struct fg_job_trace){0};
}
