/* simulate_jobs.c - fgpu simulate of job traces: several policies side by side. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/units.h"
#include "cli/simulate.h"
#include "sim/jobs/jobs.h"
#include "sim/trace/plot.h"

#define BOUND_WINDOWS 24

struct outcome { enum fg_jobs_policy policy; struct fg_job_run run; };
struct seed_bound { uint64_t seed; int64_t bound, fluid; uint32_t jobs, left_out, narrowed; size_t first; };
struct report {
    const char *format;
    FG_VEC(struct outcome) outcomes;
    FG_VEC(struct seed_bound) seeds;
};

static void report_fini(struct report *r)
{
    for (size_t x = 0; x < r->outcomes.count; x++)
        fg_job_run_fini(&r->outcomes.items[x].run);
    fg_vec_fini(&r->outcomes);
    fg_vec_fini(&r->seeds);
}

/* "32" or "36,36,36" into gpus[count]; left as they are when the option is not given. */
static int read_gpus(const struct cli_args *args, uint32_t *gpus, size_t count, struct fg_error *err)
{
    const char *text = cli_text(args, "gpus");
    FG_AUTO_FREE char *copy = fg_strdup(text);
    char *at = copy;
    for (size_t x = 0; text && x < count; x++) {
        char *part = strsep(&at, ",");
        int64_t v;
        if (!part || fg_parse_int(part, x == 0 ? 1 : 0, 1000000, &v, err) < 0 || (x + 1 == count && at))
            return fg_fail(err, FG_E_INVALID, "--gpus wants %zu whole number%s apart by commas, not '%s'", count, count > 1 ? "s" : "", text);
        gpus[x] = (uint32_t)v;
    }
    return 0;
}

static int read_load(const struct cli_args *args, double *ret, struct fg_error *err)
{
    const char *text = cli_text(args, "load");
    char *end;
    *ret = text ? strtod(text, &end) : 0.9;
    if (text && (*end || end == text || !(*ret >= 0.01 && *ret <= 10)))
        return fg_fail(err, FG_E_INVALID, "--load wants a share of the GPUs within 0.01 to 10, not '%s'", text);
    return 0;
}

static int find_policy(const char *name, const char *fallback, enum fg_jobs_policy *ret, struct fg_error *err)
{
    const char *names[FG_JOBS_POLICY_COUNT];
    size_t first = strcspn(fallback, ",");
    bool ours = fg_streq(name, "fastgpu");               /* what suits the format */
    for (int p = 0; p < FG_JOBS_POLICY_COUNT; p++) {
        names[p] = fg_jobs_policy_name((enum fg_jobs_policy)p);
        if (fg_streq(names[p], name) || (ours && strlen(names[p]) == first && strncmp(names[p], fallback, first) == 0)) {
            *ret = (enum fg_jobs_policy)p;
            return 0;
        }
    }
    const char *nearest = fg_nearest(name, names, FG_JOBS_POLICY_COUNT);
    fg_fail(err, FG_E_INVALID, "no policy for jobs is called '%s'", name);
    return fg_fail_hint(err, "%s%s%s", nearest ? "Did you mean '" : "There are fifo, shortest, cheapest, balanced, cost and share.",
                        nearest ? nearest : "", nearest ? "'?" : "");
}

/* The policies asked for, or the fallback's, each once. */
static int read_policies(const struct cli_args *args, const char *fallback, enum fg_jobs_policy *out, size_t *ret_count, struct fg_error *err)
{
    size_t at = 0, n = 0;
    bool given = cli_text(args, "policy") != NULL;
    for (const char *text = given ? cli_each(args, "policy", &at) : fallback; text; text = given ? cli_each(args, "policy", &at) : NULL) {
        FG_AUTO_FREE char *copy = fg_strdup(text);
        char *rest = copy, *name;
        while ((name = strsep(&rest, ","))) {
            enum fg_jobs_policy policy = 0;
            if (find_policy(name, fallback, &policy, err) < 0)
                return -1;
            size_t x = 0;
            while (x < n && out[x] != policy)
                x++;
            if (x == n)
                out[n++] = policy;
        }
    }
    *ret_count = n;
    return 0;
}

