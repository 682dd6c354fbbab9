/* plan.c - fgpu plan: the assignment solver on a problem in a file, without a server. */
#include <math.h>
#include <signal.h>

#include "base/clock.h"
#include "base/units.h"
#include "cli/cli.h"
#include "plan/gap.h"

#define PLAN_FILE_MOST ((size_t)1 << 30)

static volatile bool interrupted;
static void on_interrupt(int signal) { interrupted = true; }

static int64_t clock_now(void *arg) { return fg_boot(arg); }

static const struct cli_option plan_options[] = {
    {"format", 0, CLI_CHOICE, "gap", "What FILE is: gap, a generalized assignment instance in OR-Library text."},
    {"seed", 0, CLI_INTEGER, "N", "Seed of the search; 1 if not given."},
    {"time-limit", 0, CLI_DURATION, "TIME", "Stop after this time; 10s if neither limit is given."},
    {"max-iterations", 0, CLI_INTEGER, "N", "Stop after this many steps; with this limit alone, equal seeds give equal plans."},
    {"gap", 0, CLI_SHARE, "PERCENT", "Stop once the cost is proven to be this close to the least."},
    {NULL},
};

static int put_json(const struct fg_gap *g, const struct fg_assign_result *r, double seconds, struct fg_error *err)
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

static int put_text(const struct cli *cli, const struct fg_gap *g, const struct fg_assign_result *r, double seconds, struct fg_error *err)
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

static int run_plan(struct cli *cli, const struct cli_args *args, struct fg_error *err)
{
    FG_AUTO_STR struct fg_str text = {0};
    struct fg_gap g = {0};
    struct fg_assign_result r = {0};
    struct fg_clock clock;
    fg_clock_init_real(&clock);
    struct fg_assign_options o = {.now_ns = clock_now, .now_arg = &clock, .interrupt = &interrupted};
    if (!fg_streq(cli_text(args, "format"), "gap"))
        return fg_fail(err, FG_E_UNSUPPORTED, "fgpu plan reads only --format gap so far");
    if (read_options(args, &o, err) < 0 || fg_read_file(args->names.items[0], PLAN_FILE_MOST, &text, err) < 0)
        return -1;
    if (fg_gap_parse(text.data, text.len, &g, err) < 0)
        return fg_fail_prefix(err, "%s", args->names.items[0]);
    signal(SIGINT, on_interrupt);            /* the first Ctrl-C ends the search with the best plan so far */
    int64_t began = fg_boot(&clock);
    int rc = fg_assign_solve(&g.problem, &o, &r, err);
    double seconds = (double)(fg_boot(&clock) - began) * 1e-9;
    signal(SIGINT, SIG_DFL);
    if (rc == 0)
        rc = cli->json ? put_json(&g, &r, seconds, err) : put_text(cli, &g, &r, seconds, err);
    fg_assign_result_fini(&r);
    fg_gap_fini(&g);
    return rc;
}

const struct cli_verb cli_verb_plan = {
    "plan", "FILE --format gap", "assign tasks to agents at least cost, with a proof",
    "Prints who gets what, the cost, a lower bound that no assignment can beat, and the gap between them.\n"
    "Ctrl-C ends the search with the best plan so far.",
    plan_options, 1, 1, false, run_plan};
