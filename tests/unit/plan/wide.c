/* wide.c - tables of many cells, read as seldom as can be: the same promises as for small ones. */
#include "plan/assign.h"

#include "base/mem.h"
#include "random.h"
#include "unit.h"

enum { AGENTS = 40, TASKS = 60, KINDS = 37, CLASSES = 50 };
struct table {
    struct fg_assign_problem p;
    int64_t cost[CLASSES * KINDS], need[CLASSES * KINDS], capacity[AGENTS], nobody[CLASSES];
    uint32_t kind[AGENTS], class[TASKS];
};

static int64_t clock_fake(void *arg) { return ++*(int64_t *)arg * 1000; }

/* Any shape up to the size; costs up to 10^most digits, some cells closed, some tasks too large for most agents. */
static void make(struct rng *r, struct table *s, uint32_t digits)
{
    uint32_t m = 1 + (uint32_t)rng_below(r, AGENTS), n = 1 + (uint32_t)rng_below(r, TASKS);
    uint32_t K = 1 + (uint32_t)rng_below(r, KINDS), C = 1 + (uint32_t)rng_below(r, CLASSES);
    int64_t top = 1, sign = rng_below(r, 4) ? 0 : 1;
    for (uint64_t x = rng_below(r, digits) + 1; x; x--)
        top *= 10;
    s->p = (struct fg_assign_problem){.agents = m, .tasks = n, .kinds = K, .classes = C, .resources = 1, .cost = s->cost, .need = s->need,
                                      .capacity = s->capacity, .agent_kind = s->kind, .task_class = s->class};
    if (rng_below(r, 2))
        s->p.nobody_cost = s->nobody;
    for (uint32_t x = 0; x < C * K; x++) {
        s->need[x] = (int64_t)rng_below(r, 100);
        s->cost[x] = rng_below(r, 12) ? (int64_t)rng_below(r, (uint64_t)top) - sign * top / 2 : FG_ASSIGN_NEVER;
        if (rng_below(r, 3) == 0 && s->cost[x] != FG_ASSIGN_NEVER)
            s->cost[x] = top - top * s->need[x] / 100;
    }
    for (uint32_t i = 0; i < m; i++)
        s->kind[i] = (uint32_t)rng_below(r, K), s->capacity[i] = (int64_t)rng_below(r, 100 * n / m + 60);
    for (uint32_t j = 0; j < n; j++)
        s->class[j] = (uint32_t)rng_below(r, C);
    for (uint32_t c = 0; c < C; c++)
        s->nobody[c] = (int64_t)rng_below(r, (uint64_t)top * 2);
}

/* The cost, worked out without the solver's own sums; every capacity and permission kept. */
static int64_t validate(const struct fg_assign_problem *p, const struct fg_assign_result *r)
{
    int64_t cost = 0, load[AGENTS] = {0};
    uint32_t left = 0;
    for (uint32_t j = 0; j < p->tasks; j++) {
        uint32_t i = r->agent[j];
        if (i == FG_ASSIGN_NOBODY) {
            assert_true(left < r->left_count);
            assert_int_equal(r->left[left++].task, j);
            continue;
        }
        assert_true(i < p->agents);
        size_t at = (size_t)p->task_class[j] * p->kinds + p->agent_kind[i];
        assert_true(p->cost[at] != FG_ASSIGN_NEVER);
        cost += p->cost[at];
        load[i] += p->need[at];
        assert_true(load[i] <= p->capacity[i]);
    }
    assert_int_equal(left, r->left_count);
    assert_int_equal(cost, r->cost);
    return cost + r->cost_nobody;
}

static void must_fall(void *arg, int64_t cost, int64_t bound)
{
    assert_true(cost < *(int64_t *)arg);
    *(int64_t *)arg = cost;
}

static void a_wide_table_gives_a_valid_plan_above_its_bound_and_the_bound_is_below_what_the_other_way_finds(void **state)
{
    struct rng r = rng_start("wide_plans");
    static struct table s;
    for (int x = 0; x < 80; x++) {
        struct fg_assign_result wide, other;
        struct fg_error err = {0};
        int64_t last = INT64_MAX;
        make(&r, &s, 13);
        struct fg_assign_options o = {.seed = (uint64_t)x, .max_iterations = 3000, .wide_cells = 1, .progress = must_fall, .progress_arg = &last};
        assert_ok(fg_assign_solve(&s.p, &o, &wide, &err), err);
        assert_ok(fg_assign_solve(&s.p, &(struct fg_assign_options){.max_iterations = 3000, .wide_cells = UINT64_MAX}, &other, &err), err);
        int64_t a = validate(&s.p, &wide), b = validate(&s.p, &other);
        assert_int_equal(a, last);
        if (wide.lower_bound > FG_MIN(a, b) || other.lower_bound > a)
            fail_msg("instance %d: costs %lld and %lld, bounds %lld and %lld", x, (long long)a, (long long)b, (long long)wide.lower_bound,
                     (long long)other.lower_bound);
        fg_assign_result_fini(&wide);
        fg_assign_result_fini(&other);
    }
}

