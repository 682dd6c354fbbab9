/* model.c - what one task costs on one vGPU, and when the tasks of one vGPU run. The formulas are those of docs/scheduler.md. */
#include <math.h>
#include <string.h>

#include "base/units.h"
#include "plan/instance/private.h"

#define H_NS (3600 * FG_NS_PER_S)

/* Fixed: a work is the time it takes at the reference speed. Work: a time is as much work as that speed does in it. */
int fg_instance_model(struct fg_instance *in, enum fg_cost_model model, struct fg_error *err)
{
    for (size_t x = 0; x < in->tasks.count; x++) {
        struct fg_instance_task *t = &in->tasks.items[x];
        bool fixed = model == FG_COST_FIXED && t->work_gflop > 0, work = model == FG_COST_WORK && t->time_ns > 0;
        if ((fixed || work) && in->reference_gflops <= 0) {
            fg_fail(err, FG_E_INVALID, "line %u: task '%s' tells its %s, and this cost model needs its %s", t->line, t->id,
                    fixed ? "work" : "time", fixed ? "time" : "work");
            return fg_fail_hint(err, "Add reference_gflops: the speed by which one is turned into the other.");
        }
        double ns = fixed ? t->work_gflop / in->reference_gflops * 1e9 : 0;
        if (ns > (double)FG_INSTANCE_TIME_MOST) {
            fg_fail(err, FG_E_INVALID, "line %u: task '%s' would take more than ten years at the reference speed", t->line, t->id);
            return fg_fail_hint(err, "Check the unit of work (Gflop) and reference_gflops.");
        }
        if (fixed)
            t->time_ns = FG_MAX(llround(ns), 1LL), t->work_gflop = 0;
        if (work)
            t->work_gflop = (double)t->time_ns * 1e-9 * in->reference_gflops, t->time_ns = 0;
    }
    in->cost_model = model;
    return 0;
}

void fg_instance_fini(struct fg_instance *in)
{
    if (!in)
        return;
    for (size_t x = 0; x < in->tasks.count; x++)
        free(in->tasks.items[x].id);
    for (size_t x = 0; x < in->vgpus.count; x++)
        free(in->vgpus.items[x].id);
    for (size_t x = 0; x < in->times.count; x++)
        free(in->times.items[x]);
    for (size_t x = 0; x < in->kind_sets.count; x++)
        free(in->kind_sets.items[x]);
    fg_vec_fini(&in->tasks);
    fg_vec_fini(&in->vgpus);
    fg_vec_fini(&in->slowdowns);
    fg_vec_fini(&in->times);
    fg_vec_fini(&in->kind_sets);
    fg_names_fini(&in->kinds), fg_names_fini(&in->tenants), fg_names_fini(&in->types), fg_names_fini(&in->groups), fg_names_fini(&in->gangs);
    *in = (struct fg_instance){0};
}

/* price per hour x time x hold, rounded up: a plan never promises less than will be charged. */
static int64_t cost_of(int64_t price_per_h, int64_t time_ns, uint32_t hold_ppm)
{
    __int128 v = (__int128)price_per_h * time_ns * hold_ppm, unit = (__int128)H_NS * 1000000;
    return (int64_t)FG_MIN((v + unit - 1) / unit, (__int128)FG_INSTANCE_COST_MOST + 1);
}

static uint32_t hold_of(const struct fg_instance_task *t, const struct fg_instance_vgpu *v)
{
    if (v->capacity == 1 || t->isolation == FG_ALONE)
        return 1000000;
    uint64_t memory = (uint64_t)(((unsigned __int128)t->memory_bytes * 1000000 + v->memory_bytes - 1) / v->memory_bytes);
    return (uint32_t)FG_MIN(FG_MAX(memory, (uint64_t)t->share_permille * 1000), (uint64_t)1000000);
}

/* ns; 0: it cannot be told, -1: longer than ten years. */
static int64_t time_of(const struct fg_instance *in, const struct fg_instance_task *t, const struct fg_instance_vgpu *v)
{
    if (t->times)
        return in->times.items[t->times - 1][v->kind];
    if (t->time_ns)
        return t->time_ns;
    if (v->gflops <= 0)
        return 0;
    double ns = ceil(t->work_gflop / (v->gflops * t->share_permille / 1000.0) * 1e9);
    return ns > (double)FG_INSTANCE_TIME_MOST ? -1 : (int64_t)FG_MAX(ns, 1);
}

