/* trace.c - traces are read exactly or refused with file and line; a replay obeys every limit, and is the same for the same seed. */
#include "sim/trace/churn.h"
#include "sim/trace/plot.h"
#include "sim/trace/random.h"
#include "sim/trace/replay.h"

#include "random.h"
#include "unit.h"

#define NODES "sn,cpu_milli,memory_mib,gpu,model\n"
#define TASKS "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec\n"

static int parse(const char *nodes, const char *tasks, struct fg_openb *o, struct fg_error *err)
{
    return fg_openb_parse("nodes.csv", nodes, strlen(nodes), "tasks.csv", tasks, strlen(tasks), o, err);
}

static void refuse(const char *nodes, const char *tasks, const char *part)
{
    struct fg_openb o;
    struct fg_error err;
    assert_fails(parse(nodes, tasks, &o, &err), err, FG_E_MALFORMED);
    assert_has(err.text, part);
    fg_openb_fini(&o);
}

static void nodes_come_by_name_and_tasks_as_they_stand(void **state)
{
    struct fg_openb o;
    struct fg_error err = {0};
    assert_ok(parse("gpu,model,sn,more,cpu_milli,memory_mib\r\n2,T4,b,x,64000,1024\r\n8,G2,a,,96000,2048\r\n",
                    TASKS "t2,1000,512,1,460,T4|A10\nt1,2000,0,0,0,\n\n", &o, &err), err);
    assert_int_equal(o.nodes.count, 2);
    assert_string_equal(o.nodes.items[0].name, "a");
    assert_int_equal(o.nodes.items[0].is.gpus, 8);
    assert_int_equal(o.nodes.items[1].is.memory_bytes, 1ull << 30);
    assert_string_equal(o.tasks.items[0].name, "t2");
    assert_int_equal(o.tasks.items[0].need.gpu_milli, 460);
    /* T4 is kind 0 (first in the file), G2 1, and A10, which no node has, 2 */
    assert_int_equal(o.tasks.items[0].need.kinds, 5);
    assert_int_equal(o.tasks.items[1].need.kinds, 0);
    fg_openb_fini(&o);
}

static void what_is_wrong_is_said_with_file_and_line(void **state)
{
    const char *nodes = NODES "a,1000,1024,1,T4\n", *tasks = TASKS "t,1000,10,1,1000,\n";
    refuse("", tasks, "nodes.csv:1: there is no head line");
    refuse(NODES, tasks, "nodes.csv:1: there are no nodes");
    refuse("sn,cpu_milli,gpu,model\n", tasks, "nodes.csv:1: column 'memory_mib' is missing");
    refuse("sn,sn\n", tasks, "nodes.csv:1: column 'sn' is there twice");
    refuse(NODES "a,1000,1024,1,T4\na,1000,1024,1,T4\n", tasks, "nodes.csv:3: sn 'a' is already on line 2");
    refuse(NODES "a,-1,1024,1,T4\n", tasks, "nodes.csv:2: cpu_milli is '-1'");
    refuse(NODES "a,1000,1024,17,T4\n", tasks, "nodes.csv:2: gpu is '17'");
    refuse(NODES "a,1000,1024,1\n", tasks, "nodes.csv:2: 4 fields where the head line has 5");
    refuse(NODES ",1000,1024,1,T4\n", tasks, "nodes.csv:2: sn is empty");
    refuse(NODES "\"a\",1000,1024,1,T4\n", tasks, "nodes.csv:2: a quoted field");
    refuse(nodes, TASKS, "tasks.csv:1: there are no tasks");
    refuse(nodes, "name,cpu_milli,memory_mib,num_gpu\n", "tasks.csv:1: column 'gpu_milli' is missing");
    refuse(nodes, TASKS "t,nan,10,1,1000,\n", "tasks.csv:2: cpu_milli is 'nan'");
    refuse(nodes, TASKS "t,1e3,10,1,1000,\n", "tasks.csv:2: cpu_milli is '1e3'");
    refuse(nodes, TASKS "t,1000,10,1,1001,\n", "tasks.csv:2: gpu_milli is '1001'");
    refuse(nodes, TASKS "t,1000,10,1,0,\n", "tasks.csv:2: gpu_milli is 0 with num_gpu above 0");
    refuse(nodes, TASKS "t,1000,10,2,500,\n", "tasks.csv:2: gpu_milli is not 1000 with num_gpu above 1");
    refuse(nodes, TASKS "t,1000,10,0,500,\n", "tasks.csv:2: gpu_milli is not 0 without GPU");
    refuse(nodes, TASKS "t,1000,10,1,1000,T4||A\n", "tasks.csv:2: an empty name in gpu_spec");
    refuse(nodes, TASKS "t,1000,10,1,1000,\nt,1000,10,1,1000,\n", "tasks.csv:3: name 't' is already on line 2");
    refuse(nodes, TASKS "t,99999999999999999999,10,1,1000,\n", "tasks.csv:2: cpu_milli is '99999999999999999999'");
}

