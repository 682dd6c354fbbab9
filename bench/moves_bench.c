/* moves_bench.c - what moving running tasks brings: machines of 8 devices with a queue of shares and whole devices, in simulated
 * time, with agents that can move and with ones that cannot (decision 0058). The same arrivals, the same run times.
 * usage: moves_bench [STARTS [SEEDS]]
 * A move takes 2 s and 1 s a GiB, its task stands still meanwhile and ends as much later. Prints `what  figure unit`, one a line. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/units.h"
#include "control/core.h"

#define S FG_NS_PER_S
#define GB (UINT64_C(1) << 30)
#define DEVICES 8
#define MACHINES 4
#define MEAN_S 600.0
#define LOAD 0.92                        /* of what the devices could do */

struct job { fg_id id; uint32_t share; int64_t came_ns, run_ns, end_ns, moved_ns; uint64_t epoch; bool live, moving, waits; };
struct sum { double wait_s; size_t n; };
struct bench {
    struct fg_core *core;
    struct fg_effects fx;
    struct fg_error err;
    uint64_t rng;
    int64_t now_ns, next_ns, busy_us, still_us;
    FG_VEC(struct job) jobs;
    struct sum whole, shares;
    size_t starts, moves;
    double worst_s, cpu_s;
};

static void must(int rc, const struct fg_error *err)
{
    if (rc < 0) {
        fprintf(stderr, "moves_bench: %s\n", err->text);
        exit(1);
    }
}

static double draw(struct bench *b)      /* splitmix64, in (0, 1] */
{
    uint64_t z = (b->rng += 0x9e3779b97f4a7c15u);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return ((double)((z ^ z >> 31) >> 11) + 1) / 9007199254740992.0;
}

static void input(struct bench *b, struct fg_input in) { must(fg_core_handle(b->core, &in, b->now_ns, &b->fx, &b->err), &b->err); }

static void hello(struct bench *b, bool moves)
{
    for (uint64_t m = 0; m < MACHINES; m++) {
        struct fg_device d[DEVICES] = {0};
        struct fg_node node = {.id = {1, m + 1}};
        for (int i = 0; i < DEVICES; i++) {
            d[i] = (struct fg_device){.memory_bytes = 80 * GB, .units = 100, .healthy = true, .moves = moves};
            snprintf(d[i].name, sizeof d[i].name, "dev%d", i);
            snprintf(d[i].kind, sizeof d[i].kind, "gpu");
            snprintf(d[i].backend, sizeof d[i].backend, "nvidia");
        }
        input(b, (struct fg_input){.kind = FG_IN_NODE_HELLO, .hello = {.node = &node, .devices = d, .device_count = DEVICES}});
    }
}

/* As in openb's default list, roughly: half of the tasks take whole devices, the others parts of one. */
static uint32_t share_of(double u)
{
    static const struct { double to; uint32_t share; } parts[] = {{.5, 1000}, {.58, 810}, {.68, 470}, {.78, 460}, {.86, 300}, {.94, 200}, {1, 100}};
    size_t i = 0;
    while (u > parts[i].to)
        i++;
    return parts[i].share;
}

#define MEAN_SHARE (.5 * 1 + .08 * .81 + .1 * .47 + .1 * .46 + .08 * .3 + .08 * .2 + .06 * .1)

static void arrive(struct bench *b)
{
    struct fg_spec spec;
    struct job j = {.id = {1000, b->jobs.count + 1}, .share = share_of(draw(b)), .came_ns = b->now_ns, .waits = true};
    j.run_ns = (int64_t)(-log(draw(b)) * MEAN_S * 1e9);
    fg_spec_defaults(&spec);
    spec.need.share_permille = j.share;
    spec.need.memory_bytes = j.share * 80 * GB / 1000;
    spec.json = (char *)"{}";
    spec.program = (char *)"train";
    spec.limits.run_ns = 0;
    input(b, (struct fg_input){.kind = FG_IN_SUBMIT, .task = j.id, .submit = {{7, 7}, &spec, NULL}});
    fg_vec_push(&b->jobs, j);
    b->next_ns = b->now_ns + (int64_t)(-log(draw(b)) * MEAN_S * MEAN_SHARE / (LOAD * DEVICES * MACHINES) * 1e9);
}

static struct fg_input report(const struct bench *b, const struct job *j, enum fg_report_kind kind)
{
    const struct fg_task *t = fg_core_task(b->core, j->id);
    return (struct fg_input){.kind = FG_IN_REPORT, .task = j->id, .report = {.node = t->lease.node, .attempt = t->attempt, .epoch = t->lease.epoch, .kind = kind}};
}

static void start(struct bench *b, struct job *j)
{
    struct sum *sum = j->share == 1000 ? &b->whole : &b->shares;
    double wait = (double)(b->now_ns - j->came_ns) / 1e9;
    input(b, report(b, j, FG_REPORT_STARTED));
    j->live = true;
    j->waits = false;
    j->end_ns = b->now_ns + j->run_ns;
    if (++b->starts < 1000)              /* until it is full */
        return;
    sum->wait_s += wait;
    sum->n++;
    b->worst_s = wait > b->worst_s ? wait : b->worst_s;
}

