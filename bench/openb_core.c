/* openb_core.c - an openb task list given to the control core, task by task, beside the packer on the same tasks.
 * usage: openb_core NODES.csv TASKS.csv [SEEDS]
 * The server's tasks are of one device and name one kind or none, and it knows no processor need: so tasks without GPU are left
 * out, one of several GPUs is as many of one, and of several models the first named counts. All kinds cost the same. What finds no
 * room is canceled. Prints `what  figure unit`, one a line. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/units.h"
#include "control/core.h"
#include "sim/trace/replay.h"

#define S FG_NS_PER_S
#define GB (UINT64_C(1) << 30)

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
static void reduce(struct fg_openb *trace)
{
    __auto_type all = trace->tasks;
    memset(&trace->tasks, 0, sizeof trace->tasks);
    for (size_t i = 0; i < all.count; i++) {
        struct fg_pack_type *need = &all.items[i].need;
        uint32_t gpus = need->gpus;
        *need = (struct fg_pack_type){.gpus = 1, .gpu_milli = need->gpu_milli, .kinds = need->kinds & (0 - need->kinds)};
        for (uint32_t g = 0; g < gpus; g++)
            fg_vec_push(&trace->tasks, all.items[i]);
    }
    free(all.items);
}

struct order { FG_VEC(uint32_t) tasks; };

static void keep(void *arg, uint32_t arrival, uint32_t task, const struct fg_pack_choice *at, bool moved)
{
    fg_vec_push(&((struct order *)arg)->tasks, task);
}

static uint64_t hello(struct fg_core *core, const struct fg_openb *trace, struct fg_effects *fx)
{
    uint64_t milli = 0;
    for (size_t i = 0; i < trace->nodes.count; i++) {
        const struct fg_pack_node *n = &trace->nodes.items[i].is;
        struct fg_device d[FG_PACK_GPUS_MAX];
        struct fg_node node = {.id = {1, i + 1}};
        struct fg_error err;
        snprintf(node.name, sizeof node.name, "%s", trace->nodes.items[i].name);
        for (uint32_t g = 0; g < n->gpus; g++) {
            d[g] = (struct fg_device){.memory_bytes = 100 * GB, .units = 1, .healthy = true, .memory_level = FG_LEVEL_KERNEL};
            snprintf(d[g].name, sizeof d[g].name, "gpu%u", g);
            snprintf(d[g].kind, sizeof d[g].kind, "%s", trace->models.items[n->kind]);
        }
        milli += n->gpus * 1000u;
        must(fg_core_handle(core, &(struct fg_input){.kind = FG_IN_NODE_HELLO, .hello = {.node = &node, .devices = d, .device_count = n->gpus}}, S, fx, &err), &err);
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
    spec.need.memory_bytes = GB;
    spec.need.share_permille = need->gpu_milli;
    if (need->kinds)
        snprintf(spec.need.device_kind, sizeof spec.need.device_kind, "%s", trace->models.items[__builtin_ctzll(need->kinds)]);
    fg_id id = {1000 + n, n};
    must(fg_core_handle(core, &(struct fg_input){.kind = FG_IN_SUBMIT, .task = id, .submit = {{7, 1}, &spec, NULL}}, now, fx, &err), &err);
    return id;
}

struct result { double at[2], seconds; size_t tasks; };

static void run_core(const struct fg_openb *trace, const struct order *order, struct result *ret)
{
    static const struct fg_price price = {"", 1000000, 0};
    struct fg_core *core = fg_core_create(&(struct fg_core_config){.lease_ns = 300 * S, .lease_margin_ns = 10 * S, .window = 1000, .prices = &price,
                                          .price_count = 1, .half_life_ns = 86400 * S, .improve_iterations = 20000});
    struct fg_effects fx = {0};
    struct fg_error err;
    uint64_t milli = hello(core, trace, &fx), asked = 0, taken = 0;
    double begin = now_s();
    for (size_t i = 0; i < order->tasks.count; i++) {
        const struct fg_pack_type *need = &trace->tasks.items[order->tasks.items[i]].need;
        int64_t now = S + (int64_t)i * 1000000;
        fg_id id = submit(core, trace, need, i + 1, now, &fx);
        must(fg_core_dispatch(core, now, &fx, &err), &err);
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

int main(int argc, char **argv)
{
    struct fg_openb trace;
    struct fg_error err;
    struct result sum = {0};
    double packer[3][2] = {{0}};
    if (argc < 3) {
        fprintf(stderr, "usage: openb_core NODES.csv TASKS.csv [SEEDS]\n");
        return 2;
    }
    int seeds = argc > 3 ? atoi(argv[3]) : 2;
    char *nodes = read_all(argv[1]), *tasks = read_all(argv[2]);
    must(fg_openb_parse(argv[1], nodes, strlen(nodes), argv[2], tasks, strlen(tasks), &trace, &err), &err);
    reduce(&trace);
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
        struct result one = {0};
        run_core(&trace, &order, &one);
        sum.at[0] += one.at[0] / seeds;
        sum.at[1] += one.at[1] / seeds;
        sum.seconds += one.seconds;
        sum.tasks += one.tasks;
        fg_vec_fini(&order.tasks);
    }
    for (int k = 0; k < 2; k++)
        printf("@%d: server's core  %.2f %%\n@%d: packer, fastgpu  %.2f %%\n@%d: packer, fgd  %.2f %%\n@%d: packer, best fit  %.2f %%\n", k ? 130 : 100, sum.at[k],
               k ? 130 : 100, packer[0][k], k ? 130 : 100, packer[1][k], k ? 130 : 100, packer[2][k]);
    printf("decisions of the core, submit and round  %.0f /s\n", (double)sum.tasks / sum.seconds);
    fg_openb_fini(&trace);
    free(nodes);
    free(tasks);
    return 0;
}
