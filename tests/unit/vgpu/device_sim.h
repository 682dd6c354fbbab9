/* device_sim.h - the arbiter's world in tests: vGPUs with one process each, a device that runs one job at a time, a fake clock.
 *
 *     tenant --gate's rules--> its queue --\
 *                                           device: first come first served, or in time slices (slice_ns), a job of another
 *     tenant --gate's rules--> its queue --/        tenant after each slice as a GPU without MPS does
 *
 * A job is charged for what lies between its START and END and belongs to no earlier job of its tenant (gate.c): exact in order of
 * arrival; in slices it contains what ran in between. */
#pragma once
#include "unit.h"
#include "vgpu/arbiter.h"
#include "vgpu/gate.h"

enum { TENANTS = 8, QUEUE = 4096 };
static const int64_t US = 1000, MS = 1000000, SEC = 1000000000;

struct job { int64_t cost, left, predicted, start; uint64_t number; };

struct tenant {
    int64_t job_ns;            /* cost of a job */
    int64_t gap_ns;            /* host time between the end of a job and the next submit; 0: keeps the queue full */
    int64_t refill_ns;         /* host time between the end of a job and a submit into the room it left */
    int64_t from_ns, until_ns; /* wants the device only then ... */
    int64_t cycle_ns;          /* ... or, if not 0, in the first half of every cycle */
    /* state */
    int place;
    uint64_t charged_ns, inflight_ns, mean_ns, settled;
    unsigned inflight;
    int waiting;
    int64_t think_until_ns, waiting_since_ns, refill_at_ns;
    int64_t done_ns;           /* device time so far */
    int64_t measured_ns, busy_until_ns;
    int64_t longest_wait_ns;
    struct job queue[QUEUE];
    unsigned head, tail;
};

struct world {
    struct fg_arbiter arbiter;
    struct tenant tenants[TENANTS];
    int count;
    int64_t now, turn_at, latency_ns; /* latency: from a bell or a due time to the turn, and from a grant to the submit */
    int64_t rung_at;           /* -1: no bell */
    uint64_t numbers;          /* of jobs, in order of arrival */
    int64_t slice_ns;          /* 0: first come first served */
    int early;                 /* START is when a job is the first of its tenant's, not when it has the device */
    int running;               /* -1: idle */
    int64_t ran_from, slice_end;
    int64_t busy_ns;
    int64_t submit_at[TENANTS];
};

static inline void world_init(struct world *w, const struct fg_arbiter_params *params)
{
    memset(w, 0, sizeof *w);
    fg_arbiter_init(&w->arbiter, params, 0);
    w->running = -1;
    w->rung_at = -1;
    w->turn_at = INT64_MAX;
    w->latency_ns = 60 * US;
}

static inline struct tenant *add(struct world *w, uint32_t share, enum fg_share_mode mode, int latency, struct tenant t)
{
    t.place = fg_arbiter_add(&w->arbiter, (uint64_t)w->count + 1, share, mode, latency, 0);
    t.until_ns = t.until_ns ? t.until_ns : INT64_MAX;
    w->tenants[w->count] = t;
    return &w->tenants[w->count++];
}

static inline void ring(struct world *w)
{
    if (w->rung_at < 0)
        w->rung_at = w->now + w->latency_ns;
}

static inline int wants(const struct world *w, const struct tenant *t)
{
    if (w->now < t->from_ns || w->now >= t->until_ns || w->now < t->think_until_ns || w->now < t->refill_at_ns)
        return 0;
    return !t->cycle_ns || w->now % t->cycle_ns < t->cycle_ns / 2;
}

static inline int64_t predicted(const struct world *w, const struct tenant *t)
{
    return t->mean_ns ? (int64_t)t->mean_ns : (int64_t)w->arbiter.vgpus[t->place].grant.inflight_ns;
}

