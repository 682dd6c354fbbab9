/* device_sim.h - the arbiter's world in tests: vGPUs with one process each, a device that runs one job at a time, a fake clock. */
#pragma once
#include "unit.h"
#include "vgpu/arbiter.h"

enum { TENANTS = 8, QUEUE = 4096 };
static const int64_t US = 1000, MS = 1000000, SEC = 1000000000;

/* One vGPU with one process: submits jobs through the gate's rules to a device that runs one job at a time, first come
 * first served; measured time is exact. */
struct tenant {
    int64_t job_ns;            /* cost of a job */
    int64_t gap_ns;            /* host time between the end of a job and the next submit; 0: keeps the queue full */
    int64_t from_ns, until_ns; /* wants the device only then ... */
    int64_t cycle_ns;          /* ... or, if not 0, in the first half of every cycle */
    /* state */
    int place;
    uint64_t charged_ns, inflight_ns, mean_ns;
    unsigned inflight;
    int waiting;
    int64_t think_until_ns, waiting_since_ns;
    int64_t done_ns;           /* device time so far */
    int64_t longest_wait_ns;
};

struct world {
    struct fg_arbiter arbiter;
    struct tenant tenants[TENANTS];
    int count;
    int64_t now, turn_at, latency_ns; /* latency: from a bell or a due time to the turn, and from a grant to the submit */
    int64_t rung_at;           /* -1: no bell */
    struct { int tenant; int64_t cost, predicted; } queue[QUEUE];
    unsigned head, tail;
    int64_t device_free_at;    /* end of the running job; -1: idle */
    int64_t busy_ns;
    int64_t submit_at[TENANTS];
};

static inline void world_init(struct world *w, const struct fg_arbiter_params *params)
{
    memset(w, 0, sizeof *w);
    fg_arbiter_init(&w->arbiter, params, 0);
    w->device_free_at = w->rung_at = -1;
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
    if (w->now < t->from_ns || w->now >= t->until_ns || w->now < t->think_until_ns)
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
    while ((t->waiting || wants(w, t)) && !(t->gap_ns && t->inflight) && w->tail - w->head < QUEUE - 1) {
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
        unsigned at = w->tail++ % QUEUE;
        w->queue[at].tenant = (int)(t - w->tenants);
        w->queue[at].cost = t->job_ns;
        w->queue[at].predicted = cost;
    }
}

static inline void complete(struct world *w)
{
    unsigned at = w->head++ % QUEUE;
    struct tenant *t = &w->tenants[w->queue[at].tenant];
    int64_t cost = w->queue[at].cost, guess = w->queue[at].predicted;
    uint64_t drain = w->arbiter.vgpus[t->place].grant.drain_ns, before = t->inflight_ns;
    t->charged_ns += (uint64_t)(cost - guess);
    t->inflight_ns -= (uint64_t)guess;
    t->inflight--;
    t->mean_ns = t->mean_ns ? t->mean_ns - t->mean_ns / 4 + (uint64_t)cost / 4 : (uint64_t)cost;
    t->done_ns += cost;
    w->busy_ns += cost;
    w->device_free_at = -1;
    if (t->gap_ns)
        t->think_until_ns = w->now + t->gap_ns;
    if (drain && t->inflight_ns < drain && before >= drain)
        ring(w);
}

static inline void turn(struct world *w)
{
    struct fg_arbiter_input in[FG_ARBITER_MAX] = {0};
    for (int i = 0; i < w->count; i++) {
        struct tenant *t = &w->tenants[i];
        in[t->place] = (struct fg_arbiter_input){t->charged_ns, t->inflight_ns, t->inflight, (uint32_t)t->waiting, 1};
    }
    w->rung_at = -1;
    int64_t next = fg_arbiter_turn(&w->arbiter, in, w->now);
    w->turn_at = next == INT64_MAX ? next : next + w->latency_ns / 4;
    for (int i = 0; i < w->count; i++)
        if (w->tenants[i].waiting)
            w->submit_at[i] = w->now + w->latency_ns;
}

static inline int64_t sooner(int64_t a, int64_t b) { return a < b ? a : b; }

/* Run the world until `until`, event by event. */
static inline void run(struct world *w, int64_t until)
{
    for (int i = 0; i < w->count; i++)
        submit_all(w, &w->tenants[i]);
    while (w->now < until) {
        if (w->device_free_at < 0 && w->head != w->tail)
            w->device_free_at = w->now + w->queue[w->head % QUEUE].cost;
        int64_t at = sooner(until, w->turn_at);
        if (w->rung_at >= 0)
            at = sooner(at, w->rung_at);
        if (w->device_free_at >= 0)
            at = sooner(at, w->device_free_at);
        for (int i = 0; i < w->count; i++) {
            const struct tenant *t = &w->tenants[i];
            if (t->think_until_ns > w->now)
                at = sooner(at, t->think_until_ns);
            if (t->from_ns > w->now)
                at = sooner(at, t->from_ns);
            if (t->cycle_ns)
                at = sooner(at, (w->now / t->cycle_ns + 1) * t->cycle_ns);
            if (w->submit_at[i] > w->now)
                at = sooner(at, w->submit_at[i]);
        }
        w->now = at > w->now ? at : w->now + 1;
        if (w->device_free_at >= 0 && w->now >= w->device_free_at)
            complete(w);
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
