/* assign.c - the assignment solver against brute force, and what its header promises. */
#include "plan/assign.h"

#include "base/mem.h"
#include "random.h"
#include "unit.h"

enum { AGENTS = 4, TASKS = 7, R_MOST = 2 };

struct small {
    struct fg_assign_problem p;
    int64_t cost[TASKS * AGENTS], need[TASKS * AGENTS * R_MOST], capacity[AGENTS * R_MOST], nobody[TASKS];
    uint32_t group[TASKS];
};

static int64_t clock_fake(void *arg) { return ++*(int64_t *)arg * 1000; }

static void make(struct rng *r, struct small *s)
{
    uint32_t R = 1 + (uint32_t)rng_below(r, R_MOST), m = 1 + (uint32_t)rng_below(r, AGENTS), n = 1 + (uint32_t)rng_below(r, TASKS);
    bool negative = rng_below(r, 4) == 0;
    s->p = (struct fg_assign_problem){.agents = m, .tasks = n, .resources = R, .cost = s->cost, .need = s->need, .capacity = s->capacity};
    for (uint32_t x = 0; x < m * n; x++) {
        s->cost[x] = rng_below(r, 12) ? (int64_t)rng_below(r, 60) - (negative ? 30 : 0) : FG_ASSIGN_NEVER;
        for (uint32_t y = 0; y < R; y++)
            s->need[x * R + y] = (int64_t)rng_below(r, 20);
    }
    for (uint32_t x = 0; x < m * R; x++)
        s->capacity[x] = (int64_t)rng_below(r, 20 * n / m + 10);
    for (uint32_t j = 0; j < n; j++)
        s->nobody[j] = 20 + (int64_t)rng_below(r, 100);
    if (rng_below(r, 2))
        s->p.nobody_cost = s->nobody;
}

/* The assignment keeps every capacity and permission; its cost as recomputed. The solver's own tables are not used. */
static int64_t validate(const struct fg_assign_problem *p, const struct fg_assign_result *r)
{
    int64_t cost = 0, *load = fg_alloc((size_t)p->agents * p->resources * sizeof *load);
    uint32_t left = 0, kinds = p->agent_kind ? p->kinds : p->agents;
    for (uint32_t j = 0; j < p->tasks; j++) {
        uint32_t i = r->agent[j];
        if (i == FG_ASSIGN_NOBODY) {
            assert_true(left < r->left_count);
            assert_int_equal(r->left[left].task, j);
            assert_true(*fg_assign_why_text(r->left[left++].why) != 0);
            continue;
        }
        assert_true(i < p->agents);
        size_t at = (size_t)(p->task_class ? p->task_class[j] : j) * kinds + (p->agent_kind ? p->agent_kind[i] : i);
        assert_true(p->cost[at] != FG_ASSIGN_NEVER);
        cost += p->cost[at];
        for (uint32_t y = 0; y < p->resources; y++)
            load[i * p->resources + y] += p->need[at * p->resources + y];
    }
    assert_int_equal(left, r->left_count);
    for (uint32_t x = 0; x < p->agents * p->resources; x++)
        assert_true(load[x] <= p->capacity[x]);
    free(load);
    assert_int_equal(cost, r->cost);
    return cost;
}

/* What leaving a task costs by default, as the result tells it. */
struct brute { const struct fg_assign_problem *p; int64_t nobody[TASKS], room[AGENTS * R_MOST], best; };
static void brute(struct brute *b, uint32_t j, int64_t cost)
{
    const struct fg_assign_problem *p = b->p;
    uint32_t R = p->resources;
    if (j == p->tasks) {
        b->best = FG_MIN(b->best, cost);
        return;
    }
    brute(b, j + 1, cost + b->nobody[j]);
    for (uint32_t i = 0; i < p->agents; i++) {
        const int64_t *need = &p->need[(j * p->agents + i) * R];
        bool fits = p->cost[j * p->agents + i] != FG_ASSIGN_NEVER;
        for (uint32_t y = 0; y < R; y++)
            fits &= need[y] <= b->room[i * R + y];
        if (!fits)
            continue;
        for (uint32_t y = 0; y < R; y++)
            b->room[i * R + y] -= need[y];
        brute(b, j + 1, cost + p->cost[j * p->agents + i]);
        for (uint32_t y = 0; y < R; y++)
            b->room[i * R + y] += need[y];
    }
}