static void same_seed_same_plan_and_an_interruption_at_any_moment_leaves_a_valid_one(void **state)
{
    struct rng r = rng_start("wide_interrupt");
    static struct table s;
    for (int x = 0; x < 40; x++) {
        struct fg_assign_result a, b, cut;
        struct fg_error err = {0};
        int64_t ticks = 0;
        volatile bool stop = true;
        make(&r, &s, 9);
        struct fg_assign_options o = {.seed = 3, .max_iterations = 2000, .wide_cells = 1};
        assert_ok(fg_assign_solve(&s.p, &o, &a, &err), err);
        assert_ok(fg_assign_solve(&s.p, &o, &b, &err), err);
        assert_memory_equal(a.agent, b.agent, s.p.tasks * sizeof *a.agent);
        assert_int_equal(a.lower_bound, b.lower_bound);
        o.interrupt = &stop;
        assert_ok(fg_assign_solve(&s.p, &o, &cut, &err), err);
        assert_true(validate(&s.p, &cut) >= cut.lower_bound);
        fg_assign_result_fini(&cut);
        o.interrupt = NULL, o.now_ns = clock_fake, o.now_arg = &ticks, o.time_limit_ns = 1 + (int64_t)rng_below(&r, 100000);
        assert_ok(fg_assign_solve(&s.p, &o, &cut, &err), err);
        assert_true(validate(&s.p, &cut) >= cut.lower_bound);
        fg_assign_result_fini(&a), fg_assign_result_fini(&b), fg_assign_result_fini(&cut);
    }
}

/* Values beyond 2^50 / scale leave the exact sums of doubles: the other way takes over. */
static void costs_too_large_for_exact_sums_are_planned_the_other_way(void **state)
{
    struct rng r = rng_start("wide_large");
    static struct table s;
    for (int x = 0; x < 20; x++) {
        struct fg_assign_result ret;
        struct fg_error err = {0};
        make(&r, &s, 1);
        for (uint32_t y = 0; y < s.p.classes * s.p.kinds; y++)
            if (s.cost[y] != FG_ASSIGN_NEVER)
                s.cost[y] = s.cost[y] * (INT64_C(1) << (rng_below(&r, 50)));
        s.p.nobody_cost = NULL;
        assert_ok(fg_assign_solve(&s.p, &(struct fg_assign_options){.max_iterations = 500, .wide_cells = 1}, &ret, &err), err);
        assert_true(validate(&s.p, &ret) >= ret.lower_bound);
        fg_assign_result_fini(&ret);
    }
}

/* Bands are steered from row to row; what no row can fill must not grow without end. */
static void many_rows_of_few_kinds_are_planned(void **state)
{
    enum { ROWS = 150000 };
    struct rng r = rng_start("wide_rows");
    int64_t *cost = fg_realloc(NULL, 2 * ROWS, sizeof *cost), *need = fg_realloc(NULL, 2 * ROWS, sizeof *need), load = 0;
    int64_t capacity[2] = {60 * ROWS, 60 * ROWS};
    struct fg_assign_problem p = {.agents = 2, .tasks = ROWS, .resources = 1, .cost = cost, .need = need, .capacity = capacity};
    struct fg_assign_result ret;
    struct fg_error err = {0};
    for (size_t x = 0; x < 2 * (size_t)ROWS; x++)
        cost[x] = (int64_t)rng_below(&r, 1000), need[x] = 1 + (int64_t)rng_below(&r, 100);
    assert_ok(fg_assign_solve(&p, &(struct fg_assign_options){.max_iterations = 1, .wide_cells = 1}, &ret, &err), err);
    assert_int_equal(ret.left_count, 0);
    for (size_t j = 0; j < ROWS; j++)
        load += ret.agent[j] ? 0 : need[2 * j];
    assert_true(load <= capacity[0] && ret.lower_bound <= ret.cost);
    fg_assign_result_fini(&ret);
    free(cost), free(need);
}

static void a_fault_in_any_cell_is_told_as_for_a_small_table(void **state)
{
    struct rng r = rng_start("wide_faults");
    static struct table s;
    const struct { bool need; int64_t value; const char *says; } faults[] = {
        {true, -1, "is negative"}, {true, INT64_MAX, "so large that sums would overflow"}, {true, INT64_MIN, "is negative"},
        {false, INT64_MAX - 1, "would overflow"}, {false, INT64_MIN, "would overflow"},
    };
    for (int x = 0; x < 100; x++) {
        struct fg_assign_result ret;
        struct fg_error err = {0};
        make(&r, &s, 6);
        uint32_t at = (uint32_t)rng_below(&r, (uint64_t)s.p.classes * s.p.kinds);
        size_t f = rng_below(&r, FG_COUNT(faults));
        if (s.cost[at] == FG_ASSIGN_NEVER)
            s.cost[at] = 1;
        (faults[f].need ? s.need : s.cost)[at] = faults[f].value;
        assert_fails(fg_assign_solve(&s.p, &(struct fg_assign_options){.max_iterations = 100, .wide_cells = 1}, &ret, &err), err, FG_E_INVALID);
        assert_non_null(strstr(err.text, faults[f].says));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_wide_table_gives_a_valid_plan_above_its_bound_and_the_bound_is_below_what_the_other_way_finds),
        cmocka_unit_test(same_seed_same_plan_and_an_interruption_at_any_moment_leaves_a_valid_one),
        cmocka_unit_test(costs_too_large_for_exact_sums_are_planned_the_other_way),
        cmocka_unit_test(many_rows_of_few_kinds_are_planned),
        cmocka_unit_test(a_fault_in_any_cell_is_told_as_for_a_small_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
