/* tune.h - the numbers of the search, each found by measurement (docs/decisions/0020-assignment-solver.md). A build may
 * override one with -DNAME=value to measure it again. */
#pragma once
#ifndef TUNE_OPTIONS
#define TUNE_OPTIONS 20             /* kinds kept per class, cheapest reduced first */
#endif
#ifndef TUNE_VISITS
#define TUNE_VISITS 40              /* search nodes of one chain */
#endif
#ifndef TUNE_GAIN
#define TUNE_GAIN 1.0               /* how much a departure may still earn, in units, when a chain is cut */
#endif
#ifndef TUNE_FIRST
#define TUNE_FIRST 10               /* chains per task after the greedy start */
#endif
#ifndef TUNE_POLISH
#define TUNE_POLISH 5               /* chains per task after a dive */
#endif
#ifndef TUNE_POLISH_HEAT
#define TUNE_POLISH_HEAT 0.4        /* first temperature then, in units */
#endif
#ifndef TUNE_ROOT
#define TUNE_ROOT 300               /* rounds of knapsacks before the first dive */
#endif
#ifndef TUNE_DIVE_STEPS
#define TUNE_DIVE_STEPS 25          /* rounds of knapsacks between two fixings */
#endif
#ifndef TUNE_DIVE_SHARE
#define TUNE_DIVE_SHARE 0.08        /* of the open tasks, fixed at once */
#endif
#ifndef TUNE_DIVE_NOISE
#define TUNE_DIVE_NOISE 0.2
#endif
#ifndef TUNE_DIVE_OPTIONS
#define TUNE_DIVE_OPTIONS 6         /* agents per task in the knapsacks */
#endif
#ifndef TUNE_DIVES_FULL
#define TUNE_DIVES_FULL 8           /* dives over all agents before those over a part */
#endif
#ifndef TUNE_DIVE_AGENTS
#define TUNE_DIVE_AGENTS 10         /* agents opened by a dive over a part */
#endif