/* The rules of gate.c. */
static inline void submit_all(struct world *w, struct tenant *t)
{
    const struct fg_arbiter_grant *grant = &w->arbiter.vgpus[t->place].grant;
    /* a thread that waits at the gate submits when it can, whatever the tenant wants by then */
    while ((t->waiting || wants(w, t)) && !(t->gap_ns && t->inflight) && t->tail - t->head < QUEUE - 1) {
        int64_t cost = predicted(w, t);
        if (t->inflight && t->inflight_ns + (uint64_t)cost > grant->inflight_ns)
            return;
        if (t->charged_ns >= grant->allow_ns) {
            if (!t->waiting) {
                t->waiting = 1;
                t->waiting_since_ns = w->now;
                ring(w);
            }
            return;
        }
        if (t->waiting && w->now - t->waiting_since_ns > t->longest_wait_ns)
            t->longest_wait_ns = w->now - t->waiting_since_ns;
        t->waiting = 0;
        t->charged_ns += (uint64_t)cost;
        t->inflight_ns += (uint64_t)cost;
        t->inflight++;
        t->queue[t->tail++ % QUEUE] = (struct job){.cost = t->job_ns, .left = t->job_ns, .predicted = cost, .start = w->early ? w->now : -1, .number = w->numbers++};
    }
}

static inline void complete(struct world *w, struct tenant *t)
{
    const struct job *job = &t->queue[t->head++ % QUEUE];
    uint64_t drain = w->arbiter.vgpus[t->place].grant.drain_ns, before = t->inflight_ns;
    int64_t cost = w->now - (job->start > t->busy_until_ns ? job->start : t->busy_until_ns);
    t->busy_until_ns = w->now;
    int64_t beside = (int64_t)w->arbiter.vgpus[t->place].grant.beside_ns;
    if (beside && t->mean_ns)
        cost = (int64_t)fg_gate_apart(t->mean_ns, (uint64_t)cost, (uint64_t)beside);
    t->charged_ns += (uint64_t)(cost - job->predicted);
    t->inflight_ns -= (uint64_t)job->predicted;
    t->inflight--;
    t->settled++;
    if (!t->mean_ns)
        t->mean_ns = (uint64_t)cost;
    else if (!beside || cost < (int64_t)t->mean_ns)
        t->mean_ns += (uint64_t)(cost / 4) - t->mean_ns / 4;
    t->done_ns += job->cost;
    t->measured_ns += cost;
    w->busy_ns += job->cost;
    if (t->gap_ns)
        t->think_until_ns = w->now + t->gap_ns;
    if (t->refill_at_ns < w->now)
        t->refill_at_ns = w->now + t->refill_ns;
    if (drain && t->inflight_ns < drain && before >= drain)
        ring(w);
}

/* ---- the device ---- */

/* Whose job comes next: the oldest, or in slices the next tenant's in turn. */
static inline int next_tenant(const struct world *w, int last)
{
    int best = -1;
    for (int k = 1; k <= w->count; k++) {
        int i = (last + k + w->count) % w->count;
        const struct tenant *t = &w->tenants[i];
        if (t->head == t->tail)
            continue;
        if (best < 0 || (!w->slice_ns && t->queue[t->head % QUEUE].number < w->tenants[best].queue[w->tenants[best].head % QUEUE].number))
            best = i;
    }
    return best;
}

static inline void start_job(struct world *w, int i)
{
    w->running = i;
    w->ran_from = w->now;
    if (i >= 0) {
        struct tenant *t = &w->tenants[i];
        struct job *job = &t->queue[t->head % QUEUE];
        job->start = job->start < 0 ? w->now : job->start;
    }
}

/* Bring the device to now. */
static inline void progress(struct world *w)
{
    int i = w->running;
    if (i >= 0) {
        struct tenant *t = &w->tenants[i];
        struct job *job = &t->queue[t->head % QUEUE];
        job->left -= w->now - w->ran_from;
        w->ran_from = w->now;
        int over = w->slice_ns && w->now >= w->slice_end;
        if (job->left <= 0) {
            complete(w, t);
            w->running = -1;
            if (!t->waiting || w->now >= w->submit_at[i])
                submit_all(w, t);
        } else if (!over) {
            return;
        }
        if (w->slice_ns && !over && t->head != t->tail) { /* its slice goes on */
            start_job(w, i);
            return;
        }
    }
    int next = next_tenant(w, i < 0 ? 0 : i);
    start_job(w, next);
    w->slice_end = w->now + w->slice_ns;
}

