/* openb_core.c - an openb task list given to the control core, task by task, beside the packer on the same tasks.
 * usage: openb_core NODES.csv TASKS.csv [SEEDS]
 * The server's tasks are of one device and name one kind or none: so one of several GPUs is as many of one, each with its part of
 * the processor, and of several models the first named counts. Twice: with their cores and host memory beside the device, those
 * without GPU on the processor itself; and as if nobody asked for any, those without GPU left out. All kinds cost the same. What
 * finds no room is canceled. Prints `what  figure unit`, one a line. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/units.h"
#include "control/core.h"
#include "sim/trace/replay.h"

#define S FG_NS_PER_S
#define TB (UINT64_C(1) << 40)
#define GPU_MEMORY (4000 * TB)           /* and a thousandth for each task: more than any host has, so that none runs on a processor */

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void must(int rc, const struct fg_error *err)
{
    if (rc < 0) {
        fprintf(stderr, "openb_core: %s\n", err->text);
        exit(1);
    }
}

static char *read_all(const char *path)
{
    struct fg_str text = {0};
    char buf[65536];
    size_t n;
    FILE *f = fopen(path, "re");
    if (!f) {
        fprintf(stderr, "openb_core: %s: %m\n", path);
        exit(1);
    }
    while ((n = fread(buf, 1, sizeof buf, f)) > 0)
        fg_str_add(&text, buf, n);
    fclose(f);
    return fg_str_take(&text);
}

/* As the server can be asked: see above. */
static void reduce(struct fg_openb *trace, bool beside)
{
    __auto_type all = trace->tasks;
    memset(&trace->tasks, 0, sizeof trace->tasks);
    for (size_t i = 0; i < all.count; i++) {
        struct fg_pack_type *need = &all.items[i].need;
        uint32_t gpus = need->gpus;
        struct fg_pack_type one = {.gpus = gpus > 0, .gpu_milli = need->gpu_milli, .kinds = need->kinds & (0 - need->kinds)};
        if (beside) {
            one.cpu_milli = need->cpu_milli / FG_MAX(gpus, 1u);
            one.memory_bytes = need->memory_bytes / FG_MAX(gpus, 1u);
        }
        *need = one;
        for (uint32_t g = 0; g < (beside ? FG_MAX(gpus, 1u) : gpus); g++)
            fg_vec_push(&trace->tasks, all.items[i]);
    }
    free(all.items);
}

struct order { FG_VEC(uint32_t) tasks; };

static void keep(void *arg, uint32_t arrival, uint32_t task, const struct fg_pack_choice *at, bool moved)
{
    fg_vec_push(&((struct order *)arg)->tasks, task);
}

static uint64_t hello(struct fg_core *core, const struct fg_openb *trace, bool beside, struct fg_effects *fx)
{
    uint64_t milli = 0;
    for (size_t i = 0; i < trace->nodes.count; i++) {
        const struct fg_pack_node *n = &trace->nodes.items[i].is;
        struct fg_device d[FG_PACK_GPUS_MAX + 1];
        struct fg_node node = {.id = {1, i + 1}};
        struct fg_error err;
        snprintf(node.name, sizeof node.name, "%s", trace->nodes.items[i].name);
        for (uint32_t g = 0; g < n->gpus; g++) {
            d[g] = (struct fg_device){.memory_bytes = GPU_MEMORY, .units = 1, .healthy = true, .memory_level = FG_LEVEL_KERNEL};
            snprintf(d[g].name, sizeof d[g].name, "gpu%u", g);
            snprintf(d[g].kind, sizeof d[g].kind, "%s", trace->models.items[n->kind]);
            snprintf(d[g].backend, sizeof d[g].backend, "nvidia");
        }
        if (beside) {
            struct fg_device *cpu = &d[n->gpus];
            *cpu = (struct fg_device){.memory_bytes = n->memory_bytes, .units = (uint32_t)(n->cpu_milli / 1000), .healthy = true, .memory_level = FG_LEVEL_KERNEL};
            snprintf(cpu->name, sizeof cpu->name, "cpu0");
            snprintf(cpu->kind, sizeof cpu->kind, "cpu");
            snprintf(cpu->backend, sizeof cpu->backend, "cpu");
        }
        milli += n->gpus * 1000u;
        must(fg_core_handle(core, &(struct fg_input){.kind = FG_IN_NODE_HELLO, .hello = {.node = &node, .devices = d, .device_count = n->gpus + beside}}, S, fx, &err), &err);
    }
    fg_effects_clear(fx);
    return milli;
}

static void no_row(void *arg, const struct fg_task *task, const char *key, const char *doc) {}

static fg_id submit(struct fg_core *core, const struct fg_openb *trace, const struct fg_pack_type *need, uint64_t n, int64_t now, struct fg_effects *fx)
{
    struct fg_spec spec;
    struct fg_error err;
    fg_spec_defaults(&spec);
    spec.json = (char *)"{\"command\":[\"true\"],\"task_type\":\"command\"}";
    spec.program = (char *)"true";
    spec.need.memory_bytes = need->gpus ? GPU_MEMORY / 1000 : 1;
    spec.need.share_permille = FG_MAX(need->gpu_milli, 1u);
    spec.need.cpus_milli = (uint32_t)need->cpu_milli;
    spec.need.host_bytes = need->memory_bytes;
    if (!need->gpus)
        snprintf(spec.need.device_kind, sizeof spec.need.device_kind, "cpu");
    else if (need->kinds)
        snprintf(spec.need.device_kind, sizeof spec.need.device_kind, "%s", trace->models.items[__builtin_ctzll(need->kinds)]);
    fg_id id = {1000 + n, n};
    must(fg_core_handle(core, &(struct fg_input){.kind = FG_IN_SUBMIT, .task = id, .submit = {{7, 1}, &spec, NULL}}, now, fx, &err), &err);
    return id;
}