static void move(struct bench *b, struct job *j)
{
    int64_t took = 2 * S + (int64_t)(j->share * 80 / 1000) * S;
    j->moving = true;
    j->moved_ns = b->now_ns + took;
    j->end_ns += took;
    b->still_us += took / 1000 * j->share / 1000;
    b->moves++;
}

static void moved(struct bench *b, struct job *j)
{
    const struct fg_lease *l = &fg_core_task(b->core, j->id)->lease;
    struct fg_input in = report(b, j, FG_REPORT_PARKING);
    in.report.parking.parking = FG_PARKING_CALLED;
    in.report.parking.bytes = l->memory_bytes;
    snprintf(in.report.parking.device, sizeof in.report.parking.device, "%s", fg_core_device(b->core, l->device)->name);
    input(b, in);
    in.report.parking.parking = FG_PARKING_NONE;
    in.report.parking.moved = true;
    snprintf(in.report.parking.device, sizeof in.report.parking.device, "%s", fg_core_device(b->core, l->moving_to)->name);
    input(b, in);
    j->moving = false;
}

static void end(struct bench *b, struct job *j)
{
    struct fg_outcome o = {.state = FG_STATE_SUCCEEDED, .run_ns = j->run_ns};
    struct fg_input in = report(b, j, FG_REPORT_FINISHED);
    in.report.outcome = &o;
    input(b, in);
    j->live = false;
    b->busy_us += j->run_ns / 1000 * j->share / 1000;
}

static void perform(struct bench *b)
{
    struct timespec from, to;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
    must(fg_core_dispatch(b->core, b->now_ns, &b->fx, &b->err), &b->err);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
    b->cpu_s += (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9;
    for (size_t i = 0; i < b->fx.actions.count; i++) {
        const struct fg_action a = b->fx.actions.items[i];
        struct job *j = a.kind == FG_ACT_START || a.kind == FG_ACT_MOVE ? &b->jobs.items[a.task.lo - 1] : NULL;
        if (j && a.kind == FG_ACT_START)
            start(b, j);
        else if (j && !j->moving)
            move(b, j);
    }
    fg_effects_clear(&b->fx);
}

/* What comes next: an arrival, an end, the end of a move, a heartbeat. */
static void step(struct bench *b, size_t *live_from)
{
    struct job *next = NULL;
    int64_t at = b->next_ns, beat = (b->now_ns / (5 * S) + 1) * 5 * S;
    while (*live_from < b->jobs.count && !b->jobs.items[*live_from].live && !b->jobs.items[*live_from].waits)
        ++*live_from;
    for (size_t i = *live_from; i < b->jobs.count; i++) {
        struct job *j = &b->jobs.items[i];
        int64_t when = !j->live ? INT64_MAX : j->moving ? j->moved_ns : j->end_ns;
        if (when < at)
            at = when, next = j;
    }
    b->now_ns = at < beat ? at : beat;
    if (at > beat)
        for (uint64_t m = 0; m < MACHINES; m++)
            input(b, (struct fg_input){.kind = FG_IN_NODE_ALIVE, .node = {{1, m + 1}}});
    else if (!next)
        arrive(b);
    else if (next->moving)
        moved(b, next);
    else
        end(b, next);
    perform(b);
}

static void run(size_t starts, uint64_t seed, bool moves)
{
    static const struct fg_price price = {"", 1000000};
    size_t from = 0;
    struct bench b = {.now_ns = 1000 * S, .rng = seed};
    b.core = fg_core_create(&(struct fg_core_config){.lease_ns = 300 * S, .lease_margin_ns = 10 * S, .window = 1000, .prices = &price, .price_count = 1,
                                                     .half_life_ns = 86400 * S, .improve_iterations = 0});
    hello(&b, moves);
    b.next_ns = b.now_ns;
    while (b.starts < starts)
        step(&b, &from);
    struct fg_plan_stats stats;
    fg_core_plan_stats(b.core, &stats);
    double all = (double)(b.now_ns / 1000 - 1000000000) * DEVICES * MACHINES;
    printf("seed %llu, %s\n", (unsigned long long)seed, moves ? "moves" : "no moves");
    printf("  wait of whole devices    %8.1f s\n  wait of shares           %8.1f s\n  longest wait             %8.1f s\n", b.whole.wait_s / (double)b.whole.n,
           b.shares.wait_s / (double)b.shares.n, b.worst_s);
    printf("  devices at work          %8.2f %%\n  moves                    %8.2f of 100 starts\n  chains                   %8llu\n  stood still              %8.4f %%\n",
           100 * (double)b.busy_us / all, 100 * (double)b.moves / (double)b.starts, (unsigned long long)stats.chains, 100 * (double)b.still_us / all);
    printf("  planning                 %8.1f us a start\n", 1e6 * b.cpu_s / (double)b.starts);
    fg_effects_fini(&b.fx);
    fg_vec_fini(&b.jobs);
    fg_core_destroy(b.core);
}

int main(int argc, char **argv)
{
    size_t starts = argc > 1 ? strtoul(argv[1], NULL, 10) : 20000;
    uint64_t seeds = argc > 2 ? strtoul(argv[2], NULL, 10) : 3;
    for (uint64_t seed = 42; seed < 42 + seeds; seed++)
        for (int moves = 0; moves < 2; moves++)
            run(starts, seed, moves);
    return 0;
}
