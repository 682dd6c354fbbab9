/* main.c - fgpu-sim: run worlds. usage: fgpu-sim [--seed N] [--seeds N] [--events N] [--trace]
 * Without --seed: three seeds from 1 on. The last one then runs twice more, shorter, and must go the same way.
 * Prints one line per world; exits 1 at the first broken promise. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/world.h"

static int run(const struct fg_sim_options *options, struct fg_sim_result *r)
{
    printf("seed=%" PRIu64 " ...", options->seed);  /* before the run: an assert of the core ends it */
    fflush(stdout);
    int rc = fg_sim_run(options, r);
    printf("\rseed=%" PRIu64 " events=%" PRIu64 " hash=%016" PRIx64 " tasks=%zu ended=%zu waiting=%zu steps=%" PRIu64
           " simulated=%" PRId64 "s crashes=%zu full_disks=%zu reboots=%zu partitions=%zu nodes_lost=%zu replays=%zu preempted=%zu gangs=%zu resized=%zu moved=%zu\n",
           options->seed, r->events, r->hash, r->tasks, r->terminal, r->waiting, r->steps, r->simulated_ns / 1000000000,
           r->crashes, r->full_disks, r->reboots, r->partitions, r->nodes_lost, r->replays, r->preempted, r->gang_starts, r->resized, r->moved);
    if (rc < 0)
        printf("BROKEN %s\nreplay: fgpu-sim --seed %" PRIu64 " --events %" PRIu64 " --trace\n", r->failure, options->seed, options->events);
    return rc;
}

static int usage(void)
{
    fprintf(stderr, "usage: fgpu-sim [--seed N] [--seeds N] [--events N] [--trace]\n");
    return 2;
}

int main(int argc, char **argv)
{
    struct fg_sim_options options = {.seed = 1, .events = 100000};
    struct fg_sim_result r, again;
    uint64_t seeds = 0;
    for (int i = 1; i < argc; i++) {
        uint64_t *value = strcmp(argv[i], "--seed") == 0 ? &options.seed : strcmp(argv[i], "--seeds") == 0 ? &seeds
                          : strcmp(argv[i], "--events") == 0 ? &options.events : NULL;
        char *end = NULL;
        if (strcmp(argv[i], "--trace") == 0)
            options.trace = true;
        else if (!value || ++i == argc || (*value = strtoull(argv[i], &end, 10), !end || *end))
            return usage();
        seeds = value == &options.seed && seeds == 0 ? 1 : seeds;
    }
    seeds = seeds ? seeds : 3;
    for (uint64_t n = 0; n < seeds; n++, options.seed++)
        if (run(&options, &r) < 0)
            return 1;
    options.seed--;
    if (options.trace)
        return 0;
    options.events = options.events < 20000 ? options.events : 20000;
    if (run(&options, &r) < 0 || run(&options, &again) < 0 || again.hash != r.hash || again.steps != r.steps) {
        printf("BROKEN the same seed went another way\n");
        return 1;
    }
    return 0;
}
