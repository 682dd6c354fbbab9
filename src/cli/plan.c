/* plan.c - fgpu plan: the planner on tasks and vGPUs in a file, without a server. */
#include <signal.h>
#include <string.h>

#include "base/clock.h"
#include "base/units.h"
#include "cli/cli.h"
#include "plan/gap.h"
#include "plan/instance.h"

#define PLAN_FILE_MOST ((size_t)1 << 30)

static volatile bool interrupted;
/* The second one ends the program. */
static void on_interrupt(int number)
{
    interrupted = true;
    signal(number, SIG_DFL);
}

static int64_t clock_now(void *arg) { return fg_boot(arg); }

static const struct cli_option plan_options[] = {
    {"format", 0, CLI_CHOICE, "yaml|gap", "What FILE is: yaml, tasks and vGPUs (docs/scheduler.md; if not given); gap, a generalized assignment instance in OR-Library text."},
    {"cost-model", 0, CLI_CHOICE, "written|fixed|work", "How long a task takes: as the file has it; fixed: the same on every vGPU; work: its work divided by the vGPU's speed."},
    {"seed", 0, CLI_INTEGER, "N", "Seed of the search; 1 if not given."},
    {"time-limit", 0, CLI_DURATION, "TIME", "Stop after this time; 10s if neither limit is given."},
    {"max-iterations", 0, CLI_INTEGER, "N", "Stop after this many steps; with this limit alone, equal seeds give equal plans."},
    {"gap", 0, CLI_SHARE, "PERCENT", "Stop once the cost is proven to be this close to the least."},
    {NULL},
};

static int put_gap_json(const struct fg_gap *g, const struct fg_assign_result *r, double seconds, struct fg_error *err)
{
    FG_AUTO_JSON json_t *agents = json_array(), *left = json_array();
    for (uint32_t j = 0; j < g->problem.tasks; j++)
        json_array_append_new(agents, r->agent[j] == FG_ASSIGN_NOBODY ? json_null() : json_integer(r->agent[j]));
    for (uint32_t x = 0; x < r->left_count; x++)
        json_array_append_new(left, json_pack("{s:i,s:s}", "task", (int)r->left[x].task, "reason", fg_assign_why_text(r->left[x].why)));
    FG_AUTO_JSON json_t *out = json_pack("{s:I,s:I,s:f,s:f,s:f,s:f,s:I,s:b,s:O,s:O}", "cost", (json_int_t)r->cost, "lower_bound",
                                         (json_int_t)r->lower_bound, "gap", r->gap, "seconds", seconds, "bound_seconds",
                                         (double)r->bound_ns * 1e-9, "first_plan_seconds", (double)r->start_ns * 1e-9,
                                         "iterations", (json_int_t)r->iterations, "complete", r->left_count == 0, "assignment",
                                         agents, "unassigned", left);
    return out ? cli_put_json(out, err) : fg_fail(err, FG_E_INTERNAL, "the result has no JSON form");
}

static int put_gap_text(const struct cli *cli, const struct fg_gap *g, const struct fg_assign_result *r, double seconds, struct fg_error *err)
{
    struct cli_table t;
    cli_table_init(&t, ">TASK|>AGENT|>COST|>NEED");
    for (uint32_t j = 0; j < g->problem.tasks; j++) {
        size_t at = (size_t)j * g->problem.agents + r->agent[j];
        cli_table_cell(&t, CLI_NO_TINT, "%u", j);
        if (r->agent[j] == FG_ASSIGN_NOBODY) {
            for (int x = 0; x < 3; x++)
                cli_table_cell(&t, CLI_NO_TINT, "-");
            continue;
        }
        cli_table_cell(&t, CLI_NO_TINT, "%u", r->agent[j]);
        cli_table_cell(&t, CLI_NO_TINT, "%lld", (long long)g->cost[at]);
        cli_table_cell(&t, CLI_NO_TINT, "%lld", (long long)g->need[at]);
    }
    if (cli_put_table(cli, &t, err) < 0)
        return -1;
    for (uint32_t x = 0; x < r->left_count; x++)
        if (cli_put_line(err, "task %u is not assigned: %s", r->left[x].task, fg_assign_why_text(r->left[x].why)) < 0)
            return -1;
    return cli_put_line(err, "cost %lld   lower bound %lld   gap %.4f %%   %.2f s", (long long)r->cost, (long long)r->lower_bound,
                        100 * r->gap, seconds);
}

