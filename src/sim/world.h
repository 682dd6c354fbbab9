/* world.h - a world around the control core in which everything that can go wrong does, and which is the same for the
 * same seed: fake clock, disk, network, machines, agents and users. For tests; nothing here does I/O. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fg_sim_options {
    uint64_t seed;
    uint64_t events;                     /* faults and submits go on until the log has this many */
    bool trace;                          /* print what happens to stderr */
};
struct fg_sim_result {
    uint64_t events;                     /* committed to the log */
    uint64_t hash;                       /* of the log and the final state: the same for the same seed */
    uint64_t steps;                      /* happenings: messages, commits, ticks, faults */
    int64_t simulated_ns;
    size_t tasks, terminal, waiting;     /* acknowledged; of these ended; of these waiting with good reason */
    size_t preempted, gang_starts;       /* tasks whose place was taken; members of gangs that started together */
    size_t resized;                      /* shares lent and taken back */
    size_t moved;                        /* to another device */
    size_t crashes, full_disks, reboots, partitions, nodes_lost, replays;
    char failure[500];                   /* "" when every promise was kept */
};
/* Run one world to its end. 0, or -1 with ret->failure set (the core's own asserts abort the process). */
int fg_sim_run(const struct fg_sim_options *options, struct fg_sim_result *ret);
