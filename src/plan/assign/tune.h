/* tune.h - the numbers of the search, each found by measurement (docs/decisions/0020-assignment-solver.md). A build may
 * override one with -DNAME=value to measure it again. A unit is what not having one's first choice costs on average. */
#pragma once

#ifndef TUNE_OPTIONS
#define TUNE_OPTIONS 20             /* kinds kept per class, cheapest reduced first */
#endif
#ifndef TUNE_VISITS
#define TUNE_VISITS 40              /* search nodes of one chain */
#endif
#ifndef TUNE_GAIN
#define TUNE_GAIN 1.0               /* units that a departure may still earn, when a chain is cut */
#endif
#ifndef TUNE_FIRST
#define TUNE_FIRST 10               /* chains per task after the greedy start */
#endif
#ifndef TUNE_POLISH
#define TUNE_POLISH 5               /* chains per task after a dive */
#endif
#ifndef TUNE_POLISH_HEAT
#define TUNE_POLISH_HEAT 0.1        /* first temperature then, in units; of parts half to four times that */
#endif
#ifndef TUNE_LONG
#define TUNE_LONG 100               /* chains per task of the first cooling between dives; each next one 1.5 x */
#endif
#ifndef TUNE_LONG_ALL
#define TUNE_LONG_ALL 20e3          /* but at most so many in all for that one, where tasks are many */
#endif
#ifndef TUNE_LONG_HEAT
#define TUNE_LONG_HEAT 0.6          /* first temperature then, in units */
#endif
#ifndef TUNE_LONG_STRICT
#define TUNE_LONG_STRICT 5          /* price of overload to begin with, in prices of capacity */
#endif
#ifndef TUNE_CHAIN_SHARE
#define TUNE_CHAIN_SHARE 3          /* one part in so many goes to those coolings */
#endif
#ifndef TUNE_ROOT
#define TUNE_ROOT 300               /* rounds of knapsacks before the first dive */
#endif
#ifndef TUNE_ROOT_CELLS
#define TUNE_ROOT_CELLS 300e6       /* and cells of their tables, whichever is reached first, but at least a fifth of the rounds */
#endif
#ifndef TUNE_CELLS
#define TUNE_CELLS 1e6              /* cells of the tables of one round; agents whose share would be larger get the linear answer */
#endif
#ifndef TUNE_DIVE_STEPS
#define TUNE_DIVE_STEPS 25          /* rounds of knapsacks between two fixings */
#endif
#ifndef TUNE_DIVE_SHARE
#define TUNE_DIVE_SHARE 0.08        /* of the open tasks, fixed at once */
#endif
#ifndef TUNE_DIVE_SURE
#define TUNE_DIVE_SURE 0.97f        /* a mean (with noise) from which a task is fixed in any case */
#endif
#ifndef TUNE_DIVE_NOISE
#define TUNE_DIVE_NOISE 0.1         /* added to means, so that no two dives are the same */
#endif
#ifndef TUNE_DIVE_OPTIONS
#define TUNE_DIVE_OPTIONS 6         /* agents per task in the knapsacks */
#endif
#ifndef TUNE_DIVES_FULL
#define TUNE_DIVES_FULL 4           /* dives over all agents before those over a part */
#endif
#ifndef TUNE_DIVES_COST
#define TUNE_DIVES_COST 10000       /* and iterations of those, beyond which the later follow at once */
#endif
#ifndef TUNE_DIVE_AGENTS
#define TUNE_DIVE_AGENTS 16         /* most agents opened by a dive over a part; the least is half of it */
#endif
#ifndef TUNE_STALE
#define TUNE_STALE 60               /* dives over a part without gain, until another full dive is what they start from */
#endif
#ifndef TUNE_DIVE_TASKS
#define TUNE_DIVE_TASKS 4000        /* beyond, chains alone */
#endif