static int64_t optimum(const struct small *s)
{
    struct brute b = {.p = &s->p, .best = INT64_MAX};
    int64_t low = INT64_MAX, high = INT64_MIN;
    for (uint32_t x = 0; x < s->p.agents * s->p.tasks; x++)
        if (s->cost[x] != FG_ASSIGN_NEVER)
            low = FG_MIN(low, s->cost[x]), high = FG_MAX(high, s->cost[x]);
    for (uint32_t j = 0; j < s->p.tasks; j++)   /* the default: no set of assignments is worth one task left out */
        b.nobody[j] = s->p.nobody_cost ? s->nobody[j] : low == INT64_MAX ? (INT64_C(1) << 61) / s->p.tasks : high + (high - low + 1) * s->p.tasks;
    memcpy(b.room, s->capacity, sizeof b.room);
    brute(&b, 0, 0);
    return b.best;
}

static void small_instances_are_solved_to_the_optimum_and_the_bound_is_below(void **state)
{
    struct rng r = rng_start("assign_brute");
    for (int x = 0; x < 400; x++) {
        struct small s;
        struct fg_assign_result ret;
        struct fg_error err = {0};
        make(&r, &s);
        assert_ok(fg_assign_solve(&s.p, &(struct fg_assign_options){.seed = (uint64_t)x, .max_iterations = 20000}, &ret, &err), err);
        validate(&s.p, &ret);
        int64_t best = optimum(&s), total = ret.cost + ret.cost_nobody;
        if (total != best || ret.lower_bound > best)
            fail_msg("instance %d: cost %lld, optimum %lld, bound %lld", x, (long long)total, (long long)best, (long long)ret.lower_bound);
        fg_assign_result_fini(&ret);
    }
}

struct dense { struct fg_assign_problem p; int64_t *cost, *need, *capacity; };
/* Cost falls with need, capacities tight: the hard kind. */
static struct dense dense_make(struct rng *r, uint32_t m, uint32_t n, uint32_t R)
{
    struct dense d = {.cost = fg_alloc((size_t)m * n * 8), .need = fg_alloc((size_t)m * n * R * 8), .capacity = fg_alloc((size_t)m * R * 8)};
    d.p = (struct fg_assign_problem){.agents = m, .tasks = n, .resources = R, .cost = d.cost, .need = d.need, .capacity = d.capacity};
    for (uint32_t x = 0; x < m * n; x++) {
        int64_t a = 1 + (int64_t)rng_below(r, 100);
        d.cost[x] = 111 - a + (int64_t)rng_below(r, 21) - 10;
        for (uint32_t y = 0; y < R; y++) {
            d.need[x * R + y] = y ? 1 + (int64_t)rng_below(r, 100) : a;
            d.capacity[x % m * R + y] += d.need[x * R + y];
        }
    }
    for (uint32_t x = 0; x < m * R; x++)
        d.capacity[x] = d.capacity[x] * 8 / 10 / m + (R > 1 ? 20 : 0);
    return d;
}
static void dense_fini(struct dense *d) { free(d->cost), free(d->need), free(d->capacity); }

static void same_seed_and_iterations_give_the_same_plan(void **state)
{
    struct rng r = rng_start("assign_seed");
    for (uint32_t R = 1; R <= 2; R++) {
        struct dense d = dense_make(&r, 8, 60, R);
        struct fg_assign_result a, b;
        struct fg_error err = {0};
        int64_t ticks = 0;
        assert_ok(fg_assign_solve(&d.p, &(struct fg_assign_options){.seed = 5, .max_iterations = 60000}, &a, &err), err);
        assert_ok(fg_assign_solve(&d.p, &(struct fg_assign_options){.seed = 5, .max_iterations = 60000, .now_ns = clock_fake, .now_arg = &ticks}, &b, &err), err);
        validate(&d.p, &a);
        assert_memory_equal(a.agent, b.agent, d.p.tasks * sizeof *a.agent);
        assert_int_equal(a.iterations, b.iterations);
        fg_assign_result_fini(&a);
        fg_assign_result_fini(&b);
        dense_fini(&d);
    }
}

