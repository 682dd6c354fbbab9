/* dive.h - assignments rounded from the agents' knapsacks (dive.c). */
#pragma once
#include "plan/assign/private.h"

struct dive;
/* NULL where the method does not apply: several resources, or several agents of one kind. */
struct dive *dive_create(struct work *w);
void dive_destroy(struct dive *d);
/* Price the tasks by rounds of knapsacks over everything. Before the first dive_run. */
void dive_root(struct dive *d);
/* Fill agent[] (nobody where it found no place). With freed, agent[] is also the assignment to begin from, of which only
 * the tasks j with freed[j], and those of nobody, are placed anew. */
void dive_run(struct dive *d, uint32_t *agent, const bool *freed);