static int run_policies(const struct cli_args *args, const char *fallback, const struct fg_job_trace *t, struct report *r, struct fg_error *err)
{
    enum fg_jobs_policy policies[FG_JOBS_POLICY_COUNT];
    struct fg_clock clock;
    size_t n = 0;
    fg_clock_init_real(&clock);
    if (read_policies(args, fallback, policies, &n, err) < 0)
        return -1;
    for (size_t x = 0; x < n; x++) {
        struct outcome o = {.policy = policies[x]};
        int64_t began = fg_boot(&clock);
        if (fg_replay_jobs(t, policies[x], &o.run, err) < 0)
            return -1;
        o.run.seconds = (double)(fg_boot(&clock) - began) * 1e-9;
        fg_vec_push(&r->outcomes, o);
    }
    return 0;
}

/* --- what is printed --- */

struct column {
    const char *key, *head;
    double (*get)(const struct fg_job_run *);
    int decimals;
};
#define COLUMN(name, expr) static double get_##name(const struct fg_job_run *r) { return (double)(expr); }
COLUMN(makespan, r->makespan_s) COLUMN(jct, r->mean_jct_s) COLUMN(jct_p50, r->median_jct_s) COLUMN(jct_p99, r->p99_jct_s)
COLUMN(wait, r->mean_wait_s) COLUMN(wait_p99, r->p99_wait_s) COLUMN(cost, (double)r->cost_nanousd * 1e-9) COLUMN(missed, r->missed)
COLUMN(unfair, 100 * r->unfair_share) COLUMN(worst, r->worst_unfairness) COLUMN(moves, r->moves) COLUMN(shared, r->shared_rounds)
COLUMN(seconds, r->seconds)
static const struct column columns[] = {
    {"makespan_s", "MAKESPAN S", get_makespan, 0}, {"mean_jct_s", "MEAN JCT S", get_jct, 0}, {"median_jct_s", "MEDIAN JCT", get_jct_p50, 0},
    {"p99_jct_s", "P99 JCT", get_jct_p99, 0}, {"mean_wait_s", "MEAN WAIT", get_wait, 0}, {"p99_wait_s", "P99 WAIT", get_wait_p99, 0},
    {"cost_usd", "COST USD", get_cost, 2}, {"missed", "MISSED", get_missed, 0}, {"unfair_percent", "UNFAIR %", get_unfair, 2},
    {"worst_unfairness", "WORST", get_worst, 2}, {"moves", "MOVES", get_moves, 0}, {"shared_rounds", "SHARED", get_shared, 0},
    {"seconds", "SECONDS", get_seconds, 2}};

/* NAN where the trace has no bound. */
static double above(const struct seed_bound *s, const struct fg_job_run *r) { return s->bound ? 100 * ((double)r->cost_nanousd / (double)s->bound - 1) : NAN; }
static json_t *number_or_null(double v) { return isnan(v) ? json_null() : json_real(v); }

static const struct seed_bound *seed_of(const struct report *r, size_t outcome)
{
    size_t x = r->seeds.count - 1;
    while (r->seeds.items[x].first > outcome)
        x--;
    return &r->seeds.items[x];
}

static int put_json(const struct report *r, struct fg_error *err)
{
    FG_AUTO_JSON json_t *out = json_pack("{s:s}", "format", r->format);
    json_t *runs = json_array();
    for (size_t x = 0; x < r->seeds.count; x++) {
        const struct seed_bound *s = &r->seeds.items[x];
        size_t end = x + 1 < r->seeds.count ? s[1].first : r->outcomes.count;
        json_t *run = json_pack("{s:I,s:I,s:I,s:I,s:o,s:o}", "seed", (json_int_t)s->seed, "jobs", (json_int_t)s->jobs, "left_out",
                                (json_int_t)s->left_out, "narrowed", (json_int_t)s->narrowed, "lower_bound_usd",
                                number_or_null(s->bound ? (double)s->bound * 1e-9 : NAN), "sharing_fluid_usd",
                                number_or_null(s->fluid ? (double)s->fluid * 1e-9 : NAN)), *policies = json_object();
        for (size_t y = s->first; y < end; y++) {
            json_t *p = json_object();
            for (size_t c = 0; c < FG_COUNT(columns); c++)
                json_object_set_new(p, columns[c].key, json_real(columns[c].get(&r->outcomes.items[y].run)));
            json_object_set_new(p, "above_bound_percent", number_or_null(above(s, &r->outcomes.items[y].run)));
            json_object_set_new(policies, fg_jobs_policy_name(r->outcomes.items[y].policy), p);
        }
        json_object_set_new(run, "policies", policies);
        json_array_append_new(runs, run);
    }
    json_object_set_new(out, "runs", runs);
    return cli_put_json(out, err);
}

