/* replan.c - a plan kept through arrivals, endings and prices is valid after each, and its cost is what it adds up to. */
#include "plan/replan.h"

#include "base/mem.h"
#include "random.h"
#include "unit.h"

enum { AGENTS = 12, KINDS = 4, CLASSES = 6, R = 2, TASKS = 60, MOST = 400 };
struct world {
    struct fg_assign_problem p;
    int64_t cost[CLASSES * KINDS], need[CLASSES * KINDS * R], capacity[AGENTS * R], nobody[CLASSES];
    uint32_t kind[AGENTS], class[TASKS];
    uint32_t class_of[MOST];             /* by number; CLASSES: gone */
};

static void make(struct rng *r, struct world *w)
{
    w->p = (struct fg_assign_problem){.agents = AGENTS, .tasks = TASKS, .kinds = KINDS, .classes = CLASSES, .resources = R, .agent_kind = w->kind,
                                      .task_class = w->class, .cost = w->cost, .need = w->need, .capacity = w->capacity, .nobody_cost = w->nobody};
    for (int x = 0; x < CLASSES * KINDS; x++) {
        w->cost[x] = rng_below(r, 8) ? (int64_t)rng_below(r, 100) : FG_ASSIGN_NEVER;
        w->need[R * x] = 1 + (int64_t)rng_below(r, 20), w->need[R * x + 1] = (int64_t)rng_below(r, 10);
    }
    for (int x = 0; x < AGENTS; x++)
        w->kind[x] = (uint32_t)rng_below(r, KINDS), w->capacity[R * x] = 30 + (int64_t)rng_below(r, 40), w->capacity[R * x + 1] = 40;
    for (int c = 0; c < CLASSES; c++)
        w->nobody[c] = 150;
    for (int j = 0; j < MOST; j++)
        w->class_of[j] = j < TASKS ? w->class[j] = (uint32_t)rng_below(r, CLASSES) : CLASSES;
}

/* Worked out anew from what the plan says of each task. */
static void check(const struct world *w, const struct fg_replan *plan)
{
    int64_t load[AGENTS * R] = {0}, cost = 0;
    for (uint32_t j = 0; j < MOST; j++) {
        uint32_t c = w->class_of[j], i = c == CLASSES ? 0 : fg_replan_agent(plan, j);
        if (c == CLASSES)
            continue;
        if (i == FG_ASSIGN_NOBODY) {
            cost += w->nobody[c];
            continue;
        }
        size_t at = c * KINDS + w->kind[i];
        assert_true(w->cost[at] != FG_ASSIGN_NEVER);
        cost += w->cost[at];
        for (int x = 0; x < R; x++)
            load[i * R + (uint32_t)x] += w->need[at * R + (size_t)x];
    }
    for (int x = 0; x < AGENTS * R; x++)
        assert_true(load[x] <= w->capacity[x]);
    assert_int_equal(cost, fg_replan_cost(plan));
}

static void a_plan_is_valid_after_every_change_and_no_arrival_or_ending_costs_more_than_it_must(void **state)
{
    struct rng r = rng_start("replan");
    for (int x = 0; x < 40; x++) {
        struct world w;
        struct fg_replan *plan;
        struct fg_assign_result start;
        struct fg_error err = {0};
        make(&r, &w);
        assert_ok(fg_assign_solve(&w.p, &(struct fg_assign_options){.seed = 1, .max_iterations = 2000}, &start, &err), err);
        assert_ok(fg_replan_create(&w.p, start.agent, &plan, &err), err);
        assert_int_equal(fg_replan_cost(plan), start.cost + start.cost_nobody);
        check(&w, plan);
        for (int step = 0; step < 300; step++) {
            int64_t before = fg_replan_cost(plan);
            uint32_t task = (uint32_t)rng_below(&r, MOST), c = (uint32_t)rng_below(&r, CLASSES), k = (uint32_t)rng_below(&r, KINDS);
            uint64_t what = rng_below(&r, 3);
            if (what == 0) {
                task = fg_replan_add(plan, c);
                assert_true(task < MOST && w.class_of[task] == CLASSES);
                w.class_of[task] = c;
                assert_true(fg_replan_cost(plan) <= before + w.nobody[c]);
            } else if (what == 1 && w.class_of[task] != CLASSES) {
                int64_t was = fg_replan_agent(plan, task) == FG_ASSIGN_NOBODY ? w.nobody[w.class_of[task]]
                    : w.cost[w.class_of[task] * KINDS + w.kind[fg_replan_agent(plan, task)]];
                fg_replan_remove(plan, task);
                w.class_of[task] = CLASSES;
                assert_true(fg_replan_cost(plan) <= before - was);
            } else if (what == 2) {
                int64_t cost = rng_below(&r, 8) ? (int64_t)rng_below(&r, 100) : FG_ASSIGN_NEVER;
                fg_replan_price(plan, c, k, cost);
                w.cost[c * KINDS + k] = cost;
            }
            check(&w, plan);
        }
        fg_replan_destroy(plan);
        fg_assign_result_fini(&start);
    }
}

static void an_assignment_that_is_not_valid_is_refused(void **state)
{
    struct rng r = rng_start("replan_refused");
    struct world w;
    struct fg_replan *plan;
    struct fg_error err;
    uint32_t all_on_one[TASKS] = {0};
    make(&r, &w);
    assert_fails(fg_replan_create(&w.p, all_on_one, &plan, &err), err, FG_E_INVALID);
    w.p.nobody_cost = NULL;
    assert_fails(fg_replan_create(&w.p, NULL, &plan, &err), err, FG_E_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plan_is_valid_after_every_change_and_no_arrival_or_ending_costs_more_than_it_must),
        cmocka_unit_test(an_assignment_that_is_not_valid_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