/* --- replays --- */

static void make_trace(struct rng *r, struct fg_openb *o, int nodes, int tasks)
{
    FG_AUTO_STR struct fg_str n = {0}, t = {0};
    struct fg_error err = {0};
    static const char *const models[] = {"G2", "T4", "P100"}, *const specs[] = {"", "", "", "T4", "T4|P100"};
    fg_str_adds(&n, NODES);
    fg_str_adds(&t, TASKS);
    for (int i = 0; i < nodes; i++)
        fg_str_addf(&n, "n%03d,%d,%d,%d,%s\n", i, 16000 + (int)rng_below(r, 5) * 20000, 65536 << rng_below(r, 3), 1 << rng_below(r, 4), models[rng_below(r, 3)]);
    for (int i = 0; i < tasks; i++) {
        int gpus = (int[]){0, 1, 1, 1, 1, 1, 2, 4}[rng_below(r, 8)];
        fg_str_addf(&t, "t%d,%d,%d,%d,%d,%s\n", i, 1000 * (int)rng_below(r, 16), 4096 * (int)rng_below(r, 10), gpus,
                    gpus == 0 ? 0 : gpus > 1 || rng_below(r, 2) ? 1000 : 100 * (1 + (int)rng_below(r, 9)), specs[rng_below(r, 5)]);
    }
    assert_ok(fg_openb_parse("n", n.data, n.len, "t", t.data, t.len, o, &err), err);
}

/* What runs where, kept by the test alone. */
struct check {
    const struct fg_openb *trace;
    struct { uint32_t task, node, gpus; bool there; } at[20000];
    uint32_t arrivals, placed, moves;
};

static void on_step(void *arg, uint32_t arrival, uint32_t task, const struct fg_pack_choice *at, bool moved)
{
    struct check *c = arg;
    assert_true(arrival < 20000);
    assert_int_equal(moved, c->at[arrival].there);       /* only what runs moves */
    if (moved)
        assert_int_equal(c->at[arrival].task, task);
    else
        assert_int_equal(arrival, c->arrivals++);
    c->moves += moved;
    if (at->node == FG_PACK_NONE)
        return;
    c->placed += !moved;
    c->at[arrival].task = task, c->at[arrival].node = at->node, c->at[arrival].gpus = at->gpus, c->at[arrival].there = true;
}

static uint64_t validate(const struct check *c)
{
    uint64_t allocated = 0;
    for (uint32_t n = 0; n < c->trace->nodes.count; n++) {
        const struct fg_pack_node *node = &c->trace->nodes.items[n].is;
        int64_t cpu = 0, memory = 0, milli[FG_PACK_GPUS_MAX] = {0};
        for (uint32_t i = 0; i < c->arrivals; i++) {
            const struct fg_pack_type *t = &c->trace->tasks.items[c->at[i].task].need;
            if (!c->at[i].there || c->at[i].node != n)
                continue;
            assert_true(t->kinds == 0 || (t->kinds >> node->kind & 1));
            assert_int_equal(__builtin_popcount(c->at[i].gpus), t->gpus);
            assert_true(c->at[i].gpus >> node->gpus == 0);
            cpu += t->cpu_milli;
            memory += (int64_t)t->memory_bytes;
            for (uint32_t g = 0; g < node->gpus; g++)
                milli[g] += c->at[i].gpus >> g & 1 ? t->gpu_milli : 0;
            allocated += (uint64_t)t->gpus * t->gpu_milli;
        }
        assert_true(cpu <= node->cpu_milli && memory <= (int64_t)node->memory_bytes);
        for (uint32_t g = 0; g < node->gpus; g++)
            assert_true(milli[g] <= 1000);
    }
    return allocated;
}

static void a_replay_obeys_every_limit_and_counts_right(void **state)
{
    struct rng r = rng_start("a_replay_obeys_every_limit");
    for (int round = 0; round < 8; round++) {
        struct fg_openb o;
        struct fg_error err = {0};
        struct fg_replay out;
        struct check *c = calloc(1, sizeof *c);
        uint64_t gpus = 0;
        make_trace(&r, &o, 40, 300);
        c->trace = &o;
        struct fg_replay_options options = {.policy = (enum fg_pack_policy)(round % 4), .seed = rng_next(&r), .moves_most = round / 4 * 3,
                                            .learn_from_arrivals = round % 2, .step = on_step, .step_arg = c};
        assert_ok(fg_replay_run(&o, &options, &out, &err), err);
        for (size_t n = 0; n < o.nodes.count; n++)
            gpus += o.nodes.items[n].is.gpus;
        assert_true(fabs(out.allocation[130] - (double)validate(c) / (10.0 * (double)gpus)) < 1e-6);
        assert_int_equal(out.arrived, c->arrivals);
        assert_int_equal(out.placed, c->placed);
        assert_int_equal(out.dropped, out.arrived - out.placed);
        assert_int_equal(out.migrations, c->moves);
        for (int p = 1; p <= FG_REPLAY_PERCENT; p++)
            assert_true(out.allocation[p] >= out.allocation[p - 1] && out.allocation[p] <= 100);
        fg_openb_fini(&o);
        free(c);
    }
}

