/* simulate_openb.c - the packing experiment: policies and seeds side by side. */
#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "cli/simulate.h"
#include "sim/trace/churn.h"
#include "sim/trace/plot.h"
#include "sim/trace/replay.h"

#define POLICIES_MOST 8
static const int shown[] = {80, 90, 95, 100, 110, 120, 130};

struct runs {                            /* of one policy */
    enum fg_pack_policy policy;
    struct fg_replay *of;                /* [seeds] */
    struct fg_replay mean;
    double deviation[FG_REPLAY_PERCENT + 1];     /* of the allocation, between seeds */
};
struct job {
    const struct cli_args *args;
    struct fg_openb trace;
    struct fg_replay_options options;
    struct fg_clock clock;
    uint64_t first_seed, seeds;
    struct runs runs[POLICIES_MOST];
    size_t policies;
};

static int64_t boot_ns(void *clock) { return fg_boot(clock); }

static int add_policy(struct job *j, const char *name, struct fg_error *err)
{
    for (enum fg_pack_policy p = FG_PACK_FASTGPU; p <= FG_PACK_FIRSTFIT; p++) {
        if (!fg_streq(fg_pack_policy_text(p), name))
            continue;
        if (j->policies == POLICIES_MOST)
            return fg_fail(err, FG_E_INVALID, "--policy: more than %d", POLICIES_MOST);
        j->runs[j->policies++] = (struct runs){.policy = p};
        return 0;
    }
    return fg_fail(err, FG_E_INVALID, "--policy: '%s' is none of fastgpu, fgd, bestfit, firstfit", name);
}

static int read_policies(struct job *j, struct fg_error *err)
{
    const char *text;
    size_t at = 0;
    while ((text = cli_each(j->args, "policy", &at))) {
        FG_AUTO_FREE char *copy = fg_strdup(text);
        char *rest = copy, *name;
        while ((name = strsep(&rest, ",")))
            if (add_policy(j, name, err) < 0)
                return -1;
    }
    return j->policies > 0 ? 0 : add_policy(j, "fastgpu", err);
}

static int read_job(struct job *j, struct fg_error *err)
{
    FG_AUTO_STR struct fg_str nodes = {0}, tasks = {0};
    const struct cli_args *a = j->args;
    long moves = cli_integer(a, "moves", 3);
    if (moves > (long)FG_PACK_MOVES_MAX)
        return fg_fail(err, FG_E_INVALID, "--moves %ld is above %u", moves, FG_PACK_MOVES_MAX);
    j->options = (struct fg_replay_options){.random_ties = fg_streq(cli_text(a, "ties"), "random"),
                                            .learn_from_arrivals = fg_streq(cli_text(a, "learn"), "arrivals"),
                                            .moves_most = cli_flag(a, "migrate") ? (uint32_t)moves : 0,
                                            .now_ns = boot_ns, .now_arg = &j->clock};
    fg_clock_init_real(&j->clock);
    if (simulate_seeds(a, 42, &j->first_seed, &j->seeds, err) < 0 || read_policies(j, err) < 0 || simulate_file(a, "nodes", &nodes, err) < 0 ||
        simulate_file(a, "tasks", &tasks, err) < 0)
        return -1;
    return fg_openb_parse(cli_text(a, "nodes"), fg_str_cstr(&nodes), nodes.len, cli_text(a, "tasks"), fg_str_cstr(&tasks), tasks.len,
                          &j->trace, err);
}

/* Means over the seeds; counts are rounded. */
static void sum_up(struct job *j, struct runs *r)
{
    double n = (double)j->seeds, counts[4] = {0};
    for (int p = 0; p <= FG_REPLAY_PERCENT; p++) {
        double square = 0;
        for (uint64_t s = 0; s < j->seeds; s++) {
            r->mean.allocation[p] += r->of[s].allocation[p] / n;
            r->mean.fragmentation[p] += r->of[s].fragmentation[p] / n;
        }
        for (uint64_t s = 0; s < j->seeds; s++)
            square += pow(r->of[s].allocation[p] - r->mean.allocation[p], 2);
        r->deviation[p] = j->seeds > 1 ? sqrt(square / (n - 1)) : 0;
    }
    for (uint64_t s = 0; s < j->seeds; s++) {
        const struct fg_replay *of = &r->of[s];
        counts[0] += of->arrived, counts[1] += of->placed, counts[2] += of->dropped, counts[3] += of->migrations;
        r->mean.seconds += of->seconds;
        r->mean.p50_us += of->p50_us / n;
        r->mean.p99_us = fmax(r->mean.p99_us, of->p99_us);
        r->mean.state_bytes = FG_MAX(r->mean.state_bytes, of->state_bytes);
    }
    r->mean.arrived = (uint32_t)lround(counts[0] / n), r->mean.placed = (uint32_t)lround(counts[1] / n);
    r->mean.dropped = (uint32_t)lround(counts[2] / n), r->mean.migrations = (uint32_t)lround(counts[3] / n);
    r->mean.seconds /= n;
    r->mean.impossible = r->of[0].impossible;
}

