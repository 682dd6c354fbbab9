/* jobs.c - policies for long jobs on a small world of their own: nobody runs twice, no GPU is given twice, no deadline is missed that
 * need not be; and the bounds are below what anything costs. */
#include <math.h>

#include "base/mem.h"
#include "plan/jobs.h"
#include "random.h"
#include "unit.h"

enum { KINDS = 3, MOST = 24 };
static const struct fg_jobs_kind kinds[KINDS] = {{4, 3e-4}, {4, 2e-4}, {4, 0.6e-4}};

static bool pair(void *arg, uint32_t a, uint32_t b, uint32_t kind, double ret[2])
{
    ret[0] = 0.4 + 0.05 * (a % 10), ret[1] = 0.4 + 0.05 * (b % 10);
    return (a + b + kind) % 4 != 0;
}

static struct fg_job draw(struct rng *r, double arrival)
{
    struct fg_job j = {.type = (uint32_t)rng_below(r, 5), .gpus = 1, .arrival_s = arrival, .kind = -1};
    double slack[] = {1.5, 2, 10};
    for (uint32_t k = 0; k < KINDS; k++)
        j.rate[k] = (double)(KINDS - k) * (0.5 + (double)rng_below(r, 100) / 100);
    j.work = j.left = 3000 + (double)rng_below(r, 60000);
    j.deadline_s = arrival + slack[rng_below(r, 3)] * j.work / j.rate[0] + 1500;
    return j;
}

static void check_slots(const struct fg_jobs_now *now, const struct fg_jobs_slot *slots, size_t n)
{
    uint32_t used[KINDS] = {0};
    bool runs[MOST] = {0};
    for (size_t x = 0; x < n; x++) {
        assert_true(slots[x].kind < KINDS && slots[x].job < now->job_count && !runs[slots[x].job]);
        runs[slots[x].job] = true;
        used[slots[x].kind] += now->jobs[slots[x].job].gpus;
        if (slots[x].beside == FG_JOBS_ALONE)
            continue;
        assert_true(slots[x].beside < now->job_count && !runs[slots[x].beside] && now->jobs[slots[x].job].gpus == 1);
        runs[slots[x].beside] = true;
    }
    for (uint32_t k = 0; k < KINDS; k++)
        assert_true(used[k] <= kinds[k].gpus);
}

/* All jobs from the start, run by the policy in rounds. Returns the dollars; how many came too late in *ret_missed. */
static double run(enum fg_jobs_policy policy, const struct fg_job *all, uint32_t n, uint32_t *ret_missed)
{
    struct fg_job jobs[MOST];
    struct fg_jobs_slot slots[MOST];
    double cost = 0, end;
    uint32_t left = n;
    memcpy(jobs, all, n * sizeof *jobs);
    *ret_missed = 0;
    for (double at = 0; left > 0 && at < 1e7; at += 100) {
        struct fg_jobs_now now = {at, 100, kinds, KINDS, jobs, left, n, pair, NULL};
        size_t count = fg_jobs_decide(policy, &now, slots);
        check_slots(&now, slots, count);
        for (size_t x = 0; x < count; x++) {
            double rate[2] = {jobs[slots[x].job].rate[slots[x].kind], 0}, held = 0;
            uint32_t who[2] = {slots[x].job, slots[x].beside};
            if (who[1] != FG_JOBS_ALONE)
                pair(NULL, jobs[who[0]].type, jobs[who[1]].type, slots[x].kind, rate);
            for (int y = 0; y < 2 && who[y] != FG_JOBS_ALONE; y++) {
                struct fg_job *j = &jobs[who[y]];
                double took = fmin(100, j->left / rate[y]);
                held = fmax(held, took), end = at + took;
                j->left -= rate[y] * took;
                *ret_missed += j->left <= 1e-9 && end > j->deadline_s + 1e-6;
            }
            cost += held * kinds[slots[x].kind].price_per_s;
        }
        uint32_t kept = 0;
        for (uint32_t x = 0; x < left; x++)
            if (jobs[x].left > 1e-9)
                jobs[kept++] = jobs[x];
        left = kept;
    }
    assert_int_equal(left, 0);
    return cost;
}