static inline int64_t sooner(int64_t a, int64_t b) { return a < b ? a : b; }

/* When the running job ends, or its slice. */
static inline int64_t device_changes_at(const struct world *w)
{
    if (w->running < 0)
        return INT64_MAX;
    const struct tenant *t = &w->tenants[w->running];
    int64_t end = w->ran_from + t->queue[t->head % QUEUE].left;
    return w->slice_ns && w->slice_end > w->now ? sooner(end, w->slice_end) : end;
}

static inline void turn(struct world *w)
{
    struct fg_arbiter_input in[FG_ARBITER_MAX] = {0};
    for (int i = 0; i < w->count; i++) {
        struct tenant *t = &w->tenants[i];
        in[t->place] = (struct fg_arbiter_input){t->charged_ns, t->inflight_ns, t->inflight, (uint32_t)t->waiting, 1, t->settled};
    }
    w->rung_at = -1;
    int64_t next = fg_arbiter_turn(&w->arbiter, in, w->now);
    w->turn_at = next == INT64_MAX ? next : next + w->latency_ns / 4;
    for (int i = 0; i < w->count; i++)
        if (w->tenants[i].waiting)
            w->submit_at[i] = w->now + w->latency_ns;
}

/* The next moment at which the tenant does something by itself. */
static inline int64_t stirs_at(const struct world *w, int i)
{
    const struct tenant *t = &w->tenants[i];
    int64_t at = INT64_MAX;
    if (t->think_until_ns > w->now)
        at = sooner(at, t->think_until_ns);
    if (t->refill_at_ns > w->now)
        at = sooner(at, t->refill_at_ns);
    if (t->from_ns > w->now)
        at = sooner(at, t->from_ns);
    if (t->cycle_ns)
        at = sooner(at, (w->now / t->cycle_ns + 1) * t->cycle_ns);
    if (w->submit_at[i] > w->now)
        at = sooner(at, w->submit_at[i]);
    return at;
}

/* Run the world until `until`, event by event. */
static inline void run(struct world *w, int64_t until)
{
    for (int i = 0; i < w->count; i++)
        submit_all(w, &w->tenants[i]);
    while (w->now < until) {
        if (w->running < 0)
            progress(w);
        int64_t at = sooner(sooner(until, w->turn_at), device_changes_at(w));
        if (w->rung_at >= 0)
            at = sooner(at, w->rung_at);
        for (int i = 0; i < w->count; i++)
            at = sooner(at, stirs_at(w, i));
        w->now = at > w->now ? at : w->now + 1;
        if (w->running >= 0)
            progress(w);
        if ((w->rung_at >= 0 && w->now >= w->rung_at) || w->now >= w->turn_at)
            turn(w);
        for (int i = 0; i < w->count; i++)
            if (!w->tenants[i].waiting || w->now >= w->submit_at[i])
                submit_all(w, &w->tenants[i]);
    }
}

/* Device time of each tenant in a span, in permille of the span. */
static inline void measure(struct world *w, int64_t span, double *permille)
{
    int64_t before[TENANTS];
    for (int i = 0; i < w->count; i++)
        before[i] = w->tenants[i].done_ns;
    run(w, w->now + span);
    for (int i = 0; i < w->count; i++)
        permille[i] = 1000.0 * (double)(w->tenants[i].done_ns - before[i]) / (double)span;
}

static inline void assert_near(double got, double want, double within, const char *what)
{
    if (got < want - within || got > want + within)
        fail_msg("%s: %.1f permille, wanted %.1f within %.1f", what, got, want, within);
}