static int run_all(struct job *j, struct fg_error *err)
{
    for (size_t i = 0; i < j->policies; i++) {
        struct runs *r = &j->runs[i];
        r->of = fg_alloc(j->seeds * sizeof *r->of);
        for (uint64_t s = 0; s < j->seeds; s++) {
            j->options.policy = r->policy;
            j->options.seed = j->first_seed + s;
            if (fg_replay_run(&j->trace, &j->options, &r->of[s], err) < 0)
                return -1;
        }
        sum_up(j, r);
    }
    return 0;
}

/* --- output --- */

static json_t *percents(const double *v)
{
    json_t *o = json_object();
    char key[8];
    for (int p = 1; p <= FG_REPLAY_PERCENT; p++) {
        snprintf(key, sizeof key, "%d", p);
        json_object_set_new(o, key, json_real(round(v[p] * 1e6) / 1e6));
    }
    return o;
}

static double per_second(const struct fg_replay *r) { return r->seconds > 0 ? r->arrived / r->seconds : 0; }

/* One run, or with seeds > 1 the means of all. */
static int put_run(const struct job *j, const struct runs *r, const struct fg_replay *of, uint64_t seed, bool mean, struct fg_error *err)
{
    FG_AUTO_JSON json_t *o = json_pack(
        "{s:s,s:s,s:b,s:s,s:s,s:i,s:i,s:i,s:i,s:i,s:o,s:o,s:f,s:f,s:f,s:f,s:I}", "format", "openb", "policy", fg_pack_policy_text(r->policy),
        "migrate", j->options.moves_most > 0, "ties", j->options.random_ties ? "random" : "index", "learn",
        j->options.learn_from_arrivals ? "arrivals" : "list", "arrived", (int)of->arrived, "placed", (int)of->placed, "dropped",
        (int)of->dropped, "impossible", (int)of->impossible, "migrations", (int)of->migrations, "allocation", percents(of->allocation), "fragmentation",
        percents(of->fragmentation), "decision_seconds", of->seconds, "decisions_per_second", per_second(of), "decision_p50_us", of->p50_us,
        "decision_p99_us", of->p99_us, "state_bytes", (json_int_t)of->state_bytes);
    if (!o)
        return fg_fail(err, FG_E_INTERNAL, "the result has no JSON form");
    if (mean) {
        FG_AUTO_FREE char *seeds = fg_asprintf("%llu..%llu", (unsigned long long)j->first_seed, (unsigned long long)(j->first_seed + j->seeds - 1));
        json_object_set_new(o, "mean_of_seeds", json_string(seeds));
        json_object_set_new(o, "allocation_deviation", percents(r->deviation));
    } else {
        json_object_set_new(o, "seed", json_integer((json_int_t)seed));
    }
    return cli_put_json(o, err);
}

static int put_json(const struct job *j, struct fg_error *err)
{
    for (size_t i = 0; i < j->policies; i++) {
        const struct runs *r = &j->runs[i];
        for (uint64_t s = 0; s < j->seeds; s++)
            if (put_run(j, r, &r->of[s], j->first_seed + s, false, err) < 0)
                return -1;
        if (j->seeds > 1 && put_run(j, r, &r->mean, 0, true, err) < 0)
            return -1;
    }
    return 0;
}

static void add_row(struct cli_table *t, const struct job *j, const char *what, const char *fmt, double (*value)(const struct fg_replay *, int), int at)
{
    cli_table_cell(t, CLI_NO_TINT, what, at);
    for (size_t i = 0; i < j->policies; i++)
        cli_table_cell(t, CLI_NO_TINT, fmt, value(&j->runs[i].mean, at));
}

static double allocation(const struct fg_replay *r, int p) { return r->allocation[p]; }
static double fragmentation(const struct fg_replay *r, int p) { return r->fragmentation[p]; }
static double migrations(const struct fg_replay *r, int p) { return r->migrations; }
static double impossible(const struct fg_replay *r, int p) { return r->impossible; }
static double dropped(const struct fg_replay *r, int p) { return r->dropped; }
static double speed(const struct fg_replay *r, int p) { return per_second(r); }
static double p99(const struct fg_replay *r, int p) { return r->p99_us; }

