/* fill.c - what tasks will still take of a node's GPUs (plan/pack/fill.c). */
#include <math.h>

#include "plan/pack/private.h"
#include "unit.h"

static struct fg_pack *make(enum fg_pack_policy policy)
{
    return fg_pack_create(&(struct fg_pack_options){.policy = policy, .seed = 1});
}

static void add(struct fg_pack *p, int64_t cpu, uint64_t memory, uint32_t gpus)
{
    uint32_t at;
    struct fg_error err = {0};
    assert_ok(fg_pack_add_node(p, &(struct fg_pack_node){cpu, memory, gpus, 0, 0}, &at, &err), err);
}

static uint32_t type(struct fg_pack *p, const struct fg_pack_type *t)
{
    uint32_t at;
    struct fg_error err = {0};
    assert_ok(fg_pack_type_of(p, t, &at, &err), err);
    return at;
}

/* fill.c once more, as a plain recursion: whole cores of a node of 256, whole GPUs. */
static double filled(const struct fg_pack_type *t, const double *rate, int n, int cpu, int gpus)
{
    double sum = 0, fit = 0, all = 0;
    for (int i = 0; i < n; i++) {
        int needs = (int)(t[i].cpu_milli / 1000), takes = (int)t[i].gpus;
        all += rate[i];
        if (needs > cpu || takes > gpus)
            continue;
        fit += rate[i];
        sum += rate[i] * (1000.0 * takes + filled(t, rate, n, cpu - needs, gpus - takes));
    }
    return gpus > 0 && fit > 0 ? sum / (fit + 0.05 * all) : 0;
}

static void what_will_be_filled_is_the_recursion_by_hand(void **state)
{
    const struct fg_pack_type types[] = {{3000, 0, 1, 1000, 0, 0}, {5000, 0, 2, 1000, 0, 0}, {4000, 0, 0, 0, 0, 0}};
    const double rate[] = {5, 2, 3};
    struct fg_pack *p = make(FG_PACK_FASTGPU);
    add(p, 256000, 1ull << 38, 4);
    for (int i = 0; i < 3; i++)
        fg_pack_expect(p, type(p, &types[i]), (uint64_t)rate[i] * 1000);
    pk_ready(p);
    double weight = p->fill.table[0].weight;
    assert_true(weight > 0);
    for (int cpu = 0; cpu <= 24; cpu++)
        for (int gpus = 0; gpus <= 4; gpus++) {
            struct pk_room room = {.cpu = cpu * 1000, .memory = INT64_C(1) << 38, .gpus = 4};
            for (int g = 0; g < gpus; g++)
                room.milli[g] = 1000;
            double expected = filled(types, rate, 3, cpu, gpus);
            assert_true(fabs(pk_fill_at(&p->fill, &room) / weight - expected) <= 1e-3 * expected + 1e-6);
        }
    fg_pack_destroy(p);
}

/* 8 nodes of 16 cores and 8 GPUs. Those with a GPU want 2 cores, those without 9: processor runs out long before the GPUs do. One of the
 * latter per node, and 3 GPUs are used; none, and 8 are. With 5 GPUs used, 6 cores are left, in which nobody without GPU fits. So whoever
 * has a GPU goes where a task of 9 cores could still go, and not beside others as best fit has it: it must find no node that takes it. */
static void processor_that_runs_out_is_kept_for_those_with_gpus(void **state)
{
    uint32_t used[2];
    for (int i = 0; i < 2; i++) {
        struct fg_pack *p = make(i ? FG_PACK_FASTGPU : FG_PACK_BESTFIT);
        struct fg_pack_choice c;
        for (int n = 0; n < 8; n++)
            add(p, 16000, 1ull << 38, 8);
        uint32_t gpu = type(p, &(struct fg_pack_type){2000, 1ull << 30, 1, 1000, 0, 0}),
                 none = type(p, &(struct fg_pack_type){9000, 1ull << 30, 0, 0, 0, 0});
        fg_pack_expect(p, gpu, 500);
        fg_pack_expect(p, none, 500);
        for (int t = 0; t < 200; t++)
            if (fg_pack_best(p, t % 5 == 4 ? none : gpu, &c))
                fg_pack_place(p, t % 5 == 4 ? none : gpu, &c);
        struct fg_pack_totals totals = fg_pack_totals(p);
        used[i] = (uint32_t)((totals.gpu_milli - totals.gpu_milli_free) / FG_PACK_DEVICE);
        fg_pack_destroy(p);
    }
    assert_true(used[1] > used[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_will_be_filled_is_the_recursion_by_hand),
        cmocka_unit_test(processor_that_runs_out_is_kept_for_those_with_gpus),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