static void the_same_seed_gives_the_same_replay_and_another_another(void **state)
{
    struct rng r = rng_start("the_same_seed_gives_the_same_replay");
    struct fg_openb o;
    struct fg_error err = {0};
    struct fg_replay a = {0}, b = {0}, c = {0};
    make_trace(&r, &o, 60, 400);
    struct fg_replay_options options = {.policy = FG_PACK_FASTGPU, .seed = 7, .moves_most = 2};
    assert_ok(fg_replay_run(&o, &options, &a, &err), err);
    assert_ok(fg_replay_run(&o, &options, &b, &err), err);
    assert_memory_equal(&a, &b, sizeof a);
    options.seed = 8;
    assert_ok(fg_replay_run(&o, &options, &c, &err), err);
    assert_memory_not_equal(a.allocation, c.allocation, sizeof a.allocation);
    fg_openb_fini(&o);
}

static void a_trace_without_gpus_is_refused(void **state)
{
    struct fg_openb o;
    struct fg_error err = {0};
    struct fg_replay out;
    struct fg_replay_options options = {.seed = 1};
    assert_ok(parse(NODES "a,1000,1024,1,T4\n", TASKS "t,1000,10,0,0,\n", &o, &err), err);
    assert_fails(fg_replay_run(&o, &options, &out, &err), err, FG_E_INVALID);
    assert_has(err.text, "no task asks for a GPU");
    fg_openb_fini(&o);
    err = (struct fg_error){0};
    assert_ok(parse(NODES "a,1000,1024,0,T4\n", TASKS "t,1000,10,1,5,\n", &o, &err), err);
    assert_fails(fg_replay_run(&o, &options, &out, &err), err, FG_E_INVALID);
    assert_has(err.text, "no node has a GPU");
    fg_openb_fini(&o);
}

static void a_plot_has_a_line_for_each_series_and_no_markup_of_its_names(void **state)
{
    double x[] = {0, 1, 2}, y[] = {5, 7, 6};
    struct fg_plot_line lines[] = {{"<a&b>", x, y, 3}, {"b", x, y, 0}};
    FG_AUTO_STR struct fg_str out = {0};
    fg_plot_svg(&(struct fg_plot){"t", "x", "y", lines, 2, false}, &out);
    assert_has(out.data, "&#60;a&#38;b&#62;");
    assert_null(strstr(out.data, "<a&"));
    assert_has(out.data, "</svg>");
    assert_null(strstr(out.data, "nan"));
}

static void exponential_numbers_have_their_mean(void **state)
{
    struct fg_random r = {1};
    double sum = 0;
    for (int i = 0; i < 100000; i++)
        sum += fg_random_exponential(&r, 2);
    /* standard error 2 / sqrt(1e5) = 0.0063; the seed is fixed */
    assert_true(fabs(sum / 100000 - 2) < 0.03);
}

static void a_full_cluster_with_churn_keeps_its_promises(void **state)
{
    struct rng r = rng_start("a_full_cluster_with_churn");
    struct fg_openb o;
    struct fg_error err = {0};
    struct fg_churn a = {0}, b = {0};
    make_trace(&r, &o, 40, 300);
    struct fg_churn_options options = {.policy = FG_PACK_FASTGPU, .seed = rng_next(&r), .waiting = 200, .warm_up = 1000, .starts = 3000,
                                       .moves_permille = 10, .big_gpus = 4, .hold_after = 0.5, .age_weight = 50};
    assert_ok(fg_churn_run(&o, &options, &a, &err), err);
    assert_ok(fg_churn_run(&o, &options, &b, &err), err);
    assert_memory_equal(&a, &b, sizeof a);
    assert_true(a.started >= 3000);
    assert_true(a.allocation > 50 && a.allocation <= 100);
    assert_true(a.migrations * 100 <= a.started * 2);    /* 1 % of all starts, also those before the count */
    options.moves_permille = 0;
    assert_ok(fg_churn_run(&o, &options, &b, &err), err);
    assert_int_equal(b.migrations, 0);
    fg_openb_fini(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nodes_come_by_name_and_tasks_as_they_stand),
        cmocka_unit_test(what_is_wrong_is_said_with_file_and_line),
        cmocka_unit_test(a_replay_obeys_every_limit_and_counts_right),
        cmocka_unit_test(the_same_seed_gives_the_same_replay_and_another_another),
        cmocka_unit_test(a_full_cluster_with_churn_keeps_its_promises),
        cmocka_unit_test(a_trace_without_gpus_is_refused),
        cmocka_unit_test(a_plot_has_a_line_for_each_series_and_no_markup_of_its_names),
        cmocka_unit_test(exponential_numbers_have_their_mean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
