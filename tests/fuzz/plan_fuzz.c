/* plan_fuzz.c - any bytes as a plan file, or after a first byte 'G' as an OR-Library instance: planned, or refused with a reason and a line. A
 * plan keeps the capacities and does not cost less than its bound. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/mem.h"
#include "plan/gap.h"
#include "plan/instance.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct fg_assign_problem *p, const struct fg_assign_result *r)
{
    int64_t cost = 0, *room = fg_realloc(NULL, p->agents, sizeof *room);
    memcpy(room, p->capacity, p->agents * sizeof *room);
    for (uint32_t j = 0; j < p->tasks; j++) {
        if (r->agent[j] == FG_ASSIGN_NOBODY)
            continue;
        size_t at = (size_t)j * p->agents + r->agent[j];
        cost += p->cost[at];
        room[r->agent[j]] -= p->need[at];
        assert(room[r->agent[j]] >= 0);
    }
    assert(cost == r->cost && r->lower_bound <= r->cost + r->cost_nobody);
    free(room);
}

/* The same by both ways, since the second reads tables by other code. */
static void gap(const char *text, size_t size)
{
    struct fg_error err = {0};
    struct fg_gap g;
    if (fg_gap_parse(text, size, &g, &err) < 0) {
        assert(err.code == FG_E_MALFORMED && err.text[0] && err.hint[0]);
        return;
    }
    for (uint64_t wide = 0; wide < 2; wide++) {
        struct fg_assign_result r;
        struct fg_assign_options o = {.seed = size, .max_iterations = 50, .wide_cells = wide};
        int rc = fg_assign_solve(&g.problem, &o, &r, &err);
        assert(rc == 0);
        check(&g.problem, &r);
        fg_assign_result_fini(&r);
    }
    fg_gap_fini(&g);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fg_error err = {0};
    struct fg_instance in;
    if (size && data[0] == 'G') {
        gap((const char *)data + 1, size - 1);
        return 0;
    }
    if (fg_instance_parse((const char *)data, size, &in, &err) < 0) {
        assert(err.code && err.text[0]);
        return 0;
    }
    if (in.tasks.count * in.vgpus.count <= 2000 && in.tasks.count <= 200) {   /* `count:` makes many of one line: long runs, not faults */
        struct fg_instance_plan plan;
        if (fg_instance_solve(&in, &(struct fg_assign_options){.max_iterations = 50}, &plan, &err) < 0) {
            assert(err.code && err.text[0]);
        } else {
            assert(plan.bound_nanousd <= plan.cost_nanousd || plan.left.count);
            fg_instance_plan_fini(&plan);
        }
    }
    fg_instance_fini(&in);
    return 0;
}
