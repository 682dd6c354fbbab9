/* simulate.c - fgpu simulate: a trace through the code that the server runs, without a server. */
#include "cli/simulate.h"

#include <stdlib.h>
#include <string.h>

#include "base/units.h"

static const struct simulate_format formats[] = {
    {"openb", simulate_openb},
    {"shockwave", simulate_shockwave},
    {"gavel", simulate_gavel},
    {"philly", simulate_philly},
};

static const struct cli_option simulate_options[] = {
    {"format", 0, CLI_CHOICE, "openb|shockwave|gavel|philly",
     "What the files are: openb, node and task lists of the Alibaba GPU trace 2023; shockwave or philly, a trace of jobs; gavel, a table of "
     "throughputs from which jobs are drawn."},
    {"nodes", 0, CLI_PATH, "FILE", "Node list of openb: sn, cpu_milli, memory_mib, gpu, model."},
    {"tasks", 0, CLI_PATH, "FILE", "Task list of openb: name, cpu_milli, memory_mib, num_gpu, gpu_milli, gpu_spec."},
    {"trace", 0, CLI_PATH, "FILE", "Jobs of shockwave or philly; of gavel the table of throughputs."},
    {"gpus", 0, CLI_TEXT, "N[,N,N]", "GPUs of the cluster: 32 for shockwave, 2474 for philly, 36,36,36 (V100, P100, K80) for gavel if not given."},
    {"jobs", 0, CLI_INTEGER, "N", "Jobs that gavel draws, 1000 if not given; of philly the first N only."},
    {"load", 0, CLI_TEXT, "SHARE", "Load that gavel's arrivals make, 0.9 if not given."},
    {"cluster", 0, CLI_TEXT, "NAME", "The virtual cluster of philly to replay; all if not given."},
    {"policy", 0, CLI_LIST, "NAME,...", "Policies to compare: for openb fastgpu, fgd, bestfit, firstfit; for jobs fifo, shortest, cheapest, balanced, "
     "cost, share; fastgpu is balanced for shockwave and philly, cost for gavel. If not given, fastgpu alone for openb, several for jobs."},
    {"seed", 0, CLI_INTEGER, "N", "Seed of the order of arrivals; 42 if not given."},
    {"seeds", 0, CLI_TEXT, "FIRST..LAST", "One run for each seed, and their means."},
    {"migrate", 0, CLI_FLAG, NULL, "Let running tasks move where that opens whole GPUs for a task that fits nowhere."},
    {"moves", 0, CLI_INTEGER, "N", "Moves that one task may cause, at most; 3 if not given. --churn moves tasks (at most 1 % of the starts) unless it is 0."},
    {"ties", 0, CLI_CHOICE, "index|random", "How equal nodes are told apart: by index, or by lot to see whether it matters."},
    {"learn", 0, CLI_CHOICE, "list|arrivals",
     "What policies know of the tasks to come: the task list, as FGD's authors have it, or only what has arrived."},
    {"churn", 0, CLI_FLAG, NULL, "Tasks end: exponential run times of mean 1, a queue that never runs dry, one run for each policy and seed."},
    {"waiting", 0, CLI_INTEGER, "N", "With --churn: tasks that always wait; 5000 if not given."},
    {"warm-up", 0, CLI_INTEGER, "N", "With --churn: starts before counting; 20000 if not given."},
    {"starts", 0, CLI_INTEGER, "N", "With --churn: starts that are counted; 60000 if not given."},
    {"csv", 0, CLI_PATH, "FILE", "Also write the figures as CSV."},
    {"plot", 0, CLI_PATH, "FILE.svg", "Also draw them."},
    {NULL},
};

int simulate_seeds(const struct cli_args *args, uint64_t fallback, uint64_t *ret_first, uint64_t *ret_count, struct fg_error *err)
{
    const char *text = cli_text(args, "seeds");
    *ret_first = (uint64_t)cli_integer(args, "seed", (long)fallback);
    *ret_count = 1;
    if (!text)
        return 0;
    char *end;
    int64_t first, last;
    FG_AUTO_FREE char *copy = fg_strdup(text);
    if ((end = strstr(copy, "..")))
        *end = 0;
    if (!end || fg_parse_int(copy, 0, INT32_MAX, &first, err) < 0 || fg_parse_int(end + 2, first, first + SIMULATE_SEEDS_MOST - 1, &last, err) < 0)
        return fg_fail(err, FG_E_INVALID, "--seeds wants FIRST..LAST, at most %d seeds, not '%s'", SIMULATE_SEEDS_MOST, text);
    *ret_first = (uint64_t)first;
    *ret_count = (uint64_t)(last - first) + 1;
    return 0;
}

int simulate_file(const struct cli_args *args, const char *option, struct fg_str *out, struct fg_error *err)
{
    const char *path = cli_text(args, option);
    if (!path)
        return fg_fail(err, FG_E_INVALID, "--%s FILE is missing", option);
    return fg_read_file(path, SIMULATE_FILE_MOST, out, err);
}

int simulate_write(const struct cli_args *args, const char *option, const struct fg_str *text, struct fg_error *err)
{
    const char *path = cli_text(args, option);
    if (!path)
        return 0;
    return fg_write_file_atomic(path, fg_str_cstr(text), text->len, 0644, err) < 0 ? fg_fail_prefix(err, "--%s", option) : 0;
}

static int run_simulate(struct cli *cli, const struct cli_args *args, struct fg_error *err)
{
    const char *format = cli_text(args, "format"), *plot = cli_text(args, "plot");
    size_t n = plot ? strlen(plot) : 0;
    if (plot && (n < 5 || strcmp(plot + n - 4, ".svg") != 0)) {
        fg_fail(err, FG_E_INVALID, "--plot writes SVG, and '%s' does not end in .svg", plot);
        return fg_fail_hint(err, "Name it e.g. plot.svg; rsvg-convert makes a PNG of it.");
    }
    for (size_t i = 0; format && i < FG_COUNT(formats); i++)
        if (fg_streq(formats[i].name, format))
            return formats[i].run(cli, args, err);
    return fg_fail(err, FG_E_INVALID, "--format is missing");
}

const struct cli_verb cli_verb_simulate = {
    "simulate", "--format openb --nodes FILE --tasks FILE [--policy NAME,...]\n--format shockwave|gavel|philly --trace FILE [--policy NAME,...]", "replay a trace through the scheduler",
    "openb: tasks arrive in random order, drawn again until they ask for 130 % of the GPUs, and never leave; prints how much of "
    "the GPUs is allocated, and how much is free but of no use to typical tasks, after each percent of arrivals.\n"
    "With --churn tasks end, too, and others wait: prints the mean allocation over time, waits, and migrations.\n"
    "shockwave, gavel, philly: jobs of minutes to days come to a cluster and may be stopped and moved between rounds; prints waits, completion "
    "times, makespan, cost against its lower bound, missed deadlines and unfairness for each policy (docs/scheduler.md).",
    simulate_options, 0, 0, false, run_simulate};
