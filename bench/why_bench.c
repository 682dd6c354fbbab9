/* why_bench.c - is the band of `fgpu why` as wide as it says? The core in a world of its own clock: tasks of programs whose run times
 * are drawn anew each time (log-normal, as real ones roughly are), asked at random moments when they will start, and watched until they do.
 * usage: why_bench [SEEDS [FIRST]]   Prints one line a scene: of how many starts 80 % bands held, how many came before and after
 * them, how far the median was off, and how wide the band is. No clock is read: the same seeds, the same figures. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "control/core.h"

#define S FG_NS_PER_S
#define GB (UINT64_C(1) << 30)

struct scene {
    const char *name;
    size_t devices, programs, tenants, tasks;
    double load;                         /* 0: all tasks come at the start; else arrivals, at this part of what the devices do */
    double sigma;                        /* of ln(run time) of one program; programs differ by 2 in the middle */
    int shares[4];                       /* permille, drawn evenly */
    int priorities;                      /* 1: all normal; 3: all of them */
    int gang;                            /* every tenth submit is a gang of so many; 0: none */
    bool fresh;                          /* nothing was seen before */
};
static const struct scene scenes[] = {
    {"one device, one at a time", 1, 4, 1, 60, 0, 0.3, {1000, 1000, 1000, 1000}, 1, 0, false},
    {"one device, slices", 1, 4, 1, 120, 0, 0.3, {250, 250, 250, 250}, 1, 0, false},
    {"one device, mixed slices", 1, 6, 1, 120, 0, 0.5, {100, 250, 500, 1000}, 1, 0, false},
    {"8 devices, whole", 8, 8, 1, 200, 0, 0.5, {1000, 1000, 1000, 1000}, 1, 0, false},
    {"8 devices, mixed slices", 8, 8, 1, 400, 0, 0.5, {100, 250, 500, 1000}, 1, 0, false},
    {"8 devices, long tails", 8, 8, 1, 300, 0, 1.0, {250, 500, 1000, 1000}, 1, 0, false},
    {"8 devices, 3 tenants", 8, 9, 3, 400, 0, 0.5, {250, 250, 500, 1000}, 1, 0, false},
    {"8 devices, 3 tenants, priorities", 8, 9, 3, 400, 0, 0.5, {250, 250, 500, 1000}, 3, 0, false},
    {"8 devices, gangs of 4", 8, 8, 2, 300, 0, 0.5, {250, 500, 1000, 1000}, 1, 4, false},
    {"64 devices, mixed slices", 64, 20, 4, 2000, 0, 0.7, {100, 250, 500, 1000}, 1, 0, false},
    {"8 devices, never seen", 8, 8, 1, 200, 0, 0.5, {250, 500, 1000, 1000}, 1, 0, true},
    {"8 devices, arrivals, one tenant", 8, 8, 1, 600, 1.05, 0.5, {250, 500, 1000, 1000}, 1, 0, false},
    {"8 devices, arrivals, 3 tenants", 8, 8, 3, 600, 1.05, 0.5, {250, 500, 1000, 1000}, 1, 0, false},
    {"8 devices, arrivals, priorities", 8, 8, 3, 600, 1.05, 0.5, {250, 500, 1000, 1000}, 3, 0, false},
};

struct ending { int64_t at; fg_id task; };
struct asked { fg_id task; int64_t at, p10, p50, p90; size_t place; };
static struct world {
    const struct scene *scene;
    struct fg_core *core;
    struct fg_effects fx;
    uint64_t rng, ids;
    int64_t now;
    FG_VEC(struct ending) running;       /* a heap would be quicker; hundreds are few */
    FG_VEC(struct asked) asked;
    double mean_s[32];                   /* by program */
} w;
static struct { size_t asked, none, held, before, after; double off, width; FG_VEC(double) offs, widths; size_t by_place[4][2]; } score;

static uint64_t rnd(void)
{
    uint64_t z = (w.rng += 0x9e3779b97f4a7c15u);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}
static double unit(void) { return ((double)(rnd() >> 11) + 0.5) / 9007199254740992.0; }
static double normal(void) { return sqrt(-2 * log(unit())) * cos(2 * 3.14159265358979323846 * unit()); }

static void must(int rc, const struct fg_error *err)
{
    if (rc < 0) {
        fprintf(stderr, "why_bench: %s\n", err->text);
        exit(1);
    }
}

static void handle(const struct fg_input *in)
{
    struct fg_error err;
    must(fg_core_handle(w.core, in, w.now, &w.fx, &err), &err);
}