static void must_fall(void *arg, int64_t cost, int64_t bound)
{
    int64_t *last = arg;
    assert_true(cost < *last);
    assert_true(bound <= cost);
    *last = cost;
}

static void cost_never_rises_and_the_last_one_is_returned(void **state)
{
    struct rng r = rng_start("assign_progress");
    struct dense d = dense_make(&r, 6, 60, 1);
    struct fg_assign_result ret;
    struct fg_error err = {0};
    int64_t last = INT64_MAX;
    assert_ok(fg_assign_solve(&d.p, &(struct fg_assign_options){.max_iterations = 50000, .progress = must_fall, .progress_arg = &last}, &ret, &err), err);
    assert_int_equal(validate(&d.p, &ret), last);
    assert_true(ret.lower_bound <= ret.cost);
    fg_assign_result_fini(&ret);
    dense_fini(&d);
}

static void an_interrupted_search_returns_a_valid_plan(void **state)
{
    struct rng r = rng_start("assign_interrupt");
    struct dense d = dense_make(&r, 10, 100, 1);
    struct fg_assign_result ret;
    struct fg_error err = {0};
    volatile bool stop = true;
    assert_ok(fg_assign_solve(&d.p, &(struct fg_assign_options){.max_iterations = UINT64_MAX, .interrupt = &stop}, &ret, &err), err);
    validate(&d.p, &ret);
    fg_assign_result_fini(&ret);
    dense_fini(&d);
}

static void a_start_that_is_given_is_never_made_worse(void **state)
{
    struct rng r = rng_start("assign_start");
    struct dense d = dense_make(&r, 8, 60, 1);
    struct fg_assign_result a, b;
    struct fg_error err = {0};
    assert_ok(fg_assign_solve(&d.p, &(struct fg_assign_options){.max_iterations = 60000}, &a, &err), err);
    assert_ok(fg_assign_solve(&d.p, &(struct fg_assign_options){.max_iterations = 1, .start = a.agent}, &b, &err), err);
    validate(&d.p, &b);
    assert_true(b.cost + b.cost_nobody <= a.cost + a.cost_nobody);
    fg_assign_result_fini(&a);
    fg_assign_result_fini(&b);
    dense_fini(&d);
}

/* 3 kinds of 2 agents, 4 classes: told by class and kind, and told agent by agent, it is the same problem. */
static void classes_and_kinds_mean_the_same_as_the_full_table(void **state)
{
    enum { M = 6, N = 7, K = 3, C = 4 };
    struct rng r = rng_start("assign_classes");
    for (int x = 0; x < 100; x++) {
        uint32_t kind[M], class[N];
        int64_t cost[C * K], need[C * K], capacity[M], full_cost[N * M], full_need[N * M], nobody[C], full_nobody[N];
        for (int i = 0; i < M; i++)
            kind[i] = (uint32_t)rng_below(&r, K), capacity[i] = (int64_t)rng_below(&r, 30);
        for (int c = 0; c < C * K; c++)
            cost[c] = (int64_t)rng_below(&r, 50), need[c] = (int64_t)rng_below(&r, 15);
        for (int c = 0; c < C; c++)
            nobody[c] = 60 + (int64_t)rng_below(&r, 60);
        for (int j = 0; j < N; j++) {
            class[j] = (uint32_t)rng_below(&r, C);
            full_nobody[j] = nobody[class[j]];
            for (int i = 0; i < M; i++) {
                full_cost[j * M + i] = cost[class[j] * K + kind[i]];
                full_need[j * M + i] = need[class[j] * K + kind[i]];
            }
        }
        struct fg_assign_problem a = {.agents = M, .tasks = N, .kinds = K, .classes = C, .resources = 1, .agent_kind = kind, .task_class = class, .cost = cost, .need = need, .capacity = capacity, .nobody_cost = nobody};
        struct fg_assign_problem b = {.agents = M, .tasks = N, .resources = 1, .cost = full_cost, .need = full_need, .capacity = capacity, .nobody_cost = full_nobody};
        struct fg_assign_options o = {.max_iterations = 20000};
        struct fg_assign_result ra, rb;
        struct fg_error err = {0};
        assert_ok(fg_assign_solve(&a, &o, &ra, &err), err);
        assert_ok(fg_assign_solve(&b, &o, &rb, &err), err);
        validate(&a, &ra);
        validate(&b, &rb);
        assert_int_equal(ra.cost + ra.cost_nobody, rb.cost + rb.cost_nobody);
        fg_assign_result_fini(&ra);
        fg_assign_result_fini(&rb);
    }
}