static void no_policy_gives_a_gpu_twice_and_cost_misses_no_deadline_where_there_is_room(void **state)
{
    struct rng r = rng_start("jobs_policies");
    for (int x = 0; x < 30; x++) {
        struct fg_job jobs[MOST];
        uint32_t n = 1 + (uint32_t)rng_below(&r, 4), missed;     /* 4 of each kind: there is room for all of them on the fastest */
        for (uint32_t j = 0; j < n; j++)
            jobs[j] = draw(&r, 0);
        double bound = fg_jobs_bound(kinds, KINDS, jobs, n, 8), cost = run(FG_JOBS_COST, jobs, n, &missed);
        assert_int_equal(missed, 0);
        if (cost < bound || cost > 1.25 * bound)
            fail_msg("case %d: %g against a bound of %g", x, cost, bound);
        for (int p = 0; p < FG_JOBS_POLICY_COUNT; p++)
            run((enum fg_jobs_policy)p, jobs, n, &missed);
        run(FG_JOBS_SHARE, jobs, n, &missed);
        assert_int_equal(missed, 0);
    }
    for (int x = 0; x < 20; x++) {                                /* crowded: rules still hold, and the bound is below all that end in time */
        struct fg_job jobs[MOST];
        uint32_t missed;
        for (uint32_t j = 0; j < MOST; j++)
            jobs[j] = draw(&r, 0);
        double bound = fg_jobs_bound(kinds, KINDS, jobs, MOST, 12);
        for (int p = 0; p < FG_JOBS_POLICY_COUNT; p++) {
            double cost = run((enum fg_jobs_policy)p, jobs, MOST, &missed);
            if (missed == 0 && p != FG_JOBS_SHARE && cost < bound)
                fail_msg("%s costs %g, below the bound %g", fg_jobs_policy_name((enum fg_jobs_policy)p), cost, bound);
        }
    }
}

/* Two classes of 6 steps. Alone 1 step/h for 1 $/h: 12 $. Together each 0.75 steps/h: 8 hours, 8 $, each step worth 2/3 $. */
static void the_fluid_of_two_that_get_on_is_what_it_is_by_hand(void **state)
{
    const struct fg_cover_column columns[] = {{0, FG_JOBS_ALONE, 1, 0, 1}, {1, FG_JOBS_ALONE, 1, 0, 1}, {0, 1, 0.75, 0.75, 1}};
    double work[2] = {6, 6}, value[2];
    double cost = fg_cover_solve(work, 2, columns, 3, value);
    assert_true(fabs(cost - 8) < 1e-9);
    assert_true(fabs(value[0] + value[1] - 4.0 / 3) < 1e-9);
}

/* No column may earn more than it costs: that is what makes the value a bound. */
static void fluid_prices_are_a_proof(void **state)
{
    struct rng r = rng_start("jobs_cover");
    for (int x = 0; x < 50; x++) {
        struct fg_cover_column columns[400];
        double work[8], value[8], least = 0;
        size_t n = 0;
        for (uint32_t a = 0; a < 8; a++) {
            work[a] = (double)rng_below(&r, 100), least = 0;
            for (int k = 0; k < 3; k++)
                columns[n++] = (struct fg_cover_column){a, FG_JOBS_ALONE, 0.5 + (double)rng_below(&r, 100) / 50, 0, 1 + (double)rng_below(&r, 100) / 50};
            for (uint32_t b = a; b < 8; b++)
                columns[n++] = (struct fg_cover_column){a, b, (double)rng_below(&r, 100) / 60, (double)rng_below(&r, 100) / 60, 1};
        }
        double cost = fg_cover_solve(work, 8, columns, n, value);
        for (size_t c = 0; c < n; c++) {
            double earns = value[columns[c].a] * columns[c].rate_a + (columns[c].b == FG_JOBS_ALONE ? 0 : value[columns[c].b] * columns[c].rate_b);
            bool busy = work[columns[c].a] > 0 && (columns[c].b == FG_JOBS_ALONE || work[columns[c].b] > 0);
            if (busy && earns > columns[c].price * (1 + 1e-6) + 1e-9)
                fail_msg("a column of price %g earns %g", columns[c].price, earns);
        }
        for (uint32_t a = 0; a < 8; a++)
            least += value[a] * work[a];
        assert_true(fabs(least - cost) <= 1e-9 * (1 + cost));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_policy_gives_a_gpu_twice_and_cost_misses_no_deadline_where_there_is_room),
        cmocka_unit_test(the_fluid_of_two_that_get_on_is_what_it_is_by_hand),
        cmocka_unit_test(fluid_prices_are_a_proof),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