static int put_text(const struct cli *cli, const struct job *j, struct fg_error *err)
{
    FG_AUTO_STR struct fg_str heads = {0};
    struct cli_table t;
    fg_str_adds(&heads, "OF THE GPUS, IN %");
    for (size_t i = 0; i < j->policies; i++)
        fg_str_addf(&heads, "|>%s", fg_pack_policy_text(j->runs[i].policy));
    cli_table_init(&t, fg_str_cstr(&heads));
    for (size_t i = 0; i < FG_COUNT(shown); i++)
        add_row(&t, j, "allocated when %d have been asked for", "%.2f", allocation, shown[i]);
    add_row(&t, j, "free, useless to typical tasks, at %d", "%.2f", fragmentation, FG_REPLAY_PERCENT);
    add_row(&t, j, "tasks dropped", "%.0f", dropped, 0);
    if (j->runs[0].mean.impossible > 0)
        add_row(&t, j, "tasks of the list that fit no node, were it empty", "%.0f", impossible, 0);
    add_row(&t, j, "migrations", "%.0f", migrations, 0);
    add_row(&t, j, "decisions per second", "%.0f", speed, 0);
    add_row(&t, j, "decision, 99th percentile, us", "%.1f", p99, 0);
    if (cli_put_table(cli, &t, err) < 0)
        return -1;
    return cli_put_line(err, "seeds %llu..%llu, %zu nodes, %u arrivals, %s", (unsigned long long)j->first_seed,
                        (unsigned long long)(j->first_seed + j->seeds - 1), j->trace.nodes.count, j->runs[0].mean.arrived,
                        j->options.learn_from_arrivals ? "typical tasks from what has arrived" : "typical tasks from the list");
}

static int write_csv(const struct job *j, struct fg_error *err)
{
    FG_AUTO_STR struct fg_str out = {0};
    fg_str_adds(&out, "policy,seed,percent,allocation,fragmentation\n");
    for (size_t i = 0; i < j->policies; i++)
        for (uint64_t s = 0; s < j->seeds; s++)
            for (int p = 1; p <= FG_REPLAY_PERCENT; p++)
                fg_str_addf(&out, "%s,%llu,%d,%.4f,%.4f\n", fg_pack_policy_text(j->runs[i].policy), (unsigned long long)(j->first_seed + s),
                            p, j->runs[i].of[s].allocation[p], j->runs[i].of[s].fragmentation[p]);
    return simulate_write(j->args, "csv", &out, err);
}

static int write_plot(const struct job *j, struct fg_error *err)
{
    FG_AUTO_STR struct fg_str out = {0};
    struct fg_plot_line lines[POLICIES_MOST];
    double x[FG_REPLAY_PERCENT + 1];
    for (int p = 0; p <= FG_REPLAY_PERCENT; p++)
        x[p] = p;
    /* Below 70 % of arrivals all policies are on the diagonal. */
    for (size_t i = 0; i < j->policies; i++)
        lines[i] = (struct fg_plot_line){fg_pack_policy_text(j->runs[i].policy), x + 70, j->runs[i].mean.allocation + 70, FG_REPLAY_PERCENT - 69};
    fg_plot_svg(&(struct fg_plot){"GPUs allocated", "GPUs asked for, % of the cluster", "allocated, %", lines, j->policies, true}, &out);
    return simulate_write(j->args, "plot", &out, err);
}

/* --- churn --- */

