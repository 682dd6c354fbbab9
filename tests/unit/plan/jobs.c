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
    for (int x = 0; x < 8; x++) {                                 /* crowded: rules still hold, and the bound is below all that end in time */
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

/* Three GPUs: too many for the fast kind, which has two. Nine: too many for both, and nobody waits behind it. */
static void a_job_too_large_for_the_fastest_kind_gets_another_and_one_too_large_for_all_blocks_nobody(void **state)
{
    static const struct fg_jobs_kind two[] = {{2, 3e-4}, {4, 2e-4}};
    const struct fg_job jobs[] = {
        {.gpus = 9, .deadline_s = 5000, .work = 1000, .left = 1000, .rate = {2, 1}, .kind = -1},
        {.type = 1, .gpus = 3, .arrival_s = 1, .deadline_s = 1100, .work = 1000, .left = 1000, .rate = {5, 1}, .kind = -1}};
    struct fg_jobs_now now = {.now_s = 2, .round_s = 100, .kinds = two, .kind_count = 2, .jobs = jobs, .job_count = 2, .seen = 2};
    for (int p = 0; p < FG_JOBS_POLICY_COUNT; p++) {
        struct fg_jobs_slot slots[2];
        size_t n = fg_jobs_decide((enum fg_jobs_policy)p, &now, slots);
        if (n != 1 || slots[0].job != 1 || slots[0].kind != 1 || slots[0].beside != FG_JOBS_ALONE)
            fail_msg("%s: %zu slots", fg_jobs_policy_name((enum fg_jobs_policy)p), n);
    }
}

/* 5 of the 8 GPUs of a kind, 100 seconds; and 4, for a billion. Both do not fit. Bug: the longer one was the tail, and went first. */
static void a_brief_job_does_not_wait_for_the_longest_one(void **state)
{
    const struct fg_jobs_kind one = {8, 1e-4};
    struct fg_job jobs[2] = {{.gpus = 4, .work = 1e9, .left = 1e9, .rate = {1}, .kind = -1, .deadline_s = INFINITY},
                             {.gpus = 5, .work = 100, .left = 100, .rate = {1}, .kind = -1, .deadline_s = INFINITY}};
    struct fg_jobs_slot slots[2];
    struct fg_jobs_now now = {0, 60, &one, 1, jobs, 2, 2, NULL, NULL};
    assert_int_equal(fg_jobs_decide(FG_JOBS_BALANCED, &now, slots), 1);
    assert_int_equal(slots[0].job, 1);
    jobs[1].work = jobs[1].left = 5e8;                   /* not brief: the longest goes first, for the sake of the whole */
    assert_int_equal(fg_jobs_decide(FG_JOBS_BALANCED, &now, slots), 1);
    assert_int_equal(slots[0].job, 0);
}

/* 1,000 steps at 2 steps/s on 1 GPU at 2e-4 $/s: 0.1 $; on the fast kind 3e-4 / 4 a step: 0.075 $. Ten hours for it is time enough
 * for all ten, one after the other; a deadline nobody can make counts as none. */
static void with_time_enough_the_bound_is_the_cheapest_kind_each(void **state)
{
    static const struct fg_jobs_kind two[] = {{1, 3e-4}, {1, 2e-4}};
    struct fg_job jobs[10];
    for (int x = 0; x < 10; x++)
        jobs[x] = (struct fg_job){.gpus = 1, .deadline_s = 36000, .work = 1000, .left = 1000, .rate = {4, 2}, .kind = -1};
    for (uint32_t windows = 1; windows < 9; windows++)
        assert_true(fabs(fg_jobs_bound(two, 2, jobs, 10, windows) - 0.75) < 1e-6);
    for (int x = 0; x < 10; x++)
        jobs[x].deadline_s = x < 5 ? INFINITY : 1;
    for (uint32_t windows = 1; windows < 9; windows++)
        assert_true(fabs(fg_jobs_bound(two, 2, jobs, 10, windows) - 0.75) < 1e-6);
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

/* The program of bound.c's head for these jobs and edges, as text for GLPK. */
static void write_lp(FILE *f, const struct fg_jobs_kind *gpu, const struct fg_job *jobs, int n, const double *edge, int windows)
{
    fprintf(f, "Minimize\nobj:");
    for (int j = 0; j < n; j++)
        for (int k = 0; k < KINDS; k++)
            for (int w = 0; w < windows; w++)
                fprintf(f, " + %.9f y%d_%d_%d\n", gpu[k].price_per_s * 1e3, j, k, w);
    fprintf(f, "Subject To\n");
    for (int j = 0; j < n; j++) {
        fprintf(f, "work%d:", j);
        for (int k = 0; k < KINDS; k++)
            for (int w = 0; w < windows; w++)
                fprintf(f, " + %.9f y%d_%d_%d\n", jobs[j].rate[k], j, k, w);
        fprintf(f, ">= %.9f\n", jobs[j].work);
        for (int w = 0; w < windows; w++) {
            double part = fmax(0, fmin(jobs[j].deadline_s, edge[w + 1]) - fmax(jobs[j].arrival_s, edge[w]));
            fprintf(f, "len%d_%d:", j, w);
            for (int k = 0; k < KINDS; k++)
                fprintf(f, " + y%d_%d_%d", j, k, w);
            fprintf(f, " <= %.9f\n", part);
        }
    }
    for (int k = 0; k < KINDS; k++)
        for (int w = 0; w < windows; w++) {
            fprintf(f, "cap%d_%d:", k, w);
            for (int j = 0; j < n; j++)
                fprintf(f, " + y%d_%d_%d", j, k, w);
            fprintf(f, " <= %.9f\n", gpu[k].gpus * (edge[w + 1] - edge[w]));
        }
    fprintf(f, "End\n");
}

/* The optimum by GLPK; NAN where it finds none. */
static double glpk(const char *folder, const struct fg_jobs_kind *gpu, const struct fg_job *jobs, int n, const double *edge, int windows)
{
    char lp[200], out[200], command[600], line[400];
    double value = NAN;
    snprintf(lp, sizeof lp, "%s/p.lp", folder), snprintf(out, sizeof out, "%s/p.sol", folder);
    FILE *f = fopen(lp, "w");
    write_lp(f, gpu, jobs, n, edge, windows);
    fclose(f);
    snprintf(command, sizeof command, "glpsol --lp %s -w %s >/dev/null 2>&1", lp, out);
    if (system(command) == 0 && (f = fopen(out, "r"))) {
        while (fgets(line, sizeof line, f)) {               /* s bas ROWS COLUMNS f f VALUE */
            char primal, dual;
            double v;
            if (sscanf(line, "s bas %*d %*d %c %c %lf", &primal, &dual, &v) == 3 && primal == 'f' && dual == 'f')
                value = v / 1e3;
        }
        fclose(f);
    }
    unlink(lp), unlink(out);
    return value;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* One GPU of each kind for several jobs: capacity counts. The windows are bound.c's: as many arrivals and deadlines in each. */
static void the_bound_is_that_of_the_linear_program(void **state)
{
    enum { SMALL = 20, CASES = 23 };
    static const struct fg_jobs_kind one[KINDS] = {{1, 3e-4}, {1, 2e-4}, {1, 0.6e-4}};
    struct rng r = rng_start("jobs_glpk");
    char folder[100];
    int solved = 0;
    if (system("command -v glpsol >/dev/null 2>&1") != 0)
        skip();                                             /* Debian package glpk-utils */
    unit_folder(folder, sizeof folder);
    for (int x = 0; x < CASES; x++) {
        struct fg_job jobs[MOST];
        double at[2 * MOST], edge[8 + 1] = {0};
        int n = x < SMALL ? 5 : MOST, windows = x < SMALL ? 4 : 8;
        for (int j = 0; j < n; j++) {
            jobs[j] = draw(&r, (double)rng_below(&r, x < SMALL ? 20000 : 200000));
            at[2 * j] = jobs[j].arrival_s, at[2 * j + 1] = jobs[j].deadline_s;
        }
        qsort(at, 2 * (size_t)n, sizeof *at, by_size);
        for (int w = 1; w < windows; w++)
            edge[w] = at[w * 2 * n / windows];
        edge[windows] = at[2 * n - 1];
        double want = glpk(folder, one, jobs, n, edge, windows), got = fg_jobs_bound(one, KINDS, jobs, (uint32_t)n, (uint32_t)windows);
        if (isnan(want))
            continue;                                       /* no schedule meets these deadlines */
        solved++;
        if (got > want * (1 + 1e-6) || got < want * 0.9995)
            fail_msg("case %d: bound %.6f, linear program %.6f", x, got, want);
    }
    rmdir(folder);
    assert_true(solved >= 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_policy_gives_a_gpu_twice_and_cost_misses_no_deadline_where_there_is_room),
        cmocka_unit_test(a_job_too_large_for_the_fastest_kind_gets_another_and_one_too_large_for_all_blocks_nobody),
        cmocka_unit_test(a_brief_job_does_not_wait_for_the_longest_one),
        cmocka_unit_test(with_time_enough_the_bound_is_the_cheapest_kind_each),
        cmocka_unit_test(the_fluid_of_two_that_get_on_is_what_it_is_by_hand),
        cmocka_unit_test(fluid_prices_are_a_proof),
        cmocka_unit_test(the_bound_is_that_of_the_linear_program),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