/* On spot, taken back at the rate r and begun anew each time, a run of length t takes (e^(rt) - 1) / r on average. */
static int64_t spot_time(int64_t time_ns, double rate_per_h)
{
    double r = rate_per_h / (double)H_NS, ns = r > 0 ? expm1(fmin(r * (double)time_ns, 60)) / r : (double)time_ns;
    return ns > (double)FG_INSTANCE_TIME_MOST ? -1 : (int64_t)ceil(ns);
}

struct fg_pair fg_instance_pair(const struct fg_instance *in, uint32_t task, uint32_t vgpu)
{
    const struct fg_instance_task *t = &in->tasks.items[task];
    const struct fg_instance_vgpu *v = &in->vgpus.items[vgpu];
    struct fg_pair p = {.hold_ppm = hold_of(t, v)};
    if (t->kinds && !in->kind_sets.items[t->kinds - 1][v->kind])
        return p.block = FG_PAIR_KIND, p;
    if (t->memory_bytes > v->memory_bytes)
        return p.block = FG_PAIR_MEMORY, p;
    p.time_ns = time_of(in, t, v);
    if (p.time_ns <= 0)
        return p.block = p.time_ns < 0 ? FG_PAIR_TOO_LONG : t->times ? FG_PAIR_KIND : FG_PAIR_NO_TIME, p;
    p.cost_nanousd = cost_of(v->price_nanousd_per_h, p.time_ns, p.hold_ppm);
    if (t->spot && v->spot_nanousd_per_h >= 0 && latest_end(in, task) == INT64_MAX && !t->gang) {
        int64_t longer = spot_time(p.time_ns, v->interruptions_per_h);
        int64_t cost = longer > 0 ? cost_of(v->spot_nanousd_per_h, longer, p.hold_ppm) : INT64_MAX;
        if (cost < p.cost_nanousd)
            p.cost_nanousd = cost, p.time_ns = longer, p.spot = true;
    }
    if (p.time_ns > latest_end(in, task))
        p.block = FG_PAIR_DEADLINE;
    else if (t->budget_nanousd >= 0 && p.cost_nanousd > t->budget_nanousd)
        p.block = FG_PAIR_BUDGET;
    return p;
}

/* --- one vGPU's turn --- */

struct runner { uint32_t turn; double left_ns; int64_t price; uint32_t hold_ppm; };
struct clockwork {
    const struct fg_instance *in;
    const struct fg_instance_vgpu *v;
    struct fg_turn *turns;
    FG_VEC(struct runner) running;
    uint64_t memory;
    uint32_t share;
    bool slow;                           /* whether anything can slow anything down */
};

static double slowdown_of(const struct fg_instance *in, uint32_t a, uint32_t b)
{
    for (size_t x = 0; x < in->slowdowns.count; x++) {
        const struct fg_slowdown *s = &in->slowdowns.items[x];
        if (a && b && ((s->a == a && s->b == b) || (s->a == b && s->b == a)))
            return s->factor;
    }
    return in->slowdown;
}

/* How many times longer the x-th runner takes beside the others. */
static double slowed(const struct clockwork *c, size_t x)
{
    double f = 1;
    for (size_t y = 0; c->slow && y < c->running.count; y++)
        if (y != x)
            f *= slowdown_of(c->in, c->in->tasks.items[c->turns[c->running.items[x].turn].task].type,
                             c->in->tasks.items[c->turns[c->running.items[y].turn].task].type);
    return f;
}

static bool may_start(const struct clockwork *c, const struct fg_instance_task *t)
{
    if (c->v->capacity && c->running.count >= c->v->capacity)
        return false;
    if (c->v->capacity == 1 || c->running.count == 0)
        return true;
    if (t->memory_bytes > c->v->memory_bytes - c->memory || t->share_permille + c->share > 1000 || t->isolation == FG_ALONE)
        return false;
    for (size_t y = 0; y < c->running.count; y++) {
        const struct fg_instance_task *o = &c->in->tasks.items[c->turns[c->running.items[y].turn].task];
        if (o->isolation == FG_ALONE || ((o->isolation == FG_TENANT_ONLY || t->isolation == FG_TENANT_ONLY) && o->tenant != t->tenant))
            return false;
    }
    return true;
}