static void relabelling_changes_nothing_in_the_cost_of_small_instances(void **state)
{
    struct rng r = rng_start("assign_relabel");
    for (int x = 0; x < 100; x++) {
        struct small a, b;
        struct fg_assign_result ra, rb;
        struct fg_error err = {0};
        make(&r, &a);
        b = a;
        uint32_t m = a.p.agents, n = a.p.tasks, R = a.p.resources;
        for (uint32_t j = 0; j < n; j++)        /* both orders reversed */
            for (uint32_t i = 0; i < m; i++) {
                size_t from = j * m + i, to = (n - 1 - j) * m + m - 1 - i;
                b.cost[to] = a.cost[from];
                memcpy(&b.need[to * R], &a.need[from * R], R * sizeof *a.need);
                memcpy(&b.capacity[(m - 1 - i) * R], &a.capacity[i * R], R * sizeof *a.need);
                b.nobody[n - 1 - j] = a.nobody[j];
            }
        b.p.cost = b.cost, b.p.need = b.need, b.p.capacity = b.capacity;
        b.p.nobody_cost = a.p.nobody_cost ? b.nobody : NULL;
        struct fg_assign_options o = {.max_iterations = 20000};
        assert_ok(fg_assign_solve(&a.p, &o, &ra, &err), err);
        assert_ok(fg_assign_solve(&b.p, &o, &rb, &err), err);
        assert_int_equal(ra.cost + ra.cost_nobody, rb.cost + rb.cost_nobody);
        fg_assign_result_fini(&ra);
        fg_assign_result_fini(&rb);
    }
}

static void groups_are_assigned_whole_or_not_at_all(void **state)
{
    struct rng r = rng_start("assign_groups");
    for (int x = 0; x < 200; x++) {
        struct small s;
        struct fg_assign_result ret;
        struct fg_error err = {0};
        make(&r, &s);
        for (uint32_t j = 0; j < s.p.tasks; j++)
            s.group[j] = (uint32_t)rng_below(&r, 3);
        s.p.group = s.group;
        assert_ok(fg_assign_solve(&s.p, &(struct fg_assign_options){.max_iterations = 5000}, &ret, &err), err);
        validate(&s.p, &ret);
        assert_true(ret.lower_bound <= ret.cost + ret.cost_nobody);
        for (uint32_t a = 0; a < s.p.tasks; a++)
            for (uint32_t b = 0; b < a; b++)
                if (s.group[a] && s.group[a] == s.group[b])
                    assert_true((ret.agent[a] == FG_ASSIGN_NOBODY) == (ret.agent[b] == FG_ASSIGN_NOBODY));
        fg_assign_result_fini(&ret);
    }
}

static void tasks_that_fit_nowhere_are_listed_with_the_reason(void **state)
{
    int64_t cost[] = {1, FG_ASSIGN_NEVER, 1, 1}, need[] = {9, 1, 5, 5}, capacity[] = {5};
    struct fg_assign_problem p = {.agents = 1, .tasks = 4, .resources = 1, .cost = cost, .need = need, .capacity = capacity};
    struct fg_assign_result r;
    struct fg_error err = {0};
    assert_ok(fg_assign_solve(&p, &(struct fg_assign_options){.max_iterations = 1000}, &r, &err), err);
    assert_int_equal(r.left_count, 3);
    assert_int_equal(r.left[0].why, FG_ASSIGN_TOO_LARGE);
    assert_int_equal(r.left[1].why, FG_ASSIGN_NOT_ALLOWED);
    assert_int_equal(r.left[2].why, FG_ASSIGN_NO_ROOM);
    assert_int_equal(r.cost, 1);
    fg_assign_result_fini(&r);
}