static int put_table(const struct cli *cli, const struct report *r, struct fg_error *err)
{
    FG_AUTO_STR struct fg_str heads = {0};
    struct cli_table t;
    fg_str_adds(&heads, "SEED|POLICY");
    for (size_t c = 0; c < FG_COUNT(columns); c++)
        fg_str_addf(&heads, "|>%s", columns[c].head);
    fg_str_adds(&heads, "|>ABOVE BOUND %");
    cli_table_init(&t, fg_str_cstr(&heads));
    for (size_t x = 0; x < r->outcomes.count; x++) {
        const struct outcome *o = &r->outcomes.items[x];
        cli_table_cell(&t, CLI_NO_TINT, "%llu", (unsigned long long)seed_of(r, x)->seed);
        cli_table_cell(&t, CLI_NO_TINT, "%s", fg_jobs_policy_name(o->policy));
        for (size_t c = 0; c < FG_COUNT(columns); c++)
            cli_table_cell(&t, CLI_NO_TINT, "%.*f", columns[c].decimals, columns[c].get(&o->run));
        double percent = above(seed_of(r, x), &o->run);
        cli_table_cell(&t, CLI_NO_TINT, isnan(percent) ? "-" : "%.2f", percent);
    }
    const struct seed_bound *s = r->seeds.items;
    if (cli_put_table(cli, &t, err) < 0)
        return -1;
    if (r->seeds.count == 0 || s->left_out + s->narrowed == 0)
        return 0;
    return cli_put_line(err, "%u jobs; left out: %u without length or GPU; given all GPUs instead of more: %u", s->jobs, s->left_out, s->narrowed);
}