struct result { double at[2], seconds; size_t tasks; FG_VEC(uint32_t) each_us; };

static int by_time(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static void run_core(const struct fg_openb *trace, const struct order *order, bool beside, struct result *ret)
{
    static const struct fg_price price = {"", 1000000, 0};
    struct fg_core *core = fg_core_create(&(struct fg_core_config){.lease_ns = 300 * S, .lease_margin_ns = 10 * S, .window = 1000, .prices = &price,
                                          .price_count = 1, .half_life_ns = 86400 * S, .improve_iterations = 20000});
    struct fg_effects fx = {0};
    struct fg_error err;
    uint64_t milli = hello(core, trace, beside, &fx), asked = 0, taken = 0;
    double begin = now_s();
    for (size_t i = 0; i < order->tasks.count; i++) {
        const struct fg_pack_type *need = &trace->tasks.items[order->tasks.items[i]].need;
        int64_t now = S + (int64_t)i * 1000000;
        fg_id id = submit(core, trace, need, i + 1, now, &fx);
        double start = now_s();
        must(fg_core_dispatch(core, now, &fx, &err), &err);
        fg_vec_push(&ret->each_us, (uint32_t)((now_s() - start) * 1e6));
        if (fg_core_task(core, id)->state == FG_STATE_QUEUED)
            must(fg_core_handle(core, &(struct fg_input){.kind = FG_IN_CANCEL, .task = id}, now, &fx, &err), &err);
        else
            taken += need->gpu_milli;
        asked += need->gpu_milli;
        fg_core_changes(core, no_row, NULL);
        fg_effects_clear(&fx);
        for (int k = 0; k < 2; k++)
            if (asked * 100 <= milli * (k ? 130 : 100))
                ret->at[k] = 100 * (double)taken / (double)milli;
    }
    ret->seconds = now_s() - begin;
    ret->tasks = order->tasks.count;
    fg_effects_fini(&fx);
    fg_core_destroy(core);
}

static void compare(const char *nodes_path, const char *tasks_path, int seeds, bool beside)
{
    struct fg_openb trace;
    struct fg_error err;
    struct result sum = {0};
    double packer[3][2] = {{0}};
    const char *with = beside ? "with processor" : "without processor";
    char *nodes = read_all(nodes_path), *tasks = read_all(tasks_path);
    must(fg_openb_parse(nodes_path, nodes, strlen(nodes), tasks_path, tasks, strlen(tasks), &trace, &err), &err);
    reduce(&trace, beside);
    for (int s = 0; s < seeds; s++) {
        static const enum fg_pack_policy policies[] = {FG_PACK_FASTGPU, FG_PACK_FGD, FG_PACK_BESTFIT};
        struct order order = {0};
        for (int p = 0; p < 3; p++) {
            struct fg_replay r;
            order.tasks.count = 0;
            must(fg_replay_run(&trace, &(struct fg_replay_options){.policy = policies[p], .seed = 42 + (uint64_t)s, .learn_from_arrivals = true,
                               .step = keep, .step_arg = &order}, &r, &err), &err);
            packer[p][0] += r.allocation[100] / seeds;
            packer[p][1] += r.allocation[130] / seeds;
        }
        struct result one = {.each_us = sum.each_us};
        run_core(&trace, &order, beside, &one);
        sum.each_us.items = one.each_us.items;
        sum.each_us.count = one.each_us.count;
        sum.each_us.cap = one.each_us.cap;
        sum.at[0] += one.at[0] / seeds;
        sum.at[1] += one.at[1] / seeds;
        sum.seconds += one.seconds;
        sum.tasks += one.tasks;
        fg_vec_fini(&order.tasks);
    }
    for (int k = 0; k < 2; k++) {
        int at = k ? 130 : 100;
        printf("%s @%d: server's core  %.2f %%\n%s @%d: packer, fastgpu  %.2f %%\n%s @%d: packer, fgd  %.2f %%\n%s @%d: packer, best fit  %.2f %%\n",
               with, at, sum.at[k], with, at, packer[0][k], with, at, packer[1][k], with, at, packer[2][k]);
    }
    qsort(sum.each_us.items, sum.each_us.count, sizeof *sum.each_us.items, by_time);
    printf("%s: decisions of the core, submit and round  %.0f /s\n", with, (double)sum.tasks / sum.seconds);
    printf("%s: a round, 99th percentile  %u us\n", with, sum.each_us.items[sum.each_us.count * 99 / 100]);
    fg_vec_fini(&sum.each_us);
    fg_openb_fini(&trace);
    free(nodes);
    free(tasks);
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: openb_core NODES.csv TASKS.csv [SEEDS]\n");
        return 2;
    }
    for (int beside = 1; beside >= 0; beside--)
        compare(argv[1], argv[2], argc > 3 ? atoi(argv[3]) : 2, beside);
    return 0;
}