static int put_churn(const struct cli *cli, const struct job *j, const struct runs *r, const struct fg_churn_options *o,
                     const struct fg_churn *c, struct cli_table *t, struct fg_error *err)
{
    if (cli->json) {
        FG_AUTO_JSON json_t *out = json_pack(
            "{s:s,s:s,s:I,s:b,s:i,s:f,s:f,s:f,s:f,s:f,s:f,s:f,s:i,s:i,s:i,s:f,s:i,s:f}", "format", "openb-churn", "policy", fg_pack_policy_text(r->policy),
            "seed", (json_int_t)o->seed, "migrate", o->moves_permille > 0, "waiting", (int)o->waiting, "allocation", c->allocation, "allocation_late",
            c->allocation_late, "bound_for_ever", c->bound, "mean_wait",
            c->wait, "mean_wait_big", c->wait_big, "mean_wait_share", c->wait_share, "p99_wait", c->wait_p99, "started", (int)c->started,
            "started_big", (int)c->started_big, "migrations", (int)c->migrations, "migrations_percent", c->migrations_percent, "holds",
            (int)c->holds, "time", c->time);
        return out ? cli_put_json(out, err) : fg_fail(err, FG_E_INTERNAL, "the result has no JSON form");
    }
    cli_table_cell(t, CLI_NO_TINT, "%s", fg_pack_policy_text(r->policy));
    cli_table_cell(t, CLI_NO_TINT, "%llu", (unsigned long long)o->seed);
    cli_table_cell(t, CLI_NO_TINT, "%.2f", c->allocation);
    cli_table_cell(t, CLI_NO_TINT, "%.2f", c->allocation_late);
    cli_table_cell(t, CLI_NO_TINT, "%.3f", c->wait);
    cli_table_cell(t, CLI_NO_TINT, "%.3f", c->wait_big);
    cli_table_cell(t, CLI_NO_TINT, "%.3f", c->wait_share);
    cli_table_cell(t, CLI_NO_TINT, "%.2f", c->wait_p99);
    cli_table_cell(t, CLI_NO_TINT, "%.2f", c->migrations_percent);
    return 0;
}

static int read_churn(const struct cli_args *args, struct fg_churn_options *o, struct fg_error *err)
{
    long waiting = cli_integer(args, "waiting", 5000), warm_up = cli_integer(args, "warm-up", 20000), starts = cli_integer(args, "starts", 60000);
    if (waiting < 1 || waiting > 1000000 || starts < 1 || starts > 100000000 || warm_up < 0 || warm_up > 100000000)
        return fg_fail(err, FG_E_INVALID, "--waiting is to be within 1..1000000, --starts within 1..100000000, --warm-up within 0..100000000");
    *o = (struct fg_churn_options){.waiting = (uint32_t)waiting, .warm_up = (uint32_t)warm_up, .starts = (uint32_t)starts, .big_gpus = 4,
                                   .hold_after = 0.5, .age_weight = 50, .patience = 10, .moves_permille = cli_integer(args, "moves", 3) > 0 ? 10 : 0};
    return 0;
}

static int run_churn(const struct cli *cli, struct job *j, struct fg_error *err)
{
    struct fg_churn_options o;
    struct fg_churn c = {0};
    struct cli_table t;
    if (cli_text(j->args, "csv") || cli_text(j->args, "plot"))
        return fg_fail(err, FG_E_UNSUPPORTED, "--csv and --plot draw arrivals, not --churn: --json has its figures");
    if (read_churn(j->args, &o, err) < 0)
        return -1;
    cli_table_init(&t, "POLICY|>SEED|>ALLOCATED %|>LAST QUARTER|>WAIT|>OF >= 4 GPUS|>OF SHARES|>99TH PERCENTILE|>MIGRATIONS %");
    int rc = 0;
    for (size_t i = 0; i < j->policies && rc == 0; i++)
        for (o.seed = j->first_seed; o.seed < j->first_seed + j->seeds && rc == 0; o.seed++) {
            o.policy = j->runs[i].policy;
            rc = fg_churn_run(&j->trace, &o, &c, err) < 0 ? -1 : put_churn(cli, j, &j->runs[i], &o, &c, &t, err);
        }
    if (rc == 0 && !cli->json && cli_put_table(cli, &t, err) == 0)
        return cli_put_line(err, "waits in mean run times; %u tasks wait at any time, %u starts counted; no policy holds more than %.2f %% for ever: "
                            "above it a long queue keeps what wastes GPUs waiting", o.waiting, o.starts, c.bound);
    cli_table_fini(&t);
    return rc;
}

static int run_packing(const struct cli *cli, struct job *j, struct fg_error *err)
{
    if (run_all(j, err) < 0 || (cli->json ? put_json(j, err) : put_text(cli, j, err)) < 0 || write_csv(j, err) < 0)
        return -1;
    return write_plot(j, err);
}

int simulate_openb(struct cli *cli, const struct cli_args *args, struct fg_error *err)
{
    struct job j = {.args = args};
    int rc = read_job(&j, err);
    if (rc == 0)
        rc = cli_flag(args, "churn") ? run_churn(cli, &j, err) : run_packing(cli, &j, err);
    for (size_t i = 0; i < j.policies; i++)
        free(j.runs[i].of);
    fg_openb_fini(&j.trace);
    return rc;
}