static void add_csv(const struct report *r, struct fg_str *out)
{
    fg_str_adds(out, "seed,policy");
    for (size_t c = 0; c < FG_COUNT(columns); c++)
        fg_str_addf(out, ",%s", columns[c].key);
    fg_str_adds(out, ",above_bound_percent\n");
    for (size_t x = 0; x < r->outcomes.count; x++) {
        fg_str_addf(out, "%llu,%s", (unsigned long long)seed_of(r, x)->seed, fg_jobs_policy_name(r->outcomes.items[x].policy));
        for (size_t c = 0; c < FG_COUNT(columns); c++)
            fg_str_addf(out, ",%.10g", columns[c].get(&r->outcomes.items[x].run));
        double percent = above(seed_of(r, x), &r->outcomes.items[x].run);
        fg_str_addf(out, isnan(percent) ? ",\n" : ",%.4f\n", percent);
    }
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Of each run, which part of the jobs is done within which time of its arrival: a step to a point, at most POINTS. */
static int write_plot(const struct cli_args *args, const struct report *r, struct fg_error *err)
{
    enum { POINTS = 500, LINES = 32 };
    struct fg_plot_line lines[LINES];
    char names[LINES][48];
    FG_AUTO_STR struct fg_str out = {0};
    size_t n = FG_MIN(r->outcomes.count, (size_t)LINES);
    FG_AUTO_FREE double *points = fg_realloc(NULL, 2 * LINES * (POINTS + 1), sizeof *points);
    for (size_t l = 0; l < n; l++) {
        const struct outcome *o = &r->outcomes.items[l];
        size_t jobs = seed_of(r, l)->jobs, count = FG_MIN(jobs, (size_t)POINTS);
        FG_AUTO_FREE double *jct = fg_realloc(NULL, jobs, sizeof *jct);
        double *x = points + 2 * l * (POINTS + 1), *y = x + POINTS + 1;
        for (size_t j = 0; j < jobs; j++)
            jct[j] = o->run.ends[j].jct_s / 3600;
        qsort(jct, jobs, sizeof *jct, by_size);
        x[0] = y[0] = 0;
        for (size_t p = 1; p <= count; p++)
            x[p] = jct[p * jobs / count - 1], y[p] = 100.0 * (double)p / (double)count;
        snprintf(names[l], sizeof names[l], r->seeds.count > 1 ? "%s, seed %llu" : "%s", fg_jobs_policy_name(o->policy),
                 (unsigned long long)seed_of(r, l)->seed);
        lines[l] = (struct fg_plot_line){names[l], x, y, count + 1};
    }
    fg_plot_svg(&(struct fg_plot){"Jobs done", "time since arrival, hours", "jobs done, %", lines, n, false}, &out);
    return simulate_write(args, "plot", &out, err);
}

static int put_report(const struct cli *cli, const struct cli_args *args, const struct report *r, struct fg_error *err)
{
    FG_AUTO_STR struct fg_str csv = {0};
    if (cli_text(args, "csv"))
        add_csv(r, &csv);
    if (simulate_write(args, "csv", &csv, err) < 0 || (cli_text(args, "plot") && write_plot(args, r, err) < 0))
        return -1;
    return cli->json ? put_json(r, err) : put_table(cli, r, err);
}

/* --- the formats --- */

/* One trace: bound, policies, and it is gone. */
static int take_trace(const struct cli_args *args, const char *fallback, uint64_t seed, bool bound, struct fg_job_trace *t, struct report *r, struct fg_error *err)
{
    struct seed_bound s = {.seed = seed, .jobs = (uint32_t)t->jobs.count, .left_out = t->left_out, .narrowed = t->narrowed, .first = r->outcomes.count};
    if (bound && t->jobs.count)
        s.bound = fg_job_trace_bound(t, BOUND_WINDOWS), s.fluid = fg_job_trace_fluid(t);
    fg_vec_push(&r->seeds, s);
    int rc = run_policies(args, fallback, t, r, err);
    fg_job_trace_fini(t);
    return rc;
}

int simulate_shockwave(struct cli *cli, const struct cli_args *args, struct fg_error *err)
{
    FG_AUTO_STR struct fg_str text = {0};
    struct report r = {.format = "shockwave"};
    struct fg_job_trace t;
    uint32_t gpus = 32;
    if (simulate_file(args, "trace", &text, err) < 0 || read_gpus(args, &gpus, 1, err) < 0 || fg_read_shockwave(text.data, text.len, gpus, &t, err) < 0)
        return -1;
    int rc = take_trace(args, "balanced,shortest,fifo", 0, true, &t, &r, err);
    rc = rc < 0 ? rc : put_report(cli, args, &r, err);
    report_fini(&r);
    return rc;
}

int simulate_philly(struct cli *cli, const struct cli_args *args, struct fg_error *err)
{
    FG_AUTO_STR struct fg_str text = {0};
    struct report r = {.format = "philly"};
    struct fg_job_trace t;
    uint32_t gpus = 2474;                                /* of the Philly clusters, as its paper counts them */
    long most = cli_integer(args, "jobs", 0);
    if (most < 0 || most > 100000000)
        return fg_fail(err, FG_E_INVALID, "--jobs is not within 0 to 100000000");
    if (simulate_file(args, "trace", &text, err) < 0 || read_gpus(args, &gpus, 1, err) < 0 ||
        fg_read_philly(text.data, text.len, cli_text(args, "cluster"), (uint32_t)most, gpus, &t, err) < 0)
        return -1;
    int rc = take_trace(args, "balanced,shortest,fifo", 0, false, &t, &r, err);
    rc = rc < 0 ? rc : put_report(cli, args, &r, err);
    report_fini(&r);
    return rc;
}

int simulate_gavel(struct cli *cli, const struct cli_args *args, struct fg_error *err)
{
    FG_AUTO_STR struct fg_str text = {0};
    struct report r = {.format = "gavel"};
    struct fg_gavel_draw d = {.gpus = {36, 36, 36}, .deadlines = true};
    uint64_t first, count;
    long jobs = cli_integer(args, "jobs", 1000);
    if (jobs < 1 || jobs > 1000000)
        return fg_fail(err, FG_E_INVALID, "--jobs is not within 1 to 1000000");
    d.jobs = (uint32_t)jobs;
    if (simulate_file(args, "trace", &text, err) < 0 || read_gpus(args, d.gpus, 3, err) < 0 || read_load(args, &d.load, err) < 0 ||
        simulate_seeds(args, 1, &first, &count, err) < 0)
        return -1;
    int rc = 0;
    for (d.seed = first; rc == 0 && d.seed < first + count; d.seed++) {
        struct fg_job_trace t;
        rc = fg_read_gavel(text.data, text.len, &d, &t, err);
        rc = rc < 0 ? rc : take_trace(args, "cost,share,cheapest,shortest", d.seed, true, &t, &r, err);
    }
    rc = rc < 0 ? rc : put_report(cli, args, &r, err);
    report_fini(&r);
    return rc;
}