static void submit(size_t program, int priority, int share, int gang)
{
    char name[32], json[200];
    struct fg_spec spec;
    size_t n = gang ? (size_t)gang : 1;
    fg_id first = FG_ID_NONE, tenant = {7, 1 + program % w.scene->tenants};
    fg_spec_defaults(&spec);
    snprintf(name, sizeof name, "program-%zu", program);
    snprintf(json, sizeof json, "{\"command\":[\"%s\"],\"task_type\":\"command\"}", name);
    spec.json = json, spec.program = name, spec.priority = (enum fg_priority)priority;
    spec.need.memory_bytes = GB, spec.need.share_permille = (uint32_t)share;
    spec.limits.run_ns = 30 * 86400 * S;
    for (size_t x = 0; x < n; x++) {
        fg_id id = {1000 + ++w.ids, w.ids};
        first = x ? first : id;
        if (gang)
            spec.array_size = (uint32_t)n, spec.array_index = (uint32_t)x, spec.array = first, spec.gang = true;
        handle(&(struct fg_input){.kind = FG_IN_SUBMIT, .task = id, .submit = {tenant, &spec, NULL}});
    }
}

static void no_row(void *arg, const struct fg_task *task, const char *key, const char *doc) {}

static int64_t run_time(const struct fg_task *t)
{
    size_t program = strtoul(t->spec.program + 8, NULL, 10);
    return (int64_t)(w.mean_s[program] * exp(w.scene->sigma * normal()) * 1e9 * 1000 / t->lease.share_permille) + 1;
}

/* A start against what was said of it. */
static void started(fg_id id)
{
    for (size_t x = 0; x < w.asked.count; x++) {
        const struct asked *a = &w.asked.items[x];
        if (!fg_id_eq(a->task, id))
            continue;
        double wait = (double)(w.now - a->at);
        bool before = w.now < a->p10, after = w.now > a->p90;
        score.before += before, score.after += after, score.held += !before && !after;
        fg_vec_push(&score.offs, fabs((double)(w.now - a->p50)) / fmax(wait, 1));
        fg_vec_push(&score.widths, (double)(a->p90 - a->p10) / fmax(wait, 1));
        int bucket = a->place <= 3 ? 0 : a->place <= 20 ? 1 : a->place <= 100 ? 2 : 3;
        score.by_place[bucket][0]++, score.by_place[bucket][1] += !before && !after;
        w.asked.items[x--] = w.asked.items[--w.asked.count];
    }
}

static void turn(void)
{
    struct fg_error err;
    must(fg_core_dispatch(w.core, w.now, &w.fx, &err), &err);
    for (size_t i = 0; i < w.fx.actions.count; i++) {
        const struct fg_action act = w.fx.actions.items[i];
        const struct fg_task *t = fg_core_task(w.core, act.task);
        if (act.kind != FG_ACT_START)
            continue;
        started(act.task);
        fg_vec_push(&w.running, (struct ending){w.now + run_time(t), act.task});
        handle(&(struct fg_input){.kind = FG_IN_REPORT, .task = act.task,
                                  .report = {.node = act.node, .attempt = act.attempt, .epoch = act.epoch, .kind = FG_REPORT_STARTED}});
    }
    fg_core_changes(w.core, no_row, NULL);
    fg_effects_clear(&w.fx);
}

static void end_first(size_t x)
{
    fg_id id = w.running.items[x].task;
    const struct fg_task *t = fg_core_task(w.core, id);
    struct fg_outcome o = {.state = FG_STATE_SUCCEEDED, .run_ns = w.now - t->started_ns};
    w.running.items[x] = w.running.items[--w.running.count];
    handle(&(struct fg_input){.kind = FG_IN_REPORT, .task = id, .report = {.node = t->lease.node, .attempt = t->attempt, .epoch = t->lease.epoch,
                                                                           .kind = FG_REPORT_FINISHED, .outcome = &o}});
    fg_core_evict(w.core, &id, 1);
}

/* Let time run to until_ns, or to the last end (INT64_MAX). */
static void run_until(int64_t until)
{
    for (;;) {
        size_t first = SIZE_MAX;
        for (size_t x = 0; x < w.running.count; x++)
            if (first == SIZE_MAX || w.running.items[x].at < w.running.items[first].at)
                first = x;
        int64_t tick = fg_core_next_deadline(w.core), at = first == SIZE_MAX ? INT64_MAX : w.running.items[first].at;
        if (first == SIZE_MAX && until == INT64_MAX)
            return;
        if (FG_MIN(at, tick) > until) {
            w.now = FG_MAX(w.now, until);
            return;
        }
        w.now = FG_MAX(w.now, FG_MIN(at, tick));
        if (tick < at)
            handle(&(struct fg_input){.kind = FG_IN_TICK});
        else
            end_first(first);
        turn();
    }
}

static void ask(fg_id id)
{
    struct fg_forecast f;
    const struct fg_task *t = fg_core_task(w.core, id);
    if (!t || t->state != FG_STATE_QUEUED)
        return;
    score.asked++;
    if (!fg_core_forecast(w.core, id, w.now, &f)) {
        score.none++;
        return;
    }
    fg_vec_push(&w.asked, (struct asked){id, w.now, f.p10_ns, f.p50_ns, f.p90_ns, fg_core_position(w.core, id, w.now)});
}

static void ask_some(uint64_t since, size_t n)
{
    for (size_t x = 0; x < n && w.ids > since; x++) {
        uint64_t k = since + 1 + rnd() % (w.ids - since);
        ask((fg_id){1000 + k, k});
    }
}

