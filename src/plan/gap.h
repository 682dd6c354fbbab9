/* gap.h - generalized assignment instances in OR-Library text: m n, then m rows of n costs, m rows of n needs, m
 * capacities, all integers apart by white space; minimise. Bytes in, a problem out: who reads the file is the caller. */
#pragma once
#include "plan/assign.h"

struct fg_gap {
    struct fg_assign_problem problem;    /* its tables are below */
    int64_t *cost, *need, *capacity;
};
/* Returns 0, or -1 with *err (FG_E_MALFORMED, with line and what was expected); then *ret is untouched. */
int fg_gap_parse(const char *text, size_t length, struct fg_gap *ret, struct fg_error *err);
void fg_gap_fini(struct fg_gap *gap);