static int read_options(const struct cli_args *args, struct fg_assign_options *o, struct fg_error *err)
{
    uint32_t permille = 0;
    const char *text;
    if ((text = cli_text(args, "time-limit")) && fg_parse_duration(text, &o->time_limit_ns, err) < 0)
        return -1;
    if ((text = cli_text(args, "gap")) && fg_parse_share(text, &permille, err) < 0)
        return -1;
    long iterations = cli_integer(args, "max-iterations", 0), seed = cli_integer(args, "seed", 1);
    if (iterations < 0 || (iterations == 0 && cli_text(args, "max-iterations")))
        return fg_fail(err, FG_E_INVALID, "--max-iterations must be at least 1");
    o->max_iterations = (uint64_t)iterations;
    o->seed = (uint64_t)seed;
    o->gap_ppm = (int64_t)permille * 1000;
    if (!o->time_limit_ns && !o->max_iterations)
        o->time_limit_ns = 10 * FG_NS_PER_S;
    return 0;
}

/* A bound for the tasks that were assigned: the problem of them alone. The solver's own is for all, the others at a price. */
static int bound_assigned(const struct fg_gap *g, struct fg_assign_result *r, struct fg_error *err)
{
    struct fg_assign_problem p = g->problem;
    struct fg_assign_result again;
    FG_AUTO_FREE uint32_t *class = fg_realloc(NULL, p.tasks, sizeof *class);
    uint32_t n = 0;
    for (uint32_t j = 0; j < p.tasks; j++)
        if (r->agent[j] != FG_ASSIGN_NOBODY)
            class[n++] = j;
    r->lower_bound = 0, r->gap = 0;
    if (n == 0)
        return 0;
    p.tasks = n, p.task_class = class;
    if (fg_assign_solve(&p, &(struct fg_assign_options){.seed = 1, .max_iterations = 1}, &again, err) < 0)
        return -1;
    r->lower_bound = again.lower_bound;
    double above = (double)(r->cost - r->lower_bound), base = (double)(r->lower_bound < 0 ? -r->lower_bound : r->lower_bound);
    r->gap = above > 0 ? above / FG_MAX(base, 1.0) : 0;
    fg_assign_result_fini(&again);
    return 0;
}

static int run_gap(struct cli *cli, const struct fg_str *text, struct fg_assign_options *o, struct fg_error *err)
{
    struct fg_gap g = {0};
    struct fg_assign_result r = {0};
    if (fg_gap_parse(text->data, text->len, &g, err) < 0)
        return -1;
    signal(SIGINT, on_interrupt);
    int64_t began = o->now_ns(o->now_arg);
    int rc = fg_assign_solve(&g.problem, o, &r, err);
    if (rc == 0 && r.left_count)
        rc = bound_assigned(&g, &r, err);
    double seconds = (double)(o->now_ns(o->now_arg) - began) * 1e-9;
    if (rc == 0)
        rc = cli->json ? put_gap_json(&g, &r, seconds, err) : put_gap_text(cli, &g, &r, seconds, err);
    fg_assign_result_fini(&r);
    fg_gap_fini(&g);
    return rc;
}

/* --- tasks and vGPUs --- */

static json_t *dollars(int64_t nanousd) { return json_real((double)nanousd / (double)FG_NANOUSD_PER_USD); }
static json_t *seconds_of(int64_t ns) { return json_real((double)ns / (double)FG_NS_PER_S); }

static json_t *assignment_json(const struct fg_instance *in, const struct fg_instance_plan *p)
{
    json_t *rows = json_array();
    for (uint32_t j = 0; j < in->tasks.count; j++) {
        if (p->vgpu[j] == FG_ASSIGN_NOBODY)
            continue;
        json_array_append_new(rows, json_pack("{s:s,s:s,s:o,s:o,s:o,s:b}", "task", in->tasks.items[j].id, "vgpu",
                                              in->vgpus.items[p->vgpu[j]].id, "start_s", seconds_of(p->start_ns[j]), "end_s",
                                              seconds_of(p->end_ns[j]), "cost_usd", dollars(p->task_cost_nanousd[j]), "spot", p->spot[j]));
    }
    return rows;
}

static int put_json(const struct fg_instance *in, const struct fg_instance_plan *p, uint64_t seed, double seconds, struct fg_error *err)
{
    FG_AUTO_JSON json_t *left = json_array();
    for (size_t x = 0; x < p->left.count; x++)
        json_array_append_new(left, json_pack("{s:s,s:s}", "task", in->tasks.items[p->left.items[x].task].id, "reason", p->left.items[x].text));
    FG_AUTO_JSON json_t *out = json_pack(
        "{s:o,s:o,s:f,s:f,s:f,s:f,s:o,s:I,s:I,s:b,s:o,s:O}", "cost", dollars(p->cost_nanousd), "lower_bound", dollars(p->bound_nanousd), "gap",
        p->gap, "seconds", seconds, "bound_seconds", (double)p->bound_ns * 1e-9, "first_plan_seconds", (double)p->first_ns * 1e-9,
        "makespan_s", seconds_of(p->makespan_ns), "iterations", (json_int_t)p->iterations, "seed", (json_int_t)seed, "complete",
        p->left.count == 0, "assignment", assignment_json(in, p), "unassigned", left);
    return out ? cli_put_json(out, err) : fg_fail(err, FG_E_INTERNAL, "the result has no JSON form");
}

