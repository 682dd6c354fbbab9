/* replan.h - a plan kept up to date: an arrival, an ending or a change of price touches what it must, and nothing is planned
 * anew. The problem is that of assign.h without groups; tasks come and go. Not thread safe; pure otherwise.
 *
 * Between changes the plan is valid. How far it drifts from the best is for the caller to watch: fg_replan_cost against the bound of a
 * fg_assign_solve now and then, whose answer fg_replan_create takes over. */
#pragma once
#include "plan/assign.h"

struct fg_replan;
/* Copies the tables of p, which must have nobody_cost. assignment[p->tasks], or NULL: all wait. FG_E_INVALID where p is not valid, or
 * the assignment is not for it. */
int fg_replan_create(const struct fg_assign_problem *p, const uint32_t *assignment, struct fg_replan **ret, struct fg_error *err);
void fg_replan_destroy(struct fg_replan *r);
/* A task of the class arrives. Its number; where it went is fg_replan_agent. */
uint32_t fg_replan_add(struct fg_replan *r, uint32_t class);
/* It ended, or was taken back; its room goes to whom it helps most of those looked at. The number may be given again. */
void fg_replan_remove(struct fg_replan *r, uint32_t task);
/* What the class costs on the kind from now on (FG_ASSIGN_NEVER: not there). */
void fg_replan_price(struct fg_replan *r, uint32_t class, uint32_t kind, int64_t cost);
uint32_t fg_replan_agent(const struct fg_replan *r, uint32_t task);   /* FG_ASSIGN_NOBODY: it waits */
int64_t fg_replan_cost(const struct fg_replan *r);                    /* with nobody_cost for those that wait */
uint64_t fg_replan_moves(const struct fg_replan *r);                  /* tasks that changed agent, since create */