static void costs_and_needs_of_sixty_bits_do_not_overflow(void **state)
{
    int64_t big = (INT64_C(1) << 60) / 4;
    int64_t cost[] = {big, -big, big, -big, -big, big, big, big}, need[] = {big, 1, 1, big, big, big, 1, 1}, capacity[] = {big, big};
    struct fg_assign_problem p = {.agents = 2, .tasks = 4, .resources = 1, .cost = cost, .need = need, .capacity = capacity};
    struct fg_assign_result r;
    struct fg_error err = {0};
    assert_ok(fg_assign_solve(&p, &(struct fg_assign_options){.max_iterations = 20000}, &r, &err), err);
    validate(&p, &r);
    assert_true(r.lower_bound <= r.cost + r.cost_nobody);
    fg_assign_result_fini(&r);
}

static void bad_problems_get_clear_errors(void **state)
{
    int64_t cost[] = {1, 2}, need[] = {1, 2}, capacity[] = {5};
    uint32_t kind[] = {3};
    struct fg_assign_problem good = {.agents = 1, .tasks = 2, .resources = 1, .cost = cost, .need = need, .capacity = capacity}, p;
    struct fg_assign_options o = {.max_iterations = 10}, none = {0}, no_clock = {.time_limit_ns = 5};
    struct fg_assign_result r;
    struct fg_error err;
    p = good, p.tasks = 0;
    assert_fails(fg_assign_solve(&p, &o, &r, &err), err, FG_E_INVALID);
    assert_has(err.text, "at least one");
    p = good, p.resources = 9;
    assert_fails(fg_assign_solve(&p, &o, &r, &err), err, FG_E_INVALID);
    p = good, p.agent_kind = kind, p.kinds = 2;
    assert_fails(fg_assign_solve(&p, &o, &r, &err), err, FG_E_INVALID);
    assert_has(err.text, "kind 3");
    need[1] = -4;
    assert_fails(fg_assign_solve(&good, &o, &r, &err), err, FG_E_INVALID);
    assert_has(err.text, "negative");
    need[1] = 2, cost[0] = INT64_MAX - 1;
    assert_fails(fg_assign_solve(&good, &o, &r, &err), err, FG_E_INVALID);
    assert_has(err.text, "overflow");
    cost[0] = 1, capacity[0] = -1;
    assert_fails(fg_assign_solve(&good, &o, &r, &err), err, FG_E_INVALID);
    capacity[0] = 5;
    assert_fails(fg_assign_solve(&good, &none, &r, &err), err, FG_E_INVALID);
    assert_has(err.text, "limit");
    assert_fails(fg_assign_solve(&good, &no_clock, &r, &err), err, FG_E_INVALID);
    assert_has(err.text, "clock");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_instances_are_solved_to_the_optimum_and_the_bound_is_below),
        cmocka_unit_test(same_seed_and_iterations_give_the_same_plan),
        cmocka_unit_test(cost_never_rises_and_the_last_one_is_returned),
        cmocka_unit_test(an_interrupted_search_returns_a_valid_plan),
        cmocka_unit_test(a_start_that_is_given_is_never_made_worse),
        cmocka_unit_test(classes_and_kinds_mean_the_same_as_the_full_table),
        cmocka_unit_test(relabelling_changes_nothing_in_the_cost_of_small_instances),
        cmocka_unit_test(groups_are_assigned_whole_or_not_at_all),
        cmocka_unit_test(tasks_that_fit_nowhere_are_listed_with_the_reason),
        cmocka_unit_test(costs_and_needs_of_sixty_bits_do_not_overflow),
        cmocka_unit_test(bad_problems_get_clear_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
