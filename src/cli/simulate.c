/* simulate.c - fgpu simulate: a trace through the code that the server runs, without a server. */
#include "cli/simulate.h"

#include <stdlib.h>
#include <string.h>

#include "base/units.h"

static const struct simulate_format formats[] = {
    {"openb", simulate_openb},
};

static const struct cli_option simulate_options[] = {
    {"format", 0, CLI_CHOICE, "openb", "What the files are: openb, node and task lists of the Alibaba GPU trace 2023."},
    {"nodes", 0, CLI_PATH, "FILE", "Node list of openb: sn, cpu_milli, memory_mib, gpu, model."},
    {"tasks", 0, CLI_PATH, "FILE", "Task list of openb: name, cpu_milli, memory_mib, num_gpu, gpu_milli, gpu_spec."},
    {"policy", 0, CLI_LIST, "NAME,...", "Policies to compare, for openb fastgpu, fgd, bestfit, firstfit; fastgpu if not given."},
    {"seed", 0, CLI_INTEGER, "N", "Seed of the order of arrivals; 42 if not given."},
    {"seeds", 0, CLI_TEXT, "FIRST..LAST", "One run for each seed, and their means."},
    {"migrate", 0, CLI_FLAG, NULL, "Let running tasks move where that opens whole GPUs for a task that fits nowhere."},
    {"moves", 0, CLI_INTEGER, "N", "With --migrate: moves that one task may cause, at most; 3 if not given."},
    {"ties", 0, CLI_CHOICE, "index|random", "How equal nodes are told apart: by index, or by lot to see whether it matters."},
    {"learn", 0, CLI_CHOICE, "list|arrivals",
     "What policies know of the tasks to come: the task list, as FGD's authors have it, or only what has arrived."},
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
    const char *format = cli_text(args, "format");
    for (size_t i = 0; format && i < FG_COUNT(formats); i++)
        if (fg_streq(formats[i].name, format))
            return formats[i].run(cli, args, err);
    return fg_fail(err, FG_E_INVALID, "--format is missing");
}

const struct cli_verb cli_verb_simulate = {
    "simulate", "--format openb --nodes FILE --tasks FILE [--policy NAME,...]", "replay a trace through the scheduler",
    "openb: tasks arrive in random order, drawn again until they ask for 130 % of the GPUs, and never leave; prints how much of "
    "the GPUs is allocated, and how much is free but of no use to typical tasks, after each percent of arrivals.",
    simulate_options, 0, 0, false, run_simulate};