static void start_world(const struct scene *scene, uint64_t seed)
{
    static const struct fg_price price = {"", 1000000, 0};
    struct fg_node node = {.id = {1, 1}, .name = "node"};
    struct fg_device d[64];
    w.scene = scene, w.rng = seed * 7919, w.ids = 0, w.now = 1000 * S;
    w.core = fg_core_create(&(struct fg_core_config){.lease_ns = INT64_C(4000000000) * S / 4, .lease_margin_ns = 10 * S, .window = 1000, .prices = &price,
                                                     .price_count = 1, .half_life_ns = 86400 * S, .improve_iterations = 2000});
    for (size_t k = 0; k < scene->devices; k++) {
        d[k] = (struct fg_device){.memory_bytes = 80 * GB, .units = 1, .healthy = true, .memory_level = FG_LEVEL_KERNEL};
        snprintf(d[k].name, sizeof d[k].name, "dev%zu", k);
        snprintf(d[k].kind, sizeof d[k].kind, "card");
    }
    handle(&(struct fg_input){.kind = FG_IN_NODE_HELLO, .hello = {.node = &node, .devices = d, .device_count = scene->devices}});
    double all = normal();               /* what was never seen is as the prior of estimate.c has it: median 19.5 s, sigma 1.5 */
    for (size_t p = 0; p < scene->programs; p++)
        w.mean_s[p] = scene->fresh ? 19.5 * exp(1.06 * all + 1.06 * normal()) : 300 * exp(0.7 * normal());
    for (size_t p = 0; !scene->fresh && p < scene->programs * 12; p++)
        submit(p % scene->programs, 1, scene->shares[rnd() % 4], 0);
    turn();
    run_until(INT64_MAX);                /* what was seen before */
    w.now += 30 * 86400 * S;             /* and is long ago */
}

static void one_submit(size_t x)
{
    const struct scene *s = w.scene;
    size_t program = rnd() % s->programs;
    int priority = s->priorities == 3 ? (int)(rnd() % 3) : 1, share = s->shares[rnd() % 4];
    submit(program, priority, share, s->gang && x % 10 == 0 ? s->gang : 0);
}

static void play(const struct scene *s, uint64_t seed)
{
    start_world(s, seed);
    uint64_t since = w.ids;
    double mean = 0;
    for (size_t p = 0; p < s->programs; p++)
        mean += w.mean_s[p] * exp(s->sigma * s->sigma / 2) / (double)s->programs;
    if (s->load > 0)                     /* work is the same at any share: mean device seconds a task */
        for (size_t x = 0; x < s->tasks; x++) {
            run_until(w.now + (int64_t)(-log(unit()) * mean / (s->load * (double)s->devices) * 1e9));
            one_submit(x);
            turn();
            if (x > s->tasks / 10 && x % 5 == 0)
                ask_some(w.ids > since + 60 ? w.ids - 60 : since, 2);
        }
    for (size_t x = 0; s->load == 0 && x < s->tasks; x++)
        one_submit(x);
    turn();
    if (s->load == 0)
        ask_some(since, s->tasks / 8);
    while (w.running.count) {            /* on the way down, too */
        run_until(w.now + (int64_t)(mean * 2e9));
        if (s->load == 0)
            ask_some(since, 3);
    }
    fg_core_destroy(w.core);
    w.asked.count = w.running.count = 0;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    uint64_t seeds = argc > 1 ? strtoull(argv[1], NULL, 10) : 10, first = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    printf("%-36s %6s %6s %7s %6s %8s %6s   by place: 1-3, -20, -100, beyond\n", "scene", "starts", "held %", "early %", "late %", "off %", "width %");
    for (size_t x = 0; x < sizeof scenes / sizeof *scenes; x++) {
        score.asked = score.none = score.held = score.before = score.after = score.offs.count = score.widths.count = 0;
        memset(score.by_place, 0, sizeof score.by_place);
        for (uint64_t seed = first; seed < first + seeds; seed++)
            play(&scenes[x], seed);
        double n = (double)FG_MAX(score.offs.count, (size_t)1);
        qsort(score.offs.items, score.offs.count, sizeof(double), by_value);
        qsort(score.widths.items, score.widths.count, sizeof(double), by_value);
        printf("%-36s %6.0f %6.1f %7.1f %6.1f %8.1f %6.0f  ", scenes[x].name, n, 100 * (double)score.held / n, 100 * (double)score.before / n,
               100 * (double)score.after / n, 100 * score.offs.items[score.offs.count / 2], 100 * score.widths.items[score.widths.count / 2]);
        for (int k = 0; k < 4; k++)
            printf(score.by_place[k][0] ? " %3.0f" : "   -", 100 * (double)score.by_place[k][1] / (double)FG_MAX(score.by_place[k][0], (size_t)1));
        printf(score.none ? "  (%zu not told)\n" : "\n", score.none);
    }
    return 0;
}