static int put_text(const struct cli *cli, const struct fg_instance *in, const struct fg_instance_plan *p, double seconds, struct fg_error *err)
{
    struct cli_table t;
    char a[32], b[32];
    cli_table_init(&t, "TASK|VGPU|>START|>END|>COST USD|");
    for (uint32_t j = 0; j < in->tasks.count; j++) {
        if (p->vgpu[j] == FG_ASSIGN_NOBODY)
            continue;
        cli_table_cell(&t, CLI_NO_TINT, "%s", in->tasks.items[j].id);
        cli_table_cell(&t, CLI_NO_TINT, "%s", in->vgpus.items[p->vgpu[j]].id);
        cli_table_cell(&t, CLI_NO_TINT, "%s", p->start_ns[j] ? fg_format_duration(a, sizeof a, p->start_ns[j]) : "0");
        cli_table_cell(&t, CLI_NO_TINT, "%s", fg_format_duration(a, sizeof a, p->end_ns[j]));
        cli_table_cell(&t, CLI_NO_TINT, "%s", fg_format_money(a, sizeof a, p->task_cost_nanousd[j]));
        cli_table_cell(&t, CLI_NO_TINT, "%s", p->spot[j] ? "spot" : "");
    }
    if (cli_put_table(cli, &t, err) < 0)
        return -1;
    for (size_t x = 0; x < p->left.count; x++) {
        FG_AUTO_STR struct fg_str line = {0};
        cli_clean(&line, in->tasks.items[p->left.items[x].task].id, strlen(in->tasks.items[p->left.items[x].task].id));
        if (cli_put_line(err, "%s is not planned: %s", fg_str_cstr(&line), p->left.items[x].text) < 0)
            return -1;
    }
    return cli_put_line(err, "cost %s USD   lower bound %s USD   gap %.4f %%   all done after %s   %.2f s",
                        fg_format_money(a, sizeof a, p->cost_nanousd), fg_format_money(b, sizeof b, p->bound_nanousd), 100 * p->gap,
                        p->makespan_ns ? fg_format_duration((char[32]){0}, 32, p->makespan_ns) : "0", seconds);
}

static int run_yaml(struct cli *cli, const struct cli_args *args, const struct fg_str *text, struct fg_assign_options *o, struct fg_error *err)
{
    struct fg_instance in = {0};
    struct fg_instance_plan p = {0};
    const char *model = cli_text(args, "cost-model");
    if (fg_instance_parse(text->data, text->len, &in, err) < 0)
        return -1;
    signal(SIGINT, on_interrupt);            /* the first Ctrl-C ends the search with the best plan so far */
    int64_t began = o->now_ns(o->now_arg);
    int rc = 0;
    if (model && !fg_streq(model, "written"))
        rc = fg_instance_model(&in, fg_streq(model, "work") ? FG_COST_WORK : FG_COST_FIXED, err);
    if (rc == 0)
        rc = fg_instance_solve(&in, o, &p, err);
    double seconds = (double)(o->now_ns(o->now_arg) - began) * 1e-9;
    if (rc == 0)
        rc = cli->json ? put_json(&in, &p, o->seed, seconds, err) : put_text(cli, &in, &p, seconds, err);
    fg_instance_plan_fini(&p);
    fg_instance_fini(&in);
    return rc;
}

static int run_plan(struct cli *cli, const struct cli_args *args, struct fg_error *err)
{
    FG_AUTO_STR struct fg_str text = {0};
    struct fg_clock clock;
    fg_clock_init_real(&clock);
    struct fg_assign_options o = {.now_ns = clock_now, .now_arg = &clock, .interrupt = &interrupted};
    const char *name = args->names.items[0], *path = fg_streq(name, "-") ? "/dev/stdin" : name;
    if (read_options(args, &o, err) < 0 || fg_read_file(path, PLAN_FILE_MOST, &text, err) < 0)
        return -1;
    bool gap = fg_streq(cli_text(args, "format"), "gap");
    int rc = gap ? run_gap(cli, &text, &o, err) : run_yaml(cli, args, &text, &o, err);
    signal(SIGINT, SIG_DFL);
    return rc < 0 ? fg_fail_prefix(err, "%s", path) : rc;
}

const struct cli_verb cli_verb_plan = {
    "plan", "FILE.yaml\nFILE --format gap", "assign tasks to vGPUs at least cost, with a proof",
    "Prints what runs where and when, the cost, a lower bound that no plan can beat, and the gap between them; and for every task "
    "that is left out the reason.\n"
    "FILE may be -: standard input. Ctrl-C ends the search with the best plan so far.",
    plan_options, 1, 1, false, run_plan};