/* Let time run until the first one ends. Those that ended are taken out; false: that is later than anything may end. */
static bool run_until_end(struct clockwork *c, int64_t *now)
{
    double step = INFINITY;
    for (size_t x = 0; x < c->running.count; x++)
        step = fmin(step, c->running.items[x].left_ns * slowed(c, x));
    if (!(step <= (double)(FG_INSTANCE_END_MOST - *now)))
        return false;
    int64_t dt = (int64_t)ceil(step);
    size_t kept = 0;
    *now += dt;
    FG_AUTO_FREE double *rate = fg_realloc(NULL, c->running.count, sizeof *rate);
    for (size_t x = 0; x < c->running.count; x++)
        rate[x] = 1 / slowed(c, x);
    for (size_t x = 0; x < c->running.count; x++) {
        struct runner r = c->running.items[x];
        struct fg_turn *t = &c->turns[r.turn];
        r.left_ns -= (double)dt * rate[x];
        if (r.left_ns > 0.5) {
            c->running.items[kept++] = r;
            continue;
        }
        t->end_ns = *now;
        t->cost_nanousd = cost_of(r.price, t->end_ns - t->start_ns, r.hold_ppm);
        c->memory -= c->in->tasks.items[t->task].memory_bytes;
        c->share -= c->in->tasks.items[t->task].share_permille;
    }
    c->running.count = kept;
    return true;
}

static int by_turn(const void *a, const void *b, void *arg)
{
    const struct fg_instance *sorting = arg;
    const struct fg_turn *x = a, *y = b;
    bool gx = sorting->tasks.items[x->task].gang != 0, gy = sorting->tasks.items[y->task].gang != 0;
    int64_t dx = latest_end(sorting, x->task), dy = latest_end(sorting, y->task);
    if (gx != gy)
        return gx ? -1 : 1;
    if (dx != dy)
        return dx < dy ? -1 : 1;
    return x->end_ns != y->end_ns ? (x->end_ns < y->end_ns ? -1 : 1) : (x->task > y->task) - (x->task < y->task);
}

bool fg_instance_turns(const struct fg_instance *in, uint32_t vgpu, struct fg_turn *turns, size_t n)
{
    struct clockwork c = {.in = in, .v = &in->vgpus.items[vgpu], .turns = turns};
    int64_t now = 0;
    bool ok = true, in_time = true;
    if (n == 0)
        return true;
    c.slow = c.v->capacity != 1 && (in->slowdown > 1 || in->slowdowns.count > 0);
    for (size_t x = 0; x < n; x++)
        turns[x].end_ns = fg_instance_pair(in, turns[x].task, vgpu).time_ns, turns[x].cost_nanousd = 0;   /* the sort's second key */
    qsort_r(turns, n, sizeof *turns, by_turn, (void *)in);
    for (size_t x = 0; x < n; x++) {
        const struct fg_instance_task *t = &in->tasks.items[turns[x].task];
        struct fg_pair p = fg_instance_pair(in, turns[x].task, vgpu);
        if (p.block != FG_PAIR_OK) {
            ok = false;
            turns[x].start_ns = turns[x].end_ns = turns[x].cost_nanousd = 0;
            continue;
        }
        while (in_time && !may_start(&c, t))
            in_time = run_until_end(&c, &now);
        if (!in_time) {
            turns[x].start_ns = turns[x].end_ns = FG_INSTANCE_END_MOST + 1;
            continue;
        }
        turns[x].start_ns = now;
        ok &= now == 0 || (!t->gang && !in->at_once);
        fg_vec_push(&c.running, (struct runner){(uint32_t)x, (double)p.time_ns,
                                                p.spot ? c.v->spot_nanousd_per_h : c.v->price_nanousd_per_h, p.hold_ppm});
        c.memory += t->memory_bytes, c.share += t->share_permille;
    }
    while (in_time && c.running.count)
        in_time = run_until_end(&c, &now);
    for (size_t x = 0; x < c.running.count; x++)
        turns[c.running.items[x].turn].end_ns = FG_INSTANCE_END_MOST + 1;
    for (size_t x = 0; x < n; x++) {
        const struct fg_instance_task *t = &in->tasks.items[turns[x].task];
        ok &= turns[x].end_ns <= last_end(in, turns[x].task);
        ok &= t->budget_nanousd < 0 || turns[x].cost_nanousd <= t->budget_nanousd;
    }
    fg_vec_fini(&c.running);
    return ok;
}
